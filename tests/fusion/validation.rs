//! Manifests and the router's files, before programs that others wrote.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::support::{K3S, Run, resources_are_known, temporary_folder, tool};
use super::{Built, build_small, built, cluster, k3s_accepts, names, plan, small};

const MANIFESTS: &str = "var/lib/rancher/k3s/server/manifests";

fn files(folder: &Path) -> Vec<PathBuf> {
    names(folder).iter().map(|name| folder.join(name)).collect()
}

#[test]
fn the_first_server_deploys_what_others_accept() {
    let built = built();
    let temporary = temporary_folder();
    let root = built.root_of("server1.vmwarevm", "server1", temporary.path());
    assert_eq!(
        names(&root.join(MANIFESTS)),
        [
            "bgp-configuration.yaml",
            "bgp-secrets.yaml",
            "bgp.yaml",
            "calico-installation.yaml",
            "calico.yaml",
            "coredns-custom.yaml",
            "external-dns.yaml",
            "metallb.yaml",
        ]
    );
    resources_are_known(&files(&root.join(MANIFESTS)));
    // What waits for the prefix.
    let gua = root.join("usr/share/nodeforge/gua");
    assert_eq!(names(&gua), ["api.yaml", "bgp-configuration.yaml", "metallb-pool.yaml"]);
    for file in files(&gua) {
        let text = fs::read_to_string(&file).expect("there");
        let text = text.replace("@GUA_POOL@", "2001:db8:0:1:ff01::/112");
        let text = text.replace("@GUA_API@", "2001:db8:0:1:ff01::1");
        assert!(!text.contains('@'), "{text}");
        fs::write(&file, text).expect("written");
    }
    resources_are_known(&files(&gua));
    // Further servers deploy only that, and what it takes the place of: all servers' folders are one.
    let other = built.root_of("server2.vmwarevm", "server2", temporary.path());
    assert_eq!(names(&other.join(MANIFESTS)), ["bgp-configuration.yaml"]);
    let bgp = |root: &Path| {
        fs::read_to_string(root.join(MANIFESTS).join("bgp-configuration.yaml")).expect("there")
    };
    assert_eq!(bgp(&other), bgp(&root));
    // The AS and the services wait for no prefix: without them the router refuses Calico.
    assert!(bgp(&root).contains("  asNumber: 65010\n"), "{}", bgp(&root));
    assert!(!bgp(&root).contains("serviceLoadBalancerIPs"), "{}", bgp(&root));
    assert_eq!(names(&other.join("usr/share/nodeforge/gua")), names(&gua));
}

