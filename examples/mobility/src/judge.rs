//! What the answers of a run come to: plain functions of what was seen.

use crate::{Outcome, Seen};
use orchestrator::camera::Answer;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, net::IpAddr};

/// What the counter says to a frame.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Counted {
    /// How many frames the cell has taken, this one included.
    pub(crate) frame: u64,
    /// Distinct objects so far.
    pub(crate) count: u64,
    /// The objects in this frame: left, top, width, height, number.
    pub(crate) boxes: Vec<[u64; 5]>,
}

impl Counted {
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        serde_json::from_str(answer.body.as_deref()?).ok()
    }
}

/// How frames became answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Frames that were sent.
    pub sent: u64,
    /// Frames with an answer of status 200.
    pub answered: u64,
    /// Answers to a frame that had one, or with a number that the cell had given before.
    pub duplicates: u64,
    /// Answers behind the answer to a later frame, or with a smaller number than before.
    pub out_of_order: u64,
    /// Answers whose number is not that of their frame: the cell missed one or took one twice.
    pub misnumbered: u64,
    /// Frames that were sent again.
    pub retries: u64,
}

impl Tally {
    /// Counts answers in the order in which they came, of a cell that had taken `before` frames.
    pub fn of(answers: &[Answer], before: u64) -> Self {
        let mut tally = Self::default();
        let (mut frames, mut numbers) = (HashSet::new(), HashSet::new());
        let mut latest = (None, None);
        for answer in answers {
            let frame = Some(answer.frame);
            tally.sent += u64::from(!frames.contains(&answer.frame));
            tally.retries += u64::from(answer.retries);
            let is_new = frames.insert(answer.frame);
            if answer.status != Some(200) {
                continue;
            }
            let number = Counted::of(answer).map(|counted| counted.frame);
            let is_again = !is_new || number.is_some_and(|number| !numbers.insert(number));
            tally.answered += u64::from(is_new);
            tally.duplicates += u64::from(is_again);
            tally.out_of_order += u64::from(latest.0 > frame || latest.1 > number);
            tally.misnumbered += u64::from(number != Some(before + answer.frame + 1));
            latest = (latest.0.max(frame), latest.1.max(number));
        }
        tally
    }

    /// Whether every one of `frames` frames was answered exactly once and in order.
    pub fn is_exact(&self, frames: u64) -> bool {
        let faults = self.duplicates + self.out_of_order + self.misnumbered;
        (self.sent, self.answered, faults) == (frames, frames, 0)
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            answered: self.answered + other.answered,
            duplicates: self.duplicates + other.duplicates,
            out_of_order: self.out_of_order + other.out_of_order,
            misnumbered: self.misnumbered + other.misnumbered,
            retries: self.retries + other.retries,
        }
    }
}

/// The first frame that two runs answered differently, or that only one answered.
pub(crate) fn first_difference(one: &[Answer], other: &[Answer]) -> Option<u64> {
    let bytes = |answer: &Answer| (answer.status, answer.body.clone(), answer.body_base64.clone());
    let pairs = one.iter().zip(other);
    let differing = pairs.filter(|(one, other)| {
        one.frame != other.frame || one.status != Some(200) || bytes(one) != bytes(other)
    });
    let differing = differing.map(|(one, _)| one.frame).next();
    differing.or_else(|| {
        let longer = if one.len() > other.len() { one } else { other };
        longer.get(one.len().min(other.len())).map(|answer| answer.frame)
    })
}

/// The longest time between two answers that follow each other, and when it began.
pub(crate) fn longest_gap(answers: &[Answer]) -> Option<(f64, f64)> {
    let mut times: Vec<f64> = answers
        .iter()
        .filter(|answer| answer.status.is_some())
        .map(|answer| answer.answered_ms)
        .collect();
    times.sort_by(f64::total_cmp);
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
    gaps.max_by(|one, other| one.0.total_cmp(&other.0))
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// Of these values, in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// A move of the service between two addresses. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// Where it was.
    pub from: IpAddr,
    /// Where it is afterwards.
    pub to: IpAddr,
    /// Before this only the old address is right.
    pub requested_ms: f64,
    /// From then on only the new one is.
    pub switched_ms: f64,
}

