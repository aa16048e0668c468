//! The manifest of a prepared base, and its configuration: what it was made of.
//!
//! Source: the OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage".

use serde::{Deserialize, Serialize};

use crate::cache::{About, Package};
use crate::config::Arch;
use crate::download::{MANIFEST_LIMIT, read_digest};
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// What tells a prepared base from all else in a registry.
pub(super) const ARTIFACT: &str = "application/vnd.nodeforge.prepared-base.v1";
pub(super) const CONFIG: &str = "application/vnd.nodeforge.prepared-base.config.v1+json";
pub(super) const INDEX: &str = "application/vnd.nodeforge.prepared-base.index.v1+json+zstd";
pub(super) const PACK: &str = "application/vnd.nodeforge.prepared-base.pack.v1+zstd";

/// The most bytes of a configuration: lists of packages have tens of thousands.
const CONFIG_LIMIT: u64 = 4 << 20;
/// The most bytes of an index, compressed.
const INDEX_LIMIT: u64 = 32 << 20;
/// The most bytes of a pack.
const PACK_LIMIT: u64 = 256 << 20;
/// The most packs that a manifest may name; some registries take 500 layers at most.
pub(super) const MOST_PACKS: usize = 490;

/// A blob that belongs to a prepared base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobPart {
    #[serde(rename = "mediaType")]
    pub(super) media_type: String,
    #[serde(with = "digest_text")]
    pub(super) digest: Sha256,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PreparedManifest {
    #[serde(rename = "schemaVersion")]
    schema_version: u32,
    #[serde(rename = "mediaType")]
    media_type: String,
    #[serde(rename = "artifactType")]
    artifact_type: String,
    pub(super) config: BlobPart,
    /// The index, then the packs.
    layers: Vec<BlobPart>,
}

/// What a prepared base was made of. Holds no secret, as the base itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreparedConfig {
    /// Of this format: 1.
    version: u32,
    /// `nodeforge 0.1.0`
    pub made_by: String,
    /// What its programs run on: `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`
    os: String,
    /// The hash of everything that went in: 64 hexadecimal digits.
    pub key: String,
    /// Of the disk, in bytes.
    pub size: u64,
    /// Of all of the disk's bytes.
    pub sha256: Sha256,
    /// What it was made of.
    from: PreparedFrom,
    /// What is installed in it.
    pub packages: Vec<Package>,
}

/// What a prepared base was made of, as the cache knows it. What else somebody writes there does not come into a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PreparedFrom {
    /// The cluster's name.
    cluster: String,
    /// The base below it.
    base: Sha256,
    /// Packages that only some nodes have.
    own: Vec<String>,
    /// Name and hash of everything that went in.
    inputs: Vec<(String, String)>,
}

mod digest_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::download::read_digest;
    use crate::util::sha256::Sha256;

    pub(super) fn serialize<S: Serializer>(
        hash: &Sha256,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{hash}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Sha256, D::Error> {
        let text = String::deserialize(from)?;
        read_digest(&text).ok_or_else(|| de::Error::custom("a digest is no SHA-256"))
    }
}

impl BlobPart {
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Self {
        let digest = Sha256::of(bytes);
        Self { media_type: media_type.to_owned(), digest, size: bytes.len() as u64 }
    }
}

impl PreparedManifest {
    pub(super) fn new(config: BlobPart, index: BlobPart, packs: Vec<BlobPart>) -> Self {
        let layers = std::iter::once(index).chain(packs).collect();
        Self {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: ARTIFACT.to_owned(),
            config,
            layers,
        }
    }

    /// Reads one. What it names is bounded, so that nobody has this machine read or keep more.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let other = |what: &str| Error::failure(format!("it is no prepared base: {what}"));
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(other("its manifest is too large"));
        }
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|_| other("its manifest is not JSON"))?;
        if value.get("artifactType").and_then(|it| it.as_str()) != Some(ARTIFACT) {
            return Err(other(&describe(&value)));
        }
        let manifest: Self = serde_json::from_value(value)
            .map_err(|error| other(&format!("its manifest is wrong: {}", short(&error))))?;
        let types = (manifest.config.media_type.as_str(), manifest.layers.first());
        let (CONFIG, Some(index)) = types else {
            return Err(other("its manifest names another configuration, or no index"));
        };
        let packs = manifest.packs();
        if index.media_type != INDEX || packs.iter().any(|it| it.media_type != PACK) {
            return Err(other("its manifest names layers of another kind"));
        }
        let is_bounded = manifest.config.size <= CONFIG_LIMIT
            && index.size <= INDEX_LIMIT
            && packs.len() <= 2 * MOST_PACKS
            && packs.iter().all(|it| it.size <= PACK_LIMIT);
        if manifest.schema_version != 2 || !is_bounded {
            return Err(other("its manifest names parts that are too large, or too many"));
        }
        Ok(manifest)
    }

    pub(super) fn index(&self) -> &BlobPart {
        &self.layers[0]
    }

    pub(super) fn packs(&self) -> &[BlobPart] {
        self.layers.get(1..).unwrap_or_default()
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::failure(error.to_string()))
    }
}

