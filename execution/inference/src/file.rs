//! What a file is, before anything of it is run.

use crate::{
    Error, Kind, Limits, Model, Result, bounds,
    message::{GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto, type_proto},
};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// The newest file format that is known.
const IR_MAX: i64 = 13;

/// Messages and texts in a file: each takes up to a kilobyte and more when it is read.
const PARTS_MAX: u32 = 100_000;
/// Shapes and names in a graph are small.
const DESCRIPTION_MAX_BYTES: usize = 64 << 10;
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
        let mut left = PARTS_MAX;
        count(bytes, MODEL, &mut left).ok_or_else(|| {
            unfit("this is no ONNX file, or has more parts or others than are read")
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

/// Counts the parts of a file before any of them is read into memory, where an empty one takes far more than it has
/// bytes. Nothing if there are too many, or some that are not read: functions, training, graphs in graphs, sparse tensors.
/// The numbers of fields are those of `onnx.proto`.
fn count(mut bytes: &[u8], level: u8, left: &mut u32) -> Option<()> {
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).ok()?;
        if wire != WireType::LengthDelimited {
            skip_field(wire, tag, &mut bytes, DecodeContext::default()).ok()?;
            continue;
        }
        let len = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        let (part, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        // The texts of a forest, one for each of its nodes: these are counted later.
        if (level, tag) == (ATTRIBUTE, 9) {
            continue;
        }
        *left = left.checked_sub(1)?;
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
