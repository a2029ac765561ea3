//! kill -9 of whoever leads or holds ranks, while they move and are saved.

use crate::{
    guests,
    tissues::last,
    world::{CONVERGED, Continuum, Process},
};
use serde_json::Value;
use std::{
    process::{Child, Stdio},
    time::Duration,
};
use testkit::{Random, soak_rounds, wait_until};

/// Rounds in the suite; `CLOUDSKIN_SOAK_ROUNDS` makes it more.
const ROUNDS: u64 = 4;

/// Steps of the program a round: it takes about this many hundredths of a second.
const STEPS: u64 = 400;

/// Each rank passes a number on to the next, and all add up; messages are under way at all times.
const RING: &str = r#"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int main(int argc, char **argv) {
    int rank, size, times = atoi(argv[1]);
    long long sum = 0, all, came;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int time = 1; time <= times; time++) {
        long long mine = (long long)time * (rank + 1);
        MPI_Request sent;
        MPI_Isend(&mine, 1, MPI_LONG_LONG, (rank + 1) % size, time, MPI_COMM_WORLD, &sent);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        MPI_Recv(&came, 1, MPI_LONG_LONG, (rank + size - 1) % size, time, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        MPI_Wait(&sent, MPI_STATUS_IGNORE);
        MPI_Allreduce(&came, &all, 1, MPI_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
        sum += all;
        if (rank == 0 && time % 10 == 0) { printf("%d\n", time); fflush(stdout); }
    }
    if (rank == 0) printf("sum %lld of %d\n", sum, size);
    MPI_Finalize();
    return 0;
}
"#;

#[test]
fn ranks_come_to_the_right_sum_whoever_is_killed_meanwhile() {
    let Some(continuum) = Continuum::up() else { return };
    let flags = "--mpi --migratable";
    let Some(()) = guests::parallel(&continuum, "ring", RING, flags) else { return };
    let mut random = Random::printed("ranks");
    let rounds = soak_rounds(ROUNDS);
    let times = STEPS * rounds;
    let words = "mpirun -n 4 --sites edge,cloud --checkpoint-every 1s --name ring ring.wasm";
    let words: Vec<&str> = words.split(' ').collect();
    let times_word = times.to_string();
    let mut ring = quiet(&continuum, &words, &[&times_word]);
    wait_until("there is something to go back to", CONVERGED, || {
        std::thread::sleep(Duration::from_millis(50));
        !status(&continuum)["ranks"]["checkpoint"].is_null()
    });

    for round in 0..rounds {
        let mut migrating = migrate(&continuum, &mut random);
        std::thread::sleep(Duration::from_millis(random.below(250)));
        kill(&continuum, &mut random, round);
        let code = migrating.wait().unwrap().code();
        assert!(matches!(code, Some(0..=8)), "{code:?}");
        if !goes_on(&continuum, round) {
            break;
        }
    }

    continuum.run("wait --for exited --timeout 300s tissue/ring").ok();
    ring.wait().unwrap();
    let sum = times * (times + 1) / 2 * 10;
    assert_eq!(last(&continuum, "ring"), format!("sum {sum} of 4"));
    assert_eq!(status(&continuum)["exitCode"], 0);
}

fn quiet(continuum: &Continuum, words: &[&str], more: &[&str]) -> Child {
    let mut command = continuum.command(words, more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Begins to move some ranks somewhere.
fn migrate(continuum: &Continuum, random: &mut Random) -> Child {
    let site = ["site/edge", "site/cloud"][random.below(2) as usize];
    let ranks = ["0", "1,2", "2,3", "0,1,2", "0,1,2,3"][random.below(5) as usize];
    quiet(continuum, &["migrate", "tissue/ring", "--ranks", ranks, "--to", site], &[])
}

/// Mostly who leads; sometimes an agent, whose worker goes on; sometimes a worker with its ranks.
fn kill(continuum: &Continuum, random: &mut Random, round: u64) {
    let site = ["edge", "cloud"][random.below(2) as usize];
    let victim = if random.below(3) > 0 { Process::Control } else { Process::Agent(site) };
    if random.one_in(4) {
        eprintln!("{round}: kill the ranks of {site}");
        continuum.kill_worker_if_any(site, "c-");
    } else if continuum.pid(victim).is_some() {
        eprintln!("{round}: kill {victim:?}");
        continuum.kill(victim);
    }
}

/// Waits until the program is some steps further and nobody is on the way; false if it is through.
fn goes_on(continuum: &Continuum, round: u64) -> bool {
    // Those of a worker that was killed begin again at the last checkpoint.
    let mut lowest = u64::MAX;
    let mut over = false;
    wait_until(&format!("{round}: the ranks go on"), CONVERGED * 2, || {
        std::thread::sleep(Duration::from_millis(20));
        let status = status(continuum);
        over = !status["ended"].is_null();
        let further = step(continuum).is_some_and(|step| {
            lowest = lowest.min(step);
            step > lowest
        });
        over || (further && status["ranks"]["next"].is_null() && status["running"] == true)
    });
    let status = status(continuum);
    assert!(status["error"].is_null(), "{status}");
    !over
}

/// How far the program has come, as its output says.
fn step(continuum: &Continuum) -> Option<u64> {
    last(continuum, "ring").parse().ok()
}

fn status(continuum: &Continuum) -> Value {
    let told = continuum.run("get tissue/ring -o json").out;
    let tissue: Value = serde_json::from_str(&told).unwrap_or_default();
    tissue["status"].clone()
}
