use super::*;
use proptest::prelude::*;
use wasmtime::{Config, Engine, Instance, Module, SharedMemory, Store, Trap, Val};

/// Instructions by name, in the text format, with the type of their value.
const LOADS: [(&str, &str); 7] = [
    ("i32.atomic.load", "i32"),
    ("i64.atomic.load", "i64"),
    ("i32.atomic.load8_u", "i32"),
    ("i32.atomic.load16_u", "i32"),
    ("i64.atomic.load8_u", "i64"),
    ("i64.atomic.load16_u", "i64"),
    ("i64.atomic.load32_u", "i64"),
];
const STORES: [(&str, &str); 7] = [
    ("i32.atomic.store", "i32"),
    ("i64.atomic.store", "i64"),
    ("i32.atomic.store8", "i32"),
    ("i32.atomic.store16", "i32"),
    ("i64.atomic.store8", "i64"),
    ("i64.atomic.store16", "i64"),
    ("i64.atomic.store32", "i64"),
];
/// What comes between `rmw` and its operation.
const WIDTHS: [(&str, &str, &str); 7] = [
    ("i32", "", ""),
    ("i64", "", ""),
    ("i32", "8", "_u"),
    ("i32", "16", "_u"),
    ("i64", "8", "_u"),
    ("i64", "16", "_u"),
    ("i64", "32", "_u"),
];
const OPERATIONS: [&str; 6] = ["add", "sub", "and", "or", "xor", "xchg"];

/// A function for each atomic instruction, `f0` and so on: (address, value, expected) to a number.
/// Each has locals of its own, whose values must stay.
fn every_instruction(offset: u32) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    let mut add = |body: String, ty: &str| {
        let narrow = |operand: &str| match ty {
            "i64" => format!("(local.get ${operand})"),
            _ => format!("(i32.wrap_i64 (local.get ${operand}))"),
        };
        let body = body.replace("VALUE", &narrow("value")).replace("EXPECTED", &narrow("expected"));
        text.push_str(&format!(
            "(func (export \"f{count}\") (param $at i32) (param $value i64) (param $expected i64) \
             (result i64) (local $mark i64) (local.set $mark (i64.const 77)) (local.get $mark) \
             {body} (i64.mul (i64.const 1000003)) (i64.add) \
             (i64.add (local.get $mark)) (i64.add (local.get $expected)))\n"
        ));
        count += 1;
    };
    let wide = |ty: &str| if ty == "i64" { "" } else { "(i64.extend_i32_u)" };
    for (name, ty) in LOADS {
        add(format!("({name} offset={offset} (local.get $at)) {}", wide(ty)), ty);
    }
    for (name, ty) in STORES {
        add(format!("({name} offset={offset} (local.get $at) VALUE) (i64.const 5)"), ty);
    }
    for (ty, width, suffix) in WIDTHS {
        for operation in OPERATIONS {
            let name = format!("{ty}.atomic.rmw{width}.{operation}{suffix}");
            add(format!("({name} offset={offset} (local.get $at) VALUE) {}", wide(ty)), ty);
        }
        let name = format!("{ty}.atomic.rmw{width}.cmpxchg{suffix}");
        let operands = "(local.get $at) EXPECTED VALUE";
        add(format!("({name} offset={offset} {operands}) {}", wide(ty)), ty);
    }
    add(
        format!(
            "(i64.extend_i32_u (memory.atomic.notify offset={offset} (local.get $at) (i32.const 1)))"
        ),
        "i32",
    );
    // No time to wait: what an unthreaded program may do.
    for (ty, name) in [("i32", "memory.atomic.wait32"), ("i64", "memory.atomic.wait64")] {
        let operands = "(local.get $at) EXPECTED (i64.const 0)";
        add(format!("(i64.extend_i32_u ({name} offset={offset} {operands}))"), ty);
    }
    add("(atomic.fence) (i64.const 3)".into(), "i32");
    (text, count)
}

fn module(offset: u32) -> (Vec<u8>, usize) {
    let (functions, count) = every_instruction(offset);
    let text = format!("(module (import \"env\" \"memory\" (memory 1 4 shared)) {functions})");
    (wat::parse_str(text).unwrap(), count)
}

