//! The same load to one instance, and what its policy said meanwhile.

use super::setup::{CAMERAS, DISTANCE, POLICY, SERVICE, STAND_IN, STEP_S, scaled};
use crate::{Error, Result, continuum::View, run::unix_ms};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
    policy::PolicyStatus,
};
use orchestrator::{
    camera::{self, Pace, Report},
    client::Client,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How much longer than its load a play may take before it counts as stuck.
const LATE: Duration = Duration::from_secs(60);
/// Between two looks at what a policy said.
const LOOK: Duration = Duration::from_millis(300);
/// Frames that may wait: a minute of what the edge can do.
const QUEUE_MAX: usize = 1024;
/// How fast frames go where only the rate of answers matters.
const FLOOD_FPS: f64 = 1000.0;
/// The site that costs money.
const CLOUD: &str = "cloud";

/// One frame. Times are milliseconds since the first was due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// When it was due.
    pub due_ms: f64,
    /// From then to its answer.
    pub latency_ms: f64,
    /// Whether it was answered.
    pub answered: bool,
    /// Whether the cloud was asked last.
    pub cloud: bool,
}

/// One run of a policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tick {
    /// Milliseconds since 1970.
    pub at_ms: f64,
    /// Where the service was.
    pub site: String,
    /// Where to; nothing if it stayed.
    pub go: Option<String>,
    /// Why.
    pub reason: String,
    /// Why the reactive rule decided in its place, if it did.
    pub fallback: Option<String>,
    /// What it expected.
    pub prediction: Value,
}

/// One move of the service. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Where it was.
    pub from: String,
    /// Where it went.
    pub to: String,
    /// When it was decided.
    pub at_ms: f64,
    /// When it was over.
    pub ended_ms: f64,
    /// How long the service stood, in microseconds.
    pub stop_us: u64,
    /// Bytes of its state.
    pub bytes: u64,
    /// The reason that was recorded.
    pub reason: String,
}

/// Everything that was seen of one instance.
#[derive(Debug, Clone)]
pub struct Played {
    /// The policy's name.
    pub policy: String,
    /// Its frames.
    pub frames: Vec<Frame>,
    /// The cameras' own account.
    pub report: Report,
    /// When the first frame was due, in milliseconds since 1970.
    pub started_ms: f64,
    /// The policy's runs.
    pub ticks: Vec<Tick>,
    /// The service's moves.
    pub moves: Vec<Move>,
    /// Moves that were decided and came to nothing, and why.
    pub failed: Vec<String>,
}

/// What is known of a play while it goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    pub(super) answered: u64,
    pub(super) latency_ms: f64,
    pub(super) cloud: bool,
}

/// Where it can be read.
pub(super) type Shown = Arc<Mutex<Live>>;

/// Plays frames as `fps` says, a step of recorded time for each, to the service of a tenant.
pub(super) async fn play(view: &View, clip: &Path, fps: &[f64], shown: Shown) -> Result<Played> {
    let cloud = view.address(CLOUD)?;
    let stop = CancellationToken::new();
    let _ended_with_this = stop.clone().drop_guard();
    let standing_in = tokio::spawn(camera::play(stand_in(view, clip), stop.clone(), |_| {}));
    let watching = tokio::spawn(watch(view.client.clone(), stop.clone()));
    let mut options = view.camera(clip, SERVICE);
    let pace = Pace { step: scaled(f64::from(STEP_S)), fps: fps.to_vec() };
    let limit = pace.duration() + LATE;
    options.pace = Some(pace);
    (options.repeat, options.connections, options.queue_max) = (true, CAMERAS, QUEUE_MAX);
    options.distances = [(cloud, DISTANCE)].into();
    let mut frames = Vec::new();
    let playing = camera::play(options, CancellationToken::new(), |answer| {
        let frame = frame(answer, cloud);
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Live {
            answered: shown.answered + u64::from(frame.answered),
            latency_ms: frame.latency_ms,
            cloud: frame.cloud,
        };
        frames.push(frame);
    });
    let stuck = |_| Error::Stuck { limit_s: limit.as_secs(), frames: fps.len() as u64 };
    let report = timeout(limit, playing).await.map_err(stuck)??;
    stop.cancel();
    let ticks = watching.await.map_err(|_| Error::Task)?;
    standing_in.await.map_err(|_| Error::Task)??;
    let decisions = decisions(&view.client).await?;
    let started_ms = report.started_unix_ms as f64;
    let (moves, failed) = (moves(&decisions), failed(&decisions, started_ms));
    let policy = view.client.tenant().to_owned();
    Ok(Played { policy, frames, report, started_ms, ticks, moves, failed })
}

fn frame(answer: &camera::Answer, cloud: IpAddr) -> Frame {
    Frame {
        due_ms: answer.due_ms,
        latency_ms: answer.latency_ms,
        answered: answer.status == Some(200),
        cloud: answer.address.ip() == cloud,
    }
}

