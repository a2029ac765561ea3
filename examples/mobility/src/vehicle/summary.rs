//! What the drive came to: `vehicle.json`.

use super::{
    Drive, Record, Run, Truth,
    play::Frame,
    setup::{A_METRE, CLOUD_AWAY, FPS, NEAR, RUNS, SLA_MS},
};
use crate::{Machine, Promise, Verdict};
use learning::trajectory::Accuracy;
use serde::Serialize;
use std::collections::BTreeMap;

/// Seconds in which latencies are judged together.
const STEP_S: f64 = 0.5;
/// With less broken time than this the policy that follows had nothing to be better than, in seconds.
const BROKEN_MIN_S: f64 = 2.0;
/// Of the sites that the bus comes to, the service has to be at so many before it.
const BEFORE_MIN: f64 = 0.6;
/// Runs of a policy that may fall back: the first come before anything was told.
const FALLBACKS_MAX: usize = 2;

/// Everything that a drive came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// What repeats the drive.
    pub seed: u64,
    /// How long it takes, in seconds.
    pub drive_s: f64,
    /// How often the bus came nearer to another site.
    pub changes: usize,
    /// What is not as it would be.
    pub emulated: Vec<String>,
    /// Positions of buses before, which were learned from.
    pub learned_positions: usize,
    /// How well the nearest site is told, by seconds ahead, beside staying and a straight line.
    pub accuracy: BTreeMap<u32, Accuracy>,
    /// By the way in which the service was looked after.
    pub runs: BTreeMap<String, Figures>,
    /// What it ran on.
    pub machine: Machine,
    /// What must hold, and whether it did.
    pub promises: Vec<Promise>,
}

/// What one of the services came to, from when the bus leaves on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The median of the frames' latencies, in milliseconds.
    pub latency_p50_ms: f64,
    /// Of a hundred frames 95 were answered in so long.
    pub latency_p95_ms: f64,
    /// Seconds in which the level was broken.
    pub sla_broken_s: f64,
    /// The share of time in which it was kept, in percent.
    pub sla_ok_pct: f64,
    /// Moves of the service.
    pub migrations: usize,
    /// The longest time that the service stood in a move, in milliseconds.
    pub stop_ms_max: f64,
    /// Frames that were sent.
    pub frames_sent: u64,
    /// Those that were answered.
    pub frames_answered: u64,
    /// Answers beyond the first to one frame.
    pub duplicates: u64,
    /// Of the sites that the bus came to, those at which the service was before it.
    pub before_arrival: usize,
    /// As a share; nothing where it came to none.
    pub before_arrival_share: Option<f64>,
    /// Runs of the policy.
    pub policy_runs: usize,
    /// Those in which the reactive rule had to decide in its place.
    pub fallbacks: usize,
    /// What the policy said of where the bus would be.
    pub foresight: Foresight,
}

/// How often it was said rightly where the bus would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Foresight {
    /// Runs of the policy in which it was said.
    pub said: usize,
    /// Rightly.
    pub right: usize,
    /// Where staying would have been said rightly.
    pub stayed_right: usize,
    /// Runs before which the bus came to another site within the time ahead.
    pub before_changes: usize,
    /// Rightly, of these; staying is never right there.
    pub changes_right: usize,
    /// Decisions of which the control plane has noted where the bus was then.
    pub noted: usize,
    /// As was said, of these.
    pub noted_right: usize,
}

/// Half a second of the drive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Seconds since the bus left.
    pub at_s: f64,
    /// The mean latency of the frames that were due; as before where none was, nothing where one was
    /// not answered.
    pub latency_ms: Option<f64>,
    /// The site that answered the last of them.
    pub site: String,
}

impl Step {
    /// Whether the service level was broken.
    pub fn is_broken(&self) -> bool {
        self.latency_ms.is_none_or(|ms| ms > SLA_MS)
    }
}

