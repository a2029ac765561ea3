//! Latencies by what is asked: the requests ahead are forecast, and a queue that was fitted to each
//! place says how long answers would take there.
//!
//! What a place measures of itself tells nothing of a service that is elsewhere: a box that has
//! nothing to do looks as if it could take it. What comes with the service is known wherever it is.

use super::{
    Agent,
    decide::{aggregate, first},
};
use crate::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample,
    features::mean,
    model::quantile,
    policy::{Moment, Place},
};

/// Beyond this share the formula, which knows no time, would say more than builds up in minutes.
const USE_MAX: f64 = 0.95;
/// How uneven requests may be, the usual one first.
const UNEVEN: [f64; 5] = [0.2, 0.1, 0.05, 0.5, 1.0];
/// Requests that take so many times as long as one by itself wait for one another.
const FLOODED: f64 = 3.0;
/// Of fewer such samples nothing is believed.
const FLOODS_MIN: usize = 2;
/// The share of them in which less was answered than can be: a flood begins and ends within a sample.
const FLOODED_FULL: f64 = 0.75;
/// No forecast is longer.
const LATENCY_MAX_MS: f64 = 60_000.0;
/// Halvings in which a request's work is found to a billionth.
const HALVINGS: u32 = 30;

impl Agent {
    /// The latencies here and there with the requests that are forecast.
    pub(super) fn by_requests(
        &self,
        moment: &Moment,
        move_s: u32,
        there: Option<&Place>,
    ) -> (Result<Prediction>, Result<Prediction>) {
        let (asked, horizon_s) = match self.requests_ahead(moment, move_s) {
            Ok(said) => said,
            Err(error) => {
                let text = format!("nothing is known of what comes: {error}");
                return (Err(error), Err(Error::Unfit(text)));
            }
        };
        let at = |place: &Place| {
            let queue = Queue::fit(&self.prepared(moment.step_s, place).0);
            let queue = queue.ok_or_else(|| {
                Error::Unfit(format!("nothing was ever measured at `{}`", place.name))
            })?;
            let of = |requests: f64| queue.latency_ms(requests, horizon_s);
            Ok(Prediction { value: of(asked.value), low: of(asked.low), high: of(asked.high) })
        };
        let there = there.ok_or_else(|| Error::Unfit("there is no other place".into()));
        (at(&moment.here), there.and_then(at))
    }

    /// The share of what a place can do that the requests would take, at the upper end of what is
    /// forecast.
    pub(super) fn used(&self, moment: &Moment, place: &Place) -> Option<f64> {
        let (asked, _) = self.requests_ahead(moment, moment.here.move_s).ok()?;
        let queue = Queue::fit(&self.prepared(moment.step_s, place).0)?;
        Some(queue.used(asked.high))
    }

    /// The requests each second that are forecast, and for how many seconds.
    fn requests_ahead(&self, moment: &Moment, move_s: u32) -> Result<(Prediction, f64)> {
        let Some((ahead, predictor)) = self.predictor(move_s) else {
            return Err(Error::Unfit("there is no forecast".into()));
        };
        let (asked, step_s) = self.asked(moment);
        if asked.iter().all(|sample| sample.requests.is_none()) {
            return Err(Error::Unfit("nothing was asked for an hour".into()));
        }
        let past = Past { now_s: moment.now_s, step_s, here: &asked, there: &[] };
        let said = aggregate(&predictor.predict(&past)?, self.spec.pipeline.aggregate)?;
        Ok((said, f64::from(ahead.1.saturating_sub(ahead.0))))
    }

    /// The requests each second that are forecast, where latencies are forecast by them.
    pub fn requests(&self, moment: &Moment) -> Option<Prediction> {
        self.spec.pipeline.by?;
        self.requests_ahead(moment, moment.here.move_s).ok().map(|(said, _)| said)
    }

