//! `cloudskin mpirun`: the ranks of an MPI program, on the spot.

use super::{
    cells::{CellArgs, Place, TRAP_EXIT_CODE},
    follow,
    migrate::parse_site,
};
use crate::session::Session;
use api::{
    Kind, Resource,
    cell::{CellSpec, Form, Ranks},
};
use cells::{
    Program,
    run::End,
    tissue::{RANKS_MAX, Tissue},
    wasi,
};
use clap::Args;
use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};
use types::Period;

/// Run an MPI program as so many ranks, here or at a site
///
/// The ranks are cells of one process. They write to this command's standard output and error, whole
/// lines at a time; the first one reads its standard input. A rank that fails ends all.
///
/// A program built with --mpi --migratable can be saved while it runs, all ranks together, where
/// they stand in calls of MPI; `cloudskin restore SNAPSHOT MODULE` goes on from there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin build --mpi cg.c -o cg.wasm
  cloudskin mpirun -n 4 cg.wasm class=S
  cloudskin mpirun -n 4 --sites edge cg.wasm      at a site; its log is shown here
  cloudskin mpirun -n 8 --place spread cg.wasm    at sites that are chosen; `cloudskin why` tells
  cloudskin mpirun -n 2 --tag-output --dir data::/data app.wasm /data/in.csv
  cloudskin build --mpi --migratable cg.c -o cg.wasm
  cloudskin mpirun -n 4 --snapshot-to cg.snap --checkpoint-every 30s cg.wasm class=S
  cloudskin restore cg.snap cg.wasm               after the machine has failed

Exit codes: that of the first rank that ended with one; what MPI_Abort was given; 124 if they ran
into their deadline, 134 if one trapped.")]
pub(crate) struct Mpirun {
    /// How many ranks
    #[arg(short = 'n', long = "np", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(RANKS_MAX)))]
    ranks: u32,
    /// Begin each line of output with its rank
    #[arg(long)]
    tag_output: bool,
    /// Run at this site instead of here
    #[arg(long, value_name = "SITE", value_delimiter = ',', group = "there",
          value_parser = parse_site)]
    sites: Vec<String>,
    /// Run at sites that the control plane chooses by this rule
    #[arg(long, value_name = "RULE", value_enum, group = "there")]
    place: Option<Place>,
    /// Name of the tissue at the site; made up if not given
    #[arg(long, requires = "there", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    cell: CellArgs,
    /// The module, then the program's own arguments
    #[arg(
        value_name = "MODULE [ARGS]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Mpirun {
    /// Whether it runs in this process.
    pub(crate) fn is_local(&self) -> bool {
        self.sites.is_empty() && self.place.is_none()
    }
}

/// Runs in this process.
pub(crate) fn run_here(args: Mpirun, session: &Session) -> anyhow::Result<ExitCode> {
    let program = args.cell.load(&PathBuf::from(&args.command[0]))?;
    args.cell.check_saved(&program)?;
    args.cell.grant(session)?;
    let config = |rank| Ok(config(&args.cell, &args.command, args.tag_output, rank));
    let tissue = Tissue::new(&program, args.ranks, config, &args.cell.limits())?;
    drive(tissue, &args.cell)
}

/// Runs at a site and shows the log until all ranks have ended.
pub(crate) async fn run_there(args: Mpirun, session: &Session) -> anyhow::Result<ExitCode> {
    let checkpoint_every = args.cell.checkpoint_period();
    let ranks = Ranks { count: args.ranks, sites: args.sites.clone(), checkpoint_every };
    let client = session.client()?;
    let module = follow::upload(&client, Path::new(&args.command[0])).await?;
    let (dirs, mounts) = args.cell.granted_there()?;
    let models = args.cell.models_there(&client).await?;
    let spec = CellSpec {
        module,
        site: args.sites.first().cloned().unwrap_or_default(),
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
        form: Some(Form::Ranks(ranks)),
    };
    let name = args.name.unwrap_or_else(|| follow::name_for(&args.command[0]));
    let tissue = Resource::new(Kind::Tissue, client.tenant(), &name, &spec);
    follow::start_and_follow(&client, &tissue).await
}