/// A run in steps, from when the bus left to when it arrived.
pub fn steps(run: &Run, record: &Record) -> Vec<Step> {
    let count = (record.drive.length_s() / STEP_S).floor() as usize;
    let mut each: Vec<Vec<&Frame>> = vec![Vec::new(); count];
    for frame in judged(run, record) {
        let at = ((frame.due_ms - record.left_ms) / 1000.0 / STEP_S) as usize;
        each.get_mut(at).into_iter().for_each(|step| step.push(frame));
    }
    let mut last = (Some(0.0), String::new());
    let step = |(at, frames): (usize, &Vec<&Frame>)| {
        if let Some(newest) = frames.last() {
            let sum: f64 = frames.iter().map(|frame| frame.latency_ms).sum();
            let answered = frames.iter().all(|frame| frame.answered);
            last = (answered.then(|| sum / frames.len() as f64), newest.site.clone());
        }
        Step { at_s: at as f64 * STEP_S, latency_ms: last.0, site: last.1.clone() }
    };
    each.iter().enumerate().map(step).collect()
}

/// Frames that were due while the bus drove.
fn judged<'a>(run: &'a Run, record: &Record) -> impl Iterator<Item = &'a Frame> {
    let (from_ms, length_s) = (record.left_ms, record.drive.length_s());
    run.frames
        .iter()
        .filter(move |frame| (from_ms..from_ms + length_s * 1000.0).contains(&frame.due_ms))
}

impl Figures {
    /// Of one of the runs.
    pub fn of(run: &Run, record: &Record) -> Self {
        let steps = steps(run, record);
        let broken_s = steps.iter().filter(|step| step.is_broken()).count() as f64 * STEP_S;
        let length_s = (steps.len() as f64 * STEP_S).max(STEP_S);
        let mut latencies: Vec<f64> = judged(run, record).map(|frame| frame.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let of = |share: f64| {
            latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default()
        };
        let changes = record.drive.changes();
        let before =
            changes.iter().filter(|(at_s, site)| place(run, record, *at_s) == *site).count();
        let stops = run.moves.iter().map(|moved| moved.stop_us as f64 / 1000.0);
        Self {
            latency_p50_ms: of(0.5),
            latency_p95_ms: of(0.95),
            sla_broken_s: broken_s,
            sla_ok_pct: 100.0 * (1.0 - broken_s / length_s),
            migrations: run.moves.len(),
            stop_ms_max: stops.fold(0.0, f64::max),
            frames_sent: run.report.frames_sent,
            frames_answered: run.report.frames_answered,
            duplicates: run.report.duplicates,
            before_arrival: before,
            before_arrival_share: (!changes.is_empty())
                .then(|| before as f64 / changes.len() as f64),
            policy_runs: run.ticks.len(),
            fallbacks: run.ticks.iter().filter(|tick| tick.fallback.is_some()).count(),
            foresight: foresight(run, record),
        }
    }
}

/// Where the service was: a move counts when it is over.
fn place<'a>(run: &'a Run, record: &Record, at_s: f64) -> &'a str {
    let then_ms = record.left_ms + at_s * 1000.0;
    let over = run.moves.iter().rev().find(|moved| moved.ended_ms <= then_ms);
    let first = run.moves.first().map_or(super::SITES[0].0, |moved| &moved.from);
    over.map_or(first, |moved| &moved.to)
}

/// What the policy's runs said of where the bus would be, and where it was.
fn foresight(run: &Run, record: &Record) -> Foresight {
    let mut found = Foresight::default();
    // Whoever goes after the bus does not go by what is said.
    if run.name != RUNS[2] {
        return found;
    }
    for tick in &run.ticks {
        let next = &tick.prediction["next"];
        let (Some(said), Some(ahead_s)) = (next["site"].as_str(), next["aheadS"].as_f64()) else {
            continue;
        };
        let at_s = (tick.at_ms - record.left_ms) / 1000.0;
        let (now, then) = (record.drive.nearest(at_s), record.drive.nearest(at_s + ahead_s));
        found.said += 1;
        found.right += usize::from(said == then);
        found.stayed_right += usize::from(now == then);
        found.before_changes += usize::from(now != then);
        found.changes_right += usize::from(now != then && said == then);
    }
    let noted = record.truths.iter().filter(|truth| truth.was.is_some());
    found.noted = noted.clone().count();
    found.noted_right = noted.filter(|Truth { said, was }| Some(said) == was.as_ref()).count();
    found
}

