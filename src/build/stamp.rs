//! One node's delta: its plan carried out on an overlay of the prepared base.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::apply;
use crate::artifact::{FileRecord, PreparedBase};
use crate::change::{Action, Change};
use crate::config::Node;
use crate::disk::{CLUSTER, Delta, Disk, Overlay};
use crate::image::{FsckPolicy, Image};
use crate::util::error::{Context, Error, Result};
use crate::util::sha256::Sha256;

/// A node, and what stamping it came to.
pub struct StampedNode<'a> {
    /// The node.
    pub node: &'a Node,
    /// Bytes in which its disk differs from the prepared base.
    pub delta_bytes: u64,
    /// Files that the stamp wrote, without those made from secrets.
    pub files: Vec<FileRecord>,
    /// How long stamping took.
    pub elapsed: Duration,
}

/// The clusters in which a node's disk differs after its plan was carried out.
pub fn stamp(base: &PreparedBase, changes: &[Change], fsck: FsckPolicy) -> Result<Delta> {
    let overlay = Arc::new(Overlay::new(Arc::clone(&base.disk)));
    let disk: Arc<dyn Disk> = overlay.clone();
    let mut image = Image::open(disk, apply::clock()?)?;
    apply::apply_to_image(&mut image, changes)?;
    image.verify()?;
    image.fsck(fsck, &base.disk)?;
    drop(image);
    let overlay = Arc::into_inner(overlay)
        .ok_or_else(|| Error::failure("the image is still in use after it was closed"))?;
    Ok(overlay.into_delta()?)
}

/// [`stamp`], with what is to be said of it.
pub(super) fn stamp_node<'a>(
    base: &PreparedBase,
    node: &'a Node,
    changes: &[Change],
    fsck: FsckPolicy,
) -> Result<(StampedNode<'a>, Delta)> {
    let started = Instant::now();
    let delta = stamp(base, changes, fsck).context(|| format!("stamping `{}`", node.hostname))?;
    let stamped = StampedNode {
        node,
        delta_bytes: delta.len() as u64 * CLUSTER,
        files: files(changes),
        elapsed: started.elapsed(),
    };
    Ok((stamped, delta))
}

/// Files of a plan, without those made from secrets: a hash of a short secret can be guessed.
fn files(changes: &[Change]) -> Vec<FileRecord> {
    changes
        .iter()
        .filter_map(|change| {
            let Action::File { path, content, .. } = &change.action else { return None };
            let is_public = content.secrets.is_empty();
            let record = || FileRecord { path: path.clone(), sha256: Sha256::of(&content.bytes) };
            is_public.then(record)
        })
        .collect()
}
