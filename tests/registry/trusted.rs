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
    // Nor does a pull by the name, unless that is wanted.
    let held = &["--locked"][..];
    for more in [&[][..], held] {
        let run = colleague.run(["-q", "pull", &tag]).args(more);
        let said = run.exits(2).stderr_text();
        if more == held {
            assert!(said.contains("would change: it does not pin that prepared base"), "{said}");
        } else {
            let (old, new) = (digest(&first), digest(&second));
            let wanted = format!(
                "error: nodeforge.lock pins {old} as `{tag}`, and the registry has another base there: `{place}@{new}`\n\
                 hint: `nodeforge pull --update {tag}` pins that, if you trust whoever pushed it\n"
            );
            assert_eq!(said, wanted);
        }
    }
    assert_eq!(fs::read_to_string(colleague.path("nodeforge.lock")).expect("there"), lock);
    colleague.run(["-q", "pull", "--update", &tag]).succeeds();
    let lock = fs::read_to_string(colleague.path("nodeforge.lock")).expect("there");
    assert!(!lock.contains(&digest(&first)) && lock.contains(&digest(&second)), "{lock}");

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
    // What could not be pushed when it was prepared is pushed later.
    forge.change_a_byte();
    registry.forget_requests();
    forge.run(["-q", "prepare", "--sandbox", "none", "--registry", "none"]).succeeds();
    assert_eq!(registry.requests(), Vec::<String>::new());
    let held = forge.run(["prepare", "--sandbox", "none", "--locked"]).succeeds().stderr_text();
    assert!(held.contains("the prepared base is not pushed"), "{held}");
    forge.run(["-q", "prepare", "--sandbox", "none"]).succeeds();
    assert!(registry.requests().iter().any(|it| it.starts_with("PUT")));
    registry.forget_requests();
    forge.run(["-q", "prepare", "--sandbox", "none"]).succeeds();
    assert_eq!(registry.requests(), Vec::<String>::new());
    // What is pushed by name goes nowhere else.
    forge.change_a_byte();
    let other = OciRegistry::plain();
    forge.push(&format!("{}/others", other.host()));
    assert!(!registry.requests().iter().any(|it| it.starts_with("PUT")));
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

#[test]
fn a_locked_push_moves_nothing_that_is_not_pinned() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let push = || forge.run(["-q", "push", &place, "--sandbox", "none", "--locked"]);
    forge.run(["-q", "prepare", "--sandbox", "none"]).succeeds();
    let said = push().exits(2).stderr_text();
    assert!(said.contains("would change: it does not pin that prepared base"), "{said}");
    assert_eq!(registry.requests(), Vec::<String>::new());
    forge.push(&place);
    registry.forget_requests();
    push().succeeds();
    // What is pinned has to come of it.
    let lock = forge.machines.path("nodeforge.lock");
    let text = fs::read_to_string(&lock).expect("there");
    let (before, digest) = text.split_once("digest = \"sha256:").expect("it is pinned");
    fs::write(&lock, format!("{before}digest = \"sha256:{}{}", "0".repeat(64), &digest[64..]))
        .expect("written");
    registry.forget_requests();
    let said = push().exits(2).stderr_text();
    assert!(said.contains("would change: it pins another form of that prepared base"), "{said}");
    let asked = registry.requests();
    assert!(
        !asked.iter().any(|it| it.starts_with("PUT") && it.contains("/manifests/")),
        "{asked:?}"
    );
}

#[test]
fn the_same_disk_under_another_manifest_is_used_where_that_is_pinned() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let digest = forge.push(&place)["digest"].as_str().expect("a digest").to_owned();
    let colleague = forge.colleague();
    colleague.prepare(&["--registry", &place, "--locked"]);
    let mut other = fs::read(registry.blob(&digest)).expect("there");
    other.push(b'\n');
    registry.put_manifest("bases", "other", &other);
    colleague.run(["-q", "pull", "--update", &format!("{place}:other")]).succeeds();
    registry.forget_requests();
    colleague.prepare(&["--registry", &place, "--locked"]);
    assert_eq!(registry.requests(), Vec::<String>::new(), "the cache has what is pinned");
}
