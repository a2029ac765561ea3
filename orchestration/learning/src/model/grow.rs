//! How trees are grown: leaf by leaf, from histograms.
//!
//! The leaf whose best split lowers the squared error most is split next. Where all figures are
//! looked at, only the smaller of two children is counted; the other's histogram is what remains of
//! the parent's. Where some are drawn for each split, these alone are counted.
//!
//! Values are counted as whole numbers, as in Y. Shi et al., "Quantized Training of Gradient Boosting
//! Decision Trees", NeurIPS 2022, with 20 bits: sums are exact whatever their order, and one addition
//! counts a row and its value.

use super::{
    bins::Bins,
    tree::{Branch, Draw, Growth, Tree},
};

/// Where the number of rows begins in a sum.
const COUNT_BITS: u32 = 40;
/// No value has more bits.
const VALUE_BITS: u32 = 20;
/// Rows that can be counted, with as many bits for their number as for their sum.
pub(super) const ROWS_MAX: usize = (1 << 24) - 1;
/// With so few rows, sorting them is less work than clearing and reading a histogram.
const FEW: usize = 48;
/// One sum for each bin.
const BARS: usize = 256;

/// Values as whole numbers from 0, each with its weight in the upper bits.
#[derive(Debug, Default)]
pub(super) struct Counted {
    least: f64,
    unit: f64,
    each: Vec<u64>,
}

impl Counted {
    /// Takes finite values; `weight` says how often each is counted.
    pub(super) fn set(&mut self, values: &[f64], weight: impl Fn(usize) -> u32) {
        let (least, most) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
        let bits =
            VALUE_BITS.min(COUNT_BITS - (values.len() as u64 + 1).next_power_of_two().ilog2());
        let steps = ((1_u64 << bits) - 1) as f64;
        let unit = if most > least { (most / steps) - (least / steps) } else { 1.0 };
        (self.least, self.unit) = (least, unit);
        self.each.clear();
        let turned = 1.0 / unit;
        self.each.extend(values.iter().enumerate().map(|(at, x)| {
            let whole = ((x - least) * turned + 0.5) as u64;
            ((1 << COUNT_BITS) | whole.min((1 << bits) - 1)) * u64::from(weight(at))
        }));
    }

    /// Number of rows, and the sum of their values.
    fn read(&self, sum: u64) -> (f64, f64) {
        let (count, whole) = parted(sum);
        (count, count * self.least + whole * self.unit)
    }
}

fn parted(sum: u64) -> (f64, f64) {
    ((sum >> COUNT_BITS) as f64, (sum & ((1 << COUNT_BITS) - 1)) as f64)
}

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
    sum: u64,
    /// The histograms of all figures, if all are looked at.
    bars: Vec<[u64; BARS]>,
    best: Option<Split>,
}

