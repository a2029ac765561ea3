//! `cloudskin up`: a continuum on this machine.

use super::place::Place;
use super::rows;
use crate::{
    exit::Failure,
    output::{self, FormatArgs, Style},
    progress::Progress,
    session::Session,
};
use anyhow::Context as _;
use clap::Args;
use orchestrator::{
    client::{Context, Contexts},
    control::check_quotas,
    supervisor::{DataFolder, Network, Notice, Phase, Plan, State, Supervisor},
};
use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use types::{Bytes, ErrorKind};

/// The supervisor gives up by itself before; this long means that it hangs.
const DETACH_LIMIT: Duration = Duration::from_secs(120);

/// Start a control plane and sites on this machine
///
/// Starts one control plane and one agent per site as child processes, each site on a loopback
/// address of its own, waits until all are ready, and says where everything is. Children that
/// die are started again. Ctrl-C, or `cloudskin down`, ends all of it.
///
/// A site is labelled `tier=<its name>`, so that the default sites are `tier=cloud` and
/// `tier=edge`. Everything is kept in one data folder, which is safe to delete while nothing
/// runs. Once it runs, `up` again only says where it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin up                                    until Ctrl-C
  cloudskin up -d                                 in the background; end it with `cloudskin down`
  cloudskin up -d --sites cloud,edge,lab          three sites
  cloudskin up -d --loopback 127.77.3.0 --data-dir /tmp/second
  cloudskin up -d --bind 10.0.0.1                 machines join here: see `cloudskin join`
                                                  a second continuum beside the first")]
pub(crate) struct Up {
    /// Return once everything is ready, and leave it running
    #[arg(short, long)]
    detach: bool,
    /// The sites to start, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "cloud,edge", value_name = "NAMES")]
    sites: Vec<String>,
    /// Where everything is kept [default: cloudskin in the XDG state folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The loopback network that everything listens on: the control plane on .1, sites from .11
    #[arg(long, default_value_t = Network::default(), value_name = "NETWORK")]
    loopback: Network,
    /// Let other machines in here, over mutual TLS: the control plane at port 8470 unless the
    /// address has another, the sites' listeners for their peers at those behind it
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<Place>,
    /// Most memory for the objects of one tenant at each site; then they move to disk [default: an
    /// eighth of this machine's, at most 2Gi]
    #[arg(long, value_name = "SIZE")]
    objects_memory: Option<Bytes>,
    /// The models that policies forecast with: a folder, or geds://BUCKET/PREFIX for those that sites
    /// share [default: `models` in the data folder]
    #[arg(long, env = "CLOUDSKIN_CATALOG", hide_env_values = true, value_name = "PLACE")]
    catalog: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
    /// The program that is started as control plane and agents, this one by default
    #[arg(long, hide = true)]
    program: Option<PathBuf>,
    /// Runs as the supervisor behind `up -d`
    #[arg(long, hide = true, conflicts_with = "detach")]
    behind: bool,
}

pub(crate) async fn run(args: Up) -> anyhow::Result<ExitCode> {
    let folder = folder(args.data_dir.as_ref())?;
    let mut plan = Plan::new(args.loopback, &args.sites)?;
    if let Some(bind) = args.bind {
        plan = plan.reachable_at(bind.address, bind.port)?;
    }
    plan.objects_memory = args.objects_memory;
    plan.catalog.clone_from(&args.catalog);
    folder.prepare()?;
    if let Some(state) = running(&folder, &plan)? {
        if args.format.is_text() {
            output::complain(&format!("it is up already, under pid {}", state.pid()));
        }
        return announce(&args, &folder, &plan, &state);
    }
    // Said here: the control plane would say it in its log, again and again.
    check_quotas(&folder.control())?;
    if args.detach {
        return detach(&args, &folder, &plan).await;
    }
    supervise(&args, folder, plan).await
}