/// A frame a second to the instance that stands in at the cloud.
fn stand_in(view: &View, clip: &Path) -> camera::Options {
    let mut options = view.camera(clip, STAND_IN);
    (options.fps, options.repeat) = (1.0, true);
    options
}

/// Notes each run of the policy until it is stopped.
pub(crate) async fn watch(client: Client, stop: CancellationToken) -> Vec<Tick> {
    let (mut ticks, mut last) = (Vec::new(), None);
    while !stop.is_cancelled() {
        // What could not be read is read at the next look.
        if let Ok(policy) = client.get(Kind::Policy, POLICY).await {
            let status: PolicyStatus = policy.status();
            if status.last_run != last {
                last = status.last_run;
                ticks.extend(tick(&status));
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
    ticks
}

fn tick(status: &PolicyStatus) -> Option<Tick> {
    let said = status.last.clone()?;
    Some(Tick {
        at_ms: status.last_run.map_or_else(unix_ms, |at| at as f64),
        site: status.site.clone().unwrap_or_default(),
        go: said.go,
        reason: said.reason,
        fallback: said.fallback,
        prediction: said.prediction.unwrap_or_default(),
    })
}

/// What the policy decided.
pub(crate) async fn decisions(client: &Client) -> Result<Vec<Resource>> {
    Ok(client.list(Kind::Decision, &[("policy".into(), POLICY.into())]).await?.items)
}

/// The service's moves, the first first.
pub(crate) fn moves(decisions: &[Resource]) -> Vec<Move> {
    let mut moves: Vec<_> = decisions.iter().filter_map(moved).collect();
    moves.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    moves
}

/// Moves that came to nothing: when, and what is known of them.
fn failed(decisions: &[Resource], started_ms: f64) -> Vec<String> {
    let one = |decision: &Resource| {
        let spec: DecisionSpec = decision.spec().ok()?;
        let DecisionStatus { outcome, observed, ended } = decision.status();
        let after_s = |at: u64| (at as f64 - started_ms) / 1000.0;
        (spec.action == "migrate" && outcome != "done").then(|| {
            let ended =
                ended.map_or("not ended".into(), |at| format!("ended at {:.1} s", after_s(at)));
            format!("decided at {:.1} s, {outcome}, {ended}: {observed}", after_s(spec.at))
        })
    };
    decisions.iter().filter_map(one).collect()
}

fn moved(decision: &Resource) -> Option<Move> {
    let spec: DecisionSpec = decision.spec().ok()?;
    let status: DecisionStatus = decision.status();
    let input = |name: &str| spec.inputs.get(name).and_then(Value::as_str).map(str::to_owned);
    let measure = |name: &str| status.observed.get(name).and_then(Value::as_u64).unwrap_or(0);
    let done = spec.action == "migrate" && status.outcome == "done";
    let (from, to) = (spec.prediction["at"].as_str(), spec.prediction["to"].as_str());
    done.then(|| Move {
        from: input("from").or(from.map(str::to_owned)).unwrap_or_default(),
        to: input("to").or(to.map(str::to_owned)).unwrap_or_default(),
        at_ms: spec.at as f64,
        ended_ms: status.ended.unwrap_or(spec.at) as f64,
        stop_us: measure("stopUs"),
        bytes: measure("precopyBytes") + measure("finalBytes"),
        reason: spec.reason.clone(),
    })
}

/// Sends frames as fast as they are answered; answers how many that were each second, once each
/// camera had an answer.
pub(super) async fn flood(view: &View, clip: &Path, service: &str, frames: u64) -> Result<f64> {
    let mut options = view.camera(clip, service);
    (options.fps, options.repeat) = (FLOOD_FPS, true);
    (options.connections, options.frames) = (CAMERAS, Some(frames));
    let mut answered = Vec::new();
    let playing = camera::play(options, CancellationToken::new(), |answer| {
        answered.extend(answer.status.map(|_| answer.answered_ms));
    });
    let stuck = |_| Error::Stuck { limit_s: LATE.as_secs(), frames };
    timeout(LATE, playing).await.map_err(stuck)??;
    Ok(rate(answered.get(CAMERAS - 1..).unwrap_or_default()))
}

/// How many came each second after the first, by the milliseconds when they did.
fn rate(times: &[f64]) -> f64 {
    let [first, .., last] = times else { return 0.0 };
    (times.len() - 1) as f64 / ((last - first) / 1000.0).max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_what_came_after_the_first() {
        assert!((rate(&[500.0, 600.0, 700.0, 1000.0]) - 6.0).abs() < 1e-9);
        assert_eq!((rate(&[]), rate(&[1.0])), (0.0, 0.0));
    }
}
