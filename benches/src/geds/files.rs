//! The peer of S3: `s3s-fs`, the file server of the library that our endpoint speaks S3 with, as a process.

use super::{FILES_SUBCOMMAND, node::BUCKET};
use crate::Context;
use anyhow::Context as _;
use hyper::{Request, body::Incoming, header::CONTENT_LENGTH, service::Service};
use hyper_util::rt::TokioIo;
use rustix::thread::{CpuSet, sched_setaffinity};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Its only key.
pub(super) const KEY: &str = "bench";
pub(super) const SECRET: &str = "bench-secret";

const FOLDER: &str = "BENCH_FOLDER";
const CPU: &str = "BENCH_CPU";
const RATE: &str = "BENCH_BYTES_PER_SECOND";

/// How it serves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Serving {
    /// The only processor that it may use.
    pub(super) cpu: Option<usize>,
    /// Most bytes that it takes in a second; 0 for as many as it can.
    pub(super) bytes_per_second: u64,
}

/// The server as a process; killed on drop.
pub(super) struct FileServer {
    child: Child,
    pub(super) address: SocketAddr,
    /// Where its buckets are.
    pub(super) folder: PathBuf,
}

impl FileServer {
    pub(super) fn start(context: &Context, serving: Serving) -> anyhow::Result<Self> {
        let folder = context.folder("s3s-fs")?;
        fs::create_dir(folder.join(BUCKET))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(FILES_SUBCOMMAND).env(FOLDER, &folder).stdout(Stdio::piped());
        command.env(RATE, serving.bytes_per_second.to_string());
        if let Some(cpu) = serving.cpu {
            command.env(CPU, cpu.to_string());
        }
        let mut child = command.spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the peer said no address");
        match address {
            Ok(address) => Ok(Self { child, address, folder }),
            Err(error) => {
                let _ = child.kill();
                Err(error)
            }
        }
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this thread, and those that it starts, run on one processor alone.
///
/// # Errors
/// If there is no such processor.
pub(super) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("there is no processor {cpu}"))
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Serves the folder `BENCH_FOLDER` as the program of `s3s-fs` does, until killed; prints its
/// address first. On processor `BENCH_CPU` alone, and at most `BENCH_BYTES_PER_SECOND`, if these are given.
///
/// # Errors
/// If it cannot listen.
pub fn serve_files() -> anyhow::Result<()> {
    if let Some(cpu) = variable(CPU) {
        pin(cpu)?;
    }
    let throttle = Arc::new(Throttle::new(variable(RATE).unwrap_or(0)));
    let folder = std::env::var_os(FOLDER).context("no folder")?;
    let files = s3s_fs::FileSystem::new(folder).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let (service, throttle) = (service.clone(), throttle.clone());
            let throttled = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (service, throttle) = (service.clone(), throttle.clone());
                async move {
                    let bytes = length(&request);
                    let answer = Service::call(&service, request).await;
                    throttle.pay(bytes).await;
                    answer
                }
            });
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), throttled).await;
            });
        }
    })
}

fn length(request: &Request<Incoming>) -> u64 {
    let length = request.headers().get(CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Answers late what came too early.
struct Throttle {
    bytes_per_second: u64,
    paid_until: Mutex<Option<Instant>>,
}

impl Throttle {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_until: Mutex::default() }
    }

    async fn pay(&self, bytes: u64) {
        if self.bytes_per_second == 0 || bytes == 0 {
            return;
        }
        let until = {
            let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let from = paid.map_or(now, |paid| paid.max(now));
            let until = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *paid = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}
