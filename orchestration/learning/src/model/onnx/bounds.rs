//! How much work and memory a graph is, from the shapes of its tensors alone.
//!
//! Only operators are let through whose output has a shape that follows from those of their inputs
//! (and of constants in the file): whoever follows the shapes knows all sizes before anything is
//! computed.

use crate::{Error, Result};
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// Operators in a graph.
const NODES_MAX: usize = 2_000;
/// Inputs of an operator.
const INPUTS_MAX: usize = 16;
/// Constants beside them.
const CONSTANTS_MAX: usize = 4_000;
/// Dimensions of a tensor.
const RANK_MAX: usize = 4;
/// Numbers in all tensors together: 64 MB.
const NUMBERS_MAX: u64 = 16 << 20;
/// Multiplications for an answer: some ten milliseconds.
const PRODUCTS_MAX: u64 = 50_000_000;

/// One number of the output for one of the input.
const UNARY: &[&str] = &[
    "Abs",
    "Cast",
    "Ceil",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Neg",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
];
/// Inputs are stretched to one shape.
const BROADCAST: &[&str] = &[
    "Add", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub",
    "Sum", "Where",
];

type Shape = Vec<u64>;

/// A tensor of the graph: its shape, and what it holds if that is a few whole numbers of the file.
#[derive(Debug, Clone)]
struct Known {
    shape: Shape,
    whole: Option<Vec<i64>>,
}

/// # Errors
/// What is not run, or is too much.
pub(super) fn check(graph: &GraphProto, input: &str, width: usize) -> Result<()> {
    if graph.node.len() > NODES_MAX {
        let what = format!("an ONNX graph of {} operators", graph.node.len());
        return Err(Error::TooMuch { what, limit: NODES_MAX as u64 });
    }
    if graph.initializer.len() > CONSTANTS_MAX {
        let what = format!("an ONNX graph of {} constants", graph.initializer.len());
        return Err(Error::TooMuch { what, limit: CONSTANTS_MAX as u64 });
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::Unfit("the ONNX file has sparse constants, which are not read".into()));
    }
    let mut walk = Walk::default();
    walk.put(input, vec![1, width as u64], None)?;
    for tensor in &graph.initializer {
        walk.constant(&tensor.name, tensor)?;
    }
    graph.node.iter().try_for_each(|node| walk.node(node))?;
    let output = graph.output.first().map_or("", |output| output.name.as_str());
    match walk.known.get(output) {
        Some(known) if volume(&known.shape) == 1 => Ok(()),
        Some(known) => Err(Error::Unfit(format!(
            "the ONNX model's answer has the shape {:?}: it must be one number for a row",
            known.shape
        ))),
        None => Err(Error::Unfit("the ONNX model's output is computed by no operator".into())),
    }
}

#[derive(Debug, Default)]
struct Walk<'a> {
    known: HashMap<&'a str, Known>,
    numbers: u64,
    products: u64,
}

impl<'a> Walk<'a> {
    fn put(&mut self, name: &'a str, shape: Shape, whole: Option<Vec<i64>>) -> Result<()> {
        self.numbers = self.numbers.saturating_add(volume(&shape));
        if self.numbers > NUMBERS_MAX {
            let what = "the size of the ONNX model's tensors, in numbers,".into();
            return Err(Error::TooMuch { what, limit: NUMBERS_MAX });
        }
        if shape.len() > RANK_MAX {
            let what = format!("a tensor of {} dimensions", shape.len());
            return Err(Error::TooMuch { what, limit: RANK_MAX as u64 });
        }
        match self.known.insert(name, Known { shape, whole }) {
            None => Ok(()),
            Some(_) => {
                Err(Error::Unfit(format!("two tensors of the ONNX file are `{}`", tame(name))))
            }
        }
    }

    fn work(&mut self, products: u64) -> Result<()> {
        self.products = self.products.saturating_add(products);
        match self.products <= PRODUCTS_MAX {
            true => Ok(()),
            false => {
                let what = "the number of the ONNX model's multiplications".into();
                Err(Error::TooMuch { what, limit: PRODUCTS_MAX })
            }
        }
    }

