//! Manifests and blobs of a repository, each checked against its digest.

use std::sync::Arc;

use ureq::http::{StatusCode, header};

use super::connection::{Question, RegistryConnection, refusal};
use super::manifest::BlobPart;
use crate::config::{ManifestName, is_tag};
use crate::download::{BodyStream, Fault, MANIFEST_LIMIT, Retry, StreamTrouble, shown};
use crate::util::error::{Error, ErrorKind, Result};
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

    /// Whether the repository has a blob, of that length as far as it says.
    pub(super) fn has_blob(&self, part: &BlobPart) -> Result<bool> {
        let address = self.address(&format!("blobs/sha256:{}", part.digest));
        let answer = self.ask(&Question::Head(&address), &Vec::new())?;
        let length = answer.header(header::CONTENT_LENGTH).and_then(|it| it.parse().ok());
        Ok(answer.status.is_success() && length.is_none_or(|it: u64| it == part.size))
    }

    /// Sends a blob, unless the repository has it. Returns whether it was sent.
    pub(super) fn put_blob(&self, part: &BlobPart, bytes: &Arc<[u8]>) -> Result<bool> {
        if self.has_blob(part)? {
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
        let host = self.place.host();
        let permanent = |what: String| Fault::Permanent(Error::failure(what));
        if !begun.status.is_success() {
            let name = self.place.name();
            return Err(permanent(format!("`{host}` takes nothing for `{name}`")));
        }
        let place = begun.header(header::LOCATION).and_then(|it| self.absolute(it));
        let place =
            place.ok_or_else(|| permanent(format!("`{host}` says not where to send it")))?;
        if !self.may_send_to(&place) {
            let place = shown(&place);
            return Err(permanent(format!(
                "`{host}` has it sent to `{place}`, which is not encrypted"
            )));
        }
        let separator = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{separator}digest=sha256:{}", part.digest);
        let headers = vec![(header::CONTENT_TYPE, "application/octet-stream".to_owned())];
        let done = self.once(&Question::Put(&place, Arc::clone(bytes)), &headers)?;
        match done.status {
            status if status.is_success() => Ok(()),
            // The registry has forgotten where it put what came so far.
            StatusCode::NOT_FOUND => {
                Err(Fault::passing(Error::failure(format!("`{host}` lost an upload"))))
            }
            _ => Err(refusal(&done)),
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
        let address = self.address("tags/list?n=1000");
        let answer = match self.ask(&Question::Get(&address), &Vec::new()) {
            Ok(answer) if answer.status.is_success() => answer,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            // It is asked to save work, and some let nobody list anything.
            Ok(_) | Err(_) => return Ok(Vec::new()),
        };
        let Ok(body) = answer.small_body(TAGS_LIMIT) else { return Ok(Vec::new()) };
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let tags = value["tags"].as_array().cloned().unwrap_or_default();
        let tags = tags.iter().filter_map(|it| it.as_str()).filter(|it| is_tag(it));
        Ok(tags.map(str::to_owned).collect())
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