/// The public files of one node's plan.
fn planned(folder: &Path, node: &str) -> BTreeMap<String, Option<String>> {
    let plan = plan(folder);
    let nodes = plan["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|it| it["hostname"] == node).expect("it is planned");
    let changes = node["changes"].as_array().expect("changes");
    let files = changes.iter().filter(|change| change["action"] == "file");
    let entry = |change: &serde_json::Value| {
        let path = change["path"].as_str().expect("a path").to_owned();
        (path, change["content"].as_str().map(str::to_owned))
    };
    files.map(entry).collect()
}

/// Whether systemd would start a unit where there are only these files.
fn starts(unit: &str, files: &BTreeMap<String, Option<String>>) -> bool {
    let conditions = unit.lines().filter_map(|line| {
        let (key, path) = line.split_once('=')?;
        let (start, end) = match key {
            "ConditionPathExists" => (path, ""),
            "ConditionPathExistsGlob" => path.split_once('*').expect("a pattern"),
            _ => return None,
        };
        let holds = |file: &String| {
            file.strip_prefix(start.trim_start_matches('|')).is_some_and(|rest| {
                if end.is_empty() { rest.is_empty() } else { rest.ends_with(end) }
            })
        };
        Some((path.starts_with('|'), files.keys().any(holds)))
    });
    let (triggering, all): (Vec<_>, Vec<_>) = conditions.partition(|condition| condition.0);
    all.iter().all(|condition| condition.1)
        && (triggering.is_empty() || triggering.iter().any(|condition| condition.1))
}

#[test]
fn addresses_are_watched_where_somebody_wants_to_know() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/profiles/fusion-k3s/overlays/fusion/etc/systemd/system/"
    );
    let starts_on = |files: &BTreeMap<_, _>, unit: &str| {
        let text = fs::read_to_string(format!("{folder}{unit}.service")).expect("there");
        starts(&text, files)
    };
    for (settings, node, wanted) in [
        ("", "server1", ["nodeforge-dns", "nodeforge-prefix"].as_slice()),
        ("", "agent1", &["nodeforge-dns"]),
        ("dns_registration = false", "server2", &["nodeforge-prefix"]),
        ("dns_registration = false", "agent1", &[]),
        ("metallb = false\nha = \"dns\"", "server1", &["nodeforge-dns"]),
    ] {
        let cluster = cluster(&settings.lines().collect::<Vec<_>>());
        let files = planned(cluster.path(), node);
        for unit in ["nodeforge-dns", "nodeforge-prefix"] {
            let is_wanted = wanted.contains(&unit);
            assert_eq!(starts_on(&files, unit), is_wanted, "{settings} {node} {unit}");
        }
        let watched = starts_on(&files, "nodeforge-addresses");
        assert_eq!(watched, !wanted.is_empty(), "{settings} {node}");
    }
}

/// The cluster's file with one thing otherwise.
fn change(folder: &Path, from: &str, to: &str) {
    let file = folder.join("cluster.toml");
    let text = fs::read_to_string(&file).expect("there");
    assert!(text.contains(from), "{from}\n{text}");
    fs::write(&file, text.replace(from, to)).expect("written");
}

#[test]
fn a_node_has_the_gateways_of_the_cluster_file() {
    let unit = |addresses: &str, gateway: &str| {
        let folder = cluster(&[]);
        let own = "\"fd77:3be9:5d2e:1::21/64\"";
        let line = format!("{own}{addresses}]\ngateway = [{gateway}]");
        change(folder.path(), &format!("{own}]"), &line);
        let files = planned(folder.path(), "agent1");
        files["/etc/systemd/network/05-nodeforge.network"].clone().expect("it is public")
    };
    let has = |unit: &str, line: &str| unit.lines().any(|it| it == line);
    let four = unit(", \"192.168.5.5/24\"", "\"192.168.5.1\"");
    assert!(has(&four, "Address=192.168.5.5/24") && has(&four, "Gateway=192.168.5.1"), "{four}");
    assert!(!four.contains("UseGateway"), "{four}");
    let both = unit(", \"192.168.5.5/24\"", "\"192.168.5.1\", \"fd77:3be9:5d2e:1::1\"");
    for line in ["Gateway=192.168.5.1", "Gateway=fd77:3be9:5d2e:1::1", "UseGateway=no"] {
        assert!(has(&both, line), "{both}");
    }
    let six = unit("", "\"fe80::1\"");
    // Keys are in their sections, each line by itself.
    let network = six.split("\n[").find(|it| it.starts_with("Network]\n")).expect("a section");
    assert!(has(network, "Gateway=fe80::1") && !network.contains("UseGateway"), "{six}");
}

