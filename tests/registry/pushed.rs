//! What is sent, and what is fetched.

use std::fs;

use serde_json::Value;

use super::{Colleague, Forge, manifest};
use crate::support::{OciRegistry, checksum, tool};

/// The bytes of blobs that a registry gave.
fn fetched(registry: &OciRegistry) -> u64 {
    let bytes = registry
        .requests()
        .into_iter()
        .filter(|it| it.starts_with("GET ") && it.contains("/blobs/"));
    bytes
        .map(|it| it.rsplit(' ').next().and_then(|it| it.parse::<u64>().ok()).expect("a number"))
        .sum()
}

#[test]
fn a_colleague_has_the_same_bits_without_preparing() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/team/bases", registry.host());
    let pushed = forge.push(&place);
    assert_eq!(pushed["windows"], pushed["new_windows"]);
    let digest = pushed["digest"].as_str().expect("a digest");
    assert_eq!(pushed["reference"], format!("{place}@{digest}"));

    // Under its key, a name for people, and one that keeps what lock files pin.
    let listed = tool("skopeo", ["list-tags", "--tls-verify=false", &format!("docker://{place}")]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let listed: Vec<_> = listed["Tags"].as_array().expect("a list").clone();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(listed.contains(&Value::from(digest.replace("sha256:", "digest-"))), "{listed:?}");

    // What is pushed is pinned for all who have the lock file.
    let lock = fs::read_to_string(forge.machines.path("nodeforge.lock")).expect("a lock file");
    let lock: toml::Table = toml::from_str(&lock).expect("TOML");
    assert_eq!(lock["registry"][0]["digest"].as_str(), Some(digest));
    assert_eq!(
        lock["registry"][0]["reference"].as_str(),
        Some(format!("{place}:small-amd64").as_str())
    );

    let own: Value = serde_json::from_str(
        &forge.run(["-q", "prepare", "--sandbox", "none", "--json"]).succeeds().stdout_text(),
    )
    .expect("JSON");
    let colleague = forge.colleague();
    registry.forget_requests();
    let theirs = colleague.prepare(&["--registry", &place, "--locked"]);
    assert_eq!((&own["key"], &own["sha256"]), (&theirs["key"], &theirs["sha256"]));
    let path = |it: &Value| std::path::PathBuf::from(it["path"].as_str().expect("a path"));
    assert_eq!(checksum("sha256sum", &path(&own)), checksum("sha256sum", &path(&theirs)));
    // Five questions: is it there, what is it, its configuration, its index, its windows.
    let asked = registry.requests();
    let of_it: Vec<_> = asked.iter().filter(|it| it.contains("/team/bases/")).collect();
    assert_eq!(of_it.len(), 4, "{asked:#?}");
    assert!(fetched(&registry) < registry.stored(), "{asked:#?}");

    // The cache has it now.
    registry.forget_requests();
    assert_eq!(colleague.prepare(&["--registry", &place])["path"], theirs["path"]);
    assert_eq!(registry.requests(), Vec::<String>::new());

    // What one builds the other builds.
    let build =
        |run: crate::support::Run| run.args(["build", "-q", "--sandbox", "none"]).succeeds();
    build(forge.run(Vec::<String>::new()));
    build(colleague.run(Vec::<String>::new()));
}

