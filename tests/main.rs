//! The built binary on real images, checked by independent tools.
//!
//! One crate, so that everything links once.

mod support;

mod architecture;
mod artifacts;
mod attacks;
mod boots;
mod bootstrap;
mod cli;
mod conventions;
mod copies;
mod dependencies;
mod edge;
mod fetch;
mod firstboot;
mod flash;
mod fusion;
mod layers;
mod planned;
mod prepare;
mod quickstart;
mod rpi5;
mod schema;
mod secrets;
mod stamp;
mod tools;
