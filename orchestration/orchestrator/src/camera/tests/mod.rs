//! Facts about the camera, played to a service of this process.

mod pictures;
mod plays;

use super::{Answer, Options, Report, play};
use crate::dns::{self, Config, Zone};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, process::Command};
use tokio_util::sync::CancellationToken;

/// A service that counts frames and answers a repeated id as it did the first time.
#[derive(Default)]
struct Counter {
    answers: HashMap<String, String>,
    /// Every request: who was asked, its id, content type, size headers and body.
    requests: Vec<(IpAddr, String, String, String, Bytes)>,
}

/// What a server does besides counting.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// Closes the connection instead of answering every so many requests; 0 is never.
    drop_every: usize,
    /// Answers every so many requests with 503 and does not count them.
    busy_every: usize,
    /// Takes so long for each.
    delay: Duration,
}

async fn handle(
    at: IpAddr,
    faults: Faults,
    counter: Arc<Mutex<Counter>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    assert_eq!(head.headers["host"], "street-counter.localhost");
    let text = |name: &str| {
        head.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let (id, kind) = (text("cloudskin-request-id"), text("content-type"));
    let size = format!("{}x{}", text("x-width"), text("x-height"));
    let body = body.collect().await.map_err(|_| "broken")?.to_bytes();
    tokio::time::sleep(faults.delay).await;
    let mut counter = counter.lock().unwrap();
    counter.requests.push((at, id.clone(), kind, size, body));
    let asked = counter.requests.len();
    if asked.is_multiple_of(faults.busy_every) {
        let busy = Response::builder().status(503).body(Full::default());
        return busy.map_err(|_| "builder");
    }
    let next = counter.answers.len() + 1;
    let answer = counter.answers.entry(id).or_insert_with(|| next.to_string()).clone();
    if asked.is_multiple_of(faults.drop_every) {
        return Err("dropped");
    }
    Ok(Response::new(Full::from(answer)))
}

async fn serve_at(listener: TcpListener, faults: Faults, counter: Arc<Mutex<Counter>>) {
    let at = listener.local_addr().unwrap().ip();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let counter = counter.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| handle(at, faults, counter.clone(), request));
            let http = hyper::server::conn::http1::Builder::new();
            // The dropped connections of these tests are meant.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A service at two addresses with one port, its name, and a zone that names the first.
struct Bench {
    zone: Zone,
    dns: SocketAddr,
    port: u16,
    addresses: [IpAddr; 2],
    counter: Arc<Mutex<Counter>>,
    folder: tempfile::TempDir,
}

impl Bench {
    /// None, with a message, if ffmpeg is missing.
    async fn new(ttl_seconds: u32, faults: Faults) -> Option<Self> {
        if Command::new("ffmpeg").arg("-version").output().await.is_err() {
            println!("skipped: ffmpeg is missing (apt-get install ffmpeg)");
            return None;
        }
        let counter = Arc::new(Mutex::new(Counter::default()));
        let (addresses, port) = loop {
            let low = std::process::id() as u16;
            let [b, c] = low.to_be_bytes();
            let addresses = [2, 3].map(|last| IpAddr::from([127, b, c, last]));
            let first = TcpListener::bind((addresses[0], 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let Ok(second) = TcpListener::bind((addresses[1], port)).await else { continue };
            for listener in [first, second] {
                tokio::spawn(serve_at(listener, faults, counter.clone()));
            }
            break (addresses, port);
        };
        let zone = Zone::new(Config { ttl_seconds, ..Config::default() }).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = dns::serve(zone.clone(), listen, CancellationToken::new()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { zone, dns: server.address(), port, addresses, counter, folder };
        bench.point(0);
        Some(bench)
    }

    fn point(&self, which: usize) {
        let addresses = [self.addresses[which]];
        let change = self.zone.point("default", "street-counter", &addresses).unwrap();
        self.zone.apply(&[change]).unwrap();
    }

    /// Options for a generated clip of so many frames.
    async fn clip(&self, frames: u64, codec: &str) -> Options {
        let path = self.folder.path().join(format!("clip-{codec}.mkv"));
        generate(&path, frames, codec).await;
        let name = self.zone.service_name("default", "street-counter").unwrap();
        let host = "street-counter.localhost";
        let options = Options::new(path.to_str().unwrap(), &name, self.dns, self.port, host);
        Options { fps: 200.0, ..options }
    }

    /// The bodies that were counted, one for each id, in the order of their first arrival.
    fn frames(&self) -> Vec<(String, Bytes)> {
        let counter = self.counter.lock().unwrap();
        let mut seen = std::collections::HashSet::new();
        let all = counter.requests.iter().filter(|request| seen.insert(request.1.clone()));
        all.map(|request| (request.1.clone(), request.4.clone())).collect()
    }
}

async fn generate(path: &Path, frames: u64, codec: &str) {
    let source = "testsrc=size=96x64:rate=25";
    let mut command = Command::new("ffmpeg");
    command.args(["-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v"]);
    command.arg(frames.to_string()).args(["-c:v", codec]).arg(path);
    assert!(command.status().await.unwrap().success());
}

/// Plays and checks what must hold whatever happens.
async fn play_all(options: Options) -> (Report, Vec<Answer>) {
    let run = options.run.clone();
    let mut answers = Vec::new();
    let report = play(options, CancellationToken::new(), |answer| answers.push(answer.clone()));
    let report = report.await.unwrap();
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.id, format!("{run}-{}", answer.frame));
        assert_eq!(answer.frame, number as u64, "one connection keeps the order");
    }
    assert_eq!((report.duplicates, report.out_of_order), (0, 0));
    assert_eq!(report.source_error, None);
    (report, answers)
}
