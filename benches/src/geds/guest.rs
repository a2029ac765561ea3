//! Programs in cells of this process, with folders that are objects or files.

use crate::{Context, guests};
use api::service::Engine;
use cells::{
    Cache, Compiler, Program, Runtime, Use,
    limits::Limits,
    run::{End, Run, THREAD_STACK_BYTES},
    wasi::{self, Buffer, Grant, Null, ObjectFolder, Streams, Transform},
};
use geds::Geds;
use std::{sync::Arc, thread};

/// A program that is compiled.
#[derive(Debug)]
pub(super) struct Guest(Arc<Program>);

impl Guest {
    /// The program of this source file below this crate.
    pub(super) fn of(context: &Context, source: &str) -> anyhow::Result<Self> {
        let module = guests::from_c(context, source, false)?;
        let runtime = Runtime::new(Cache::open(&context.work().join("code"))?, Compiler::Here);
        Ok(Self(runtime.load(&module, None, Use::Program, Engine::Cranelift)?))
    }

    /// Runs a unit of it to its end on a thread of its own; what it printed.
    pub(super) fn start<'scope>(
        &self,
        scope: &'scope thread::Scope<'scope, '_>,
        arguments: Vec<String>,
        grants: Vec<Grant>,
    ) -> anyhow::Result<thread::ScopedJoinHandle<'scope, anyhow::Result<String>>> {
        let program = self.0.clone();
        let run = move || {
            let output = Buffer::default();
            let streams = Streams {
                stdin: Box::new(Null),
                stdout: Box::new(output.clone()),
                stderr: Box::new(output.clone()),
            };
            let config = wasi::Config { arguments, grants, streams, ..wasi::Config::default() };
            let end = Run::new(&program, config, &Limits::default())?.run()?;
            let said = String::from_utf8_lossy(&output.take()).into_owned();
            anyhow::ensure!(end == End::Exited(0), "the program ended with {end:?}: {said}");
            Ok(said)
        };
        Ok(thread::Builder::new().stack_size(THREAD_STACK_BYTES).spawn_scoped(scope, run)?)
    }
}

/// What a thread gave.
pub(super) fn joined<T>(
    thread: thread::ScopedJoinHandle<'_, anyhow::Result<T>>,
) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a unit panicked"))?
}

/// A bucket as a folder.
pub(super) fn objects(
    geds: &Geds,
    bucket: &str,
    guest: &str,
    transform: Transform,
) -> anyhow::Result<Grant> {
    let mount = Arc::new(ObjectFolder::new(geds.clone(), bucket, "", transform)?);
    Ok(Grant { guest_path: guest.to_owned(), mount, read_only: false })
}
