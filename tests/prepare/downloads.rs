//! Packages of others' repositories, keys, and single files.

use super::{Stand, cat, image, root};
use crate::support::{Gpg, Person, Repository, Style, noise, tool};

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
            _ => (format!("PLAIN/{name}.asc"), format!("fingerprint = \"{}\"\n", key.fingerprint)),
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

#[test]
fn repositories_of_every_style_and_files_of_every_kind() {
    for person in Person::all() {
        let stand = Stand::new(person);
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
}

#[test]
fn keys_that_are_not_the_right_ones() {
    let stand = Stand::new(Person::me());
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
