//! The operators that are run, and what each makes.

use super::{
    known::{Few, Known},
    pictures,
    shapes::{
        Shape, concatenated, cut, multiplied, place, reduced, reshaped, stretched, transposed,
        unsqueezed, volume,
    },
};
use crate::{
    Error,
    error::tame,
    message::{AttributeProto, NodeProto},
};

/// One number of the output for one of the input.
const UNARY: &[&str] = &[
    "Abs",
    "Cast",
    "Ceil",
    "Clip",
    "Cos",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
];
/// Inputs are stretched to one shape.
const BROADCAST: &[&str] = &[
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
];
/// Dimensions are taken together.
const REDUCTIONS: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];
/// Kinds of numbers in a file.
const INT32: i64 = 6;
const INT64: i64 = 7;
/// Others.
const RULES: &[(&str, Rule)] = &[
    ("AveragePool", pictures::pooled),
    ("BatchNormalization", normalised),
    ("Concat", concat),
    ("Conv", pictures::convolved),
    ("Expand", expand),
    ("Flatten", flatten),
    ("Gather", gather),
    ("Gemm", gemm),
    ("GlobalAveragePool", pictures::pooled_whole),
    ("GlobalMaxPool", pictures::pooled_whole),
    ("InstanceNormalization", normalised),
    ("LayerNormalization", normalised),
    ("MatMul", matmul),
    ("MaxPool", pictures::pooled),
    ("Pad", pictures::padded),
    ("Reshape", reshape),
    ("Resize", pictures::resized),
    ("Shape", shape),
    ("Slice", slice),
    ("Split", split),
    ("Squeeze", squeeze),
    ("Transpose", transpose),
    ("Unsqueeze", unsqueeze),
    ("Upsample", pictures::resized),
];

/// What an operator makes of its inputs; nothing if they do not fit together.
pub(super) type Rule = fn(&Call<'_>) -> Option<Made>;

/// An operator with what goes into it.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    /// The operator's version.
    pub(super) opset: i64,
    /// One that was left out is nothing.
    pub(super) inputs: Vec<Option<&'a Known>>,
}

/// What an operator makes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) shapes: Vec<Shape>,
    pub(super) each_bytes: u64,
    pub(super) products: u64,
    /// Bytes that it takes while it works.
    pub(super) scratch_bytes: u64,
    pub(super) few: Option<Few>,
}

pub(super) fn rule(op: &str) -> Option<Rule> {
    match op {
        _ if UNARY.contains(&op) => Some(unary),
        _ if BROADCAST.contains(&op) => Some(broadcast),
        _ if REDUCTIONS.contains(&op) => Some(reduce),
        _ => RULES.iter().find(|(name, _)| *name == op).map(|(_, rule)| *rule),
    }
}

pub(super) fn refused(op: &str) -> Error {
    let others = RULES.iter().map(|(name, _)| name);
    let names: Vec<_> =
        UNARY.iter().chain(BROADCAST).chain(REDUCTIONS).chain(others).copied().collect();
    Error::Unfit(format!(
        "the ONNX operator `{}` is not run: its work or memory is not known beforehand; these are: {}",
        tame(op),
        names.join(", ")
    ))
}

impl<'a> Call<'a> {
    pub(super) fn input(&self, at: usize) -> Option<&'a Known> {
        self.inputs.get(at).copied().flatten()
    }

    pub(super) fn shape(&self, at: usize) -> Option<&'a Shape> {
        self.input(at).map(|it| &it.shape)
    }

    fn setting(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|it| it.name == name)
    }

    pub(super) fn number(&self, name: &str, otherwise: i64) -> i64 {
        self.setting(name).map_or(otherwise, |it| it.i)
    }

    pub(super) fn numbers(&self, name: &str) -> Option<&'a [i64]> {
        self.setting(name).map(|it| &it.ints[..])
    }

    pub(super) fn reals(&self, name: &str) -> Option<&'a [f32]> {
        self.setting(name).map(|it| &it.floats[..])
    }

    pub(super) fn text(&self, name: &str) -> &'a [u8] {
        self.setting(name).map_or(&[], |it| &it.s)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.setting(name).is_some()
    }

    /// Whole numbers that newer files give as an input, and older ones as a setting; nothing if
    /// they are given and not known, an empty list if they are not given.
    pub(super) fn listed(&self, name: &str, input: usize) -> Option<&'a [i64]> {
        match (self.numbers(name), self.input(input)) {
            // An empty one is not as if there were none.
            (Some(all), _) => Some(all).filter(|all| !all.is_empty()),
            (None, Some(known)) => known.whole(),
            (None, None) => Some(&[]),
        }
    }

    /// An output of this shape, of as large numbers as the inputs, and a product for each.
    pub(super) fn made(&self, shape: Shape) -> Made {
        let each_bytes = self.inputs.iter().flatten().map(|it| it.each_bytes).max().unwrap_or(4);
        let products = volume(&shape).saturating_mul(self.inputs.len().max(1) as u64);
        Made { shapes: vec![shape], each_bytes, products, scratch_bytes: 0, few: None }
    }
}

