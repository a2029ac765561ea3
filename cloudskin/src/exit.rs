//! How failures are told: one line, each cause once, and a code for scripts.

use crate::output;
use cells::toolchain;
use orchestrator::{client, control, supervisor, trust};
use std::{io, process::ExitCode};
use types::ErrorKind;

/// A failure that this binary itself finds, with its kind.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
}

impl Failure {
    /// A failure of this kind, for `?`.
    pub(crate) fn error(kind: ErrorKind, message: impl Into<String>) -> anyhow::Error {
        Self { kind, message: message.into() }.into()
    }
}

/// Prints the error and gives the process's exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    // Who reads our output has seen enough, such as `head`.
    if io_kind(error) == Some(io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    output::complain(&text(error, output::Style::for_stderr()));
    ExitCode::from(code(kind(error)))
}

/// `error: …`, then a line for each cause that says something new.
fn text(error: &anyhow::Error, style: output::Style) -> String {
    let mut text = format!("{} {error}", style.bad("error:"));
    let mut told = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            text.push_str(&format!("\n  because: {cause}"));
            told.push_str(&cause);
        }
    }
    text
}

fn kind(error: &anyhow::Error) -> ErrorKind {
    let found = error.chain().find_map(|cause| {
        let failure = cause.downcast_ref::<Failure>().map(|failure| failure.kind);
        let client = || cause.downcast_ref::<client::Error>().map(client::Error::kind);
        let supervisor = || cause.downcast_ref::<supervisor::Error>().map(supervisor::Error::kind);
        let control = || cause.downcast_ref::<control::Error>().map(control::Error::kind);
        let cell = || cause.downcast_ref::<cells::Error>().map(cells::Error::kind);
        let build = || cause.downcast_ref::<toolchain::Error>().map(toolchain::Error::kind);
        let geds = || cause.downcast_ref::<geds::Error>().map(geds::Error::kind);
        let learning = || cause.downcast_ref::<learning::Error>().map(learning::Error::kind);
        let trust = || cause.downcast_ref::<trust::Error>().map(trust::Error::kind);
        failure
            .or_else(client)
            .or_else(supervisor)
            .or_else(geds)
            .or_else(learning)
            .or_else(control)
            .or_else(cell)
            .or_else(build)
            .or_else(trust)
    });
    found.unwrap_or(ErrorKind::Internal)
}

fn io_kind(error: &anyhow::Error) -> Option<io::ErrorKind> {
    error.downcast_ref::<io::Error>().map(io::Error::kind)
}

fn code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Invalid | ErrorKind::Unsupported => 2,
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Fenced => 4,
        ErrorKind::Unauthenticated | ErrorKind::Forbidden => 5,
        ErrorKind::Unavailable => 6,
        ErrorKind::Timeout => 7,
        ErrorKind::Exhausted => 8,
        ErrorKind::Guest | ErrorKind::Corrupt | ErrorKind::Internal => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(io::Error::other("disk full"))
            .context("cannot write `a`: disk full")
            .context("cannot apply")
            .unwrap_err();

        let text = text(&error, output::Style::plain());

        assert_eq!(text, "error: cannot apply\n  because: cannot write `a`: disk full");
    }

    #[test]
    fn kinds_have_the_documented_codes() {
        let refused = client::Error::Refused(api::Problem::new(ErrorKind::Conflict, "changed"));

        assert_eq!(code(kind(&anyhow::Error::from(refused))), 4);
        assert_eq!(code(kind(&client::Error::NoContext.into())), 6);
        assert_eq!(code(kind(&supervisor::Error::NoFolder.into())), 2);
        assert_eq!(code(kind(&Failure::error(ErrorKind::Timeout, "late"))), 7);
        let malformed = cells::Error::Malformed { module: "a.wasm".into(), reason: "cut".into() };
        assert_eq!(code(kind(&anyhow::Error::from(malformed))), 2);
        assert_eq!(code(kind(&toolchain::Error::NoInput.into())), 2);
        assert_eq!(code(kind(&anyhow::anyhow!("odd"))), 1);
    }
}
