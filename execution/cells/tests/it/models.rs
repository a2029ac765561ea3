//! Models: cells that load, set and compute, alone, as services, and moved in between.

use crate::{
    guests, programs,
    services::{crash_and_restart, migrate},
    worker::{Worker, service},
};
use api::service::Engine;
use cells::{
    ModelFile,
    limits::Limits,
    run::{End, Run},
    wasi::{self, Buffer},
    worker::protocol::{Command, ServiceStart},
};
use inference::write::{self, floats, graph, node, value};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use types::{Epoch, ErrorKind};

/// Writes a model of two numbers: twice the first, three times the second, and `more`.
fn line(folder: &Path, more: f64) -> PathBuf {
    let gemm = node("Gemm", &["row", "weights", "more"], "sum");
    let constants = vec![floats("weights", &[2, 1], &[2.0, 3.0]), floats("more", &[1], &[more])];
    let (row, sum) = (value("row", &[None, Some(2)]), value("sum", &[None, Some(1)]));
    let path = folder.join(format!("line-{more}.onnx"));
    std::fs::write(&path, write::file(graph(vec![row], vec![gemm], constants, vec![sum]), &[]))
        .unwrap();
    path
}

fn named(path: &Path) -> Vec<ModelFile> {
    let digest = Some(cells::digest_file(path).unwrap());
    vec![ModelFile { name: "line".into(), path: path.to_owned(), digest }]
}

/// Ends with what the model says of 10 and 4; from 100 on with what a call said.
const PROGRAM: &str = r#"(module
    (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
    (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "line")
    ;; Two dimensions at 48, 32-bit floats, 8 bytes at 64.
    (data (i32.const 16) "\30\00\00\00\02\00\00\00\01\00\00\00\40\00\00\00\08\00\00\00")
    (data (i32.const 48) "\01\00\00\00\02\00\00\00")
    (data (i32.const 64) "\00\00\20\41\00\00\80\40")
    (func $check (param $said i32)
        (if (local.get $said) (then (call $exit (i32.add (i32.const 100) (local.get $said))))))
    (func (export "_start")
        (call $check (call $load (i32.const 0) (i32.const 4) (i32.const 128)))
        (call $check (call $init (i32.load (i32.const 128)) (i32.const 132)))
        (call $check (call $set (i32.load (i32.const 132)) (i32.const 0) (i32.const 16)))
        (call $check (call $compute (i32.load (i32.const 132))))
        (call $check (call $get (i32.load (i32.const 132)) (i32.const 0)
            (i32.const 136) (i32.const 4) (i32.const 140)))
        (call $exit (i32.trunc_f32_s (f32.load (i32.const 136))))))"#;

fn run(module: &Path, models: &[ModelFile]) -> cells::Result<End> {
    let program = programs::load(module, Engine::Cranelift);
    let models = cells::open_models(models, 1 << 20)?;
    let config = wasi::Config { models, ..programs::config(&["line"], &Buffer::default()) };
    programs::on_thread(Run::new(&program, config, &Limits::default())?).join().unwrap()
}

#[test]
fn a_program_asks_the_model_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("line.wasm");
    std::fs::write(&module, wat::parse_str(PROGRAM).unwrap()).unwrap();
    let models = named(&line(folder.path(), 7.0));

    // 2 · 10 + 3 · 4 + 7
    assert_eq!(run(&module, &models).unwrap(), End::Exited(39));
    let other = vec![ModelFile { name: "other".into(), ..models[0].clone() }];
    assert_eq!(run(&module, &other).unwrap(), End::Exited(108), "no model has the name");

    let refused = |models: &[ModelFile]| types::chain(&run(&module, models).unwrap_err());
    let twice = [models[0].clone(), models[0].clone()];
    assert!(refused(&twice).contains("another one has the same name"));
    std::fs::write(&models[0].path, b"no model").unwrap();
    assert!(refused(&models).contains("has digest"), "{}", refused(&models));
    let changed = [ModelFile { digest: None, ..models[0].clone() }];
    let said = refused(&changed);
    assert!(said.contains("`line`") && said.contains("this is no ONNX file"), "{said}");
}

/// A worker that serves the guest with a model of this file.
async fn serve(folder: &Path, models: Vec<ModelFile>) -> Option<(Worker, ServiceStart, u32)> {
    let module = guests::migratable("infer.c")?;
    let worker = Worker::start(folder).await;
    let start = ServiceStart { models, ..service(&module, folder) };
    let handle = worker.serve(&start).await;
    Some((worker, start, handle))
}

async fn say(worker: &Worker, handle: u32, paths: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    for path in paths {
        said.push(worker.text(handle, &types::random_id(), path).await);
    }
    said
}

#[tokio::test]
async fn a_service_moves_between_any_two_steps_of_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let models = named(&line(folder.path(), 7.0));
    let Some((edge, start, handle)) = serve(folder.path(), models).await else { return };
    let cloud = Worker::start(folder.path()).await;
    let steps = [("/name", "0 0"), ("/context", "0 0"), ("/set", "0 0"), ("/compute", "0 0")];
    let (mut here, mut there, mut handle) = (&edge, &cloud, handle);
    for (epoch, (step, expected)) in (2..).zip(steps) {
        assert_eq!(say(here, handle, &[step]).await, [expected], "{step}");
        let next = ServiceStart {
            epoch: Epoch(epoch),
            state_folder: folder.path().join(format!("{epoch}")),
            ..start.clone()
        };
        handle = migrate(here, there, &next, &format!("m{epoch}")).await;
        (here, there) = (there, here);
    }
    // 2 · 10 + 3 · 1 + 7
    assert_eq!(say(here, handle, &["/get"]).await, ["0 30"]);
}

