//! Policies side by side in worlds that none of them has seen.

use super::{
    EdgeOnly, Game, Parameters, Rules, Scenario, World,
    learn::{LESSON_SEEDS, TRIAL_SEEDS, Trial, Worlds, reactive_rule, search},
    play::Outcome,
};
use crate::{
    Error, Result,
    model::{Draw, quantile},
    policy::{Policy, Stay},
    replay::Interval,
    weigh::Weighing,
};
use serde::{Deserialize, Serialize};

/// No more worlds are played.
const SEEDS_MAX: u32 = 10_000;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Leaves when the mean of the last five minutes is above the level.
    Reactive,
    /// The same with the window, the share of the level and the way back that were best in training.
    TunedReactive,
    /// Weighs places by forecasts.
    Proactive,
    /// Always in the cloud.
    CloudOnly,
    /// Always at the edge site nearest to the users.
    EdgeOnly,
    /// Knows the day: what nobody can better.
    Oracle,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Reactive,
        Self::TunedReactive,
        Self::Proactive,
        Self::CloudOnly,
        Self::EdgeOnly,
        Self::Oracle,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reactive => "reactive",
            Self::TunedReactive => "tuned-reactive",
            Self::Proactive => "proactive",
            Self::CloudOnly => "cloud-only",
            Self::EdgeOnly => "edge-only",
            Self::Oracle => "oracle",
        }
    }
}

impl std::str::FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|contender| contender.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("`{text}` is no policy of the twin: write one of {names}")
        })
    }
}

/// How policies are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Contest {
    /// The days that are drawn.
    pub scenario: Scenario,
    /// The sites that they stand for.
    pub parameters: Parameters,
    /// By what is judged.
    pub rules: Rules,
    /// Worlds that are played: seeds from 1.
    pub seeds: u32,
    /// Worlds that forecasts are learned from, of other seeds.
    pub lessons: u32,
    /// Worlds that settings are tried in, of other seeds again.
    pub trials: u32,
    /// Rounds of the bootstrap.
    pub rounds: u32,
}

impl Default for Contest {
    fn default() -> Self {
        Self {
            scenario: Scenario::default(),
            parameters: Parameters::default(),
            rules: Rules::default(),
            seeds: 30,
            lessons: 24,
            trials: 12,
            rounds: 2000,
        }
    }
}

/// What one policy did. Counts are of all worlds; times, moves, bytes and costs of a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The policy.
    pub policy: &'static str,
    /// What was chosen for it in training.
    pub tuned: String,
    /// Alarms before the level was broken in minutes 5 to 10.
    pub tp: u32,
    /// Alarms without need.
    pub fp: u32,
    /// The level was broken without an alarm.
    #[serde(rename = "fn")]
    pub fn_: u32,
    /// Neither.
    pub tn: u32,
    /// How many alarms were needed.
    pub precision: f64,
    /// How many needs had an alarm.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: Interval,
    /// Seconds for which the level was broken.
    pub sla_broken_s: Interval,
    /// Moves.
    pub migrations: f64,
    /// Euro.
    pub cost_per_day_eur: Interval,
    /// Seconds of an instance in the cloud.
    pub cloud_s: f64,
    /// Bytes that went to the cloud.
    pub bytes_to_cloud: f64,
    /// Broken time by that of the better of the reactive rules.
    pub broken_by_reactive: Interval,
    /// Cost by that of the reactive rule.
    pub cost_by_reactive: Interval,
    /// Cost by that of the cloud alone.
    pub cost_by_cloud: Interval,
    /// Seconds in the cloud by those of the cloud alone.
    pub cloud_by_cloud: Interval,
    /// Bytes to the cloud by those of the cloud alone.
    pub bytes_by_cloud: Interval,
}

/// What came of a contest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// How many worlds were played.
    pub seeds: u32,
    /// In the order that was asked for; the reactive rules and the cloud alone are always there.
    pub standings: Vec<Standing>,
}

/// The proactive policy as training chose it, and what it did in worlds that it was not chosen by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// All that was tried, in the worlds that settings are tried in.
    pub tried: Vec<Trial>,
    /// What was chosen, there.
    pub chosen: Trial,
    /// The same in the worlds that are played.
    pub played: Outcome,
}

