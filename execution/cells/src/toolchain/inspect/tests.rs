use super::*;
use crate::toolchain::sections::without_custom;
use proptest::prelude::*;

/// A module that passes every check, to which `extra` adds fields.
fn instrumented(extra: &str) -> Vec<u8> {
    let text = MIGRATABLE.trim_end();
    wat(&format!("{} {extra})", &text[..text.len() - 1]))
}

const MIGRATABLE: &str = r#"(module
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
            (data (i32.const 1031) "\10"))"#;

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn refusal(wasm: &[u8]) -> NotMigratable {
    inspect(wasm).unwrap().migratable.unwrap_err()
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

#[test]
fn refuses_each_kind_of_state_that_a_snapshot_would_lose() {
    let cases = [
        ("(global (mut i64) (i64.const 0))", "global 5 can change and is not exported"),
        (r#"(global (export "r") (mut funcref) (ref.null func))"#, "global 5 holds a reference"),
        ("(func $f) (start $f)", "start function"),
        ("(func (drop (table.grow 0 (ref.null func) (i32.const 1))))", "`table.grow`"),
        ("(func (table.set 0 (i32.const 0) (ref.null func)))", "`table.set`"),
        ("(func (table.fill 0 (i32.const 0) (ref.null func) (i32.const 1)))", "`table.fill`"),
        ("(func (table.copy (i32.const 0) (i32.const 0) (i32.const 1)))", "`table.copy`"),
        ("(elem $e func $read) (func (elem.drop $e))", "function 6 uses `elem.drop`"),
        (
            "(elem $e func $read) (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)))",
            "`table.init`",
        ),
        (r#"(data $d "x") (func (data.drop $d))"#, "`data.drop`"),
        ("(memory 1)", "exactly one memory"),
    ];

    for (extra, part) in cases {
        let text = refusal(&instrumented(extra)).to_string();
        assert!(text.contains(part), "{extra}: {text}");
    }
}

#[test]
fn refuses_what_the_host_cannot_use_to_suspend() {
    let text = MIGRATABLE;
    let cases = [
        (r#"(export "asyncify_get_state")"#, "", "does not export `asyncify_get_state`"),
        (r#"(export "cloudskin_unwind_area")"#, "", "no unwind area"),
        (r#"(export "cloudskin_unwind_area_size")"#, "", "no unwind area"),
        (r#"(export "memory") 2 9"#, "2 9", "exactly one memory"),
        (r#"(export "memory") 2 9"#, r#"(export "memory") 2 9 shared"#, "shared between threads"),
        (r#"(export "__stack_pointer")"#, "", "global 0 can change"),
        ("i32.const 2048", "i32.const 2047", "unaligned"),
        ("i32.const 2048", "i32.const 0", "outside the module's initial memory"),
        ("i32.const 2048", "i32.const 131064", "outside the module's initial memory"),
        ("i32.const 2048", "i32.const -8", "outside the module's initial memory"),
        ("i32.const 1030", "i32.const 1500", "too small"),
        (
            r#"(export "asyncify_stop_unwind") i32.const 0"#,
            r#"(export "asyncify_stop_unwind") (param i32) i32.const 0"#,
            "`asyncify_stop_unwind` is not what Asyncify makes",
        ),
    ];

    for (from, to, part) in cases {
        assert!(text.contains(from), "{from}");
        let refused = refusal(&wat(&text.replacen(from, to, 1))).to_string();
        assert!(refused.contains(part), "{from} -> {to}: {refused}");
    }
}

#[test]
fn says_when_a_module_uses_threads() {
    for text in [
        "(module (memory 1 1 shared))",
        r#"(module (import "env" "memory" (memory 1 1 shared)))"#,
        "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
    ] {
        assert!(inspect(&wat(text)).unwrap().uses_threads, "{text}");
    }
    assert!(!inspect(&wat("(module (memory 1))")).unwrap().uses_threads);
}

#[test]
fn a_component_is_named_with_what_to_do() {
    let error = inspect(b"\0asm\x0d\0\x01\0rest").unwrap_err();

    assert!(matches!(error, InspectError::Component));
    assert!(error.to_string().contains("--target wasm32-wasip1"), "{error}");
}

#[test]
fn refuses_counts_and_names_beyond_the_limits() {
    // A section that claims four billion types.
    let mut claims = b"\0asm\x01\0\0\0".to_vec();
    claims.extend([1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    // Custom sections without end.
    let mut many = b"\0asm\x01\0\0\0".to_vec();
    many.extend([0, 1, 0].repeat(ITEMS_MAX + 1));

    for (wasm, what) in [(claims, "types"), (many, "custom sections")] {
        let error = inspect(&wasm).unwrap_err();
        assert!(matches!(error, InspectError::TooMany { what: found, .. } if found == what));
    }
}

/// Work that multiplied exports by functions would take minutes here.
#[test]
fn many_exports_and_many_functions_are_read_once_each() {
    let exports: String = (0..50_000).map(|n| format!("(export \"e{n}\" (func 0))")).collect();
    let wasm = wat(&format!("(module {exports} {})", "(func)".repeat(50_000)));

    let started = std::time::Instant::now();
    let found = inspect(&wasm).unwrap();

    assert_eq!((found.exports.len(), found.functions), (50_000, 50_000));
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn every_truncation_gives_an_answer() {
    let wasm = without_custom(&instrumented(""), "name").unwrap();

    for length in 0..wasm.len() {
        // A cut between two sections is a module; any other is refused.
        if let Ok(found) = inspect(&wasm[..length]) {
            assert!(found.migratable.is_err(), "{length}");
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics(at in 8_usize..400, byte: u8, cut in 0_usize..400) {
        let mut wasm = instrumented("(func (table.set 0 (i32.const 0) (ref.null func)))");
        let (at, cut) = (at % wasm.len(), cut % wasm.len());
        wasm[at] = byte;
        let _ = inspect(&wasm);
        wasm.drain(cut..(cut + 3).min(wasm.len()));
        let _ = inspect(&wasm);
    }

    #[test]
    fn any_bytes_after_the_header_never_panic(rest: Vec<u8>) {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        wasm.extend(rest);
        let _ = inspect(&wasm);
    }
}
