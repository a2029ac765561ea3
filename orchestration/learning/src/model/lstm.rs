//! A small recurrent network over the last minutes.
//!
//! Sources: S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997,
//! with the forget gate of F. Gers et al., 2000; D. Kingma and J. Ba, "Adam", ICLR 2015. One layer, a
//! linear read-out of its last state, and the squared error.

mod cell;

use super::{
    Draw, Target,
    examples::Examples,
    path::{BUCKET_S, buckets},
};
use crate::{Error, Past, Result, Sample};
use cell::{Cell, Tape};
use serde::{Deserialize, Serialize};

/// Minutes that it sees.
const MINUTES: usize = 32;
/// What it sees of each: here and there, the latency and the processors in use.
pub(super) const CHANNELS: usize = 4;
/// Moments after which weights change.
const BATCH: usize = 32;
/// Of more moments, evenly chosen ones are learned from: with these, training is a minute at most.
const MOMENTS_MAX: usize = 20_000;
/// Gradients are no longer than this: one burst must not undo what was learned.
const GRADIENT_MAX: f64 = 1.0;

/// How the network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Network {
    /// Units of its memory, at most 64.
    pub units: usize,
    /// How often it sees all moments, at most 100 times.
    pub epochs: usize,
    /// How far weights go at each step.
    pub rate: f64,
    /// By which share of itself each weight shrinks at each step.
    pub decay: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self { units: 12, epochs: 12, rate: 3e-3, decay: 1e-4 }
    }
}

impl Network {
    /// # Errors
    /// More units or epochs than time is meant for.
    pub(super) fn check(&self) -> Result<()> {
        let Self { units, epochs, rate, .. } = *self;
        let sound = (1..=64).contains(&units)
            && (1..=100).contains(&epochs)
            && (1e-6..=1.0).contains(&rate);
        if sound {
            return Ok(());
        }
        let text = format!(
            "{units} units, {epochs} epochs at {rate}: a network has 1 to 64 units and sees \
             everything 1 to 100 times, at a rate of up to 1"
        );
        Err(Error::Unfit(text))
    }
}

/// A fitted network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Lstm {
    /// The mean of each channel, and by which its distance from that is divided.
    usual: Vec<(f64, f64)>,
    /// The same of the target.
    scale: (f64, f64),
    cell: Cell,
}

type Minutes = Vec<[f64; CHANNELS]>;

impl Lstm {
    /// Fits it to some of the moments; the same seed fits the same network.
    ///
    /// # Errors
    /// More units or epochs than time is meant for.
    pub(super) fn fit(
        examples: &Examples,
        chosen: &[usize],
        network: &Network,
        seed: u64,
    ) -> Result<Self> {
        network.check()?;
        let every = chosen.len().div_ceil(MOMENTS_MAX).max(1);
        let chosen: Vec<_> = chosen.iter().copied().step_by(every).collect();
        let seen: Vec<_> =
            chosen.iter().map(|&at| minutes(&examples.past(examples.each[at]))).collect();
        let truths: Vec<_> = chosen.iter().map(|&at| examples.truths[at]).collect();
        let usual = (0..CHANNELS)
            .map(|channel| moments(seen.iter().filter_map(|seen| Some(seen.last()?[channel]))))
            .collect();
        let mut draw = Draw(seed);
        let cell = Cell::new(CHANNELS, network.units, &mut draw);
        let mut model = Self { usual, scale: moments(truths.iter().copied()), cell };
        let inputs: Vec<_> = seen.iter().map(|seen| model.standard(seen)).collect();
        let aims: Vec<_> =
            truths.iter().map(|truth| (truth - model.scale.0) / model.scale.1).collect();
        model.learn(&inputs, &aims, network, &mut draw);
        Ok(model)
    }

    /// One that has seen nothing yet, for channels and truths of these middles and scales.
    pub(super) fn unlearned(
        usual: Vec<(f64, f64)>,
        scale: (f64, f64),
        units: usize,
        seed: u64,
    ) -> Self {
        Self { usual, scale, cell: Cell::new(CHANNELS, units, &mut Draw(seed)) }
    }

    /// Its weights.
    pub(super) fn weights(&self) -> &[f64] {
        &self.cell.weights
    }

    /// The same network with other weights, as many as it has.
    pub(super) fn with_weights(&self, weights: Vec<f64>) -> Self {
        let mut other = self.clone();
        other.cell.weights = weights;
        other
    }

    /// Of each channel and then of the truths: how many are known and their sum; with their middles
    /// how many, and the squared distances from them.
    pub(super) fn channels(
        examples: &Examples,
        chosen: &[usize],
        middles: Option<&[f64]>,
    ) -> Vec<f64> {
        let mut told = vec![0.0; 2 * (CHANNELS + 1)];
        let mut add = |channel: usize, x: f64| {
            if x.is_finite() {
                told[2 * channel] += 1.0;
                told[2 * channel + 1] +=
                    middles.map_or(x, |middles| (x - middles[channel]).powi(2));
            }
        };
        for &at in chosen {
            let seen = minutes(&examples.past(examples.each[at]));
            let last = seen.last().into_iter().flatten();
            last.enumerate().for_each(|(channel, x)| add(channel, *x));
            add(CHANNELS, examples.truths[at]);
        }
        told
    }

