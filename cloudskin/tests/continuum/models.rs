//! Services with models: what travels of them, and what happens when one is replaced.

use crate::{
    guests,
    world::{CONVERGED, Continuum, Process},
};
use inference::write::{self, floats, graph, node, value};
use std::fs;
use testkit::wait_until;

/// Writes a model of two numbers: twice the first, three times the second, and `more`.
fn line(continuum: &Continuum, file: &str, more: f64) {
    let gemm = node("Gemm", &["row", "weights", "more"], "sum");
    let constants = vec![floats("weights", &[2, 1], &[2.0, 3.0]), floats("more", &[1], &[more])];
    let (row, sum) = (value("row", &[None, Some(2)]), value("sum", &[None, Some(1)]));
    let bytes = write::file(graph(vec![row], vec![gemm], constants, vec![sum]), &[]);
    fs::write(continuum.path(file), bytes).unwrap();
}

#[test]
fn a_service_moves_with_its_model_and_goes_on_with_another_one() {
    let Some(continuum) = Continuum::up() else { return };
    let Some(module) = guests::migratable("infer") else { return };
    fs::copy(module, continuum.path("infer.wasm")).unwrap();
    line(&continuum, "line.onnx", 7.0);
    line(&continuum, "other.onnx", 8.0);
    let apply = |file: &str| {
        let models = format!("models: [{{name: line, file: {file}}}]");
        continuum.apply("eye", "infer.wasm", &[&models, "checkpointEvery: 100ms"])
    };
    apply("nowhere.onnx").fails(3, "nowhere.onnx");
    apply("line.onnx@sha256:00").fails(2, "spec.models.file");
    apply("line.onnx").ok();
    continuum.run("wait --for ready --timeout 30s service/eye").ok();
    let say = |path: &str| continuum.http("eye").get(path).unwrap();
    for step in ["/name", "/context", "/set", "/compute"] {
        assert_eq!(say(step).ok().trim(), "0 0", "{step}");
    }

    continuum.migrate("eye", "cloud").ok();

    // 2 · 10 + 3 · 1 + 7, computed at the edge.
    let answer = say("/get");
    assert_eq!((answer.ok().trim(), answer.header("cloudskin-site")), ("0 30", "cloud"));
    continuum.kill(Process::Worker("cloud"));
    assert_eq!(say("/get").ok().trim(), "0 30");

    apply("other.onnx").ok();
    // What was computed with the first is gone; the context is still there.
    wait_until("the other model is there", CONVERGED, || {
        let said = continuum.http("eye").get("/get");
        said.is_ok_and(|said| said.status == 200 && said.text().trim() == "5 0")
    });
    for (step, expected) in [("/set", "0 0"), ("/compute", "0 0"), ("/get", "0 31")] {
        assert_eq!(say(step).ok().trim(), expected, "{step}");
    }
}
