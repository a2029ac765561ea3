//! Regression trees, grown leaf by leaf from histograms.
//!
//! The leaf whose best split lowers the squared error most is split next. Of two children only the
//! smaller one's histogram is counted; the other's is what remains of the parent's.

use super::bins::Bins;
use serde::{Deserialize, Serialize};

/// How trees are grown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Growth {
    /// Leaves of a tree, at most.
    pub leaves: usize,
    /// Rows in a leaf, at least.
    pub leaf_rows: u32,
    /// By how much a leaf's value is pulled to nothing, in rows.
    pub shrink_rows: f64,
    /// Figures that each split looks at, drawn anew for each; all if 0.
    pub figures: usize,
}

impl Default for Growth {
    fn default() -> Self {
        Self { leaves: 31, leaf_rows: 20, shrink_rows: 1.0, figures: 0 }
    }
}

/// A node: a split, or a leaf whose `figure` is [`LEAF`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    figure: u32,
    /// The left child; the right one follows it.
    left: u32,
    /// Of a split, the highest value that goes left; of a leaf, its value.
    value: f64,
}

const LEAF: u32 = u32::MAX;

/// A tree that was grown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tree(Vec<Node>);

impl Tree {
    /// The value of the leaf that a row falls into; what is no number goes left.
    pub(super) fn predict(&self, row: &[f64]) -> f64 {
        let mut at = 0;
        loop {
            let node = self.0[at];
            if node.figure == LEAF {
                return node.value;
            }
            let right = row.get(node.figure as usize).is_some_and(|value| *value > node.value);
            at = node.left as usize + usize::from(right);
        }
    }

    /// Whether it can be walked for rows of so many figures and every walk ends: children stand
    /// behind their parents.
    pub(super) fn is_sound(&self, width: usize) -> bool {
        let sound = |(at, node): (usize, &Node)| {
            let left = node.left as usize;
            let split = (node.figure as usize) < width && left > at && left + 1 < self.0.len();
            if node.figure == LEAF { node.value.is_finite() } else { split && !node.value.is_nan() }
        };
        !self.0.is_empty() && self.0.iter().enumerate().all(sound)
    }
}

/// Sum and number of the rows of a bin.
type Bar = (f64, u32);

#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    figure: usize,
    /// The last bin that goes left.
    bin: usize,
}

/// A leaf that may be split.
#[derive(Debug)]
struct Leaf {
    node: usize,
    /// Its rows: a stretch of `Grower::rows`.
    from: usize,
    to: usize,
    sum: f64,
    bars: Vec<Bar>,
    best: Option<Split>,
}

/// Grows one tree after another over the same rows.
#[derive(Debug)]
pub(super) struct Grower<'a> {
    bins: &'a Bins,
    growth: Growth,
    /// Where each figure's bars begin.
    starts: Vec<usize>,
    rows: Vec<u32>,
    spare: Vec<u32>,
    draw: Draw,
}

/// Numbers that look random, the same for the same seed: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

impl<'a> Grower<'a> {
    pub(super) fn new(bins: &'a Bins, growth: Growth, seed: u64) -> Self {
        let mut starts = vec![0];
        for figure in 0..bins.width() {
            starts.push(starts[figure] + bins.count(figure));
        }
        Self { bins, growth, starts, rows: Vec::new(), spare: Vec::new(), draw: Draw(seed) }
    }

    /// A tree for these rows, which may come more than once, and a value for each row.
    pub(super) fn grow(&mut self, rows: &[u32], values: &[f64]) -> Tree {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.spare.resize(rows.len(), 0);
        let mut nodes = vec![Node { figure: LEAF, left: 0, value: 0.0 }];
        let bars = self.count(0, rows.len(), values);
        let sum = rows.iter().map(|&row| values[row as usize]).sum();
        let root = Leaf { node: 0, from: 0, to: rows.len(), sum, bars, best: None };
        let mut leaves = vec![self.weighed(root)];
        nodes[0].value = self.value(&leaves[0]);
        while leaves.len() < self.growth.leaves {
            let gain = |leaf: &Leaf| leaf.best.map_or(0.0, |split| split.gain);
            let order = |one: &(usize, &Leaf), other: &(usize, &Leaf)| {
                gain(one.1).total_cmp(&gain(other.1)).then(other.0.cmp(&one.0))
            };
            let Some((at, _)) = leaves.iter().enumerate().max_by(order) else { break };
            let Some(split) = leaves[at].best else { break };
            let leaf = leaves.swap_remove(at);
            let [left, right] = self.split(leaf, split, values, &mut nodes);
            leaves.extend([left, right]);
        }
        Tree(nodes)
    }

    fn value(&self, leaf: &Leaf) -> f64 {
        leaf.sum / ((leaf.to - leaf.from) as f64 + self.growth.shrink_rows)
    }

