//! Container images for nodes without a network: found out, fetched from their registries, pinned, and put into
//! one archive that container runtimes import.
//!
//! The archive is an OCI image layout (image-layout.md of the OCI image specification) in a tar file. Blobs and
//! manifests stand in it as the registry had them, so that an image's digest stays what it was. What an image is
//! called stands in the annotation that containerd reads, and in the one that skopeo does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::chart;
use super::inputs::{FetchedFile, not_cached};
use super::lock_file::{Lock, LockedImage, LockedImageArchive};
use super::remote::BY_LOCK;
use super::resolve::Resolver;
use crate::cache::PARTS;
use crate::change::{Action, Checksum, ImageArchive, PublishedTag};
use crate::config::Arch;
use crate::download::{
    BlobDescriptor, Client, Hashes, ImageManifest, ImageReference, MANIFEST_LIMIT, Plain, Wanted,
    download,
};
use crate::plan;
use crate::util::error::{Context as _, Error, Result};
use crate::util::file_lock::FileLock;
use crate::util::room;
use crate::util::sha256::Sha256;

/// Raised when the same images make another archive.
const FORM: u32 = 2;
/// The most bytes of one layer.
const LAYER_LIMIT: u64 = 16 << 30;
/// What an index is that does not say so.
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image, and which of those that its tag had.
struct PinnedImage {
    reference: ImageReference,
    digest: Sha256,
}

/// What the manifests of an image say.
struct ReadManifest {
    /// Digest and length of the list of several processors' manifests, where it has one.
    index: Option<(Sha256, usize)>,
    media_type: String,
    digest: Sha256,
    /// Bytes.
    size: usize,
    blobs: Vec<BlobDescriptor>,
}

/// A file of the archive, held in the cache.
struct HeldBlob {
    path: PathBuf,
    size: u64,
    _in_use: Arc<FileLock>,
}

/// Texts from elsewhere, by their addresses.
#[derive(Default)]
struct PublishedTexts {
    texts: BTreeMap<String, String>,
    files: Vec<FetchedFile>,
}

/// All of an archive: its index, and its blobs by digest.
#[derive(Default)]
struct ImageLayout {
    manifests: Vec<serde_json::Value>,
    blobs: BTreeMap<Sha256, HeldBlob>,
}

