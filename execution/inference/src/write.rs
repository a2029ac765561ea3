//! Making ONNX files.

use crate::message::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};
use prost::Message;

/// A file with this graph and texts about it.
pub fn file(graph: GraphProto, about: &[(String, String)]) -> Vec<u8> {
    let set = |domain: &str, version: i64| OperatorSetIdProto { domain: domain.into(), version };
    let entry = |(key, value): &(String, String)| StringStringEntryProto {
        key: key.clone(),
        value: value.clone(),
    };
    let model = ModelProto {
        ir_version: 8,
        opset_import: vec![set("", 17), set("ai.onnx.ml", 3)],
        producer_name: "cloudskin".into(),
        graph: Some(graph),
        metadata_props: about.iter().map(entry).collect(),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// A graph; each constant is given under its name.
pub fn graph(
    inputs: Vec<ValueInfoProto>,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    outputs: Vec<ValueInfoProto>,
) -> GraphProto {
    GraphProto {
        name: "cloudskin".into(),
        node: nodes,
        initializer: constants,
        input: inputs,
        output: outputs,
        ..GraphProto::default()
    }
}

/// What goes in or comes out: 32-bit floats. A dimension that is not given may be any.
pub fn value(name: &str, dims: &[Option<usize>]) -> ValueInfoProto {
    let dim = |dim: &Option<usize>| {
        let value = match dim {
            Some(dim) => dimension::Value::DimValue(*dim as i64),
            None => dimension::Value::DimParam("rows".into()),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: 1, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    let of = TypeProto { value, ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(of), ..ValueInfoProto::default() }
}

/// An operator with one output.
pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        name: format!("{op}-{output}"),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

/// A constant of 32-bit floats.
pub fn floats(name: &str, dims: &[usize], values: &[f64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: 1,
        float_data: values.iter().map(|&value| value as f32).collect(),
        ..TensorProto::default()
    }
}

/// A row of whole numbers, such as a shape.
pub fn whole(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: 7,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A setting of an operator.
pub fn setting(name: &str, value: i64) -> AttributeProto {
    let r#type = AttributeType::Int.into();
    AttributeProto { name: name.into(), r#type, i: value, ..AttributeProto::default() }
}

/// A setting that is several numbers.
pub fn settings(name: &str, values: &[i64]) -> AttributeProto {
    let (r#type, ints) = (AttributeType::Ints.into(), values.to_vec());
    AttributeProto { name: name.into(), r#type, ints, ..AttributeProto::default() }
}
