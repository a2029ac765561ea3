//! What a file is, before anything of it is run.

use super::{FILE_MAX_BYTES, bounds};
use crate::{Error, Result};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tract_onnx::pb::{GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto, type_proto};

/// The newest file format that is known.
const IR_MAX: i64 = 13;

/// Messages and texts in a file: each takes up to a kilobyte and more when it is read.
const PARTS_MAX: u32 = 100_000;
/// Shapes and names in a graph are small.
const DESCRIPTION_MAX_BYTES: usize = 64 << 10;

/// What a part of the file lies in.
const MODEL: u8 = 0;
const GRAPH: u8 = 1;
const NODE: u8 = 2;
const ATTRIBUTE: u8 = 3;
const TENSOR: u8 = 4;

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

/// The file's message, if it is about rows of so many figures.
pub(super) fn decoded(file: &[u8], width: usize) -> Result<ModelProto> {
    if file.len() as u64 > FILE_MAX_BYTES {
        let what = format!("an ONNX file of {} bytes", file.len());
        return Err(Error::TooMuch { what, limit: FILE_MAX_BYTES });
    }
    let unfit = |text: String| Error::Unfit(text);
    let mut left = PARTS_MAX;
    count(file, 0, &mut left).ok_or_else(|| {
        unfit("this is no ONNX file, or has more parts or others than are read".into())
    })?;
    let proto = ModelProto::decode(file)
        .map_err(|_| unfit("this is no ONNX file, or it is damaged".into()))?;
    let graph = proto.graph.as_ref();
    let graph = graph.ok_or_else(|| unfit("the ONNX file has no graph".into()))?;
    if !(1..=IR_MAX).contains(&proto.ir_version) {
        let text =
            format!("ONNX of version {}: versions up to {IR_MAX} are known", proto.ir_version);
        return Err(unfit(text));
    }
    if !proto.functions.is_empty() || !proto.training_info.is_empty() {
        return Err(unfit("the ONNX file has functions of its own: export it without".into()));
    }
    let input = input(graph)?;
    if let Some(other) = input.1.filter(|&other| other != width as i64) {
        let text = format!("the ONNX model takes rows of {other} figures; here a row has {width}");
        return Err(unfit(text));
    }
    Ok(proto)
}

/// Whether what it does is run here.
pub(super) fn check(proto: &ModelProto, width: usize) -> Result<()> {
    let graph = proto.graph.as_ref();
    let graph = graph.ok_or_else(|| Error::Unfit("the ONNX file has no graph".into()))?;
    bounds::check(graph, input(graph)?.0, width)
}

/// The name of the only input, and how many figures it takes if that is said.
fn input(graph: &GraphProto) -> Result<(&str, Option<i64>)> {
    let given =
        |value: &&ValueInfoProto| graph.initializer.iter().all(|tensor| tensor.name != value.name);
    let inputs: Vec<_> = graph.input.iter().filter(given).collect();
    let ([input], [_]) = (&inputs[..], &graph.output[..]) else {
        let text = format!(
            "the ONNX model has {} inputs and {} outputs: it must have one of each",
            inputs.len(),
            graph.output.len()
        );
        return Err(Error::Unfit(text));
    };
    let of = input.r#type.as_ref().and_then(|of| of.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = of else {
        return Err(Error::Unfit("the ONNX model's input is no tensor".into()));
    };
    // 1 is 32-bit floating point.
    let dims = tensor.shape.as_ref().map(|shape| &shape.dim[..]).unwrap_or_default();
    if tensor.elem_type != 1 || dims.len() != 2 {
        let text = "the ONNX model must take rows of 32-bit floats, of shape [1, figures]";
        return Err(Error::Unfit(text.into()));
    }
    let figures = match &dims[1].value {
        Some(tensor_shape_proto::dimension::Value::DimValue(figures)) => Some(*figures),
        _ => None,
    };
    Ok((&input.name, figures))
}
