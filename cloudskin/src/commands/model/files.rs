//! `cloudskin model export` and `import`: ONNX files, and the file layout of MLflow.

use super::{
    CatalogArgs, Which, ahead, seconds,
    train::{scores, timed},
};
use crate::{
    exit::Failure,
    output::{FormatArgs, Style, print},
    session::Session,
};
use anyhow::Context;
use clap::Args;
use learning::{
    Trace,
    catalog::{Catalog, Order, Record, mlflow, take},
    model::{Method, Question, Target},
};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};
use types::ErrorKind;

/// Larger ones are refused before they are read.
const FILE_MAX_BYTES: u64 = 32 << 20;
/// The last part of the data makes the figures of an ONNX file.
const TEST_SHARE: f64 = 0.3;
/// What its moments may take.
const MEMORY_MAX_BYTES: u64 = 2 << 30;

/// Write a version as an ONNX file, or in MLflow's file layout
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model export latency/3 latency.onnx     ridge, polynomial, forest, gbm
  cloudskin model export latency mlruns/            every kind, for MLflow and for `model import`")]
pub(crate) struct Export {
    /// The model, and which version of it
    #[arg(value_name = "NAME[/VERSION]")]
    which: Which,
    /// A file that ends with .onnx, or a folder such as mlruns/
    to: PathBuf,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Add a version from an ONNX file, or from a folder of MLflow
///
/// An ONNX file is untrusted: only what has bounded work and memory is run. It takes a row of figures
/// as `model show` names them; its intervals and its figures are made with the data.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model import mlruns/749490/732c7c          a version that was exported
  cloudskin model import theirs.onnx --name latency --target latency --horizon 10m --data traces/")]
pub(crate) struct Import {
    /// A file that ends with .onnx, or the folder of a run or a model of MLflow
    from: PathBuf,
    /// The model's name [default: as it was exported]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it predicts, of an ONNX file
    #[arg(long, value_name = "TARGET")]
    target: Option<Target>,
    /// How far ahead, of an ONNX file
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    horizon: Option<(u32, u32)>,
    /// What was measured, for an ONNX file
    #[arg(long, num_args = 1.., value_name = "PATH")]
    data: Vec<PathBuf>,
    /// Test it at a moment in so much time
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = seconds)]
    every: u32,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(crate) fn export(args: &Export, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let (name, version) = (&args.which.name, args.which.version(&catalog)?);
    if !is_onnx(&args.to) {
        let folder = catalog.export_mlflow(name, version, &args.to)?;
        return print(&format!("{name}/v{version} is in {}\n", folder.display()));
    }
    let file = catalog.onnx(name, version)?.ok_or_else(|| {
        let kind = catalog.record(name, version).map(|record| record.method.name());
        let kind = kind.unwrap_or("this kind");
        let text = format!("`{kind}` cannot be told as ONNX: export it to a folder");
        Failure::error(ErrorKind::Unsupported, text)
    })?;
    let failed = || format!("cannot write `{}`", args.to.display());
    std::fs::write(&args.to, &file).with_context(failed)?;
    print(&format!("{name}/v{version} is in {}\n", args.to.display()))
}

fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

pub(crate) fn import(args: &Import, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let record = if is_onnx(&args.from) {
        onnx(args, &catalog, &args.from)?
    } else {
        match mlflow::read(&args.from)? {
            mlflow::Found::Onnx(file) => onnx(args, &catalog, &file)?,
            mlflow::Found::Version(found) => {
                let (mut record, model) = *found;
                record.made.imported = args.from.display().to_string();
                if let Some(name) = &args.name {
                    record.name.clone_from(name);
                }
                catalog.add(record, &model)?
            }
        }
    };
    let table = scores(&[(format!("v{}", record.id), record.score)]);
    let head = format!("{}/v{} is a candidate\n", record.name, record.id);
    args.format.print(&record, &(head + &table.render(Style::for_stdout())))
}

fn onnx(args: &Import, catalog: &Catalog, file: &Path) -> anyhow::Result<Record> {
    let (Some(name), Some(target), Some(horizon), false) =
        (&args.name, args.target, args.horizon, args.data.is_empty())
    else {
        let text =
            "an ONNX file does not say what it is for: give --name, --target, --horizon and --data";
        return Err(Failure::error(ErrorKind::Invalid, text));
    };
    let started = Instant::now();
    let failed = || format!("cannot read `{}`", file.display());
    let size = std::fs::metadata(file).with_context(failed)?.len();
    if size > FILE_MAX_BYTES {
        let text = format!("`{}` has {size} bytes, the limit is {FILE_MAX_BYTES}", file.display());
        return Err(Failure::error(ErrorKind::Exhausted, text));
    }
    let bytes = std::fs::read(file).with_context(failed)?;
    let trace = Trace::read_all(&args.data)?;
    let (learn, test) = trace.split(1.0 - TEST_SHARE);
    let question = Question { every_s: args.every, ..Question::new(target, horizon) };
    let order = Order {
        name: name.clone(),
        method: Method::Onnx,
        question,
        search: 1,
        seed: 0,
        memory_max: MEMORY_MAX_BYTES,
        because: String::new(),
    };
    let mut draft = take(&order, bytes, &learn, &test)?;
    timed(&mut draft.record.made, started);
    draft.record.made.imported = args.from.display().to_string();
    Ok(catalog.add_draft(draft)?)
}
