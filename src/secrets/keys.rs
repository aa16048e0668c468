//! ECDSA P-256 keys and certificate authorities, as Kubernetes takes them: PKCS#8 and X.509 in PEM.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair as Key,
    KeyUsagePurpose, PublicKeyData as _,
};
use time::{Duration, OffsetDateTime, Time};
use x509_cert::Certificate;
use x509_cert::der::DecodePem as _;
use zeroize::Zeroizing;

use super::made::MadeSecret;
use crate::util::error::{Error, Result};
use crate::util::sha256::Sha256;

/// How long a certificate authority lasts: ten years and their leap days.
const LIFETIME: Duration = Duration::days(3652);

/// A certificate authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Ca {
    /// Its certificate in PEM; public.
    pub cert: String,
    /// Its key: PKCS#8 in PEM.
    pub key: Zeroizing<String>,
    /// SHA-256 of the DER `SubjectPublicKeyInfo`: what kubeadm pins.
    pub hash: Sha256,
    /// SHA-256 of the bytes of `cert`: what k3s pins.
    pub file_hash: Sha256,
}

/// A private key and its public half.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// PKCS#8 in PEM, or OpenSSH's own format.
    pub private: Zeroizing<String>,
    /// `SubjectPublicKeyInfo` in PEM, or `ssh-ed25519 AAAA…`.
    pub public: String,
}

impl Ca {
    /// From its key and its certificate in PEM.
    pub(crate) fn new(key: Zeroizing<String>, cert: String) -> Result<Self> {
        let pair = Key::from_pem(&key)
            .map_err(|error| Error::input(format!("its value is not a private key: {error}")))?;
        let hash = Sha256::of(pair.subject_public_key_info());
        let file_hash = Sha256::of(&cert);
        Ok(Self { cert, key, hash, file_hash })
    }

    /// The last day on which it is good, since 1970-01-01.
    pub(crate) fn expires(&self) -> Result<u64> {
        let certificate = Certificate::from_pem(&self.cert)
            .map_err(|error| Error::input(format!("it is not a certificate: {error}")))?;
        let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
        Ok(end.as_secs() / 86_400)
    }
}

/// A certificate authority that signs itself, and nothing but what nodes and people use: no
/// further authority (`pathlen:0`).
pub(crate) fn make_ca(common_name: &str) -> Result<MadeSecret> {
    let key = Key::generate().map_err(|error| failed(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    let today = OffsetDateTime::now_utc().replace_time(Time::MIDNIGHT);
    // A Raspberry Pi that has no battery for its clock may think it is still yesterday.
    params.not_before = today - Duration::DAY;
    params.not_after = today + LIFETIME;
    let cert = params.self_signed(&key).map_err(|error| failed(&error))?;
    Ok(MadeSecret { value: key.serialize_pem().into(), public: Some(cert.pem()) })
}

pub(crate) fn make_key_pair() -> Result<MadeSecret> {
    let key = Key::generate().map_err(|error| failed(&error))?;
    Ok(MadeSecret { value: key.serialize_pem().into(), public: Some(key.public_key_pem()) })
}

fn failed(error: &rcgen::Error) -> Error {
    Error::failure(format!("cannot make a key: {error}"))
}
