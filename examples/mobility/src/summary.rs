//! What a run comes to, and which promises it keeps: `demo.json`.

use crate::{
    DnsFigures, Latency, Machine, Moved, Played, Record, Tally,
    judge::{first_difference, longest_gap},
};
use serde::{Serialize, Serializer};
use std::fmt;

/// The speed that the promise about gaps is for.
const GAP_FPS: f64 = 10.0;

/// The longest time between two answers at that speed on a quiet machine.
const GAP_MAX_MS: f64 = 150.0;

/// The longest time that an answer of the name server may be kept.
const TTL_MAX_S: u32 = 5;

/// Everything that a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Frames that were sent to the service that moved.
    pub frames_sent: u64,
    /// Those that were answered.
    pub frames_answered: u64,
    /// Answers beyond the first to one frame.
    pub duplicates: u64,
    /// Answers behind a later one.
    pub out_of_order: u64,
    /// Whether every answer has the bytes of the run that did not move.
    pub answers_equal_unmigrated: bool,
    /// How many frames the cell itself says it took.
    pub cell_counter: Option<u64>,
    /// The longest time between two answers at 10 frames a second.
    pub longest_gap_ms: f64,
    /// How often the service moved.
    pub migrations: u64,
    /// Answers of the name server without an address.
    pub dns_empty_answers: u64,
    /// Errors of the name server, and questions without an answer.
    pub dns_failed_answers: u64,
    /// How long the name server was wrong at most.
    pub dns_wrong_answers_ms_max: f64,
    /// All that was seen of it.
    pub dns: DnsFigures,
    /// How long the service stood at each move, in microseconds.
    pub stop_us: Vec<u64>,
    /// The first frame that was answered differently; absent if there is none.
    pub first_difference: Option<u64>,
    /// Each part by itself.
    pub runs: Vec<PartSummary>,
    /// What it ran on.
    pub machine: Machine,
    /// What must hold, and whether it did.
    pub promises: Vec<Promise>,
}

/// What one part came to.
#[derive(Debug, Clone, Serialize)]
pub struct PartSummary {
    /// Frames for each second.
    pub fps: f64,
    /// How many there should be.
    pub frames: u64,
    /// What became of them.
    #[serde(flatten)]
    pub tally: Tally,
    /// Latency of answers, from when their frames were due.
    pub latency_ms: Latency,
    /// The longest time between two answers.
    pub longest_gap_ms: f64,
    /// The service's moves.
    pub migrations: Vec<Moved>,
}

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promise {
    /// What it is.
    pub name: String,
    /// What was found.
    pub found: String,
    /// Whether it holds.
    pub met: Verdict,
}

