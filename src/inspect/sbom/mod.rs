//! `sbom.spdx.json`: what an image is made of, read from it without running anything of it.
//!
//! Format: SPDX 2.3 (ISO/IEC 5962). Packages are named by purl (package-url's `deb` type), so that
//! scanners for vulnerabilities know them.

mod contact;
mod licence;

use std::path::Path;

use serde_json::{Value, json};

use crate::guest::dpkg::{DpkgPackage, DpkgStatus};
use crate::guest::os_release;
use crate::image::Image;
use crate::util::error::Result;
use crate::util::sha256::Sha256;

/// What is described, and what the image itself cannot tell.
pub struct Subject<'a> {
    /// Its name: the cluster's.
    pub name: &'a str,
    /// SHA-256 of the prepared base.
    pub sha256: Sha256,
    /// When it is said, as `2026-01-31T23:59:59Z`.
    pub created: &'a str,
    /// Files that were put into it from elsewhere.
    pub downloads: &'a [Download],
}

/// A file that was put into an image from elsewhere.
#[derive(Clone, Debug)]
pub struct Download {
    /// Where it is in the image.
    pub path: String,
    /// Where it came from.
    pub url: String,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// What SPDX calls a thing that is not known.
const UNKNOWN: &str = "NOASSERTION";

/// The identifier of the image within the document.
const IMAGE: &str = "SPDXRef-image";

/// The document that describes `image`: the same for the same image and subject.
pub fn describe(image: &Image, subject: &Subject<'_>) -> Result<Value> {
    let system = os_release::read(image)?;
    let field = |key: &str| system.get(key).map_or("", String::as_str);
    let distribution = match field("ID") {
        "" => "debian",
        id => id,
    };
    let release = format!("{distribution}-{}", field("VERSION_ID"));

    let mut packages = vec![json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": field("PRETTY_NAME"),
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.sha256 }],
    })];
    for package in DpkgStatus::read(image)?.unwrap_or_default().installed() {
        let licence = licence::declared(image, &package.name)?;
        packages.push(of_package(package, licence.as_deref(), distribution, &release));
    }
    packages.extend(subject.downloads.iter().map(of_download));

    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    relationships.extend(packages.iter().skip(1).map(|package| {
        relationship(IMAGE, "CONTAINS", package["SPDXID"].as_str().unwrap_or_default())
    }));
    // The same document has the same name everywhere, and another one another.
    let content = json!([subject.name, subject.created, packages]).to_string();
    let identity = Sha256::of(&content);
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}-{identity}", subject.name),
        "creationInfo": {
            "created": subject.created,
            "creators": [format!("Tool: nodeforge-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    }))
}

fn of_package(
    package: &DpkgPackage,
    licence: Option<&str>,
    distribution: &str,
    release: &str,
) -> Value {
    let DpkgPackage { name, version, architecture, source, source_version, .. } = package;
    let purl = format!(
        "pkg:deb/{distribution}/{}@{}?arch={architecture}&distro={release}",
        percent(name),
        percent(version)
    );
    let mut value = json!({
        "SPDXID": identifier("deb", &format!("{name}-{architecture}")),
        "name": name,
        "versionInfo": version,
        "supplier": contact::supplier(&package.maintainer).unwrap_or_else(|| UNKNOWN.to_owned()),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "sourceInfo": format!("built from {source} {source_version}"),
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": licence.unwrap_or(UNKNOWN),
        "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }],
    });
    if let Some(homepage) = package.homepage.as_ref().filter(|it| contact::is_address(it)) {
        value["homepage"] = homepage.clone().into();
    }
    value
}

fn of_download(download: &Download) -> Value {
    let name = Path::new(&download.path).file_name().unwrap_or_default().to_string_lossy();
    json!({
        "SPDXID": identifier("file", &download.path),
        "name": name,
        "packageFileName": download.path,
        "primaryPackagePurpose": "FILE",
        "downloadLocation": download.url,
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": download.sha256 }],
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// An identifier may hold letters, digits, dots and dashes; other bytes become their number, so that
/// two names never become one.
fn identifier(kind: &str, name: &str) -> String {
    let mut text = format!("SPDXRef-{kind}-");
    for byte in name.trim_start_matches('/').bytes() {
        match byte {
            b'.' | b'-' => text.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            _ => text.push_str(&format!("-x{byte:02x}")),
        }
    }
    text
}

/// Percent-encoding as purls have it: a colon stands for itself.
fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' | b'-' | b'_' | b'~' | b':' => encoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_their_formats_want() {
        assert_eq!(percent("1:2.3+dfsg~rc1-4"), "1:2.3%2Bdfsg~rc1-4");
        assert_eq!(identifier("deb", "libstdc++6-arm64"), "SPDXRef-deb-libstdc-x2b-x2b6-arm64");
        assert_eq!(identifier("file", "/usr/bin/k3s"), "SPDXRef-file-usr-x2fbin-x2fk3s");
    }
}
