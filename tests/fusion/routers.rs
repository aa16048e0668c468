//! What is handed out for each kind of router, before the programs that read it, and the script that
//! says whether the cluster works, before good and bad answers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::super::support::{Run, temporary_folder, tool};
use super::{build_small, names, small};

/// The handouts of a build of one node.
fn built(settings: &[&str]) -> tempfile::TempDir {
    let folder = small(settings);
    build_small(folder.path(), &["server1"]).succeeds();
    folder
}

/// A subnet of its own for the pool, as pfSense needs it.
const OWN_SUBNET: [&str; 2] = ["global_prefix_length = 56", "balancer_pool = \"::f1:0:0:0:0/112\""];

#[test]
fn debians_programs_take_what_is_for_debian() {
    let folder = built(&[]);
    let router = folder.path().join("out/router");
    // BIND reads all its files together, where they lie on the router.
    let options = fs::read_to_string(router.join("named.conf.options")).expect("there");
    for line in [
        "dns64 64:ff9b::/96 { clients { fd77:3be9:5d2e:1::/64; }; };",
        "listen-on-v6 { ::1; fd77:3be9:5d2e:1::1; };",
        "listen-on-v6 port 5353 { fd77:3be9:5d2e:1::1; };",
    ] {
        assert!(options.lines().any(|it| it.trim() == line), "{line}\n{options}");
    }
    let whole = folder.path().join("named.conf");
    let includes = ["named.conf.options", "named.keys", "named.conf"]
        .map(|name| format!("include \"{}/{name}\";\n", router.display()));
    fs::write(&whole, includes.concat().replace("/var/cache/bind", "/")).expect("written");
    tool("named-checkconf", [whole.as_os_str()]);
    // nft checks in a namespace of its own, which needs no right.
    let rules = router.join("nftables.conf");
    let nft = ["--user", "--map-root-user", "--net", "nft", "-c", "-f"].map(OsStr::new);
    tool("unshare", nft.into_iter().chain([rules.as_os_str()]));
    let jool = fs::read_to_string(router.join("jool.conf")).expect("there");
    let jool: serde_json::Value = serde_json::from_str(&jool).expect("JSON");
    assert_eq!(jool["global"]["pool6"], "64:ff9b::/96");

    let without = built(&["nat64 = false", "dns_port = 53"]);
    let router = without.path().join("out/router");
    assert!(!router.join("jool.conf").exists());
    let options = fs::read_to_string(router.join("named.conf.options")).expect("there");
    assert!(!options.contains("dns64") && !options.contains("listen-on-v6 port"), "{options}");
}

#[test]
fn pfsense_has_its_pages_and_no_router_has_none() {
    let mut settings = vec!["router_kind = \"pfsense\""];
    settings.extend(OWN_SUBNET);
    let folder = built(&settings);
    let router = folder.path().join("out/router");
    let expected = ["frr-password.conf", "frr.conf", "named.conf", "named.keys", "pfsense.md"];
    assert_eq!(names(&router), expected);
    let page = fs::read_to_string(router.join("pfsense.md")).expect("there");
    for words in [
        "address fd77:3be9:5d2e:1::1/64",
        "Subnets: fd77:3be9:5d2e:1::/64",
        "0:0:0:f1::/112 under the first 56 bits",
        "  * fd77:3be9:5d2e:1::12 (server2)",
        "  * agent2 has no address in the cluster file",
        "Listen port (advanced): 5353",
        "Zone Name k8s.example.net",
        "fd77:3be9:5d2e:1::1@5353",
    ] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    // Secrets are in their own files.
    let mode = fs::metadata(router.join("pfsense.md")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let both = folder.path().join("frr-both.conf");
    let read = |name: &str| fs::read_to_string(router.join(name)).expect("there");
    fs::write(&both, read("frr.conf") + &read("frr-password.conf")).expect("written");
    tool("vtysh", [OsStr::new("-C"), OsStr::new("-f"), both.as_os_str()]);

    assert!(!built(&["router_kind = \"none\""]).path().join("out/router").exists());
}

/// A `kubectl` and a `dig` that answer as a cluster does that works, but for the changes.
fn stand_ins(folder: &Path, changes: &[(&str, &str)]) {
    let kubectl = r#"#!/bin/sh
case "$*" in
"get nodes"*) printf '%s\n' 'server1 Ready control-plane 1d v1' 'server2 Ready control-plane 1d v1' 'server3 Ready control-plane 1d v1' 'agent1 Ready <none> 1d v1' 'agent2 Ready <none> 1d v1' ;;
*"get pods -l k8s-app=calico-node -o name") printf '%s\n' pod/calico-node-a pod/calico-node-b ;;
*"birdcl6 show protocols") printf '%s\n' 'Mesh_x BGP master up 10:00 Established' 'Global_fd77__1 BGP master up 10:00 Established' ;;
*"ipaddresspool loadbalancer-pool"*) printf '2001:db8:1:2:ff01::/112' ;;
"--server https://api.k8s.example.net:443 "*"/readyz") echo ok ;;
*"get --raw /readyz") printf ok ;;
"run nodeforge-verify-"*"nc -w 10 -z deb.debian.org 443") exit 0 ;;
*) echo "kubectl: $*" >&2; exit 1 ;;
esac
"#;
    let dig = r"#!/bin/sh