#[test]
fn images_are_imported_where_containers_run() {
    for (containerd, is_imported) in [("embedded", false), ("debian", true), ("docker", true)] {
        let folder = cluster(&[&format!("containerd = \"{containerd}\"")]);
        change(folder.path(), "offline = false", "offline = true");
        change(folder.path(), "charts = \"repository\"", "charts = \"baked\"");
        let plan = plan(folder.path());
        let prepare = plan["prepare"].as_array().expect("changes");
        let has = |key: &str, value: &str| prepare.iter().any(|it| it[key] == value);
        assert_eq!(has("name", "zstd"), is_imported, "{containerd}");
        let env = prepare.iter().find(|it| it["path"] == "/etc/nodeforge/k3s.env").expect("there");
        let env = env["content"].as_str().expect("it is public");
        let line = "K3S_CONTAINERD='/run/containerd/containerd.sock'\n";
        assert_eq!(env.contains(line), is_imported, "{env}");
        // The image that holds a pod together is among them.
        let config = prepare.iter().find(|it| it["path"] == "/etc/containerd/config.toml");
        let pause = "docker.io/rancher/mirrored-pause:3.6";
        let named = config.is_some_and(|it| it["content"].to_string().contains(pause));
        assert_eq!(named, is_imported, "{containerd}");
        for node in plan["nodes"].as_array().expect("nodes") {
            let changes = node["changes"].as_array().expect("changes");
            let step = "/usr/lib/nodeforge/firstboot.d/45-k3s-images";
            assert!(changes.iter().any(|it| it["path"] == step), "{}", node["hostname"]);
        }
    }
}

#[test]
fn every_part_has_its_switch() {
    let all = [
        (
            "calico = false\nmetallb = false\nha = \"dns\"",
            "calico.yaml calico-installation.yaml bgp.yaml bgp-secrets.yaml metallb.yaml bgp-configuration.yaml",
        ),
        (
            "bgp = false\nmetallb = false\nha = \"dns\"",
            "bgp.yaml bgp-secrets.yaml metallb.yaml bgp-configuration.yaml",
        ),
        ("metallb = false\nha = \"none\"", "metallb.yaml"),
        ("ha = \"dns\"", ""),
        ("external_dns = false\nha = \"none\"", "external-dns.yaml"),
        ("coredns_custom = false", "coredns-custom.yaml"),
    ];
    let manifests = |settings: &str| -> (Vec<String>, Vec<String>) {
        let folder = cluster(&settings.lines().collect::<Vec<_>>());
        let files = planned(folder.path(), "server1");
        let of = |prefix: &str| {
            let names = files.keys().filter_map(|path| path.strip_prefix(prefix));
            names.map(str::to_owned).collect()
        };
        (of(&format!("/{MANIFESTS}/")), of("/usr/share/nodeforge/gua/"))
    };
    let (whole, _) = manifests("");
    for (setting, gone) in all {
        let gone: Vec<&str> = gone.split(' ').collect();
        let mut expected = whole.clone();
        expected.retain(|name| !gone.contains(&name.as_str()));
        let (found, gua) = manifests(setting);
        assert_eq!(found, expected, "{setting}");
        // What has addresses that change is in templates.
        assert_eq!(!gua.is_empty(), !setting.contains("metallb = false"), "{setting}: {gua:?}");
        assert_eq!(gua.contains(&"api.yaml".to_owned()), !setting.contains("ha = "), "{setting}");
    }
}