/// What a call gives, and the memory after it; nothing if it traps.
type Outcome = Option<(i64, Vec<u8>)>;

/// Runs a function of the threaded module.
fn threaded(engine: &Engine, module: &Module, name: &str, seed: &[u8], args: [Val; 3]) -> Outcome {
    let memory = SharedMemory::new(engine, wasmtime::MemoryType::shared(1, 4)).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[memory.clone().into()]).unwrap();
    let view = openmp_view(&memory);
    for (at, byte) in seed.chunks_exact(4).enumerate() {
        view.put_u32(at as u32 * 4, u32::from_le_bytes(byte.try_into().unwrap())).unwrap();
    }
    let result = call(&mut store, &instance, name, args)?;
    let words = (0..seed.len() as u32 / 4).flat_map(|at| view.u32(at * 4).unwrap().to_le_bytes());
    Some((result, words.collect()))
}

fn openmp_view(memory: &SharedMemory) -> openmp::Memory {
    struct Bytes(SharedMemory);
    impl openmp::LinearMemory for Bytes {
        fn bytes(&self) -> &[std::cell::UnsafeCell<u8>] {
            self.0.data()
        }
    }
    openmp::Memory::new(std::sync::Arc::new(Bytes(memory.clone())))
}

/// Runs the same of the twin.
fn plain(engine: &Engine, module: &Module, name: &str, seed: &[u8], args: [Val; 3]) -> Outcome {
    let mut store = Store::new(engine, ());
    let memory = wasmtime::Memory::new(&mut store, wasmtime::MemoryType::new(1, Some(4))).unwrap();
    let instance = Instance::new(&mut store, module, &[memory.into()]).unwrap();
    memory.write(&mut store, 0, seed).unwrap();
    let result = call(&mut store, &instance, name, args)?;
    Some((result, memory.data(&store)[..seed.len()].to_vec()))
}

fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: [Val; 3]) -> Option<i64> {
    let function = instance.get_func(&mut *store, name).unwrap();
    let mut result = [Val::I64(0)];
    function.call(store, &args, &mut result).ok()?;
    result[0].i64()
}

fn engine() -> Engine {
    Engine::new(Config::new().wasm_threads(true).shared_memory(true)).unwrap()
}

/// The modules and their twins, for two offsets, compiled once.
struct Pairs(Engine, Vec<(Module, Module, usize)>);

impl Pairs {
    fn new() -> Self {
        let engine = engine();
        let pairs = [0, 6].map(|offset| {
            let (wasm, count) = module(offset);
            let twin = lower(&wasm).unwrap();
            same_layout(&wasm, &twin.wasm).unwrap();
            let compiled = |wasm: &[u8]| Module::new(&engine, wasm).unwrap();
            (compiled(&wasm), compiled(&twin.wasm), count)
        });
        Self(engine, pairs.into())
    }
}

#[test]
fn every_instruction_gives_the_same_and_leaves_the_same_memory() {
    let pairs = Pairs::new();
    // Values that meet in some bytes, so that comparisons also succeed.
    let word = prop_oneof![
        Just(0x0101_0101_0101_0101_u64),
        Just(u64::MAX),
        Just(0xffff_ff01_u64),
        any::<u64>()
    ];
    let address =
        prop_oneof![0..40_u32, Just(65530), Just(65536), Just(u32::MAX), Just(u32::MAX - 5)];
    let seed = proptest::collection::vec(word.clone(), 8);
    let inputs = (address, word.clone(), word, seed, any::<bool>());
    let config =
        ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() };
    proptest!(config, |((at, value, other, seed, other_offset) in inputs)| {
        let bytes: Vec<u8> = seed.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (one, twin, count) = &pairs.1[usize::from(other_offset)];
        let there = seed[(at as usize / 8) % seed.len()];
        for expected in [other, there] {
            let args = || [Val::I32(at.cast_signed()), Val::I64(value.cast_signed()), Val::I64(expected.cast_signed())];
            for index in 0..*count {
                let name = format!("f{index}");
                let found = plain(&pairs.0, twin, &name, &bytes, args());
                let wanted = threaded(&pairs.0, one, &name, &bytes, args());
                prop_assert_eq!(found, wanted, "function {} at {:#x}", index, at);
            }
        }
    });
}

