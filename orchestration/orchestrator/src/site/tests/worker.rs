//! A worker process without cells: it speaks the worker protocol and serves a counting echo.
//!
//! It is this test program itself, started with a filter that selects [`process`] alone.

use crate::site::folder::CHECKPOINT;
use api::service::Lost;
use cells::worker::protocol::{
    CellStatus, Checkpointed, Command, Event, Failure, Reply, ServiceStart, ServiceState,
    ServiceStatus, Started, WORKER_VERSION, WorkerStatus,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream, UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep},
};
use types::ErrorKind;

/// What selects [`process`] in this program.
pub(super) const ARGS: [&str; 5] =
    ["--exact", "site::tests::worker::process", "--ignored", "--nocapture", "--"];

/// An option that makes it speak another version.
pub(super) const ALIEN: &str = "alien";

/// Nobody needs it any more after so long without an agent.
const ALONE: Duration = Duration::from_secs(4);

#[test]
#[ignore = "needs an agent: it is the worker process that the other tests start"]
fn process() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)).cloned()
    };
    let (Some(socket), Some(token)) = (value("--socket"), value("--token-file")) else { return };
    let token = types::Token::load(token.as_ref()).unwrap();
    let version = WORKER_VERSION + u8::from(args.iter().any(|arg| arg == ALIEN));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(PathBuf::from(socket), token, version));
}

struct Worker {
    version: u8,
    services: Mutex<HashMap<String, Service>>,
    cell: Mutex<Option<CellStatus>>,
    events: Mutex<Option<Arc<AsyncMutex<OwnedWriteHalf>>>>,
    handles: AtomicU64,
}

struct Service {
    start: ServiceStart,
    handle: u32,
    state: ServiceState,
    migration: Option<String>,
    message: String,
    memory: Memory,
    answered: u64,
    last: Option<Checkpointed>,
}

/// What a cell would have in its linear memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    count: u64,
    sequence: u64,
    answers: HashMap<String, Vec<u8>>,
}

