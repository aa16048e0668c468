//! Logins to registries, as podman, docker and oras keep them.
//!
//! Sources: containers-auth.json(5), and the protocol of docker-credential-helpers.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::util::error::{Context as _, Error, Result};
use crate::util::new_files;
use crate::util::process::Tool;
use zeroize::Zeroizing;

/// What docker calls its own registry.
const DOCKER: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");
/// The name of a login that is a token.
const TOKEN_USER: &str = "<token>";
/// What a helper says, on either stream, where nobody is logged in: by this every program tells it from trouble.
const NOBODY: &str = "credentials not found in native keychain";

/// Who asks. What is secret of it is shown nowhere.
pub(super) struct Login {
    user: String,
    secret: Zeroizing<String>,
    /// Where it stands, in words.
    origin: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.origin)
    }
}

impl Login {
    /// The value of `Authorization` with name and password (RFC 7617); `None` for one that is a token.
    pub(super) fn basic(&self) -> Option<String> {
        let text = Zeroizing::new(format!("{}:{}", self.user, self.secret.as_str()));
        (self.user != TOKEN_USER)
            .then(|| format!("Basic {}", BASE64_STANDARD.encode(text.as_bytes())))
    }

    /// Where it stands, in words.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

/// The login for a registry; `None` where nobody is logged in. The first file that has one counts.
pub(super) fn find(host: &str) -> Result<Option<Login>> {
    for path in files() {
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(|| format!("reading `{}`", path.display())),
        };
        if let Some(login) = read(&text, host, &path)? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

/// Where logins may be, the most particular first. A file that is named is the only one.
fn files() -> Vec<PathBuf> {
    let variable =
        |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    if let Some(path) = variable("REGISTRY_AUTH_FILE") {
        return vec![path];
    }
    let home = new_files::home();
    let config = variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|it| it.join(".config")));
    let docker = variable("DOCKER_CONFIG").or_else(|| home.as_ref().map(|it| it.join(".docker")));
    let runtime = variable("XDG_RUNTIME_DIR");
    [
        runtime.map(|it| it.join("containers/auth.json")),
        config.map(|it| it.join("containers/auth.json")),
        docker.map(|it| it.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The login for a registry in one of these files.
fn read(text: &str, host: &str, path: &Path) -> Result<Option<Login>> {
    let shown = format!("`{}`", path.display());
    // What is wrong with it is not quoted: it may be the secret.
    let wrong = |what: &str| {
        Error::input(format!("{shown} {what}")).hint("log in again to have it written anew")
    };
    let file: Value = serde_json::from_str(text).map_err(|_| wrong("is not JSON"))?;
    let names = if host == DOCKER.0 { vec![DOCKER.0, DOCKER.1] } else { vec![host] };
    for name in &names {
        if let Some(helper) = file["credHelpers"][name].as_str() {
            return helped(helper, name);
        }
    }
    for name in &names {
        let found = file["auths"]
            .as_object()
            .and_then(|all| all.iter().find(|(key, _)| *key == name || is_address_of(key, name)));
        let Some((_, entry)) = found else { continue };
        if let Some(auth) = entry["auth"].as_str().filter(|it| !it.is_empty()) {
            let decoded = BASE64_STANDARD.decode(auth).ok().map(Zeroizing::new);
            let decoded = decoded.as_ref().and_then(|it| std::str::from_utf8(it).ok());
            let (user, secret) = decoded
                .and_then(|it| it.split_once(':'))
                .ok_or_else(|| wrong(&format!("has a login for `{host}` that cannot be read")))?;
            // Docker pads what it writes with zeros.
            let secret = Zeroizing::new(secret.trim_end_matches('\0').to_owned());
            return Ok(Some(Login { user: user.to_owned(), secret, origin: shown }));
        }
    }
    match file["credsStore"].as_str().filter(|it| !it.is_empty()) {
        Some(helper) => helped(helper, names.last().copied().unwrap_or(host)),
        None => Ok(None),
    }
}

/// Whether a key of old is an address of that host: `https://quay.io/v1/`.
fn is_address_of(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    bare.is_some_and(|it| it.split('/').next() == Some(host))
}

/// Asks a credential helper.
fn helped(helper: &str, name: &str) -> Result<Option<Login>> {
    let is_name = helper.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
    if !is_name || helper.is_empty() {
        return Err(Error::input(
            "a credential helper's name has other characters than letters and digits",
        )
        .hint("look at `credHelpers` and `credsStore` in the files of logins"));
    }
    let program = format!("docker-credential-{helper}");
    let doing = || format!("asking `{program}` for the login to `{name}`");
    let tool = Tool::new(&program, "the credential helper").arg("get").input(name.as_bytes());
    let (output, code) = tool.run_for_code().map_err(|error| error.context(doing()))?;
    let answer = Zeroizing::new(output.stdout);
    if code != Some(0) {
        if [answer.as_str(), &output.stderr].iter().any(|it| it.trim() == NOBODY) {
            return Ok(None);
        }
        // Of its answer nothing is quoted: that is where the secret is, whatever else it says.
        let last = output.stderr.lines().rfind(|line| !line.trim().is_empty());
        let failed = Error::failure(format!("`{program}` failed"));
        let failed =
            last.map_or(failed, |line| Error::failure(line).context(format!("`{program}` failed")));
        return Err(failed
            .context(doing())
            .hint(format!("`echo {name} | {program} get` says why; it may show the secret")));
    }
    let value: Value = serde_json::from_str(&answer)
        .map_err(|_| Error::failure(format!("`{program}` gives no login for `{name}`")))?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let (Some(user), Some(secret)) = (text("Username"), text("Secret")) else {
        return Err(Error::failure(format!("`{program}` gives no login for `{name}`")));
    };
    Ok(Some(Login { user, secret: Zeroizing::new(secret), origin: format!("`{program}`") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, host: &str) -> Option<(String, String)> {
        let login = read(text, host, Path::new("auth.json")).unwrap()?;
        Some((login.user.clone(), login.secret.to_string()))
    }

    #[test]
    fn logins_are_found_by_their_hosts() {
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        let text = r#"{"auths": {
            "quay.io": {"auth": "bWU6YTpi"},
            "https://old.example.org/v1/": {"auth": "eW91Ong="},
            "empty.example.org": {},
            "https://index.docker.io/v1/": {"auth": "ZDpl"}}}"#;
        assert_eq!(login(text, "quay.io"), pair("me", "a:b"));
        assert_eq!(login(text, "old.example.org"), pair("you", "x"));
        assert_eq!(login(text, "docker.io"), pair("d", "e"));
        assert_eq!(login(text, "empty.example.org"), None);
        assert_eq!(login(text, "other.example.org"), None);
    }

    #[test]
    fn what_is_wrong_is_not_quoted() {
        for wrong in [
            r#"{"auths": {"h.de": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"h.de": {"auth": "?secret"}}}"#,
            "secret",
        ] {
            let error = read(wrong, "h.de", Path::new("auth.json")).unwrap_err().to_string();
            assert!(error.starts_with("`auth.json` ") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_login_shows_nothing() {
        let login = Login {
            user: "me".into(),
            secret: Zeroizing::new("hidden".into()),
            origin: "`f`".into(),
        };
        assert_eq!(format!("{login:?}"), "Login(`f`)");
        assert_eq!(login.basic().unwrap(), "Basic bWU6aGlkZGVu");
    }
}
