//! What root may do in the sandbox: what dpkg and packages' scripts need, and no more.
//!
//! Source: capabilities(7).

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use crate::util::error::{Context as _, Result};

/// Owners, modes, file capabilities and device nodes of files; other users' identities; chroot.
///
/// A device node that is made cannot be opened: nothing but `/dev` is mounted with devices, and that
/// holds the harmless ones.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Gives up all other capabilities, for this thread and whatever it starts.
pub(super) fn drop_all_but_needed() -> Result<()> {
    drop_others(KEPT).context(|| "cannot give up capabilities")
}

fn drop_others(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // Beyond the last that this kernel has.
            Err(Errno::INVAL) => break,
            done => done?,
        }
    }
    clear_ambient_capability_set()?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    Ok(())
}
