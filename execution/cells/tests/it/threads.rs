//! Programs with OpenMP that are saved between regions and go on, on threads or without.

use crate::{
    guests,
    programs::{config, load},
};
use api::service::Engine;
use cells::{
    Error,
    parallel::{Grant, Parallel},
    run::End,
    twin,
    wasi::Buffer,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Programs that check themselves at any number of threads, also where there are fewer than they
/// ask for, and what they are called with.
const KERNELS: [(&str, &str); 7] = [
    ("stencil", "200"),
    ("transpose", "240"),
    ("spmv", "60"),
    ("cg", "40"),
    ("sort", "100000"),
    ("nbody", "100"),
    ("dgemm", "100"),
];

/// A small generator: the same rounds for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The programs of `tests/guests/openmp`.
fn conformance() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/openmp");
    let there = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "check.h");
    names.sort();
    names
}

/// Runs the program, and saves it after `delays`, the last time for good; how it ended.
fn run_until_saved(
    parallel: Parallel,
    (output, arguments): (&Buffer, &[&str]),
    (threads, elastic): (u32, bool),
    file: &Path,
    delays: &[Duration],
) -> Result<End, Error> {
    let remote = parallel.remote();
    let openmp = openmp::Config { elastic, ..openmp::Config::new(threads, 2) };
    let world = config(arguments, output);
    std::thread::scope(|scope| {
        let running =
            scope.spawn(move || parallel.run(world, openmp, Grant::new(threads), 4 << 30));
        for (nth, delay) in delays.iter().enumerate() {
            std::thread::sleep(*delay);
            match remote.snapshot(file, nth + 1 == delays.len(), PATIENCE) {
                Ok(_) => {}
                // A program that has ended cannot be saved, and need not.
                Err(Error::Ended { .. }) => break,
                Err(error) => panic!("{}", types::chain(&error)),
            }
        }
        running.join().unwrap()
    })
}

/// Runs a program to its end with interruptions at random; engines change if `portable`. How often
/// it was saved, and what it wrote.
fn disturbed(
    module: &Path,
    arguments: &[&str],
    threads: u32,
    chance: &mut Chance,
    portable: bool,
) -> (u32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("threads.snap");
    let output = Buffer::default();
    let mut engine = Engine::Cranelift;
    let mut parallel = Parallel::new(&load(module, engine)).unwrap();
    let mut rounds = 0;
    loop {
        let times = 1 + chance.below(2);
        let longest = if engine == Engine::Pulley { 20_000 } else { 3000 };
        let delays: Vec<_> =
            (0..times).map(|_| Duration::from_micros(chance.below(longest))).collect();
        eprintln!("{} {threads} {engine:?} {rounds} {delays:?}", module.display());
        let end = run_until_saved(parallel, (&output, arguments), (threads, false), &file, &delays);
        match end {
            Ok(End::Suspended) => rounds += 1,
            Ok(End::Exited(0)) => break,
            other => panic!(
                "{} with {threads}, saved {rounds} times: {other:?}: {}",
                module.display(),
                String::from_utf8_lossy(&output.take())
            ),
        }
        if portable && rounds < 12 {
            engine = if chance.below(2) == 0 { Engine::Pulley } else { Engine::Cranelift };
        } else {
            engine = Engine::Cranelift;
        }
        parallel = Parallel::restore(&load(module, engine), &file).unwrap();
    }
    (rounds, String::from_utf8(output.take()).unwrap())
}

fn kernel(name: &str) -> Option<PathBuf> {
    guests::migratable_openmp(&format!("../../../../examples/hpc/{name}.c"), &[])
}

#[test]
fn every_openmp_program_gives_the_same_answers_when_it_is_saved_at_random() {
    let mut chance = Chance(20_261_122);
    let mut saved = 0;
    for file in conformance() {
        let Some(module) = guests::migratable_openmp(&format!("openmp/{file}"), &[]) else { return };
        let name = file.split('.').next().unwrap();
        let threads = 1 + chance.below(4) as u32;

        let (rounds, said) = disturbed(&module, &[name], threads, &mut chance, false);

        assert_eq!(said, format!("ok {name}\n"), "{file} with {threads}");
        saved += rounds;
    }
    assert!(saved > 10, "they were saved {saved} times");
}

#[test]
fn openmp_kernels_go_on_under_either_engine() {
    let mut chance = Chance(11);
    let mut saved = 0;
    for (name, size) in KERNELS {
        let Some(module) = kernel(name) else { return };
        let threads = 1 + chance.below(4) as u32;

        let (rounds, said) = disturbed(&module, &[name, size], threads, &mut chance, true);

        assert!(said.contains(": right"), "{name} with {threads}, saved {rounds} times: {said}");
        saved += rounds;
    }
    assert!(saved > 10, "they were saved {saved} times");
}

#[test]
fn the_twin_of_every_openmp_program_has_its_layout() {
    for file in conformance() {
        for module in [
            guests::openmp(&format!("openmp/{file}")),
            guests::migratable_openmp(&format!("openmp/{file}"), &[]),
        ] {
            let Some(module) = module else { return };
            let wasm = std::fs::read(module).unwrap();

            let twin = twin::lower(&wasm).unwrap().wasm;

            twin::same_layout(&wasm, &twin).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(twin::same_layout(&twin, &wasm).is_err(), "{file} has no atomic instruction");
        }
    }
}