/// The data folder that is meant.
pub(crate) fn folder(given: Option<&PathBuf>) -> anyhow::Result<DataFolder> {
    let root = match given {
        Some(root) => root.clone(),
        None => DataFolder::default_root()?,
    };
    Ok(DataFolder::at(&root)?)
}

/// What runs in the folder already, if it is just what is asked for; something else is an error.
fn running(folder: &DataFolder, plan: &Plan) -> anyhow::Result<Option<State>> {
    if folder.try_lock()?.is_some() {
        return Ok(None);
    }
    let wanted: Vec<_> = plan.sites.iter().map(|site| site.name.clone()).collect();
    match folder.state()? {
        Some(state)
            if state.phase == Phase::Ready
                && state.url == plan.url()
                && state.bind == plan.bind
                && state.sites == wanted =>
        {
            Ok(Some(state))
        }
        _ => Err(folder.lock().err().map_or_else(
            || Failure::error(ErrorKind::Conflict, "another supervisor just ended: try again"),
            Into::into,
        )),
    }
}

async fn supervise(args: &Up, folder: DataFolder, plan: Plan) -> anyhow::Result<ExitCode> {
    if args.behind {
        // Away from the terminal; fails only for who leads a group already, and then it is away.
        let _ = rustix::process::setsid();
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("cannot find this program's own file")?,
    };
    let children = plan.children(&program, &folder);
    let supervisor = Supervisor::new(folder.clone(), plan.clone(), children)?;
    let mut progress = (!args.behind).then(|| Progress::new("starting"));
    let mut announced = Ok(ExitCode::SUCCESS);
    let stop = stop_signal()?;
    let notify = |notice| match notice {
        Notice::Waiting(text) => {
            if let Some(progress) = &progress {
                progress.set(&text);
            }
        }
        Notice::Ready => {
            progress = None;
            let state = folder.state().ok().flatten();
            if let Some(state) = state.filter(|_| !args.behind) {
                announced = announce(args, &folder, &plan, &state);
            }
        }
        Notice::Restarting { child, end } => {
            output::complain(&format!("{child} ended ({end}) and is started again"));
        }
        Notice::Stopping => {
            progress = (!args.behind).then(|| Progress::new("ending everything"));
        }
    };
    supervisor.run(stop, notify).await?;
    announced
}

