//! Nodes at home: real router advertisements, a real name server, real updates.

use std::fs;
use std::process::Command;

use super::super::support::{K3S, temporary_folder};
use super::{HERE, built, run_in_namespaces};

#[test]
fn nodes_find_their_addresses_register_them_and_follow_the_prefix() {
    let built = built();
    let folder = temporary_folder();
    for (artifact, name) in [
        ("server1.vmwarevm", "server1"),
        ("agent2.vmwarevm", "agent2"),
        ("fusion-template.vmwarevm", "agent9"),
        ("fusion-template.vmwarevm", "server9"),
    ] {
        built.root_of(artifact, name, folder.path());
    }
    let copied =
        Command::new("cp").arg("-r").arg(built.path("out/router")).arg(folder.path()).status();
    assert!(copied.expect("cp starts").success());
    fs::copy(built.path("out/hand-made-clones.txt"), folder.path().join("hand-made-clones.txt"))
        .expect("copied");
    fs::copy(K3S, folder.path().join("k3s")).expect("copied");
    run_in_namespaces(&format!("{HERE}/lab"), &[folder.path().as_os_str()]);
}
