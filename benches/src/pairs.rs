//! Two things measured in turns, so that what disturbs one disturbs the other.

use crate::{
    report::{Goal, Met, Row},
    stats,
};

/// Fewer pairs judge nothing.
pub(crate) const PAIRS_MIN: usize = 30;

/// How far apart identical things may seem.
const CONTROL: Goal = Goal::Within(0.98, 1.02);

/// What is measured next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What the promise is about.
    Ours,
    /// What it is compared with.
    Peer,
    /// A second, identical copy of one of them.
    Control,
}

/// Measurements in turns.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    ours: Vec<f64>,
    peer: Vec<f64>,
    control: Vec<f64>,
    /// The control is a copy of ours, not of the peer.
    control_of_ours: bool,
}

impl Pairs {
    /// Measures so many pairs and a control that is a copy of the peer. The order changes from
    /// pair to pair, so that none always comes first.
    ///
    /// # Errors
    /// What measuring failed with.
    pub fn measure(
        count: usize,
        mut measure: impl FnMut(Side) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        use Side::{Control, Ours, Peer};
        const ORDERS: [[Side; 3]; 6] = [
            [Ours, Peer, Control],
            [Control, Peer, Ours],
            [Peer, Control, Ours],
            [Ours, Control, Peer],
            [Control, Ours, Peer],
            [Peer, Ours, Control],
        ];
        let mut pairs = Self::default();
        for order in ORDERS.iter().cycle().take(count) {
            for side in order {
                let value = measure(*side)?;
                match side {
                    Ours => pairs.ours.push(value),
                    Peer => pairs.peer.push(value),
                    Control => pairs.control.push(value),
                }
            }
        }
        Ok(pairs)
    }

    /// The same pairs, whose control was a copy of ours.
    #[must_use]
    pub fn with_control_of_ours(mut self) -> Self {
        self.control_of_ours = true;
        self
    }

    /// The median of ours and of the peer.
    pub fn medians(&self) -> (f64, f64) {
        (stats::median(&self.ours), stats::median(&self.peer))
    }

    /// Per pair, how ours compares: ours to peer, or peer to ours for a goal of at least.
    pub(crate) fn ratios(&self, goal: Goal) -> Vec<f64> {
        let both = self.ours.iter().zip(&self.peer);
        match goal {
            Goal::AtLeast(_) => both.map(|(ours, peer)| peer / ours).collect(),
            _ => both.map(|(ours, peer)| ours / peer).collect(),
        }
    }

    /// How the control compares with what it is a copy of.
    pub(crate) fn control(&self) -> f64 {
        let original = if self.control_of_ours { &self.ours } else { &self.peer };
        let ratios: Vec<f64> =
            self.control.iter().zip(original).map(|(copy, original)| copy / original).collect();
        stats::median(&ratios)
    }

    /// Whether enough was measured, on a machine quiet enough.
    pub(crate) fn is_conclusive(&self) -> bool {
        self.ours.len() >= PAIRS_MIN && CONTROL.keeps(self.control())
    }

    /// The row of several things' geometric mean, pair by pair.
    pub fn mean_row(all: &[Self], name: &str, peer: &str, goal: Goal) -> Row {
        let ratios: Vec<Vec<f64>> = all.iter().map(|pairs| pairs.ratios(goal)).collect();
        let count = ratios.iter().map(Vec::len).min().unwrap_or_default();
        let means: Vec<f64> = (0..count)
            .map(|at| {
                let logs: f64 = ratios.iter().map(|ratios| ratios[at].ln()).sum();
                (logs / ratios.len() as f64).exp()
            })
            .collect();
        let bound = goal.worse(stats::median_bounds(&means));
        let mut row = Row::value(name, "ratio", stats::median(&means), goal);
        row.ratio = row.value;
        row.peer = Some(peer.into());
        row.met = match (all.iter().all(Self::is_conclusive), goal.keeps(bound)) {
            (false, _) => Met::Inconclusive,
            (true, true) => Met::Yes,
            (true, false) => Met::No,
        };
        row.with_note(format!("95 % bound {bound:.3}, geometric mean of {} kernels", all.len()))
    }

    /// The row, judged on the worse 95 % bound of the ratio's median, and its control.
    pub fn rows(&self, name: &str, unit: &str, peer: &str, goal: Goal) -> [Row; 2] {
        let (ours, theirs) = self.medians();
        let ratios = self.ratios(goal);
        let bound = goal.worse(stats::median_bounds(&ratios));
        let mut row = Row::value(name, unit, ours, goal).beside(peer, theirs);
        row.ratio = Some(stats::median(&ratios)).filter(|ratio| ratio.is_finite());
        row.met = match (self.is_conclusive(), goal.keeps(bound)) {
            (false, _) => Met::Inconclusive,
            (true, true) => Met::Yes,
            (true, false) => Met::No,
        };
        row.note = format!("95 % bound {bound:.3}, {} pairs", ratios.len());
        let control = Row::value(&format!("{name}-control"), "ratio", self.control(), CONTROL)
            .with_note("identical binaries");
        [row, control]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(count: usize, ours: f64, control: f64) -> Pairs {
        let mut n = 0.0;
        Pairs::measure(count, |side| {
            n += 1.0;
            let noise = 1.0 + (n % 7.0) / 1000.0;
            Ok(noise
                * match side {
                    Side::Ours => ours,
                    Side::Peer => 1.0,
                    Side::Control => control,
                })
        })
        .unwrap()
    }

    #[test]
    fn a_ratio_is_judged_by_its_bound() {
        let [row, control] = pairs(30, 1.4, 1.0).rows("a/b", "us", "peer", Goal::AtMost(1.5));
        assert_eq!((row.met, control.met), (Met::Yes, Met::Yes));
        assert_eq!(control.name, "a/b-control");
        let [row, _] = pairs(30, 1.499, 1.0).rows("a/b", "us", "peer", Goal::AtMost(1.499));
        assert_eq!(row.met, Met::No, "the median may keep it, the bound does not");
        let [row, _] = pairs(30, 0.001, 1.0).rows("a/b", "us", "peer", Goal::AtLeast(900.0));
        assert_eq!(row.met, Met::Yes);
        assert!((row.ratio.unwrap() - 1000.0).abs() < 10.0);
    }

    #[test]
    fn noise_and_too_few_pairs_are_inconclusive() {
        let [row, control] = pairs(30, 1.0, 1.1).rows("a/b", "us", "peer", Goal::AtMost(1.5));
        assert_eq!((row.met, control.met), (Met::Inconclusive, Met::No));
        let [row, _] = pairs(29, 1.0, 1.0).rows("a/b", "us", "peer", Goal::AtMost(1.5));
        assert_eq!(row.met, Met::Inconclusive);
    }
}
