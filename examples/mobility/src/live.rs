//! One play of a piece of the video, with the service's moves in it.

use crate::{Error, Leg, Part, Result, continuum::Continuum, run::unix_ms};
use api::{
    Kind, Resource,
    decision::{DecisionSpec, DecisionStatus},
};
use orchestrator::{
    camera::{self, Answer, Report},
    client::{
        Client,
        migrate::{self, Step},
        wait,
    },
};
use serde::Serialize;
use std::{ops::ControlFlow, path::Path, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use types::Period;

/// How much longer than its video a play may take before it counts as stuck.
const LATE: Duration = Duration::from_secs(60);

/// How long one move may take.
const MOVE_LIMIT: Period = Period::from_millis(30_000);

/// How long its last steps may take to be noted.
const NOTE_LIMIT: Duration = Duration::from_secs(5);

/// The step in which names are switched; those up to it follow one another.
const SWITCH_STEP: &str = "name";

/// The step that ends the service at the source.
const LAST_STEP: &str = "release";

/// How fast frames go where only the answers matter.
const FAST_FPS: f64 = 1000.0;

/// Everything that was seen of one play.
#[derive(Debug, Clone)]
pub struct Played {
    /// What was played.
    pub part: Part,
    /// The answers in the order in which they came.
    pub answers: Vec<Answer>,
    /// The camera's own account.
    pub report: Report,
    /// The service's moves.
    pub moves: Vec<Moved>,
    /// When the first frame was due, in milliseconds since 1970.
    pub started_ms: f64,
}

/// One move of the service. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// Where it was.
    pub from: String,
    /// Where it went.
    pub to: String,
    /// When it was asked for.
    pub requested_ms: f64,
    /// When names had been switched.
    pub switched_ms: f64,
    /// When it was over.
    pub done_ms: f64,
    /// From the last instruction at the source to the first at the target, in microseconds.
    pub stop_us: Option<u64>,
    /// From the request to the end, in microseconds.
    pub total_us: Option<u64>,
    /// Bytes that were sent while the service ran.
    pub precopy_bytes: Option<u64>,
    /// Bytes that were sent while it stood.
    pub final_bytes: Option<u64>,
    /// The steps.
    pub phases: Vec<Step>,
    /// The reason that was recorded.
    pub reason: String,
    /// The decision that records it.
    pub decision: String,
}

/// Plays a part at its speed, and moves the service as the part says. `tell` hears of frames and
/// moves as they happen.
pub(crate) async fn live(
    continuum: &Continuum,
    clip: &Path,
    service: &str,
    part: &Part,
    mut tell: impl FnMut(&str),
) -> Result<Played> {
    let (asked, mut wanted) = mpsc::unbounded_channel::<Leg>();
    let (client, name) = (continuum.view.client.clone(), service.to_owned());
    let mover = tokio::spawn(async move {
        let mut moves = Vec::new();
        while let Some(leg) = wanted.recv().await {
            moves.push(carry_out(&client, &name, &leg).await?);
        }
        Ok::<_, Error>(moves)
    });
    let mut options = continuum.view.camera(clip, service);
    options.fps = part.fps;
    let mut told = Instant::now();
    let on_answer = |answer: &Answer| {
        for leg in part.legs.iter().filter(|leg| leg.after == answer.frame + 1) {
            tell(&format!("frame {}: the service moves to {}", answer.frame + 1, leg.to));
            // Nobody listens any more if a move failed; that is told at the end.
            let _ = asked.send(leg.clone());
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            tell(&format!("{} of {} frames answered", answer.frame + 1, part.frames));
        }
    };
    let mut played = play(options, part, on_answer).await?;
    drop(asked);
    played.moves = mover.await.map_err(|_| Error::Task)??;
    Ok(played)
}

/// Plays the same frames as fast as they are answered; nothing moves.
pub(crate) async fn unmoved(
    continuum: &Continuum,
    clip: &Path,
    service: &str,
    part: &Part,
) -> Result<Played> {
    let mut options = continuum.view.camera(clip, service);
    options.fps = FAST_FPS;
    play(options, part, |_| {}).await
}

