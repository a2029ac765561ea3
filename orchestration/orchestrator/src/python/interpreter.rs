//! Which Python there is.

use super::Error;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The least version: `asyncio.Runner` came with it.
const VERSION_MIN: (u32, u32) = (3, 11);
/// How long it may take to tell of itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// After so long it is looked for again, if there was none.
const AGAIN: Duration = Duration::from_secs(30);

/// What it is asked: where it is, where its modules are, and its version. What starts it may be a
/// script that a confined program could not run.
const ASK: &str = "import sys; print(sys.executable, sys.version_info[0], sys.version_info[1], *{sys.base_prefix, sys.base_exec_prefix, sys.prefix}, sep='\\n')";

/// A CPython that can run functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// Its executable.
    pub program: PathBuf,
    /// Folders that hold it and its modules.
    pub folders: Vec<PathBuf>,
}

type Found = Option<(Result<Interpreter, Error>, Instant)>;
static FOUND: Mutex<Found> = Mutex::new(None);

impl Interpreter {
    /// `python3` of this machine: that of the system, or the first in `PATH`. It is looked for
    /// once, and again after a while if there was none.
    ///
    /// # Errors
    /// If there is none, or one that is too old.
    pub fn find() -> Result<Self, Error> {
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, at)) = &*found
            && (known.is_ok() || at.elapsed() < AGAIN)
        {
            return known.clone();
        }
        let now = Self::first(&["/usr/bin/python3", "python3"]);
        *found = Some((now.clone(), Instant::now()));
        now
    }

    /// The first of these programs that will do; or what is wrong with the last.
    pub(super) fn first(programs: &[&str]) -> Result<Self, Error> {
        let mut wrong = Error::NoPython("no Python was named".into());
        for program in programs {
            match Self::ask(program) {
                Ok(found) => return Ok(found),
                Err(error) => wrong = error,
            }
        }
        Err(wrong)
    }

    fn ask(program: &str) -> Result<Self, Error> {
        let wrong = |why: String| Error::NoPython(why);
        let mut child = Command::new(program)
            .args(["-I", "-S", "-c", ASK])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| {
                wrong(format!(
                    "`{program}` was not found on the machine that runs the policy: install Python 3.11 or newer (`apt-get install python3`)"
                ))
            })?;
        let begun = Instant::now();
        // It says a line or two: no pipe is ever full.
        while child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if begun.elapsed() > PATIENCE {
                // It may have ended by itself; either way it is gone.
                let _ = child.kill();
                let _ = child.wait();
                return Err(wrong(format!("`{program}` does not say which version it is")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().map_err(|error| wrong(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        let number = |line: Option<&str>| line.and_then(|line| line.parse::<u32>().ok());
        let executable = lines.next().unwrap_or_default().to_owned();
        let version = (number(lines.next()), number(lines.next()));
        let (Some(major), Some(minor)) = version else {
            return Err(wrong(format!("`{program}` is no Python")));
        };
        if (major, minor) < VERSION_MIN {
            let (least, less) = VERSION_MIN;
            return Err(wrong(format!(
                "`{program}` is Python {major}.{minor}: {least}.{less} or newer is needed"
            )));
        }
        let folders = lines.map(PathBuf::from).collect();
        Ok(Self { program: executable.into(), folders })
    }
}
