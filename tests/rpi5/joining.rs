//! `50-kubeadm-join` after power cuts: what a cluster loses when one of its voters is erased, it never
//! gets back.

use std::fs;

use super::super::support::Node;
use super::steps::{
    assert_authorities, calls_of, control_plane, goes_well, goes_wrong, spent, worker,
};

const JOIN: &str = "kubeadm join --config /root/kubeadm/kubeadm-join.yaml";
const CONFIG: &str = "kind: JoinConfiguration\n";

/// A cluster in `cluster/`: its voters, a line each, and a file for each whose etcd runs. Most of
/// them must, or nothing answers.
const QUORUM: &str = "
    quorum() (
        cd $NODEFORGE_ROOT/cluster && up=0 all=0
        for name in $(cat voters); do
            all=$((all + 1)); [ ! -e $name.up ] || up=$((up + 1))
        done
        [ $((2 * up)) -gt $all ]
    )
    k=$NODEFORGE_ROOT/etc/kubernetes c=$NODEFORGE_ROOT/cluster data=$NODEFORGE_ROOT/var/lib/etcd/member
";

/// As the real one: a join adds its voter before it waits for anything, and a reset erases even what
/// it could not take out of the cluster.
const KUBEADM: &str = "
    case $* in
    join*--skip-phases=preflight,kubelet-start) quorum && : >$k/kubelet.conf ;;
    join*)
        quorum && [ ! -e $data ] && [ ! -e $k/kubelet.conf ] || exit 1
        mkdir -p $k/manifests; : >$k/bootstrap-kubelet.conf
        if grep -q ^controlPlane: $NODEFORGE_ROOT/root/kubeadm/kubeadm-join.yaml; then
            mkdir -p $data; echo node0 >>$c/voters; : >$c/node0.up
            echo 'spec: {containers: [{command: [etcd, --initial-advertise-peer-urls=https://192.168.1.11:2380]}]}' \
                >$k/manifests/etcd.yaml
        else
            mkdir -p $k/pki; echo authority >$k/pki/ca.crt
        fi
        for tenth in $(seq 300); do
            [ -e $NODEFORGE_ROOT/slow ] && ! grep -q '^sync .*/etcd.yaml' $NODEFORGE_ROOT/calls || break
            sleep 0.1
        done
        [ ! -e $NODEFORGE_ROOT/cut ] || exit 1
        echo config >$k/kubelet.conf ;;
    reset*)
        ! quorum || sed -i /node0/d $c/voters
        rm -rf $k $NODEFORGE_ROOT/var/lib/etcd $c/node0.up; mkdir $k ;;
    esac";

const CURL: &str = "
    quorum || exit 22
    case $* in
    *readyz*) echo ok ;;
    *--data*/v3/cluster/member/list)
        [ ! -e $c/silent ] || exit 22
        sep=
        echo '{\"members\": ['
        for name in $(cat $c/voters); do
            printf '%s{\"ID\": \"1\", \"peerURLs\": [\"%s\"]' \"$sep\" \"$(cat $c/$name.peer 2>/dev/null)\"
            # One that has not started has no name.
            [ -e $c/$name.nameless ] || printf ', \"name\": \"%s\"' $name
            echo '}'; sep=,
        done
        echo ']}' ;;
    esac";

/// With `--local` it reads a file, and asks nothing of the cluster.
const KUBECTL: &str = "
    case $* in
    'annotate --local --filename '*)
        exec python3 -c 'import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)' $4 ;;
    esac
    quorum || exit 1
    case $* in
    *component=etcd*) echo https://192.168.1.10:2379 ;;
    *'get node node0'*) [ ! -e $c/node ] || echo node/node0 ;;
    esac";