fn unary(call: &Call<'_>) -> Option<Made> {
    let input = call.input(0)?;
    let mut made = call.made(input.shape.clone());
    if call.node.op_type == "Cast" {
        made.each_bytes = 8;
    }
    let kept = |few: &Few| match (call.node.op_type.as_str(), few) {
        ("Identity", Few::Whole(_)) => true,
        ("Cast", Few::Whole(all)) => keeps(call.number("to", 0), all),
        _ => false,
    };
    made.few = input.few.clone().filter(kept);
    Some(made)
}

/// Whether whole numbers are the same as numbers of this kind: other kinds round or cut them.
fn keeps(kind: i64, all: &[i64]) -> bool {
    match kind {
        INT64 => true,
        INT32 => all.iter().all(|it| i32::try_from(*it).is_ok()),
        _ => false,
    }
}

fn broadcast(call: &Call<'_>) -> Option<Made> {
    let mut inputs = call.inputs.iter().flatten();
    let first = inputs.next()?.shape.clone();
    let shape = inputs.try_fold(first, |shape, input| stretched(&shape, &input.shape))?;
    Some(call.made(shape))
}

fn reduce(call: &Call<'_>) -> Option<Made> {
    let from = call.shape(0)?;
    let one = matches!(call.node.op_type.as_str(), "ArgMax" | "ArgMin");
    let axis = [call.number("axis", 0)];
    let axes = if one { &axis[..] } else { call.listed("axes", 1)? };
    let all: Vec<i64> = (0..from.len() as i64).collect();
    let axes = match axes {
        [] if call.number("noop_with_empty_axes", 0) != 1 => &all,
        axes => axes,
    };
    let shape = reduced(from, axes, call.number("keepdims", 1) != 0)?;
    let made = call.made(shape);
    Some(Made { products: volume(from).saturating_mul(2), each_bytes: 8, ..made })
}

fn normalised(call: &Call<'_>) -> Option<Made> {
    let made = call.made(call.shape(0)?.clone());
    Some(Made { scratch_bytes: volume(&made.shapes[0]).saturating_mul(made.each_bytes), ..made })
}

fn gemm(call: &Call<'_>) -> Option<Made> {
    let turned = |name: &str| call.number(name, 0) != 0;
    let (&[rows, inner], &[other, columns]) = (&call.shape(0)?[..], &call.shape(1)?[..]) else {
        return None;
    };
    let (rows, inner) = if turned("transA") { (inner, rows) } else { (rows, inner) };
    let (other, columns) = if turned("transB") { (columns, other) } else { (other, columns) };
    let (shape, products) = multiplied(&[rows, inner], &[other, columns])?;
    Some(multiplication(call, shape, products))
}

fn matmul(call: &Call<'_>) -> Option<Made> {
    let (shape, products) = multiplied(call.shape(0)?, call.shape(1)?)?;
    Some(multiplication(call, shape, products))
}

/// Both sides are packed.
fn multiplication(call: &Call<'_>, shape: Shape, products: u64) -> Made {
    let made = call.made(shape);
    let packed = call.inputs.iter().flatten().map(|it| it.size_bytes());
    let scratch_bytes = packed.fold(0_u64, u64::saturating_add);
    Made { products: made.products.saturating_add(products), scratch_bytes, ..made }
}

fn flatten(call: &Call<'_>) -> Option<Made> {
    let from = call.shape(0)?;
    let axis = match call.number("axis", 1) {
        axis if axis == from.len() as i64 => from.len(),
        axis => place(axis, from.len())?,
    };
    Some(call.made(vec![volume(&from[..axis]), volume(&from[axis..])]))
}

fn concat(call: &Call<'_>) -> Option<Made> {
    let axis = call.has("axis").then(|| call.number("axis", 0))?;
    let inputs: Vec<&Known> = call.inputs.iter().copied().collect::<Option<_>>()?;
    let shapes: Vec<&Shape> = inputs.iter().map(|it| &it.shape).collect();
    let mut made = call.made(concatenated(&shapes, axis)?);
    let few: Option<Vec<&[i64]>> = inputs.iter().map(|it| it.whole()).collect();
    made.few = few.filter(|_| made.shapes[0].len() == 1).and_then(|all| Few::whole(all.concat()));
    Some(made)
}

fn reshape(call: &Call<'_>) -> Option<Made> {
    if call.number("allowzero", 0) != 0 {
        return None;
    }
    let input = call.input(0)?;
    let mut made = call.made(reshaped(&input.shape, call.listed("shape", 1)?)?);
    made.few.clone_from(&input.few);
    Some(made)
}

