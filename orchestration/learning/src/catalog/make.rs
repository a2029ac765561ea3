//! From a trace to a version: trained on a part of it, tested on the rest beside who says that all stays as it is.

use super::{BackTest, Data, Made, Record, Stage};
use crate::{
    Error, Result, Stretch,
    model::{self, Example, Examples, Met, Method, Question, Score, Searched, Trained, Watch},
};
use std::ops::Range;

/// What is to be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The model's name.
    pub name: String,
    /// How.
    pub method: Method,
    /// What is predicted.
    pub question: Question,
    /// Settings to try; the method's own are used as they are if it is 1.
    pub search: usize,
    /// What randomness is drawn from.
    pub seed: u64,
    /// Data that need more bytes are refused before they are read into rows.
    pub memory_max: u64,
    /// Why, if not for a user.
    pub because: String,
}

/// A version that no catalog has yet.
#[derive(Debug)]
pub struct Draft {
    /// What is known of it; who took the time fills in `made.at_s` and `made.seconds`, and
    /// `made.peak_bytes` if it knows better.
    pub record: Record,
    /// The model.
    pub model: Trained,
    /// How it did, moment by moment.
    pub backtest: BackTest,
    /// What a search found.
    pub searched: Searched,
}

/// Which moments may be used: the site's number in the trace, and the samples from the moment to the end of what is
/// predicted.
pub type Keep<'a> = dyn Fn(usize, Range<usize>) -> bool + 'a;

/// Trains on one stretch and tests on another.
///
/// # Errors
/// A question that the data do not answer, too few moments, more memory than was allowed.
pub fn make(
    order: &Order,
    learn: &Stretch<'_>,
    test: &Stretch<'_>,
    keep: &Keep<'_>,
    watch: &Watch<'_>,
) -> Result<Draft> {
    let learned = moments(order, learn, keep)?;
    let tested = moments(order, test, keep)?;
    let searched = match order.search {
        0 | 1 => {
            let (method, nothing) = (order.method, f64::NAN);
            Searched { method, tried: 1, usual: nothing, least: nothing }
        }
        count => model::search(&learned, order.method, count, order.seed, watch)?,
    };
    let trained = model::train(&learned, searched.method, order.seed, watch)?;
    finished(order, (&learned, learn), (&tested, test), searched, trained)
}

/// Takes a model from an ONNX file; intervals are of its errors on one stretch, figures of the other.
///
/// # Errors
/// As of [`make`], and a file that is not run.
pub fn take(
    order: &Order,
    file: Vec<u8>,
    learn: &Stretch<'_>,
    test: &Stretch<'_>,
) -> Result<Draft> {
    let all: &Keep<'_> = &|_, _| true;
    let (learned, tested) = (moments(order, learn, all)?, moments(order, test, all)?);
    let trained = model::imported(&learned, file)?;
    let searched = Searched { method: Method::Onnx, tried: 0, usual: f64::NAN, least: f64::NAN };
    finished(order, (&learned, learn), (&tested, test), searched, trained)
}

/// The moments of a stretch that may be used, within the memory that was allowed.
pub(super) fn moments<'a>(
    order: &Order,
    stretch: &Stretch<'a>,
    keep: &Keep<'_>,
) -> Result<Examples<'a>> {
    let (count, bytes) = Examples::needs(stretch, &order.question)?;
    if bytes > order.memory_max {
        let needed = bytes.div_ceil(1 << 20);
        let what = format!("the memory for {count} moments, {needed} MiB,");
        return Err(Error::TooMuch { what, limit: order.memory_max });
    }
    let mut examples = Examples::new(stretch, &order.question)?;
    let kept =
        |examples: &Examples, Example { at, site }: Example| keep(site, at..examples.ahead(at).end);
    examples.retain(kept)?;
    Ok(examples)
}

fn finished(
    order: &Order,
    (learned, learn): (&Examples<'_>, &Stretch<'_>),
    (tested, test): (&Examples<'_>, &Stretch<'_>),
    searched: Searched,
    model: Trained,
) -> Result<Draft> {
    let met = model.walked(tested)?;
    let naive = naive(learned, tested)?;
    let score = Score::of(&met, model.reference.high);
    let record = Record {
        name: order.name.clone(),
        id: 0,
        stage: Stage::Candidate,
        method: searched.method,
        target: order.question.target,
        ahead: order.question.ahead,
        every_s: order.question.every_s,
        trained: Data::of(learn),
        tested: Data::of(test),
        score,
        naive_rmse: Some(Score::of(&naive, model.reference.high).rmse),
        beside: None,
        parent: None,
        made: Made {
            at_s: 0,
            seconds: 0.0,
            // At least that; who has a process of its own knows more.
            peak_bytes: learned.bytes() + tested.bytes(),
            rows: learned.each.len() as u64,
            searched: searched.tried,
            seed: order.seed,
            imported: String::new(),
            because: order.because.clone(),
        },
        model_bytes: 0,
        federated: None,
    };
    let backtest = BackTest::of(tested, &met, Some(&naive));
    Ok(Draft { record, model, backtest, searched })
}

/// What is not better than this is not worth keeping.
fn naive(learned: &Examples<'_>, tested: &Examples<'_>) -> Result<Vec<Met>> {
    let go_on = |_| std::ops::ControlFlow::Continue(());
    model::train(learned, Method::Naive, 0, &go_on)?.walked(tested)
}
