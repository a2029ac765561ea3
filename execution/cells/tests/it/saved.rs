//! Programs of several ranks that are saved while they run, and go on from what was saved.

use crate::{
    guests,
    programs::{config, load},
};
use api::service::Engine;
use cells::{
    Error,
    limits::Limits,
    run::{End, Run},
    snapshot::SnapshotError,
    tissue::Tissue,
    wasi::Buffer,
};
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Programs that check themselves, and what they are called with.
const PROGRAMS: [(&str, &str); 16] = [
    ("mpi/point_to_point", ""),
    ("mpi/requests", ""),
    ("mpi/collectives", ""),
    ("mpi/operations", ""),
    ("mpi/datatypes", ""),
    ("mpi/communicators", ""),
    ("mpi/cartesian", ""),
    ("mpi/one_sided", ""),
    ("mpi/environment", ""),
    ("stencil", "200"),
    ("transpose", "240"),
    ("spmv", "60"),
    ("cg", "40"),
    ("sort", "100000"),
    ("nbody", "100"),
    ("dgemm", "100"),
];

/// A rank's number, and how it ended.
type Ended = (u32, Result<End, Error>);

/// A small generator: the same rounds for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn module(program: &str) -> Option<PathBuf> {
    match program.starts_with("mpi/") {
        true => guests::migratable_ranks(&format!("{program}.c"), &[]),
        false => guests::migratable_ranks(
            &format!("../../../../examples/hpc/{program}.c"),
            &["-DUSE_MPI"],
        ),
    }
}

/// Runs the tissue and saves it after `delays`, the last time for good; what it wrote, and how
/// its ranks ended, if they did before.
fn run_until_saved(tissue: Tissue, file: &Path, delays: &[Duration]) -> Result<Vec<Ended>, Error> {
    let remote = tissue.remote();
    let ends = Mutex::new(Vec::new());
    let saved = std::thread::scope(|scope| {
        let running =
            scope.spawn(|| tissue.run(|rank, end| ends.lock().unwrap().push((rank, end))));
        let mut saved = Ok(0);
        for (nth, delay) in delays.iter().enumerate() {
            std::thread::sleep(*delay);
            saved = remote.snapshot(file, nth + 1 == delays.len(), PATIENCE);
            if saved.is_err() {
                break;
            }
        }
        running.join().unwrap().unwrap();
        saved
    });
    let ends = ends.into_inner().unwrap();
    // A program that has ended cannot be saved, and need not.
    match saved {
        Err(Error::NotStopped(mpi::NotStopped::Late { waits, .. })) => panic!("{waits}"),
        _ => Ok(ends),
    }
}

/// Runs a program with so many interruptions at most; engines change if `portable`.
fn disturbed(
    program: &str,
    arguments: &str,
    ranks: u32,
    chance: &mut Chance,
    portable: bool,
) -> bool {
    let Some(module) = module(program) else { return false };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.snap");
    let output = Buffer::default();
    let arguments: Vec<&str> =
        ["program", arguments].into_iter().filter(|a| !a.is_empty()).collect();
    let mut settings = |_| Ok(config(&arguments, &output));
    let program_of = |engine| load(&module, engine);
    let mut tissue =
        Tissue::new(&program_of(Engine::Cranelift), ranks, &mut settings, &Limits::default())
            .unwrap();
    let mut rounds = 0;
    loop {
        let times = 1 + chance.below(2);
        let delays: Vec<_> =
            (0..times).map(|_| Duration::from_micros(chance.below(4000))).collect();
        let ends = run_until_saved(tissue, &file, &delays).unwrap();
        for (rank, end) in &ends {
            assert!(
                matches!(end, Ok(End::Exited(0) | End::Suspended)),
                "{program} {ranks}: rank {rank}: {end:?} after {rounds} rounds"
            );
        }
        let over = ends.iter().all(|(_, end)| matches!(end, Ok(End::Exited(_))));
        if over {
            break;
        }
        rounds += 1;
        let pulley = portable && rounds % 2 == 1 && chance.below(4) == 0;
        let engine = if pulley { Engine::Pulley } else { Engine::Cranelift };
        tissue =
            Tissue::restore(&program_of(engine), &file, &mut settings, &Limits::default()).unwrap();
    }
    let said = String::from_utf8(output.take()).unwrap();
    assert!(
        said == "ok\n" || said.contains(": right"),
        "{program} with {ranks} ranks, saved {rounds} times: {said}"
    );
    true
}

#[test]
fn programs_that_are_saved_and_restored_at_random_give_the_same_answers() {
    let mut chance = Chance(20_261_121);
    for (program, arguments) in PROGRAMS {
        let ranks = 1 + chance.below(4) as u32;
        if !disturbed(program, arguments, ranks, &mut chance, false) {
            return;
        }
    }
}

#[test]
fn a_tissue_goes_on_under_either_engine() {
    let mut chance = Chance(7);
    for program in ["mpi/point_to_point", "mpi/collectives", "mpi/datatypes", "mpi/one_sided"] {
        if !disturbed(program, "", 3, &mut chance, true) {
            return;
        }
    }
}

#[test]
fn what_is_no_whole_snapshot_of_its_ranks_is_refused() {
    let Some(module) = module("cg") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.snap");
    let output = Buffer::default();
    let mut settings = |_| Ok(config(&["program", "60"], &output));
    let program = load(&module, Engine::Cranelift);
    let tissue = Tissue::new(&program, 2, &mut settings, &Limits::default()).unwrap();
    let ends = run_until_saved(tissue, &file, &[Duration::from_millis(2)]).unwrap();
    assert!(ends.iter().all(|(_, end)| matches!(end, Ok(End::Suspended))), "{ends:?}");
    let whole = std::fs::read(&file).unwrap();

    let restored = |bytes: &[u8]| {
        let file = folder.path().join("bent.snap");
        std::fs::write(&file, bytes).unwrap();
        Tissue::restore(&program, &file, |_| Ok(config(&["program"], &output)), &Limits::default())
    };
    assert!(restored(&whole).is_ok());
    for part in 1..8 {
        let error = restored(&whole[..whole.len() * part / 8]).unwrap_err();
        assert!(
            matches!(error, Error::Snapshot(SnapshotError::Incomplete | SnapshotError::Magic)),
            "{error}"
        );
    }
    let alone = Run::restore(&program, &file, || config(&["program"], &output), &Limits::default());
    let said = types::chain(&alone.unwrap_err());
    assert!(said.contains("all ranks of an MPI program"), "{said}");
}
