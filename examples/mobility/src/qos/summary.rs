//! What the run came to: `mobility.json`.

use super::{
    Move, Played, Record, Step,
    setup::{CAPACITY_FPS, DISTANCE, POLICIES, SLA_MS, STEP_S, TESTED_S, TIME_SCALE},
    steps,
};
use crate::{Machine, Promise, Verdict};
use learning::{Cost, Prices};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// By how much less the proactive policy has to break the level, and what it may cost beside the
/// reactive one.
const LESS_BROKEN: f64 = 0.71;
const COST_MAX: f64 = 1.1;
/// With less broken time than this the reactive policy had nothing to be better than, in seconds.
const BROKEN_MIN_S: f64 = 60.0;

/// Everything that a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Time passed so much faster than it was recorded; all times of policies are recorded time.
    pub time_scale: u32,
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// What came, and what repeats it.
    pub load: String,
    /// The seed of generated load; 0 where it was recorded.
    pub load_seed: u64,
    /// Where the load that is judged begins in its source, in seconds.
    pub load_from_s: u64,
    /// Recorded seconds that are judged.
    pub judged_s: f64,
    /// Recorded seconds before that, in which both policies are at work already.
    pub warm_up_s: f64,
    /// What is not as it would be.
    pub emulated: Vec<String>,
    /// The model that the proactive policy asks, and its figures on history that it has not seen.
    pub model: Value,
    /// By the policy's name.
    pub policies: BTreeMap<String, Figures>,
    /// By how much less the proactive policy broke the level.
    pub less_broken: f64,
    /// Its cost by that of the reactive one.
    pub cost_ratio: f64,
    /// What it ran on.
    pub machine: Machine,
    /// What must hold, and whether it did.
    pub promises: Vec<Promise>,
}

/// What one policy came to. Seconds are of recorded time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Seconds in which the level was broken.
    pub sla_broken_s: f64,
    /// The share of time in which it was kept, in percent.
    pub sla_ok_pct: f64,
    /// Moves of the service in the time that is judged.
    pub migrations: usize,
    /// Those that began before the level was broken, of those that left the edge.
    pub in_time: usize,
    /// Frames that were sent, the warm-up's among them.
    pub frames_sent: u64,
    /// Those that were answered.
    pub frames_answered: u64,
    /// Answers beyond the first to one frame.
    pub duplicates: u64,
    /// Euro for a day that goes on like this, by the cost model of `cloudskin replay`.
    pub cost_per_day_eur: f64,
    /// What of it is for machines.
    pub infrastructure_per_day_eur: f64,
    /// What of it is for broken levels.
    pub penalty_per_day_eur: f64,
    /// Seconds that the service was at the cloud.
    pub cloud_s: f64,
    /// Bytes of frames and of state that went there.
    pub bytes_to_cloud: u64,
    /// As of the summary.
    pub load_seed: u64,
    /// The mean and the 95th percentile of the steps' latencies, in milliseconds.
    pub latency_ms: (f64, f64),
    /// Runs of the policy, and those in which the reactive rule had to decide in its place.
    pub runs: usize,
    /// As said.
    pub fallbacks: usize,
    /// Moves that were decided and came to nothing, and why.
    pub failed_moves: Vec<String>,
}