#[test]
fn a_wait_that_nobody_ends_traps_where_it_is_said_to() {
    let wasm = wat::parse_str(
        "(module (import \"env\" \"memory\" (memory 1 4 shared))
           (func (export \"f\") (param i32) (result i32)
             (memory.atomic.wait32 (i32.const 8) (local.get 0) (i64.const -1))))",
    )
    .unwrap();
    let twin = lower(&wasm).unwrap();
    let engine = engine();
    let compiled = Module::new(&engine, &twin.wasm).unwrap();
    let mut store = Store::new(&engine, ());
    let memory = wasmtime::MemoryType::new(1, Some(4));
    let memory = wasmtime::Memory::new(&mut store, memory).unwrap();
    let instance = Instance::new(&mut store, &compiled, &[memory.into()]).unwrap();
    let wait = instance.get_typed_func::<u32, u32>(&mut store, "f").unwrap();

    assert_eq!(wait.call(&mut store, 1).unwrap(), 1, "another value is there");
    let error = wait.call(&mut store, 0).unwrap_err();

    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>().unwrap();
    let at = backtrace.frames()[0].module_offset().unwrap();
    assert!(is_endless_wait(&twin.waits, at), "{at} {:?}", twin.waits);
    assert!(!is_endless_wait(&twin.waits, at - 8));
}

#[test]
fn modules_that_differ_in_anything_else_are_told_apart() {
    let with = |text: &str| {
        let text = text.replace("MEMORY", "(import \"env\" \"memory\" (memory 1 4 shared))");
        wat::parse_str(text).unwrap()
    };
    let base = "(module MEMORY (global (mut i32) (i32.const 1)) (data \"abc\")
        (func (param i32) (result i32) (i32.atomic.rmw.add offset=4 (local.get 0) (i32.const 7))))";
    let one = with(base);
    let twin = lower(&one).unwrap().wasm;
    same_layout(&one, &twin).unwrap();
    assert_eq!(lower(&twin).unwrap().wasm, twin, "a twin is its own twin");

    for (from, to) in [
        ("(i32.const 1))", "(i32.const 2))"),
        ("abc", "abd"),
        ("offset=4", "offset=8"),
        ("rmw.add", "rmw.sub"),
        ("(i32.const 7)", "(i32.const 6)"),
        ("memory 1 4", "memory 1 5"),
        ("(param i32)", "(param i32 i32)"),
        ("(local.get 0)", "(nop) (local.get 0)"),
        ("(data \"abc\")", ""),
    ] {
        let text = base.replace("MEMORY", "(import \"env\" \"memory\" (memory 1 4 shared))");
        let other = with(&text.replace(from, to));
        assert!(same_layout(&one, &lower(&other).unwrap().wasm).is_err(), "{from} -> {to}");
    }
}

#[test]
fn what_has_no_twin_is_refused_by_name() {
    let wasm = wat::parse_str("(module (import \"e\" \"m\" (memory i64 1 4 shared)))").unwrap();
    assert!(matches!(lower(&wasm), Err(TwinError::Memory64)));

    let mut unknown = module(0).0;
    let at = unknown.windows(3).position(|bytes| bytes == [0xfe, 0x10, 0x02]).unwrap();
    unknown[at + 1] = 0x7e;
    let error = lower(&unknown).unwrap_err();
    assert!(matches!(error, TwinError::Malformed(_) | TwinError::Instruction { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_modules_are_lowered_or_refused(flips: Vec<(usize, u8)>, cut: usize) {
        let mut wasm = module(6).0;
        let size = wasm.len();
        for (at, value) in flips {
            wasm[8 + at % (size - 8)] = value;
        }
        wasm.truncate(8 + cut % size);
        if let Ok(twin) = lower(&wasm) {
            let _ = same_layout(&wasm, &twin.wasm);
            let _ = same_layout(&twin.wasm, &wasm);
        }
    }
}