/// What a probe saw of the name server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DnsFigures {
    /// Questions.
    pub queries: u64,
    /// Answers without an address.
    pub empty: u64,
    /// Errors, and questions without an answer.
    pub failed: u64,
    /// Answers with an address where the service was not.
    pub wrong: u64,
    /// How long wrong answers went on at most, from the last right one on.
    pub wrong_ms_max: f64,
    /// The longest time that an answer allowed itself to be kept, in seconds.
    pub ttl_max_s: u32,
    /// The longest time between two questions: what is shorter may have been missed.
    pub longest_pause_ms: f64,
}

impl DnsFigures {
    /// Judges answers, in their order, about a service that was at `home` first.
    pub fn of(seen: &[Seen], home: IpAddr, switches: &[Switch]) -> Self {
        let mut figures = Self { queries: seen.len() as u64, ..Self::default() };
        let mut last_right = seen.first().map_or(0.0, |seen| seen.asked_ms);
        for one in seen {
            match one.outcome {
                Outcome::Empty => figures.empty += 1,
                Outcome::Failed(_) => figures.failed += 1,
                Outcome::Address(address, ttl) => {
                    figures.ttl_max_s = figures.ttl_max_s.max(ttl);
                    if is_right(address, one, home, switches) {
                        last_right = one.answered_ms;
                    } else {
                        figures.wrong += 1;
                        let lasted = one.answered_ms - last_right;
                        figures.wrong_ms_max = figures.wrong_ms_max.max(lasted);
                    }
                }
            }
        }
        let pauses = seen.windows(2).map(|pair| pair[1].asked_ms - pair[0].asked_ms);
        figures.longest_pause_ms = pauses.fold(0.0, f64::max);
        figures
    }
}

