//! Builds with the machine's real compilers, run on a host of a few functions.

use super::*;
use std::sync::{Arc, Mutex};
use wasmtime::{Caller, Engine, Extern, Func, Instance, Linker, Memory, Module, Store, Val};

/// A folder with sources; `None`, said aloud, where the compilers are not installed.
fn project(files: &[(&str, &str)], goals: &[Goal]) -> Option<tempfile::TempDir> {
    let environment = Environment::from_process();
    let survey = if goals.contains(&Goal::Rust) {
        Survey::with_rust(&environment)
    } else {
        Survey::new(&environment)
    };
    if let Err(missing) = survey.require(goals) {
        println!("skipped: {missing}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Some(folder)
}

fn options(folder: &Path, inputs: &[&str]) -> Options {
    let mut environment = Environment::from_process();
    environment.current_dir = folder.to_owned();
    environment.cache_dir = folder.join("cache");
    Options::new(inputs.iter().map(PathBuf::from).collect(), environment)
}

fn built(options: &Options) -> (Built, Vec<u8>) {
    let built = build(options).unwrap_or_else(|error| panic!("{}", types::chain(&error)));
    let wasm = fs::read(options.environment.current_dir.join(&built.output)).unwrap();
    (built, wasm)
}

/// What a guest did.
#[derive(Default)]
struct Host {
    said: Arc<Mutex<String>>,
    exit: Option<i32>,
    /// Suspend at the checkpoint of this number, counted from 1.
    suspend_at: Option<u32>,
    checkpoints: u32,
    area: Option<UnwindArea>,
}

struct Guest {
    store: Store<Host>,
    instance: Instance,
}

impl Guest {
    fn new(module: &Module, host: Host) -> Self {
        let engine = module.engine();
        let mut linker = Linker::new(engine);
        let wasi = "wasi_snapshot_preview1";
        linker.func_wrap(wasi, "fd_write", write).unwrap();
        linker
            .func_wrap(wasi, "proc_exit", |mut caller: Caller<'_, Host>, code: i32| {
                caller.data_mut().exit = Some(code);
                Err::<(), _>(wasmtime::Error::msg("exit"))
            })
            .unwrap();
        linker.func_wrap("cloudskin", "checkpoint", checkpoint).unwrap();
        let mut store = Store::new(engine, host);
        linker.define_unknown_imports_as_default_values(&mut store, module).unwrap();
        let instance = linker.instantiate(&mut store, module).unwrap();
        Self { store, instance }
    }

    /// Runs `_start`; gives the trap's text if there was one.
    fn start(&mut self) -> Result<(), String> {
        let start = self.instance.get_typed_func::<(), ()>(&mut self.store, "_start").unwrap();
        match start.call(&mut self.store, ()) {
            Err(error) if self.store.data().exit.is_none() => Err(format!("{error:?}")),
            _ => Ok(()),
        }
    }

    fn said(&self) -> String {
        self.store.data().said.lock().unwrap().clone()
    }

    fn call(&mut self, name: &str, args: &[i32]) -> i32 {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let args: Vec<Val> = args.iter().map(|arg| Val::I32(*arg)).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, &args, &mut results).unwrap();
        results.first().map_or(0, Val::unwrap_i32)
    }

    fn memory(&mut self) -> Memory {
        self.instance.get_memory(&mut self.store, "memory").unwrap()
    }
}

fn memory_of(caller: &mut Caller<'_, Host>) -> Memory {
    caller.get_export("memory").and_then(Extern::into_memory).unwrap()
}

fn write(mut caller: Caller<'_, Host>, _fd: i32, vectors: i32, count: i32, done: i32) -> i32 {
    let memory = memory_of(&mut caller);
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    };
    let mut total = 0;
    for vector in 0..count as usize {
        let at = vectors as usize + vector * 8;
        let (start, length) = (word(bytes, at), word(bytes, at + 4));
        let text = String::from_utf8_lossy(&bytes[start..start + length]).into_owned();
        host.said.lock().unwrap().push_str(&text);
        total += length;
    }
    bytes[done as usize..done as usize + 4].copy_from_slice(&(total as u32).to_le_bytes());
    0
}

