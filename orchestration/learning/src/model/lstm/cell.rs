//! The network itself: its weights, what it says, and how that changes with them.

use crate::model::Draw;
use serde::{Deserialize, Serialize};

/// The weights of one layer and its read-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    inputs: usize,
    units: usize,
    /// For each gate (in, forget, new, out) and unit a row of weights of inputs, units and 1; then
    /// the read-out's, one for each unit and 1.
    pub(super) weights: Vec<f64>,
}

/// What was computed at each step: four gates, the memory and the state, for each unit.
#[derive(Debug, Default)]
pub(super) struct Tape {
    gates: Vec<f64>,
    memory: Vec<f64>,
    state: Vec<f64>,
}

impl Cell {
    pub(super) fn new(inputs: usize, units: usize, draw: &mut Draw) -> Self {
        let width = inputs + units + 1;
        let reach = 1.0 / (units as f64).sqrt();
        let mut weight = || (draw.below(1 << 30) as f64 / f64::from(1 << 29) - 1.0) * reach;
        let mut weights: Vec<_> = (0..4 * units * width + units + 1).map(|_| weight()).collect();
        // It begins by remembering.
        (units..2 * units).for_each(|row| weights[row * width + width - 1] = 1.0);
        weights[4 * units * width + units] = 0.0;
        Self { inputs, units, weights }
    }

    fn width(&self) -> usize {
        self.inputs + self.units + 1
    }

    pub(super) fn is_sound(&self, inputs: usize) -> bool {
        self.inputs == inputs
            && (1..=64).contains(&self.units)
            && self.weights.len() == 4 * self.units * self.width() + self.units + 1
            // A sum of 64 of them is far from infinite.
            && self.weights.iter().all(|weight| weight.abs() < 1e100)
    }

    /// What it says at the end of a sequence.
    pub(super) fn forward(&self, sequence: &[f64], tape: &mut Tape) -> f64 {
        let (units, width) = (self.units, self.width());
        let steps = sequence.len() / self.inputs;
        tape.gates.resize(steps * 4 * units, 0.0);
        tape.memory.resize(steps * units, 0.0);
        tape.state.resize(steps * units, 0.0);
        let none = vec![0.0; units];
        for (step, input) in sequence.chunks_exact(self.inputs).enumerate() {
            let (before, state) = tape.state.split_at_mut(step * units);
            let before = if step == 0 { &none } else { &before[(step - 1) * units..] };
            let gates = &mut tape.gates[step * 4 * units..][..4 * units];
            for (row, gate) in gates.iter_mut().enumerate() {
                let weights = &self.weights[row * width..][..width];
                let (of_input, of_state) = weights.split_at(self.inputs);
                let sum =
                    dot(of_input, input) + dot(&of_state[..units], before) + weights[width - 1];
                let new = row / units == 2;
                *gate = if new { sum.tanh() } else { 1.0 / (1.0 + (-sum).exp()) };
            }
            for unit in 0..units {
                let last = if step == 0 { 0.0 } else { tape.memory[(step - 1) * units + unit] };
                let [enter, keep, new, out] = [0, 1, 2, 3].map(|gate| gates[gate * units + unit]);
                let memory = keep * last + enter * new;
                tape.memory[step * units + unit] = memory;
                state[unit] = out * memory.tanh();
            }
        }
        let read = &self.weights[4 * units * width..];
        let last = if steps == 0 { &none[..] } else { &tape.state[(steps - 1) * units..] };
        dot(&read[..units], &last[..units]) + read[units]
    }

    /// Adds to `slopes` how `slope` times what was said changes with each weight.
    pub(super) fn backward(&self, sequence: &[f64], tape: &Tape, slope: f64, slopes: &mut [f64]) {
        let (units, width) = (self.units, self.width());
        let steps = sequence.len() / self.inputs;
        if steps == 0 {
            return;
        }
        let read = 4 * units * width;
        let last = &tape.state[(steps - 1) * units..];
        (0..units).for_each(|unit| slopes[read + unit] += slope * last[unit]);
        slopes[read + units] += slope;
        let mut of_state: Vec<_> =
            (0..units).map(|unit| slope * self.weights[read + unit]).collect();
        let mut of_memory = vec![0.0; units];
        let none = vec![0.0; units];
        let mut sums = vec![0.0; 4 * units];
        for step in (0..steps).rev() {
            let gates = &tape.gates[step * 4 * units..][..4 * units];
            for unit in 0..units {
                let [enter, keep, new, out] = [0, 1, 2, 3].map(|gate| gates[gate * units + unit]);
                let memory = tape.memory[step * units + unit].tanh();
                let before = if step == 0 { 0.0 } else { tape.memory[(step - 1) * units + unit] };
                let of = of_memory[unit] + of_state[unit] * out * (1.0 - memory * memory);
                sums[unit] = of * new * enter * (1.0 - enter);
                sums[units + unit] = of * before * keep * (1.0 - keep);
                sums[2 * units + unit] = of * enter * (1.0 - new * new);
                sums[3 * units + unit] = of_state[unit] * memory * out * (1.0 - out);
                of_memory[unit] = of * keep;
            }
            let input = &sequence[step * self.inputs..][..self.inputs];
            let before = if step == 0 { &none[..] } else { &tape.state[(step - 1) * units..] };
            of_state.fill(0.0);
            for (row, &sum) in sums.iter().enumerate() {
                let weights = &self.weights[row * width..][..width];
                let slopes = &mut slopes[row * width..][..width];
                let (of_input, rest) = slopes.split_at_mut(self.inputs);
                add(of_input, input, sum);
                add(&mut rest[..units], &before[..units], sum);
                rest[units] += sum;
                add(&mut of_state, &weights[self.inputs..width - 1], sum);
            }
        }
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

fn add(to: &mut [f64], each: &[f64], times: f64) {
    to.iter_mut().zip(each).for_each(|(sum, x)| *sum += times * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slopes are those that differences of what it says have.
    #[test]
    fn slopes_are_those_of_what_is_said() {
        let mut draw = Draw(5);
        let mut cell = Cell::new(3, 4, &mut draw);
        let sequence: Vec<_> = (0..15).map(|at| f64::from(at * 7 % 11) / 5.0 - 1.0).collect();
        let mut tape = Tape::default();
        let mut slopes = vec![0.0; cell.weights.len()];
        cell.forward(&sequence, &mut tape);
        cell.backward(&sequence, &tape, 1.0, &mut slopes);

        for (at, expected) in slopes.iter().enumerate() {
            let kept = cell.weights[at];
            let mut said = |by: f64| {
                cell.weights[at] = kept + by;
                cell.forward(&sequence, &mut Tape::default())
            };
            let slope = (said(1e-5) - said(-1e-5)) / 2e-5;
            cell.weights[at] = kept;
            assert!((slope - expected).abs() < 1e-6, "{at}: {slope} {expected}");
        }
    }
}