/// Whether a promise is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not.
    NotMet,
    /// The machine was too busy to tell.
    Inconclusive,
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Met => serializer.serialize_bool(true),
            Self::NotMet => serializer.serialize_bool(false),
            Self::Inconclusive => serializer.serialize_str("inconclusive"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::NotMet => "NOT MET",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// What is emulated, and what was promised, in lines.
pub fn lines(emulated: &[String], promises: &[Promise]) -> String {
    let labels = emulated.iter().map(|label| format!("  emulated: {label}\n"));
    let found = promises.iter().map(|promise| {
        let Promise { name, found, met } = promise;
        format!("  {met:<12}  {name}: {found}\n")
    });
    labels.chain(["\n".to_owned()]).chain(found).collect()
}

impl From<bool> for Verdict {
    fn from(met: bool) -> Self {
        if met { Self::Met } else { Self::NotMet }
    }
}

impl Summary {
    /// Judges everything that was seen of a run.
    pub fn of(record: &Record) -> Self {
        let mut before = 0;
        let mut all = Tally::default();
        let runs: Vec<PartSummary> = record
            .played
            .iter()
            .map(|played| {
                let run = PartSummary::of(played, before);
                before += played.part.frames;
                all = all.plus(&run.tally);
                run
            })
            .collect();
        let dns = DnsFigures::of(&record.seen, record.home, &record.switches);
        let moves = || runs.iter().flat_map(|run| &run.migrations);
        let first_difference = difference(record);
        let gap = runs.iter().filter(|run| run.fps == GAP_FPS).map(|run| run.longest_gap_ms);
        let mut summary = Self {
            frames_sent: all.sent,
            frames_answered: all.answered,
            duplicates: all.duplicates,
            out_of_order: all.out_of_order,
            answers_equal_unmigrated: first_difference.is_none(),
            cell_counter: record.cell_counter,
            longest_gap_ms: gap.fold(0.0, f64::max),
            migrations: moves().count() as u64,
            dns_empty_answers: dns.empty,
            dns_failed_answers: dns.failed,
            dns_wrong_answers_ms_max: dns.wrong_ms_max,
            stop_us: moves().filter_map(|moved| moved.stop_us).collect(),
            first_difference,
            dns,
            runs,
            machine: record.machine.clone(),
            promises: Vec::new(),
        };
        let legs = record.played.iter().map(|played| played.part.legs.len() as u64).sum();
        summary.promises = summary.promises(legs);
        summary
    }

    /// Whether nothing that was promised was broken.
    pub fn is_kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.met != Verdict::NotMet)
    }

    fn promises(&self, legs: u64) -> Vec<Promise> {
        let exact = self.runs.iter().all(|run| run.tally.is_exact(run.frames));
        let mut promises = vec![
            promise(
                "every frame is answered exactly once, in order",
                format!(
                    "{} of {} frames, {} duplicates, {} out of order",
                    self.frames_answered, self.frames_sent, self.duplicates, self.out_of_order
                ),
                exact,
            ),
            promise("the service moves while it serves", self.moves(), self.migrations == legs),
            promise(
                "the answers are, to the byte, those of a run that does not move",
                match self.first_difference {
                    None => "all of them".to_owned(),
                    Some(frame) => format!("frame {frame} was answered differently"),
                },
                self.answers_equal_unmigrated,
            ),
            promise(
                "the counter inside the cell equals the frames sent",
                self.cell_counter.map_or("it does not tell".to_owned(), |count| count.to_string()),
                self.cell_counter == Some(self.frames_sent),
            ),
        ];
        promises.extend(self.gap());
        promises.extend(self.names());
        promises
    }

    fn moves(&self) -> String {
        let stops = Latency::of(self.stop_us.iter().map(|us| *us as f64 / 1000.0));
        let (moves, max) = (self.migrations, stops.max);
        format!("{moves} moves; it stood for {max:.1} ms at the longest")
    }

    /// Only at ten frames a second, and only on a machine that is quiet.
    fn gap(&self) -> Option<Promise> {
        self.runs.iter().find(|run| run.fps == GAP_FPS)?;
        let gap = self.longest_gap_ms;
        let mut gap_promise = promise(
            "at 10 frames a second, answers are at most 150 ms apart",
            format!("{gap:.0} ms"),
            gap <= GAP_MAX_MS,
        );
        if gap_promise.met == Verdict::NotMet && !self.machine.is_quiet() {
            gap_promise.met = Verdict::Inconclusive;
            gap_promise.found += &format!(
                "; other programs kept {:.1} of {} cores busy",
                self.machine.busy_cores_before.max(self.machine.busy_cores_after),
                self.machine.cores
            );
        }
        Some(gap_promise)
    }

    fn names(&self) -> [Promise; 2] {
        let dns = &self.dns;
        let (empty, failed) = (dns.empty, dns.failed);
        let ttl_ms = f64::from(dns.ttl_max_s) * 1000.0;
        [
            promise(
                "the name server, asked every 10 ms, never answers empty or not at all",
                format!("{} questions, {empty} empty, {failed} failed", dns.queries),
                empty + failed == 0 && dns.queries > 0,
            ),
            promise(
                "it is never wrong for longer than the TTL, which is at most 5 s",
                format!(
                    "wrong for {:.0} ms at the longest; the TTL is {} s",
                    dns.wrong_ms_max, dns.ttl_max_s
                ),
                dns.wrong_ms_max <= ttl_ms && dns.ttl_max_s <= TTL_MAX_S,
            ),
        ]
    }
}

impl PartSummary {
    /// What one part came to, of a cell that had taken `before` frames.
    fn of(played: &Played, before: u64) -> Self {
        let answered = played.answers.iter().filter(|answer| answer.status.is_some());
        Self {
            fps: played.part.fps,
            frames: played.part.frames,
            tally: Tally::of(&played.answers, before),
            latency_ms: Latency::of(answered.map(|answer| answer.latency_ms)),
            longest_gap_ms: longest_gap(&played.answers).map_or(0.0, |(gap, _)| gap),
            migrations: played.moves.clone(),
        }
    }
}

