//! Training: settings are searched by folds within the training part, errors of folds make the
//! intervals, and the whole part is fitted last.

use super::{
    Conformal, Draw, Examples, Method, Model, Onnx, Score, Usual,
    examples::MOMENTS_MIN,
    folds,
    method::Body,
    score::{self, Met},
    trained::{Reference, Trained, spread},
};
use crate::{Error, Result, features::PAST_S};
use std::ops::ControlFlow;

/// The blocks of validation in seconds, and how many folds they are dealt out to.
const BLOCK_S: u32 = 7200;
const FOLDS: usize = 4;

/// What training does now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doing {
    /// Trying settings: which, of how many, and the least error so far.
    Search {
        /// From 1.
        candidate: usize,
        /// How many.
        of: usize,
        /// The least root mean square error of those that were tried.
        least: f64,
    },
    /// Making errors for intervals.
    Validate,
    /// Fitting all.
    Fit,
}

/// Is told what training does, before it does it; `Break` ends a search with what was found, and is
/// overheard where there is nothing yet.
pub type Watch<'a> = dyn Fn(Doing) -> ControlFlow<()> + 'a;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// The best settings.
    pub method: Method,
    /// How many were tried.
    pub tried: usize,
    /// The root mean square error of the first, which are the usual ones.
    pub usual: f64,
    /// Of the best.
    pub least: f64,
}

/// Tries `count` settings, the given ones first, and answers those with the least error over the
/// folds. The same seed draws the same settings.
///
/// # Errors
/// As of the kind's fit; too few moments for folds.
pub fn search(
    examples: &Examples,
    method: Method,
    count: usize,
    seed: u64,
    watch: &Watch,
) -> Result<Searched> {
    let mut draw = Draw(seed);
    let mut found = Searched { method, tried: 0, usual: f64::NAN, least: f64::INFINITY };
    for candidate in 0..count.max(1) {
        let doing = Doing::Search { candidate: candidate + 1, of: count, least: found.least };
        if watch(doing).is_break() && found.tried > 0 {
            break;
        }
        let tried = if candidate == 0 { method } else { method.drawn(&mut draw) };
        let said = validated(examples, &tried, seed)?;
        let met: Vec<_> = said.into_iter().map(|(_, met)| met).collect();
        let error = Score::of(&met, 0.0).rmse;
        found.tried += 1;
        if candidate == 0 {
            found.usual = error;
        }
        if error < found.least {
            (found.method, found.least) = (tried, error);
        }
    }
    Ok(found)
}

/// Fits all moments; intervals are of errors over the folds.
///
/// # Errors
/// As of the kind's fit.
pub fn train(examples: &Examples, method: Method, seed: u64, watch: &Watch) -> Result<Trained> {
    let all: Vec<_> = (0..examples.each.len()).collect();
    let reference = Reference::of(examples, &all);
    // A training that was begun is ended: one fit is bounded by its rows.
    let _ = watch(Doing::Validate);
    let conformal = taught(examples, &validated(examples, &method, seed)?, reference.grain);
    let _ = watch(Doing::Fit);
    let body = method.fit(examples, &all, seed)?;
    Ok(Trained::new(examples, method, body, reference, conformal))
}

/// Takes a model from an ONNX file; intervals are of its errors at these moments.
///
/// # Errors
/// A file that is not run, with what it does.
pub fn imported(examples: &Examples, file: Vec<u8>) -> Result<Trained> {
    let all: Vec<_> = (0..examples.each.len()).collect();
    let reference = Reference::of(examples, &all);
    let model = Onnx::read(file, Usual::of(&examples.rows).0)?;
    let said: Vec<_> = all
        .iter()
        .map(|&at| {
            let value = model.predict(&examples.rows[at]);
            (at, Met { value, interval: None, truth: examples.truths[at] })
        })
        .collect();
    let conformal = taught(examples, &said, reference.grain);
    let body = Body::Row(model);
    Ok(Trained::new(examples, Method::Onnx, body, reference, conformal))
}

/// Intervals of these errors.
fn taught(examples: &Examples, said: &[(usize, Met)], grain: f64) -> Conformal {
    let mut conformal = Trained::untaught();
    let target = examples.question.target;
    for (place, met) in said {
        let past = examples.past(examples.each[*place]);
        conformal.learn(met.value, spread(&past, target, grain), None, met.truth);
    }
    conformal
}

/// Predictions for all moments, each by a model that has seen neither the moment nor what touches
/// it; of a part that is too short for folds, the last third by the rest.
///
/// # Errors
/// As of the kind's fit; a part that is too short even for that.
fn validated(examples: &Examples, method: &Method, seed: u64) -> Result<Vec<(usize, Met)>> {
    let mut said = Vec::with_capacity(examples.each.len());
    let usual = score::usual(&examples.truths);
    for (learn, predict) in parts(examples)? {
        let body = method.fit(examples, &learn, seed)?;
        for place in predict {
            let past = examples.past(examples.each[place]);
            let (target, ahead) = (examples.question.target, examples.question.ahead);
            let value = body.value(&past, &examples.rows[place], target, ahead);
            let value = if value.is_finite() { value } else { usual };
            said.push((place, Met { value, interval: None, truth: examples.truths[place] }));
        }
    }
    said.sort_by_key(|(place, _)| *place);
    Ok(said)
}

type Parts = Vec<(Vec<usize>, Vec<usize>)>;

/// What is learned from and what is predicted, by place.
fn parts(examples: &Examples) -> Result<Parts> {
    let (trace, each) = (examples.trace, &examples.each);
    let (first, last) = (each[0].at, each[each.len() - 1].at);
    // What is learned from behind a block sees its samples, and truths reach into it from both sides.
    let ahead_s = examples.question.ahead.1;
    let (before, after) =
        (trace.samples_in(ahead_s.max(PAST_S / 2)), trace.samples_in(ahead_s) + 1);
    let block = trace.samples_in(BLOCK_S);
    let dealt = folds(first..last + 1, 1, block, FOLDS, before, after);
    let mut parts = Vec::new();
    for fold in dealt {
        let at = |moments: &[usize]| {
            let known = |place: &usize| moments.binary_search(&each[*place].at).is_ok();
            (0..each.len()).filter(known).collect::<Vec<_>>()
        };
        parts.push((at(&fold.learn), at(&fold.predict)));
    }
    if parts.iter().all(|(learn, predict)| learn.len() >= MOMENTS_MIN && !predict.is_empty()) {
        return Ok(parts);
    }
    let cut = each[each.len() * 2 / 3].at;
    let (learn, predict): (Vec<_>, Vec<_>) =
        (0..each.len()).partition(|&place| each[place].at < cut);
    let learn: Vec<_> = learn.into_iter().filter(|&place| each[place].at + after <= cut).collect();
    if learn.len() >= MOMENTS_MIN / 2 && !predict.is_empty() {
        return Ok(vec![(learn, predict)]);
    }
    // Errors of what was fitted would make intervals that hold nowhere else.
    let text = format!(
        "{} moments are too few to tell how far predictions will be off: after the first two thirds of \
         them and the {ahead_s} s that each looks ahead, {} are left to learn from, and {} are needed; give \
         more data, or choose moments closer together",
        each.len(),
        learn.len(),
        MOMENTS_MIN / 2
    );
    Err(Error::Unfit(text))
}
