//! Packages of others' repositories, keys, and single files.

use std::fs;

use super::{Stand, cat, image, own_repository, root};
use crate::support::{Gpg, Key, Repository, Style, User, for_every_user, noise, tool};

const STYLES: [(&str, Style); 3] =
    [("flat", Style::Flat), ("debian", Style::Debian), ("docker", Style::Docker)];

/// Three repositories, each with its own key at its own place, and the profile that uses them.
fn repositories(stand: &Stand, gpg: &Gpg) -> String {
    let mut profile = String::from(
        "[packages]\ninstall = [\"probe-flat\", \"probe-debian=1.0\", \"probe-docker\"]\nhold = [\"probe-debian\"]\n",
    );
    for (name, style) in STYLES {
        let key = gpg.key("rsa3072");
        let package = format!("probe-{name}");
        let repository = Repository::new(style);
        // A program of the image runs, and no service of it starts.
        let script = "test \"$(cat /etc/hostname 2>/dev/null)\" != host\nif test -x /usr/sbin/policy-rc.d; then /usr/sbin/policy-rc.d x start || test $? = 101; fi";
        repository.add_with(&package, "1.0", script).add(&package, "2.0");
        repository.publish(gpg, &key, &stand.plain, &format!("/{name}"));
        let public = gpg.public(&key);
        let (key_url, pin) = match style {
            // Trusted at first use, and so only over https.
            Style::Docker => ("SECURE/docker.asc".to_owned(), String::new()),
            Style::Flat | Style::Debian => {
                (format!("PLAIN/{name}.asc"), format!("fingerprint = \"{}\"\n", key.fingerprint))
            }
        };
        stand.plain.put(&format!("/{name}.asc"), public.clone());
        stand.secure.put(&format!("/{name}.asc"), public);
        profile += &format!(
            "[[apt_source]]\nname = \"{name}\"\nuris = [\"PLAIN/{name}\"]\n{}\nkey_url = \"{key_url}\"\n{pin}",
            style.words()
        );
    }
    profile
}

fn repositories_of_every_style_and_files_of_every_kind(user: &User) {
    let stand = Stand::new(user.clone());
    let gpg = Gpg::new();
    let big = noise(7, 3_000_001);
    stand.plain.put("/tool-1.2", big.clone());
    stand.secure.put("/listed-amd64.bin", "an amd64 program");
    stand.secure.put("/listed-arm64.bin", "an arm64 program");
    let sum = |text: &[u8]| {
        let path = stand.path("summed");
        std::fs::write(&path, text).expect("written");
        crate::support::checksum("sha256sum", &path)
    };
    stand.secure.put(
        "/sums.txt",
        format!(
            "{}  listed-amd64.bin\n{}  listed-arm64.bin\n",
            sum(b"an amd64 program"),
            sum(b"an arm64 program")
        ),
    );
    let profile = repositories(&stand, &gpg)
        + &format!(
            "[[artifact]]\nurl = \"PLAIN/tool-1.2\"\nsha256 = \"{}\"\npath = \"/opt/tools/bin/tool\"\nmode = \"0755\"\n",
            sum(&big)
        )
        + &["amd64", "arm64"].map(|arch| {
            format!("[[artifact]]\nurl = \"SECURE/listed-{arch}.bin\"\nsha256_url = \"SECURE/sums.txt\"\npath = \"/usr/local/bin/listed\"\nmode = \"0755\"\narch = \"{arch}\"\n")
        }).concat();
    stand.profile(&profile);

    let finished = stand.run(["prepare", "--json"]).succeeds();
    let warned = finished.stderr_text();
    assert!(
        warned.contains("of the apt source `docker` at first use: nodeforge.lock pins it"),
        "{warned}"
    );
    let said: serde_json::Value = serde_json::from_str(&finished.stdout_text()).expect("JSON");
    let made = image(&said);
    tool("e2fsck", ["-fn", &root(&made)]);
    assert_eq!(cat(&made, "/usr/share/probe-flat"), "2.0");
    assert_eq!(cat(&made, "/usr/share/probe-debian"), "1.0");
    assert_eq!(cat(&made, "/usr/share/probe-docker"), "2.0");
    assert_eq!(cat(&made, "/usr/local/bin/listed"), "an amd64 program");
    let stat = tool("debugfs", ["-R", "stat /opt/tools/bin/tool", &root(&made)]);
    assert!(stat.contains("Mode:  0755") && stat.contains("Size: 3000001"), "{stat}");
    let installed = said["packages"].as_array().expect("packages");
    assert!(installed.iter().any(|it| it["name"] == "probe-debian" && it["version"] == "1.0"));
    for (name, _) in STYLES {
        let source = cat(&made, &format!("/etc/apt/sources.list.d/{name}.sources"));
        assert!(
            source.ends_with(&format!("Signed-By: /etc/apt/keyrings/{name}.asc\n")),
            "{source}"
        );
    }

    // What was learned is in the lock, and asked for no more.
    let lock = stand.lock();
    assert_eq!(lock["key"].as_array().expect("keys").len(), 3);
    assert_eq!(lock["artifact"].as_array().expect("artifacts").len(), 2);
    let asked = stand.secure.requests("/docker.asc").len();
    assert_eq!(stand.prepare(&["--locked", "--offline"])["path"], said["path"]);
    assert_eq!(stand.secure.requests("/docker.asc").len(), asked);
    assert_eq!(stand.secure.requests("/listed-arm64.bin").len(), 0);

    // The same file under another hash is another file.
    stand.secure.put("/sums.txt", format!("{}  listed-amd64.bin\n", sum(b"tampered")));
    assert_eq!(stand.prepare(&["--locked"])["path"], said["path"]);
    let said = stand.run(["lock", "--update"]).exits(1).stderr_text();
    assert!(said.contains("is not what it should be: its SHA-256 is"), "{said}");
}

