//! `cloudskin run --nn`: a program with a model.

use crate::Fixture;
use ::inference::write::{self, floats, graph, node, value};

/// Ends with what the model `twice` says of 21; from 100 on with what a call said.
const PROGRAM: &str = r#"(module
    (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
    (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
    (import "wasi_ephemeral_nn" "get_output" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "twice")
    ;; Two dimensions at 48, 32-bit floats, 4 bytes at 64.
    (data (i32.const 16) "\30\00\00\00\02\00\00\00\01\00\00\00\40\00\00\00\04\00\00\00")
    (data (i32.const 48) "\01\00\00\00\01\00\00\00")
    (data (i32.const 64) "\00\00\a8\41")
    (func $check (param $said i32)
        (if (local.get $said) (then (call $exit (i32.add (i32.const 100) (local.get $said))))))
    (func (export "_start")
        (call $check (call $load (i32.const 0) (i32.const 5) (i32.const 128)))
        (call $check (call $init (i32.const 0) (i32.const 132)))
        (call $check (call $set (i32.const 0) (i32.const 0) (i32.const 16)))
        (call $check (call $compute (i32.const 0)))
        (call $check (call $get (i32.const 0) (i32.const 0)
            (i32.const 136) (i32.const 4) (i32.const 140)))
        (call $exit (i32.trunc_f32_s (f32.load (i32.const 136))))))"#;

#[tokio::test]
async fn a_program_is_given_a_model_and_told_why_not() {
    let fixture = Fixture::new().await;
    let product = node("Mul", &["x", "two"], "y");
    let (x, y) = (value("x", &[None, Some(1)]), value("y", &[]));
    let model = graph(vec![x], vec![product], vec![floats("two", &[1], &[2.0])], vec![y]);
    fixture.write("twice.onnx", write::file(model, &[]));
    fixture.write("broken.onnx", b"no model");
    fixture.write("app.wasm", wat::parse_str(PROGRAM).unwrap());

    assert_eq!(fixture.run("run --nn twice=twice.onnx app.wasm").await.code, 42);
    assert_eq!(fixture.run("run app.wasm").await.code, 108, "nothing was given");
    for (option, words) in [
        ("twice", "write NAME=FILE"),
        ("=twice.onnx", "write NAME=FILE"),
        ("twice=nowhere.onnx", "cannot read `nowhere.onnx`"),
        ("twice=broken.onnx", "the model `twice` cannot be used"),
        ("twice=twice.onnx --nn twice=twice.onnx", "another one has the same name"),
    ] {
        let refused = fixture.run(&format!("run --nn {option} app.wasm")).await;
        assert!(refused.code != 0 && refused.err.contains(words), "{option}: {refused:?}");
    }
    let small = fixture.run("run --memory 64Ki --nn twice=twice.onnx app.wasm").await;
    assert_eq!(small.code, 42, "a small model fits: {small:?}");
}
