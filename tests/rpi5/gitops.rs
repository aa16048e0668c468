//! The repository that Flux is to follow, as a build leaves it in out/gitops: judged by `kubectl kustomize`, by age and
//! by the definitions of what is in it. Neither Flux nor a cluster ran.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::add::kubectl;
use super::super::support::{Run, resources_are_known, temporary_folder, tool};
use super::built::{AGE_KEY, GIT_TOKEN, built};
use super::steps::{calls_of, control_plane, goes_well, spent};

const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/rpi5-kubeadm/cluster.toml");
const URL: &str = "flux_url = \"https://github.com/me/cluster\"\n";
const SSH: &str = "flux_url = \"ssh://git@github.com/me/cluster\"\n";
const KNOWN: &str = "flux_known_hosts = \"github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\"\n";

/// The file to begin with, with settings of its own.
fn cluster(settings: &str) -> tempfile::TempDir {
    let folder = temporary_folder();
    let text = fs::read_to_string(START).expect("readable");
    let text = text.replace("[output]", &format!("{settings}[output]"));
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    fs::write(folder.path().join("keys.txt"), format!("{AGE_KEY}\n")).expect("written");
    folder
}

fn plan(folder: &Path) -> Value {
    let said = Run::new(["plan", "--json"]).folder(folder).succeeds().stdout_text();
    serde_json::from_str(&said).expect("JSON")
}

/// Writes the side files below gitops where tools can read them. None is secret.
fn scaffold(plan: &Value, folder: &Path) -> PathBuf {
    let handouts = plan["handouts"].as_array().expect("a list");
    let own = handouts
        .iter()
        .filter(|it| it["path"].as_str().is_some_and(|it| it.starts_with("gitops/")));
    for file in own {
        assert_eq!(
            (&file["mode"], file["secrets"].as_array().map(Vec::len)),
            (&"0644".into(), Some(0)),
            "{file}"
        );
        let path = folder.join(file["path"].as_str().expect("a path"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, file["content"].as_str().expect("a text")).expect("written");
    }
    folder.join("gitops")
}

/// All files below a folder, from it.
fn files(root: &Path) -> BTreeSet<String> {
    let all = tool(
        "find",
        [root.as_os_str(), "-type".as_ref(), "f".as_ref(), "-printf".as_ref(), "%P\\n".as_ref()],
    );
    all.lines().map(str::to_owned).collect()
}

/// What each folder that has a kustomization builds to, in files of its own.
fn builds(root: &Path, into: &Path) -> Vec<(String, PathBuf)> {
    let names = files(root);
    let folders = names.iter().filter_map(|it| it.strip_suffix("/kustomization.yaml"));
    let build = |folder: &str| {
        let path = root.join(folder);
        let text =
            tool(kubectl().to_str().expect("UTF-8"), ["kustomize".as_ref(), path.as_os_str()]);
        assert!(text.contains("kind: "), "{folder}: {text}");
        let file = into.join(format!("{}.yaml", folder.replace('/', "-")));
        fs::write(&file, text).expect("written");
        (folder.to_owned(), file)
    };
    folders.map(build).collect()
}

/// A field of all objects in a file, by an expression of Python's about `it`.
fn asked(file: &Path, expression: &str) -> Vec<String> {
    let script = format!(
        "import sys, yaml\nfor it in yaml.safe_load_all(open(sys.argv[1])):\n  print({expression})"
    );
    let said = tool("python3", ["-c".as_ref(), script.as_ref(), file.as_os_str()]);
    said.lines().map(str::to_owned).collect()
}

/// Holds a scaffold against what Flux would look for in it, beginning at this path.
fn check(root: &Path, entry: &str) {
    let into = temporary_folder();
    let built = builds(root, into.path());
    let folders: Vec<&str> = built.iter().map(|(folder, _)| folder.as_str()).collect();
    assert!(folders.contains(&entry), "{folders:?}");
    resources_are_known(&built.iter().map(|(_, file)| file.clone()).collect::<Vec<_>>());
    let of = |folder: &str| {
        let found = built.iter().find(|(it, _)| it == folder);
        found.unwrap_or_else(|| panic!("no `{folder}` in {folders:?}")).1.as_path()
    };
    // Every path that Flux is sent to is there, and what a part waits for is another part.
    let parts = asked(
        of(entry),
        "it['metadata']['name'], it['spec']['path'], *[d['name'] for d in it['spec'].get('dependsOn', [])]",
    );
    let names: Vec<&str> = parts.iter().filter_map(|it| it.split(' ').next()).collect();
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>(),
        ["apps", "infrastructure", "repositories", "settings"].iter().collect()
    );
    for part in &parts {
        let words: Vec<&str> = part.split(' ').collect();
        let _ = of(words[1].strip_prefix("./").expect("from the top"));
        assert!(words[2..].iter().all(|it| names.contains(it)), "{part}");
    }
    // The release has its values, under the name that kustomize gave them, and its chart's repository.
    let release = "(it['kind'], it['metadata'].get('namespace'), it['metadata']['name'])";
    let all = asked(of("infrastructure"), release);
    assert!(all.contains(&"('HelmRelease', 'kube-system', 'cilium')".to_owned()), "{all:?}");
    let wanted = asked(
        of("infrastructure"),
        "[v['name'] for v in it.get('spec', {}).get('valuesFrom', [])] if it['kind'] == 'HelmRelease' else ''",
    );
    let wanted = wanted.iter().find(|it| !it.is_empty()).expect("a release");
    let name = wanted.trim_matches(['[', ']', '\'']);
    assert!(name.starts_with("cilium-values-"), "{name}");
    assert!(all.contains(&format!("('ConfigMap', 'kube-system', '{name}')")), "{all:?}");
    let source = asked(
        of("infrastructure"),
        "it['spec']['chart']['spec']['sourceRef'] if it['kind'] == 'HelmRelease' else ''",
    );
    assert!(source.contains(
        &"{'kind': 'HelmRepository', 'name': 'cilium', 'namespace': 'flux-system'}".to_owned()
    ));
    assert_eq!(asked(of("repositories"), release), ["('HelmRepository', 'flux-system', 'cilium')"]);
}