impl Figures {
    /// Of a play, of which `warm` steps are not judged.
    pub fn of(played: &Played, record: &Record) -> Self {
        let load = &record.load;
        let steps = steps(played, load.warm, load.played.len());
        let length_s = steps.len() as f64 * f64::from(STEP_S);
        let time_s = |each: &mut dyn Iterator<Item = f64>| each.sum::<f64>() * f64::from(STEP_S);
        let broken_s = time_s(&mut steps.iter().map(|step| f64::from(u8::from(step.is_broken()))));
        let cloud_s = time_s(&mut steps.iter().map(|step| step.cloud));
        let moves = judged(played, load.warm);
        let cost = cost(&moves, &steps).times(86_400.0 / length_s.max(1.0));
        let to_cloud = moves.iter().filter(|(_, moved)| moved.to == "cloud");
        let sent = steps.iter().map(|step| f64::from(step.frames) * step.cloud).sum::<f64>();
        let state: u64 = to_cloud.map(|(_, moved)| moved.bytes).sum();
        Self {
            sla_broken_s: broken_s,
            sla_ok_pct: 100.0 * (1.0 - broken_s / length_s.max(1.0)),
            migrations: moves.len(),
            in_time: in_time(&moves, &steps),
            frames_sent: played.report.frames_sent,
            frames_answered: played.report.frames_answered,
            duplicates: played.report.duplicates,
            cost_per_day_eur: cost.total(),
            infrastructure_per_day_eur: cost.infrastructure + cost.control + cost.migration,
            penalty_per_day_eur: cost.penalty,
            cloud_s,
            bytes_to_cloud: (sent * record.frame_bytes) as u64 + state,
            load_seed: load.seed,
            latency_ms: latency(&steps),
            runs: played.ticks.len(),
            fallbacks: played.ticks.iter().filter(|tick| tick.fallback.is_some()).count(),
            failed_moves: played.failed.clone(),
        }
    }
}

/// What it cost, with the usual prices.
fn cost(moves: &[(f64, &Move)], steps: &[Step]) -> Cost {
    let prices = Prices::default();
    let mut cost = Cost::default();
    for step in steps {
        let place = prices.second(true) * step.cloud + prices.second(false) * (1.0 - step.cloud);
        cost += Cost {
            infrastructure: place,
            control: prices.control_hour / 3600.0,
            penalty: prices.penalty(step.latency_ms, SLA_MS),
            migration: 0.0,
        };
    }
    let mut cost = cost.times(f64::from(STEP_S));
    // Two instances are there while one moves.
    for (_, moved) in moves {
        let takes_s = (moved.ended_ms - moved.at_ms) / 1000.0 * f64::from(TIME_SCALE);
        cost.migration += takes_s.max(0.0) * prices.second(true);
    }
    cost
}

/// Moves behind the warm-up, with when they were decided: recorded seconds since its end.
fn judged(played: &Played, warm: usize) -> Vec<(f64, &Move)> {
    let at_s = |moved: &Move| {
        let passed_s = (moved.at_ms - played.started_ms) / 1000.0 * f64::from(TIME_SCALE);
        passed_s - (warm as u32 * STEP_S) as f64
    };
    let moves = played.moves.iter().map(|moved| (at_s(moved), moved));
    moves.filter(|(at_s, _)| *at_s >= 0.0).collect()
}

/// Moves away from the edge in the minute before which the level was not broken. Of a move before which nothing
/// was judged nobody knows.
fn in_time(moves: &[(f64, &Move)], steps: &[Step]) -> usize {
    let kept = |at_s: f64| {
        let within = |step: &&Step| (at_s - 60.0..at_s).contains(&step.at_s);
        let mut before = steps.iter().filter(within).peekable();
        before.peek().is_some() && before.all(|step| !step.is_broken())
    };
    let leaves = moves.iter().filter(|(_, moved)| moved.from == "edge");
    leaves.filter(|(at_s, _)| kept(*at_s)).count()
}

fn latency(steps: &[Step]) -> (f64, f64) {
    let mut known: Vec<f64> = steps.iter().filter_map(|step| step.latency_ms).collect();
    known.sort_by(f64::total_cmp);
    let high = known.get((known.len() as f64 * 0.95) as usize).copied().unwrap_or_default();
    (known.iter().sum::<f64>() / known.len().max(1) as f64, high)
}

