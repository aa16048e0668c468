//! The checks themselves, on small crates that break each rule.

use std::collections::BTreeMap;

use super::{Shape, shape};

fn crate_of(files: &[(&str, &str)]) -> Shape {
    let sources: BTreeMap<_, _> =
        files.iter().map(|(name, text)| (format!("src/{name}"), (*text).to_owned())).collect();
    shape(&sources)
}

#[test]
fn a_circle_is_found_through_re_exports() {
    let shape = crate_of(&[
        ("lib.rs", "mod disk; mod util;"),
        ("disk/mod.rs", "mod raw; mod overlay; pub use overlay::Overlay; pub use self::raw::*;"),
        ("disk/raw.rs", "use super::Overlay; pub struct Raw(Overlay);"),
        ("disk/overlay.rs", "pub struct Overlay; fn f() { vec![crate::disk::Raw::new()]; }"),
        ("util.rs", "/// [`crate::disk::Raw`]\nconst TEXT: &str = \"crate::disk::Raw\";"),
    ]);
    assert_eq!(
        shape.circles(),
        "2 files:\n  src/disk/overlay.rs -> src/disk/raw.rs: Raw (line 1)\n  \
         src/disk/raw.rs -> src/disk/overlay.rs: Overlay (line 1)\n"
    );
    assert_eq!(shape.unresolved, [""; 0]);
    assert_eq!(shape.upward(), "");
}

#[test]
fn a_module_that_defines_things_is_no_signpost() {
    let both = |module| {
        crate_of(&[
            ("lib.rs", "pub mod fs;"),
            ("fs/mod.rs", module),
            ("fs/fat.rs", "use super::Volume; pub(crate) struct Fat; impl Volume for Fat {}"),
        ])
    };
    let signpost = "mod fat; pub(crate) use fat::Fat; pub trait Volume {}";
    assert_eq!(both(signpost).circles(), "");
    for user in [
        "mod fat; pub(crate) use fat::Fat; pub trait Volume {} fn open() -> Fat { todo!() }",
        "mod fat; use fat::Fat; pub trait Volume {} fn open() -> Fat { todo!() }",
        "mod fat; pub trait Volume {} fn open() -> fat::Fat { todo!() }",
        "mod fat; use self::fat::{self}; pub trait Volume {} fn open() -> fat::Fat { todo!() }",
    ] {
        assert!(both(user).circles().contains("2 files:\n  src/fs/fat.rs"), "{user}");
    }
}

#[test]
fn what_only_tests_need_is_left_out() {
    let shape = crate_of(&[
        ("lib.rs", "pub mod disk; pub mod cli;"),
        ("cli.rs", "use crate::disk::Raw; pub struct Cli(Raw);"),
        (
            "disk.rs",
            "pub struct Raw; #[cfg(test)] mod tests; #[cfg(test)] use crate::cli::{Cli};\n\
             #[cfg(all(test, unix))] mod more { use crate::cli::Cli; struct Raw; }\n\
             #[cfg(test)] fn f(a: crate::cli::Cli) -> u8 { crate::cli::Cli }\n\
             fn g() { #[cfg(test)] let it = { crate::cli::Cli }; }",
        ),
    ]);
    assert_eq!((shape.circles(), shape.upward(), shape.doubled_types()), Default::default());
}

#[test]
fn circles_of_rooms_and_arrows_upward_are_found() {
    let shape = crate_of(&[
        ("lib.rs", "pub mod disk; pub mod util; pub mod new;"),
        ("disk/mod.rs", "pub mod raw; pub mod size;"),
        ("disk/raw.rs", "use crate::util::error;\npub fn f() -> error::Error { }"),
        ("disk/size.rs", "pub const SIZE: u64 = 1;"),
        ("util/mod.rs", "pub mod error; mod hash;"),
        ("util/error.rs", "pub struct Error;"),
        ("util/hash.rs", "use crate::disk::{raw::{self as r}, size::*};\nconst S: u64 = SIZE;"),
        ("new.rs", ""),
    ]);
    assert_eq!(
        shape.circles(),
        "2 rooms: disk, util\n  src/util/hash.rs -> src/disk/size.rs: SIZE (line 2)\n"
    );
    assert_eq!(
        shape.upward(),
        "  new: a room that ROOMS does not list\n  \
         src/util/hash.rs -> src/disk/size.rs: SIZE (line 2)\n"
    );
}

#[test]
fn the_binary_stands_above_the_library() {
    let files = [
        ("lib.rs", "pub mod cli;"),
        ("cli.rs", "pub fn run() {} pub type Code = u8;"),
        ("main.rs", "use nodeforge::cli; fn main() { cli::run(); }"),
    ];
    let shape = crate_of(&files);
    assert_eq!((shape.upward(), shape.arrows.len()), (String::new(), 1));
}

#[test]
fn doubled_types_are_found() {
    let shape = crate_of(&[
        ("lib.rs", "mod a; mod b;\npub struct Image<'a>(&'a str);"),
        ("a.rs", "pub(crate) enum Image { Raw } trait Iterate { type Item; }"),
        ("b.rs", "impl Iterator for B { type Item = u8; } struct B; type Item = B;"),
    ]);
    assert_eq!(shape.doubled_types(), "  Image: src/lib.rs:2, src/a.rs:1\n");
}

#[test]
fn macros_and_what_they_define_are_found() {
    let shape = crate_of(&[
        ("lib.rs", "mod words; mod kind; mod user;"),
        ("words.rs", "macro_rules! words { ($a:item) => { $a } } pub(crate) use words;"),
        ("kind.rs", "use super::words::words; words! { pub enum Kind { Hex } }"),
        ("user.rs", "use crate::kind::Kind; fn f() -> Kind { Kind::Hex }"),
    ]);
    assert_eq!(shape.unresolved, [""; 0]);
    let from: Vec<&String> = shape.arrows.keys().collect();
    assert_eq!(from, ["src/kind.rs", "src/user.rs"]);
}

#[test]
fn paths_that_lead_to_nothing_are_named() {
    let shape = crate_of(&[("lib.rs", "mod a;"), ("a.rs", "\nuse crate::b::C;")]);
    assert_eq!(shape.unresolved, ["src/a.rs:2: crate::b::C"]);
}