#[test]
fn keys_that_are_not_the_right_ones() {
    let stand = Stand::new(User::current());
    let gpg = Gpg::new();
    let (right, wrong) = (gpg.key("ed25519"), gpg.key("ed25519"));
    let repository = Repository::new(Style::Flat);
    repository.add("probe", "1.0").publish(&gpg, &wrong, &stand.plain, "/repository");
    stand.plain.put("/right.asc", gpg.public(&right));
    stand.plain.put("/wrong.asc", gpg.public(&wrong));
    let both = [gpg.public(&right), gpg.public(&wrong)].concat();
    stand.secure.put("/both.asc", both);
    let profile = |key: &str| {
        format!(
            "[packages]\ninstall = [\"probe\"]\n[[apt_source]]\nname = \"own\"\nuris = [\"PLAIN/repository\"]\n\
             suites = [\"/\"]\n{key}\n"
        )
    };
    let pin = |url: &str| format!("key_url = \"{url}\"\nfingerprint = \"{}\"", right.fingerprint);

    // Another key than pinned: apt is never asked.
    stand.profile(&profile(&pin("PLAIN/wrong.asc")));
    let said = stand.fails(&[]);
    let words = format!("it is {}, pinned is {}", wrong.fingerprint, right.fingerprint);
    assert!(said.contains(&words) && said.contains("asked for by profile own"), "{said}");
    assert!(stand.plain.requests("/repository/InRelease").is_empty());

    // Several keys, and nothing that says which.
    stand.profile(&profile("key_url = \"SECURE/both.asc\""));
    let said = stand.fails(&[]);
    assert!(said.contains("more than one key") && said.contains(&right.fingerprint), "{said}");

    // Of several, the pinned one alone counts: what the other signed is not trusted.
    stand.profile(&profile(&pin("SECURE/both.asc")));
    let said = stand.fails(&[]);
    assert!(said.contains("a repository's signature was not accepted"), "{said}");
    assert!(said.contains("the full log is `"), "{said}");

    // The server is out of order.
    stand.profile(&profile(&pin("PLAIN/absent.asc")));
    let said = stand.fails(&[]);
    assert!(said.contains("is not there: HTTP 404"), "{said}");
    let left =
        tool("find", [stand.path("cache").as_os_str(), "-name".as_ref(), "disk.img".as_ref()]);
    assert_eq!(left, "");
}

