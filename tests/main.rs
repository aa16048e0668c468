//! The built binary on real images, checked by independent tools.
//!
//! One crate, so that everything links once.

mod support;

mod access;
mod add;
mod architecture;
mod arguments;
mod artifacts;
mod attacks;
mod boots;
mod bootstrap;
mod cli;
mod conventions;
mod copies;
mod corpora;
mod dependencies;
mod doctor;
mod edge;
mod fetch;
mod file_systems;
mod firstboot;
mod flash;
mod fusion;
mod kubeconfig;
mod layers;
mod lines;
mod nodes;
mod overview;
mod places;
mod planned;
mod prepare;
mod quickstart;
mod registry;
mod reviewed;
mod rpi5;
mod schema;
mod secrets;
mod stamp;
mod tools;
mod verify;
