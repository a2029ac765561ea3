//! How much work and memory a graph is, from the shapes of its tensors alone.
//!
//! Only operators are let through whose outputs have shapes that follow from those of their inputs
//! (and of constants in the file): whoever follows the shapes knows all sizes before anything is
//! computed.

mod forms;
mod known;
mod pictures;
mod rules;
mod shapes;

use crate::{
    Error, Kind, Limits, Result,
    error::tame,
    message::{GraphProto, NodeProto, TensorProto},
};
use known::{Few, Known, held};
use rules::{Call, Made};
use shapes::{Shape, volume};
use std::collections::HashMap;

/// Operators in a graph.
const NODES_MAX: usize = 2_000;
/// Inputs, and outputs, of an operator.
const INPUTS_MAX: usize = 16;
/// Numbers of a setting: axes, sizes and the like.
const SETTING_MAX: usize = 64;
/// Constants beside them.
const CONSTANTS_MAX: usize = 4_000;
/// Dimensions of a tensor.
const RANK_MAX: usize = 6;
/// Multiplications of constants with each other, which are done when the file is made ready.
const FOLDED_PRODUCTS_MAX: u64 = 50_000_000;

/// What a graph takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) memory_bytes: u64,
    /// What the shapes of the outputs must be.
    pub(crate) outputs: Vec<Shape>,
    /// Those of all tensors, by name.
    pub(crate) shapes: HashMap<String, Shape>,
}

/// # Errors
/// What is not run, or is too much.
pub(crate) fn check(
    graph: &GraphProto,
    opset: i64,
    given: &[(String, Kind, Shape)],
    limits: &Limits,
) -> Result<Cost> {
    if opset < 1 {
        let text = "the ONNX file does not say of which version its operators are";
        return Err(Error::Unfit(text.into()));
    }
    at_most("an ONNX graph of", graph.node.len(), "operators", NODES_MAX)?;
    at_most("an ONNX graph of", graph.initializer.len(), "constants", CONSTANTS_MAX)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::Unfit("the ONNX file has sparse constants, which are not read".into()));
    }
    let known = HashMap::new();
    let mut walk = Walk { known, opset, limits, bytes: 0, scratch: 0, products: 0, folded: 0 };
    for (name, kind, shape) in given {
        walk.put(name, Known::input(shape.clone(), kind.size_bytes()))?;
    }
    for tensor in &graph.initializer {
        walk.constant(&tensor.name, tensor)?;
    }
    graph.node.iter().try_for_each(|node| walk.node(node))?;
    if graph.output.is_empty() {
        return Err(Error::Unfit("the ONNX model has no output".into()));
    }
    let shape = |name: &str| walk.known.get(name).map(|known| known.shape.clone());
    let outputs = graph.output.iter().map(|output| shape(&output.name)).collect::<Option<_>>();
    let outputs = outputs
        .ok_or_else(|| Error::Unfit("the ONNX model's output is computed by no operator".into()))?;
    let memory_bytes = walk.bytes.saturating_add(walk.scratch);
    let shapes = walk.known.into_iter().map(|(name, known)| (name.into(), known.shape)).collect();
    Ok(Cost { memory_bytes, outputs, shapes })
}

fn at_most(of: &str, count: usize, what: &str, limit: usize) -> Result<()> {
    match count <= limit {
        true => Ok(()),
        false => Err(Error::TooMuch { what: format!("{of} {count} {what}"), limit: limit as u64 }),
    }
}

struct Walk<'a> {
    known: HashMap<&'a str, Known>,
    /// The version of the operators: it decides whether an input or a setting is looked at.
    opset: i64,
    limits: &'a Limits,
    /// Of all tensors.
    bytes: u64,
    /// The most that an operator takes while it works.
    scratch: u64,
    products: u64,
    folded: u64,
}

impl<'a> Walk<'a> {
    fn put(&mut self, name: &'a str, known: Known) -> Result<()> {
        // Constants are packed for multiplications, as well.
        let copies = if known.fixed { 2 } else { 1 };
        self.bytes = self.bytes.saturating_add(known.size_bytes().saturating_mul(copies));
        self.fits()?;
        at_most("a tensor of", known.shape.len(), "dimensions", RANK_MAX)?;
        match self.known.insert(name, known) {
            None => Ok(()),
            Some(_) => {
                Err(Error::Unfit(format!("two tensors of the ONNX file are `{}`", tame(name))))
            }
        }
    }

