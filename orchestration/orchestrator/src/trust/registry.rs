//! Which key each site's name belongs to. A certificate of another key is void, however long it
//! would still hold: so is the one of a site that joined again or was deleted.

use super::{
    Authority, Party, Result, SigningRequest,
    authority::Issued,
    files::{self, failed},
    party::key_digest,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What follows a site's name in its file's.
const SUFFIX: &str = ".json";

/// The digest of the key that each site's name belongs to.
pub(crate) type Keys = BTreeMap<String, String>;

/// Which key each site's name belongs to: one file for each site.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// SHA-256 of the public key.
    key: String,
    /// The site is of the control plane's own machine, and may also come by loopback.
    local: bool,
}

impl Registry {
    /// The registry of the control plane with this folder.
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub fn open(control: &Path) -> Result<Self> {
        let folder = control.join("identities");
        files::folder(&folder)?;
        Ok(Self { folder })
    }

    /// Gives the site's name to the key that asks, with a certificate of this validity.
    ///
    /// # Errors
    /// If the request is malformed or the file cannot be written.
    pub(super) fn enrol(
        &self,
        authority: &Authority,
        request: &SigningRequest,
        local: bool,
        validity: Duration,
    ) -> Result<Issued> {
        let key = request.proven()?;
        let party = Party::Site(request.site.clone());
        let issued = authority.issue(&party, &key, &[], validity)?;
        let entry = Entry { key: key_digest(&issued.certificate)?, local };
        let text = serde_json::to_string(&entry).expect("an entry is plain data");
        files::replace(&self.file(&request.site), &text)?;
        Ok(issued)
    }

    /// A further certificate for the key that the site has already.
    ///
    /// # Errors
    /// If the request is malformed, or the key is not the site's.
    pub(crate) fn renew(&self, authority: &Authority, request: &SigningRequest) -> Result<Issued> {
        let key = request.proven()?;
        let party = Party::Site(request.site.clone());
        let issued = authority.issue(&party, &key, &[], Authority::VALIDITY)?;
        match self.admits(&request.site, &issued.certificate) {
            true => Ok(issued),
            false => Err(super::Error::Request("its key is not the site's")),
        }
    }

    /// Whether the site's name belongs to the certificate's key.
    pub(crate) fn admits(&self, site: &str, certificate: &CertificateDer<'_>) -> bool {
        let (Some(entry), Ok(key)) = (self.entry(site), key_digest(certificate)) else {
            return false;
        };
        entry.key == key
    }

    /// Whether the site joined from elsewhere, so that only its certificate speaks for it.
    pub(crate) fn is_joined(&self, site: &str) -> bool {
        // What cannot be read speaks against whoever comes without a certificate.
        self.file(site).exists() && self.entry(site).is_none_or(|entry| !entry.local)
    }

    /// All of them. A file that cannot be read lets nobody in.
    pub(crate) fn keys(&self) -> Keys {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let sites = names.filter_map(|entry| {
            let site = entry.file_name().to_str()?.strip_suffix(SUFFIX)?.to_owned();
            let key = self.entry(&site)?.key;
            Some((site, key))
        });
        sites.collect()
    }

    /// Takes the site's name from its key.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub(crate) fn forget(&self, site: &str) -> Result<()> {
        let path = self.file(site);
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path)(error)),
            _ => Ok(()),
        }
    }

    fn entry(&self, site: &str) -> Option<Entry> {
        types::check_name(site).ok()?;
        let text = files::read(&self.file(site)).ok()??;
        serde_json::from_str(&text).ok()
    }

    fn file(&self, site: &str) -> PathBuf {
        self.folder.join(format!("{site}{SUFFIX}"))
    }
}
