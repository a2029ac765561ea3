//! Who a node is among those of other sites, and how they prove it: TLS 1.3 with certificates of one authority.

use super::stream::STALL;
use crate::{Error, Result};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    fmt::Display,
    fs::File,
    io::{self, Read},
    net::TcpStream,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// What follows a site's name in its certificate.
const SITE: &str = ".site.cloudskin.internal";
/// What both sides agree to speak.
const PROTOCOL: &[u8] = b"cloudskin-geds/1";
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Longest identity's file.
const FILE_MAX_BYTES: u64 = 256 << 10;

/// The file that `cloudskin join` writes: a site's key and certificate, and the authority that it trusts. It is read for
/// each connection, so that a certificate that was renewed is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity(pub(super) PathBuf);

/// What such a file holds.
#[derive(Deserialize)]
struct Document {
    site: String,
    key: String,
    certificate: String,
    authority: String,
}

struct Loaded {
    site: String,
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    roots: Arc<RootCertStore>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn failed(error: impl Display) -> Error {
    Error::Unavailable(format!("no TLS with another site's node: {error}"))
}

impl Identity {
    /// The name of the site whose it is.
    ///
    /// # Errors
    /// [`Error::Denied`] when others may read the file, [`Error::Corrupt`], [`Error::Io`].
    pub(super) fn site(&self) -> Result<String> {
        Ok(self.load()?.site)
    }

    fn load(&self) -> Result<Loaded> {
        let text = read_private(&self.0)?;
        let damaged = |why: String| Error::Corrupt {
            what: format!("the identity `{}`", self.0.display()),
            why,
        };
        let document: Document =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let certificate = |text: &str| {
            CertificateDer::from_pem_slice(text.as_bytes())
                .map_err(|error| damaged(error.to_string()))
        };
        let key = PrivateKeyDer::from_pem_slice(document.key.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let authority = certificate(&document.authority)?;
        roots.add(authority).map_err(|error| damaged(error.to_string()))?;
        let certificate = certificate(&document.certificate)?;
        Ok(Loaded { site: document.site, key, certificate, roots: Arc::new(roots) })
    }

    /// Shows this site's certificate to the site that is called so, and sees that it is, and that this key is its own.
    pub(super) fn connect(
        &self,
        stream: &mut TcpStream,
        site: &str,
        key_of_site: Option<&str>,
    ) -> Result<Connection> {
        let Loaded { key, certificate, roots, .. } = self.load()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .map_err(failed)?;
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let name = ServerName::try_from(format!("{site}{SITE}")).map_err(failed)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        let connection = shake_hands(Connection::Client(connection), stream).map_err(failed)?;
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        if key_of_site.is_some_and(|key| shown.and_then(key_digest).as_deref() != Some(key)) {
            return Err(failed(format!("the key that was shown is not site `{site}`'s any more")));
        }
        Ok(connection)
    }

    /// The same from the other side; gives the name of the site that comes, and its key's digest.
    pub(super) fn accept(&self, stream: &mut TcpStream) -> Result<(Connection, Shown)> {
        let Loaded { key, certificate, roots, .. } = self.load()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(verifier.build().map_err(failed)?)
            .with_single_cert(vec![certificate], key)
            .map_err(failed)?;
        // A session that is resumed would carry on a certificate that has expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let connection = ServerConnection::new(Arc::new(config)).map_err(failed)?;
        let connection = shake_hands(Connection::Server(connection), stream).map_err(failed)?;
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let shown =
            shown.and_then(|shown| Some(Shown { site: site_of(shown)?, key: key_digest(shown)? }));
        let shown = shown.ok_or_else(|| failed("the certificate that was shown is no site's"))?;
        Ok((connection, shown))
    }
}

/// What a site has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) site: String,
    pub(super) key: String,
}

/// SHA-256 of the public key, in hexadecimal: the name that the control plane gives to a key.
fn key_digest(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let digest = Sha256::digest(parsed.subject_public_key_info().as_ref());
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The one site that a certificate names; its signature has been checked by the handshake.
fn site_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_dns_names();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    let site = name.strip_suffix(SITE)?;
    types::check_name(site).ok()?;
    Some(site.to_owned())
}

/// Finishes a handshake, which has an end whatever the other side does.
fn shake_hands(mut connection: Connection, stream: &mut TcpStream) -> io::Result<Connection> {
    let end = Instant::now() + HANDSHAKE;
    while connection.is_handshaking() || connection.wants_write() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        stream.set_write_timeout(Some(left))?;
        if connection.wants_write() {
            connection.write_tls(stream)?;
        } else if connection.read_tls(stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else if let Err(error) = connection.process_new_packets() {
            // The other side is told why.
            let _ = connection.write_tls(stream);
            return Err(io::Error::other(error));
        }
    }
    stream.set_read_timeout(Some(STALL))?;
    Ok(connection)
}

/// A file that its owner alone may read.
fn read_private(path: &Path) -> Result<String> {
    let open = || Error::io(format!("read the identity `{}`", path.display()));
    let file = File::open(path).map_err(open())?;
    let mode = file.metadata().map_err(open())?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Denied(format!(
            "`{}` has mode {mode:o} and holds a private key: run `chmod 600` on it",
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(open())?;
    Ok(text)
}
