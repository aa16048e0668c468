//! What makes no cluster is refused by `check`, with its place.

use std::fs;

use super::super::support::Run;

/// `check` of the file to begin with, changed.
fn check(change: impl Fn(String) -> String) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let start = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
    let text = fs::read_to_string(start).expect("readable");
    let changed = change(text.clone());
    fs::write(folder.path().join("cluster.toml"), &changed).expect("written");
    let mut run = Run::new(["check"]).folder(folder.path());
    let output = run.command().output().expect("nodeforge starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn refused(from: &str, to: &str, words: &[&str]) {
    let (code, said) = check(|text| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    });
    assert_eq!(code, Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
    assert!(said.contains("--> cluster.toml:"), "{said}");
}

#[test]
fn the_file_to_begin_with_is_accepted() {
    let (code, said) = check(|text| text);
    let note = "note: nobody can log in: [access] has neither SSH keys nor a password\n";
    assert_eq!((code, said.as_str()), (Some(0), note));
}

#[test]
fn what_makes_no_cluster_is_refused() {
    let flux = "flux_url = \"https://github.com/me/cluster\"\n";
    refused(
        "[output]",
        &format!("{flux}[output]"),
        &[
            "Flux cannot decrypt the repository's secrets without `age_key`",
            "hint: in [settings]: `age_key = {",
        ],
    );
    refused(
        "[output]",
        &format!("{flux}age_key = {{ file = \"nowhere.txt\" }}\n[output]"),
        &["nowhere.txt"],
    );
    refused(
        "[output]",
        &format!("{flux}sops = false\nflux_private = true\n[output]"),
        &["a private repository needs `flux_git_token`", "flux_private = true"],
    );
    refused(
        "[output]",
        "flux_url = \"git@github.com:me/cluster\"\nsops = false\n[output]",
        &["is no https:// address"],
    );
    refused(
        "addresses = [\"192.168.1.10/24\"]\ngateway = [\"192.168.1.1\"]\n",
        "",
        &[
            "the endpoint `k8s-api.home.arpa` resolves nowhere: `controlplane` has no address in this file",
        ],
    );
    refused("\"10.244.0.0/20\"", "\"10.244.64.0/20\"", &["overlaps"]);
    refused(
        "\"10.244.64.0/18\"",
        "\"192.168.0.0/16\"",
        &["overlaps the network of `controlplane`"],
    );
    refused(
        "hostname = \"node0\"\n",
        "hostname = \"node0\"\nrole = \"controlplane\"\n",
        &["two first control planes, `controlplane` and `node0`"],
    );
    refused(
        "passwordless_sudo",
        "ssh_authorized_keys = [\"ssh-ed25519 AAAAC3Nz me\"]\npasswordless_sudo",
        &["is no SSH public key"],
    );
    refused("[output]", "offline = true\n[output]", &["`offline` needs `images`"]);
    refused("[output]", "pod_mask = 16\n[output]", &["`pod_mask` is 16"]);
}
