//! The demo from the first process to the last.

use crate::{
    Machine, Options, Played, Result, Seen, Switch, continuum::Continuum, live, probe::Probe,
};
use serde_json::Value;
use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

/// The service that moves.
const SERVICE: &str = "street-counter";

/// The same that stays where it is.
const REFERENCE: &str = "street-counter-reference";

/// Everything that was seen of one run.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it ran on.
    pub machine: Machine,
    /// The parts as they were played to the service that moved.
    pub played: Vec<Played>,
    /// The same to the one that did not.
    pub reference: Vec<Played>,
    /// What the cell itself says how many frames it took; absent if it says nothing.
    pub cell_counter: Option<u64>,
    /// Every question to the name server.
    pub seen: Vec<Seen>,
    /// Where the service was first.
    pub home: IpAddr,
    /// Its moves, as addresses.
    pub switches: Vec<Switch>,
    /// The sites' names by address.
    pub sites: Vec<(IpAddr, String)>,
    /// `cloudskin why` afterwards.
    pub why: String,
}

/// Runs the demo; `tell` hears what happens.
///
/// # Errors
/// If it cannot be run to its end. The continuum is ended then too, and its logs are kept.
pub async fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Record> {
    tell("starting a control plane, an edge site and a cloud site");
    let continuum = Continuum::up(&options.cloudskin, &options.work).await?;
    continuum.view.apply(&options.manifest, SERVICE).await?;
    let (site, home) = continuum.view.home(SERVICE).await?;
    tell(&format!("{SERVICE} answers at {site}"));
    if options.quiet_wait_s > 0 {
        tell(&format!("waiting until the machine is quiet, {} s at most", options.quiet_wait_s));
    }
    let mut machine = Machine::before(options.quiet_wait_s).await;
    let probe = Probe::start(continuum.view.dns, &continuum.view.name(SERVICE))?;
    let mut played = Vec::new();
    for part in &options.parts {
        tell(&format!("{} frames at {} frames a second", part.frames, part.fps));
        played.push(live::live(&continuum, &options.clip, SERVICE, part, &mut tell).await?);
    }
    machine.after().await;
    let cell_counter = continuum.view.totals(SERVICE).await?.get("frame").and_then(Value::as_u64);
    tell("the same frames to an instance that does not move");
    continuum.view.apply(&options.manifest, REFERENCE).await?;
    let mut reference = Vec::new();
    for part in &options.parts {
        reference.push(live::unmoved(&continuum, &options.clip, REFERENCE, part).await?);
    }
    let seen = probe.finish()?;
    let why = continuum.why(SERVICE).await?;
    let switches = switches(&continuum, &played)?;
    let addresses = switches.iter().flat_map(|switch| [switch.from, switch.to]);
    let mut sites: Vec<_> = addresses.map(|at| (at, continuum.view.site(at))).collect();
    sites.sort();
    sites.dedup();
    continuum.down().await?;
    Ok(Record { machine, played, reference, cell_counter, seen, home, switches, sites, why })
}

fn switches(continuum: &Continuum, played: &[Played]) -> Result<Vec<Switch>> {
    let moves = played.iter().flat_map(|played| &played.moves);
    let switch = |moved: &live::Moved| {
        Ok(Switch {
            from: continuum.view.address(&moved.from)?,
            to: continuum.view.address(&moved.to)?,
            requested_ms: moved.requested_ms,
            switched_ms: moved.switched_ms,
        })
    };
    moves.map(switch).collect()
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    elapsed.as_secs_f64() * 1000.0
}
