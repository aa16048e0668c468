//! Several control planes: what answers at the API's address, and what makes no such cluster.

use std::fs;

use super::super::support::{
    Authority, Fault, Run, Server, checksum, resources_are_known, temporary_folder,
};
use super::steps::{control_plane, goes_well};

const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");

/// The file to begin with, with three control planes and settings of its own.
fn three(settings: &str) -> tempfile::TempDir {
    let folder = temporary_folder();
    let mut text = fs::read_to_string(START).expect("readable");
    text = text.replace("[output]", &format!("{settings}[output]"));
    for number in [1, 2] {
        text += &format!(
            "\n[[node]]\nhostname = \"controlplane{number}\"\naddresses = [\"192.168.1.1{number}/24\"]\n\
             gateway = [\"192.168.1.1\"]\n"
        );
    }
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    folder
}

/// What `check` says: an error's first line and its hint.
fn said(folder: &tempfile::TempDir, code: i32) -> Vec<String> {
    let text = Run::new(["check"]).folder(folder.path()).exits(code).stderr_text();
    let is_message = |line: &&str| {
        ["error: ", "warning: ", "hint: ", "note: "].iter().any(|it| line.starts_with(it))
            && !line.contains("no user can log in")
            && !line.contains("`login = false`")
    };
    text.lines().filter(is_message).map(str::to_owned).collect()
}

#[track_caller]
fn refused(settings: &str, expected: [&str; 2]) {
    assert_eq!(said(&three(settings), 2), expected, "{settings}");
}

#[test]
fn three_control_planes_need_an_address_of_their_own() {
    assert_eq!(said(&three("api_address = \"192.168.1.9\"\n"), 0), [""; 0]);
    let hint = "hint: in [settings]: `api_address = \"192.168.1.9\"`, an unused address of the nodes' network, \
                which kube-vip gives to a control plane that runs";
    refused(
        "",
        [
            "error: several control planes need an address for the API that is not one machine's: `api_address`",
            hint,
        ],
    );
    for ha in ["kube-vip", "external"] {
        let what = format!(
            "error: `ha = \"{ha}\"` needs an address for the API that is not one machine's: `api_address`"
        );
        refused(&format!("ha = \"{ha}\"\n"), [&what, hint]);
    }
    let none = [
        "error: with `ha = \"none\"` all nodes lose the API with the machine at `api_endpoint`, whatever other \
         control planes run",
        "hint: in [settings]: `ha = \"kube-vip\"` or `ha = \"external\"`, with `api_address`; or have one \
         control plane",
    ];
    refused("ha = \"none\"\n", none);
    refused("ha = \"none\"\napi_address = \"192.168.1.9\"\n", none);
}

#[test]
fn the_address_of_the_api_is_nothing_elses() {
    refused(
        "api_address = \"192.168.1.20\"\n",
        [
            "error: `api_address` 192.168.1.20 is the address of `node0`",
            "hint: it outlives any one machine: take an address that nothing else has",
        ],
    );
    refused(
        "api_address = \"192.168.1.1\"\n",
        [
            "error: `api_address` 192.168.1.1 is the address of the router",
            "hint: take an address that nothing else has",
        ],
    );
    refused(
        "api_address = \"192.168.1.245\"\n",
        [
            "error: `api_address` 192.168.1.245 is in `load_balancer_pool` 192.168.1.240-192.168.1.250",
            "hint: a service could be given it: take one outside, or make the pool smaller",
        ],
    );
    refused(
        "api_address = \"192.168.1.120\"\ndhcp_range = \"192.168.1.100-192.168.1.199\"\n",
        [
            "error: `api_address` 192.168.1.120 is in `dhcp_range` 192.168.1.100-192.168.1.199",
            "hint: the router could give it to any machine: take one outside",
        ],
    );
    refused(
        "api_address = \"192.168.1.9\"\ndhcp_range = \"192.168.1.200-192.168.1.245\"\n",
        [
            "error: `load_balancer_pool` 192.168.1.240-192.168.1.250 overlaps `dhcp_range` \
             192.168.1.200-192.168.1.245",
            "hint: what hands out addresses has them for itself alone",
        ],
    );
    refused(
        "api_address = \"192.168.1.9\"\ndhcp_range = \"192.168.1.12-192.168.1.20\"\n",
        [
            "error: `dhcp_range` 192.168.1.12-192.168.1.20 holds an address that is taken",
            "hint: two machines at one address are both out of reach: leave it out of the pool",
        ],
    );
    refused(
        "api_address = \"192.168.2.9\"\n",
        [
            "error: `api_address` 192.168.2.9 is not in the network of `controlplane`",
            "hint: any control plane may have to answer for it: give each a static address beside it, or \
             `ha = \"external\"` with a load balancer",
        ],
    );
    assert_eq!(said(&three("ha = \"external\"\napi_address = \"192.168.2.9\"\n"), 0), [""; 0]);
    refused(
        "api_address = \"192.168.1.9\"\napi_port = 8443\n",
        [
            "error: kube-vip leads to the control planes themselves, and these listen on 6443, not on 8443",
            "hint: another port is for a load balancer of yours: `ha = \"external\"`",
        ],
    );
}

