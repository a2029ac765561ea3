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
    snapshot::SnapshotError,
    twin,
    wasi::{Buffer, Config, Input, InputState, Streams},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

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
    let streams = Streams { stdout: Box::new(output.clone()), ..Streams::null() };
    let world = Config { streams, ..config(arguments, output) };
    std::thread::scope(|scope| {
        let running =
            scope.spawn(move || parallel.run(world, openmp, Grant::new(threads), 4 << 30));
        for (nth, delay) in delays.iter().enumerate() {
            std::thread::sleep(*delay);
            match remote.snapshot(file, nth + 1 == delays.len(), PATIENCE) {
                Ok(_) => {}
                // A program that has ended cannot be saved, and need not.
                Err(Error::Ended { .. }) => break,
                Err(error) => panic!("{arguments:?}: {}", types::chain(&error)),
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
    // All but the one whose memory takes long to write.
    for file in conformance().into_iter().filter(|file| file != "heap.c") {
        let Some(module) = guests::migratable_openmp(&format!("openmp/{file}"), &[]) else {
            return;
        };
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

/// Programs that ask for teams of one size, which the portable engine does not give.
const FIXED_TEAMS: [&str; 4] = ["nested", "newer", "parallel", "settings"];

#[test]
fn openmp_programs_run_alone_under_the_portable_engine() {
    for file in conformance() {
        let Some(module) = guests::openmp(&format!("openmp/{file}")) else { return };
        let name = file.split('.').next().unwrap();
        if FIXED_TEAMS.contains(&name) {
            continue;
        }
        let output = Buffer::default();
        let parallel = Parallel::new(&load(&module, Engine::Pulley)).unwrap();
        let openmp = openmp::Config::new(1, 1);

        let end = parallel.run(config(&[name], &output), openmp, Grant::new(1), 4 << 30);

        let said = String::from_utf8(output.take()).unwrap();
        assert_eq!(said, format!("ok {name}\n"), "{end:?}");
    }
}

/// Gives so many bytes, and then nothing for ever.
struct Lines(usize);

impl Input for Lines {
    fn read(&mut self, into: &mut [u8]) -> io::Result<InputState> {
        if self.0 == 0 {
            return Ok(InputState::Wait);
        }
        self.0 -= 1;
        into[0] = b'\n';
        Ok(InputState::Bytes(1))
    }

    fn ready(&mut self) -> Option<usize> {
        (self.0 > 0).then_some(self.0)
    }
}

/// Runs `kept.c` with so many lines of input until it has said so much, and saves it for good, or
/// until it ends; what it said.
fn phase(parallel: Parallel, lines: usize, until: Option<&str>, file: &Path) -> (String, End) {
    let output = Buffer::default();
    let remote = parallel.remote();
    let streams = Streams {
        stdin: Box::new(Lines(lines)),
        stdout: Box::new(output.clone()),
        ..Streams::null()
    };
    let world = Config { streams, arguments: vec!["kept".into()], ..Config::default() };
    std::thread::scope(|scope| {
        let running = scope
            .spawn(move || parallel.run(world, openmp::Config::new(3, 2), Grant::new(3), 4 << 30));
        let mut said = String::new();
        if let Some(until) = until {
            while !said.contains(until) {
                assert!(!running.is_finished(), "it ended: {:?}", running.join());
                std::thread::sleep(Duration::from_millis(1));
                said.push_str(&String::from_utf8(output.take()).unwrap());
            }
            remote.snapshot(file, true, PATIENCE).unwrap();
        }
        let end = running.join().unwrap().unwrap();
        (said + &String::from_utf8(output.take()).unwrap(), end)
    })
}

#[test]
fn what_threads_keep_survives_where_there_are_none() {
    let Some(module) = guests::migratable_openmp("kept.c", &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("threads.snap");
    let [threads, alone] = [Engine::Cranelift, Engine::Pulley].map(|engine| load(&module, engine));

    let first = phase(Parallel::new(&threads).unwrap(), 0, Some("later\n"), &file);
    let parallel = Parallel::restore(&alone, &file).unwrap();
    let second = phase(parallel, 1, Some("later\n"), &file);
    let third = phase(Parallel::restore(&threads, &file).unwrap(), 1, None, &file);

    assert_eq!(first, ("phase 0: 3 of 3: 1 101 201, 3 9, held, later\n".into(), End::Suspended));
    assert_eq!(second, ("phase 1: 1 of 3: 2, 3 9, held, later\n".into(), End::Suspended));
    assert_eq!(third, ("phase 2: 3 of 3: 3 102 202, 3 9, held, later\n".into(), End::Exited(5)));
}

#[test]
fn a_snapshot_of_threads_that_is_not_whole_is_refused() {
    let Some(module) = guests::migratable_openmp("kept.c", &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("threads.snap");
    let program = load(&module, Engine::Cranelift);
    phase(Parallel::new(&program).unwrap(), 0, Some("later\n"), &file);
    let whole = std::fs::read(&file).unwrap();
    let bent = folder.path().join("bent.snap");
    let restored = |bytes: &[u8]| {
        std::fs::write(&bent, bytes).unwrap();
        Parallel::restore(&program, &bent)
    };
    assert!(restored(&whole).is_ok());

    for part in 0..40 {
        let error = restored(&whole[..whole.len() * part / 40]).unwrap_err();
        assert!(
            matches!(error, Error::Snapshot(SnapshotError::Incomplete | SnapshotError::Magic)),
            "{error}"
        );
    }
    let mut chance = Chance(5);
    for _ in 0..60 {
        let mut bytes = whole.clone();
        let at = 16 + chance.below(whole.len() as u64 - 16) as usize;
        bytes[at] ^= 1 << chance.below(8);
        assert!(matches!(restored(&bytes), Err(Error::Snapshot(_))), "byte {at}");
    }
    let plain = guests::openmp("kept.c").unwrap();
    let error = Parallel::restore(&load(&plain, Engine::Cranelift), &file).unwrap_err();
    assert!(matches!(error, Error::NotMigratable { .. }), "{error}");
    let other = guests::migratable_openmp("held.c", &[]).unwrap();
    let error = Parallel::restore(&load(&other, Engine::Cranelift), &file).unwrap_err();
    assert!(types::chain(&error).contains("it is of the module"), "{error}");
}

#[test]
fn a_program_that_stays_in_a_region_is_told_where_it_is() {
    let Some(module) = guests::migratable_openmp("held.c", &["-g"]) else { return };
    let parallel = Parallel::new(&load(&module, Engine::Cranelift)).unwrap();
    let remote = parallel.remote();
    let output = Buffer::default();
    let world = config(&["held"], &output);
    // It never ends; this process does.
    std::thread::spawn(move || {
        parallel.run(world, openmp::Config::new(2, 2), Grant::new(2), 4 << 30)
    });
    while output.take().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let folder = tempfile::tempdir().unwrap();

    let file = folder.path().join("threads.snap");
    let error = remote.snapshot(&file, true, Duration::from_millis(20)).unwrap_err();

    let said = error.to_string();
    assert!(matches!(error, Error::InRegion { .. }), "{said}");
    assert!(said.contains("held.c:11 (in `main`)"), "{said}");
}

#[test]
fn a_wait_for_another_thread_is_named_where_there_is_none() {
    let Some(module) = guests::migratable_openmp("held.c", &["-g"]) else { return };
    let parallel = Parallel::new(&load(&module, Engine::Pulley)).unwrap();
    let output = Buffer::default();
    let world = config(&["held", "wait"], &output);

    let ended = parallel.run(world, openmp::Config::new(2, 2), Grant::new(2), 4 << 30);

    let said = ended.unwrap_err().to_string();
    assert!(said.contains("waits for another thread") && said.contains("main"), "{said}");
}

#[test]
fn a_call_stack_that_does_not_fit_ends_the_program_with_the_reason() {
    let Some(module) = guests::shallow_openmp("deep.c", 1024) else { return };
    let parallel = Parallel::new(&load(&module, Engine::Cranelift)).unwrap();
    let remote = parallel.remote();
    let output = Buffer::default();
    let world = config(&["deep"], &output);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("threads.snap");

    let ended = std::thread::scope(|scope| {
        let running = scope
            .spawn(move || parallel.run(world, openmp::Config::new(2, 2), Grant::new(2), 4 << 30));
        let saved = remote.snapshot(&file, true, PATIENCE);
        assert!(matches!(saved, Err(Error::Ended { .. })), "{saved:?}");
        running.join().unwrap()
    });

    assert!(matches!(ended, Err(Error::StackTooDeep { area_bytes: 1024 })), "{ended:?}");
}
