//! What all nodes share holds nothing that is theirs alone.

use std::collections::BTreeSet;
use std::fs;

use super::{KEY, Stand, image};
use crate::support::{User, found_in};

const HASH: &str = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7";

fn check_for_secrets(sandboxes: &[&str]) {
    let stand = Stand::new(User::current());
    stand.profile(
        "[[secret]]\nname = \"token\"\nkind = \"kubeadm-token\"\n\
         [[secret]]\nname = \"word\"\nkind = \"password\"\n\
         [[secret]]\nname = \"authority\"\nkind = \"ca\"\n",
    );
    let path = stand.path("cluster.toml");
    let text = fs::read_to_string(&path).expect("there");
    let text =
        text.replace("user = \"pi\"\n", &format!("user = \"pi\"\npassword_hash = \"{HASH}\"\n"));
    let files = "[[files]]\npath = \"/etc/secrets\"\nmode = \"0600\"\n\
         content = \"{{ secrets.token }}\\n{{ secrets.word }}\\n{{ secrets.authority.key }}\"\n";
    fs::write(&path, text + files).expect("written");
    stand.run(["build", "--format", "raw"]).succeeds();

    let store = fs::read_to_string(stand.path("nodeforge.secrets")).expect("there");
    let store: toml::Table = store.parse().expect("TOML");
    // Of a PEM file, the line in the middle: those around it look alike in every key.
    let line = |value: &str| {
        let lines: Vec<_> = value.lines().filter(|line| !line.starts_with("-----")).collect();
        lines[lines.len() / 2].to_owned()
    };
    let mut secrets = vec![HASH.to_owned()];
    for (_, secret) in store["secrets"].as_table().expect("secrets") {
        secrets.push(line(secret["value"].as_str().expect("text")));
    }
    for (_, key) in store["ssh_host_keys"].as_table().expect("keys") {
        secrets.push(line(key["private"].as_str().expect("text")));
    }
    assert!(secrets.len() >= 5, "{}", secrets.len());
    let of_node = secrets.iter().map(String::as_str);
    assert_eq!(
        found_in(&stand.path("out/server1.img"), of_node),
        secrets.iter().cloned().collect(),
        "the node has them all"
    );
    // Not secret, but nothing that others who share the base should have.
    secrets.push(KEY.split(' ').nth(1).expect("a key").to_owned());
    secrets.push(store["seed"]["value"].as_str().expect("a seed").to_owned());
    for sandbox in sandboxes {
        let base = image(&stand.prepare(&["--sandbox", sandbox, "--force"]));
        let found = found_in(&base, secrets.iter().map(String::as_str));
        assert_eq!(found, BTreeSet::new(), "{sandbox}");
    }
}

#[test]
fn a_prepared_base_holds_no_secret_of_the_cluster() {
    check_for_secrets(&["userns", "none"]);
}

mod as_root {
    #[test]
    #[ignore = "needs root"]
    fn a_base_prepared_on_a_loop_device_holds_no_secret() {
        crate::support::require_root();
        super::check_for_secrets(&["loop"]);
    }
}
