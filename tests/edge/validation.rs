//! Manifests, handouts, units and scripts before programs that others wrote.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::support::{Run, resources_are_known, temporary_folder, tool};
use super::{built, cluster, names};

const MANIFESTS: &str = "var/lib/rancher/k3s/server/manifests";

fn files(folder: &Path) -> Vec<PathBuf> {
    names(folder).iter().map(|name| folder.join(name)).collect()
}

#[test]
fn the_first_server_deploys_what_others_accept() {
    let temporary = temporary_folder();
    let root = built().root_of("k3s-node1", temporary.path());
    let expected = [
        "example-external.yaml",
        "example-internal.yaml",
        "metallb-pool.yaml",
        "metallb.yaml",
        "traefik-config.yaml",
        "traefik-external.yaml",
    ];
    assert_eq!(names(&root.join(MANIFESTS)), expected);
    resources_are_known(&files(&root.join(MANIFESTS)));
    for other in ["k3s-node2", "edge"] {
        assert!(!built().root_of(other, temporary.path()).join(MANIFESTS).exists(), "{other}");
    }
}

#[test]
fn options_change_what_is_deployed() {
    let folder =
        cluster("example_apps = true\ncert_manager = true\nacme_email = \"me@example.org\"");
    // Nothing is fetched for a plan.
    let file = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, text.replacen("charts = \"repository\"\n", "", 1)).expect("written");
    let text = Run::new(["plan", "--json", "k3s-node1"]).folder(folder.path()).succeeds();
    let plan: serde_json::Value = serde_json::from_str(&text.stdout_text()).expect("JSON");
    let changes = plan["nodes"][0]["changes"].as_array().expect("changes");
    let mut written = Vec::new();
    for change in changes {
        let path = change["path"].as_str().unwrap_or_default();
        if let Some(name) = path.strip_prefix(&format!("/{MANIFESTS}/")) {
            let content = change["content"].as_str().expect("no secret");
            fs::write(folder.path().join(name), content).expect("written");
            written.push(folder.path().join(name));
        }
    }
    assert_eq!(written.len(), 8, "{written:?}");
    resources_are_known(&written);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
    for (name, chart) in [
        ("metallb", "metallb-0.16.1"),
        ("traefik-external", "traefik-41.3.0"),
        ("cert-manager", "cert-manager-v1.21.1"),
    ] {
        let path = format!("/static/charts/{chart}.tgz");
        let address = format!("  chart: https://%{{KUBERNETES_API}}%{path}\n");
        let text = read(&format!("{name}.yaml"));
        assert!(text.contains(&address) && !text.contains("\n  repo:"), "{text}");
        let changes = plan["prepare"].as_array().expect("changes");
        let wanted = format!("/var/lib/rancher/k3s/server{path}");
        assert!(changes.iter().any(|it| it["path"] == wanted), "{wanted}");
    }
    let external = fs::read_to_string(folder.path().join("example-external.yaml")).expect("there");
    assert!(external.contains("cert-manager.io/cluster-issuer: acme"), "{external}");
    let internal = fs::read_to_string(folder.path().join("example-internal.yaml")).expect("there");
    assert!(!internal.contains("cert-manager"), "{internal}");
}

#[test]
fn handouts_are_what_their_programs_read() {
    let built = built();
    let laptop = built.path("out/wireguard/laptop.conf");
    assert_eq!(fs::metadata(&laptop).expect("there").permissions().mode() & 0o777, 0o600);
    let stripped = tool("wg-quick", ["strip".as_ref(), laptop.as_os_str()]);
    let allowed = stripped.lines().find(|line| line.starts_with("AllowedIPs")).expect("some");
    // The edge, three servers, and MetalLB's pools in as few networks as they are.
    assert_eq!(allowed.matches('/').count(), 13, "{allowed}");
    for pool in
        ["192.168.178.10/31, 192.168.178.12/30, 192.168.178.16/30", "fda8:a1db:5685::10/124"]
    {
        assert!(allowed.contains(pool), "{allowed}");
    }

    let home = built.path("out/dns/home.conf");
    tool("dnsmasq", [OsStr::new("--test"), OsStr::new("-C"), home.as_os_str()]);
    let zone = built.path("out/dns/public.zone");
    let name = OsStr::new("apps.example.org");
    // A zone has a start of authority and servers, which are its owner's.
    let whole = built.path("whole.zone");
    let text = fs::read_to_string(&zone).expect("there");
    let text = text.replacen(
        "$TTL 300\n",
        "$TTL 300\n@ IN SOA edge hostmaster 1 3600 900 604800 300\n@ IN NS edge\n",
        1,
    );
    fs::write(&whole, text).expect("written");
    let said = tool("named-checkzone", [name, whole.as_os_str()]);
    assert!(said.ends_with("OK\n"), "{said}");

    let folder = cluster("peer = \"router\"");
    Run::new(["plan"]).folder(folder.path()).succeeds();
    let shown = Run::new(["plan"]).folder(folder.path()).succeeds().stdout_text();
    assert!(shown.contains("write wireguard/router.conf, mode 0600"), "{shown}");
}

#[test]
fn units_and_scripts_pass() {
    let temporary = temporary_folder();
    for (node, units) in [
        ("edge", &["k3s-agent.service", "edge-firewall.service"][..]),
        ("k3s-node1", &["k3s.service", "edge-role.service", "edge-role.timer"][..]),
    ] {
        let root = built().root_of(node, temporary.path());
        let folder = root.join("etc/systemd/system");
        for unit in units {
            let path = folder.join(unit);
            let text = fs::read_to_string(&path).expect("there");
            // Programs that this machine has not.
            let text = text
                .replace("=/usr/local/bin/k3s", "=/bin/true")
                .replace("=/usr/lib/nodeforge", &format!("={}/usr/lib/nodeforge", root.display()));
            fs::write(&path, text).expect("written");
        }
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(units.iter().map(|unit| folder.join(unit)))
            .output()
            .expect("systemd-analyze starts");
        let said = String::from_utf8_lossy(&output.stderr);
        // It knows this machine's units as well, and has its own opinion of them.
        let is_ours = |line: &&str| units.iter().any(|unit| line.contains(unit));
        let ours: Vec<_> = said.lines().filter(is_ours).collect();
        assert!(ours.is_empty(), "{said}");
    }
    tool("shellcheck", ["-x", &format!("{}/scan", super::HERE)]);
}
