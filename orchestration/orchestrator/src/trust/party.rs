//! Whom a certificate names.

use super::{Error, Result};
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use std::fmt;

/// The control plane's name in its certificate.
const CONTROL: &str = "control.cloudskin.internal";

/// What follows a site's name in its certificate. No name has a dot, so that none is another's.
const SITE: &str = ".site.cloudskin.internal";

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The control plane.
    Control,
    /// The site of this name.
    Site(String),
}

impl Party {
    /// The name in the certificate.
    pub(super) fn dns_name(&self) -> String {
        match self {
            Self::Control => CONTROL.to_owned(),
            Self::Site(name) => format!("{name}{SITE}"),
        }
    }

    /// The same, as what a handshake must meet.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>> {
        ServerName::try_from(self.dns_name())
            .map_err(|error| Error::Certificate(format!("{self} has no name for TLS: {error}")))
    }

    /// The one party that a certificate names; its signature has been checked by the handshake.
    pub(super) fn named_by(certificate: &CertificateDer<'_>) -> Result<Self> {
        let wrong = |reason: String| Error::Certificate(reason);
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| wrong(error.to_string()))?;
        let mut names = parsed.valid_dns_names();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(wrong("it names nobody, or more than one".into()));
        };
        if name == CONTROL {
            return Ok(Self::Control);
        }
        match name.strip_suffix(SITE) {
            Some(site) if types::check_name(site).is_ok() => Ok(Self::Site(site.to_owned())),
            _ => Err(wrong(format!("`{name}` is neither a site nor the control plane"))),
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("the control plane"),
            Self::Site(name) => write!(f, "site `{name}`"),
        }
    }
}

/// Names the key of a certificate, whatever else the certificate says.
pub(super) fn key_digest(certificate: &CertificateDer<'_>) -> Result<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|error| Error::Certificate(error.to_string()))?;
    let key = parsed.subject_public_key_info();
    Ok(data_encoding::HEXLOWER.encode(&Sha256::digest(key.as_ref())))
}