impl Contest {
    fn check(&self) -> Result<()> {
        self.scenario.check()?;
        if [self.seeds, self.lessons, self.trials].iter().any(|n| !(1..=SEEDS_MAX).contains(n)) {
            return Err(Error::Unfit(format!("worlds are from 1 to {SEEDS_MAX}")));
        }
        let Rules { sla_ms, every_s, .. } = self.rules;
        let often = (self.parameters.step_s..=86_400).contains(&every_s);
        if !(often && sla_ms > 0.0 && sla_ms.is_finite()) {
            let text = format!("a service level of {sla_ms} ms, looked after every {every_s} s");
            return Err(Error::Unfit(text));
        }
        Ok(())
    }

    fn worlds(&self, seeds: std::ops::Range<u64>) -> Result<Worlds<'_>> {
        Worlds::new(&self.scenario, &self.parameters, &self.rules, seeds)
    }

    fn trials(&self) -> Result<Worlds<'_>> {
        self.worlds(TRIAL_SEEDS..TRIAL_SEEDS + u64::from(self.trials))
    }

    /// The proactive policy, learned and chosen in worlds that are not played.
    ///
    /// # Errors
    /// Worlds that are too few or too short.
    pub fn learn(&self, progress: &mut dyn FnMut(&str)) -> Result<(Weighing, Vec<Trial>)> {
        self.check()?;
        progress("forecasts");
        let lessons = self.worlds(LESSON_SEEDS..LESSON_SEEDS + u64::from(self.lessons))?;
        let policies = lessons.lesson()?.policies()?;
        search(&policies, &self.trials()?, progress)
            .ok_or_else(|| Error::Unfit("nothing was learned".into()))
    }

    /// Looks for the settings of the proactive policy in some worlds, and plays them in others.
    ///
    /// # Errors
    /// As of [`Contest::learn`].
    pub fn fit(&self, progress: &mut dyn FnMut(&str)) -> Result<Fit> {
        let (policy, tried) = self.learn(progress)?;
        let horizon_s = policy.shares.first().map_or(0, |(ahead, _)| ahead.1 - ahead.0);
        let outcome = self.trials()?.play(&policy);
        let Weighing { scales, alarm_at, .. } = policy;
        let chosen = Trial { horizon_s, scales, alarm_at, outcome };
        progress("other worlds");
        let played = self.worlds(1..u64::from(self.seeds) + 1)?.play(&policy);
        Ok(Fit { tried, chosen, played })
    }

    /// Learns, then plays every policy in the same worlds.
    ///
    /// # Errors
    /// As of [`Contest::learn`].
    pub fn run(&self, asked: &[Contender], progress: &mut dyn FnMut(&str)) -> Result<Results> {
        self.check()?;
        let mut contenders = asked.to_vec();
        for needed in [Contender::CloudOnly, Contender::TunedReactive, Contender::Reactive] {
            if !contenders.contains(&needed) {
                contenders.insert(0, needed);
            }
        }
        let field = self.field(&contenders, progress)?;
        let mut played = vec![Vec::new(); field.len()];
        for seed in 1..=u64::from(self.seeds) {
            progress(&format!("world {seed} of {}", self.seeds));
            let world = World::new(&self.scenario, &self.parameters, seed)?;
            let game = Game { world: &world, scenario: &self.scenario, rules: &self.rules };
            for (entry, played) in field.iter().zip(&mut played) {
                played.push(entry.play(&game));
            }
        }
        let standings = Standings { field: &field, played: &played, rounds: self.rounds };
        let standings = (0..field.len()).map(|at| standings.of(at)).collect();
        Ok(Results { sla_ms: self.rules.sla_ms, seeds: self.seeds, standings })
    }

    fn field(
        &self,
        contenders: &[Contender],
        progress: &mut dyn FnMut(&str),
    ) -> Result<Vec<Entry>> {
        let mut field = Vec::new();
        for &contender in contenders {
            let (policy, tuned): (Box<dyn Policy>, _) = match contender {
                Contender::Reactive => (Box::new(reactive_rule(&self.rules)), String::new()),
                Contender::TunedReactive => {
                    progress("tuned reactive rule");
                    let (policy, tuned) = self.trials()?.reactive();
                    (Box::new(policy), tuned)
                }
                Contender::Proactive => {
                    let (policy, _) = self.learn(progress)?;
                    let tuned = words(&policy);
                    (Box::new(policy), tuned)
                }
                Contender::EdgeOnly => (Box::new(EdgeOnly), String::new()),
                Contender::CloudOnly | Contender::Oracle => (Box::new(Stay), String::new()),
            };
            field.push(Entry { contender, policy, tuned });
        }
        Ok(field)
    }
}

