//! What `plan` prints is what `build` does: all of it, and nothing else. debugfs and sgdisk read the result.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::{Arch, Machines, tool};

/// Files that follow from a change which is not a file by itself.
const ACCOUNTS: [&str; 7] = [
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/home/admin",
    "/etc/sudoers.d",
    "/etc/systemd/system",
];

fn text<'a>(change: &'a Value, key: &str) -> &'a str {
    change[key].as_str().unwrap_or_else(|| panic!("`{key}` in {change}"))
}

#[test]
fn the_list_printed_is_the_list_applied() {
    let output = "formats = [\"raw\"]\n[locale]\ntimezone = \"Etc/UTC\"\nlocale = \"C.UTF-8\"\n\
        [[files]]\npath = \"/etc/motd\"\ncontent = \"I am {{ node.hostname }}\\n\"\nmode = \"0640\"\n";
    let machines = Machines::new(Arch::Amd64, &["server1", "agent1"], output);
    machines.run(["build"]).succeeds();
    let said = machines.run(["plan", "--json", "agent1"]).succeeds().stdout_text();
    let plan: Value = serde_json::from_str(&said).expect("JSON");
    let changes = plan["nodes"][0]["changes"].as_array().expect("a list");
    assert!(changes.len() > 15, "{said}");

    let image = machines.artifact("agent1.img").display().to_string();
    let table = tool("sgdisk", ["-i", "1", &image]);
    let start = table.lines().find_map(|line| line.strip_prefix("First sector: "));
    let start: u64 = start.and_then(|it| it.split(' ').next()?.parse().ok()).expect("a sector");
    let root = format!("{image}?offset={}", start * 512);
    let debugfs = |command: &str| tool("debugfs", ["-R", command, &root]);
    let cat = |path: &str| debugfs(&format!("cat {path}"));
    let stat = |path: &str| debugfs(&format!("stat {path}"));

    let mut touched: BTreeSet<String> = BTreeSet::new();
    for change in changes {
        match text(change, "action") {
            "file" => {
                let path = text(change, "path");
                let mode = format!("Mode:  {}", text(change, "mode"));
                let found = stat(path);
                assert!(found.contains(&mode), "{path}: {found}");
                assert!(found.contains("User:     0   Group:     0"), "{path}: {found}");
                let is_public = change["secrets"].as_array().is_some_and(Vec::is_empty);
                if let (Some(content), true) = (change["content"].as_str(), is_public) {
                    assert_eq!(cat(path), content, "{path}");
                }
                touched.insert(path.into());
            }
            "symlink" => {
                let (path, target) = (text(change, "path"), text(change, "target"));
                assert!(stat(path).contains(&format!("\"{target}\"")), "{path}");
                touched.insert(path.into());
            }
            "hostname" => {
                assert_eq!(cat("/etc/hostname"), format!("{}\n", text(change, "name")));
                touched.extend(["/etc/hostname".into(), "/etc/hosts".into()]);
            }
            "machine-id" => {
                assert_eq!(cat("/etc/machine-id"), format!("{}\n", text(change, "id")));
                touched.extend(["/etc/machine-id".into(), "/var/lib/dbus".into()]);
            }
            "disk-id" => {
                let printed = tool("sgdisk", ["-p", &image]);
                assert!(printed.contains(&text(change, "id").to_uppercase()), "{printed}");
            }
            "locale" => {
                assert_eq!(cat("/etc/locale.conf"), format!("LANG={}\n", text(change, "name")));
                touched.extend(["/etc/locale.conf".into(), "/etc/default/locale".into()]);
            }
            "timezone" => {
                assert!(stat("/etc/localtime").contains("zoneinfo/Etc/UTC"));
                touched.extend(["/etc/localtime".into(), "/etc/timezone".into()]);
            }
            "user" => {
                let line = format!("{}:x:", text(change, "name"));
                assert!(cat("/etc/passwd").lines().any(|it| it.starts_with(&line)));
                touched.extend(ACCOUNTS.map(str::to_owned));
            }
            "unit" => {
                let name = text(change, "name");
                assert_eq!(text(change, "state"), "enabled");
                let wants = format!("/etc/systemd/system/multi-user.target.wants/{name}");
                assert!(stat(&wants).contains(name), "{wants}");
            }
            other => panic!("there is no check for `{other}`: {change}"),
        }
    }

    // Nothing differs from the prepared base that the plan does not name.
    let prepared = machines.run(["prepare"]).succeeds().stdout_text();
    let prepared = prepared.split_whitespace().nth(1).expect("a path");
    let said = machines.run(["diff", "--json", prepared, &image]).exits(1).stdout_text();
    let found: Value = serde_json::from_str(&said).expect("JSON");
    let mut differing = 0;
    for kind in ["added", "removed", "changed"] {
        for file in found["files"][kind].as_array().expect("a list") {
            let path = text(file, "path");
            let is_named = |it: &String| path.starts_with(it.as_str()) || it.starts_with(path);
            assert!(touched.iter().any(is_named), "`{path}` is in no plan");
            differing += 1;
        }
    }
    assert!(differing > 10, "{said}");
}

#[test]
fn planned_files_are_compared_with_whatever_the_base_has() {
    let file = |path: &str| format!("[[files]]\npath = \"{path}\"\ncontent = \"new\\n\"\n");
    let paths = ["/etc/os-release", "/etc/new", "/bin", "/usr/lib/noise", "/var/log"];
    let output = format!("formats = [\"raw\"]\n{}", paths.map(file).concat());
    let machines = Machines::new(Arch::Amd64, &["server1"], &output);
    let said = machines.run(["plan", "--diff-base"]).succeeds().stdout_text();
    let under = |path: &str| {
        let from = said.lines().skip_while(|line| !line.contains(&format!(" {path},")));
        let below = from.skip(1).take_while(|line| line.starts_with("    "));
        below.flat_map(|line| [line.trim_start(), "\n"]).collect::<String>()
    };
    assert!(
        said.contains("\n  cloud-init and first-user dialogues off, where the base has them\n")
    );
    let whole = "@@ -0,0 +1 @@\n+new\n";
    assert_eq!(
        under("/etc/os-release"),
        "@@ -1,3 +1 @@\n-ID=debian\n-VERSION_ID=\"13\"\n\
         -PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n+new\n",
        "{said}"
    );
    assert_eq!(under("/etc/new"), whole, "{said}");
    assert_eq!(under("/bin"), format!("(in place of a link to usr/bin)\n{whole}"), "{said}");
    assert_eq!(under("/usr/lib/noise"), format!("(in place of a large file)\n{whole}"), "{said}");
    assert_eq!(under("/var/log"), format!("(a directory is in its place)\n{whole}"), "{said}");
}