/// Asyncify's protocol at a barrier point: 0 running, 1 unwinding, 2 rewinding.
fn checkpoint(mut caller: Caller<'_, Host>) -> i32 {
    let call = |caller: &mut Caller<'_, Host>, name: &str, args: &[Val]| -> Option<i32> {
        let function: Func = caller.get_export(name)?.into_func()?;
        let mut results = vec![Val::I32(0); function.ty(&*caller).results().len()];
        function.call(caller, args, &mut results).unwrap();
        results.first().map(Val::unwrap_i32)
    };
    if call(&mut caller, "asyncify_get_state", &[]) == Some(2) {
        call(&mut caller, "asyncify_stop_rewind", &[]);
        return 0;
    }
    let host = caller.data_mut();
    host.checkpoints += 1;
    if host.suspend_at == Some(host.checkpoints) {
        let area = host.area.unwrap();
        let memory = memory_of(&mut caller);
        let mut header = (area.address + 8).to_le_bytes().to_vec();
        header.extend((area.address + area.size_bytes).to_le_bytes());
        memory.write(&mut caller, area.address as usize, &header).unwrap();
        call(&mut caller, "asyncify_start_unwind", &[Val::I32(area.address.cast_signed())]);
    }
    0
}

/// Runs a program, moving it to a fresh instance at the checkpoint of this number.
fn run_moved(module: &Module, inspection: &Inspection, suspend_at: u32) -> String {
    let area = inspection.migratable.clone().unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let host =
        |suspend_at| Host { said: said.clone(), suspend_at, area: Some(area), ..Host::default() };
    let mut source = Guest::new(module, host(Some(suspend_at)));
    source.start().unwrap();
    assert_eq!(source.call("asyncify_get_state", &[]), 1, "the program was not suspended");
    source.call("asyncify_stop_unwind", &[]);

    let mut target = Guest::new(module, host(None));
    let (from, to) = (source.memory(), target.memory());
    let pages = from.size(&source.store) - to.size(&target.store);
    to.grow(&mut target.store, pages).unwrap();
    to.data_mut(&mut target.store).copy_from_slice(from.data(&source.store));
    for global in &inspection.mutable_globals {
        let Some(name) = &global.export else { continue };
        let global = source.instance.get_global(&mut source.store, name).unwrap();
        let value = global.get(&mut source.store);
        let global = target.instance.get_global(&mut target.store, name).unwrap();
        global.set(&mut target.store, value).unwrap();
    }
    drop(source);
    target.call("asyncify_start_rewind", &[area.address.cast_signed()]);
    target.start().unwrap();
    target.said()
}

fn compiled(wasm: &[u8]) -> Module {
    Module::new(&Engine::default(), wasm).unwrap()
}

fn run_plain(module: &Module) -> (Result<(), String>, String) {
    let mut guest = Guest::new(module, Host::default());
    (guest.start(), guest.said())
}

/// Recursion, an indirect call that the compiler cannot resolve, and state in the heap, on the
/// stack, in a vector register and in a static, all alive across the checkpoint.
const DEEP: &str = r#"
#include <cloudskin/cloudskin.h>
#include <stdio.h>
#include <stdlib.h>
static unsigned steps;
static unsigned level(unsigned depth, unsigned *heap);
static unsigned (*volatile indirect)(unsigned, unsigned *) = level;
static unsigned level(unsigned depth, unsigned *heap) {
  unsigned local[4] = {depth, depth * 3, depth ^ 5, ++steps};
  heap[depth] = depth * depth;
  if (depth < 20)
    local[1] += depth % 2 ? indirect(depth + 1, heap) : level(depth + 1, heap);
  else
    for (int i = 0; i < 5; i++) local[2] = local[2] * 31 + i + (unsigned)cloudskin_checkpoint();
  return local[0] + local[1] * 7 + local[2] * 13 + local[3] + heap[depth];
}
int main(void) {
  unsigned *heap = malloc(40000 * sizeof *heap);
  for (int round = 0; round < 3; round++) printf("%u\n", indirect(0, heap));
  printf("%u steps\n", steps);
  free(heap);
  return 0;
}
"#;

#[test]
fn a_migratable_program_continues_elsewhere_at_every_checkpoint() {
    let Some(folder) = project(&[("deep.c", DEEP)], &[Goal::C, Goal::Migratable]) else { return };
    let (_, plain) = built(&options(folder.path(), &["deep.c"]));
    let expected = run_plain(&compiled(&plain));
    assert!(expected.0.is_ok() && expected.1.contains("63 steps"), "{expected:?}");
    let mut migratable = options(folder.path(), &["deep.c"]);
    migratable.migratable = true;

    let (found, wasm) = built(&migratable);

    let area = found.inspection.migratable.clone().unwrap();
    assert_eq!(area.size_bytes, UNWIND_AREA_BYTES_DEFAULT);
    let module = compiled(&wasm);
    assert_eq!(run_plain(&module), expected, "instrumented, never suspended");
    for suspend_at in 1..=15 {
        assert_eq!(
            run_moved(&module, &found.inspection, suspend_at),
            expected.1,
            "at {suspend_at}"
        );
    }
}

