//! Programs of several ranks.

use crate::{
    guests,
    programs::{config, load},
};
use api::service::Engine;
use cells::{Error, limits::Limits, run::End, tissue::Tissue, wasi::Buffer};
use std::{path::Path, sync::Mutex};

/// How many ranks each program is run with.
const SIZES: [u32; 5] = [1, 2, 3, 4, 8];

/// A rank's number, and how it ended.
type Ended = (u32, Result<End, Error>);

/// Runs the module; what it wrote, and how its ranks ended in the order in which they did.
fn run(module: &Path, ranks: u32, arguments: &[&str]) -> (String, Vec<Ended>) {
    let output = Buffer::default();
    let program = load(module, Engine::Cranelift);
    let arguments: Vec<&str> = ["program"].iter().chain(arguments).copied().collect();
    let config = |_| Ok(config(&arguments, &output));
    let tissue = Tissue::new(&program, ranks, config, &Limits::default()).unwrap();
    let ends = Mutex::new(Vec::new());
    tissue.run(|rank, end| ends.lock().unwrap().push((rank, end))).unwrap();
    (String::from_utf8(output.take()).unwrap(), ends.into_inner().unwrap())
}

fn all_well(ends: &[Ended]) -> bool {
    ends.iter().all(|(_, end)| matches!(end, Ok(End::Exited(0))))
}

/// Each of these programs checks itself, by the standard; OpenMPI and MPICH pass them.
#[test]
fn programs_of_every_function_group_find_what_the_standard_says() {
    let programs = [
        "point_to_point",
        "requests",
        "collectives",
        "operations",
        "datatypes",
        "communicators",
        "cartesian",
        "one_sided",
        "environment",
    ];
    for name in programs {
        let Some(module) = guests::parallel(&format!("mpi/{name}.c"), &[]) else { return };
        for ranks in SIZES {
            let (said, ends) = run(&module, ranks, &[]);

            assert!(all_well(&ends) && said == "ok\n", "{name} with {ranks}: {said}{ends:?}");
        }
    }
}

#[test]
fn kernels_check_their_results_with_any_number_of_ranks() {
    let kernels = [
        ("stencil", "200"),
        ("transpose", "240"),
        ("spmv", "60"),
        ("cg", "40"),
        ("sort", "100000"),
        ("nbody", "100"),
        ("dgemm", "100"),
    ];
    for (name, size) in kernels {
        let source = format!("../../../../examples/hpc/{name}.c");
        let Some(module) = guests::parallel(&source, &["-DUSE_MPI"]) else { return };
        for ranks in SIZES {
            let (said, ends) = run(&module, ranks, &[size]);

            assert!(all_well(&ends) && said.contains(": right"), "{name} {ranks}: {said}{ends:?}");
        }
    }
}
