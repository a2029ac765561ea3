//! The binary as users run it, against a control plane in memory.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod help;
mod inference;
mod local;
mod loops;
mod models;
mod mounts;
mod moves;
mod objects;
mod ranks;
mod resources;
mod saved;
mod server;
mod simulate;
mod threads;
mod toolchain;
mod triggers;
mod vehicles;

use server::{Control, TOKEN};
use std::{path::Path, process::Stdio};
use tokio::io::AsyncWriteExt;

/// A control plane and a home of the test's own.
struct Fixture {
    control: Control,
    url: String,
    home: tempfile::TempDir,
}

/// What a run of the binary left behind.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// What it printed, if all went well.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }
}

impl Fixture {
    async fn new() -> Self {
        let control = Control::new();
        let url = control.start().await;
        Self { control, url, home: tempfile::tempdir().unwrap() }
    }

    /// Runs the binary in its home with words that are separated by blanks.
    async fn run(&self, words: &str) -> Run {
        self.feed(words, "").await
    }

    /// The same with something on standard input.
    async fn feed(&self, words: &str, input: &str) -> Run {
        let mut command = command(self.home.path());
        command.env("CLOUDSKIN_URL", &self.url).env("CLOUDSKIN_TOKEN", TOKEN);
        finish(command, words, input).await
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.home.path().join(name), bytes).unwrap();
    }
}

/// The binary with nothing of this machine's own configuration.
fn command(home: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_cloudskin"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn finish(mut command: tokio::process::Command, words: &str, input: &str) -> Run {
    let mut child = command.args(words.split_whitespace()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who does not read its input closes it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}
