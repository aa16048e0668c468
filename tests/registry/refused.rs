//! Registries that have something else than they should, or go away.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Colleague, Forge, manifest};
use crate::support::{Fault, OciRegistry, Server, checksum, tool, wait_until};

/// A base in a registry, whose lock file pins it, and who wants it.
pub(super) struct Offered {
    registry: OciRegistry,
    place: String,
    digest: String,
    pub(super) colleague: Colleague,
}

impl Offered {
    pub(super) fn new() -> Self {
        let registry = OciRegistry::plain();
        let forge = Forge::new();
        let place = format!("{}/bases", registry.host());
        let digest = forge.push(&place)["digest"].as_str().expect("a digest").to_owned();
        Self { registry, place, digest, colleague: forge.colleague() }
    }

    /// The files of manifest, configuration, index and pack.
    pub(super) fn blobs(&self) -> [PathBuf; 4] {
        let said = manifest(&self.registry, &self.digest);
        let blob = |part: &Value| self.registry.blob(part["digest"].as_str().expect("a digest"));
        [
            self.registry.blob(&self.digest),
            blob(&said["config"]),
            blob(&said["layers"][0]),
            blob(&said["layers"][1]),
        ]
    }

    /// Serves all of it by a server that can go wrong in more ways.
    pub(super) fn serve(&self, manifest: &[u8]) -> Server {
        let server = Server::http();
        let digest = sha256(manifest);
        server.put(&format!("/v2/bases/manifests/sha256:{digest}"), manifest);
        server.put("/v2/bases/manifests/it", manifest);
        for path in &self.blobs()[1..] {
            let digits = path.parent().and_then(|it| it.file_name()).expect("a name");
            server.put_file(&format!("/v2/bases/blobs/sha256:{}", digits.display()), path);
        }
        server
    }

    /// Pulls it from that server; returns what it says when it cannot.
    #[track_caller]
    fn pull_fails(&self, server: &Server, manifest: &[u8]) -> String {
        let place = server.url("/bases").trim_start_matches("http://").to_owned();
        let reference = format!("{place}@sha256:{}", sha256(manifest));
        // Where no lock file pins another one.
        let empty = crate::support::temporary_folder();
        let run = self.colleague.run(["-q", "pull", &reference]).folder(empty.path());
        let said = run.exits(1).stderr_text();
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{said}");
        said.replace(&place, "HOST/bases").replace(&sha256(manifest), "DIGEST")
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    let folder = crate::support::temporary_folder();
    let path = folder.path().join("bytes");
    fs::write(&path, bytes).expect("written");
    checksum("sha256sum", &path)
}

#[test]
fn wrong_references() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    forge.push(&format!("{}/bases", registry.host()));
    let run = |arguments: &[&str]| forge.run(["-q"]).args(arguments);
    for wrong in ["nodeforge", "ghcr.io/UPPER:x", "ghcr.io/a@sha256:12", "ftp://ghcr.io/a:x"] {
        let said = run(&["pull", wrong]).exits(2).stderr_text();
        assert!(said.contains(&format!("`{wrong}` names nothing in a registry")), "{said}");
    }
    let host = registry.host();
    run(&["pull", &format!("{host}/bases")]).exits(2).stderr(&format!(
        "error: `{host}/bases` names a repository, and nothing in it\n\
         hint: a tag or a digest: `nodeforge pull {host}/bases:TAG`\n"
    ));
    for missing in ["bases:none", "others:small-amd64"] {
        run(&["pull", &format!("{host}/{missing}")])
            .exits(1)
            .stderr(&format!("error: `{host}/{missing}` is not in the registry\n"));
    }
    let said = run(&["pull", "127.0.0.1:1/bases:x"]).exits(1).stderr_text();
    assert!(said.contains("Connection refused"), "{said}");
    run(&["push", "--sandbox", "none"]).exits(2).stderr(
        "error: neither the command line nor [cache] names a registry\n\
         hint: `nodeforge push ghcr.io/me/nodeforge`, or `registry = \"ghcr.io/me/nodeforge\"` in [cache]\n",
    );
}

#[test]
fn something_else_is_neither_used_nor_replaced() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let host = registry.host();
    // A container image, by umoci and skopeo.
    let layout = forge.machines.path("image").display().to_string();
    tool("umoci", ["init", "--layout", &layout]);
    tool("umoci", ["new", "--image", &format!("{layout}:it")]);
    let to = format!("docker://{host}/bases:it");
    tool("skopeo", ["copy", "--dest-tls-verify=false", &format!("oci:{layout}:it"), &to]);
    let reference = format!("{host}/bases:it");
    forge.run(["-q", "pull", &reference]).exits(1).stderr(&format!(
        "error: `{reference}` cannot be used\n  cause: it is no prepared base: it is a container image\n"
    ));
    forge.run(["-q", "push", &reference, "--sandbox", "none"]).exits(1).stderr(&format!(
        "error: pushing to `{host}/bases`\n  cause: `{reference}` is something else already\n  \
         cause: it is no prepared base: it is a container image\n\
         hint: choose another tag, or another repository\n"
    ));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let offered = Offered::new();
    let said = |place: &str, run: crate::support::Run| {
        let said = run.exits(1).stderr_text();
        assert!(!said.contains("panicked"), "{place}: {said}");
        assert!(
            !offered.colleague.cached().iter().any(|it| it.starts_with("prepared/")),
            "{place}: {said}"
        );
        said
    };
    for (kind, path) in ["manifest", "config", "index", "pack"].iter().zip(offered.blobs()) {
        let good = fs::read(&path).expect("there");
        for part in 0..6 {
            let at = (good.len() - 1) * part / 5;
            let mut bad = good.clone();
            bad[at] ^= 1 << (part % 8);
            fs::write(&path, bad).expect("written");
            let run = offered.colleague.run([
                "-q",
                "prepare",
                "--sandbox",
                "none",
                "--registry",
                &offered.place,
            ]);
            said(&format!("{kind} {at}"), run);
        }
        fs::write(&path, good).expect("written");
    }
    offered.colleague.prepare(&["--registry", &offered.place]);
}

