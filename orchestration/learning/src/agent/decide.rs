//! One decision: forecasts, conditions, and what holds the agent back.

use super::{
    Advice, Agent, Choice, Load, Situation, Went, guards,
    scope::{At, Forecasts, age_s},
};
use crate::{
    Error, Past, Prediction, Predictor, Reason, Result, Sample,
    features::PAST_S,
    forecast::Ahead,
    policy::{Limits, Moment, Place, Policy, Reactive, Verdict},
};
use api::policy::{Aggregate, millis};

/// Reasons of a forecast that are told.
const REASONS_MAX: usize = 5;

/// What was measured longer ago at another place says nothing of it.
const STALE_S: u64 = 300;

/// What the conditions say, before anything holds it back.
#[derive(Default)]
struct Wish {
    alarm: bool,
    go: Option<usize>,
    reason: String,
    options: Vec<Choice>,
    /// Why they cannot say anything, if so.
    failed: Option<String>,
}

impl Agent {
    /// What is to be done, and why. Whatever is wrong with measurements, the model or a condition
    /// leads to the reactive rule and is said; it is never an error.
    pub fn advise(&self, situation: &Situation) -> Advice {
        let moment = situation.moment;
        let mut wish = self.wish(situation);
        wish = match wish.failed {
            None => self.lasting(situation, wish),
            Some(_) => Wish { options: wish.options, failed: wish.failed, ..self.reactive(moment) },
        };
        let fallback = wish.failed.take();
        let held;
        if let Some(back) = self.regrets(situation) {
            wish = Wish { go: back.0, reason: back.1.clone(), ..wish };
            held = match back.0 {
                Some(_) => guards::rests(&self.spec.guards, moment),
                None => Some(back.1),
            };
        } else {
            held = wish.go.and_then(|to| {
                guards::held(&self.spec.guards, &self.prices, moment, situation.trail, to)
            });
            wish.reason += match (wish.go, &held) {
                (Some(_), None) => ": it goes",
                (Some(_), Some(_)) => ": it would go",
                (None, _) => ": it stays",
            };
        }
        let go = wish.go.filter(|_| held.is_none());
        let ahead = self.predictor(moment.here.move_s).map(|(ahead, _)| *ahead);
        let wants = self.wants(situation, wish.alarm);
        Advice {
            verdict: Verdict { alarm: wish.alarm, go },
            reason: wish.reason,
            fallback,
            held,
            wants,
            options: wish.options,
            load: self.load,
            ahead,
        }
    }

    fn wish(&self, situation: &Situation) -> Wish {
        let moment = situation.moment;
        if let Some(reason) = &self.without_model {
            return Wish { failed: Some(reason.clone()), ..Wish::default() };
        }
        let others: Vec<Option<usize>> = match moment.others.len() {
            0 => vec![None],
            count => (0..count).map(Some).collect(),
        };
        let (mut alarm, mut options) = (false, Vec::new());
        let (mut failed, mut judged) = (None, false);
        for there in others {
            let forecasts = self.forecasts(moment, there);
            let (here, beyond) = &forecasts;
            let known: Forecasts = (here.as_ref().ok().copied(), beyond.as_ref().ok().copied());
            let scope = At { agent: self, situation, there, forecasts: Some(known) };
            let said = self.alarm.holds(&scope).and_then(|rings| {
                alarm |= rings;
                there.map_or(Ok(false), |_| self.go.holds(&scope))
            });
            judged |= said.is_ok();
            let fits = said.unwrap_or_else(|error| {
                let of_latency = here.as_ref().err().or(beyond.as_ref().err());
                // Who is followed is not where latencies are forecast.
                let follows = self.spec.pipeline.trajectory.is_some();
                let cause = of_latency.filter(|_| !follows).unwrap_or(&error);
                failed = Some(types::chain(cause));
                false
            });
            let (here, there_said) = known;
            let preferred = self.prefer.number(&scope).ok();
            options.extend(there.map(|place| Choice {
                place,
                here,
                there: there_said,
                fits,
                preferred,
            }));
        }
        // One place of which nothing is known does not keep it from another.
        let failed = failed.filter(|_| !judged);
        let fit = options.iter().filter(|option| option.fits);
        let rank = |option: &&Choice| option.preferred.unwrap_or(f64::INFINITY);
        let best = fit.min_by(|one, other| rank(one).total_cmp(&rank(other)));
        let reason = self.tell(situation, best.or(options.first()));
        let go = best.map(|option| option.place);
        Wish { alarm, go, reason, options, failed }
    }

