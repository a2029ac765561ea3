//! The processes of a continuum: control plane, site agent, worker, compiler.
//!
//! `cloudskin up` starts the first two, an agent its workers, and whoever loads a module the
//! compiler. People who run them by hand find the same settings here.

use super::{place::Place, serve::work::Runners};
use anyhow::Context;
use cells::{Cache, Compiler, CompilerLimits, Runtime, Use, worker};
use clap::{Args, ValueEnum};
use meta::{Embedded, MetaStore};
use orchestrator::{control, dns, site, store, trust::Identity};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use types::{Bytes, Clock, Cpu, Period, SystemClock, Token};

/// Where a control plane is reached, unless an address has another port.
const CONTROL_PORT: u16 = 8470;

/// Where a site's listener for its peers is, unless an address has another port.
pub(crate) const PEER_PORT: u16 = 8471;

/// Where S3 clients find a site's objects.
const S3_PORT: u16 = 9000;

/// Where the stores of other sites find them.
const OBJECTS_PORT: u16 = 8571;

/// The memory that a store takes at most, unless it is told how much.
const OBJECTS_MEMORY_MAX: u64 = 2 << 30;

/// Run a control plane: REST, sites, DNS
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin control --data-dir /var/lib/cloudskin/control --listen 127.0.0.1:8470 --dns 127.0.0.1:8053
  cloudskin control --data-dir /var/lib/cloudskin/control --bind 10.0.0.1    machines may join")]
pub(crate) struct Control {
    /// Where everything is kept; tokens too
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where REST and sites are served on this machine, without TLS
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where DNS is served; it has no token: who reaches it may ask for every name
    #[arg(long, default_value = "127.0.0.1:8053", value_name = "ADDRESS")]
    dns: SocketAddr,
    /// Where other machines reach it, over TLS 1.3: sites show their certificates
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<Place>,
    /// The ingress that routes `http://<service>.localhost`, for the URLs that are shown
    #[arg(long, value_name = "ADDRESS")]
    local_ingress: Option<SocketAddr>,
    /// The models that policies forecast with: a folder, or geds://BUCKET/PREFIX for those that sites
    /// share [default: `models` beside the data folder]
    #[arg(long, env = "CLOUDSKIN_CATALOG", hide_env_values = true, value_name = "PLACE")]
    catalog: Option<String>,
}