    /// What the service was asked wherever it was, the latest last, and the step. It is at one place at
    /// a time: in a step in which it moves each place tells the rate of the time that it was there.
    fn asked(&self, moment: &Moment) -> (Vec<Sample>, u32) {
        let (here, step_s) = self.prepared(moment.step_s, &moment.here);
        let mut places = vec![here];
        places.extend(moment.others.iter().map(|place| self.prepared(moment.step_s, place).0));
        let length = places.iter().map(|place| place.len()).max().unwrap_or_default();
        let at = |back: usize| {
            let each = places.iter().filter_map(|place| place.iter().rev().nth(back)?.requests);
            let each = each.filter(|requests| requests.is_finite());
            let requests = each.reduce(f64::max);
            Sample { requests, ..Sample::default() }
        };
        ((0..length).rev().map(at).collect(), step_s)
    }

    /// The words about the requests that are forecast, if latencies follow from them.
    pub(super) fn tell_requests(&self, moment: &Moment) -> String {
        match self.requests(moment) {
            Some(Prediction { value, low, high }) => {
                format!("{value:.1} requests each second are forecast ({low:.1} to {high:.1}): ")
            }
            None => String::new(),
        }
    }

    /// What says most of the requests that are forecast.
    pub(super) fn reasons_of_requests(
        &self,
        moment: &Moment,
        predictor: &dyn Predictor,
    ) -> Vec<Reason> {
        let (asked, step_s) = self.asked(moment);
        first(predictor.explain(&Past { now_s: moment.now_s, step_s, here: &asked, there: &[] }))
    }
}

/// A place that answers one request after the other.
///
/// The mean wait is J. F. C. Kingman's, "The single server queue in heavy traffic", Mathematical
/// Proceedings of the Cambridge Philosophical Society 57, 1961: `uneven · ρ / (1 − ρ)` times the work.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Queue {
    /// Milliseconds that a request takes by itself.
    alone_ms: f64,
    /// By how much it keeps the place busy for longer than that: more than 1 where work goes on
    /// behind an answer, or an idle place has time saved up.
    behind: f64,
    /// Half the squared coefficients of variation of arrivals and of work.
    uneven: f64,
}

impl Queue {
    /// The one that explains best what was measured; nothing if nothing was. A latency without a
    /// number of requests is of something that is asked little.
    fn fit(past: &[Sample]) -> Option<Self> {
        let point = |sample: &Sample| {
            let latency = sample.latency_ms.filter(|ms| ms.is_finite() && *ms > 0.0)?;
            let requests = sample.requests.filter(|requests| requests.is_finite());
            Some((requests.unwrap_or_default().max(0.0), latency))
        };
        let points: Vec<(f64, f64)> = past.iter().filter_map(point).collect();
        let fits = UNEVEN.map(|uneven| {
            let queue = Self { alone_ms: f64::NAN, behind: 1.0, uneven };
            let alone = points.iter().map(|&(requests, ms)| queue.implied_ms(requests, ms));
            let queue = Self { alone_ms: median(alone), ..queue };
            let off = |&(requests, ms): &(f64, f64)| (queue.steady_ms(requests) / ms).ln().abs();
            (mean(points.iter().map(off)), queue)
        });
        let best = fits.into_iter().filter(|(off, _)| off.is_finite());
        // Of those that explain it as well, the first.
        let best = best.reduce(|best, next| if next.0 < best.0 - 1e-9 { next } else { best });
        best.map(|(_, queue)| queue.flooded(&points))
    }

    /// Where requests waited for one another, as many were answered as can be.
    fn flooded(self, points: &[(f64, f64)]) -> Self {
        let waits = |&&(requests, ms): &&(f64, f64)| requests > 0.0 && ms > FLOODED * self.alone_ms;
        let mut answered: Vec<f64> = points.iter().filter(waits).map(|point| point.0).collect();
        if answered.len() < FLOODS_MIN {
            return self;
        }
        answered.sort_by(f64::total_cmp);
        let busy_ms = 1000.0 / quantile(&answered, FLOODED_FULL);
        Self { behind: (busy_ms / self.alone_ms).max(1.0), ..self }
    }

    /// The share of its time that so many requests each second take.
    fn used(&self, requests: f64) -> f64 {
        requests.max(0.0) * self.alone_ms * self.behind / 1000.0
    }