#[test]
fn a_tunnel_is_deployed_with_its_credentials() {
    let folder = cluster(&[
        "cloudflared = true",
        "cloudflared_tunnel = \"6ff42ae2\"",
        "cloudflared_hostnames = [\"www.example.net\", \"shop.example.net\"]",
        "cloudflared_services = [\"http://web.default\", \"https://shop.default\"]",
        "cloudflared_origin_name = \"shop.internal\"",
        "cloudflared_kind = \"Deployment\"",
    ]);
    let path = folder.path().join("cloudflared.json");
    let _ = Run::new(["plan"]).folder(folder.path()).exits(2).stderr(&format!(
        "error: the secret `cloudflared_credentials` is your own file, and there is no `{}`\n\
         hint: log in to the zone with `cloudflared tunnel login`; then, beside the cluster file, `cloudflared tunnel \
         token --cred-file cloudflared.json 6ff42ae2` writes it, and for a new tunnel `cloudflared tunnel create \
         --credentials-file cloudflared.json fusion`\n",
        path.display()
    ));
    let secret = "{\n  \"AccountTag\": \"a\",\n  \"TunnelSecret\": \"hush\"\n}\n";
    fs::write(&path, secret).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    let files = planned(folder.path(), "server1");
    let content = &files[&format!("/{MANIFESTS}/cloudflared.yaml")];
    let content = content.as_deref().expect("a text");
    assert!(content.contains("<secret cloudflared_credentials>"), "{content}");
    assert!(!content.contains("hush"), "{content}");
    let rules = "    - hostname: \"www.example.net\"\n      service: \"http://web.default\"\n\
                 \x20   - hostname: \"shop.example.net\"\n      service: \"https://shop.default\"\n\
                 \x20     originRequest:\n        originServerName: \"shop.internal\"\n\
                 \x20   - service: http_status:404\n";
    assert!(content.contains(rules), "{content}");
    assert!(content.contains("kind: Deployment\n") && content.contains("  replicas: 2\n"));
    // What leads there is for people.
    let plan = plan(folder.path());
    let handouts = plan["handouts"].as_array().expect("handouts");
    let handout = handouts.iter().find(|it| it["path"] == "cloudflared-dns.sh").expect("one");
    let routes = "cloudflared tunnel route dns 6ff42ae2 www.example.net\n\
                  cloudflared tunnel route dns 6ff42ae2 shop.example.net\n";
    assert!(handout["content"].as_str().expect("public").ends_with(routes), "{handout}");
}

/// As cloudflared reads it: the first that matches (`FindMatchingRule` of its ingress package).
#[test]
fn names_come_before_the_wildcards_that_have_them_too() {
    let folder = cluster(&[
        "cloudflared = true",
        "cloudflared_tunnel = \"6ff42ae2\"",
        "cloudflared_hostnames = [\"*.example.net\", \"*.a.example.net\", \"www.example.net\", \"b.a.example.net\"]",
        "cloudflared_services = [\"http://all\", \"https://some\", \"http://web\", \"http://one\"]",
        "cloudflared_origin_name = \"shop.internal\"",
    ]);
    fs::write(folder.path().join("cloudflared.json"), "{}").expect("written");
    let files = planned(folder.path(), "server1");
    let content = &files[&format!("/{MANIFESTS}/cloudflared.yaml")];
    let content = content.as_deref().expect("a text");
    let rules = "taken: names before wildcards, and of these what is further down the tree.\n\
                 \x20   - hostname: \"www.example.net\"\n      service: \"http://web\"\n\
                 \x20   - hostname: \"b.a.example.net\"\n      service: \"http://one\"\n\
                 \x20   - hostname: \"*.a.example.net\"\n      service: \"https://some\"\n\
                 \x20     originRequest:\n        originServerName: \"shop.internal\"\n\
                 \x20   - hostname: \"*.example.net\"\n      service: \"http://all\"\n\
                 \x20   - service: http_status:404\n";
    assert!(content.contains(rules), "{content}");
    let plan = plan(folder.path());
    let handouts = plan["handouts"].as_array().expect("handouts");
    let handout = handouts.iter().find(|it| it["path"] == "cloudflared-dns.sh").expect("one");
    let text = handout["content"].as_str().expect("public");
    let script = folder.path().join("cloudflared-dns.sh");
    fs::write(&script, text).expect("written");
    tool("shellcheck", [script.as_os_str()]);
    // Where a file has such a name, the shell must not take the pattern for it.
    fs::write(folder.path().join("c.example.net"), "").expect("written");
    let noted = "cloudflared() { echo \"$*\"; }; cd \"$1\"; . ./cloudflared-dns.sh";
    let noted =
        tool("sh", ["-c".as_ref(), noted.as_ref(), "sh".as_ref(), folder.path().as_os_str()]);
    let routes = "tunnel route dns 6ff42ae2 *.example.net\ntunnel route dns 6ff42ae2 *.a.example.net\n\
                  tunnel route dns 6ff42ae2 www.example.net\ntunnel route dns 6ff42ae2 b.a.example.net\n";
    assert_eq!(noted, routes);
}

