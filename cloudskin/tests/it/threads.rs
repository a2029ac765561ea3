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

/// Adds up over many regions, and sleeps between them.
const ADDS: &str = r#"
#include <omp.h>
#include <stdio.h>
#include <unistd.h>

static int rounds;
#pragma omp threadprivate(rounds)

int main(void) {
    long long sum = 0;
    for (int round = 0; round < 200; round++) {
        #pragma omp parallel for reduction(+ : sum)
        for (int i = 0; i < 1000; i++) sum += i * (long long)round;
        rounds++;
        usleep(1000);
    }
    printf("%lld in %d rounds, at most %d\n", sum, rounds, omp_get_max_threads());
    return 0;
}
"#;

#[tokio::test]
async fn a_program_on_threads_goes_on_from_its_checkpoint_with_threads_and_without() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("adds.c"), ADDS).unwrap();
    let built = run(home, "build --openmp --migratable adds.c -o adds.wasm").await;
    if built.err.contains("apt-get install") {
        eprintln!("skipped: {}", built.err);
        return;
    }
    assert!(built.ok().contains(", migratable)"));
    let says = async |words: &str| run(home, words).await.ok();

    let saved = "run --cpus 2 --snapshot-to adds.snap --checkpoint-every 5ms adds.wasm";
    let right = says(saved).await;

    assert_eq!(right, "9940050000 in 200 rounds, at most 2\n");
    assert_eq!(says("restore adds.snap adds.wasm").await, right);
    assert_eq!(says("restore --engine pulley --cpus 1 adds.snap adds.wasm").await, right);
    assert_eq!(says("restore --cpus 4 --elastic adds.snap adds.wasm").await, right);
    run(home, "build --openmp adds.c -o plain.wasm").await.ok();
    let unsaved = run(home, "run --snapshot-to a.snap plain.wasm").await;
    assert!(unsaved.code != 0 && unsaved.err.contains("--migratable"), "{unsaved:?}");
    let other = run(home, "restore adds.snap plain.wasm").await;
    assert!(other.code != 0, "{other:?}");
}
