//! The certificate authority of one control plane.

use super::{
    Error, Party, Result,
    files::{self, failed},
    request::PublicKey,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, SystemTime},
};
use time::OffsetDateTime;

/// How long the authority itself is valid. Whoever outlives it makes a new data folder.
const OWN_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Clocks of machines differ: certificates are valid from so long ago.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The authority's key and certificate, in one file so that they always match.
const FILE: &str = "authority.pem";

/// The certificate alone, for whoever shall trust it.
const PUBLIC_FILE: &str = "ca.pem";

/// The certificate authority of one control plane: it says who is who among its sites.
pub struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    public_file: PathBuf,
}

/// Names an authority: SHA-256 of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A certificate that was made, and how long it holds.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub(super) certificate: CertificateDer<'static>,
    /// Milliseconds since the Unix epoch at which it expires.
    pub(super) expires: u64,
}

impl Authority {
    /// How long sites' and the control plane's certificates hold. They are renewed when a third
    /// of this is left.
    pub const VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

    /// The authority in this folder; made at the first call.
    ///
    /// # Errors
    /// If its file cannot be used, is damaged, or may be read by others.
    pub fn open(folder: &Path) -> Result<Self> {
        files::folder(folder)?;
        let path = folder.join(FILE);
        if files::read(&path)?.is_none() {
            // If another process was faster, its file stands.
            files::create(&path, &make()?)?;
        }
        let text = files::read(&path)?.unwrap_or_default();
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| damaged(error.to_string()))?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        let authority = Self { key, certificate, public_file: folder.join(PUBLIC_FILE) };
        files::publish(&authority.public_file, &authority.pem())?;
        Ok(authority)
    }

    /// The file that holds its certificate, which is no secret.
    pub fn public_file(&self) -> &Path {
        &self.public_file
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        pem_of(&self.certificate)
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What names it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Certifies that the key is this party's, from now on for so long. Browsers and curl also
    /// look for the addresses.
    pub(super) fn issue(
        &self,
        party: &Party,
        key: &PublicKey,
        addresses: &[IpAddr],
        validity: Duration,
    ) -> Result<Issued> {
        let now = SystemTime::now();
        let expires = now + validity;
        let mut params = CertificateParams::new(vec![party.dns_name()])?;
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, party.dns_name());
        params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
        params.not_after = OffsetDateTime::from(expires);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if matches!(party, Party::Site(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let issuer = Issuer::new(own_params(now), &self.key);
        let certificate = params.signed_by(key, &issuer)?;
        let since_epoch = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Issued {
            certificate: certificate.der().clone(),
            expires: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

impl Fingerprint {
    /// The fingerprint of this certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| Error::NoToken)?;
        bytes.try_into().map(Self).map_err(|_| Error::NoToken)
    }
}

/// A new authority: its key and its certificate.
fn make() -> Result<String> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = own_params(SystemTime::now()).self_signed(&key)?;
    Ok(format!("{}{}", key.serialize_pem(), pem_of(certificate.der())))
}

/// What its certificate says; the same at each start but for the times.
fn own_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "CloudSkin control plane");
    params.not_before = OffsetDateTime::from(now - CLOCK_SKEW);
    params.not_after = OffsetDateTime::from(now + OWN_VALIDITY);
    // It signs for parties alone, never for another authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A certificate as text.
pub(super) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    let encoded = data_encoding::BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// The certificate in this text.
pub(super) fn certificate_in(text: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| Error::Certificate(error.to_string()))
}

/// The certificate in this file.
pub(super) fn certificate_of(path: &Path) -> Result<CertificateDer<'static>> {
    let text = std::fs::read_to_string(path).map_err(failed(path))?;
    certificate_in(&text)
        .map_err(|error| Error::Damaged { path: path.to_owned(), reason: error.to_string() })
}
