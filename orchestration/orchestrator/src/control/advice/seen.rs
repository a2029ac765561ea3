//! What sites report of all services, for an hour: what predictions are made of.
//!
//! Reports are those of the site link. Rings of steps are kept for each service at each site, and one
//! for all that uses processors there.

use api::link::{Answers, Held, HeldCell, HeldState};
use learning::{
    Sample,
    advise::{Moment, Observed},
};
use std::collections::{HashMap, VecDeque};
use types::Epoch;

/// Seconds from one sample to the next: those of policies' models.
pub(super) const STEP_S: u32 = 5;
const STEP_MS: u64 = STEP_S as u64 * 1000;
/// An hour and a bit: models look back for so long.
const STEPS_MAX: usize = 740;
/// What is lately: five minutes.
const LATELY: usize = 60;
/// A moment that is learned from is half a minute: single steps have few answers.
const MOMENT_STEPS: usize = 6;
/// Services at sites; each takes 24 KiB.
const PAIRS_MAX: usize = 1024;
/// A moment with more processors than its site has, by so much, was not measured: a half minute may
/// have the reports of a second more.
const PROCESSORS_SLACK: f64 = 1.1;
/// Counters that a site told longer ago than this say nothing of any one step.
const GAP_MS: u64 = 2 * STEP_MS;

/// What was seen of all sites.
#[derive(Debug, Default)]
pub(in super::super) struct Seen {
    sites: HashMap<String, Site>,
}

/// One site.
#[derive(Debug, Default)]
struct Site {
    /// The step that the last slots are of, since 1970.
    last: u64,
    told_ms: u64,
    /// Processor time of everything as it was last told.
    counters: HashMap<(String, Epoch), u64>,
    /// Microseconds of processor time in each step.
    used_us: VecDeque<u64>,
    /// By the service's uid.
    services: HashMap<String, Service>,
}

#[derive(Debug, Default)]
struct Service {
    answers: Option<Answers>,
    slots: VecDeque<Slot>,
}

/// One step of a service.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The site said that it serves.
    heard: bool,
    count: u32,
    failed: u32,
    sum_us: u64,
    cpu_us: u64,
}

/// How a service was lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Lately {
    /// Requests a second.
    pub(super) rate: f64,
    /// Processors that it used.
    pub(super) own: f64,
}

impl Seen {
    /// Takes in a site's report. Of services that are not `placed` there nothing is kept but their
    /// part of what is used.
    pub(in super::super) fn take(
        &mut self,
        site: &str,
        now_ms: u64,
        held: &[Held],
        cells: &[HeldCell],
        placed: impl Fn(&str) -> bool,
    ) {
        let known =
            |uid: &str| self.sites.get(site).is_some_and(|at| at.services.contains_key(uid));
        let new = held.iter().filter(|one| placed(&one.uid) && !known(&one.uid)).count();
        let mut places = self.places(site, new);
        let site = self.sites.entry(site.to_owned()).or_default();
        site.reach(now_ms / STEP_MS);
        let fresh = now_ms.saturating_sub(site.told_ms) <= GAP_MS;
        site.told_ms = now_ms;
        let before = std::mem::take(&mut site.counters);
        let since = |key: &(String, Epoch), now_us: u64| {
            let before = before.get(key).filter(|_| fresh);
            // A counter that is less than before began anew.
            before.map_or(0, |before| now_us.checked_sub(*before).unwrap_or(now_us))
        };
        for cell in cells {
            let key = (cell.uid.clone(), Epoch(0));
            site.add_used(since(&key, cell.cpu_us));
            site.counters.insert(key, cell.cpu_us);
        }
        for one in held {
            let key = (one.uid.clone(), one.epoch);
            let cpu_us = since(&key, one.cpu_us);
            site.add_used(cpu_us);
            site.counters.insert(key, one.cpu_us);
            if placed(&one.uid) {
                site.add(one, cpu_us, fresh, &mut places);
            }
        }
    }

    /// Makes places for `new` services of a site, and answers how many there are. If all are
    /// taken, sites that have more of them than this one give some away.
    fn places(&mut self, site: &str, new: usize) -> usize {
        let known: usize = self.sites.values().map(|site| site.services.len()).sum();
        let own = self.sites.get(site).map_or(0, |site| site.services.len());
        let mut free = PAIRS_MAX.saturating_sub(known);
        while free < new {
            let others = self.sites.iter_mut().filter(|(name, _)| name.as_str() != site);
            let fullest = others.map(|(_, other)| other).max_by_key(|other| other.services.len());
            let Some(fullest) = fullest.filter(|most| most.services.len() > own + free + 1) else {
                break;
            };
            let last = fullest.services.keys().max().cloned();
            last.and_then(|last| fullest.services.remove(&last));
            free += 1;
        }
        free
    }