/// The kubelet starts etcd from its manifest, once there is one and something for it to read.
const SYSTEMCTL: &str = "
    [ \"$*\" != 'start kubelet.service' ] || [ ! -e $data ] || : >$c/node0.up";

fn joins(node: &Node) {
    node.write("root/kubeadm/kubeadm-join.yaml", CONFIG);
    node.write("cluster/voters", "controlplane\n");
    node.write("cluster/controlplane.up", "");
    for (name, body) in
        [("kubeadm", KUBEADM), ("curl", CURL), ("kubectl", KUBECTL), ("systemctl", SYSTEMCTL)]
    {
        node.stand_in(name, &format!("{QUORUM}{body}"));
    }
}

fn replica() -> Node {
    let node = control_plane();
    joins(&node);
    node.write("root/kubeadm/kubeadm-join.yaml", &format!("{CONFIG}controlPlane:\n"));
    let env = node.read("etc/nodeforge/kubeadm.env").replace("worker", "control-plane");
    node.write("etc/nodeforge/kubeadm.env", &env);
    node
}

fn remove(node: &Node, path: &str) {
    fs::remove_file(node.path(path)).expect("there");
}

/// The power fails in the middle of a join, when its etcd has a vote; and comes back.
fn cut_as_a_voter(node: &Node) {
    node.write("cut", "");
    goes_wrong(node, "50-kubeadm-join");
    remove(node, "cut");
    remove(node, "cluster/node0.up");
    assert_eq!(node.read("cluster/voters"), "controlplane\nnode0\n");
}

#[test]
fn a_voter_that_lost_its_power_is_not_erased() {
    let node = replica();
    node.write("slow", "");
    node.stand_in("sync", "exit 0");
    cut_as_a_voter(&node);
    // What etcd needs to cast its vote was on the disk by then.
    let synced = calls_of(&node, "sync");
    let manifest = "/etc/kubernetes/manifests/etcd.yaml";
    assert!(synced.iter().any(|line| line.contains(manifest)), "{synced:?}");
    let said = goes_well(&node, "50-kubeadm-join");
    assert!(said.contains("this node is a member of the cluster: continuing from there"), "{said}");
    let expected = [JOIN.to_owned(), format!("{JOIN} --skip-phases=preflight,kubelet-start")];
    assert_eq!(calls_of(&node, "kubeadm"), expected);
    assert!(node.path("var/lib/etcd/member").exists());
    assert_authorities(&node);
    assert_eq!(spent(&node).len(), 9);

    // The power failed once more, before the mark.
    goes_well(&node, "50-kubeadm-join");
    assert_eq!(calls_of(&node, "kubeadm").len(), 3);
    assert_eq!(node.read("cluster/voters"), "controlplane\nnode0\n");
}

#[test]
fn nothing_is_erased_while_the_cluster_does_not_answer() {
    let node = replica();
    cut_as_a_voter(&node);
    // The other one has no power either.
    remove(&node, "cluster/controlplane.up");
    let said = goes_wrong(&node, "50-kubeadm-join");
    assert!(said.contains("timed out waiting for the API at k8s-api.home.arpa:6443\n"), "{said}");
    assert!(said.contains("nothing is reset before the cluster says"), "{said}");
    // It has, and its etcd says nothing.
    node.write("cluster/controlplane.up", "");
    node.write("cluster/silent", "");
    let said = goes_wrong(&node, "50-kubeadm-join");
    assert!(said.contains("etcd does not list its members"), "{said}");
    assert_eq!(calls_of(&node, "kubeadm").len(), 1, "{}", node.calls());
    assert!(node.path("var/lib/etcd/member").exists());
    remove(&node, "cluster/silent");
    goes_well(&node, "50-kubeadm-join");
}

#[test]
fn what_the_cluster_does_not_know_starts_over() {
    // It was taken out.
    let node = replica();
    cut_as_a_voter(&node);
    node.write("cluster/voters", "controlplane\nnode01\n");
    node.write("cluster/node01.up", "");
    goes_well(&node, "50-kubeadm-join");
    let calls = calls_of(&node, "kubeadm");
    assert!(calls[1].starts_with("kubeadm reset --force"), "{calls:?}");
    assert_eq!(calls[2], JOIN);
    assert_authorities(&node);

    // It never got as far as etcd: there is nothing that anybody could miss.
    let node = replica();
    node.write("etc/kubernetes/manifests/kube-apiserver.yaml", "");
    node.write("etc/kubernetes/admin.conf", "");
    goes_well(&node, "50-kubeadm-join");
    let calls = calls_of(&node, "kubeadm");
    assert!(calls[0].starts_with("kubeadm reset --force"), "{calls:?}");
    assert_eq!(calls[1], JOIN);
}

#[test]
fn a_worker_joins_with_nothing_but_its_configuration() {
    let node = worker();
    joins(&node);
    goes_well(&node, "50-kubeadm-join");
    assert_eq!(calls_of(&node, "kubeadm"), [JOIN]);
    assert!(!node.path("etc/kubernetes/pki/ca.key").exists());
    assert_eq!(spent(&node), ["/root/kubeadm/kubeadm-join.yaml"]);

    // The power failed before the mark: the cluster knows it.
    node.write("cluster/node", "");
    goes_well(&node, "50-kubeadm-join");
    assert_eq!(calls_of(&node, "kubeadm").len(), 1);
    assert!(calls_of(&node, "kubectl")[0].contains("kubelet.conf get node node0 "));

    // A cluster that is off is no reason to leave it.
    remove(&node, "cluster/controlplane.up");
    goes_wrong(&node, "50-kubeadm-join");
    assert_eq!(calls_of(&node, "kubeadm").len(), 1);
    // One that is on, and does not know it, is.
    node.write("cluster/controlplane.up", "");
    remove(&node, "cluster/node");
    goes_well(&node, "50-kubeadm-join");
    assert!(calls_of(&node, "kubeadm")[1].starts_with("kubeadm reset --force"));
    assert_eq!(calls_of(&node, "kubeadm").len(), 3);
}

#[test]
fn a_join_that_failed_starts_over() {
    let node = worker();
    joins(&node);
    node.write("cut", "");
    goes_wrong(&node, "50-kubeadm-join");
    remove(&node, "cut");
    goes_well(&node, "50-kubeadm-join");
    assert!(calls_of(&node, "kubeadm")[1].starts_with("kubeadm reset --force"));
}

#[test]
fn a_voter_that_has_not_started_is_known_by_its_peer_url() {
    let node = replica();
    cut_as_a_voter(&node);
    node.write("cluster/voters", "controlplane\nnode0\nnode2\n");
    node.write("cluster/node2.up", "");
    node.write("cluster/node0.nameless", "");
    node.write("cluster/node0.peer", "https://192.168.1.11:2380");
    goes_well(&node, "50-kubeadm-join");
    let calls = calls_of(&node, "kubeadm");
    assert_eq!(calls[1], format!("{JOIN} --skip-phases=preflight,kubelet-start"), "{calls:?}");

    // Whatever is in the manifest, it is not a reason to erase a voter.
    let node = replica();
    cut_as_a_voter(&node);
    node.write("cluster/node0.nameless", "");
    node.write("etc/kubernetes/manifests/etcd.yaml", "spec: [");
    goes_wrong(&node, "50-kubeadm-join");
    assert_eq!(calls_of(&node, "kubeadm").len(), 1, "{}", node.calls());
    assert!(node.path("var/lib/etcd/member").exists());
}
