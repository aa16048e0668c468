//! Secrets on the command line, encrypted stores, handouts; checked by age, openssl and wg.

use std::fs;
use std::path::Path;

use super::support::{Run, User, tool};

const PROFILE: &str = r#"
description = "a profile of one's own"
extends = "quickstart"
overlays = [{ name = "containerd", when = "settings.extra" }]

[settings.extra]
type = "bool"
default = false
description = "whether there is more"

[packages]
install = [{ name = "bird2", when = "settings.extra" }]

[[secret]]
name = "join_token"
kind = "kubeadm-token"
after_rotation = "Make it known:\n  {{ ssh }} sudo kubeadm token create \"{{ reveal }}\" --ttl 24h"

[[secret]]
name = "cluster_ca"
kind = "ca"
common_name = "kubernetes"
roles = ["server"]

[[secret]]
name = "vpn"
kind = "wireguard"

[[role]]
name = "server"
pattern = "server[0-9]+"
kind = "control-plane"
first = "server1"

[[role.files]]
path = "/etc/kubernetes/pki/ca.key"
mode = "0600"
content = "{{ secrets.cluster_ca.key }}"

[[role.files]]
path = "/etc/systemd/network/wg0.key"
mode = "0640"
owner = "root:systemd-network"
content = "{{ secrets.vpn.private }}\n"

[[role.files]]
path = "/etc/extra"
content = "{{ settings.extra }}\n"
when = "settings.extra and node.is_first"

[[role]]
name = "agent"
pattern = "agent[0-9]+"
kind = "worker"

[[role.files]]
path = "/etc/join"
content = "sha256:{{ secrets.cluster_ca.hash }} {{ secrets.vpn.public_of('laptop') }}\n"

[[handout]]
path = "wireguard/laptop.conf"
source = "laptop.conf.j2"

[[handout]]
path = "router.txt"
content = "{% for node in nodes %}{{ node.hostname }} {{ secrets.vpn.public_of(node.hostname) }}\n{% endfor %}"
"#;
const LAPTOP: &str = "[Interface]\nPrivateKey = {{ secrets.vpn.private_of('laptop') }}\n\
    {% for node in nodes %}\n[Peer]\nPublicKey = {{ secrets.vpn.public_of(node.hostname) }}\n\
    PresharedKey = {{ secrets.vpn.preshared('laptop', node.hostname) }}\n{% endfor %}\n";

fn folder(extra: &str) -> tempfile::TempDir {
    let folder = User::current().folder();
    let own = folder.path().join("own");
    fs::create_dir(&own).expect("made");
    fs::write(own.join("profile.toml"), PROFILE.trim_start()).expect("written");
    fs::write(own.join("laptop.conf.j2"), LAPTOP).expect("written");
    let text = format!(
        "[cluster]\nname = \"lab\"\nprofile = \"./own\"\n[access]\nuser = \"me\"\nlogin = false\n{extra}\
         [[node]]\nhostname = \"server1\"\n[[node]]\nhostname = \"agent[1-2]\"\n"
    );
    fs::write(folder.path().join("cluster.toml"), text).expect("written");
    folder
}

/// Makes the store as a build would, without building: its base is not there.
fn make_store(folder: &Path) {
    let cluster = fs::read_to_string(folder.join("cluster.toml")).expect("there");
    let missing = format!("{cluster}\n[base]\npath = \"missing.img\"\n");
    fs::write(folder.join("cluster.toml"), missing).expect("written");
    Run::new(["build"]).folder(folder).fails();
    fs::write(folder.join("cluster.toml"), cluster).expect("written");
}

fn reveal(folder: &Path, name: &str) -> String {
    Run::new(["secrets", "show", "--reveal", name]).folder(folder).succeeds().stdout_text()
}

#[test]
fn secrets_are_listed_by_name_and_revealed_one_by_one() {
    let folder = folder("");
    let none = Run::new(["secrets", "show"]).folder(folder.path()).succeeds();
    assert!(none.stderr_text().contains("there are none yet"), "{}", none.stderr_text());
    make_store(folder.path());
    let shown = Run::new(["secrets", "show"]).folder(folder.path()).succeeds().stdout_text();
    let names: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let expected = [
        "NAME",
        "seed",
        "cluster_ca",
        "join_token",
        "vpn",
        "ssh_host_key/agent1",
        "ssh_host_key/agent2",
        "ssh_host_key/server1",
    ];
    assert_eq!(names, expected, "{shown}");
    assert!(shown.contains("cluster_ca") && shown.contains("today") && shown.contains("server"));

    let store = fs::read_to_string(folder.path().join("nodeforge.secrets")).expect("there");
    for name in ["seed", "join_token", "cluster_ca.key"] {
        let value = reveal(folder.path(), name);
        assert!(store.contains(value.trim_end()), "{name}");
        assert!(!shown.contains(value.trim_end()), "{name}");
    }
    let certificate = folder.path().join("ca.crt");
    fs::write(&certificate, reveal(folder.path(), "cluster_ca.cert")).expect("written");
    let subject = ["x509", "-noout", "-subject", "-in"].map(Into::into);
    let said = tool("openssl", subject.into_iter().chain([certificate.into_os_string()]));
    assert!(said.contains("kubernetes"), "{said}");
    let said = Run::new(["secrets", "show", "--reveal", "nope"]).folder(folder.path()).exits(2);
    assert!(said.stderr_text().starts_with("error: unknown secret `nope`"));
}

