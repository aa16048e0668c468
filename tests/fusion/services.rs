//! The services of a node by themselves, with an `ip` that says what a test wants.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::super::support::{temporary_folder, tool};
use super::names;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const SCRIPTS: [&str; 2] =
    ["overlays/k3s/usr/lib/nodeforge", "profiles/fusion-k3s/overlays/fusion/usr/lib/nodeforge"];

/// A root with the scripts, and programs that stand in for what it has not.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: temporary_folder() };
        for folder in SCRIPTS {
            let source = Path::new(REPOSITORY).join(folder);
            for name in names(&source) {
                let text = fs::read_to_string(source.join(&name)).expect("a script");
                machine.program(&format!("usr/lib/nodeforge/{name}"), &text);
            }
        }
        let library = Path::new(REPOSITORY).join("firstboot/lib.sh");
        let library = fs::read_to_string(library).expect("a script");
        machine.write("usr/lib/nodeforge/lib.sh", &library);
        machine.write(
            "etc/nodeforge/gua.env",
            "GUA_LENGTH='64'\nGUA_POOL='::ff01:0:0:0/112'\nGUA_API='::ff01:0:0:1/128'\n",
        );
        machine.write("usr/share/nodeforge/gua/pool.yaml", "pool: \"@GUA_POOL@\"\n");
        machine.write("usr/share/nodeforge/gua/api.yaml", "api: \"@GUA_API@\"\n");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("in the root")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    fn program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("set");
    }

    /// The lines of `ip -o addr`, from addresses with what follows them.
    fn addresses(&self, addresses: &[&str]) {
        let lines: Vec<_> =
            addresses.iter().map(|address| format!("2: eth0    inet6 {address}")).collect();
        let lines = lines.join("\n");
        self.program("bin/ip", &format!("#!/bin/sh\ncat <<'END'\n{lines}\nEND\n"));
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        Command::new(self.path(&format!("usr/lib/nodeforge/{script}")))
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("NODEFORGE_ROOT", self.root.path())
            .output()
            .expect("the script starts")
    }

    #[track_caller]
    fn says(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the pool is after the prefix was followed.
    #[track_caller]
    fn pool(&self) -> String {
        self.says("follow-prefix", &[]);
        let path = self.path("var/lib/rancher/k3s/server/manifests/pool.yaml");
        fs::read_to_string(path).unwrap_or_default()
    }
}

const FOREVER: &str = r"scope global \       valid_lft forever preferred_lft forever";

/// An address from a router advertisement that stays preferred so long.
fn dynamic(address: &str, seconds: u32) -> String {
    format!(
        r"{address}/64 scope global dynamic mngtmpaddr noprefixroute \       valid_lft 86400sec preferred_lft {seconds}sec"
    )
}

/// One that the router took back, or that it did not tell of in time.
fn deprecated(address: &str) -> String {
    format!(
        r"{address}/64 scope global deprecated dynamic \       valid_lft 9sec preferred_lft 0sec"
    )
}

#[test]
fn addresses_are_read_as_addresses() {
    let machine = Machine::new();
    machine.addresses(&[
        // Temporary, deprecated, not yet or never to be used.
        r"fd77:3be9:5d2e:1:aaaa::1/64 scope global temporary dynamic \       valid_lft 9sec preferred_lft 9sec",
        r"fd77:3be9:5d2e:1:bbbb::1/64 scope global deprecated dynamic \       valid_lft 9sec preferred_lft 0sec",
        r"fd77:3be9:5d2e:1:cccc::1/64 scope global tentative dynamic \       valid_lft 9sec preferred_lft 9sec",
        r"fd77:3be9:5d2e:1:dddd::1/64 scope global dadfailed tentative dynamic \       valid_lft 9sec preferred_lft 9sec",
        // Compressed where cutting at colons would take the host part for the prefix.
        &dynamic("fd77::11", 14400),
        &dynamic("fd77:3be9:5d2e:1:20c:29ff:fe00:1", 14400),
        &format!("2001:db8::11/64 {FOREVER}"),
    ]);
    let of = |network: &str| machine.says("node-address", &["in", network]);
    assert_eq!(of("fd77:3be9:5d2e:1::/64"), "fd77:3be9:5d2e:1:20c:29ff:fe00:1\n");
    assert_eq!(of("fd77:3be9:5d2e:0001:0:0:0:0/64"), "fd77:3be9:5d2e:1:20c:29ff:fe00:1\n");
    assert_eq!(of("fd77::/64"), "fd77::11\n");
    assert_eq!(of("2000::/3"), "2001:db8::11\n");
    assert!(!machine.run("node-address", &["in", "fd77:3be9:5d2e:2::/64"]).status.success());
    let join = |high: &str, low: &str| machine.says("node-address", &["join", high, low]);
    assert_eq!(join("2001:db8::11/64", "::ff01:0:0:0/112"), "2001:db8:0:0:ff01::/112\n");
    assert_eq!(join("2001:db8:1:ab07::11/56", "::f1:0:0:0:0/112"), "2001:db8:1:abf1::/112\n");
    for bad in [["in", "fd77::/129"], ["in", "fd77"], ["join", "2001::/64"], ["frob", ""]] {
        assert!(!machine.run("node-address", &bad).status.success(), "{bad:?}");
    }
}