/// Grows one tree after another over the same rows.
#[derive(Debug)]
pub(super) struct Grower<'a> {
    bins: &'a Bins,
    growth: Growth,
    rows: Vec<u32>,
    spare: Vec<u32>,
    /// Of leaves that were split, to be used again.
    pool: Vec<Vec<[u64; BARS]>>,
    /// The values of the rows of the leaf that is counted, in their order.
    packed: Vec<u64>,
    draw: Draw,
    drawn: Vec<usize>,
    /// Of the last tree: its leaves' rows and values.
    done: Vec<(usize, usize, f64)>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(bins: &'a Bins, growth: Growth, seed: u64) -> Self {
        Self {
            bins,
            growth,
            rows: Vec::new(),
            spare: Vec::new(),
            pool: Vec::new(),
            packed: Vec::new(),
            draw: Draw(seed),
            drawn: (0..bins.width()).collect(),
            done: Vec::new(),
        }
    }

    /// A tree for these rows, which come once, with a value for each row of all.
    pub(super) fn grow(&mut self, rows: &[u32], values: &Counted) -> Tree {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.spare.resize(rows.len(), 0);
        let mut nodes = vec![Branch::Leaf { value: 0.0 }];
        let sum = rows.iter().map(|&row| values.each[row as usize]).sum();
        let mut root = Leaf { node: 0, from: 0, to: rows.len(), sum, bars: Vec::new(), best: None };
        if !self.draws() {
            root.bars = self.counted(0, rows.len(), values);
        }
        self.weigh(&mut root, values);
        let mut leaves = vec![root];
        while leaves.len() < self.growth.leaves {
            let gain = |leaf: &Leaf| leaf.best.map_or(0.0, |split| split.gain);
            let order = |one: &(usize, &Leaf), other: &(usize, &Leaf)| {
                gain(one.1).total_cmp(&gain(other.1)).then(other.0.cmp(&one.0))
            };
            let Some((at, _)) = leaves.iter().enumerate().max_by(order) else { break };
            let Some(split) = leaves[at].best else { break };
            let leaf = leaves.swap_remove(at);
            leaves.extend(self.split(leaf, split, values, &mut nodes));
        }
        self.done.clear();
        for leaf in leaves {
            let value = self.value(leaf.sum, values);
            nodes[leaf.node] = Branch::Leaf { value };
            self.done.push((leaf.from, leaf.to, value));
            self.recycle(leaf.bars);
        }
        Tree::of(nodes)
    }

    /// The leaves of the last tree: which rows, and what is said of them.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (&[u32], f64)> {
        self.done.iter().map(|&(from, to, value)| (&self.rows[from..to], value))
    }

    /// Whether figures are drawn for each split.
    fn draws(&self) -> bool {
        self.growth.figures != 0 && self.growth.figures < self.bins.width()
    }

    fn recycle(&mut self, bars: Vec<[u64; BARS]>) {
        if !bars.is_empty() {
            self.pool.push(bars);
        }
    }

    fn value(&self, sum: u64, values: &Counted) -> f64 {
        let (count, sum) = values.read(sum);
        sum / (count + self.growth.shrink_rows)
    }

    fn split(
        &mut self,
        leaf: Leaf,
        split: Split,
        values: &Counted,
        nodes: &mut Vec<Branch>,
    ) -> [Leaf; 2] {
        let middle = self.part(&leaf, split);
        let first = nodes.len();
        nodes[leaf.node] = Branch::Split {
            figure: split.figure as u32,
            highest: self.bins.highest(split.figure, split.bin),
            left: first as u32,
        };
        nodes.extend([Branch::Leaf { value: 0.0 }; 2]);
        let child = |node: usize, from: usize, to: usize| Leaf {
            node,
            from,
            to,
            sum: 0,
            bars: Vec::new(),
            best: None,
        };
        let mut halves = [child(first, leaf.from, middle), child(first + 1, middle, leaf.to)];
        let small = usize::from(halves[0].to - halves[0].from > halves[1].to - halves[1].from);
        let rows = &self.rows[halves[small].from..halves[small].to];
        halves[small].sum = rows.iter().map(|&row| values.each[row as usize]).sum();
        halves[1 - small].sum = leaf.sum - halves[small].sum;
        if !self.draws() {
            let last = nodes.len() > 2 * self.growth.leaves.saturating_sub(1);
            // The last split's children are never split.
            if last {
                self.recycle(leaf.bars);
                return halves;
            }
            let bars = self.counted(halves[small].from, halves[small].to, values);
            let mut rest = leaf.bars;
            for (figure, (large, small)) in rest.iter_mut().zip(&bars).enumerate() {
                let count = self.bins.count(figure);
                large[..count].iter_mut().zip(&small[..count]).for_each(|(all, part)| *all -= part);
            }
            halves[small].bars = bars;
            halves[1 - small].bars = rest;
        }
        halves.iter_mut().for_each(|leaf| self.weigh(leaf, values));
        halves
    }

    /// Puts a leaf's rows that go left before the others, in their order; answers where the
    /// others begin.
    fn part(&mut self, leaf: &Leaf, split: Split) -> usize {
        let bins = self.bins.of(split.figure);
        let (mut kept, mut moved) = (leaf.from, 0);
        for at in leaf.from..leaf.to {
            let row = self.rows[at];
            let left = usize::from(bins[row as usize]) <= split.bin;
            // Both are written, and one is kept: no branch to be guessed wrong.
            self.rows[kept] = row;
            self.spare[moved] = row;
            kept += usize::from(left);
            moved += usize::from(!left);
        }
        self.rows[kept..leaf.to].copy_from_slice(&self.spare[..moved]);
        kept
    }

    /// The histograms of all figures over a stretch of rows.
    fn counted(&mut self, from: usize, to: usize, values: &Counted) -> Vec<[u64; BARS]> {
        let width = self.bins.width();
        let mut bars = self.pool.pop().unwrap_or_else(|| vec![[0; BARS]; width]);
        let rows = &self.rows[from..to];
        self.packed.clear();
        self.packed.extend(rows.iter().map(|&row| values.each[row as usize]));
        let all = rows.len() == self.bins.rows();
        for (figure, bars) in bars.iter_mut().enumerate() {
            bars[..self.bins.count(figure)].fill(0);
            let bins = self.bins.of(figure);
            if all {
                // Rows in their own order, as the root has them.
                bins.iter().zip(&values.each).for_each(|(bin, x)| bars[usize::from(*bin)] += x);
            } else {
                for (&row, x) in rows.iter().zip(&self.packed) {
                    bars[usize::from(bins[row as usize])] += x;
                }
            }
        }
        bars
    }

    /// Finds a leaf's best split.
    fn weigh(&mut self, leaf: &mut Leaf, values: &Counted) {
        let (count, sum) = values.read(leaf.sum);
        let least = f64::from(self.growth.leaf_rows.max(1));
        if count < 2.0 * least {
            return;
        }
        let shrink = self.growth.shrink_rows;
        // What rounding makes of a leaf of equal values is no gain.
        let whole = sum * sum / (count + shrink);
        let mut search =
            Search { least, shrink, count, sum, values, best: 1e-9 * whole.max(1e-300) };
        if !self.draws() {
            for figure in 0..self.bins.width() {
                let bars = &leaf.bars[figure][..self.bins.count(figure)];
                if let Some((gain, bin)) = search.bars(bars) {
                    leaf.best = Some(Split { gain, figure, bin });
                }
            }
            return;
        }
        let width = self.drawn.len();
        let mut bars = [0; BARS];
        for place in 0..self.growth.figures {
            // Each figure once: the drawn ones are put in front.
            let other = place + self.draw.below(width - place);
            self.drawn.swap(place, other);
            let figure = self.drawn[place];
            let rows = &self.rows[leaf.from..leaf.to];
            let bins = self.bins.of(figure);
            let found = if rows.len() <= FEW {
                search.few(rows, bins)
            } else {
                let bars = &mut bars[..self.bins.count(figure)];
                bars.fill(0);
                let each = &values.each;
                rows.iter().for_each(|&row| {
                    bars[usize::from(bins[row as usize])] += each[row as usize];
                });
                search.bars(bars)
            };
            if let Some((gain, bin)) = found {
                leaf.best = Some(Split { gain, figure, bin });
            }
        }
    }
}

