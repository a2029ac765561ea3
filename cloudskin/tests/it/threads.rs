//! Programs with OpenMP, built and run by the binary.

use crate::{Run, command, finish};
use std::path::Path;

/// Says how many threads it has, or ends as its argument says.
const TELLS: &str = r#"
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int threads = 0;
    #pragma omp parallel
    {
        if (argc > 1 && omp_get_thread_num() == 1) {
            if (argv[1][0] == 't') __builtin_trap();
            exit(3);
        }
        #pragma omp single
        threads = omp_get_num_threads();
    }
    printf("%d of %d\n", threads, omp_get_max_threads());
    return 0;
}
"#;

async fn run(home: &Path, words: &str) -> Run {
    finish(command(home), words, "").await
}

#[tokio::test]
async fn a_program_has_the_processors_that_it_is_given() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("tells.c"), TELLS).unwrap();
    let built = run(home, "build --openmp tells.c -o tells.wasm").await;
    if built.err.contains("apt-get install") {
        eprintln!("skipped: {}", built.err);
        return;
    }
    built.ok();

    let says = async |words: &str| run(home, words).await.ok();
    assert_eq!(says("run --cpus 2 tells.wasm").await, "2 of 2\n");
    assert_eq!(says("run --cpus 1 --max-cpus 3 tells.wasm").await, "3 of 3\n");
    assert_eq!(says("run --cpus 1 --max-cpus 3 --elastic tells.wasm").await, "1 of 3\n");
    assert_eq!(says("run --env OMP_NUM_THREADS=5 tells.wasm").await, "5 of 5\n");

    let exits = run(home, "run --cpus 2 tells.wasm exit").await;
    assert_eq!((exits.code, exits.err.as_str()), (3, ""));
    let traps = run(home, "run --cpus 2 tells.wasm trap").await;
    assert_eq!(traps.code, 134, "{traps:?}");
    assert!(traps.err.contains("in thread 1, it aborted"), "{traps:?}");
    let wrong = run(home, "run --env OMP_SCHEDULE=often tells.wasm").await;
    assert!(wrong.code != 0 && wrong.err.contains("OMP_SCHEDULE"), "{wrong:?}");
    let greedy = run(home, "run --cpus 4 --max-cpus 2 tells.wasm").await;
    assert!(greedy.err.contains("more than --max-cpus 2"), "{greedy:?}");

    let serial = run(home, "build tells.c").await;
    assert!(serial.err.contains("add --openmp"), "{serial:?}");
    std::fs::write(home.join("alone.c"), "int main(void) { return 0; }").unwrap();
    run(home, "build alone.c -o alone.wasm").await.ok();
    let alone = run(home, "run --cpus 2 alone.wasm").await;
    assert!(alone.err.contains("build it with --openmp"), "{alone:?}");
}
