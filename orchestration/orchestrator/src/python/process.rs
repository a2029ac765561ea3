//! A confined process that is asked in frames: their length as four bytes, the lowest first, and JSON.

use super::{Error, Interpreter};
use api::policy::Python;
use isolation::Confinement;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// Longest frame in either direction.
const FRAME_MAX: usize = 1 << 20;
/// The end of what it prints is kept, for messages.
const PRINTED_MAX: usize = 4 << 10;
/// Processor time of one process: it is replaced before it needs so much.
const CPU_SECONDS_MAX: u64 = 600;
const FILES_MAX: u64 = 256;

/// What any program needs to begin.
const SYSTEM: [&str; 7] =
    ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom"];
/// What one needs to find others in the network.
const NETWORK: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/gai.conf",
    "/etc/services",
];

/// How a process failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("took longer than {0:?} to answer")]
    Hung(Duration),
    #[error("ended in the middle of a question{0}")]
    Ended(String),
    #[error("answered more than a frame of 1 MiB holds")]
    TooLong,
    #[error("is asked more than a frame of 1 MiB holds")]
    AskedTooMuch,
    #[error("cannot be spoken with: {0}")]
    Io(#[from] io::Error),
}

/// What became of the end that it prints to.
#[derive(Debug, Clone, Copy)]
enum Printed {
    Something,
    Nothing,
    Closed,
}

/// One process; it ends with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: Option<Pid>,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
    /// It has not closed what it prints to.
    prints: bool,
    /// What was read and is no whole frame yet.
    read: Vec<u8>,
    printed: Vec<u8>,
}

