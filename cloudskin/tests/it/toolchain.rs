//! Compilers for build systems: projects that know nothing of cells are built as they are.

use crate::{Run, command, finish};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const MAKEFILE: &str = "\
CC = cc
CFLAGS = -O2 -march=native -fPIC -MMD -pthread
all: serial threads ranks
serial: main.o libutil.a
\t$(CC) $(CFLAGS) $^ -o $@ -lm -lpthread
threads: main.c util.c
\t$(CC) $(CFLAGS) -fopenmp $^ -o $@ -lgomp
ranks: main.c libutil.a
\t$(MPICC) $(CFLAGS) -DRANKS $^ -o $@ -lmpi
libutil.a: util.o
\tar rcs $@ $^
";

const CMAKE: &str = "\
cmake_minimum_required(VERSION 3.18)
project(parts C CXX)
find_package(OpenMP REQUIRED)
find_package(MPI REQUIRED)
include(CheckCSourceRuns)
check_c_source_runs(\"int main(void) { return sizeof(long) != 4; }\" LONG_IS_SHORT)
if(NOT LONG_IS_SHORT)
  message(FATAL_ERROR \"what was built was not run\")
endif()
add_library(util STATIC util.c)
add_executable(serial hello.cpp)
add_executable(threads main.c)
target_link_libraries(threads util OpenMP::OpenMP_C)
add_executable(ranks main.c)
target_compile_definitions(ranks PRIVATE RANKS)
target_link_libraries(ranks util MPI::MPI_C)
enable_testing()
add_test(NAME serial COMMAND serial)
";

const MAIN: &str = r#"
#include <stdio.h>
#ifdef RANKS
#include <mpi.h>
#endif
int util(int);
int main(int argc, char **argv) {
    int sum = 0;
#ifdef RANKS
    int one = 1;
    MPI_Init(&argc, &argv);
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Comm_rank(MPI_COMM_WORLD, &one);
    if (one == 0)
#else
    #pragma omp parallel reduction(+ : sum)
    sum += 1;
#endif
    printf("%d\n", util(sum));
#ifdef RANKS
    MPI_Finalize();
#endif
    return 0;
}
"#;

const HELLO: &str = "#include <iostream>\nint main() { std::cout << \"hello\\n\"; }\n";

async fn run(home: &Path, words: &str) -> Run {
    finish(command(home), words, "").await
}

/// A project's folder with the compilers in `tools`; `None`, said aloud, without a toolchain.
async fn project(home: &Path) -> Option<PathBuf> {
    for (name, text) in [
        ("Makefile", MAKEFILE),
        ("CMakeLists.txt", CMAKE),
        ("main.c", MAIN),
        ("util.c", "int util(int number) { return 10 * number; }\n"),
        ("hello.cpp", HELLO),
    ] {
        std::fs::write(home.join(name), text).unwrap();
    }
    let built = run(home, "build hello.cpp").await;
    if built.err.contains("apt-get install") {
        eprintln!("skipped: {}", built.err);
        return None;
    }
    run(home, "toolchain link tools").await.ok();
    Some(home.join("tools"))
}

fn told(home: &Path, program: &str, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(home).env("HOME", home).env_remove("XDG_CACHE_HOME");
    let Ok(output) = command.output() else {
        eprintln!("skipped: there is no {program}");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(output.status.success(), "{program}: {text}");
    Some(text)
}

#[tokio::test]
async fn a_makefile_builds_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let Some(tools) = project(home).await else { return };
    let cc = format!("CC={}", tools.join("cloudskin-cc").display());
    let mpicc = format!("MPICC={}", tools.join("cloudskin-mpicc").display());

    let Some(_) = told(home, "make", &[&cc, &mpicc]) else { return };

    assert_eq!(run(home, "run serial").await.ok(), "10\n");
    assert_eq!(run(home, "run --cpus 3 threads").await.ok(), "30\n");
    assert_eq!(run(home, "mpirun -np 2 ranks").await.ok(), "20\n");
    run(home, "cc --mpi -- -O2 --migratable -DRANKS main.c util.c -o moves.wasm").await.ok();
    let again = run(home, "build --migratable moves.wasm -o same.wasm").await.ok();
    assert!(again.contains(", migratable)"), "{again}");
    let read = |name: &str| std::fs::read(home.join(name)).unwrap();
    assert!(read("moves.wasm") == read("same.wasm"), "it was instrumented when it was linked");
    assert_eq!(run(home, "mpirun -n 3 moves.wasm").await.ok(), "30\n");
    run(home, "cc -- -O2 --migratable -fopenmp main.c util.c -o regions.wasm").await.ok();
    assert_eq!(run(home, "run --cpus 3 regions.wasm").await.ok(), "30\n");
    assert_eq!(run(home, "run --engine pulley --cpus 1 regions.wasm").await.ok(), "10\n");
    assert!(home.join("main.d").is_file(), "the compiler wrote what make asked for");
}

#[tokio::test]
async fn cmake_finds_openmp_and_mpi_and_runs_what_it_builds() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let Some(tools) = project(home).await else { return };
    let file = format!("-DCMAKE_TOOLCHAIN_FILE={}", tools.join("cloudskin.cmake").display());

    let Some(_) = told(home, "cmake", &["-B", "build", &file]) else { return };
    told(home, "cmake", &["--build", "build"]);
    let tested = told(&home.join("build"), "ctest", &[]).unwrap();

    assert!(tested.contains("100% tests passed"), "{tested}");
    assert_eq!(run(home, "run --cpus 4 build/threads.wasm").await.ok(), "40\n");
    assert_eq!(run(home, "mpirun -n 3 build/ranks.wasm").await.ok(), "30\n");
}

#[tokio::test]
async fn mistakes_are_said_as_compilers_say_them() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let Some(_) = project(home).await else { return };
    std::fs::write(home.join("wrong.c"), "int main(void) { return x; }").unwrap();
    std::fs::write(
        home.join("sockets.c"),
        "int socket(int,int,int); int main(void) { return socket(1,1,1); }",
    )
    .unwrap();

    let wrong = run(home, "cc -- -c wrong.c").await;
    assert!(wrong.code == 1 && wrong.err.starts_with("wrong.c:1:25: error:"), "{wrong:?}");
    let sockets = run(home, "cc -- sockets.c -o sockets").await;
    assert!(sockets.err.contains("a cell has no sockets"), "{sockets:?}");
    let shared = run(home, "cc -- -shared main.o").await;
    assert!(shared.err.contains("`-shared` cannot be used"), "{shared:?}");
    let shown = run(home, "cc --mpi -- -showme:compile").await.ok();
    assert!(shown.starts_with("-I") && shown.ends_with("/mpi\n"), "{shown}");
    assert!(run(home, "cc -- --version").await.ok().contains("wasm32"));
}
