//! `cloudskin logs`: what a service or cell wrote.

use crate::{
    output,
    session::{Session, Target},
};
use clap::Args;
use std::{process::ExitCode, time::Duration};

/// One piece of a log; far below what an answer may hold.
const PIECE_BYTES: u64 = 256 << 10;

/// How often a followed log is asked for more.
const PERIOD: Duration = Duration::from_millis(250);

/// Show what a service or cell wrote
///
/// A service's log is what it wrote to standard error; a cell's is its standard output too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin logs service/street-counter
  cloudskin logs -f service/street-counter        and what it writes from now on
  cloudskin logs cell/hello -o json               pieces with their offsets")]
pub(crate) struct Logs {
    /// Which
    #[arg(value_name = "KIND/NAME")]
    target: Target,
    /// Go on with what is written until it ends, or Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// `json`: one object a line, with offset and text
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text", value_name = "FORMAT")]
    output: String,
}

pub(crate) async fn run(args: Logs, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let Target { kind, name } = &args.target;
    let mut offset = 0;
    loop {
        let piece = client.logs(*kind, name, offset, PIECE_BYTES).await?;
        let is_new = !piece.text.is_empty();
        if is_new {
            match args.output.as_str() {
                "json" => output::print(&output::json_line(&piece))?,
                // What a program writes may be meant for a terminal; it is shown as it is.
                _ => output::print(&piece.text)?,
            }
            offset = piece.end();
        }
        match (is_new, args.follow) {
            (true, _) => {}
            (false, true) if !piece.ended => tokio::time::sleep(PERIOD).await,
            (false, _) => return Ok(ExitCode::SUCCESS),
        }
    }
}
