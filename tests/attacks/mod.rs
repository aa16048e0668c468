//! Attacks: hostile bases, packages, images and files. Each got through once, or would get through a tool
//! of this kind that is less careful. docs/threat-model.md has them in a table.

mod bounds;
mod cache;
mod files;
mod first_boot;
mod images;
mod lock;
mod sandbox;
mod secrets;
mod terminals;
