//! Programs: running to the end, snapshots between processes and engines.

use crate::guests;
use api::service::Engine;
use cells::{
    Cache, Compiler, Program, Runtime, Use,
    limits::Limits,
    run::{End, Run, THREAD_STACK_BYTES},
    wasi::{self, Buffer, Null},
};
use std::{path::Path, sync::Arc, time::Duration};

pub(crate) fn load(module: &Path, engine: Engine) -> Arc<Program> {
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("code")).unwrap();
    Runtime::new(cache, Compiler::Here).load(module, None, Use::Program, engine).unwrap()
}

pub(crate) fn config(arguments: &[&str], output: &Buffer) -> wasi::Config {
    wasi::Config {
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        streams: wasi::Streams {
            stdin: Box::new(Null),
            stdout: Box::new(output.clone()),
            stderr: Box::new(output.clone()),
        },
        ..wasi::Config::default()
    }
}

pub(crate) fn on_thread(run: Run) -> std::thread::JoinHandle<cells::Result<End>> {
    std::thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn(move || run.run()).unwrap()
}

#[test]
fn a_snapshot_goes_on_under_either_engine_as_if_nothing_had_been() {
    let Some(module) = guests::migratable("steps.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let engines = [Engine::Cranelift, Engine::Pulley];
    let expected: String =
        (1..=9).rev().map(|n| format!("step {n}\n")).collect::<String>() + "sum 45\n";
    for (from, to) in engines.iter().flat_map(|from| engines.map(|to| (*from, to))) {
        let output = Buffer::default();
        let run =
            Run::new(&load(&module, from), config(&["steps", "9"], &output), &Limits::default())
                .unwrap();
        let remote = run.remote();
        let running = on_thread(run);
        std::thread::sleep(Duration::from_millis(70));
        let path = folder.path().join("cell.snap");
        remote.snapshot(&path, true, Duration::from_secs(5)).unwrap();
        assert_eq!(running.join().unwrap().unwrap(), End::Suspended);
        let first = String::from_utf8(output.take()).unwrap();

        let output = Buffer::default();
        let program = load(&module, to);
        let run =
            Run::restore(&program, &path, || config(&[], &output), &Limits::default()).unwrap();
        assert_eq!(on_thread(run).join().unwrap().unwrap(), End::Exited(7));
        let second = String::from_utf8(output.take()).unwrap();

        assert!(!first.is_empty() && !second.starts_with("step 9"), "{first:?} {second:?}");
        assert_eq!(first + &second, expected, "{from:?} to {to:?}");
    }
}

#[test]
fn a_snapshot_of_another_module_is_refused_by_name() {
    let (Some(steps), Some(ledger)) =
        (guests::migratable("steps.c"), guests::migratable("ledger.c"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = Buffer::default();
    let run =
        Run::new(&load(&steps, Engine::Cranelift), config(&["steps"], &output), &Limits::default())
            .unwrap();
    let remote = run.remote();
    let running = on_thread(run);
    let path = folder.path().join("cell.snap");
    remote.snapshot(&path, true, Duration::from_secs(5)).unwrap();
    running.join().unwrap().unwrap();

    let program = load(&ledger, Engine::Cranelift);
    let refused = Run::restore(&program, &path, || config(&[], &output), &Limits::default());

    let text = types::chain(&refused.unwrap_err());
    assert!(text.contains("steps"), "{text}");
}
