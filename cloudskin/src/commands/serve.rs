//! `cloudskin serve`: one part of the platform, alone.

mod sites;
mod telemetry;
pub(crate) mod work;

use super::{
    geds::store::{default_folder, socket},
    services::stopping,
};
use crate::{exit::Failure, output};
use anyhow::Context;
use clap::{Args, Subcommand};
use geds::{Config, Geds, Limits, Node};
use orchestrator::store::{S3_KEYS, s3_keys};
use sites::SiteArgs;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tokio::net::TcpListener;
use types::{Bytes, ErrorKind, Period, Token};
use work::Runners;

/// Run one part of the platform alone, without a control plane
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  cloudskin serve geds                       a store for the programs of this machine
  cloudskin serve s3                         the same, and S3 clients on http://127.0.0.1:9000
  cloudskin serve telemetry                  measured series, and Prometheus' API on http://127.0.0.1:9090"
)]
pub(crate) struct Serve {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    Geds(GedsNode),
    S3(S3Endpoint),
    Telemetry(telemetry::Telemetry),
}

/// What a store may use, and whose it is.
#[derive(Debug, Args)]
struct StoreArgs {
    /// Where objects on disk and sockets are [default: cloudskin-geds in the XDG state folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Who has a store of their own here; again for the next one
    #[arg(long = "for", value_name = "TENANT", default_value = "default")]
    tenants: Vec<String>,
    /// Most memory for the objects of one tenant
    #[arg(long, value_name = "SIZE", default_value = "1Gi")]
    memory: Bytes,
    /// Most disk space for the objects of one tenant
    #[arg(long, value_name = "SIZE", default_value = "64Gi")]
    disk: Bytes,
    /// How full the memory may be before objects move to disk in the background
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    high_water: u8,
    #[command(flatten)]
    sites: SiteArgs,
    /// Run no modules of triggers here
    #[arg(long)]
    no_triggers: bool,
}

/// Serve objects to the programs of this machine, through shared memory
///
/// Other processes join through a socket that only this user can open; `cloudskin geds` and the
/// Python package find it. Objects live in memory and move to disk when it is full; when this
/// process is ended by SIGTERM or SIGINT, all are written to disk and are there at the next start.
/// The modules of triggers are run here, unless `--no-triggers` leaves them to
/// `cloudskin geds trigger work`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin serve geds
  cloudskin serve geds --memory 8Gi --disk 500Gi --data-dir /var/lib/geds
  cloudskin serve geds --for lab --for field        two tenants, who do not see each other's objects
  cloudskin serve geds --site edge --listen-sites 127.0.0.1:7411 --peer cloud=127.0.0.1:7412")]
pub(crate) struct GedsNode {
    #[command(flatten)]
    store: StoreArgs,
}

/// Serve objects to S3 clients
///
/// Signatures of version 4. The keys are read from a file, which is made if there is none; each
/// sees the buckets of its tenant. Where `cloudskin serve geds` runs with the same folder, its
/// store is served; otherwise this process holds it, and programs join it likewise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin serve s3
  cloudskin serve s3 --listen 127.0.0.1:9100 --keys keys.toml --for lab --for field
  cloudskin serve s3 --metrics 127.0.0.1:9001 --uploads-expire 2d

The file of keys:
  [[keys]]
  access_key = \"lab\"
  secret = \"…\"
  tenant = \"lab\"")]
pub(crate) struct S3Endpoint {
    /// Where clients connect, without TLS: an address of this machine alone
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Access keys, their secrets and tenants [default: s3-keys.toml in the data folder]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// How long an upload in parts that nobody finishes is kept; 0s for always
    #[arg(long, value_name = "PERIOD", default_value = "7d")]
    uploads_expire: Period,
    /// Where /metrics is told to who shows the token in the data folder: an address of this machine alone
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(args: Serve) -> anyhow::Result<ExitCode> {
    match args.part {
        Part::Geds(args) => serve_geds(args).await,
        Part::S3(args) => serve_s3(args).await,
        Part::Telemetry(args) => telemetry::run(args).await,
    }
}

impl StoreArgs {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        self.data_dir.clone().map_or_else(default_folder, Ok)
    }

    fn limits(&self) -> Limits {
        Limits {
            memory_bytes: self.memory.0,
            disk_bytes: self.disk.0,
            high_water_percent: self.high_water,
            ..Limits::default()
        }
    }

    /// The stores of all tenants, which other processes may join.
    fn open(&self, folder: &Path) -> anyhow::Result<Stores> {
        let node = Node::start(folder)?;
        let mut all = Vec::new();
        for tenant in &self.tenants {
            let store = node.geds(tenant, &self.limits())?;
            node.listen(tenant, &self.limits(), socket(folder, tenant))?;
            all.push((tenant.clone(), store));
        }
        let sites = self.sites.join(&node, folder)?;
        Ok(Stores { node: Some(node), sites, all })
    }

