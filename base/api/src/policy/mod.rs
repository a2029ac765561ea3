//! A policy: when it looks at a service, what it measures and forecasts, when it acts, and how.
//!
//! One resource declares the chain sensor → pipeline → conditions → actuator. The service, its
//! level and a model are enough; all else has defaults.

mod actuator;
mod check;
mod python;
#[cfg(test)]
mod tests;
mod trajectory;

pub use actuator::{Actuator, Login, Nbi, Place, Scale, Store, StoreLimit, Webhook};
pub use python::{Function, MODEL_PREFIX, Python, SOURCE_MAX_BYTES};
pub use trajectory::{Position, Trajectory};

use check::{expression, require};

use crate::Condition;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use types::Period;

/// What is wanted of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// The service that it looks after.
    pub service: String,
    /// Answers are to take no longer than this.
    pub sla: Period,
    /// What conditions and pipeline are made of where they are not written.
    #[serde(default)]
    pub shape: Shape,
    /// What forecasts: `ewma`, `mean` or `max` of the window, `python/` and a function, or a model
    /// of the catalog.
    #[serde(default = "default_model")]
    pub model: String,
    /// When a single site is left, for shapes that look at one site; above the level if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When it is run.
    #[serde(default = "default_sensors")]
    pub sensors: Vec<Sensor>,
    /// From measurements to a forecast.
    #[serde(default)]
    pub pipeline: Pipeline,
    /// Further figures for the conditions, from telemetry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, Figure>,
    /// When it acts, as expressions.
    #[serde(default)]
    pub conditions: Conditions,
    /// What holds it back.
    #[serde(default)]
    pub guards: Guards,
    /// What is done when it says go.
    #[serde(default = "default_actuators")]
    pub actuators: Vec<Actuator>,
    /// Sensors, models and actuators of the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
    /// Services whose measurements stand in for this one's at the sites where they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stand_ins: Vec<String>,
    /// The cost model's prices; those that are not named are as usual.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub prices: Map<String, Value>,
    /// Decides and records, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// What it must decide on given samples: `cloudskin policy test`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Case>,
}

fn default_model() -> String {
    "ewma".into()
}
fn default_sensors() -> Vec<Sensor> {
    vec![Sensor::Every(Period::from_millis(300_000))]
}
fn default_actuators() -> Vec<Actuator> {
    vec![Actuator::Migrate]
}

/// The usual chains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Leaves when the mean latency of the last minutes is beyond the limits.
    Reactive,
    /// Leaves when the forecast latency at its own site is beyond the limits.
    Reference,
    /// Goes where less of the time ahead is forecast to break the level.
    #[default]
    Proactive,
}

/// When a single site is left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The edge, above this latency.
    pub edge_above: Period,
    /// The cloud, below this latency.
    pub cloud_below: Period,
}

/// What makes it run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sensor {
    /// Time that passes.
    Every(Period),
    /// A time of day: five fields as of cron (minute, hour, day, month, weekday), in UTC.
    Cron(String),
    /// Something that happens to the service.
    Event(Event),
    /// A condition on the telemetry that turns true.
    When(String),
    /// A function of the policy's Python, which says itself when it is asked. What it answers in
    /// numbers is a figure for the conditions.
    Python(Function),
}

/// What can happen to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// It answers again.
    Ready,
    /// It is at another site than before.
    Moved,
    /// Its site is cut off.
    SiteLost,
    /// It cannot run.
    Failed,
}

/// From measurements to a forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pipeline {
    /// What is forecast; by the shape if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What is forecast first, where the figure follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Samples are averaged to this step first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample: Option<Period>,
    /// What a sample without an answer is.
    pub gaps: Gaps,
    /// What the built-in forecasts look back at.
    pub window: Period,
    /// The time ahead that is forecast; from when a move takes effect until the next run if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<Horizon>,
    /// How several forecasts within the horizon become one.
    pub aggregate: Aggregate,
    /// Where whoever uses the service goes, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trajectory: Option<Trajectory>,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            load: None,
            by: None,
            resample: None,
            gaps: Gaps::default(),
            window: Period::from_millis(300_000),
            horizon: None,
            aggregate: Aggregate::default(),
            trajectory: None,
        }
    }
}

/// A figure of a service at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// How long answers take, in milliseconds.
    Latency,
    /// The share of time in which the level is broken.
    Broken,
    /// Processors in use at the site.
    Cpu,
    /// Requests that it is sent, each second.
    Requests,
}

/// What a figure is forecast by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The model forecasts the requests each second, wherever the service is; how long answers
    /// take with so many says a queue that is fitted to what was measured at each place. So a
    /// place is judged by what would come to it.
    Requests,
}

/// What a sample without an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gaps {
    /// A stall: the level is broken.
    #[default]
    Stall,
    /// Nothing: the last value holds for a minute.
    Hold,
}

/// A stretch of time ahead.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Horizon {
    /// Where it begins.
    pub from: Period,
    /// Where it ends.
    pub to: Period,
}

/// How several values become one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The highest.
    #[default]
    Max,
    /// The mean.
    Avg,
    /// The value that so large a share lies below.
    Quantile(f64),
}

