//! Machines other than the one that the tests run on.

mod debian13;
