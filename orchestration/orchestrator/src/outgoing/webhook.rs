//! Tells somebody else of a decision.

use super::https::{Caller, pause};
use api::policy::Webhook;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::{Method, Request, header};
use ring::hmac;
use serde_json::Value;

/// The signature's header: `sha256=` and an HMAC-SHA-256 of the body in hexadecimal.
const SIGNATURE: &str = "cloudskin-signature";

/// Posts a document until it is taken, as often as is allowed; how often it was posted.
pub(crate) async fn post(webhook: &Webhook, document: &Value) -> Result<u32, String> {
    let body = Bytes::from(document.to_string());
    let caller = Caller::new(webhook.ca.as_deref())?;
    let mut tried = 0;
    loop {
        match once(&caller, webhook, &body).await {
            Ok(()) => return Ok(tried + 1),
            Err(problem) if tried == webhook.retries => return Err(problem),
            Err(_) => {}
        }
        pause(tried).await;
        tried += 1;
    }
}

async fn once(caller: &Caller, webhook: &Webhook, body: &Bytes) -> Result<(), String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&webhook.url)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = &webhook.key {
        request = request.header(SIGNATURE, signature(key, body));
    }
    let request = request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
    match caller.ask(request, webhook.timeout.0).await?.0 {
        status if status.is_success() => Ok(()),
        status => Err(format!("it answered {status}")),
    }
}

fn signature(key: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    format!("sha256={}", HEXLOWER.encode(hmac::sign(&key, body).as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use types::Period;

    /// Answers each connection with one of these; what was sent to it.
    async fn server(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/moved", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut heard = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"}") {
                    stream.read_buf(&mut text).await.unwrap();
                }
                heard.push(String::from_utf8(text).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heard
        });
        (url, served)
    }

    fn webhook(url: String, retries: u32) -> Webhook {
        let timeout = Period::from_millis(2000);
        Webhook { url, ca: None, timeout, retries, key: Some("secret".into()) }
    }

    const GOOD: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    const BAD: &str = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_document_is_signed_and_sent_until_it_is_taken() {
        let (url, served) = server(vec![BAD, GOOD]).await;

        post(&webhook(url, 2), &serde_json::json!({"a": 1})).await.unwrap();

        let heard = served.await.unwrap();
        assert_eq!(heard.len(), 2);
        // printf '{"a":1}' | openssl dgst -sha256 -hmac secret
        let signed = "cloudskin-signature: sha256=aa9e2e3575f5d7098b6caccd790888c36d5fdb63342a73bada2d6a51747a8494";
        assert!(heard[1].contains(signed), "{}", heard[1]);
    }

    #[tokio::test]
    async fn who_does_not_take_it_is_given_up() {
        let (url, served) = server(vec![BAD, BAD]).await;

        let error = post(&webhook(url, 1), &serde_json::json!({"a": 1})).await.unwrap_err();

        assert!(error.contains("500"), "{error}");
        served.await.unwrap();
        let nobody = webhook("http://127.0.0.1:1/x".into(), 0);
        assert!(post(&nobody, &serde_json::json!({})).await.is_err());
    }

    /// Answers over TLS, with a certificate of this authority.
    async fn secured() -> (String, String) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        use rustls::pki_types::PrivateKeyDer;
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let named = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let certificate = named.signed_by(&own, &issuer).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(own.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/moved", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust it goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut text = Vec::new();
                while !text.ends_with(b"}") {
                    stream.read_buf(&mut text).await.unwrap();
                }
                stream.write_all(GOOD.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        (url, authority.pem())
    }

    #[tokio::test]
    async fn over_tls_the_other_side_is_who_the_policy_trusts() {
        let (url, ca) = secured().await;
        let trusting = Webhook { ca: Some(ca), ..webhook(url.clone(), 0) };

        assert_eq!(post(&trusting, &serde_json::json!({"a": 1})).await, Ok(1));
        let stranger = post(&webhook(url, 0), &serde_json::json!({"a": 1})).await.unwrap_err();
        assert!(stranger.contains("certificate"), "{stranger}");
        let (_, other) = secured().await;
        let wrong = Webhook { ca: Some(other), ..trusting };
        assert!(post(&wrong, &serde_json::json!({"a": 1})).await.is_err());
    }
}
