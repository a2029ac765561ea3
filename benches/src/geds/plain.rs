//! Plain clients that put objects over S3 as fast as an endpoint takes them: what writing back is compared with.

use super::http::{Client, connect};
use anyhow::Context as _;
use bytes::Bytes;
use object_store::{
    aws::{AwsAuthorizer, AwsCredential},
    client::{HttpRequest, HttpRequestBody},
};
use std::{fmt::Write as _, net::SocketAddr, thread, time::Instant};

/// How many connections are tried.
const CONNECTIONS: [usize; 4] = [1, 2, 4, 8];

/// An S3 endpoint, and a key for it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    pub(super) secret: String,
}

/// What is put.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) objects: usize,
    /// Those of each object.
    pub(super) bytes: Bytes,
}

impl Endpoint {
    /// The options of a back end.
    pub(super) fn options(&self) -> [(String, String); 5] {
        [
            ("endpoint", format!("http://{}", self.address)),
            ("access_key_id", self.key.clone()),
            ("secret_access_key", self.secret.clone()),
            ("region", "us-east-1".to_owned()),
            ("allow_http", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// With how many connections it takes most, and how many bytes a second it then takes.
    pub(super) fn best(
        &self,
        load: &Load,
        mut fresh: impl FnMut() -> anyhow::Result<String>,
    ) -> anyhow::Result<(usize, f64)> {
        let mut best = (1, 0.0);
        for connections in CONNECTIONS {
            let seconds = self.put(&fresh()?, load, connections)?;
            let rate = (load.objects * load.bytes.len()) as f64 / seconds;
            if rate > best.1 {
                best = (connections, rate);
            }
        }
        Ok(best)
    }

    /// Puts all, over so many connections; how many seconds that took. Each body is hashed and signed, as clients do over
    /// HTTP.
    pub(super) fn put(&self, bucket: &str, load: &Load, connections: usize) -> anyhow::Result<f64> {
        let clients: anyhow::Result<Vec<Client>> =
            (0..connections).map(|_| connect(self.address)).collect();
        let clients = clients?;
        let started = Instant::now();
        thread::scope(|scope| {
            let threads: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(at, mut client)| {
                    scope.spawn(move || {
                        (at..load.objects)
                            .step_by(connections)
                            .try_for_each(|number| self.put_one(&mut client, bucket, number, load))
                    })
                })
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
            })
        })?;
        Ok(started.elapsed().as_secs_f64())
    }

    fn put_one(
        &self,
        client: &mut Client,
        bucket: &str,
        number: usize,
        load: &Load,
    ) -> anyhow::Result<()> {
        let credential = AwsCredential {
            key_id: self.key.clone(),
            secret_key: self.secret.clone(),
            token: None,
        };
        let target = format!("/{bucket}/raw/{number}");
        let mut request: HttpRequest =
            http::Request::put(format!("http://{}{target}", self.address))
                .body(HttpRequestBody::from(load.bytes.clone()))?;
        AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None)?;
        let length = load.bytes.len();
        let mut head = format!(
            "PUT {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n",
            self.address
        );
        for (name, value) in request.headers() {
            let value = value.to_str().context("a header is not text")?;
            write!(head, "{name}: {value}\r\n")?;
        }
        head.push_str("\r\n");
        client.exchange(&head, &load.bytes, &mut [])
    }
}
