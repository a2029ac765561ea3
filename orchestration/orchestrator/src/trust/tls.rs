//! TLS with certificates of one authority: what each side demands of the other.

use super::{
    Authority, Error, Fingerprint, Identity, Party, Result,
    authority::{Issued, certificate_of},
    identity::{certified, new_key},
    party::key_digest,
    request::PublicKey,
};
use hyper::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rcgen::KeyPair;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use std::{
    fmt, io,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower_service::Service;

/// REST, the site link, and users.
pub(crate) const HTTP: &[u8] = b"http/1.1";
/// HTTP of clients of gRPC.
pub(crate) const HTTP2: &[u8] = b"h2";
/// HTTP of the peers' listener.
pub(crate) const PEER: &[u8] = b"cloudskin-peer/1";
/// Requests of clients that are forwarded to another site's ingress.
pub(crate) const INGRESS: &[u8] = b"cloudskin-ingress/1";
/// The state of a service that moves.
pub(crate) const STATE: &[u8] = b"cloudskin-state/1";

/// How long a connection and its handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What computes: one provider, chosen here and not by whatever else is linked.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(error: impl fmt::Display) -> Error {
    Error::Certificate(error.to_string())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(wrong)?;
    Ok(Arc::new(roots))
}

/// Trust in the authority whose certificate is in this file.
pub(crate) fn roots_of(path: &Path) -> Result<Arc<RootCertStore>> {
    roots(&certificate_of(path)?)
}

/// A server's settings. `everyone` must show a certificate, or only who has one.
fn server(
    authority: &CertificateDer<'static>,
    own: Arc<dyn ResolvesServerCert>,
    everyone: bool,
    protocols: &[&[u8]],
) -> Result<TlsAcceptor> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider());
    let verifier = match everyone {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(wrong)?
        .with_client_cert_verifier(verifier.build().map_err(wrong)?)
        .with_cert_resolver(own);
    // A session that is resumed would carry on a certificate that has expired since.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The control plane's side: sites must show their certificate, users their token.
pub(crate) fn control_server(authority: Arc<Authority>, address: IpAddr) -> Result<TlsAcceptor> {
    let certificate = authority.certificate().clone();
    let own = ControlCertificate::new(authority, address)?;
    // Who speaks both gets the first one, which can be upgraded.
    server(&certificate, Arc::new(own), false, &[HTTP, HTTP2])
}

/// The control plane's certificate; another one is made when it comes to its end.
#[derive(Debug)]
struct ControlCertificate {
    authority: Arc<Authority>,
    addresses: Vec<IpAddr>,
    key: KeyPair,
    current: Mutex<(Arc<CertifiedKey>, SystemTime)>,
}

impl ControlCertificate {
    fn new(authority: Arc<Authority>, address: IpAddr) -> Result<Self> {
        let key = new_key()?;
        let addresses: Vec<_> =
            (!address.is_unspecified()).then_some(address).into_iter().collect();
        let current = Mutex::new(Self::make(&authority, &key, &addresses)?);
        Ok(Self { authority, addresses, key, current })
    }

    fn make(
        authority: &Authority,
        key: &KeyPair,
        addresses: &[IpAddr],
    ) -> Result<(Arc<CertifiedKey>, SystemTime)> {
        let public = PublicKey::of(key);
        let Issued { certificate, .. } =
            authority.issue(&Party::Control, &public, addresses, Authority::VALIDITY)?;
        // The authority's own goes along for those who know only its fingerprint.
        let chain = vec![certificate, authority.certificate().clone()];
        Ok((certified(key, chain)?, SystemTime::now() + Authority::VALIDITY * 2 / 3))
    }
}

impl ResolvesServerCert for ControlCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if SystemTime::now() >= current.1 {
            match Self::make(&self.authority, &self.key, &self.addresses) {
                Ok(renewed) => *current = renewed,
                Err(error) => tracing::error!(%error, "the certificate cannot be renewed"),
            }
        }
        Some(current.0.clone())
    }
}

/// Who is at the other end of an accepted connection, if they showed a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) party: Party,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Caller {
    /// Whether it has shown the key of this digest.
    pub(crate) fn holds(&self, key: &str) -> bool {
        key_digest(&self.certificate).is_ok_and(|shown| shown == key)
    }
}

/// Who must be at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) party: Party,
    /// The digest of their key, where it is known.
    pub(crate) key: Option<String>,
}

impl Expected {
    /// The control plane: its key is its authority's to change.
    pub(crate) const CONTROL: Self = Self { party: Party::Control, key: None };
}