    /// Runs the modules of triggers, where the store is ours and nobody else is to do it.
    fn run_triggers(&self, stores: &Stores, folder: &Path) -> anyhow::Result<Runners> {
        if self.no_triggers || stores.node.is_none() {
            return Ok(Runners::default());
        }
        Runners::start(&stores.all, folder)
    }

    /// The same, or those of the process that has the folder already.
    fn open_or_join(&self, folder: &Path) -> anyhow::Result<Stores> {
        let opened = self.open(folder);
        let taken = |error: &anyhow::Error| {
            let kind = error.downcast_ref().map(geds::Error::kind);
            kind == Some(ErrorKind::Unavailable)
        };
        if !opened.as_ref().err().is_some_and(taken) {
            return opened;
        }
        if self.sites.is_asked() {
            let message = "`cloudskin serve geds` has the store: give it what is about other sites";
            return Err(Failure::error(ErrorKind::Invalid, message));
        }
        let joined = self.tenants.iter().map(|tenant| {
            let store = Geds::open(Config::join(socket(folder, tenant)));
            let store = store.with_context(|| {
                format!("`cloudskin serve geds` there does not serve tenant `{tenant}`: start it with `--for {tenant}`")
            });
            Ok((tenant.clone(), store?))
        });
        Ok(Stores { node: None, sites: None, all: joined.collect::<anyhow::Result<_>>()? })
    }
}

/// Open stores.
struct Stores {
    /// Ours, unless another process has it.
    node: Option<Node>,
    /// Where nodes of other sites connect.
    sites: Option<SocketAddr>,
    all: Vec<(String, Geds)>,
}

impl Stores {
    /// Writes what is only in memory to disk, so that it is there at the next start.
    fn keep(&self) -> anyhow::Result<()> {
        if self.node.is_none() {
            return Ok(());
        }
        for (tenant, store) in &self.all {
            store
                .persist_all()
                .with_context(|| format!("objects of tenant `{tenant}` are lost"))?;
        }
        Ok(())
    }

    fn tell(&self, folder: &Path) {
        for (tenant, _) in &self.all {
            let socket = socket(folder, tenant);
            output::complain(&format!("tenant `{tenant}`: CLOUDSKIN_GEDS={}", socket.display()));
        }
        if let Some(address) = self.sites {
            output::complain(&format!("other sites: {address}"));
        }
    }
}

async fn serve_geds(args: GedsNode) -> anyhow::Result<ExitCode> {
    let folder = args.store.folder()?;
    let stores = args.store.open(&folder)?;
    let stop = stopping()?;
    stores.tell(&folder);
    let runners = args.store.run_triggers(&stores, &folder)?;
    stop.cancelled().await;
    tokio::task::block_in_place(|| runners.stop());
    tokio::task::block_in_place(|| stores.keep())?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_s3(args: S3Endpoint) -> anyhow::Result<ExitCode> {
    check_loopback(args.listen)?;
    let folder = args.store.folder()?;
    let stores = args.store.open_or_join(&folder)?;
    let file = args.keys.unwrap_or_else(|| folder.join(S3_KEYS));
    let keys = s3_keys(&file, &args.store.tenants)?;
    let upload_age_max_s = args.uploads_expire.0.as_secs();
    let config = s3::Config { keys, upload_age_max_s, ..s3::Config::default() };
    let endpoint = s3::Endpoint::new(config, stores.all.clone())?;
    let metrics = match args.metrics {
        Some(address) => Some(listen_for_metrics(address, &folder).await?),
        None => None,
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let stop = stopping()?;
    stores.tell(&folder);
    output::complain(&format!(
        "S3: http://{}, keys in `{}`",
        listener.local_addr()?,
        file.display()
    ));
    if let Some((listener, token)) = metrics {
        output::complain(&format!(
            "metrics: http://{}/metrics, with the token in `{}`",
            listener.local_addr()?,
            folder.join(METRICS_TOKEN).display()
        ));
        tokio::spawn(endpoint.metrics().serve(listener, token, stop.clone().cancelled_owned()));
    }
    let runners = args.store.run_triggers(&stores, &folder)?;
    endpoint.run(listener, stop.cancelled_owned()).await?;
    tokio::task::block_in_place(|| runners.stop());
    tokio::task::block_in_place(|| stores.keep())?;
    Ok(ExitCode::SUCCESS)
}

/// Where the token is that metrics are told for.
const METRICS_TOKEN: &str = "metrics-token";

fn check_loopback(address: SocketAddr) -> anyhow::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "{address} is reachable from other machines, and the endpoint speaks no TLS: bind it to 127.0.0.1 and put a proxy with TLS before it"
    );
    Err(Failure::error(ErrorKind::Unsupported, message))
}

async fn listen_for_metrics(
    address: SocketAddr,
    folder: &Path,
) -> anyhow::Result<(TcpListener, Token)> {
    check_loopback(address)?;
    let token = Token::load_or_create(&folder.join(METRICS_TOKEN))?;
    let listener = TcpListener::bind(address).await;
    Ok((listener.with_context(|| format!("cannot listen on {address}"))?, token))
}