pub(crate) async fn control(args: Control) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.listen.ip().is_loopback(),
        "{} is reachable from other machines: give it as --bind, which speaks TLS",
        args.listen
    );
    let bind = args.bind.map(|place| place.or_port(CONTROL_PORT));
    std::fs::create_dir_all(&args.data_dir)
        .with_context(|| format!("cannot make `{}`", args.data_dir.display()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let path = args.data_dir.join("meta.redb");
    let opened = clock.clone();
    let store =
        tokio::task::spawn_blocking(move || Embedded::open(&path, meta::Config::default(), opened))
            .await??;
    let store: Arc<dyn MetaStore> = Arc::new(store);
    let zone = dns::Zone::new(dns::Config::default())?;
    let stop = stopping()?;
    let server = dns::serve(zone.clone(), args.dns, stop.clone()).await?;
    let names = Arc::new(ZoneNames { zone, address: server.address() });
    let mut config = control::Config::new(args.data_dir, args.listen);
    config.ingress = args.local_ingress;
    config.bind = bind;
    if let Some(place) = args.catalog.filter(|place| !place.is_empty()) {
        config.use_models(&place)?;
    }
    let control = control::Control::open(config, store, names, clock).await?;
    let secured = match bind {
        Some(bind) => Some(listen(bind).await?),
        None => None,
    };
    let listeners = control::Listeners { plain: listen(args.listen).await?, secured };
    control.run(listeners, stop.clone().cancelled_owned()).await?;
    stop.cancel();
    server.stopped().await;
    Ok(ExitCode::SUCCESS)
}

async fn listen(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// The names of services in our zone.
#[derive(Debug)]
struct ZoneNames {
    zone: dns::Zone,
    address: SocketAddr,
}

impl ZoneNames {
    fn apply(&self, change: dns::Result<dns::Change>) {
        let applied = change.and_then(|change| self.zone.apply(&[change]));
        if let Err(error) = applied {
            tracing::error!(error = types::chain(&error), "a name could not be changed");
        }
    }
}

impl control::Names for ZoneNames {
    fn name_of(&self, tenant: &str, service: &str) -> String {
        format!("{service}.{tenant}.svc.{}", self.zone.origin().to_string().trim_end_matches('.'))
    }

    fn switch(&self, tenant: &str, service: &str, address: IpAddr) {
        self.apply(self.zone.point(tenant, service, &[address]));
    }

    fn remove(&self, tenant: &str, service: &str) {
        self.apply(self.zone.remove(tenant, service));
    }

    fn zone(&self) -> (String, Option<SocketAddr>) {
        (self.zone.origin().to_string(), Some(self.address))
    }
}

/// Run a site's agent: workers, ingress, checkpoints
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin site --name edge --control http://127.0.0.1:8470 --token-file site-token \\
      --data-dir /var/lib/cloudskin/edge --address 127.0.0.12 --label tier=edge
  cloudskin site --name edge2 --control https://10.0.0.1:8470 --bind 10.0.0.2 \\
      --identity /var/lib/cloudskin/edge2/identity.json --data-dir /var/lib/cloudskin/edge2 \\
      --address 127.0.0.1")]
pub(crate) struct Site {
    /// The site's name
    #[arg(long)]
    name: String,
    /// The control plane
    #[arg(long, value_name = "URL")]
    control: String,
    /// The token of the sites of this machine
    #[arg(long, value_name = "FILE", required_unless_present = "identity")]
    token_file: Option<PathBuf>,
    /// The site's key and certificate, as `cloudskin join` keeps them; then the control plane's
    /// address begins with https://
    #[arg(long, value_name = "FILE", requires = "bind", conflicts_with = "token_file")]
    identity: Option<PathBuf>,
    /// Where other sites reach this one over mutual TLS; port 8471 unless it has another
    #[arg(long, value_name = "ADDRESS", requires = "identity")]
    bind: Option<Place>,
    /// All that the site remembers
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where the ingress is, and without --bind also the listener for other sites. The ingress has
    /// no token: who reaches it uses the services
    #[arg(long, value_name = "ADDRESS")]
    address: IpAddr,
    /// The ingress' port
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    ingress_port: u16,
    /// The port for other sites
    #[arg(long, default_value_t = 8471, value_name = "PORT")]
    peer_port: u16,
    /// A label that services can select
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Processor time that the site offers; all there is if not given
    #[arg(long, value_name = "CPUS")]
    cpu: Option<Cpu>,
    /// Memory that the site offers; all there is if not given
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    #[command(flatten)]
    objects: ObjectArgs,
    #[command(flatten)]
    cpu_sets: CpuSetArgs,
    /// How long the site's workers wait for an agent that is gone, before they checkpoint what they
    /// hold and exit
    #[arg(long, value_name = "PERIOD", default_value_t = default_absence(), value_parser = absence)]
    workers_exit_without_agent_after: Period,
}

/// The site's store of objects.
#[derive(Debug, Args)]
#[command(next_help_heading = "Objects")]
pub(crate) struct ObjectArgs {
    /// Most memory for the objects of one tenant; then they move to disk [default: an eighth of the
    /// machine's, at most 2Gi]
    #[arg(long, value_name = "SIZE")]
    objects_memory: Option<Bytes>,
    /// The port for S3 clients of this machine
    #[arg(long, default_value_t = S3_PORT, value_name = "PORT")]
    s3_port: u16,
    /// The port at which the stores of other sites reach this one's
    #[arg(long, default_value_t = OBJECTS_PORT, value_name = "PORT")]
    objects_port: u16,
}

impl ObjectArgs {
    /// The process that holds them.
    fn store(&self, exit_without_agent_after: Period) -> anyhow::Result<site::StoreConfig> {
        let usual = || Bytes((memory_of_this_machine().0 / 8).min(OBJECTS_MEMORY_MAX));
        Ok(site::StoreConfig {
            program: std::env::current_exe()?,
            args: vec![
                "store".into(),
                "--exit-without-agent-after".into(),
                exit_without_agent_after.to_string(),
            ],
            memory: self.objects_memory.unwrap_or_else(usual),
            s3_port: self.s3_port,
            sites_port: self.objects_port,
        })
    }
}

/// The processors of a site's workers.
#[derive(Debug, Args)]
pub(crate) struct CpuSetArgs {
    /// The only processors that the workers use, or with TENANT= those of that tenant's. Tenants
    /// share what is not named for one of them alone: give the others a set too
    #[arg(
        long = "cpu-set",
        env = "CLOUDSKIN_CPU_SETS",
        value_delimiter = ';',
        value_name = "[TENANT=]LIST"
    )]
    cpu_sets: Vec<String>,
}

