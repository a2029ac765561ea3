//! What a file is, before anything of it is run.

use crate::{
    Error, Kind, Limits, Model, Result, bounds,
    message::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_shape_proto, type_proto,
    },
};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// The newest file format that is known.
const IR_MAX: i64 = 13;

/// Messages and texts in a file.
const PARTS_MAX: u32 = 100_000;
/// Shapes and names in a graph are small.
const DESCRIPTION_MAX_BYTES: usize = 64 << 10;
/// Bytes of an item that is read into a list; lists have up to twice the room that they need.
const NUMBER_BYTES: u64 = 16;
const TEXT_BYTES: u64 = 64;
/// Bytes that one of a description becomes: its smallest part has two.
const DESCRIBED_BYTES: u64 = 64;
/// Inputs, and outputs, of a model.
const ENDS_MAX: usize = 64;

/// What a part of the file lies in.
const MODEL: u8 = 0;
const GRAPH: u8 = 1;
const NODE: u8 = 2;
const ATTRIBUTE: u8 = 3;
const TENSOR: u8 = 4;

/// A file that was read; nothing of it was run.
#[derive(Debug, Clone)]
pub struct File {
    pub(crate) proto: ModelProto,
    size_bytes: u64,
}

/// What a file says of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What numbers it takes; none of those that we have if nothing.
    pub kind: Option<Kind>,
    /// Its dimensions; one that the file leaves open is nothing.
    pub dims: Vec<Option<u64>>,
}

impl File {
    /// Counts what is in a file, and decodes it.
    ///
    /// # Errors
    /// A file that is too large, damaged, or of a kind that is not known, with what.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let size_bytes = bytes.len() as u64;
        if size_bytes > limits.file_bytes {
            let what = format!("an ONNX file of {size_bytes} bytes");
            return Err(Error::TooMuch { what, limit: limits.file_bytes });
        }
        let unfit = |text: &str| Error::Unfit(text.into());
        let mut left = Left { parts: PARTS_MAX, memory_bytes: limits.memory_bytes, over: false };
        count(bytes, MODEL, &mut left).ok_or_else(|| match left.over {
            true => {
                let what = "what the ONNX file takes when it is read, in bytes,".into();
                Error::TooMuch { what, limit: limits.memory_bytes }
            }
            false => unfit("this is no ONNX file, or has more parts or others than are read"),
        })?;
        let proto = ModelProto::decode(bytes)
            .map_err(|_| unfit("this is no ONNX file, or it is damaged"))?;
        if proto.graph.is_none() {
            return Err(unfit("the ONNX file has no graph"));
        }
        if !(1..=IR_MAX).contains(&proto.ir_version) {
            let version = proto.ir_version;
            let text = format!("ONNX of version {version}: versions up to {IR_MAX} are known");
            return Err(Error::Unfit(text));
        }
        if !proto.functions.is_empty() || !proto.training_info.is_empty() {
            return Err(unfit("the ONNX file has functions of its own: export it without"));
        }
        Ok(Self { proto, size_bytes })
    }

    /// Its graph.
    pub fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().expect("a file without a graph is not read")
    }

    /// What goes in, without constants.
    ///
    /// # Errors
    /// An input that is no tensor, or more inputs or outputs than are taken.
    pub fn inputs(&self) -> Result<Vec<Declared>> {
        let graph = self.graph();
        let constants: std::collections::HashSet<&str> =
            graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let given = graph.input.iter().filter(|value| !constants.contains(value.name.as_str()));
        let inputs: Vec<_> = given.map(declared).collect::<Result<_>>()?;
        if inputs.len().max(graph.output.len()) > ENDS_MAX {
            let what = "the number of the ONNX model's inputs or outputs".into();
            return Err(Error::TooMuch { what, limit: ENDS_MAX as u64 });
        }
        Ok(inputs)
    }

    /// Makes the model ready to be run; a dimension that the file leaves open is one.
    ///
    /// # Errors
    /// A file that does what is not run, is too much work or memory, or contradicts itself.
    pub fn model(&self, limits: &Limits) -> Result<Model> {
        let open = |dims: &Declared| dims.dims.iter().map(|dim| dim.unwrap_or(1)).collect();
        let shapes: Vec<Vec<u64>> = self.inputs()?.iter().map(open).collect();
        self.model_of(&shapes, limits)
    }

    /// The same, for inputs of these dimensions.
    ///
    /// # Errors
    /// As [`File::model`].
    pub fn model_of(&self, shapes: &[Vec<u64>], limits: &Limits) -> Result<Model> {
        let inputs = self.inputs()?;
        if inputs.len() != shapes.len() {
            let text = format!("the ONNX model has {} inputs, not {}", inputs.len(), shapes.len());
            return Err(Error::Unfit(text));
        }
        let given: Vec<_> = inputs
            .into_iter()
            .zip(shapes)
            .map(|(input, shape)| match input.kind {
                Some(kind) => Ok((input.name, kind, shape.clone())),
                None => Err(Error::Unfit(format!(
                    "the ONNX model's input `{}` takes numbers of a kind that is not taken: \
                     float, double, uint8, int32 and int64 are",
                    crate::error::tame(&input.name)
                ))),
            })
            .collect::<Result<_>>()?;
        let cost = bounds::check(self.graph(), self.opset(), &given, limits)?;
        let memory_bytes = cost.memory_bytes.saturating_add(self.size_bytes);
        Model::ready(self, &given, &cost, memory_bytes)
    }

    /// The version of the operators, as the runtime finds it.
    fn opset(&self) -> i64 {
        let ours = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        self.proto.opset_import.iter().find(|it| ours(&it.domain)).map_or(0, |it| it.version)
    }
}

