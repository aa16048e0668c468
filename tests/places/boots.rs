//! README's last step on a fresh Debian 13, with the QEMU that it has.

mod long {
    mod as_root {
        use crate::support::{Debian13, Who};

        /// What README says that `boot` needs.
        const INSTALL: &str = "apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
             apt-get -qq install -y --no-install-recommends qemu-system-x86 qemu-utils ovmf >/dev/null 2>&1";

        /// Builds the quickstart and boots one of its nodes into its role.
        fn a_node_boots(who: Who) {
            let script = "set -e
                 cp -r /src/examples/quickstart . && cd quickstart && rm -f nodeforge.secrets
                 nodeforge build --format qcow2
                 nodeforge boot agent1 --until 'nodeforge-firstboot: role=agent' --timeout 600";
            let debian = Debian13::new();
            debian.run(Who::Root, INSTALL);
            let said = debian.run(who, script);
            assert!(said.contains("nodeforge-firstboot: role=agent hostname=agent1"), "{said}");
        }

        #[test]
        #[ignore = "long: builds and boots, needs root"]
        fn a_node_boots_for_an_ordinary_user_of_debian_13() {
            a_node_boots(Who::Ordinary);
        }

        #[test]
        #[ignore = "long: builds and boots, needs root"]
        fn a_node_boots_for_root_of_debian_13() {
            a_node_boots(Who::Root);
        }
    }
}
