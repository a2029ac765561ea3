//! Standard output and error: formats, colours and logs.

use clap::{Args, ValueEnum};
use orchestrator::client;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// `-o` of commands that show resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML, one document for each resource
    Yaml,
    /// `kind/name`, one a line
    Name,
}

/// `-o` of all other commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// The option `-o` itself.
#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// How the result is written
    #[arg(short, long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub(crate) output: Format,
}

impl FormatArgs {
    /// Prints `value` for programs or `text` for people.
    pub(crate) fn print(&self, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
        match self.output {
            Format::Text => print(text),
            Format::Json => print(&json(value)),
            Format::Yaml => print(&yaml(value)),
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        self.output == Format::Text
    }
}

/// Writes to standard output; a reader that has left is an error that ends the command.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a line to standard error, where nobody need read it.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

pub(crate) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("what is shown is plain data");
    text.push('\n');
    text
}

pub(crate) fn json_line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("what is shown is plain data");
    text.push('\n');
    text
}

pub(crate) fn yaml(value: &impl Serialize) -> String {
    let mut text = client::yaml(value);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Whether and how text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    pub(crate) fn for_stdout() -> Self {
        Self { coloured: io::stdout().is_terminal() && wants_colour() }
    }

    pub(crate) fn for_stderr() -> Self {
        Self { coloured: io::stderr().is_terminal() && wants_colour() }
    }

    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { coloured: false }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn fair(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// By what the word means in a column of states.
    pub(crate) fn by_state(self, word: &str) -> String {
        match word.trim() {
            "Ready" | "yes" | "done" | "ok" | "running" | "created" => self.good(word),
            "Failed" | "failed" | "problem" | "SiteLost" => self.bad(word),
            "Pending" | "Starting" | "Migrating" | "pending" | "no" | "note" | "rolled back"
            | "configured" => self.fair(word),
            _ => word.to_owned(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// By <https://no-color.org>: set and not empty means none.
fn wants_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What resources hold is written by others: nothing in it shall steer the terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            _ if character.is_control() => '\u{fffd}',
            _ => character,
        })
        .collect()
}

/// Logs on standard error: warnings, and more when asked for.
pub(crate) fn set_up_logs(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("CLOUDSKIN_LOG").unwrap_or_else(|_| default.into());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal() && wants_colour())
        .with_writer(io::stderr);
    // Only a second call could fail, and there is none.
    let _ = logs.try_init();
}
