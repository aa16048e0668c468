//! OpenPGP (RFC 9580): detached signatures by keys whose fingerprints are pinned.
//!
//! rPGP does the cryptography. Which key may sign, and when, is decided here, once before a
//! download begins: a signature that could never be accepted does not cost half a gigabyte.

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{
    ArmorOptions, Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    PublicKey, PublicSubkey, Signature, SignatureType, SignatureVersion, SubpacketData,
};
use pgp::ser::Serialize as _;
use pgp::types::{Fingerprint, KeyDetails, PublicParams, Tag};

use crate::util::error::{Error, Result};
use crate::util::hex::hex;

/// As much of a key or signature as is ever read, in bytes.
pub(crate) const LIMIT: u64 = 1 << 20;
/// How far ahead a publisher's clock may be, in seconds.
const CLOCK_SKEW: u64 = DAY;
const DAY: u64 = 24 * 60 * 60;
/// 2048 bits, in bytes.
const SMALLEST_RSA: usize = 256;

/// A publisher's key with its subkeys.
#[derive(Clone)]
pub(crate) struct Certificate(SignedPublicKey);

impl Certificate {
    /// All keys of a file, armored or not.
    pub(crate) fn read_all(bytes: &[u8]) -> Result<Vec<Self>> {
        let wrong = |error: pgp::errors::Error| {
            Error::failure(error.to_string()).context("this is not an OpenPGP key")
        };
        if let Some(error) = other_format(bytes) {
            return Err(error);
        }
        let mut keys = Vec::new();
        for block in blocks(bytes) {
            let (found, _) = SignedPublicKey::from_reader_many(block).map_err(wrong)?;
            // One of a keyring's keys that cannot be read takes none of the others with it.
            keys.extend(found.take(MANY).filter_map(|key| key.ok().map(Self)));
        }
        if keys.is_empty() {
            return Err(Error::failure("this is not an OpenPGP key"));
        }
        Ok(keys)
    }

    /// Of the primary key, in upper-case hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.0.fingerprint())
    }

    /// When its owner lets it expire, in seconds since 1970; `None` for never.
    pub(crate) fn expires(&self) -> Option<u64> {
        expiry(self.0.primary_key.created_at().as_secs(), self.self_signatures().first()?)
    }

    /// The key as a text file (RFC 9580, 6.2).
    pub(crate) fn armored(&self) -> Result<String> {
        self.0
            .to_armored_string(ArmorOptions::default())
            .map_err(|error| Error::failure(error.to_string()).context("writing an OpenPGP key"))
    }

    /// Self-signatures that hold, the newest first.
    fn self_signatures(&self) -> Vec<&Signature> {
        let primary = &self.0.primary_key;
        let users = self.0.details.users.iter().flat_map(|user| {
            user.signatures.iter().filter(|signature| {
                signature.is_certification()
                    && is_by(signature, primary)
                    && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            })
        });
        let direct = self.0.details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
        });
        newest_first(users.chain(direct).filter(|signature| is_readable(signature)).collect())
    }

    /// Fails when its owner revoked it or let it expire.
    fn check(&self, now: u64) -> Result<Vec<&Signature>> {
        let name = self.fingerprint();
        let primary = &self.0.primary_key;
        if let Some(revocation) = self.0.details.revocation_signatures.iter().find(|signature| {
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(primary).is_ok()
        }) {
            return Err(revoked(&name, revocation));
        }
        let signatures = self.self_signatures();
        let Some(newest) = signatures.first() else {
            return Err(Error::failure(format!("the key {name} has no valid self-signature")));
        };
        check_age(&name, primary.created_at().as_secs(), newest, now)?;
        Ok(signatures)
    }

    /// The key of this certificate that made a signature, when it is fit to.
    fn signer(&self, signature: &Signature, now: u64) -> Result<Option<Signer>> {
        if is_by(signature, &self.0.primary_key) {
            let signatures = self.check(now)?;
            if signatures.first().is_some_and(|newest| !may_sign(newest)) {
                let name = self.fingerprint();
                return Err(Error::failure(format!("the key {name} is not meant for signing")));
            }
            check_strength(self.0.primary_key.public_params(), &self.fingerprint())?;
            return Ok(Some(Signer::Primary(self.0.primary_key.clone())));
        }
        let Some(subkey) = self.0.public_subkeys.iter().find(|it| is_by(signature, &it.key)) else {
            return Ok(None);
        };
        self.check(now)?;
        self.check_subkey(subkey, now)?;
        Ok(Some(Signer::Subkey(subkey.key.clone())))
    }

    fn check_subkey(&self, subkey: &SignedPublicSubKey, now: u64) -> Result<()> {
        let primary = &self.0.primary_key;
        let name = format!("{:X}", subkey.key.fingerprint());
        let (revocations, bindings): (Vec<_>, Vec<_>) = subkey
            .signatures
            .iter()
            .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
            .partition(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        if let Some(revocation) = revocations.first() {
            return Err(revoked(&name, revocation));
        }
        let bindings = newest_first(bindings.into_iter().filter(|it| is_readable(it)).collect());
        let Some(binding) = bindings.first() else {
            return Err(Error::failure(format!(
                "the subkey {name} is not bound to {}",
                self.fingerprint()
            )));
        };
        // Without the subkey's own word anybody could adopt it.
        let adopted = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        if !binding.key_flags().sign() || !adopted {
            return Err(Error::failure(format!("the subkey {name} is not meant for signing")));
        }
        check_age(&name, subkey.key.created_at().as_secs(), binding, now)?;
        check_strength(subkey.key.public_params(), &name)
    }
}

