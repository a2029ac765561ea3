//! What a policy would have been worth on a recorded trace of two sites.
//!
//! A service is at one of them. At each tick the policy is asked; when it says go, the service
//! moves after a delay and from then on sees what was measured at the other site. Which of the
//! sites is the edge, where it starts, and when the ticks fall is not known or chance: all of it
//! is run and averaged.

mod oracle;
mod tally;
#[cfg(test)]
mod tests;
mod tune;
mod walk;

pub use tally::{Figures, Interval, Tally};

use crate::{
    Error, Prices, Result, Stretch,
    forecast::Training,
    policy::{Limits, Policy},
};
use serde::{Deserialize, Serialize};

/// The rules that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Leaves when the mean of the last five minutes is above the level.
    Reactive,
    /// The same with the window and the factor that were best in training.
    TunedReactive,
    /// With an exponentially weighted mean; half-life and factor from training.
    Ewma,
    /// The reference's: leaves when the forecast of minutes 5 to 10 is above the level.
    Reference,
    /// Ours: compares the forecasts of both sites.
    Proactive,
    /// Stays at the first site of the trace.
    StayA,
    /// Stays at the second.
    StayB,
    /// Knows the future: what no rule can better.
    Oracle,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Reactive,
        Self::TunedReactive,
        Self::Ewma,
        Self::Reference,
        Self::Proactive,
        Self::StayA,
        Self::StayB,
        Self::Oracle,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reactive => "reactive",
            Self::TunedReactive => "tuned-reactive",
            Self::Ewma => "ewma",
            Self::Reference => "reference",
            Self::Proactive => "proactive",
            Self::StayA => "stay-a",
            Self::StayB => "stay-b",
            Self::Oracle => "oracle",
        }
    }
}

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no policy: write one of {names}")
        })
    }
}

/// The level that is kept, and when single-site rules leave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// When a rule that looks at one site leaves it.
    pub limits: Limits,
}

impl Level {
    /// Leave wherever the level is broken.
    pub fn of(sla_ms: f64) -> Self {
        Self { sla_ms, limits: Limits::Level(sla_ms) }
    }

    /// The reference's: leave the edge above the first, the cloud below the second.
    pub fn edge_cloud(edge_ms: f64, cloud_ms: f64) -> Self {
        Self { sla_ms: edge_ms, limits: Limits::EdgeAboveCloudBelow(edge_ms, cloud_ms) }
    }
}

/// How a trace is played.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Seconds from one tick to the next.
    pub every_s: u32,
    /// How many phases of the ticks are run.
    pub phases: u32,
    /// Seconds that a move to the edge takes.
    pub to_edge_s: u32,
    /// Seconds that a move to the cloud takes.
    pub to_cloud_s: u32,
    /// Seconds between two moves of the proactive rule, at least.
    pub cool_down_s: u32,
    /// By which share of broken time the other site must be better for the proactive rule.
    pub margin: f64,
    /// What it costs.
    pub prices: Prices,
    /// How forecasts are trained.
    pub training: Training,
    /// Rounds of the bootstrap.
    pub rounds: u32,
    /// The same seed draws the same blocks.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            every_s: 300,
            phases: 5,
            to_edge_s: 30,
            to_cloud_s: 180,
            cool_down_s: 900,
            margin: 0.0,
            prices: Prices::default(),
            training: Training::default(),
            rounds: 1000,
            seed: 1,
        }
    }
}

/// Minutes 5 to 10 ahead: what the reference's rule forecasts, and what "needed" means.
pub const NEEDED_S: (u32, u32) = (300, 600);

/// What one policy did at one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The policy.
    pub policy: String,
    /// What was chosen for it in training.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tuned: String,
    /// Its figures, with intervals.
    #[serde(flatten)]
    pub figures: Figures,
    /// Its broken time by that of the reactive rule.
    pub by_reactive: Interval,
}

/// All policies at one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// The cloud is left below this, by rules that look at one site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_below_ms: Option<f64>,
    /// The share of truths inside the forecast's intervals of 80 %; nothing if none was forecast.
    pub interval_80_holds: Option<f64>,
    /// In the order that they were asked for, with the reactive rule in any case.
    pub rows: Vec<Row>,
}

