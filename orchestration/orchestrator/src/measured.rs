//! What sites report of services, in steps of seconds and for a day: finer than what is scraped into the store of series.

use api::link::{Answers, Held, HeldState};
use learning::Sample;
use std::collections::{HashMap, HashSet, VecDeque};

/// Seconds from one sample to the next.
pub(crate) const STEP_S: u32 = 5;
const STEP_MS: u64 = STEP_S as u64 * 1000;
/// Of less time than this the requests each second are not told: too few came.
const COUNTED_MIN_MS: u64 = 500;
/// A day, for the longest window that policies look back at.
const STEPS_MAX: usize = 86_400 / STEP_S as usize;
/// Services at sites; each takes at most half a MiB.
const SERIES_MAX: usize = 1024;

/// What was measured of each watched service at each site.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    series: HashMap<(String, String), Series>,
    sites: HashMap<String, Processors>,
}

/// One service at one site.
#[derive(Debug, Default)]
struct Series {
    /// The step that the last slot is of, since 1970.
    last: u64,
    slots: VecDeque<Slot>,
    /// As the site last counted, and when.
    answers: Option<Answers>,
    counted_ms: u64,
    /// Steps before this one were told by [`Measured::ended`].
    untold: u64,
}

/// What was measured in a step that is over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    /// Of which service.
    pub(crate) uid: String,
    pub(crate) site: String,
    /// When the step began, in seconds since the Unix epoch.
    pub(crate) time_s: u64,
    pub(crate) sample: Sample,
}

/// One step.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The site said that it serves.
    heard: bool,
    /// The time in which the site counted what follows, while it served.
    counted_ms: u32,
    /// The requests that came in that time.
    asked: u32,
    count: u32,
    failed: u32,
    sum_us: u64,
    cpu: Option<f32>,
}

/// Processor time of a site's services, as it last counted.
#[derive(Debug, Clone, Copy, Default)]
struct Processors {
    at_ms: u64,
    cpu_us: u64,
    used: Option<f32>,
}

impl Measured {
    /// Takes in a site's report; of services that nobody watches nothing is kept.
    pub(crate) fn take(
        &mut self,
        site: &str,
        now_ms: u64,
        held: &[Held],
        watched: &HashSet<String>,
    ) {
        self.series.retain(|(uid, _), _| watched.contains(uid));
        if watched.is_empty() {
            self.sites.clear();
            return;
        }
        let cpu = self.processors(site, now_ms, held);
        let here: HashSet<&str> = held.iter().map(|one| &*one.uid).collect();
        for ((uid, at), series) in &mut self.series {
            if at == site && !here.contains(&**uid) {
                // What it counts while the service is elsewhere is about others.
                series.answers = None;
            }
        }
        for one in held.iter().filter(|one| watched.contains(&one.uid)) {
            let key = (one.uid.clone(), site.to_owned());
            if !self.series.contains_key(&key) && self.series.len() >= SERIES_MAX {
                continue;
            }
            self.series.entry(key).or_default().take(now_ms, one.answers, one.state, cpu);
        }
    }

    fn processors(&mut self, site: &str, now_ms: u64, held: &[Held]) -> Option<f32> {
        let cpu_us = held.iter().map(|one| one.cpu_us).fold(0_u64, u64::saturating_add);
        let last = self.sites.entry(site.to_owned()).or_default();
        let passed_us = now_ms.saturating_sub(last.at_ms).saturating_mul(1000);
        if last.at_ms > 0 && passed_us < 500_000 {
            return last.used;
        }
        // Counters begin anew with each instance.
        let used = cpu_us.checked_sub(last.cpu_us).filter(|_| last.at_ms > 0);
        let used = used.map(|used| (used as f64 / passed_us.max(1) as f64) as f32);
        *last = Processors { at_ms: now_ms, cpu_us, used };
        used
    }

    /// What was measured in steps that have ended since this was last asked, where a site had the service.
    pub(crate) fn ended(&mut self, now_ms: u64) -> Vec<Ended> {
        let now = now_ms / STEP_MS;
        let each = self.series.iter_mut().flat_map(|((uid, site), series)| {
            let one = |(step, sample)| {
                let (uid, site) = (uid.clone(), site.clone());
                Ended { uid, site, time_s: step * u64::from(STEP_S), sample }
            };
            series.ended(now).into_iter().map(one).collect::<Vec<_>>()
        });
        each.collect()
    }

    /// The samples of a service at a site up to now, the latest last.
    pub(crate) fn samples(&self, uid: &str, site: &str, now_ms: u64) -> Vec<Sample> {
        let key = (uid.to_owned(), site.to_owned());
        self.series.get(&key).map_or_else(Vec::new, |series| series.samples(now_ms / STEP_MS))
    }
}