/// A file of keys that is of another form than a public key is published in, with the command that converts it.
fn other_format(bytes: &[u8]) -> Option<Error> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let has = |words: &str| text.contains(words);
    let (what, how) = match () {
        () if has("-----BEGIN PGP PRIVATE KEY BLOCK-----") => (
            "a secret key",
            "`gpg --import FILE`, then `gpg --armor --export FINGERPRINT > key.asc`, writes its public key",
        ),
        // libksba's kbx/keybox-blob.c of GnuPG: length, type 1, version, flags, magic.
        () if bytes.get(8..12) == Some(b"KBXf") => (
            "a keybox of GnuPG",
            "`gpg --no-default-keyring --keyring ./FILE --armor --export FINGERPRINT > key.asc` writes one key of it",
        ),
        () if has("---- BEGIN SSH2 PUBLIC KEY") || has("ssh-ed25519 ") || has("ssh-rsa ") => (
            "an SSH key",
            "a publisher signs with an OpenPGP key: `gpg --armor --export FINGERPRINT > key.asc` writes one",
        ),
        () if has("untrusted comment:") => (
            "a key of minisign or signify",
            "signatures of theirs are not read: pin the file's hash with `sha256` or `sha512`",
        ),
        () if has("-----BEGIN CERTIFICATE-----") || has("-----BEGIN PUBLIC KEY-----") => (
            "a key or certificate of X.509",
            "signatures of that kind are not read: pin the file's hash with `sha256` or `sha512`",
        ),
        () => return None,
    };
    Some(Error::failure(format!("this is {what}, not an OpenPGP public key")).hint(how))
}

/// The key with a pinned fingerprint, of all keys of a file.
pub(crate) fn with_fingerprint(bytes: &[u8], fingerprint: &str) -> Result<Certificate> {
    let certificates = Certificate::read_all(bytes)?;
    let found: Vec<_> = certificates.iter().map(Certificate::fingerprint).collect();
    certificates.into_iter().find(|it| it.fingerprint() == fingerprint).ok_or_else(|| {
        Error::failure(format!("it is {}, pinned is {fingerprint}", found.join(", ")))
    })
}

