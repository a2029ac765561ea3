//! What writing back costs: the rate beside that of plain connections to the same server, and what 1,000 puts a second of
//! 64 KiB notice of it while the server takes half of what it could.
//!
//! `cargo run --release -p geds --example write_back [seconds]`

use geds::{BackendConfig, Class, Config, Geds, Limits, Put};
use std::{
    error::Error,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const OBJECT: usize = 64 << 10;
const CONNECTIONS: usize = 16;
const PERIOD: Duration = Duration::from_millis(1);

/// Takes objects and forgets them, at most so many bytes a second.
#[derive(Default)]
struct Sink {
    taken: AtomicU64,
    limit: AtomicU64,
    paid_until: Mutex<Option<Instant>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let span = Duration::from_secs(seconds);
    let sink = Arc::new(Sink::default());
    let address = serve(&sink)?;
    let raw = rate(&sink, span, || plain(address, span));
    let folder = std::env::temp_dir().join(format!("geds-write-back-{}", std::process::id()));
    let limits = Limits { memory_bytes: 1 << 30, high_water_percent: 60, ..Limits::default() };
    let geds = Geds::open(Config::alone(&folder).limits(limits))?;
    geds.create_bucket("lab")?;
    let endpoint = format!("http://{address}");
    let options = [
        ("endpoint", endpoint.as_str()),
        ("access_key_id", "key"),
        ("secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    let backend = BackendConfig::new("s3://lab", options).class(Class::Cold);
    let bytes = vec![7; OBJECT];
    let mut number = 0_u64;
    let mut put = || -> geds::Result<Duration> {
        number += 1;
        let begun = Instant::now();
        geds.put("lab", &format!("k/{}", number % 6000), &bytes, Put::overwrite())?;
        Ok(begun.elapsed())
    };
    for _ in 0..6000 {
        put()?;
    }
    geds.attach("lab", backend.clone())?;
    let written = rate(&sink, span, || thread::sleep(span.min(Duration::from_millis(300))));
    geds.detach("lab")?;
    let mut out = io::stdout();
    writeln!(out, "plain {:.0} MB/s, written back {:.0} MB/s", raw / 1e6, written / 1e6)?;

    sink.limit.store((raw / 2.0) as u64, Relaxed);
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..10 {
        let with = round % 2;
        if with == 1 {
            geds.attach("lab", backend.clone())?;
        } else if round > 0 {
            geds.detach("lab")?;
        }
        let begun = Instant::now();
        let mut due = begun;
        while begun.elapsed() < span {
            all[with].push(put()?);
            due += PERIOD;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    for (name, times) in ["without", "with"].iter().zip(&mut all) {
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 1000].as_nanos() as f64 / 1000.0;
        writeln!(
            out,
            "{name:>8}: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us",
            at(500),
            at(990),
            at(999)
        )?;
    }
    writeln!(out, "{:?}", geds.usage()?)?;
    drop(geds);
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// Bytes a second that the sink takes meanwhile.
fn rate(sink: &Sink, least: Duration, act: impl FnOnce()) -> f64 {
    let (begun, before) = (Instant::now(), sink.taken.load(Relaxed));
    act();
    // Until nothing more comes.
    let mut last = (Instant::now(), sink.taken.load(Relaxed));
    while last.0.elapsed() < Duration::from_millis(200) && begun.elapsed() < least * 4 {
        thread::sleep(Duration::from_millis(5));
        let now = sink.taken.load(Relaxed);
        if now != last.1 {
            last = (Instant::now(), now);
        }
    }
    (last.1 - before) as f64 / (last.0 - begun).as_secs_f64()
}

fn serve(sink: &Arc<Sink>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sink = Arc::clone(sink);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let sink = Arc::clone(&sink);
            thread::spawn(move || take_all(&sink, &stream));
        }
    });
    Ok(address)
}

fn take_all(sink: &Sink, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(OBJECT, stream);
    let mut body = vec![0; OBJECT];
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        reader.read_exact(&mut body[..length])?;
        pay(sink, length as u64);
        sink.taken.fetch_add(length as u64, Relaxed);
        (&mut &*stream)
            .write_all(b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n")?;
    }
}

fn pay(sink: &Sink, bytes: u64) {
    let limit = sink.limit.load(Relaxed);
    if limit == 0 {
        return;
    }
    let until = {
        let Ok(mut paid) = sink.paid_until.lock() else { return };
        let from = paid.unwrap_or_else(Instant::now).max(Instant::now());
        let until = from + Duration::from_secs_f64(bytes as f64 / limit as f64);
        *paid = Some(until);
        until
    };
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn plain(address: SocketAddr, span: Duration) {
    let send = move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (body, mut answer) = (vec![7; OBJECT], [0; 256]);
        let head = format!("PUT /lab/k HTTP/1.1\r\nHost: x\r\nContent-Length: {OBJECT}\r\n\r\n");
        let begun = Instant::now();
        while begun.elapsed() < span {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            if stream.read(&mut answer)? == 0 {
                break;
            }
        }
        Ok(())
    };
    let threads: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(send)).collect();
    for thread in threads {
        let _ = thread.join();
    }
}
