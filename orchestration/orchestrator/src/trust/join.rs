//! How a machine that knows nothing becomes a site: with a token that is used once.
//!
//! The token carries the authority's fingerprint. The machine's first connection must show that
//! authority before the token's secret is sent, so that nobody in between learns it.

use super::{
    Authority, Error, Fingerprint, Identity, Registry, Result, SigningRequest,
    files::{self, failed},
    identity::Grant,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use types::Token;

/// What a token begins with.
const PREFIX: &str = "cskjoin1";

/// Characters of a secret: 256 bits in hexadecimal.
const SECRET_CHARACTERS: usize = 64;

/// Most tokens that wait to be used.
const WAITING_MAX: usize = 1000;

/// Lets one machine join as one site, once. `Debug` never prints the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    secret: Token,
    /// Whom the first connection must show.
    pub fingerprint: Fingerprint,
}

/// A join token that was made, as the control plane tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinTicket {
    /// For which site.
    pub site: String,
    /// The token.
    pub token: String,
    /// Milliseconds since the Unix epoch at which it expires.
    pub expires: u64,
    /// Where to join.
    pub url: String,
}

/// What a joining machine sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Joining {
    /// The token's secret.
    pub(crate) secret: String,
    /// Asks for the certificate.
    pub(crate) request: SigningRequest,
}

/// The tokens that nobody has used yet: a file for each, named by the hash of its secret.
#[derive(Debug)]
pub struct JoinTokens {
    folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    site: String,
    expires: u64,
}

impl JoinTokens {
    /// The tokens of the control plane with this folder.
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub fn open(control: &Path) -> Result<Self> {
        let folder = control.join("join-tokens");
        files::folder(&folder)?;
        Ok(Self { folder })
    }

    /// Makes a token for one site, which holds from `now` (milliseconds) for so long.
    ///
    /// # Errors
    /// If too many wait already, or the file cannot be written.
    pub fn create(
        &self,
        site: &str,
        authority: &Authority,
        now: u64,
        ttl: Duration,
    ) -> Result<(JoinToken, u64)> {
        let waiting = self.forget_expired(now)?;
        if waiting >= WAITING_MAX {
            return Err(Error::TooManyTokens(waiting));
        }
        let secret = Token::random();
        let expires = now.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let text = serde_json::to_string(&Waiting { site: site.to_owned(), expires })
            .expect("a token is plain data");
        files::replace(&self.file(secret.reveal()), &text)?;
        Ok((JoinToken { secret, fingerprint: authority.fingerprint() }, expires))
    }

    /// Uses a token up, and gives the site its certificate.
    ///
    /// # Errors
    /// If the token is unknown, expired or of another site, or the request is malformed; a
    /// request that is refused for what it says does not use the token up.
    pub(crate) fn redeem(
        &self,
        joining: &Joining,
        now: u64,
        authority: &Authority,
        registry: &Registry,
    ) -> Result<Grant> {
        let site = &joining.request.site;
        joining.request.proven()?;
        let path = self.file(&joining.secret);
        let unknown = || Error::TokenUnknown(site.clone());
        let text = files::read(&path)?.ok_or_else(unknown)?;
        let waiting: Waiting = serde_json::from_str(&text)
            .map_err(|error| Error::Damaged { path: path.clone(), reason: error.to_string() })?;
        if waiting.site != *site {
            return Err(Error::TokenOfAnother { token: waiting.site, asked: site.clone() });
        }
        // Of two that come at once only one removes the file.
        match files::remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            removed => removed.map_err(failed(&path))?,
        }
        if now >= waiting.expires {
            return Err(Error::TokenExpired(site.clone()));
        }
        let issued = registry.enrol(authority, &joining.request, false, Authority::VALIDITY)?;
        Ok(Grant::new(authority, &issued))
    }

    /// How many are left once those that are too old are gone.
    fn forget_expired(&self, now: u64) -> Result<usize> {
        let mut left = 0;
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let path = entry.map_err(failed(&self.folder))?.path();
            let waiting: Option<Waiting> =
                files::read(&path)?.and_then(|text| serde_json::from_str(&text).ok());
            if waiting.is_some_and(|waiting| now < waiting.expires) {
                left += 1;
            } else {
                // Somebody may have used it at this moment.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(left)
    }

    fn file(&self, secret: &str) -> PathBuf {
        let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(secret.as_bytes()));
        self.folder.join(format!("{hash}.json"))
    }
}

impl JoinToken {
    /// Makes a key and asks the control plane at `url` for the identity of `site`, which is kept
    /// in the file.
    ///
    /// # Errors
    /// If the control plane is not the one that made the token, refuses, or cannot be reached, or
    /// if the file cannot be written.
    pub async fn join(
        &self,
        url: &str,
        site: &str,
        path: &Path,
    ) -> Result<Identity, crate::client::Error> {
        Identity::obtain(site, path, async |request| {
            let client = crate::client::Client::joining(url, self.fingerprint)?;
            let joining = Joining { secret: self.secret.reveal().to_owned(), request };
            let grant: Grant = client.join(&joining).await?;
            if Fingerprint::of(&super::authority::certificate_in(&grant.authority)?)
                != self.fingerprint
            {
                let reason = "it answers with another authority than it showed";
                return Err(Error::Certificate(reason.into()).into());
            }
            Ok(grant)
        })
        .await
    }

    /// The token as it is handed over.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}", self.secret.reveal(), self.fingerprint)
    }
}

impl FromStr for JoinToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.trim().split('.');
        let (Some(PREFIX), Some(secret), Some(fingerprint), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::NoToken);
        };
        let hexadecimal = secret.bytes().all(|byte| byte.is_ascii_hexdigit());
        if secret.len() != SECRET_CHARACTERS || !hexadecimal {
            return Err(Error::NoToken);
        }
        Ok(Self { secret: Token::from_text(secret), fingerprint: fingerprint.parse()? })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken(… of {})", self.fingerprint)
    }
}