    /// The forecasts that a move there is judged by.
    pub(super) fn forecasts(
        &self,
        moment: &Moment,
        there: Option<usize>,
    ) -> (Result<Prediction>, Result<Prediction>) {
        let other = there.and_then(|at| moment.others.get(at));
        let move_s = other.unwrap_or(&moment.here).move_s;
        if self.spec.pipeline.by.is_some() {
            return self.by_requests(moment, move_s, other);
        }
        let nothing = Place { past: &[], ..moment.here };
        let here = self.forecast(moment, move_s, &moment.here, other.unwrap_or(&nothing));
        let beyond = match other {
            Some(other) => match age_s(moment.step_s, other).filter(|age| *age <= STALE_S) {
                Some(_) => self.forecast(moment, move_s, other, &moment.here),
                // Elsewhere nothing measured is no stall: perhaps nothing of the service is there.
                None => {
                    let text = format!("nothing was measured at `{}` for {STALE_S} s", other.name);
                    Err(Error::Unfit(text))
                }
            },
            None => Err(Error::Unfit("there is no other place".into())),
        };
        (here, beyond)
    }

    fn forecast(&self, moment: &Moment, move_s: u32, of: &Place, by: &Place) -> Result<Prediction> {
        let Some((_, predictor)) = self.predictor(move_s) else {
            return Err(Error::Unfit("there is no forecast".into()));
        };
        let ((here, step_s), (there, _)) =
            (self.prepared(moment.step_s, of), self.prepared(moment.step_s, by));
        let known = |sample: &Sample| match self.load {
            Load::Cpu => sample.cpu.is_some(),
            Load::Requests => sample.requests.is_some(),
            Load::Latency | Load::Broken => !sample.stalled(),
        };
        if !here.iter().any(known) {
            return Err(Error::Unfit(format!("nothing was measured at `{}` for an hour", of.name)));
        }
        let past = Past { now_s: moment.now_s, step_s, here: &here, there: &there };
        aggregate(&predictor.predict(&past)?, self.spec.pipeline.aggregate)
    }

    /// The one whose time ahead begins nearest to when a move takes effect.
    pub(super) fn predictor(&self, move_s: u32) -> Option<&(Ahead, std::sync::Arc<dyn Predictor>)> {
        self.predictors.iter().min_by_key(|(ahead, _)| ahead.0.abs_diff(move_s))
    }

    /// What says most of the forecast for where the service is; empty where the model cannot tell.
    pub fn reasons(&self, moment: &Moment) -> Vec<Reason> {
        let Some((_, predictor)) = self.predictor(moment.here.move_s) else { return Vec::new() };
        if self.spec.pipeline.by.is_some() {
            return self.reasons_of_requests(moment, &**predictor);
        }
        let (here, step_s) = self.prepared(moment.step_s, &moment.here);
        let there = moment.others.first().map(|other| self.prepared(moment.step_s, other).0);
        let there = there.unwrap_or_default();
        let past = Past { now_s: moment.now_s, step_s, here: &here, there: &there };
        first(predictor.explain(&past))
    }

    /// Goes only if it would have gone there in the runs before, too.
    fn lasting(&self, situation: &Situation, mut wish: Wish) -> Wish {
        let moment = situation.moment;
        for back in 1..self.spec.guards.in_a_row {
            let Some(to) = wish.go else { break };
            let steps = (back * self.every_s() / moment.step_s.max(1)) as usize;
            let earlier = |place: &Place<'_>| place.past.len().saturating_sub(steps);
            let others: Vec<_> = moment
                .others
                .iter()
                .map(|place| Place { past: &place.past[..earlier(place)], ..*place })
                .collect();
            let here = Place { past: &moment.here.past[..earlier(&moment.here)], ..moment.here };
            let now_s = moment.now_s - i64::from(back * self.every_s());
            let then = Moment { now_s, here, others: &others, ..*moment };
            let asked = Situation { moment: &then, ..*situation };
            let before = self.wish(&asked);
            if before.failed.is_some() || before.go != Some(to) {
                let runs = self.spec.guards.in_a_row;
                wish.reason =
                    format!("{}; that must hold in {runs} runs, and held in {back}", wish.reason);
                wish.go = None;
            }
        }
        wish
    }

