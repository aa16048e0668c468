//! What is in the images, checked by openssl, Python's YAML and kubeadm's rules.

use std::collections::BTreeSet;
use std::fs;

use super::super::arguments::judge;
use super::super::support::{self, Run, resources_are_known, tool};
use super::built::{AGE_KEY, Built, GIT_TOKEN, NODES, built};

const AUTHORITIES: [&str; 3] = ["ca", "front-proxy-ca", "etcd/ca"];

/// Writes a file of an image where tools can read it.
fn taken(built: &Built, node: &str, path: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), built.cat(node, path)).expect("written");
    file
}

#[test]
fn kubeadm_takes_its_configuration() {
    let kubeadm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rpi5/programs/kubeadm");
    for (node, name) in [
        ("controlplane", "kubeadm-init"),
        ("controlplane1", "kubeadm-join"),
        ("node0", "kubeadm-join"),
    ] {
        let file = taken(built(), node, &format!("/root/kubeadm/{name}.yaml"));
        let path = file.path().display().to_string();
        assert_eq!(tool("python3", [kubeadm, "config", "validate", "--config", &path]), "ok\n");
        // Its own source has every key and argument.
        for version in ["v1.36.4", "v1.35.6", "v1.34.2"] {
            let (is_good, said) = judge(version, &[file.path().to_owned()]);
            assert!(is_good && said.contains("kubeadm "), "{node} {version}\n{said}");
        }
    }
}

#[test]
fn resources_have_no_key_that_their_definitions_have_not() {
    let files = ["/etc/nodeforge/cilium/lan.yaml", "/etc/nodeforge/flux-instance.yaml"];
    let files = files.map(|path| taken(built(), "controlplane", path));
    resources_are_known(&files.each_ref().map(|it| it.path().to_owned()));
    let file = taken(built(), "controlplane", "/etc/nodeforge/cilium/values.yaml");
    let script = "import sys, yaml; values = yaml.safe_load(open(sys.argv[1])); assert values['ipam']; \
        images = [values['image']] + [values[it]['image'] for it in ('operator', 'envoy', 'certgen')]; \
        assert [it['useDigest'] for it in images] == [False] * 4";
    tool("python3", ["-c".as_ref(), script.as_ref(), file.path().as_os_str()]);
    let flux = built().cat("controlplane", "/etc/nodeforge/flux-instance.yaml");
    assert!(flux.contains("provider: sops") && flux.contains("pullSecret: flux-git"), "{flux}");
}

#[test]
fn authorities_are_the_same_on_all_control_planes_and_pinned_by_joining_nodes() {
    let built = built();
    for name in AUTHORITIES {
        let path = format!("/etc/nodeforge/pki/{name}.crt");
        let certificate = taken(built, "controlplane", &path);
        let certificate = certificate.path().as_os_str();
        tool(
            "openssl",
            [
                "verify".as_ref(),
                "-x509_strict".as_ref(),
                "-CAfile".as_ref(),
                certificate,
                certificate,
            ],
        );
        let key = taken(built, "controlplane1", &format!("/etc/nodeforge/pki/{name}.key"));
        let of_key = tool(
            "openssl",
            ["pkey".as_ref(), "-pubout".as_ref(), "-in".as_ref(), key.path().as_os_str()],
        );
        let of_certificate = tool(
            "openssl",
            ["x509".as_ref(), "-noout".as_ref(), "-pubkey".as_ref(), "-in".as_ref(), certificate],
        );
        assert_eq!(of_key, of_certificate, "{name}");
    }
    let authority = taken(built, "controlplane", "/etc/nodeforge/pki/ca.crt");
    let script =
        "openssl x509 -noout -pubkey -in \"$0\" | openssl pkey -pubin -outform DER | sha256sum";
    let hash = tool("sh", ["-c".as_ref(), script.as_ref(), authority.path().as_os_str()]);
    let hash = hash.split_whitespace().next().expect("a hash");
    for node in ["controlplane1", "node0"] {
        let join = built.cat(node, "/root/kubeadm/kubeadm-join.yaml");
        assert!(join.contains(&format!("caCertHashes: [\"sha256:{hash}\"]")), "{join}");
    }
    for node in NODES {
        let hosts = built.cat(node, "/etc/hosts");
        assert!(hosts.contains("192.168.1.9 k8s-api.home.arpa\n"), "{hosts}");
    }
}