impl Resolver<'_> {
    /// Makes an archive of all images that are wanted, for nodes of `arch`; `fetched` is what else goes into the
    /// image, by its path there. What is found out goes into `lock`.
    pub(super) fn image_archive(
        &self,
        wanted: &ImageArchive,
        arch: Arch,
        fetched: &BTreeMap<String, PathBuf>,
        (before, lock): (&Lock, &mut Lock),
    ) -> Result<(Action, Vec<FetchedFile>)> {
        let (references, mut files) = self.references(wanted, fetched, before, lock)?;
        let mirror = wanted.mirror.as_deref();
        let pinned = self.pinned(references, mirror, before)?;
        let of: Vec<_> =
            pinned.iter().map(|it| (it.reference.to_string(), it.digest.to_string())).collect();
        let of = serde_json::to_vec(&(FORM, arch.name(), &of))
            .map_err(|error| Error::failure(error.to_string()))?;
        let of = Sha256::of(of);
        lock.images.extend(pinned.iter().map(|it| LockedImage {
            reference: it.reference.to_string(),
            digest: format!("sha256:{}", it.digest),
        }));
        let known = before.image_archives.iter().find(|it| it.of == of).map(|it| it.sha256);
        let sha256 = match known {
            Some(sha256) => sha256,
            None => self.layout(&pinned, mirror, arch)?.sha256()?,
        };
        let (path, in_use) = self.cache.file(sha256, self.progress, |place| {
            let layout = self.layout(&pinned, mirror, arch)?;
            let context = || format!("writing `{}`", place.display());
            let file = File::create(place).context(context)?;
            if layout.write(&file).context(context)? != sha256 {
                return Err(Error::failure(
                    "the container images make another archive than before",
                ));
            }
            Ok(())
        })?;
        lock.image_archives.push(LockedImageArchive { path: wanted.path.clone(), of, sha256 });
        let url = format!("oci-archive:{}", wanted.path);
        let verified = format!("digests of {} container images pinned in {BY_LOCK}", pinned.len());
        files.push(FetchedFile { url: url.clone(), path, sha256, verified, _in_use: Some(in_use) });
        let action = Action::Download {
            url,
            checksum: Checksum::Sha256(sha256),
            arch: None,
            path: wanted.path.clone(),
            mode: 0o644,
        };
        Ok((action, files))
    }

    /// All images that manifests, charts and lists name, and the lists.
    fn references(
        &self,
        wanted: &ImageArchive,
        fetched: &BTreeMap<String, PathBuf>,
        before: &Lock,
        lock: &mut Lock,
    ) -> Result<(BTreeSet<ImageReference>, Vec<FetchedFile>)> {
        let mut texts: Vec<(String, String)> =
            wanted.images.iter().map(|it| (it.image.clone(), it.by.clone())).collect();
        for chart in &wanted.charts {
            let by = chart.path.clone();
            let file = fetched.get(&chart.path).ok_or_else(|| {
                Error::input(format!("no [[artifact]] of the profile brings the chart `{by}`"))
            })?;
            let images = chart::images(file, &chart.values, &chart.further)?;
            texts.extend(images.into_iter().map(|image| (image, by.clone())));
        }
        let mut published = PublishedTexts::default();
        for url in &wanted.lists {
            let text = self.published(url, &mut published, before, lock)?;
            let images = plan::container_images(text).context(|| format!("reading `{url}`"))?;
            if images.is_empty() {
                return Err(Error::input(format!("`{url}` names no container image")));
            }
            texts.extend(images.into_iter().map(|image| (image, url.clone())));
        }
        for tag in &wanted.tags {
            let url = &tag.url;
            let text = self.published(url, &mut published, before, lock)?;
            texts.push((format!("{}:{}", tag.image, tag_in(text, tag)?), url.clone()));
        }
        let files = published.files;
        let mut references = BTreeSet::new();
        for (text, by) in texts {
            let reference = ImageReference::parse(&text)
                .map_err(|error| error.hint(format!("it stands in {by}")))?;
            references.insert(reference);
        }
        Ok((references, files))
    }

    /// A text elsewhere, pinned when it is first read.
    fn published<'a>(
        &self,
        url: &str,
        published: &'a mut PublishedTexts,
        before: &Lock,
        lock: &mut Lock,
    ) -> Result<&'a str> {
        if !published.texts.contains_key(url) {
            // What goes into the image as a file may be a list as well.
            let known = lock.artifacts.iter().chain(&before.artifacts).find(|it| it.url == url);
            let (artifact, file) = self.file(url, &Checksum::FirstUse, known)?;
            let text = fs::read_to_string(&file.path).context(|| format!("reading `{url}`"))?;
            if !lock.artifacts.iter().any(|it| it.url == url) {
                lock.artifacts.push(artifact);
                published.files.push(file);
            }
            published.texts.insert(url.to_owned(), text);
        }
        Ok(&published.texts[url])
    }

    /// Which image each tag means: as it names it, as the lock file pins it, or as its registry has it now.
    fn pinned(
        &self,
        references: BTreeSet<ImageReference>,
        mirror: Option<&str>,
        before: &Lock,
    ) -> Result<Vec<PinnedImage>> {
        let mut new = 0;
        let mut pinned = Vec::new();
        for reference in references {
            let text = reference.to_string();
            let locked = before.images.iter().find(|it| it.reference == text);
            let locked = locked.filter(|_| !self.options.update).map(LockedImage::sha256);
            let digest = match (reference.digest(), locked.transpose()?) {
                (Some(digest), _) | (None, Some(digest)) => digest,
                (None, None) if self.options.offline => return Err(not_cached(&text)),
                (None, None) => {
                    new += 1;
                    self.newest(&reference, mirror)?
                }
            };
            pinned.push(PinnedImage { reference, digest });
        }
        if new > 0 {
            self.progress.warn(&format!(
                "trusting {new} container images at first use: nodeforge.lock pins their digests"
            ));
        }
        Ok(pinned)
    }

    /// The digest of what an image's tag names now; its manifest is in the cache.
    fn newest(&self, reference: &ImageReference, mirror: Option<&str>) -> Result<Sha256> {
        self.progress.stage(&format!("asking for {reference}"));
        let url =
            reference.tag_address(mirror).ok_or_else(|| not_cached(&reference.to_string()))?;
        let bytes = Client::new()?.get(&url, Plain::Refused, MANIFEST_LIMIT, self.progress)?;
        let sha256 = Sha256::of(&bytes);
        let _ = self.cache.file(sha256, self.progress, |place| {
            fs::write(place, &bytes).context(|| format!("writing `{}`", place.display()))
        })?;
        Ok(sha256)
    }

    /// Fetches what the images are made of; says before how much that is.
    fn layout(
        &self,
        pinned: &[PinnedImage],
        mirror: Option<&str>,
        arch: Arch,
    ) -> Result<ImageLayout> {
        let mut layout = ImageLayout::default();
        let mut read = Vec::new();
        for image in pinned {
            let manifest = self.read(&mut layout, image, mirror, arch);
            read.push(manifest.context(|| format!("`{}`", image.reference))?);
        }
        let blobs = read.iter().flat_map(|it| &it.blobs).map(|it| (it.digest, it.size));
        let blobs: BTreeMap<_, _> = blobs.collect();
        let mut missing = 0;
        for (digest, size) in blobs {
            if !self.cache.may_have_file(digest)? {
                missing += size;
            }
        }
        if missing > 0 && !self.options.offline {
            self.progress.warn(&format!(
                "{} of container images are not in the cache and are downloaded",
                room::mib(missing)
            ));
        }
        for (image, manifest) in pinned.iter().zip(read) {
            self.add(&mut layout, image, manifest, mirror, arch)
                .context(|| format!("`{}`", image.reference))?;
        }
        Ok(layout)
    }

    /// What an image's manifests say; they are in the layout then.
    fn read(
        &self,
        layout: &mut ImageLayout,
        image: &PinnedImage,
        mirror: Option<&str>,
        arch: Arch,
    ) -> Result<ReadManifest> {
        let reference = &image.reference;
        let mut digest = image.digest;
        let mut bytes = self.manifest(layout, reference, mirror, digest)?;
        let mut index = None;
        let mut manifest = ImageManifest::parse(&bytes, arch)?;
        if let ImageManifest::Index(found) = manifest {
            index = Some((digest, bytes.len()));
            digest = found.digest;
            bytes = self.manifest(layout, reference, mirror, digest)?;
            manifest = ImageManifest::parse(&bytes, arch)?;
        }
        let ImageManifest::Image { media_type, blobs } = manifest else {
            return Err(Error::failure("its manifest is a list of lists"));
        };
        Ok(ReadManifest { index, media_type, digest, size: bytes.len(), blobs })
    }

    fn add(
        &self,
        layout: &mut ImageLayout,
        image: &PinnedImage,
        manifest: ReadManifest,
        mirror: Option<&str>,
        arch: Arch,
    ) -> Result<()> {
        let reference = &image.reference;
        let ReadManifest { index, media_type, digest, size, blobs } = manifest;
        for blob in &blobs {
            self.blob(layout, reference, mirror, blob)?;
        }
        // A manifest of one image does not say what for; a mirror may have another than the publisher.
        let config = blobs.first().and_then(|config| layout.blobs.get(&config.digest));
        let config = config.map(|held| read_limited(&held.path)).transpose()?.unwrap_or_default();
        image_config_is_for(&config, arch).context(|| format!("the image `{reference}`"))?;
        // Whoever asks by digest asks for the index's.
        let is_by_digest = reference.digest().is_some();
        if let Some((index, _)) = index.filter(|_| !is_by_digest) {
            layout.blobs.remove(&index);
        }
        let (media_type, digest, size) =
            index.filter(|_| is_by_digest).map_or((media_type, digest, size), |(digest, size)| {
                (OCI_INDEX.to_owned(), digest, size)
            });
        let name = reference.local_name();
        layout.manifests.push(json!({
            "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size,
            "annotations": {
                "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name,
            },
        }));
        Ok(())
    }

    /// A manifest, which goes into the archive as a blob.
    fn manifest(
        &self,
        layout: &mut ImageLayout,
        reference: &ImageReference,
        mirror: Option<&str>,
        digest: Sha256,
    ) -> Result<Vec<u8>> {
        let (path, in_use) = self.cache.file(digest, self.progress, |place| {
            if self.options.offline {
                return Err(not_cached(&reference.to_string()));
            }
            let url = reference.manifest_address(mirror, digest);
            let bytes = Client::new()?.get(&url, Plain::Allowed, MANIFEST_LIMIT, self.progress)?;
            if Sha256::of(&bytes) != digest {
                return Err(Error::failure(format!("`{url}` is not what its digest says")));
            }
            fs::write(place, &bytes).context(|| format!("writing `{}`", place.display()))
        })?;
        let bytes = read_limited(&path)?;
        let held = HeldBlob { path, size: bytes.len() as u64, _in_use: in_use };
        layout.blobs.insert(digest, held);
        Ok(bytes)
    }

    fn blob(
        &self,
        layout: &mut ImageLayout,
        reference: &ImageReference,
        mirror: Option<&str>,
        blob: &BlobDescriptor,
    ) -> Result<()> {
        if layout.blobs.contains_key(&blob.digest) {
            return Ok(());
        }
        let (path, in_use) = self.cache.file(blob.digest, self.progress, |place| {
            if self.options.offline {
                return Err(not_cached(&reference.to_string()));
            }
            self.progress.stage(&format!("downloading {reference}"));
            let wanted = Wanted {
                url: &reference.blob_address(mirror, blob.digest),
                hashes: Hashes { sha256: Some(blob.digest), sha512: None },
                verifier: None,
                is_image: false,
                limit: LAYER_LIMIT,
                key: &blob.digest.to_string(),
            };
            let parts = self.cache.folder(PARTS)?;
            download(&Client::new()?, &wanted, &parts, place, self.progress).map(drop)
        })?;
        let held = HeldBlob { path, size: blob.size, _in_use: in_use };
        layout.blobs.insert(blob.digest, held);
        Ok(())
    }
}