impl Summary {
    /// Judges everything that was seen.
    pub fn of(record: &Record) -> Self {
        let figures = record.runs.iter().map(|run| (run.name.clone(), Figures::of(run, record)));
        let runs: BTreeMap<String, Figures> = figures.collect();
        Self {
            sla_ms: SLA_MS,
            seed: record.seed,
            drive_s: record.drive.length_s(),
            changes: record.drive.changes().len(),
            emulated: emulated(),
            learned_positions: record.learned,
            accuracy: record.accuracy.clone(),
            promises: promises(&runs, &record.drive),
            runs,
            machine: record.machine.clone(),
        }
    }

    /// Whether all that was promised was shown.
    pub fn is_kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.met == Verdict::Met)
    }
}

fn emulated() -> Vec<String> {
    vec![
        format!(
            "emulated distance: {} ms and {} ms for each metre from the bus to a site and back, {} ms to the cloud, waited by the camera; real paths are shorter, and real roads longer",
            NEAR.as_millis(),
            A_METRE.as_secs_f64() * 1000.0,
            CLOUD_AWAY.as_millis()
        ),
        "the bus, those before it and their lines: drawn by a seed; a recorded street in place of its camera".to_owned(),
        format!("all sites are on one machine; {FPS} frames a second to each of the services at the same time"),
    ]
}

