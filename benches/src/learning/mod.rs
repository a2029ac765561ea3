//! The learning plane's models beside scikit-learn, XGBoost and LightGBM, and the prediction service.
//!
//! All get the same rows and the same split, as many trees and leaves, and one core. The peers run in a
//! process of their own that trains when it is told to; it is measured there, so that no byte on its
//! way counts. They come from PyPI into a folder beside the report.

mod advice;
mod data;
mod peers;

use crate::{
    Context, Goal, Pairs, Row, Side, stats,
    suite::{Group, Suite},
};
use data::Split;
use learning::{
    Past, Predictor,
    model::{self, Boosting, Examples, Forest, Growth, Method, Model, Question, Target},
};
use peers::Peers;
use std::{ops::ControlFlow, time::Instant};

/// All rows of `make bench-learning`.
pub const SUITE: Suite = Suite {
    area: "learning",
    groups: &[
        Group { rows: GBM, run: boosting },
        Group { rows: FOREST, run: forest },
        Group { rows: PREDICT, run: predictions },
        Group { rows: advice::ROWS, run: advice::measure },
    ],
};

const GBM: &[&str] =
    &["learning/gbm-accuracy", "learning/gbm-accuracy-telemetry", "learning/gbm-training"];
const FOREST: &[&str] =
    &["learning/forest-accuracy", "learning/forest-accuracy-telemetry", "learning/forest-training"];
const PREDICT: &[&str] = &["learning/predict-p50", "learning/predict-p99"];
/// Within 2 % of the best.
const ACCURACY: Goal = Goal::AtMost(1.02);
const BOOSTERS: [&str; 3] = ["lightgbm", "xgboost", "sklearn-histogram"];
const FORESTS: [&str; 1] = ["sklearn-forest"];
const TREES: usize = 100;

type Fit = fn(&Split) -> learning::Result<Box<dyn Model>>;

fn boosted(split: &Split) -> learning::Result<Box<dyn Model>> {
    let growth = Growth { leaves: 31, leaf_rows: 20, shrink_rows: 1.0, figures: 0 };
    let boosting = Boosting { trees: TREES, rate: 0.1, growth };
    Ok(Box::new(boosting.fit(&split.rows, &split.truths)?))
}

fn grown(split: &Split) -> learning::Result<Box<dyn Model>> {
    let growth = Growth { leaf_rows: 5, ..Forest::default().growth };
    let forest = Forest { trees: TREES, growth, ..Forest::default() };
    Ok(Box::new(forest.fit(&split.rows, &split.truths)?))
}

fn boosting(context: &Context) -> anyhow::Result<Vec<Row>> {
    compared(context, boosted, "gbm", &BOOSTERS)
}

fn forest(context: &Context) -> anyhow::Result<Vec<Row>> {
    compared(context, grown, "forest", &FORESTS)
}

/// Errors on what was held out beside the best peer's, and times beside the fastest one's.
fn compared(context: &Context, fit: Fit, kind: &str, names: &[&str]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let count = context.count(20_000, 1_000);
    for (name, split) in [("", data::friedman(count)), ("-telemetry", data::telemetry(count)?)] {
        let mut peers = Peers::start(context, &split)?;
        let mut best = ("", f64::INFINITY);
        let mut fastest = ("", f64::INFINITY);
        for &peer in names {
            let (seconds, error) = peers.train(peer)?;
            best = if error < best.1 { (peer, error) } else { best };
            fastest = if seconds < fastest.1 { (peer, seconds) } else { fastest };
        }
        let error = split.error(&*fit(&split)?);
        let row = Row::value(
            &format!("learning/{kind}-accuracy{name}"),
            "ratio",
            error / best.1,
            ACCURACY,
        );
        rows.push(row.with_note(format!("error {error:.4}, {} {:.4}", best.0, best.1)));
        if name.is_empty() {
            rows.extend(times(context, &split, fit, kind, fastest.0, &mut peers)?);
        }
    }
    Ok(rows)
}

fn times(
    context: &Context,
    split: &Split,
    fit: Fit,
    kind: &str,
    peer: &str,
    peers: &mut Peers,
) -> anyhow::Result<[Row; 2]> {
    let pairs = Pairs::measure(context.count(30, 1), |side| match side {
        Side::Ours => {
            let start = Instant::now();
            std::hint::black_box(fit(split)?);
            Ok(start.elapsed().as_secs_f64())
        }
        Side::Peer | Side::Control => Ok(peers.train(peer)?.0),
    })?;
    Ok(pairs.rows(&format!("learning/{kind}-training"), "s", peer, Goal::AtMost(1.0)))
}

/// One prediction from samples to interval: figures, 100 trees, quantiles of errors.
fn predictions(context: &Context) -> anyhow::Result<Vec<Row>> {
    let trace = data::trace(3000);
    let question = Question::new(Target::Latency, (300, 600));
    let examples = Examples::new(&trace.whole(), &question)?;
    let method = Method::named("gbm").ok_or_else(|| anyhow::anyhow!("there is no gbm"))?;
    let model = model::train(&examples, method, 1, &|_| ControlFlow::Continue(()))?;
    let mut took = Vec::new();
    for round in 0..context.count(20_000, 100) {
        let at = 1000 + round % 1900;
        let past = Past {
            now_s: 0,
            step_s: trace.step_s,
            here: &trace.sites[0].samples[..=at],
            there: &trace.sites[1].samples[..=at],
        };
        let start = Instant::now();
        std::hint::black_box(model.predict(&past)?);
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let row = |name: &str, share: f64| {
        Row::value(name, "us", stats::percentile(&took, share), Goal::AtMost(100.0))
    };
    Ok(vec![row(PREDICT[0], 0.5), row(PREDICT[1], 0.99)])
}