async fn serve(socket: PathBuf, token: types::Token, version: u8) {
    let listener = UnixListener::bind(&socket).unwrap();
    let worker = Arc::new(Worker {
        version,
        services: Mutex::default(),
        cell: Mutex::default(),
        events: Mutex::default(),
        handles: AtomicU64::new(1),
    });
    let connected = Arc::new(AtomicU64::new(0));
    let mut alone_since = Instant::now();
    loop {
        if connected.load(Ordering::Relaxed) > 0 {
            alone_since = Instant::now();
        }
        if alone_since.elapsed() > ALONE {
            return;
        }
        let Ok(accepted) = tokio::time::timeout(ALONE / 8, listener.accept()).await else {
            continue;
        };
        let (worker, token, connected) = (worker.clone(), token.clone(), connected.clone());
        let stream = accepted.unwrap().0;
        tokio::spawn(async move {
            connected.fetch_add(1, Ordering::Relaxed);
            worker.connection(stream, &token).await;
            connected.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

impl Worker {
    fn services(&self) -> MutexGuard<'_, HashMap<String, Service>> {
        self.services.lock().unwrap()
    }

    async fn connection(self: Arc<Self>, stream: UnixStream, token: &types::Token) {
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(AsyncMutex::new(writer));
        let mut admitted = false;
        while let Some((version, kind, id, payload)) = read_frame(&mut reader).await {
            if version != self.version {
                return;
            }
            let (worker, writer) = (self.clone(), writer.clone());
            if kind == 4 {
                tokio::spawn(async move {
                    match worker.request(&payload).await {
                        Ok(answer) => worker.write(&writer, 5, id, &answer).await,
                        Err(failure) => worker.write_message(&writer, 3, id, &failure).await,
                    }
                });
                continue;
            }
            let command: Command = postcard::from_bytes(&payload).unwrap();
            if let Command::Hello { token: shown } = &command {
                admitted = token.admits(shown);
                *self.events.lock().unwrap() = Some(writer.clone());
            }
            assert!(admitted, "the first command must show the token");
            tokio::spawn(async move {
                match worker.clone().command(command).await {
                    Ok(reply) => worker.write_message(&writer, 2, id, &reply).await,
                    Err(failure) => worker.write_message(&writer, 3, id, &failure).await,
                }
            });
        }
    }

    async fn write(&self, writer: &AsyncMutex<OwnedWriteHalf>, kind: u8, id: u64, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
        frame.extend([self.version, kind, 0, 0]);
        frame.extend(id.to_le_bytes());
        frame.extend(payload);
        // An agent that is gone does not read.
        let _ = writer.lock().await.write_all(&frame).await;
    }

    async fn write_message(
        &self,
        writer: &AsyncMutex<OwnedWriteHalf>,
        kind: u8,
        id: u64,
        message: &impl Serialize,
    ) {
        self.write(writer, kind, id, &postcard::to_stdvec(message).unwrap()).await;
    }

    async fn event(&self, event: Event) {
        let writer = self.events.lock().unwrap().clone();
        if let Some(writer) = writer {
            self.write_message(&writer, 6, 0, &event).await;
        }
    }

    async fn request(&self, payload: &[u8]) -> Result<Vec<u8>, Failure> {
        let handle = u32::from_le_bytes(payload[..4].try_into().unwrap());
        let id_size = usize::from(u16::from_le_bytes(payload[4..6].try_into().unwrap()));
        let id = String::from_utf8(payload[6..6 + id_size].to_vec()).unwrap();
        let request = Request::read(&payload[6 + id_size..]);
        match request.path.as_str() {
            "/slow" => sleep(Duration::from_millis(150)).await,
            "/hang" => sleep(Duration::from_secs(600)).await,
            "/crash" => std::process::abort(),
            "/guest" => return Err(Failure::new(ErrorKind::Guest, "the cell trapped in `f`")),
            "/full" => return Err(Failure::new(ErrorKind::Exhausted, "too many requests wait")),
            _ => {}
        }
        if request.path == "/fail" {
            let uid = self.change(handle, |service| {
                service.state = ServiceState::Failed;
                service.message = "the guest trapped".into();
                service.start.uid.clone()
            })?;
            self.event(Event::Failed { uid, message: "the guest trapped".into() }).await;
            return Err(Failure::new(ErrorKind::Guest, "the guest trapped"));
        }
        let (answer, each) = self.change(handle, |service| {
            if service.state != ServiceState::Serving {
                return Err(Failure::new(ErrorKind::Fenced, "not served here"));
            }
            let memory = &mut service.memory;
            let answer = match memory.answers.get(&id) {
                Some(answer) => answer.clone(),
                None => {
                    memory.count += 1;
                    service.answered += 1;
                    let answer = request.answer(memory.count);
                    memory.answers.insert(id, answer.clone());
                    answer
                }
            };
            let each = service.start.env.contains_key("CHECKPOINT_EACH");
            Ok((answer, each.then(|| service.start.uid.clone())))
        })??;
        if let Some(uid) = each {
            let written = self.checkpoint(&uid)?;
            self.event(Event::Checkpointed(written)).await;
        }
        Ok(answer)
    }

    fn change<T>(&self, handle: u32, change: impl FnOnce(&mut Service) -> T) -> Result<T, Failure> {
        let mut services = self.services();
        let service = services.values_mut().find(|service| service.handle == handle);
        let service =
            service.ok_or_else(|| Failure::new(ErrorKind::Unavailable, "no such handle"))?;
        Ok(change(service))
    }

    fn checkpoint(&self, uid: &str) -> Result<Checkpointed, Failure> {
        let mut services = self.services();
        let service = services.get_mut(uid).ok_or_else(missing)?;
        service.memory.sequence += 1;
        let path = service.start.state_folder.join(CHECKPOINT);
        let bytes = serde_json::to_vec(&service.memory).unwrap();
        let beside = service.start.state_folder.join("beside");
        std::fs::write(&beside, &bytes).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        let written = Checkpointed {
            uid: uid.into(),
            epoch: service.start.epoch,
            incarnation: service.start.incarnation,
            sequence: service.memory.sequence,
            path,
            size_bytes: bytes.len() as u64,
            at: 1,
        };
        service.last = Some(written.clone());
        Ok(written)
    }

    fn insert(&self, start: ServiceStart, state: ServiceState, memory: Memory) -> u32 {
        let handle = self.handles.fetch_add(1, Ordering::Relaxed) as u32;
        let service = Service {
            handle,
            state,
            migration: None,
            message: String::new(),
            memory,
            answered: 0,
            last: None,
            start,
        };
        self.services().insert(service.start.uid.clone(), service);
        handle
    }

    fn start(&self, start: ServiceStart) -> Result<Reply, Failure> {
        // An agent that died may have begun it; who asks again means the next incarnation.
        let life = |start: &ServiceStart| (start.epoch, start.incarnation);
        let held = self.services().remove(&start.uid);
        assert!(held.is_none_or(|held| life(&held.start) < life(&start)), "two writers");
        if start.env.contains_key("BROKEN") {
            return Err(Failure::new(ErrorKind::Invalid, "the module is broken"));
        }
        let saved = std::fs::read(start.state_folder.join(CHECKPOINT)).ok();
        let restored = saved.is_some();
        let memory = saved.map(|saved| memory_of(&saved)).unwrap_or_default();
        let lost = restored.then(|| Lost {
            epoch: start.epoch,
            incarnation: start.incarnation,
            at: 1,
            count: 0,
            request_ids: Vec::new(),
        });
        let handle = self.insert(start, ServiceState::Serving, memory);
        Ok(Reply::Started(Started { handle, lost: lost.into_iter().collect(), restored }))
    }

    async fn command(self: Arc<Self>, command: Command) -> Result<Reply, Failure> {
        match command {
            Command::Hello { .. } => return Ok(Reply::Hello(self.status())),
            Command::Status => return Ok(Reply::Status(self.status())),
            // An agent does without.
            Command::Lane { .. } | Command::Tissue { .. } => {
                return Err(Failure::new(ErrorKind::Unsupported, "not here"));
            }
            Command::Start(start) => return self.start(*start),
            Command::Stop { uid, checkpoint } => {
                if checkpoint {
                    self.checkpoint(&uid)?;
                }
                self.services().remove(&uid).ok_or_else(missing)?;
            }
            Command::Checkpoint { uid } => {
                let written = self.checkpoint(&uid)?;
                self.event(Event::Checkpointed(written.clone())).await;
                return Ok(Reply::Written(written));
            }
            Command::Prepare { migration, start, listen } => {
                return self.prepare(migration, *start, listen).await;
            }
            Command::Transfer { migration, uid, address, secret } => {
                return self.transfer(migration, &uid, address, &secret).await;
            }
            Command::Activate { migration } => {
                let handle = self.of_migration(&migration, |service| {
                    service.state = ServiceState::Serving;
                    service.migration = None;
                    service.handle
                });
                return handle.map(|handle| Reply::Activated { handle }).ok_or_else(missing);
            }
            Command::Abort { migration } => {
                let prepared = self.of_migration(&migration, |service| {
                    let prepared = service.state == ServiceState::Prepared;
                    service.state = ServiceState::Serving;
                    service.migration = None;
                    prepared.then(|| service.start.uid.clone())
                });
                if let Some(uid) = prepared.flatten() {
                    self.services().remove(&uid);
                }
            }
            Command::Release { migration } => {
                let uid = self.of_migration(&migration, |service| service.start.uid.clone());
                if let Some(service) = uid.and_then(|uid| self.services().remove(&uid)) {
                    let _ = std::fs::remove_file(service.start.state_folder.join(CHECKPOINT));
                }
            }
            Command::Fence { uid, fenced } => {
                let mut services = self.services();
                let service = services.get_mut(&uid).ok_or_else(missing)?;
                service.state = if fenced { ServiceState::Fenced } else { ServiceState::Serving };
            }
            Command::Logs { offset, .. } => {
                let bytes = b"a line\n".to_vec();
                return Ok(Reply::Logs { offset, bytes, ended: false });
            }
            Command::Snapshot { uid, path } => {
                let written = self.checkpoint(&uid)?;
                std::fs::copy(&written.path, &path).unwrap();
                return Ok(Reply::Written(written));
            }
            Command::Run(cell) => self.run(*cell),
            Command::Grant { .. } => {}
            Command::Shutdown { .. } => {
                tokio::spawn(async {
                    sleep(Duration::from_millis(20)).await;
                    std::process::exit(0);
                });
            }
        }
        Ok(Reply::Done)
    }

    fn of_migration<T>(
        &self,
        migration: &str,
        change: impl FnOnce(&mut Service) -> T,
    ) -> Option<T> {
        let mut services = self.services();
        let service = services.values_mut().find(|s| s.migration.as_deref() == Some(migration));
        service.map(change)
    }

    fn run(self: Arc<Self>, cell: cells::worker::protocol::CellStart) {
        std::fs::write(&cell.log, format!("ran {}\n", cell.args.join(" "))).unwrap();
        let status = CellStatus { uid: cell.uid, exit_code: None, error: None, lost: false };
        *self.cell.lock().unwrap() = Some(status.clone());
        if cell.args.iter().any(|arg| arg == "for-ever") {
            return;
        }
        tokio::spawn(async move {
            sleep(Duration::from_millis(20)).await;
            self.event(Event::Exited(CellStatus { exit_code: Some(3), ..status })).await;
        });
    }

    async fn prepare(
        self: Arc<Self>,
        migration: String,
        start: ServiceStart,
        listen: std::net::IpAddr,
    ) -> Result<Reply, Failure> {
        let listener = TcpListener::bind((listen, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (uid, folder) = (start.uid.clone(), start.state_folder.clone());
        self.insert(start, ServiceState::Prepared, Memory::default());
        self.services().get_mut(&uid).unwrap().migration = Some(migration);
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            let Some(state) = bytes.strip_prefix(b"secret".as_slice()) else { return };
            std::fs::write(folder.join(CHECKPOINT), state).unwrap();
            if let Some(service) = self.services().get_mut(&uid) {
                service.memory = serde_json::from_slice(state).unwrap();
            }
            stream.write_all(b"ok").await.unwrap();
        });
        Ok(Reply::Prepared { address, secret: "secret".into() })
    }

    async fn transfer(
        &self,
        migration: String,
        uid: &str,
        address: std::net::SocketAddr,
        secret: &str,
    ) -> Result<Reply, Failure> {
        let refused = |error: std::io::Error| {
            Failure::new(ErrorKind::Unavailable, format!("cannot reach {address}: {error}"))
        };
        let mut stream = TcpStream::connect(address).await.map_err(refused)?;
        let hangs = {
            let mut services = self.services();
            let service = services.get_mut(uid).ok_or_else(missing)?;
            service.migration = Some(migration);
            service.start.env.contains_key("TRANSFER_HANGS")
        };
        // Pre-copy: it is served meanwhile.
        sleep(Duration::from_millis(30)).await;
        while hangs && self.services().get(uid).is_some_and(|s| s.migration.is_some()) {
            sleep(Duration::from_millis(5)).await;
        }
        if hangs {
            return Err(Failure::new(ErrorKind::Conflict, "the migration was aborted"));
        }
        let state = {
            let mut services = self.services();
            let service = services.get_mut(uid).ok_or_else(missing)?;
            service.state = ServiceState::HandedOver;
            serde_json::to_vec(&service.memory).unwrap()
        };
        stream.write_all(secret.as_bytes()).await.unwrap();
        stream.write_all(&state).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"ok");
        Ok(Reply::Transferred(api::link::Transferred::default()))
    }

    fn status(&self) -> WorkerStatus {
        let services = self.services();
        let services = services.values().map(|service| ServiceStatus {
            uid: service.start.uid.clone(),
            handle: service.handle,
            epoch: service.start.epoch,
            incarnation: service.start.incarnation,
            state: service.state,
            message: service.message.clone(),
            requests_answered: service.answered,
            cpu_us: 0,
            last_checkpoint: service.last.clone(),
            memory_bytes: 65_536,
            migration: service.migration.clone(),
            lost: Vec::new(),
        });
        WorkerStatus {
            pid: std::process::id(),
            services: services.collect(),
            cell: self.cell.lock().unwrap().clone(),
        }
    }
}

/// What a checkpoint holds: ours as it is, or somewhere in a real snapshot.
fn memory_of(saved: &[u8]) -> Memory {
    let at = saved.windows(8).position(|bytes| bytes == b"{\"count\"").unwrap();
    let mut found = serde_json::Deserializer::from_slice(&saved[at..]).into_iter();
    found.next().unwrap().unwrap()
}

fn missing() -> Failure {
    Failure::new(ErrorKind::NotFound, "it is not here")
}

async fn read_frame(reader: &mut OwnedReadHalf) -> Option<(u8, u8, u64, Vec<u8>)> {
    let mut header = [0; 16];
    reader.read_exact(&mut header).await.ok()?;
    let size = u32::from_le_bytes(header[..4].try_into().unwrap());
    let mut payload = vec![0; size as usize];
    reader.read_exact(&mut payload).await.ok()?;
    Some((header[4], header[5], u64::from_le_bytes(header[8..].try_into().unwrap()), payload))
}

/// A request as a guest reads it.
struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(frame: &[u8]) -> Self {
        let mut rest = &frame[5..];
        let mut take = |size: usize| {
            let (head, tail) = rest.split_at(size);
            rest = tail;
            head.to_vec()
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let number = |bytes: Vec<u8>| usize::from(u16::from_le_bytes(bytes.try_into().unwrap()));
        let method_size = usize::from(take(1)[0]);
        let method = text(take(method_size));
        let path_size = number(take(2));
        let path = text(take(path_size));
        let headers = (0..number(take(2)))
            .map(|_| {
                let name_size = number(take(2));
                let name = text(take(name_size));
                let value_size = number(take(2));
                (name, text(take(value_size)))
            })
            .collect();
        Self { method, path, headers, body: rest.to_vec() }
    }

    /// The count, and what was asked.
    fn answer(&self, count: u64) -> Vec<u8> {
        let frame = match self.path.as_str() {
            "/headers" => {
                let list: Vec<String> =
                    self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                cells::record::encode_answer(200, "text/plain", list.join("\n").as_bytes())
            }
            "/status" => {
                let body = format!("{{\"count\": {count}}}");
                cells::record::encode_answer(200, "application/json", body.as_bytes())
            }
            "/moved" => cells::record::encode_answer(302, "", b""),
            "/huge" => cells::record::encode_answer(200, "application/json", &[b' '; 300_000]),
            "/informational" => cells::record::encode_answer(101, "", b""),
            "/bad-type" => cells::record::encode_answer(200, "a\r\nb: c", b""),
            path => {
                let body = format!("{count} {} {path} {}", self.method, self.body.len());
                cells::record::encode_answer(200, "text/plain", body.as_bytes())
            }
        };
        frame.to_vec()
    }
}
