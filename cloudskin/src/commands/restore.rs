//! `cloudskin restore`: a program or a service goes on where a snapshot left it.

use super::{cells::CellArgs, cpus::CpuArgs, follow, migrate::parse_site, mpirun, run::form};
use crate::{
    exit::Failure,
    output::FormatArgs,
    progress::Progress,
    session::{Session, Target},
};
use anyhow::Context;
use api::{
    Kind, Resource,
    cell::{CellSpec, Form, Ranks},
    service::{ServiceSpec, ServiceStatus},
};
use cells::{
    parallel::Parallel,
    run::{Run as Cell, identify},
    snapshot::{self, Expected, Identity},
    tissue::ranks_in,
};
use clap::Args;
use orchestrator::client::{
    Client, Error,
    migrate::finish,
    wait::{Condition, wait},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use types::{Digest, ErrorKind, Period};

/// How long the last steps of the migration before a restore may take.
const MOVE_ENDS: Duration = Duration::from_secs(10);

/// Continue a program from its snapshot, or put a service back to one
///
/// With a MODULE: the program goes on, here or at a site. The snapshot may come from another
/// process, site or engine. Arguments and environment are the snapshot's; folders must be granted
/// again under the same guest paths, and the files in them that the program has open for reading
/// must be unchanged. A program on threads keeps the number that omp_get_max_threads told it; under
/// Pulley it has one.
///
/// Without: the service goes on from the snapshot's state, under its next epoch. What it was asked
/// since the snapshot is forgotten, and nothing else changes: not its spec, not what it is granted.
/// The snapshot may be of an earlier epoch, or of another service that runs the same module. The
/// service must exist; with --site it is moved there first, live.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin restore app.snap app.wasm                     a program, here
  cloudskin restore --dir data::/data app.snap app.wasm
  cloudskin restore --engine pulley app.snap app.wasm     under the interpreter
  cloudskin restore --site cloud app.snap app.wasm        at a site
  cloudskin restore counter.snap                          the service that runs its module
  cloudskin restore counter.snap --to service/street-counter --site cloud")]
pub(crate) struct Restore {
    #[command(flatten)]
    cell: CellArgs,
    #[command(flatten)]
    cpus: CpuArgs,
    /// Continue at this site: a program instead of here, a service instead of where it is
    #[arg(long, value_name = "SITE", value_parser = parse_site)]
    site: Option<String>,
    /// The service that is put back; needed where more than one runs the snapshot's module
    #[arg(long, value_name = "SERVICE", conflicts_with = "module")]
    to: Option<Target>,
    /// How long to wait until the service answers again; it goes on afterwards
    #[arg(long, default_value = "1m", value_name = "PERIOD")]
    timeout: Period,
    /// The snapshot
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// The module that a program's snapshot is of
    #[arg(value_name = "MODULE")]
    module: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

impl Restore {
    /// Whether it runs in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.site.is_none() && self.module.is_some()
    }
}

/// Continues a program in this process.
pub(crate) fn restore_here(args: &Restore, session: &Session) -> anyhow::Result<ExitCode> {
    let module = args.module.as_deref().context("name the program's module")?;
    let program = args.cell.load(module)?;
    args.cell.grant(session)?;
    let what = || format!("cannot restore `{}`", args.snapshot.display());
    if program.has_threads() {
        let parallel = Parallel::restore(&program, &args.snapshot).with_context(what)?;
        return args.cpus.drive(&args.cell, parallel, args.cell.config(&[]));
    }
    args.cpus.refuse_more_than_one(program.name())?;
    if ranks_in(&args.snapshot).with_context(what)?.is_some() {
        return mpirun::restore(&args.cell, &program, &args.snapshot).with_context(what);
    }
    let config = || args.cell.config(&[]);
    let run =
        Cell::restore(&program, &args.snapshot, config, &args.cell.limits()).with_context(what)?;
    args.cell.drive(run)
}

/// Continues a program at a site, or puts a service back.
pub(crate) async fn run(args: Restore, session: &Session) -> anyhow::Result<ExitCode> {
    match args.module.clone() {
        Some(module) => restore_there(args, &module, session).await,
        None => put_back(args, session).await,
    }
}

/// Continues a program at a site and shows its log until it ends.
async fn restore_there(
    args: Restore,
    module: &Path,
    session: &Session,
) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    // A file that is no snapshot is told here, not by the site.
    let ranks = identify(&args.snapshot)
        .and_then(|_| ranks_in(&args.snapshot))
        .with_context(|| format!("cannot restore `{}`", args.snapshot.display()))?;
    let form = match ranks {
        Some(count) => Some(Form::Ranks(Ranks::new(count))),
        None => form(module, &args.cpus)?,
    };
    let name = follow::name_for(&module.to_string_lossy());
    let module = follow::upload(&client, module).await?;
    let digest = upload(&client, &args.snapshot).await?;
    let (dirs, mounts) = args.cell.granted_there()?;
    let models = args.cell.models_there(&client).await?;
    let spec = CellSpec {
        module,
        site: args.site.unwrap_or_default(),
        place: None,
        args: Vec::new(),
        env: args.cell.environment().into_iter().collect(),
        dirs,
        mounts,
        models,
        memory: args.cell.memory,
        deadline: args.cell.deadline.map(|deadline| Period(deadline.0)),
        engine: args.cell.engine.into(),
        restore: Some(digest),
        form,
    };
    let kind = if spec.form.is_some() { Kind::Tissue } else { Kind::Cell };
    let cell = Resource::new(kind, client.tenant(), &name, &spec);
    follow::start_and_follow(&client, &cell).await
}

async fn upload(client: &Client, path: &Path) -> anyhow::Result<Digest> {
    let bytes =
        tokio::fs::read(path).await.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(client.upload(bytes.into()).await?.0)
}