/// Finishes a handshake as its server.
pub(crate) async fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<Stream> {
    let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    Ok(Stream::Secured(Box::new(accepted.into())))
}

/// Who is at the other end of an accepted connection.
pub(crate) fn caller(stream: &Stream) -> Result<Option<Caller>> {
    let Stream::Secured(stream) = stream else { return Ok(None) };
    let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() else { return Ok(None) };
    let party = Party::named_by(certificate)?;
    Ok(Some(Caller { party, certificate: certificate.clone().into_owned() }))
}

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(wrong)
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A user's side: trusts this authority, shows no certificate.
pub(crate) fn user(roots: Arc<RootCertStore>) -> Result<Arc<ClientConfig>> {
    let mut config = client_builder()?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(finished(config))
}

/// The side of a machine that joins: trusts whom the token names.
pub(crate) fn joining(fingerprint: Fingerprint) -> Result<Arc<ClientConfig>> {
    let verifier = Arc::new(Pinned { fingerprint, provider: provider() });
    let mut config = client_builder()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(finished(config))
}

impl Identity {
    /// The peers' listener: nobody comes without a certificate.
    pub(crate) fn server(self: &Arc<Self>) -> Result<TlsAcceptor> {
        server(self.authority(), self.clone(), true, &[PEER, INGRESS, STATE])
    }

    /// A site's side towards the control plane or another site.
    pub(crate) fn client(self: &Arc<Self>, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let mut config = client_builder()?
            .with_root_certificates(roots(self.authority())?)
            .with_client_cert_resolver(self.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(finished(config))
    }
}

/// Trusts the authority with this fingerprint, which the server brings along.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates.iter().find(|shown| Fingerprint::of(shown) == self.fingerprint);
        let Some(pinned) = pinned else {
            let text = "the join token was made by another control plane than the one that answers";
            return Err(rustls::Error::General(text.into()));
        };
        let failed = |error: Error| rustls::Error::General(error.to_string());
        let roots = roots(&pinned.clone().into_owned()).map_err(failed)?;
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection, with TLS or on loopback without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secured(Box<tokio_rustls::TlsStream<TcpStream>>),
}

/// Connects to `address`, where whoever is expected must be.
pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    address: impl tokio::net::ToSocketAddrs,
    expected: &Expected,
) -> io::Result<Stream> {
    let name = expected.party.server_name().map_err(io::Error::other)?;
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(config.clone()).connect(name, stream).await
    };
    let stream = timeout(HANDSHAKE_TIMEOUT, connecting).await??;
    let stream = Stream::Secured(Box::new(stream.into()));
    let Some(key) = &expected.key else { return Ok(stream) };
    match caller(&stream).map_err(io::Error::other)? {
        Some(found) if found.holds(key) => Ok(stream),
        _ => Err(io::Error::other(format!("the certificate of {} is void", expected.party))),
    }
}

impl Stream {
    /// What both sides agreed to speak.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Secured(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Secured(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Plain(stream) => stream.connected(),
            Self::Secured(_) => Connected::new(),
        }
    }
}

/// Who must be at an address; none if nobody is known there.
pub(crate) type Expects = Arc<dyn Fn(&Uri) -> Option<Expected> + Send + Sync>;

/// Connects an HTTP client: to `http://` without TLS, to `https://` with it.
#[derive(Clone)]
pub(crate) struct Connector {
    plain: HttpConnector,
    secured: Option<(Arc<ClientConfig>, Expects)>,
}

impl Connector {
    /// Connects within `limit`; with TLS only as `secured` says.
    pub(crate) fn new(limit: Duration, secured: Option<(Arc<ClientConfig>, Expects)>) -> Self {
        let mut plain = HttpConnector::new();
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(limit));
        Self { plain, secured }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("secured", &self.secured.is_some()).finish()
    }
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        if uri.scheme_str() != Some("https") {
            if self.secured.is_some() {
                let text = "without TLS nothing is sent to another machine: use https://";
                return Box::pin(async move { Err(io::Error::other(text)) });
            }
            let connecting = self.plain.call(uri);
            return Box::pin(async move {
                let stream = connecting.await.map_err(io::Error::other)?;
                Ok(TokioIo::new(Stream::Plain(stream.into_inner())))
            });
        }
        let secured = self.secured.clone();
        Box::pin(async move {
            let nobody = || io::Error::other(format!("nobody is known at `{uri}`"));
            let (config, expects) = secured.ok_or_else(nobody)?;
            let expected = expects(&uri).ok_or_else(nobody)?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
            let port = uri.port_u16().unwrap_or(443);
            connect(&config, (host, port), &expected).await.map(TokioIo::new)
        })
    }
}
