//! Compressed images: nodes' disks in pieces, each packed on its own, on all processors.
//!
//! Most pieces are the base's in every node. Those are packed once, however many nodes there are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};

use super::codec::{Codec, Packed, Sizes};
use crate::disk::{CLUSTER, Delta, Disk, is_zero};
use crate::util::error::Result;
use crate::util::in_order;

/// Pieces of a base that were packed before, in the files they were written to.
#[derive(Default)]
pub(super) struct BlockCache(Mutex<BTreeMap<(&'static str, u64), CachedBlock>>);

#[derive(Clone)]
struct CachedBlock {
    file: Arc<File>,
    bytes: Range<u64>,
    sizes: Sizes,
}

impl BlockCache {
    fn find(&self, codec: &dyn Codec, number: u64) -> Result<Option<Packed>> {
        let known = self.0.lock().expect("no thread panicked");
        let cached = known.get(&(codec.name(), number)).cloned();
        drop(known);
        let Some(CachedBlock { file, bytes, sizes }) = cached else { return Ok(None) };
        let length = usize::try_from(bytes.end - bytes.start).expect("a piece was in memory");
        let mut packed = vec![0; length];
        file.read_exact_at(&mut packed, bytes.start)?;
        Ok(Some(Packed { bytes: packed, sizes }))
    }
}

/// Where one disk goes, open for reading too.
pub(super) struct PackTarget<'a> {
    pub(super) file: Arc<File>,
    /// How the disk differs from the base.
    pub(super) delta: &'a Delta,
}

/// Packs disks that share a base, each into its own file. The bits do not depend on the number of
/// processors, nor on which disks are packed together.
pub(super) fn write(
    codec: &dyn Codec,
    base: &dyn Disk,
    targets: &[PackTarget<'_>],
    blocks: &BlockCache,
) -> Result<()> {
    let pieces = Pieces { codec, base, hole: codec.pack(&zeros(codec.piece()))? };
    let is_changed = |target: &PackTarget<'_>, number| pieces.changes(target.delta, number);
    // Each piece as the base has it, unless no disk does, and then as each disk has it that changed it.
    let mut work = Vec::new();
    for number in 0..base.size().div_ceil(codec.piece()) {
        let changed = (0..targets.len()).filter(|at| is_changed(&targets[*at], number));
        let changed: Vec<_> = changed.map(|at| (number, Some(at))).collect();
        work.extend((changed.len() < targets.len()).then_some((number, None)));
        work.extend(changed);
    }

    let mut outs: Vec<_> = targets.iter().map(Out::new).collect();
    for out in &mut outs {
        out.append(&codec.head())?;
    }
    let mut cached = BTreeMap::new();
    let mut next = work.iter();
    in_order::in_order(
        work.len(),
        |at| match work[at] {
            (number, Some(target)) => pieces.pack(number, Some(targets[target].delta)),
            (number, None) => match blocks.find(codec, number)? {
                Some(packed) => Ok(packed),
                None => pieces.pack(number, None),
            },
        },
        |packed| {
            let &(number, whose) = next.next().expect("as much work as results");
            match whose {
                Some(target) => {
                    outs[target].push(&packed)?;
                }
                None => {
                    for (out, target) in outs.iter_mut().zip(targets) {
                        if !is_changed(target, number) {
                            let bytes = out.push(&packed)?;
                            let (file, sizes) = (Arc::clone(&target.file), packed.sizes);
                            cached
                                .insert((codec.name(), number), CachedBlock { file, bytes, sizes });
                        }
                    }
                }
            }
            Ok(())
        },
    )?;
    for out in outs {
        out.finish(codec)?;
    }
    blocks.0.lock().expect("no thread panicked").extend(cached);
    Ok(())
}

/// Packs one disk into an empty file.
pub(super) fn write_one(codec: &dyn Codec, file: &File, disk: &dyn Disk) -> Result<()> {
    let target = PackTarget { file: Arc::new(file.try_clone()?), delta: &Delta::new() };
    write(codec, disk, &[target], &BlockCache::default())
}

/// A disk in pieces of equal length, but for the last.
struct Pieces<'a> {
    codec: &'a dyn Codec,
    base: &'a dyn Disk,
    /// A whole piece of zeros: most of a disk is that.
    hole: Packed,
}

impl Pieces<'_> {
    fn clusters(&self, number: u64) -> Range<u64> {
        let clusters = self.codec.piece() / CLUSTER;
        number * clusters..(number + 1) * clusters
    }

    fn changes(&self, delta: &Delta, number: u64) -> bool {
        delta.range(self.clusters(number)).next().is_some()
    }

    /// A piece of the base, with a delta over it.
    fn pack(&self, number: u64, delta: Option<&Delta>) -> Result<Packed> {
        let piece = self.codec.piece();
        let start = number * piece;
        let length = piece.min(self.base.size() - start);
        let is_hole = self.base.next_data(start)?.is_none_or(|it| it.start >= start + length);
        if is_hole && delta.is_none() && length == piece {
            return Ok(self.hole.clone());
        }
        let mut bytes = zeros(length);
        if !is_hole {
            self.base.read_at(&mut bytes, start)?;
        }
        for (index, cluster) in delta.iter().flat_map(|it| it.range(self.clusters(number))) {
            let at = usize::try_from(index * CLUSTER - start).expect("inside a piece");
            let end = bytes.len().min(at + cluster.len());
            bytes[at..end].copy_from_slice(&cluster[..end - at]);
        }
        // The same bits, sooner.
        if length == piece && is_zero(&bytes) {
            return Ok(self.hole.clone());
        }
        self.codec.pack(&bytes)
    }
}

fn zeros(length: u64) -> Vec<u8> {
    vec![0; usize::try_from(length).expect("a piece fits in memory")]
}

/// A file that grows by pieces.
struct Out<'a> {
    file: BufWriter<&'a File>,
    length: u64,
    pieces: Vec<Sizes>,
}

impl<'a> Out<'a> {
    fn new(target: &'a PackTarget<'_>) -> Self {
        let file = BufWriter::with_capacity(1 << 20, &*target.file);
        Self { file, length: 0, pieces: Vec::new() }
    }

    /// Returns where in the file they are.
    fn append(&mut self, bytes: &[u8]) -> io::Result<Range<u64>> {
        self.file.write_all(bytes)?;
        let start = self.length;
        self.length += bytes.len() as u64;
        Ok(start..self.length)
    }

    fn push(&mut self, packed: &Packed) -> io::Result<Range<u64>> {
        self.pieces.push(packed.sizes);
        self.append(&packed.bytes)
    }

    fn finish(mut self, codec: &dyn Codec) -> io::Result<()> {
        let tail = codec.tail(&self.pieces);
        self.append(&tail)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}
