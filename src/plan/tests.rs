use super::*;
use crate::change::{Action, Change};
use crate::config::ExtraFile;
use crate::config::tests::quickstart_in;
use crate::secrets::Secrets;
use crate::util::error::Result;

fn described(changes: &[Change]) -> Vec<String> {
    changes.iter().map(describe).collect()
}

fn text_of<'a>(changes: &'a [Change], wanted: &str) -> Option<&'a str> {
    changes.iter().find_map(|change| {
        let Action::File { path, content, .. } = &change.action else { return None };
        (path == wanted).then(|| std::str::from_utf8(&content.bytes).ok())?
    })
}

#[test]
fn the_quickstart_base_is_prepared() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let changes = prepare(&cluster, &[])?;
    let lines = described(&changes);
    assert_eq!(lines[0], "grow the disk to 3072 MiB (cluster file)");
    for line in [
        "install containerd (profile quickstart)",
        "write /etc/containerd/config.toml, mode 0644, 527 bytes (overlay containerd)",
        "enable systemd-networkd.service (profile quickstart)",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}\n{}", lines.join("\n"));
    }
    let modules = text_of(&changes, "/etc/modules-load.d/nodeforge.conf");
    assert_eq!(modules, Some("overlay\nbr_netfilter\n"));
    assert_eq!(prepare(&cluster, &[])?, changes, "twice the same");
    Ok(())
}

#[test]
fn the_quickstart_nodes_are_stamped() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let secrets = Secrets::load_or_create(&cluster)?;
    let server = node(&cluster, &cluster.nodes[0], &secrets)?;
    assert_eq!(
        text_of(&server, network::PATH),
        Some(
            "# The addresses of server1, from its cluster file.\n[Match]\nName=en* eth*\n\n\
             [Network]\nDHCP=no\nIPv6AcceptRA=yes\nAddress=192.168.77.10/24\n\
             Address=fd77:3be9:5d2e:77::10/64\nGateway=192.168.77.1\nDNS=192.168.77.1\n\
             Domains=home.arpa\n"
        )
    );
    assert_eq!(
        text_of(&server, "/etc/nodeforge/roles"),
        Some(
            "# PATTERN ROLE STEP…: the first pattern that matches the host name counts.\n\
             server[0-9]+ server 05-grow-root 10-identity 20-report\n\
             agent[0-9]+ agent 05-grow-root 10-identity 20-report\n"
        )
    );
    let agent = node(&cluster, &cluster.nodes[1], &secrets)?;
    assert_eq!(
        text_of(&agent, "/etc/nodeforge/server"),
        Some(
            "# The servers that agent1 may ask to join quickstart, the first one first.\n\
             server1 192.168.77.10\napi=server1\n"
        )
    );
    assert_eq!(text_of(&agent, "/etc/motd"), Some("agent1 is the agent of quickstart\n"));
    assert_eq!(text_of(&agent, network::PATH), None);
    let key = "write /etc/ssh/ssh_host_ed25519_key, mode 0600, from the secret ssh_host_key/agent1 \
               (nodeforge)";
    assert!(described(&agent).iter().any(|line| line == key));
    Ok(())
}

#[test]
fn no_secret_is_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let secrets = Secrets::load_or_create(&cluster)?;
    for change in node(&cluster, &cluster.nodes[0], &secrets)? {
        let shown = format!("{change:?} {} {}", describe(&change), to_json(&change));
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }
    Ok(())
}

#[test]
fn of_two_changes_of_a_path_the_later_counts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = quickstart_in(folder.path())?;
    let own = ExtraFile {
        path: "/etc/nodeforge/server".into(),
        bytes: b"mine\n".to_vec(),
        is_template: false,
        template_name: String::new(),
        source: None,
        mode: 0o644,
        user: "root".into(),
        group: "systemd-network".into(),
        when: None,
        place: None,
    };
    cluster.nodes[1].files.push(own);
    let secrets = Secrets::load_or_create(&cluster)?;
    let changes = node(&cluster, &cluster.nodes[1], &secrets)?;
    let lines = described(&changes);
    let about: Vec<_> =
        lines.iter().filter(|line| line.contains("/etc/nodeforge/server")).collect();
    assert_eq!(
        about,
        [
            "write /etc/nodeforge/server, mode 0644, owned by root:systemd-network, 5 bytes (cluster file)"
        ]
    );
    Ok(())
}

#[test]
fn a_template_is_nobody_yet() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = quickstart_in(folder.path())?;
    let lines = described(&template(&cluster)?);
    assert_eq!(lines[0], "set the machine id uninitialized (nodeforge)");
    for word in ["server1", "ssh_host", "/etc/motd", "name the machine"] {
        assert!(!lines.iter().any(|line| line.contains(word)), "{word}");
    }
    assert!(lines.iter().any(|line| line.contains("/usr/lib/nodeforge/firstboot.d/20-report")));
    Ok(())
}