fn promises(runs: &BTreeMap<String, Figures>, drive: &Drive) -> Vec<Promise> {
    let one = |name: &str, found: String, met: Verdict| Promise { name: name.into(), found, met };
    let [stay, follow, ahead] = RUNS.map(|name| runs.get(name).cloned().unwrap_or_default());
    let exact = |of: &Figures| {
        of.frames_sent > 0 && of.frames_answered == of.frames_sent && of.duplicates == 0
    };
    let all = [&stay, &follow, &ahead];
    let frames = all.map(|of| format!("{} of {}", of.frames_answered, of.frames_sent));
    let broken = all.map(|of| format!("{:.1} s", of.sla_broken_s));
    let better = match follow.sla_broken_s >= BROKEN_MIN_S {
        false => Verdict::Inconclusive,
        true => (ahead.sla_broken_s < follow.sla_broken_s
            && follow.sla_broken_s < stay.sla_broken_s)
            .into(),
    };
    let changes = drive.changes().len();
    let share = ahead.before_arrival_share.unwrap_or_default();
    let foresight = ahead.foresight;
    vec![
        one(
            "no frame is lost, and none is answered twice",
            frames.join(", "),
            all.into_iter().all(exact).into(),
        ),
        one(
            "the level is broken for less time when the service goes after the bus than when it stays, and for less again when it is told where the bus will be",
            broken.join(", "),
            better,
        ),
        one(
            "told where the bus will be, the service is at most sites before it",
            format!(
                "{} of {changes}; {} when it goes after it",
                ahead.before_arrival, follow.before_arrival
            ),
            (share >= BEFORE_MIN && ahead.before_arrival > follow.before_arrival).into(),
        ),
        one(
            "it does not move to and fro",
            format!("{} moves for {changes} changes of the nearest site", ahead.migrations),
            (ahead.migrations > 0 && ahead.migrations <= changes + 1).into(),
        ),
        one(
            "what is said of where the bus will be decides, not the rule behind it, and is compared with where it was",
            format!(
                "{} of {} runs fell back; {} of {} decisions came true",
                ahead.fallbacks, ahead.policy_runs, foresight.noted_right, foresight.noted
            ),
            (ahead.policy_runs >= 2 && ahead.fallbacks <= FALLBACKS_MAX && foresight.noted > 0)
                .into(),
        ),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::road, *};
    use crate::qos::{Move, Tick};
    use serde_json::json;

    /// A run whose service is at the nearest site so many seconds after the bus (before it, if less
    /// than none), and whose frames take as long as the distance says.
    fn run(name: &str, drive: &Drive, late_s: Option<f64>) -> Run {
        let mut moves: Vec<Move> = Vec::new();
        for (at_s, site) in drive.changes().into_iter().filter(|_| late_s.is_some()) {
            let at_ms = 1000.0 * (at_s + late_s.unwrap_or_default());
            let from = moves.last().map_or("harbour".to_owned(), |moved| moved.to.clone());
            let (to, reason) = (site.to_owned(), String::new());
            let ended_ms = at_ms + 100.0;
            moves.push(Move { from, to, at_ms, ended_ms, stop_us: 2000, bytes: 1, reason });
        }
        let count = (drive.length_s() * FPS) as usize;
        let frame = |at: usize| {
            let due_ms = at as f64 * 1000.0 / FPS;
            let over = moves.iter().rev().find(|moved| moved.ended_ms <= due_ms);
            let site = over.map_or("harbour", |moved| &moved.to).to_owned();
            let place = drive.place(due_ms / 1000.0);
            let known = super::super::SITES.into_iter().find(|known| known.0 == site).unwrap();
            let latency_ms = 20.0 + road::distance(place, known) / 2.0;
            Frame { due_ms, latency_ms, answered: true, site }
        };
        let frames: Vec<Frame> = (0..count).map(frame).collect();
        let report = orchestrator::camera::Report {
            frames_sent: count as u64,
            frames_answered: count as u64,
            ..Default::default()
        };
        let tick = |second: u32| {
            let at_s = f64::from(second);
            Tick {
                at_ms: at_s * 1000.0,
                site: String::new(),
                go: None,
                reason: "said".into(),
                fallback: None,
                prediction: json!({"next": {"site": drive.nearest(at_s + 4.0), "aheadS": 4.0}}),
            }
        };
        let ticks = (0..100).map(tick).collect();
        Run { name: name.into(), frames, report, ticks, moves }
    }

    pub(in crate::vehicle) fn record() -> Record {
        let setup = road::tests::setup();
        let drive = Drive::of(&setup).unwrap();
        let late = [None, Some(4.0), Some(-1.0)];
        let runs = RUNS.iter().zip(late).map(|(name, late_s)| run(name, &drive, late_s)).collect();
        let truth = |was: Option<&str>| Truth { said: "hill".into(), was: was.map(str::to_owned) };
        Record {
            machine: Machine::default(),
            seed: 1,
            drive,
            left_ms: 0.0,
            learned: 10,
            accuracy: road::accuracy(&setup).unwrap(),
            runs,
            truths: vec![truth(Some("hill")), truth(Some("market")), truth(None)],
        }
    }

    #[test]
    fn whoever_is_there_before_the_bus_breaks_nothing_and_whoever_comes_late_does() {
        let summary = Summary::of(&record());

        let [stay, follow, ahead] = RUNS.map(|name| summary.runs[name].clone());
        assert!(summary.is_kept(), "{:#?}", summary.promises);
        assert_eq!((ahead.sla_broken_s, ahead.before_arrival), (0.0, summary.changes));
        assert!(follow.sla_broken_s > 2.0 && follow.before_arrival == 0, "{follow:?}");
        assert!(stay.sla_broken_s > 60.0 && stay.migrations == 0, "{stay:?}");
        assert!(stay.latency_p95_ms > 250.0 && ahead.latency_p95_ms < 120.0);
        let foresight = ahead.foresight;
        assert_eq!((foresight.said, foresight.right), (100, 100));
        assert!(foresight.before_changes > 0 && foresight.stayed_right < 100);
        assert_eq!((foresight.noted, foresight.noted_right), (2, 1));
    }

    #[test]
    fn a_lost_frame_a_swinging_service_and_an_easy_drive_are_not_passed_over() {
        let mut lost = record();
        lost.runs[0].report.frames_answered -= 1;
        assert_eq!(Summary::of(&lost).promises[0].met, Verdict::NotMet);

        let mut swings = record();
        let again = swings.runs[2].moves.clone();
        swings.runs[2].moves.extend(again);
        assert_eq!(Summary::of(&swings).promises[3].met, Verdict::NotMet);

        let mut easy = record();
        easy.runs[1].frames.iter_mut().for_each(|frame| frame.latency_ms = 50.0);
        assert_eq!(Summary::of(&easy).promises[1].met, Verdict::Inconclusive);
    }

    #[test]
    fn steps_hold_where_nothing_came_and_break_where_nothing_was_answered() {
        let mut record = record();
        let frames = &mut record.runs[0].frames;
        frames.retain(|frame| !(1000.0..1500.0).contains(&frame.due_ms));
        frames
            .iter_mut()
            .filter(|frame| frame.due_ms == 2000.0)
            .for_each(|frame| frame.answered = false);

        let found = steps(&record.runs[0], &record);

        assert_eq!(found[2].latency_ms, found[1].latency_ms);
        assert!(found[4].is_broken() && !found[3].is_broken());
    }
}
