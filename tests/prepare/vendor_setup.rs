//! Publishers' own first boots are switched off, whatever the profile.

use std::fs;
use std::path::Path;

use super::cat;
use crate::support::{Arch, Machines, Run, temporary_folder, tool};

const UNIT: &str = "[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy=multi-user.target\n";
const CLUSTER_UNITS: &str = "[units]\nenable = [\"systemd-networkd.service\"]\n";

/// As Debian's cloud images have it.
const DEFAULT: &str = "network:
    version: 2
    ethernets:
        all-en:
            match:
                name: en*
            dhcp4: true
            dhcp4-overrides:
                use-domains: true
            dhcp6: true
            dhcp6-overrides:
                use-domains: true
        all-eth:
            match:
                name: eth*
            dhcp4: true
            dhcp4-overrides:
                use-domains: true
            dhcp6: true
            dhcp6-overrides:
                use-domains: true
";

/// Puts a publisher's files into the base.
fn publish(stand: &Machines, files: &[(String, &str)]) {
    let tree = stand.path("of-the-publisher");
    for (path, text) in files {
        let path = tree.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    for top in ["etc", "usr"].into_iter().filter(|top| tree.join(top).exists()) {
        let (source, target) = (tree.join(top), format!("{}:/", stand.path("base.img").display()));
        Run::new(["cp".as_ref(), "-r".as_ref(), source.as_os_str(), target.as_ref()]).succeeds();
    }
}

/// Lets the profile enable systemd-networkd.
fn choose_networkd(stand: &Machines) {
    let profile = stand.path("profile/profile.toml");
    let text = fs::read_to_string(&profile).expect("there");
    let role = "[[role]]\nname = \"server\"";
    fs::write(&profile, text.replace(role, &format!("{CLUSTER_UNITS}{role}"))).expect("written");
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a file").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Where a link of the image points.
fn link(image: &Path, path: &str) -> Option<String> {
    let stat = tool("debugfs", ["-R", &format!("stat {path}"), &super::root(image)]);
    stat.lines().find_map(|it| it.strip_prefix("Fast link dest: ")).map(str::to_owned)
}

/// What systemd-networkd reads on `image`, in that order: what is there, and what netplan's own
/// generator adds at every boot.
fn read_by_networkd(image: &Path) -> Vec<String> {
    let root = temporary_folder();
    let root = root.path();
    for (folder, above) in [
        ("/etc/netplan", "etc"),
        ("/etc/systemd/network", "etc/systemd"),
        ("/usr/lib/netplan", "lib"),
    ] {
        let above = root.join(above);
        fs::create_dir_all(&above).expect("made");
        let source = format!("{}:{folder}", image.display());
        Run::new(["cp".as_ref(), "-r".as_ref(), source.as_ref(), above.as_os_str()]).succeeds();
    }
    tool("/usr/libexec/netplan/generate", ["--root-dir".as_ref(), root.as_os_str()]);
    let mut names = names_in(&root.join("etc/systemd/network"));
    names.extend(names_in(&root.join("run/systemd/network")));
    names.sort();
    names
}

#[test]
fn static_addresses_count_whatever_netplan_has() {
    let stand = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    publish(
        &stand,
        &[
            ("/etc/netplan/90-default.yaml".into(), DEFAULT),
            ("/usr/lib/netplan/10-of-a-package.yaml".into(), &DEFAULT.replace("all-", "package-")),
            ("/usr/lib/systemd/system/systemd-networkd.service".into(), UNIT),
            ("/etc/systemd/network/80-dhcp.network".into(), "[Match]\nName=en*\n"),
        ],
    );
    let cluster = stand.path("cluster.toml");
    let text = fs::read_to_string(&cluster).expect("there");
    fs::write(&cluster, text + "addresses = [\"192.0.2.10/24\"]\ngateway = [\"192.0.2.1\"]\n")
        .expect("written");
    let built = || {
        stand.run(["build", "--sandbox", "none"]).succeeds();
        read_by_networkd(&stand.artifact("server1.img"))
    };
    // The network is the base's, but for nodes with addresses.
    let said = stand.run(["plan"]).succeeds().stdout_text();
    assert!(!said.contains("netplan"), "{said}");
    let names = built();
    assert_eq!(names[0], "05-nodeforge.network");
    for name in ["all-en", "package-en"] {
        assert!(names.contains(&format!("10-netplan-{name}.network")), "{names:?}");
    }
    // It is systemd-networkd's: then other nodes have what the profile says, and no DHCP of others'.
    choose_networkd(&stand);
    let said = stand.run(["plan"]).succeeds().stdout_text();
    let line = "\n  NetworkManager off and netplan's files gone, where the base has them\n";
    assert!(said.contains(line), "{said}");
    assert_eq!(built(), ["05-nodeforge.network", "80-dhcp.network"]);
}

#[test]
fn lines_for_other_boards_are_not_there_for_all() {
    let stand = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let base = "dtparam=audio=on\n[cm4]\ndtparam=pciex1\n[none]\ndtoverlay=disable-bt\n\
        [all]\n[cm5]\n[pi5]\nusb_max_current_enable=1\n";
    let lines =
        ["dtparam=audio=on", "dtparam=pciex1", "dtoverlay=disable-bt", "usb_max_current_enable=1"];
    let profile = stand.path("profile/profile.toml");
    let text = fs::read_to_string(&profile).expect("there");
    let kernel = format!("[kernel]\nconfig_txt = {lines:?}\n[[role]]\nname = \"server\"");
    fs::write(&profile, text.replace("[[role]]\nname = \"server\"", &kernel)).expect("written");
    let file = stand.path("config.txt");
    let wanted = format!("{base}[all]\ndtparam=pciex1\ndtoverlay=disable-bt\n");
    // What was prepared once may be prepared again.
    for text in [base.to_owned(), wanted.clone()] {
        fs::write(&file, text).expect("written");
        let target = format!("{}:/boot/config.txt", stand.path("base.img").display());
        Run::new(["cp".as_ref(), file.as_os_str(), target.as_ref()]).succeeds();
        let said = stand.run(["prepare", "--json", "--sandbox", "none"]).succeeds().stdout_text();
        let made = super::image(&serde_json::from_str(&said).expect("JSON"));
        assert_eq!(cat(&made, "/boot/config.txt"), wanted);
    }
}

/// Raspberry Pi OS, of Debian 12, would throw away the keys in `known_hosts`.
#[test]
fn vendor_units_that_make_host_keys_are_off() {
    let stand = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let init = "/usr/lib/raspberrypi-sys-mods/firstboot";
    let unit = "regenerate_ssh_host_keys.service";
    publish(
        &stand,
        &[
            (init.into(), "#!/bin/bash\nrm -f /etc/ssh/ssh_host_*_key*\n"),
            (format!("/usr/lib/systemd/system/{unit}"), UNIT),
        ],
    );
    let file = stand.path("cmdline.txt");
    fs::write(&file, format!("root=/dev/vda1 rootwait quiet init={init}\n")).expect("written");
    let target = format!("{}:/boot/cmdline.txt", stand.path("base.img").display());
    Run::new(["cp".as_ref(), file.as_os_str(), target.as_ref()]).succeeds();
    let said = stand.run(["prepare", "--json", "--sandbox", "none"]).succeeds().stdout_text();
    let made = super::image(&serde_json::from_str(&said).expect("JSON"));
    assert_eq!(cat(&made, "/boot/cmdline.txt"), "root=/dev/vda1 rootwait quiet\n");
    let mask = format!("/etc/systemd/system/{unit}");
    assert_eq!(link(&made, &mask).as_deref(), Some("\"/dev/null\""));
}

#[test]
fn cloud_init_the_wizard_and_a_second_network_manager_are_off() {
    let stand = Machines::new(Arch::Amd64, &["server1"], "formats = [\"raw\"]");
    let units = ["userconfig", "NetworkManager", "systemd-networkd", "getty@"];
    let mut files: Vec<(String, &str)> = units
        .iter()
        .map(|name| (format!("/usr/lib/systemd/system/{name}.service"), UNIT))
        .collect();
    files.push(("/etc/cloud/cloud.cfg".into(), "preserve_hostname: false\n"));
    files.push(("/etc/ssh/sshd_config.d/rename_user.conf".into(), "Banner /usr/share/banner\n"));
    files.push(("/usr/lib/netplan/00-network-manager-all.yaml".into(), "network: {}\n"));
    publish(&stand, &files);
    choose_networkd(&stand);
    let said = stand.run(["prepare", "--json", "--sandbox", "none"]).succeeds().stdout_text();
    let made = super::image(&serde_json::from_str(&said).expect("JSON"));
    assert_eq!(cat(&made, "/etc/cloud/cloud-init.disabled"), "disabled by nodeforge\n");
    assert_eq!(cat(&made, "/etc/netplan/00-network-manager-all.yaml"), "network:\n  version: 2\n");
    for name in ["userconfig", "NetworkManager", "NetworkManager-wait-online"] {
        let target = link(&made, &format!("/etc/systemd/system/{name}.service"));
        assert_eq!(target.as_deref(), Some("\"/dev/null\""), "{name}");
    }
    let wants = "/etc/systemd/system/multi-user.target.wants";
    assert!(link(&made, &format!("{wants}/getty@tty1.service")).is_some());
    assert!(link(&made, &format!("{wants}/systemd-networkd.service")).is_some());
    assert_eq!(cat(&made, "/etc/ssh/sshd_config.d/rename_user.conf"), "");
}
