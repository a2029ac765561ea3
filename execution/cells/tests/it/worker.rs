//! A worker process of this test binary, and an agent's side of it.

use bytes::Bytes;
use cells::{
    Cache, Compiler, Runtime,
    limits::Limits,
    record::{Answer, decode_answer, encode_request},
    worker::{
        self, Client,
        protocol::{Command, Event, Failure, Reply, ServiceStart},
    },
};
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};
use tokio::sync::mpsc;
use types::{Epoch, Token};

const FOLDER: &str = "CLOUDSKIN_TEST_WORKER";

/// Not a test: the worker process that the tests start.
#[test]
fn worker_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("code")).unwrap();
    worker::serve(worker::Config {
        socket: folder.join("socket"),
        token: Token::load(&folder.join("token")).unwrap(),
        runtime: Runtime::new(cache, Compiler::Here),
        exit_without_agent_after: worker::EXIT_WITHOUT_AGENT_AFTER,
    })
    .unwrap();
}

/// A worker process; killed on drop.
pub(crate) struct Worker {
    child: Child,
    folder: PathBuf,
    pub(crate) client: Client,
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    pub(crate) async fn start(folder: &Path) -> Self {
        let folder = folder.join(types::random_id());
        std::fs::create_dir(&folder).unwrap();
        let token = Token::load_or_create(&folder.join("token")).unwrap();
        #[expect(clippy::zombie_processes, reason = "`Drop` waits; a panic ends the test anyway")]
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker::worker_process", "--nocapture"])
            .env(FOLDER, &folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let socket = folder.join("socket");
        for _ in 0..500 {
            if let Ok((client, _, events)) = Client::connect(&socket, &token).await {
                return Self { child, folder, client, events };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the worker did not come up");
    }

    /// kill -9, and certainty that it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn reconnect(&mut self) {
        let token = Token::load(&self.folder.join("token")).unwrap();
        let (client, _, events) =
            Client::connect(&self.folder.join("socket"), &token).await.unwrap();
        self.client = client;
        self.events = events;
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Reply, Failure> {
        self.client.command(&command).await
    }

    /// Starts the service; its handle.
    pub(crate) async fn serve(&self, start: &ServiceStart) -> u32 {
        match self.command(Command::Start(Box::new(start.clone()))).await.unwrap() {
            Reply::Started(started) => started.handle,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn ask(&self, handle: u32, id: &str, path: &str) -> Result<Answer, Failure> {
        self.post(handle, id, path, b"").await
    }

    pub(crate) async fn post(
        &self,
        handle: u32,
        id: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let record: Bytes = encode_request("POST", path, [].into_iter(), body).unwrap();
        let frame = self.client.request(handle, id, &record).await?;
        Ok(decode_answer(&frame).unwrap())
    }

    /// The text of an answer that must succeed.
    pub(crate) async fn text(&self, handle: u32, id: &str, path: &str) -> String {
        let answer = self.ask(handle, id, path).await.unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

/// A service of this module with its state in `folder`.
pub(crate) fn service(module: &Path, folder: &Path) -> ServiceStart {
    ServiceStart {
        uid: types::random_id(),
        name: "default/test".into(),
        epoch: Epoch(1),
        incarnation: 0,
        module: module.to_owned(),
        digest: cells::digest_file(module).unwrap(),
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        engine: api::service::Engine::Cranelift,
        limits: Limits { memory_bytes: 512 << 20, ..Limits::default() },
        request_timeout: Duration::from_secs(5),
        durability: api::service::Durability::Checkpoint,
        checkpoint_every: Duration::from_secs(3600),
        state_folder: folder.join(types::random_id()),
        objects: None,
        models: Vec::new(),
    }
}
