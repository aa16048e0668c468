//! What will be done, decided before anything is: pure, no disk is touched here.

mod change;

pub use change::{Action, Change, Content, Origin, Owner, PackageState, UnitState, User};
