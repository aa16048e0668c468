//! A cluster of three, built with one command. What Kubernetes' publishers would serve comes from
//! loopback: signed repositories and downloads of programs that stand in for theirs. The base is
//! Debian's: of the machine that tests, or for arm64 in the layout of Raspberry Pi OS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::super::support::{
    Arch, Authority, Gpg, Key, Repository, Run, Server, Style, chart, checksum, serve_images,
    temporary_folder, tool,
};
use super::raspberry_pi_os;

const KUBEADM: &str = include_str!("programs/kubeadm");
const KUBECTL: &str = include_str!("programs/kubectl");
const HELM: &str = include_str!("programs/helm");
const KUBELET: &str = include_str!("programs/kubelet");
const API_SERVER: &str = include_str!("programs/kube-apiserver");
/// In place of what Debian's unit starts: what the manifest of kubeadm's static pod says.
const ETCD: &str = "[Unit]\nConditionPathExists=/etc/kubernetes/manifests/etcd.yaml\nStartLimitIntervalSec=0\n\
                    [Service]\nType=simple\nUser=root\nExecStart=\nExecStart=/usr/bin/kubeadm etcd\n\
                    Restart=always\nRestartSec=1\n";
pub(crate) const AGE_KEY: &str =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
pub(crate) const GIT_TOKEN: &str = "github_pat_11NOTREAL0NOTREAL0NOTREAL0";
/// Those that form the cluster in every run; a third control plane is built beside them.
pub(crate) const NODES: [&str; 3] = ["controlplane", "controlplane1", "node0"];

pub(crate) struct Built {
    pub(crate) folder: tempfile::TempDir,
}

impl Built {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn image(&self, node: &str) -> PathBuf {
        self.path(&format!("out/{node}.img"))
    }

    /// A file of an image, as nodeforge reads it.
    pub(crate) fn cat(&self, node: &str, path: &str) -> String {
        let place = format!("{}:{path}", self.image(node).display());
        Run::new(["cat", &place]).succeeds().stdout_text()
    }
}

/// Built once for all tests.
pub(crate) fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| build(Arch::Amd64, &[]))
}

/// The first control plane as a Raspberry Pi would have it.
pub(crate) fn built_for_a_pi() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| build(Arch::Arm64, &NODES[..1]))
}

fn service(command: &str) -> String {
    format!("[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n")
}

fn publish(server: &Server, gpg: &Gpg, key: &Key) {
    let kubernetes = Repository::new(Style::Flat);
    let idle = service("/usr/bin/sleep infinity");
    let kubelet = service("/usr/bin/kubelet");
    let api = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/usr/bin/kube-apiserver\n\
               Restart=always\nRestartSec=1\n";
    for version in ["1.36.4-1.1", "1.37.0-1.1"] {
        kubernetes
            .add_files(
                "kubelet",
                version,
                "iproute2, python3-minimal, python3, python3-yaml",
                &[
                    ("/usr/bin/kubelet", KUBELET, "755"),
                    ("/usr/lib/systemd/system/kubelet.service", &kubelet, "644"),
                ],
            )
            .add_files("kubectl", version, "", &[("/usr/bin/kubectl", KUBECTL, "755")])
            .add_files(
                "kubeadm",
                version,
                "python3-minimal, python3, python3-yaml, cri-tools, etcd-server, etcd-client",
                &[
                    ("/usr/bin/kubeadm", KUBEADM, "755"),
                    ("/usr/bin/kube-apiserver", API_SERVER, "755"),
                    ("/usr/lib/systemd/system/kube-apiserver-stand-in.service", api, "644"),
                    ("/usr/lib/systemd/system/etcd.service.d/stand-in.conf", ETCD, "644"),
                ],
            );
    }
    let crictl = "#!/bin/sh\nexec systemctl --quiet is-active crio.service\n";
    kubernetes.add_files("cri-tools", "1.36.0-1.1", "", &[("/usr/bin/crictl", crictl, "755")]);
    kubernetes.publish(gpg, key, server, "/kubernetes");
    server.put("/kubernetes/Release.key", gpg.public(key));

    let runtime = Repository::new(Style::Flat);
    let skopeo = "#!/bin/sh\necho \"skopeo-stand-in: $*\" >/dev/console\n";
    runtime
        .add_files(
            "cri-o",
            "1.36.4-1.1",
            "",
            &[("/usr/lib/systemd/system/crio.service", &idle, "644")],
        )
        // Newer than Debian's own.
        .add_files("skopeo", "99:1.0", "", &[("/usr/bin/skopeo", skopeo, "755")]);
    runtime.publish(gpg, key, server, "/cri-o");
    server.put("/cri-o/Release.key", gpg.public(key));
}

