//! What can be typed.

use crate::commands::{
    apply, build, completions, config, dashboard, delete, describe, diff, doctor, down, geds, get,
    join, logs, migrate, model, mpirun, play, policy, predict, query, rank, replay, restore, run,
    scale, serve, services, simulate, snapshot, status, token, toolchain, top, twin, up, version,
    wait, why,
};
use clap::{Args, Parser, Subcommand, builder::styling};
use std::ffi::OsString;

/// A cloud–edge continuum in one binary: services that run at any site and move live.
#[derive(Debug, Parser)]
#[command(
    name = "cloudskin",
    bin_name = "cloudskin",
    version,
    arg_required_else_help = true,
    propagate_version = false,
    styles = STYLES,
    after_help = EXAMPLES,
    after_long_help = LONG_EXAMPLES,
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Say more on standard error; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Global options")]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the control plane is, for every command that asks one.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Use this context instead of the current one
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) context: Option<String>,
    /// The control plane's address, such as http://127.0.0.1:8470
    #[arg(
        long,
        global = true,
        env = "CLOUDSKIN_URL",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) url: Option<String>,
    /// The token that lets you in; better given in the environment, where no other user sees it
    #[arg(
        long,
        global = true,
        env = "CLOUDSKIN_TOKEN",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) token: Option<String>,
    /// The certificate of the control plane's authority, for an address with https://
    #[arg(
        long,
        global = true,
        env = "CLOUDSKIN_CA",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub(crate) ca: Option<std::path::PathBuf>,
    /// Whose resources are meant; `default` unless the context says otherwise
    #[arg(
        long,
        global = true,
        env = "CLOUDSKIN_TENANT",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) tenant: Option<String>,
}

/// Every command; each is one function of its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Build(build::Build),
    Toolchain(toolchain::Toolchain),
    Run(run::Run),
    Mpirun(mpirun::Mpirun),
    Apply(apply::Apply),
    Diff(diff::Diff),
    Get(get::Get),
    Describe(describe::Describe),
    Delete(delete::Delete),
    Logs(logs::Logs),
    Wait(wait::Wait),
    Migrate(migrate::Migrate),
    Scale(scale::Scale),
    Snapshot(snapshot::Snapshot),
    Restore(restore::Restore),
    Play(play::Play),
    Simulate(simulate::Simulate),
    Policy(policy::Policy),
    Replay(replay::Replay),
    Twin(twin::Twin),
    Model(model::ModelArgs),
    Predict(predict::Predict),
    Rank(rank::Rank),
    Query(query::Query),
    Geds(geds::GedsArgs),
    Serve(serve::Serve),
    Why(why::Why),
    Top(top::Top),
    Dashboard(dashboard::Dashboard),
    Config(config::Config),
    Token(token::Token),
    Join(join::Join),
    Completions(completions::Completions),
    Version(version::Version),
    Control(services::Control),
    Site(services::Site),
    Worker(services::Worker),
    Store(services::Store),
    Compile(services::Compile),
    Cc(toolchain::Cc),
}

impl Cli {
    /// This process's command line.
    pub(crate) fn of_this_process() -> Self {
        let mut args: Vec<OsString> = std::env::args_os().collect();
        // As every other mpirun spells it; here it would be `-n` with the value `p`.
        if args.get(1).is_some_and(|arg| arg == "mpirun")
            && args.get(2).is_some_and(|arg| arg == "-np")
        {
            args[2] = "-n".into();
        }
        Self::parse_from(args)
    }
}

const STYLES: styling::Styles = styling::Styles::styled()
    .header(styling::AnsiColor::Green.on_default().bold())
    .usage(styling::AnsiColor::Green.on_default().bold())
    .literal(styling::AnsiColor::Cyan.on_default())
    .placeholder(styling::AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  cloudskin up -d                                 a control plane, a cloud site and an edge site
  cloudskin apply -f street-counter.yaml          deploy a service
  cloudskin get services -w                       watch what becomes of it
  cloudskin migrate service/street-counter --to site/cloud
  cloudskin down --purge                          end everything and forget it";

const LONG_EXAMPLES: &str = "\
Examples:
  cloudskin up -d                                 a control plane, a cloud site and an edge site
  cloudskin apply -f street-counter.yaml          deploy a service
  cloudskin get services -w                       watch what becomes of it
  cloudskin migrate service/street-counter --to site/cloud
  cloudskin down --purge                          end everything and forget it

Exit codes:
  0  done
  1  it failed; for `diff`: there are differences; for `status` and `doctor`: something is not well
  2  the command line or a file is wrong, or what is asked for is not supported
  3  what was named does not exist
  4  it conflicts with what is: already there, changed meanwhile, a port is taken
  5  no valid token, or not allowed
  6  the control plane or a site cannot be reached
  7  it did not happen in time
  8  a limit is reached

Environment:
  CLOUDSKIN_URL, CLOUDSKIN_TOKEN, CLOUDSKIN_TENANT   as --url, --token, --tenant
  CLOUDSKIN_CA                                       as --ca
  CLOUDSKIN_GEDS                                     the store of `geds`, `--dir geds://…` and Python
  CLOUDSKIN_JOIN_TOKEN                               the token of `join`, out of other users' sight
  CLOUDSKIN_LOG                                      what is logged, such as `debug` or `orchestrator=trace`
  NO_COLOR                                           no colours, even on a terminal
  XDG_CONFIG_HOME, XDG_STATE_HOME                    where contexts and data are kept";
