//! fusion-k3s: three servers and two agents as linked clones, and what is in them.
//!
//! k3s itself is not to be had; `tests/support/k3s` stands in for it and checks what it is given.

mod apple;
mod boots;
mod failover;
mod later;
mod network;
mod nodes;
mod routers;
mod rules;
mod services;
mod steps;
mod validation;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::support::{
    Arch, K3S, Run, User, names, run_in_namespaces, tiny_base, tool, write_boot_report,
};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fusion");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/fusion-k3s/cluster.toml");
const NODES: [&str; 5] = ["server1", "server2", "server3", "agent1", "agent2"];

/// fusion-k3s with the stand-in baked, and with what that needs to run.
const PROFILE: &str = "description = \"fusion-k3s without k3s\"
extends = \"fusion-k3s\"
overlays = [\"k3s-stand-in\", \"boot-report\"]

[packages]
install = [\"openssl\", \"python3-yaml\"]
";
/// An emulated machine on a busy host waits long for its own disks.
const PATIENCE: &str = "
[[files]]
path = \"/etc/systemd/system.conf.d/patience.conf\"
content = \"[Manager]\\nDefaultDeviceTimeoutSec=15min\\n\"
";

/// The example with its artifacts.
pub(crate) struct Built {
    pub(crate) folder: tempfile::TempDir,
}

impl Built {
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Copies what the first boot and the services use of an artifact's root into `name`.
    fn root_of(&self, artifact: &str, name: &str, into: &Path) -> PathBuf {
        let root = into.join(name);
        for (folder, parent) in [
            ("/etc", ""),
            ("/usr/bin/k8s-firstboot.sh", "usr/bin"),
            ("/usr/lib/nodeforge", "usr/lib"),
            ("/usr/share/nodeforge", "usr/share"),
            ("/var/lib/rancher", "var/lib"),
        ] {
            let parent = root.join(parent);
            fs::create_dir_all(&parent).expect("a folder");
            let source = format!("{}:{folder}", self.path("out").join(artifact).display());
            // Not every node has all of them.
            let mut ls = Command::new(env!("CARGO_BIN_EXE_nodeforge"));
            if ls.args(["ls", &source]).output().expect("nodeforge starts").status.success() {
                let target = format!("{}/", parent.display());
                Run::new(["cp", "-r", &source, &target]).succeeds();
            }
        }
        fs::create_dir_all(root.join("home/admin")).expect("a folder");
        root
    }
}

/// Built once for all tests.
pub(crate) fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Built { folder: cluster(&[]) };
        Run::new(["build"]).folder(built.folder.path()).succeeds();
        built
    })
}

/// The first server as Apple silicon would have it.
fn built_for_apple() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Built { folder: cluster_for(Arch::Arm64, &[]) };
        Run::new(["build", "cluster.toml", "server1"]).folder(built.folder.path()).succeeds();
        built
    })
}

/// The example's cluster on a base that can be made here, with further lines of `[settings]`.
fn cluster(settings: &[&str]) -> tempfile::TempDir {
    cluster_for(Arch::Amd64, settings)
}

fn cluster_for(arch: Arch, settings: &[&str]) -> tempfile::TempDir {
    let arch = arch.name();
    let folder = User::current().folder();
    let path = |name: &str| folder.path().join(name);
    let text = fs::read_to_string(EXAMPLE).expect("the example is there");
    let settings = format!(
        "[settings]\noffline = false\ncharts = \"repository\"\ncalicoctl = false\nk3s_sha256_{arch} = \"{}\"\nrouter_interface = \"lan0\"\n{}",
        "0".repeat(64),
        settings.join("\n") + "\n"
    );
    let given = |key: &str| settings.contains(&format!("\n{key} = "));
    let text: String = text
        .lines()
        .filter(|line| !line.split_once(" = ").is_some_and(|(key, _)| given(key)))
        .map(|line| match line {
            "[settings]" => settings.clone(),
            "profile = \"fusion-k3s\"" => "profile = \"./profile\"\n".to_owned(),
            "image = \"debian-13-generic-arm64\"" => {
                format!(
                    "bootstrap = {{ suite = \"trixie\", arch = \"{arch}\", layout = \"uefi\" }}\n"
                )
            }
            "size = \"16G\"" => "size = \"4G\"\n".to_owned(),
            line => format!("{line}\n"),
        })
        .collect();
    fs::write(path("cluster.toml"), text + PATIENCE).expect("written");
    let key = Path::new(EXAMPLE).with_file_name("demo.pub");
    fs::copy(key, path("demo.pub")).expect("copied");
    let bin = path("profile/overlays/k3s-stand-in/usr/local/bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::copy(K3S, bin.join("k3s")).expect("copied");
    // Who watches the console sees what it does.
    let unit = path("profile/overlays/k3s-stand-in/etc/systemd/system/nodeforge-prefix.service.d");
    fs::create_dir_all(&unit).expect("a folder");
    fs::write(unit.join("console.conf"), "[Service]\nStandardOutput=journal+console\n")
        .expect("written");
    write_boot_report(&path("profile/overlays/boot-report"));
    fs::write(path("profile/profile.toml"), PROFILE).expect("written");
    folder
}

/// The same on a base made by hand, whose programs never run.
fn small(settings: &[&str]) -> tempfile::TempDir {
    let folder = cluster(settings);
    tiny_base(folder.path(), Arch::Amd64);
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    let bootstrap = "bootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"uefi\" }";
    assert!(text.contains(bootstrap), "{text}");
    let base = "path = \"base.img\"\narch = \"amd64\"";
    let text = text.replace(bootstrap, base).replace("\"4G\"", "\"512M\"");
    fs::write(&file, text).expect("written");
    folder
}

/// Its build, of all nodes or of some.
fn build_small(folder: &Path, nodes: &[&str]) -> Run {
    let command = ["build", "--sandbox", "none", "cluster.toml"];
    Run::new(command).args(nodes).folder(folder).env("XDG_CACHE_HOME", folder.join("cache"))
}

/// The plan of a cluster as JSON.
fn plan(folder: &Path) -> serde_json::Value {
    let stdout = Run::new(["plan", "--json"]).folder(folder).succeeds().stdout_text();
    serde_json::from_str(&stdout).expect("JSON")
}

/// Runs the stand-in on a root, and wants it to be content.
#[track_caller]
fn k3s_accepts(root: &Path, mode: &str) {
    tool(
        "env",
        [
            OsStr::new(&format!("NODEFORGE_ROOT={}", root.display())),
            OsStr::new(K3S),
            OsStr::new("check"),
            OsStr::new(mode),
        ],
    );
}
