//! Guests, built for each run from the sources in this crate.

use crate::Context;
use cells::toolchain::{Environment, Options, build};
use std::path::{Path, PathBuf};

/// A program that writes one line, in WebAssembly's text form: needs no toolchain.
const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "hello\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"#;

/// The hello as a module.
pub(crate) fn hello(context: &Context) -> anyhow::Result<PathBuf> {
    let path = context.work().join("hello.wasm");
    std::fs::write(&path, wat::parse_str(HELLO)?)?;
    Ok(path)
}

/// An MPI program whose ranks can move, of this source file below this crate.
///
/// # Errors
/// As for [`from_c`].
pub(crate) fn ranks_from_c(context: &Context, source: &str) -> anyhow::Result<PathBuf> {
    built(context, source, "ranks", |options| {
        (options.mpi, options.migratable) = (true, true);
        options.flags.push("-DUSE_MPI".into());
    })
}

/// The guest of this source file below this crate.
///
/// # Errors
/// What the build failed with; without the guest toolchain, the command that installs it.
pub(crate) fn from_c(context: &Context, source: &str, migratable: bool) -> anyhow::Result<PathBuf> {
    let kind = if migratable { "migratable" } else { "plain" };
    built(context, source, kind, |options| options.migratable = migratable)
}

/// The same with OpenMP.
pub(crate) fn with_openmp(context: &Context, source: &str) -> anyhow::Result<PathBuf> {
    built(context, source, "openmp", |options| options.openmp = true)
}

fn built(
    context: &Context,
    source: &str,
    kind: &str,
    choose: impl FnOnce(&mut Options),
) -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let output = context.work().join(format!("{stem}-{kind}.wasm"));
    if !output.exists() {
        let mut options = Options::new(vec![source.clone()], Environment::from_process());
        options.output = Some(output.clone());
        options.flags = vec!["-O3".into()];
        choose(&mut options);
        build(&options)?;
    }
    Ok(output)
}