/// A file of the first control plane in a plan.
fn planned<'a>(plan: &'a Value, path: &str) -> Option<&'a Value> {
    let node = plan["nodes"].as_array()?.iter().find(|it| it["hostname"] == "controlplane")?;
    node["changes"].as_array()?.iter().find(|it| it["path"] == path)
}

const FILES: [&str; 17] = [
    "apps/kustomization.yaml",
    "apps/namespace.yaml",
    "clusters/home/apps.yaml",
    "clusters/home/infrastructure.yaml",
    "clusters/home/kustomization.yaml",
    "clusters/home/repositories.yaml",
    "clusters/home/settings.yaml",
    "infrastructure/cilium/kustomization.yaml",
    "infrastructure/cilium/names.yaml",
    "infrastructure/cilium/release.yaml",
    "infrastructure/cilium/values.yaml",
    "infrastructure/kustomization.yaml",
    "repositories/cilium.yaml",
    "repositories/kustomization.yaml",
    "settings/cluster.yaml",
    "settings/kustomization.yaml",
    ".sops.yaml",
];

#[test]
fn the_first_commit_has_all_that_flux_looks_for() {
    let settings = format!("{URL}flux_scaffold = true\nage_key = {{ file = \"keys.txt\" }}\n");
    let folder = cluster(&settings);
    let plan = plan(folder.path());
    let root = scaffold(&plan, folder.path());
    assert_eq!(files(&root), FILES.map(str::to_owned).into_iter().collect());
    check(&root, "clusters/home");
    // Flux is sent there, and Cilium has the values that it was installed with.
    let instance = planned(&plan, "/etc/nodeforge/flux-instance.yaml").expect("planned");
    let instance = instance["content"].as_str().expect("a text");
    assert!(instance.contains("\n    path: \"clusters/home\"\n"), "{instance}");
    let values = planned(&plan, "/etc/nodeforge/cilium/values.yaml").expect("planned");
    let text = fs::read_to_string(root.join("infrastructure/cilium/values.yaml")).expect("there");
    assert_eq!(values["content"], text);
    assert!(planned(&plan, "/etc/nodeforge/cilium/lan.yaml").is_some());
    // What is encrypted for whom .sops.yaml names is what Flux's key opens.
    let rules = asked(
        &root.join(".sops.yaml"),
        "it['creation_rules'][0]['age'], it['creation_rules'][0]['path_regex']",
    );
    let (recipient, pattern) = rules[0].split_once(' ').expect("two");
    assert_eq!(pattern, r"\.sops\.ya?ml$");
    let script = "printf hush | age -r \"$0\" | age -d -i \"$1\"";
    let keys = folder.path().join("keys.txt").display().to_string();
    assert_eq!(tool("sh", ["-c", script, recipient, &keys]), "hush");
    // Without a word, nothing is left there, and nothing is where it was not.
    let folder = cluster(&format!("{URL}sops = false\n"));
    let plan = self::plan(folder.path());
    let is_ours = |it: &&Value| it["path"].as_str().is_some_and(|it| it.starts_with("gitops"));
    assert_eq!(plan["handouts"].as_array().expect("a list").iter().filter(is_ours).count(), 0);
    let instance = planned(&plan, "/etc/nodeforge/flux-instance.yaml").expect("planned");
    let instance = instance["content"].as_str().expect("a text");
    assert!(instance.contains("path: \"kubernetes/rpi-cluster/flux/config\""), "{instance}");
}