    /// The mean latency while requests come like this for long.
    fn steady_ms(&self, requests: f64) -> f64 {
        let used = self.used(requests).min(USE_MAX);
        self.alone_ms * (1.0 + self.behind * self.uneven * used / (1.0 - used))
    }

    /// The mean latency over a time in which requests come like this: what comes beyond all that can
    /// be done waits longer and longer.
    fn latency_ms(&self, requests: f64, horizon_s: f64) -> f64 {
        let beyond = (self.used(requests) - 1.0).max(0.0);
        (self.steady_ms(requests) + beyond * horizon_s / 2.0 * 1000.0).min(LATENCY_MAX_MS)
    }

    /// What a request takes by itself, if among so many others it took so long.
    fn implied_ms(self, requests: f64, latency_ms: f64) -> f64 {
        // Whoever answers so many has done so: more work than fits is a wait.
        let fits_ms = USE_MAX * 1000.0 / self.behind / requests;
        let most = if requests > 0.0 { fits_ms } else { f64::INFINITY };
        let (mut low, mut high) = (0.0, latency_ms.min(most));
        for _ in 0..HALVINGS {
            let alone_ms = f64::midpoint(low, high);
            let slow = Self { alone_ms, ..self }.steady_ms(requests) > latency_ms;
            (low, high) = if slow { (low, alone_ms) } else { (alone_ms, high) };
        }
        f64::midpoint(low, high)
    }
}

/// Not a number if there is nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() { f64::NAN } else { quantile(&sorted, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{NoModels, Situation, tests::spec};

    fn sample(requests: f64, ms: f64) -> Sample {
        Sample { latency_ms: Some(ms), requests: Some(requests), ..Sample::default() }
    }

    /// Measured up to nine tenths of what it can do, a queue says where it will be full.
    #[test]
    fn a_queue_is_found_from_what_was_measured() {
        let queue = |alone_ms, uneven| Queue { alone_ms, behind: 1.0, uneven };
        for truth in [queue(60.0, 0.1), queue(5.0, 1.0)] {
            let full = 1000.0 / truth.alone_ms;
            let past: Vec<_> = [0.2, 0.4, 0.5, 0.6, 0.9]
                .map(|used| sample(used * full, truth.steady_ms(used * full)))
                .into();

            let found = Queue::fit(&past).unwrap();

            assert!((found.alone_ms / truth.alone_ms - 1.0).abs() < 0.01, "{found:?}");
            assert_eq!(found.uneven, truth.uneven);
            assert!(found.latency_ms(1.5 * full, 10.0) > 2000.0);
        }
    }

    /// By itself a request takes 45 ms, but only 16 each second are answered.
    #[test]
    fn a_place_that_was_flooded_is_known_for_what_it_can_do() {
        let calm: Vec<_> =
            [8.0, 10.0, 11.0, 12.0, 13.0, 14.0].map(|rate| sample(rate, 45.0)).into();
        let before = Queue::fit(&calm).unwrap();
        let past = [&calm[..], &[sample(15.8, 400.0), sample(16.2, 900.0)]].concat();

        let after = Queue::fit(&past).unwrap();

        assert!(before.used(16.0) < 0.75, "{before:?}");
        assert!((after.used(16.0) - 1.0).abs() < 0.03, "{after:?}");
        // A flood ends before its last sample does.
        let ends = [sample(4.0, 300.0), sample(9.0, 800.0), sample(16.1, 900.0)];
        let after = Queue::fit(&[&past[..], &ends].concat()).unwrap();
        assert!((after.used(16.0) - 1.0).abs() < 0.05, "{after:?}");
    }

    #[test]
    fn what_nobody_asks_and_what_is_flooded_are_no_riddles() {
        let idle = Queue::fit(&[Sample { requests: None, ..sample(0.0, 50.0) }]).unwrap();
        assert!((idle.alone_ms - 50.0).abs() < 0.01);
        // 16 a second were answered, late: it can do hardly more.
        let flooded = Queue::fit(&[sample(16.0, 3000.0); 10]).unwrap();
        assert!((0.9..=1.01).contains(&flooded.used(16.0)), "{flooded:?}");
        assert_eq!(Queue::fit(&[]), None);
        assert_eq!(Queue::fit(&[Sample::default(), sample(f64::NAN, f64::NAN)]), None);
        for requests in [-1.0, 0.0, 1e300, f64::INFINITY] {
            let ms = flooded.latency_ms(requests, 1e9);
            assert!((0.0..=LATENCY_MAX_MS).contains(&ms), "{requests}: {ms}");
        }
    }

    const SPEC: &str = "
