//! A host for small programs and a compiler for them.

use crate::wasi::{
    Buffer, Config, Exit, Host, Streams, Wait, Waited, Wasi, add_to_linker, with_memory,
};
use std::{path::Path, process::Command};
use wasmtime::{Caller, Engine, Linker, Memory, Module, Store};

pub(super) struct TestHost {
    wasi: Wasi,
    memory: Option<Memory>,
}

impl Host for TestHost {
    fn with<R>(
        caller: &mut Caller<'_, Self>,
        work: impl FnOnce(&mut [u8], &mut Wasi) -> R,
    ) -> wasmtime::Result<R> {
        let memory = caller.data().memory;
        with_memory(caller, memory, |host| &mut host.wasi, work)
    }

    fn enter(_caller: &mut Caller<'_, Self>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn asked_to_stop(_caller: &mut Caller<'_, Self>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn wait(caller: &mut Caller<'_, Self>, wait: Wait) -> wasmtime::Result<Waited> {
        caller.data_mut().wasi.block(wait)?;
        Ok(Waited::Again)
    }
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: u32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a module to its end with `input` on standard input.
pub(super) fn run(module: &[u8], input: &[u8], mut config: Config) -> Ended {
    let (stdin, stdout, stderr) = (Buffer::default(), Buffer::default(), Buffer::default());
    stdin.push(input);
    stdin.end();
    config.streams = Streams {
        stdin: Box::new(stdin),
        stdout: Box::new(stdout.clone()),
        stderr: Box::new(stderr.clone()),
    };
    let engine = Engine::default();
    let module = Module::new(&engine, module).expect("module compiles");
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker).expect("functions are added once");
    let wasi = config.build().expect("config is valid");
    let mut store = Store::new(&engine, TestHost { wasi, memory: None });
    let instance = linker.instantiate(&mut store, &module).expect("module instantiates");
    store.data_mut().memory = instance.get_memory(&mut store, "memory");
    let start = instance.get_typed_func::<(), ()>(&mut store, "_start").expect("a command");
    let code = match start.call(&mut store, ()) {
        Ok(()) => 0,
        Err(error) => match error.downcast_ref::<Exit>() {
            Some(Exit(code)) => *code,
            None => panic!("{error:?}\n{}", String::from_utf8_lossy(&stderr.take())),
        },
    };
    let text = |buffer: Buffer| String::from_utf8_lossy(&buffer.take()).into_owned();
    Ended { code, stdout: text(stdout), stderr: text(stderr) }
}

/// Compiles C or C++ source; `None`, with a message, where there is no compiler for it.
pub(super) fn compile(name: &str, source: &str) -> Option<Vec<u8>> {
    let cpp = name.ends_with(".cpp");
    let compiler = if cpp { "clang++-19" } else { "clang-19" };
    if Command::new(compiler).arg("--version").output().is_err() || !Path::new(SYSROOT).exists() {
        eprintln!("skipped `{name}`: install clang-19, lld-19, wasi-libc and libc++-19-dev-wasm32");
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (from, to) = (folder.path().join(name), folder.path().join("program.wasm"));
    std::fs::write(&from, source).expect("source is written");
    let mut command = Command::new(compiler);
    command.args(["--target=wasm32-wasi", "-O1", "-Wall"]);
    if cpp {
        command.args(["-stdlib=libc++", "-fno-exceptions"]);
    }
    let output = command.arg(from).arg("-o").arg(&to).output().expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(to).expect("the compiler wrote a module"))
}

const SYSROOT: &str = "/usr/include/wasm32-wasi";
