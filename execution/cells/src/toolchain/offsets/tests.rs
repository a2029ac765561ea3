use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;
use wasmtime::{Engine, Instance, Module, Store};

fn module(body: &str) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1) (func $none)
           (func (export \"run\") (param i32 i32 i32) (result i32) {body} local.get 0))"
    );
    wat::parse_str(text).unwrap()
}

#[track_caller]
fn becomes(body: &str, folded: &str) {
    assert_eq!(fold(&module(body)).unwrap(), module(folded));
}

#[track_caller]
fn stays(body: &str) {
    becomes(body, body);
}

#[test]
fn a_constant_goes_into_the_load_or_store() {
    becomes(
        "(i32.store (local.get 1) (i32.load offset=8 (i32.add (local.get 0) (i32.const 16))))",
        "(i32.store (local.get 1) (i32.load offset=24 (local.get 0)))",
    );
    becomes(
        "(i32.store offset=4 (i32.add (i32.shl (local.get 1) (i32.const 3)) (i32.const 300))
           (i32.const 7))",
        "(i32.store offset=304 (i32.shl (local.get 1) (i32.const 3)) (i32.const 7))",
    );
    becomes(
        "(v128.store (i32.add (local.get 0) (i32.const 16))
           (v128.load8_lane 3 (i32.add (local.get 0) (i32.const 1)) (v128.const i64x2 1 2)))",
        "(v128.store offset=16 (local.get 0)
           (v128.load8_lane offset=1 3 (local.get 0) (v128.const i64x2 1 2)))",
    );
}

#[test]
fn a_local_that_holds_the_sum_is_not_needed() {
    becomes(
        "local.get 0 i32.const 16 i32.add local.tee 2 local.get 2 i32.load i32.store offset=4",
        "local.get 0 i32.const 16 i32.add local.set 2 local.get 0
           local.get 0 i32.load offset=16 i32.store offset=20",
    );
    // Also behind the beginning of a block, and behind a call.
    becomes(
        "(local.set 2 (i32.add (local.get 0) (i32.const 8)))
         (block (br_if 0 (local.get 1)) (call $none) (i32.store (local.get 2) (i32.const 1)))",
        "(local.set 2 (i32.add (local.get 0) (i32.const 8)))
         (block (br_if 0 (local.get 1)) (call $none) (i32.store offset=8 (local.get 0)
           (i32.const 1)))",
    );
}

#[test]
fn what_is_not_known_for_certain_stays() {
    // It may be meant to wrap.
    stays("(drop (i32.load (i32.add (local.get 0) (i32.const -16))))");
    stays("(drop (i32.load (i32.add (local.get 0) (i32.const 1024))))");
    // The other local has changed.
    stays(
        "(local.set 2 (i32.add (local.get 0) (i32.const 8)))
         (local.set 0 (i32.const 5))
         (drop (i32.load (local.get 2)))",
    );
    // The loop is entered again with another one.
    stays(
        "(local.set 2 (i32.add (local.get 0) (i32.const 8)))
         (loop (drop (i32.load (local.get 2))) (local.set 2 (local.get 1)) (br_if 0 (local.get 1)))",
    );
    // Two ways meet.
    stays(
        "(local.set 2 (i32.add (local.get 0) (i32.const 8)))
         (if (local.get 1) (then (local.set 2 (local.get 1))))
         (drop (i32.load (local.get 2)))",
    );
    stays("(drop (i32.load offset=0xfffffff8 (i32.add (local.get 0) (i32.const 16))))");
}

#[test]
fn code_that_others_point_into_stays_where_it_is() {
    let mut wasm = module("(drop (i32.load (i32.add (local.get 0) (i32.const 16))))");
    super::super::sections::push_custom(&mut wasm, ".debug_line", b"places");
    assert_eq!(fold(&wasm).unwrap(), wasm);
}

#[test]
fn bytes_that_are_no_module_are_an_error() {
    assert!(fold(b"\0asm\x01\0\0\0\x0a\xff").is_err());
}

/// Some instructions that leave the stack as it was; addresses are far from both ends.
fn instructions(depth: u32) -> BoxedStrategy<String> {
    let local = || 0..3_u32;
    let constant = || prop_oneof![0..40_u32, 1000..1100_u32];
    let moved = (local(), local(), constant()).prop_map(|(to, of, by)| {
        format!("(local.set {to} (i32.add (local.get {of}) (i32.const {by})))")
    });
    let reset = (local(), 20_000..30_000_u32)
        .prop_map(|(to, at)| format!("(local.set {to} (i32.const {at}))"));
    let stored = (local(), constant(), local(), 0..20_u32).prop_map(|(at, by, of, offset)| {
        format!(
            "(i32.store offset={offset} (i32.add (local.get {at}) (i32.const {by})) \
             (i32.load8_u (local.get {of})))"
        )
    });
    let teed = (local(), local(), constant(), local(), constant()).prop_map(|(of, to, by, from, more)| {
        format!(
            "local.get {of} i32.const {by} i32.add local.tee {to} local.get {from} i32.const {more} \
             i32.add local.tee {from} local.get {to} i32.add i32.store"
        )
    });
    let one = prop_oneof![moved, reset, stored, teed];
    if depth == 0 {
        return one.boxed();
    }
    let several =
        prop::collection::vec(instructions(depth - 1), 1..6).prop_map(|all| all.join(" "));
    let nested = (several, 0..3_u32).prop_map(|(inner, way)| match way {
        0 => format!("(block (br_if 0 (i32.and (local.get 0) (i32.const 1))) {inner})"),
        1 => format!("(if (i32.and (local.get 1) (i32.const 2)) (then {inner}) (else (nop)))"),
        // Twice.
        _ => format!(
            "(global.set 0 (i32.const 2)) (loop {inner} \
             (global.set 0 (i32.sub (global.get 0) (i32.const 1))) (br_if 0 (i32.gt_s (global.get 0) (i32.const 0))))"
        ),
    });
    prop_oneof![3 => one, 1 => nested].boxed()
}

/// What a function does to its memory, and what it returns.
fn done(engine: &Engine, wasm: &[u8]) -> (Vec<u8>, Option<i32>) {
    let module = Module::new(engine, wasm).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(i32, i32, i32), i32>(&mut store, "run").unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    for (at, byte) in memory.data_mut(&mut store).iter_mut().enumerate() {
        *byte = (at * 7) as u8;
    }
    let result = run.call(&mut store, (20_000, 20_100, 20_200)).ok();
    (memory.data(&store).to_vec(), result)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn folded_functions_do_the_same(all in prop::collection::vec(instructions(2), 1..30)) {
        let mut text = "(module (memory (export \"memory\") 8) (global (mut i32) (i32.const 0))
            (func (export \"run\") (param i32 i32 i32) (result i32)".to_owned();
        all.iter().for_each(|one| write!(text, "{one} ").unwrap());
        text.push_str("(i32.add (local.get 0) (i32.add (local.get 1) (local.get 2)))))");
        let wasm = wat::parse_str(text).unwrap();
        let engine = Engine::default();
        let folded = fold(&wasm).unwrap();
        prop_assert_eq!(done(&engine, &wasm), done(&engine, &folded));
    }
}