/// Whether the service was, or was about to be, at `address` while the question was open.
fn is_right(address: IpAddr, seen: &Seen, home: IpAddr, switches: &[Switch]) -> bool {
    let mut at = home;
    for switch in switches {
        if seen.answered_ms < switch.requested_ms {
            break;
        }
        if seen.asked_ms < switch.switched_ms {
            return address == switch.from || address == switch.to;
        }
        at = switch.to;
    }
    address == at
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// An answer of a cell that has taken `number` frames.
    pub(crate) fn answer(frame: u64, number: u64, answered_ms: f64) -> Answer {
        Answer {
            frame,
            id: format!("run-{frame}"),
            due_ms: frame as f64 * 100.0,
            sent_ms: frame as f64 * 100.0,
            answered_ms,
            latency_ms: answered_ms - frame as f64 * 100.0,
            retries: 0,
            address: "127.80.0.12:8080".parse().unwrap(),
            status: Some(200),
            hash: None,
            body: Some(format!("{{\"frame\":{number},\"count\":2,\"boxes\":[[1,2,3,4,5]]}}\n")),
            body_base64: None,
            error: None,
        }
    }

    pub(crate) fn good(frames: u64, before: u64) -> Vec<Answer> {
        let one = |frame| answer(frame, before + frame + 1, frame as f64 * 100.0 + 10.0);
        (0..frames).map(one).collect()
    }

    #[test]
    fn every_frame_once_and_in_order_is_exact() {
        assert!(Tally::of(&good(5, 0), 0).is_exact(5));
        assert!(Tally::of(&good(5, 420), 420).is_exact(5));
        assert!(!Tally::of(&good(5, 0), 0).is_exact(6), "one was never sent");
        assert!(!Tally::of(&good(5, 1), 0).is_exact(5), "the cell took one more");
    }

    #[test]
    fn faults_are_counted_by_their_kind() {
        let mut twice = good(3, 0);
        twice.push(answer(2, 3, 300.0));
        let mut swapped = good(3, 0);
        swapped.swap(0, 1);
        let mut lost = good(3, 0);
        lost[1].status = None;
        let mut taken_twice = good(3, 0);
        taken_twice[1] = answer(1, 3, 110.0);
        taken_twice[2] = answer(2, 4, 210.0);
        let mut forgot = good(3, 0);
        forgot[2] = answer(2, 2, 210.0);

        assert_eq!(Tally::of(&twice, 0).duplicates, 1);
        assert_eq!(Tally::of(&swapped, 0).out_of_order, 1);
        assert_eq!(Tally::of(&lost, 0).answered, 2);
        assert_eq!(Tally::of(&taken_twice, 0).misnumbered, 2);
        assert_eq!(Tally::of(&forgot, 0).duplicates, 1, "state of before was served");
        for faulty in [twice, swapped, lost, taken_twice, forgot] {
            assert!(!Tally::of(&faulty, 0).is_exact(3), "{faulty:?}");
        }
    }

    #[test]
    fn runs_are_equal_to_the_byte_or_not() {
        let (one, mut other) = (good(4, 0), good(4, 0));
        assert_eq!(first_difference(&one, &other), None);
        assert_eq!(first_difference(&one, &other[..3]), Some(3));
        other[2].body = other[2].body.as_ref().map(|body| body.trim_end().to_owned());
        assert_eq!(first_difference(&one, &other), Some(2));
        other[1].status = None;
        assert_eq!(first_difference(&other, &other), Some(1), "no answer equals nothing");
    }

    #[test]
    fn the_longest_gap_is_between_answers_not_frames() {
        let mut answers = good(4, 0);
        answers[2].status = None;

        assert_eq!(longest_gap(&answers), Some((200.0, 110.0)));
        assert_eq!(longest_gap(&answers[..1]), None);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=200).rev().map(f64::from));
        assert_eq!(latency, Latency { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 });
        assert_eq!(Latency::of([]), Latency::default());
    }

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 80, 0, last).into()
    }

    fn seen(asked_ms: f64, outcome: Outcome) -> Seen {
        Seen { asked_ms, answered_ms: asked_ms + 1.0, outcome }
    }

    fn said(asked_ms: f64, last: u8) -> Seen {
        seen(asked_ms, Outcome::Address(at(last), 2))
    }

    #[test]
    fn both_addresses_are_right_during_a_move_only() {
        let switch = Switch { from: at(12), to: at(11), requested_ms: 100.0, switched_ms: 200.0 };
        let judge = |seen: &[Seen]| DnsFigures::of(seen, at(12), std::slice::from_ref(&switch));

        let right = [said(0.0, 12), said(150.0, 12), said(160.0, 11), said(210.0, 11)];
        let early = judge(&[said(0.0, 12), said(50.0, 11), said(60.0, 12)]);
        let stale = judge(&[said(190.0, 12), said(210.0, 12), said(900.0, 12), said(910.0, 11)]);

        assert_eq!((judge(&right).wrong, judge(&right).ttl_max_s), (0, 2));
        assert_eq!((early.wrong, early.wrong_ms_max), (1, 50.0));
        assert_eq!((stale.wrong, stale.wrong_ms_max), (2, 710.0));
        assert_eq!(judge(&[said(0.0, 13)]).wrong, 1, "an address of nobody");
        assert_eq!(judge(&right).longest_pause_ms, 150.0);
    }

    #[test]
    fn empty_and_failed_answers_are_told_apart() {
        let answers = [
            seen(0.0, Outcome::Empty),
            seen(10.0, Outcome::Failed("SERVFAIL".into())),
            said(20.0, 12),
        ];

        let figures = DnsFigures::of(&answers, at(12), &[]);

        assert_eq!((figures.queries, figures.empty, figures.failed, figures.wrong), (3, 1, 1, 0));
    }
}
