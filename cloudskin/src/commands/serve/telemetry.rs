//! `cloudskin serve telemetry`: the store of measured series, alone.

use super::check_loopback;
use crate::{commands::services::stopping, exit::Failure, output};
use anyhow::Context;
use clap::Args;
use series::{
    Limits, Store,
    http::{Api, serve},
    query::QueryLimits,
    scrape::{Target, run as scrape, upkeep},
};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use types::{Bytes, Clock, ErrorKind, Period, SystemClock, Token};

/// Keep measured series, and answer Prometheus' HTTP API
///
/// Fetches the pages it is told of, and takes what is pushed by remote write (`/api/v1/write`) and
/// OTLP (`/v1/metrics`). Who asks shows the token in the data folder: `Authorization: Bearer TOKEN`.
/// What was stored is there at the next start, whatever ended this process.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin serve telemetry --scrape http://127.0.0.1:9100/metrics
  cloudskin serve telemetry --scrape http://10.0.0.5:8000/metrics --interval 5s --age 30d --disk 20Gi
  cloudskin --url http://127.0.0.1:9090 --token \"$(cat DIR/token)\" query 'rate(node_cpu_seconds_total[5m])'")]
pub(crate) struct Telemetry {
    /// A page to fetch; again for the next one
    #[arg(long, value_name = "URL")]
    scrape: Vec<String>,
    /// Between two fetches of a page
    #[arg(long, value_name = "PERIOD", default_value = "15s")]
    interval: Period,
    /// The label `job` of the pages' series
    #[arg(long, value_name = "NAME", default_value = "scrape")]
    job: String,
    /// Where clients ask, without TLS: an address of this machine alone
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the series are [default: cloudskin-telemetry in the XDG state folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How long samples are kept
    #[arg(long, value_name = "PERIOD", default_value = "15d")]
    age: Period,
    /// Most disk space; the oldest samples go first
    #[arg(long, value_name = "SIZE", default_value = "8Gi")]
    disk: Bytes,
    /// Most series at once
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    series: usize,
}

pub(super) async fn run(args: Telemetry) -> anyhow::Result<ExitCode> {
    check_loopback(args.listen)?;
    let targets = args.scrape.iter().map(|url| Target::new(url, &args.job, args.interval.0));
    let targets: Vec<Target> = targets.collect::<Result<_, _>>()?;
    let folder = args.data_dir.map_or_else(default_folder, Ok)?;
    let limits =
        Limits { age: args.age, disk: args.disk, series: args.series, ..Limits::default() };
    let store = Arc::new(Store::open(&folder.join("series"), limits)?);
    let token = Token::load_or_create(&folder.join("token"))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let stop = stopping()?;
    output::complain(&format!(
        "telemetry: http://{}, with the token in `{}`",
        listener.local_addr()?,
        folder.join("token").display()
    ));
    let tasks = TaskTracker::new();
    tasks.spawn(upkeep(store.clone(), clock.clone(), stop.clone()));
    for target in targets {
        tasks.spawn(scrape(target, store.clone(), clock.clone(), stop.clone()));
    }
    let api = Api::new(store, clock, QueryLimits::default());
    serve(listener, api, token, stop.clone()).await?;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(ExitCode::SUCCESS)
}

fn default_folder() -> anyhow::Result<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let missing = || Failure::error(ErrorKind::Invalid, "no folder is known: give --data-dir");
    Ok(state.ok_or_else(missing)?.join("cloudskin-telemetry"))
}
