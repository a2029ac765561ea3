//! Series of the store, as a query sees them.

use super::{
    column::{Column, Columns, Frame},
    eval::Evaluator,
    parse::{matchers, millis},
};
use crate::{Matcher, Result, Sample, Series};
use promql_parser::parser::{AtModifier, MatrixSelector, Offset, VectorSelector};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a selector looks when it is asked at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    at_ms: Option<i64>,
    offset_ms: i64,
}

impl Timing {
    pub(super) fn new(at: Option<&AtModifier>, offset: Option<&Offset>, asked: (i64, i64)) -> Self {
        let at_ms = at.map(|at| match at {
            AtModifier::Start => asked.0,
            AtModifier::End => asked.1,
            AtModifier::At(time) => since_epoch_ms(*time),
        });
        let offset_ms = match offset {
            Some(Offset::Pos(period)) => millis(*period),
            Some(Offset::Neg(period)) => -millis(*period),
            None => 0,
        };
        Self { at_ms, offset_ms }
    }

    /// Where the selector looks at this moment.
    pub(super) fn end(&self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }

    /// Where it looks first and last.
    pub(super) fn ends(&self, frame: Frame) -> (i64, i64) {
        (self.end(frame.start_ms), self.end(frame.end_ms()))
    }
}

fn since_epoch_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// Series, of which a stretch is seen at each moment.
#[derive(Debug)]
pub(super) struct Windows {
    /// Without marks of staleness.
    pub(super) series: Vec<Series>,
    pub(super) timing: Timing,
    pub(super) range_ms: i64,
}

impl Windows {
    /// What of a series is seen at a moment, and where that stretch ends. Both ends belong to it.
    pub(super) fn seen<'a>(&self, samples: &'a [Sample], time_ms: i64) -> (&'a [Sample], i64) {
        let end = self.timing.end(time_ms);
        let begin = end.saturating_sub(self.range_ms);
        let from = samples.partition_point(|sample| sample.time_ms < begin);
        let to = samples.partition_point(|sample| sample.time_ms <= end);
        (&samples[from..to.max(from)], end)
    }

    /// What is seen of all at a moment.
    pub(super) fn at(&self, time_ms: i64) -> Vec<Series> {
        let seen = self.series.iter().map(|series| {
            let (samples, _) = self.seen(&series.samples, time_ms);
            Series { labels: series.labels.clone(), samples: samples.to_vec() }
        });
        seen.filter(|series| !series.samples.is_empty()).collect()
    }
}

impl Evaluator<'_> {
    /// The sample that stands for each series at each moment.
    fn last_samples(
        &self,
        selector: &VectorSelector,
        frame: Frame,
        show: impl Fn(&Sample) -> f64,
    ) -> Result<Columns> {
        let timing = Timing::new(selector.at.as_ref(), selector.offset.as_ref(), self.asked);
        let lookback_ms = millis(self.limits.lookback);
        let (first, last) = timing.ends(frame);
        let from = first.saturating_sub(lookback_ms);
        let series =
            self.store.select(&self.matchers(selector)?, from, last, self.limits.samples_max)?;
        self.check_size(series.len(), frame)?;
        let mut columns = Vec::with_capacity(series.len());
        for Series { labels, samples } in series {
            self.go_on()?;
            let value = |time_ms| {
                let end = timing.end(time_ms);
                let behind = samples.partition_point(|sample| sample.time_ms <= end);
                let last = samples.get(behind.checked_sub(1)?)?;
                let lives = !last.is_stale() && last.time_ms >= end.saturating_sub(lookback_ms);
                lives.then(|| show(last))
            };
            let values = frame.times().map(value).collect();
            columns.push(Column { labels, values });
        }
        columns.retain(|column| !column.is_empty());
        Ok(columns)
    }

    /// The conditions of a selector, and whose series may be seen. A label that is not there is
    /// empty, and admitted.
    fn matchers(&self, selector: &VectorSelector) -> Result<Vec<Matcher>> {
        let mut all = matchers(selector)?;
        if let Some(tenant) = &self.limits.tenant {
            all.push(Matcher::like("tenant", &format!("{}|", regex::escape(tenant)))?);
        }
        Ok(all)
    }

    pub(super) fn select(&self, selector: &VectorSelector, frame: Frame) -> Result<Columns> {
        self.last_samples(selector, frame, |sample| sample.value)
    }

    /// When the samples were taken, in seconds.
    pub(super) fn select_times(&self, selector: &VectorSelector, frame: Frame) -> Result<Columns> {
        self.last_samples(selector, frame, |sample| sample.time_ms as f64 / 1000.0)
    }

    pub(super) fn select_windows(&self, matrix: &MatrixSelector, frame: Frame) -> Result<Windows> {
        let selector = &matrix.vs;
        let timing = Timing::new(selector.at.as_ref(), selector.offset.as_ref(), self.asked);
        let range_ms = millis(matrix.range);
        let (first, last) = timing.ends(frame);
        let from = first.saturating_sub(range_ms);
        let mut series =
            self.store.select(&self.matchers(selector)?, from, last, self.limits.samples_max)?;
        for one in &mut series {
            one.samples.retain(|sample| !sample.is_stale());
        }
        Ok(Windows { series, timing, range_ms })
    }
}
