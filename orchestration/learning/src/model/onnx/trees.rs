//! Trees as the operator `TreeEnsembleRegressor`: ours are written so, and others' are read, for the
//! runtime has no such operator.

use crate::{
    Error, Result,
    model::{
        Trees, Usual,
        tree::{Branch, Tree},
    },
};
use inference::message::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType};

/// Nodes of all trees.
const NODES_MAX: usize = 4_000_000;

/// The operator's attributes, a column for each property of a node.
#[derive(Debug, Default)]
pub(super) struct Columns {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    figures: Vec<i64>,
    values: Vec<f32>,
    modes: Vec<Vec<u8>>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    weights: Vec<f32>,
}

impl Columns {
    pub(super) fn take(&mut self, id: i64, tree: &Tree, rate: f64) {
        for (at, branch) in tree.branches().enumerate() {
            self.trees.push(id);
            self.nodes.push(at as i64);
            let (figure, value, mode, yes, no) = match branch {
                Branch::Split { figure, highest, left } => {
                    (i64::from(figure), highest as f32, "BRANCH_LEQ", left, left + 1)
                }
                Branch::Leaf { value } => {
                    self.leaf_trees.push(id);
                    self.leaf_nodes.push(at as i64);
                    self.weights.push((rate * value) as f32);
                    (0, 0.0, "LEAF", 0, 0)
                }
            };
            self.figures.push(figure);
            self.values.push(value);
            self.modes.push(mode.into());
            self.yes.push(i64::from(yes));
            self.no.push(i64::from(no));
        }
    }

    pub(super) fn attributes(self, base: f64) -> Vec<AttributeProto> {
        let zeros = vec![0; self.weights.len()];
        // What is no number goes left, as what is low.
        let missing = vec![1; self.nodes.len()];
        vec![
            ints("nodes_treeids", self.trees),
            ints("nodes_nodeids", self.nodes),
            ints("nodes_featureids", self.figures),
            floats("nodes_values", self.values),
            strings("nodes_modes", self.modes),
            ints("nodes_truenodeids", self.yes),
            ints("nodes_falsenodeids", self.no),
            ints("nodes_missing_value_tracks_true", missing),
            ints("target_treeids", self.leaf_trees),
            ints("target_nodeids", self.leaf_nodes),
            ints("target_ids", zeros),
            floats("target_weights", self.weights),
            AttributeProto {
                name: "n_targets".into(),
                r#type: AttributeType::Int.into(),
                i: 1,
                ..AttributeProto::default()
            },
            floats("base_values", vec![base as f32]),
            AttributeProto {
                name: "aggregate_function".into(),
                r#type: AttributeType::String.into(),
                s: b"SUM".to_vec(),
                ..AttributeProto::default()
            },
        ]
    }
}

/// The only operator of a graph, if it is a forest.
pub(super) fn forest(graph: &GraphProto) -> Option<&NodeProto> {
    match &graph.node[..] {
        [node] if node.op_type == "TreeEnsembleRegressor" && node.domain == "ai.onnx.ml" => {
            Some(node)
        }
        _ => None,
    }
}

/// The trees of an operator; `usual` are the usual values of what they see.
///
/// # Errors
/// Columns that do not fit together, nodes that lead nowhere, and what is not known.
pub(super) fn read(node: &NodeProto, usual: Usual) -> Result<Trees> {
    let nodes = Nodes::of(node)?;
    let mut trees = Vec::new();
    let mut rest = 0..nodes.trees.len();
    while !rest.is_empty() {
        let id = nodes.trees[rest.start];
        let end = rest.clone().find(|&at| nodes.trees[at] != id).unwrap_or(rest.end);
        trees.push(nodes.tree(rest.start..end)?);
        rest.start = end;
    }
    let average = matches!(text(node, "aggregate_function"), Some(b"AVERAGE"));
    let rate = if average { 1.0 / trees.len().max(1) as f64 } else { 1.0 };
    let base = list(node, "base_values").map_or(0.0, |it| it.floats.iter().sum::<f32>());
    let trees = Trees::of(f64::from(base), rate, usual, trees);
    match trees.is_sound() {
        true => Ok(trees),
        false => Err(wrong("a node leads nowhere, or asks for a figure that there is not")),
    }
}

struct Nodes<'a> {
    trees: &'a [i64],
    ids: &'a [i64],
    figures: &'a [i64],
    values: &'a [f32],
    modes: Vec<&'a [u8]>,
    yes: &'a [i64],
    no: &'a [i64],
    /// By tree and node, what a leaf says; ascending.
    leaves: Vec<(i64, i64, f32)>,
}

