//! `cloudskin completions`: for shells.

use crate::{cli::Cli, output};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin completions bash > ~/.local/share/bash-completion/completions/cloudskin
  cloudskin completions zsh > \"${fpath[1]}/_cloudskin\"
  cloudskin completions fish > ~/.config/fish/completions/cloudskin.fish")]
pub(crate) struct Completions {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cloudskin", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
