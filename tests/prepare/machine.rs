//! The sandbox `vm`: what is refused before a machine starts, and what a machine can reach.

use std::fs;
use std::path::PathBuf;

use super::{Stand, base, bootstrapped, own_repository, root};
use crate::support::{Server, User, tool};

/// Debian's kernel in the cache of a stand: each stand has a cache of its own, and need not fetch it again.
pub(crate) struct MachineKernel {
    shared: PathBuf,
    own: PathBuf,
}

/// What it is made of in the cache.
const FOLDERS: [&str; 2] = ["files", "machines"];

impl MachineKernel {
    /// Takes along what an earlier test kept.
    pub(crate) fn take(stand: &Stand) -> Self {
        let shared = stand.user.cache().join("machine-kernel");
        let own = stand.path("cache/nodeforge");
        if shared.exists() {
            let copy =
                format!("mkdir -p '{0}' && cp -a '{1}/.' '{0}'", own.display(), shared.display());
            assert!(stand.command("sh").args(["-c", &copy]).status().expect("sh").success());
        }
        Self { shared, own }
    }

    /// Keeps what this test fetched.
    pub(crate) fn keep(&self) {
        if self.shared.exists() {
            return;
        }
        let new = tempfile::tempdir_in(self.shared.parent().expect("a folder")).expect("a folder");
        for name in FOLDERS {
            tool("cp", ["-a".as_ref(), self.own.join(name).as_os_str(), new.path().as_os_str()]);
        }
        // Another test may have been faster.
        drop(fs::rename(new.keep(), &self.shared));
    }
}

