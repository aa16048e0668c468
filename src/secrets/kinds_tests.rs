//! Every kind of secret, judged by the programs that use them.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Secret, Secrets};
use crate::config::tests::quickstart_in;
use crate::config::{Cluster, SecretRecipe, SecretSpec};
use crate::util::error::Result;

/// The quickstart example with secrets of these kinds, named `s0`, `s1`….
fn with(folder: &Path, kinds: &[SecretRecipe]) -> Result<Cluster> {
    let mut cluster = quickstart_in(folder)?;
    let specs = kinds.iter().enumerate().map(|(index, kind)| SecretSpec {
        name: format!("s{index}"),
        recipe: kind.clone(),
        roles: Vec::new(),
        after_rotation: None,
        missing: None,
    });
    cluster.profile.secrets = specs.collect();
    Ok(cluster)
}

/// What a program prints that is given `input`; it must succeed.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is installed: scripts/install-packages test");
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    output.stdout
}

fn openssl(arguments: &[&str], input: &str) -> String {
    String::from_utf8_lossy(&run("openssl", arguments, input.as_bytes())).into_owned()
}

#[test]
fn openssl_agrees_with_a_certificate_authority() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kind = SecretRecipe::Ca { common_name: "kubernetes".into() };
    let secrets = Secrets::load_or_create(&with(folder.path(), &[kind])?)?;
    let Some(Secret::Ca(ca)) = secrets.get("s0").map(AsRef::as_ref) else { panic!("no CA") };

    let text = openssl(&["x509", "-noout", "-text"], &ca.cert);
    for line in [
        "Subject: CN = kubernetes",
        "Issuer: CN = kubernetes",
        "CA:TRUE, pathlen:0",
        "Digital Signature, Certificate Sign, CRL Sign",
        "ASN1 OID: prime256v1",
        "ecdsa-with-SHA256",
    ] {
        // OpenSSL 3.2 leaves out the blanks around `=`.
        assert!(text.contains(line) || text.contains(&line.replace(" = ", "=")), "{line}\n{text}");
    }
    assert_eq!(text.matches("critical").count(), 2, "{text}");
    let years = |years: u32| (years * 365 * 86_400).to_string();
    openssl(&["x509", "-noout", "-checkend", &years(9)], &ca.cert);
    let file = folder.path().join("late.crt");
    fs::write(&file, &ca.cert)?;
    let late = Command::new("openssl")
        .args(["x509", "-noout", "-checkend", &years(11), "-in"])
        .arg(&file)
        .output()?;
    let said = String::from_utf8_lossy(&late.stdout).into_owned();
    assert!(!late.status.success() && said.contains("will expire"), "{said}");

    // What kubeadm's and k3s' documentation have people run.
    let public = openssl(&["x509", "-pubkey", "-noout"], &ca.cert);
    let der = run("openssl", &["pkey", "-pubin", "-outform", "der"], public.as_bytes());
    let sum = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(&run("sha256sum", &[], bytes)).into_owned();
        text.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(ca.hash.to_string(), sum(&der));
    assert_eq!(ca.file_hash.to_string(), sum(ca.cert.as_bytes()));
    assert_eq!(
        openssl(&["pkey", "-pubout"], &ca.key),
        public,
        "key and certificate belong together"
    );

    // A leaf that it signs is trusted; another authority below it is not.
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("ca.crt"), &ca.cert)?;
    fs::write(at("ca.key"), &ca.key)?;
    let sign = |name: &str, parent: &str, extensions: &str| {
        let (crt, key) = (at(&format!("{name}.crt")), at(&format!("{name}.key")));
        let (parent_crt, parent_key) = (at(&format!("{parent}.crt")), at(&format!("{parent}.key")));
        let arguments = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-noenc",
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            extensions,
            "-CA",
            &parent_crt,
            "-CAkey",
            &parent_key,
            "-keyout",
            &key,
            "-out",
            &crt,
        ];
        run("openssl", &arguments, b"");
    };
    sign("leaf", "ca", "basicConstraints=critical,CA:FALSE");
    sign("below", "ca", "basicConstraints=critical,CA:TRUE");
    sign("far", "below", "basicConstraints=critical,CA:FALSE");
    run("openssl", &["verify", "-x509_strict", "-CAfile", &at("ca.crt"), &at("leaf.crt")], b"");
    let chain = Command::new("openssl")
        .args(["verify", "-CAfile", &at("ca.crt"), "-untrusted", &at("below.crt"), &at("far.crt")])
        .output()?;
    let said = String::from_utf8_lossy(&chain.stderr).into_owned();
    assert!(!chain.status.success() && said.contains("path length"), "{said}");
    Ok(())
}