/// Trains on one stretch and plays another, of the same trace or of two.
///
/// # Errors
/// A trace of other than two sites, stretches that are too short, and times that do not fit.
pub fn replay(
    learn: &Stretch,
    play: &Stretch,
    level: Level,
    rules: &[Rule],
    setup: &Setup,
) -> Result<Comparison> {
    replay_with(learn, play, level, rules, &[], setup)
}

/// The same, with further policies by their names; their rows come last.
///
/// # Errors
/// As of [`replay`].
pub fn replay_with(
    learn: &Stretch,
    play: &Stretch,
    level: Level,
    rules: &[Rule],
    policies: &[(&str, &dyn Policy)],
    setup: &Setup,
) -> Result<Comparison> {
    check(play, level, setup)?;
    if learn.trace.step_s != play.trace.step_s {
        let (one, other) = (learn.trace.step_s, play.trace.step_s);
        let text = format!("samples {one} s apart cannot teach about samples {other} s apart");
        return Err(Error::Unfit(text));
    }
    let player = walk::Player { trace: play.trace, play: play.span.clone(), level, setup };
    let mut rules: Vec<_> = rules.to_vec();
    if !rules.contains(&Rule::Reactive) {
        rules.insert(0, Rule::Reactive);
    }
    let learnt = tune::Learnt::of(learn, level, setup, &rules)?;
    let mut tallies = Vec::new();
    for &rule in &rules {
        let tally = match rule {
            Rule::Oracle => player.oracle(),
            Rule::StayA => player.stay(0),
            Rule::StayB => player.stay(1),
            _ => player.play(learnt.policy(rule)),
        };
        tallies.push(tally);
    }
    let reactive = rules.iter().position(|rule| *rule == Rule::Reactive).unwrap_or(0);
    let row = |policy: &str, tuned: String, tally: &Tally| Row {
        policy: policy.to_owned(),
        tuned,
        figures: tally.figures(setup),
        by_reactive: tally.ratio(&tallies[reactive], setup),
    };
    let each = rules.iter().zip(&tallies);
    let mut rows: Vec<_> =
        each.map(|(&rule, tally)| row(rule.name(), learnt.tuned(rule), tally)).collect();
    let given = policies.iter();
    rows.extend(given.map(|(name, policy)| row(name, String::new(), &player.play(*policy))));
    let cloud_below_ms = match level.limits {
        Limits::Level(_) => None,
        Limits::EdgeAboveCloudBelow(_, below) => Some(below),
    };
    let interval_80_holds = learnt.coverage(&player);
    Ok(Comparison { sla_ms: level.sla_ms, cloud_below_ms, interval_80_holds, rows })
}

/// Asks a policy along one way only: it starts at the first site, which is the edge.
///
/// # Errors
/// As of [`replay`].
pub fn once(play: &Stretch, level: Level, policy: &dyn Policy, setup: &Setup) -> Result<()> {
    check(play, level, setup)?;
    let player = walk::Player { trace: play.trace, play: play.span.clone(), level, setup };
    player.once(policy);
    Ok(())
}

fn check(play: &Stretch, level: Level, setup: &Setup) -> Result<()> {
    let (trace, play) = (play.trace, &play.span);
    let unfit = |text: String| Err(Error::Unfit(text));
    if trace.sites.len() != 2 {
        let names: Vec<_> = trace.sites.iter().take(5).map(|site| site.name.as_str()).collect();
        return unfit(format!(
            "a replay needs two sites; the trace has {}: {}",
            trace.sites.len(),
            names.join(", ")
        ));
    }
    if !(level.sla_ms > 0.0 && level.sla_ms.is_finite()) {
        return unfit(format!("a service level of {} ms", level.sla_ms));
    }
    let longest = setup.to_edge_s.max(setup.to_cloud_s);
    if setup.every_s <= longest || setup.every_s < trace.step_s {
        let text = format!(
            "ticks every {} s are too close: a move takes up to {longest} s",
            setup.every_s
        );
        return unfit(text);
    }
    let needed = trace.samples_in(NEEDED_S.1 + setup.every_s);
    if play.end > trace.len() || play.len() < needed {
        return unfit(format!(
            "{} samples are too few to play: give at least {needed}",
            play.len()
        ));
    }
    Ok(())
}