/// A figure from telemetry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Figure {
    /// What is asked, with `$site` and `$service` in it where it is meant for each site.
    pub query: String,
    /// How far back.
    #[serde(default = "default_last")]
    pub last: Period,
    /// How the values of that time become one.
    #[serde(default)]
    pub aggregate: Aggregate,
}

fn default_last() -> Period {
    Period::from_millis(300_000)
}

/// Expressions that say when it acts; those that are absent are the shape's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Conditions {
    /// Whether the level is expected to be broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// Whether the service is to go `there`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go: Option<String>,
    /// Of several places that it may go to, the one with the least of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer: Option<String>,
}

/// What holds a policy back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Guards {
    /// Between two moves, at least.
    pub cool_down: Period,
    /// In how many runs in a row the condition must hold.
    pub in_a_row: u32,
    /// Moves within 24 hours, at most.
    pub moves_per_day: u32,
    /// Euro of infrastructure within 24 hours beyond which it goes nowhere dearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub euro_per_day: Option<f64>,
    /// Times of day in which it does not move, in UTC: `22:00-06:00`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quiet_hours: Vec<String>,
    /// Once the level was broken for so much longer than if the service had stayed where it was
    /// when the regret's window began, it goes back there and rests.
    pub regret: Period,
    /// The length of those windows, counted from midnight in UTC.
    pub regret_window: Period,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            cool_down: Period::from_millis(900_000),
            in_a_row: 1,
            moves_per_day: 48,
            euro_per_day: None,
            quiet_hours: Vec::new(),
            regret: Period::from_millis(600_000),
            regret_window: Period::from_millis(6 * 3_600_000),
        }
    }
}

/// Given samples, and what is to be decided on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// The place of the service.
    pub at: String,
    /// The places.
    pub places: BTreeMap<String, Given>,
    /// Between samples.
    #[serde(default = "default_step")]
    pub step: Period,
    /// How long ago it moved, the last time first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_ago: Vec<Period>,
    /// The time of day in UTC, `HH:MM`.
    #[serde(default = "default_time")]
    pub time: String,
    /// What it is to say.
    pub expect: Expected,
}

fn default_step() -> Period {
    Period::from_millis(60_000)
}
fn default_time() -> String {
    "12:00".into()
}

/// What was measured at a place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Given {
    /// It is at the edge.
    pub edge: bool,
    /// Milliseconds, the latest last; `null` where nothing was answered.
    pub latency: Vec<Option<f64>>,
    /// Processors in use, the latest last.
    pub cpu: Vec<Option<f64>>,
    /// Requests each second, the latest last.
    pub requests: Vec<Option<f64>>,
    /// Metres from there to who is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// How likely it is the place that will be the nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<f64>,
}

/// What is to be decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Expected {
    /// Where it goes; it stays if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go: Option<String>,
    /// Whether it expects the level to be broken; either if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<bool>,
    /// A word of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What is known of a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts: `Ready` holds while its model and its telemetry do, `Acting` after an action went well.
    pub conditions: Vec<Condition>,
    /// Milliseconds since the Unix epoch of the last run.
    pub last_run: Option<u64>,
    /// Milliseconds since the Unix epoch of the next that time alone brings.
    pub next_run: Option<u64>,
    /// What it last said.
    pub last: Option<Said>,
    /// Where the service was, as of the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// When and whence it was moved by anybody, the latest first, within two days.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Moved>,
    /// Names of its decisions, latest first, bounded.
    pub decisions: Vec<String>,
}

/// What a policy said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Where to; nothing if the service stays.
    pub go: Option<String>,
    /// Whether it expects the level to be broken.
    pub alarm: bool,
    /// Why, as a sentence.
    pub reason: String,
    /// Why the reactive rule decided in its place, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// What it expected, as a decision records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Value>,
}

/// A move of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Whence.
    pub from: String,
}

impl PolicySpec {
    /// The shortest time between two runs that time brings; nothing if none does.
    pub fn every(&self) -> Option<Period> {
        let each = self.sensors.iter().filter_map(|sensor| match sensor {
            Sensor::Every(period) => Some(*period),
            _ => None,
        });
        each.min_by_key(|period| period.0)
    }
}

impl PolicySpec {
    /// The sensors that are functions of the policy's Python.
    pub fn python_sensors(&self) -> impl Iterator<Item = &Function> {
        self.sensors.iter().filter_map(|sensor| match sensor {
            Sensor::Python(function) => Some(function),
            _ => None,
        })
    }

    /// The function that forecasts, if it is one of the policy's Python.
    pub fn python_model(&self) -> Option<&str> {
        self.model.strip_prefix(MODEL_PREFIX)
    }
}

/// A period in milliseconds.
pub fn millis(period: Period) -> u64 {
    u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX)
}

/// `22:00-06:00` as minutes of the day; an end before the beginning is on the next day.
pub fn hours(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    Some((time(from.trim())?, time(to.trim())?))
}

/// `HH:MM` as minutes of the day.
pub fn time(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u32| {
        let digits =
            (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|value| digits && *value < below)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}
