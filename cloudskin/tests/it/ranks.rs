//! MPI programs, built and run by the binary.

use crate::{Run, command, finish};
use std::path::Path;

/// Ends as its argument says.
const ENDS: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <string.h>

static void trap(void *in, void *inout, int *length, MPI_Datatype *type) {
    __builtin_trap();
}

int main(int argc, char **argv) {
    int rank, value = 7, sum;
    const char *how = argc > 1 ? argv[1] : "well";
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    printf("rank %d ends %s\n", rank, how);
    if (strcmp(how, "abort") == 0 && rank == 1) MPI_Abort(MPI_COMM_WORLD, 5);
    if (strcmp(how, "trap") == 0 && rank == 1) __builtin_trap();
    if (strcmp(how, "early") == 0 && rank == 1) return 3;
    if (strcmp(how, "deadlock") == 0)
        MPI_Recv(&value, 1, MPI_INT, 1 - rank, 4, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (strcmp(how, "wrong") == 0) MPI_Send(&value, 1, MPI_INT, 9, 0, MPI_COMM_WORLD);
    if (strcmp(how, "operation") == 0) {
        MPI_Op op;
        MPI_Op_create(trap, 1, &op);
        MPI_Allreduce(&value, &sum, 1, MPI_INT, op, MPI_COMM_WORLD);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return strcmp(how, "code") == 0 && rank == 1 ? 4 : 0;
}
"#;

/// Needs what no cell has.
const FILES: &str = r#"
#include <mpi.h>
int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    MPI_File_delete("data", MPI_INFO_NULL);
    MPI_Finalize();
}
"#;

async fn run(home: &Path, words: &str) -> Run {
    finish(command(home), words, "").await
}

#[tokio::test]
async fn ranks_end_together_and_whoever_ends_them_is_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("ends.c"), ENDS).unwrap();
    std::fs::write(home.join("files.c"), FILES).unwrap();
    let built = run(home, "build --mpi ends.c -o ends.wasm").await;
    if built.err.contains("apt-get install") {
        return eprintln!("skipped: {}", built.err);
    }
    built.ok();

    let well = run(home, "mpirun -n 3 --tag-output ends.wasm").await.ok();
    let mut lines: Vec<_> = well.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[0] rank 0 ends well", "[1] rank 1 ends well", "[2] rank 2 ends well"]);
    assert_eq!(run(home, "run ends.wasm").await.ok(), "rank 0 ends well\n");

    for (how, code, said) in [
        ("code", 4, ""),
        ("abort", 5, "rank 1 called MPI_Abort"),
        ("trap", 134, "rank 1 failed"),
        ("operation", 1, "failed"),
        ("early", 1, "rank 1 ended without calling MPI_Finalize"),
        ("deadlock", 1, "MPI_Recv"),
        ("wrong", 1, "MPI_Send failed at rank"),
    ] {
        let ended = run(home, &format!("mpirun -n 2 ends.wasm {how}")).await;
        assert!(ended.code == code && ended.err.contains(said), "{how}: {ended:?}");
        assert!(ended.err.matches("error:").count() <= 1, "one says why: {ended:?}");
    }

    let unsaved = run(home, "mpirun -n 2 --snapshot-to a.snap ends.wasm").await;
    assert!(unsaved.code != 0 && unsaved.err.contains("--migratable"), "{unsaved:?}");
    let missing = run(home, "build --mpi files.c").await;
    assert!(missing.code != 0 && missing.err.contains("MPI_File_delete"), "{missing:?}");
}
