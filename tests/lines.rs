//! Files that other programs read line by line: what they would not see is not written.

use std::fs;

use serde_json::Value;

use super::support::{Arch, Machines, Run, User};

const ROLE: &str =
    "[[role]]\nname = \"server\"\npattern = \"server[0-9]\"\nkind = \"control-plane\"\n";

fn cluster(profile: &str, more: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    let own = folder.path().join("own");
    fs::create_dir(&own).expect("made");
    fs::write(own.join("profile.toml"), format!("description = \"a test\"\n{profile}\n{ROLE}"))
        .expect("written");
    let text = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[base]\npath = \"base.img\"\n\
         [access]\nuser = \"me\"\nlogin = false\n{more}"
    );
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    folder
}

fn files(folder: &tempfile::TempDir) -> Vec<Value> {
    let said = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let plan: Value = serde_json::from_str(&said).expect("JSON");
    plan["nodes"][0]["changes"].as_array().expect("changes").clone()
}

fn content(changes: &[Value], path: &str) -> Option<String> {
    let file = changes.iter().find(|it| it["path"] == path)?;
    file["content"].as_str().map(str::to_owned)
}

#[test]
fn line_ends_of_windows_do_not_reach_a_script() {
    let script = "[[files]]\npath = \"/usr/bin/x\"\ncontent = \"\"\"\n#!/bin/sh\necho hi\n\"\"\"\n\
        [[node]]\nhostname = \"server1\"\n";
    let folder = cluster("", script);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there").replace('\n', "\r\n");
    fs::write(file, text).expect("written");
    let changes = files(&folder);
    assert_eq!(content(&changes, "/usr/bin/x").as_deref(), Some("#!/bin/sh\necho hi\n"));

    let named =
        "[[files]]\npath = \"/usr/bin/x\"\nsource = \"x.sh\"\n[[node]]\nhostname = \"server1\"\n";
    let folder = cluster("", named);
    fs::write(folder.path().join("x.sh"), "#!/bin/sh\r\necho hi\r\n").expect("written");
    let said = Run::new(["check"]).folder(folder.path()).exits(2).stderr_text();
    assert!(said.starts_with("error: the script `x.sh` has Windows' line ends\n"), "{said}");
    assert!(
        said.ends_with("hint: it would be run by `/bin/sh\\r`; `dos2unix` mends it\n"),
        "{said}"
    );
}

/// networkd takes the first unit that matches a card, and all drop-ins of that.
#[test]
fn name_servers_are_added_to_the_profiles_units() {
    let node = "[[node]]\nhostname = \"server1\"\ndns = [\"192.168.1.1\"]\n";
    let changes = files(&cluster("overlays = [\"networkd\"]", node));
    let drop_in = "/etc/systemd/network/80-dhcp.network.d/05-nodeforge.conf";
    let text =
        "# The name servers of server1, from its cluster file.\n[Network]\nDNS=192.168.1.1\n";
    assert_eq!(content(&changes, drop_in).as_deref(), Some(text));
    let own = "/etc/systemd/network/05-nodeforge.network";
    assert_eq!(content(&changes, own), None, "it would hide ClientIdentifier=mac");
    // Where the profile has no unit, and where a node has its own addresses, it has its own unit.
    let changes = files(&cluster("", node));
    assert!(content(&changes, own).is_some_and(|it| it.contains("DHCP=yes\n")));
    let node = format!("{node}addresses = [\"192.168.1.2/24\"]\n");
    let changes = files(&cluster("overlays = [\"networkd\"]", &node));
    assert!(content(&changes, own).is_some_and(|it| it.contains("Address=192.168.1.2/24\n")));
    assert_eq!(content(&changes, drop_in), None);
}

#[test]
fn two_plans_before_the_first_build_are_the_same() {
    let folder =
        cluster("", "[[node]]\nhostname = \"server1\"\n[ssh]\nhost_keys = \"first-boot\"\n");
    let plan = || Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let first = plan();
    assert_eq!(first, plan());
    assert!(first.contains("\"machine-id\"") && first.contains("\"disk-id\""), "{first}");
}

/// A language or a keyboard that the image does not know would be without effect.
#[test]
fn languages_and_keyboards_are_those_of_the_base() {
    let machines = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let list =
        "! layout\n  us English (US)\n  de German\n\n! variant\n  intl us: English (intl.)\n";
    let mut archive = Vec::new();
    // The head, a table of one entry, its name; sv_SE alone is in it.
    for number in [0xde02_0109_u32, 0, 56, 1, 1, 68, 11, 11, 80, 0, 0, 0, 0, 0, 7, 68, 80] {
        archive.extend(number.to_le_bytes());
    }
    archive.extend(b"sv_SE.utf8\0");
    for (path, bytes) in [
        ("usr/lib/locale/de_DE.utf8/LC_CTYPE", b"x".as_slice()),
        ("usr/lib/locale/C.utf8/LC_CTYPE", b"x"),
        ("usr/lib/locale/locale-archive", &archive),
        ("usr/share/X11/xkb/rules/base.lst", list.as_bytes()),
    ] {
        let file = machines.path(&format!("laid/{path}"));
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, bytes).expect("written");
    }
    for part in ["usr/lib/locale", "usr/share/X11"] {
        let (from, to) = (format!("laid/{part}"), format!("base.img:/{part}"));
        let _ = machines.run(["cp", "-r", &from, &to]).succeeds();
    }
    let build = |locale: &str, keyboard: &str| {
        let sets = [format!("locale.locale={locale}"), format!("locale.keyboard={keyboard}")];
        machines.run(["build", "-q", "--set", &sets[0], "--set", &sets[1]])
    };
    let cat = |path: &str| {
        let place = format!("{}:{path}", machines.artifact("server1.img").display());
        machines.run(["cat", &place]).succeeds().stdout_text()
    };
    for locale in ["de_DE.UTF-8", "sv_SE.UTF-8", "C.UTF-8"] {
        let _ = build(locale, "us(intl)").succeeds();
        assert_eq!(cat("/etc/default/locale"), format!("LANG={locale}\n"));
    }
    assert!(cat("/etc/default/keyboard").contains("XKBLAYOUT=\"us\"\nXKBVARIANT=\"intl\"\n"));
    let said = build("xx_YY.UTF-8", "us").exits(2).stderr_text();
    assert!(said.contains("the base has no locale `xx_YY.UTF-8`\n"), "{said}");
    assert!(said.contains("hint: it has C.utf8, de_DE.utf8, sv_SE.utf8\n"), "{said}");
    let said = build("C.UTF-8", "de(intl)").exits(2).stderr_text();
    assert!(said.contains("no variant `intl` of the keyboard layout `de`\n"), "{said}");
    let said = build("C.UTF-8", "xx").exits(2).stderr_text();
    assert!(said.contains("the base has no keyboard layout `xx`\n"), "{said}");
    let said = build("C.UTF-8", "us-intl").exits(2).stderr_text();
    assert!(said.contains("hint: a variant stands in brackets: `us(intl)`\n"), "{said}");
}