    fn split(
        &mut self,
        leaf: Leaf,
        split: Split,
        values: &[f64],
        nodes: &mut Vec<Node>,
    ) -> [Leaf; 2] {
        let middle = self.part(&leaf, split);
        let first = nodes.len();
        nodes[leaf.node] = Node {
            figure: split.figure as u32,
            left: first as u32,
            value: self.bins.highest(split.figure, split.bin),
        };
        let left_smaller = middle - leaf.from <= leaf.to - middle;
        let (from, to) = if left_smaller { (leaf.from, middle) } else { (middle, leaf.to) };
        let small = self.count(from, to, values);
        let small_sum: f64 = self.rows[from..to].iter().map(|&row| values[row as usize]).sum();
        let mut large = leaf.bars;
        for (bar, (sum, count)) in large.iter_mut().zip(&small) {
            bar.0 -= sum;
            bar.1 -= count;
        }
        let large_sum = leaf.sum - small_sum;
        let halves = if left_smaller {
            [(leaf.from, middle, small_sum, small), (middle, leaf.to, large_sum, large)]
        } else {
            [(leaf.from, middle, large_sum, large), (middle, leaf.to, small_sum, small)]
        };
        let mut node = first;
        halves.map(|(from, to, sum, bars)| {
            let child = self.weighed(Leaf { node, from, to, sum, bars, best: None });
            nodes.push(Node { figure: LEAF, left: 0, value: self.value(&child) });
            node += 1;
            child
        })
    }

    /// Puts a leaf's rows that go left before the others, in their order; answers where the
    /// others begin.
    fn part(&mut self, leaf: &Leaf, split: Split) -> usize {
        let bins = self.bins.of(split.figure);
        let (mut kept, mut moved) = (leaf.from, 0);
        for at in leaf.from..leaf.to {
            let row = self.rows[at];
            if usize::from(bins[row as usize]) <= split.bin {
                self.rows[kept] = row;
                kept += 1;
            } else {
                self.spare[moved] = row;
                moved += 1;
            }
        }
        self.rows[kept..leaf.to].copy_from_slice(&self.spare[..moved]);
        kept
    }

    /// The histograms of all figures over a stretch of rows.
    fn count(&self, from: usize, to: usize, values: &[f64]) -> Vec<Bar> {
        let mut bars = vec![(0.0, 0); self.starts[self.bins.width()]];
        let rows = &self.rows[from..to];
        for figure in 0..self.bins.width() {
            let bins = self.bins.of(figure);
            let bars = &mut bars[self.starts[figure]..self.starts[figure + 1]];
            for &row in rows {
                let bar = &mut bars[usize::from(bins[row as usize])];
                bar.0 += values[row as usize];
                bar.1 += 1;
            }
        }
        bars
    }

    fn weighed(&mut self, mut leaf: Leaf) -> Leaf {
        let rows = (leaf.to - leaf.from) as u32;
        if rows >= 2 * self.growth.leaf_rows.max(1) {
            let width = self.bins.width();
            let some = self.growth.figures;
            leaf.best = if some == 0 || some >= width {
                self.best(&leaf, 0..width)
            } else {
                let drawn: Vec<_> = (0..some).map(|_| self.draw.below(width)).collect();
                self.best(&leaf, drawn.into_iter())
            };
        }
        leaf
    }

    fn best(&self, leaf: &Leaf, figures: impl Iterator<Item = usize>) -> Option<Split> {
        let rows = (leaf.to - leaf.from) as u32;
        let least = self.growth.leaf_rows.max(1);
        let score = |sum: f64, count: u32| sum * sum / (f64::from(count) + self.growth.shrink_rows);
        let whole = score(leaf.sum, rows);
        // What rounding makes of a leaf of equal values is no gain.
        let mut best = Split { gain: 1e-12 * whole.max(1e-300), figure: 0, bin: 0 };
        let mut found = false;
        for figure in figures {
            let bars = &leaf.bars[self.starts[figure]..self.starts[figure + 1]];
            let (mut sum, mut count) = (0.0, 0);
            for (bin, bar) in bars[..bars.len() - 1].iter().enumerate() {
                sum += bar.0;
                count += bar.1;
                if count < least || bar.1 == 0 {
                    continue;
                }
                if rows - count < least {
                    break;
                }
                let gain = score(sum, count) + score(leaf.sum - sum, rows - count) - whole;
                if gain > best.gain {
                    best = Split { gain, figure, bin };
                    found = true;
                }
            }
        }
        found.then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_leads_nowhere_is_not_sound() {
        let leaf = Node { figure: LEAF, left: 0, value: 1.0 };
        let split = Node { figure: 0, left: 1, value: 0.5 };
        let sound = |root: Node| Tree(vec![root, leaf, leaf]).is_sound(1);

        assert!(sound(split));
        assert!(sound(Node { value: f64::NEG_INFINITY, ..split }));
        assert!(!sound(Node { left: 0, ..split }));
        assert!(!sound(Node { left: 2, ..split }));
        assert!(!sound(Node { figure: 1, ..split }));
        assert!(!sound(Node { value: f64::NAN, ..split }));
        assert!(!Tree(Vec::new()).is_sound(1));
        assert!(!Tree(vec![Node { value: f64::INFINITY, ..leaf }]).is_sound(1));
    }
}