/// YAML takes a name of digits for a number, which kubeadm refuses where text belongs.
#[test]
fn names_of_digits_are_text() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
    let text = std::fs::read_to_string(start)?.replace("name = \"home\"", "name = \"42\"");
    let text = text.replace("[settings]\n", "[settings]\napi_address = \"192.168.1.9\"\n");
    let text = text.replace("hostname = \"node0\"", "hostname = \"101\"\nrole = \"node\"");
    let file = folder.path().join("cluster.toml");
    let another = "\n[[node]]\nhostname = \"102\"\nrole = \"controlplane-replica\"\naddresses = [\"192.168.1.12/24\"]\n";
    std::fs::write(&file, text + another)?;
    let cluster = crate::config::load(&file, crate::config::example_rules())?;
    let secrets = Secrets::load_or_create(&cluster)?;
    for (index, file, lines) in [
        (0, "init", ["clusterName: \"42\"", "    - \"102\"\n    - \"102.home.arpa\""].as_slice()),
        (1, "join", &["  name: \"101\""]),
        (2, "join", &["  name: \"102\""]),
    ] {
        let changes = node(&cluster, &cluster.nodes[index], &secrets)?;
        let text = text_of(&changes, &format!("/root/kubeadm/kubeadm-{file}.yaml"));
        let text = text.unwrap_or_default();
        for line in lines {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
    Ok(())
}

/// The text of a file on each node of an example with these `[defaults]`, by host name.
fn rendered(profile: &str, defaults: &str, path: &str) -> Result<Vec<(String, String)>> {
    let folder = tempfile::tempdir()?;
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(profile);
    std::fs::copy(example.join("demo.pub"), folder.path().join("demo.pub"))?;
    let text = std::fs::read_to_string(example.join("cluster.toml"))?;
    let file = folder.path().join("cluster.toml");
    std::fs::write(&file, format!("{text}\n[defaults]\n{defaults}\n"))?;
    let cluster = crate::config::load(&file, crate::config::example_rules())?;
    let secrets = Secrets::load_or_pretend(&cluster)?;
    let mut texts = Vec::new();
    for one in &cluster.nodes {
        let changes = node(&cluster, one, &secrets)?;
        if let Some(text) = text_of(&changes, path) {
            texts.push((one.hostname.clone(), text.to_owned()));
        }
    }
    Ok(texts)
}

#[test]
fn kubelets_register_their_nodes_with_labels_and_taints() -> Result<()> {
    const OWN: &str = "labels = { \"example.org/a\" = \"b\", c = \"d\" }\n\
                       taints = [\"x=y:NoSchedule\", \"z:NoExecute\"]";
    let own_taints = "    - {key: \"x\", value: \"y\", effect: NoSchedule}\n    \
                      - {key: \"z\", value: \"\", effect: NoExecute}\n";
    let labels = "    - name: node-labels\n      value: \"c=d,example.org/a=b\"\n";
    let join = rendered("rpi5-kubeadm", OWN, "/root/kubeadm/kubeadm-join.yaml")?;
    let (_, worker) = join.iter().find(|(name, _)| name == "node0").expect("a worker");
    assert!(worker.contains(&format!("  taints:\n{own_taints}  kubeletExtraArgs:\n")), "{worker}");
    assert!(worker.contains(labels), "{worker}");
    let init = &rendered("rpi5-kubeadm", OWN, "/root/kubeadm/kubeadm-init.yaml")?[0].1;
    // Beside the one that kubeadm gives to control planes, unless they are for all pods.
    let control = "    - {key: node-role.kubernetes.io/control-plane, effect: NoSchedule}\n";
    assert!(init.contains(&format!("  taints:\n{control}{own_taints}")), "{init}");
    let without = &rendered("rpi5-kubeadm", "", "/root/kubeadm/kubeadm-init.yaml")?[0].1;
    assert!(!without.contains("taints") && !without.contains("node-labels"), "{without}");

    let of_k3s = "node-label: [\"c=d\", \"example.org/a=b\"]\nnode-taint: [\"x=y:NoSchedule\", \"z:NoExecute\"]\n";
    for (_, config) in rendered("fusion-k3s", OWN, "/etc/rancher/k3s/config.yaml")? {
        assert!(config.ends_with(of_k3s), "{config}");
    }
    for (name, config) in rendered("edge-k3s", OWN, "/etc/rancher/k3s/config.yaml")? {
        if name == "edge" {
            let both = "node-label: [\"example.org/edge=true\", \"c=d\", \"example.org/a=b\"]\n\
                        node-taint: [\"example.org/edge=true:NoSchedule\", \"x=y:NoSchedule\", \"z:NoExecute\"]\n";
            assert!(config.ends_with(both), "{config}");
        } else {
            assert!(config.ends_with(of_k3s), "{config}");
        }
    }
    Ok(())
}
