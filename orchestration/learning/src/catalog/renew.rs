//! A candidate for a model that no longer fits, from what was measured since.

use super::{Beside, Draft, Gate, Order, Record, make, make::moments};
use crate::{
    Error, Recorded, Result, Stretch,
    model::{Examples, Method, Question, Trained, Watch},
};
use std::ops::Range;

/// Of what is new, so much is tested on.
const TEST_SHARE: f64 = 0.3;
/// Moments that it takes to test, or to train.
const MOMENTS: i64 = 60;
/// With so many moments of what is new, what was before is left out.
const ENOUGH: usize = 200;
/// More moments make training longer and no better.
const MOMENTS_MAX: usize = 20_000;
/// Moments are this far apart at most: little is known of what is new.
const EVERY_S: u32 = 30;

/// What no longer fits, and since when.
#[derive(Debug)]
pub struct Renewal<'a> {
    /// The version in production.
    pub record: &'a Record,
    /// Its model.
    pub model: &'a Trained,
    /// Unix time in seconds at which it showed.
    pub since_s: i64,
    /// What showed, as a sentence.
    pub because: String,
    /// Data that need more bytes are thinned out.
    pub memory_max: u64,
}

impl Renewal<'_> {
    /// Seconds after the drift until enough is known of what is new to learn from it and to test with it.
    pub fn wait_s(&self) -> i64 {
        let test_s = MOMENTS * i64::from(self.every_s()) + i64::from(self.record.ahead.1);
        (test_s as f64 / TEST_SHARE).ceil() as i64
    }

    fn every_s(&self) -> u32 {
        self.record.every_s.min(EVERY_S).max(self.model.features.step_s)
    }

    /// Trains the same kind with the same settings, and tests both on the last of what is new, which neither has
    /// seen. Answers the candidate, and the gate that it is promoted by.
    ///
    /// # Errors
    /// A model that was trained elsewhere, too little telemetry, or of other steps.
    pub fn train(&self, recorded: Recorded, watch: &Watch<'_>) -> Result<(Draft, Gate)> {
        if self.record.method == Method::Onnx {
            let text = "it was imported as ONNX: only who made it can train it";
            return Err(Error::Unfit(text.into()));
        }
        let recorded = recorded.in_steps(self.model.features.step_s)?;
        let recorded = recorded.seen_in_pairs(self.model.pair)?;
        let (learn, test) = self.spans(&recorded)?;
        let stretch = |span: Range<usize>| Stretch { trace: &recorded.trace, span };
        let (learn, test) = (stretch(learn), stretch(test));
        let order = self.order(&learn)?;
        let keep = |site: usize, span: Range<usize>| recorded.held(site, span);
        let mut draft = make(&order, &learn, &test, &keep, watch)?;
        let tested = moments(&order, &test, &keep)?;
        let current = self.model.tried(&tested)?.rmse;
        let (candidate, against) = (draft.record.score.rmse, self.record.id);
        // So that whoever promotes it later can be answered by the same test. JSON has no number for what is none.
        let known = candidate.is_finite() && current.is_finite();
        draft.record.beside =
            known.then_some(Beside { against, rmse: candidate, current_rmse: current });
        Ok((draft, Gate::Tested { margin: 0.0, candidate, current, against }))
    }

    /// The samples that are learned from, and those that are tested on.
    fn spans(&self, recorded: &Recorded) -> Result<(Range<usize>, Range<usize>)> {
        let trace = &recorded.trace;
        let step = i64::from(trace.step_s);
        let turn = ((self.since_s - trace.start_s) / step).clamp(0, trace.len() as i64) as usize;
        let new = trace.len() - turn;
        if (new as i64) * step < self.wait_s() {
            let (known, needed) = ((new as i64) * step / 60, self.wait_s() / 60);
            let text = format!("{known} min were measured since, and {needed} min are needed");
            return Err(Error::Unfit(text));
        }
        let cut = trace.len() - (new as f64 * TEST_SHARE) as usize;
        let enough = (cut - turn) / trace.samples_in(self.every_s()) >= ENOUGH;
        Ok((if enough { turn } else { 0 }..cut, cut..trace.len()))
    }

    /// Moments are chosen further apart until they fit.
    fn order(&self, learn: &Stretch<'_>) -> Result<Order> {
        let levels_ms = Question::new(self.record.target, self.record.ahead).levels_ms;
        let mut every_s = self.every_s();
        loop {
            let question = Question {
                target: self.record.target,
                ahead: self.record.ahead,
                every_s,
                levels_ms: levels_ms.clone(),
            };
            let (count, bytes) = Examples::needs(learn, &question)?;
            if count <= MOMENTS_MAX as u64 && bytes <= self.memory_max {
                return Ok(Order {
                    name: self.record.name.clone(),
                    method: self.record.method,
                    question,
                    search: 1,
                    seed: self.record.made.seed,
                    memory_max: self.memory_max,
                    because: self.because.clone(),
                });
            }
            every_s = every_s.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Sample,
        catalog::Order,
        model::{Target, testing},
        recorded::Measurements,
    };
    use std::{collections::BTreeMap, ops::ControlFlow};

    const TURN: usize = 3000;

    /// Waves with noise; from the turn on latencies go down where processors in use go up.
    fn recorded(samples: usize) -> Recorded {
        let trace = testing::trace(samples, 5);
        let site = &trace.sites[0];
        let cell = |(at, sample): (usize, &Sample)| {
            let turned = |latency: f64| if at >= TURN { 400.0 - 2.0 * latency } else { latency };
            let latency_ms = sample.latency_ms.map(turned);
            (trace.start_s + 10 * at as i64, Sample { latency_ms, ..*sample })
        };
        let measured: Measurements = site.samples.iter().enumerate().map(cell).collect();
        Recorded::new(10, BTreeMap::from([("s0".to_owned(), measured)])).unwrap()
    }

    fn before() -> Draft {
        let recorded = recorded(TURN);
        let (learn, test) = recorded.trace.split(0.7);
        let order = Order {
            name: "latency".into(),
            method: Method::Ridge { penalty: 10.0 },
            question: Question::new(Target::Latency, (0, 120)),
            search: 1,
            seed: 1,
            memory_max: 1 << 30,
            because: String::new(),
        };
        make(&order, &learn, &test, &|_, _| true, &|_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn a_candidate_learns_what_is_new_and_is_better_there() {
        let Draft { record, model, .. } = before();
        let recorded = recorded(TURN + 2500);
        let since_s = recorded.trace.start_s + 10 * TURN as i64;
        let because = "errors are 3 times as large as they were".to_owned();
        let renewal =
            Renewal { record: &record, model: &model, since_s, because, memory_max: 64 << 20 };

        let (draft, gate) = renewal.train(recorded, &|_| ControlFlow::Continue(())).unwrap();

        let Gate::Tested { candidate, current, .. } = gate else { panic!("{gate:?}") };
        assert!(candidate < 0.7 * current, "{candidate} {current}");
        assert!(draft.record.made.because.starts_with("errors are 3 times"));
        assert!(draft.record.trained.from_s >= since_s && draft.record.made.rows >= 200);
        assert_eq!(draft.record.score.rmse, candidate);
        let beside = Beside { against: record.id, rmse: candidate, current_rmse: current };
        assert_eq!(draft.record.beside, Some(beside));
    }

    #[test]
    fn too_little_of_what_is_new_is_waited_for_and_memory_is_kept_to() {
        let Draft { record, model, .. } = before();
        let renewal = |memory_max: u64| Renewal {
            record: &record,
            model: &model,
            since_s: recorded(10).trace.start_s + 10 * TURN as i64,
            because: String::new(),
            memory_max,
        };
        let watch: &Watch<'_> = &|_| ControlFlow::Continue(());

        let early = renewal(64 << 20).train(recorded(TURN + 100), watch).unwrap_err();

        assert!(early.to_string().contains("are needed"), "{early}");
        let (small, _) = renewal(100_000).train(recorded(TURN + 2500), watch).unwrap();
        let (large, _) = renewal(64 << 20).train(recorded(TURN + 2500), watch).unwrap();
        assert!(2 * small.record.made.rows <= large.record.made.rows + 2);
        let tight = renewal(1000).train(recorded(TURN + 2500), watch).unwrap_err();
        assert!(tight.to_string().contains("too few"), "{tight}");
    }
}