    fn constant(&mut self, name: &'a str, tensor: &TensorProto) -> Result<()> {
        if tensor.data_location.unwrap_or(0) != 0 || !tensor.external_data.is_empty() {
            let text = "the ONNX file keeps constants in other files: export it as one file";
            return Err(Error::Unfit(text.into()));
        }
        let shape: Option<Shape> = tensor.dims.iter().map(|&dim| u64::try_from(dim).ok()).collect();
        let wrong =
            || Error::Unfit(format!("the constant `{}` has an impossible shape", tame(name)));
        let shape = shape.ok_or_else(wrong)?;
        let whole = whole(tensor);
        // A shape that claims more than is there would be filled up.
        if volume(&shape) != held(tensor).ok_or_else(wrong)? {
            return Err(wrong());
        }
        self.put(name, shape, whole)
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        let op = node.op_type.as_str();
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(refused(op));
        }
        if node.input.len() > INPUTS_MAX {
            let what = format!("an operator of {} inputs", node.input.len());
            return Err(Error::TooMuch { what, limit: INPUTS_MAX as u64 });
        }
        if node.attribute.iter().any(|it| it.g.is_some() || !it.graphs.is_empty()) {
            return Err(refused(op));
        }
        let [output, rest @ ..] = &node.output[..] else {
            return Err(Error::Unfit(format!("the operator `{}` has no output", tame(op))));
        };
        if rest.iter().any(|name| !name.is_empty()) {
            return Err(Error::Unfit(format!("the operator `{}` has several outputs", tame(op))));
        }
        if op == "Constant" {
            let tensor = attribute(node, "value").and_then(|it| it.t.as_ref());
            return self.constant(output, tensor.ok_or_else(|| refused(op))?);
        }
        let inputs: Result<Vec<_>> = node
            .input
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| {
                let known = self.known.get(name.as_str()).cloned();
                let text = || format!("`{}` is used before it is computed", tame(name));
                known.ok_or_else(|| Error::Unfit(text()))
            })
            .collect();
        let shape = self.shape(node, &inputs?)?;
        self.work(volume(&shape).saturating_mul(node.input.len().max(1) as u64))?;
        self.put(output, shape, None)
    }

    fn shape(&mut self, node: &NodeProto, inputs: &[Known]) -> Result<Shape> {
        let op = node.op_type.as_str();
        let misfit =
            || Error::Unfit(format!("what goes into `{}` does not fit together", tame(op)));
        let first = &inputs.first().ok_or_else(misfit)?.shape;
        if UNARY.contains(&op) {
            return Ok(first.clone());
        }
        if BROADCAST.contains(&op) {
            return inputs.iter().try_fold(Vec::new(), |shape, input| {
                stretched(&shape, &input.shape).ok_or_else(misfit)
            });
        }
        match (op, inputs) {
            ("Gemm", [a, b, ..]) => self.gemm(node, &a.shape, &b.shape).ok_or_else(misfit)?,
            ("MatMul", [a, b]) => self.matmul(&a.shape, &b.shape).ok_or_else(misfit)?,
            ("BatchNormalization", [_, ..]) => Ok(first.clone()),
            ("Flatten", [_]) if axis_is_1(node) => match &first[..] {
                [rows, rest @ ..] => Ok(vec![*rows, volume(rest)]),
                [] => Ok(vec![1, 1]),
            },
            ("Concat", _) => concat(node, inputs).ok_or_else(misfit),
            ("Reshape", [_, to]) => reshaped(first, to.whole.as_deref()).ok_or_else(misfit),
            _ => Err(refused(op)),
        }
    }

    /// `None` if the shapes do not fit.
    fn gemm(&mut self, node: &NodeProto, a: &[u64], b: &[u64]) -> Option<Result<Shape>> {
        let turned = |name: &str| attribute(node, name).is_some_and(|it| it.i != 0);
        let (&[rows, inner], &[other, columns]) = (a, b) else { return None };
        let (rows, inner) = if turned("transA") { (inner, rows) } else { (rows, inner) };
        let (other, columns) = if turned("transB") { (columns, other) } else { (other, columns) };
        (inner == other).then(|| {
            self.work(rows.saturating_mul(inner).saturating_mul(columns))?;
            Ok(vec![rows, columns])
        })
    }

    fn matmul(&mut self, a: &[u64], b: &[u64]) -> Option<Result<Shape>> {
        let (&[rows, inner], &[other, columns]) = (a, b) else { return None };
        (inner == other).then(|| {
            self.work(rows.saturating_mul(inner).saturating_mul(columns))?;
            Ok(vec![rows, columns])
        })
    }
}