fn expand(call: &Call<'_>) -> Option<Made> {
    let to = call.input(1)?.whole()?.iter().map(|dim| u64::try_from(*dim).ok());
    Some(call.made(stretched(call.shape(0)?, &to.collect::<Option<Shape>>()?)?))
}

fn transpose(call: &Call<'_>) -> Option<Made> {
    Some(call.made(transposed(call.shape(0)?, call.numbers("perm"))?))
}

fn squeeze(call: &Call<'_>) -> Option<Made> {
    let input = call.input(0)?;
    let axes = call.listed("axes", 1)?;
    let ones = (0..input.shape.len() as i64).filter(|at| input.shape[*at as usize] == 1);
    let axes = if axes.is_empty() { ones.collect() } else { axes.to_vec() };
    let single = |at: &i64| place(*at, input.shape.len()).is_some_and(|at| input.shape[at] == 1);
    let mut made =
        call.made(reduced(&input.shape, &axes, false).filter(|_| axes.iter().all(single))?);
    made.few.clone_from(&input.few);
    Some(made)
}

fn unsqueeze(call: &Call<'_>) -> Option<Made> {
    let input = call.input(0)?;
    let mut made = call.made(unsqueezed(&input.shape, call.listed("axes", 1)?)?);
    made.few.clone_from(&input.few);
    Some(made)
}

fn gather(call: &Call<'_>) -> Option<Made> {
    let (from, which) = (call.input(0)?, call.input(1)?);
    let axis = place(call.number("axis", 0), from.shape.len())?;
    let shape = [&from.shape[..axis], &which.shape, &from.shape[axis + 1..]].concat();
    let mut made = call.made(shape);
    made.each_bytes = from.each_bytes;
    let picked = from.whole().zip(which.whole()).filter(|_| from.shape.len() == 1);
    made.few = picked.and_then(|(all, which)| {
        let pick = |at: &i64| place(*at, all.len()).map(|at| all[at]);
        Few::whole(which.iter().map(pick).collect::<Option<_>>()?)
    });
    Some(made)
}

fn shape(call: &Call<'_>) -> Option<Made> {
    let shape = call.shape(0)?;
    if call.has("start") || call.has("end") {
        return None;
    }
    let made = call.made(vec![shape.len() as u64]);
    let few = shape.iter().map(|dim| i64::try_from(*dim).ok()).collect::<Option<_>>()?;
    Some(Made { each_bytes: 8, few: Few::whole(few), ..made })
}

fn slice(call: &Call<'_>) -> Option<Made> {
    let input = call.input(0)?;
    let (starts, ends) = (call.listed("starts", 1)?, call.listed("ends", 2)?);
    let (axes, steps) = (call.listed("axes", 3)?, call.listed("steps", 4)?);
    if starts.len() != ends.len() {
        return None;
    }
    let mut shape = input.shape.clone();
    for (at, (start, end)) in starts.iter().zip(ends).enumerate() {
        let axis = if axes.is_empty() { at as i64 } else { *axes.get(at)? };
        let step = if steps.is_empty() { 1 } else { *steps.get(at)? };
        let axis = place(axis, shape.len())?;
        shape[axis] = cut(shape[axis], *start, *end, step)?;
    }
    let mut made = call.made(shape);
    made.each_bytes = input.each_bytes;
    // Numbers of several rows are not cut one after the other.
    let row = input.whole().filter(|_| input.shape.len() == 1);
    if let (Some(all), [start], [_], [] | [1]) = (row, starts, ends, steps) {
        let from = if *start < 0 { start + all.len() as i64 } else { *start }.max(0) as usize;
        let cut = all.iter().skip(from).take(made.shapes[0].first().map_or(0, |n| *n as usize));
        made.few = Few::whole(cut.copied().collect());
    }
    Some(made)
}

fn split(call: &Call<'_>) -> Option<Made> {
    let (from, parts) = (call.shape(0)?, call.node.output.len() as u64);
    let axis = place(call.number("axis", 0), from.len())?;
    let sizes: Vec<u64> = match call.listed("split", 1)? {
        [] if parts > 0 && from[axis] % parts == 0 => vec![from[axis] / parts; parts as usize],
        [] => return None,
        sizes => sizes.iter().map(|it| u64::try_from(*it).ok()).collect::<Option<_>>()?,
    };
    if sizes.iter().fold(0_u64, |sum, it| sum.saturating_add(*it)) != from[axis] {
        return None;
    }
    let part = |size: &u64| {
        let mut shape = from.clone();
        shape[axis] = *size;
        shape
    };
    let whole = call.made(from.clone());
    Some(Made { shapes: sizes.iter().map(part).collect(), ..whole })
}
