//! The run, from the first process to the last.

use super::{
    Drive, Run, SITES, Setup, history,
    play::{Shown, play},
    road,
    setup::RUNS,
    tell,
};
use crate::{
    Error, Machine, Result,
    continuum::{Continuum, View},
    qos::{POLICY, SERVICE, loop_of},
    run::unix_ms,
};
use api::{
    Kind,
    decision::{DecisionSpec, DecisionStatus},
};
use learning::trajectory::Accuracy;
use orchestrator::camera::Distances;
use std::{collections::BTreeMap, fs, path::Path, sync::PoisonError, time::Duration};
use tokio::time::{Instant, sleep};

/// Between two lines that say how it goes.
const TELL: Duration = Duration::from_secs(5);
/// How long it takes until the control plane has compared the last decision with the truth.
const TRUTH_MAX: Duration = Duration::from_secs(20);

/// What a decision said of where the bus would be, and where it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Truth {
    /// The site that was said.
    pub said: String,
    /// The one that it was; nothing where no position was told.
    pub was: Option<String>,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it ran on.
    pub machine: Machine,
    /// What the bus and those before it drove by.
    pub seed: u64,
    /// Where it was.
    pub drive: Drive,
    /// When it left, in milliseconds since 1970.
    pub left_ms: f64,
    /// Positions of buses before.
    pub learned: usize,
    /// By seconds ahead.
    pub accuracy: BTreeMap<u32, Accuracy>,
    /// By the way in which the service was looked after.
    pub runs: Vec<Run>,
    /// What the control plane has noted of the decisions of the policy that predicts.
    pub truths: Vec<Truth>,
}

/// Runs it; `tell` hears what happens.
///
/// # Errors
/// If it cannot be run to its end. The continuum is ended then too, and its logs are kept.
pub async fn run(setup: &Setup, mut tell: impl FnMut(&str)) -> Result<Record> {
    fs::create_dir_all(&setup.work).map_err(Error::file("make", &setup.work))?;
    let (drive, accuracy) = (Drive::of(setup)?, road::accuracy(setup)?);
    let (clip, _) = loop_of(&setup.clip, &setup.work).await?;
    tell("starting a control plane, four edge sites along the road and a cloud site");
    let mut sites = vec!["cloud"];
    sites.extend(SITES.map(|site| site.0));
    let continuum = Continuum::up_with(&setup.cloudskin, &setup.work, &sites).await?;
    continuum.view.apply_all(&setup.manifests.join("sites.yaml")).await?;
    let learned = tell::tracks(&continuum.view, &history(setup)?).await?;
    tell(&format!("{learned} positions of buses before were pushed into telemetry"));
    let mut views = Vec::new();
    for name in RUNS {
        let view = continuum.tenant(name)?;
        view.apply_all(&setup.manifests.join("service.yaml")).await?;
        view.ready(SERVICE).await?;
        views.push(view);
    }
    let mut machine = Machine::before(setup.quiet_wait_s).await;
    let stands = Duration::from_secs(setup.stands_s);
    let (leaves, left_ms) = (Instant::now() + stands, unix_ms() + stands.as_secs_f64() * 1000.0);
    let town = Town { bus: &continuum.view, drive: &drive, leaves };
    let runs = all(&town, &views, &clip, setup, &mut tell).await?;
    machine.after().await;
    let truths = match views.last() {
        Some(ahead) => truths(ahead).await?,
        None => Vec::new(),
    };
    continuum.down().await?;
    let seed = setup.seed;
    Ok(Record { machine, seed, drive, left_ms, learned, accuracy, runs, truths })
}

/// The bus, and when it leaves.
struct Town<'a> {
    bus: &'a View,
    drive: &'a Drive,
    leaves: Instant,
}

/// The drive under all services at the same time.
async fn all(
    town: &Town<'_>,
    views: &[View],
    clip: &Path,
    setup: &Setup,
    tell: &mut impl FnMut(&str),
) -> Result<Vec<Run>> {
    let &Town { bus, drive, leaves } = town;
    let seconds = setup.stands_s as f64 + drive.length_s();
    let away = Distances::default();
    let shown = [Shown::default(), Shown::default(), Shown::default()];
    let [stay, follow, ahead] =
        [0, 1, 2].map(|at| play(&views[at], clip, seconds, away.clone(), shown[at].clone()));
    let played = async {
        // From here on policies see the bus: it stands.
        for (view, name) in views.iter().zip(RUNS).skip(1) {
            view.apply_all(&setup.manifests.join(format!("{name}.yaml"))).await?;
        }
        tokio::try_join!(stay, follow, ahead)
    };
    let telling = async {
        loop {
            sleep(TELL).await;
            let at_s = tell::since(leaves);
            let each: Vec<_> =
                RUNS.iter().zip(&shown).map(|(name, shown)| say(name, shown)).collect();
            tell(&format!("{at_s:>4.0} s  near {:<8} {}", drive.nearest(at_s), each.join("  ")));
        }
    };
    tokio::select! {
        played = played => played.map(|(stay, follow, ahead)| vec![stay, follow, ahead]),
        error = tell::positions(bus, drive, leaves) => Err(error),
        error = tell::distances(bus, drive, leaves, &away) => Err(error),
        () = telling => Err(Error::Task),
    }
}

fn say(name: &str, shown: &Shown) -> String {
    match &*shown.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(frame) => format!("{name} {:<8}{:>4.0} ms", frame.site, frame.latency_ms),
        None => format!("{name} has not answered"),
    }
}

/// What became of what was predicted, once the control plane knows it of every decision.
async fn truths(view: &View) -> Result<Vec<Truth>> {
    let since = Instant::now();
    loop {
        let decisions =
            view.client.list(Kind::Decision, &[("policy".into(), POLICY.into())]).await?;
        let mut open = 0;
        let mut truths = Vec::new();
        for decision in &decisions.items {
            let Ok(spec) = decision.spec::<DecisionSpec>() else { continue };
            let status: DecisionStatus = decision.status();
            let Some(said) = spec.prediction["next"]["site"].as_str() else { continue };
            let after = &status.observed["after"];
            open += usize::from(after.is_null());
            let was = after["next"]["site"].as_str().map(str::to_owned);
            truths.push(Truth { said: said.to_owned(), was });
        }
        if open == 0 || since.elapsed() >= TRUTH_MAX {
            return Ok(truths);
        }
        sleep(Duration::from_millis(500)).await;
    }
}
