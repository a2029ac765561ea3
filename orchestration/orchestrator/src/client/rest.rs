//! Requests to the control plane, one function each.

use super::{Error, Result, Watch};
use crate::trust::{self, Connector, Fingerprint, JoinTicket};
use api::{
    Kind, List, Problem, Resource,
    advice::{Predict, Rank},
    paths,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::{client::legacy::Client as Http, rt::TokioExecutor};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use series::{Labels, Sample, push::remote_write};
use std::{fmt::Write, path::Path, sync::Arc, time::Duration};
use types::{Digest, Token};

/// An ordinary request is answered in milliseconds; this long means that nobody is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A query may take a minute.
const QUERY_LIMIT: Duration = Duration::from_secs(70);

/// The largest answer that is read: far above any list, far below what would harm.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// A connection to one control plane in the name of one tenant; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http<Connector, Full<Bytes>>,
    base: String,
    token: Option<Token>,
    tenant: String,
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The resource is new.
    Created,
    /// It existed and is different now.
    Configured,
    /// It was so already.
    Unchanged,
}

/// A resource after an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    /// What was done.
    pub change: Change,
    /// The resource as it is stored, or would be.
    pub resource: Resource,
}

/// A piece of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// Where the piece begins; later than asked when older bytes are gone.
    pub offset: u64,
    /// The piece.
    pub text: String,
    /// Where the next piece begins, when the control plane says so.
    #[serde(default)]
    pub next: Option<u64>,
    /// Nothing more will come.
    #[serde(default)]
    pub ended: bool,
}

/// A snapshot that was taken into the blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

impl LogPiece {
    /// Where the next piece begins.
    pub fn end(&self) -> u64 {
        self.next.unwrap_or(self.offset + self.text.len() as u64)
    }
}

impl Client {
    /// A client for the control plane at `url`, on this machine; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Url`] if the address is not `http://host:port`.
    pub fn new(url: &str, token: Option<Token>, tenant: &str) -> Result<Self> {
        Self::with(url, "http", token, tenant, None)
    }

    /// A client for the control plane at `url`, whose authority's certificate is in the file
    /// `ca`. A plain address, which needs no certificate, is taken as well.
    ///
    /// # Errors
    /// [`Error::Url`] if the address is not `https://host:port`, or the file cannot be used.
    pub fn secured(
        url: &str,
        token: Option<Token>,
        tenant: &str,
        ca: Option<&Path>,
    ) -> Result<Self> {
        if !url.starts_with("https:") {
            return Self::new(url, token, tenant);
        }
        let ca = ca.ok_or_else(|| Error::Url {
            url: url.chars().take(200).collect(),
            reason: "https:// needs the control plane's certificate: give --ca, or a context with one",
        })?;
        let config = trust::user(trust::roots_of(ca)?)?;
        Self::with(url, "https", token, tenant, Some(config))
    }

    /// A client that trusts whom a join token names, and shows nothing.
    pub(crate) fn joining(url: &str, fingerprint: Fingerprint) -> Result<Self> {
        let config = trust::joining(fingerprint)?;
        Self::with(url, "https", None, api::DEFAULT_TENANT, Some(config))
    }