#[test]
fn a_plain_module_of_ours_can_be_instrumented_later_with_the_same_result() {
    let Some(folder) = project(&[("deep.c", DEEP)], &[Goal::C, Goal::Migratable]) else { return };
    let mut once = options(folder.path(), &["deep.c"]);
    once.unwind_area_bytes = 8192;
    let (plain, _) = built(&once);
    assert!(matches!(plain.inspection.migratable, Err(NotMigratable::NotInstrumented(_))));
    once.migratable = true;
    once.output = Some("once.wasm".into());
    let (_, once) = built(&once);
    let mut later = options(folder.path(), &["deep.wasm"]);
    later.migratable = true;

    let (found, wasm) = built(&later);

    assert_eq!(found.output, Path::new("deep.migratable.wasm"));
    assert_eq!(found.inspection.migratable.unwrap().size_bytes, 8192);
    assert!(wasm == once);
}

const THROWS: &str = r#"
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
struct Base { virtual ~Base() = default; int pad = 7; };
namespace sensor { struct TooHot : Base, std::runtime_error { using std::runtime_error::runtime_error; }; }
__attribute__((noinline)) void measure(int degrees) {
  if (degrees > 90) throw sensor::TooHot("at " + std::to_string(degrees) + " degrees");
  std::printf("measured %d\n", degrees);
  std::fflush(stdout);
}
int main() {
  try { measure(20); measure(LIMIT); } catch (const std::exception &error) { std::puts(error.what()); }
  if (LIMIT > 80) std::terminate();
  return 0;
}
"#;

#[test]
fn try_and_catch_build_and_a_throw_ends_the_cell_by_name() {
    let Some(folder) = project(&[("hot.cpp", THROWS)], &[Goal::Cxx]) else { return };
    let run = |limit: &str| {
        let mut options = options(folder.path(), &["hot.cpp"]);
        options.flags.push(format!("-DLIMIT={limit}"));
        run_plain(&compiled(&built(&options).1))
    };

    let (result, said) = run("30");
    assert_eq!((result, said.as_str()), (Ok(()), "measured 20\nmeasured 30\n"));

    let (result, said) = run("95");
    assert!(said.contains("C++ exception `sensor::TooHot` was thrown: at 95 degrees"), "{said}");
    assert!(result.unwrap_err().contains("measure(int)"), "the backtrace names the place");

    let (result, said) = run("85");
    assert!(said.contains("std::terminate was called"), "{said}");
    assert!(result.unwrap_err().contains("main"));
}

const FIRST: &str = "#include <assert.h>\n#include \"second.h\"\nint main(int c, char **v) { \
                     assert(second(c) < 100); return 0; }";
const SECOND: &str = "#include <stdio.h>\n#include \"second.h\"\nint second(int n) { \
                      printf(\"%s %s %s\\n\", __FILE__, HERE, __DATE__); return n; }";
const HEADER: &str = "#define HERE __FILE__\nint second(int);\n";

#[test]
fn the_same_sources_give_the_same_bytes_in_every_folder() {
    let files = [("src/a.c", FIRST), ("src/deep/b.c", SECOND), ("inc/second.h", HEADER)];
    let goals = [Goal::C, Goal::Migratable];
    let (Some(one), Some(other)) = (project(&files, &goals), project(&files, &goals)) else {
        return;
    };
    let make = |folder: &Path, inputs: &[&str], include: &str, output: &str, debug: bool| {
        let mut options = options(folder, inputs);
        options.flags = vec![format!("-I{include}")];
        options.flags.extend(debug.then(|| "-g".to_owned()));
        options.migratable = !debug;
        options.output = Some(output.into());
        built(&options).1
    };
    let absolute = |name: &str| other.path().join(name).display().to_string();

    for debug in [false, true] {
        let relative = make(one.path(), &["src/a.c", "src/deep/b.c"], "inc", "one.wasm", debug);
        let elsewhere = make(
            &other.path().join("src"),
            &[&absolute("src/a.c"), "deep/b.c"],
            &absolute("inc"),
            "../other.wasm",
            debug,
        );

        assert!(relative == elsewhere, "debug {debug}");
        let text = String::from_utf8_lossy(&relative);
        assert!(!text.contains(&*one.path().to_string_lossy()), "debug {debug}");
    }
}

const ON_THREADS: &str = "fn main() {\n\
    let sum = omp::reduce(0..9, omp::Schedule::Static, || 0, |sum, i| *sum += i, |a, b| *a += b);\n\
    println!(\"{sum} {}\", file!()); }\n";

