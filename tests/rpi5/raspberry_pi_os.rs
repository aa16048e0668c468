//! A base that is as Raspberry Pi OS Lite is in all that nodeforge meets of it: Debian's own cloud-init and
//! `NetworkManager`, and stand-ins for what only the publisher has. What is where, and what is on, is that of the images
//! of 2026: pi-gen's stage2 and export-image, and the package userconf-pi.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::support::{Gpg, Repository, Run, Server, Style, temporary_folder, tool};

/// What says on the console that it runs, and must not.
pub(super) const UNWANTED: [&str; 3] = [
    "raspberry-pi-os: userconfig",
    "raspberry-pi-os: NetworkManager",
    "raspberry-pi-os: cloud-init",
];

/// What userconf-pi, raspberrypi-sys-mods and pi-gen's own scripts leave.
const PUBLISHER: &str = r#"
# A file of that name is what a test's package has.
rm /usr/share/userconf-pi
unit() { mkdir -p "${1%/*}"; cat >"$1"; }
says() { printf 'ExecStartPre=-/bin/sh -c "echo raspberry-pi-os: %s >/dev/console"\n' "$1"; }
unit /usr/lib/systemd/system/userconfig.service <<END
[Unit]
Description=User configuration dialog
Before=systemd-user-sessions.service getty@tty1.service
[Service]
Type=oneshot
$(says userconfig)
ExecStart=/bin/true
StandardInput=tty
TTYPath=/dev/tty8
[Install]
WantedBy=multi-user.target
END
for one in NetworkManager cloud-init-main; do
	unit "/etc/systemd/system/$one.service.d/test.conf" <<END
[Service]
$(says "${one%-main}")
END
done
unit /etc/ssh/sshd_config.d/rename_user.conf <<END
Banner /usr/share/userconf-pi/sshd_banner
END
unit /usr/share/userconf-pi/sshd_banner <<END
Please note that SSH may not work until a valid user has been set up.
END
unit /etc/netplan/00-network-manager-all.yaml <<END
network:
  version: 2
  renderer: NetworkManager
END
chmod 600 /etc/netplan/00-network-manager-all.yaml
unit /etc/rpi/swap.conf <<END
[Main]
Mechanism=auto
END
useradd --uid 1000 --create-home --shell /usr/sbin/nologin --groups sudo pi
echo raspberrypi >/etc/hostname
printf '127.0.1.1\traspberrypi\n' >>/etc/hosts
systemctl disable getty@tty1.service
"#;

/// Where the image is: made once for all tests of this run, and prepared once for all runs.
pub(super) fn image(folder: &Path) -> PathBuf {
    let own = temporary_folder();
    let path = |name: &str| own.path().join(name);
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let server = Server::http();
    let repository = Repository::new(Style::Flat);
    repository.add_with("userconf-pi", "1.0", PUBLISHER);
    repository.publish(&gpg, &key, &server, "/pi");
    server.put("/pi/Release.key", gpg.public(&key));
    fs::create_dir(path("pi")).expect("made");
    let profile = format!(
        "description = \"Raspberry Pi OS\"\n[[apt_source]]\nname = \"pi\"\nuris = [\"{}\"]\nsuites = [\"/\"]\n\
         key_url = \"{}\"\nfingerprint = \"{}\"\n\
         [packages]\ninstall = [\"cloud-init\", \"network-manager\", \"userconf-pi\"]\n\
         [units]\nenable = [\"NetworkManager.service\", \"cloud-init-main.service\", \"cloud-init-local.service\", \
         \"cloud-init-network.service\", \"cloud-config.service\", \"cloud-final.service\", \"userconfig.service\"]\n\
         disable = [\"ssh.service\", \"systemd-networkd.service\"]\n\
         [[role]]\nname = \"pi\"\npattern = \"raspberrypi\"\n",
        server.url("/pi"),
        server.url("/pi/Release.key"),
        key.fingerprint
    );
    fs::write(path("pi/profile.toml"), profile).expect("written");
    let cluster = "[cluster]\nname = \"pi\"\nprofile = \"./pi\"\n[base]\n\
                   bootstrap = { suite = \"trixie\", arch = \"arm64\", layout = \"raspberry-pi\" }\n\
                   [access]\nuser = \"pi\"\nlogin = false\n[[node]]\nhostname = \"raspberrypi\"\n";
    fs::write(path("cluster.toml"), cluster).expect("written");
    let said = Run::new(["prepare", "--json"]).folder(own.path()).succeeds().stdout_text();
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let made = PathBuf::from(said["path"].as_str().expect("a path"));
    let made = if made.is_dir() { made.join("disk.img") } else { made };
    let image = folder.join("raspios.img");
    tool("cp", ["--sparse=always".as_ref(), made.as_os_str(), image.as_os_str()]);
    // What it had from there, it has; the server ends with this function.
    for name in ["sources.list.d/pi.sources", "keyrings/pi.asc"] {
        Run::new(["rm", &format!("{}:/etc/apt/{name}", image.display())]).succeeds();
    }
    // It really is what the profile must deal with.
    let lists = |path: &str| {
        Run::new(["ls", &format!("{}:{path}", image.display())]).succeeds().stdout_text()
    };
    let wanted = lists("/etc/systemd/system/multi-user.target.wants");
    assert!(
        wanted.contains("NetworkManager.service") && wanted.contains("userconfig.service"),
        "{wanted}"
    );
    let wanted = lists("/etc/systemd/system/cloud-init.target.wants");
    assert!(
        wanted.contains("cloud-init-main.service") || wanted.contains("cloud-final.service"),
        "{wanted}"
    );
    image
}
