//! A function of Python as a sensor: when it is asked, with what, and what its answer means.

use super::{Error, Marked};
use api::policy::{Function, Sensor, millis};
use learning::{
    Sample,
    agent::{Figures, sensor::Cron},
    policy::{Moment, Place},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use types::Period;

/// How often a sensor is asked that does not say it.
const EVERY_MS: u64 = 60_000;
/// The time whose samples a sensor gets.
const LAST_S: u32 = 300;

/// A sensor's times, as those of a policy; a minute if it says nothing.
///
/// # Errors
/// Times that are none.
pub fn times(own: &Marked) -> Result<Vec<Sensor>, Error> {
    let wrong =
        |text: &str, why: &str| Error::Said(format!("sensor `{}`: `{text}` {why}", own.name));
    let mut sensors = Vec::new();
    if let Some(text) = &own.every {
        let period: Period =
            text.parse().map_err(|_| wrong(text, "is no period such as `30s` or `5m`"))?;
        if !(1000..=86_400_000).contains(&millis(period)) {
            return Err(wrong(text, "is not from `1s` to `24h`"));
        }
        sensors.push(Sensor::Every(period));
    }
    if let Some(text) = &own.cron {
        text.parse::<Cron>().map_err(|error| wrong(text, &error.to_string()))?;
        sensors.push(Sensor::Cron(text.clone()));
    }
    if sensors.is_empty() {
        sensors.push(Sensor::Every(Period::from_millis(EVERY_MS)));
    }
    Ok(sensors)
}

/// How often a sensor with these times is asked.
pub fn every_ms(times: &[Sensor]) -> u64 {
    let every = |sensor: &Sensor| match sensor {
        Sensor::Every(period) => Some(millis(*period)),
        _ => None,
    };
    times.iter().find_map(every).unwrap_or(EVERY_MS)
}

/// A sensor's question: what was measured at these sites, or at all.
pub fn question(function: &Function, moment: &Moment, nodes: &[String]) -> Value {
    let count = (LAST_S / moment.step_s.max(1)).max(1) as usize;
    let run = |(number, place): (usize, &Place)| {
        let last = &place.past[place.past.len().saturating_sub(count)..];
        let column = |of: fn(&Sample) -> Option<f64>| last.iter().map(of).collect::<Vec<_>>();
        json!({
            "site": place.name, "here": number == 0, "edge": place.edge, "step_s": moment.step_s,
            "latency_ms": column(|sample| sample.latency_ms), "cpu": column(|sample| sample.cpu),
            "now_s": moment.now_s,
        })
    };
    let places = std::iter::once(&moment.here).chain(moment.others).enumerate();
    let wanted = |name: &str| nodes.is_empty() || nodes.iter().any(|node| node == name);
    let runs: Vec<Value> = places.filter(|(_, place)| wanted(place.name)).map(run).collect();
    json!({
        "op": "sensor", "name": function.name, "runs": runs,
        "args": function.args, "kwargs": function.kwargs,
    })
}

/// What a sensor's answer means.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// Nothing is to be done.
    Nothing,
    /// The policy is to be run, for this reason.
    Run(String),
    /// Figures by site; under no name what holds for all.
    Values(BTreeMap<String, f64>),
}

/// Reads an answer.
///
/// # Errors
/// What is none of these.
pub fn answer(name: &str, said: &Value) -> Result<Said, Error> {
    let number = |value: &Value| value.as_f64().filter(|value| value.is_finite());
    let found = match said {
        Value::Null | Value::Bool(false) => Some(Said::Nothing),
        Value::Bool(true) => Some(Said::Run(format!("sensor `{name}`"))),
        Value::String(reason) => {
            let reason: String = reason.chars().take(200).collect();
            Some(Said::Run(format!("sensor `{name}`: {reason}")))
        }
        Value::Object(each) => {
            let values = each.iter().map(|(site, value)| Some((site.clone(), number(value)?)));
            values.collect::<Option<_>>().map(Said::Values)
        }
        one => number(one).map(|value| Said::Values(BTreeMap::from([(String::new(), value)]))),
    };
    found.ok_or_else(|| {
        let said: String = said.to_string().chars().take(80).collect();
        Error::Said(format!(
            "sensor `{name}` answered `{said}`: nothing, true, a reason, a number, or a number for each site is wanted"
        ))
    })
}

/// Figures by site as those of a moment's places.
pub fn figures(values: &BTreeMap<String, f64>, moment: &Moment) -> Vec<Option<f64>> {
    let places = std::iter::once(&moment.here).chain(moment.others);
    places.map(|place| values.get(place.name).or_else(|| values.get("")).copied()).collect()
}

/// Asks all sensors at once, whenever they would be asked, and gathers what they say in numbers.
///
/// # Errors
/// What a sensor, or its process, did wrong.
pub fn ask_all<'a>(
    worker: &super::Worker,
    sensors: impl Iterator<Item = &'a Function>,
    moment: &Moment,
) -> Result<Figures, Error> {
    let marked = worker.functions()?;
    let mut all = Figures::new();
    for function in sensors {
        let own = marked.iter().find(|one| one.kind == "sensor" && one.name == function.name);
        let nodes = own.map(|own| own.nodes.as_slice()).unwrap_or_default();
        let said = worker.call(question(function, moment, nodes))?;
        if let Said::Values(values) = answer(&function.name, &said)? {
            all.insert(function.name.clone(), figures(&values, moment));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_none_are_named() {
        let marked = |every: Option<&str>, cron: Option<&str>| {
            let (every, cron) = (every.map(str::to_owned), cron.map(str::to_owned));
            Marked { kind: "sensor".into(), name: "watch".into(), nodes: Vec::new(), every, cron }
        };

        assert_eq!(every_ms(&times(&marked(Some("30s"), None)).unwrap()), 30_000);
        assert_eq!(every_ms(&times(&marked(None, None)).unwrap()), 60_000);
        assert_eq!(times(&marked(None, Some("0 7 * * *"))).unwrap().len(), 1);
        for wrong in
            [marked(Some("soon"), None), marked(Some("1ms"), None), marked(None, Some("*"))]
        {
            assert!(times(&wrong).unwrap_err().to_string().contains("sensor `watch`"));
        }
    }

    #[test]
    fn an_answer_is_a_reason_or_figures_or_is_refused() {
        let said = |said: Value| answer("watch", &said);

        assert_eq!(said(json!(null)), Ok(Said::Nothing));
        assert_eq!(said(json!("busy")), Ok(Said::Run("sensor `watch`: busy".into())));
        assert_eq!(said(json!(2)), Ok(Said::Values(BTreeMap::from([(String::new(), 2.0)]))));
        let each = BTreeMap::from([("edge".to_owned(), 1.5)]);
        assert_eq!(said(json!({"edge": 1.5})), Ok(Said::Values(each)));
        assert!(said(json!({"edge": "fast"})).is_err() && said(json!([1])).is_err());
    }
}
