//! `cloudskin model evaluate` and `predict`.

use super::{
    CatalogArgs, DataArgs, PathArgs, Which,
    train::{examples, scores},
};
use crate::{
    output::{FormatArgs, Style, complain},
    session::Session,
    table::Table,
};
use clap::Args;
use learning::{
    Drift, Monitor, Past, Prediction, Predictor, Reason, Sample, Trace,
    catalog::{Data, Record},
    model::{Examples, Score, Trained},
};
use serde::Serialize;

/// Test versions on data
///
/// Prints their figures on the last part of the data, whether they were trained on some of it, and how
/// errors and what the model sees drifted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model evaluate latency --data june/
  cloudskin model evaluate latency/3 latency/4 --data june/ --test-share 0.9")]
pub(crate) struct Evaluate {
    /// Models, and which versions of them
    #[arg(required = true, value_name = "NAME[/VERSION]")]
    which: Vec<Which>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Predict from the end of the data, and say why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model predict latency --data traces/
  cloudskin model predict latency/3 --data traces/ -o json")]
pub(crate) struct Predict {
    /// The model, and which version of it
    #[arg(value_name = "NAME[/VERSION]")]
    which: Which,
    #[command(flatten)]
    data: PathArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Evaluation {
    version: String,
    score: Score,
    /// Part of the data was trained on.
    overlaps_training: bool,
    drifts: Vec<Drift>,
}

#[derive(Debug, Serialize)]
struct Said {
    site: String,
    prediction: Prediction,
    reasons: Vec<Reason>,
}

pub(crate) fn evaluate(args: &Evaluate, session: &Session) -> anyhow::Result<()> {
    let (catalog, trace) = (args.catalog.open(session)?, args.data.read()?);
    let mut each = Vec::new();
    for which in &args.which {
        let version = which.version(&catalog)?;
        let record = catalog.record(&which.name, version)?;
        let model = catalog.model(&which.name, version)?;
        let (examples, data) = examples(&trace, &record, args.data.test_share)?;
        each.push(Evaluation {
            version: format!("{}/v{version}", which.name),
            score: model.tried(&examples)?,
            overlaps_training: overlaps(&record, &data),
            drifts: drifts(&model, &examples)?,
        });
    }
    args.format.print(&each, &text(&each, Style::for_stdout()))
}

pub(super) fn overlaps(record: &Record, data: &Data) -> bool {
    record.trained.from_s < data.to_s && data.from_s < record.trained.to_s
}

/// What a monitor would have told.
fn drifts(model: &Trained, examples: &Examples) -> anyhow::Result<Vec<Drift>> {
    let mut monitor = Monitor::new(model.names(), &model.reference);
    let mut drifts = Vec::new();
    for (place, met) in model.walked(examples)?.into_iter().enumerate() {
        let spread = model.spread(&examples.past(examples.each[place]));
        drifts.extend(monitor.met(met.value, met.truth, spread));
        drifts.extend(monitor.saw(&examples.rows[place]));
    }
    Ok(drifts)
}

fn text(each: &[Evaluation], style: Style) -> String {
    let rows: Vec<_> = each.iter().map(|one| (one.version.clone(), one.score)).collect();
    let mut text = scores(&rows).render(style);
    for one in each {
        if one.overlaps_training {
            let known = "was trained on some of this: its figures flatter it";
            text.push_str(&format!("\n{} {known}", one.version));
        }
        for drift in &one.drifts {
            text.push_str(&format!("\n{}: {drift}", one.version));
        }
    }
    if text.ends_with('\n') { text } else { text + "\n" }
}

pub(crate) fn predict(args: &Predict, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let trace = args.data.read()?;
    let version = args.which.version(&catalog)?;
    let model = match args.which.version {
        Some(version) => catalog.model(&args.which.name, version)?,
        None => newest_sound(&catalog, &args.which.name, version)?,
    };
    let sites = 0..trace.sites.len();
    let said: anyhow::Result<Vec<_>> = sites.map(|site| said(&model, &trace, site)).collect();
    let said = said?;
    args.format.print(&said, &reasons(&said, Style::for_stdout()))
}

/// What is in production, and aloud if it is not what should be.
fn newest_sound(
    catalog: &learning::catalog::Catalog,
    name: &str,
    version: u32,
) -> anyhow::Result<Trained> {
    let Ok(production) = catalog.production(name) else {
        return Ok(catalog.model(name, version)?);
    };
    for reason in &production.passed_by {
        let id = production.record.id;
        complain(&format!("note: `{name}` falls back to version {id}: {reason}"));
    }
    Ok(production.model)
}

fn said(model: &Trained, trace: &Trace, site: usize) -> anyhow::Result<Said> {
    let there: &[Sample] = match trace.sites.len() {
        2 => &trace.sites[1 - site].samples,
        _ => &[],
    };
    let here = &trace.sites[site].samples;
    let now_s = trace.start_s + here.len().saturating_sub(1) as i64 * i64::from(trace.step_s);
    let past = Past { now_s, step_s: trace.step_s, here, there };
    let prediction = model.predict(&past)?[0];
    let reasons = model.explain(&past)?;
    Ok(Said { site: trace.sites[site].name.clone(), prediction, reasons })
}

fn reasons(said: &[Said], style: Style) -> String {
    let mut text = String::new();
    for Said { site, prediction: Prediction { value, low, high }, reasons } in said {
        let head = format!("{site}: {value:.3}");
        text.push_str(&format!(
            "{}, four times of five from {low:.3} to {high:.3}\n",
            style.strong(&head)
        ));
        let mut table = Table::new(&["BECAUSE OF", "WHICH IS", "USUALLY", "ADDS"]);
        for reason in reasons.iter().filter(|reason| reason.adds != 0.0).take(5) {
            table.row(vec![
                reason.name.clone(),
                format!("{:.3}", reason.value),
                format!("{:.3}", reason.baseline),
                format!("{:+.3}", reason.adds),
            ]);
        }
        text.push_str(&table.render(style));
        text.push('\n');
    }
    text
}