    /// The rule that decides when the agent cannot: it needs nothing but the latency here.
    fn reactive(&self, moment: &Moment) -> Wish {
        let nothing = moment.here.past.iter().rev();
        let hour = (PAST_S / moment.step_s.max(1)) as usize;
        if nothing.take(hour).all(Sample::stalled) {
            let reason = format!("nothing was measured at `{}` for an hour", moment.here.name);
            return Wish { alarm: true, reason, ..Wish::default() };
        }
        let limits = match self.spec.limits {
            Some(limits) => {
                let ms = |period| millis(period) as f64;
                Limits::EdgeAboveCloudBelow(ms(limits.edge_above), ms(limits.cloud_below))
            }
            None => Limits::Level(self.sla_ms),
        };
        let rule = Reactive { limits, factor: 1.0, window_s: 300 };
        let Verdict { alarm, go } = rule.decide(moment);
        let beyond = if alarm { "beyond" } else { "within" };
        let reason = format!("the latency of the last 5 minutes is {beyond} the limits");
        Wish { alarm, go, reason, ..Wish::default() }
    }

    /// Where it goes back to, or that it rests, once moving has made it worse.
    fn regrets(&self, situation: &Situation) -> Option<(Option<usize>, String)> {
        let moment = situation.moment;
        let trail: &[Went] = situation.trail?;
        let found = guards::regret(&self.spec.guards, moment, trail, self.sla_ms)?;
        let most_s = millis(self.spec.guards.regret) as f64 / 1000.0;
        if found.seconds <= most_s {
            return None;
        }
        let lost = format!("moving broke the level for {:.0} s more than staying", found.seconds);
        Some(match found.home.checked_sub(1) {
            None => (None, format!("{lost}: it rests until the window ends")),
            Some(home) if home >= moment.others.len() => {
                (None, format!("{lost}: it rests until the window ends, for it cannot go back"))
            }
            Some(home) => (Some(home), format!("{lost}: it goes back and rests")),
        })
    }

    /// A sentence about the forecasts.
    fn tell(&self, situation: &Situation, option: Option<&Choice>) -> String {
        let moment = situation.moment;
        let Some(option) = option else { return "there is no other place".into() };
        let name = moment.others.get(option.place).map_or("?", |place| place.name);
        let say = |said: Option<Prediction>| match (said, self.load) {
            (None, _) => "not known".to_owned(),
            (Some(said), Load::Broken) => {
                format!("{:.0} %", (said.value * 100.0).clamp(0.0, 100.0))
            }
            (Some(said), Load::Latency) => format!("{:.0} ms", said.value),
            (Some(said), Load::Cpu) => format!("{:.1} processors", said.value),
            (Some(said), Load::Requests) => format!("{:.1} requests each second", said.value),
        };
        let what = match self.load {
            Load::Broken => "the level is forecast to be broken",
            Load::Latency => "the latency is forecast to be",
            Load::Cpu => "in use are forecast to be",
            Load::Requests => "what comes is forecast to be",
        };
        let (here, there) = (say(option.here), say(option.there));
        let by = self.tell_requests(moment) + &self.tell_course(situation, option, name);
        format!("{by}{what} {here} here and {there} at `{name}`")
    }
}

/// The reasons that are told.
pub(super) fn first(reasons: Result<Vec<Reason>>) -> Vec<Reason> {
    let mut reasons = reasons.unwrap_or_default();
    reasons.truncate(REASONS_MAX);
    reasons
}

/// Several forecasts as one.
pub(super) fn aggregate(said: &[Prediction], how: Aggregate) -> Result<Prediction> {
    let one = |of: fn(&Prediction) -> f64| {
        let values = || said.iter().map(of);
        match how {
            _ if said.iter().any(|said| of(said).is_nan()) => f64::NAN,
            Aggregate::Max => values().fold(f64::NAN, f64::max),
            Aggregate::Avg => crate::features::mean(values()),
            Aggregate::Quantile(share) => super::forecast::quantile_of(values(), share),
        }
    };
    let (value, low, high) = (one(|said| said.value), one(|said| said.low), one(|said| said.high));
    if !value.is_finite() {
        return Err(Error::Unfit("the model forecast no number".into()));
    }
    // A model without an interval is sure of nothing but its value.
    let end = |end: f64| if end.is_finite() { end } else { value };
    Ok(Prediction { value, low: end(low), high: end(high) })
}