#[tokio::test]
async fn a_model_that_a_cell_brings_survives_a_crash_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut worker, mut start, handle)) = serve(folder.path(), Vec::new()).await else {
        return;
    };
    let file = std::fs::read(line(folder.path(), 1.0)).unwrap();
    assert_eq!(say(&worker, handle, &["/name"]).await, ["8 0"], "nothing was given");
    let brought = worker.post(handle, "b", "/bring", &file).await.unwrap();
    assert_eq!(&brought.body[..], b"0 0");
    let broken = worker.post(handle, "c", "/bring", &file[..20]).await.unwrap();
    assert_eq!(&broken.body[..], b"2 0");
    assert_eq!(
        say(&worker, handle, &["/context", "/get", "/compute"]).await,
        ["0 0", "5 0", "1 0"]
    );
    assert_eq!(say(&worker, handle, &["/set"]).await, ["0 0"]);
    worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();

    let (handle, _) = crash_and_restart(&mut worker, folder.path(), &mut start).await;

    assert_eq!(say(&worker, handle, &["/compute", "/get"]).await, ["0 0", "0 24"]);
}

#[tokio::test]
async fn another_file_under_the_name_takes_over_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let models = named(&line(folder.path(), 7.0));
    let Some((mut worker, mut start, handle)) = serve(folder.path(), models).await else { return };
    say(&worker, handle, &["/name", "/context", "/set", "/compute"]).await;
    worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();

    start.models = named(&line(folder.path(), 8.0));
    let (handle, _) = crash_and_restart(&mut worker, folder.path(), &mut start).await;

    // What was set and computed was another model's.
    assert_eq!(say(&worker, handle, &["/get", "/compute"]).await, ["5 0", "1 0"]);
    assert_eq!(say(&worker, handle, &["/set", "/compute", "/get"]).await, ["0 0", "0 0", "0 31"]);
    worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();
    worker.kill();
    worker = Worker::start(folder.path()).await;
    start.models.clear();
    let refused = worker.command(Command::Start(Box::new(start))).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Corrupt);
    assert!(refused.message.contains("had loaded the model `line`"), "{refused}");
}

#[tokio::test]
async fn a_model_that_needs_more_than_the_service_may_have_is_refused_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let models = named(&line(folder.path(), 7.0));
    let Some(module) = guests::migratable("infer.c") else { return };
    let worker = Worker::start(folder.path()).await;
    let mut start = ServiceStart { models, ..service(&module, folder.path()) };
    start.models[0].path = wide(folder.path());
    start.models[0].digest = None;
    start.limits.memory_bytes = 8 << 20;

    let refused = worker.command(Command::Start(Box::new(start))).await.unwrap_err();

    assert_eq!(refused.kind, ErrorKind::Exhausted);
    assert!(refused.message.contains("the limit of 8388608"), "{refused}");
}

/// A model whose answer is 64 MiB.
fn wide(folder: &Path) -> PathBuf {
    let constants = vec![floats("wide", &[1, 4096], &[1.0; 4096])];
    let nodes = vec![node("Add", &["row", "wide"], "y")];
    let (row, y) = (value("row", &[Some(4096), Some(1)]), value("y", &[]));
    let path = folder.join("wide.onnx");
    std::fs::write(&path, write::file(graph(vec![row], nodes, constants, vec![y]), &[])).unwrap();
    path
}

/// A model of two numbers that computes for seconds: 80 products of large tables.
fn slow(folder: &Path) -> PathBuf {
    const SIDE: usize = 1024;
    let constants = vec![
        floats("weights", &[2, SIDE], &[1e-6; 2 * SIDE]),
        floats("tall", &[SIDE, 1], &[0.0; SIDE]),
    ];
    let mut nodes = vec![node("MatMul", &["row", "weights"], "wide")];
    nodes.push(node("Add", &["wide", "tall"], "t0"));
    for at in 0..80 {
        let (from, to) = (format!("t{at}"), format!("t{}", at + 1));
        nodes.push(node("MatMul", &[&from, &from], &to));
    }
    nodes.push(node("ReduceSum", &["t80"], "sum"));
    let (row, sum) = (value("row", &[None, Some(2)]), value("sum", &[]));
    let path = folder.join("slow.onnx");
    std::fs::write(&path, write::file(graph(vec![row], nodes, constants, vec![sum]), &[])).unwrap();
    path
}

#[tokio::test]
async fn a_deadline_interrupts_computing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(module) = guests::migratable("infer.c") else { return };
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.models = named(&slow(folder.path()));
    start.request_timeout = Duration::from_millis(200);
    let handle = worker.serve(&start).await;
    assert_eq!(say(&worker, handle, &["/name", "/context", "/set"]).await, ["0 0"; 3]);

    let failure = worker.ask(handle, "c", "/compute").await.unwrap_err();

    assert_eq!(failure.kind, ErrorKind::Timeout, "{failure}");
    assert!(failure.message.contains("longer than 200 ms"), "{failure}");
}
