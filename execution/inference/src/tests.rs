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

/// With operators of another version.
fn of_version(version: i64, file: &[u8]) -> Vec<u8> {
    let mut model = message::ModelProto::decode(file).unwrap();
    model.opset_import[0].version = version;
    model.encode_to_vec()
}

/// The runtime looks at one form, according to the version: the other may say anything.
#[test]
fn a_value_has_the_form_of_its_version_and_no_other() {
    let pads = || whole("p", &[0, 2_000_000_000]);
    let tall = || floats("by", &[1], &[1e6]);
    let scales = AttributeProto { floats: vec![1.0], ..settings("scales", &[]) };
    let two = || vec![whole("s", &[0]), whole("e", &[9])];
    let (empty, roi) = (|| floats("by", &[0], &[]), || floats("roi", &[0], &[]));
    let cases: Vec<(&str, i64, Vec<u8>, &str)> = vec![
        (
            "pads twice",
            13,
            file("Pad", &[1], vec![pads()], vec![settings("pads", &[0, 0])]),
            "an input, not as a setting",
        ),
        (
            "pads, early",
            10,
            file("Pad", &[1], vec![pads()], vec![settings("pads", &[0, 0])]),
            "a setting, not as an input",
        ),
        (
            "scales twice",
            13,
            file("Resize", &[1], vec![roi(), tall()], vec![scales]),
            "an input, not as a setting",
        ),
        (
            "scales and sizes",
            13,
            file("Resize", &[1], vec![roi(), tall(), whole("to", &[1])], vec![]),
            "fit together",
        ),
        ("neither", 13, file("Resize", &[1], vec![roi(), empty()], vec![]), "fit together"),
        (
            "sizes, early",
            10,
            file("Resize", &[1], vec![tall(), roi(), whole("to", &[1])], vec![]),
            "fit together",
        ),
        (
            "slice twice",
            13,
            file("Slice", &[9], two(), vec![settings("starts", &[0]), settings("ends", &[1])]),
            "an input, not as a setting",
        ),
        (
            "steps, early",
            9,
            file(
                "Slice",
                &[9],
                vec![],
                vec![settings("starts", &[0]), settings("ends", &[9]), settings("steps", &[9])],
            ),
            "an input, not as a setting",
        ),
        (
            "axes of sums",
            13,
            file("ReduceSum", &[9], vec![], vec![settings("axes", &[0])]),
            "an input, not as a setting",
        ),
        (
            "axes of means",
            18,
            file("ReduceMean", &[9], vec![whole("a", &[0])], vec![settings("axes", &[0])]),
            "an input, not as a setting",
        ),
        (
            "axes, early",
            17,
            file("ReduceMean", &[9], vec![whole("a", &[0])], vec![]),
            "a setting, not as an input",
        ),
        (
            "no axes",
            17,
            file("ReduceMean", &[9], vec![], vec![settings("axes", &[])]),
            "fit together",
        ),
        (
            "split twice",
            13,
            file("Split", &[9], vec![whole("a", &[9])], vec![settings("split", &[9])]),
            "an input, not as a setting",
        ),
        ("no version", 0, file("Relu", &[9], vec![], vec![]), "of which version"),
    ];
    for (name, version, file, says) in cases {
        let said = ready(&of_version(version, &file)).unwrap_err().to_string();
        assert!(said.contains(says), "{name}: {said}");
    }
    let mut gap = message::ModelProto::decode(&file("Split", &[4], two(), vec![])[..]).unwrap();
    gap.graph.as_mut().unwrap().node[0].input[1].clear();
    let said = ready(&gap.encode_to_vec()).unwrap_err().to_string();
    assert!(said.contains("`Split` leaves out its input 1"), "{said}");

    let kept: [(i64, Vec<u8>, &[usize]); 3] = [
        (
            9,
            file("Slice", &[9], vec![], vec![settings("starts", &[2]), settings("ends", &[9])]),
            &[7],
        ),
        (10, file("Pad", &[3], vec![], vec![settings("pads", &[1, 1])]), &[5]),
        (18, file("ReduceMean", &[3, 4], vec![whole("a", &[1])], vec![]), &[3, 1]),
    ];
    for (version, file, dims) in kept {
        assert_eq!(ready(&of_version(version, &file)).unwrap().outputs()[0].dims, dims);
    }
}

