//! How one service will behave at one place, how sure that is, and why.

use super::{
    Learned, Work,
    queueing::{LATENCY_MAX_MS, expected_ms},
};
use crate::{Cost, Prediction, Prices, Reason};
use serde::{Deserialize, Serialize};

/// Where too little is known for errors: four of five latencies lie between half and twice what is
/// expected.
const USUAL_SPREAD: f64 = std::f64::consts::LN_2;
/// The logistic distribution's ninth tenth, in its scale: ln 9.
const NINTH_TENTH: f64 = 2.197_224_577;
/// Values that stand for a distribution.
const GRID: usize = 64;
/// Reasons that are told.
const REASONS_MAX: usize = 8;
/// Seconds for which two instances run while a service moves.
const MOVE_S: f64 = 5.0;

/// Answers questions by what was learned.
#[derive(Debug, Clone, Copy)]
pub struct Adviser<'a> {
    /// From measurements.
    pub learned: &'a Learned,
}

/// What is asked of all places alike.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What names the service for ever.
    pub service: &'a str,
    /// Requests a second.
    pub rate: f64,
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// What places and broken levels cost.
    pub prices: &'a Prices,
    /// Where the service is, if it is anywhere.
    pub here: Option<&'a str>,
}

/// A place that is asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The site's name.
    pub site: String,
    /// An edge box, which is paid by its energy; else a cloud.
    pub edge: bool,
    /// Processors.
    pub processors: f64,
    /// Those that all others use.
    pub others: f64,
    /// What a model says of the service there, if it was measured there lately.
    pub forecast: Option<Forecast>,
}

/// What a model of the catalog says of a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The model, with its version.
    pub model: String,
    /// The latency in milliseconds.
    pub said: Prediction,
    /// Requests a second for which it was said.
    pub rate: f64,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What a latency is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Requests a second.
    pub rate: f64,
    /// Processors that all others use.
    pub others: f64,
    /// As if the site were like all sites.
    pub usual_site: bool,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// A model of the catalog.
    Model,
    /// The service was measured there.
    Measured,
    /// The service was measured elsewhere, and others there or elsewhere.
    Learned,
    /// Nothing was measured that helps: what queues say.
    Queueing,
}

/// How a service will behave at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// The site.
    pub site: String,
    /// The mean latency in milliseconds, and where it lies four times of five.
    pub latency_ms: Prediction,
    /// The part of it that is there because others use the site, too.
    pub neighbours_ms: f64,
    /// The share of the time in which the service level will be broken.
    pub broken: f64,
    /// Euro for an hour there, the move there included.
    pub cost_hour: Cost,
    /// What the answer is made of.
    pub basis: Basis,
    /// The model, if one was asked.
    pub model: Option<String>,
    /// What says most of the latency, the largest first.
    pub reasons: Vec<Reason>,
    /// All of it as a sentence.
    pub why: String,
}

