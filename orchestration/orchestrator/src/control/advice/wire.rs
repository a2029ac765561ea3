//! The messages of `proto/advice.proto`, and what they mean. A test compares them with that file.

use super::ask::{About as Case, Closed as Obstacle, Predicted, Ranked};
use api::{
    DEFAULT_TENANT,
    advice::{self, Assumed as Given},
};
use learning::{Cost as Euro, Prediction, Reason as Because, advise::Outlook};
use prost::Message;
use serde_json::Value;
use types::Period;

/// No level is longer than a day.
const SLA_MAX_MS: f64 = 86_400_000.0;

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Assumed {
    #[prost(double, optional, tag = "1")]
    pub(in super::super) rate: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub(in super::super) sla_ms: Option<f64>,
    #[prost(string, tag = "3")]
    pub(in super::super) model: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct PredictRequest {
    #[prost(string, tag = "1")]
    pub(in super::super) tenant: String,
    #[prost(string, tag = "2")]
    pub(in super::super) service: String,
    #[prost(string, tag = "3")]
    pub(in super::super) at: String,
    #[prost(message, optional, tag = "4")]
    pub(in super::super) assume: Option<Assumed>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct RankRequest {
    #[prost(string, tag = "1")]
    pub(in super::super) tenant: String,
    #[prost(string, tag = "2")]
    pub(in super::super) service: String,
    #[prost(string, repeated, tag = "3")]
    pub(in super::super) sites: Vec<String>,
    #[prost(string, tag = "4")]
    pub(in super::super) prefer: String,
    #[prost(message, optional, tag = "5")]
    pub(in super::super) assume: Option<Assumed>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct PredictReply {
    #[prost(message, optional, tag = "1")]
    pub(in super::super) about: Option<About>,
    #[prost(message, optional, tag = "2")]
    pub(in super::super) place: Option<Place>,
    #[prost(string, tag = "3")]
    pub(in super::super) obstacle: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct RankReply {
    #[prost(message, optional, tag = "1")]
    pub(in super::super) about: Option<About>,
    #[prost(string, tag = "2")]
    pub(in super::super) prefer: String,
    #[prost(string, tag = "3")]
    pub(in super::super) best: String,
    #[prost(string, tag = "4")]
    pub(in super::super) why: String,
    #[prost(message, repeated, tag = "5")]
    pub(in super::super) places: Vec<Place>,
    #[prost(message, repeated, tag = "6")]
    pub(in super::super) closed: Vec<Closed>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct About {
    #[prost(string, tag = "1")]
    pub(in super::super) service: String,
    #[prost(string, tag = "2")]
    pub(in super::super) tenant: String,
    #[prost(string, tag = "3")]
    pub(in super::super) here: String,
    #[prost(double, tag = "4")]
    pub(in super::super) rate: f64,
    #[prost(double, tag = "5")]
    pub(in super::super) sla_ms: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Place {
    #[prost(string, tag = "1")]
    pub(in super::super) site: String,
    #[prost(message, optional, tag = "2")]
    pub(in super::super) latency_ms: Option<Interval>,
    #[prost(double, tag = "3")]
    pub(in super::super) neighbours_ms: f64,
    #[prost(double, tag = "4")]
    pub(in super::super) broken: f64,
    #[prost(message, optional, tag = "5")]
    pub(in super::super) cost_hour: Option<Cost>,
    #[prost(string, tag = "6")]
    pub(in super::super) basis: String,
    #[prost(string, tag = "7")]
    pub(in super::super) model: String,
    #[prost(message, repeated, tag = "8")]
    pub(in super::super) reasons: Vec<Reason>,
    #[prost(string, tag = "9")]
    pub(in super::super) why: String,
    #[prost(double, optional, tag = "10")]
    pub(in super::super) score: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Interval {
    #[prost(double, tag = "1")]
    pub(in super::super) value: f64,
    #[prost(double, tag = "2")]
    pub(in super::super) low: f64,
    #[prost(double, tag = "3")]
    pub(in super::super) high: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Reason {
    #[prost(string, tag = "1")]
    pub(in super::super) name: String,
    #[prost(double, tag = "2")]
    pub(in super::super) value: f64,
    #[prost(double, tag = "3")]
    pub(in super::super) baseline: f64,
    #[prost(double, tag = "4")]
    pub(in super::super) adds: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Cost {
    #[prost(double, tag = "1")]
    pub(in super::super) infrastructure: f64,
    #[prost(double, tag = "2")]
    pub(in super::super) control: f64,
    #[prost(double, tag = "3")]
    pub(in super::super) penalty: f64,
    #[prost(double, tag = "4")]
    pub(in super::super) migration: f64,
}

#[derive(Clone, PartialEq, Message)]
pub(in super::super) struct Closed {
    #[prost(string, tag = "1")]
    pub(in super::super) site: String,
    #[prost(string, tag = "2")]
    pub(in super::super) why: String,
}

/// The tenant that a message means.
fn tenant(named: String) -> String {
    if named.is_empty() { DEFAULT_TENANT.to_owned() } else { named }
}

fn given(assume: Option<Assumed>) -> Result<Given, String> {
    let Assumed { rate, sla_ms, model } = assume.unwrap_or_default();
    let sla = sla_ms.map(|ms| match (0.0..=SLA_MAX_MS).contains(&ms) {
        true => Ok(Period::from_millis(ms.round() as u64)),
        false => Err(format!("`sla_ms` is {ms}: write milliseconds, at most a day")),
    });
    Ok(Given { rate, sla: sla.transpose()?, model: Some(model).filter(|name| !name.is_empty()) })
}

impl PredictRequest {
    /// The tenant and the question.
    pub(in super::super) fn question(self) -> Result<(String, advice::Predict), String> {
        let Self { service, at, assume, tenant: named } = self;
        Ok((tenant(named), advice::Predict { service, at, assume: given(assume)? }))
    }
}

impl RankRequest {
    /// The tenant and the question.
    pub(in super::super) fn question(self) -> Result<(String, advice::Rank), String> {
        let Self { service, sites, prefer, assume, tenant: named } = self;
        let sites = Some(sites).filter(|sites| !sites.is_empty());
        let prefer = (!prefer.is_empty()).then(|| prefer.parse()).transpose()?;
        Ok((tenant(named), advice::Rank { service, sites, prefer, assume: given(assume)? }))
    }
}

impl From<Predicted> for PredictReply {
    fn from(answer: Predicted) -> Self {
        Self {
            about: Some(answer.about.into()),
            place: Some(place(answer.place, None)),
            obstacle: answer.obstacle.unwrap_or_default(),
        }
    }
}

impl From<Ranked> for RankReply {
    fn from(answer: Ranked) -> Self {
        let Ranked { about, prefer, ranking, closed } = answer;
        let each = ranking.places.into_iter().zip(ranking.scores);
        Self {
            about: Some(about.into()),
            prefer: word(&prefer),
            best: ranking.best.unwrap_or_default(),
            why: ranking.why,
            places: each.map(|(one, score)| place(one, Some(score))).collect(),
            closed: closed.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Case> for About {
    fn from(case: Case) -> Self {
        let Case { service, tenant, here, rate, sla_ms } = case;
        Self { service, tenant, here: here.unwrap_or_default(), rate, sla_ms }
    }
}

impl From<Obstacle> for Closed {
    fn from(closed: Obstacle) -> Self {
        Self { site: closed.site, why: closed.why }
    }
}

fn place(outlook: Outlook, score: Option<f64>) -> Place {
    let Prediction { value, low, high } = outlook.latency_ms;
    let Euro { infrastructure, control, penalty, migration } = outlook.cost_hour;
    let reason = |Because { name, value, baseline, adds }| Reason { name, value, baseline, adds };
    Place {
        site: outlook.site,
        latency_ms: Some(Interval { value, low, high }),
        neighbours_ms: outlook.neighbours_ms,
        broken: outlook.broken,
        cost_hour: Some(Cost { infrastructure, control, penalty, migration }),
        basis: word(&outlook.basis),
        model: outlook.model.unwrap_or_default(),
        reasons: outlook.reasons.into_iter().map(reason).collect(),
        why: outlook.why,
        score,
    }
}

/// An enumeration's word, as REST has it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    type Fields = BTreeMap<String, Vec<String>>;

    /// `Message` to `rule type name tag`, as the file declares them.
    fn declared() -> Fields {
        let (mut fields, mut message) = (Fields::new(), None);
        for line in include_str!("../../../proto/advice.proto").lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("message ") {
                message = Some(name.trim_end_matches([' ', '{']).to_owned());
            } else if let (Some(of), Some((field, tag))) = (&message, line.split_once(" = "))
                && !line.starts_with("//")
            {
                let known = fields.entry(of.clone()).or_default();
                known.push(format!("{field} {}", tag.trim_end_matches(';')));
            }
        }
        fields
    }

    /// The same of what is compiled here.
    fn compiled() -> Fields {
        let (mut fields, mut message, mut rule) = (Fields::new(), String::new(), String::new());
        let source = include_str!("wire.rs").split("#[cfg(test)]").next().unwrap_or_default();
        for line in source.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub(in super::super) struct ") {
                message = rest.trim_end_matches([' ', '{']).to_owned();
            } else if let Some(rest) = line.strip_prefix("#[prost(") {
                rule = rest.trim_end_matches(")]").to_owned();
            } else if let Some(field) = line.strip_prefix("pub(in super::super) ")
                && let Some((name, of)) = field.split_once(": ")
                && !rule.is_empty()
            {
                let parts: Vec<&str> = rule.split(", ").collect();
                let tag =
                    parts.last().map_or("", |tag| tag.trim_matches(|c: char| !c.is_ascii_digit()));
                let inner = of.trim_end_matches([',', '>']).rsplit('<').next().unwrap_or_default();
                let of = if parts[0] == "message" { inner } else { parts[0] };
                let before = match parts.get(1) {
                    Some(&"repeated") => "repeated ",
                    // Messages are optional without a word.
                    Some(&"optional") if parts[0] != "message" => "optional ",
                    _ => "",
                };
                let known = fields.entry(message.clone()).or_default();
                known.push(format!("{before}{of} {name} {tag}"));
                rule.clear();
            }
        }
        fields
    }

    #[test]
    fn the_messages_are_those_of_the_file() {
        let compiled = compiled();
        assert_eq!(compiled.len(), 11);
        assert_eq!(compiled["Place"].len(), 10);
        assert_eq!(compiled, declared());
    }
}
