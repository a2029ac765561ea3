//! Requests to others: HTTP, or HTTPS with the machine's certificates or those of a policy.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{sync::Arc, time::Duration};

/// Longest answer that is read.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// Whoever asks another one.
#[derive(Debug)]
pub(super) struct Caller(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Caller {
    /// Trusts these certificates in PEM, or those of the machine.
    pub(super) fn new(ca: Option<&str>) -> Result<Self, String> {
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots(ca)?)
                .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// The answer to a request, whole.
    pub(super) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), String> {
        let answering = async {
            let response = self.0.request(request).await.map_err(|error| types::chain(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let late = || format!("no answer within {}", types::Period(patience));
        tokio::time::timeout(patience, answering).await.map_err(|_| late())?
    }
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        // Those that cannot be read vouch for nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("`ca` is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("`ca` holds no authority: {error}"))?;
    }
    match roots.is_empty() {
        true => Err("`ca` holds no certificate".to_owned()),
        false => Ok(roots),
    }
}

/// Between tries: it begins with half a second, and doubles.
pub(crate) async fn pause(tried: u32) {
    tokio::time::sleep(Duration::from_millis(500).saturating_mul(1 << tried.min(6))).await;
}
