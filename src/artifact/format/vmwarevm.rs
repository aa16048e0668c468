//! VMware bundles: a template, and clones linked to it.
//!
//! Layouts and values: VMware's "Virtual Disk Format 5.0", and the `.vmx` and `.vmsd` files that
//! Fusion itself writes. `docs/vmware.md` says what could not be checked without Fusion.

use std::fs;
use std::path::Path;

use super::definition::{ArtifactFormat, NodeArtifact, NodeWriter, Reading, SharedArtifact};
use super::vmdk;
use crate::artifact::batch::{Batch, NodeDisk};
use crate::artifact::manifest::write_synced;
use crate::config::{Cluster, Node};
use crate::util::error::Result;
use crate::util::sha256::Sha256;
use crate::vmware::{DISK, Vmx, mac_addresses, vmsd};

/// The disk that the template and all clones read and no machine writes.
const BASE_DISK: &str = "base.vmdk";

pub(super) static FORMAT: ArtifactFormat = ArtifactFormat {
    name: "vmwarevm",
    variants: &[],
    node: Some(NodeArtifact { ending: ".vmwarevm", writer: NodeWriter::Each(write_clone) }),
    shared: Some(SharedArtifact {
        ending: "-template.vmwarevm",
        parent: Some("-template.vmwarevm/base.vmdk"),
        variant: None,
        is_public: false,
        is_parallel: false,
        write: write_template,
    }),
    disk_in_bundle: Some(DISK),
    reading: Reading::Random(3),
    runs_in_place: true,
    has_bmap: false,
    whole: None,
    options: |cluster, hostname| {
        let mac = hostname.map(|hostname| mac(cluster, hostname));
        let node = hostname.and_then(|hostname| node(cluster, hostname));
        let told = node.map(|node| (&node.role, node.addresses.first()));
        format!("{:?} {mac:?} {told:?}", cluster.vm)
    },
};

/// The bundle of a prepared base's template.
fn template_name(base: &str) -> String {
    format!("{base}-template.vmwarevm")
}

/// A node's address: made with those of all nodes of the cluster file, whichever are built, so that
/// it keeps its own.
fn mac(cluster: &Cluster, hostname: &str) -> String {
    let names = cluster.nodes.iter().map(|it| it.hostname.as_str());
    let mut addresses = mac_addresses(&cluster.name, names.clone());
    let position = names.clone().position(|it| it == hostname);
    addresses.swap_remove(position.expect("a node of the cluster"))
}

fn node<'a>(cluster: &'a Cluster, hostname: &str) -> Option<&'a Node> {
    cluster.nodes.iter().find(|it| it.hostname == hostname)
}

/// The bundle that others are cloned from. Its own machine runs on a child of the shared disk: a
/// write to that disk itself would change its content id and lose every clone.
fn write_template(bundle: &Path, batch: &Batch<'_>) -> Result<()> {
    let name = format!("{}-template", batch.base_name);
    fs::create_dir(bundle)?;
    vmdk::write_base(&bundle.join(BASE_DISK), batch)?;
    vmdk::write_child(&bundle.join(DISK), batch, BASE_DISK, batch.template.delta)?;
    write_machine(bundle, batch, &name, None)?;
    write_synced(&bundle.join(format!("{name}.vmsd")), vmsd::of_original().as_bytes())
}

/// A bundle that holds what is the node's own, and finds the rest in the template's beside it.
fn write_clone(bundle: &Path, batch: &Batch<'_>, node: &NodeDisk<'_>) -> Result<Option<Sha256>> {
    let base = batch.base_name;
    let template = format!("../{}", template_name(base));
    fs::create_dir(bundle)?;
    vmdk::write_child(&bundle.join(DISK), batch, &format!("{template}/{BASE_DISK}"), node.delta)?;
    let mac = mac(batch.cluster, node.hostname);
    write_machine(bundle, batch, node.hostname, Some(&mac))?;
    let origin = vmsd::of_clone(&format!("{template}/{base}-template.vmx"));
    write_synced(&bundle.join(format!("{}.vmsd", node.hostname)), origin.as_bytes())?;
    Ok(None)
}

fn write_machine(bundle: &Path, batch: &Batch<'_>, name: &str, mac: Option<&str>) -> Result<()> {
    let node = mac.and_then(|_| node(batch.cluster, name));
    let vmx = Vmx {
        display_name: name,
        arch: batch.prepared.arch,
        vm: &batch.cluster.vm,
        mac,
        // A node's own, from its names; what is cloned by hand must not share the template's.
        uuid: mac.map(|_| uuid(&batch.cluster.name, name)),
        role: node.map(|it| it.role.as_str()),
        address: node.and_then(|it| it.addresses.first()).map(ipnet::IpNet::addr),
    };
    write_synced(&bundle.join(format!("{name}.vmx")), vmx.render().as_bytes())
}

/// A UUID of version 8 (RFC 9562), the same after every build.
fn uuid(cluster: &str, name: &str) -> [u8; 16] {
    let digest = Sha256::of(format!("nodeforge uuid\0{cluster}\0{name}"));
    let mut uuid: [u8; 16] = *digest.bytes().first_chunk().expect("a SHA-256 has 32 bytes");
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