impl Adviser<'_> {
    /// How the service will behave at a place.
    pub fn outlook(&self, question: &Question, place: &Place) -> Outlook {
        let asked = Conditions { rate: question.rate, others: place.others, usual_site: false };
        let value = self.latency_ms(question, place, asked);
        let without = Conditions { others: 0.0, ..asked };
        let neighbours_ms = value - self.latency_ms(question, place, without);
        let basis = self.basis(question, place);
        let errors = self.errors(question, place);
        let latency = |error: &f64| (value * error.exp()).min(LATENCY_MAX_MS);
        let each: Vec<f64> = errors.iter().map(latency).collect();
        let at = |share: f64| crate::model::quantile(&each, share);
        let latency_ms = Prediction { value, low: at(0.1).min(value), high: at(0.9).max(value) };
        let over = each.iter().filter(|latency| **latency > question.sla_ms).count();
        let mut outlook = Outlook {
            site: place.site.clone(),
            latency_ms,
            neighbours_ms,
            broken: over as f64 / each.len().max(1) as f64,
            cost_hour: cost(question, place, &each),
            basis,
            model: place.forecast.as_ref().map(|forecast| forecast.model.clone()),
            reasons: self.reasons(question, place, asked),
            why: String::new(),
        };
        outlook.why = outlook.sentence(question.sla_ms);
        outlook
    }

    /// The expected latency in milliseconds under conditions.
    pub fn latency_ms(&self, question: &Question, place: &Place, at: Conditions) -> f64 {
        let expected = match &place.forecast {
            None => self.expected(question, place, at),
            Some(forecast) => {
                let now =
                    Conditions { rate: forecast.rate, others: place.others, usual_site: false };
                let by = self.expected(question, place, at) / self.expected(question, place, now);
                forecast.said.value * by
            }
        };
        if expected.is_finite() { expected.clamp(0.001, LATENCY_MAX_MS) } else { LATENCY_MAX_MS }
    }

    fn expected(&self, question: &Question, place: &Place, at: Conditions) -> f64 {
        let work = self.work(question);
        let who = (question.service, place.site.as_str());
        let load = (&work, at.rate, place.processors, at.others);
        let factor = self.learned.factor(who, load, at.usual_site);
        expected_ms(&work, at.rate, place.processors, at.others) * factor
    }

    fn work(&self, question: &Question) -> Work {
        self.learned.work(question.service).unwrap_or_default()
    }

    fn basis(&self, question: &Question, place: &Place) -> Basis {
        match &place.forecast {
            Some(_) => Basis::Model,
            None if self.learned.knows(question.service, &place.site) => Basis::Measured,
            None if self.learned.work(question.service).is_some()
                && self.learned.knows_anything() =>
            {
                Basis::Learned
            }
            None => Basis::Queueing,
        }
    }

    /// Where the truth lies around what is expected, in logarithms, ascending.
    fn errors(&self, question: &Question, place: &Place) -> Vec<f64> {
        if let Some(Forecast { said, .. }) = &place.forecast {
            let value = said.value.max(0.001);
            let above = (said.high.max(value) / value).ln();
            let below = (value / said.low.clamp(0.05 * value, value)).ln();
            return logistic(below, above);
        }
        let knows = self.learned.knows(question.service, &place.site);
        match self.learned.errors(knows) {
            Some(errors) => errors.to_vec(),
            None => logistic(USUAL_SPREAD, USUAL_SPREAD),
        }
    }

    /// What the load, the neighbours and the site add, and what the model said.
    fn reasons(&self, question: &Question, place: &Place, asked: Conditions) -> Vec<Reason> {
        let value = self.latency_ms(question, place, asked);
        let mut reasons = Vec::new();
        let mut with = |name: &str, figure: f64, baseline: f64, without: Conditions| {
            let adds = value - self.latency_ms(question, place, without);
            if adds != 0.0 {
                reasons.push(Reason { name: name.to_owned(), value: figure, baseline, adds });
            }
        };
        let Conditions { rate, others, .. } = asked;
        with("service.rate", rate, 0.0, Conditions { rate: 0.0, ..asked });
        with("site.others", others, 0.0, Conditions { others: 0.0, ..asked });
        let usual = Conditions { usual_site: true, ..asked };
        let slower = self.expected(question, place, asked) / self.expected(question, place, usual);
        with("site.slower", slower, 1.0, usual);
        if let Some(forecast) = &place.forecast {
            let by = value / forecast.said.value.max(0.001);
            let scaled = |reason: &Reason| Reason { adds: reason.adds * by, ..reason.clone() };
            reasons.extend(forecast.reasons.iter().map(scaled));
        }
        reasons.sort_by(|one, other| other.adds.abs().total_cmp(&one.adds.abs()));
        reasons.truncate(REASONS_MAX);
        reasons
    }
}

impl Outlook {
    fn sentence(&self, sla_ms: f64) -> String {
        let Prediction { value, low, high } = self.latency_ms;
        let mut text = format!("{} expected ({} to {})", ms(value), figure(low), figure(high));
        if self.neighbours_ms.abs() >= 0.05 {
            text += &format!(", {} of it from the neighbours", ms(self.neighbours_ms));
        }
        text += &format!("; {:.0} % of the time over {}", 100.0 * self.broken, ms(sla_ms));
        text + match self.basis {
            Basis::Model => "; forecast by a model",
            Basis::Measured => "; it was measured there",
            Basis::Learned => "; learned from other places and services",
            Basis::Queueing => "; it was not measured there, so queues alone say it",
        }
    }
}

/// Milliseconds as people read them.
pub(super) fn ms(value: f64) -> String {
    format!("{} ms", figure(value))
}

fn figure(value: f64) -> String {
    let digits = if value.abs() < 9.95 { 1 } else { 0 };
    format!("{value:.digits$}")
}

/// A distribution whose tenths lie so far below and above, as values in equal shares.
fn logistic(below: f64, above: f64) -> Vec<f64> {
    let one = |at: usize| {
        let share = (at as f64 + 0.5) / GRID as f64;
        let far = (share / (1.0 - share)).ln() / NINTH_TENTH;
        if far < 0.0 { far * below } else { far * above }
    };
    (0..GRID).map(one).collect()
}

fn cost(question: &Question, place: &Place, latencies: &[f64]) -> Cost {
    let prices = question.prices;
    let second = prices.second(!place.edge);
    let penalty = |latency: &f64| prices.penalty(Some(*latency), question.sla_ms);
    let moves = question.here.is_some_and(|here| here != place.site);
    Cost {
        infrastructure: second * 3600.0,
        control: prices.control_hour,
        penalty: 3600.0 * crate::features::mean(latencies.iter().map(penalty)),
        migration: if moves { second * MOVE_S } else { 0.0 },
    }
}