/// The first frame of the video that was answered differently by the service that did not move.
fn difference(record: &Record) -> Option<u64> {
    let pairs = record.played.iter().zip(&record.reference);
    let found = pairs.filter_map(|(moved, unmoved)| {
        let frame = first_difference(&moved.answers, &unmoved.answers)?;
        Some(moved.part.first_frame + frame)
    });
    // A part without a reference was not compared.
    let uncompared = record.played.get(record.reference.len());
    found.chain(uncompared.map(|played| played.part.first_frame)).next()
}

fn promise(name: &str, found: String, met: bool) -> Promise {
    Promise { name: name.to_owned(), found, met: met.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Leg, Outcome, Part, Seen, judge::tests::good};
    use std::net::IpAddr;

    /// A run in which all went well, of two parts.
    fn record() -> Record {
        let played = |fps, first_frame, frames| Played {
            part: Part { fps, first_frame, frames, legs: Vec::new() },
            answers: good(frames, first_frame),
            report: orchestrator::camera::Report::default(),
            moves: Vec::new(),
            started_ms: 0.0,
        };
        let parts = vec![played(10.0, 0, 4), played(30.0, 4, 3)];
        let home: IpAddr = "127.80.0.12".parse().unwrap();
        let outcome = Outcome::Address(home, 2);
        Record {
            machine: Machine::default(),
            played: parts.clone(),
            reference: parts,
            cell_counter: Some(7),
            seen: vec![Seen { asked_ms: 0.0, answered_ms: 1.0, outcome }],
            home,
            switches: Vec::new(),
            sites: Vec::new(),
            why: String::new(),
        }
    }

    /// The promises that the run does not keep, by their position.
    fn broken(record: &Record) -> Vec<usize> {
        let promises = Summary::of(record).promises;
        (0..promises.len()).filter(|at| promises[*at].met == Verdict::NotMet).collect()
    }

    #[test]
    fn a_good_run_keeps_everything() {
        let summary = Summary::of(&record());

        assert!(summary.is_kept(), "{:?}", summary.promises);
        assert_eq!((summary.frames_sent, summary.frames_answered), (7, 7));
        assert_eq!((summary.promises.len(), summary.longest_gap_ms), (7, 100.0));
    }

    #[test]
    fn each_broken_promise_is_named() {
        let break_one = |change: &dyn Fn(&mut Record)| {
            let mut record = record();
            change(&mut record);
            broken(&record)
        };
        let leg = Leg { after: 1, to: "cloud".to_owned() };

        assert_eq!(break_one(&|run| run.played[1].answers.truncate(2)), [0, 2, 3]);
        assert_eq!(break_one(&|run| run.played[0].part.legs.push(leg.clone())), [1]);
        assert_eq!(break_one(&|run| run.reference[1].answers[0].body = None), [2]);
        assert_eq!(break_one(&|run| run.reference.truncate(1)), [2]);
        assert_eq!(break_one(&|run| run.cell_counter = Some(8)), [3]);
        assert_eq!(break_one(&|run| run.cell_counter = None), [3]);
        assert_eq!(break_one(&|run| run.played[0].answers[3].answered_ms += 51.0), [4]);
        assert_eq!(break_one(&|run| run.seen[0].outcome = Outcome::Empty), [5]);
        assert_eq!(break_one(&|run| run.seen.clear()), [5]);
        assert_eq!(break_one(&|run| run.seen[0].outcome = Outcome::Address(run.home, 6)), [6]);
    }

    #[test]
    fn a_gap_on_a_busy_machine_proves_nothing() {
        let mut run = record();
        run.played[0].answers[3].answered_ms += 51.0;
        run.machine.busy_cores_before = 1.8;

        let summary = Summary::of(&run);

        assert!(summary.is_kept());
        assert_eq!(summary.promises[4].met, Verdict::Inconclusive);
        assert!(summary.promises[4].found.contains("1.8"), "{}", summary.promises[4].found);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["promises"][4]["met"], "inconclusive");
    }

    #[test]
    fn the_file_has_the_fields_that_others_read() {
        let json = serde_json::to_value(Summary::of(&record())).unwrap();
        for field in [
            "frames_sent",
            "frames_answered",
            "duplicates",
            "out_of_order",
            "answers_equal_unmigrated",
            "cell_counter",
            "longest_gap_ms",
            "migrations",
            "dns_empty_answers",
        ] {
            assert!(json[field].is_number() || json[field].is_boolean(), "{field}");
        }
        assert_eq!(json["runs"][1]["sent"], 3);
        assert_eq!(json["promises"][0]["met"], true);
    }
}
