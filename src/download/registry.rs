//! What registries of container images want of who reads their manifests.
//!
//! Source: the OCI distribution specification, and the token authentication of Docker's registry.

use ureq::http::header;

use crate::util::error::{Error, Result};

/// What a manifest may be: of images for all processors, then of one.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// The header without which a registry answers with a form of long ago; `None` for all other addresses.
pub(super) fn accept(url: &str) -> Option<(header::HeaderName, String)> {
    let path = url.split_once("://")?.1.split_once('/')?.1;
    let is_manifest = path.starts_with("v2/") && path.contains("/manifests/");
    is_manifest.then(|| (header::ACCEPT, MANIFESTS.to_owned()))
}

/// Where a token for anybody can be had, by a refusal's `WWW-Authenticate` (RFC 6750, 3).
pub(super) fn token_address(challenge: &str) -> Option<String> {
    let parameters = challenge.strip_prefix("Bearer ")?;
    let find = |name: &str| {
        parameters.split(',').find_map(|part| {
            let (key, value) = part.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    };
    let realm = find("realm")?;
    let mut address = realm.to_owned();
    let mut separator = if realm.contains('?') { '&' } else { '?' };
    for name in ["service", "scope"] {
        let Some(value) = find(name) else { continue };
        // What is quoted in such an address, and nothing that would need to be escaped in it.
        if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b)) {
            return None;
        }
        address.push(separator);
        address.push_str(&format!("{name}={value}"));
        separator = '&';
    }
    // A token that is sent in the clear is anybody's.
    (address.starts_with("https://") && address.bytes().all(|byte| byte.is_ascii_graphic()))
        .then_some(address)
}

/// The token in what that address answers.
pub(super) fn token(answer: &[u8]) -> Result<String> {
    let value: serde_json::Value = serde_json::from_slice(answer)
        .map_err(|error| Error::failure(format!("the registry gives no token: {error}")))?;
    let token = ["token", "access_token"].iter().find_map(|key| value.get(key)?.as_str());
    token
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| Error::failure("the registry gives no token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_have_a_form_to_ask_for() {
        assert!(accept("https://ghcr.io/v2/kube-vip/kube-vip/manifests/v1.2.3").is_some());
        for other in ["https://example.org/v2/file", "https://example.org/manifests/v2/x", "x"] {
            assert_eq!(accept(other), None, "{other}");
        }
    }

    #[test]
    fn a_challenge_leads_to_its_realm() {
        let asked = |challenge: &str| token_address(challenge);
        assert_eq!(
            asked(
                "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:a/b:pull\""
            )
            .as_deref(),
            Some("https://ghcr.io/token?service=ghcr.io&scope=repository:a/b:pull")
        );
        for wrong in [
            "Basic realm=\"x\"",
            "Bearer service=\"x\"",
            "Bearer realm=\"http://ghcr.io/token\"",
            "Bearer realm=\"https://ghcr.io/token\",scope=\"a b&c\"",
        ] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_has_one_of_two_names() {
        assert_eq!(token(b"{\"token\": \"abc\"}").expect("one"), "abc");
        assert_eq!(token(b"{\"access_token\": \"abc\"}").expect("one"), "abc");
        for wrong in [&b"{}"[..], b"[]", b"<html>", b"{\"token\": \"a b\"}", b"{\"token\": 1}"] {
            assert!(token(wrong).is_err());
        }
    }
}