impl CpuSetArgs {
    pub(crate) fn read(&self) -> site::Result<site::CpuSets> {
        site::CpuSets::parse(&self.cpu_sets)
    }
}

/// Shorter, and workers would go before an agent that restarts can adopt them.
const ABSENCE_MIN: Duration = Duration::from_secs(1);

pub(crate) fn default_absence() -> Period {
    Period(worker::EXIT_WITHOUT_AGENT_AFTER)
}

fn absence(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: types::PeriodError| error.to_string())?;
    if period.0 < ABSENCE_MIN {
        return Err(format!("an agent needs time to come back: at least {}", Period(ABSENCE_MIN)));
    }
    Ok(period)
}

pub(crate) async fn site(args: Site) -> anyhow::Result<ExitCode> {
    let trust = match (&args.token_file, &args.identity, args.bind) {
        (_, Some(path), Some(bind)) => site::Trust::Certificates {
            identity: Arc::new(Identity::load(path)?),
            bind: bind.or_port(PEER_PORT),
        },
        (Some(token), ..) => {
            anyhow::ensure!(
                args.address.is_loopback(),
                "{} is reachable from other machines: join with `cloudskin join`, or give \
                 --identity and --bind",
                args.address
            );
            site::Trust::Token(Token::load(token)?)
        }
        _ => anyhow::bail!("give --token-file, or --identity and --bind"),
    };
    run_site(Agent {
        name: args.name,
        control: args.control,
        trust,
        data_dir: args.data_dir,
        address: args.address,
        ingress_port: args.ingress_port,
        peer_port: args.peer_port,
        labels: labels_of(&args.labels),
        cpu: args.cpu,
        memory: args.memory,
        cpu_sets: args.cpu_sets.read()?,
        objects: args.objects,
        workers_exit_without_agent_after: args.workers_exit_without_agent_after,
    })
    .await
}

/// What differs between agents.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) control: String,
    pub(crate) trust: site::Trust,
    pub(crate) data_dir: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) ingress_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Option<Bytes>,
    pub(crate) cpu_sets: site::CpuSets,
    pub(crate) objects: ObjectArgs,
    pub(crate) workers_exit_without_agent_after: Period,
}

/// The labels that options name as `KEY=VALUE`.
pub(crate) fn labels_of(labels: &[String]) -> BTreeMap<String, String> {
    let pairs = labels.iter().filter_map(|label| label.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Runs an agent until it is asked to end.
pub(crate) async fn run_site(agent: Agent) -> anyhow::Result<ExitCode> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let config = site::Config {
        name: agent.name,
        labels: agent.labels,
        control_url: agent.control,
        trust: agent.trust,
        address: agent.address,
        ingress_port: agent.ingress_port,
        peer_port: agent.peer_port,
        data_dir: agent.data_dir,
        worker_program: std::env::current_exe()?,
        worker_args: vec![
            "worker".into(),
            "--exit-without-agent-after".into(),
            agent.workers_exit_without_agent_after.to_string(),
        ],
        cpu: agent.cpu.unwrap_or(Cpu(cores * 1000)),
        memory: agent.memory.unwrap_or_else(memory_of_this_machine),
        cpu_sets: agent.cpu_sets,
        store: Some(agent.objects.store(agent.workers_exit_without_agent_after)?),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: site::SiteLimits::default(),
    };
    let site = site::Site::open(config).await?;
    site.run(ending()?).await;
    Ok(ExitCode::SUCCESS)
}

fn memory_of_this_machine() -> Bytes {
    let info = rustix::system::sysinfo();
    Bytes(info.totalram.saturating_mul(u64::from(info.mem_unit)))
}

/// Run a worker: the process that holds cells
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  cloudskin worker --socket w.sock --token-file w.token --data DIR    as a site's agent does it"
)]
pub(crate) struct Worker {
    /// Where it listens
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// What its agent must show
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where compiled code is kept
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How long it waits for an agent, before it checkpoints what it holds and exits
    #[arg(long, value_name = "PERIOD", default_value_t = default_absence(), value_parser = absence)]
    exit_without_agent_after: Period,
}