impl<'a> Nodes<'a> {
    fn of(node: &'a NodeProto) -> Result<Self> {
        let ints = |name| list(node, name).map_or(&[][..], |it| &it.ints);
        let floats = |name| list(node, name).map_or(&[][..], |it| &it.floats);
        let modes = list(node, "nodes_modes").map_or(&[][..], |it| &it.strings);
        let (of, at, weights) =
            (ints("target_treeids"), ints("target_nodeids"), floats("target_weights"));
        let mut leaves: Vec<_> =
            of.iter().zip(at).zip(weights).map(|((&of, &at), &weight)| (of, at, weight)).collect();
        leaves.sort_by_key(|&(of, at, _)| (of, at));
        let nodes = Self {
            trees: ints("nodes_treeids"),
            ids: ints("nodes_nodeids"),
            figures: ints("nodes_featureids"),
            values: floats("nodes_values"),
            modes: modes.iter().map(Vec::as_slice).collect(),
            yes: ints("nodes_truenodeids"),
            no: ints("nodes_falsenodeids"),
            leaves,
        };
        let count = nodes.trees.len();
        let lengths = [nodes.ids.len(), nodes.figures.len(), nodes.yes.len(), nodes.no.len()];
        if count > NODES_MAX {
            let what = format!("an ONNX forest of {count} nodes");
            return Err(Error::TooMuch { what, limit: NODES_MAX as u64 });
        }
        let same = lengths.iter().all(|length| *length == count);
        if count == 0 || !same || nodes.values.len() != count || nodes.modes.len() != count {
            return Err(wrong("its columns are of different lengths"));
        }
        if ints("target_ids").iter().any(|id| *id != 0) {
            return Err(wrong("it answers more than one number"));
        }
        let known = [&b"SUM"[..], b"AVERAGE"];
        if text(node, "aggregate_function").is_some_and(|it| !known.contains(&it)) {
            return Err(wrong("answers are neither summed up nor averaged"));
        }
        let changed = text(node, "post_transform");
        match changed.is_none_or(|it| it.is_empty() || it == b"NONE") {
            true => Ok(nodes),
            false => Err(wrong("answers are transformed")),
        }
    }

    /// A tree of these nodes, put in an order in which children stand side by side.
    fn tree(&self, nodes: std::ops::Range<usize>) -> Result<Tree> {
        let mut by_id: Vec<_> = nodes.clone().map(|at| (self.ids[at], at)).collect();
        by_id.sort_unstable();
        let find = |id: i64| {
            let place = by_id.binary_search_by_key(&id, |(id, _)| *id).ok();
            place.map(|place| by_id[place].1).ok_or_else(|| wrong("a child is missing"))
        };
        let mut order = vec![nodes.start];
        let mut branches = Vec::with_capacity(nodes.len());
        while branches.len() < order.len() {
            let at = order[branches.len()];
            let leaf = self.modes[at] == b"LEAF";
            if leaf {
                branches.push(Branch::Leaf { value: self.leaf(self.trees[at], self.ids[at])? });
                continue;
            }
            let highest = match self.modes[at] {
                b"BRANCH_LEQ" => self.values[at],
                b"BRANCH_LT" => self.values[at].next_down(),
                _ => return Err(wrong("a node asks for something else than `<` or `<=`")),
            };
            let figure =
                u32::try_from(self.figures[at]).map_err(|_| wrong("a figure is negative"))?;
            branches.push(Branch::Split {
                figure,
                highest: f64::from(highest),
                left: order.len() as u32,
            });
            order.extend([find(self.yes[at])?, find(self.no[at])?]);
            // Each node has one parent; more are a circle.
            if order.len() > nodes.len() {
                return Err(wrong("a node has several parents"));
            }
        }
        Ok(Tree::of(branches))
    }

    fn leaf(&self, tree: i64, node: i64) -> Result<f64> {
        let place =
            self.leaves.binary_search_by_key(&(tree, node), |&(tree, node, _)| (tree, node));
        let (.., value) =
            place.map(|place| self.leaves[place]).map_err(|_| wrong("a leaf says nothing"))?;
        Ok(f64::from(value))
    }
}

fn list<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|it| it.name == name)
}

fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    list(node, name).map(|it| it.s.as_slice())
}

fn wrong(what: &str) -> Error {
    Error::Unfit(format!("the ONNX file's trees cannot be used: {what}"))
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    let r#type = AttributeType::Ints.into();
    AttributeProto { name: name.into(), r#type, ints, ..AttributeProto::default() }
}

fn floats(name: &str, floats: Vec<f32>) -> AttributeProto {
    let r#type = AttributeType::Floats.into();
    AttributeProto { name: name.into(), r#type, floats, ..AttributeProto::default() }
}

fn strings(name: &str, strings: Vec<Vec<u8>>) -> AttributeProto {
    let r#type = AttributeType::Strings.into();
    AttributeProto { name: name.into(), r#type, strings, ..AttributeProto::default() }
}