    /// Forgets sites and services that are no more.
    pub(super) fn keep(&mut self, site: impl Fn(&str) -> bool, service: impl Fn(&str) -> bool) {
        self.sites.retain(|name, _| site(name));
        for site in self.sites.values_mut() {
            let lives = |one: &Service| one.slots.iter().any(|slot| slot.heard || slot.count > 0);
            site.services.retain(|uid, one| service(uid) && lives(one));
        }
    }

    /// The samples of a service at a site up to now, the latest last; the processors are all that
    /// are used there.
    pub(super) fn samples(&self, uid: &str, site: &str, now_ms: u64) -> Vec<Sample> {
        let Some(site) = self.sites.get(site) else { return Vec::new() };
        let Some(service) = site.services.get(uid) else { return Vec::new() };
        let mut samples = service.samples(&site.used_us);
        let silent = usize::try_from((now_ms / STEP_MS).saturating_sub(site.last));
        if now_ms / STEP_MS <= site.last {
            // The step is under way: a part of one is not what models were trained on.
            samples.pop();
        }
        // A step has not ended, of a site that is silent neither.
        let silent = silent.unwrap_or(usize::MAX).min(STEPS_MAX).saturating_sub(1);
        samples.extend(std::iter::repeat_n(Sample::default(), silent));
        samples
    }

    /// Processors that all together used at a site lately; nothing if it was not heard.
    pub(super) fn used(&self, site: &str, now_ms: u64) -> Option<f64> {
        let site = self.sites.get(site)?;
        let steps: Vec<u64> = site.ended(now_ms, &site.used_us).copied().collect();
        let sum_us: u64 = steps.iter().sum();
        (!steps.is_empty()).then(|| sum_us as f64 / 1e6 / (steps.len() as f64 * f64::from(STEP_S)))
    }

    /// How a service was at a site lately; nothing if it was not there.
    pub(super) fn lately(&self, uid: &str, site: &str, now_ms: u64) -> Option<Lately> {
        let site = self.sites.get(site)?;
        let service = site.services.get(uid)?;
        let slots: Vec<&Slot> = site.ended(now_ms, &service.slots).collect();
        let heard = slots.iter().filter(|slot| slot.heard || slot.count > 0).count();
        if heard == 0 {
            return None;
        }
        let seconds = heard as f64 * f64::from(STEP_S);
        let answers: u64 = slots.iter().map(|slot| u64::from(slot.count)).sum();
        let cpu_us: u64 = slots.iter().map(|slot| slot.cpu_us).sum();
        Some(Lately { rate: answers as f64 / seconds, own: cpu_us as f64 / 1e6 / seconds })
    }

    /// All that is learned from; `processors` is what a site has.
    pub(super) fn observed(&self, processors: impl Fn(&str) -> Option<f64>) -> Vec<Observed> {
        let mut all = Vec::new();
        for (name, site) in &self.sites {
            let Some(processors) = processors(name) else { continue };
            for (uid, service) in &site.services {
                let (service, site) = (uid.clone(), (name, site, service));
                let mut moments = site.1.moments(site.2);
                // A site may report what it likes: this much cannot be.
                moments.retain(|moment| moment.own <= processors * PROCESSORS_SLACK);
                if !moments.is_empty() {
                    let site = site.0.clone();
                    all.push(Observed { service, site, processors, moments });
                }
            }
        }
        // The same measurements are learned from in the same order.
        all.sort_by(|a, b| (&a.service, &a.site).cmp(&(&b.service, &b.site)));
        all
    }
}

impl Site {
    /// Opens slots for a step; a clock that was set back writes on in the last one.
    fn reach(&mut self, step: u64) {
        let ahead = if self.used_us.is_empty() { 1 } else { step.saturating_sub(self.last) };
        if ahead == 0 {
            return;
        }
        let new = usize::try_from(ahead).unwrap_or(usize::MAX).min(STEPS_MAX);
        extend(&mut self.used_us, new);
        self.services.values_mut().for_each(|service| extend(&mut service.slots, new));
        self.last = step;
    }

    fn add_used(&mut self, cpu_us: u64) {
        if let Some(last) = self.used_us.back_mut() {
            *last = last.saturating_add(cpu_us);
        }
    }

