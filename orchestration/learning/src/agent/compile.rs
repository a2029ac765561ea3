//! From the declared policy to one that can be asked.

use super::{
    Agent, Load,
    expression::{Expression, Names, Type},
    forecast::{Lately, Models, NoModels, Wanted},
    sensor::Cron,
};
use crate::{Error, Predictor, Prices, Result, forecast::Ahead};
use api::policy::{By, PolicySpec, Sensor, Shape, millis};
use std::sync::Arc;

/// The part of certainty from which on breaking the level is an alarm.
const ALARM: &str = "here.predicted > 0.25";
/// Of who is followed: it leaves, it goes there, and the better place. Who stands between two sites
/// moves nothing, unless the service is at a third.
const FOLLOWED: [&str; 3] = [
    "here.next < 0.4",
    "there.next > 0.6 || here.next < 0.2 && there.next > 0.4",
    "1 - there.next",
];

impl Agent {
    /// Makes an agent of a declared policy. `moves_s` are the seconds that moves between its places
    /// take; forecasts are made for what a move can still change.
    ///
    /// A model that the catalog has not is no error here: the agent says so and falls back.
    ///
    /// # Errors
    /// Expressions, times and prices that are wrong, with what would be right.
    pub fn new(spec: &PolicySpec, models: &dyn Models, moves_s: &[u32]) -> Result<Self> {
        let mut agent = Self::without_models(spec)?;
        match agent.load_models(models, moves_s) {
            Ok(predictors) => agent.predictors = predictors,
            Err(error) => agent.without_model = Some(types::chain(&error)),
        }
        Ok(agent)
    }

    /// Checks all of a policy that can be checked before anything is measured.
    ///
    /// # Errors
    /// As of [`Agent::new`].
    pub fn check(spec: &PolicySpec) -> Result<()> {
        Self::new(spec, &NoModels, &[0]).map(drop)
    }

    fn without_models(spec: &PolicySpec) -> Result<Self> {
        let load = load(spec);
        let known = |name: &str| name_type(spec, load, name);
        let names: Names = &known;
        let condition = |text: &Option<String>, usual: &str, wanted| {
            Expression::new(text.as_deref().unwrap_or(usual), wanted, names)
        };
        let usual = usual(spec, load);
        // What is preferred may be a time as well as a number.
        let prefer = match spec.pipeline.trajectory {
            Some(_) => FOLLOWED[2],
            None => "there.predicted",
        };
        let prefer = spec.conditions.prefer.as_deref().unwrap_or(prefer);
        let prefer = Expression::new(prefer, Type::Time, names)
            .or_else(|_| Expression::new(prefer, Type::Number, names))?;
        let mut whens = Vec::new();
        for sensor in &spec.sensors {
            match sensor {
                Sensor::When(text) => whens.push(Expression::new(text, Type::Truth, names)?),
                Sensor::Cron(text) => text.parse::<Cron>().map(|_| ())?,
                Sensor::Every(_) | Sensor::Event(_) | Sensor::Python(_) => {}
            }
        }
        if spec.pipeline.by.is_some() && load != Load::Latency {
            let text = "`pipeline.by` forecasts latencies: write `load: latency`";
            return Err(Error::Unfit(text.into()));
        }
        if spec.pipeline.by.is_some() && spec.model.starts_with("python/") {
            let text = "`pipeline.by` forecasts requests, which functions do not see: write a model of the catalog, or `ewma`, `mean` or `max`";
            return Err(Error::Unfit(text.into()));
        }
        if spec.guards.moves_per_day == 1 {
            let text = "`guards.movesPerDay` is 0, or at least 2: one to go and one to come back";
            return Err(Error::Unfit(text.into()));
        }
        Ok(Self {
            prices: Prices::of(&spec.prices)?,
            sla_ms: millis(spec.sla) as f64,
            load,
            predictors: Vec::new(),
            without_model: None,
            alarm: condition(&spec.conditions.alarm, &usual.0, Type::Truth)?,
            go: condition(&spec.conditions.go, &usual.1, Type::Truth)?,
            prefer,
            whens,
            demands: super::wants::compile(spec, names)?,
            spec: spec.clone(),
        })
    }

