//! What a play came to.

use super::lane::Outcome;
use data_encoding::BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{collections::HashSet, net::SocketAddr};
use tokio::time::Instant;
use types::Digest;

/// Frames of which details are kept, so that a camera can run for ever: a day at 10 a second.
const FRAMES_KEPT: usize = 1 << 20;

/// What became of one frame. Times are milliseconds since the first frame was due.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// The frame's number, from 0.
    pub frame: u64,
    /// The request id that it was sent under.
    pub id: String,
    /// When it was due.
    pub due_ms: f64,
    /// When it was first sent.
    pub sent_ms: f64,
    /// When it was answered or given up.
    pub answered_ms: f64,
    /// From when it was due to its answer.
    pub latency_ms: f64,
    /// How often it was sent again.
    pub retries: u32,
    /// Who answered.
    pub address: SocketAddr,
    /// The answer's HTTP status; absent if there was none.
    pub status: Option<u16>,
    /// The hash of the answer's bytes.
    pub hash: Option<Digest>,
    /// The answer, if it is text.
    pub body: Option<String>,
    /// The answer in base64, if it is not.
    pub body_base64: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
}

/// Percentiles of the latency of answered frames, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

/// A time during which one address answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddressUse {
    /// The address.
    pub address: SocketAddr,
    /// Its first frame of this time.
    pub first_frame: u64,
    /// When that frame was answered, in milliseconds since the first frame was due.
    pub from_ms: f64,
    /// When its last was answered.
    pub to_ms: f64,
    /// How many frames it answered.
    pub frames: u64,
}

/// What a play came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The prefix of all request ids.
    pub run: String,
    /// When the first frame was due, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: f64,
    /// Frames that were sent.
    pub frames_sent: u64,
    /// Frames that were answered.
    pub frames_answered: u64,
    /// Answers beyond the first to one frame.
    pub duplicates: u64,
    /// Answers that came after the answer to a later frame.
    pub out_of_order: u64,
    /// Frames that were given up.
    pub failures: u64,
    /// Requests beyond the first, of all frames.
    pub retries: u64,
    /// Latency of answered frames, from when they were due; of the last million at most.
    pub latency_ms: Latency,
    /// The longest time between two answers.
    pub longest_gap_ms: f64,
    /// Who answered, and when: a new entry is a migration.
    pub addresses: Vec<AddressUse>,
    /// The hash of each answer to the first million frames, in their order; absent where there
    /// was none.
    pub hashes: Vec<Option<Digest>>,
    /// Why the video ended before it should.
    pub source_error: Option<String>,
}

/// Builds a [`Report`] out of what becomes of each frame.
pub(super) struct Recorder {
    start: Instant,
    report: Report,
    latencies: Vec<f64>,
    answered: HashSet<u64>,
    latest: Option<u64>,
    last_answer_ms: Option<f64>,
}

impl Recorder {
    pub(super) fn new(run: &str, started_unix_ms: u64, start: Instant) -> Self {
        Self {
            start,
            report: Report { run: run.to_owned(), started_unix_ms, ..Report::default() },
            latencies: Vec::new(),
            answered: HashSet::new(),
            latest: None,
            last_answer_ms: None,
        }
    }

    /// Counts one frame's outcome and tells it in full.
    pub(super) fn record(&mut self, outcome: Outcome) -> Answer {
        let answer = self.answer(outcome);
        self.report.frames_sent += 1;
        self.report.retries += u64::from(answer.retries);
        self.keep_hash(&answer);
        if answer.status.is_none() {
            self.report.failures += 1;
            return answer;
        }
        if !self.answered.insert(answer.frame) {
            self.report.duplicates += 1;
            return answer;
        }
        self.report.frames_answered += 1;
        if self.latest.is_some_and(|latest| latest > answer.frame) {
            self.report.out_of_order += 1;
        }
        self.latest = self.latest.max(Some(answer.frame));
        self.keep_latency(answer.latency_ms);
        let gap = self.last_answer_ms.map_or(0.0, |last| answer.answered_ms - last);
        self.report.longest_gap_ms = self.report.longest_gap_ms.max(gap);
        self.last_answer_ms = Some(answer.answered_ms);
        self.note_address(&answer);
        answer
    }

    pub(super) fn finish(mut self, source_error: Option<String>) -> Report {
        self.latencies.sort_by(f64::total_cmp);
        let at = |percent| percentile(&self.latencies, percent);
        self.report.latency_ms =
            Latency { p50: at(50.0), p95: at(95.0), p99: at(99.0), max: at(100.0) };
        self.report.duration_ms = millis(self.start, Instant::now());
        self.report.source_error = source_error;
        self.report
    }

    fn answer(&self, outcome: Outcome) -> Answer {
        let (status, body, error) = match outcome.result {
            Ok((status, body)) => (Some(status.as_u16()), Some(body), None),
            Err(reason) => (None, None, Some(reason)),
        };
        let hash = body.as_ref().map(|body| Digest::from_sha256(Sha256::digest(body).into()));
        let text = body.as_ref().and_then(|body| String::from_utf8(body.to_vec()).ok());
        let body_base64 = body.filter(|_| text.is_none()).map(|body| BASE64.encode(&body));
        Answer {
            frame: outcome.number,
            id: outcome.id,
            due_ms: millis(self.start, outcome.due),
            sent_ms: millis(self.start, outcome.sent),
            answered_ms: millis(self.start, outcome.answered),
            latency_ms: millis(outcome.due, outcome.answered),
            retries: outcome.retries,
            address: outcome.address,
            status,
            hash,
            body: text,
            body_base64,
            error,
        }
    }

    fn keep_hash(&mut self, answer: &Answer) {
        let at = usize::try_from(answer.frame).unwrap_or(usize::MAX);
        if at >= FRAMES_KEPT {
            return;
        }
        let hashes = &mut self.report.hashes;
        if hashes.len() <= at {
            hashes.resize(at + 1, None);
        }
        hashes[at] = hashes[at].or(answer.hash);
    }

    fn keep_latency(&mut self, latency_ms: f64) {
        let count = self.report.frames_answered as usize;
        match self.latencies.len() {
            FRAMES_KEPT => self.latencies[count % FRAMES_KEPT] = latency_ms,
            _ => self.latencies.push(latency_ms),
        }
        // What is that far behind is not answered twice any more.
        if self.answered.len() > 2 * FRAMES_KEPT {
            let oldest = self.latest.unwrap_or_default().saturating_sub(FRAMES_KEPT as u64);
            self.answered.retain(|frame| *frame >= oldest);
        }
    }

    fn note_address(&mut self, answer: &Answer) {
        match self.report.addresses.last_mut() {
            Some(last) if last.address == answer.address => {
                last.to_ms = answer.answered_ms;
                last.frames += 1;
            }
            _ => self.report.addresses.push(AddressUse {
                address: answer.address,
                first_frame: answer.frame,
                from_ms: answer.answered_ms,
                to_ms: answer.answered_ms,
                frames: 1,
            }),
        }
    }
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

/// The smallest value that at least so many percent of all do not exceed.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            [50.0, 95.0, 99.0, 100.0].map(|percent| percentile(&sorted, percent)),
            [100.0, 190.0, 198.0, 200.0]
        );
        assert_eq!(percentile(&[7.0], 50.0), 7.0);
        assert_eq!(percentile(&[], 99.0), 0.0);
    }
}