#[test]
fn git_has_the_pool_and_ssh_has_a_key() {
    let settings = format!(
        "{SSH}{KNOWN}sops = false\nflux_scaffold = true\nload_balancer_in_git = true\nflux_path = \"k8s/flux\"\n"
    );
    let folder = cluster(&settings);
    let plan = plan(folder.path());
    let root = scaffold(&plan, folder.path());
    let names = files(&root);
    assert!(
        names.contains("infrastructure/load-balancer/lan.yaml") && !names.contains(".sops.yaml"),
        "{names:?}"
    );
    check(&root, "k8s/flux");
    let into = temporary_folder();
    let built = builds(&root, into.path());
    let all = built.iter().find(|(it, _)| it == "infrastructure").expect("there");
    let kinds = asked(&all.1, "it['kind']").into_iter().collect::<BTreeSet<_>>();
    assert!(
        kinds.contains("CiliumLoadBalancerIPPool") && kinds.contains("CiliumL2AnnouncementPolicy")
    );
    assert!(planned(&plan, "/etc/nodeforge/cilium/lan.yaml").is_none(), "or both would contend");

    // The node has the key, people its public half.
    let key = planned(&plan, "/etc/nodeforge/secrets/flux-deploy-key").expect("planned");
    assert_eq!(
        (&key["mode"], &key["secrets"]),
        (&"0600".into(), &serde_json::json!(["flux_deploy_key"]))
    );
    let known = planned(&plan, "/etc/nodeforge/flux-known-hosts").expect("planned");
    assert!(
        known["content"]
            .as_str()
            .is_some_and(|it| it.starts_with("github.com ssh-ed25519 ") && it.ends_with('\n'))
    );
    let instance = planned(&plan, "/etc/nodeforge/flux-instance.yaml").expect("planned");
    assert!(
        instance["content"].as_str().is_some_and(|it| it.contains("\n    pullSecret: flux-git\n"))
    );
    let _ = Run::new(["kubeconfig"]).folder(folder.path()).succeeds();
    let plan = self::plan(folder.path());
    let handouts = plan["handouts"].as_array().expect("a list");
    let public =
        handouts.iter().find(|it| it["path"] == "flux-deploy-key.pub").expect("handed out");
    let public = public["content"].as_str().expect("public");
    let reveal = ["secrets", "show", "--reveal", "flux_deploy_key"];
    let private = Run::new(reveal).folder(folder.path()).succeeds().stdout_text();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), private).expect("written");
    let of_key = tool("ssh-keygen", ["-y".as_ref(), "-f".as_ref(), file.path().as_os_str()]);
    assert_eq!(public, format!("{} flux@home\n", of_key.trim_end()));
}

#[test]
fn a_repository_over_ssh_gets_its_key_and_the_disk_loses_it() {
    let node = control_plane();
    node.write("etc/nodeforge/flux-instance.yaml", "kind: FluxInstance\n");
    node.write("etc/nodeforge/secrets/flux-deploy-key", "key");
    node.write("etc/nodeforge/flux-known-hosts", "github.com ssh-ed25519 AAAA\n");
    node.stand_in("kubectl", "cat 2>/dev/null; exit 0");
    goes_well(&node, "82-flux-secrets");
    assert_eq!(
        calls_of(&node, "kubectl")[0],
        "kubectl create secret generic flux-git --namespace flux-system --dry-run=client --output yaml \
         --from-file=identity=/etc/nodeforge/secrets/flux-deploy-key \
         --from-file=known_hosts=/etc/nodeforge/flux-known-hosts"
    );
    assert_eq!(spent(&node), ["/etc/nodeforge/secrets/flux-deploy-key"]);
    // A pool that is in Git is not waited for.
    node.forget_calls();
    goes_well(&node, "72-cilium");
    assert_eq!(calls_of(&node, "kubectl").len(), 0);
}

/// A whole build: what it leaves in the output folder.
#[test]
fn nothing_of_it_is_secret() {
    let root = built().path("out/gitops");
    check(&root, "kubernetes/rpi-cluster/flux/config");
    let text: String = files(&root)
        .iter()
        .map(|name| fs::read_to_string(root.join(name)).expect("text"))
        .collect();
    for secret in [AGE_KEY, GIT_TOKEN, "PRIVATE KEY"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let key = built().path("keys.txt").display().to_string();
    let recipient = tool("age-keygen", ["-y", &key]);
    assert!(text.contains(&format!("\n    age: {recipient}")), "{text}");
}
