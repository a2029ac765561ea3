//! A C program with OpenMP that checks its own results, on real threads.

use cells::{
    parallel::Parallel,
    wasi::{Buffer, Config, Streams},
};
use std::{path::Path, process::Command, sync::Arc};

const WRAPPED: [&str; 12] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "vfprintf",
    "fwrite",
    "fputs",
    "puts",
    "putchar",
    "fflush",
];
const EXPORTS: [&str; 3] = ["__stack_pointer", "__tls_size", "cloudskin_threads"];
const BUILTINS: &str = "/usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a";

fn ran(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The module; `None`, said aloud, where there is no compiler.
pub(crate) fn build(source: &Path) -> Option<Vec<u8>> {
    if !Path::new("/usr/bin/wasm-ld-19").exists() || !Path::new(BUILTINS).exists() {
        println!("skipped: install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32");
        return None;
    }
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let folder = tempfile::tempdir().unwrap();
    let objects = [(source.to_owned(), "program.o"), (guest.join("rt/threads.c"), "threads.o")];
    let is_cxx = source.extension().is_some_and(|kind| kind == "cpp");
    for (source, object) in &objects {
        let is_cxx = is_cxx && *object == "program.o";
        let mut command = Command::new(if is_cxx { "clang++-19" } else { "clang-19" });
        if is_cxx {
            command.args(["-nostdinc++", "-fno-exceptions"]);
            command.args(["-isystem", "/usr/include/wasm32-wasi/c++/v1"]);
        }
        command.args(["--target=wasm32-wasi", "-nostdlibinc", "-O2", "-fopenmp", "-msimd128"]);
        command.args(["-matomics", "-mbulk-memory", "-isystem"]).arg(guest.join("include"));
        command.args(["-idirafter", "/usr/include/wasm32-wasi", "-c"]).arg(source);
        ran(command.arg("-o").arg(folder.path().join(object)));
    }
    let mut command = Command::new("wasm-ld-19");
    command.current_dir(folder.path()).arg("-L/usr/lib/wasm32-wasi");
    command.args(["/usr/lib/wasm32-wasi/crt1-command.o", "program.o", "threads.o"]);
    command.args(is_cxx.then_some(["-lc++", "-lc++abi"]).into_iter().flatten());
    command.args(["-lm", "-lc"]);
    command.args([BUILTINS, "--shared-memory", "--import-memory", "--max-memory=4294967296"]);
    command.args(["--no-check-features", "--export-table", "--allow-undefined"]);
    command.args(["-z", "stack-size=1048576", "--stack-first", "-o", "program.wasm"]);
    command.args(WRAPPED.map(|name| format!("--wrap={name}")));
    ran(command.args(EXPORTS.map(|name| format!("--export={name}"))));
    Some(std::fs::read(folder.path().join("program.wasm")).unwrap())
}

#[test]
fn an_openmp_program_is_right_at_any_number_of_threads() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parallel.c");
    let Some(wasm) = build(&source) else { return };
    let program = Parallel::compile("parallel.wasm", &wasm).unwrap();
    for threads in [1, 2, 3, 4, 8] {
        let said = Buffer::default();
        let streams = Streams { stdout: Box::new(said.clone()), ..Streams::null() };
        let config = Config { arguments: vec!["parallel".into()], streams, ..Config::default() };
        let openmp = openmp::Config::new(threads, 2);

        let code = program.run(config, openmp, Arc::new(openmp::Whole), 4 << 30);

        let said = String::from_utf8(said.take()).unwrap();
        assert_eq!(said, format!("right {threads}\n"), "{code:?}");
        assert_eq!(code.unwrap(), 0);
    }
    let tight = program.run(
        Config { arguments: vec!["parallel".into()], ..Config::default() },
        openmp::Config::new(1, 2),
        Arc::new(openmp::Whole),
        64 << 20,
    );
    assert_eq!(tight.unwrap(), 2, "its heap does not fit");
}

#[test]
fn a_trap_in_any_thread_ends_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("trap.c");
    let text = "#include <omp.h>\n#include <stdlib.h>\nint main(int n, char **v) {\n\
        #pragma omp parallel num_threads(3)\n\
        { if (omp_get_thread_num() == 1) { if (n > 1) exit(7); __builtin_trap(); }\n\
          for (;;) { _Pragma(\"omp barrier\") } }\n return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let Some(wasm) = build(&source) else { return };
    let program = Parallel::compile("trap.wasm", &wasm).unwrap();
    let run = |arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let config = Config { arguments, ..Config::default() };
        program.run(config, openmp::Config::new(2, 2), Arc::new(openmp::Whole), 4 << 30)
    };

    let error = run(&["trap"]).unwrap_err();
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert_eq!(run(&["trap", "exit"]).unwrap(), 7);
}