    fn with(
        url: &str,
        scheme: &'static str,
        token: Option<Token>,
        tenant: &str,
        secured: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self> {
        let authority = authority_of(url, scheme)?;
        if scheme == "http" && token.is_some() && !is_this_machine(&authority) {
            return Err(Error::Url {
                url: url.chars().take(200).collect(),
                reason: "a token is sent to other machines over https:// only",
            });
        }
        types::check_name(tenant).map_err(|source| Error::Document {
            origin: "the tenant".into(),
            source: api::ApiError::Name { field: "tenant", source },
        })?;
        let secured = secured.map(|config| {
            let expects: trust::Expects = Arc::new(|_| Some(trust::Expected::CONTROL));
            (config, expects)
        });
        let connector = Connector::new(Duration::from_secs(5), secured);
        Ok(Self {
            http: Http::builder(TokioExecutor::new()).build(connector),
            base: format!("{scheme}://{authority}"),
            token,
            tenant: tenant.to_owned(),
        })
    }

    /// Where the control plane is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The dashboard for a browser, with the token behind the `#`, which it sends to nobody.
    pub fn dashboard_url(&self) -> String {
        match &self.token {
            Some(token) => format!("{}/#token={}", self.base, token.reveal()),
            None => self.base.clone(),
        }
    }

    /// In whose name requests are made.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Whether the control plane says that it is well.
    ///
    /// # Errors
    /// If it cannot be reached or says that it is not.
    pub async fn healthy(&self) -> Result<()> {
        self.ask(Method::GET, "/healthz", Bytes::new()).await.map(drop)
    }

    /// What the control plane says about itself.
    ///
    /// # Errors
    /// If it refuses or cannot be reached.
    pub async fn status(&self) -> Result<serde_json::Value> {
        self.json(Method::GET, paths::STATUS, Bytes::new()).await
    }

    /// Asks Prometheus' API of the control plane, or of `cloudskin serve telemetry`: `query` or `query_range`, with the
    /// parameters as a form. Gives `data` of the answer.
    ///
    /// # Errors
    /// What the API says of the query; if it refuses or cannot be reached.
    pub async fn query(&self, what: &str, form: String) -> Result<serde_json::Value> {
        let path = format!("{}/api/v1/{what}", paths::PROMETHEUS);
        let kind = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
        let work = async {
            let sent = self.send(Method::POST, &path, form.into(), &kind).await?;
            self.read(sent).await
        };
        let body = tokio::time::timeout(QUERY_LIMIT, work)
            .await
            .map_err(|_| self.silent(QUERY_LIMIT))??;
        let answer: serde_json::Value = serde_json::from_slice(&body)
            .map_err(|_| self.foreign("it answers no JSON".to_owned()))?;
        Ok(answer["data"].clone())
    }

    /// Pushes samples into the control plane's store of series, or into that of `cloudskin serve telemetry`.
    ///
    /// # Errors
    /// [`Error::Samples`] for what makes no request; if some are refused, all of it or what is late,
    /// and if it cannot be reached.
    pub async fn push(&self, batch: &[(Labels, Sample)]) -> Result<()> {
        let body = remote_write(batch).map_err(Error::Samples)?;
        let path = format!("{}/api/v1/write", paths::PROMETHEUS);
        self.ask(Method::POST, &path, body.into()).await.map(drop)
    }

    /// Asks how a service will behave at a place.
    ///
    /// # Errors
    /// What is wrong with the question; if the control plane refuses or cannot be reached.
    pub async fn predict(&self, asked: &Predict) -> Result<serde_json::Value> {
        let body = serde_json::to_vec(asked).expect("a question is plain data");
        self.json(Method::POST, &paths::predict(&self.tenant), body.into()).await
    }

    /// Asks which place is best for a service, and why.
    ///
    /// # Errors
    /// As of [`Client::predict`].
    pub async fn rank(&self, asked: &Rank) -> Result<serde_json::Value> {
        let body = serde_json::to_vec(asked).expect("a question is plain data");
        self.json(Method::POST, &paths::rank(&self.tenant), body.into()).await
    }

    /// All resources of a kind that have these labels.
    ///
    /// # Errors
    /// If it refuses or cannot be reached.
    pub async fn list(&self, kind: Kind, labels: &[(String, String)]) -> Result<List> {
        let path = paths::list(&self.tenant, kind);
        let mut list: List = self.json(Method::GET, &path, Bytes::new()).await?;
        list.items.retain(|resource| selects(labels, resource));
        Ok(list)
    }

    /// One resource.
    ///
    /// # Errors
    /// If it does not exist, or the control plane refuses or cannot be reached.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Resource> {
        self.json(Method::GET, &paths::item(&self.tenant, kind, name), Bytes::new()).await
    }

    /// One resource, if it exists.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be reached.
    pub async fn find(&self, kind: Kind, name: &str) -> Result<Option<Resource>> {
        existing(self.get(kind, name).await)
    }

    /// Makes the resource so, or only says what would come of it.
    ///
    /// # Errors
    /// If it is refused or the control plane cannot be reached.
    pub async fn apply(&self, resource: &Resource, dry_run: bool) -> Result<Applied> {
        let path = self.path_of(resource);
        let before = self.find_stored(resource).await?;
        let query = if dry_run { "?dryRun=true" } else { "" };
        let body = serde_json::to_vec(resource).expect("a resource is plain data");
        let after: Resource =
            self.json(Method::PUT, &format!("{path}{query}"), body.into()).await?;
        let change = match before {
            None => Change::Created,
            Some(before) if super::is_same(&before, &after) => Change::Unchanged,
            Some(_) => Change::Configured,
        };
        Ok(Applied { change, resource: after })
    }

    /// The stored resource of the same tenant, kind and name, if there is one.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be reached.
    pub async fn find_stored(&self, resource: &Resource) -> Result<Option<Resource>> {
        existing(self.json(Method::GET, &self.path_of(resource), Bytes::new()).await)
    }

