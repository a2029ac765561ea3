//! A server that speaks as much of S3 as a back end needs, and can be told to fail or lie.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Every answer comes late.
    Slow(Duration),
    /// As for keys that have expired.
    Expired,
    /// As one that has too much to do.
    SlowDown,
    /// Bodies end before the length that was said.
    Truncated,
    /// Bodies have less than was asked for, and their length says so.
    Short,
    /// One byte of each body is another.
    Changed,
    /// Connections are closed without an answer.
    Closed,
}

#[derive(Debug)]
struct Kept {
    manner: Manner,
    objects: BTreeMap<String, (Vec<u8>, String)>,
    parts: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    numbers: u64,
}

/// A server; its bucket is `lab`.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: String,
    kept: Arc<Mutex<Kept>>,
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let kept = Kept {
            manner: Manner::Honest,
            objects: BTreeMap::new(),
            parts: BTreeMap::new(),
            numbers: 0,
        };
        let server = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            kept: Arc::new(Mutex::new(kept)),
            requests: Arc::default(),
            sent: Arc::default(),
        };
        let own = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = own.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.kept().manner = manner;
    }

    pub(crate) fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.kept().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    pub(crate) fn put(&self, key: &str, bytes: Vec<u8>) {
        let mut kept = self.kept();
        kept.put(key, bytes);
    }

    pub(crate) fn count(&self) -> usize {
        self.kept().objects.len()
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            self.requests.fetch_add(1, Relaxed);
            let manner = self.kept().manner;
            if let Manner::Slow(pause) = manner {
                thread::sleep(pause);
            }
            if manner == Manner::Closed {
                return Ok(());
            }
            let answer = self.kept().answer(&request);
            let body = if request.method == "HEAD" { &[][..] } else { &answer.body };
            let mut said = answer.body.len();
            let mut body = body.to_vec();
            let lies = request.method == "GET" && !body.is_empty();
            match manner {
                Manner::Truncated if lies => body.truncate(body.len() / 2),
                Manner::Short if lies => {
                    body.truncate(body.len() / 2);
                    said = body.len();
                }
                Manner::Changed if lies => {
                    let middle = body.len() / 2;
                    body[middle] ^= 1;
                }
                _ => {}
            }
            let head = format!(
                "HTTP/1.1 {}\r\nContent-Length: {said}\r\n{}\r\n",
                answer.status, answer.headers
            );
            (&stream).write_all(head.as_bytes())?;
            (&stream).write_all(&body)?;
            self.sent.fetch_add(body.len() as u64, Relaxed);
            if manner == Manner::Truncated && lies {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let len = headers.get("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        reader.take(len).read_to_end(&mut body)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let key = path.strip_prefix("/lab/").unwrap_or_default().to_owned();
        Ok(Some(Self { method, key, query, headers, body }))
    }

    fn number(&self, name: &str) -> u32 {
        self.query.get(name).and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

fn answer(status: &'static str, headers: String, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status, headers, body: body.into() }
}

impl Kept {
    fn put(&mut self, key: &str, bytes: Vec<u8>) -> String {
        self.numbers += 1;
        let etag = format!("\"{}\"", self.numbers);
        self.objects.insert(key.to_owned(), (bytes, etag.clone()));
        etag
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match self.manner {
            Manner::Expired => {
                let why = "<Error><Code>ExpiredToken</Code></Error>";
                return answer("403 Forbidden", String::new(), why);
            }
            Manner::SlowDown => {
                return answer(
                    "503 Slow Down",
                    String::new(),
                    "<Error><Code>SlowDown</Code></Error>",
                );
            }
            _ => {}
        }
        match request.method.as_str() {
            "PUT" if request.query.contains_key("partNumber") => self.put_part(request),
            "PUT" => self.put_object(request),
            "POST" if request.query.contains_key("delete") => self.delete(request),
            "POST" => self.upload(request),
            _ => self.get(request),
        }
    }

    /// Removes many at once, which is how one is removed as well.
    fn delete(&mut self, request: &Request) -> Answer {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let mut told = String::new();
        for (key, _) in keys {
            self.objects.remove(key);
            told += &format!("<Deleted><Key>{key}</Key></Deleted>");
        }
        answer("200 OK", String::new(), format!("<DeleteResult>{told}</DeleteResult>"))
    }

    fn put_object(&mut self, request: &Request) -> Answer {
        let there = self.objects.get(&request.key).map(|(_, etag)| etag);
        let first = request.headers.contains_key("if-none-match") && there.is_some();
        let other = request.headers.get("if-match").is_some_and(|etag| there != Some(etag));
        if first || other {
            return answer("412 Precondition Failed", String::new(), "");
        }
        let etag = self.put(&request.key, request.body.clone());
        answer("200 OK", format!("ETag: {etag}\r\n"), "")
    }

    fn put_part(&mut self, request: &Request) -> Answer {
        let Some(parts) = self.parts.get_mut(&request.query["uploadId"]) else {
            return answer("404 Not Found", String::new(), "");
        };
        parts.insert(request.number("partNumber"), request.body.clone());
        answer("200 OK", "ETag: \"part\"\r\n".to_owned(), "")
    }

    fn upload(&mut self, request: &Request) -> Answer {
        if request.query.contains_key("uploads") {
            self.numbers += 1;
            let id = self.numbers.to_string();
            self.parts.insert(id.clone(), BTreeMap::new());
            let body = format!(
                "<InitiateMultipartUploadResult><Bucket>lab</Bucket><Key>k</Key>\
                 <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            return answer("200 OK", String::new(), body);
        }
        let parts = self.parts.remove(&request.query["uploadId"]).unwrap_or_default();
        let bytes = parts.into_values().flatten().collect();
        let etag = self.put(&request.key, bytes);
        let body = format!(
            "<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>",
            etag.replace('"', "&quot;")
        );
        answer("200 OK", String::new(), body)
    }

    fn get(&self, request: &Request) -> Answer {
        let Some((bytes, etag)) = self.objects.get(&request.key) else {
            return answer("404 Not Found", String::new(), "");
        };
        if request.headers.get("if-match").is_some_and(|wanted| wanted != etag) {
            return answer("412 Precondition Failed", String::new(), "");
        }
        let time = "Last-Modified: Sun, 22 Nov 2026 02:00:00 GMT";
        let headers = format!("{time}\r\nETag: {etag}\r\n");
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((start, end)) = range.and_then(|range| range.split_once('-')) else {
            return answer("200 OK", headers, bytes.clone());
        };
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        let end = (end + 1).min(bytes.len());
        let range = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, bytes.len());
        answer("206 Partial Content", headers + &range, &bytes[start..end])
    }
}