/// Done at Ctrl-C, at the end of the terminal, and when asked to end.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Starts this program again as a supervisor in the background, and waits until it is ready.
async fn detach(args: &Up, folder: &DataFolder, plan: &Plan) -> anyhow::Result<ExitCode> {
    let mut child = spawn_behind(args, folder)?;
    let progress = Progress::new("starting");
    let watching = async {
        loop {
            let own = folder.state()?.filter(|state| u32::try_from(state.pid()) == Ok(child.id()));
            if let Some(state) = own.filter(|state| state.phase == Phase::Ready) {
                return anyhow::Ok(state);
            }
            if let Some(status) = child.try_wait().context("cannot watch the supervisor")? {
                return Err(failure(folder, &status.to_string()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let watched = tokio::time::timeout(DETACH_LIMIT, watching).await;
    drop(progress);
    let late = || {
        let log = folder.log("supervisor");
        let message = format!("the supervisor hangs; its log is `{}`", log.display());
        Failure::error(ErrorKind::Timeout, message)
    };
    let state = watched.map_err(|_| late())??;
    announce(args, folder, plan, &state)
}

fn spawn_behind(args: &Up, folder: &DataFolder) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let path = folder.log("supervisor");
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let log = log.with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut command = Command::new(program);
    command
        .args(["up", "--behind", "--sites", &args.sites.join(",")])
        .args(["--loopback", &args.loopback.to_string()])
        .arg("--data-dir")
        .arg(folder.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    if let Some(bind) = args.bind {
        command.arg("--bind").arg(bind.to_string());
    }
    if let Some(memory) = args.objects_memory {
        command.args(["--objects-memory", &memory.to_string()]);
    }
    if let Some(place) = &args.catalog {
        command.arg("--catalog").arg(place);
    }
    if let Some(program) = &args.program {
        command.arg("--program").arg(program);
    }
    command.spawn().context("cannot start the supervisor")
}

/// Why a supervisor in the background ended.
fn failure(folder: &DataFolder, status: &str) -> anyhow::Error {
    let problem = folder.state().ok().flatten().and_then(|state| state.problem);
    match problem {
        Some(problem) => Failure::error(problem.kind, problem.message),
        None => {
            let log = folder.log("supervisor");
            let text = format!("the supervisor ended ({status}); its log is `{}`", log.display());
            Failure::error(ErrorKind::Internal, text)
        }
    }
}

/// Writes the context and says where everything is.
fn announce(
    args: &Up,
    folder: &DataFolder,
    plan: &Plan,
    state: &State,
) -> anyhow::Result<ExitCode> {
    let name = context_name(plan.network);
    let current = write_context(&name, folder, plan);
    if let Err(error) = &current {
        tracing::warn!(error = format!("{error:#}"), "the context was not written: use --url");
    }
    let is_current = current.is_ok_and(|current| current == name);
    let text = summary(folder, plan, &name, is_current, args.detach);
    args.format.print(state, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// `local`, or the network's own when it is not the default one.
fn context_name(network: Network) -> String {
    match network.is_default() {
        true => "local".to_owned(),
        false => format!("local-{network}"),
    }
}

/// Returns the context that is in use afterwards.
fn write_context(name: &str, folder: &DataFolder, plan: &Plan) -> anyhow::Result<String> {
    let path = Session::contexts_path()?;
    let mut contexts = Contexts::load(&path)?;
    let tenant = contexts.contexts.get(name).and_then(|context| context.tenant.clone());
    let token_file = Some(folder.token_file());
    let context = Context { url: plan.url(), ca: None, token_file, tenant };
    contexts.set(name, context);
    contexts.save(&path)?;
    Ok(contexts.current.unwrap_or_default())
}

fn summary(
    folder: &DataFolder,
    plan: &Plan,
    context: &str,
    is_current: bool,
    detached: bool,
) -> String {
    let style = Style::for_stdout();
    let (ingress, dns) = (plan.ingress(), plan.dns());
    let services = match plan.network.is_default() {
        true => format!("http://<service>.localhost:{}/", ingress.port()),
        false => format!("curl -H 'Host: <service>.localhost' http://{ingress}/"),
    };
    let sites: String = plan
        .sites
        .iter()
        .map(|site| {
            format!(
                "  {:<15} {:<15} {}\n",
                format!("site {}", site.name),
                site.address,
                rows::labels(&site.labels)
            )
        })
        .collect();
    let dig =
        format!("dig @{} -p {} <service>.default.svc.cloudskin.internal", dns.ip(), dns.port());
    let bind = plan
        .bind
        .map(|bind| {
            format!("  other machines  https://{bind}  (cloudskin token create --site NAME)\n")
        })
        .unwrap_or_default();
    let use_context = match is_current {
        true => String::new(),
        false => format!("  cloudskin config use-context {context}\n"),
    };
    let is_default = DataFolder::default_root().is_ok_and(|root| root == folder.root());
    let end = match is_default {
        true => "cloudskin down".to_owned(),
        false => format!("cloudskin down --data-dir {}", folder.root().display()),
    };
    let end = if detached { end } else { format!("{end}                (or Ctrl-C)") };
    format!(
        "\
{}

  control plane   {}
{bind}  services        {services}
  DNS             {dig}
{sites}  data            {}
  logs            {}

Next:
{use_context}  cloudskin apply -f service.yaml
  cloudskin geds mb geds://lab    objects: each site has a store and an S3 endpoint
  cloudskin get services -w
  cloudskin dashboard             its address for a browser
  {end}
",
        style.good("CloudSkin is up."),
        plan.url(),
        folder.root().display(),
        folder.logs().display(),
    )
}
