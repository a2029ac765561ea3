//! The run, from the first process to the last.

use super::{
    Load, Played, Setup,
    calibrate::{Slow, answered_fps, calibrate},
    play::{Live, Shown, play},
    quota::{LOOK, Quota},
    setup::{
        CAPACITY_FPS, MODEL, POLICIES, SERVICE, STAND_IN, STEP_S, TESTED_S, TIME_SCALE, scaled,
    },
};
use crate::{
    Error, Machine, Result,
    continuum::{Continuum, View},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::PoisonError,
    time::Duration,
};
use tokio::{process::Command, time::sleep};

/// Frames of the clip that are played again and again, and their size in pixels.
const FRAMES: u32 = 100;
const SIZE: &str = "768:576";
/// Between two lines that say how it goes.
const TELL: Duration = Duration::from_secs(10);
/// Policies act when what they forecast from is the load, and no longer the test.
const LOOK_ON: Duration = Duration::from_secs(18);
/// Settings that are tried for the model.
const TRIED: &str = "12";

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it ran on.
    pub machine: Machine,
    /// What came, for what the edge answered.
    pub load: Load,
    /// The share of a processor that each worker of the edge got.
    pub edge_cpu: f64,
    /// Frames each second that it answered at most with it.
    pub edge_fps: f64,
    /// Mean bytes of a frame.
    pub frame_bytes: f64,
    /// The record of the model, as `cloudskin model train` tells it.
    pub model: Value,
    /// By policy.
    pub played: Vec<Played>,
}

/// Runs it; `tell` hears what happens.
///
/// # Errors
/// If it cannot be run to its end. The continuum is ended then too, and its logs are kept.
pub async fn run(setup: &Setup, mut tell: impl FnMut(&str)) -> Result<Record> {
    fs::create_dir_all(&setup.work).map_err(Error::file("make", &setup.work))?;
    let (clip, frame_bytes) = loop_of(&setup.clip, &setup.work).await?;
    tell("starting a control plane, an edge site and a cloud site");
    let continuum = Continuum::up(&setup.cloudskin, &setup.work).await?;
    tell("training the model of requests on what was before");
    let model = model(&continuum, &setup.load, &setup.work).await?;
    let mut views = Vec::new();
    for policy in POLICIES {
        let view = continuum.tenant(policy)?;
        view.apply_all(&setup.manifests.join("street-counter-qos.yaml")).await?;
        view.ready(SERVICE).await?;
        view.ready(STAND_IN).await?;
        views.push(view);
    }
    tell("slowing the edge down by a quota of processor time");
    let mut quota = Quota::of(&continuum.data(), "edge")?;
    let slow = calibrate(&views, &mut quota, &clip).await?;
    let mut machine = Machine::before(setup.quiet_wait_s).await;
    let (load, edge_fps, played) = tokio::select! {
        played = judged(setup, &views, &clip, slow, &mut tell) => played?,
        broken = keep(quota, slow) => return Err(broken),
    };
    machine.after().await;
    continuum.down().await?;
    let edge_cpu = slow.share;
    Ok(Record { machine, load, edge_cpu, edge_fps, frame_bytes, model, played })
}

