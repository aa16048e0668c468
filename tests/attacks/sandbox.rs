//! A base and a package that try to get out of the sandbox, by every way that the sandbox has had or that
//! others of its kind had.

use std::fs;
use std::path::{Path, PathBuf};

use crate::prepare::{Stand, base, cat, own_packages};
use crate::support::{User, tool};

const PROBE: &str = include_str!("probe");
/// What [`PROBE`] is run by.
const PLACES: [&str; 6] = ["dpkg", "hook", "postinst", "preinst", "trigger", "postinst-of-another"];
/// The only capabilities that a program may have: CHOWN, `DAC_OVERRIDE`, FOWNER, FSETID, KILL, SETGID, SETUID,
/// SETPCAP, `NET_BIND_SERVICE`, `SYS_CHROOT`, MKNOD, `AUDIT_WRITE`, SETFCAP.
const CAPABILITIES: u64 = 0xa804_05fb;

/// Gives a copy of the base whose apt and dpkg call the probe.
fn hostile_base(stand: &Stand) -> PathBuf {
    let image = stand.path("base.img");
    let mut copy = stand.command("cp");
    copy.arg("--sparse=always").args([&stand.base, &image]);
    assert!(copy.status().expect("cp starts").success());
    let put = |text: &str, mode: &str, path: &str| {
        let file = stand.path("file");
        fs::write(&file, text).expect("written");
        tool("chmod", [mode.as_ref(), file.as_os_str()]);
        stand.run(["cp", file.to_str().expect("UTF-8"), &at(&image, path)]).succeeds();
    };
    put(PROBE, "755", "/usr/local/bin/probe");
    let hook = "APT::Update::Pre-Invoke { \"/usr/local/bin/probe hook\"; };\n\
                DPkg::Pre-Install-Pkgs { \"/usr/local/bin/probe hook\"; };\n";
    put(hook, "644", "/etc/apt/apt.conf.d/99hostile");
    let server = stand.plain.url("");
    let port = server.rsplit(':').next().expect("a port").trim_end_matches('/').to_owned();
    let marker = stand.path("marker");
    fs::write(&marker, "of the host").expect("written");
    let disk = tool(
        "sh",
        ["-c", "stat -c '%Hr %Lr' $(ls /dev/[vs]d[a-z] /dev/nvme*n1 2>/dev/null | head -1)"],
    );
    let settings = format!("MARKER={} PORT={port} DISK='{}'\n", marker.display(), disk.trim());
    put(&settings, "644", "/etc/probe");
    let own = stand.path("dpkg");
    let own = own.to_str().expect("UTF-8");
    stand.run(["cp", &at(&image, "/usr/bin/dpkg"), own]).succeeds();
    stand.run(["cp", own, &at(&image, "/usr/bin/dpkg.own")]).succeeds();
    put(
        "#!/bin/sh\n/usr/local/bin/probe dpkg\nexec /usr/bin/dpkg.own \"$@\"\n",
        "755",
        "/usr/bin/dpkg",
    );
    image
}

fn at(image: &Path, path: &str) -> String {
    format!("{}:{path}", image.display())
}

fn check(user: User, sandbox: &str) {
    let base = base(&user);
    let mut stand = Stand::on(user, base);
    stand.base = hostile_base(&stand);
    let script = |place: &str| format!("#!/bin/sh\n/usr/local/bin/probe {place}\n");
    let postinst = "#!/bin/sh\nif [ \"$1\" = triggered ]; then set trigger; else set postinst; fi\n\
                    /usr/local/bin/probe $1\n";
    let source = own_packages(&stand, |repository| {
        let control = [
            ("DEBIAN/preinst", script("preinst"), "755"),
            ("DEBIAN/postinst", postinst.to_owned(), "755"),
            ("DEBIAN/triggers", "interest-noawait hostile-trigger\n".to_owned(), "644"),
        ];
        let files: Vec<_> =
            control.iter().map(|(path, text, mode)| (*path, &**text, *mode)).collect();
        repository.add_files("hostile", "1.0", "", &files);
        let innocent = script("postinst-of-another") + "dpkg-trigger hostile-trigger\n";
        let files = [("DEBIAN/postinst", &*innocent, "755")];
        // It is set up when the other one is.
        repository.add_files("innocent", "1.0", "hostile", &files);
    });
    stand.profile(&format!("[packages]\ninstall = [\"hostile\", \"innocent\"]\n{source}"));

    // On a terminal, as most are.
    let command = format!(
        "exec 7</; exec {} prepare --json --sandbox {sandbox} >said.json 2>said.err",
        env!("CARGO_BIN_EXE_nodeforge")
    );
    let mut terminal = stand.command("script");
    let status =
        terminal.args(["--quiet", "--return", "--command", &command, "typescript"]).status();
    let errors = fs::read_to_string(stand.path("said.err")).unwrap_or_default();
    assert!(status.expect("script starts").success(), "{errors}");
    let said = fs::read_to_string(stand.path("said.json")).expect("written");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let names: Vec<_> = said["packages"].as_array().expect("a list").iter().collect();
    // No forged message took the list's place.
    assert!(names.len() > 100, "{said}");
    let image = crate::prepare::image(&said);
    for place in PLACES {
        let found = cat(&image, &format!("/var/lib/probe/{place}"));
        assert!(found.contains("ran as 0, "), "{place} did not run: {found}");
        for line in found.lines() {
            let who = line.strip_prefix("ran as 0, CapEff:\t");
            let who = who.unwrap_or_else(|| panic!("from {place}: {line}"));
            let (capabilities, rest) = who.split_once(", ").expect("more");
            let capabilities = u64::from_str_radix(capabilities, 16).expect("a number");
            assert_eq!(capabilities & !CAPABILITIES, 0, "from {place}: {line}");
            assert_eq!(rest, "NoNewPrivs:\t1, Seccomp:\t2", "from {place}");
        }
    }
}

/// A user's files, terminal, network and kernel are out of reach of all that a base and its packages run.
#[test]
fn nothing_leaves_the_sandbox_of_an_ordinary_user() {
    check(User::ordinary(), "userns");
}

mod as_root {
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn nothing_leaves_the_sandbox_of_root() {
        check(User::root(), "loop");
    }
}

mod long {
    mod as_root {
        use super::super::*;

        #[test]
        #[ignore = "long: both sandboxes as root, needs root"]
        fn nothing_leaves_a_user_namespace_of_root() {
            check(User::root(), "userns");
        }
    }
}
