//! The CloudSkin binary: arguments → configuration → services; no logic.
//!
//! Start at [`cli::Cli`], which lists every command; each has its own file in `commands`.

mod cli;
mod commands;
mod exit;
mod output;
mod progress;
mod session;
mod table;
mod when;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::of_this_process();
    output::set_up_logs(cli.verbose);
    match commands::dispatch(cli) {
        Ok(code) => code,
        Err(error) => exit::report(&error),
    }
}
