//! `cloudskin model federate`.

use super::{
    CatalogArgs, ahead, period, seconds, share,
    train::{kind, name, peak_bytes, scores},
};
use crate::{
    exit::Failure,
    output::{FormatArgs, Style, complain},
    session::Session,
    when,
};
use clap::Args;
use learning::{
    Stretch, Trace,
    catalog::{Data, Made, Record, Stage},
    model::{
        Examples, Met, Method, Question, Score, Target, Trained,
        federated::{self, Lineage, Party},
    },
};
use std::{collections::BTreeSet, path::PathBuf, time::Instant};
use types::ErrorKind;

/// Train a model of several sites' data without bringing them together
///
/// Each site learns from its own data; what is joined, by the number of rows, are sums, trees or
/// weights. Ridge and polynomial come out as if all rows had been in one place. A site whose answers
/// cannot be used is left out and named. What is kept is the model, with whose data are in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model federate --site edge=edge.csv --site cloud=cloud/ --kind ridge --target latency --horizon 10m
  cloudskin model federate --site a=a.csv --site b=b.csv --site c=c.csv --kind gbm --target latency --horizon 5m

Kinds: ridge, polynomial, gbm, lstm. All traces need the same step and number of sites.")]
pub(crate) struct Federate {
    /// A site, and a file or folder of what was measured there; at least two
    #[arg(long = "site", required = true, value_name = "NAME=PATH", value_parser = site)]
    sites: Vec<(String, PathBuf)>,
    /// What is fitted
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Method,
    /// What is predicted
    #[arg(long, value_name = "TARGET")]
    target: Target,
    /// How far ahead: a time from now, or from one time to another
    #[arg(long, value_name = "TIME", value_parser = ahead)]
    horizon: (u32, u32),
    /// The last part of each site's data, which is tested on
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = share)]
    test_share: f64,
    /// The model's name [default: the target's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Learn from a moment in so much time
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = seconds)]
    every: u32,
    /// The same seed trains the same model
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// `edge=edge.csv`.
fn site(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH")?;
    types::check_name(name).map_err(|error| error.to_string())?;
    Ok((name.to_owned(), path.into()))
}

pub(crate) fn run(args: &Federate, session: &Session) -> anyhow::Result<()> {
    let catalog = args.catalog.open(session)?;
    let started = Instant::now();
    let traces = traces(args)?;
    let question = Question { every_s: args.every, ..Question::new(args.target, args.horizon) };
    let parts: Vec<(&str, (Stretch, Stretch))> =
        traces.iter().map(|(site, trace)| (*site, trace.split(1.0 - args.test_share))).collect();
    let mut examples = Vec::with_capacity(parts.len());
    for (_, (learn, _)) in &parts {
        examples.push(Examples::new(learn, &question)?);
    }
    let parties = parts.iter().zip(&examples);
    let parties: Vec<Party> =
        parties.map(|((site, _), examples)| Party { site, examples }).collect();
    let (model, lineage) = federated::train(&parties, args.kind, args.seed)?;
    for refused in &lineage.refused {
        complain(&format!("`{}` was left out: {}", refused.site, refused.why));
    }
    // What was left out says nothing of the model, and the model nothing of it.
    let taken = |site: &str| lineage.parts.iter().any(|part| part.site == site);
    let taken: Vec<_> = parts.iter().filter(|(site, _)| taken(site)).collect();
    let part = |of: fn(&(Stretch, Stretch)) -> Data| {
        let each: Vec<(&str, Data)> = taken.iter().map(|(site, part)| (*site, of(part))).collect();
        Data::of_sites(&each)
    };
    let record = Record {
        name: args.name.clone().unwrap_or_else(|| name(args.target)),
        id: 0,
        stage: Stage::Candidate,
        method: args.kind,
        target: args.target,
        ahead: args.horizon,
        every_s: args.every,
        trained: part(|(learn, _)| Data::of(learn)),
        tested: part(|(_, test)| Data::of(test)),
        score: tested(&model, &taken, &question)?,
        naive_rmse: None,
        beside: None,
        parent: None,
        made: Made {
            at_s: (when::now_ms() / 1000) as i64,
            seconds: started.elapsed().as_secs_f64(),
            peak_bytes: peak_bytes(),
            rows: lineage.parts.iter().map(|part| part.rows).sum(),
            searched: 1,
            seed: args.seed,
            imported: String::new(),
            because: String::new(),
        },
        model_bytes: 0,
        federated: Some(lineage),
    };
    let record = catalog.add(record, &model)?;
    args.format.print(&record, &summary(&record, Style::for_stdout()))
}

/// What each site measured.
fn traces(args: &Federate) -> anyhow::Result<Vec<(&str, Trace)>> {
    let mut names = BTreeSet::new();
    let mut traces = Vec::with_capacity(args.sites.len());
    for (site, path) in &args.sites {
        if !names.insert(site) {
            let text = format!("site `{site}` is named twice");
            return Err(Failure::error(ErrorKind::Invalid, text));
        }
        traces.push((site.as_str(), Trace::read_all(std::slice::from_ref(path))?));
    }
    Ok(traces)
}

/// How good it is at all sites of the model together.
fn tested(
    model: &Trained,
    parts: &[&(&str, (Stretch, Stretch))],
    question: &Question,
) -> anyhow::Result<Score> {
    let mut met: Vec<Met> = Vec::new();
    for (_, (_, test)) in parts {
        met.extend(model.walked(&Examples::new(test, question)?)?);
    }
    Ok(Score::of(&met, model.reference.high))
}

fn summary(record: &Record, style: Style) -> String {
    let Record { name, id, target, ahead, made, .. } = record;
    let Lineage { parts, refused, rounds, sent_bytes } =
        record.federated.clone().unwrap_or_default();
    let each: Vec<_> =
        parts.iter().map(|part| format!("{} ({} rows)", part.site, part.rows)).collect();
    let mut text = format!(
        "{}: {} of `{target}` {} ahead\nlearned at {}\n",
        style.strong(&format!("{name}/v{id}")),
        record.method.name(),
        period(*ahead),
        each.join(", "),
    );
    for refused in refused {
        text += &format!("without {}: {}\n", refused.site, refused.why);
    }
    text += &format!(
        "{rounds} rounds, in which sites sent {} KiB; took {:.1} s; the model has {} KiB\n\n",
        sent_bytes.div_ceil(1024),
        made.seconds,
        record.model_bytes.div_ceil(1024),
    );
    text + &scores(&[(format!("v{id}"), record.score)]).render(style)
}
