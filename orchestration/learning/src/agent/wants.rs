//! What actuators with conditions of their own are to do.

use super::{
    Agent, Situation,
    expression::{Expression, Names, Type},
    scope::At,
};
use crate::Result;
use api::policy::{Actuator, PolicySpec};

/// What one actuator is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Which of the policy's actuators.
    pub actuator: usize,
    /// Which way.
    pub turn: Turn,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// More; or that its condition holds.
    Up,
    /// Less.
    Down,
}

/// The conditions of one actuator.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    actuator: usize,
    /// The alarm if absent.
    up: Option<Expression>,
    down: Option<Expression>,
}

/// The conditions that stand with actuators.
///
/// # Errors
/// A condition that is wrong, with what would be right.
pub(super) fn compile(spec: &PolicySpec, names: Names) -> Result<Vec<Demand>> {
    let condition = |text: &Option<String>| {
        text.as_deref().map(|text| Expression::new(text, Type::Truth, names)).transpose()
    };
    let mut demands = Vec::new();
    for (actuator, each) in spec.actuators.iter().enumerate() {
        let (up, down) = match each {
            Actuator::Scale(scale) => (condition(&scale.up)?, condition(&scale.down)?),
            Actuator::Store(store) => (condition(&store.up)?, condition(&store.down)?),
            Actuator::Place(place) => (condition(&place.when)?, None),
            _ => continue,
        };
        demands.push(Demand { actuator, up, down });
    }
    Ok(demands)
}

impl Agent {
    /// What its actuators with conditions are to do now. A condition that cannot be judged, for
    /// nothing was measured, holds not.
    pub(super) fn wants(&self, situation: &Situation, alarm: bool) -> Vec<Want> {
        if self.demands.is_empty() {
            return Vec::new();
        }
        let there = (!situation.moment.others.is_empty()).then_some(0);
        let (here, beyond) = self.forecasts(situation.moment, there);
        let forecasts = Some((here.ok(), beyond.ok()));
        let scope = At { agent: self, situation, there, forecasts };
        let holds = |condition: &Expression| condition.holds(&scope).unwrap_or(false);
        let one = |demand: &Demand| {
            let up = demand.up.as_ref().map_or(alarm, holds);
            let down = || demand.down.as_ref().is_some_and(holds);
            let turn = if up { Some(Turn::Up) } else { down().then_some(Turn::Down) };
            turn.map(|turn| Want { actuator: demand.actuator, turn })
        };
        self.demands.iter().filter_map(one).collect()
    }
}
