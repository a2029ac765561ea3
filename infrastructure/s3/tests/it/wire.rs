//! Requests byte by byte, signed or not, and their answers.

use crate::server::Server;
use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, SystemTime},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request to be signed by the key of tenant `lab`.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    payload: String,
    at: SystemTime,
}

/// A request of this method to this path, which may have a query.
pub(crate) fn request(method: &str, target: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
        body: Vec::new(),
        payload: "UNSIGNED-PAYLOAD".to_owned(),
        at: SystemTime::now(),
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.insert(name.to_owned(), value.to_string());
        self
    }

    /// A body, whose length is told unless the header was set.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.headers.entry("content-length".to_owned()).or_insert(length);
        self
    }

    /// What `x-amz-content-sha256` is to say.
    pub(crate) fn payload(mut self, payload: impl Into<String>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The time that it is signed at.
    pub(crate) fn at(mut self, at: SystemTime) -> Self {
        self.at = at;
        self
    }

    /// The head, signed, and what signs the chunks of its body.
    pub(crate) fn signed(&self, address: SocketAddr) -> (String, ChunkSigner) {
        let date = date(self.at);
        let mut headers = self.headers.clone();
        headers.insert("host".to_owned(), address.to_string());
        headers.insert("x-amz-date".to_owned(), date.clone());
        headers.insert("x-amz-content-sha256".to_owned(), self.payload.clone());
        let canonical: String = headers.iter().map(|(k, v)| format!("{k}:{v}\n")).collect();
        let names = headers.keys().cloned().collect::<Vec<_>>().join(";");
        let mut pairs: Vec<String> = self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
            .collect();
        pairs.sort();
        let text = format!(
            "{}\n{}\n{}\n{canonical}\n{names}\n{}",
            self.method,
            self.path,
            pairs.join("&"),
            self.payload
        );
        let mut signer = ChunkSigner::new(&date);
        let hash = sha256(text.as_bytes());
        let signature =
            signer.sign(&format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hash}", signer.scope()));
        headers.insert(
            "authorization".to_owned(),
            format!(
                "AWS4-HMAC-SHA256 Credential=lab/{},SignedHeaders={names},Signature={signature}",
                signer.scope()
            ),
        );
        (self.head(&headers), signer)
    }

    fn head(&self, headers: &BTreeMap<String, String>) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let headers: String = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
        format!("{} {}{query} HTTP/1.1\r\n{headers}\r\n", self.method, self.path)
    }

    /// Sends it on a connection of its own.
    pub(crate) fn send(&self, server: &Server) -> Answer {
        let mut connection = Connection::open(server);
        connection.send(self);
        connection.answer()
    }

    /// Sends it unsigned.
    pub(crate) fn send_unsigned(&self, server: &Server) -> Answer {
        let mut connection = Connection::open(server);
        let mut headers = self.headers.clone();
        headers.insert("host".to_owned(), server.address.to_string());
        connection.write(self.head(&headers).as_bytes());
        connection.answer_to(&self.method)
    }
}

/// Signs a request and then its chunks.
pub(crate) struct ChunkSigner {
    key: hmac::Key,
    date: String,
    previous: String,
}

impl ChunkSigner {
    fn new(date: &str) -> Self {
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, b"AWS4lab-secret");
        for text in [&date[..8], "us-east-1", "s3", "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, text.as_bytes()).as_ref());
        }
        Self { key, date: date.to_owned(), previous: String::new() }
    }

    fn scope(&self) -> String {
        format!("{}/us-east-1/s3/aws4_request", &self.date[..8])
    }

    fn sign(&mut self, text: &str) -> String {
        self.previous = HEXLOWER.encode(hmac::sign(&self.key, text.as_bytes()).as_ref());
        self.previous.clone()
    }

    /// How long a chunk with so much data is.
    pub(crate) fn length(data: usize) -> usize {
        let frame = format!("{data:x};chunk-signature=\r\n").len() + 64;
        frame + data + if data == 0 { 0 } else { 2 }
    }

    /// A chunk as it is sent.
    pub(crate) fn chunk(&mut self, data: &[u8]) -> Vec<u8> {
        let (date, scope, previous) = (&self.date, self.scope(), &self.previous);
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{}\n{}",
            sha256(b""),
            sha256(data)
        );
        let signature = self.sign(&text);
        let mut chunk = format!("{:x};chunk-signature={signature}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        if !data.is_empty() {
            chunk.extend_from_slice(b"\r\n");
        }
        chunk
    }

    /// The headers behind the last chunk, as they are sent.
    pub(crate) fn trailer(&mut self, name: &str, value: &str) -> Vec<u8> {
        let (date, scope, previous) = (&self.date, self.scope(), &self.previous);
        let hash = sha256(format!("{name}:{value}\n").as_bytes());
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{hash}");
        let signature = self.sign(&text);
        format!("{name}:{value}\r\nx-amz-trailer-signature:{signature}\r\n\r\n").into_bytes()
    }
}

/// A connection to the endpoint.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    method: String,
}

impl Connection {
    pub(crate) fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_nodelay(true).expect("no delay");
        let method = "GET".to_owned();
        Self { stream: BufReader::new(stream), address: server.address, method }
    }

    /// Sends a signed request with its body.
    pub(crate) fn send(&mut self, request: &Request) {
        let (head, _) = request.signed(self.address);
        self.method.clone_from(&request.method);
        let mut all = head.into_bytes();
        all.extend_from_slice(&request.body);
        self.write(&all);
    }

    /// Sends the signed head alone.
    pub(crate) fn send_head(&mut self, request: &Request) -> ChunkSigner {
        let (head, signer) = request.signed(self.address);
        self.method.clone_from(&request.method);
        self.write(head.as_bytes());
        signer
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // An endpoint that has refused already takes no more; what it says is read next.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Sends nothing more.
    pub(crate) fn close_writing(&mut self) {
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).expect("it is closed");
    }

    /// One line, without its break; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Whether the endpoint has closed the connection, and sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0; 1]), Ok(1..))
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let method = self.method.clone();
        self.answer_to(&method)
    }

    fn answer_to(&mut self, method: &str) -> Answer {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: `{line}`"));
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let length = if method == "HEAD" || status == 304 { 0 } else { length.unwrap_or(0) };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole body");
        Answer { status, headers, body }
    }
}

/// An answer of the endpoint.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        let end = text[start..].find(&format!("</{name}>"))? + start;
        Some(text[start..end].to_owned())
    }

    /// It is a success.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self
    }

    /// It is this error.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, code: &str) {
        let found = (self.status, self.element("Code").unwrap_or_default());
        assert_eq!(found, (status, code.to_owned()), "{}", self.text());
    }
}

pub(crate) fn sha256(data: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, data).as_ref())
}

/// `20250102T030405Z`.
fn date(at: SystemTime) -> String {
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let text = httpdate::fmt_http_date(at);
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.find(&text[8..11]).expect("a month") / 3 + 1;
    let time = text[17..25].replace(':', "");
    format!("{}{month:02}{}T{time}Z", &text[12..16], &text[5..7])
}