#[test]
fn the_kubeconfig_of_the_laptop_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let path = built().path("out/kubeconfig");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    let printed = Run::new(["kubeconfig"]).folder(built().path("")).succeeds().stdout_text();
    assert_eq!(fs::read_to_string(path).expect("there"), printed);
}

#[test]
fn packages_are_of_their_version_and_held() {
    let status = built().cat("node0", "/var/lib/dpkg/status");
    for name in ["kubeadm", "kubectl", "kubelet"] {
        let stanza = status.split("\n\n").find(|it| it.starts_with(&format!("Package: {name}\n")));
        let stanza = stanza.expect("installed");
        assert!(stanza.contains("\nStatus: hold ok installed\n"), "{stanza}");
        assert!(stanza.contains("\nVersion: 1.36.4-1.1\n"), "{stanza}");
    }
}

/// The private values of the store, each as a line that would be found in a file.
fn secrets(built: &Built) -> Vec<(String, String)> {
    let text = fs::read_to_string(built.path("nodeforge.secrets")).expect("readable");
    let store: toml::Table = text.parse().expect("TOML");
    let mut found = vec![
        ("age key".to_owned(), AGE_KEY.to_owned()),
        ("git token".to_owned(), GIT_TOKEN.to_owned()),
        ("seed".to_owned(), store["seed"]["value"].as_str().expect("text").to_owned()),
    ];
    let mut add = |name: String, value: &str| {
        // Of a PEM file, the line in the middle: those around it look alike in every key.
        let lines: Vec<_> = value.lines().filter(|line| !line.starts_with("-----")).collect();
        found.push((name, lines[lines.len() / 2].to_owned()));
    };
    for (name, secret) in store["secrets"].as_table().expect("a table") {
        add(name.clone(), secret["value"].as_str().expect("text"));
    }
    for (host, key) in store["ssh_host_keys"].as_table().expect("a table") {
        add(format!("host key of {host}"), key["private"].as_str().expect("text"));
    }
    assert!(found.len() >= 11 && found.iter().all(|(_, text)| text.len() >= 16), "{}", found.len());
    found
}

/// The secrets whose bytes are somewhere in an image, free space included.
fn found_in(built: &Built, image: &std::path::Path) -> BTreeSet<String> {
    let secrets = secrets(built);
    let found = support::found_in(image, secrets.iter().map(|(_, text)| text.as_str()));
    secrets.into_iter().filter(|(_, text)| found.contains(text)).map(|(name, _)| name).collect()
}

#[test]
fn a_worker_holds_its_token_and_its_own_host_key_and_no_other_secret() {
    let built = built();
    let own = ["host key of node0", "kubeadm_token"].map(str::to_owned);
    assert_eq!(found_in(built, &built.image("node0")), own.into());
    let replica = found_in(built, &built.image("controlplane1"));
    assert!(replica.contains("ca") && replica.contains("service_account"), "{replica:?}");
    assert!(!replica.contains("age key") && !replica.contains("git token"), "{replica:?}");
    let first = found_in(built, &built.image("controlplane"));
    assert!(first.contains("age key") && first.contains("git token"), "{first:?}");
    assert!(!first.contains("seed"), "{first:?}");
    // No file that only control planes have is there at all.
    let worker = built.image("node0");
    for path in ["/etc/nodeforge/pki", "/root/keys.txt", "/etc/kubernetes/pki"] {
        Run::new(["ls", &format!("{}:{path}", worker.display())]).fails();
    }
}

#[test]
fn the_prepared_base_holds_no_secret() {
    let built = built();
    // All that went in is in the cache: nothing is asked for.
    let said = Run::new(["prepare", "--json", "--offline"]).folder(built.folder.path()).succeeds();
    let said: serde_json::Value = serde_json::from_str(&said.stdout_text()).expect("JSON");
    let image = std::path::Path::new(said["path"].as_str().expect("a path"));
    let image = if image.is_dir() { image.join("disk.img") } else { image.to_owned() };
    assert_eq!(found_in(built, &image), BTreeSet::new());
}
