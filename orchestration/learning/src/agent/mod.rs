//! Agents: declared policies that watch a service, forecast, and say where it goes.
//!
//! Start at [`Agent::new`], which compiles the resource `Policy`, and at [`Agent::advise`], which
//! decides. All is pure: what was measured and the time go in, so that the same agent runs over a
//! recorded trace, in the simulator and beside a live service. What holds it back is in `guards`,
//! the language of conditions in [`expression`], when it is run in [`sensor`].

mod case;
mod compile;
mod decide;
mod demand;
pub mod expression;
mod follow;
mod forecast;
mod foretold;
mod guards;
mod played;
mod scope;
pub mod sensor;
mod telemetry;
#[cfg(test)]
mod tests;
mod trained;
mod wants;

pub use api::policy::Load;
pub use case::{Tested, run as run_case};
pub use forecast::{Models, NoModels, Wanted};
pub use foretold::{Foretold, NextSite};
pub use played::{Step, level, play, steps, trained};
pub use telemetry::{Series, Telemetry, on_grid};
pub use trained::Trained;
pub use wants::{Turn, Want};

use crate::{
    Prediction, Predictor, Prices,
    forecast::Ahead,
    policy::{Moment, Policy, Verdict},
};
use api::policy::PolicySpec;
use expression::Expression;
use std::{collections::BTreeMap, sync::Arc};

/// A policy that is ready to be asked.
#[derive(Debug, Clone)]
pub struct Agent {
    spec: PolicySpec,
    prices: Prices,
    sla_ms: f64,
    load: Load,
    /// By the time ahead that each speaks of.
    predictors: Vec<(Ahead, Arc<dyn Predictor>)>,
    /// Why there are none, if so.
    without_model: Option<String>,
    alarm: Expression,
    go: Expression,
    prefer: Expression,
    whens: Vec<Expression>,
    /// Conditions that stand with actuators.
    demands: Vec<wants::Demand>,
}

/// One move: how long ago, and where the service was before (0 is where it is now, the others
/// follow).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Went {
    /// Seconds ago.
    pub ago_s: u64,
    /// Whence.
    pub from: usize,
}

/// Values of figures from telemetry: of the place where the service is, then of the others.
pub type Figures = BTreeMap<String, Vec<Option<f64>>>;

/// All that an agent is asked with.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What was measured where.
    pub moment: &'a Moment<'a>,
    /// Its moves, the last first; nothing if they are not known.
    pub trail: Option<&'a [Went]>,
    /// Further figures.
    pub figures: &'a Figures,
}

/// What an agent says, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, as a sentence.
    pub reason: String,
    /// Why the reactive rule decided in the agent's place, if it did.
    pub fallback: Option<String>,
    /// What held it back from going, if anything did.
    pub held: Option<String>,
    /// What actuators with conditions of their own are to do.
    pub wants: Vec<Want>,
    /// How each other place compares.
    pub options: Vec<Choice>,
    /// The figure that is forecast.
    pub load: Load,
    /// The time ahead that the forecasts for where it is speak of, in seconds.
    pub ahead: Option<Ahead>,
}

impl Advice {
    /// Why, and what held it back if anything did.
    pub fn reason_held(&self) -> String {
        match &self.held {
            Some(held) => format!("{}; but {held}", self.reason),
            None => self.reason.clone(),
        }
    }
}

/// How another place compares with where the service is.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Which of the other places.
    pub place: usize,
    /// The forecast for where it is, over the time that a move there can change.
    pub here: Option<Prediction>,
    /// The same for there.
    pub there: Option<Prediction>,
    /// Whether the condition would let it go there.
    pub fits: bool,
    /// The less the better; nothing where it is not known.
    pub preferred: Option<f64>,
}

impl Agent {
    /// The service level in milliseconds.
    pub fn sla_ms(&self) -> f64 {
        self.sla_ms
    }

    /// As it was declared.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// The prices that it counts with.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// Why its model cannot be used, if so: then the reactive rule decides.
    pub fn without_model(&self) -> Option<&str> {
        self.without_model.as_deref()
    }

    /// Why its sensors on telemetry say that it is to be run, if they do.
    pub fn triggered(&self, situation: &Situation) -> Option<String> {
        let scope = scope::At { agent: self, situation, there: None, forecasts: None };
        let on = self.whens.iter().find(|when| when.holds(&scope).unwrap_or(false))?;
        Some(format!("`{}`", on.text()))
    }

    /// Whether it has sensors on telemetry.
    pub fn watches(&self) -> bool {
        !self.whens.is_empty()
    }
}

impl Policy for Agent {
    fn decide(&self, moment: &Moment) -> Verdict {
        let trail = two_places(moment);
        let situation = Situation { moment, trail: trail.as_deref(), figures: &Figures::new() };
        self.advise(&situation).verdict
    }
}

/// The way of a service that has only two places; with more it is not known.
pub(crate) fn two_places(moment: &Moment) -> Option<Vec<Went>> {
    let each = moment.moved_s_ago.iter().enumerate();
    let went = |(back, &ago_s): (usize, &u64)| Went { ago_s, from: 1 - back % 2 };
    (moment.others.len() == 1).then(|| each.map(went).collect())
}