/// The armored blocks of a file, where keys were put one after the other; else all of it.
fn blocks(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = bytes
        .windows(BEGIN.len())
        .enumerate()
        .filter_map(|(at, window)| (window == BEGIN).then_some(at))
        .take(MANY)
        .collect();
    if starts.len() < 2 {
        return vec![bytes];
    }
    starts.push(bytes.len());
    starts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// What an armored key begins with (RFC 9580, 6.2.1).
const BEGIN: &[u8] = b"-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// As many packets of a file as are looked at.
const MANY: usize = 256;

/// The part of a certificate that made a signature.
enum Signer {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// A signature and the key that made it, both fit; only the data is still to be seen.
pub(crate) struct Verifier {
    signature: Signature,
    signer: Signer,
    /// Of the certificate's primary key.
    pub(crate) fingerprint: String,
}

impl Verifier {
    /// Chooses the signature of a file, armored or not, that one of the certificates made.
    pub(crate) fn new(bytes: &[u8], certificates: &[Certificate]) -> Result<Self> {
        Self::at(bytes, certificates, now())
    }

    fn at(bytes: &[u8], certificates: &[Certificate], now: u64) -> Result<Self> {
        Self::choose(&read_signatures(bytes)?, SignatureType::Binary, certificates, now)
    }

    fn choose(
        signatures: &[Signature],
        kind: SignatureType,
        certificates: &[Certificate],
        now: u64,
    ) -> Result<Self> {
        let mut problem = None;
        for signature in signatures {
            match fit(signature, kind, certificates, now) {
                Ok(Some((signer, fingerprint))) => {
                    return Ok(Self { signature: signature.clone(), signer, fingerprint });
                }
                Ok(None) => {}
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.unwrap_or_else(|| {
            let made_by: Vec<_> = signatures.iter().flat_map(issuers).collect();
            let wanted: Vec<_> = certificates.iter().map(Certificate::fingerprint).collect();
            Error::failure(format!(
                "the signature is by {}, not by {}",
                if made_by.is_empty() { "an unknown key".into() } else { made_by.join(", ") },
                wanted.join(" or ")
            ))
        }))
    }

    /// Reads all the data and fails unless the signature is over it.
    pub(crate) fn verify(&self, data: impl Read) -> Result<()> {
        let verdict = match &self.signer {
            Signer::Primary(key) => self.signature.verify(key, data),
            Signer::Subkey(key) => self.signature.verify(key, data),
        };
        verdict.map_err(|_| {
            Error::failure(format!("the signature by {} is not over this file", self.fingerprint))
        })
    }
}

/// The text of a message with its signature around it (RFC 9580, 7), such as Debian's `InRelease`, which one
/// of the certificates made. Its lines end with CR and LF.
pub(crate) fn signed_text(bytes: &[u8], certificates: &[Certificate]) -> Result<String> {
    use pgp::composed::CleartextSignedMessage;

    let (message, _) = CleartextSignedMessage::from_armor(bytes).map_err(|error| {
        Error::failure(error.to_string()).context("this is not a text with an OpenPGP signature")
    })?;
    let signatures = message.signatures();
    let signatures = &signatures[..signatures.len().min(MANY)];
    let verifier = Verifier::choose(signatures, SignatureType::Text, certificates, now())?;
    let text = message.signed_text();
    verifier.verify(text.as_bytes())?;
    Ok(text)
}

fn read_signatures(bytes: &[u8]) -> Result<Vec<Signature>> {
    let parsed = DetachedSignature::from_reader_many(bytes).map(|(signatures, _)| {
        signatures.take(MANY).filter_map(|it| it.ok().map(|it| it.signature)).collect::<Vec<_>>()
    });
    match parsed {
        Ok(signatures) if !signatures.is_empty() => Ok(signatures),
        _ => Err(Error::failure("this is not an OpenPGP signature")),
    }
}

/// The key that made a signature, when all but the data is as it must be.
fn fit(
    signature: &Signature,
    kind: SignatureType,
    certificates: &[Certificate],
    now: u64,
) -> Result<Option<(Signer, String)>> {
    for certificate in certificates {
        if let Some(signer) = certificate.signer(signature, now)? {
            let born = match &signer {
                Signer::Primary(key) => key.created_at(),
                Signer::Subkey(key) => key.created_at(),
            };
            check_signature(signature, kind, born.as_secs().into(), now)?;
            return Ok(Some((signer, certificate.fingerprint())));
        }
    }
    Ok(None)
}

fn check_signature(
    signature: &Signature,
    kind: SignatureType,
    key_created: u64,
    now: u64,
) -> Result<()> {
    let wrong = |what: &str| Err(Error::failure(format!("the signature {what}")));
    if !matches!(signature.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return wrong("is of a version that is obsolete");
    }
    if signature.typ() != Some(kind) {
        return wrong(if kind == SignatureType::Text {
            "is not over a text"
        } else {
            "is not over a file's bytes"
        });
    }
    if !signature.hash_alg().is_some_and(is_strong) {
        return wrong("uses a hash that is broken");
    }
    if !is_readable(signature) {
        return wrong("has conditions that nodeforge does not know");
    }
    let Some(created) = signature.created().map(|it| u64::from(it.as_secs())) else {
        return wrong("does not say when it was made");
    };
    if created < key_created || created > now + CLOCK_SKEW {
        return wrong("was made before its key, or in the future");
    }
    let expires = signature.signature_expiration_time().map_or(0, |it| u64::from(it.as_secs()));
    if expires != 0 && created + expires <= now {
        return wrong(&format!("expired {} days ago", (now - created - expires) / DAY));
    }
    Ok(())
}

/// Whether a signature names this key as its issuer.
fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

fn issuers(signature: &Signature) -> Vec<String> {
    let fingerprints: Vec<&Fingerprint> = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature
            .issuer_key_id()
            .iter()
            .map(|id| hex(id.as_ref()).to_uppercase())
            .collect();
    }
    fingerprints.iter().map(|it| format!("{it:X}")).collect()
}

/// Whether nothing in it that must be understood is unknown to us (RFC 9580, section 5.2.3.7).
fn is_readable(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().filter(|it| it.is_critical).all(|subpacket| {
            !matches!(
                subpacket.data,
                SubpacketData::Notation(_)
                    | SubpacketData::Experimental(..)
                    | SubpacketData::Other(..)
            )
        })
    })
}

