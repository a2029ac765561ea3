//! Programs with OpenMP, on real threads.

use crate::{guests, programs::load};
use api::service::Engine;
use cells::{
    Error,
    parallel::{Grant, Parallel},
    run::End,
    wasi::{Buffer, Config, Streams},
};
use std::path::Path;

/// How many threads each program is run with.
const SIZES: [u32; 5] = [1, 2, 3, 4, 8];

/// Runs the module; what it wrote, and how it ended.
fn run(
    module: &Path,
    threads: u32,
    arguments: &[&str],
    memory_bytes: u64,
) -> (String, Result<u32, Error>) {
    let program = Parallel::new(&load(module, Engine::Cranelift)).unwrap();
    let said = Buffer::default();
    let streams = Streams { stdout: Box::new(said.clone()), ..Streams::null() };
    let arguments = ["program"].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
    let config = Config { arguments, streams, ..Config::default() };
    let openmp = openmp::Config::new(threads, 2);
    let ended = program.run(config, openmp, Grant::new(threads), memory_bytes);
    let code = ended.map(|end| match end {
        End::Exited(code) => code,
        End::Suspended => panic!("nobody asked for it"),
    });
    (String::from_utf8(said.take()).unwrap(), code)
}

#[test]
fn an_openmp_program_is_right_at_any_number_of_threads() {
    let Some(module) = guests::openmp("threads.c") else { return };
    for threads in SIZES {
        let (said, ended) = run(&module, threads, &[], 4 << 30);

        assert_eq!(said, format!("right {threads}\n"), "{ended:?}");
        assert_eq!(ended.unwrap(), 0);
    }
    assert_eq!(run(&module, 1, &[], 64 << 20).1.unwrap(), 2, "its heap does not fit");
}

#[test]
fn a_trap_in_any_thread_ends_the_program() {
    let text = "#include <omp.h>\n#include <stdlib.h>\nint main(int n, char **v) {\n\
        #pragma omp parallel num_threads(3)\n\
        { if (omp_get_thread_num() == 1) { if (n > 1) exit(7); __builtin_trap(); }\n\
          for (;;) { _Pragma(\"omp barrier\") } }\n return 0; }\n";
    let Some(module) = guests::openmp_of("trap.c", text) else { return };
    let module = module.unwrap();

    let error = run(&module, 2, &[], 4 << 30).1.unwrap_err().to_string();

    assert!(error.contains("in thread 1, it aborted") && error.contains("omp"), "{error}");
    assert_eq!(run(&module, 2, &["exit"], 4 << 30).1.unwrap(), 7);
}

#[test]
fn what_openmp_has_and_we_have_not_is_refused_when_it_is_built() {
    let text = "#include <omp.h>\nint kmp_get_blocktime(void);\n\
        int main(void) { return kmp_get_blocktime(); }\n";

    let Some(Err(error)) = guests::openmp_of("unknown.c", text) else { return };

    assert!(error.contains("undefined symbol: kmp_get_blocktime"), "{error}");
}
