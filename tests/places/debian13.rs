//! README's first steps on a fresh Debian 13.

use crate::support::{Debian13, Who};

/// Builds the quickstart as README says, and uses the image tools on what came out of it. The base is
/// prepared anew, whatever an earlier run left in the cache.
const FIRST_STEPS: &str = "
set -e
cp -r /src/examples/quickstart . && cd quickstart && rm -f nodeforge.secrets
nodeforge check >/dev/null
nodeforge plan >/dev/null
nodeforge build --fsck always --no-cache
nodeforge inspect out/agent1.img >/dev/null
nodeforge ls -l out/agent2.qcow2:/etc/nodeforge >/dev/null
nodeforge diff out/agent1.img out/agent2.img | grep -q /etc/hostname
(cd out && sha256sum --check --quiet SHA256SUMS)
cp --sparse=always out/agent1.img copy.img
echo hello >hello
nodeforge cp --fsck always hello copy.img:/srv/hello
nodeforge cp --fsck always hello copy.img:/boot/efi/hello
nodeforge cat copy.img:/srv/hello
nodeforge cat copy.img:/boot/efi/hello
nodeforge rm --fsck always copy.img:/srv/hello
nodeforge cat out/agent1.vmwarevm:/etc/hostname";

fn first_steps(who: Who) {
    let said = Debian13::new().run(who, FIRST_STEPS);
    assert!(said.ends_with("hello\nhello\nagent1\n"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn readmes_first_steps_work_for_an_ordinary_user() {
    first_steps(Who::Ordinary);
}

mod long {
    mod as_root {
        use super::super::{Debian13, Who, first_steps};

        /// They are for the tests to start, in networks of their own.
        #[test]
        #[ignore = "long: downloads packages, needs root"]
        fn servers_that_tests_need_do_not_become_services() {
            let said = Debian13::new().run(
                Who::Root,
                "set -e
                 /src/scripts/install-packages servers
                 test -x /usr/sbin/named && test -x /usr/sbin/radvd && test ! -e /usr/sbin/policy-rc.d
                 sleep 2
                 grep -lxE 'named|radvd|dnsmasq|watchfrr|zebra' /proc/[0-9]*/comm || true
                 find /etc/systemd/system -name 'named*' -o -name 'radvd*' -o -name 'frr*'",
            );
            assert!(said.starts_with("installing with apt: "), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }

        #[test]
        #[ignore = "long: builds as root, needs root"]
        fn readmes_first_steps_work_for_root() {
            first_steps(Who::Root);
        }
    }
}