/// Whether a key's self-signature lets it sign; one that says nothing of uses allows all.
fn may_sign(signature: &Signature) -> bool {
    let says = signature.config().is_some_and(|config| {
        config.hashed_subpackets().any(|it| matches!(it.data, SubpacketData::KeyFlags(_)))
    });
    !says || signature.key_flags().sign()
}

/// For signatures over data; SHA-1 in a key's own signatures does no harm where the key is pinned.
fn is_strong(hash: HashAlgorithm) -> bool {
    !matches!(hash, HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160)
}

fn check_strength(parameters: &PublicParams, name: &str) -> Result<()> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these have sizes that were once too small"
    )]
    let weak = match parameters {
        // Modulus and exponent as they are written, of which the modulus is nearly all.
        PublicParams::RSA(rsa) => rsa.write_len() < SMALLEST_RSA,
        PublicParams::DSA(_) => true,
        _ => false,
    };
    if weak {
        return Err(Error::failure(format!("the key {name} is too weak")));
    }
    Ok(())
}

/// When a key expires that was made at `created`, both in seconds since 1970; `None` for never.
fn expiry(created: u32, signature: &Signature) -> Option<u64> {
    let lifetime = signature.key_expiration_time()?.as_secs();
    (lifetime != 0).then(|| u64::from(created) + u64::from(lifetime))
}

fn check_age(name: &str, created: u32, signature: &Signature, now: u64) -> Result<()> {
    if let Some(expires) = expiry(created, signature).filter(|it| *it <= now) {
        return Err(Error::failure(format!(
            "the key {name} expired {} days ago",
            (now - expires) / DAY
        ))
        .hint(
            "if you trust the file nevertheless, pin its hash: `url = \"…\"` and `sha256 = \"…\"` under [base]",
        ));
    }
    Ok(())
}

fn revoked(name: &str, revocation: &Signature) -> Error {
    let reason = revocation
        .revocation_reason_string()
        .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned())
        .filter(|reason| !reason.is_empty() && reason.chars().all(|c| !c.is_control()));
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    Error::failure(format!("the key {name} was revoked{reason}"))
        .hint("see what the publisher says of it before trusting anything signed with it")
}

fn newest_first(mut signatures: Vec<&Signature>) -> Vec<&Signature> {
    signatures.sort_by_key(|signature| std::cmp::Reverse(signature.created()));
    signatures
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
