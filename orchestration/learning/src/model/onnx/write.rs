//! Our models as ONNX files.
//!
//! A regression becomes sums of products, trees a `TreeEnsembleRegressor`. Files take figures that are
//! numbers: what was not measured is given as its usual value. Numbers are of 32 bits there, so
//! that answers differ in their seventh digit.

use crate::model::{Fitted, Model, Polynomial, Ridge, Trees};
use inference::{
    message::{GraphProto, NodeProto, TensorProto},
    write::{self, file, floats, node, setting, value},
};

/// What the row is called in a file, and the answer.
pub(crate) const INPUT: &str = "row";
pub(crate) const OUTPUT: &str = "prediction";

/// A model that can be told as an ONNX file.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Exported<'a>(pub(in crate::model) &'a Fitted);

impl Exported<'_> {
    /// The file, with texts about it; one that was read is as it was.
    pub(in crate::model) fn file(&self, about: &[(String, String)]) -> Vec<u8> {
        let graph = match self.0 {
            Fitted::Ridge(model) => ridge(model),
            Fitted::Polynomial(model) => polynomial(model),
            Fitted::Trees(model) => trees(model),
            Fitted::Onnx(model) => return model.file().to_vec(),
        };
        file(graph, about)
    }
}

fn ridge(model: &Ridge) -> GraphProto {
    let (base, weights) = model.line();
    let width = weights.len();
    let gemm = node("Gemm", &[INPUT, "weights", "base"], OUTPUT);
    let constants = vec![floats("weights", &[width, 1], weights), floats("base", &[1], &[base])];
    graph(width, vec![gemm], constants)
}

/// Standardised and cut; the products of pairs, whose factors two matrices of ones pick; a line.
fn polynomial(model: &Polynomial) -> GraphProto {
    let (usual, deviations, crossed, far) = model.parts();
    let width = usual.len();
    let pairs: Vec<_> = crossed
        .iter()
        .enumerate()
        .flat_map(|(at, &one)| crossed[at..].iter().map(move |&other| (one, other)))
        .collect();
    let picks = |of: &dyn Fn(&(u32, u32)) -> u32| {
        let mut matrix = vec![0.0; width * pairs.len()];
        for (column, pair) in pairs.iter().enumerate() {
            matrix[of(pair) as usize * pairs.len() + column] = 1.0;
        }
        matrix
    };
    let (base, weights) = model.line();
    let turned: Vec<_> = deviations.iter().map(|deviation| 1.0 / deviation).collect();
    let mut nodes = vec![
        node("Sub", &[INPUT, "usual"], "off"),
        node("Mul", &["off", "turned"], "far"),
        node("Clip", &["far", "least", "most"], "standard"),
    ];
    let mut constants = vec![
        floats("usual", &[1, width], usual),
        floats("turned", &[1, width], &turned),
        floats("least", &[], &[-far]),
        floats("most", &[], &[far]),
        floats("weights", &[weights.len(), 1], weights),
        floats("base", &[1], &[base]),
    ];
    let wide = if pairs.is_empty() {
        "standard"
    } else {
        nodes.push(node("MatMul", &["standard", "first"], "one"));
        nodes.push(node("MatMul", &["standard", "second"], "other"));
        nodes.push(node("Mul", &["one", "other"], "products"));
        let mut concat = node("Concat", &["standard", "products"], "wide");
        concat.attribute.push(setting("axis", 1));
        nodes.push(concat);
        constants.push(floats("first", &[width, pairs.len()], &picks(&|pair| pair.0)));
        constants.push(floats("second", &[width, pairs.len()], &picks(&|pair| pair.1)));
        "wide"
    };
    nodes.push(node("Gemm", &[wide, "weights", "base"], OUTPUT));
    graph(width, nodes, constants)
}

fn trees(model: &Trees) -> GraphProto {
    let mut columns = super::trees::Columns::default();
    for (id, tree) in model.each().enumerate() {
        columns.take(id as i64, tree, model.rate());
    }
    let mut ensemble = node("TreeEnsembleRegressor", &[INPUT], OUTPUT);
    ensemble.domain = "ai.onnx.ml".into();
    ensemble.attribute = columns.attributes(model.base());
    graph(model.usual().len(), vec![ensemble], Vec::new())
}

fn graph(width: usize, nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> GraphProto {
    let (row, answer) = (value(INPUT, &[None, Some(width)]), value(OUTPUT, &[None, Some(1)]));
    write::graph(vec![row], nodes, constants, vec![answer])
}
