use super::*;
use proptest::prelude::*;

/// A module that passes every check, to which `extra` adds fields.
fn instrumented(extra: &str) -> Vec<u8> {
    wat(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2 9)
            (table 1 funcref)
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 1024))
            (global (export "cloudskin_unwind_area") i32 (i32.const 2048))
            (global (export "cloudskin_unwind_area_size") i32 (i32.const 1030))
            (global $state (mut i32) (i32.const 0))
            (global $data (mut i32) (i32.const 0))
            (func (export "asyncify_start_unwind") (param i32)
                i32.const 1 global.set $state local.get 0 global.set $data)
            (func (export "asyncify_stop_unwind") i32.const 0 global.set $state)
            (func (export "asyncify_start_rewind") (param i32)
                i32.const 2 global.set $state local.get 0 global.set $data)
            (func (export "asyncify_stop_rewind") i32.const 0 global.set $state)
            (func (export "asyncify_get_state") (result i32) global.get $state)
            (data (i32.const 1028) "\ff\ff\00")
            (data (i32.const 1031) "\10")
            {extra})"#
    ))
}

fn wat(text: &str) -> Vec<u8> {
    wasmtime::Module::new(&wasmtime::Engine::default(), text).unwrap();
    wasmtime::wat_to_wasm(text)
}

#[test]
fn finds_the_unwind_area_and_all_that_changes() {
    let wasm = instrumented("");

    let found = inspect(&wasm).unwrap();

    assert_eq!(found.migratable, Ok(UnwindArea { address: 2048, size_bytes: 0x1000 }));
    assert!(found.imports_function("wasi_snapshot_preview1", "fd_read"));
    assert_eq!(found.export("memory").unwrap().kind, ExternKind::Memory);
    let globals: Vec<_> =
        found.mutable_globals.iter().map(|global| global.export.as_deref()).collect();
    assert_eq!(globals, [Some("__stack_pointer"), None, None]);
    let memory = found.memories[0];
    assert_eq!((memory.minimum_pages, memory.maximum_pages, memory.shared), (2, Some(9), false));
    assert_eq!(found.functions, 5);
    assert!(!found.uses_threads);
}
