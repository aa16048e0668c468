//! Who may read and write, over a connection that a private authority vouches for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::Forge;
use crate::support::{Authority, LOGIN, OciRegistry, Proxy, Run};

const HINT: &str = "hint: log in";

fn push(forge: &Forge, registry: &OciRegistry, authority: &Authority) -> Run {
    let place = format!("{}/bases", registry.host());
    forge
        .run(["-q", "push", &place, "--sandbox", "none"])
        .env("SSL_CERT_FILE", authority.certificate())
}

#[test]
fn logins_of_podman_and_docker_are_used() {
    let authority = Authority::new();
    let registry = OciRegistry::private(&authority);
    let host = registry.host();
    let forge = Forge::new();
    let auth = forge.machines.path("auth.json");

    push(&forge, &registry, &authority).exits(1).stderr(&format!(
        "error: pushing to `{host}/bases`\n  cause: `{host}` wants a login for `bases`\n\
         {HINT}: `podman login {host}`, `docker login {host}` or `oras login {host}`\n"
    ));
    registry.write_login(&auth, (LOGIN.0, "guess"));
    push(&forge, &registry, &authority).exits(1).stderr(&format!(
        "error: pushing to `{host}/bases`\n  cause: `{host}` refuses the login that `{}` has for it\n\
         {HINT} again: `podman login {host}`, `docker login {host}` or `oras login {host}`\n",
        auth.display()
    ));
    registry.write_login(&auth, LOGIN);
    push(&forge, &registry, &authority).succeeds();

    // Another place, and another program's.
    fs::remove_file(&auth).expect("there");
    let docker = forge.machines.path("docker");
    fs::create_dir(&docker).expect("made");
    registry.write_login(&docker.join("config.json"), LOGIN);
    push(&forge, &registry, &authority)
        .env("REGISTRY_AUTH_FILE", "")
        .env("XDG_RUNTIME_DIR", forge.machines.path("run"))
        .env("XDG_CONFIG_HOME", forge.machines.path("config"))
        .env("DOCKER_CONFIG", &docker)
        .succeeds();
}

#[test]
fn no_proxy_hears_what_a_registry_on_this_machine_is_told() {
    let registry = OciRegistry::plain();
    let forge = Forge::new();
    let proxy = Proxy::new();
    let place = format!("{}/bases", registry.host());
    let push = forge.run(["-q", "push", &place, "--sandbox", "none"]);
    push.env("http_proxy", proxy.url()).env("https_proxy", proxy.url()).succeeds();
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
fn a_credential_helper_is_asked() {
    let authority = Authority::new();
    let registry = OciRegistry::private(&authority);
    let host = registry.host();
    let forge = Forge::new();
    let helper = forge.machines.path("bin/docker-credential-keys");
    fs::create_dir(helper.parent().expect("a folder")).expect("made");
    let write = |script: &str| {
        fs::write(&helper, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("ours");
    };
    let text = format!("{{\"credHelpers\": {{\"{host}\": \"keys\"}}}}");
    fs::write(forge.machines.path("auth.json"), text).expect("written");
    let path = std::env::var("PATH").expect("there is one");
    let path = format!("{}:{path}", helper.parent().expect("a folder").display());
    let push = || push(&forge, &registry, &authority).env("PATH", &path);

    write(&format!(
        "test \"$1\" = get && test \"$(cat)\" = {host} || exit 1\n\
         echo '{{\"ServerURL\": \"{host}\", \"Username\": \"{}\", \"Secret\": \"{}\"}}'",
        LOGIN.0, LOGIN.1
    ));
    push().succeeds();
    write("echo 'credentials not found in native keychain'; exit 1");
    let said = push().exits(1).stderr_text();
    assert!(said.contains(&format!("`{host}` wants a login for `bases`")), "{said}");
    write("echo 'the keychain is locked' >&2; exit 1");
    let said = push().exits(1).stderr_text();
    assert!(said.contains("the keychain is locked"), "{said}");
    // What it gives is where the secret is, whatever it says of how it went.
    write("echo 'secret-one'; exit 1");
    let said = push().exits(1).stderr_text();
    assert!(
        said.contains("`docker-credential-keys` failed") && !said.contains("secret-one"),
        "{said}"
    );
    // That a program is missing is not that nobody is logged in.
    write("echo 'exec: \"pass\": executable file not found in $PATH' >&2; exit 1");
    let said = push().exits(1).stderr_text();
    assert!(said.contains("executable file not found in $PATH"), "{said}");
    write("echo '{\"Username\": \"secret-one\"}'");
    let said = push().exits(1).stderr_text();
    assert!(said.contains("gives no login for") && !said.contains("secret-one"), "{said}");
}

#[test]
fn an_unknown_authority_is_refused_and_so_is_plain_text() {
    let authority = Authority::new();
    let registry = OciRegistry::private(&authority);
    let forge = Forge::new();
    registry.write_login(&forge.machines.path("auth.json"), LOGIN);
    let place = format!("{}/bases", registry.host());
    let said = forge.run(["-q", "push", &place, "--sandbox", "none"]).exits(1).stderr_text();
    assert!(
        said.contains(
            "an authority of your own, a proxy's for example, can be named in SSL_CERT_FILE"
        ),
        "{said}"
    );
    assert_eq!(registry.requests(), Vec::<String>::new());
    // Nothing of the login is said, however much is.
    assert!(!said.contains(LOGIN.1) && !said.contains("Basic"), "{said}");
}
