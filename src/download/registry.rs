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

/// How a registry wants to be asked, by a refusal's `WWW-Authenticate` (RFC 9110, 11.6.1; RFC 6750, 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// With a user's name and password.
    Basic,
    /// With a token that another address gives.
    Token(TokenSource),
}

/// Where a token is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenSource {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    /// Reads one; `None` for schemes that nobody here knows.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest)?;
        let find = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        let (realm, service, scope) = (find("realm")?, find("service"), find("scope"));
        Some(Self::Token(TokenSource { realm, service, scope }))
    }
}

impl TokenSource {
    /// The address that gives a token, for `scope` where the challenge names none. `None` where it could be read by
    /// others on its way, unless that is `plain_is_allowed`, or is not an address.
    pub(crate) fn address(&self, scope: Option<&str>, plain_is_allowed: bool) -> Option<String> {
        let mut address = self.realm.clone();
        let mut separator = if self.realm.contains('?') { '&' } else { '?' };
        let scopes = self.scope.as_deref().or(scope).unwrap_or_default();
        let scopes = scopes.split(' ').filter(|it| !it.is_empty()).map(|it| ("scope", it));
        for (name, value) in
            self.service.as_deref().map(|it| ("service", it)).into_iter().chain(scopes)
        {
            // What is quoted in such an address, and nothing that would need to be escaped in it.
            if !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/,*".contains(&b)) {
                return None;
            }
            address.push(separator);
            address.push_str(&format!("{name}={value}"));
            separator = '&';
        }
        // A token that is sent in the clear is anybody's.
        let is_private =
            address.starts_with("https://") || plain_is_allowed && address.starts_with("http://");
        (is_private && address.bytes().all(|byte| byte.is_ascii_graphic())).then_some(address)
    }
}

/// `name="value", name=value`; `None` where a quote does not end.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let (mut all, mut rest) = (Vec::new(), text.trim_start_matches([' ', ',']));
    while let Some((name, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        all.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = left.trim_start_matches([' ', ',']);
    }
    Some(all)
}

/// Where a token for anybody can be had, by a refusal's `WWW-Authenticate`.
pub(super) fn token_address(challenge: &str) -> Option<String> {
    match Challenge::parse(challenge)? {
        Challenge::Token(source) => source.address(None, false),
        Challenge::Basic => None,
    }
}

/// The token in what that address answers.
pub(crate) fn token(answer: &[u8]) -> Result<String> {
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
        assert_eq!(
            asked("bearer service=r,scope=\"repository:a:pull,push\", realm=\"https://h/t?a=b\"")
                .as_deref(),
            Some("https://h/t?a=b&service=r&scope=repository:a:pull,push")
        );
        for wrong in [
            "Digest realm=\"x\"",
            "Bearer realm=\"https://ghcr.io/token",
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
