//! `cloudskin model ls` and `show`.

use super::{
    CatalogArgs, Which, period,
    train::{beside_naive, scores},
};
use crate::{
    output::{FormatArgs, Style},
    session::Session,
    table::Table,
    when,
};
use clap::Args;
use learning::catalog::{Catalog, Data, Record};
use serde::Serialize;

/// List models and their versions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model ls
  cloudskin model ls latency
  cloudskin model ls -o json")]
pub(crate) struct List {
    /// This one only
    name: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Show all that is known of a version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model show latency         the version in production, or the latest
  cloudskin model show latency/3 -o yaml")]
pub(crate) struct Show {
    /// The model, and which version of it
    #[arg(value_name = "NAME[/VERSION]")]
    which: Which,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// A version, or why it cannot be read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Line {
    Version(Box<Record>),
    Damaged { name: String, id: u32, error: String },
}

pub(crate) fn list(args: &List, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => catalog.names()?,
    };
    let mut lines = Vec::new();
    for name in names {
        for id in catalog.versions(&name)? {
            lines.push(line(&catalog, &name, id));
        }
    }
    if let Some(name) = args.name.as_ref().filter(|_| lines.is_empty()) {
        return Err(learning::Error::Unknown(format!("there is no model `{name}`")).into());
    }
    args.format.print(&lines, &table(&lines).render(Style::for_stdout()))
}

fn line(catalog: &Catalog, name: &str, id: u32) -> Line {
    match catalog.record(name, id) {
        Ok(record) => Line::Version(Box::new(record)),
        Err(error) => Line::Damaged { name: name.to_owned(), id, error: types::chain(&error) },
    }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&[
        "MODEL",
        "STAGE",
        "KIND",
        "TARGET",
        "AHEAD",
        "MAE",
        "RMSE",
        "80 % HOLDS",
        "AUC",
        "AGE",
    ]);
    let now = when::now_ms();
    for line in lines {
        let record = match line {
            Line::Version(record) => record,
            Line::Damaged { name, id, error } => {
                table.row(vec![format!("{name}/v{id}"), "damaged".into(), error.clone()]);
                continue;
            }
        };
        let score = &record.score;
        let made_ms = u64::try_from(record.made.at_s).unwrap_or(0) * 1000;
        table.row(vec![
            format!("{}/v{}", record.name, record.id),
            record.stage.to_string(),
            record.method.name().to_owned(),
            record.target.to_string(),
            period(record.ahead),
            format!("{:.3}", score.mae),
            format!("{:.3}", score.rmse),
            score.coverage80.map(|it| format!("{:.1} %", 100.0 * it)).unwrap_or_default(),
            score.auc.map(|auc| format!("{auc:.3}")).unwrap_or_default(),
            when::age(Some(made_ms), now),
        ]);
    }
    table
}

pub(crate) fn show(args: &Show, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let record = catalog.record(&args.which.name, args.which.version(&catalog)?)?;
    args.format.print(&record, &text(&record, Style::for_stdout()))
}

fn text(record: &Record, style: Style) -> String {
    let span = |data: &Data| {
        let moment = |s: i64| when::moment(u64::try_from(s).unwrap_or(0) * 1000);
        format!(
            "{} to {}, every {} s, sites {} ({})",
            moment(data.from_s),
            moment(data.to_s),
            data.step_s,
            data.sites.join(", "),
            &data.digest[..data.digest.len().min(12)]
        )
    };
    let made = &record.made;
    let because = match made.because.is_empty() {
        true => "asked for".to_owned(),
        false => made.because.clone(),
    };
    let origin = match made.imported.is_empty() {
        true => format!(
            "{} moments, {:.1} s, at most {} MiB, {} settings tried, seed {}",
            made.rows,
            made.seconds,
            made.peak_bytes >> 20,
            made.searched,
            made.seed
        ),
        false => format!("imported from {}", made.imported),
    };
    let settings = serde_json::to_string(&record.method).unwrap_or_default();
    let lines = [
        ("Model", format!("{}/v{}", record.name, record.id)),
        ("Stage", record.stage.to_string()),
        ("Predicts", format!("{} {} ahead", record.target, period(record.ahead))),
        ("Settings", settings),
        ("Trained on", span(&record.trained)),
        ("Tested on", span(&record.tested)),
        ("Parent", record.parent.map(|id| format!("v{id}")).unwrap_or_else(|| "none".into())),
        ("Made", when::moment(u64::try_from(made.at_s).unwrap_or(0) * 1000)),
        ("Training", origin),
        ("Because", because),
        ("Size", format!("{} KiB", record.model_bytes.div_ceil(1024))),
    ];
    let mut text = String::new();
    for (key, value) in lines {
        text.push_str(&format!("{:12}{value}\n", format!("{key}:")));
    }
    let level = format!("AUC is of truths above {:.3}.\n", record.score.level);
    let table = scores(&[(format!("v{}", record.id), record.score)]).render(style);
    text + "\n" + &table + &beside_naive(record) + &level
}
