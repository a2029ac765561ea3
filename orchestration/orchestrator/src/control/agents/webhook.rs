//! Tells somebody else of a decision.

use api::policy::Webhook;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http_body_util::Full;
use hyper::{Method, Request, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use ring::hmac;
use serde_json::Value;
use std::time::Duration;

/// The signature's header: `sha256=` and an HMAC-SHA-256 of the body in hexadecimal.
const SIGNATURE: &str = "cloudskin-signature";
/// Before the first repetition; it doubles with each.
const PAUSE: Duration = Duration::from_millis(500);

/// Posts a document until it is taken, as often as is allowed.
pub(super) async fn post(webhook: &Webhook, document: &Value) -> Result<(), String> {
    let body = Bytes::from(document.to_string());
    let mut pause = PAUSE;
    for left in (0..=webhook.retries).rev() {
        match tokio::time::timeout(webhook.timeout.0, once(webhook, &body)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) if left == 0 => return Err(problem),
            Err(_) if left == 0 => return Err(format!("no answer within {}", webhook.timeout)),
            _ => {}
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn once(webhook: &Webhook, body: &Bytes) -> Result<(), String> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&webhook.url)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = &webhook.key {
        request = request.header(SIGNATURE, signature(key, body));
    }
    let request = request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let response = client.request(request).await.map_err(|error| types::chain(&error))?;
    match response.status() {
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
        Webhook { url, timeout, retries, key: Some("secret".into()) }
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
}