/// A number that is another one afterwards is not taken for what it was before.
#[test]
fn a_cast_shape_is_known_only_where_it_is_the_same() {
    let cast = |to: i64, end: i64| {
        let as_kind = |kind: i64, from: &str, into: &str| NodeProto {
            attribute: vec![setting("to", kind)],
            ..node("Cast", &[from], into)
        };
        let nodes = vec![
            as_kind(to, "end", "small"),
            as_kind(7, "small", "to"),
            node("Slice", &["x", "zero", "to"], "y"),
        ];
        let constants = vec![whole("zero", &[0]), whole("end", &[end])];
        let graph = graph(vec![value("x", &[Some(300)])], nodes, constants, vec![value("y", &[])]);
        ready(&write::file(graph, &[]))
    };
    for (to, end) in [(10, 65_520), (3, 200), (1, 200), (6, 1 << 40)] {
        let said = cast(to, end).unwrap_err().to_string();
        assert!(said.contains("what goes into `Slice` does not fit together"), "{to}: {said}");
    }
    assert_eq!(cast(6, 200).unwrap().outputs()[0].dims, [200]);
    assert_eq!(cast(7, 200).unwrap().outputs()[0].dims, [200]);
}

/// Were one counted otherwise inside, the runtime would not begin.
#[test]
fn shapes_inside_are_compared_with_those_that_were_counted() {
    let nodes = vec![node("Relu", &["x"], "inside"), node("ReduceMax", &["inside"], "y")];
    let graph = graph(vec![value("x", &[Some(3)])], nodes, vec![], vec![value("y", &[])]);
    let file = File::read(&write::file(graph, &[]), &limits()).unwrap();
    let given = [("x".to_owned(), Kind::F32, vec![3])];
    let mut cost = bounds::check(file.graph(), 17, &given, &limits()).unwrap();
    assert!(Model::ready(&file, &given, &cost, 0).is_ok());

    cost.shapes.insert("inside".into(), vec![2]);

    assert!(Model::ready(&file, &given, &cost, 0).is_err());
}

/// Two bytes of a file may become more than ten times as many.
#[test]
fn a_file_that_grows_when_it_is_read_is_refused_before() {
    let limits = Limits::for_programs(4 << 20);
    let of = |attribute: AttributeProto| file("Relu", &[1], vec![], vec![attribute]);
    let empty = AttributeProto { strings: vec![Vec::new(); 100_000], ..settings("a", &[]) };
    let shape = message::TensorShapeProto { dim: vec![Default::default(); 1_000] };
    let value = message::type_proto::Value::TensorType(message::type_proto::Tensor {
        elem_type: 1,
        shape: Some(shape),
    });
    let described = message::ValueInfoProto {
        r#type: Some(message::TypeProto { value: Some(value), ..Default::default() }),
        ..Default::default()
    };
    let mut values = message::ModelProto::decode(&of(setting("a", 1))[..]).unwrap();
    values.graph.as_mut().unwrap().value_info = vec![described; 100];
    let long = TensorProto { dims: vec![1; 400_000], ..floats("long", &[], &[]) };
    let cases = [
        of(empty),
        of(settings("a", &[1; 400_000])),
        values.encode_to_vec(),
        file("Relu", &[1], vec![long], vec![]),
    ];
    for (at, file) in cases.iter().enumerate() {
        assert!(file.len() < 1 << 20, "{at}");
        let said = File::read(file, &limits).unwrap_err().to_string();
        assert!(said.contains("takes when it is read"), "{at}: {said}");
    }
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
