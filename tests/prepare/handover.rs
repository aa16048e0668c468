//! Publishers' own first boots are switched off, whatever the profile.

use std::fs;

use super::cat;
use crate::support::{Arch, Machines, Run, tool};

const CLUSTER_UNITS: &str = "[units]\nenable = [\"systemd-networkd.service\"]\n";

#[test]
fn cloud_init_the_wizard_and_a_second_network_manager_are_off() {
    let stand = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let base = stand.path("base.img");
    let unit = "[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy=multi-user.target\n";
    let units = ["userconfig", "NetworkManager", "systemd-networkd", "getty@"];
    let mut files: Vec<(String, &str)> = units
        .iter()
        .map(|name| (format!("/usr/lib/systemd/system/{name}.service"), unit))
        .collect();
    files.push(("/etc/cloud/cloud.cfg".into(), "preserve_hostname: false\n"));
    files.push(("/etc/ssh/sshd_config.d/rename_user.conf".into(), "Banner /usr/share/banner\n"));
    files.push(("/usr/lib/netplan/00-network-manager-all.yaml".into(), "network: {}\n"));
    let tree = stand.path("of-the-publisher");
    for (path, text) in &files {
        let path = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    for top in ["etc", "usr"] {
        let (source, target) = (tree.join(top), format!("{}:/", base.display()));
        Run::new(["cp".as_ref(), "-r".as_ref(), source.as_os_str(), target.as_ref()]).succeeds();
    }
    let profile = stand.path("profile/profile.toml");
    let text = fs::read_to_string(&profile).expect("there");
    fs::write(
        &profile,
        text.replace(
            "[[role]]\nname = \"server\"",
            &format!("{CLUSTER_UNITS}[[role]]\nname = \"server\""),
        ),
    )
    .expect("written");
    let said = stand.run(["prepare", "--json", "--sandbox", "none"]).succeeds().stdout_text();
    let made = super::image(&serde_json::from_str(&said).expect("JSON"));
    assert_eq!(cat(&made, "/etc/cloud/cloud-init.disabled"), "disabled by nodeforge\n");
    assert_eq!(cat(&made, "/etc/netplan/00-network-manager-all.yaml"), "network:\n  version: 2\n");
    let link = |path: &str| {
        let stat = tool("debugfs", ["-R", &format!("stat {path}"), &super::root(&made)]);
        stat.lines().find_map(|it| it.strip_prefix("Fast link dest: ")).map(str::to_owned)
    };
    for name in ["userconfig", "NetworkManager", "NetworkManager-wait-online"] {
        let target = link(&format!("/etc/systemd/system/{name}.service"));
        assert_eq!(target.as_deref(), Some("\"/dev/null\""), "{name}");
    }
    assert!(link("/etc/systemd/system/multi-user.target.wants/getty@tty1.service").is_some());
    assert!(link("/etc/systemd/system/multi-user.target.wants/systemd-networkd.service").is_some());
    assert_eq!(cat(&made, "/etc/ssh/sshd_config.d/rename_user.conf"), "");
}