    fn load_models(
        &self,
        models: &dyn Models,
        moves_s: &[u32],
    ) -> Result<Vec<(Ahead, Arc<dyn Predictor>)>> {
        let one = |ahead: Ahead| -> Result<_> {
            let Self { spec, sla_ms, .. } = self;
            let load = match spec.pipeline.by {
                Some(By::Requests) => Load::Requests,
                None => self.load,
            };
            let model = if spec.shape == Shape::Reactive { "mean" } else { &spec.model };
            let wanted = Wanted { model, load, sla_ms: *sla_ms, ahead };
            let window_s = seconds(spec.pipeline.window);
            let predictor: Arc<dyn Predictor> = match Lately::named(&wanted, window_s) {
                Some(lately) => Arc::new(lately),
                None => models.load(&wanted)?,
            };
            Ok((predictor.ahead(), predictor))
        };
        self.aheads(moves_s).into_iter().map(one).collect()
    }

    /// The stretches ahead that are forecast.
    fn aheads(&self, moves_s: &[u32]) -> Vec<Ahead> {
        if let Some(horizon) = self.spec.pipeline.horizon {
            return vec![(seconds(horizon.from), seconds(horizon.to))];
        }
        if self.spec.shape == Shape::Reference {
            return vec![crate::replay::NEEDED_S];
        }
        let every_s = self.every_s();
        let mut aheads: Vec<_> = moves_s.iter().map(|&move_s| (move_s, move_s + every_s)).collect();
        aheads.sort_unstable();
        aheads.dedup();
        aheads
    }

    /// Seconds from one run to the next; five minutes if time alone brings none.
    pub(super) fn every_s(&self) -> u32 {
        self.spec.every().map_or(300, seconds).max(1)
    }
}

pub(super) fn seconds(period: types::Period) -> u32 {
    u32::try_from(period.0.as_secs()).unwrap_or(u32::MAX)
}

fn load(spec: &PolicySpec) -> Load {
    spec.pipeline.load.unwrap_or(match spec.shape {
        // Who is followed decides, and a place where the service was not has broken no level.
        _ if spec.pipeline.trajectory.is_some() => Load::Latency,
        Shape::Proactive => Load::Broken,
        Shape::Reactive | Shape::Reference => Load::Latency,
    })
}

/// The alarm and the condition of a shape.
fn usual(spec: &PolicySpec, load: Load) -> (String, String) {
    if spec.pipeline.trajectory.is_some() {
        return (FOLLOWED[0].to_owned(), FOLLOWED[1].to_owned());
    }
    let compare = "there.predicted < here.predicted".to_owned();
    let broken = match load {
        Load::Broken => ALARM.to_owned(),
        Load::Latency => "here.predicted > sla".to_owned(),
        // Processors and requests have no level; the service has.
        Load::Cpu | Load::Requests => "share_above(here.latency, sla, 5m) > 0.25".to_owned(),
    };
    match (spec.shape, spec.limits, load) {
        (Shape::Proactive, ..) => (broken, compare),
        (_, Some(limits), Load::Latency) => {
            let (above, below) = (millis(limits.edge_above), millis(limits.cloud_below));
            let leave = format!(
                "here.edge && here.predicted > {above}ms || !here.edge && here.predicted < {below}ms"
            );
            (leave.clone(), format!("({leave}) && there.edge != here.edge"))
        }
        _ => (broken.clone(), broken),
    }
}

/// What a name of an expression is.
fn name_type(spec: &PolicySpec, load: Load, name: &str) -> Option<Type> {
    let figure = match load {
        Load::Latency => Type::Time,
        Load::Broken | Load::Cpu | Load::Requests => Type::Number,
    };
    match name {
        "sla" | "moved" => return Some(Type::Time),
        "hour" | "weekday" => return Some(Type::Number),
        _ => {}
    }
    let (place, name) = name.split_once('.')?;
    if place != "here" && place != "there" {
        return None;
    }
    Some(match name {
        "predicted" | "low" | "high" => figure,
        "latency" => Type::Times,
        "broken" | "cpu" | "requests" => Type::Numbers,
        "edge" => Type::Truth,
        "site" => Type::Text,
        "move" | "age" => Type::Time,
        "euro" => Type::Number,
        "used" if spec.pipeline.by.is_some() => Type::Number,
        "distance" | "next" if spec.pipeline.trajectory.is_some() => Type::Number,
        _ if spec.figures.contains_key(name) => Type::Number,
        _ if spec.python_sensors().any(|sensor| sensor.name == name) => Type::Number,
        _ => return None,
    })
}
