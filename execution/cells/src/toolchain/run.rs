//! Runs the toolchain's programs.

use super::Error;
use super::plan::Step;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of a tool's messages that are shown: a page of errors says it all.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Variables by which a user's settings for native builds would change what is built.
const VARIABLES_REMOVED: [&str; 6] = [
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "CCC_OVERRIDE_OPTIONS",
    "BINARYEN_PASS_DEBUG",
];

/// What the linker says about things that a cell does not have, and what to do.
const HINTS: [(&str, &str); 9] = [
    ("undefined symbol: omp_", "add --openmp for a program with OpenMP"),
    ("'omp.h' file not found", "add --openmp for a program with OpenMP"),
    ("'mpi.h' file not found", "add --mpi for a program with MPI"),
    ("undefined symbol: operator new", "add -lc++ for objects that were made from C++"),
    ("undefined symbol: pthread_", "threads are not available to a program built this way"),
    ("undefined symbol: fork", "a cell cannot start processes"),
    ("undefined symbol: system", "a cell cannot start processes"),
    (
        "undefined symbol: socket",
        "a cell has no sockets: read and write records, see <cloudskin/record.h>",
    ),
    ("undefined symbol: main", "the program has no `main`"),
];

/// What a successful step left behind.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) stdout: String,
    /// What it said on standard error although it succeeded: warnings.
    pub(super) said: String,
}

/// Runs one step.
pub(super) fn step(step: &Step, current_dir: &Path, search_path: &OsStr) -> Result<Ran, Error> {
    let mut command = Command::new(&step.program);
    command.args(&step.args).current_dir(current_dir).stdin(Stdio::null());
    command.env("PATH", search_path).env("LC_ALL", "C");
    command.envs(step.env.iter().map(|(name, value)| (name, value)));
    remove_native_variables(&mut command);
    if std::env::var_os("SOURCE_DATE_EPOCH").is_none() {
        // `__DATE__` and `__TIME__` would make every build different.
        command.env("SOURCE_DATE_EPOCH", "0");
    }
    let output = command
        .output()
        .map_err(|source| Error::Start { program: step.program.clone(), source })?;
    let said = readable(&output.stderr, current_dir);
    if output.status.success() {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        return Ok(Ran { stdout, said });
    }
    let tool = step.program.file_name().unwrap_or(step.program.as_os_str());
    Err(Error::Failed {
        tool: tool.to_string_lossy().into_owned(),
        what: step.what.clone(),
        hint: hint(&said),
        output: if said.is_empty() { output.status.to_string() } else { said },
    })
}

/// Has the command not see a user's settings for native builds.
pub(super) fn remove_native_variables(command: &mut Command) {
    for variable in VARIABLES_REMOVED {
        command.env_remove(variable);
    }
}

/// What to do about what a tool said, where that is known.
pub(super) fn hint(said: &str) -> Option<&'static str> {
    HINTS.iter().find(|(symptom, _)| said.contains(symptom)).map(|(_, hint)| *hint)
}

/// Runs steps that do not depend on each other, as many at once as there are processors.
pub(super) fn all(
    steps: &[Step],
    current_dir: &Path,
    search_path: &OsStr,
) -> Result<String, Error> {
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<Result<Ran, Error>>> =
        steps.iter().map(|_| OnceLock::new()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(steps.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = steps.get(index) else { break };
                    // Each index is taken once, so the cell is empty.
                    let _ = results[index].set(step(one, current_dir, search_path));
                }
            });
        }
    });
    // In the order of the steps, so that the same mistakes give the same message.
    let ran: Result<Vec<Ran>, Error> =
        results.into_iter().filter_map(OnceLock::into_inner).collect();
    let said = ran?.into_iter().map(|ran| ran.said).filter(|said| !said.is_empty());
    Ok(said.collect::<Vec<_>>().join("\n"))
}

/// A tool's messages, with paths as the user would write them.
fn readable(said: &[u8], current_dir: &Path) -> String {
    let shown = &said[..said.len().min(OUTPUT_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown);
    text.replace(&format!("{}/", current_dir.display()), "").trim_end().to_owned()
}
