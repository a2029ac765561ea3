//! Programs that read and write objects as files.

use crate::{
    Run, command, finish,
    objects::{LIMIT, Served, run},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};
use testkit::wait_until;

/// Builds the program; false where there is no compiler.
async fn built(home: &Path) -> bool {
    fs::write(home.join("mounted.c"), include_str!("mounted.c")).unwrap();
    let built = run(home, "build --migratable mounted.c -o mounted.wasm").await;
    if built.err.contains("apt-get install") {
        eprintln!("skipped: {}", built.err);
        return false;
    }
    built.ok();
    true
}

#[tokio::test]
async fn a_program_finds_the_same_in_a_bucket_as_in_a_folder() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !built(home).await {
        return;
    }
    fs::create_dir(home.join("plain")).unwrap();
    fs::write(home.join("key"), [7; 32]).unwrap();
    let plain = run(home, "run --dir plain::/data mounted.wasm /data").await.ok();
    let nobody = run(home, "run --dir geds://lab::/data mounted.wasm /data").await;
    assert!(nobody.code == 6 && nobody.err.contains("cloudskin serve geds"), "{nobody:?}");

    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    for dir in [
        "geds://lab::/data",
        "geds://lab/deep/in::/data",
        "geds://safe::/data,transform=encrypt,key-file=key",
        "geds://small::/data,transform=compress",
    ] {
        let seen = run(home, &format!("run --dir {dir} mounted.wasm /data")).await.ok();
        assert_eq!(seen, plain, "{dir}");
    }
    let cat = async |key: &str| run(home, &format!("geds cat geds://{key}")).await.ok();
    let last = fs::read_to_string(home.join("plain/kept/last")).unwrap();
    assert_eq!(last.len(), 200_000);
    assert!(cat("lab/kept/last").await == last && cat("lab/deep/in/kept/last").await == last);
    assert_eq!(cat("lab/kept/final").await, cat("lab/deep/in/kept/final").await);
    let listed = run(home, "geds ls --recursive geds://lab/kept/").await.ok();
    assert!(!listed.contains("gone"), "{listed}");

    // What is kept otherwise is not what the program wrote, and others are told so.
    run(home, "geds cp geds://safe/kept/final out").await.ok();
    let kept = fs::read(home.join("out")).unwrap();
    assert!(kept.starts_with(b"CSKFILE") && !kept.windows(8).any(|bytes| bytes == b"appended"));
    let size = async |key: &str| {
        let stat = run(home, &format!("geds stat -o json geds://{key}")).await.ok();
        let size = stat.split("\"size\": ").nth(1).unwrap();
        size.split(|end: char| !end.is_ascii_digit()).next().unwrap().parse::<u64>().unwrap()
    };
    assert!(size("small/kept/last").await < 100_000);
    assert!(size("safe/kept/last").await > 200_000);

    let read_only = run(home, "run --dir geds://lab/new::/data:ro mounted.wasm /data").await.ok();
    assert!(read_only.starts_with("mkdir: Read-only file system\n"), "{read_only}");
    let trapped = run(home, "run --dir geds://lab::/data mounted.wasm /data trap").await;
    assert_eq!(trapped.code, 134, "{trapped:?}");
    assert_eq!(run(home, "geds stat geds://lab/trapped").await.code, 3);
}

/// Starts the program that writes a half and asks for the rest, and waits for its half.
fn half(home: &Path, words: &str) -> Child {
    let mut command = command(home).into_std();
    command.args(words.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "half\n");
    child
}

#[tokio::test]
async fn a_program_is_saved_with_its_open_objects_in_the_middle_of_writing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    if !built(home).await {
        return;
    }
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    finish(command(home), "geds cp - geds://lab/kept/final", "the input").await.ok();
    let start = "run --snapshot-to half.snap --dir geds://lab::/data mounted.wasm /data halves";
    let mut child = half(home, start);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR2).unwrap();
    wait_until("it is saved", LIMIT, || child.try_wait().unwrap().is_some());
    assert_eq!(run(home, "geds stat geds://lab/halves").await.code, 3, "it is not sealed");

    let words = "restore --dir geds://lab::/data half.snap mounted.wasm";
    assert_eq!(finish(command(home), words, "more, ").await.ok(), "whole\n");
    let whole = run(home, "geds cat geds://lab/halves").await.ok();
    assert_eq!(whole, "the , half, more, input");

    // A killed program leaves what was there, and the next one sees that.
    let mut child = half(home, "run --dir geds://lab::/data mounted.wasm /data halves");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(run(home, "geds cat geds://lab/halves").await.ok(), whole);

    // What it read is another version now.
    finish(command(home), "geds cp - geds://lab/kept/final", "the input").await.ok();
    let refused: Run = finish(command(home), words, "more, ").await;
    let says = |text: &str| refused.err.contains(text);
    assert!(refused.code != 0 && says("`kept/final` in `/data` is version"), "{refused:?}");
}

/// Threads, or ranks, that write into one open file, and leave it open.
const SHARES: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef USE_MPI
#include <mpi.h>
#else
#include <omp.h>
#endif

static void part(int fd, int number) {
    char text[16];
    snprintf(text, sizeof text, "part %d;", number);
    if (pwrite(fd, text, 7, 7 * number) != 7) abort();
}

int main(int argc, char **argv) {
    int fd = open("/data/shared", O_CREAT | O_WRONLY, 0600);
#ifdef USE_MPI
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    part(fd, rank);
    MPI_Finalize();
#else
    #pragma omp parallel for
    for (int i = 0; i < 4; i++) part(fd, i);
    if (argc > 1) {
        #pragma omp parallel
        if (omp_get_thread_num() == 1) exit(3);
    }
#endif
    return 0;
}
"#;

#[tokio::test]
async fn threads_and_ranks_share_an_open_object() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("shares.c"), SHARES).unwrap();
    let built = run(home, "build --openmp shares.c -o threads.wasm").await;
    if built.err.contains("apt-get install") {
        return eprintln!("skipped: {}", built.err);
    }
    built.ok();
    run(home, "build --mpi -DUSE_MPI shares.c -o ranks.wasm").await.ok();
    let mut node = Served::start(home, "serve geds --memory 64Mi");
    node.ready(home, "CLOUDSKIN_GEDS=");
    let shared =
        async |bucket: &str| run(home, &format!("geds cat geds://{bucket}/shared")).await.ok();

    run(home, "run --cpus 2 --dir geds://one::/data threads.wasm").await.ok();
    assert_eq!(shared("one").await, "part 0;part 1;part 2;part 3;");
    let exits = run(home, "run --cpus 2 --dir geds://two::/data threads.wasm exit").await;
    assert_eq!(exits.code, 3, "{exits:?}");
    assert_eq!(shared("two").await, "part 0;part 1;part 2;part 3;");
    run(home, "mpirun -n 2 --dir geds://three::/data ranks.wasm").await.ok();
    assert_eq!(shared("three").await, "part 0;part 1;");
}
