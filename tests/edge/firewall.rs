//! The edge's firewall, loaded by the kernel and scanned from outside and through the tunnel.

use super::super::support::{run_in_namespaces, temporary_folder};
use super::{HERE, built};

#[test]
fn only_what_the_edge_is_for_is_open() {
    let temporary = temporary_folder();
    let rules = built().root_of("edge", temporary.path()).join("etc/nodeforge/edge.nft");
    let said = run_in_namespaces(&format!("{HERE}/scan"), &[rules.as_os_str()]);
    assert_eq!(
        said,
        "outside 203.0.113.10 tcp 22 80 443 udp 56527
outside 2001:db8:0:1::10 tcp 22 80 443 udp 56527
tunnel 192.168.178.201 tcp 22 80 443 2379 6443 9100 10250 30080 udp 53 8472 56527
tunnel fda8:a1db:5685::201 tcp 22 80 443 2379 6443 9100 10250 udp 53 8472 56527
outside to a pod's node port: closed
laptop to an internal service: open
pod to outside: open
kube-proxy's table: still there
"
    );
}
