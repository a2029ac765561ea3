//! A function of Python as a model.

use super::Worker;
use api::policy::{Load, MODEL_PREFIX};
use learning::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample,
    agent::{self, Wanted},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The models of a catalog, and the functions of a policy's Python as `python/NAME`.
#[derive(Debug)]
pub struct Models<'a> {
    catalog: &'a dyn agent::Models,
    worker: Option<Arc<Worker>>,
}

impl<'a> Models<'a> {
    /// With this catalog, and the policy's functions if it has any.
    pub fn new(catalog: &'a dyn agent::Models, worker: Option<Arc<Worker>>) -> Self {
        Self { catalog, worker }
    }
}

impl agent::Models for Models<'_> {
    fn load(&self, wanted: &Wanted) -> Result<Arc<dyn Predictor>> {
        let Some(name) = wanted.model.strip_prefix(MODEL_PREFIX) else {
            return self.catalog.load(wanted);
        };
        let Some(worker) = self.worker.clone() else {
            return Err(Error::Unfit(format!(
                "model `{}`: the policy has no Python",
                wanted.model
            )));
        };
        let Wanted { load, sla_ms, ahead, .. } = *wanted;
        Ok(Arc::new(Function { worker, name: name.to_owned(), load, sla_ms, ahead }))
    }
}

/// A function that forecasts.
#[derive(Debug)]
struct Function {
    worker: Arc<Worker>,
    name: String,
    load: Load,
    sla_ms: f64,
    ahead: (u32, u32),
}

impl Predictor for Function {
    fn ahead(&self) -> (u32, u32) {
        self.ahead
    }

    fn predict(&self, past: &Past) -> Result<Vec<Prediction>> {
        let column = |samples: &[Sample], of: fn(&Sample) -> Option<f64>| -> Vec<Option<f64>> {
            samples.iter().map(|sample| of(sample).filter(|value| value.is_finite())).collect()
        };
        let history = json!({
            "site": "", "here": false, "edge": false, "step_s": past.step_s,
            "latency_ms": column(past.here, |sample| sample.latency_ms),
            "cpu": column(past.here, |sample| sample.cpu),
            "other_ms": column(past.there, |sample| sample.latency_ms),
            "sla_ms": self.sla_ms, "load": self.load, "now_s": past.now_s,
        });
        let (from, to) = self.ahead;
        let question =
            json!({"op": "model", "name": self.name, "history": history, "horizon": [from, to]});
        let unfit =
            |why: String| Error::Unfit(format!("model `{MODEL_PREFIX}{}`: {why}", self.name));
        let said = self.worker.call(question).map_err(|error| unfit(error.to_string()))?;
        Ok(vec![prediction(&said).map_err(unfit)?])
    }

    fn explain(&self, _: &Past) -> Result<Vec<Reason>> {
        // What a function looked at it alone knows.
        Ok(Vec::new())
    }
}

/// A value, or (low, value, high).
fn prediction(said: &Value) -> std::result::Result<Prediction, String> {
    let number = |value: &Value| value.as_f64().filter(|value| value.is_finite());
    let found = match said {
        Value::Array(three) if three.len() == 3 => {
            let three: Option<Vec<f64>> = three.iter().map(number).collect();
            three.map(|three| Prediction { low: three[0], value: three[1], high: three[2] })
        }
        one => number(one).map(|value| Prediction { value, low: value, high: value }),
    };
    let found = found.ok_or_else(|| {
        let said: String = said.to_string().chars().take(80).collect();
        format!("it answered `{said}`: a number is wanted, or (low, value, high)")
    })?;
    if found.low <= found.value && found.value <= found.high {
        return Ok(found);
    }
    let Prediction { low, value, high } = found;
    Err(format!("it answered ({low}, {value}, {high}), which are not in order"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_an_interval_is_a_forecast_and_nothing_else_is() {
        let value = |said: Value| prediction(&said).map(|said| (said.low, said.value, said.high));

        assert_eq!(value(json!(7)), Ok((7.0, 7.0, 7.0)));
        assert_eq!(value(json!([1, 2.5, 3])), Ok((1.0, 2.5, 3.0)));
        for wrong in [json!(null), json!("7"), json!([3, 2, 1]), json!([1, 2]), json!([1, null, 3])]
        {
            assert!(value(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
