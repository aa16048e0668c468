//! The parsers of `nodeforge::fuzzing`: `NODEFORGE_FUZZ_TARGET` says which.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeforge::fuzzing::{FuzzTarget, TARGETS};

/// Chosen at the first input.
static TARGET: LazyLock<FuzzTarget> = LazyLock::new(|| {
    let name = std::env::var("NODEFORGE_FUZZ_TARGET").unwrap_or_default();
    *TARGETS.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("no fuzz target `{name}`"))
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.1)(bytes);
});
