//! Packages that the build left to the first boot, in QEMU.

use std::fs;

use super::{Stand, image};
use crate::support::{BOOT_REPORT_END, Gpg, Repository, Style, User, report_when_up, tool};

/// A service that a package brings and the profile enables.
const UNIT: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/bin/sh -c 'echo probe-service: $(cat /usr/share/probe) $(cat /etc/probe.conf) >/dev/console'\n\
    [Install]\nWantedBy=multi-user.target\n";

#[test]
fn what_the_build_could_not_install_the_first_boot_does() {
    let stand = Stand::new(User::ordinary());
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let repository = Repository::new(Style::Flat);
    let files = [
        ("/usr/share/probe", "1.0", "644"),
        ("/usr/lib/systemd/system/probe.service", UNIT, "644"),
        ("/etc/probe.conf", "the package's\n", "644"),
        ("/DEBIAN/conffiles", "/etc/probe.conf\n", "644"),
    ];
    repository.add_files("probe", "1.0", "", &files);
    repository.publish(&gpg, &key, &stand.plain, "/r");
    stand.plain.put("/key.asc", gpg.public(&key));
    // This machine's loopback, as QEMU's guests see it; and nothing of Debian's, which takes minutes
    // to read under emulation.
    let guest = stand.plain.url("/r").replace("127.0.0.1", "10.0.2.2");
    stand.profile(&format!(
        "[packages]\ninstall = [\"probe\"]\n[units]\nenable = [\"probe.service\", \"systemd-networkd.service\"]\n\
         [[apt_source]]\nname = \"own\"\nuris = [\"{guest}\"]\nsuites = [\"/\"]\n\
         key_url = \"PLAIN/key.asc\"\nfingerprint = \"{}\"\n",
        key.fingerprint
    ));
    let cluster = stand.path("cluster.toml");
    let text = fs::read_to_string(&cluster).expect("there");
    let files = "[[files]]\npath = \"/etc/apt/sources.list\"\ncontent = \"\"\n\
         [[files]]\npath = \"/etc/probe.conf\"\ncontent = \"the cluster's own\\n\"\n";
    fs::write(&cluster, text + files).expect("written");
    let sandbox = ["--sandbox", "none"];
    let made = image(&stand.prepare(&sandbox));
    assert_eq!(tool("debugfs", ["-R", "stat /usr/share/probe", &super::root(&made)]), "");
    stand.run(["build", "--format", "raw"].iter().chain(&sandbox)).succeeds();
    let artifact = stand.path("out/server1.img");
    report_when_up(&stand.user, &artifact);

    let arguments =
        ["boot", "server1", "--internet", "--timeout", "600", "--until", BOOT_REPORT_END];
    let said = stand.run(arguments).succeeds().stdout_text();
    for line in [
        "nodeforge-firstboot: installing probe",
        "nodeforge-firstboot: step 05-packages done",
        "probe-service: 1.0 the cluster's own",
        "nodeforge-firstboot: done",
        "nodeforge-test: running, failed: none",
    ] {
        assert!(said.contains(line), "the console did not say `{line}`:\n{said}");
    }
    let asked = stand.plain.requests("/r/all/probe_1.0_all.deb");
    assert!(
        asked.iter().any(|it| it.headers.get("user-agent").is_some_and(|it| it.contains("APT")))
    );
}