#[test]
fn both_families_have_their_addresses() {
    let machine = Machine::new();
    machine.program(
        "bin/ip",
        "#!/bin/sh\ncat <<'END'\n\
         2: eth0    inet 192.168.178.5/24 brd 192.168.178.255 scope global dynamic eth0\\       valid_lft 9sec preferred_lft 9sec\n\
         2: eth0    inet6 fda8:a1db:5685::5/64 scope global \\       valid_lft forever preferred_lft forever\n\
         7: cni0    inet 192.168.178.77/24 scope global cni0\\       valid_lft forever preferred_lft forever\n\
         END\n",
    );
    let said = machine.says("node-address", &["in", "192.168.178.0/24", "fda8:a1db:5685::/64"]);
    assert_eq!(said, "192.168.178.5\nfda8:a1db:5685::5\n");
}

#[test]
fn the_pool_follows_the_prefix_and_nothing_else() {
    let machine = Machine::new();
    let ula = dynamic("fd77:3be9:5d2e:1::11", 14400);
    let old = "2001:db8:a:1::11";
    let new = "2001:db8:b:2::11";
    let (old_pool, new_pool) =
        ("pool: \"2001:db8:a:1:ff01::/112\"\n", "pool: \"2001:db8:b:2:ff01::/112\"\n");

    // Without a global prefix there is nothing to say.
    machine.addresses(&[&ula]);
    assert_eq!(machine.pool(), "");
    machine.addresses(&[&ula, &dynamic(old, 14400)]);
    assert_eq!(machine.pool(), old_pool);
    let api = || {
        let path = machine.path("var/lib/rancher/k3s/server/manifests/api.yaml");
        fs::read_to_string(path).expect("there")
    };
    assert_eq!(api(), "api: \"2001:db8:a:1:ff01::1\"\n");

    // Unchanged: the file is not even touched.
    let file = machine.path("var/lib/rancher/k3s/server/manifests/pool.yaml");
    let modified = || fs::metadata(&file).expect("there").modified().expect("a time");
    let before = modified();
    assert_eq!(machine.says("follow-prefix", &[]), "");
    assert_eq!(modified(), before);
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);

    // The old one deprecated.
    machine.addresses(&[&ula, &deprecated(old), &dynamic(new, 1800)]);
    assert_eq!(machine.pool(), new_pool);
    // The API has the same host part under every prefix.
    assert_eq!(api(), "api: \"2001:db8:b:2:ff01::1\"\n");

    // All prefixes gone: what was rendered stays.
    machine.addresses(&[&ula]);
    assert_eq!(machine.pool(), new_pool);

    // The new one deprecated, the old one back.
    machine.addresses(&[&ula, &deprecated(new), &dynamic(old, 14400)]);
    assert_eq!(machine.pool(), old_pool);
    assert_eq!(
        names(file.parent().expect("a folder")),
        ["api.yaml", "pool.yaml"],
        "nothing is left behind"
    );
}

/// k3s deploys every server's folder: servers that disagree would overwrite each other for ever.
#[test]
fn servers_choose_the_same_prefix_whatever_they_saw_before() {
    let low = ["2001:db8::11", "2001:db8::20c:29ff:fe00:1"];
    let high = ["2001:db8:0:b::11", "2001:db8:0:b:20c:29ff:fe00:1"];
    let pools = |servers: &[Machine; 2]| servers.each_ref().map(Machine::pool);
    let of = |prefix: &str| [0; 2].map(|_| format!("pool: \"2001:db8:0:{prefix}:ff01::/112\"\n"));
    let servers = [Machine::new(), Machine::new()];
    let see = |server: usize, addresses: &[String]| {
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        servers[server].addresses(&addresses);
    };
    // Each saw another one first,
    see(0, &[dynamic(low[0], 1800)]);
    see(1, &[dynamic(high[1], 1800)]);
    assert_eq!(pools(&servers), [of("0")[0].clone(), of("b")[0].clone()]);
    // and the two in another order, with other times left.
    for seconds in [200, 1000, 1800] {
        see(0, &[dynamic(high[0], 1800), dynamic(low[0], seconds)]);
        see(1, &[dynamic(low[1], 900), dynamic(high[1], seconds)]);
        assert_eq!(pools(&servers), of("0"), "{seconds}");
    }
    see(0, &[deprecated(low[0]), dynamic(high[0], 300)]);
    see(1, &[dynamic(high[1], 1800), deprecated(low[1])]);
    assert_eq!(pools(&servers), of("b"));
}