for name; do :; done
case $name in
server1.*) printf '%s\n' fd77:3be9:5d2e:1::11 2001:db8:1:2::11 ;;
k3s-cluster.*) echo fd77:3be9:5d2e:1::11 ;;
api.*) echo 2001:db8:1:2:ff01::1 ;;
*) echo fd77:3be9:5d2e:1::99 ;;
esac
";
    fs::create_dir_all(folder).expect("a folder");
    for (name, text) in [("kubectl", kubectl), ("dig", dig)] {
        let mut text = text.to_owned();
        for (from, to) in changes {
            text = text.replace(from, to);
        }
        fs::write(folder.join(name), text).expect("written");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join(name), mode).expect("set");
    }
}

#[test]
fn the_script_tells_good_clusters_from_bad_ones() {
    let built = built(&[]);
    let script = built.path().join("out/verify.sh");
    tool("shellcheck", [script.as_os_str()]);
    let folder = temporary_folder();
    let verify = |changes: &[(&str, &str)]| {
        stand_ins(folder.path(), changes);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut sh = Command::new("/bin/sh");
        let output = sh.arg(&script).env("PATH", path).env("KUBECONFIG", "").output();
        let output = output.expect("sh starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("all is well\n") && !said.contains("BAD"), "{said}");
    assert_eq!(said.matches("good: ").count(), 17, "{said}");
    // Of this cluster, and not of whichever the user's own file has in use; the user's choice counts.
    let script_folder = script.parent().expect("a folder").display().to_string();
    let seen = |kubeconfig: &str| {
        stand_ins(
            folder.path(),
            &[("#!/bin/sh\n", "#!/bin/sh\necho \"$KUBECONFIG\" >>\"$0.seen\"\n")],
        );
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let mut sh = Command::new("/bin/sh");
        let _ = sh.arg(&script).env("PATH", path).env("KUBECONFIG", kubeconfig).output();
        let seen = folder.path().join("kubectl.seen");
        let text = fs::read_to_string(&seen).expect("readable");
        fs::remove_file(seen).expect("removed");
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.dedup();
        lines
    };
    assert_eq!(seen(""), [format!("{script_folder}/kubeconfig")]);
    assert_eq!(seen("/mine"), ["/mine"]);
    let (_, said) = verify(&[("agent1 Ready ", "agent1 NotReady ")]);
    assert!(said.contains("; sudo nodeforge-firstboot status\n"), "{said}");
    for (from, to, bad, next) in [
        (
            "printf ok ;;",
            "echo refused; exit 1 ;;",
            "the API does not answer: refused",
            "timed out: no",
        ),
        ("agent1 Ready ", "agent1 NotReady ", "node agent1 is not ready", "kubectl describe node"),
        ("pod/calico-node-a pod/calico-node-b", "", "Calico does not run", "kubectl get tigera"),
        (
            "Global_fd77__1 BGP master up 10:00 Established",
            "Global_fd77__1 BGP master start 10:00 Active",
            "pod/calico-node-a: BGP with the router is not established",
            "vtysh -c 'show bgp ipv6 summary'",
        ),
        ("k3s-cluster.*) echo", "k3s-cluster.*) : ", "k3s-cluster.k8s.example.net is not", "named"),
        ("2001:db8:1:2:ff01::/112", "", "MetalLB has no pool", "journalctl -u nodeforge-prefix"),
        (
            "2001:db8:1:2:ff01::/112",
            "2001:db8:1:3:ff01::/112",
            "is not under the prefix of server1",
            "systemctl start nodeforge-prefix",
        ),
        ("api.*) echo", "api.*) : ", "api.k8s.example.net does not resolve", "external-dns"),
        ("echo ok ;;", "exit 1 ;;", "the API does not answer at https://api", "-verify_hostname"),
        ("443\") exit 0", "443\") exit 1", "a pod does not reach deb.debian.org", "DNS64"),
    ] {
        let (code, said) = verify(&[(from, to)]);
        assert_eq!(code, Some(1), "{from}\n{said}");
        let after = said
            .split_once(&format!("BAD:  {bad}"))
            .or_else(|| said.split_once("BAD:  ").filter(|(_, after)| after.contains(bad)));
        let after = after.unwrap_or_else(|| panic!("{bad}\n{said}")).1;
        assert!(after.contains(next), "{next}\n{said}");
    }
}

/// pfSense announces every prefix as on-link: hosts would ask their neighbours for load balancers.
#[test]
fn a_pool_inside_the_nodes_own_prefix_is_refused_with_pfsense() {
    let folder = small(&["router_kind = \"pfsense\""]);
    let said = Run::new(["check"]).folder(folder.path()).fails().stderr_text();
    for words in [
        "with pfSense `balancer_pool` ::ff01:0:0:0/112 cannot be in the nodes' own /64",
        "router_kind = ",
        "`ha = \"dns\"` and `metallb = false`, or a subnet of its own",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let mut settings = vec!["router_kind = \"pfsense\""];
    settings.extend(OWN_SUBNET);
    Run::new(["check"]).folder(small(&settings).path()).succeeds();
}
