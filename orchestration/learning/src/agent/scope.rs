//! What the names of expressions mean at a moment.

use super::{
    Agent, Load, Situation,
    expression::{Scope, Value},
    forecast::{averaged, figure, held},
};
use crate::{Prediction, Sample, features::PAST_S, policy::Place};
use api::policy::Gaps;
use std::borrow::Cow;

/// The forecasts for here and there.
pub(super) type Forecasts = (Option<Prediction>, Option<Prediction>);

/// A moment, as seen towards one of the other places.
pub(super) struct At<'a> {
    pub(super) agent: &'a Agent,
    pub(super) situation: &'a Situation<'a>,
    pub(super) there: Option<usize>,
    pub(super) forecasts: Option<Forecasts>,
}

impl Scope for At<'_> {
    fn get(&self, name: &str, last_ms: f64) -> Option<Value> {
        let moment = self.situation.moment;
        let number = |value: f64| Some(Value::Number(value));
        match name {
            "sla" => return number(self.agent.sla_ms),
            "moved" => {
                let ago = moment.moved_s_ago.first();
                return number(ago.map_or(f64::INFINITY, |ago| *ago as f64 * 1000.0));
            }
            "hour" => return number(moment.now_s.rem_euclid(86_400) as f64 / 3600.0),
            // 1970 began with a Thursday; Monday is 1.
            "weekday" => {
                return number((moment.now_s.div_euclid(86_400) + 3).rem_euclid(7) as f64 + 1.0);
            }
            _ => {}
        }
        let (side, name) = name.split_once('.')?;
        let (index, place) = match (side, self.there) {
            ("here", _) => (0, &moment.here),
            (_, Some(at)) => (at + 1, moment.others.get(at)?),
            _ => return None,
        };
        let said = self.forecasts.and_then(|(here, there)| if index == 0 { here } else { there });
        match name {
            "predicted" => number(said?.value),
            "low" => number(said?.low),
            "high" => number(said?.high),
            "edge" => Some(Value::Truth(place.edge)),
            "site" => Some(Value::Text(place.name.to_owned())),
            "move" => number(f64::from(place.move_s) * 1000.0),
            "age" => {
                number(age_s(moment.step_s, place).map_or(f64::INFINITY, |s| s as f64 * 1000.0))
            }
            "euro" => number(self.agent.prices.second(!place.edge) * 3600.0),
            "used" => number(self.agent.used(moment, place)?),
            "latency" => Some(self.samples(place, Load::Latency, last_ms)),
            "broken" => Some(self.samples(place, Load::Broken, last_ms)),
            "cpu" => Some(self.samples(place, Load::Cpu, last_ms)),
            "requests" => Some(self.samples(place, Load::Requests, last_ms)),
            _ => number((*self.situation.figures.get(name)?.get(index)?)?),
        }
    }
}

impl At<'_> {
    fn samples(&self, place: &Place, load: Load, last_ms: f64) -> Value {
        let (samples, step_s) = self.agent.prepared(self.situation.moment.step_s, place);
        let count = (last_ms / 1000.0 / f64::from(step_s.max(1))).ceil().max(1.0) as usize;
        let last = &samples[samples.len().saturating_sub(count)..];
        let values = last.iter().map(|sample| figure(load, sample, self.agent.sla_ms)).collect();
        Value::Samples(values, u64::from(step_s) * 1000)
    }
}

/// Seconds since something was measured at a place; nothing if it never was.
pub(super) fn age_s(step_s: u32, place: &Place) -> Option<u64> {
    let back = place.past.iter().rev().position(|sample| !sample.stalled())?;
    Some(back as u64 * u64::from(step_s))
}

impl Agent {
    /// What was measured at a place, after the pipeline's first steps: samples and their step.
    pub(super) fn prepared<'a>(&self, step_s: u32, place: &Place<'a>) -> (Cow<'a, [Sample]>, u32) {
        let pipeline = &self.spec.pipeline;
        let step_s = step_s.max(1);
        // What lies further back is not looked at by anything.
        let past = 2 * (PAST_S.max(super::compile::seconds(pipeline.window)) / step_s) as usize + 1;
        let past = &place.past[place.past.len().saturating_sub(past)..];
        let resample = pipeline.resample.map_or(step_s, super::compile::seconds).max(step_s);
        let each = (resample / step_s) as usize;
        if pipeline.gaps == Gaps::Stall {
            return (averaged(past, each), step_s * each as u32);
        }
        let held = held(past, step_s);
        if each <= 1 {
            return (held, step_s);
        }
        (Cow::Owned(averaged(&held, each).into_owned()), step_s * each as u32)
    }
}