fn declared(value: &ValueInfoProto) -> Result<Declared> {
    let of = value.r#type.as_ref().and_then(|of| of.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = of else {
        return Err(Error::Unfit("the ONNX model's input is no tensor".into()));
    };
    let dims = tensor.shape.as_ref().map(|shape| &shape.dim[..]).unwrap_or_default();
    let dim = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(size)) => u64::try_from(size).ok(),
        _ => None,
    };
    Ok(Declared {
        name: value.name.clone(),
        kind: Kind::of_file(tensor.elem_type),
        dims: dims.iter().map(dim).collect(),
    })
}

/// What may still be read.
struct Left {
    parts: u32,
    memory_bytes: u64,
    /// Whether it was too little memory that ended counting.
    over: bool,
}

impl Left {
    fn take(&mut self, bytes: u64) -> Option<()> {
        let left = self.memory_bytes.checked_sub(bytes);
        self.over = left.is_none();
        self.memory_bytes = left?;
        Some(())
    }
}

/// Bytes that a part takes when it is read, apart from the parts in it that are counted themselves.
fn read_bytes(level: u8, tag: u32, part: &[u8]) -> u64 {
    let of_list = |item: usize| 2 * item as u64;
    let bytes = part.len() as u64;
    match (level, tag) {
        (MODEL, 7) => size_of::<GraphProto>() as u64,
        (GRAPH, 1) => of_list(size_of::<NodeProto>()),
        (NODE, 5) => of_list(size_of::<AttributeProto>()),
        (GRAPH | ATTRIBUTE, 5) => of_list(size_of::<TensorProto>()),
        (GRAPH, 11..=14) => of_list(size_of::<ValueInfoProto>())
            .saturating_add(bytes.saturating_mul(DESCRIBED_BYTES)),
        // Each number ends with a byte below 128.
        (ATTRIBUTE, 8) | (TENSOR, 1 | 5 | 7 | 11) => {
            part.iter().filter(|byte| **byte < 0x80).count() as u64 * NUMBER_BYTES
        }
        // Numbers of one size are as large as they are there.
        (ATTRIBUTE, 7) | (TENSOR, 4 | 9 | 10) => bytes,
        _ => TEXT_BYTES.saturating_add(bytes),
    }
}

/// Counts the parts of a file before any of them is read into memory, where an empty one takes far more than it has
/// bytes. Nothing if there are too many, or some that are not read: functions, training, graphs in graphs, sparse tensors.
/// The numbers of fields are those of `onnx.proto`.
fn count(mut bytes: &[u8], level: u8, left: &mut Left) -> Option<()> {
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).ok()?;
        if wire != WireType::LengthDelimited {
            left.take(NUMBER_BYTES)?;
            skip_field(wire, tag, &mut bytes, DecodeContext::default()).ok()?;
            continue;
        }
        let len = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        let (part, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        left.take(read_bytes(level, tag, part))?;
        // The texts of a forest, one for each of its nodes: these are counted later.
        if (level, tag) == (ATTRIBUTE, 9) {
            continue;
        }
        left.parts = left.parts.checked_sub(1)?;
        match (level, tag) {
            (MODEL, 20 | 25) | (GRAPH, 15) | (ATTRIBUTE, 6 | 10 | 11 | 14 | 15 | 22 | 23) => {
                return None;
            }
            (MODEL, 7) => count(part, GRAPH, left)?,
            (GRAPH, 1) => count(part, NODE, left)?,
            (NODE, 5) => count(part, ATTRIBUTE, left)?,
            (GRAPH | ATTRIBUTE, 5) => count(part, TENSOR, left)?,
            (GRAPH, 11..=14) if part.len() > DESCRIPTION_MAX_BYTES => return None,
            _ => {}
        }
    }
    Some(())
}