fn words(policy: &Weighing) -> String {
    let horizon_s = policy.shares.first().map_or(0, |(ahead, _)| ahead.1 - ahead.0);
    let scales = policy.scales;
    format!(
        "a broken second is worth {} EUR, a move gains {} EUR an hour over {horizon_s} s and rests {} s, alarm from {}",
        scales.broken_eur, scales.margin_eur_hour, scales.cool_down_s, policy.alarm_at
    )
}

/// A policy that is ready to play.
#[derive(Debug)]
struct Entry {
    contender: Contender,
    policy: Box<dyn Policy>,
    tuned: String,
}

impl Entry {
    fn play(&self, game: &Game) -> Outcome {
        match self.contender {
            Contender::Oracle => game.oracle(),
            contender => game.play(&*self.policy, contender == Contender::CloudOnly),
        }
    }
}

#[derive(Debug)]
struct Standings<'a> {
    field: &'a [Entry],
    /// By policy, then by world.
    played: &'a [Vec<Outcome>],
    rounds: u32,
}

impl Standings<'_> {
    fn of(&self, at: usize) -> Standing {
        let all = self.sum(at, 0..self.played[at].len());
        let day = |value: f64| value * 86_400.0 / all.seconds;
        let (reactive, cloud) = (self.at(Contender::Reactive), self.at(Contender::CloudOnly));
        let better = [Contender::Reactive, Contender::TunedReactive].map(|each| self.at(each));
        let whole = |each: usize| self.sum(each, 0..self.played[each].len()).sla_broken_s;
        let better = better.into_iter().min_by(|one, other| whole(*one).total_cmp(&whole(*other)));
        let figure =
            |of: &dyn Fn(&Outcome) -> f64| self.interval(&|draw| of(&self.drawn(at, draw)));
        let by = |other: usize, of: &dyn Fn(&Outcome) -> f64| {
            self.interval(&|draw| {
                let (one, other) = (of(&self.drawn(at, draw)), of(&self.drawn(other, draw)));
                if one == other { 1.0 } else { one / other }
            })
        };
        let cost = |outcome: &Outcome| outcome.cost.total();
        Standing {
            policy: self.field[at].contender.name(),
            tuned: self.field[at].tuned.clone(),
            tp: all.tp,
            fp: all.fp,
            fn_: all.fn_,
            tn: all.tn,
            precision: all.precision(),
            recall: all.recall(),
            f1: figure(&Outcome::f1),
            sla_broken_s: figure(&|sum| sum.sla_broken_s * 86_400.0 / sum.seconds),
            migrations: day(f64::from(all.migrations)),
            cost_per_day_eur: figure(&Outcome::cost_per_day_eur),
            cloud_s: day(all.cloud_s),
            bytes_to_cloud: day(all.bytes_to_cloud),
            broken_by_reactive: by(better.unwrap_or(reactive), &|sum| sum.sla_broken_s),
            cost_by_reactive: by(reactive, &cost),
            cost_by_cloud: by(cloud, &cost),
            cloud_by_cloud: by(cloud, &|sum| sum.cloud_s),
            bytes_by_cloud: by(cloud, &|sum| sum.bytes_to_cloud),
        }
    }

    fn at(&self, contender: Contender) -> usize {
        self.field.iter().position(|entry| entry.contender == contender).unwrap_or(0)
    }

    fn sum(&self, at: usize, worlds: impl Iterator<Item = usize>) -> Outcome {
        let mut sum = Outcome::default();
        worlds.for_each(|world| sum.add(&self.played[at][world]));
        sum
    }

    fn drawn(&self, at: usize, draw: &[usize]) -> Outcome {
        self.sum(at, draw.iter().copied())
    }

    /// A figure of all worlds, and where it lies with 95 % when worlds are drawn again; each round
    /// draws the same worlds for all policies, so that ratios are of pairs.
    fn interval(&self, figure: &dyn Fn(&[usize]) -> f64) -> Interval {
        let count = self.played.first().map_or(0, Vec::len);
        let all: Vec<_> = (0..count).collect();
        let mut draw = Draw(1);
        let mut round = || (0..count).map(|_| draw.below(count)).collect::<Vec<_>>();
        let drawn = (0..self.rounds).map(|_| figure(&round())).filter(|value| value.is_finite());
        let mut drawn: Vec<_> = drawn.collect();
        drawn.sort_by(f64::total_cmp);
        let end = |share| if drawn.is_empty() { 0.0 } else { quantile(&drawn, share) };
        Interval { value: figure(&all), low: end(0.025), high: end(0.975) }
    }
}
