//! Moments of a trace with what a model may see of each and what came after.

use super::Target;
use crate::{Error, Past, Result, Sample, Stretch, Trace, features::Features, forecast::Ahead};
use std::ops::Range;

/// What is asked of a model, whatever its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Which figure.
    pub target: Target,
    /// Of which stretch after the moment, in seconds.
    pub ahead: Ahead,
    /// Seconds from one moment that is learned from to the next.
    pub every_s: u32,
    /// Latencies that count as high, in milliseconds.
    pub levels_ms: Vec<f64>,
}

impl Question {
    /// Asks for a figure of a stretch, at each minute.
    pub fn new(target: Target, ahead: Ahead) -> Self {
        Self { target, ahead, every_s: 60, levels_ms: vec![100.0, 120.0, 140.0] }
    }

    /// # Errors
    /// A stretch that is empty or lies more than a day ahead, and moments at no distance.
    fn check(&self, step_s: u32) -> Result<()> {
        let (from, to) = self.ahead;
        if to > 86_400 || to < from.saturating_add(step_s) {
            let text = format!(
                "nothing can be predicted of seconds {from} to {to} ahead: samples are {step_s} s apart, \
                 and a day is the most"
            );
            return Err(Error::Unfit(text));
        }
        match self.every_s {
            0 => Err(Error::Unfit("moments that are 0 s apart: give at least 1 s".into())),
            _ => Ok(()),
        }
    }
}

/// With fewer moments there is nothing to learn.
pub(super) const MOMENTS_MIN: usize = 50;
/// A row of 64 figures for each is half a gigabyte.
const MOMENTS_MAX: u64 = 1_000_000;

/// A moment at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Example {
    /// Which sample of the trace.
    pub at: usize,
    /// Which site.
    pub site: usize,
}

/// Moments of a stretch of a trace, in the order of time, whose truth is known.
#[derive(Debug)]
pub struct Examples<'a> {
    /// Of which trace.
    pub trace: &'a Trace,
    /// What was asked.
    pub question: Question,
    /// What models of rows see.
    pub features: Features,
    /// The moments.
    pub each: Vec<Example>,
    /// Their figures.
    pub rows: Vec<Vec<f64>>,
    /// What came after each.
    pub truths: Vec<f64>,
}

impl<'a> Examples<'a> {
    /// Takes the moments whose stretch ahead lies within `span`. Of a trace of two sites each is seen
    /// beside the other, else by itself.
    ///
    /// # Errors
    /// A question that makes no sense for this trace, too few moments, and too many.
    pub fn new(stretch: &Stretch<'a>, question: &Question) -> Result<Self> {
        let trace = stretch.trace;
        question.check(trace.step_s)?;
        let features = features(trace, question);
        let moments = moments(stretch, question);
        let count = (moments.len() as u64).saturating_mul(trace.sites.len() as u64);
        if count > MOMENTS_MAX {
            let what = format!("{count} moments to learn from (choose them further apart)");
            return Err(Error::TooMuch { what, limit: MOMENTS_MAX });
        }
        let mut examples = Self {
            trace,
            question: question.clone(),
            features,
            each: Vec::new(),
            rows: Vec::new(),
            truths: Vec::new(),
        };
        for at in moments {
            (0..trace.sites.len()).for_each(|site| examples.take(Example { at, site }));
        }
        examples.are_enough()?;
        Ok(examples)
    }

    /// How many moments there are at most, and about how many bytes they and a model's own copy take: what is asked
    /// before [`Examples::new`] takes them.
    ///
    /// # Errors
    /// A question that makes no sense for this trace.
    pub fn needs(stretch: &Stretch<'a>, question: &Question) -> Result<(u64, u64)> {
        let trace = stretch.trace;
        question.check(trace.step_s)?;
        let sites = trace.sites.len() as u64;
        let places = if sites == 2 { 2 } else { 1 };
        let width = features(trace, question).each.len() as u64 * places;
        let count = (moments(stretch, question).len() as u64).saturating_mul(sites);
        Ok((count, bytes(count, width)))
    }

