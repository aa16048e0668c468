//! A registry that sends whoever asks on to others, and what those learn: nothing. The registry is a stand-in here.

use std::fs;

use super::Forge;
use super::refused::{Offered, sha256};
use crate::support::{Authority, Fault, OciRegistry, Run, Server};

/// Headers of a test's own making.
fn header(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// What a server was told of who asks, whatever it was asked for.
fn told(server: &Server, path: &str) -> Vec<Option<String>> {
    server.requests(path).iter().map(|it| it.headers.get("authorization").cloned()).collect()
}

/// A base on a stand-in of a registry that wants a login, its pack on another host.
struct Elsewhere {
    offered: Offered,
    server: Server,
    other: Server,
    manifest: Vec<u8>,
    /// Where the registry has the pack.
    pack: String,
}

/// What is secret in an address: who has it may read.
const SIGNATURE: &str = "X-Amz-Signature=hush";

impl Elsewhere {
    fn new() -> Self {
        let offered = Offered::new();
        let [manifest, _, _, pack] = offered.blobs();
        let manifest = fs::read(manifest).expect("there");
        let server = offered.serve(&manifest);
        let other = Server::http();
        let signed = format!("/pack?{SIGNATURE}");
        other.put_file(&signed, &pack);
        let digits = pack.parent().and_then(|it| it.file_name()).expect("a name").display();
        let pack = format!("/v2/bases/blobs/sha256:{digits}");
        server.always(&pack, Fault::Redirect(other.url(&signed)));
        let host = server.url("").trim_start_matches("http://").to_owned();
        let auth =
            "{\"auths\": {\"HOST\": {\"auth\": \"Zm9yZ2U6aHVzaA==\"}}}".replace("HOST", &host);
        fs::write(offered.colleague.path("auth.json"), auth).expect("written");
        Self { offered, server, other, manifest, pack }
    }

    /// The next one who asks has to say who that is, in this way.
    fn wants(&self, challenge: &str) {
        let first = format!("/v2/bases/manifests/sha256:{}", sha256(&self.manifest));
        let header = header(format!("WWW-Authenticate: {challenge}"));
        self.server.once(&first, [Fault::Status(401, header)]);
    }

    fn signed() -> String {
        format!("/pack?{SIGNATURE}")
    }

    /// Pulls it where no lock file is.
    fn pull(&self) -> Run {
        let place = self.server.url("/bases").trim_start_matches("http://").to_owned();
        let reference = format!("{place}@sha256:{}", sha256(&self.manifest));
        let run = self.offered.colleague.run(["-q", "pull", &reference]);
        run.folder(std::path::Path::new("/"))
    }
}

#[test]
fn another_host_gives_blobs_and_is_told_nothing() {
    let it = Elsewhere::new();
    it.wants("Basic realm=\"it\"");
    it.pull().succeeds();
    assert!(told(&it.server, &it.pack).iter().all(Option::is_some), "the registry knows who asks");
    let told = told(&it.other, &Elsewhere::signed());
    assert!(!told.is_empty() && told.iter().all(Option::is_none), "{told:?}");
}

#[test]
fn another_host_cannot_ask_for_the_login() {
    let it = Elsewhere::new();
    it.other.put("/token", "{\"token\": \"x\"}");
    let bearer = header(format!("WWW-Authenticate: Bearer realm=\"{}\"", it.other.url("/token")));
    for (status, wanted) in [
        (401, "WWW-Authenticate: Basic realm=\"give it to me\""),
        (401, bearer),
        (403, ""),
        (400, ""),
        (404, ""),
    ] {
        it.other.put(&Elsewhere::signed(), "");
        it.other.always(&Elsewhere::signed(), Fault::Status(status, wanted));
        it.wants("Basic realm=\"it\"");
        let said = it.pull().exits(1).stderr_text();
        // It is about them, and neither the login nor the right to read is said.
        assert!(!said.contains("log in") && !said.contains("hush"), "{status}: {said}");
        if status != 404 {
            let address = format!("`{}/pack?…` was refused: HTTP {status}", it.other.url(""));
            assert!(said.contains(&address), "{said}");
        }
        assert!(told(&it.other, &Elsewhere::signed()).iter().all(Option::is_none));
        assert!(it.other.requests("/token").is_empty());
    }
    // It takes a while to try that five times.
    it.other.put(&Elsewhere::signed(), "");
    it.other.always(&Elsewhere::signed(), Fault::Status(503, ""));
    let said = it.pull().exits(1).stderr_text();
    assert!(said.contains("HTTP 503") && !said.contains("hush"), "{said}");
}

#[test]
fn tokens_are_not_fetched_in_the_clear_from_afar() {
    let it = Elsewhere::new();
    for realm in ["http://registry.invalid/token", "ftp://127.0.0.1/token", "token"] {
        it.wants(&format!("Bearer realm=\"{realm}\""));
        let said = it.pull().exits(1).stderr_text();
        assert!(said.contains("has tokens at an address that cannot be used"), "{realm}: {said}");
    }
    // On this machine nobody is in between. What is asked for is in the address.
    let token = "/token?scope=repository:bases:pull";
    it.other.put(token, "{\"token\": \"x\"}");
    it.wants(&format!("Bearer realm=\"{}\"", it.other.url("/token")));
    it.pull().succeeds();
    let tokens = told(&it.other, token);
    assert_eq!(tokens, [Some("Basic Zm9yZ2U6aHVzaA==".to_owned())]);
    assert_eq!(told(&it.server, &it.pack).last(), Some(&Some("Bearer x".to_owned())));
}

#[test]
fn uploads_go_where_they_are_safe_or_not_at_all() {
    let authority = Authority::new();
    let server = Server::https(&authority);
    let forge = Forge::new();
    let host = server.url("").trim_start_matches("https://").to_owned();
    let push = || {
        let run = forge.run(["-q", "push", &format!("{host}/bases"), "--sandbox", "none"]);
        run.env("SSL_CERT_FILE", authority.certificate()).exits(1).stderr_text()
    };
    let first = format!("error: pushing to `{host}/bases`\n  cause: `{host}` ");
    assert_eq!(push(), format!("{first}takes nothing for `bases`\n"));
    let uploads = "/v2/bases/blobs/uploads/";
    server.put(uploads, "");
    assert_eq!(push(), format!("{first}says not where to send it\n"));
    server.always(uploads, Fault::Status(202, "Location: http://192.0.2.1/x?_state=hush"));
    assert_eq!(
        push(),
        format!("{first}has it sent to `http://192.0.2.1/x?…`, which is not encrypted\n")
    );
}

/// Whoever may write to a repository can say there that a window is where it is not.
#[test]
fn what_nothing_vouches_for_is_looked_at_before_it_is_used() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let place = format!("{}/bases", registry.host());
    let first = forge.push(&place);
    let digest = first["digest"].as_str().expect("a digest");
    let lock = forge.machines.path("nodeforge.lock");
    let forget = || {
        let text = fs::read_to_string(&lock).expect("there");
        fs::write(&lock, text.split_once("[[registry]]").expect("it is pinned").0).expect("ours");
    };
    // What is true is taken over all the same.
    forget();
    let again = forge.push(&place);
    assert_eq!((&again["digest"], again["sent"].as_u64()), (&first["digest"], Some(0)));

    let good: serde_json::Value = super::manifest(&registry, digest);
    let index = registry.blob(good["layers"][0]["digest"].as_str().expect("a digest"));
    let index = crate::support::tool("zstd", ["-dcq".as_ref(), index.as_os_str()]);
    let mut index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let windows = index["windows"].as_array_mut().expect("a list");
    let mut sums: Vec<_> = windows.iter().map(|it| it[1].clone()).collect();
    sums.rotate_left(1);
    for (window, sum) in windows.iter_mut().zip(sums) {
        window[1] = sum;
    }
    let path = forge.machines.path("index");
    fs::write(&path, serde_json::to_vec(&index).expect("JSON")).expect("written");
    crate::support::tool("zstd", ["-q", "--rm", &path.display().to_string()]);
    let index = fs::read(path.with_extension("zst")).expect("packed");
    let mut bad = good;
    bad["layers"][0]["digest"] = format!("sha256:{}", registry.put_blob("bases", &index)).into();
    bad["layers"][0]["size"] = index.len().into();
    let bad = serde_json::to_vec(&bad).expect("JSON");
    for tag in ["small-amd64", "other"] {
        registry.put_manifest("bases", tag, &bad);
    }
    // Nor is what cannot be read in anybody's way.
    let mut torn: serde_json::Value = serde_json::from_slice(&bad).expect("JSON");
    torn["layers"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    registry.put_manifest("bases", "torn", &serde_json::to_vec(&torn).expect("JSON"));
    let key = {
        let text = fs::read_to_string(&lock).expect("there");
        let lock: toml::Table = toml::from_str(&text).expect("TOML");
        lock["registry"][0]["key"].as_str().expect("a key").to_owned()
    };
    registry.put_manifest("bases", &key, &bad);
    forget();
    forge.push(&place);
    let own = forge.run(["-q", "prepare", "--sandbox", "none", "--json"]).succeeds().stdout_text();
    let own: serde_json::Value = serde_json::from_str(&own).expect("JSON");
    let theirs = forge.colleague().prepare(&["--registry", &place, "--locked"]);
    assert_eq!(own["sha256"], theirs["sha256"]);
}