#[test]
fn pods_that_no_node_would_run_are_told_of() {
    let alone = |settings: &str| {
        let folder = temporary_folder();
        let text = fs::read_to_string(START).expect("readable");
        let text = text.replace("[output]", &format!("{settings}[output]"));
        let (text, _) = text.split_once("[[node]]\nhostname = \"node0\"").expect("a worker");
        fs::write(folder.path().join("cluster.toml"), text).expect("written");
        said(&folder, 0)
    };
    let hint = "hint: in [settings]: `schedule_on_control_planes = true`, or add a worker: `hostname = \"node0\"`";
    assert_eq!(
        alone(""),
        ["warning: no node runs ordinary pods: what you deploy will stay pending", hint]
    );
    assert_eq!(
        alone("flux_url = \"https://github.com/me/cluster\"\nsops = false\n"),
        [
            "warning: no node runs ordinary pods: the Flux Operator, Flux and what you deploy will stay pending",
            hint
        ]
    );
    assert_eq!(alone("schedule_on_control_planes = true\n"), [""; 0]);
}

/// A file of a node, as `plan` shows it.
fn planned(folder: &tempfile::TempDir, node: &str, path: &str) -> Option<String> {
    let plan = Run::new(["plan", "--json"]).folder(folder.path()).succeeds().stdout_text();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["hostname"] == node).expect("the node");
    let changes = node["changes"].as_array().expect("changes");
    let file = changes.iter().find(|it| it["path"] == path)?;
    Some(file["content"].as_str().expect("text").to_owned())
}

#[test]
fn kube_vip_runs_on_control_planes_with_the_image_of_the_lock() {
    const PATH: &str = "/etc/nodeforge/kube-vip.yaml";
    let folder = three("api_address = \"192.168.1.9\"\n");
    let manifest = planned(&folder, "controlplane", PATH).expect("there");
    assert!(manifest.contains("{name: address, value: \"192.168.1.9\"}"), "{manifest}");
    assert_eq!(planned(&folder, "controlplane2", PATH), Some(manifest.clone()));
    assert_eq!(planned(&folder, "node0", PATH), None);
    let values = planned(&folder, "controlplane", "/etc/nodeforge/cilium/values.yaml");
    let urls = "apiServerURLs: \"https://192.168.1.10:6443 https://192.168.1.11:6443 https://192.168.1.12:6443\"";
    assert!(values.expect("there").contains(urls));
    let external = three("ha = \"external\"\napi_address = \"192.168.1.9\"\n");
    assert_eq!(planned(&external, "controlplane", PATH), None);

    // What first boot makes of it.
    let node = control_plane();
    node.write("etc/nodeforge/kube-vip.yaml", &manifest);
    let env = planned(&folder, "controlplane", "/etc/nodeforge/kube-vip.env").expect("there");
    node.write("etc/nodeforge/kube-vip.env", &env);
    node.write("usr/share/nodeforge/kube-vip.json", "{}\n");
    // Of the file that kubeadm finds, and of the one that is there afterwards.
    node.stand_in(
        "kubeadm",
        "mkdir -p $NODEFORGE_ROOT/etc/kubernetes/pki
        cp $NODEFORGE_ROOT/etc/kubernetes/manifests/kube-vip.yaml $NODEFORGE_ROOT/seen.yaml",
    );
    goes_well(&node, "50-kubeadm-init");
    let digest = checksum("sha256sum", &node.path("usr/share/nodeforge/kube-vip.json"));
    let image = format!("image: ghcr.io/kube-vip/kube-vip:v1.2.3@sha256:{digest}\n");
    let (seen, left) =
        (node.read("seen.yaml"), node.read("etc/kubernetes/manifests/kube-vip.yaml"));
    assert!(seen.contains(&image) && left.contains(&image), "{left}");
    assert!(seen.contains("{path: /etc/kubernetes/super-admin.conf, type: File}"), "{seen}");
    assert!(left.contains("{path: /etc/kubernetes/admin.conf, type: File}"), "{left}");
    resources_are_known(&[node.path("etc/kubernetes/manifests/kube-vip.yaml")]);
    // Images from an archive have tags only.
    fs::remove_file(node.path("usr/share/nodeforge/kube-vip.json")).expect("there");
    goes_well(&node, "50-kubeadm-init");
    let left = node.read("etc/kubernetes/manifests/kube-vip.yaml");
    assert!(left.contains("image: ghcr.io/kube-vip/kube-vip:v1.2.3\n"), "{left}");
}