#[test]
fn a_lock_past_its_time_is_refused() {
    let stand = Stand::new(User::current());
    let gpg = Gpg::new();
    let (good, old) = (gpg.old_key("ed25519", "20y"), gpg.old_key("ed25519", "1y"));
    let profile = |key: &Key| {
        stand.plain.put("/key.asc", gpg.public(key));
        stand.profile(&format!(
            "[[apt_source]]\nname = \"own\"\nuris = [\"PLAIN/r\"]\nsuites = [\"/\"]\n\
             key_url = \"PLAIN/key.asc\"\nfingerprint = \"{}\"\n",
            key.fingerprint
        ));
    };
    let refused = |command: &str, key: &Key, day: &str| {
        let said = stand.run([command]).exits(2).stderr_text();
        let words = format!(
            "nodeforge.lock` is out of date: the key {} of the apt source `own` expired on {day}\n\
             hint: `nodeforge lock --update` pins what `{}` has now\n\
             hint: where that has expired too, give the address of the key that signs now: `key_url` of the \
             `[[apt_source]]`, or the setting that it is taken from\n",
            key.fingerprint,
            stand.plain.url("/key.asc")
        );
        assert!(said.contains(&words), "{said}");
    };
    // Nothing that apt would refuse is even begun.
    profile(&old);
    let said = stand.run(["check", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("nodeforge.lock` would change: it does not pin the base"), "{said}");
    let publisher_is_late = |arguments: &[&str]| {
        let said = stand.run(arguments).exits(1).stderr_text();
        let words = format!(
            "the key {} of the apt source `own` expired on 2020-12-31, and `{}` has no newer one\n\
             hint: find the key that signs now at its publisher, and give its address: `key_url` of the \
             `[[apt_source]]`, or the setting that it is taken from\n",
            old.fingerprint,
            stand.plain.url("/key.asc")
        );
        assert!(said.contains(&words), "{said}");
    };
    publisher_is_late(&["fetch"]);
    publisher_is_late(&["lock", "--update"]);

    profile(&good);
    let _ = stand.run(["fetch"]).succeeds();
    let _ = stand.run(["check", "--locked"]).succeeds();
    let lock = fs::read_to_string(stand.path("nodeforge.lock")).expect("there");
    assert!(lock.contains("expires = \"2039-12-27\""), "{lock}");
    let aged = lock.replace("2039-12-27", "2025-12-27");
    fs::write(stand.path("nodeforge.lock"), aged).expect("written");
    refused("check", &good, "2025-12-27");
    let _ = stand.run(["lock", "--update"]).succeeds();
    assert_eq!(stand.run(["check"]).succeeds().stderr_text(), "");

    // The cluster file moves on to another base.
    let file = stand.path("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let path = format!("path = \"{}\"", stand.base.display());
    let other = "bootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"uefi\" }";
    fs::write(&file, text.replace(&path, other)).expect("written");
    let said = stand.run(["check"]).succeeds().stderr_text();
    assert!(said.contains("the next build will change `"), "{said}");
    let said = stand.run(["check", "--locked"]).exits(2).stderr_text();
    assert!(said.contains("would change: it pins `path "), "{said}");
}

#[test]
fn what_was_fetched_stays_when_packages_fail() {
    let stand = Stand::new(User::current());
    let source = own_repository(&stand, &[("whole", ""), ("broken", "exit 1")]);
    stand.profile(&format!("[packages]\ninstall = [\"whole\", \"broken\"]\n{source}"));
    for _ in 0..2 {
        let said = stand.fails(&[]);
        assert!(said.contains("broken"), "{said}");
        for name in ["whole", "broken"] {
            let asked = stand.plain.requests(&format!("/r/all/{name}_1.0_all.deb"));
            assert_eq!(asked.len(), 1, "{name}");
        }
    }
}

#[test]
fn what_the_base_has_is_upgraded() {
    let mut stand = Stand::new(User::current());
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let repository = Repository::new(Style::Flat);
    let publish = || repository.publish(&gpg, &key, &stand.plain, "/r");
    let profile = |packages: &str| {
        format!(
            "[packages]\n{packages}\n[[apt_source]]\nname = \"own\"\nuris = [\"PLAIN/r\"]\n\
             suites = [\"/\"]\nkey_url = \"PLAIN/key.asc\"\nfingerprint = \"{}\"\n",
            key.fingerprint
        )
    };
    stand.plain.put("/key.asc", gpg.public(&key));
    repository.add("probe", "1.0");
    publish();
    stand.profile(&profile("install = [\"probe\"]"));
    let old = image(&stand.prepare(&[]));
    assert_eq!(cat(&old, "/usr/share/probe"), "1.0");

    // What was prepared long ago is the next base.
    repository.add("probe", "2.0").add("late", "1.0");
    publish();
    fs::copy(old, stand.path("old.img")).expect("copied");
    stand.base = stand.path("old.img");
    fs::remove_file(stand.path("nodeforge.lock")).expect("a lock");
    stand.profile(&profile("upgrade = true\ninstall = [\"late\"]"));
    let planned = stand.run(["plan"]).succeeds().stdout_text();
    assert!(planned.contains("upgrade *"), "{planned}");
    let states = |image| {
        let states = cat(image, "/var/lib/apt/extended_states");
        assert_eq!(cat(image, "/usr/share/probe"), "2.0");
        assert!(!states.contains("Package: probe\n"), "{states}");
        states
    };
    let first = image(&stand.prepare(&[]));
    let before = states(&first);
    // The same versions again, whatever there is meanwhile.
    let again = image(&stand.prepare(&["--locked", "--offline", "--force"]));
    assert_eq!(states(&again), before);
    assert!(cat(&again, "/var/lib/dpkg/status").contains("Package: linux-image-"));
}

for_every_user!(repositories_of_every_style_and_files_of_every_kind);