impl Series {
    fn take(&mut self, now_ms: u64, answers: Answers, state: HeldState, cpu: Option<f32>) {
        self.reach(now_ms / STEP_MS);
        let passed_ms = now_ms.saturating_sub(std::mem::replace(&mut self.counted_ms, now_ms));
        let known = self.answers.is_some();
        let since = answers.since(self.answers.replace(answers));
        let Some(slot) = self.slots.back_mut() else { return };
        slot.cpu = cpu.or(slot.cpu);
        if state == HeldState::Forwarding {
            // Another site answers them, and counts them.
            return;
        }
        let serves = state == HeldState::Serving;
        slot.heard |= serves;
        let [count, failed] =
            [since.count, since.failed].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        // Of a longer time nothing says when they came.
        if serves && known && passed_ms <= STEP_MS {
            slot.counted_ms += u32::try_from(passed_ms).unwrap_or_default();
            slot.asked = slot.asked.saturating_add(count).saturating_add(failed);
        }
        slot.count = slot.count.saturating_add(count);
        slot.failed = slot.failed.saturating_add(failed);
        slot.sum_us = slot.sum_us.saturating_add(since.sum_us);
    }

    /// Steps that are over and were not told, with their samples.
    fn ended(&mut self, now: u64) -> Vec<(u64, Sample)> {
        let first = (self.last + 1).saturating_sub(self.slots.len() as u64);
        let samples = self.samples(self.last);
        let each = (first..).zip(&self.slots).zip(samples);
        let told = each.filter(|((step, slot), _)| {
            let there = slot.heard || slot.count > 0 || slot.failed > 0;
            there && (self.untold..now).contains(step)
        });
        let told = told.map(|((step, _), sample)| (step, sample)).collect();
        self.untold = self.untold.max(now);
        told
    }

    /// Opens a slot for a step; a clock that was set back writes on in the last one.
    fn reach(&mut self, step: u64) {
        let ahead = if self.slots.is_empty() { 1 } else { step.saturating_sub(self.last) };
        if ahead > 0 {
            let new = usize::try_from(ahead).unwrap_or(usize::MAX).min(STEPS_MAX);
            self.slots.extend(std::iter::repeat_n(Slot::default(), new));
            let surplus = self.slots.len().saturating_sub(STEPS_MAX);
            self.slots.drain(..surplus);
            self.last = step;
        }
    }

    fn samples(&self, now: u64) -> Vec<Sample> {
        let mut last = None;
        let sample = |(at, slot): (usize, &Slot)| {
            let all = slot.count.saturating_add(slot.failed);
            let latency_ms = match (slot.count, slot.failed) {
                (1.., _) => Some(slot.sum_us as f64 / 1000.0 / f64::from(all)),
                // Whoever asked got no answer.
                (0, 1..) => None,
                // Nobody asked: it would have been as before.
                (0, 0) => last.filter(|_| slot.heard),
            };
            last = latency_ms.or(last.filter(|_| slot.failed == 0));
            Sample { latency_ms, cpu: slot.cpu.map(f64::from), requests: self.requests(at) }
        };
        let mut samples: Vec<_> = self.slots.iter().enumerate().map(sample).collect();
        // The site has not been heard of since; the step that is under way has not ended.
        let silent = usize::try_from(now.saturating_sub(self.last)).unwrap_or(usize::MAX);
        samples.extend(std::iter::repeat_n(
            Sample::default(),
            silent.min(STEPS_MAX).saturating_sub(1),
        ));
        samples
    }

