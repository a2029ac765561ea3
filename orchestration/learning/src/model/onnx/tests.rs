use super::*;
use crate::model::{Boosting, Design, Draw, Forest, Growth, Polynomial};
use inference::message::{ModelProto, TensorProto};
use prost::Message;

const WIDTH: usize = 6;

fn data() -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut draw = Draw(11);
    let mut part = || draw.below(1 << 16) as f64 / f64::from(1 << 16);
    let rows: Vec<Vec<f64>> = (0..400).map(|_| (0..WIDTH).map(|_| part()).collect()).collect();
    let targets = rows.iter().map(|row| 3.0 * row[0] - row[1] * row[2] + row[3]).collect();
    (rows, targets)
}

fn fitted() -> Vec<Fitted> {
    let (rows, targets) = data();
    let growth = Growth { leaf_rows: 5, ..Growth::default() };
    let few = Boosting { trees: 10, growth, ..Boosting::default() };
    let forest = Forest { trees: 5, ..Forest::default() };
    vec![
        Fitted::Ridge(Design::new(&rows).unwrap().fit(&targets, 1.0).unwrap()),
        Fitted::Polynomial(Polynomial::fit(&rows, &targets, 1.0, 4).unwrap()),
        Fitted::Polynomial(Polynomial::fit(&rows, &targets, 1.0, 0).unwrap()),
        Fitted::Trees(few.fit(&rows, &targets).unwrap()),
        Fitted::Trees(forest.fit(&rows, &targets).unwrap()),
    ]
}

fn ridge_file() -> Vec<u8> {
    fitted()[0].to_onnx(&[])
}

fn read(file: Vec<u8>) -> Result<Fitted> {
    Onnx::read(file, vec![0.5; WIDTH])
}

/// Up to what 32 bits hold.
#[test]
fn what_was_written_says_the_same_when_it_is_read() {
    let (rows, _) = data();
    for model in fitted() {
        let back = read(model.to_onnx(&[("key".into(), "value".into())])).unwrap();

        let mut off: Vec<_> =
            rows.iter().map(|row| (model.predict(row) - back.predict(row)).abs()).collect();
        off.sort_by(f64::total_cmp);
        // A figure that lies on a cut may fall to its other side.
        assert!(off[off.len() * 98 / 100] < 1e-4, "{model:?}: {}", off[off.len() - 1]);
        let bytes = postcard::to_stdvec(&back).unwrap();
        assert_eq!(postcard::from_bytes::<Fitted>(&bytes).unwrap(), back);
    }
}

#[test]
fn a_file_of_another_shape_says_which() {
    let says = |width: usize| Onnx::read(ridge_file(), vec![0.0; width]).unwrap_err().to_string();

    assert!(says(5).contains("takes rows of 6 figures; here a row has 5"), "{}", says(5));
    assert!(read(Vec::new()).is_err());
    assert!(read(b"no onnx".to_vec()).is_err());
    let huge =
        Onnx::read(vec![0; Limits::for_figures().file_bytes as usize + 1], vec![0.0]).unwrap_err();
    assert_eq!(huge.kind(), types::ErrorKind::Exhausted);
}

#[test]
fn parts_are_counted_before_they_are_read_into_memory() {
    // A graph of so many operators, each of two bytes in the file and of hundreds in memory.
    let graph = |operators: usize| {
        let mut file = vec![0x3a];
        prost::encoding::encode_varint(2 * operators as u64, &mut file);
        file.extend([0x0a, 0].repeat(operators));
        read(file).unwrap_err().to_string()
    };

    assert!(graph(200_000).contains("more parts"), "{}", graph(200_000));
    assert!(!graph(10).contains("more parts"), "{}", graph(10));
}

/// Each is a file that would run long, fill memory, or read what it should not.
#[test]
fn what_has_no_bound_is_refused_before_it_is_run() {
    let changed = |change: &dyn Fn(&mut ModelProto)| {
        let mut proto = ModelProto::decode(&ridge_file()[..]).unwrap();
        change(&mut proto);
        read(proto.encode_to_vec()).unwrap_err().to_string()
    };
    let graph = |change: &dyn Fn(&mut inference::message::GraphProto)| {
        changed(&|proto| change(proto.graph.as_mut().unwrap()))
    };
    let says = graph(&|graph| graph.node[0].op_type = "Loop".into());
    assert!(says.contains("`Loop` is not run"), "{says}");
    let says = graph(&|graph| graph.initializer[0].dims = vec![1 << 40, 1 << 20]);
    assert!(says.contains("impossible shape"), "{says}");
    let says = graph(&|graph| graph.initializer[0].dims = vec![-6, -1]);
    assert!(says.contains("impossible shape"), "{says}");
    let says = graph(&|graph| graph.initializer[0].data_location = Some(1));
    assert!(says.contains("other files"), "{says}");
    let says = graph(&|graph| graph.node[0].input[0] = "nothing".into());
    assert!(says.contains("before it is computed"), "{says}");
    let says = graph(&|graph| graph.node.push(graph.node[0].clone()));
    assert!(says.contains("two tensors"), "{says}");
    let says = changed(&|proto| proto.graph = None);
    assert!(says.contains("no graph"), "{says}");
    // 60,000 below and 60,000 beside each other are a table of 3.6 billion.
    let says = graph(&|graph| {
        let long = |name: &str, dims: [i64; 2]| TensorProto {
            name: name.into(),
            dims: dims.into(),
            data_type: 1,
            float_data: vec![1.0; 60_000],
            ..TensorProto::default()
        };
        graph.initializer.extend([long("tall", [60_000, 1]), long("wide", [1, 60_000])]);
        let mut node = graph.node[0].clone();
        (node.op_type, node.input) = ("Add".into(), vec!["tall".into(), "wide".into()]);
        node.output = vec!["table".into()];
        graph.node.push(node);
    });
    assert!(says.contains("limit"), "{says}");
}

/// Damage anywhere is an error or another model, never a panic or an answer that is no answer.
#[test]
fn damaged_files_are_errors() {
    let mut draw = Draw(13);
    for model in fitted() {
        let whole = model.to_onnx(&[]);
        for _ in 0..100 {
            let mut file = whole.clone();
            for _ in 0..=draw.below(3) {
                let at = draw.below(file.len());
                file[at] ^= 1 << draw.below(8);
            }
            if draw.below(4) == 0 {
                file.truncate(draw.below(file.len()));
            }
            if let Ok(model) = read(file) {
                model.predict(&[0.5; WIDTH]);
            }
        }
    }
}