#[test]
fn rust_on_threads_gives_the_same_bytes_in_every_folder_and_says_what_it_needs() {
    let files = [("sum.rs", ON_THREADS)];
    let (Some(one), Some(other)) = (project(&files, &[]), project(&files, &[])) else { return };
    let make = |folder: &tempfile::TempDir| {
        let mut options = options(folder.path(), &["sum.rs"]);
        options.openmp = true;
        match build(&options) {
            Err(error) if error.kind() == types::ErrorKind::Unsupported => {
                println!("skipped: {error}");
                None
            }
            _ => Some(built(&options)),
        }
    };
    let (Some((found, wasm)), Some((_, again))) = (make(&one), make(&other)) else { return };

    assert!(wasm == again);
    let text = String::from_utf8_lossy(&wasm);
    assert!(!text.contains(&*one.path().to_string_lossy()));
    assert!(found.inspection.imports.iter().any(|import| import.name == "__kmpc_reduce_nowait"));
    let memory = found.inspection.memories.first().unwrap();
    assert!(memory.shared && memory.imported, "{memory:?}");
}

#[test]
fn mistakes_are_shown_with_the_place_as_the_user_wrote_it() {
    let files = [
        ("wrong.c", "int main(void) { return x; }"),
        ("jump.c", "#include <setjmp.h>\nint main(void) { return 0; }"),
        ("threads.c", "int pthread_create(void); int main(void) { return pthread_create(); }"),
    ];
    let Some(folder) = project(&files, &[Goal::C]) else { return };

    for (file, parts) in [
        ("wrong.c", ["clang-19 failed on `wrong.c`", "\nwrong.c:1:25: error:"]),
        ("jump.c", ["setjmp and longjmp are not available in a cell", "return an error code"]),
        ("threads.c", ["threads are not available", "undefined symbol: pthread_create"]),
    ] {
        let error = build(&options(folder.path(), &[file])).unwrap_err().to_string();

        for part in parts {
            assert!(error.contains(part), "{file}: {part}: {error}");
        }
        assert!(!error.contains(&*folder.path().to_string_lossy()), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path().join("cache/work")).unwrap().count(), 0);
}

#[test]
fn a_newer_compilers_feature_list_does_not_stop_instrumentation() {
    let Some(folder) = project(&[("deep.c", DEEP)], &[Goal::C, Goal::Migratable]) else { return };
    let (_, mut wasm) = built(&options(folder.path(), &["deep.c"]));
    wasm = sections::without_custom(&wasm, "target_features").unwrap();
    sections::push_custom(&mut wasm, "target_features", b"\x01+\x0ffeature-of-2099");
    fs::write(folder.path().join("newer.wasm"), wasm).unwrap();
    let mut options = options(folder.path(), &["newer.wasm"]);
    options.migratable = true;

    assert!(built(&options).0.inspection.migratable.is_ok());
}

const RUST: &str = r#"
#[link(wasm_import_module = "cloudskin")]
unsafe extern "C" { fn checkpoint() -> i32; }
fn main() {
    let parts: Vec<String> = (0..4).map(|n| { unsafe { checkpoint() }; n.to_string() }).collect();
    println!("{}", parts.join("+"));
}
"#;

#[test]
#[ignore = "needs rustc-web, and compiles its standard library: about a minute"]
fn rust_programs_build_from_a_file_or_a_package_and_move() {
    let manifest = "[package]\nname = \"adder\"\nversion = \"1.0.0\"\nedition = \"2024\"\n";
    let files = [("add.rs", RUST), ("p/src/main.rs", RUST), ("p/Cargo.toml", manifest)];
    let goals = [Goal::Rust, Goal::C, Goal::Migratable];
    let (Some(folder), Some(other)) = (project(&files, &goals), project(&files, &goals)) else {
        return;
    };

    for input in ["add.rs", "p"] {
        let mut options = options(folder.path(), &[input]);
        options.migratable = true;
        let (found, wasm) = built(&options);

        let module = compiled(&wasm);
        assert_eq!(run_plain(&module), (Ok(()), "0+1+2+3\n".to_owned()), "{input}");
        assert_eq!(run_moved(&module, &found.inspection, 3), "0+1+2+3\n", "{input}");
        let text = String::from_utf8_lossy(&wasm);
        assert!(!text.contains(&*folder.path().to_string_lossy()), "{input}");
        options.environment.current_dir = other.path().to_owned();
        assert!(built(&options).1 == wasm, "{input} differs in another folder");
    }
}
