use super::*;
use message::{AttributeProto, NodeProto, TensorProto};
use prost::Message;
use std::time::{Duration, Instant};
use write::{floats, graph, node, setting, settings, value, whole};

fn limits() -> Limits {
    Limits::for_programs(64 << 20)
}

fn ready(file: &[u8]) -> Result<Model> {
    File::read(file, &limits())?.model(&limits())
}

/// A file with one operator, which takes `x` of these dimensions, and constants.
fn file(
    op: &str,
    dims: &[usize],
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
) -> Vec<u8> {
    let names = std::iter::once("x").chain(constants.iter().map(|it| it.name.as_str()));
    let operator = NodeProto { attribute: attributes, ..node(op, &names.collect::<Vec<_>>(), "y") };
    let dims: Vec<_> = dims.iter().copied().map(Some).collect();
    write::file(
        graph(vec![value("x", &dims)], vec![operator], constants, vec![value("y", &[])]),
        &[],
    )
}

fn zeros(info: &Info) -> Tensor {
    let bytes = vec![0; info.size_bytes() as usize];
    Tensor::from_bytes(info.kind, &info.dims, &bytes).unwrap()
}

/// The sizes that are counted are those that the runtime finds: else a file is refused.
#[test]
fn operators_make_what_was_counted() {
    let text = |name: &str, text: &str| AttributeProto {
        name: name.into(),
        r#type: message::attribute_proto::AttributeType::String.into(),
        s: text.into(),
        ..AttributeProto::default()
    };
    let kernel = floats("w", &[4, 1, 3, 3], &[0.5; 36]);
    let pool = || settings("kernel_shape", &[3, 3]);
    let cases: Vec<(&str, Vec<u8>, &[usize])> = vec![
        (
            "grouped Conv",
            file(
                "Conv",
                &[1, 4, 9, 8],
                vec![kernel.clone()],
                vec![
                    setting("group", 4),
                    settings("strides", &[2, 2]),
                    settings("pads", &[1, 1, 1, 1]),
                ],
            ),
            &[1, 4, 5, 4],
        ),
        (
            "dilated Conv",
            file("Conv", &[1, 1, 9, 9], vec![kernel.clone()], vec![settings("dilations", &[2, 2])]),
            &[1, 4, 5, 5],
        ),
        (
            "same Conv",
            file(
                "Conv",
                &[1, 1, 9, 8],
                vec![kernel],
                vec![text("auto_pad", "SAME_UPPER"), settings("strides", &[2, 2])],
            ),
            &[1, 4, 5, 4],
        ),
        (
            "MaxPool",
            file("MaxPool", &[1, 2, 7, 7], vec![], vec![pool(), settings("strides", &[2, 2])]),
            &[1, 2, 3, 3],
        ),
        (
            "AveragePool",
            file(
                "AveragePool",
                &[1, 2, 8, 8],
                vec![],
                vec![pool(), settings("strides", &[2, 2]), setting("ceil_mode", 1)],
            ),
            &[1, 2, 4, 4],
        ),
        (
            "GlobalAveragePool",
            file("GlobalAveragePool", &[1, 2, 8, 8], vec![], vec![]),
            &[1, 2, 1, 1],
        ),
        (
            "Pad",
            file("Pad", &[1, 2, 3, 4], vec![whole("p", &[0, 0, 1, 2, 0, 0, 3, 4])], vec![]),
            &[1, 2, 7, 10],
        ),
        (
            "Transpose",
            file("Transpose", &[1, 2, 3], vec![], vec![settings("perm", &[2, 0, 1])]),
            &[3, 1, 2],
        ),
        ("Reshape", file("Reshape", &[2, 3, 4], vec![whole("to", &[0, -1])], vec![]), &[2, 12]),
        ("Flatten", file("Flatten", &[2, 3, 4], vec![], vec![setting("axis", 2)]), &[6, 4]),
        (
            "Slice",
            file(
                "Slice",
                &[5, 6],
                vec![
                    whole("s", &[1, -4]),
                    whole("e", &[100, -1]),
                    whole("a", &[0, 1]),
                    whole("t", &[2, 1]),
                ],
                vec![],
            ),
            &[2, 3],
        ),
        ("Squeeze", file("Squeeze", &[1, 3, 1], vec![whole("a", &[2])], vec![]), &[1, 3]),
        ("Unsqueeze", file("Unsqueeze", &[3], vec![whole("a", &[0, 2])], vec![]), &[1, 3, 1]),
        (
            "Gather",
            file("Gather", &[4, 5], vec![whole("i", &[1, 3, 1])], vec![setting("axis", 1)]),
            &[4, 3],
        ),
        ("Expand", file("Expand", &[3, 1], vec![whole("to", &[2, 1, 4])], vec![]), &[2, 3, 4]),
        (
            "ReduceMean",
            file(
                "ReduceMean",
                &[2, 3, 4],
                vec![],
                vec![settings("axes", &[1]), setting("keepdims", 0)],
            ),
            &[2, 4],
        ),
        ("ArgMax", file("ArgMax", &[2, 3], vec![], vec![setting("axis", 1)]), &[2, 1]),
        (
            "MatMul",
            file("MatMul", &[2, 3, 4], vec![floats("m", &[4, 5], &[1.0; 20])], vec![]),
            &[2, 3, 5],
        ),
        (
            "Gemm",
            file(
                "Gemm",
                &[4, 3],
                vec![floats("m", &[4, 5], &[1.0; 20])],
                vec![setting("transA", 1)],
            ),
            &[3, 5],
        ),
        ("Softmax", file("Softmax", &[2, 3], vec![], vec![setting("axis", 1)]), &[2, 3]),
        (
            "Resize",
            file(
                "Resize",
                &[1, 1, 3, 3],
                vec![floats("roi", &[0], &[]), floats("by", &[4], &[1.0, 1.0, 2.0, 2.0])],
                vec![
                    text("mode", "nearest"),
                    text("coordinate_transformation_mode", "asymmetric"),
                    text("nearest_mode", "floor"),
                ],
            ),
            &[1, 1, 6, 6],
        ),
    ];
    for (name, file, dims) in cases {
        let model = ready(&file).unwrap_or_else(|error| panic!("{name}: {error}"));

        let answer = model.run(&[&zeros(&model.inputs()[0])], None).unwrap();

        assert_eq!(answer[0].dims(), dims, "{name}");
    }
}