/// Goes on with all ranks of a snapshot.
pub(crate) fn restore(
    cell: &CellArgs,
    program: &Arc<Program>,
    snapshot: &Path,
) -> anyhow::Result<ExitCode> {
    let config = |rank| Ok(config(cell, &[], false, rank));
    let tissue = Tissue::restore(program, snapshot, config, &cell.limits())?;
    drive(tissue, cell)
}

/// Runs all ranks to their ends.
fn drive(tissue: Tissue, cell: &CellArgs) -> anyhow::Result<ExitCode> {
    let remote = tissue.remote();
    cell.take_snapshots(move |path, last, patience| remote.snapshot(path, last, patience))?;
    cell.end_in_time()?;
    let code = AtomicU8::new(0);
    tissue.run(|rank, end| match end {
        Ok(End::Exited(0) | End::Suspended) => {}
        Ok(End::Exited(ended)) => {
            // The first of them counts.
            let _ = code.compare_exchange(0, ended as u8, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(error) => end_all(rank, error),
    })?;
    Ok(ExitCode::from(code.into_inner()))
}

/// Ends the process with all ranks: those that compute would not hear of it.
fn end_all(rank: u32, error: cells::Error) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::Relaxed) {
        // The first one says why.
        std::thread::park();
    }
    let code = match &error {
        cells::Error::Mpi(mpi::Abort::Called { code, .. }) => (*code as u8).max(1),
        cells::Error::Trap { .. } => TRAP_EXIT_CODE,
        _ => 1,
    };
    let error = match error {
        // The others name the rank themselves.
        cells::Error::Mpi(abort) if !matches!(abort, mpi::Abort::Refused { .. }) => abort.into(),
        error => anyhow::Error::from(error).context(format!("rank {rank} failed")),
    };
    crate::exit::report(&error);
    std::process::exit(code.into());
}

fn config(cell: &CellArgs, command: &[String], tag_output: bool, rank: u32) -> wasi::Config {
    let mut config = cell.config(command);
    let tag = if tag_output { format!("[{rank}] ") } else { String::new() };
    let lines = |to| Box::new(Lines { to, tag: tag.clone(), line: Vec::new() });
    config.streams.stdout = lines(Stream::Stdout);
    config.streams.stderr = lines(Stream::Stderr);
    if rank > 0 {
        config.streams.stdin = Box::new(wasi::Null);
    }
    config
}

enum Stream {
    Stdout,
    Stderr,
}

/// Hands whole lines on, so that those of several ranks do not mix.
struct Lines {
    to: Stream,
    tag: String,
    line: Vec<u8>,
}

/// A longer line is handed on in pieces.
const LINE_MAX_BYTES: usize = 64 << 10;

impl Lines {
    fn hand_on(&mut self, size: usize) -> io::Result<()> {
        use io::Write;
        let mut text = Vec::with_capacity(size + self.tag.len());
        for line in self.line[..size].split_inclusive(|byte| *byte == b'\n') {
            text.extend_from_slice(self.tag.as_bytes());
            text.extend_from_slice(line);
        }
        self.line.drain(..size);
        match self.to {
            Stream::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&text)?;
                stdout.flush()
            }
            Stream::Stderr => io::stderr().lock().write_all(&text),
        }
    }
}

impl wasi::Output for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        let whole = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let size = if self.line.len() - whole > LINE_MAX_BYTES { self.line.len() } else { whole };
        if size > 0 {
            self.hand_on(size)?;
        }
        Ok(bytes.len())
    }

    fn file_type(&self) -> wasi::FileType {
        // The guest's own buffering then ends with each line.
        wasi::FileType::CharacterDevice
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.hand_on(self.line.len());
    }
}