/// Puts a service back to the snapshot and waits until it answers.
async fn put_back(args: Restore, session: &Session) -> anyhow::Result<ExitCode> {
    if let Some(option) = args.cell.given().or(args.cpus.given()) {
        let message = format!(
            "{option} is for programs: name the module for one; a service keeps what its spec says"
        );
        return Err(Failure::error(ErrorKind::Invalid, message));
    }
    let refused = || format!("cannot restore `{}`", args.snapshot.display());
    let identity = identify(&args.snapshot).with_context(refused)?;
    let client = session.client()?;
    let services = client.list(Kind::Service, &[]).await?.items;
    let service = chosen(services, args.to.as_ref(), &identity, &args.snapshot)?;
    let spec: ServiceSpec = service.spec()?;
    let expected = Expected { module: spec.module_digest(), memory_bytes: spec.resources.memory.0 };
    // All of it is checked here, before anything is moved or replaced.
    snapshot::check(&args.snapshot, expected).with_context(refused)?;
    let name = service.metadata.name.as_str();
    let progress = Progress::new(&format!("service/{name}: sending the snapshot"));
    let digest = upload(&client, &args.snapshot).await?;
    let moved = move_first(&client, &service, &args, &progress).await?;
    let decision = restore(&client, name, &digest, moved).await?;
    let tell = |state: &str| progress.set(&format!("service/{name}: {state}"));
    let ready = wait(&client, Kind::Service, name, Condition::Ready, args.timeout, tell).await?;
    drop(progress);
    let status: ServiceStatus = ready.map(|service| service.status()).unwrap_or_default();
    let text = format!(
        "service/{name} goes on from {} at site/{}, under epoch {}\n",
        args.snapshot.display(),
        status.site.unwrap_or_default(),
        status.epoch
    );
    args.format.print(&decision, &text)?;
    Ok(ExitCode::SUCCESS)
}

/// The service that is meant: the one that is named, or the only one that runs the module.
fn chosen(
    mut services: Vec<Resource>,
    to: Option<&Target>,
    identity: &Identity,
    file: &Path,
) -> anyhow::Result<Resource> {
    let refuse = |kind, message: String| Err(Failure::error(kind, message));
    let own: Vec<usize> = (0..services.len())
        .filter(|at| module_of(&services[*at]).1 == Some(identity.module))
        .collect();
    // Sites know modules by their digest alone: a service that runs it has its name.
    let module = match own.first() {
        Some(at) => format!("`{}` ({})", module_of(&services[*at]).0, identity.module),
        None => identity.module.to_string(),
    };
    let Some(Target { kind, name }) = to else {
        return match own[..] {
            [at] => Ok(services.swap_remove(at)),
            [] => refuse(
                ErrorKind::NotFound,
                format!(
                    "no service runs the snapshot's module {module}: a restore makes none; \
                     `cloudskin apply` one first. A program's snapshot needs its MODULE behind it"
                ),
            ),
            _ => {
                let names = own.iter().take(10).map(|at| services[*at].metadata.name.as_str());
                let names: Vec<_> = names.map(|name| format!("service/{name}")).collect();
                let names = names.join(", ");
                let message = format!(
                    "more than one service runs the snapshot's module {module}: say which with \
                     --to: {names}"
                );
                refuse(ErrorKind::Conflict, message)
            }
        };
    };
    if *kind != Kind::Service {
        let message = format!("a {} is not put back: name a service", kind.path());
        return refuse(ErrorKind::Invalid, message);
    }
    let Some(at) = services.iter().position(|service| service.metadata.name == *name) else {
        let message = format!(
            "there is no `service/{name}`: a restore makes none; `cloudskin apply` it first, then \
             restore it"
        );
        return refuse(ErrorKind::NotFound, message);
    };
    if !own.contains(&at) {
        let runs = module_of(&services[at]).0;
        let file = file.display();
        let message =
            format!("`{file}` is of the module {module}, and `service/{name}` runs `{runs}`");
        return refuse(ErrorKind::Invalid, message);
    }
    Ok(services.swap_remove(at))
}

/// The name and digest of the module that a service runs.
fn module_of(service: &Resource) -> (String, Option<Digest>) {
    let spec: Option<ServiceSpec> = service.spec().ok();
    spec.map(|spec| (spec.module_name().to_owned(), spec.module_digest())).unwrap_or_default()
}

/// Moves the service to the site where it shall go on, unless it is there; says whether it did.
async fn move_first(
    client: &Client,
    service: &Resource,
    args: &Restore,
    progress: &Progress,
) -> anyhow::Result<bool> {
    let status: ServiceStatus = service.status();
    let elsewhere = |site: &&str| status.site.as_deref() != Some(*site);
    let Some(site) = args.site.as_deref().filter(elsewhere) else { return Ok(false) };
    let name = &service.metadata.name;
    let tell = |state: &str| progress.set(&format!("service/{name}: {state}"));
    wait(client, Kind::Service, name, Condition::Ready, args.timeout, tell).await?;
    progress.set(&format!("service/{name} moves to site/{site}"));
    let decision = client.migrate(name, site).await?;
    finish(client, &decision, Period(MOVE_ENDS * 30), |_| ()).await?;
    Ok(true)
}

/// Asks for it; behind a move, once the move's last steps are done.
async fn restore(
    client: &Client,
    name: &str,
    digest: &Digest,
    moved: bool,
) -> Result<Resource, Error> {
    let deadline = Instant::now() + MOVE_ENDS;
    loop {
        match client.restore(name, digest).await {
            Err(error)
                if moved && error.kind() == ErrorKind::Conflict && Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(50)).await;
            }
            done => return done,
        }
    }
}