    /// Begins to take a resource down.
    ///
    /// # Errors
    /// If it does not exist, or the control plane refuses or cannot be reached.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        self.ask(Method::DELETE, &paths::item(&self.tenant, kind, name), Bytes::new())
            .await
            .map(drop)
    }

    /// The changes of a kind after `revision`.
    pub fn watch(&self, kind: Kind, revision: u64) -> Watch {
        Watch::new(self.clone(), kind, revision)
    }

    /// What a service or cell wrote from byte `offset` on.
    ///
    /// # Errors
    /// If it does not exist, or the control plane refuses or cannot be reached.
    pub async fn logs(&self, kind: Kind, name: &str, offset: u64, limit: u64) -> Result<LogPiece> {
        let path = paths::verb(&self.tenant, kind, name, "logs");
        let query = format!("{path}?offset={offset}&limit={limit}");
        self.json(Method::GET, &query, Bytes::new()).await
    }

    /// The same from one of several sites that have or had ranks of a tissue.
    ///
    /// # Errors
    /// As for [`Client::logs`].
    pub async fn logs_at(
        &self,
        (kind, name): (Kind, &str),
        site: &str,
        offset: u64,
        limit: u64,
    ) -> Result<LogPiece> {
        let path = paths::verb(&self.tenant, kind, name, "logs");
        let query = format!("{path}?offset={offset}&limit={limit}&site={site}");
        self.json(Method::GET, &query, Bytes::new()).await
    }

    /// Begins to move ranks of a tissue to another site, all if none are named; the answer is the
    /// decision that records it.
    ///
    /// # Errors
    /// If they cannot be moved there, or the control plane refuses or cannot be reached.
    pub async fn migrate_ranks(&self, name: &str, ranks: &[u32], to: &str) -> Result<Resource> {
        let path = paths::verb(&self.tenant, Kind::Tissue, name, "migrate");
        let body = serde_json::json!({ "to": to, "ranks": ranks }).to_string();
        self.json(Method::POST, &path, body.into()).await
    }

    /// Begins to move a service to another site; the answer is the decision that records it.
    ///
    /// # Errors
    /// If it cannot be moved there, or the control plane refuses or cannot be reached.
    pub async fn migrate(&self, name: &str, to: &str) -> Result<Resource> {
        let path = paths::verb(&self.tenant, Kind::Service, name, "migrate");
        let body = serde_json::json!({ "to": to }).to_string();
        self.json(Method::POST, &path, body.into()).await
    }

    /// Suspends a service or cell for a moment and takes its snapshot.
    ///
    /// # Errors
    /// If it cannot be suspended, or the control plane refuses or cannot be reached.
    pub async fn snapshot(&self, kind: Kind, name: &str) -> Result<Snapshot> {
        let path = paths::verb(&self.tenant, kind, name, "snapshot");
        self.json(Method::POST, &path, Bytes::new()).await
    }

    /// Makes a token with which one machine joins as this site, once.
    ///
    /// # Errors
    /// If the control plane listens on loopback alone, refuses or cannot be reached.
    pub async fn create_join_token(&self, site: &str, ttl: Duration) -> Result<JoinTicket> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let body = serde_json::json!({ "site": site, "ttlMs": ttl_ms }).to_string();
        self.json(Method::POST, paths::JOIN_TOKENS, body.into()).await
    }

    /// Asks for a certificate, by a join token.
    pub(crate) async fn join(&self, joining: &trust::Joining) -> Result<trust::Grant> {
        let body = serde_json::to_vec(joining).expect("a request is plain data");
        self.json(Method::POST, paths::JOIN, body.into()).await
    }

    /// Puts a service back to a snapshot that was uploaded; the answer is the decision that
    /// records it.
    ///
    /// # Errors
    /// If it cannot be put back to this, or the control plane refuses or cannot be reached.
    pub async fn restore(&self, name: &str, snapshot: &Digest) -> Result<Resource> {
        let path = paths::verb(&self.tenant, Kind::Service, name, "restore");
        let body = serde_json::json!({ "snapshot": snapshot }).to_string();
        // All of the snapshot is read before it is answered.
        let work = async {
            let response = self.send(Method::POST, &path, body.into(), &[]).await?;
            self.read(response).await
        };
        let body = tokio::time::timeout(super::blob::UPLOAD_LIMIT, work)
            .await
            .map_err(|_| self.silent(super::blob::UPLOAD_LIMIT))??;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error.to_string()))
    }

    fn path_of(&self, resource: &Resource) -> String {
        let tenant = match resource.metadata.tenant.as_str() {
            "" => &self.tenant,
            tenant => tenant,
        };
        paths::item(tenant, resource.kind, &resource.metadata.name)
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T> {
        let body = self.ask(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error.to_string()))
    }

    /// Sends a request and reads its whole answer within [`ANSWER_LIMIT`].
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let work = async {
            let response = self.send(method, path, body, &[]).await?;
            self.read(response).await
        };
        tokio::time::timeout(ANSWER_LIMIT, work).await.map_err(|_| self.silent(ANSWER_LIMIT))?
    }

    pub(super) async fn read(&self, response: Response<Incoming>) -> Result<Bytes> {
        let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|source| Error::Broken { url: self.base.clone(), source })
    }

    /// Sends a request; an answer that is not a success becomes its error.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(header::HeaderName, String)],
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == header::CONTENT_TYPE) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|_| Error::Url {
            url: format!("{}{}", self.base, path.chars().take(200).collect::<String>()),
            reason: "it holds characters that an address cannot",
        })?;
        let response = self.http.request(request).await.map_err(|source| {
            let url = self.base.clone();
            match source.is_connect() {
                true => Error::Unreachable { url, source: source.into() },
                false => Error::Broken { url, source: source.into() },
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.read(response).await?;
        Err(self.refusal(status, &body))
    }

    /// The problem that the body names; something else answered if it names none.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Error::Refused(problem),
            Err(_) if query_error(body).is_some() => {
                let kind = match status {
                    StatusCode::BAD_REQUEST => types::ErrorKind::Invalid,
                    StatusCode::UNPROCESSABLE_ENTITY => types::ErrorKind::Unsupported,
                    _ => types::ErrorKind::Unavailable,
                };
                Error::Refused(Problem::new(kind, query_error(body).unwrap_or_default()))
            }
            Err(_) if status == StatusCode::UNAUTHORIZED => Error::Refused(Problem::new(
                types::ErrorKind::Unauthenticated,
                "the control plane wants a token: give --token or use a context",
            )),
            // An answer to HEAD has no body that could name the problem.
            Err(_) if status == StatusCode::NOT_FOUND && body.is_empty() => {
                Error::Refused(Problem::new(types::ErrorKind::NotFound, "there is no such thing"))
            }
            Err(_) => {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                let mut reason = format!("it says {status}");
                if !text.trim().is_empty() {
                    // Writing to a String cannot fail.
                    let _ = write!(reason, ": {}", text.trim().escape_debug());
                }
                self.foreign(reason)
            }
        }
    }

    pub(super) fn foreign(&self, reason: String) -> Error {
        Error::Foreign { url: self.base.clone(), reason }
    }

    pub(super) fn silent(&self, limit: Duration) -> Error {
        Error::Silent { url: self.base.clone(), limit_s: limit.as_secs() }
    }
}

