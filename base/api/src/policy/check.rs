//! What can be said of a policy without the store and without telemetry.

use super::{
    Actuator, Aggregate, Case, Conditions, Figure, Given, Guards, Horizon, Pipeline, PolicySpec,
    Sensor, Trajectory, hours, millis, time,
};
use crate::ApiError;
use types::{Period, check_name};

/// Longest expression, in bytes.
const EXPRESSION_MAX_BYTES: usize = 4096;
/// Most sensors, figures, actuators and stand-ins each; more is a mistake.
const PARTS_MAX: usize = 32;
/// Most tests, and samples of each place in them.
const CASES_MAX: usize = 256;
const SAMPLES_MAX: usize = 20_000;

impl PolicySpec {
    /// Checks values that the types cannot; expressions are checked by what evaluates them.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field and what is allowed.
    pub fn check(&self) -> Result<(), ApiError> {
        name("service", &self.service)?;
        self.stand_ins.iter().try_for_each(|service| name("standIns", service))?;
        require(millis(self.sla) > 0, "sla", "more than none")?;
        require(!self.sensors.is_empty(), "sensors", "at least one: `every: 5m`")?;
        let lengths = [self.sensors.len(), self.figures.len(), self.actuators.len()];
        let few = lengths.into_iter().chain([self.stand_ins.len()]).all(|len| len <= PARTS_MAX);
        require(few, "sensors", "at most 32 sensors, figures, actuators and stand-ins each")?;
        self.sensors.iter().try_for_each(Sensor::check)?;
        self.pipeline.check()?;
        for (name, figure) in &self.figures {
            require(is_identifier(name), "figures", "names of letters, digits and `_`")?;
            figure.check()?;
            self.check_free("figures", name)?;
        }
        self.conditions.check()?;
        self.guards.check()?;
        self.actuators.iter().try_for_each(Actuator::check)?;
        self.check_python()?;
        require(self.tests.len() <= CASES_MAX, "tests", "at most 256")?;
        self.tests.iter().try_for_each(Case::check)
    }

    /// `distance` and `next` are the trajectory's: what else is called so would stand in for it
    /// where no position is fresh.
    fn check_free(&self, field: &'static str, name: &str) -> Result<(), ApiError> {
        let taken = ["distance", "next"].contains(&name);
        let free = self.pipeline.trajectory.is_none() || !taken;
        require(free, field, "other names than `distance` and `next` beside a trajectory")
    }

    /// Who names a function has the file that it stands in.
    fn check_python(&self) -> Result<(), ApiError> {
        let sensors = self.python_sensors();
        for sensor in sensors {
            sensor.check("sensors.python")?;
            self.check_free("sensors.python", &sensor.name)?;
        }
        if let Some(name) = self.python_model() {
            require(is_identifier(name), "model", "`python/` and the name of a function")?;
        }
        let acts = |actuator: &Actuator| matches!(actuator, Actuator::Python(_));
        let named = self.python_model().is_some()
            || self.python_sensors().next().is_some()
            || self.actuators.iter().any(acts);
        match &self.python {
            Some(python) => python.check(),
            None => require(!named, "python", "the file with these functions: `{file: agents.py}`"),
        }
    }
}

impl Sensor {
    fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::Every(period) => {
                let day = 86_400_000;
                let fits = (1000..=day).contains(&millis(*period));
                require(fits, "sensors.every", "from `1s` to `24h`")
            }
            Self::When(text) => expression("sensors.when", text),
            Self::Cron(text) => {
                require(text.len() <= 256, "sensors.cron", "five fields: `0 7 * * 1-5`")
            }
            Self::Event(_) | Self::Python(_) => Ok(()),
        }
    }
}

impl Pipeline {
    fn check(&self) -> Result<(), ApiError> {
        let steps = |period: Period| (1000..=3_600_000).contains(&millis(period));
        let resample = self.resample.is_none_or(steps);
        require(resample, "pipeline.resample", "from `1s` to `1h`")?;
        require(steps(self.window), "pipeline.window", "from `1s` to `1h`")?;
        if let Some(Horizon { from, to }) = self.horizon {
            let fits = millis(from) < millis(to) && millis(to) <= 86_400_000;
            require(fits, "pipeline.horizon", "`from` before `to`, which is at most `24h`")?;
        }
        self.trajectory.as_ref().map_or(Ok(()), Trajectory::check)?;
        self.aggregate.check("pipeline.aggregate")
    }
}

impl Aggregate {
    fn check(self, field: &'static str) -> Result<(), ApiError> {
        let fits = !matches!(self, Self::Quantile(share) if !(0.0..=1.0).contains(&share));
        require(fits, field, "a quantile is a number from 0 to 1")
    }
}

impl Figure {
    fn check(&self) -> Result<(), ApiError> {
        expression("figures.query", &self.query)?;
        let fits = (1000..=86_400_000).contains(&millis(self.last));
        require(fits, "figures.last", "from `1s` to `24h`")?;
        self.aggregate.check("figures.aggregate")
    }
}

impl Conditions {
    fn check(&self) -> Result<(), ApiError> {
        let each = [&self.alarm, &self.go, &self.prefer];
        each.into_iter().flatten().try_for_each(|text| expression("conditions", text))
    }
}

impl Guards {
    fn check(&self) -> Result<(), ApiError> {
        require((1..=60).contains(&self.in_a_row), "guards.inARow", "from 1 to 60")?;
        let money = self.euro_per_day.is_none_or(|euro| (0.0..=1e9).contains(&euro));
        require(money, "guards.euroPerDay", "a number that is not negative")?;
        let window = millis(self.regret_window);
        let fits = (600_000..=86_400_000).contains(&window);
        require(fits, "guards.regretWindow", "from `10m` to `24h`")?;
        let quiet = self.quiet_hours.iter().all(|text| hours(text).is_some());
        require(quiet && self.quiet_hours.len() <= PARTS_MAX, "guards.quietHours", "`22:00-06:00`")
    }
}

impl Case {
    fn check(&self) -> Result<(), ApiError> {
        require(self.places.contains_key(&self.at), "tests.at", "one of the places")?;
        let there = self.expect.go.as_ref().is_none_or(|go| self.places.contains_key(go));
        require(there, "tests.expect.go", "one of the places")?;
        require(self.places.len() <= PARTS_MAX, "tests.places", "at most 32")?;
        let few = |given: &Given| {
            let lengths = [given.latency.len(), given.cpu.len(), given.requests.len()];
            lengths.into_iter().all(|len| len <= SAMPLES_MAX)
        };
        require(self.places.values().all(few), "tests.places", "at most 20000 samples")?;
        let whole = millis(self.step) >= 1000 && millis(self.step).is_multiple_of(1000);
        require(
            whole && millis(self.step) <= 3_600_000,
            "tests.step",
            "whole seconds, at most `1h`",
        )?;
        require(time(&self.time).is_some(), "tests.time", "`HH:MM`")
    }
}

pub(super) fn require(holds: bool, field: &'static str, reason: &str) -> Result<(), ApiError> {
    if holds { Ok(()) } else { Err(ApiError::Value { field, reason: reason.into() }) }
}

fn name(field: &'static str, name: &str) -> Result<(), ApiError> {
    check_name(name).map_err(|error| ApiError::Value { field, reason: error.to_string() })
}

pub(super) fn expression(field: &'static str, text: &str) -> Result<(), ApiError> {
    let fits = !text.trim().is_empty() && text.len() <= EXPRESSION_MAX_BYTES;
    require(fits, field, "an expression of at most 4096 bytes")
}

pub(super) fn is_identifier(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    first
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
