//! Regression trees: what they are, and how they are asked.

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

/// A node as others see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Branch {
    /// Rows whose figure is at most `highest` go to `left`, others to the node behind it.
    Split { figure: u32, highest: f64, left: u32 },
    /// What is said of a row that comes here.
    Leaf { value: f64 },
}

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

    /// A tree of these nodes, each pair of children side by side behind its parent.
    pub(super) fn of(branches: impl IntoIterator<Item = Branch>) -> Self {
        let node = |branch: Branch| match branch {
            Branch::Split { figure, highest, left } => Node { figure, left, value: highest },
            Branch::Leaf { value } => Node { figure: LEAF, left: 0, value },
        };
        Self(branches.into_iter().map(node).collect())
    }

    /// Its nodes.
    pub(super) fn branches(&self) -> impl Iterator<Item = Branch> {
        self.0.iter().map(|node| match node.figure {
            LEAF => Branch::Leaf { value: node.value },
            figure => Branch::Split { figure, highest: node.value, left: node.left },
        })
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