/// A few frames of the clip as JPEG pictures, which need no decoding when they are played, and
/// their mean size.
pub(crate) async fn loop_of(clip: &Path, work: &Path) -> Result<(PathBuf, f64)> {
    let path = work.join("loop.avi");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i"]).arg(clip);
    ffmpeg.args(["-map", "0:v:0", "-vf", &format!("scale={SIZE}")]);
    ffmpeg.args(["-frames:v", &FRAMES.to_string(), "-c:v", "mjpeg", "-q:v", "3"]).arg(&path);
    let output = ffmpeg.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(|source| Error::Program { program: "ffmpeg".into(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Failed { command: "ffmpeg".to_owned(), said });
    }
    let bytes = fs::metadata(&path).map_err(Error::file("find", &path))?.len();
    Ok((path, bytes as f64 / f64::from(FRAMES)))
}

/// Trains the policies' model on the history, and puts it into production.
async fn model(continuum: &Continuum, load: &Load, work: &Path) -> Result<Value> {
    let path = work.join("history.csv");
    fs::write(&path, load.history_csv()).map_err(Error::file("write", &path))?;
    let (data, catalog) = (path.to_string_lossy(), continuum.data().join("models"));
    let catalog = catalog.to_string_lossy();
    let train =
        ["model", "train", "--kind", "ridge", "--search", TRIED, "--target", "requests-max"];
    let which = ["--horizon", "5s..20s", "--every", "5s", "--name", MODEL, "--test-share", "0.2"];
    let place = ["--data", &data, "--catalog", &catalog, "-o", "json"];
    let said = continuum.cloudskin(&[&train[..], &which, &place].concat()).await?;
    let model = serde_json::from_str(&said).map_err(|_| Error::Foreign("model"))?;
    let version = format!("{MODEL}/1");
    continuum.cloudskin(&["model", "promote", &version, "--catalog", &catalog]).await?;
    Ok(model)
}

/// Both policies look on while the edge is tested and the load begins, and then act. Answers the
/// load as it was played and how many frames each second the edge answered in its test, too.
async fn judged(
    setup: &Setup,
    views: &[View],
    clip: &Path,
    slow: Slow,
    tell: &mut impl FnMut(&str),
) -> Result<(Load, f64, Vec<Played>)> {
    // From here on they measure: a time in which nobody asks would be taken for a quiet one.
    policies(setup, views, true).await?;
    tell("testing what the edge can do, under the eyes of both policies");
    // How much that is cannot be seen at an edge that was never full.
    let edge_fps = answered_fps(views, clip, (CAPACITY_FPS * TESTED_S) as u64).await?;
    let share = slow.share * 100.0;
    tell(&format!(
        "the edge answers {edge_fps:.1} frames a second with {share:.1} % of a processor"
    ));
    let act = async {
        sleep(LOOK_ON.min(scaled(setup.load.warm as f64 * f64::from(STEP_S)))).await;
        policies(setup, views, false).await
    };
    let load = setup.load.for_an_edge_of(edge_fps);
    let (played, ()) = tokio::try_join!(both(views, clip, &load, tell), act)?;
    Ok((load, edge_fps, played))
}

/// Makes the policies so; while they look on they move nothing.
async fn policies(setup: &Setup, views: &[View], look_on: bool) -> Result<()> {
    for (view, policy) in views.iter().zip(POLICIES) {
        let path = setup.manifests.join(format!("policies/{policy}.yaml"));
        view.apply_policies(&path, look_on).await?;
    }
    Ok(())
}

/// The same load to both at the same time.
async fn both(
    views: &[View],
    clip: &Path,
    load: &Load,
    tell: &mut impl FnMut(&str),
) -> Result<Vec<Played>> {
    let shown = [Shown::default(), Shown::default()];
    let [reactive, proactive] =
        [0, 1].map(|at| play(&views[at], clip, &load.played, shown[at].clone()));
    let played = async { tokio::try_join!(reactive, proactive) };
    let telling = async {
        let mut passed = Duration::ZERO;
        loop {
            sleep(TELL).await;
            passed += TELL;
            let minutes = passed.as_secs() * u64::from(TIME_SCALE) / 60;
            tell(&format!("minute {minutes:>3}  {}  {}", say(0, &shown), say(1, &shown)));
        }
    };
    tokio::select! {
        played = played => played.map(|(one, other)| vec![one, other]),
        () = telling => Err(Error::Task),
    }
}

fn say(at: usize, shown: &[Shown; 2]) -> String {
    let Live { answered, latency_ms, cloud } =
        *shown[at].lock().unwrap_or_else(PoisonError::into_inner);
    let site = if cloud { "cloud" } else { "edge" };
    format!("{:<9} {site:<5} {latency_ms:>6.0} ms {answered:>5} frames", POLICIES[at])
}

/// Gives each worker that the edge starts its quota, for as long as it is asked; answers why it
/// cannot.
async fn keep(mut quota: Quota, slow: Slow) -> Error {
    loop {
        if let Err(error) = quota.give(slow.share) {
            return error;
        }
        sleep(LOOK).await;
    }
}
