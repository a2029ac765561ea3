//! `cloudskin model train`.

use super::{Asked, CatalogArgs, DataArgs, period, seconds};
use crate::{
    exit::Failure,
    output::{FormatArgs, Style, complain},
    session::Session,
    table::Table,
    when,
};
use clap::Args;
use learning::{
    Trace,
    catalog::{Data, Made, Order, Record, make},
    model::{Doing, Examples, Method, Question, Score, Searched, Target},
};
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};
use types::{Bytes, ErrorKind};

/// Train a model and add it to the catalog
///
/// Learns on the first part of the data and tests on the rest, which settings are not chosen by
/// either: these are tried by folds within the first part. What is kept is the model that was tested.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model train --kind gbm --data traces/*.csv --target latency --horizon 10m
  cloudskin model train --kind gbm --data traces/ --target latency-max --horizon 5m..10m --search 20
  cloudskin model train --kind ridge --data traces/ --target broken:120ms --horizon 10m --name risk
  cloudskin model train --kind holt-winters --season 1d --data traces/ --target cpu --horizon 1h

Kinds: naive, seasonal-naive, ewma, holt-winters, ridge, polynomial, forest, gbm, lstm.
Targets: latency and cpu (means over the horizon), latency-max, cpu-max, broken:120ms (the share of
time above a level, or without an answer).")]
pub(crate) struct Train {
    /// What is fitted
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Method,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    asked: Asked,
    /// The model's name [default: the target's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Try so many settings and keep the best
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    search: u16,
    /// The season of seasonal kinds
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    season: Option<u32>,
    /// The same seed trains the same model
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// A search that takes longer ends with what it has found
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = seconds)]
    time_max: u32,
    /// Refuse data that needs more memory
    #[arg(long, default_value = "2Gi", value_name = "BYTES")]
    memory_max: Bytes,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub(super) fn kind(text: &str) -> Result<Method, String> {
    Method::named(text).ok_or_else(|| {
        format!("`{text}` is no kind of model: write one of {}", Method::NAMES.join(", "))
    })
}

pub(crate) fn run(args: &Train, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let started = Instant::now();
    let trace = args.data.read()?;
    let (learn, test) = trace.split(1.0 - args.data.test_share);
    let watch = |doing: Doing| {
        if args.format.is_text() {
            tell(doing);
        }
        match started.elapsed() > Duration::from_secs(args.time_max.into()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let made = make(&order(args), &learn, &test, &|_, _| true, &watch);
    let mut draft = made.map_err(advised)?;
    timed(&mut draft.record.made, started);
    let found = draft.searched.clone();
    let record = catalog.add_draft(draft)?;
    args.format.print(&record, &summary(&record, &found, Style::for_stdout()))
}

fn order(args: &Train) -> Order {
    let method = args.season.map_or(args.kind, |season_s| match args.kind {
        Method::SeasonalNaive { .. } => Method::SeasonalNaive { season_s },
        Method::HoltWinters { .. } => Method::HoltWinters { season_s },
        other => other,
    });
    Order {
        name: args.name.clone().unwrap_or_else(|| name(args.asked.target)),
        method,
        question: args.asked.question(),
        search: args.search.into(),
        seed: args.seed,
        memory_max: args.memory_max.0,
        because: String::new(),
    }
}

/// What can be done about data that are too much.
fn advised(error: learning::Error) -> anyhow::Error {
    match error {
        learning::Error::TooMuch { .. } => {
            let advice = "choose moments further apart (--every), or allow more (--memory-max)";
            Failure::error(ErrorKind::Exhausted, format!("{error}: {advice}"))
        }
        other => other.into(),
    }
}

/// Notes when it was made, and what that took.
pub(super) fn timed(made: &mut Made, started: Instant) {
    made.at_s = (when::now_ms() / 1000) as i64;
    made.seconds = started.elapsed().as_secs_f64();
    made.peak_bytes = peak_bytes();
}

fn tell(doing: Doing) {
    complain(&match doing {
        Doing::Search { candidate: 1, of, .. } => format!("trying settings 1 of {of}"),
        Doing::Search { candidate, of, least } => {
            format!("trying settings {candidate} of {of}: least error {least:.4}")
        }
        Doing::Validate => "predicting folds for intervals".to_owned(),
        Doing::Fit => "fitting all of the training part".to_owned(),
    });
}

/// A target as a name: `broken:120ms` has letters that names have not.
pub(super) fn name(target: Target) -> String {
    let letters = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    target.to_string().chars().map(letters).collect()
}

/// The most memory that this process had; 0 where the kernel does not tell.
pub(super) fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn summary(record: &Record, found: &Searched, style: Style) -> String {
    let Record { name, id, target, ahead, made, .. } = record;
    let hours = |data: &Data| (data.to_s - data.from_s) as f64 / 3600.0;
    let mut text = format!(
        "{}: {} of `{target}` {} ahead\n\
         learned from {:.1} h at {} sites ({} moments), tested on {:.1} h\n",
        style.strong(&format!("{name}/v{id}")),
        record.method.name(),
        period(*ahead),
        hours(&record.trained),
        record.trained.sites.len(),
        made.rows,
        hours(&record.tested),
    );
    if found.tried > 1 {
        let least = format!("error over folds {:.4}, {:.4} as usual", found.least, found.usual);
        text.push_str(&format!("best of {} settings: {least}\n", found.tried));
    }
    text.push_str(&format!(
        "took {:.1} s and at most {} MiB; the model has {} KiB\n\n",
        made.seconds,
        made.peak_bytes >> 20,
        record.model_bytes.div_ceil(1024),
    ));
    text.push_str(&scores(&[(format!("v{id}"), record.score)]).render(style));
    text + &beside_naive(record)
}

/// The error beside that of who says that all stays as it is; empty where it is not known.
pub(super) fn beside_naive(record: &Record) -> String {
    let naive = record.naive_rmse.filter(|naive| *naive > 0.0);
    let share = naive.map(|naive| (100.0 * record.score.rmse / naive, naive));
    share
        .map(|(share, naive)| {
            format!(
                "RMSE is {share:.1} % of the naive forecast's, {naive:.3}: all stays as it is.\n"
            )
        })
        .unwrap_or_default()
}

/// Figures of back-tests.
pub(super) fn scores(each: &[(String, Score)]) -> Table {
    let mut table = Table::new(&[
        "VERSION",
        "MAE",
        "RMSE",
        "MAPE",
        "R²",
        "PINBALL",
        "80 % HOLDS",
        "WIDTH",
        "AUC",
        "MOMENTS",
    ]);
    let or_none = |value: Option<f64>, digits: usize| {
        value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
    };
    let percent = |value: Option<f64>| {
        value.map(|value| format!("{:.1} %", 100.0 * value)).unwrap_or_default()
    };
    for (version, score) in each {
        table.row(vec![
            version.clone(),
            format!("{:.3}", score.mae),
            format!("{:.3}", score.rmse),
            percent(score.mape),
            or_none(score.r2, 3),
            or_none(score.pinball, 3),
            percent(score.coverage80),
            or_none(score.width80, 3),
            or_none(score.auc, 3),
            score.moments.to_string(),
        ]);
    }
    table
}

/// Reads the trace of what is compared.
pub(super) fn examples<'a>(
    trace: &'a Trace,
    record: &Record,
    test_share: f64,
) -> anyhow::Result<(Examples<'a>, Data)> {
    let (_, test) = trace.split(1.0 - test_share);
    let question =
        Question { every_s: record.every_s, ..Question::new(record.target, record.ahead) };
    Ok((Examples::new(&test, &question)?, Data::of(&test)))
}
