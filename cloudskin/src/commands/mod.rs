//! One file per command: its arguments with their help, and what it does.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod cells;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod cpus;
pub(crate) mod dashboard;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod follow;
pub(crate) mod geds;
pub(crate) mod get;
pub(crate) mod join;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod model;
pub(crate) mod mpirun;
pub(crate) mod place;
pub(crate) mod play;
pub(crate) mod policy;
pub(crate) mod predict;
pub(crate) mod query;
pub(crate) mod rank;
pub(crate) mod replay;
pub(crate) mod restore;
pub(crate) mod rows;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod serve;
pub(crate) mod services;
pub(crate) mod simulate;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod toolchain;
pub(crate) mod top;
pub(crate) mod twin;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod why;

use crate::{
    cli::{Cli, Command},
    session::Session,
};
use anyhow::Context;
use std::process::ExitCode;

/// Runs the command on a runtime of its own.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let (session, verbose) = (Session::new(cli.connection), cli.verbose > 0);
    // What runs no asynchronous service needs no runtime, and starts the sooner.
    match cli.command {
        Command::Build(args) => return build::run(args),
        Command::Cc(args) => return toolchain::compile(args),
        Command::Simulate(args) => return simulate::run(&args),
        Command::Replay(args) => return replay::run(&args),
        Command::Twin(args) => return twin::run(&args),
        Command::Policy(args) => return policy::run(&args, &session, verbose),
        Command::Model(args) => return model::run(&args, &session),
        Command::Geds(args) => return geds::run(&args, &session),
        Command::Run(args) if args.is_local() => return run::run_here(&args, &session),
        Command::Mpirun(args) if args.is_local() => return mpirun::run_here(args, &session),
        Command::Restore(args) if args.is_local() => return restore::restore_here(&args, &session),
        Command::Worker(args) => return services::worker(args),
        Command::Compile(args) => return services::compile(args),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(run(cli.command, &session));
    // Reads from standard input cannot be ended; nothing waits for them.
    runtime.shutdown_background();
    result
}

async fn run(command: Command, session: &Session) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(args).await,
        Command::Status(args) => status::run(args, session).await,
        Command::Doctor(args) => doctor::run(args),
        Command::Apply(args) => apply::run(args, session).await,
        Command::Diff(args) => diff::run(args, session).await,
        Command::Get(args) => get::run(args, session).await,
        Command::Describe(args) => describe::run(args, session).await,
        Command::Delete(args) => delete::run(args, session).await,
        Command::Logs(args) => logs::run(args, session).await,
        Command::Wait(args) => wait::run(args, session).await,
        Command::Migrate(args) => migrate::run(args, session).await,
        Command::Snapshot(args) => snapshot::run(args, session).await,
        Command::Why(args) => why::run(args, session).await,
        Command::Predict(args) => predict::run(args, session).await,
        Command::Rank(args) => rank::run(args, session).await,
        Command::Query(args) => query::run(args, session).await,
        Command::Top(args) => top::run(args, session).await,
        Command::Dashboard(args) => dashboard::run(args, session),
        Command::Config(args) => config::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Version(args) => version::run(args),
        Command::Build(args) => build::run(args),
        Command::Toolchain(args) => toolchain::run(args),
        Command::Cc(args) => toolchain::compile(args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Twin(args) => twin::run(&args),
        Command::Policy(args) => policy::run(&args, session, false),
        Command::Model(args) => model::run(&args, session),
        Command::Geds(args) => geds::run(&args, session),
        Command::Serve(args) => serve::run(args).await,
        Command::Run(args) => run::run_there(args, session).await,
        Command::Restore(args) => restore::run(args, session).await,
        Command::Play(args) => play::run(args, session).await,
        Command::Token(args) => token::run(args, session).await,
        Command::Join(args) => join::run(args).await,
        Command::Control(args) => services::control(args).await,
        Command::Site(args) => services::site(args).await,
        Command::Mpirun(args) => mpirun::run_there(args, session).await,
        Command::Scale(args) => scale::run(args, session).await,
        Command::Store(args) => services::store(args).await,
        Command::Worker(args) => services::worker(args),
        Command::Compile(args) => services::compile(args),
    }
}