    fn add(&mut self, held: &Held, cpu_us: u64, fresh: bool, places: &mut usize) {
        if !self.services.contains_key(&held.uid) {
            if *places == 0 {
                return;
            }
            *places -= 1;
        }
        let service = self.services.entry(held.uid.clone()).or_default();
        if service.slots.is_empty() {
            service.slots.push_back(Slot::default());
        }
        let before = service.answers.replace(held.answers).filter(|_| fresh);
        let since = held.answers.since(before);
        let Some(slot) = service.slots.back_mut() else { return };
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        slot.heard |= held.state == HeldState::Serving;
        slot.count = slot.count.saturating_add(count(since.count));
        slot.failed = slot.failed.saturating_add(count(since.failed));
        slot.sum_us = slot.sum_us.saturating_add(since.sum_us);
        slot.cpu_us = slot.cpu_us.saturating_add(cpu_us);
    }

    /// The steps of the last minutes that have ended.
    fn ended<'a, T>(&self, now_ms: u64, slots: &'a VecDeque<T>) -> impl Iterator<Item = &'a T> {
        let now = now_ms / STEP_MS;
        let under_way = usize::from(now <= self.last);
        let silent = usize::try_from(now.saturating_sub(self.last)).unwrap_or(usize::MAX);
        let lately = LATELY.saturating_sub(silent.saturating_sub(1));
        slots.iter().rev().skip(under_way).take(lately)
    }

    /// Half minutes with answers, the first of them first.
    fn moments(&self, service: &Service) -> Vec<Moment> {
        let slots: Vec<(&Slot, &u64)> =
            service.slots.iter().rev().zip(self.used_us.iter().rev()).skip(1).collect();
        let moment = |(back, some): (usize, &[(&Slot, &u64)])| {
            let sum =
                |of: fn(&Slot) -> u64| some.iter().map(|(slot, _)| of(slot)).sum::<u64>() as f64;
            let (count, failed) = (sum(|slot| slot.count.into()), sum(|slot| slot.failed.into()));
            let seconds = some.len() as f64 * f64::from(STEP_S);
            let used_us = some.iter().map(|(_, used)| **used).sum::<u64>() as f64;
            let own = sum(|slot| slot.cpu_us) / 1e6 / seconds;
            // Whoever got no answer tells nothing of how long one takes.
            (count > 0.0 && failed == 0.0).then(|| Moment {
                at_s: (self.last as i64 - 1 - (back * MOMENT_STEPS) as i64) * i64::from(STEP_S),
                rate: count / seconds,
                own,
                others: (used_us / 1e6 / seconds - own).max(0.0),
                latency_ms: sum(|slot| slot.sum_us) / 1000.0 / count,
            })
        };
        let mut moments: Vec<Moment> =
            slots.chunks_exact(MOMENT_STEPS).enumerate().filter_map(moment).collect();
        moments.reverse();
        moments
    }
}

impl Service {
    fn samples(&self, used_us: &VecDeque<u64>) -> Vec<Sample> {
        let mut last = None;
        let used = used_us.iter().skip(used_us.len().saturating_sub(self.slots.len()));
        let sample = |(slot, used_us): (&Slot, &u64)| {
            let all = slot.count.saturating_add(slot.failed);
            let latency_ms = match (slot.count, slot.failed) {
                (1.., _) => Some(slot.sum_us as f64 / 1000.0 / f64::from(all)),
                // Whoever asked got no answer.
                (0, 1..) => None,
                // Nobody asked: it would have been as before.
                (0, 0) => last.filter(|_| slot.heard),
            };
            last = latency_ms.or(last.filter(|_| slot.failed == 0));
            Sample {
                latency_ms,
                cpu: Some(*used_us as f64 / 1e6 / f64::from(STEP_S)),
                ..Sample::default()
            }
        };
        self.slots.iter().zip(used).map(sample).collect()
    }
}

