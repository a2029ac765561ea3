//! How long a cell stands still when it moves to another worker.

use super::block_on;
use crate::{
    Context, guests,
    report::{Goal, Row},
    stats,
    worker::{Worker, service},
};
use api::link::Transferred;
use cells::worker::protocol::{Command, Reply, ServiceStart};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};
use types::{Epoch, ErrorKind};

const STOP_1: &str = "cells/migrate-stop-1MiB";
const STOP_64: &str = "cells/migrate-stop-64MiB-1%";
const STOP_256: &str = "cells/migrate-stop-256MiB-1%";
const COMPARED_64: &str = "cells/migrate-stop-compared-64MiB-1%";
const COMPARED_256: &str = "cells/migrate-stop-compared-256MiB-1%";
const TOTAL_256: &str = "cells/migrate-total-256MiB";

pub(super) const TRACKED_ROWS: &[&str] = &[STOP_1, STOP_64, STOP_256, TOTAL_256];
pub(super) const COMPARED_ROWS: &[&str] = &[COMPARED_64, COMPARED_256];

/// Each request writes every hundredth page: 1 % of them.
const TOUCH: &str = "/touch/100";

/// Makes workers compare pages instead of asking the kernel which were written.
const COMPARE: (&str, &str) = ("CLOUDSKIN_DIRTY_TRACKING", "compare");

/// With the kernel's notes on written pages.
pub(super) fn tracked(context: &Context) -> anyhow::Result<Vec<Row>> {
    let sizes = [(STOP_1, 1, 4.0), (STOP_64, 64, 8.0), (STOP_256, 256, 12.0)];
    let mut rows = Vec::new();
    let mut last = Vec::new();
    for (name, mebibytes, goal) in sizes {
        last = block_on(migrations(context, mebibytes, &[]))?;
        rows.push(stop_row(name, &last, goal));
    }
    let totals: Vec<f64> = last.iter().map(|moved| moved.cost.total_us as f64 / 1e3).collect();
    let bytes = last.first().map_or(0, |moved| moved.cost.precopy_bytes + moved.cost.final_bytes);
    let plain = plain_copies(bytes as usize, context.count(11, 2))?;
    rows.push(
        Row::value(TOTAL_256, "ms", stats::median(&totals), Goal::Nothing)
            .beside("a plain copy of as many bytes over loopback TCP", stats::median(&plain))
            .with_note(format!(
                "{} MiB, from the first byte to the last acknowledgement",
                bytes >> 20
            )),
    );
    Ok(rows)
}

/// On a kernel without such notes.
pub(super) fn compared(context: &Context) -> anyhow::Result<Vec<Row>> {
    let sizes = [(COMPARED_64, 64, 30.0), (COMPARED_256, 256, 60.0)];
    let row = |(name, mebibytes, goal)| {
        let moves = block_on(migrations(context, mebibytes, &[COMPARE]))?;
        Ok(stop_row(name, &moves, goal))
    };
    sizes.into_iter().map(row).collect()
}

fn stop_row(name: &str, moves: &[Moved], goal: f64) -> Row {
    let gaps: Vec<f64> = moves.iter().map(|moved| moved.gap.as_secs_f64() * 1e3).collect();
    let stops: Vec<f64> = moves.iter().map(|moved| moved.cost.stop_us as f64 / 1e3).collect();
    let sent: Vec<f64> = moves.iter().map(|moved| moved.cost.final_bytes as f64 / 1024.0).collect();
    Row::value(name, "ms", stats::median(&gaps), Goal::AtMost(goal)).with_note(format!(
        "worst {:.2} ms of {}; of it handing over {:.2} ms, {:.0} KiB",
        stats::maximum(&gaps),
        gaps.len(),
        stats::median(&stops),
        stats::median(&sent)
    ))
}

/// One migration.
struct Moved {
    /// From the last answer at the source to the first at the target, without the time that the
    /// request itself takes.
    gap: Duration,
    cost: Transferred,
}