/// An archive of files, compressed with `option`.
fn archive(folder: &std::path::Path, option: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let tree = folder.join("tree");
    for (path, text) in files {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    let file = folder.join("archive");
    let names = files.iter().map(|(path, _)| path.split('/').next().expect("a name"));
    let mut arguments = vec![option.to_owned(), file.display().to_string()];
    arguments.extend(["-C".to_owned(), tree.display().to_string()]);
    arguments.extend(names.map(str::to_owned));
    tool("tar", arguments);
    fs::read(file).expect("readable")
}

/// What is deployed where Flux follows a repository and three control planes share an address.
pub(super) const IMAGES: [&str; 11] = [
    "ghcr.io/controlplaneio-fluxcd/flux-operator:v0.54.0",
    "ghcr.io/kube-vip/kube-vip:v1.2.3",
    "quay.io/cilium/cilium-envoy:v1.36.4-1",
    "quay.io/cilium/cilium:v1.19.8",
    "quay.io/cilium/operator-generic:v1.19.8",
    "registry.k8s.io/coredns/coredns:v1.14.2",
    "registry.k8s.io/etcd:3.6.9-0",
    "registry.k8s.io/kube-apiserver:v1.36.4",
    "registry.k8s.io/kube-controller-manager:v1.36.4",
    "registry.k8s.io/kube-scheduler:v1.36.4",
    "registry.k8s.io/pause:3.10.2",
];
/// In the form of cmd/kubeadm/app/constants/constants.go, whose etcd of a minor version is not always the default.
const CONSTANTS: &str = "const (\n\t// MinExternalEtcdVersion indicates minimum external etcd version\n\
    \tMinExternalEtcdVersion = \"3.5.24-0\"\n\n\tDefaultEtcdVersion = \"3.6.8-0\"\n\n\tCoreDNSVersion = \"v1.14.2\"\n\n\
    \tPauseVersion = \"3.10.2\"\n)\n\nvar (\n\tSupportedEtcdVersion = map[uint8]string{\n\t\t35: \"3.6.8-0\",\n\
    \t\t36: \"3.6.9-0\",\n\t}\n)\n";
/// In the form of that of the Cilium chart.
const CILIUM_VALUES: &str = "image:\n  repository: quay.io/cilium/cilium\n  tag: v1.19.8\n  digest: sha256:00\n  useDigest: true\n\
    envoy:\n  enabled: ~\n  image: {repository: quay.io/cilium/cilium-envoy, tag: v1.36.4-1, digest: sha256:00, useDigest: true}\n\
    hubble:\n  enabled: true\n  relay: {enabled: false, image: {repository: quay.io/cilium/hubble-relay, tag: v1.19.8}}\n\
    \x20 ui: {enabled: false, backend: {image: {repository: a/b, tag: v1}}, frontend: {image: {repository: a/c, tag: v1}}}\n\
    operator:\n  enabled: true\n  image: {repository: quay.io/cilium/operator, tag: v1.19.8, genericDigest: sha256:00, useDigest: true}\n";

pub(super) fn cilium_chart(folder: &Path) -> PathBuf {
    chart(folder, "cilium", "1.19.8", CILIUM_VALUES)
}

/// Makes the folder of a profile that is rpi5-kubeadm with `repository`'s address of each of its sources of
/// packages, their keys included.
pub(super) fn own_profile(folder: &Path, repository: impl Fn(&str) -> String, fingerprint: &str) {
    let source = |name: &str| {
        let url = repository(name);
        format!(
            "[[apt_source]]\nname = \"{name}\"\nuris = [\"{url}\"]\nsuites = [\"/\"]\n\
             key_url = \"{url}/Release.key\"\nfingerprint = \"{fingerprint}\"\n"
        )
    };
    fs::create_dir(folder).expect("made");
    let profile = format!(
        "description = \"a test\"\nextends = \"rpi5-kubeadm\"\n{}{}",
        source("kubernetes"),
        source("cri-o")
    );
    fs::write(folder.join("profile.toml"), profile).expect("written");
}

/// What registries and publishers say of container images.
pub(super) fn publish_images(server: &Server) {
    serve_images(server, &IMAGES);
    server.put("/kubernetes/v1.36.4/cmd/kubeadm/app/constants/constants.go", CONSTANTS);
    let operator = format!(
        "kind: Deployment\nspec:\n  template:\n    spec:\n      containers: [{{image: \"{}\"}}]\n",
        IMAGES[0]
    );
    server.put("/flux-operator/v0.54.0/install.yaml", operator);
}

/// Builds the nodes named; all of them when none is.
fn build(arch: Arch, nodes: &[&str]) -> Built {
    let processor = arch.name();
    let folder = temporary_folder();
    let path = |name: &str| folder.path().join(name);
    let gpg = Gpg::new();
    let key = gpg.key("ed25519");
    let authority = Authority::new();
    let (plain, secure) = (Server::http(), Server::https(&authority));
    publish(&plain, &gpg, &key);
    let put = |name: &str, bytes: &[u8]| {
        secure.put(name, bytes);
        fs::write(path("summed"), bytes).expect("written");
        checksum("sha256sum", &path("summed"))
    };
    let helm = archive(folder.path(), "-czf", &[(&format!("linux-{processor}/helm"), HELM)]);
    let name = format!("helm-v4.2.4-linux-{processor}.tar.gz");
    let sum = put(&format!("/helm/{name}"), &helm);
    secure.put(&format!("/helm/{name}.sha256sum"), format!("{sum}  {name}\n"));
    let gateway = put("/gateway/v1.4.1/standard-install.yaml", b"kind: CustomResourceDefinition\n");
    let cilium = put("/cilium.tgz", &fs::read(cilium_chart(folder.path())).expect("readable"));
    publish_images(&secure);

    let repository = |name: &str| plain.url(&format!("/{name}"));
    own_profile(&path("own"), repository, &key.fingerprint);
    fs::write(path("keys.txt"), format!("# created: today\n{AGE_KEY}\n")).expect("written");
    fs::write(path("git-token"), GIT_TOKEN).expect("written");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rpi5-kubeadm");
    fs::copy(format!("{example}/demo.pub"), path("demo.pub")).expect("copied");
    let settings = format!(
        "[settings]\napi_address = \"192.168.1.9\"\nflux_scaffold = true\nage_key = {{ file = \"keys.txt\" }}\nflux_private = true\n\
         flux_git_token = {{ file = \"git-token\" }}\noffline = true\n\
         helm_mirror = \"{0}/helm\"\ngateway_api_mirror = \"{0}/gateway\"\n\
         gateway_api_sha256 = \"{gateway}\"\ncilium_chart = \"{0}/cilium.tgz\"\n\
         cilium_chart_sha256 = \"{cilium}\"\nflux_operator_mirror = \"{0}/flux-operator\"\n\
         image_mirror = \"{0}\"\nkubernetes_source = \"{0}/kubernetes\"\n",
        secure.url("")
    );
    let base = match arch {
        Arch::Amd64 => {
            "bootstrap = { suite = \"trixie\", arch = \"amd64\", layout = \"uefi\" }".to_owned()
        }
        Arch::Arm64 => {
            let image = raspberry_pi_os::image(folder.path());
            format!("path = \"{}\"\narch = \"arm64\"", image.display())
        }
    };
    // These machines have no time server.
    let unit = "[[files]]\npath = \"/etc/systemd/system/k8s-firstboot.service.d/test.conf\"\n\
                content = \"[Service]\\nEnvironment=NODEFORGE_CLOCK_WAIT=1 NODEFORGE_API_WAIT=20\\n\"\n";
    let cluster = fs::read_to_string(format!("{example}/cluster.toml")).expect("readable");
    let cluster = cluster
        .replace("profile = \"rpi5-kubeadm\"", "profile = \"./own\"")
        .replace("sops = false\n", "")
        // The example has as few control planes as one can have.
        .replace("\"node1\"", "\"controlplane1\"")
        .replace("192.168.1.21", "192.168.1.11")
        + "\n[[node]]\nhostname = \"controlplane2\"\naddresses = [\"192.168.1.12/24\"]\n\
           gateway = [\"192.168.1.1\"]\ndns = [\"192.168.1.1\"]\n";
    let cluster = cluster
        .replace("[settings]\n", &settings)
        // With partitions behind the root it has the same prepared base.
        .replace("size = \"8G\"", "size = \"3G\"\nroot_size = \"3G\"")
        .replace("[disk]\n", &format!("[base]\n{base}\n{unit}[disk]\n"));
    fs::write(path("cluster.toml"), cluster).expect("written");
    Run::new(["build", "cluster.toml"])
        .args(nodes)
        .folder(folder.path())
        .env("SSL_CERT_FILE", authority.certificate())
        .succeeds();
    Built { folder }
}