impl LockedImage {
    fn sha256(&self) -> Result<Sha256> {
        crate::download::read_digest(&self.digest).ok_or_else(|| {
            let text = &self.digest;
            Error::input(format!("nodeforge.lock: `{text}` of `{}` is no digest", self.reference))
                .hint("restore it from version control, or remove the line")
        })
    }
}

impl ImageLayout {
    /// What its archive hashes to.
    fn sha256(&self) -> Result<Sha256> {
        self.write(io::sink()).context(|| "reading the container images in the cache")
    }

    /// Writes the archive: the same bytes for the same images. Returns their SHA-256.
    fn write(&self, output: impl Write) -> io::Result<Sha256> {
        let mut archive = tar::Builder::new(HashingWriter::new(output));
        let index =
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.manifests });
        let small = [
            ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string()),
            ("index.json", index.to_string()),
        ];
        for (name, text) in &small {
            append(&mut archive, name, text.len() as u64, text.as_bytes())?;
        }
        for (digest, blob) in &self.blobs {
            let file = File::open(&blob.path)?;
            append(
                &mut archive,
                &format!("blobs/sha256/{digest}"),
                length(&blob.path, blob.size)?,
                file,
            )?;
        }
        let mut output = archive.into_inner()?;
        output.flush()?;
        Ok(output.finish())
    }
}