#[test]
fn a_shape_that_is_computed_from_a_shape_is_followed() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        NodeProto {
            attribute: vec![setting("axis", 0)],
            ..node("Gather", &["shape", "first"], "n")
        },
        NodeProto { attribute: vec![setting("axis", 0)], ..node("Concat", &["n", "rest"], "to") },
        node("Reshape", &["x", "to"], "y"),
    ];
    let constants = vec![whole("first", &[0]), whole("rest", &[-1])];
    let input = value("x", &[Some(2), Some(3), Some(4)]);
    let file = write::file(graph(vec![input], nodes, constants, vec![value("y", &[])]), &[]);

    let model = ready(&file).unwrap();

    assert_eq!(model.outputs()[0].dims, [2, 12]);
}

#[test]
fn several_inputs_and_outputs_of_other_numbers_are_taken() {
    let parts = NodeProto {
        output: vec!["left".into(), "right".into()],
        attribute: vec![setting("axis", 1)],
        ..node("Split", &["sum"], "")
    };
    let inputs = vec![value("a", &[None, Some(4)]), value("b", &[Some(1), Some(4)])];
    let nodes = vec![node("Add", &["a", "b"], "sum"), parts];
    let outputs = vec![value("left", &[]), value("right", &[])];
    let model = ready(&write::file(graph(inputs, nodes, vec![], outputs), &[])).unwrap();
    let row = |numbers: [f32; 4]| Tensor::row(numbers.to_vec());

    let said = model.run(&[&row([1.0, 2.0, 3.0, 4.0]), &row([10.0; 4])], None).unwrap();

    assert_eq!(said, [Tensor::row(vec![11.0, 12.0]), Tensor::row(vec![13.0, 14.0])]);
    assert!(model.run(&[&row([0.0; 4])], None).is_err(), "an input is missing");
    let short = Tensor::row(vec![0.0; 3]);
    assert!(matches!(model.run(&[&short, &short], None), Err(Error::Failed(_))));
    let bytes = said[1].to_bytes();
    assert_eq!(Tensor::from_bytes(Kind::F32, &[1, 2], &bytes).unwrap(), said[1]);
    assert!(Tensor::from_bytes(Kind::F32, &[1, usize::MAX], &bytes).is_err());
}