#[test]
fn openssl_reads_a_key_pair() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secrets = Secrets::load_or_create(&with(folder.path(), &[SecretRecipe::KeyPair])?)?;
    let Some(Secret::KeyPair(pair)) = secrets.get("s0").map(AsRef::as_ref) else {
        panic!("no key pair")
    };
    assert!(pair.private.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
    assert_eq!(openssl(&["pkey", "-pubout"], &pair.private), pair.public);
    Ok(())
}

#[test]
fn ssh_keygen_reads_a_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let secrets = Secrets::load_or_create(&with(folder.path(), &[SecretRecipe::SshKey])?)?;
    let Some(Secret::KeyPair(pair)) = secrets.get("s0").map(AsRef::as_ref) else {
        panic!("no key pair")
    };
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), pair.private.as_bytes())?;
    let public = run("ssh-keygen", &["-y", "-f", &file.path().display().to_string()], b"");
    assert_eq!(String::from_utf8_lossy(&public).trim_end(), pair.public);
    Ok(())
}

#[test]
fn wg_agrees_with_wireguard_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = with(folder.path(), &[SecretRecipe::WireGuard, SecretRecipe::WireGuard])?;
    let secrets = Secrets::load_or_create(&cluster)?;
    let keys = |name: &str| match secrets.get(name).map(AsRef::as_ref) {
        Some(Secret::WireGuard(keys)) => keys.clone(),
        _ => panic!("no WireGuard keys"),
    };
    let (own, other) = (keys("s0"), keys("s1"));
    for name in ["server1", "laptop"] {
        let public = run("wg", &["pubkey"], own.private(name).as_bytes());
        assert_eq!(String::from_utf8_lossy(&public).trim_end(), own.public(name));
    }
    assert!(own.is_node("server1") && !own.is_node("laptop"));
    assert_eq!(own.preshared("a", "b"), own.preshared("b", "a"));
    let all = [
        own.private("a"),
        own.private("b"),
        own.preshared("a", "b"),
        own.preshared("a", "a"),
        other.private("a"),
        other.preshared("a", "b"),
    ];
    let unique: HashSet<&String> = all.iter().collect();
    assert_eq!(unique.len(), all.len());
    // Made of the same seed, they are the same.
    let again = Secrets::load_or_create(&cluster)?;
    let Some(Secret::WireGuard(again)) = again.get("s0").map(AsRef::as_ref) else { panic!("none") };
    assert_eq!(again.private("a"), own.private("a"));
    Ok(())
}

#[test]
fn texts_are_kept_and_files_are_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = SecretRecipe::File { path: "own.key".into() };
    let kinds = [SecretRecipe::SshHostKey, SecretRecipe::KubeadmToken, file];
    let cluster = with(folder.path(), &kinds)?;
    let secrets = Secrets::load_or_create(&cluster)?;
    let Some(Secret::Missing(why)) = secrets.get("s2").map(AsRef::as_ref) else { panic!("it is") };
    assert!(why.starts_with("the secret `s2` is your own file, and there is no "), "{why}");

    fs::write(folder.path().join("own.key"), "hush\n")?;
    let texts = |secrets: &Secrets| -> Vec<String> {
        let text = |name| match secrets.get(name).map(AsRef::as_ref) {
            Some(Secret::Text(text)) => text.to_string(),
            _ => panic!("no text"),
        };
        ["s0", "s1", "s2"].map(text).to_vec()
    };
    let made = texts(&Secrets::load_or_create(&cluster)?);
    assert_eq!(texts(&Secrets::load_or_create(&cluster)?), made);
    assert!(made[0].starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_eq!(made[2], "hush\n");
    assert!(!fs::read_to_string(Secrets::path(&cluster))?.contains("hush"));
    Ok(())
}

#[test]
fn a_secret_that_changes_its_kind_is_not_made_anew() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = with(folder.path(), &[SecretRecipe::Hex])?;
    Secrets::load_or_create(&cluster)?;
    let before = fs::read(Secrets::path(&cluster))?;
    let cluster = with(folder.path(), &[SecretRecipe::KeyPair])?;
    let error = Secrets::load_or_create(&cluster).err().expect("refused").to_string();
    assert!(error.contains("is of kind `hex`, and the profile wants `keypair`"), "{error}");
    assert_eq!(fs::read(Secrets::path(&cluster))?, before);
    Ok(())
}