impl Process {
    /// Starts the interpreter on this program, confined.
    pub(super) fn start(
        interpreter: &Interpreter,
        python: &Python,
        program: &str,
    ) -> Result<Self, Error> {
        let mut command = Command::new(&interpreter.program);
        command
            // Alone with its own modules, writing none.
            .args(["-I", "-B", "-X", "utf8", "-c", program])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        confinement(interpreter, python)
            .apply(&mut command)
            .map_err(|error| Error::Unconfined(error.to_string()))?;
        let failed = |error: io::Error| Error::Failed(format!("cannot be started: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (input, output, errors) =
            match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
                (Some(input), Some(output), Some(errors)) => (input, output, errors),
                _ => return Err(failed(io::ErrorKind::BrokenPipe.into())),
            };
        let (read, printed) = (Vec::new(), Vec::new());
        let process = Self { child, pid, input, output, errors, prints: true, read, printed };
        process.never_block().map_err(failed)?;
        Ok(process)
    }

    fn never_block(&self) -> io::Result<()> {
        for end in [self.input.as_fd(), self.output.as_fd(), self.errors.as_fd()] {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        Ok(())
    }

    /// One question and its answer; between them alone it runs.
    pub(super) fn ask(&mut self, question: &Value, patience: Duration) -> Result<Vec<u8>, Trouble> {
        let body = question.to_string().into_bytes();
        if body.len() > FRAME_MAX {
            return Err(Trouble::AskedTooMuch);
        }
        let mut frame = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        frame.extend(body);
        // What it says before it is asked is no answer.
        self.read.clear();
        self.signal(Signal::CONT);
        let answer = self.exchange(&frame, patience);
        self.signal(Signal::STOP);
        answer
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            // It is not waited for before it is dropped: the number is its own.
            let _ = kill_process(pid, signal);
        }
    }

    fn exchange(&mut self, frame: &[u8], patience: Duration) -> Result<Vec<u8>, Trouble> {
        let until = Instant::now() + patience;
        let mut written = 0;
        loop {
            if let Some(answer) = self.whole()? {
                return Ok(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Trouble::Hung(patience));
            }
            let (writes, reads, prints) = self.ready(written < frame.len(), left)?;
            match prints {
                Printed::Something => self.print()?,
                Printed::Nothing => {}
                // It would be ready for ever, and this thread would never wait again.
                Printed::Closed => self.prints = false,
            }
            if writes {
                match self.input.write(&frame[written..]) {
                    Ok(count) => written += count,
                    Err(error) if would_block(&error) => {}
                    Err(_) => return Err(self.ended()),
                }
            }
            if reads && self.take()? == 0 {
                return Err(self.ended());
            }
        }
    }

    /// Waits until something can be done: write, read, or take what is printed.
    fn ready(&self, writing: bool, left: Duration) -> io::Result<(bool, bool, Printed)> {
        let mut ends = vec![PollFd::new(&self.output, PollFlags::IN)];
        let printed = self.prints.then(|| {
            ends.push(PollFd::new(&self.errors, PollFlags::IN));
            ends.len() - 1
        });
        let written = writing.then(|| {
            ends.push(PollFd::new(&self.input, PollFlags::OUT));
            ends.len() - 1
        });
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut ends, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = |at: Option<usize>| at.map_or(PollFlags::empty(), |at| ends[at].revents());
        let printed = match flags(printed) {
            flags if flags.contains(PollFlags::IN) => Printed::Something,
            flags if flags.is_empty() => Printed::Nothing,
            _ => Printed::Closed,
        };
        Ok((!flags(written).is_empty(), !flags(Some(0)).is_empty(), printed))
    }

    /// Reads what there is; 0 at the end.
    fn take(&mut self) -> Result<usize, Trouble> {
        let mut part = [0; 16 << 10];
        match self.output.read(&mut part) {
            Ok(count) => {
                self.read.extend_from_slice(&part[..count]);
                Ok(count)
            }
            Err(error) if would_block(&error) => Ok(1),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what it prints, and keeps the end of it.
    fn print(&mut self) -> Result<(), Trouble> {
        let mut part = [0; 16 << 10];
        match self.errors.read(&mut part) {
            Ok(count) => {
                self.printed.extend_from_slice(&part[..count]);
                let surplus = self.printed.len().saturating_sub(PRINTED_MAX);
                self.printed.drain(..surplus);
                Ok(())
            }
            Err(error) if would_block(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer, once all of it is there.
    fn whole(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(head) = self.read.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > FRAME_MAX {
            return Err(Trouble::TooLong);
        }
        if self.read.len() < 4 + length {
            return Ok(None);
        }
        Ok(Some(self.read[4..4 + length].to_vec()))
    }

    /// How it ended.
    fn ended(&mut self) -> Trouble {
        // What it printed last says why.
        let _ = self.print();
        // It may have closed its end and go on.
        let _ = self.child.kill();
        let how = self.child.wait().map(|status| format!(" ({status})"));
        self.pid = None;
        Trouble::Ended(how.unwrap_or_default())
    }

    /// The end of what it printed.
    pub(super) fn said(&self) -> String {
        String::from_utf8_lossy(&self.printed).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn confinement(interpreter: &Interpreter, python: &Python) -> Confinement {
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    readable.push(interpreter.program.clone());
    // A prefix of `/` would be everything.
    readable.extend(interpreter.folders.iter().filter(|folder| folder.parent().is_some()).cloned());
    if python.network {
        readable.extend(NETWORK.iter().map(PathBuf::from));
    }
    Confinement {
        memory_bytes: python.memory.0,
        cpu_seconds: CPU_SECONDS_MAX,
        files_max: FILES_MAX,
        network: python.network,
        readable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::time::{ClockId, clock_gettime};
    use serde_json::json;

    #[test]
    fn who_closes_what_it_prints_to_is_waited_for_in_peace() {
        let interpreter = Interpreter::find().unwrap();
        let python = serde_json::from_value(json!({"file": "agents.py"})).unwrap();
        let program = "import os, time\nos.close(2)\ntime.sleep(60)";
        let mut process = Process::start(&interpreter, &python, program).unwrap();
        let used_ms = || {
            let used = clock_gettime(ClockId::ThreadCPUTime);
            used.tv_sec * 1000 + used.tv_nsec / 1_000_000
        };
        let before = used_ms();

        let answer = process.ask(&json!({}), Duration::from_secs(2));

        assert!(matches!(answer, Err(Trouble::Hung(_))), "{answer:?}");
        assert!(used_ms() - before < 500, "it does not go round and round");
    }
}