/// Each would run long or fill memory.
#[test]
fn what_is_too_much_is_refused_before_it_is_run() {
    let says = |file: &[u8], limits: &Limits| {
        let read = File::read(file, limits).and_then(|file| file.model(limits));
        read.unwrap_err().to_string()
    };
    let kernel = |side: usize| floats("w", &[1, 1, side, side], &vec![1.0; side * side]);
    let around =
        |by: i64| file("Conv", &[1, 1, 8, 8], vec![kernel(3)], vec![settings("pads", &[by; 4])]);
    for wide in [around(1 << 20), around(i64::MAX)] {
        let said = says(&wide, &limits());
        assert!(said.contains("more than the limit") || said.contains("fit together"), "{said}");
    }
    let by = floats("by", &[2], &[1e6, 1e6]);
    let grown = file("Upsample", &[1, 1], vec![by], vec![]);
    assert!(says(&grown, &limits()).contains("more than the limit"));
    let tall = floats("tall", &[4096, 1], &[1.0; 4096]);
    let table = file("Add", &[1, 8192], vec![tall], vec![]);
    assert!(says(&table, &limits()).contains("size of the ONNX model's tensors"));
    let many = Limits { products_at_once: 100, ..limits() };
    let conv = file("Conv", &[1, 1, 8, 8], vec![kernel(3)], vec![]);
    assert!(says(&conv, &many).contains("multiplications of one ONNX operator"));
    let few = Limits { memory_bytes: 500, ..limits() };
    assert!(says(&conv, &few).contains("limit of 500"));
    let large = Limits { file_bytes: 10, ..limits() };
    assert!(says(&conv, &large).contains("limit of 10"));
    assert!(says(&file("NonZero", &[2], vec![], vec![]), &limits()).contains("is not run"));
    let long = file("Unsqueeze", &[2], vec![], vec![settings("axes", &[0; 100_000])]);
    assert!(says(&long, &limits()).contains("a setting of 100000 numbers"));
    let turned = file("Transpose", &[2, 3], vec![], vec![settings("perm", &[0, 0])]);
    assert!(says(&turned, &limits()).contains("does not fit together"));
}

#[test]
fn an_answer_ends_with_its_time() {
    let conv = file("Conv", &[1, 1, 8, 8], vec![floats("w", &[1, 1, 1, 1], &[2.0])], vec![]);
    let model = ready(&conv).unwrap();
    let input = zeros(&model.inputs()[0]);

    assert_eq!(model.run(&[&input], Some(Instant::now())), Err(Error::Late));
    let later = Instant::now() + Duration::from_secs(60);
    assert!(model.run(&[&input], Some(later)).is_ok());
}

/// Damage anywhere is an error or another model, never a panic that leaves this crate.
#[test]
fn damaged_files_are_errors() {
    let mut random = testkit::Random::printed("damaged_files_are_errors");
    let kernel = floats("w", &[2, 1, 3, 3], &[0.5; 18]);
    let whole = [
        file("Conv", &[1, 2, 9, 8], vec![kernel], vec![setting("group", 2)]),
        file("Slice", &[5, 6], vec![whole("s", &[1, 2]), whole("e", &[4, 5])], vec![]),
        file("Reshape", &[2, 6], vec![write::whole("to", &[3, -1])], vec![]),
    ];
    for round in 0..300 {
        let mut file = whole[round % whole.len()].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len() as u64) as usize;
            file[at] ^= 1 << random.below(8);
        }
        if let Ok(model) = ready(&file) {
            let inputs: Vec<_> = model.inputs().iter().map(zeros).collect();
            let _ = model.run(&inputs.iter().collect::<Vec<_>>(), None);
        }
    }
    assert!(message::ModelProto::decode(&whole[0][..]).is_ok());
}
