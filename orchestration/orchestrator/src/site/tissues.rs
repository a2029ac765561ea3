//! Ranks of MPI programs whose tissue is at several sites: the steps towards a layout, at this one.

use super::{
    core::{Core, problem},
    services::unexpected,
    state::{CellRecord, Progress},
    states,
    workers::{self, WorkerId},
};
use api::{
    Problem,
    link::Reply,
    tissue::{Door, Purpose, Step},
};
use cells::worker::{
    Client,
    protocol::{self, Command},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use types::ErrorKind;

/// How long a site waits for its own worker to make a program ready.
const READY_MAX: Duration = Duration::from_secs(50);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

/// Has the worker take a step.
pub(crate) async fn step(
    core: &Arc<Core>,
    uid: &str,
    number: u64,
    mut step: Step,
) -> Result<Reply, Problem> {
    types::check_name(uid).map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    if step == Step::Keep {
        return keep(core, uid, number).await;
    }
    let client = match &step {
        Step::Prepare { incarnation, .. } => ready(core, uid, *incarnation).await?,
        _ => running(core, uid).await?,
    };
    let mut files = Vec::new();
    match &mut step {
        Step::Prepare { restore, .. } => {
            for digest in restore {
                files.push(core.modules.snapshot(digest).await?);
            }
        }
        Step::Connect { here, doors } => {
            for door in doors {
                lead_there(core, uid, number, (*here, door)).await?;
            }
        }
        Step::Save => files.push(new_file(core, uid, number)?),
        _ => {}
    }
    let listen = listen_at(core);
    let command =
        Command::Tissue { uid: uid.to_owned(), number, step: step.clone(), listen, files };
    match client.command(&command).await.map_err(problem)? {
        protocol::Reply::Prepared { address, secret } => {
            let address = expect(core, uid, number, &step, address);
            Ok(Reply::Prepared { address, secret })
        }
        protocol::Reply::Transferred(sent) => Ok(Reply::Transferred(sent)),
        protocol::Reply::Written(_) | protocol::Reply::Done => Ok(Reply::Done),
        other => Err(problem(unexpected(&other))),
    }
}

/// Where workers listen for each other: between machines the agents lead there.
fn listen_at(core: &Core) -> IpAddr {
    match core.reach.identity() {
        Some(_) => Ipv4Addr::LOCALHOST.into(),
        None => core.config.address,
    }
}

/// Waits until the program runs, which the control plane's last word has begun.
async fn ready(core: &Arc<Core>, uid: &str, incarnation: u32) -> Result<Client, Problem> {
    let waiting = async {
        loop {
            let now = |cell: &&CellRecord| cell.assignment.incarnation == incarnation;
            let progress = core.read(|inner| {
                inner.state.cells.get(uid).filter(now).map(|cell| cell.progress.clone())
            });
            match progress {
                Some(Progress::Ended { error, .. }) => {
                    let why = error.unwrap_or_else(|| "its ranks here have ended".into());
                    return Err(Problem::new(ErrorKind::Guest, why));
                }
                Some(Progress::Started) if core.try_claim(uid).is_some() => {
                    return running(core, uid).await;
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let late =
        || Problem::new(ErrorKind::Unavailable, "the site is still making the program ready");
    tokio::time::timeout(READY_MAX, waiting).await.map_err(|_| late())?
}

async fn running(core: &Arc<Core>, uid: &str) -> Result<Client, Problem> {
    let worker = workers::running(core, &WorkerId::Cell(uid.to_owned())).await;
    worker.ok_or_else(|| {
        let message = "the worker that had the ranks here is gone";
        Problem::new(ErrorKind::Unavailable, message)
    })
}

/// The worker of a program that waits for others at `address`; where they are to dial.
fn expect(core: &Core, uid: &str, number: u64, step: &Step, address: SocketAddr) -> SocketAddr {
    let Step::Prepare { layout, before, .. } = step else { return address };
    if core.reach.identity().is_none() {
        return address;
    }
    let sites = before.iter().chain([layout]).flat_map(api::tissue::Layout::sites);
    for site in sites {
        for purpose in [Purpose::States, Purpose::Messages] {
            core.reach.expect(&purpose.name(uid, number, site), address);
        }
    }
    core.peers
}

/// Where the worker shall dial to reach another site.
async fn lead_there(
    core: &Arc<Core>,
    uid: &str,
    number: u64,
    (here, door): (u32, &mut Door),
) -> Result<(), Problem> {
    for (purpose, address) in
        [(Purpose::States, &mut door.states), (Purpose::Messages, &mut door.messages)]
    {
        if let Some(address) = address {
            *address = states::way(core, &purpose.name(uid, number, here), *address).await?;
        }
    }
    Ok(())
}

/// The file that a checkpoint is written to.
fn file(core: &Core, uid: &str, number: u64) -> Result<PathBuf, Problem> {
    let folder = core.config.data_dir.join("snapshots");
    std::fs::create_dir_all(&folder).map_err(|e| super::checkpoints::disk(&folder, &e))?;
    Ok(folder.join(format!("{uid}-{number}")))
}

/// The same for one that is to be written; what earlier ones have left is removed.
fn new_file(core: &Core, uid: &str, number: u64) -> Result<PathBuf, Problem> {
    let path = file(core, uid, number)?;
    let folder = path.parent().map(std::fs::read_dir);
    for entry in folder.into_iter().flatten().flatten().flatten() {
        let name = entry.file_name();
        let of_it = name.to_str().and_then(|name| name.strip_prefix(uid)?.strip_prefix('-'));
        if of_it.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            // One that is gone already is what it shall be.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(path)
}

/// Gives what was written to the control plane.
async fn keep(core: &Arc<Core>, uid: &str, number: u64) -> Result<Reply, Problem> {
    let path = file(core, uid, number)?;
    let stored = core.modules.store(&path).await;
    // The control plane has it, or another one will be written.
    let _ = std::fs::remove_file(&path);
    stored.map(|(digest, size_bytes)| Reply::Snapshot { digest, size_bytes })
}

/// Whether it consists of ranks: its worker stays until the control plane says so, for ranks at
/// other sites may go on.
pub(crate) fn is_part(cell: &CellRecord) -> bool {
    matches!(cell.assignment.spec.form, Some(api::cell::Form::Ranks(_)))
}