    fn fits(&self) -> Result<()> {
        match self.bytes.saturating_add(self.scratch) <= self.limits.memory_bytes {
            true => Ok(()),
            false => {
                let what = "the size of the ONNX model's tensors, in bytes,".into();
                Err(Error::TooMuch { what, limit: self.limits.memory_bytes })
            }
        }
    }

    fn work(&mut self, made: &Made, fixed: bool) -> Result<()> {
        let too_much = |what: &str, limit: u64| Err(Error::TooMuch { what: what.into(), limit });
        self.products = self.products.saturating_add(made.products);
        if self.products > self.limits.products {
            let what = "the number of the ONNX model's multiplications";
            return too_much(what, self.limits.products);
        }
        if made.products > self.limits.products_at_once {
            let what = "the number of the multiplications of one ONNX operator";
            return too_much(what, self.limits.products_at_once);
        }
        if fixed {
            self.folded = self.folded.saturating_add(made.products);
        }
        if self.folded > FOLDED_PRODUCTS_MAX {
            let what = "the number of multiplications of the ONNX model's constants";
            return too_much(what, FOLDED_PRODUCTS_MAX);
        }
        self.scratch = self.scratch.max(made.scratch_bytes);
        self.fits()
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
        let (numbers, each_bytes) = held(tensor).ok_or_else(wrong)?;
        // A shape that claims more than is there would be filled up.
        if volume(&shape) != numbers {
            return Err(wrong());
        }
        self.put(name, Known { shape, each_bytes, fixed: true, few: Few::of(tensor) })
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        let op = node.op_type.as_str();
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(rules::refused(op));
        }
        at_most("an operator of", node.input.len(), "inputs", INPUTS_MAX)?;
        at_most("an operator of", node.output.len(), "outputs", INPUTS_MAX)?;
        for it in &node.attribute {
            let numbers = it.ints.len().max(it.floats.len()).max(it.strings.len());
            at_most("a setting of", numbers, "numbers", SETTING_MAX)?;
        }
        if node.attribute.iter().any(|it| it.g.is_some() || !it.graphs.is_empty()) {
            return Err(rules::refused(op));
        }
        if op == "Constant" {
            let value = node.attribute.iter().find(|it| it.name == "value");
            let tensor = value.and_then(|it| it.t.as_ref()).ok_or_else(|| rules::refused(op))?;
            return match &node.output[..] {
                [output] => self.constant(output, tensor),
                _ => Err(outputs(op)),
            };
        }
        let (made, fixed) = self.made(node)?;
        let named = node.output.iter().filter(|name| !name.is_empty()).count();
        if made.shapes.len() != node.output.len() || named != node.output.len() {
            return Err(outputs(op));
        }
        self.work(&made, fixed)?;
        let Made { shapes, each_bytes, few, .. } = made;
        let few = few.filter(|_| node.output.len() == 1);
        node.output.iter().zip(shapes).try_for_each(|(name, shape)| {
            self.put(name, Known { shape, each_bytes, fixed, few: few.clone() })
        })
    }

    /// What an operator makes, and whether it does so of constants alone.
    fn made(&self, node: &'a NodeProto) -> Result<(Made, bool)> {
        let op = node.op_type.as_str();
        let known = |name: &String| match name.is_empty() {
            true => Ok(None),
            false => self.known.get(name.as_str()).map(Some).ok_or_else(|| {
                Error::Unfit(format!("`{}` is used before it is computed", tame(name)))
            }),
        };
        let inputs: Vec<Option<&Known>> = node.input.iter().map(known).collect::<Result<_>>()?;
        let fixed = inputs.iter().flatten().all(|it| it.fixed);
        let rule = rules::rule(op).ok_or_else(|| rules::refused(op))?;
        let call = Call { node, opset: self.opset, inputs };
        forms::check(&call)?;
        let made = rule(&call);
        let misfit = || format!("what goes into `{}` does not fit together", tame(op));
        Ok((made.ok_or_else(|| Error::Unfit(misfit()))?, fixed))
    }
}

fn outputs(op: &str) -> Error {
    Error::Unfit(format!("the operator `{}` has other outputs than are known", tame(op)))
}
