//! A worker process, and an agent's side of it.

use crate::{Context, cgroup::Cgroup};
use anyhow::Context as _;
use cells::{
    limits::Limits,
    record::encode_request,
    worker::{
        Client,
        protocol::{Command, Failure, Reply, ServiceStart},
    },
};
use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};
use types::{Epoch, Token};

/// A worker process; killed on drop.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    pub(crate) client: Client,
    /// Must live: a worker whose agent does not listen waits.
    _events: tokio::sync::mpsc::Receiver<cells::worker::protocol::Event>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    /// Starts a worker, in this group if one is given, with these variables.
    pub(crate) async fn start(
        context: &Context,
        cgroup: Option<&Cgroup>,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = context.folder("worker")?;
        let token = Token::load_or_create(&folder.join("token"))?;
        let (socket, program) = (folder.join("socket"), context.cloudskin()?);
        let mut command = match cgroup {
            Some(cgroup) => cgroup.command(program),
            None => std::process::Command::new(program),
        };
        command
            .arg("worker")
            .arg("--socket")
            .arg(&socket)
            .arg("--token-file")
            .arg(folder.join("token"))
            .arg("--data")
            .arg(context.work().join("code"))
            .envs(variables.iter().copied())
            .stdout(Stdio::null());
        let mut child = command.spawn().context("cannot start a worker")?;
        for _ in 0..1000 {
            if let Ok((client, _, events)) = Client::connect(&socket, &token).await {
                return Ok(Self { child, client, _events: events });
            }
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the worker ended with {status}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        anyhow::bail!("the worker did not come up")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn command(&self, command: Command) -> anyhow::Result<Reply> {
        Ok(self.client.command(&command).await?)
    }

    /// Starts the service; its handle.
    pub(crate) async fn serve(&self, start: ServiceStart) -> anyhow::Result<u32> {
        match self.command(Command::Start(Box::new(start))).await? {
            Reply::Started(started) => Ok(started.handle),
            other => anyhow::bail!("unexpected reply: {other:?}"),
        }
    }

    /// Asks a service's cell and waits for its answer.
    pub(crate) async fn ask(&self, handle: u32, path: &str) -> Result<(), Failure> {
        let record = encode_request("POST", path, [].into_iter(), b"")
            .map_err(|error| Failure::new(types::ErrorKind::Invalid, error.to_string()))?;
        self.client.request(handle, &types::random_id(), &record).await.map(drop)
    }
}

/// A service of this module with its state in `folder`.
pub(crate) fn service(module: &Path, folder: &Path) -> anyhow::Result<ServiceStart> {
    let uid = types::random_id();
    Ok(ServiceStart {
        name: "default/bench".into(),
        epoch: Epoch(1),
        incarnation: 0,
        module: module.to_owned(),
        digest: cells::digest_file(module)?,
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        engine: api::service::Engine::Cranelift,
        limits: Limits { memory_bytes: 512 << 20, ..Limits::default() },
        request_timeout: Duration::from_secs(30),
        durability: api::service::Durability::Checkpoint,
        // Later than any measurement: the periodic checkpoint is no part of what is measured.
        checkpoint_every: Duration::from_secs(24 * 3600),
        state_folder: folder.join(&uid),
        objects: None,
        models: Vec::new(),
        uid,
    })
}