/// The length of a blob, which must be what its manifest says.
fn length(path: &Path, said: u64) -> io::Result<u64> {
    let length = fs::metadata(path)?.len();
    if length == said {
        return Ok(length);
    }
    Err(io::Error::other(format!("a blob has {length} bytes, and its manifest says {said}")))
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, name, content)
}

/// Hashes what is written through it.
struct HashingWriter<W> {
    inner: W,
    hash: sha2::Sha256,
}

impl<W: Write> HashingWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: sha2::Digest::new() }
    }

    fn finish(self) -> Sha256 {
        Sha256::finish(self.hash)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        sha2::Digest::update(&mut self.hash, &bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The tag that a text has for an image.
fn tag_in<'a>(text: &'a str, tag: &PublishedTag) -> Result<&'a str> {
    let pattern = regex::Regex::new(&tag.pattern)
        .map_err(|error| Error::input(error.to_string()))
        .context(|| format!("the pattern of the tag of `{}`", tag.image))?;
    let found = pattern.captures(text).and_then(|it| it.get(1));
    found.map(|it| it.as_str()).ok_or_else(|| {
        let PublishedTag { image, url, pattern } = tag;
        Error::input(format!("nothing in `{url}` matches `{pattern}`, which the tag of `{image}` is taken from"))
            .hint("the text has changed: look how its version stands there now, in `pattern` of [[images.tag]]")
    })
}

