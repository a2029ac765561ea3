//! The OpenMP programs of `tests/guests/openmp`, one for each construct, at several numbers of
//! threads.

use crate::{guests, programs::load};
use api::service::Engine;
use cells::{
    parallel::{Grant, Parallel},
    run::End,
    wasi::{Buffer, Config, Streams},
};
use std::{collections::BTreeSet, path::Path};

const THREADS: [u32; 5] = [1, 2, 3, 4, 8];

/// Runs the program at each number of threads, in each of these environments.
fn conforms(file: &str, environments: &[&str]) {
    let Some(module) = guests::openmp(&format!("openmp/{file}")) else { return };
    let name = file.split('.').next().unwrap();
    let program = load(&module, Engine::Cranelift);
    for threads in THREADS {
        for environment in environments {
            let said = Buffer::default();
            let config = Config {
                arguments: vec![name.to_owned()],
                variables: environment
                    .split_whitespace()
                    .filter_map(|variable| variable.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                streams: Streams { stdout: Box::new(said.clone()), ..Streams::null() },
                ..Config::default()
            };
            let openmp = openmp::Config::new(threads, 2);

            let parallel = Parallel::new(&program).unwrap();
            let end = parallel.run(config, openmp, Grant::new(threads), 4 << 30);

            let said = String::from_utf8_lossy(&said.take()).into_owned();
            let at = format!("at {threads} with `{environment}`: {end:?}");
            assert_eq!(said, format!("ok {name}\n"), "{at}");
            assert_eq!(end.unwrap(), End::Exited(0));
        }
    }
}

/// A test for each program, and their names.
macro_rules! programs {
    ($($name:ident: $file:literal $(in $environments:expr)?;)*) => {
        $(
            #[test]
            fn $name() {
                let environments: &[&[&str]] = &[$($environments,)? &[""]];
                conforms($file, environments[0]);
            }
        )*

        #[test]
        fn every_program_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/openmp");
            let there = std::fs::read_dir(folder).unwrap();
            let there: BTreeSet<_> = there
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|file| file != "check.h")
                .collect();
            assert_eq!(there, BTreeSet::from([$($file.to_owned()),*]));
        }
    };
}

programs! {
    atomic: "atomic.c";
    barrier: "barrier.c";
    cancellation: "cancellation.c" in &["", "OMP_CANCELLATION=true"];
    classes: "classes.cpp";
    critical: "critical.c";
    declare_reduction: "declare_reduction.c";
    doacross: "doacross.c";
    environment: "environment.c" in &[
        "",
        "OMP_NUM_THREADS=3,2 OMP_SCHEDULE=dynamic,4 OMP_STACKSIZE=2M",
        "OMP_SCHEDULE=guided OMP_MAX_ACTIVE_LEVELS=3 OMP_CANCELLATION=true",
        "OMP_DYNAMIC=true OMP_MAX_TASK_PRIORITY=7 OMP_PROC_BIND=close",
    ];
    heap: "heap.c";
    library: "library.c";
    locks: "locks.c";
    loops: "loops.c";
    nested: "nested.c";
    newer: "newer.c";
    ordered: "ordered.c";
    parallel: "parallel.c";
    reduction: "reduction.c";
    schedules: "schedules.c";
    sections: "sections.c";
    settings: "settings.c";
    simd: "simd.c";
    single: "single.c";
    target: "target.c";
    task_depend: "task_depend.c";
    task_reduction: "task_reduction.c";
    task_wait: "task_wait.c";
    taskloop: "taskloop.c";
    tasks: "tasks.c";
    teams: "teams.c";
    threadprivate: "threadprivate.c";
    untied: "untied.c";
}
