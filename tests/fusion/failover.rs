//! How long the router sends services to nodes that are gone: real FRR, real BIRD, and what a build
//! hands out, in network namespaces.

use std::ffi::OsString;
use std::fs;

use super::super::support::run_in_namespaces;
use super::{HERE, build_small, plan, small};

/// Whole seconds until the router forgot a node that vanished, and one whose BIRD was killed.
fn measured(arguments: &[&str]) -> (u32, u32) {
    let built = small(&[]);
    build_small(built.path(), &["server1"]).succeeds();
    let folder = built.path().join("failover");
    fs::create_dir_all(folder.join("router")).expect("a folder");
    for name in ["frr.conf", "frr-password.conf"] {
        let file = built.path().join("out/router").join(name);
        fs::copy(file, folder.join("router").join(name)).expect("copied");
    }
    let plan = plan(built.path());
    let changes = plan["nodes"][0]["changes"].as_array().expect("changes");
    let is_wanted = |path: &str| path.ends_with("/manifests/bgp.yaml");
    let manifest = changes.iter().find(|it| it["path"].as_str().is_some_and(is_wanted));
    let manifest = manifest.and_then(|it| it["content"].as_str()).expect("it is public");
    // The peer, without the filter before it.
    let peer = manifest.split("---\n").nth(1).expect("two documents");
    fs::write(folder.join("bgp.yaml"), peer).expect("written");
    let mut all = vec![folder.into_os_string()];
    all.extend(arguments.iter().map(OsString::from));
    let all: Vec<_> = all.iter().map(OsString::as_os_str).collect();
    let said = run_in_namespaces(&format!("{HERE}/failover"), &all);
    let of = |what: &str| -> u32 {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("measured: {what} ")));
        line.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{what}: {said}"))
    };
    (of("vanished"), of("killed"))
}

#[test]
fn the_router_forgets_dead_nodes_within_ten_seconds() {
    let (vanished, killed) = measured(&[]);
    assert!((5..=10).contains(&vanished), "{vanished}");
    assert!((3..=10).contains(&killed), "{killed}");
}

mod long {
    /// What the documentation compares with.
    #[test]
    #[ignore = "long: the defaults take three minutes"]
    fn without_timers_it_takes_minutes() {
        let (vanished, killed) = super::measured(&["defaults"]);
        assert!((150..=185).contains(&vanished), "{vanished}");
        assert!((110..=125).contains(&killed), "{killed}");
    }
}
