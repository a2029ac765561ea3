//! MPI programs whose process is killed, and that go on from their last checkpoint.

use crate::{command, finish};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Rounds of killing: so many here, and as many as `make soak` wants there.
fn rounds_wanted() -> u32 {
    let wanted = std::env::var("CLOUDSKIN_SOAK_ROUNDS").ok();
    wanted.and_then(|rounds| rounds.parse().ok()).unwrap_or(10)
}

/// Programs that check themselves, and a size at which each takes a while.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("cg", &["150", "400"]),
    ("stencil", &["600", "250"]),
    ("transpose", &["480", "300"]),
    ("sort", &["300000", "6"]),
];

/// A small generator: the same rounds for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn start(home: &Path, words: &str) -> Child {
    let mut command: Command = command(home).into_std();
    command.args(words.split(' ')).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits so long; what it said, if it ended.
fn ended(child: &mut Child, within: Duration) -> bool {
    let until = Instant::now() + within;
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

#[tokio::test]
async fn ranks_that_are_killed_go_on_from_their_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hpc");
    for (program, _) in PROGRAMS {
        let words = format!(
            "build --mpi --migratable -DUSE_MPI {}/{program}.c -o {program}.wasm",
            examples.display()
        );
        let built = finish(command(home), &words, "").await;
        if built.err.contains("apt-get install") {
            return eprintln!("skipped: {}", built.err);
        }
        built.ok();
    }
    let mut chance = Chance(u64::from(rounds_wanted()));
    let (mut rounds, mut runs) = (0, 0);
    while rounds < rounds_wanted() {
        let (program, arguments) = PROGRAMS[runs % PROGRAMS.len()];
        runs += 1;
        rounds += killed_until_done(home, program, arguments, &mut chance);
        assert!(runs < 100 + 10 * rounds_wanted() as usize, "no program lives long enough");
    }
}

/// Runs a program, killing it at random, until it ends by itself with the right answer; how often
/// it was killed.
fn killed_until_done(home: &Path, program: &str, arguments: &[&str], chance: &mut Chance) -> u32 {
    let file = format!("{program}.snap");
    let options = format!("--snapshot-to {file} --checkpoint-every 15ms");
    let ranks = 2 + chance.below(3);
    // One that stays is from the run before.
    let _ = std::fs::remove_file(home.join(&file));
    let mut rounds = 0;
    loop {
        let words = match home.join(&file).exists() {
            false => format!("mpirun -n {ranks} {options} {program}.wasm {}", arguments.join(" ")),
            true => format!("restore {options} {file} {program}.wasm"),
        };
        let mut child = start(home, &words);
        // A program that is killed sooner and sooner would never end.
        let limit = Duration::from_millis(60 + chance.below(150 + 40 * u64::from(rounds)));
        if ended(&mut child, limit) {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let complained = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && said.contains(": right"),
                "{program} with {ranks} ranks, killed {rounds} times: {said}{complained}"
            );
            return rounds;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        rounds += 1;
    }
}
