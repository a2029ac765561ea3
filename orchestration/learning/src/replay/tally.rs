//! What came of a replay, by half hours, and how sure the figures are.

use super::Setup;
use crate::{
    Cost,
    model::{Draw, quantile},
};
use serde::Serialize;

/// Half an hour, summed over all cases.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Block {
    pub(super) tp: u32,
    pub(super) fp: u32,
    pub(super) fn_: u32,
    pub(super) tn: u32,
    pub(super) broken_s: f64,
    pub(super) moves: u32,
    pub(super) cost: Cost,
}

impl Block {
    /// Counts an alarm, or none, as right or wrong.
    pub(super) fn judge(&mut self, alarm: bool, needed: bool) {
        match (alarm, needed) {
            (true, true) => self.tp += 1,
            (true, false) => self.fp += 1,
            (false, true) => self.fn_ += 1,
            (false, false) => self.tn += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.fn_ += other.fn_;
        self.tn += other.tn;
        self.broken_s += other.broken_s;
        self.moves += other.moves;
        self.cost += other.cost;
    }
}

/// What a policy did.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// How many cases were run.
    pub(super) cases: u32,
    /// How long each of them was.
    pub(super) seconds: f64,
    pub(super) blocks: Vec<Block>,
}

/// A figure with the interval that it lies in with 95 %, by drawing blocks of half an hour again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// The interval's ends.
    pub low: f64,
    /// The interval's ends.
    pub high: f64,
}

/// The figures of one policy. Counts are of all cases together; times, moves and costs of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
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
    /// How many needs were met.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
    /// Seconds for which the service level was broken.
    pub sla_broken_s: f64,
    /// Moves.
    pub migrations: f64,
    /// Moves in an hour.
    pub migrations_per_hour: f64,
    /// Euro for a day.
    pub cost_per_day_eur: f64,
    /// The same by what it is for.
    pub cost_per_day: Cost,
    /// Intervals of 95 %.
    pub intervals: Intervals,
}

/// Intervals of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intervals {
    /// Of [`Figures::precision`].
    pub precision: (f64, f64),
    /// Of [`Figures::recall`].
    pub recall: (f64, f64),
    /// Of [`Figures::f1`].
    pub f1: (f64, f64),
    /// Of [`Figures::sla_broken_s`].
    pub sla_broken_s: (f64, f64),
    /// Of [`Figures::migrations`].
    pub migrations: (f64, f64),
    /// Of [`Figures::cost_per_day_eur`].
    pub cost_per_day_eur: (f64, f64),
}

impl Tally {
    fn sum(&self, drawn: impl Iterator<Item = usize>) -> Block {
        let mut sum = Block::default();
        drawn.for_each(|at| sum.add(&self.blocks[at]));
        sum
    }

    fn all(&self) -> Block {
        self.sum(0..self.blocks.len())
    }

    /// The figures with their intervals.
    pub fn figures(&self, setup: &Setup) -> Figures {
        let draws = draws(self.blocks.len(), setup);
        let drawn: Vec<_> = draws.iter().map(|draw| self.sum(draw.iter().copied())).collect();
        let interval = |figure: &dyn Fn(&Block) -> f64| ends(drawn.iter().map(figure).collect());
        let (all, cases) = (self.all(), f64::from(self.cases));
        let day = 86_400.0 / self.seconds / cases;
        let intervals = Intervals {
            precision: interval(&precision),
            recall: interval(&recall),
            f1: interval(&f1),
            sla_broken_s: interval(&|block| block.broken_s / cases),
            migrations: interval(&|block| f64::from(block.moves) / cases),
            cost_per_day_eur: interval(&|block| block.cost.total() * day),
        };
        let Block { tp, fp, fn_, tn, .. } = all;
        let migrations = f64::from(all.moves) / cases;
        Figures {
            tp,
            fp,
            fn_,
            tn,
            precision: precision(&all),
            recall: recall(&all),
            f1: f1(&all),
            sla_broken_s: all.broken_s / cases,
            migrations,
            migrations_per_hour: migrations * 3600.0 / self.seconds,
            cost_per_day_eur: all.cost.total() * day,
            cost_per_day: all.cost.times(day),
            intervals,
        }
    }

    /// The broken time by that of another policy over the same blocks.
    pub fn ratio(&self, other: &Self, setup: &Setup) -> Interval {
        let by = |one: f64, other: f64| if one == other { 1.0 } else { one / other };
        let drawn = draws(self.blocks.len(), setup).into_iter().map(|draw| {
            let broken = |tally: &Self| tally.sum(draw.iter().copied()).broken_s;
            by(broken(self), broken(other))
        });
        let (low, high) = ends(drawn.collect());
        Interval { value: by(self.all().broken_s, other.all().broken_s), low, high }
    }

    /// Seconds of one case for which the level was broken.
    pub(super) fn broken_s(&self) -> f64 {
        self.all().broken_s / f64::from(self.cases)
    }
}

fn share(part: u32, rest: u32) -> f64 {
    if part == 0 { 0.0 } else { f64::from(part) / (f64::from(part) + f64::from(rest)) }
}

fn precision(block: &Block) -> f64 {
    share(block.tp, block.fp)
}

fn recall(block: &Block) -> f64 {
    share(block.tp, block.fn_)
}

fn f1(block: &Block) -> f64 {
    share(2 * block.tp, block.fp + block.fn_)
}

/// Blocks, drawn with replacement: the same for each policy.
fn draws(blocks: usize, setup: &Setup) -> Vec<Vec<usize>> {
    let mut draw = Draw(setup.seed);
    (0..setup.rounds).map(|_| (0..blocks).map(|_| draw.below(blocks)).collect()).collect()
}

fn ends(mut drawn: Vec<f64>) -> (f64, f64) {
    drawn.retain(|value| value.is_finite());
    if drawn.is_empty() {
        return (0.0, 0.0);
    }
    drawn.sort_by(f64::total_cmp);
    (quantile(&drawn, 0.025), quantile(&drawn, 0.975))
}