service: a
sla: 150ms
model: max
pipeline: {load: latency, by: requests}
conditions:
  alarm: here.high > sla
  go: here.edge && here.high > sla || !here.edge && there.high < 0.9 * sla && there.used < 0.9
";

    fn says(edge: &[Sample], cloud: &[Sample], at_edge: bool) -> crate::agent::Advice {
        let agent = Agent::new(&spec(SPEC), &NoModels, &[5]).unwrap();
        let place = |name, past, edge| Place { name, past, edge, move_s: 5 };
        let (edge, cloud) = (place("edge", edge, true), place("cloud", cloud, false));
        let (here, others) = if at_edge { (edge, [cloud]) } else { (cloud, [edge]) };
        let moment = Moment { now_s: 43_200, step_s: 5, here, others: &others, moved_s_ago: &[] };
        let figures = crate::agent::Figures::new();
        agent.advise(&Situation { moment: &moment, trail: None, figures: &figures })
    }

    #[test]
    fn an_edge_is_left_before_it_is_full_and_come_back_to_when_it_would_not_be() {
        let calm = [sample(8.0, 62.0); 12];
        let busy = [&calm[..], &[sample(18.0, 100.0); 3]].concat();
        let stand_in = [Sample { requests: None, ..sample(0.0, 5.0) }; 12];
        let nothing = Sample::default();

        assert_eq!(says(&calm, &stand_in, true).verdict.go, None);
        let leaves = says(&busy, &stand_in, true);
        assert_eq!((leaves.verdict.go, leaves.fallback), (Some(0), None));
        assert!(
            Agent::new(
                &spec("{service: a, sla: 1s, conditions: {go: here.used > 1}}"),
                &NoModels,
                &[5]
            )
            .is_err()
        );
        assert!(leaves.reason.contains("18.0 requests each second"), "{}", leaves.reason);
        // The idle edge looks well, and would not be with what now comes to the cloud.
        let left = [&busy[..], &[nothing; 12]].concat();
        let away = [&[nothing; 15][..], &[sample(18.0, 5.2); 12]].concat();
        assert_eq!(says(&left, &away, false).verdict.go, None);
        // It moved within a step: both places tell of the same requests.
        let [before, after] = [[sample(9.0, 62.0); 7], [sample(9.0, 5.0); 7]];
        let nothing_yet = [nothing; 6];
        let moved = says(&before, &[&nothing_yet[..], &after[..1]].concat(), true);
        assert!(moved.reason.contains("9.0 requests each second"), "{}", moved.reason);
        let quiet = [&left[..], &[nothing; 60]].concat();
        let little = [&away[..], &[sample(8.0, 5.0); 60]].concat();
        assert_eq!(says(&quiet, &little, false).verdict.go, Some(0));
    }

    #[test]
    fn nothing_measured_falls_back_and_says_why() {
        let calm = [sample(8.0, 62.0); 12];

        let unknown = says(&calm, &[], true);

        assert_eq!(unknown.verdict.go, None);
        assert!(unknown.fallback.is_none(), "the condition asks only about here: {unknown:?}");
        let nobody = says(&[Sample { requests: None, ..calm[0] }; 3], &calm[..0], true);
        assert!(nobody.fallback.unwrap().contains("asked"));
    }

    #[test]
    fn only_latencies_are_forecast_by_requests() {
        let spec = spec("{service: a, sla: 150ms, pipeline: {by: requests}}");
        let error = Agent::new(&spec, &NoModels, &[5]).unwrap_err();
        assert!(error.to_string().contains("load: latency"), "{error}");
    }
}