/// What only the image's own apt asks for is not reached when it is the machine that builds; what the cluster
/// file names is. Proxies of the image's own apt, and its exceptions from them, lead nowhere in there.
#[test]
fn a_machine_reaches_its_mirrors_and_nothing_of_the_host() {
    let user = User::current();
    let hidden = Server::http();
    let folder = user.folder();
    let own = folder.path().join("base.img");
    tool("cp", ["--sparse=always".as_ref(), base(&user).as_os_str(), own.as_os_str()]);
    let list = folder.path().join("list");
    fs::write(&list, format!("deb [trusted=yes] {} /\n", hidden.url("/hidden"))).expect("written");
    let conf = folder.path().join("conf");
    let proxies = "Acquire::http::Proxy \"http://192.0.2.1:3128\";\n\
                   Acquire::http::Proxy::127.0.0.1 \"DIRECT\";\n\
                   Acquire::http::Proxy-Auto-Detect \"/bin/false\";\n";
    fs::write(&conf, proxies).expect("written");
    for request in [
        "rm /etc/apt/sources.list",
        &format!("write {} /etc/apt/sources.list", list.display()),
        &format!("write {} /etc/apt/apt.conf.d/99proxy", conf.display()),
    ] {
        tool("debugfs", ["-w", "-R", request, &root(&own)]);
    }
    let mut stand = Stand::on(user, own);
    stand.keep(folder);
    let source = own_repository(&stand, &[("probe", "true")]);
    stand.profile(&format!("[packages]\ninstall = [\"probe\"]\n{source}"));
    let kernel = MachineKernel::take(&stand);
    let said = stand.fails(&["--sandbox", "vm"]);
    kernel.keep();
    assert!(said.contains("error: the package mirror is unreachable\n"), "{said}");
    assert!(said.contains("403  Forbidden"), "{said}");
    assert_eq!(hidden.requests("/hidden/InRelease").len(), 0, "the host's loopback was reached");
    assert_ne!(stand.plain.requests("/r/InRelease").len(), 0, "the cluster's mirror was not");
    let logs = fs::read_dir(stand.path("cache/nodeforge/logs")).expect("logs");
    let log = logs.map(|it| it.expect("a log").path()).next().expect("one");
    assert!(said.contains(&format!("the full log is `{}`", log.display())), "{said}");
    assert!(fs::read_to_string(log).expect("a log").contains("Forbidden"));
    // Nothing stays but what is kept for the next run.
    let prepared = fs::read_dir(stand.path("cache/nodeforge/prepared")).expect("a folder");
    let left: Vec<_> = prepared
        .map(|it| it.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|it| !it.ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_machine_of_another_processor_needs_a_worker_for_it() {
    let base = bootstrapped(
        &User::current(),
        "suite = \"trixie\", arch = \"arm64\", layout = \"raspberry-pi\"",
    );
    let stand = Stand::on(User::current(), base);
    stand.profile("");
    let said = stand.fails(&["--sandbox", "vm"]);
    let told = "error: the sandbox `vm` needs nodeforge's program for Linux on arm64, and there is no \
                `nodeforge-worker-aarch64`\n";
    assert!(said.contains(told), "{said}");
    let workers = stand.path("workers");
    fs::create_dir(&workers).expect("made");
    fs::write(workers.join("nodeforge-worker-aarch64"), "no program").expect("written");
    let arguments = ["prepare", "--sandbox", "vm"];
    let run = stand.run(arguments).env("NODEFORGE_WORKERS", &workers);
    let said = run.fails().stderr_text();
    assert!(
        said.contains("nodeforge-worker-aarch64` is no program for Linux on arm64\n"),
        "{said}"
    );
}

/// Debian's real lists with another kernel behind them, and lists that somebody changed.
#[test]
fn a_kernel_that_is_not_debians_is_refused() {
    const MIRROR: &str = "http://deb.debian.org/debian";
    let stand = Stand::new(User::current());
    stand.profile("");
    let fetch = |path: &str| {
        let file = stand.path("fetched");
        let url = format!("{MIRROR}/{path}");
        tool("curl", ["-fsS", "-o", file.to_str().expect("UTF-8"), &url]);
        fs::read(&file).expect("fetched")
    };
    let release = "dists/trixie/InRelease";
    let genuine = fetch(release);
    let text = String::from_utf8(genuine.clone()).expect("UTF-8");
    let (_, sums) = text.split_once("\nSHA256:\n").expect("hashes");
    let line =
        sums.lines().find(|it| it.ends_with(" main/binary-amd64/Packages.xz")).expect("a hash");
    let hash = line.split_whitespace().next().expect("a hash");
    let list = format!("dists/trixie/main/binary-amd64/by-hash/SHA256/{hash}");
    stand.plain.put(&format!("/debian/{list}"), fetch(&list));
    let kernel = {
        let packages = stand.path("Packages.xz");
        fs::write(&packages, stand.plain.body(&format!("/debian/{list}"))).expect("written");
        let all = tool("xz", ["-dc".as_ref(), packages.as_os_str()]);
        let stanza = |name: &str| {
            let begin = format!("Package: {name}\n");
            all.split("\n\n").find(|it| it.starts_with(&begin)).expect("a package").to_owned()
        };
        let newest = stanza("linux-image-cloud-amd64");
        let (_, name) = newest.split_once("\nDepends: ").expect("a kernel");
        let kernel = stanza(name.split(' ').next().expect("a name"));
        let (_, file) = kernel.split_once("\nFilename: ").expect("a file");
        file.lines().next().expect("a file").to_owned()
    };
    stand.plain.put(&format!("/debian/{kernel}"), "not the kernel");
    let mirror = stand.plain.url("/debian");
    let fails = |release_text: &[u8]| {
        stand.plain.put(&format!("/debian/{release}"), release_text);
        let run = stand.run(["prepare", "--sandbox", "vm"]).env("NODEFORGE_DEBIAN_MIRROR", &mirror);
        run.fails().stderr_text()
    };
    let said = fails(&genuine);
    assert!(said.contains("error: cannot get the kernel of the sandbox `vm`\n"), "{said}");
    assert!(
        said.contains(&format!("{kernel}` is not what it should be: its SHA-256 is ")),
        "{said}"
    );
    let said = fails(text.replace("Codename: trixie", "Codename: forged").as_bytes());
    assert!(said.contains(&format!("cause: `{mirror}/{release}` is not genuine\n")), "{said}");
    // Genuine, and of another suite.
    let said = fails(&fetch("dists/sid/InRelease"));
    let told = format!("cause: `{mirror}/{release}` is not of trixie as it is today\n");
    assert!(said.contains(&told) && said.contains("cause: it is of `sid`\n"), "{said}");
    let said = fails(b"Codename: trixie\n");
    assert!(said.contains(&format!("cause: `{mirror}/{release}` is not genuine\n")), "{said}");
}

mod long {
    use super::*;
    use std::path::Path;
    use std::time::Duration;

    /// Killed at any moment, a machine leaves no process, and no file but those that the next run sweeps.
    #[test]
    #[ignore = "long: twenty kills"]
    fn a_machine_that_is_killed_leaves_nothing() {
        let stand = Stand::new(User::current());
        let source = own_repository(&stand, &[("probe", "sleep 5")]);
        stand.profile(&format!("[packages]\ninstall = [\"probe\"]\n{source}"));
        let kernel = MachineKernel::take(&stand);
        let cache = stand.path("cache/nodeforge");
        for number in 0..20_u32 {
            let mut command = stand.command(env!("CARGO_BIN_EXE_nodeforge"));
            let mut child =
                command.args(["prepare", "--sandbox", "vm", "--force"]).spawn().expect("it starts");
            std::thread::sleep(Duration::from_millis(u64::from(number) * 2500 + 500));
            child.kill().expect("killed");
            child.wait().expect("ended");
            // The kernel ends QEMU with its parent.
            let deadline = std::time::Instant::now() + Duration::from_secs(5);
            while users_of(&cache) > 0 {
                assert!(std::time::Instant::now() < deadline, "QEMU outlives kill {number}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        stand.prepare(&["--sandbox", "vm", "--force"]);
        kernel.keep();
        let folders = fs::read_dir(cache.join("prepared")).expect("a folder");
        let left: Vec<_> = folders
            .map(|it| it.expect("an entry").file_name().into_string().expect("a name"))
            .filter(|it| it.starts_with('.') && !it.ends_with(".lock"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// How many processes have a file below `folder` open.
    fn users_of(folder: &Path) -> usize {
        let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
        processes
            .filter(|process| {
                let files = fs::read_dir(process.path().join("fd")).into_iter().flatten();
                files
                    .filter_map(Result::ok)
                    .any(|file| fs::read_link(file.path()).is_ok_and(|it| it.starts_with(folder)))
            })
            .count()
    }

    /// What a machine fetched once, with the lock file, is all that it needs the next time.
    #[test]
    #[ignore = "long: two more machines"]
    fn a_machine_prepares_again_without_a_network() {
        let stand = Stand::new(User::current());
        let source = own_repository(&stand, &[("probe", "true")]);
        stand.profile(&format!("[packages]\ninstall = [\"probe\"]\n{source}"));
        let kernel = MachineKernel::take(&stand);
        let first = stand.prepare(&["--sandbox", "vm"]);
        kernel.keep();
        stand.plain.remove("/r/InRelease");
        let again = stand.prepare(&["--sandbox", "vm", "--locked", "--offline", "--force"]);
        assert_eq!(again["packages"], first["packages"]);
    }
}
