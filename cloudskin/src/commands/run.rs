//! `cloudskin run`: one cell, on the spot, like a program.

use super::{
    cells::{CellArgs, Place},
    cpus::CpuArgs,
    follow,
};
use crate::session::Session;
use anyhow::Context;
use api::{
    Kind, Resource,
    cell::{CellSpec, Form},
};
use cells::{parallel::Parallel, run::Run as Cell, toolchain};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use types::Period;

/// Run a WebAssembly program, here or at a site
///
/// Runs any WASI preview 1 module; its standard streams are this command's, its exit code is this
/// command's. Options come before the module; all after it belongs to the program. The program
/// sees no folders but those granted with --dir, and no environment but --env.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin run hello.wasm
  cloudskin run --dir data::/data --env LANG=C app.wasm /data/in.csv --quiet
  cloudskin run --dir geds://lab/frames::/data app.wasm    objects as files
  cloudskin run --nn detector=model.onnx app.wasm  a model that it loads by name with wasi-nn
  cloudskin run --deadline 10s --memory 256Mi app.wasm
  cloudskin run --cpus 2 stencil.wasm 100 1000    a program built with --openmp
  OMP_SCHEDULE=dynamic cloudskin run stencil.wasm
  cloudskin run --site edge app.wasm              at a site; its log is shown here
  cloudskin run --site edge --cpus 1 --max-cpus 4 --elastic stencil.wasm
  cloudskin run --place bin-pack --cpus 2 stencil.wasm    at a site that is chosen
  cloudskin run --snapshot-to app.snap app.wasm   SIGUSR1 writes a snapshot and goes on,
                                                  SIGUSR2 writes one and ends

Exit codes: the program's own; 124 if it ran into its deadline, 134 if it trapped.")]
pub(crate) struct Run {
    #[command(flatten)]
    cell: CellArgs,
    #[command(flatten)]
    cpus: CpuArgs,
    /// Run at this site instead of here
    #[arg(long, value_name = "SITE", group = "there")]
    site: Option<String>,
    /// Run at a site that the control plane chooses by this rule
    #[arg(long, value_name = "RULE", value_enum, group = "there")]
    place: Option<Place>,
    /// Name of the cell at the site; made up if not given
    #[arg(long, requires = "there", value_name = "NAME")]
    name: Option<String>,
    /// The module, then the program's own arguments
    #[arg(
        value_name = "MODULE [ARGS]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Run {
    /// Whether it runs in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.site.is_none() && self.place.is_none()
    }

    fn module(&self) -> PathBuf {
        PathBuf::from(&self.command[0])
    }
}

/// Runs in this process.
pub(crate) fn run_here(args: &Run, session: &Session) -> anyhow::Result<ExitCode> {
    let program = args.cell.load(&args.module())?;
    args.cell.grant(session)?;
    let config = args.cell.config(&args.command);
    args.cell.check_saved(&program)?;
    if program.has_threads() {
        return args.cpus.drive(&args.cell, Parallel::new(&program)?, config);
    }
    args.cpus.refuse_more_than_one(program.name())?;
    let run = Cell::new(&program, config, &args.cell.limits())?;
    args.cell.drive(run)
}

/// What a module is made of, if not one cell.
pub(crate) fn form(path: &Path, cpus: &CpuArgs) -> anyhow::Result<Option<Form>> {
    let what = || format!("cannot read `{}`", path.display());
    let bytes = std::fs::read(path).with_context(what)?;
    let inspected = toolchain::inspect(&bytes).with_context(what)?;
    if !inspected.uses_threads {
        cpus.refuse_more_than_one(&path.display().to_string())?;
        return Ok(None);
    }
    // One processor is at every site.
    Ok(Some(Form::Threads(cpus.threads(1)?)))
}

/// Runs at a site and shows its log until it ends.
pub(crate) async fn run_there(args: Run, session: &Session) -> anyhow::Result<ExitCode> {
    let client = session.client()?;
    let site = args.site.clone().unwrap_or_default();
    let form = form(&args.module(), &args.cpus)?;
    let module = follow::upload(&client, &args.module()).await?;
    let (dirs, mounts) = args.cell.granted_there()?;
    let models = args.cell.models_there(&client).await?;
    let spec = CellSpec {
        module,
        site,
        place: args.place.map(Into::into),
        args: args.command[1..].to_vec(),
        env: args.cell.environment().into_iter().collect(),
        dirs,
        mounts,
        models,
        memory: args.cell.memory,
        deadline: args.cell.deadline.map(|deadline| Period(deadline.0)),
        engine: args.cell.engine.into(),
        restore: None,
        form,
    };
    let name = args.name.unwrap_or_else(|| follow::name_for(&args.command[0]));
    let kind = if spec.form.is_some() { Kind::Tissue } else { Kind::Cell };
    let cell = Resource::new(kind, client.tenant(), &name, &spec);
    follow::start_and_follow(&client, &cell).await
}