/// Everything but the first dimension becomes one.
fn axis_is_1(node: &NodeProto) -> bool {
    attribute(node, "axis").is_none_or(|it| it.i == 1)
}

fn concat(node: &NodeProto, inputs: &[Known]) -> Option<Shape> {
    let mut shape = inputs.first()?.shape.clone();
    let axis = attribute(node, "axis")?.i;
    let axis = if axis < 0 { axis + shape.len() as i64 } else { axis };
    let axis = usize::try_from(axis).ok().filter(|axis| *axis < shape.len())?;
    for other in &inputs[1..] {
        let same = |at: usize| at == axis || other.shape.get(at) == shape.get(at);
        if other.shape.len() != shape.len() || !(0..shape.len()).all(same) {
            return None;
        }
        shape[axis] = shape[axis].saturating_add(other.shape[axis]);
    }
    Some(shape)
}

fn reshaped(from: &[u64], to: Option<&[i64]>) -> Option<Shape> {
    let to = to?;
    let keep = |(at, &dim): (usize, &i64)| match dim {
        0 => from.get(at).copied(),
        -1 => Some(1),
        _ => u64::try_from(dim).ok(),
    };
    let mut shape: Shape = to.iter().enumerate().map(keep).collect::<Option<_>>()?;
    let (whole, known) = (volume(from), volume(&shape));
    let open: Vec<_> = (0..to.len()).filter(|&at| to[at] == -1).collect();
    match open[..] {
        [] => (known == whole).then_some(shape),
        [at] if known > 0 && whole % known == 0 => {
            shape[at] = whole / known;
            Some(shape)
        }
        _ => None,
    }
}

/// The shape that both are stretched to.
fn stretched(one: &[u64], other: &[u64]) -> Option<Shape> {
    let rank = one.len().max(other.len());
    let dim =
        |shape: &[u64], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|at| match (dim(one, at), dim(other, at)) {
            (one, other) if one == other => Some(one),
            (1, dim) | (dim, 1) => Some(dim),
            _ => None,
        })
        .collect()
}

fn volume(shape: &[u64]) -> u64 {
    shape.iter().fold(1_u64, |volume, dim| volume.saturating_mul(*dim))
}

/// How many numbers a constant holds; nothing for what is not numbers.
fn held(tensor: &TensorProto) -> Option<u64> {
    // Float, double, int32, int64, bool.
    let (size, listed) = match tensor.data_type {
        1 => (4, tensor.float_data.len()),
        11 => (8, tensor.double_data.len()),
        6 => (4, tensor.int32_data.len()),
        7 => (8, tensor.int64_data.len()),
        9 => (1, tensor.int32_data.len()),
        _ => return None,
    };
    match tensor.raw_data.len() {
        0 => Some(listed as u64),
        bytes if listed == 0 && bytes % size == 0 => Some((bytes / size) as u64),
        _ => None,
    }
}

/// The whole numbers of a small constant, such as a shape.
fn whole(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != 7 || volume_of(tensor) > RANK_MAX as u64 {
        return None;
    }
    let raw = tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
    Some(tensor.int64_data.iter().copied().chain(raw).collect())
}

fn volume_of(tensor: &TensorProto) -> u64 {
    (tensor.raw_data.len() / 8 + tensor.int64_data.len()) as u64
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|it| it.name == name)
}

fn refused(op: &str) -> Error {
    let known = UNARY.iter().chain(BROADCAST);
    let names: Vec<_> = known.copied().chain(["Gemm", "MatMul", "Concat", "Reshape"]).collect();
    Error::Unfit(format!(
        "the ONNX operator `{}` is not run: its work or memory is not known beforehand; these are: {}",
        tame(op),
        names.join(", ")
    ))
}

/// A stranger's name, short enough to be told.
fn tame(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(60).collect()
}
