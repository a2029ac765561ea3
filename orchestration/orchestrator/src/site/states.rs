//! States of services on their way between machines.
//!
//! Workers run what others wrote and hold no keys. Between machines the agents of both sites
//! carry the bytes: the source's worker dials its own agent on loopback, the agents talk over
//! mutual TLS, and the target's agent dials its worker. What travels is the same as on one machine
//! behind one line that says for which migration it is:
//!
//! ```text
//! source's agent  u16 length | migration | what the worker sends
//! ```

use super::core::Core;
use crate::trust::Stream;
use api::Problem;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use types::ErrorKind;

/// Longest name of a migration.
const NAME_MAX_BYTES: usize = 256;

/// How long the other agent may take to name the migration, and a worker to dial.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that are carried at once.
const PIECE_BYTES: usize = 256 << 10;

/// Where the worker shall dial to reach the target at `address`: there, or on the way through
/// both agents.
pub(crate) async fn way(
    core: &Arc<Core>,
    migration: &str,
    address: SocketAddr,
) -> Result<SocketAddr, Problem> {
    if core.reach.identity().is_none() {
        return Ok(address);
    }
    let lost = |error: io::Error| {
        let message = format!("cannot send a state to {address}: {error}");
        Problem::new(ErrorKind::Unavailable, message)
    };
    let mut target = core.reach.for_state(address).await?;
    name(&mut target, migration).await.map_err(lost)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(lost)?;
    let here = listener.local_addr().map_err(lost)?;
    core.spawn(async move {
        // What the worker says proves who it is, to the target's worker.
        match timeout(PATIENCE, listener.accept()).await {
            Ok(Ok((worker, _))) => carry(worker, target).await,
            _ => tracing::debug!("no worker came to send its state"),
        }
    });
    Ok(here)
}

/// Leads another agent to the worker that waits for what it brings.
pub(crate) async fn receive(core: &Core, mut source: Stream) {
    let Ok(Ok(migration)) = timeout(PATIENCE, named(&mut source)).await else {
        return tracing::info!("a state came without a name");
    };
    let Some(worker) = core.reach.arrival(&migration) else {
        return tracing::info!(migration, "a state came that nobody waits for");
    };
    match timeout(PATIENCE, TcpStream::connect(worker)).await {
        Ok(Ok(worker)) => tokio::select! {
            () = core.stop.cancelled() => {}
            () = carry(worker, source) => {}
        },
        _ => tracing::info!(migration, "the worker that waited for a state is gone"),
    }
}

async fn name(target: &mut Stream, migration: &str) -> io::Result<()> {
    let size = u16::try_from(migration.len()).map_err(io::Error::other)?;
    let mut line = size.to_le_bytes().to_vec();
    line.extend_from_slice(migration.as_bytes());
    target.write_all(&line).await?;
    target.flush().await
}

async fn named(source: &mut Stream) -> io::Result<String> {
    let size = usize::from(source.read_u16_le().await?);
    if size > NAME_MAX_BYTES {
        return Err(io::Error::other("a migration's name is too long"));
    }
    let mut name = vec![0; size];
    source.read_exact(&mut name).await?;
    String::from_utf8(name).map_err(io::Error::other)
}

/// Carries bytes both ways until one side has said all: the worker of the source hangs up once its
/// state has arrived, and either worker when it gives up.
async fn carry(worker: TcpStream, other: Stream) {
    // An acknowledgement is one byte, and a cell stands still until it comes.
    let _ = worker.set_nodelay(true);
    let (from_worker, to_worker) = tokio::io::split(worker);
    let (from_other, to_other) = tokio::io::split(other);
    let carried = tokio::select! {
        carried = pump(from_worker, to_other) => carried,
        carried = pump(from_other, to_worker) => carried,
    };
    if let Err(error) = carried {
        tracing::debug!(%error, "a state's way broke off");
    }
}

async fn pump(
    from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut from = tokio::io::BufReader::with_capacity(PIECE_BYTES, from);
    tokio::io::copy_buf(&mut from, &mut to).await?;
    to.shutdown().await
}
