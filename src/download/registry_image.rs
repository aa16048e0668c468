//! Container images in registries: what names one, and what its manifests say.
//!
//! Sources: the grammar of references of the distribution project, the OCI image specification (image-index.md,
//! manifest.md), and Docker's schema 2, which says the same in other words.

use serde_json::Value;

use crate::config::Arch;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// The most bytes of a manifest. Registries take none that is much larger.
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;
/// What a manifest is that does not say so.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Where images without a registry's name are, and the host that serves them.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// What names an image: `quay.io/metallb/controller:v0.16.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImageReference {
    registry: String,
    name: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl ImageReference {
    /// Reads one as container runtimes do: without a registry it is Docker's.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::input(format!("`{text}` names no container image"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(read_digest(digest).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let is_host = |it: &str| it.contains(['.', ':']) || it == "localhost";
        let (registry, name) = match path.split_once('/') {
            Some((host, name)) if host == DOCKER.0 && !name.contains('/') => {
                (host.to_owned(), format!("library/{name}"))
            }
            Some((host, name)) if is_host(host) => (host.to_owned(), name.to_owned()),
            Some(_) => (DOCKER.0.to_owned(), path.to_owned()),
            None => (DOCKER.0.to_owned(), format!("library/{path}")),
        };
        let word = |text: &str, more: &[u8]| {
            !text.is_empty()
                && text.len() <= 255
                && text.bytes().all(|it| it.is_ascii_alphanumeric() || more.contains(&it))
        };
        let is_good = word(&registry, b".:-")
            && !registry.starts_with(['.', ':', '-'])
            && name.split('/').all(|part| word(part, b"._-") && !part.starts_with(['.', '-']))
            && tag.as_ref().is_none_or(|tag| word(tag, b"._-"));
        // Without either it is whatever is newest: nobody could say what was meant.
        if !is_good || tag.is_none() && digest.is_none() {
            return Err(
                wrong().hint("a registry, a name, and a tag or digest: `quay.io/a/b:v1.2.3`")
            );
        }
        Ok(Self { registry, name, tag, digest })
    }

    /// The digest that it names itself.
    pub(crate) fn digest(&self) -> Option<Sha256> {
        self.digest
    }

    /// Under which name a container runtime looks for it among those that it has: of one with a tag and a digest,
    /// the digest alone. Source: containerd's `ParseDockerRef` of the reference package, which its CRI server calls
    /// in `LocalResolve`.
    pub(crate) fn local_name(&self) -> String {
        let mut name = self.clone();
        if name.digest.is_some() {
            name.tag = None;
        }
        name.to_string()
    }

    /// Where its registry, or a mirror of all registries, has its manifests or blobs. A mirror has it under
    /// `REGISTRY/NAME`, where `skopeo sync --scoped` puts it.
    fn address(&self, mirror: Option<&str>, kind: &str, what: &str) -> String {
        let name = &self.name;
        if let Some(mirror) = mirror {
            let mirror = mirror.trim_end_matches('/');
            return format!("{mirror}/v2/{}/{name}/{kind}/{what}", self.registry);
        }
        let host = if self.registry == DOCKER.0 { DOCKER.1 } else { &self.registry };
        format!("https://{host}/v2/{name}/{kind}/{what}")
    }

    /// Where the manifest is that its tag names now.
    pub(crate) fn tag_address(&self, mirror: Option<&str>) -> Option<String> {
        Some(self.address(mirror, "manifests", self.tag.as_deref()?))
    }

    /// Where a manifest of it is.
    pub(crate) fn manifest_address(&self, mirror: Option<&str>, digest: Sha256) -> String {
        self.address(mirror, "manifests", &format!("sha256:{digest}"))
    }

    /// Where a blob of it is.
    pub(crate) fn blob_address(&self, mirror: Option<&str>, digest: Sha256) -> String {
        self.address(mirror, "blobs", &format!("sha256:{digest}"))
    }
}

impl std::fmt::Display for ImageReference {
    /// Whole, as containerd names it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

/// A blob, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobDescriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Sha256,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// What a manifest is of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ImageManifest {
    /// Of images for several processors: the one for `arch`.
    Index(BlobDescriptor),
    /// Of one image: its configuration and layers.
    Image { media_type: String, blobs: Vec<BlobDescriptor> },
}