/// Words of a stranger, no more of them than a line or two.
pub(super) fn short(words: &(impl ToString + ?Sized)) -> String {
    const MOST: usize = 300;
    let words = words.to_string();
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// What a manifest is of, in words.
fn describe(manifest: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    if manifest["manifests"].is_array() {
        return "it is an index of several images".to_owned();
    }
    let kind = text(&manifest["artifactType"]).or_else(|| text(&manifest["config"]["mediaType"]));
    match kind.as_deref() {
        Some(
            "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json",
        ) => "it is a container image".to_owned(),
        Some(kind) => format!("it is of the type `{}`", short(kind)),
        None => "its manifest says no type".to_owned(),
    }
}

impl PreparedConfig {
    /// Of a base for `arch`, prepared under `key`.
    pub(super) fn new(key: &str, arch: Arch, about: &About) -> Result<Self> {
        let from = serde_json::from_value(about.from.clone())
            .map_err(|_| Error::failure("the cache does not know what the base was made of"))?;
        Ok(Self {
            version: 1,
            made_by: about.made_by.clone(),
            architecture: arch.name().to_owned(),
            os: "linux".to_owned(),
            key: key.to_owned(),
            size: about.size,
            sha256: about.sha256,
            from,
            packages: about.packages.clone(),
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::failure(format!("it is no prepared base: {what}"));
        let config: Self = serde_json::from_slice(bytes)
            .map_err(|error| wrong(format!("its configuration is wrong: {}", short(&error))))?;
        if config.version != 1 {
            return Err(wrong(format!("its format is version {}, known is 1", config.version)));
        }
        if read_digest(&format!("sha256:{}", config.key)).is_none() {
            return Err(wrong("its configuration names no key".to_owned()));
        }
        // They come into lock files, and from there to apt.
        if !config.packages.iter().all(Package::is_well_formed) {
            return Err(wrong("its configuration names packages that are none".to_owned()));
        }
        Ok(config)
    }

    /// What the cache is to know of what it was made of.
    pub(super) fn origin(&self) -> Result<serde_json::Value> {
        serde_json::to_value(&self.from).map_err(|error| Error::failure(error.to_string()))
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::failure(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut serde_json::Value)) -> Result<PreparedConfig> {
        let hash = Sha256::of("x");
        let mut value = serde_json::json!({
            "version": 1, "made_by": "nodeforge 1", "architecture": "amd64", "os": "linux", "key": hash,
            "size": 512, "sha256": hash,
            "from": { "cluster": "home", "base": hash, "own": [], "inputs": [["the base", "x"]] },
            "packages": [{ "name": "curl", "version": "8.14.1-2", "architecture": "amd64" }],
        });
        change(&mut value);
        PreparedConfig::parse(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn what_a_configuration_says_is_looked_at() {
        let good = config(|_| {}).unwrap();
        assert_eq!(PreparedConfig::parse(&good.to_json().unwrap()).unwrap(), good);
        // Nothing that is not known comes on into the cache.
        let more = config(|it| it["from"]["pulled"] = "elsewhere".into()).unwrap();
        assert_eq!(more.origin().unwrap(), good.origin().unwrap());
        for change in [
            |it: &mut serde_json::Value| it["from"] = serde_json::Value::Null,
            |it: &mut serde_json::Value| it["from"] = "home".into(),
            |it: &mut serde_json::Value| it["from"]["base"] = "x".into(),
            |it: &mut serde_json::Value| it["key"] = "../x".into(),
            |it: &mut serde_json::Value| it["version"] = 2.into(),
            |it: &mut serde_json::Value| it["packages"][0]["name"] = "-oDir::Etc=/x".into(),
            |it: &mut serde_json::Value| it["packages"][0]["version"] = "1 --force".into(),
        ] {
            let error = config(change).unwrap_err().to_string();
            assert!(error.starts_with("it is no prepared base: "), "{error}");
        }
    }

    #[test]
    fn what_a_manifest_names_is_bounded() {
        let part = |media_type: &str, size| BlobPart {
            media_type: media_type.into(),
            digest: Sha256::of("x"),
            size,
        };
        let manifest = |config: &BlobPart, index: &BlobPart, packs: Vec<BlobPart>| {
            let made = PreparedManifest::new(config.clone(), index.clone(), packs).to_json();
            PreparedManifest::parse(&made.unwrap()).map_err(|error| error.to_string())
        };
        let (config, index) = (part(CONFIG, 9), part(INDEX, 9));
        let most = vec![part(PACK, PACK_LIMIT); 2 * MOST_PACKS];
        assert_eq!(manifest(&config, &index, most.clone()).unwrap().packs(), most);
        let large =
            "it is no prepared base: its manifest names parts that are too large, or too many";
        let one_more = vec![part(PACK, 1); 2 * MOST_PACKS + 1];
        for (config, index, packs) in [
            (&part(CONFIG, CONFIG_LIMIT + 1), &index, most),
            (&config, &part(INDEX, u64::MAX), Vec::new()),
            (&config, &index, one_more),
            (&config, &index, vec![part(PACK, PACK_LIMIT + 1)]),
        ] {
            assert_eq!(manifest(config, index, packs).unwrap_err(), large);
        }
        manifest(&config, &index, vec![part(INDEX, 1)]).unwrap_err();
        manifest(&part(PACK, 1), &index, Vec::new()).unwrap_err();
        for (other, said) in [
            (r#"{"manifests": []}"#, "it is an index of several images"),
            (r#"{"artifactType": "a/b"}"#, "it is of the type `a/b`"),
            ("[]", "its manifest says no type"),
            ("{", "its manifest is not JSON"),
            (
                &format!(r#"{{"artifactType": "{}"}}"#, "x".repeat(1 << 20)),
                &format!("it is of the type `{}…`", "x".repeat(300)),
            ),
        ] {
            let error = PreparedManifest::parse(other.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("it is no prepared base: {said}"));
        }
    }
}
