//! What `nodeforge.lock` promises of packages.

use std::fs;
use std::process::{Command, Stdio};

use super::{Stand, cat, image, own_packages};
use crate::support::{Arch, Gpg, Machines, Repository, Server, Style, User, wait_until};

/// A cluster that wants the package `probe`, and what publishes a version of it.
fn with_probe(stand: &Stand) -> impl Fn(&str, &str) {
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let repository = Repository::new(Style::Flat);
    stand.plain.put("/key.asc", gpg.public(&key));
    stand.profile(&format!(
        "[packages]\ninstall = [\"probe\"]\n[[apt_source]]\nname = \"own\"\nuris = [\"PLAIN/r\"]\n\
         suites = [\"/\"]\nkey_url = \"PLAIN/key.asc\"\nfingerprint = \"{}\"\n",
        key.fingerprint
    ));
    move |version, script| {
        repository.add_with("probe", version, script);
        repository.publish(&gpg, &key, &stand.plain, "/r");
    }
}

#[test]
fn packages_stay_until_the_lock_moves_on() {
    let stand = Stand::new(User::current());
    let publish = with_probe(&stand);
    let version = |arguments: &[&str]| cat(&image(&stand.prepare(arguments)), "/usr/share/probe");
    publish("1.0", "");
    assert_eq!(version(&[]), "1.0");
    publish("2.0", "");
    assert_eq!(version(&[]), "1.0");

    let _ = stand.run(["lock", "--update"]).succeeds();
    let said = stand.run(["prepare", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` would change: it does not pin the packages"), "{said}");
    let said = stand.run(["plan"]).succeeds().stdout_text();
    assert!(said.contains("made again: nodeforge.lock asks for other packages"), "{said}");
    assert_eq!(version(&[]), "2.0");
    let packages = stand.lock()["package"].as_array().expect("packages").clone();
    assert!(packages.iter().any(|it| it["version"].as_str() == Some("2.0")), "{packages:?}");
    let said = stand.run(["plan"]).succeeds().stdout_text();
    assert!(said.contains("  in the cache as "), "{said}");
    assert_eq!(version(&["--locked", "--offline"]), "2.0");

    // A lock that pins less than there is.
    let file = stand.path("nodeforge.lock");
    let text = fs::read_to_string(&file).expect("there");
    let (less, _) = text.split_once("[[package]]").expect("packages");
    fs::write(&file, less).expect("written");
    let said = stand.run(["prepare", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` would change: it pins other packages"), "{said}");
    assert_eq!(fs::read_to_string(&file).expect("there"), less);
}

/// Two prepared bases, by the real apt: what only one node has is in its base, and pinned apart.
#[test]
fn packages_of_one_node_are_installed_and_pinned_apart() {
    let stand = Stand::new(User::current());
    let source = own_packages(&stand, |repository| {
        repository.add_with("probe", "1.0", "").add_with("extra", "1.0", "");
    });
    stand.profile(&format!("[packages]\ninstall = [\"probe\"]\n{source}"));
    let file = stand.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let own = "[[node]]\nhostname = \"server2\"\npackages = [\"extra\"]\n";
    fs::write(&file, format!("{text}{own}")).expect("written");

    let said = stand.prepare(&[]);
    let bases = said["bases"].as_array().expect("bases");
    assert_eq!(bases.iter().map(|it| &it["name"]).collect::<Vec<_>>(), ["t", "t+extra"]);
    let has = |base: usize, package: &str| {
        let all = bases[base]["packages"].as_array().expect("packages");
        all.iter().any(|it| it["name"] == package)
    };
    assert_eq!(
        [has(0, "probe"), has(0, "extra"), has(1, "probe"), has(1, "extra")],
        [true, false, true, true]
    );
    assert_eq!(cat(&image(&bases[1]), "/usr/share/extra"), "1.0");
    let lock = stand.lock();
    let names = |table: &toml::Table| -> Vec<String> {
        let all = table["package"].as_array().expect("packages").iter();
        all.map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&lock), ["probe"]);
    let variants = lock["variant"].as_array().expect("variants");
    let variant = variants[0].as_table().expect("a table");
    assert_eq!((variants.len(), names(variant)), (1, vec!["extra".to_owned(), "probe".to_owned()]));
    // Both are pinned, and both are there.
    let again = stand.prepare(&["--locked", "--offline"]);
    assert_eq!(again, said);
    let _ = stand.run(["lock", "--update"]).succeeds();
    let given_up = stand.lock();
    assert!(given_up.get("package").is_none(), "{given_up}");
    assert_eq!(given_up["variant"][0]["newest_packages"].as_bool(), Some(true), "{given_up}");
    let said = stand.run(["prepare", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` would change: it does not pin the packages"), "{said}");
}

#[test]
fn what_others_do_to_the_lock_meanwhile_stays() {
    let stand = Stand::new(User::current());
    let publish = with_probe(&stand);
    publish("1.0", "");
    // The preparation has read the lock and waits for its package.
    let package = "/r/all/probe_1.0_all.deb";
    stand.plain.hold(package);
    let mut run = stand.run(["prepare"]);
    let mut prepare = run.command().stdout(Stdio::null()).spawn().expect("nodeforge starts");
    wait_until(|| {
        assert!(prepare.try_wait().expect("asked").is_none(), "it ended without its package");
        !stand.plain.requests(package).is_empty()
    });
    let _ = stand.run(["lock", "--update"]).succeeds();
    let given_up = stand.lock();
    stand.plain.release(package);
    assert!(prepare.wait().expect("it ends").success());
    assert_eq!(stand.lock(), given_up);
}

/// Everything at hand already, on file systems that cannot be written.
#[test]
fn what_is_cached_is_only_read() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "");
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let server = Server::http();
    server.put("/key.asc", gpg.public(&key));
    let profile = machines.path("profile/profile.toml");
    let url = server.url("");
    let text = format!(
        "{}[[apt_source]]\nname = \"own\"\nuris = [\"{url}/r\"]\nsuites = [\"/\"]\n\
         key_url = \"{url}/key.asc\"\nfingerprint = \"{}\"\n",
        fs::read_to_string(&profile).expect("there"),
        key.fingerprint
    );
    fs::write(&profile, text).expect("written");
    let prepare = ["prepare", "--sandbox", "none"];
    let _ = machines.run(prepare).succeeds();
    let script =
        "mount --bind \"$PWD\" \"$PWD\" && mount -o remount,bind,ro \"$PWD\" && cd \"$PWD\" &&
        ! touch here 2>/dev/null && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(env!("CARGO_BIN_EXE_nodeforge"))
        .args(prepare)
        .env("XDG_CACHE_HOME", machines.path("cache"))
        .current_dir(machines.folder.path());
    let output = command.output().expect("unshare starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
