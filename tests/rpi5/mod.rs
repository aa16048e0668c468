//! The profile `rpi5-kubeadm`.

mod csrs;
mod steps;