/// Moves a service with a ballast of this size to and fro between two workers, while it is asked
/// without a break.
async fn migrations(
    context: &Context,
    mebibytes: u32,
    variables: &[(&str, &str)],
) -> anyhow::Result<Vec<Moved>> {
    let module = guests::from_c(context, "guests/ballast.c", true)?;
    let folder = context.folder("migrations")?;
    let mut here = Worker::start(context, None, variables).await?;
    let mut there = Worker::start(context, None, variables).await?;
    let mut start = service(&module, &folder)?;
    let mut handle = here.serve(start.clone()).await?;
    here.ask(handle, &format!("/fill/{mebibytes}")).await?;
    let mut moves = Vec::new();
    // The first one touches memory that later ones find.
    for number in 0..=context.count(15, 1) {
        start.epoch = Epoch(start.epoch.0 + 1);
        start.state_folder = folder.join(format!("{number}"));
        let (moved, at) = migrate(&here, &there, handle, &start).await?;
        if number > 0 {
            moves.push(moved);
        }
        handle = at;
        std::mem::swap(&mut here, &mut there);
    }
    remove(&folder);
    Ok(moves)
}

/// Large states; what stays is removed with the work folder.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

async fn migrate(
    source: &Worker,
    target: &Worker,
    handle: u32,
    start: &ServiceStart,
) -> anyhow::Result<(Moved, u32)> {
    let migration = types::random_id();
    let prepare = Command::Prepare {
        migration: migration.clone(),
        start: Box::new(start.clone()),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let Reply::Prepared { address, secret } = target.command(prepare).await? else {
        anyhow::bail!("the target is not prepared")
    };
    let uid = start.uid.clone();
    let transfer = Command::Transfer { migration: migration.clone(), uid, address, secret };
    let moving = async {
        // Requests shall be under way when the copy begins.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Reply::Transferred(cost) = source.command(transfer).await? else {
            anyhow::bail!("nothing was transferred")
        };
        let activate = Command::Activate { migration: migration.clone() };
        let Reply::Activated { handle } = target.command(activate).await? else {
            anyhow::bail!("the target is not active")
        };
        target.ask(handle, TOUCH).await?;
        Ok((cost, handle, Instant::now()))
    };
    let (moved, asked) = tokio::join!(moving, ask_until_refused(source, handle));
    let ((cost, handle, first), (own, last)) = (moved?, asked?);
    source.command(Command::Release { migration }).await?;
    let gap = first.duration_since(last).saturating_sub(own);
    Ok((Moved { gap, cost }, handle))
}

/// Asks without a break until the service has left; a request's own time, and when the last answer
/// came.
async fn ask_until_refused(source: &Worker, handle: u32) -> anyhow::Result<(Duration, Instant)> {
    let mut times = Vec::new();
    let mut last = Instant::now();
    loop {
        let begun = Instant::now();
        match source.ask(handle, TOUCH).await {
            Ok(()) => {
                last = Instant::now();
                times.push((last - begun).as_secs_f64());
            }
            Err(failure) if failure.kind == ErrorKind::Unavailable && !times.is_empty() => {
                return Ok((Duration::from_secs_f64(stats::median(&times)), last));
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// How long so many bytes take over a socket like a migration's, in milliseconds.
fn plain_copies(bytes: usize, count: usize) -> anyhow::Result<Vec<f64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let receiver = std::thread::spawn(move || -> std::io::Result<()> {
        let mut into = vec![1; bytes];
        for _ in 0..count {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut into)?;
            stream.write_all(&[1])?;
        }
        Ok(())
    });
    let from = vec![1; bytes];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        for piece in from.chunks(256 << 10) {
            stream.write_all(piece)?;
        }
        stream.read_exact(&mut [0])?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    receiver.join().map_err(|_| anyhow::anyhow!("the receiver failed"))??;
    Ok(times)
}
