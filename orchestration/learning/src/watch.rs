//! A model that is used, on what really happens: what it would have said at each moment beside what came.
//!
//! A model says the same of the same past, so nothing has to be remembered until the truth is known: a moment is
//! looked at once what follows it was measured. After a restart the telemetry is looked at again.

use crate::{
    Drift, Monitor, Past, Predictor, Recorded, features::PAST_S, model::Trained, monitor::WINDOW,
};
use std::collections::VecDeque;

/// What is summed up.
const LATELY_S: i64 = 86_400;
/// So long before a moment the site had the service, or the model has seen nothing of it.
const SEEN_S: u32 = 60;

/// A figure is judged if the time of a window holds so many of its own: what is the mean of an hour says next to nothing
/// in eight of them.
const OWN_WINDOWS: u32 = 100;

/// Watches one model on the telemetry of one service.
#[derive(Debug)]
pub struct Watch {
    monitor: Monitor,
    /// By figure, whether its distribution is judged.
    judged: Vec<bool>,
    every_s: i64,
    next_s: i64,
    /// Moment, how far the prediction was off, and whether its interval held the truth.
    met: VecDeque<(i64, f64, bool)>,
}

/// A drift, and the moment at which it showed.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Unix time in seconds.
    pub at_s: i64,
    /// What changed.
    pub drift: Drift,
}

/// What predictions of the last day were like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lately {
    /// How many have met their truth.
    pub moments: u64,
    /// The mean of how far they were off.
    pub mae: f64,
    /// The share of truths within intervals of 80 %.
    pub coverage80: f64,
}

impl Watch {
    /// Watches a model at moments so many seconds apart, from a moment on.
    pub fn new(model: &Trained, every_s: u32, from_s: i64) -> Self {
        let monitor = Monitor::new(model.names(), &model.reference);
        let every_s = every_s.max(1);
        let short = every_s.saturating_mul(WINDOW) / OWN_WINDOWS;
        let each = model.features.each.iter().map(|figure| figure.looks_back_s() <= short);
        let judged = each.cycle().take(model.width()).collect();
        Self { monitor, judged, every_s: every_s.into(), next_s: from_s, met: VecDeque::new() }
    }

    /// Unix time in seconds from which on telemetry is needed: what came before was looked at.
    pub fn needs_from_s(&self) -> i64 {
        self.next_s - i64::from(PAST_S)
    }

    /// Unix time in seconds of the next moment that is looked at.
    pub fn next_s(&self) -> i64 {
        self.next_s
    }

    /// Takes the moments whose truth is known by now; `recorded` has the model's steps.
    pub fn look(&mut self, model: &Trained, recorded: &Recorded) -> Vec<Noted> {
        let trace = &recorded.trace;
        let step = i64::from(trace.step_s);
        let mut noted = Vec::new();
        for at in 0..trace.len() {
            let time_s = trace.start_s + at as i64 * step;
            let ahead = crate::model::ahead(trace, model.ahead, at);
            if ahead.end > trace.len() {
                break;
            }
            if time_s < self.next_s {
                continue;
            }
            self.next_s = time_s + self.every_s;
            let seen = at.saturating_sub(trace.samples_in(SEEN_S))..ahead.end;
            for site in (0..trace.sites.len()).filter(|site| recorded.held(*site, seen.clone())) {
                let drifts = self.meet(model, recorded, site, at);
                noted.extend(drifts.into_iter().map(|drift| Noted { at_s: time_s, drift }));
            }
        }
        noted
    }

    fn meet(&mut self, model: &Trained, recorded: &Recorded, site: usize, at: usize) -> Vec<Drift> {
        let trace = &recorded.trace;
        let samples = |site: usize| &trace.sites[site].samples[..=at];
        let there = if trace.sites.len() == 2 { samples(1 - site) } else { &[] };
        let now_s = trace.start_s + at as i64 * i64::from(trace.step_s);
        let past = Past { now_s, step_s: trace.step_s, here: samples(site), there };
        let (Ok(said), Ok(mut figures)) = (model.predict(&past), model.figures(&past)) else {
            return Vec::new();
        };
        for (figure, judged) in figures.iter_mut().zip(&self.judged) {
            *figure = if *judged { *figure } else { f64::NAN };
        }
        // Figures of a past that is not whole are otherwise than in training, though nothing is.
        let whole = (at + 1).checked_sub(trace.samples_in(PAST_S));
        let is_whole = whole.is_some_and(|from| recorded.held(site, from..at + 1));
        let mut drifts = if is_whole { self.monitor.saw(&figures) } else { Vec::new() };
        let ahead = crate::model::ahead(trace, model.ahead, at);
        let truth = model.target.of(&trace.sites[site].samples[ahead]);
        let Some(said) = said.first().filter(|_| truth.is_finite()) else { return drifts };
        let within = (said.low..=said.high).contains(&truth);
        self.met.push_back((now_s, (said.value - truth).abs(), within));
        while self.met.front().is_some_and(|(time_s, ..)| *time_s < now_s - LATELY_S) {
            self.met.pop_front();
        }
        drifts.extend(self.monitor.met(said.value, truth, model.spread(&past)));
        drifts
    }

