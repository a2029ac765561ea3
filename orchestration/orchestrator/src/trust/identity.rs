//! A site's key and certificate, as its agent uses them.

use super::{
    Authority, Error, Party, Registry, Result, SigningRequest,
    authority::{Issued, certificate_in, pem_of},
    files, tls,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

/// A site's key and certificate, and whom it trusts. The certificate is replaced when it is
/// renewed; connections that are open stay.
pub struct Identity {
    site: String,
    path: PathBuf,
    key: KeyPair,
    authority: CertificateDer<'static>,
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    certified: Arc<CertifiedKey>,
    certificate: CertificateDer<'static>,
    expires: u64,
}

/// An identity's file.
#[derive(Serialize, Deserialize)]
struct Document {
    site: String,
    key: String,
    certificate: String,
    authority: String,
    expires: u64,
}

/// What the control plane answers to who asks for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    /// The certificate.
    pub(crate) certificate: String,
    /// The authority that made it.
    pub(crate) authority: String,
    /// Milliseconds since the Unix epoch at which it expires.
    pub(crate) expires: u64,
}

impl Grant {
    pub(crate) fn new(authority: &Authority, issued: &Issued) -> Self {
        Self {
            certificate: pem_of(&issued.certificate),
            authority: authority.pem(),
            expires: issued.expires,
        }
    }
}

impl Identity {
    /// The identity that a file holds.
    ///
    /// # Errors
    /// If the file is absent, damaged, or may be read by others.
    pub fn load(path: &Path) -> Result<Self> {
        let absent = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let text = files::read(path)?.ok_or_else(|| files::failed(path)(absent()))?;
        let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        let document: Document =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let key = KeyPair::from_pem(&document.key).map_err(|error| damaged(error.to_string()))?;
        let grant = Grant {
            certificate: document.certificate,
            authority: document.authority,
            expires: document.expires,
        };
        Self::new(&document.site, path, key, &grant).map_err(|error| damaged(error.to_string()))
    }

    fn new(site: &str, path: &Path, key: KeyPair, grant: &Grant) -> Result<Self> {
        let authority = certificate_in(&grant.authority)?;
        let current = RwLock::new(current(site, &key, grant)?);
        Ok(Self { site: site.to_owned(), path: path.to_owned(), key, authority, current })
    }

    /// Makes a key, lets `ask` get a certificate for it, and keeps both in the file.
    ///
    /// # Errors
    /// If `ask` fails, what it got is not for this key, or the file cannot be written.
    pub(super) async fn obtain<E: From<Error>>(
        site: &str,
        path: &Path,
        ask: impl AsyncFnOnce(SigningRequest) -> Result<Grant, E>,
    ) -> Result<Self, E> {
        let key = new_key()?;
        let grant = ask(SigningRequest::new(site, &key)?).await?;
        let identity = Self::new(site, path, key, &grant)?;
        identity.save()?;
        Ok(identity)
    }

    /// An identity for a site on the control plane's own machine, in this file: with the key that
    /// is there already if it is the site's.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn local(authority: &Authority, control: &Path, site: &str, path: &Path) -> Result<Self> {
        let registry = Registry::open(control)?;
        if let Ok(own) = Self::load(path)
            && own.site == site
            && own.authority == *authority.certificate()
            && registry.admits(site, &own.current().certificate)
        {
            // The key stays: an agent that runs already has it too.
            if own.wants_renewal() {
                let issued = registry.renew(authority, &own.request()?)?;
                own.take(&Grant::new(authority, &issued))?;
            }
            return Ok(own);
        }
        Self::made(authority, &registry, site, path, true, Authority::VALIDITY)
    }

    /// An identity of this validity, for sites that joined: for tests of what has expired.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn with_validity(
        authority: &Authority,
        control: &Path,
        site: &str,
        path: &Path,
        validity: Duration,
    ) -> Result<Self> {
        Self::made(authority, &Registry::open(control)?, site, path, false, validity)
    }

    fn made(
        authority: &Authority,
        registry: &Registry,
        site: &str,
        path: &Path,
        local: bool,
        validity: Duration,
    ) -> Result<Self> {
        let key = new_key()?;
        let request = SigningRequest::new(site, &key)?;
        let issued = registry.enrol(authority, &request, local, validity)?;
        let identity = Self::new(site, path, key, &Grant::new(authority, &issued))?;
        identity.save()?;
        Ok(identity)
    }

    /// The file in which it is kept.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Milliseconds since the Unix epoch at which its certificate expires.
    pub fn expires(&self) -> u64 {
        self.current().expires
    }

    /// Whether less than a third of the certificate's time is left.
    pub(crate) fn wants_renewal(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let margin = Authority::VALIDITY / 3;
        u128::from(self.expires()) < (now + margin).as_millis()
    }

    /// Asks for a further certificate.
    pub(crate) fn request(&self) -> Result<SigningRequest> {
        SigningRequest::new(&self.site, &self.key)
    }

    /// Uses this certificate from here on, and after a restart.
    pub(crate) fn take(&self, grant: &Grant) -> Result<()> {
        if certificate_in(&grant.authority)? != self.authority {
            return Err(Error::Certificate("it is of another authority".into()));
        }
        let renewed = current(&self.site, &self.key, grant)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        self.save()
    }

    fn save(&self) -> Result<()> {
        let current = self.current();
        let document = Document {
            site: self.site.clone(),
            key: self.key.serialize_pem(),
            certificate: pem_of(&current.certificate),
            authority: pem_of(&self.authority),
            expires: current.expires,
        };
        if let Some(folder) = self.path.parent() {
            files::folder(folder)?;
        }
        let text = serde_json::to_string_pretty(&document).expect("a document is plain data");
        files::replace(&self.path, &text)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.site)
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified)
    }
}

pub(super) fn new_key() -> Result<KeyPair> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A certificate with its key, as TLS takes them; `chain` begins with the certificate.
pub(super) fn certified(
    key: &KeyPair,
    chain: Vec<CertificateDer<'static>>,
) -> Result<Arc<CertifiedKey>> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::from_der(chain, der, &tls::provider())
        .map(Arc::new)
        .map_err(|error| Error::Certificate(error.to_string()))
}

/// Checks that the certificate is the site's and of this key.
fn current(site: &str, key: &KeyPair, grant: &Grant) -> Result<Current> {
    let certificate = certificate_in(&grant.certificate)?;
    let named = Party::named_by(&certificate)?;
    if named != Party::Site(site.to_owned()) {
        return Err(Error::Certificate(format!("it is of {named}, not of site `{site}`")));
    }
    let certified = certified(key, vec![certificate.clone()])?;
    certified.keys_match().map_err(|error| Error::Certificate(error.to_string()))?;
    Ok(Current { certified, certificate, expires: grant.expires })
}