#[test]
fn only_own_records_are_updated() {
    let machine = Machine::new();
    machine.write(
        "etc/nodeforge/dns.env",
        "DNS_SERVER='fd77::1'\nDNS_PORT='5353'\nDNS_ZONE='k8s.test'\nDNS_TTL='60'\n\
         DNS_NETWORK='fd77:0:0:1::/64'\nDNS_ADDRESSES='both'\nDNS_NAME='server1.k8s.test'\n\
         DNS_JOIN_NAMES='k3s.k8s.test'\nDNS_NAMES='api.k8s.test'\n",
    );
    machine.program("bin/nsupdate", "#!/bin/sh\ncat >\"$NODEFORGE_ROOT/sent\"\n");
    machine.addresses(&[&dynamic("fd77:0:0:1::11", 100), &dynamic("2001:db8:a::11", 100)]);
    let sent = |machine: &Machine| fs::read_to_string(machine.path("sent")).expect("sent");
    // A server that does not answer yet is not found under the names of servers.
    assert_eq!(machine.says("register-dns", &[]).lines().count(), 2);
    assert!(!sent(&machine).contains("k3s.k8s.test"), "{}", sent(&machine));

    machine.write("var/lib/nodeforge/firstboot/50-k3s-server.done", "");
    let said = machine.says("register-dns", &[]);
    assert_eq!(said.lines().count(), 5, "{said}");
    let first = sent(&machine);
    for line in [
        "server fd77::1 5353",
        "zone k8s.test.",
        "update delete server1.k8s.test. AAAA",
        "update delete k3s.k8s.test. AAAA fd77:0:0:1::11",
        "update add k3s.k8s.test. 60 AAAA fd77:0:0:1::11",
        "update add api.k8s.test. 60 AAAA 2001:db8:a::11",
    ] {
        assert!(first.lines().any(|it| it == line), "{line}\n{first}");
    }
    // Of a shared name never the whole set.
    assert!(!first.contains("delete k3s.k8s.test. AAAA\n"), "{first}");
    assert!(!first.contains("delete api.k8s.test. AAAA\n"), "{first}");

    // Again: sent again, but nothing to tell.
    assert_eq!(machine.says("register-dns", &[]), "");
    assert_eq!(sent(&machine).lines().filter(|line| line.contains("add")).count(), 5);

    // What is known is on the disk before it takes the place of what was known.
    machine.program("bin/sync", "#!/bin/sh\ncp \"$1\" \"$NODEFORGE_ROOT/synced\"\n");
    fs::remove_file(machine.path("var/lib/nodeforge/dns")).expect("there");
    machine.says("register-dns", &[]);
    let synced = fs::read_to_string(machine.path("synced")).expect("synced");
    assert_eq!(synced.lines().count(), 5, "{synced}");
    machine.program("bin/sync", "#!/bin/sh\nexit 1\n");
    fs::write(machine.path("var/lib/nodeforge/dns"), "old fd77::1\n").expect("written");
    assert!(!machine.run("register-dns", &[]).status.success());
    let state = fs::read_to_string(machine.path("var/lib/nodeforge/dns")).expect("there");
    assert_eq!(state, "old fd77::1\n");
    fs::remove_file(machine.path("bin/sync")).expect("there");
    machine.says("register-dns", &[]);

    // What it brought it takes back.
    machine.addresses(&[&dynamic("fd77:0:0:1::11", 100), &dynamic("2001:db8:b::11", 100)]);
    machine.says("register-dns", &[]);
    let second = sent(&machine);
    assert!(second.contains("update delete api.k8s.test. AAAA 2001:db8:a::11\n"), "{second}");
    assert!(second.contains("update add api.k8s.test. 60 AAAA 2001:db8:b::11\n"), "{second}");

    // When the name server does not answer, the next time sends the same.
    machine.program("bin/nsupdate", "#!/bin/sh\ncat >\"$NODEFORGE_ROOT/sent\"\nexit 1\n");
    machine.addresses(&[&dynamic("fd77:0:0:1::11", 100), &dynamic("2001:db8:c::11", 100)]);
    assert!(!machine.run("register-dns", &[]).status.success());
    let state = fs::read_to_string(machine.path("var/lib/nodeforge/dns")).expect("there");
    assert!(state.contains("api.k8s.test 2001:db8:b::11\n"), "{state}");
}

#[test]
fn the_scripts_of_these_tests_are_clean() {
    let root = Path::new(REPOSITORY);
    for script in ["tests/fusion/failover", "tests/fusion/lab", "tests/fusion/vms"] {
        tool("shellcheck", ["-x", &root.join(script).display().to_string()]);
    }
}
