//! Log lines on standard error.

use serde::{Deserialize, Serialize};
use std::io;
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};

/// How and what to log: the `[logs]` table of `cloudskin.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Levels, by target: `info`, `info,orchestrator=debug`.
    pub filter: String,
    /// How a line looks.
    pub format: Format,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `Text` on a terminal, `Json` elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("`{filter}` is not a log filter: write `info` or `info,orchestrator=debug`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// It has been set up before.
    #[error("logging is set up already in this process")]
    Again(#[source] TryInitError),
}

impl Default for Logs {
    fn default() -> Self {
        Self { filter: "info".into(), format: Format::default() }
    }
}

/// Sends this process' log lines to standard error, once.
///
/// # Errors
/// [`LogError`] if the filter is malformed or logging is set up already.
pub fn init_logs(logs: &Logs) -> Result<(), LogError> {
    use tracing_subscriber::{fmt::layer, prelude::*, registry};

    let filter = EnvFilter::try_new(&logs.filter)
        .map_err(|source| LogError::Filter { filter: logs.filter.clone(), source })?;
    let terminal = rustix::termios::isatty(io::stderr());
    let json = match logs.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let lines = if json {
        layer().with_writer(io::stderr).json().flatten_event(true).boxed()
    } else {
        layer().with_writer(io::stderr).with_ansi(terminal).with_target(false).boxed()
    };
    registry().with(filter).with(lines).try_init().map_err(LogError::Again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logging_is_set_up_once_and_a_bad_filter_is_named() {
        let bad = Logs { filter: "orchestrator=loud".into(), ..Logs::default() };

        assert!(init_logs(&bad).unwrap_err().to_string().contains("orchestrator=loud"));
        assert!(init_logs(&Logs::default()).is_ok());
        assert!(matches!(init_logs(&Logs::default()), Err(LogError::Again(_))));
    }
}