#[test]
fn a_registry_that_lies_or_goes_away() {
    let offered = Offered::new();
    let blobs = offered.blobs();
    let good = fs::read(&blobs[0]).expect("there");
    let address = |path: &PathBuf| {
        let digits = path.parent().and_then(|it| it.file_name()).expect("a name");
        format!("/v2/bases/blobs/sha256:{}", digits.display())
    };
    let pack = address(&blobs[3]);
    let server = offered.serve(&good);

    // More than it said, and less.
    server.put(&pack, vec![7; 64 << 20]);
    let said = offered.pull_fails(&server, &good);
    assert!(said.contains("bytes that its manifest says"), "{said}");
    server.put(&pack, vec![7; 1000]);
    let said = offered.pull_fails(&server, &good);
    assert!(said.contains("is not what its index says"), "{said}");
    server.put_file(&pack, &blobs[3]);
    server.always(&pack, Fault::CutAfter(100_000));
    let said = offered.pull_fails(&server, &good);
    assert!(said.contains("error: pulling `HOST/bases@sha256:DIGEST`"), "{said}");
    server.mend(&pack);
    // What a server asks for is heeded, within bounds.
    server.always(&pack, Fault::Status(429, "Retry-After: 7200"));
    let said = offered.pull_fails(&server, &good);
    assert!(said.contains("the server asks to come back in 120 minutes"), "{said}");
    server.mend(&pack);
    server.remove(&pack);
    let said = offered.pull_fails(&server, &good);
    assert!(said.contains("the registry lacks the blob sha256:"), "{said}");
    server.put_file(&pack, &blobs[3]);

    // An index that unpacks to more than any disk has, and one of another disk.
    let bomb = offered.colleague.path("bomb");
    tool("truncate", ["-s", "200M", &bomb.display().to_string()]);
    tool("zstd", ["-q", "--rm", &bomb.display().to_string()]);
    let bomb = fs::read(bomb.with_extension("zst")).expect("packed");
    let with_index = |index: &[u8]| {
        let mut changed: Value = serde_json::from_slice(&good).expect("JSON");
        changed["layers"][0]["digest"] = format!("sha256:{}", sha256(index)).into();
        changed["layers"][0]["size"] = index.len().into();
        let changed = serde_json::to_vec(&changed).expect("JSON");
        let server = offered.serve(&changed);
        server.put(&format!("/v2/bases/blobs/sha256:{}", sha256(index)), index);
        offered.pull_fails(&server, &changed)
    };
    assert_eq!(
        with_index(&bomb),
        "error: `HOST/bases@sha256:DIGEST` cannot be used\n  cause: its index is wrong: it is larger than any index\n"
    );
    assert_eq!(
        with_index(b"no zstd"),
        "error: `HOST/bases@sha256:DIGEST` cannot be used\n  cause: its index is wrong: it cannot be unpacked\n"
    );

    // A pull that is at work is not pruned under, and no two write to one file.
    server.hold(&pack);
    server.forget_requests();
    let place = server.url("/bases").trim_start_matches("http://").to_owned();
    let reference = format!("{place}@{}", offered.digest);
    let empty = crate::support::temporary_folder();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..2)
            .map(|_| {
                let run = offered.colleague.run(["-q", "pull", &reference]).folder(empty.path());
                scope.spawn(move || run.succeeds())
            })
            .collect();
        wait_until(|| !server.requests(&pack).is_empty());
        let is_part = |it: &String| it.starts_with("downloads/prepared-");
        wait_until(|| offered.colleague.cached().iter().any(is_part));
        offered.colleague.run(["cache", "prune"]).succeeds();
        assert!(offered.colleague.cached().iter().any(is_part));
        server.release(&pack);
        for pull in pulls {
            pull.join().expect("it succeeds");
        }
    });
    fs::remove_dir_all(offered.colleague.path("cache")).expect("there");

    // Once it is as it should be, so is the base: a request that failed once is made again, a registry without ranges
    // will do, and what a server asks for is waited for.
    server.once(&pack, [Fault::Status(503, "Retry-After: 1"), Fault::CutAfter(500_000)]);
    let place = server.url("/bases").trim_start_matches("http://").to_owned();
    offered.colleague.run(["-q", "pull", &format!("{place}@{}", offered.digest)]).succeeds();
    assert!(server.requests(&pack).len() >= 3);
}