    /// The weights after it has seen all of these moments as often as it is told.
    ///
    /// # Errors
    /// As of [`Lstm::fit`].
    pub(super) fn further(
        &self,
        examples: &Examples,
        chosen: &[usize],
        network: &Network,
        seed: u64,
    ) -> Result<Vec<f64>> {
        network.check()?;
        let every = chosen.len().div_ceil(MOMENTS_MAX).max(1);
        let chosen = || chosen.iter().copied().step_by(every);
        let input = |at: usize| self.standard(&minutes(&examples.past(examples.each[at])));
        let inputs: Vec<_> = chosen().map(input).collect();
        let aims: Vec<_> =
            chosen().map(|at| (examples.truths[at] - self.scale.0) / self.scale.1).collect();
        let mut model = self.clone();
        model.learn(&inputs, &aims, network, &mut Draw(seed));
        Ok(model.cell.weights)
    }

    fn learn(&mut self, inputs: &[Vec<f64>], aims: &[f64], network: &Network, draw: &mut Draw) {
        let mut order: Vec<_> = (0..inputs.len()).collect();
        let mut adam = Adam::new(self.cell.weights.len());
        let mut tape = Tape::default();
        let steps = network.epochs * inputs.len().div_ceil(BATCH);
        let mut step = 0;
        for _ in 0..network.epochs {
            (1..order.len()).rev().for_each(|at| order.swap(at, draw.below(at + 1)));
            for batch in order.chunks(BATCH) {
                let mut slopes = vec![0.0; self.cell.weights.len()];
                for &at in batch {
                    let said = self.cell.forward(&inputs[at], &mut tape);
                    let slope = 2.0 * (said - aims[at]) / batch.len() as f64;
                    self.cell.backward(&inputs[at], &tape, slope, &mut slopes);
                }
                // The rate falls to nothing: the last steps only settle.
                let rate = network.rate * (1.0 - f64::from(step) / steps as f64);
                adam.step(&mut self.cell.weights, &mut slopes, rate, network.decay);
                step += 1;
            }
        }
    }

    /// The prediction; what was not measured is as usual.
    pub(super) fn value(&self, past: &Past) -> f64 {
        let said = self.cell.forward(&self.standard(&minutes(past)), &mut Tape::default());
        self.scale.0 + self.scale.1 * said
    }

    fn standard(&self, minutes: &Minutes) -> Vec<f64> {
        let each = minutes.iter().flat_map(|minute| minute.iter().zip(&self.usual));
        each.map(|(x, (mean, scale))| {
            let far = (x - mean) / scale;
            // Gates are shut long before; a spike of a thousand deviations says no more than one of 8.
            if far.is_finite() { far.clamp(-8.0, 8.0) } else { 0.0 }
        })
        .collect()
    }

    /// The usual value of each channel.
    pub(super) fn usual(&self) -> Vec<f64> {
        self.usual.iter().map(|(mean, _)| *mean).collect()
    }

    /// Whether a prediction for any past is a number: what came from outside is asked first.
    pub(super) fn is_sound(&self) -> bool {
        let scale =
            |(mean, scale): &(f64, f64)| mean.is_finite() && scale.is_finite() && *scale > 0.0;
        self.usual.len() == CHANNELS
            && self.usual.iter().chain([&self.scale]).all(scale)
            && self.cell.is_sound(CHANNELS)
    }
}

/// Minute after minute; before the first that is known, not a number.
fn minutes(past: &Past) -> Minutes {
    let size = (BUCKET_S / past.step_s.max(1)).max(1) as usize;
    let of = |samples: &[Sample], target: Target| {
        let last = &samples[samples.len().saturating_sub(MINUTES * size)..];
        let known = buckets(last, past.step_s, MINUTES, target);
        let mut all = vec![f64::NAN; MINUTES - known.len().min(MINUTES)];
        all.extend(&known[known.len().saturating_sub(MINUTES)..]);
        all
    };
    let channels = [
        of(past.here, Target::Latency),
        of(past.here, Target::Cpu),
        of(past.there, Target::Latency),
        of(past.there, Target::Cpu),
    ];
    (0..MINUTES).map(|at| std::array::from_fn(|channel| channels[channel][at])).collect()
}

/// The mean, and the deviation or 1 where nothing moves.
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let known: Vec<_> = values.filter(|x| x.is_finite()).collect();
    if known.is_empty() {
        return (0.0, 1.0);
    }
    let mean = crate::features::mean(known.iter().copied());
    let deviation = crate::features::mean(known.iter().map(|x| (x - mean).powi(2))).sqrt();
    (mean, if deviation > 1e-9 * mean.abs().max(1.0) { deviation } else { 1.0 })
}

#[derive(Debug)]
struct Adam {
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Adam {
    fn new(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count], steps: 0 }
    }

    fn step(&mut self, weights: &mut [f64], slopes: &mut [f64], rate: f64, decay: f64) {
        const KEEP: (f64, f64) = (0.9, 0.999);
        let length = slopes.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
        let shorter = (GRADIENT_MAX / length.max(1e-12)).min(1.0);
        self.steps += 1;
        let whole = (1.0 - KEEP.0.powi(self.steps), 1.0 - KEEP.1.powi(self.steps));
        for (at, weight) in weights.iter_mut().enumerate() {
            let slope = slopes[at] * shorter;
            self.first[at] = KEEP.0 * self.first[at] + (1.0 - KEEP.0) * slope;
            self.second[at] = KEEP.1 * self.second[at] + (1.0 - KEEP.1) * slope * slope;
            let step = (self.first[at] / whole.0) / ((self.second[at] / whole.1).sqrt() + 1e-8);
            *weight -= rate * (step + decay * *weight);
        }
    }
}