impl Summary {
    /// Judges everything that was seen.
    pub fn of(record: &Record) -> Self {
        let load = &record.load;
        let figures = record.played.iter();
        let policies: BTreeMap<String, Figures> =
            figures.map(|played| (played.policy.clone(), Figures::of(played, record))).collect();
        let of = |name: &str| policies.get(name).cloned().unwrap_or_default();
        let [reactive, proactive] = POLICIES.map(of);
        let ratio = |one: f64, other: f64| if other > 0.0 { one / other } else { f64::NAN };
        let less_broken = 1.0 - ratio(proactive.sla_broken_s, reactive.sla_broken_s);
        let cost_ratio = ratio(proactive.cost_per_day_eur, reactive.cost_per_day_eur);
        let seconds = |steps: usize| steps as f64 * f64::from(STEP_S);
        Self {
            time_scale: TIME_SCALE,
            sla_ms: SLA_MS,
            load: load.source.clone(),
            load_seed: load.seed,
            load_from_s: load.from_s + load.warm as u64 * u64::from(STEP_S),
            judged_s: seconds(load.played.len() - load.warm.min(load.played.len())),
            warm_up_s: seconds(load.warm),
            emulated: emulated(record),
            model: record.model.clone(),
            promises: promises(&reactive, &proactive, less_broken, cost_ratio),
            policies,
            less_broken,
            cost_ratio,
            machine: record.machine.clone(),
        }
    }

    /// Whether all that was promised was shown.
    pub fn is_kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.met == Verdict::Met)
    }
}

fn emulated(record: &Record) -> Vec<String> {
    vec![
        format!("time scale: {TIME_SCALE} times faster than recorded, intervals of policies too"),
        format!(
            "edge CPU quota: {:.1} % of a processor for each worker, by its control group, so that the edge answers {:.1} frames a second",
            100.0 * record.edge_cpu,
            record.edge_fps
        ),
        format!(
            "emulated distance: {} ms to the cloud and back, waited by the cameras",
            DISTANCE.as_millis()
        ),
        format!(
            "the load is processors in use, read as frames each second, in proportion to what the edge answers: {:.2} of what is written for {CAPACITY_FPS}",
            record.edge_fps / CAPACITY_FPS
        ),
        format!(
            "both policies have seen a test of {TESTED_S} s of what the edge can do before the load began"
        ),
    ]
}

