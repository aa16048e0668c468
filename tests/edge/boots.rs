//! The edge and a server at home, booted on one wire: their own tunnel, their own first boot. Nothing else is on it,
//! and they bring the container images that they deploy; k3s, which imports them, is a stand-in.

use std::process::Stdio;

use super::super::support::Run;
use super::built;

/// What the check in the guest printed, a line each.
fn verdicts(console: &str) -> Vec<&str> {
    console
        .lines()
        .filter_map(|line| line.split_once("guest-check: ").map(|(_, said)| said.trim()))
        .collect()
}

#[test]
fn the_edge_and_a_server_meet() {
    let built = built();
    // A name of its own: tests of another checkout may run at the same time.
    let network = built.folder.path().display().to_string();
    // One base for either firmware: the edge boots as a rented machine does, with addresses that are
    // networks of their own and routers outside of them.
    let boot = |node: &str, firmware: &str| {
        let arguments =
            ["boot", node, "--network", &network, "--timeout", "900", "--firmware", firmware];
        let mut run = Run::new(arguments.into_iter().chain(["--until", "guest-check: the end"]));
        run = run.folder(built.folder.path());
        run.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
    };
    let machines = [boot("edge", "bios"), boot("k3s-node1", "uefi")];
    let [edge, home] = machines.map(|machine| {
        let output = machine.wait_with_output().expect("ended");
        let console = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{console}");
        console
    });
    let (edge, home) = (verdicts(&edge), verdicts(&home));
    println!("edge\n{}\n\nk3s-node1\n{}", edge.join("\n"), home.join("\n"));

    for said in [&edge, &home] {
        assert!(!said.iter().any(|line| line.starts_with("wrong")), "{said:?}");
        let shaken = said.iter().filter(|line| line.ends_with("shook hands")).count();
        assert_eq!(shaken, 1, "{said:?}");
        let images = format!("images {}", super::IMAGES.join(" "));
        assert!(said.contains(&images.as_str()), "{said:?}");
        for line in [
            "key 640 root:systemd-network",
            "netdev 640 root:systemd-network",
            "mtu 1420",
            "failed units: none",
        ] {
            assert!(said.contains(&line), "{line}: {said:?}");
        }
    }
    for line in [
        "firmware bios",
        "route default via 198.51.100.1 dev INTERFACE proto static onlink",
        "route default via 2001:db8:ffff::1 dev INTERFACE proto static onlink",
        "started edge-firewall systemd-networkd systemd-networkd-wait-online@wg0 k3s-agent",
        "agent after the handshake",
        "unprivileged from 80",
        "nftables.service masked",
        "ping 192.168.178.5 answers",
        "ping fda8:a1db:5685::5 answers",
        "sshd passwordauthentication no",
        "sshd kbdinteractiveauthentication no",
        "sshd permitrootlogin no",
        "sshd authenticationmethods publickey",
        "sshd x11forwarding no",
    ] {
        assert!(edge.contains(&line), "{line}: {edge:?}");
    }
    let closed = "6443=filtered 9100=filtered 10250=filtered 30080=filtered";
    let open = "22=open 80=open 443=open";
    for line in [
        "firmware uefi".to_owned(),
        "ping 192.168.178.201 answers".to_owned(),
        "ping fda8:a1db:5685::201 answers".to_owned(),
        format!("outside 203.0.113.10 {open} {closed}"),
        format!("outside 2001:db8:0:1::10 {open} {closed}"),
        format!("tunnel 192.168.178.201 {open} {}", closed.replace("filtered", "open")),
        format!("tunnel fda8:a1db:5685::201 {open} {}", closed.replace("filtered", "open")),
        "kubeconfig server: https://192.168.178.5:6443".to_owned(),
    ] {
        assert!(home.contains(&line.as_str()), "{line}: {home:?}");
    }
}
