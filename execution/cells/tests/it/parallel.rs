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
fn the_crate_for_rust_is_right_at_any_number_of_threads() {
    let Some(module) = guests::openmp("crate.rs") else { return };
    for threads in SIZES {
        let (said, ended) = run(&module, threads, &[], 4 << 30);

        assert_eq!(said, "ok rust\n", "at {threads}: {ended:?}");
        assert_eq!(ended.unwrap(), 0);
    }
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

#[test]
fn the_image_search_finds_the_same_in_c_and_rust_at_any_number_of_threads() {
    let mut expected: Option<String> = None;
    for source in ["knn.c", "knn.rs"] {
        let Some(module) = guests::openmp(&format!("../../../../examples/elastic/{source}")) else {
            continue;
        };
        for threads in [1, 2, 4] {
            let (said, ended) = run(&module, threads, &["1500", "0.01", "20"], 4 << 30);

            assert_eq!(ended.unwrap(), 0, "{source} at {threads}");
            assert_eq!(said.lines().count(), 20, "{said}");
            assert_eq!(
                &said,
                expected.get_or_insert_with(|| said.clone()),
                "{source} at {threads}"
            );
        }
    }
}

#[test]
fn a_cargo_package_has_the_crate_for_openmp_in_all_its_parts() {
    let program = "fn main() { assert_eq!(part::sum(101), 5050); println!(\"right\"); }";
    let part = "pub fn sum(end: usize) -> usize {\n\
        omp::reduce(0..end, omp::Schedule::Dynamic(3), || 0, |sum, i| *sum += i, |a, b| *a += b) }";
    let manifest = |name: &str, rest: &str| {
        format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{rest}")
    };
    let needs = manifest("whole", "[dependencies]\npart = { path = \"part\" }\n[workspace]\n");
    // In one place for all runs: Cargo keeps what it made of each.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sources/whole");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Cargo.toml", &needs);
    write("src/main.rs", program);
    write("part/Cargo.toml", &manifest("part", ""));
    write("part/src/lib.rs", part);

    let Some(module) = guests::openmp_in(&folder) else { return };

    let (said, ended) = run(&module.unwrap(), 3, &[], 4 << 30);
    assert_eq!((said.as_str(), ended.unwrap()), ("right\n", 0));
}

#[test]
fn a_panic_in_any_thread_of_a_rust_program_ends_it() {
    let text = "fn main() { loop { omp::parallel(|team| assert!(team.thread_num() != 1)); } }";
    let Some(module) = guests::openmp_of("panics.rs", text) else { return };

    let error = run(&module.unwrap(), 2, &[], 4 << 30).1.unwrap_err().to_string();

    assert!(error.contains("in thread 1, it aborted") && error.contains("panic"), "{error}");
}

#[test]
fn what_a_rust_program_cannot_have_is_refused_when_it_is_built() {
    let spawns = "fn main() { std::thread::spawn(|| println!()).join().unwrap(); }";
    let calls = "unsafe extern \"C\" { safe fn elsewhere(); } fn main() { elsewhere() }";
    let shares = "fn main() { let mut n = 0; omp::parallel(|_| n += 1); }";
    let leaks = "fn main() { omp::parallel(|team| omp::parallel(|_| team.barrier())); }";
    for (name, text, said) in [
        ("spawns.rs", spawns, "calls `std::thread::spawn`: a cell's threads are those of"),
        ("calls.rs", calls, "calls `elsewhere`: no library that is linked has it"),
        (
            "shares.rs",
            shares,
            "cannot assign to `n`, as it is a captured variable in a `Fn` closure",
        ),
        ("leaks.rs", leaks, "cannot be shared between threads safely"),
    ] {
        let Some(built) = guests::openmp_of(name, text) else { return };

        let error = built.unwrap_err();
        assert!(error.contains(said), "{name}: {error}");
    }
}