fn extend<T: Default + Clone>(slots: &mut VecDeque<T>, new: usize) {
    slots.extend(std::iter::repeat_n(T::default(), new));
    let surplus = slots.len().saturating_sub(STEPS_MAX);
    slots.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Bytes;

    fn held(uid: &str, count: u64, sum_us: u64, cpu_us: u64) -> Held {
        Held {
            tenant: "default".into(),
            name: uid.into(),
            uid: uid.into(),
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
            answers: Answers { count, failed: 0, sum_us },
            page: None,
        }
    }

    /// A report each second: `a` answers ten requests with 20 ms of work each, `b` uses half a
    /// processor and answers nobody.
    fn seen(seconds: u64) -> Seen {
        let mut seen = Seen::default();
        for at in 0..seconds {
            let reports = [
                held("a", 10 * at, 10 * at * 50_000, 10 * at * 20_000),
                held("b", 0, 0, at * 500_000),
            ];
            seen.take("edge", 1_000_000 + at * 1000, &reports, &[], |_| true);
        }
        seen
    }

    #[test]
    fn reports_become_loads_moments_and_samples() {
        let (seen, now_ms) = (seen(125), 1_125_000);

        let a = seen.lately("a", "edge", now_ms).unwrap();
        let used = seen.used("edge", now_ms).unwrap();
        assert!((a.rate - 10.0).abs() < 0.2 && (a.own - 0.2).abs() < 0.01, "{a:?}");
        assert!((used - 0.7).abs() < 0.02, "{used}");
        assert_eq!(seen.lately("a", "cloud", now_ms), None);
        assert_eq!(seen.used("cloud", now_ms), None);

        let observed = seen.observed(|_| Some(4.0));
        assert_eq!(observed.len(), 1, "who answers nobody teaches nothing");
        let last = observed[0].moments.last().unwrap();
        assert!((last.latency_ms - 50.0).abs() < 1e-6 && (last.others - 0.5).abs() < 0.01);
        assert!(observed[0].moments.is_sorted_by_key(|moment| moment.at_s));
        let samples = seen.samples("a", "edge", now_ms);
        assert_eq!(samples[20].latency_ms, Some(50.0));
        assert!((samples[20].cpu.unwrap() - 0.7).abs() < 1e-6);
    }

    #[test]
    fn what_a_site_makes_up_is_not_learned_from() {
        let mut seen = seen(125);
        assert!(seen.observed(|_| Some(0.1)).is_empty(), "a fifth of a processor of a tenth");
        let made_up = held("elsewhere", 1, 1, 1_000_000);
        seen.take("edge", 1_126_000, &[made_up], &[], |uid| uid != "elsewhere");
        assert!(seen.samples("elsewhere", "edge", 1_130_000).is_empty());
    }

    #[test]
    fn the_step_that_is_under_way_is_no_sample() {
        let seen = seen(121);
        let samples = seen.samples("a", "edge", 1_120_500);
        assert_eq!(samples.len(), seen.samples("a", "edge", 1_125_000).len() - 1);
        assert!((samples.last().unwrap().cpu.unwrap() - 0.7).abs() < 1e-6);
    }

    #[test]
    fn silence_gaps_and_clocks_that_jump_are_no_load() {
        let mut seen = seen(60);
        // Two minutes of silence: what was used in them is no load of one step.
        let late = held("a", 5000, 250_000_000, 100_000_000);
        seen.take("edge", 1_180_000, &[late], &[], |_| true);
        assert!(seen.used("edge", 1_186_000).unwrap() < 1.0);
        assert_eq!(seen.used("edge", 2_000_000), None, "nothing was heard lately");
        seen.take("edge", u64::MAX, &[held("a", 1, 1, 1)], &[], |_| true);
        seen.take("edge", 0, &[held("a", 2, 2, 2)], &[], |_| true);
        assert!(seen.samples("a", "edge", u64::MAX).len() <= 2 * STEPS_MAX);
    }

    #[test]
    fn what_is_no_more_is_forgotten_and_there_is_a_limit() {
        let mut seen = seen(10);
        let many: Vec<Held> = (0..2000).map(|at| held(&format!("s{at}"), 1, 1, 1)).collect();
        seen.take("cloud", 1_010_000, &many, &[], |_| true);
        let pairs =
            |seen: &Seen| seen.sites.values().map(|site| site.services.len()).sum::<usize>();
        assert_eq!(pairs(&seen), PAIRS_MAX);

        // A site that took all places gives some to one that comes later.
        seen.take("far", 1_011_000, &many, &[], |_| true);
        seen.take("cloud", 1_012_000, &many, &[], |_| true);
        assert_eq!(pairs(&seen), PAIRS_MAX);
        assert!(seen.sites["far"].services.len() >= PAIRS_MAX / 2 - 2);
        assert!(seen.sites["edge"].services.contains_key("a"));

        seen.keep(|site| site == "edge", |uid| uid == "a");

        assert_eq!(seen.sites.len(), 1);
        assert!(seen.sites["edge"].services.contains_key("a"));
        assert_eq!(seen.sites["edge"].services.len(), 1);
    }
}