/// Nodes in one zone, services in another; BIND reads what the router gets.
#[test]
fn two_zones_are_two_zones_everywhere() {
    let folder = cluster(&[
        "services_zone = \"apps.example.net\"",
        "api_name = \"api.apps.example.net\"",
        "cluster_domain = \"cluster.local\"",
    ]);
    let plan = plan(folder.path());
    let handouts = plan["handouts"].as_array().expect("handouts");
    let handout = |path: &str| {
        let found = handouts.iter().find(|it| it["path"] == path);
        found.unwrap_or_else(|| panic!("{path}"))["content"].as_str().expect("public").to_owned()
    };
    let named = handout("router/named.conf");
    let (nodes, services) = named.split_once("zone \"apps.example.net\" {\n").expect("two zones");
    assert!(!nodes.contains("zonesub") && nodes.contains("allow-transfer { none; };"), "{named}");
    assert!(nodes.contains("grant server1.k8s.example.net name "), "{named}");
    assert!(services.contains("grant externaldns-key zonesub AAAA TXT;"), "{named}");
    let key = "key \"externaldns-key\" { algorithm hmac-sha256; secret \"aGk=\"; };\n";
    let keys: String = ["server1", "server2", "server3", "agent1", "agent2"]
        .map(|name| key.replace("externaldns-key", &format!("{name}.k8s.example.net")))
        .concat();
    let conf = folder.path().join("named.conf");
    fs::write(&conf, format!("{key}{keys}{named}")).expect("written");
    tool("named-checkconf", [&conf]);
    let zone = folder.path().join("zone");
    fs::write(&zone, handout("router/apps.example.net.zone")).expect("written");
    tool("named-checkzone", ["apps.example.net".as_ref(), zone.as_os_str()]);

    let files = planned(folder.path(), "server1");
    let text = |name: &str| files[&format!("/{MANIFESTS}/{name}")].clone().expect("public");
    let coredns = text("coredns-custom.yaml");
    for zone in ["    k8s.example.net:53 {\n", "    apps.example.net:53 {\n"] {
        assert!(coredns.contains(zone), "{coredns}");
    }
}

#[test]
fn without_calico_flannel_is_the_pods_network() {
    let built = Built { folder: small(&["calico = false", "metallb = false", "ha = \"dns\""]) };
    build_small(built.folder.path(), &[]).succeeds();
    let roots = temporary_folder();
    for node in ["server1", "server2"] {
        let root = built.root_of(&format!("{node}.vmwarevm"), node, roots.path());
        k3s_accepts(&root, "server");
        let config = fs::read_to_string(root.join("etc/rancher/k3s/config.yaml")).expect("there");
        assert!(!config.contains("flannel-backend") && !config.contains("disable-network-policy"));
        assert!(config.contains("flannel-ipv6-masq: true\n"), "{config}");
        // And so has a server that is cloned by hand.
        let clone = root.join("usr/share/nodeforge/k3s/server.yaml");
        let clone = fs::read_to_string(clone).expect("there");
        assert!(clone.contains("flannel-ipv6-masq: true\n") && !clone.contains("none"), "{clone}");
    }
}