#[test]
fn one_secret_is_rotated_and_nothing_else() {
    let folder = folder("");
    make_store(folder.path());
    let before = fs::read_to_string(folder.path().join("nodeforge.secrets")).expect("there");
    let token = reveal(folder.path(), "join_token");
    let said = Run::new(["secrets", "rotate", "join_token"]).folder(folder.path()).succeeds();
    assert!(
        said.stdout_text().contains(
            "\n  ssh -t me@server1 sudo kubeadm token create \"$(nodeforge secrets show --reveal join_token)\" --ttl 24h\n"
        ),
        "{}",
        said.stdout_text()
    );
    let new = reveal(folder.path(), "join_token");
    assert_ne!(token, new);
    assert!(!said.stdout_text().contains(new.trim_end()), "rotate shows no value");
    let after = fs::read_to_string(folder.path().join("nodeforge.secrets")).expect("there");
    assert_eq!(after.replace(new.trim_end(), token.trim_end()), before);

    let said = Run::new(["secrets", "rotate", "join_tokn"]).folder(folder.path()).exits(2);
    assert_eq!(
        said.stderr_text(),
        "error: unknown secret `join_tokn`\nhint: did you mean `join_token`?\n"
    );
}

#[test]
fn an_authority_past_its_time_is_refused() {
    const CONFIG: &str = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nnew_certs_dir = .\nserial = serial\n\
        default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n";
    let folder = folder("");
    make_store(folder.path());
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("written");
    // The same key, with a certificate of long ago.
    write("ca.key", &reveal(folder.path(), "cluster_ca.key"));
    write("ca.cnf", CONFIG);
    write("index.txt", "");
    write("serial", "01\n");
    let script = "cd \"$0\" && openssl req -new -key ca.key -subj /CN=kubernetes -out ca.csr &&
        openssl ca -batch -selfsign -notext -config ca.cnf -keyfile ca.key -in ca.csr \
            -out ca.crt -startdate 20200101000000Z -enddate 20210101000000Z";
    tool("sh", ["-c".as_ref(), script.as_ref(), folder.path().as_os_str()]);
    let store = fs::read_to_string(path("nodeforge.secrets")).expect("there");
    let mut store: toml::Table = store.parse().expect("TOML");
    let certificate = fs::read_to_string(path("ca.crt")).expect("there");
    store["secrets"]["cluster_ca"]["public"] = certificate.into();
    write("nodeforge.secrets", &store.to_string());
    for command in ["check", "build"] {
        let said = Run::new([command]).folder(folder.path()).exits(2).stderr_text();
        for words in [
            "error: the certificate authority `cluster_ca` in `",
            "` expired on 2021-01-01\n",
            "hint: `nodeforge secrets rotate cluster_ca` makes a new one; all nodes must then be built again",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    Run::new(["secrets", "rotate", "cluster_ca"]).folder(folder.path()).succeeds();
    Run::new(["check"]).folder(folder.path()).succeeds();
}

#[test]
fn a_store_is_encrypted_for_its_recipients() {
    let folder = folder("");
    make_store(folder.path());
    let plain = fs::read_to_string(folder.path().join("nodeforge.secrets")).expect("there");
    let keys = folder.path().join("keys.txt");
    tool("age-keygen", ["-o".as_ref(), keys.as_os_str()]);
    let recipient = tool("age-keygen", ["-y".as_ref(), keys.as_os_str()]);
    let cluster = folder.path().join("cluster.toml");
    let text = fs::read_to_string(&cluster).expect("there");
    let table = format!("[secrets]\nrecipients = [\"{}\"]\n", recipient.trim());
    fs::write(&cluster, format!("{text}\n{table}")).expect("written");

    make_store(folder.path());
    assert!(!folder.path().join("nodeforge.secrets").exists());
    let sealed = folder.path().join("nodeforge.secrets.age");
    let armored = fs::read_to_string(&sealed).expect("there");
    assert!(armored.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    let opened = tool("age", ["-d".as_ref(), "-i".as_ref(), keys.as_os_str(), sealed.as_os_str()]);
    assert_eq!(opened, plain, "as it was, and age opens it");

    let show = || {
        let run = Run::new(["secrets", "show", "--reveal", "join_token"]).folder(folder.path());
        run.env("XDG_CONFIG_HOME", folder.path().join("none"))
    };
    let token = show().env("NODEFORGE_AGE_IDENTITY", &keys).succeeds().stdout_text();
    assert!(plain.contains(token.trim_end()));
    show().env("SOPS_AGE_KEY_FILE", &keys).succeeds().stdout(&token);
    let usual = folder.path().join("config/sops/age");
    fs::create_dir_all(&usual).expect("made");
    fs::copy(&keys, usual.join("keys.txt")).expect("copied");
    show().env("XDG_CONFIG_HOME", folder.path().join("config")).succeeds().stdout(&token);

    // Without the key nothing is generated, and nothing is changed.
    let said = show().exits(2).stderr_text();
    assert!(said.contains("cause: no age key to decrypt it with was found"), "{said}");
    tool("age-keygen", ["-o".as_ref(), folder.path().join("other.txt").as_os_str()]);
    for command in [vec!["build"], vec!["check"], vec!["secrets", "rotate", "seed"]] {
        let run = Run::new(command).folder(folder.path());
        let said = run
            .env("XDG_CONFIG_HOME", folder.path().join("none"))
            .env("NODEFORGE_AGE_IDENTITY", folder.path().join("other.txt"))
            .exits(2)
            .stderr_text();
        assert!(said.contains("it is encrypted for other keys"), "{said}");
    }
    assert_eq!(fs::read_to_string(&sealed).expect("there"), armored);
    // Without recipients it is not decrypted by itself.
    fs::write(&cluster, &text).expect("written");
    let said = Run::new(["secrets", "rotate", "seed"])
        .folder(folder.path())
        .env("NODEFORGE_AGE_IDENTITY", &keys)
        .exits(2)
        .stderr_text();
    assert!(said.starts_with("error: there are no recipients to encrypt"), "{said}");
}

#[test]
fn handouts_and_conditions_are_planned() {
    let folder = folder("");
    let plan = |arguments: &[&str]| {
        Run::new(["plan"]).args(arguments).folder(folder.path()).succeeds().stdout_text()
    };
    let text = plan(&[]);
    for line in [
        "  + write /etc/kubernetes/pki/ca.key, mode 0600, from the secret cluster_ca (role server)\n",
        "  + write /etc/systemd/network/wg0.key, mode 0640, owned by root:systemd-network, \
         from the secret vpn (role server)\n",
        "\nhandouts\n  + write wireguard/laptop.conf, mode 0600, from the secret vpn, from own/laptop.conf.j2\n",
        "      | PrivateKey = <secret vpn laptop>\n",
        "  + write router.txt, mode 0644, ",
        "      | agent2 ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // Of a public part, the file is public.
    assert!(text.contains("write /etc/join, mode 0644, 117 bytes (role agent)"), "{text}");
    assert!(!text.contains("bird2") && !text.contains("/etc/extra"), "{text}");
    let more = plan(&["--set", "settings.extra=true"]);
    assert!(more.contains("install bird2 (profile own)"), "{more}");
    assert_eq!(more.matches("write /etc/extra").count(), 1, "{more}");

    // The keys that are handed out are those of the nodes.
    make_store(folder.path());
    let json = plan(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let router = &json["handouts"][1];
    assert_eq!(router["path"], "router.txt");
    let laptop = json["handouts"][0]["content"].as_str().expect("text");
    assert!(laptop.contains("PrivateKey = <secret vpn laptop>\n"), "{laptop}");
    assert_eq!(router["content"].as_str().expect("text").lines().count(), 3);
    assert_eq!(plan(&["--json"]), serde_json::to_string_pretty(&json).expect("JSON") + "\n");
}

#[test]
fn profiles_are_listed_and_shown() {
    let folder = folder("");
    let run = |arguments: &[&str]| {
        Run::new(["profile"]).args(arguments).folder(folder.path()).succeeds().stdout_text()
    };
    let list = run(&["list"]);
    assert!(list.starts_with("NAME") && list.contains("\nquickstart"), "{list}");
    let shown = run(&["show", "./own"]);
    for line in [
        "own: a profile of one's own\n",
        "DEFAULT    DESCRIPTION\n",
        "  bool  false      whether there is more\n",
        "cluster_ca  ca             server\n",
        "wireguard/laptop.conf\n",
        "settings.extra\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(&["show", "quickstart", "--json"])).expect("JSON");
    assert_eq!(json["settings"][0]["name"], "api_name");
    Run::new(["profile", "show", "quikstart"])
        .folder(folder.path())
        .exits(2)
        .stderr("error: there is no profile `quikstart`\nhint: did you mean `quickstart`?\n");
}
