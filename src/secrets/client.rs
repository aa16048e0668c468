//! Certificates with which people show an API who they are.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, Issuer,
    KeyPair as Key, KeyUsagePurpose,
};
use time::{Duration, Time, UtcDateTime};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem as _, Tag, Tagged as _};
use zeroize::Zeroizing;

use super::made::MadeSecret;
use crate::config::ClientRecipe;
use crate::util::calendar;
use crate::util::error::{Error, Result};

/// A client's certificate and key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate in PEM; public.
    pub cert: String,
    /// Its key: PKCS#8 in PEM.
    pub key: Zeroizing<String>,
}

impl ClientCertificate {
    /// The last day on which it is good, since 1970-01-01.
    pub(crate) fn expires(&self) -> Result<u64> {
        let end = read(&self.cert)?.tbs_certificate.validity.not_after.to_unix_duration();
        Ok(end.as_secs() / 86_400)
    }
}

/// A new key, and a certificate for it that an authority signs.
pub(crate) fn make_client(recipe: &ClientRecipe, authority: &MadeSecret) -> Result<MadeSecret> {
    let failed = |error: &rcgen::Error| {
        Error::failure(format!("cannot make a client's certificate: {error}"))
    };
    let signer = Key::from_pem(&authority.value).map_err(|error| failed(&error))?;
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = subject(authority.public.as_deref().unwrap_or_default())?;
    let issuer = Issuer::new(issuer, signer);

    let key = Key::generate().map_err(|error| failed(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, recipe.organization.as_str());
    params.distinguished_name.push(DnType::CommonName, recipe.common_name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let days = i64::try_from(calendar::today_since_1970()).unwrap_or_default();
    let today = UtcDateTime::UNIX_EPOCH.replace_time(Time::MIDNIGHT) + Duration::days(days);
    // As with authorities: for clocks that are late.
    params.not_before = (today - Duration::DAY).into();
    params.not_after = (today + Duration::days(recipe.days.into())).into();
    let cert = params.signed_by(&key, &issuer).map_err(|error| failed(&error))?;
    Ok(MadeSecret { value: key.serialize_pem().into(), public: Some(cert.pem()) })
}

fn read(pem: &str) -> Result<Certificate> {
    Certificate::from_pem(pem)
        .map_err(|error| Error::input(format!("it is not a certificate: {error}")))
}

/// The name of an authority, for a certificate that says who signed it.
fn subject(pem: &str) -> Result<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for part in read(pem)?.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter()) {
        let arcs: Vec<u64> = part.oid.arcs().map(u64::from).collect();
        let text = String::from_utf8_lossy(part.value.value()).into_owned();
        // All others that authorities use hold UTF-8.
        let printable = part.value.tag() == Tag::PrintableString;
        let value = text.as_str().try_into().ok().filter(|_| printable);
        let value = value.map(DnValue::PrintableString);
        name.push(DnType::from_oid(&arcs), value.unwrap_or(DnValue::Utf8String(text)));
    }
    Ok(name)
}
