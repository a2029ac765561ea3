//! The bus' camera to one of the services, and what its policy said meanwhile.

use super::setup::{CAMERAS, FPS};
use crate::{
    Error, Result,
    continuum::View,
    qos::{Move, SERVICE, Tick, decisions, moves, watch},
};
use orchestrator::camera::{self, Distances, Report};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How much longer than the drive a play may take before it counts as stuck.
const LATE: Duration = Duration::from_secs(60);
/// Frames that may wait.
const QUEUE_MAX: usize = 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// When it was due, in milliseconds since 1970.
    pub due_ms: f64,
    /// From then to its answer.
    pub latency_ms: f64,
    /// Whether it was answered.
    pub answered: bool,
    /// The site that was asked last.
    pub site: String,
}

/// One of the services under the drive. Times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub struct Run {
    /// The tenant's name.
    pub name: String,
    /// Its frames.
    pub frames: Vec<Frame>,
    /// The camera's own account.
    pub report: Report,
    /// The policy's runs.
    pub ticks: Vec<Tick>,
    /// The service's moves.
    pub moves: Vec<Move>,
}

/// The last answer, while a play goes on.
pub(super) type Shown = Arc<Mutex<Option<Frame>>>;

/// Plays the camera for so many seconds.
pub(super) async fn play(
    view: &View,
    clip: &Path,
    seconds: f64,
    distances: Distances,
    shown: Shown,
) -> Result<Run> {
    let stop = CancellationToken::new();
    let _ended_with_this = stop.clone().drop_guard();
    let watching = tokio::spawn(watch(view.client.clone(), stop.clone()));
    let mut options = view.camera(clip, SERVICE);
    let frames_max = (seconds * FPS).ceil() as u64;
    (options.fps, options.repeat, options.frames) = (FPS, true, Some(frames_max));
    (options.connections, options.queue_max) = (CAMERAS, QUEUE_MAX);
    options.distances = distances;
    let limit = Duration::from_secs_f64(seconds) + LATE;
    let mut frames = Vec::new();
    let playing = camera::play(options, CancellationToken::new(), |answer| {
        let frame = Frame {
            due_ms: answer.due_ms,
            latency_ms: answer.latency_ms,
            answered: answer.status == Some(200),
            site: view.site(answer.address.ip()),
        };
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame.clone());
        frames.push(frame);
    });
    let stuck = |_| Error::Stuck { limit_s: limit.as_secs(), frames: frames_max };
    let report = timeout(limit, playing).await.map_err(stuck)??;
    stop.cancel();
    let ticks = watching.await.map_err(|_| Error::Task)?;
    let moves = moves(&decisions(&view.client).await?);
    let started_ms = report.started_unix_ms as f64;
    frames.iter_mut().for_each(|frame| frame.due_ms += started_ms);
    Ok(Run { name: view.client.tenant().to_owned(), frames, report, ticks, moves })
}