fn promises(reactive: &Figures, proactive: &Figures, less: f64, ratio: f64) -> Vec<Promise> {
    let one = |name: &str, found: String, met: Verdict| Promise { name: name.into(), found, met };
    let exact = |figures: &Figures| {
        figures.frames_sent > 0
            && figures.frames_answered == figures.frames_sent
            && figures.duplicates == 0
    };
    let both = [reactive, proactive];
    let broken = (proactive.sla_broken_s, reactive.sla_broken_s);
    let challenged = reactive.sla_broken_s >= BROKEN_MIN_S;
    let better = match (challenged, less >= LESS_BROKEN) {
        (false, _) => Verdict::Inconclusive,
        (true, kept) => kept.into(),
    };
    let left = proactive.migrations;
    vec![
        one(
            "no frame is lost, and none is answered twice",
            format!(
                "{} of {} and {} of {} frames",
                reactive.frames_answered,
                reactive.frames_sent,
                proactive.frames_answered,
                proactive.frames_sent
            ),
            both.into_iter().all(exact).into(),
        ),
        one(
            "the proactive policy breaks the level for at least 71 % less time",
            format!("{:.0} s instead of {:.0} s: {:.0} % less", broken.0, broken.1, 100.0 * less),
            better,
        ),
        one(
            "at no more than 1.1 times the cost",
            format!(
                "{:.2} instead of {:.2} euro a day: {ratio:.2} times; machines alone {:.2} instead of {:.2}",
                proactive.cost_per_day_eur,
                reactive.cost_per_day_eur,
                proactive.infrastructure_per_day_eur,
                reactive.infrastructure_per_day_eur
            ),
            (ratio <= COST_MAX).into(),
        ),
        one(
            "it leaves the edge before the level is broken, and comes back",
            format!("{left} moves, {} away in time", proactive.in_time),
            (left >= 2 && proactive.in_time >= 1).into(),
        ),
        one(
            "its model decides, not the rule behind it",
            format!("{} of {} runs fell back", proactive.fallbacks, proactive.runs),
            // The first runs come before anything was measured.
            (proactive.runs >= 2 && proactive.fallbacks <= 2).into(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::steps::tests::played, *};
    use crate::qos::Load;

    fn record(reactive: &[f64], proactive: &[f64], away: &[bool]) -> Record {
        let at_edge = vec![false; reactive.len()];
        Record {
            machine: Machine::default(),
            load: Load::new("a test", Vec::new(), vec![4.0; reactive.len()], 0),
            edge_cpu: 0.05,
            edge_fps: 16.0,
            frame_bytes: 1000.0,
            model: Value::Null,
            played: vec![
                played("reactive", reactive, &at_edge),
                played("proactive", proactive, away),
            ],
        }
    }

    #[test]
    fn what_is_broken_costs_and_what_is_away_costs() {
        let (bad, good) = ([400.0; 40], [40.0; 40]);
        let away: Vec<bool> = (0..40).map(|at| at < 20).collect();

        let summary = Summary::of(&record(&bad, &good, &away));

        let [reactive, proactive] = POLICIES.map(|name| summary.policies[name].clone());
        assert_eq!((reactive.sla_broken_s, proactive.sla_broken_s), (200.0, 0.0));
        assert_eq!((proactive.cloud_s, proactive.bytes_to_cloud), (100.0, 20_000));
        assert_eq!((reactive.sla_ok_pct, proactive.sla_ok_pct), (0.0, 100.0));
        // 200 ms late is the most that counts: 0.0028 (e^2 - 1) euro a second.
        assert!((reactive.penalty_per_day_eur - 86_400.0 * 0.0028 * 6.389).abs() < 1.0);
        let machines = 86_400.0 / 3600.0 * ((0.17 + 0.0075) / 2.0 + 0.01);
        assert!((proactive.cost_per_day_eur - machines).abs() < 0.01, "{proactive:?}");
        assert_eq!(summary.less_broken, 1.0);
        let met: Vec<_> = summary.promises.iter().map(|promise| promise.met).collect();
        // It did not move in this record, and never said anything.
        let [yes, no] = [Verdict::Met, Verdict::NotMet];
        assert_eq!(met, [yes, yes, yes, no, no]);
    }

    #[test]
    fn moves_of_the_warm_up_do_not_count_and_those_behind_it_are_looked_at() {
        let mut record = record(&[400.0; 40], &[40.0; 40], &[false; 40]);
        record.load.warm = 8;
        // A step is 250 ms of the play: the warm-up ends at 2 s.
        let moved = |from: &str, to: &str, at_ms: f64| Move {
            from: from.into(),
            to: to.into(),
            at_ms,
            ended_ms: at_ms + 100.0,
            stop_us: 100,
            bytes: 10,
            reason: String::new(),
        };
        let moves = [1000.0, 2000.0, 5000.0].map(|at_ms| moved("edge", "cloud", at_ms));
        record.played[1].moves = moves.into();
        record.played[1].moves.push(moved("cloud", "edge", 6000.0));

        let found = Figures::of(&record.played[1], &record);

        // Before the one at the end of the warm-up nothing was judged.
        assert_eq!((found.migrations, found.in_time, found.bytes_to_cloud), (3, 1, 20));
    }

    #[test]
    fn a_lost_frame_and_an_easy_day_are_not_passed_over() {
        let mut bad = [400.0; 40];
        bad[7] = 5000.0;
        let lost = Summary::of(&record(&bad, &[40.0; 40], &[true; 40]));
        assert_eq!(lost.promises[0].met, Verdict::NotMet);
        assert!(!lost.is_kept());

        let easy = Summary::of(&record(&[40.0; 40], &[40.0; 40], &[false; 40]));
        assert_eq!(easy.promises[1].met, Verdict::Inconclusive);
    }
}