    /// What predictions were like lately.
    pub fn lately(&self) -> Lately {
        let count = self.met.len().max(1) as f64;
        Lately {
            moments: self.met.len() as u64,
            mae: self.met.iter().map(|(_, off, _)| off).sum::<f64>() / count,
            coverage80: self.met.iter().filter(|(.., within)| *within).count() as f64 / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Sample,
        model::{Examples, Method, Question, Target, testing, train},
        recorded::Measurements,
    };
    use std::{collections::BTreeMap, ops::ControlFlow};

    /// What the trace for tests has of its first site, the latency as `changed` says.
    fn recorded(samples: usize, changed: impl Fn(usize, f64) -> f64) -> Recorded {
        let trace = testing::trace(samples, 3);
        let site = &trace.sites[0];
        let cell = |(at, sample): (usize, &Sample)| {
            let latency_ms = sample.latency_ms.map(|latency| changed(at, latency));
            (trace.start_s + 10 * at as i64, Sample { latency_ms, ..*sample })
        };
        let measured: Measurements = site.samples.iter().enumerate().map(cell).collect();
        Recorded::new(10, BTreeMap::from([("s0".to_owned(), measured)])).unwrap()
    }

    fn model() -> Trained {
        let recorded = recorded(4000, |_, latency| latency);
        let question = Question::new(Target::Latency, (0, 300));
        let examples = Examples::new(&recorded.trace.whole(), &question).unwrap();
        train(&examples, Method::Ridge { penalty: 10.0 }, 1, &|_| ControlFlow::Continue(()))
            .unwrap()
    }

    #[test]
    fn what_goes_on_as_before_is_no_drift_and_a_change_of_regime_is_told_with_its_moment() {
        let model = model();
        let calm = recorded(6000, |_, latency| latency);
        // From here on answers take three times as long, now and then.
        let turn = 4000;
        let busy = |at: usize| at >= turn && at % 40 < 20;
        let changed = recorded(6000, |at, latency| if busy(at) { 3.0 * latency } else { latency });
        let begin = calm.trace.start_s;

        let mut watch = Watch::new(&model, 60, begin);
        assert_eq!(watch.look(&model, &calm), []);
        let lately = watch.lately();
        assert!(lately.moments > 900 && (0.7..0.9).contains(&lately.coverage80), "{lately:?}");
        let mut watch = Watch::new(&model, 60, begin);
        let noted = watch.look(&model, &changed);

        assert!(noted.iter().any(|one| matches!(one.drift, Drift::Errors { .. })), "{noted:?}");
        let first = noted[0].at_s - begin;
        assert!((10 * turn as i64 - 300..10 * turn as i64 + 7200).contains(&first), "{noted:?}");
    }

    #[test]
    fn moments_are_looked_at_once_however_often_one_looks_and_not_where_the_service_was_not() {
        let model = model();
        let whole = recorded(3000, |_, latency| latency);
        let mut at_once = Watch::new(&model, 60, whole.trace.start_s);
        at_once.look(&model, &whole);
        let mut bit_by_bit = Watch::new(&model, 60, whole.trace.start_s);

        for end in [500, 501, 1700, 3000] {
            bit_by_bit.look(&model, &recorded(end, |_, latency| latency));
        }

        assert_eq!(bit_by_bit.lately(), at_once.lately());
        let hour = |at: &i64| !(600..=960).contains(&((at - whole.trace.start_s) / 10));
        let kept: Measurements = whole.trace.sites[0]
            .samples
            .iter()
            .enumerate()
            .map(|(at, sample)| (whole.trace.start_s + 10 * at as i64, *sample))
            .filter(|(at, _)| hour(at))
            .collect();
        let away = Recorded::new(10, BTreeMap::from([("s0".to_owned(), kept)])).unwrap();
        let mut watch = Watch::new(&model, 60, away.trace.start_s);
        watch.look(&model, &away);
        assert!(watch.lately().moments + 60 <= at_once.lately().moments, "{:?}", watch.lately());
    }
}
