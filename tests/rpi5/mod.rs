//! The profile `rpi5-kubeadm`.

mod boots;
mod built;
mod control_planes;
mod csrs;
mod gitops;
mod high_availability;
mod images;
mod joining;
mod later;
mod offline;
mod raspberry_pi_os;
mod refusals;
mod restored;
mod second_year;
mod steps;
