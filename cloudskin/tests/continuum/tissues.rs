//! Parallel programs at sites.

use crate::{
    guests,
    world::{CONVERGED, Continuum, Process},
};
use std::{
    process::{Child, Stdio},
    time::Duration,
};
use testkit::wait_until;

/// Says, again and again, how many threads a region has; as often as its argument says.
const THREADS: &str = r#"
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    for (int time = 0; time < atoi(argv[1]); time++) {
        int threads = 0;
        #pragma omp parallel
        {
            #pragma omp single
            threads = omp_get_num_threads();
        }
        printf("now %d of %d\n", threads, omp_get_max_threads());
        fflush(stdout);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return 0;
}
"#;

/// Adds up for a while; each rank counts.
pub(crate) const RANKS: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    int rank, size, times = atoi(argv[1]);
    long long sum = 0, all;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int time = 1; time <= times; time++) {
        long long mine = (long long)time * (rank + 1);
        MPI_Allreduce(&mine, &all, 1, MPI_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
        sum += all;
        if (rank == 0 && time == 5) { printf("begun\n"); fflush(stdout); }
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    if (rank == 0) printf("sum %lld of %d\n", sum, size);
    MPI_Finalize();
    return rank == 1 ? 5 : 0;
}
"#;

fn started(continuum: &Continuum, words: &str, more: &[&str]) -> Child {
    let words: Vec<&str> = words.split(' ').collect();
    let mut command = continuum.command(&words, more);
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// The last line that it has written.
pub(crate) fn last(continuum: &Continuum, tissue: &str) -> String {
    let log = continuum.run(&format!("logs tissue/{tissue}")).out;
    log.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_program_on_threads_has_the_processors_that_others_leave() {
    let Some(continuum) = Continuum::up() else { return };
    let Some(()) = guests::parallel(&continuum, "threads", THREADS, "--openmp") else { return };
    let edge = continuum.run("get site/edge -o json").json();
    let cpus: u64 = edge["status"]["cpu"].as_str().unwrap().parse().unwrap();
    let most = cpus + 1;
    let words = format!("run --site edge --name el --cpus 1 --max-cpus {most} --elastic");
    let mut elastic = started(&continuum, &words, &["threads.wasm", "5000"]);

    wait_until("it has all processors", CONVERGED, || {
        last(&continuum, "el") == format!("now {cpus} of {most}")
    });
    let rows = continuum.run("get tissues").ok();
    assert!(rows.contains(&format!("{cpus} of {most} CPUs")), "{rows}");
    let words = format!("run --site edge --name other --cpus {cpus}");
    let mut other = started(&continuum, &words, &["threads.wasm", "100"]);
    wait_until("another job has them", CONVERGED, || {
        last(&continuum, "el") == format!("now 1 of {most}")
    });
    assert!(other.wait().unwrap().success());
    wait_until("they are released", CONVERGED, || {
        last(&continuum, "el") == format!("now {cpus} of {most}")
    });
    continuum.run(&format!("scale tissue/el --cpus {most}")).ok();
    wait_until("somebody wants it so", CONVERGED, || {
        last(&continuum, "el") == format!("now {most} of {most}")
    });
    continuum.run("scale tissue/el --cpus 1000").fails(2, "--max-cpus");

    continuum.run("delete tissue/el").ok();
    continuum.run("wait --for deleted tissue/el --timeout 10s").ok();
    elastic.wait().unwrap();
}

/// Adds up for a while, on all threads.
const SUMS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    long long sum = 0;
    for (int time = 1; time <= atoi(argv[1]); time++) {
        #pragma omp parallel for reduction(+ : sum)
        for (int i = 0; i < 1000; i++) sum += (long long)time * i;
        if (time == 5) { printf("begun\n"); fflush(stdout); }
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    printf("sum %lld\n", sum);
    return 6;
}
"#;

#[test]
fn threads_are_saved_at_a_site_and_go_on_at_another() {
    let Some(continuum) = Continuum::up() else { return };
    let flags = "--openmp --migratable";
    let Some(()) = guests::parallel(&continuum, "sums", SUMS, flags) else { return };
    let mut there =
        started(&continuum, "run --site edge --name sums --cpus 2", &["sums.wasm", "400"]);
    wait_until("it has begun", CONVERGED, || last(&continuum, "sums") == "begun");
    continuum.run("snapshot tissue/sums -f sums.snap").ok();
    continuum.run("delete tissue/sums").ok();
    there.wait().unwrap();

    let on = continuum.run("restore --site cloud sums.snap sums.wasm");
    assert!(on.code == Some(6) && on.out.ends_with("sum 40059900000\n"), "{on}");
    let rows = continuum.run("get tissues").ok();
    assert!(rows.contains("cloud"), "{rows}");
}

#[test]
fn ranks_run_at_a_site_and_go_on_at_another() {
    let Some(continuum) = Continuum::up() else { return };
    let flags = "--mpi --migratable";
    let Some(()) = guests::parallel(&continuum, "ranks", RANKS, flags) else { return };
    let short = continuum.run("mpirun -n 3 --sites edge --name short ranks.wasm 20");
    assert!(short.code == Some(5) && short.out.ends_with("sum 1260 of 3\n"), "{short}");
    continuum.run("wait --for exited tissue/short --timeout 10s").ok();

    let words = "mpirun -n 3 --sites edge --name long";
    let mut long = started(&continuum, words, &["ranks.wasm", "400"]);
    wait_until("it has begun", CONVERGED, || last(&continuum, "long") == "begun");
    continuum.run("snapshot tissue/long -f all.snap").ok();
    continuum.run("delete tissue/long").ok();
    long.wait().unwrap();

    let there = continuum.run("restore --site cloud all.snap ranks.wasm");
    assert!(there.code == Some(5) && there.out.ends_with("sum 481200 of 3\n"), "{there}");
    let rows = continuum.run("get tissues").ok();
    assert!(rows.contains("cloud") && rows.contains("3 ranks"), "{rows}");
    let placed = continuum.run("mpirun -n 2 --place spread --name placed ranks.wasm 20");
    assert!(placed.code == Some(5) && placed.out.ends_with("sum 630 of 2\n"), "{placed}");
    assert_eq!(sites(&continuum, "placed"), "cloud:1 edge:1");
    let why = continuum.run("why tissue/placed").ok();
    assert!(why.contains("by planner") && why.contains("it was given 1 rank"), "{why}");
    continuum.run("mpirun -n 1024 --place locality ranks.wasm 1").fails(8, "would fit if");
    continuum.run("mpirun -n 2 --sites edge --place locality ranks.wasm 1").fails(2, "--place");
    continuum.run("mpirun -n 2 --sites edge,cloud,moon ranks.wasm 1").fails(2, "more sites");
    continuum.run("mpirun -n 2 --sites edge,edge ranks.wasm 1").fails(2, "twice");
}

/// Where the ranks of a tissue are, as `get` says.
pub(crate) fn sites(continuum: &Continuum, tissue: &str) -> String {
    let rows = continuum.run(&format!("get tissue/{tissue}")).out;
    let row = rows.lines().last().unwrap_or_default();
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    cells.get(2).copied().unwrap_or_default().to_owned()
}

#[test]
fn ranks_move_between_sites_while_they_run() {
    let Some(continuum) = Continuum::up() else { return };
    let flags = "--mpi --migratable";
    let Some(()) = guests::parallel(&continuum, "ranks", RANKS, flags) else { return };
    let words = ["mpirun", "-n", "4", "--sites", "edge,cloud", "--name", "mover", "ranks.wasm"];
    let mover = continuum.command(&words, &["600"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it has begun", CONVERGED, || last(&continuum, "mover") == "begun");
    assert_eq!(sites(&continuum, "mover"), "edge:2 cloud:2");

    let told = continuum.run("migrate tissue/mover --ranks 2,3 --to site/edge").ok();
    assert!(told.contains("stop") && told.contains("it stood for"), "{told}");
    assert_eq!(sites(&continuum, "mover"), "edge");
    continuum.run("migrate tissue/mover --ranks 0,3 --to site/cloud").ok();
    assert_eq!(sites(&continuum, "mover"), "edge:2 cloud:2");
    continuum.run("migrate tissue/mover --to cloud").ok();
    assert_eq!(sites(&continuum, "mover"), "cloud");
    continuum.run("migrate tissue/mover --to cloud").fails(4, "already");
    continuum.run("migrate tissue/mover --ranks 4 --to edge").fails(2, "no rank 4");
    continuum.run("migrate tissue/mover --to moon").fails(3, "no site");
    let why = continuum.run("why tissue/mover").ok();
    assert_eq!(why.matches("migrate tissue/mover").count(), 3, "{why}");

    let end = mover.wait_with_output().unwrap();
    let said = String::from_utf8(end.stdout).unwrap();
    assert_eq!((end.status.code(), said.as_str()), (Some(5), "begun\nsum 1803000 of 4\n"));
    continuum.run("migrate tissue/mover --to edge").fails(4, "ended");
}

#[test]
fn ranks_go_on_from_their_checkpoint_when_their_site_is_lost() {
    let Some(continuum) = Continuum::up() else { return };
    let flags = "--mpi --migratable";
    let Some(()) = guests::parallel(&continuum, "ranks", RANKS, flags) else { return };
    let words = "mpirun -n 3 --sites edge,cloud --checkpoint-every 1s --name lasting";
    let mut lasting = started(&continuum, words, &["ranks.wasm", "1200"]);
    let status = || {
        let told = continuum.run("get tissue/lasting -o json").out;
        let tissue: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        tissue["status"]["ranks"].clone()
    };
    wait_until("there is a checkpoint", CONVERGED, || {
        std::thread::sleep(Duration::from_millis(50));
        status()["checkpoint"]["parts"].as_array().is_some_and(|parts| parts.len() == 2)
    });

    // First only the worker: the site itself begins them again.
    continuum.kill_worker_of("edge", "c-");
    wait_until("they were begun again", CONVERGED, || {
        std::thread::sleep(Duration::from_millis(50));
        status()["incarnation"] == 2 && sites(&continuum, "lasting") == "edge:2 cloud:1"
    });
    // Then the whole site, for good.
    continuum.kill(Process::Supervisor);
    continuum.kill(Process::Agent("edge"));
    continuum.kill_worker_of("edge", "c-");

    let end = lasting.wait().unwrap();
    assert_eq!(end.code(), Some(5));
    assert_eq!(last(&continuum, "lasting"), "sum 4323600 of 3");
    assert_eq!(
        (sites(&continuum, "lasting").as_str(), &status()["incarnation"]),
        ("cloud", &3.into())
    );
    continuum.start().ok();
}
