//! What a repository has of a disk already, so that it is not sent again.

use std::collections::HashMap;

use super::connection::RegistryConnection;
use super::index::{Frame, IndexEntry, UNIT, WindowIndex, length_of};
use super::manifest::{BlobPart, PreparedManifest};
use super::packs::{FrameCutter, unpack};
use crate::config::ManifestName;
use crate::download::Fault;
use crate::util::error::{Error, ErrorKind, Result};
use crate::util::parallel::parallel;
use crate::util::sha256::Sha256;

/// How many questions are asked at once.
const QUESTIONS: usize = 8;
/// Of how many others of the repository, beside those under the same tags, packs are taken over.
const OTHERS: usize = 4;
/// Each push adds a pack, small as it may be, and registries take some hundred: from so many on the smallest are
/// packed again.
const MOST_KEPT: usize = 300;
/// As many are left then.
const LARGEST_KEPT: usize = 200;

/// What a tag begins with that keeps a manifest: its digest follows. Lock files pin digests, the other tags move on, and
/// registries collect what has no tag.
pub(super) const VOUCHED: &str = "digest-";

/// The contents of a disk's windows, each with the number of the first window that has it.
pub(super) type WantedWindows = HashMap<Sha256, u64>;

/// Packs that a registry has, and where in them windows are.
#[derive(Default)]
pub(super) struct Reused {
    pub(super) packs: Vec<BlobPart>,
    pub(super) frames: HashMap<Sha256, Frame>,
}

/// The same, before anybody looked.
#[derive(Default)]
struct Claims {
    packs: Vec<BlobPart>,
    /// With each, whether something vouches for the index that says so.
    frames: HashMap<Sha256, (Frame, bool)>,
}

/// A disk that is to be pushed.
pub(super) struct ReuseRequest<'a> {
    pub(super) registry: &'a RegistryConnection<'a>,
    /// What it is to be called.
    pub(super) tags: &'a [String],
    /// Manifests that something vouches for.
    pub(super) trusted: &'a [Sha256],
    pub(super) wanted: &'a WantedWindows,
    /// Of the disk, in bytes.
    pub(super) size: u64,
}

impl ReuseRequest<'_> {
    /// Finds what the repository has of it.
    pub(super) fn find(&self) -> Result<Reused> {
        let mut manifests = self.manifests()?;
        // What a base says that something vouches for comes before what others say.
        manifests.sort_by_key(|(digest, _)| !self.trusted.contains(digest));
        let mut claims = Claims::default();
        for (digest, manifest) in &manifests {
            self.learn(manifest, self.trusted.contains(digest), &mut claims)?;
        }
        let kept = self.kept(claims)?;
        self.check(kept)
    }

    /// Manifests of bases that may share windows with it: those under its tags, and of some others.
    fn manifests(&self) -> Result<Vec<(Sha256, PreparedManifest)>> {
        let mut all = Vec::new();
        for tag in self.tags {
            let target = ManifestName::Tag(tag.clone());
            let Some(raw) = self.registry.manifest(&target)? else { continue };
            let manifest = PreparedManifest::parse(&raw.bytes).map_err(|error| {
                error
                    .context(format!(
                        "`{}` is something else already",
                        self.registry.place.with(&target)
                    ))
                    .hint("choose another tag, or another repository")
            })?;
            all.push((raw.digest, manifest));
        }
        // Names that people gave; others are keys, digests, and what hangs on one.
        let is_name = |tag: &&String| {
            !self.tags.contains(*tag)
                && tag.parse::<Sha256>().is_err()
                && !tag.starts_with("sha256-")
                && !tag.starts_with(VOUCHED)
        };
        for tag in self.registry.tags()?.iter().filter(is_name).take(OTHERS) {
            // What is not of ours, or cannot be read, is none of our business.
            let raw = unless_interrupted(self.registry.manifest(&ManifestName::Tag(tag.clone())))?;
            if let Some(raw) = raw.flatten()
                && let Ok(manifest) = PreparedManifest::parse(&raw.bytes)
            {
                all.push((raw.digest, manifest));
            }
        }
        Ok(all)
    }

    fn learn(
        &self,
        manifest: &PreparedManifest,
        is_trusted: bool,
        claims: &mut Claims,
    ) -> Result<()> {
        // An index that is not there, cannot be read, or is another's, saves nothing.
        let bytes = unless_interrupted(self.registry.small_blob(manifest.index()))?;
        let index = bytes.and_then(|bytes| WindowIndex::parse(&bytes, manifest.packs()).ok());
        let Some(index) = index else { return Ok(()) };
        let numbers: Vec<u32> = manifest
            .packs()
            .iter()
            .map(|pack| {
                let number = claims.packs.iter().position(|it| it == pack).unwrap_or_else(|| {
                    claims.packs.push(pack.clone());
                    claims.packs.len() - 1
                });
                u32::try_from(number).expect("a manifest names some hundred packs")
            })
            .collect();
        for IndexEntry(_, sum, frame) in index.windows {
            if self.wanted.contains_key(&sum) {
                let frame = Frame { pack: numbers[frame.pack as usize], ..frame };
                claims.frames.entry(sum).or_insert((frame, is_trusted));
            }
        }
        Ok(())
    }

    /// Those packs that are worth keeping: at least half of each is used, and the repository still has it.
    fn kept(&self, mut claims: Claims) -> Result<Claims> {
        let mut used = vec![0_u64; claims.packs.len()];
        for (frame, _) in claims.frames.values() {
            used[frame.pack as usize] += u64::from(frame.length);
        }
        let all: Vec<_> = claims.packs.iter().zip(&used).collect();
        let is_there = parallel(QUESTIONS, &all, |(pack, used)| {
            Ok(**used > 0 && **used * 2 >= pack.size && self.registry.has_blob(pack)?)
        })?;
        let sizes: Vec<_> = claims.packs.iter().map(|it| it.size).collect();
        let is_kept = largest(&sizes, is_there);
        claims.keep(&is_kept);
        Ok(claims)
    }

    /// Believes nobody who says that a window is in a pack where nothing vouches for that: the pack is fetched and
    /// looked into. Otherwise whoever may write to the repository could have us push what nobody can pull.
    fn check(&self, mut claims: Claims) -> Result<Reused> {
        let mut doubtful = vec![Vec::new(); claims.packs.len()];
        for (sum, (frame, is_trusted)) in &claims.frames {
            if !is_trusted {
                doubtful[frame.pack as usize].push((*frame, *sum));
            }
        }
        let all: Vec<_> = claims.packs.iter().zip(doubtful).collect();
        let is_true = parallel(QUESTIONS, &all, |(pack, frames)| {
            Ok(frames.is_empty()
                || unless_interrupted(self.look_into(pack, frames.clone()))?.is_some())
        })?;
        drop(all);
        claims.keep(&is_true);
        let frames = claims.frames.into_iter().map(|(sum, (frame, _))| (sum, frame)).collect();
        Ok(Reused { packs: claims.packs, frames })
    }

    /// Fails unless all of these windows are in a pack.
    fn look_into(&self, pack: &BlobPart, mut frames: Vec<(Frame, Sha256)>) -> Result<()> {
        frames.sort_unstable();
        let (Some((first, _)), Some((last, _))) = (frames.first(), frames.last()) else {
            return Ok(());
        };
        let (start, end) = (first.offset, last.offset + u64::from(last.length));
        let mut cutter = FrameCutter::new(&frames);
        let mut buffer = vec![0; UNIT];
        let read = self.registry.read_blob(pack, start, end, &mut |at, piece| {
            cutter.take(at, piece, |sum, frame| {
                let length = self.wanted.get(&sum).map_or(0, |at| length_of(self.size, *at));
                unpack(frame, sum, length, &mut buffer)?;
                Ok(())
            })
        });
        // Trying again costs as much as sending it.
        read.map_err(Fault::error)?;
        if cutter.left().is_empty() {
            return Ok(());
        }
        Err(Error::failure("frames of a pack overlap"))
    }
}