pub(crate) fn worker(args: Worker) -> anyhow::Result<ExitCode> {
    let cache = Cache::open(&args.data.join("code"))?;
    worker::serve(worker::Config {
        socket: args.socket,
        token: Token::load(&args.token_file)?,
        runtime: Runtime::new(cache, Compiler::Process(std::env::current_exe()?)),
        exit_without_agent_after: args.exit_without_agent_after.0,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Run a site's store: the process that holds its objects
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  cloudskin store --site edge --folder DIR --memory 1Gi    as a site's agent does it, with listeners as
                                                           its standard input and output"
)]
pub(crate) struct Store {
    /// The site's name
    #[arg(long)]
    site: String,
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// Most memory for the objects of one tenant
    #[arg(long, value_name = "SIZE")]
    memory: Bytes,
    /// The site's key and certificate
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// How long it waits for an agent, before it writes everything to disk and ends
    #[arg(long, value_name = "PERIOD", default_value_t = default_absence(), value_parser = absence)]
    exit_without_agent_after: Period,
}

pub(crate) async fn store(args: Store) -> anyhow::Result<ExitCode> {
    let config = store::Config {
        site: args.site,
        folder: args.folder,
        memory: args.memory,
        identity: args.identity,
        s3: given(std::io::stdin(), "input")?,
        sites: given(std::io::stdout(), "output")?,
        exit_without_agent_after: args.exit_without_agent_after.0,
        beside: Box::new(Runners::default()),
    };
    store::run(config, stopping()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// The listener that a standard stream is.
fn given(stream: impl AsFd, name: &str) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::from(stream.as_fd().try_clone_to_owned()?);
    let what = || format!("the standard {name} is no listener: an agent starts this");
    listener.local_addr().with_context(what)?;
    Ok(listener)
}

/// Compile a module into a code cache, within limits
#[derive(Debug, Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  cloudskin compile --module a.wasm --cache DIR --purpose program --backend cranelift"
)]
pub(crate) struct Compile {
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    #[arg(long, value_enum)]
    purpose: Purpose,
    #[arg(long, value_enum)]
    backend: super::cells::Engine,
    /// Most memory that it may use
    #[arg(long, value_name = "SIZE", default_value_t = Bytes(CompilerLimits::default().memory_bytes))]
    memory_max: Bytes,
    /// Most processor time that it may use
    #[arg(long, value_name = "SECONDS", default_value_t = CompilerLimits::default().cpu_seconds)]
    cpu_seconds_max: u64,
    /// The process that waits for the code, and without which it is not compiled
    #[arg(long, value_name = "PID")]
    parent: Option<u32>,
}

/// What compiled code is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    Service,
    Program,
}

pub(crate) fn compile(args: Compile) -> anyhow::Result<ExitCode> {
    args.parent.map(cells::end_with_parent).transpose()?;
    cells::limit_compiler_process(&CompilerLimits {
        memory_bytes: args.memory_max.0,
        cpu_seconds: args.cpu_seconds_max,
        ..CompilerLimits::default()
    });
    let cache = Cache::open(&args.cache)?;
    let purpose = match args.purpose {
        Purpose::Service => Use::Service,
        Purpose::Program => Use::Program,
    };
    match cells::compile_here(&cache, &args.module, purpose, args.backend.into()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(cells::Error::Malformed { reason, .. }) => {
            // The caller names the module.
            crate::output::complain(&reason);
            Ok(ExitCode::from(cells::MALFORMED_EXIT_CODE))
        }
        Err(error) => Err(error.into()),
    }
}

/// How the agent shall end: SIGHUP leaves its workers to the next agent, SIGTERM and SIGINT have
/// them save their states and end.
fn ending() -> anyhow::Result<impl Future<Output = site::Exit>> {
    let (mut hang_up, stop) = (signal(SignalKind::hangup())?, stopping()?);
    Ok(async move {
        tokio::select! {
            _ = hang_up.recv() => site::Exit::LeaveWorkers,
            () = stop.cancelled() => site::Exit::StopWorkers,
        }
    })
}

/// Cancelled by SIGTERM or SIGINT.
pub(crate) fn stopping() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        asked.cancel();
    });
    Ok(stop)
}
