//! Manifests and blobs of a repository, each checked against its digest.

use std::sync::Arc;

use ureq::http::{StatusCode, header};

use super::connection::{Question, RegistryConnection};
use super::manifest::BlobPart;
use crate::config::ManifestName;
use crate::download::{BodyStream, Fault, MANIFEST_LIMIT, Retry, StreamTrouble};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// The most bytes of a list of tags, one page.
const TAGS_LIMIT: u64 = 1 << 20;

/// A manifest as the registry has it.
pub(super) struct RawManifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Sha256,
}

/// Who takes the bytes of a blob: each piece comes with the place in the blob at which it begins.
pub(super) type Taker<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<()>;

impl RegistryConnection<'_> {
    /// A manifest; `None` when the repository has none of that name.
    pub(super) fn manifest(&self, target: &ManifestName) -> Result<Option<RawManifest>> {
        let address = self.address(&format!("manifests/{}", target.word()));
        let headers = vec![(header::ACCEPT, MANIFESTS.to_owned())];
        let mut retry = Retry::new();
        let bytes = loop {
            let read = self.once(&Question::Get(&address), &headers).and_then(|response| {
                if response.status == StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                response.small_body(MANIFEST_LIMIT).map(Some)
            });
            match read {
                Ok(bytes) => break bytes,
                Err(fault) => retry.wait(fault, self.progress)?,
            }
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let digest = Sha256::of(&bytes);
        match target {
            ManifestName::Digest(wanted) if *wanted != digest => Err(changed(wanted, digest)),
            ManifestName::Digest(_) | ManifestName::Tag(_) => {
                Ok(Some(RawManifest { bytes, digest }))
            }
        }
    }

    /// A small blob.
    pub(super) fn small_blob(&self, part: &BlobPart) -> Result<Vec<u8>> {
        let mut retry = Retry::new();
        loop {
            let mut bytes = Vec::new();
            let read = self.read_blob(part, 0, part.size, &mut |_, piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            });
            match read {
                Ok(()) => {
                    let digest = Sha256::of(&bytes);
                    return if digest == part.digest {
                        Ok(bytes)
                    } else {
                        Err(changed(&part.digest, digest))
                    };
                }
                Err(fault) => retry.wait(fault, self.progress)?,
            }
        }
    }

    /// Asks once for the bytes of a blob from `start` up to `end`. A registry that knows no ranges sends all of it: then
    /// the pieces begin at 0. What comes is as long as it should be, and not checked any further.
    pub(super) fn read_blob(
        &self,
        part: &BlobPart,
        start: u64,
        end: u64,
        take: Taker<'_>,
    ) -> std::result::Result<(), Fault> {
        let address = self.address(&format!("blobs/sha256:{}", part.digest));
        let mut headers = Vec::new();
        if start > 0 || end < part.size {
            headers.push((header::RANGE, format!("bytes={start}-{}", end - 1)));
        }
        let response = self.once(&Question::Get(&address), &headers)?;
        let (mut at, end) = match response.status {
            StatusCode::PARTIAL_CONTENT => (start, end),
            status if status.is_success() => (0, part.size),
            StatusCode::NOT_FOUND => {
                return Err(Fault::Permanent(
                    Error::failure(format!("the registry lacks the blob sha256:{}", part.digest))
                        .hint("was it collected while the manifest stayed? push it again"),
                ));
            }
            _ => return Err(wrong_size(part)),
        };
        // More than it says would be somebody's attempt to fill this machine.
        if response.body.content_length().is_some_and(|length| length > end - at) {
            return Err(wrong_size(part));
        }
        let mut stream = BodyStream::new(response.body.into_reader(), &address);
        while let Some(piece) = stream.next().map_err(|trouble| match trouble {
            StreamTrouble::Stopped(error) => Fault::Permanent(error),
            StreamTrouble::Fault(fault) => fault,
            StreamTrouble::Slow(error) => Fault::passing(error),
        })? {
            if piece.len() as u64 > end - at {
                return Err(wrong_size(part));
            }
            take(at, &piece).map_err(Fault::Permanent)?;
            at += piece.len() as u64;
        }
        if at < end {
            let missing = end - at;
            return Err(Fault::passing(Error::failure(format!(
                "the blob sha256:{} ended {missing} bytes early",
                part.digest
            ))));
        }
        Ok(())
    }

    /// Whether the repository has a blob.
    pub(super) fn has_blob(&self, digest: Sha256) -> Result<bool> {
        let address = self.address(&format!("blobs/sha256:{digest}"));
        Ok(self.ask(&Question::Head(&address), &Vec::new())?.status.is_success())
    }

    /// Sends a blob, unless the repository has it. Returns whether it was sent.
    pub(super) fn put_blob(&self, part: &BlobPart, bytes: &Arc<[u8]>) -> Result<bool> {
        if self.has_blob(part.digest)? {
            return Ok(false);
        }
        let mut retry = Retry::new();
        loop {
            match self.upload(part, bytes) {
                Ok(()) => return Ok(true),
                Err(fault) => retry.wait(fault, self.progress)?,
            }
        }
    }

    /// Sends a blob in one piece ("Pushing a blob monolithically", POST then PUT).
    fn upload(&self, part: &BlobPart, bytes: &Arc<[u8]>) -> std::result::Result<(), Fault> {
        let address = self.address("blobs/uploads/");
        let begun = self.once(&Question::Post(&address), &Vec::new())?;
        let place = begun.header(header::LOCATION).and_then(|it| self.absolute(it));
        let (true, Some(place)) = (begun.status.is_success(), place) else {
            return Err(begun.refusal());
        };
        let separator = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{separator}digest=sha256:{}", part.digest);
        let headers = vec![(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
        let done = self.once(&Question::Put(&place, Arc::clone(bytes)), &headers)?;
        match done.status {
            status if status.is_success() => Ok(()),
            // The registry has forgotten where it put what came so far.
            StatusCode::NOT_FOUND => Err(Fault::passing(Error::failure(format!(
                "`{}` lost an upload",
                self.place.host()
            )))),
            _ => Err(done.refusal()),
        }
    }

    /// Gives a manifest a name.
    pub(super) fn put_manifest(
        &self,
        target: &ManifestName,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<()> {
        let address = self.address(&format!("manifests/{}", target.word()));
        let headers = vec![(header::CONTENT_TYPE, media_type.to_owned())];
        let answer = self.ask(&Question::Put(&address, bytes.into()), &headers)?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Error::failure(format!("`{}` does not keep the manifest", self.place.with(target))))
    }

    /// Some of the repository's tags, in the registry's order; none where it has no list.
    pub(super) fn tags(&self) -> Result<Vec<String>> {
        let address = self.address("tags/list?n=100");
        let answer = self.ask(&Question::Get(&address), &Vec::new())?;
        if !answer.status.is_success() {
            return Ok(Vec::new());
        }
        let Ok(body) = answer.small_body(TAGS_LIMIT) else { return Ok(Vec::new()) };
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let tags = value["tags"].as_array().cloned().unwrap_or_default();
        Ok(tags.iter().filter_map(|it| it.as_str()).map(str::to_owned).collect())
    }
}

/// What has a digest is not what came.
fn changed(wanted: &Sha256, found: Sha256) -> Error {
    Error::failure(format!("what came as sha256:{wanted} is sha256:{found}"))
        .hint("the registry, or something on the way to it, changed it: do not use it")
}

fn wrong_size(part: &BlobPart) -> Fault {
    Fault::Permanent(
        Error::failure(format!(
            "the blob sha256:{} has not the {} bytes that its manifest says",
            part.digest, part.size
        ))
        .hint("the registry, or something on the way to it, changed it: do not use it"),
    )
}