    /// Requests each second in a step; that under way, which may have just begun, together with
    /// the one before.
    fn requests(&self, at: usize) -> Option<f64> {
        let from = if at + 1 == self.slots.len() { at.saturating_sub(1) } else { at };
        let slots = self.slots.range(from..=at);
        let (asked, ms) = slots.fold((0_u64, 0_u64), |(asked, ms), slot| {
            (asked + u64::from(slot.asked), ms + u64::from(slot.counted_ms))
        });
        (ms >= COUNTED_MIN_MS).then(|| asked as f64 * 1000.0 / ms as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{Bytes, Epoch};

    fn held(count: u64, failed: u64, sum_us: u64, cpu_us: u64) -> Vec<Held> {
        vec![Held {
            tenant: "default".into(),
            name: "a".into(),
            uid: "u".into(),
            epoch: Epoch(1),
            incarnation: 0,
            state: HeldState::Serving,
            message: String::new(),
            requests_answered: 0,
            cpu_us,
            last_checkpoint: None,
            lost: Vec::new(),
            memory: Bytes(1),
            started_from: None,
            answers: Answers { count, failed, sum_us },
            page: None,
        }]
    }

    fn latencies(measured: &Measured, now_ms: u64) -> Vec<Option<f64>> {
        measured.samples("u", "edge", now_ms).iter().map(|sample| sample.latency_ms).collect()
    }

    #[test]
    fn answers_become_samples_and_silence_is_told_from_idleness() {
        let watched = HashSet::from(["u".to_owned()]);
        let mut measured = Measured::default();
        let mut take = |at_s: u64, count, failed, sum_us| {
            measured.take(
                "edge",
                at_s * 1000,
                &held(count, failed, sum_us, at_s * 500_000),
                &watched,
            );
        };
        take(1000, 5, 0, 90_000_000);
        take(1001, 7, 0, 90_100_000);
        take(1004, 9, 0, 90_400_000);
        // Nobody asks, then nobody is answered, then the agent begins to count anew.
        take(1005, 9, 0, 90_400_000);
        take(1010, 9, 3, 90_500_000);
        take(1015, 2, 0, 80_000);

        let samples = measured.samples("u", "edge", 1_015_000);
        let mean = Some(100.0);
        assert_eq!(latencies(&measured, 1_015_000), [mean, mean, None, Some(40.0)]);
        assert_eq!(samples[1].cpu, Some(0.5));
        // Two in a second, and the next in three; then three in five seconds, and none of two.
        let requests = |at: usize| samples[at].requests;
        assert_eq!((requests(0), requests(1), requests(2)), (Some(1.0), Some(0.0), Some(0.6)));
        // Then nothing is heard.
        assert_eq!(latencies(&measured, 1_026_000)[4..], [None]);
        measured.take("edge", 1_030_000, &held(2, 0, 80_000, 0), &HashSet::new());
        assert!(latencies(&measured, 1_030_000).is_empty());
    }

    /// The site that a service left counts on while it forwards, and when the service is there again.
    #[test]
    fn what_another_site_answers_is_not_counted_when_a_service_comes_back() {
        let watched = HashSet::from(["u".to_owned()]);
        let mut measured = Measured::default();
        let mut take = |at_s: u64, count: u64, state| {
            let mut held = held(count, 0, count * 100_000, 0);
            held[0].state = state;
            measured.take("edge", at_s * 1000, &held, &watched);
        };
        (1000..1005).for_each(|at_s| take(at_s, 10 * (at_s - 1000), HeldState::Serving));
        (1005..1010).for_each(|at_s| take(at_s, 10 * (at_s - 1000), HeldState::Forwarding));
        (1010..1015).for_each(|at_s| take(at_s, 10 * (at_s - 1000), HeldState::Serving));
        // Not heard of for long: of what came meanwhile nothing says when.
        (1100..1105).for_each(|at_s| take(at_s, 10 * (at_s - 1000), HeldState::Serving));
        measured.take("edge", 1_105_000, &[], &watched);
        let mut take = |at_s: u64, count: u64| {
            measured.take("edge", at_s * 1000, &held(count, 0, count * 500_000, 0), &watched);
        };
        (1106..1115).for_each(|at_s| take(at_s, 2000 + 10 * (at_s - 1000)));

        let samples = measured.samples("u", "edge", 1_115_000);
        let requests = |at_s: usize| samples[(at_s - 1000) / 5].requests;
        assert_eq!(
            (requests(1000), requests(1005), requests(1010)),
            (Some(10.0), None, Some(10.0))
        );
        assert_eq!((requests(1050), requests(1100)), (None, Some(10.0)));
        assert_eq!((requests(1105), samples[21].latency_ms), (Some(10.0), Some(500.0)));
        assert_eq!(samples[1].latency_ms, None, "it was not asked");
    }

    #[test]
    fn steps_that_are_over_are_told_once() {
        let watched = HashSet::from(["u".to_owned()]);
        let mut measured = Measured::default();
        let mut take = |at_s: u64, count, sum_us| {
            measured.take("edge", at_s * 1000, &held(count, 0, sum_us, 0), &watched);
            let told = measured.ended(at_s * 1000);
            told.into_iter().map(|one| (one.time_s, one.sample.latency_ms)).collect::<Vec<_>>()
        };

        assert_eq!(take(1000, 0, 0), []);
        assert_eq!(take(1002, 1, 100_000), []);
        assert_eq!(take(1006, 2, 300_000), [(1000, Some(100.0))]);
        // Nothing was heard for a while: of that time nothing is told.
        assert_eq!(take(1021, 2, 300_000), [(1005, Some(200.0))]);
        assert_eq!(take(1022, 2, 300_000), []);
        assert_eq!(take(1025, 2, 300_000), [(1020, Some(200.0))]);
    }

    #[test]
    fn a_clock_that_jumps_makes_no_more_than_a_day() {
        let watched = HashSet::from(["u".to_owned()]);
        let mut measured = Measured::default();
        measured.take("edge", 5_000, &held(1, 0, 1000, 0), &watched);
        measured.take("edge", u64::MAX, &held(2, 0, 2000, 0), &watched);
        measured.take("edge", 0, &held(3, 0, 3000, 0), &watched);

        assert!(latencies(&measured, u64::MAX).len() <= 2 * STEPS_MAX);
    }
}