async fn play(
    mut options: camera::Options,
    part: &Part,
    mut on_answer: impl FnMut(&Answer),
) -> Result<Played> {
    options.frames = Some(part.frames);
    options.start_frame = part.first_frame;
    let limit = Duration::from_secs_f64(part.frames as f64 / part.fps) + LATE;
    let mut answers = Vec::new();
    let playing = camera::play(options, CancellationToken::new(), |answer| {
        on_answer(answer);
        answers.push(answer.clone());
    });
    let stuck = |_| Error::Stuck { limit_s: limit.as_secs(), frames: part.frames };
    let report = timeout(limit, playing).await.map_err(stuck)??;
    let started_ms = report.started_unix_ms as f64;
    Ok(Played { part: part.clone(), answers, report, moves: Vec::new(), started_ms })
}

async fn carry_out(client: &Client, service: &str, leg: &Leg) -> Result<Moved> {
    let requested_ms = unix_ms();
    let decision = client.migrate(service, &leg.to).await?;
    let decision = migrate::finish(client, &decision, MOVE_LIMIT, |_| {}).await?;
    let decision = complete(client, decision).await?;
    Ok(moved(&decision, requested_ms, unix_ms()))
}

/// The decision with its last step: it is done once the new place is stored, and the steps
/// after that are noted behind it.
async fn complete(client: &Client, decision: Resource) -> Result<Resource> {
    let name = &decision.metadata.name;
    let look = |now: Option<&Resource>| match now {
        Some(now) if step(&phases(now), LAST_STEP).is_some() => ControlFlow::Break(now.clone()),
        _ => ControlFlow::Continue(()),
    };
    let following = wait::follow(client, Kind::Decision, name, look);
    // They explain only: without them a move counts as switched when it is over.
    Ok(timeout(NOTE_LIMIT, following).await.unwrap_or(Ok(decision.clone()))?)
}

fn phases(decision: &Resource) -> Vec<Step> {
    migrate::steps(&decision.status::<DecisionStatus>().observed)
}

fn step(phases: &[Step], name: &str) -> Option<usize> {
    phases.iter().position(|step| step.name == name)
}

fn moved(decision: &Resource, requested_ms: f64, done_ms: f64) -> Moved {
    let spec = decision.spec::<DecisionSpec>().ok();
    let status: DecisionStatus = decision.status();
    let observed = &status.observed;
    let input = |field: &str| {
        let text = spec.as_ref().and_then(|spec| spec.inputs.get(field)?.as_str());
        text.unwrap_or("?").to_owned()
    };
    let measure = |name: &str| observed.get(name).and_then(serde_json::Value::as_u64);
    let phases = phases(decision);
    let switched_ms = match (&spec, step(&phases, SWITCH_STEP)) {
        (Some(spec), Some(last)) => {
            let until: f64 = phases[..=last].iter().map(|step| step.ms).sum();
            (spec.at as f64 + until).clamp(requested_ms, done_ms)
        }
        _ => done_ms,
    };
    Moved {
        from: input("from"),
        to: input("to"),
        requested_ms,
        switched_ms,
        done_ms,
        stop_us: measure("stopUs"),
        total_us: measure("totalUs"),
        precopy_bytes: measure("precopyBytes"),
        final_bytes: measure("finalBytes"),
        phases,
        reason: spec.map(|spec| spec.reason).unwrap_or_default(),
        decision: decision.metadata.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decision_tells_when_names_were_switched() {
        let spec = json!({"action": "migrate", "subject": "service/a", "by": "user",
            "reason": "it was asked for", "inputs": {"from": "edge", "to": "cloud"}, "at": 1_000});
        let mut decision = Resource::new(Kind::Decision, "default", "d", &spec);
        decision.status = json!({"outcome": "done", "ended": 1_100, "observed": {"stopUs": 3_400,
            "phases": [{"name": "prepare", "ms": 40.0}, {"name": "commit", "ms": 2.0},
                {"name": "name", "ms": 0.5}, {"name": "activate", "ms": 9.0}]}});

        let told = moved(&decision, 999.5, 1_101.0);

        assert_eq!((told.from.as_str(), told.to.as_str()), ("edge", "cloud"));
        assert_eq!((told.switched_ms, told.stop_us), (1_042.5, Some(3_400)));
        decision.status = json!({"outcome": "done"});
        assert_eq!(moved(&decision, 999.5, 1_101.0).switched_ms, 1_101.0);
    }
}
