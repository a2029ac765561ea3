//! A policy over a recorded trace.

use super::{Advice, Agent, Figures, Models, Situation, two_places};
use crate::{
    Error, Result, Stretch,
    policy::{Moment, Policy, Verdict},
    replay::{Comparison, Level, Rule, Setup, once, replay_with},
};
use api::policy::{PolicySpec, Shape, millis};
use std::sync::{Mutex, PoisonError};

/// One decision over a trace.
#[derive(Debug, Clone)]
pub struct Step {
    /// Unix time in seconds.
    pub at_s: i64,
    /// Where the service was.
    pub site: String,
    /// What the policy said.
    pub advice: Advice,
}

/// Compiles a declared policy for a trace, with these models; [`Trained`](super::Trained) are
/// trained on what lies before.
///
/// # Errors
/// A policy that is wrong, a model that is none, and figures that a trace does not hold.
pub fn trained(spec: &PolicySpec, models: &dyn Models, setup: &Setup) -> Result<Agent> {
    if let Some(name) = spec.figures.keys().next() {
        let text =
            format!("`figures.{name}` asks telemetry, which a trace is not: leave it out here");
        return Err(Error::Unfit(text));
    }
    if spec.pipeline.trajectory.is_some() {
        let text =
            "`pipeline.trajectory` asks for positions, which a trace has not: leave it out here";
        return Err(Error::Unfit(text.into()));
    }
    let sensor = spec.python_sensors().next().filter(|_| spec.conditions != Default::default());
    if let Some(sensor) = sensor {
        let text = format!(
            "sensor `{}` asks a live service, which a trace is not: leave `conditions` out here",
            sensor.name
        );
        return Err(Error::Unfit(text));
    }
    let agent = Agent::new(spec, models, &[setup.to_edge_s, setup.to_cloud_s])?;
    match agent.without_model() {
        Some(reason) => Err(Error::Unfit(reason.to_owned())),
        None => Ok(agent),
    }
}

/// The level that a policy keeps, and when rules of one site leave.
pub fn level(spec: &PolicySpec) -> Level {
    let ms = |period| millis(period) as f64;
    match spec.limits {
        Some(limits) if spec.shape != Shape::Proactive => {
            let level = Level::edge_cloud(ms(limits.edge_above), ms(limits.cloud_below));
            Level { sla_ms: ms(spec.sla), ..level }
        }
        _ => Level::of(ms(spec.sla)),
    }
}

/// What a policy would have been worth, beside the rules that it is measured by.
///
/// # Errors
/// As of [`trained`] and [`replay`](crate::replay::replay).
pub fn play(
    name: &str,
    agent: &Agent,
    learn: &Stretch,
    play: &Stretch,
    setup: &Setup,
) -> Result<Comparison> {
    let rules = [Rule::Reactive, Rule::StayA, Rule::StayB, Rule::Oracle];
    let setup = Setup { prices: *agent.prices(), every_s: agent.every_s(), ..setup.clone() };
    replay_with(learn, play, level(agent.spec()), &rules, &[(name, agent)], &setup)
}

/// Each decision of a service that starts at the trace's first site, which is the edge.
///
/// # Errors
/// As of [`replay`](crate::replay::replay).
pub fn steps(agent: &Agent, play: &Stretch, setup: &Setup) -> Result<Vec<Step>> {
    let noting = Noting { agent, steps: Mutex::default() };
    let setup = Setup { every_s: agent.every_s(), ..setup.clone() };
    once(play, level(agent.spec()), &noting, &setup)?;
    Ok(noting.steps.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Notes what the agent says.
#[derive(Debug)]
struct Noting<'a> {
    agent: &'a Agent,
    steps: Mutex<Vec<Step>>,
}

impl Policy for Noting<'_> {
    fn decide(&self, moment: &Moment) -> Verdict {
        let trail = two_places(moment);
        let situation = Situation { moment, trail: trail.as_deref(), figures: &Figures::new() };
        let advice = self.agent.advise(&situation);
        let verdict = advice.verdict;
        let step = Step { at_s: moment.now_s, site: moment.here.name.to_owned(), advice };
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Trained, *};
    use crate::{Sample, SiteTrace, Trace};

    /// Half an hour bad here, then there.
    fn trace() -> Trace {
        let latency = |site: usize, at: usize| {
            let bad = at / 360 % 2 == site;
            (if bad { 150.0 } else { 60.0 }) + ((at * 7 + site) % 11) as f64
        };
        let site = |site: usize| SiteTrace {
            name: format!("s{site}"),
            samples: (0..6 * 720)
                .map(|at| Sample { latency_ms: Some(latency(site, at)), ..Sample::default() })
                .collect(),
        };
        Trace { start_s: 1_700_000_100, step_s: 5, sites: vec![site(0), site(1)] }
    }

    fn setup() -> Setup {
        Setup { rounds: 20, ..Setup::default() }
    }

    fn spec(text: &str) -> PolicySpec {
        super::super::tests::spec(text)
    }

    /// With the same model and the same cool-down the declared policy is the built-in one.
    #[test]
    fn the_proactive_shape_with_a_trained_model_is_the_proactive_rule() {
        let trace = trace();
        let (learn, play) = trace.split(0.7);
        let mut spec = spec("{service: a, sla: 100ms, model: ridge}");
        spec.guards.regret = types::Period::from_millis(86_400_000);
        let agent = trained(&spec, &Trained::on(&learn, setup().training), &setup()).unwrap();

        let rules = [Rule::Proactive, Rule::Oracle];
        let found = replay_with(&learn, &play, level(&spec), &rules, &[("mine", &agent)], &setup());

        let found = found.unwrap();
        let row = |name: &str| found.rows.iter().find(|row| row.policy == name).unwrap();
        let (mine, built_in) = (&row("mine").figures, &row("proactive").figures);
        assert_eq!(mine.sla_broken_s, built_in.sla_broken_s);
        assert_eq!(mine.migrations, built_in.migrations);
        assert!(mine.migrations > 0.0 && mine.sla_broken_s >= row("oracle").figures.sla_broken_s);
    }

    #[test]
    fn each_decision_is_told_with_its_forecasts() {
        let trace = trace();
        let (learn, play) = trace.split(0.7);
        let agent = trained(
            &spec("{service: a, sla: 100ms, model: ridge}"),
            &Trained::on(&learn, setup().training),
            &setup(),
        )
        .unwrap();

        let steps = steps(&agent, &play, &setup()).unwrap();

        assert!(steps.iter().any(|step| step.advice.verdict.go.is_some()));
        for Step { advice, .. } in &steps {
            assert_eq!(advice.fallback, None);
            let said = advice.options[0].here.unwrap();
            assert!(said.low <= said.value && said.value <= said.high);
        }
    }

    #[test]
    fn what_a_trace_cannot_answer_is_refused() {
        let trace = trace();
        let (learn, _) = trace.split(0.7);
        let says = |text: &str| {
            trained(&spec(text), &Trained::on(&learn, setup().training), &setup())
                .unwrap_err()
                .to_string()
        };

        assert!(says("{service: a, sla: 1s, model: magic}").contains("no model `magic`"));
        let figures =
            "{service: a, sla: 1s, figures: {queue: {query: q}}, conditions: {go: here.queue > 1}}";
        assert!(says(figures).contains("figures.queue"));
    }
}