/// A manifest or a configuration in the cache, which is small: what an index calls one may be a layer.
fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("reading `{}`", path.display());
    let size = fs::metadata(path).context(context)?.len();
    if size > MANIFEST_LIMIT {
        return Err(Error::failure(format!("a manifest of {size} bytes is none")));
    }
    fs::read(path).context(context)
}

/// Fails unless an image's configuration is of one for Linux on such a processor (OCI image-spec, `config.md`).
fn image_config_is_for(config: &[u8], arch: Arch) -> Result<()> {
    let config: serde_json::Value = serde_json::from_slice(config)
        .map_err(|_| Error::failure("its configuration is not JSON"))?;
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let (os, architecture) = (text("os"), text("architecture"));
    if os == "linux" && architecture == arch.name() {
        return Ok(());
    }
    let message = format!("it is for {os}/{architecture}, and the nodes are linux/{}", arch.name());
    Err(Error::failure(message).hint(
        "a mirror needs the images of all processors: `skopeo sync --all`, `skopeo copy --all`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm's source has them: the default is not the one of this minor version.
    #[test]
    fn a_tag_is_read_from_where_its_publisher_writes_it() {
        let text = "\tDefaultEtcdVersion = \"3.5.16-0\"\n\tSupportedEtcdVersion = map[uint8]string{\n\t\t31: \
                    \"3.5.23-0\",\n\t\t32: \"3.5.24-0\",\n\t}\n\tPauseVersion = \"3.10\"\n";
        let tag = |pattern: &str| PublishedTag {
            image: "registry.k8s.io/etcd".into(),
            url: "https://example.org/constants.go".into(),
            pattern: pattern.into(),
        };
        assert_eq!(tag_in(text, &tag(r#"(?m)^\s*32:\s*"([^"]+)""#)).unwrap(), "3.5.24-0");
        assert_eq!(tag_in(text, &tag(r#"PauseVersion = "([^"]+)""#)).unwrap(), "3.10");
        let error = tag_in(text, &tag("33: (.*)")).expect_err("none").to_string();
        let told = "nothing in `https://example.org/constants.go` matches `33: (.*)`, which the tag of \
                    `registry.k8s.io/etcd` is taken from";
        assert_eq!(error, told);
        assert!(tag_in(text, &tag("(")).is_err());
    }

    #[test]
    fn an_image_for_another_processor_is_told() {
        let config = br#"{"os": "linux", "architecture": "amd64"}"#;
        assert!(image_config_is_for(config, Arch::Amd64).is_ok());
        let error = image_config_is_for(config, Arch::Arm64).expect_err("another").to_string();
        assert_eq!(error, "it is for linux/amd64, and the nodes are linux/arm64");
    }
}