    /// Leaves out the moments that are not to be used.
    ///
    /// # Errors
    /// Too few are left.
    pub fn retain(&mut self, keep: impl Fn(&Self, Example) -> bool) -> Result<()> {
        let kept: Vec<bool> = self.each.iter().map(|example| keep(self, *example)).collect();
        let mut at = 0..kept.len();
        self.rows.retain(|_| at.next().is_some_and(|at| kept[at]));
        let mut at = 0..kept.len();
        self.truths.retain(|_| at.next().is_some_and(|at| kept[at]));
        let mut at = 0..kept.len();
        self.each.retain(|_| at.next().is_some_and(|at| kept[at]));
        self.are_enough()
    }

    fn are_enough(&self) -> Result<()> {
        if self.each.len() >= MOMENTS_MIN {
            return Ok(());
        }
        let (count, every) = (self.each.len(), self.question.every_s);
        let text = format!(
            "{count} moments {every} s apart whose future is known are too few: give at least \
             {MOMENTS_MIN}"
        );
        Err(Error::Unfit(text))
    }

    /// Those whose truth is not known teach nothing.
    fn take(&mut self, example: Example) {
        let ahead = self.ahead(example.at);
        let truth = self.question.target.of(&self.trace.sites[example.site].samples[ahead]);
        if truth.is_finite() {
            let past = self.past(example);
            self.rows.push(self.features.of_past(&past));
            self.each.push(example);
            self.truths.push(truth);
        }
    }

    /// The samples that decide what comes after a moment.
    pub fn ahead(&self, at: usize) -> Range<usize> {
        ahead(self.trace, self.question.ahead, at)
    }

    /// What was measured up to a moment.
    pub fn past(&self, example: Example) -> Past<'a> {
        let Example { at, site } = example;
        let of = |site: usize| &self.trace.sites[site].samples[..=at];
        let there: &[Sample] = if self.is_pair() { of(1 - site) } else { &[] };
        let trace = self.trace;
        let now_s = trace.start_s + at as i64 * i64::from(trace.step_s);
        Past { now_s, step_s: trace.step_s, here: of(site), there }
    }

    /// Whether each site is seen beside another one.
    pub fn is_pair(&self) -> bool {
        self.trace.sites.len() == 2
    }

    /// The rows and truths of some of them.
    pub(super) fn of(&self, chosen: &[usize]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let rows = chosen.iter().map(|&at| self.rows[at].clone());
        (rows.collect(), chosen.iter().map(|&at| self.truths[at]).collect())
    }

    /// Bytes that they take, and about as much again for a model's own copy.
    pub fn bytes(&self) -> u64 {
        let width = self.rows.first().map_or(0, Vec::len);
        bytes(self.rows.len() as u64, width as u64)
    }
}

fn bytes(rows: u64, width: u64) -> u64 {
    rows.saturating_mul(2 * 8 * (width + 4))
}

fn features(trace: &Trace, question: &Question) -> Features {
    match question.target {
        Target::Cpu | Target::CpuMax => Features::of_cpu(trace.step_s, &question.levels_ms),
        Target::Requests | Target::RequestsMax => Features::of_requests(trace.step_s),
        Target::Latency | Target::LatencyMax | Target::Broken(_) => {
            Features::of_latency(trace.step_s, &question.levels_ms)
        }
    }
}

/// The samples of a stretch ahead of a moment.
pub(crate) fn ahead(trace: &Trace, (from, to): Ahead, at: usize) -> Range<usize> {
    let steps = |seconds: u32| (seconds / trace.step_s) as usize;
    at + steps(from) + 1..at + steps(to).max(steps(from) + 1) + 1
}

fn moments(stretch: &Stretch, question: &Question) -> Vec<usize> {
    let (trace, span) = (stretch.trace, &stretch.span);
    let end = span.end.min(trace.len());
    let every = trace.samples_in(question.every_s);
    (span.start..end)
        .step_by(every)
        .take_while(|&at| ahead(trace, question.ahead, at).end <= end)
        .collect()
}
