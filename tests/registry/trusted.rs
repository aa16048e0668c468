//! What is used of a registry: what the lock file pins, and nothing else.

use std::fs;

use super::Forge;
use crate::support::OciRegistry;

#[test]
fn what_nothing_vouches_for_is_refused() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let pushed = forge.push(&place);
    let digest = pushed["digest"].as_str().expect("a digest");
    let colleague = forge.colleague();
    // As if only somebody else's lock file pinned it.
    let lock = colleague.path("nodeforge.lock");
    let text = fs::read_to_string(&lock).expect("there");
    let (before, _) = text.split_once("[[registry]]").expect("it is pinned");
    fs::write(&lock, before).expect("written");
    let prepare = || colleague.run(["-q", "prepare", "--sandbox", "none", "--registry", &place]);
    prepare().exits(2).stderr(&format!(
        "error: nothing vouches for `{place}@{digest}`\n\
         hint: `nodeforge pull {place}@{digest}` pins it in nodeforge.lock, if you trust whoever pushed it\n\
         hint: `--registry none` prepares the base on this machine instead\n"
    ));
    assert_eq!(colleague.cached(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(&lock).expect("there"), before);

    // The command that it names does that, and only without `--locked`.
    let reference = format!("{place}@{digest}");
    colleague.run(["-q", "pull", &reference, "--locked"]).exits(2).stderr(&format!(
        "error: `{}` would change: it does not pin that prepared base\n\
         hint: run it without `--locked`, or `nodeforge lock`, and look at the difference\n",
        lock.display()
    ));
    colleague.run(["-q", "pull", &reference]).succeeds();
    assert!(fs::read_to_string(&lock).expect("there").contains(digest));
    prepare().args(["--locked"]).succeeds();
    colleague.run(["-q", "pull", &format!("{place}:small-amd64"), "--locked"]).succeeds();
}

#[test]
fn a_tag_that_moves_moves_nothing_here() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let first = forge.push(&place);
    let colleague = forge.colleague();
    let digest = |it: &serde_json::Value| it["digest"].as_str().expect("a digest").to_owned();
    let tag = format!("{place}:small-amd64");
    colleague.run(["-q", "pull", &tag]).succeeds();

    // Another base gets the same name.
    forge.change_a_byte();
    let second = forge.push(&place);
    assert_ne!(digest(&first), digest(&second));
    // It has another key: the colleague's base is as it was.
    fs::remove_dir_all(colleague.path("cache")).expect("there");
    let said = colleague.prepare(&["--registry", &place, "--locked"]);
    let lock = fs::read_to_string(colleague.path("nodeforge.lock")).expect("there");
    assert!(lock.contains(&digest(&first)) && !lock.contains(&digest(&second)), "{lock}");
    assert!(lock.contains(said["key"].as_str().expect("a key")));

    // Without a cluster file, a tag is no trust.
    let empty = crate::support::temporary_folder();
    let run = |reference: &str| colleague.run(["-q", "pull", reference]).folder(empty.path());
    run(&tag).exits(2).stderr(&format!(
        "error: nothing vouches for `{tag}`: a tag can be moved, and there is no cluster file whose lock file could pin \
         it\nhint: `nodeforge pull {place}@{}` pulls what it is now\n",
        digest(&second)
    ));
    run(&format!("{place}@{}", digest(&second))).succeeds();
}

#[test]
fn what_another_cluster_pulled_is_not_used_unpinned() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let pushed = forge.push(&place);
    let colleague = forge.colleague();
    colleague.prepare(&["--registry", &place]);
    let lock = colleague.path("nodeforge.lock");
    let text = fs::read_to_string(&lock).expect("there");
    fs::write(&lock, text.split_once("[[registry]]").expect("it is pinned").0).expect("written");
    // The cache has it, and this lock file does not know it: it is prepared here instead.
    let said = colleague.run(["prepare", "--sandbox", "none"]).succeeds().stderr_text();
    assert!(said.contains("applying the profile"), "{said}");
    assert!(pushed["digest"].is_string());
}

#[test]
fn what_is_prepared_is_pushed_where_the_file_says_so() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let file = forge.machines.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, format!("{text}[cache]\nregistry = \"{place}\"\npush = true\n"))
        .expect("written");
    forge.run(["-q", "prepare", "--sandbox", "none"]).succeeds();
    let colleague = forge.colleague();
    registry.forget_requests();
    colleague.prepare(&["--locked"]);
    assert!(
        !registry.requests().iter().any(|it| it.starts_with("PUT")),
        "what was pulled is not pushed"
    );
    // With another, or none, it is prepared.
    fs::remove_dir_all(colleague.path("cache")).expect("there");
    registry.forget_requests();
    colleague.prepare(&["--registry", "none"]);
    assert_eq!(registry.requests(), Vec::<String>::new());

    for (line, message) in [
        ("push = true", "`push` in [cache] needs a registry"),
        ("registry = \"ghcr.io\"", "`ghcr.io` names nothing in a registry"),
        ("registry = \"ghcr.io/a:b\"", "`ghcr.io/a:b` names more than a repository"),
    ] {
        fs::write(&file, format!("{text}[cache]\n{line}\n")).expect("written");
        let said = forge.run(["check"]).exits(2).stderr_text();
        assert!(said.contains(message), "{said}");
    }
}