/// Looks for a split that is better than the best so far.
struct Search<'a> {
    least: f64,
    shrink: f64,
    count: f64,
    sum: f64,
    values: &'a Counted,
    best: f64,
}

impl Search<'_> {
    /// Over a histogram; answers gain and bin.
    fn bars(&mut self, bars: &[u64]) -> Option<(f64, usize)> {
        let mut left = 0;
        let mut found = None;
        for (bin, &bar) in bars[..bars.len() - 1].iter().enumerate() {
            if bar == 0 {
                continue;
            }
            left += bar;
            match self.gain(left) {
                Gain::Over => break,
                Gain::Better(gain) => found = Some((gain, bin)),
                Gain::None => {}
            }
        }
        found
    }

    /// Over a few rows.
    fn few(&mut self, rows: &[u32], bins: &[u8]) -> Option<(f64, usize)> {
        // Above the number of rows there is room for the bin.
        const BIN_BITS: u32 = 56;
        let mut sorted = [0_u64; FEW];
        let sorted = &mut sorted[..rows.len()];
        for (key, &row) in sorted.iter_mut().zip(rows) {
            *key = (u64::from(bins[row as usize]) << BIN_BITS) | self.values.each[row as usize];
        }
        sorted.sort_unstable();
        let mut left = 0;
        let mut found = None;
        for pair in sorted.windows(2) {
            left += pair[0] & ((1 << BIN_BITS) - 1);
            if pair[0] >> BIN_BITS == pair[1] >> BIN_BITS {
                continue;
            }
            match self.gain(left) {
                Gain::Over => break,
                Gain::Better(gain) => found = Some((gain, (pair[0] >> BIN_BITS) as usize)),
                Gain::None => {}
            }
        }
        found
    }

    fn gain(&mut self, left: u64) -> Gain {
        let (count, sum) = self.values.read(left);
        let (rest, others) = (self.count - count, self.sum - sum);
        if rest < self.least {
            return Gain::Over;
        }
        if count < self.least {
            return Gain::None;
        }
        let (one, other) = (count + self.shrink, rest + self.shrink);
        // Both scores with one division.
        let split = (sum * sum * other + others * others * one) / (one * other);
        let gain = split - self.sum * self.sum / (self.count + self.shrink);
        if gain > self.best {
            self.best = gain;
            return Gain::Better(gain);
        }
        Gain::None
    }
}

enum Gain {
    /// Too few rows are left, here and further on.
    Over,
    Better(f64),
    None,
}