impl ImageManifest {
    /// Reads one, for nodes of `arch`.
    pub(crate) fn parse(bytes: &[u8], arch: Arch) -> Result<Self> {
        let wrong = |what: &str| Error::failure(format!("its manifest {what}"));
        let value: Value = serde_json::from_slice(bytes).map_err(|_| wrong("is not JSON"))?;
        if let Some(list) = value["manifests"].as_array() {
            let found = list.iter().find(|it| is_for(&it["platform"], arch));
            let found = found.and_then(descriptor);
            let missing = || wrong(&format!("has no image for linux/{}", arch.name()));
            return Ok(Self::Index(found.ok_or_else(missing)?));
        }
        let layers = value["layers"].as_array().ok_or_else(|| wrong("names no layers"))?;
        let blobs: Option<Vec<_>> =
            std::iter::once(&value["config"]).chain(layers).map(descriptor).collect();
        let blobs = blobs.ok_or_else(|| wrong("names a blob that is no SHA-256"))?;
        let media_type = value["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
        Ok(Self::Image { media_type, blobs })
    }
}

/// Whether an index's entry is for Linux on such a processor. Attestations are for none.
fn is_for(platform: &Value, arch: Arch) -> bool {
    let variant = platform["variant"].as_str().unwrap_or_default();
    platform["os"] == "linux"
        && platform["architecture"] == arch.name()
        && matches!(variant, "" | "v8")
}

fn descriptor(value: &Value) -> Option<BlobDescriptor> {
    Some(BlobDescriptor {
        media_type: value["mediaType"].as_str()?.to_owned(),
        digest: read_digest(value["digest"].as_str()?)?,
        size: value["size"].as_u64()?,
    })
}

/// `sha256:` and 64 digits.
pub(crate) fn read_digest(text: &str) -> Option<Sha256> {
    text.strip_prefix("sha256:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_what_container_runtimes_take_them_for() {
        let hash = "0".repeat(64);
        for (text, whole, address) in [
            (
                "busybox:1.37",
                "docker.io/library/busybox:1.37",
                "registry-1.docker.io/v2/library/busybox",
            ),
            (
                "traefik/whoami:v1",
                "docker.io/traefik/whoami:v1",
                "registry-1.docker.io/v2/traefik/whoami",
            ),
            (
                "docker.io/traefik:v3",
                "docker.io/library/traefik:v3",
                "registry-1.docker.io/v2/library/traefik",
            ),
            ("quay.io/a/b:1", "quay.io/a/b:1", "quay.io/v2/a/b"),
            ("localhost:5000/b:1", "localhost:5000/b:1", "localhost:5000/v2/b"),
        ] {
            let reference = ImageReference::parse(text).unwrap();
            assert_eq!(reference.to_string(), whole);
            let tag = text.rsplit(':').next().unwrap();
            assert_eq!(
                reference.tag_address(None).unwrap(),
                format!("https://{address}/manifests/{tag}")
            );
        }
        let both = ImageReference::parse(&format!("quay.io/a/b:1@sha256:{hash}")).unwrap();
        assert_eq!(both.digest(), Some(hash.parse().unwrap()));
        assert_eq!(both.local_name(), format!("quay.io/a/b@sha256:{hash}"));
        assert_eq!(
            ImageReference::parse("busybox:1").unwrap().local_name(),
            "docker.io/library/busybox:1"
        );
        assert_eq!(
            both.blob_address(Some("https://mirror.lan/"), hash.parse().unwrap()),
            format!("https://mirror.lan/v2/quay.io/a/b/blobs/sha256:{hash}")
        );
        for wrong in
            ["", "a", "a/b", "a:b c", "../a:1", "a//b:1", "a@sha256:00", "quay.io/:1", "a:1\n"]
        {
            assert!(ImageReference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_an_index_the_image_of_the_nodes_processor_counts() {
        let entry = |digit: char, platform: &str| {
            format!(
                "{{\"mediaType\": \"m\", \"size\": 3, \"digest\": \"sha256:{}\", \"platform\": {platform}}}",
                digit.to_string().repeat(64)
            )
        };
        let index = format!(
            "{{\"manifests\": [{}, {}, {}]}}",
            entry('1', "{\"os\": \"unknown\", \"architecture\": \"unknown\"}"),
            entry('2', "{\"os\": \"linux\", \"architecture\": \"amd64\"}"),
            entry('3', "{\"os\": \"linux\", \"architecture\": \"arm64\", \"variant\": \"v8\"}"),
        );
        let digest = |arch| match ImageManifest::parse(index.as_bytes(), arch).unwrap() {
            ImageManifest::Index(found) => found.digest.to_string(),
            ImageManifest::Image { .. } => panic!("an index"),
        };
        assert_eq!(digest(Arch::Amd64), "2".repeat(64));
        assert_eq!(digest(Arch::Arm64), "3".repeat(64));
        for wrong in ["<html>", "{}", "{\"manifests\": []}", "{\"layers\": []}"] {
            assert!(ImageManifest::parse(wrong.as_bytes(), Arch::Amd64).is_err(), "{wrong}");
        }
    }
}