/// A stand-in for a registry: it refuses, says where to have a token, and wants the token that it gave.
/// Source: the token authentication of Docker's registry, which ghcr.io carries out.
#[test]
fn the_digest_of_an_image_is_pinned_at_its_first_fetch() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let manifest = "/v2/kube-vip/kube-vip/manifests/v1.2.3";
    let index = "{\"schemaVersion\": 2, \"manifests\": []}";
    server.put(manifest, index);
    let token = "/token?service=here&scope=repository:kube-vip/kube-vip:pull";
    server.put(token, "{\"token\": \"for-anybody\"}");
    let challenge = format!(
        "WWW-Authenticate: Bearer realm=\"{}\",service=\"here\",scope=\"repository:kube-vip/kube-vip:pull\"\r\n",
        server.url("/token")
    );
    server.once(manifest, [Fault::Status(401, Box::leak(challenge.into_boxed_str()))]);
    let folder = temporary_folder();
    let image = server.url("/kube-vip/kube-vip").replace("https://", "");
    fs::create_dir(folder.path().join("own")).expect("made");
    let profile = format!(
        "description = \"a test\"\n[[artifact]]\nurl = \"https://{}/v2/{}/manifests/v1.2.3\"\nsha256 = \"first-use\"\n\
         path = \"/usr/share/nodeforge/kube-vip.json\"\n[[role]]\nname = \"server\"\npattern = \"server1\"\n",
        image.split('/').next().expect("a host"),
        image.split_once('/').expect("a name").1,
    );
    fs::write(folder.path().join("own/profile.toml"), profile).expect("written");
    let base = folder.path().join("base.img");
    fs::write(&base, vec![0; 1 << 20]).expect("written");
    let cluster = format!(
        "[cluster]\nname = \"t\"\nprofile = \"./own\"\n[base]\npath = \"{}\"\narch = \"amd64\"\n[access]\nuser = \"pi\"\nlogin = false\n\
         [[node]]\nhostname = \"server1\"\n",
        base.display()
    );
    fs::write(folder.path().join("cluster.toml"), cluster).expect("written");
    let fetch = || {
        Run::new(["fetch"])
            .folder(folder.path())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .env("SSL_CERT_FILE", authority.certificate())
    };
    let said = fetch().succeeds().stderr_text();
    let sum = folder.path().join("index");
    fs::write(&sum, index).expect("written");
    let digest = checksum("sha256sum", &sum);
    let words = format!(
        "trusting `{}` at first use: nodeforge.lock pins its SHA-256 {digest}",
        server.url(manifest)
    );
    assert!(said.contains(&words), "{said}");
    let asked = server.requests(manifest);
    assert_eq!(asked.len(), 2);
    let header = |number: usize, name: &str| asked[number].headers.get(name).cloned();
    assert_eq!(header(0, "authorization"), None);
    assert_eq!(header(1, "authorization").as_deref(), Some("Bearer for-anybody"));
    assert!(
        header(0, "accept").expect("there").contains("application/vnd.oci.image.index.v1+json")
    );
    // Another image under the same tag is refused from now on.
    server.put(manifest, "{\"schemaVersion\": 2, \"manifests\": [1]}");
    fs::remove_dir_all(folder.path().join("cache")).expect("there");
    let said = fetch().exits(1).stderr_text();
    assert!(said.contains("is not what it should be: its SHA-256 is"), "{said}");
}
