//! VMware bundles: a template, and clones linked to it.
//!
//! Layouts and values: VMware's "Virtual Disk Format 5.0", and the `.vmx` and `.vmsd` files that
//! Fusion itself writes. `docs/vmware.md` says what could not be checked without Fusion.

use std::fs;
use std::path::Path;

use super::manifest::write_synced;
use super::{Emission, NodeDisk};
use crate::artifact::vmdk;
use crate::util::error::Result;
use crate::util::sha256::Sha256;
use crate::vmware::{DISK, Vmx, vmsd};

/// The disk that the template and all clones read and nobody writes.
const BASE_DISK: &str = "base.vmdk";

/// The template's bundle.
pub(super) fn template_name(cluster: &str) -> String {
    format!("{cluster}-template.vmwarevm")
}

/// The disk in it that clones stand on.
pub(super) fn base_disk_name(cluster: &str) -> String {
    format!("{}/{BASE_DISK}", template_name(cluster))
}

/// The bundle that others are cloned from. Its own machine runs on a child of the shared disk: a
/// write to that disk itself would change its content id and lose every clone.
pub(super) fn write_template(bundle: &Path, emission: &Emission<'_>) -> Result<()> {
    let name = format!("{}-template", emission.cluster.name);
    fs::create_dir(bundle)?;
    vmdk::write_base(&bundle.join(BASE_DISK), emission)?;
    vmdk::write_child(&bundle.join(DISK), emission, BASE_DISK, emission.template)?;
    write_machine(bundle, emission, &name, None)?;
    write_synced(&bundle.join(format!("{name}.vmsd")), vmsd::of_original().as_bytes())
}

/// A bundle that holds what is the node's own, and finds the rest in the template's beside it.
pub(super) fn write_clone(
    bundle: &Path,
    emission: &Emission<'_>,
    node: &NodeDisk<'_>,
    mac: &str,
) -> Result<()> {
    let cluster = &emission.cluster.name;
    let template = format!("../{}", template_name(cluster));
    fs::create_dir(bundle)?;
    vmdk::write_child(
        &bundle.join(DISK),
        emission,
        &format!("{template}/{BASE_DISK}"),
        node.delta,
    )?;
    write_machine(bundle, emission, node.hostname, Some(mac))?;
    let origin = vmsd::of_clone(&format!("{template}/{cluster}-template.vmx"));
    write_synced(&bundle.join(format!("{}.vmsd", node.hostname)), origin.as_bytes())
}

fn write_machine(
    bundle: &Path,
    emission: &Emission<'_>,
    name: &str,
    mac: Option<&str>,
) -> Result<()> {
    let vmx = Vmx {
        display_name: name,
        arch: emission.prepared.arch,
        vm: &emission.cluster.vm,
        mac,
        // A node's own, from its names; what is cloned by hand must not share the template's.
        uuid: mac.map(|_| uuid(&emission.cluster.name, name)),
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