#[test]
fn one_changed_byte_is_a_few_windows() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    forge.push(&place);
    let colleague = forge.colleague();
    colleague.prepare(&["--registry", &place]);
    let before = registry.stored();

    forge.change_a_byte();
    let pushed = forge.push(&place);
    // Its own, and those that say which base it was.
    assert!(pushed["new_windows"].as_u64().is_some_and(|it| (1..=8).contains(&it)), "{pushed}");
    let sent = pushed["sent"].as_u64().expect("a number");
    assert!(sent < 512 << 10, "{sent}");
    // With the manifest.
    assert!(registry.stored() - before < sent + 4096);

    // And so it is fetched: what else there is the cache has.
    let other = forge.colleague();
    fs::remove_dir_all(other.path("cache")).unwrap_or_default();
    tool(
        "cp",
        ["-r".as_ref(), colleague.path("cache").as_os_str(), other.path("cache").as_os_str()],
    );
    registry.forget_requests();
    let theirs = other.prepare(&["--registry", &place]);
    assert!(fetched(&registry) < 512 << 10, "{:#?}", registry.requests());
    let own = forge.run(["-q", "prepare", "--sandbox", "none", "--json"]).succeeds().stdout_text();
    let own: Value = serde_json::from_str(&own).expect("JSON");
    assert_eq!(own["sha256"], theirs["sha256"]);

    // The same again sends nothing.
    let again = forge.push(&place);
    assert_eq!((&again["digest"], &again["sent"]), (&pushed["digest"], &Value::from(0)));
}

#[test]
fn other_programs_read_what_is_pushed() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let pushed = forge.push(&place);
    let digest = pushed["digest"].as_str().expect("a digest");
    let said = manifest(&registry, digest);
    assert_eq!(said["artifactType"], "application/vnd.nodeforge.prepared-base.v1");

    let raw = tool(
        "skopeo",
        ["inspect", "--tls-verify=false", "--raw", &format!("docker://{place}:small-amd64")],
    );
    assert_eq!(serde_json::from_str::<Value>(&raw).expect("JSON"), said);
    // All blobs, each compared with its digest.
    let layout = format!("oci:{}:base", forge.machines.path("layout").display());
    tool(
        "skopeo",
        ["copy", "--src-tls-verify=false", &format!("docker://{place}@{digest}"), &layout],
    );
    let listed = tool(
        "umoci",
        ["ls".as_ref(), "--layout".as_ref(), forge.machines.path("layout").as_os_str()],
    );
    assert_eq!(listed, "base\n");

    // By hand, as docs/registry.md says.
    let index = registry.blob(said["layers"][0]["digest"].as_str().expect("a digest"));
    let index = tool("zstd", ["-dcq".as_ref(), index.as_os_str()]);
    let index: Value = serde_json::from_str(&index).expect("JSON");
    let config = fs::read(registry.blob(said["config"]["digest"].as_str().expect("a digest")))
        .expect("there");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!((&index["sha256"], &index["size"]), (&config["sha256"], &config["size"]));
    let disk = forge.machines.path("by-hand");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/registry/assemble.py");
    let blobs = registry.blob(&"0".repeat(64));
    let blobs = blobs.ancestors().nth(3).expect("a folder");
    let manifest = registry.blob(digest);
    tool("python3", [program.as_ref(), manifest.as_os_str(), blobs.as_os_str(), disk.as_os_str()]);
    assert_eq!(config["sha256"], checksum("sha256sum", &disk));
}

#[test]
fn a_pull_goes_on_where_it_broke_off() {
    let mut registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let pushed = forge.push(&place);
    let said = manifest(&registry, pushed["digest"].as_str().expect("a digest"));
    let pack = registry.blob(said["layers"][1]["digest"].as_str().expect("a digest"));
    let whole = fs::read(&pack).expect("there");
    // Half of it is there, as after a crash of the registry's disk.
    fs::write(&pack, &whole[..whole.len() / 2]).expect("written");
    let colleague: Colleague = forge.colleague();
    let run = colleague.run(["-q", "prepare", "--sandbox", "none", "--registry", &place]);
    let said = run.exits(1).stderr_text();
    assert!(said.contains("bytes early") || said.contains("connection"), "{said}");
    let cached = colleague.cached();
    assert!(cached.len() == 1 && cached[0].starts_with("downloads/prepared-"), "{cached:?}");
    fs::write(&pack, &whole).expect("written");
    registry.stop();
    registry.resume();
    registry.forget_requests();
    colleague.prepare(&["--registry", &place]);
    assert!(fetched(&registry) < whole.len() as u64 * 3 / 4, "{:#?}", registry.requests());
    assert!(!colleague.cached().iter().any(|it| it.starts_with("downloads/")));
}
