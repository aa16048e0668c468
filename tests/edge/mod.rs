//! edge-k3s: four nodes from one build, what is in them, and two of them on a network.
//!
//! k3s itself is not to be had: the stand-in checks what it is given.

mod boots;
mod firewall;
mod nodes;
mod rented;
mod rules;
mod validation;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::support::{Authority, K3S, Run, Server, User, chart, checksum, names, serve_images};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/edge");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/edge-k3s");
/// What the example deploys: of its manifests, and of its charts.
const IMAGES: [&str; 4] = [
    "docker.io/library/traefik:v3.7.0",
    "docker.io/traefik/whoami:v1.11.0",
    "quay.io/metallb/controller:v0.16.1",
    "quay.io/metallb/speaker:v0.16.1",
];
const HOMES: [&str; 3] = ["k3s-node1", "k3s-node2", "k3s-node3"];
const NODES: [&str; 4] = ["k3s-node1", "k3s-node2", "k3s-node3", "edge"];

/// edge-k3s with the stand-in baked, and with what that and the check in the guests need.
const PROFILE: &str = "description = \"edge-k3s without k3s\"
extends = \"edge-k3s\"
overlays = [\"k3s-stand-in\"]

[packages]
install = [\"iputils-ping\", \"openssl\", \"python3-yaml\"]
";

/// Their publishers cannot be reached.
const NOTHING_BAKED: &str = "offline = false\ncharts = \"repository\"\n\
    k3s_sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";

/// Runs after the first boot in two of the guests.
const GUEST_CHECK: &str = "
[[node.files]]
path = \"/etc/systemd/system/k8s-firstboot.service.d/90-guest-check.conf\"
content = \"[Service]\\nExecStartPost=/usr/local/lib/guest-check\\n\"

[[node.files]]
path = \"/usr/local/lib/guest-check\"
source = \"guest\"
mode = \"0755\"

# There is no time server.
[[node.files]]
path = \"/var/lib/nodeforge/firstboot/15-clock.done\"
content = \"\"
";

/// Home's own way to the edge's public addresses; the line and the provider are one wire here, and home
/// is the provider's router, too.
const LINE: &str = "
[[node.files]]
path = \"/etc/systemd/network/05-nodeforge.network.d/line.conf\"
content = \"[Network]\\nAddress=203.0.113.66/24\\nAddress=2001:db8:0:1::66/64\\nAddress=198.51.100.1/32\\nAddress=2001:db8:ffff::1/128\\n\"
";

/// The example with its artifacts.
struct Built {
    folder: tempfile::TempDir,
}

impl Built {
    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Copies what the tests read of a node's root into a folder.
    fn root_of(&self, node: &str, into: &Path) -> PathBuf {
        let root = into.join(node);
        for (folder, parent) in
            [("/etc", ""), ("/usr/lib/nodeforge", "usr/lib"), ("/var/lib/rancher", "var/lib")]
        {
            let parent = root.join(parent);
            fs::create_dir_all(&parent).expect("a folder");
            let source = format!("{}:{folder}", self.path(&format!("out/{node}.qcow2")).display());
            // Not every node has all of them.
            let mut ls = Command::new(env!("CARGO_BIN_EXE_nodeforge"));
            if ls.args(["ls", &source]).output().expect("nodeforge starts").status.success() {
                Run::new(["cp", "-r", &source, &format!("{}/", parent.display())]).succeeds();
            }
        }
        root
    }
}

/// Built once for all tests.
fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Built { folder: cluster("") };
        let authority = Authority::new();
        let server = Server::https(&authority);
        offline(built.folder.path(), &server);
        Run::new(["build", "--format", "qcow2"])
            .folder(built.folder.path())
            .env("SSL_CERT_FILE", authority.certificate())
            .succeeds();
        built
    })
}

/// Has all that the cluster deploys baked, from publishers that `server` stands in for.
fn offline(folder: &Path, server: &Server) {
    let here = server.url("");
    let release = "/v1.36.2%2Bk3s1";
    let images = folder.join("airgap");
    fs::write(&images, "packed images of k3s").expect("written");
    server.put_file(&format!("{release}/k3s"), Path::new(K3S));
    server.put_file(&format!("{release}/k3s-airgap-images-amd64.tar.zst"), &images);
    let sums = [("k3s", Path::new(K3S)), ("k3s-airgap-images-amd64.tar.zst", &images)]
        .map(|(name, path)| format!("{}  {name}\n", checksum("sha256sum", path)));
    server.put(&format!("{release}/sha256sum-amd64.txt"), sums.concat());
    let charts = folder.join("charts");
    let metallb = "controller: {enabled: true, image: {repository: quay.io/metallb/controller, tag: }}\n\
                   speaker: {enabled: true, image: {repository: quay.io/metallb/speaker}, frr: {enabled: true, \
                   image: {repository: quay.io/frrouting/frr, tag: 10.4.1}}}\n";
    let traefik = "image: {registry: docker.io, repository: traefik, tag: }\n";
    for (name, version, values) in [("metallb", "v0.16.1", metallb), ("traefik", "v3.7.0", traefik)]
    {
        server.put_file(&format!("/{name}.tgz"), &chart(&charts, name, version, values));
    }
    serve_images(server, &IMAGES);
    let settings = format!(
        "k3s_releases = \"{here}\"\nmetallb_chart = \"{here}/metallb.tgz\"\n\
         traefik_chart = \"{here}/traefik.tgz\"\nimage_mirror = \"{here}\"\n"
    );
    let file = folder.join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, text.replace(NOTHING_BAKED, &settings)).expect("written");
}

/// The example's cluster with the stand-in, and with further lines of `[settings]`.
fn cluster(settings: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    let path = |name: &str| folder.path().join(name);
    let mut text = fs::read_to_string(format!("{EXAMPLE}/cluster.toml")).expect("there");
    let first = "gateway = [\"192.168.178.1\"]\ndns = [\"192.168.178.1\"]\n";
    for (from, to) in [
        ("profile = \"edge-k3s\"\n", "profile = \"./profile\"\n"),
        ("size = \"8G\"\n", "size = \"3G\"\n"),
        ("[settings]\n", &format!("[settings]\n{NOTHING_BAKED}{settings}\n")),
        (first, &format!("{first}{GUEST_CHECK}{LINE}")),
        (
            "hostname = \"edge\"\n",
            &format!(
                "hostname = \"edge\"\naddresses = [\"203.0.113.10/32\", \"2001:db8:0:1::10/128\"]\n\
                 gateway = [\"198.51.100.1\", \"2001:db8:ffff::1\"]\n{GUEST_CHECK}"
            ),
        ),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    fs::write(path("cluster.toml"), text).expect("written");
    fs::copy(format!("{EXAMPLE}/demo.pub"), path("demo.pub")).expect("copied");
    fs::copy(format!("{HERE}/guest"), path("guest")).expect("copied");
    let bin = path("profile/overlays/k3s-stand-in/usr/local/bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::copy(K3S, bin.join("k3s")).expect("copied");
    fs::write(path("profile/profile.toml"), PROFILE).expect("written");
    folder
}