impl Claims {
    /// Forgets all other packs, and what was in them.
    fn keep(&mut self, is_kept: &[bool]) {
        let mut next = 0;
        let numbers: Vec<Option<u32>> = is_kept
            .iter()
            .map(|is_kept| {
                let number = is_kept.then_some(next);
                next += u32::from(*is_kept);
                number
            })
            .collect();
        let mut number = 0..;
        self.packs.retain(|_| number.next().is_some_and(|it: usize| is_kept[it]));
        self.frames.retain(|_, (frame, _)| match numbers[frame.pack as usize] {
            Some(number) => {
                frame.pack = number;
                true
            }
            None => false,
        });
    }
}

/// Which of the packs that are there are kept: all, or of too many the largest.
fn largest(sizes: &[u64], mut is_there: Vec<bool>) -> Vec<bool> {
    let mut there: Vec<_> = (0..sizes.len()).filter(|it| is_there[*it]).collect();
    if there.len() > MOST_KEPT {
        there.sort_by_key(|it| std::cmp::Reverse(sizes[*it]));
        for number in &there[LARGEST_KEPT..] {
            is_there[*number] = false;
        }
    }
    is_there
}

/// What is there, where it could be had.
fn unless_interrupted<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_packs_the_small_ones_are_packed_again() {
        let sizes: Vec<u64> = (0..400).collect();
        assert_eq!(largest(&sizes[..300], vec![true; 300]), vec![true; 300]);
        let kept = largest(&sizes, vec![true; 400]);
        assert!(kept[200..].iter().all(|it| *it) && !kept[..200].iter().any(|it| *it));
        let mut there = vec![true; 400];
        there[..150].fill(false);
        assert_eq!(largest(&sizes, there.clone()), there);
    }

    #[test]
    fn packs_that_go_take_their_windows_along() {
        let part = |size| BlobPart { media_type: "m".into(), digest: Sha256::of("p"), size };
        let frame = |pack| (Frame { pack, offset: 0, length: 1 }, true);
        let sum = |text: &str| Sha256::of(text);
        let mut claims = Claims {
            packs: (0..4).map(part).collect(),
            frames: [("a", 0), ("b", 1), ("c", 3)].map(|(text, it)| (sum(text), frame(it))).into(),
        };
        claims.keep(&[false, true, false, true]);
        assert_eq!(claims.packs, [part(1), part(3)]);
        let mut left: Vec<_> =
            claims.frames.into_iter().map(|(sum, it)| (it.0.pack, sum)).collect();
        left.sort_unstable();
        assert_eq!(left, [(0, sum("b")), (1, sum("c"))]);
    }
}