/// Host and port of a control plane's address.
/// Whether this host and port are reached without leaving the machine.
/// What Prometheus' API says is wrong with a query.
fn query_error(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    answer["errorType"].as_str()?;
    answer["error"].as_str().map(str::to_owned)
}

fn is_this_machine(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn authority_of(url: &str, scheme: &'static str) -> Result<String> {
    let wrong = |reason| Error::Url { url: url.chars().take(200).collect(), reason };
    let uri: hyper::Uri = url.parse().map_err(|_| wrong("write it as `http://127.0.0.1:8470`"))?;
    if uri.scheme_str() != Some(scheme) {
        return Err(wrong(match (scheme, uri.scheme_str()) {
            ("https", _) => "on another machine it begins with `https://`",
            (_, Some("https")) => "https:// needs the control plane's certificate: give --ca",
            _ => "it begins with `http://`",
        }));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if uri.path().len() > 1 || uri.query().is_some() {
        return Err(wrong("nothing may follow the host and port"));
    }
    if authority.as_str().contains('@') {
        return Err(wrong("give the token with --token, not inside the address"));
    }
    Ok(authority.to_string())
}

/// What does not exist is no failure.
fn existing(found: Result<Resource>) -> Result<Option<Resource>> {
    match found {
        Ok(resource) => Ok(Some(resource)),
        Err(error) if error.kind() == types::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the resource has all of these labels.
pub(super) fn selects(labels: &[(String, String)], resource: &Resource) -> bool {
    labels.iter().all(|(key, value)| resource.metadata.labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_a_control_plane_are_refused() {
        for good in ["http://127.0.0.1:8470", "http://localhost:8470/", "http://[::1]:1"] {
            Client::new(good, None, "default").unwrap();
        }
        for wrong in [
            "",
            "127.0.0.1:8470",
            "https://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "ftp://a",
            "http://user:secret@a",
            "http://a b",
            "\n",
        ] {
            let error = Client::new(wrong, None, "default").unwrap_err();
            assert_eq!(error.kind(), types::ErrorKind::Invalid, "{wrong}");
        }
        assert!(Client::new("http://a", None, "../b").is_err());
    }

    #[test]
    fn an_answer_of_something_else_is_called_so() {
        let client = Client::new("http://127.0.0.1:1", None, "default").unwrap();

        let error = client.refusal(StatusCode::BAD_GATEWAY, b"<html>\x1b[31m").to_string();

        assert!(error.contains("502") && !error.contains('\x1b'), "{error}");
    }
}