#[test]
fn the_router_takes_what_is_handed_out() {
    let built = built();
    let router = built.path("out/router");
    assert_eq!(
        names(&router),
        [
            "frr-password.conf",
            "frr.conf",
            "jool.conf",
            "k8s.example.net.zone",
            "named.conf",
            "named.conf.options",
            "named.keys",
            "nftables.conf",
            "radvd.conf"
        ]
    );
    for (name, mode) in [("frr.conf", 0o644), ("frr-password.conf", 0o600), ("named.keys", 0o600)] {
        let found = fs::metadata(router.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name}");
    }
    // FRR parses both files together, as it would when one includes the other.
    let both = built.path("frr-both.conf");
    let text = built.read("out/router/frr.conf") + &built.read("out/router/frr-password.conf");
    fs::write(&both, text).expect("written");
    tool("vtysh", [OsStr::new("-C"), OsStr::new("-f"), both.as_os_str()]);

    let zone = router.join("k8s.example.net.zone");
    let said = tool("named-checkzone", [OsStr::new("k8s.example.net"), zone.as_os_str()]);
    assert!(said.ends_with("OK\n"), "{said}");
    let include = built.path("named.conf");
    let text =
        format!("include \"{0}/named.keys\";\ninclude \"{0}/named.conf\";\n", router.display());
    fs::write(&include, text).expect("written");
    tool("named-checkconf", [include.as_os_str()]);
    let radvd = router.join("radvd.conf");
    tool("radvd", [OsStr::new("--configtest"), OsStr::new("-C"), radvd.as_os_str()]);
}

#[test]
fn the_plan_shows_the_router_snippet_and_keeps_its_keys() {
    let built = built();
    let shown = Run::new(["plan"]).folder(built.folder.path()).succeeds().stdout_text();
    for line in [
        "bgp listen range fd77:3be9:5d2e:1::/64 peer-group k3s",
        "zone \"k8s.example.net\" {",
        "ns\tIN\tAAAA\tfd77:3be9:5d2e:1::1",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    for line in shown.lines().filter(|line| line.contains("k3s password ")) {
        assert!(line.contains("k3s password <secret "), "{line}");
    }
}

#[test]
fn systemd_takes_the_units() {
    let built = built();
    let temporary = temporary_folder();
    let root = built.root_of("server1.vmwarevm", "server1", temporary.path());
    fs::create_dir_all(root.join("usr/local/bin")).expect("a folder");
    fs::copy(K3S, root.join("usr/local/bin/k3s")).expect("copied");
    fs::create_dir_all(root.join("usr/bin")).expect("a folder");
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/firstboot/nodeforge-firstboot");
    let installed = root.join("usr/bin/nodeforge-firstboot");
    fs::copy(runner, &installed).expect("copied");
    fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).expect("set");
    // What they are ordered around is this machine's.
    let own = [
        "nodeforge-dns",
        "nodeforge-prefix",
        "nodeforge-addresses",
        "nodeforge-vmware",
        "k3s",
        "k3s-agent",
    ];
    for unit in own {
        let source = root.join(format!("etc/systemd/system/{unit}.service"));
        let text = fs::read_to_string(&source).expect("there");
        let text =
            text.replace("=/usr/lib/nodeforge", &format!("={}/usr/lib/nodeforge", root.display()));
        let text = text.replace("=/usr/local", &format!("={}/usr/local", root.display()));
        let text = text.replace("=/usr/bin", &format!("={}/usr/bin", root.display()));
        fs::write(&source, text).expect("written");
    }
    let units = names(&root.join("etc/systemd/system"))
        .into_iter()
        .filter(|name| name.starts_with("nodeforge-") || name.starts_with("k3s"))
        // Stands for nothing that is shipped.
        .filter(|name| name != "nodeforge-test.service")
        .map(|name| root.join("etc/systemd/system").join(name));
    let units: Vec<_> = units.filter(|path| path.is_file()).collect();
    assert!(units.len() >= 7, "{units:?}");
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .expect("systemd-analyze starts");
    // Without the folder's own name, which has a `nodeforge-` in it.
    let said = String::from_utf8_lossy(&output.stderr).replace(&*root.to_string_lossy(), "");
    // It knows this machine's units as well, and has its own opinion of them.
    let ours: Vec<_> =
        said.lines().filter(|line| line.contains("nodeforge-") || line.contains("k3s")).collect();
    assert!(ours.is_empty(), "{said}");
}
