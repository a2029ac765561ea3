//! What was measured at several sites, on one grid of time.

mod dlstreamer;
mod grid;
mod parquet;
mod plain;
mod read;
mod rows;

use std::ops::Range;

/// One moment at one site.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// Milliseconds that a frame or a request took; nothing while none was answered. That counts
    /// as a broken service level, and is no observation of a latency.
    pub latency_ms: Option<f64>,
    /// Processors in use at the site.
    pub cpu: Option<f64>,
    /// Requests that the service was sent there, each second.
    pub requests: Option<f64>,
}

impl Sample {
    /// Whether a service level of so many milliseconds was broken.
    pub fn breaks(&self, sla_ms: f64) -> bool {
        self.latency_ms.is_none_or(|latency| latency > sla_ms)
    }

    /// Whether nothing was answered.
    pub fn stalled(&self) -> bool {
        self.latency_ms.is_none()
    }
}

/// What was measured at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteTrace {
    /// The site's name in the trace.
    pub name: String,
    /// One for each step of the trace.
    pub samples: Vec<Sample>,
}

/// What was measured at several sites at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Unix time of the first sample, in seconds.
    pub start_s: i64,
    /// Seconds from one sample to the next.
    pub step_s: u32,
    /// In the order of their names, each with as many samples.
    pub sites: Vec<SiteTrace>,
}

/// A part of a trace.
#[derive(Debug, Clone)]
pub struct Stretch<'a> {
    /// Of which trace.
    pub trace: &'a Trace,
    /// Which samples.
    pub span: Range<usize>,
}

impl Trace {
    /// How many samples each site has.
    pub fn len(&self) -> usize {
        self.sites.first().map_or(0, |site| site.samples.len())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it.
    pub fn whole(&self) -> Stretch<'_> {
        Stretch { trace: self, span: 0..self.len() }
    }

    /// What lies before a share of it, and the rest.
    pub fn split(&self, share: f64) -> (Stretch<'_>, Stretch<'_>) {
        let at = (self.len() as f64 * share.clamp(0.0, 1.0)) as usize;
        (Stretch { trace: self, span: 0..at }, Stretch { trace: self, span: at..self.len() })
    }

    /// How many samples are in so many seconds, at least one.
    pub fn samples_in(&self, seconds: u32) -> usize {
        (seconds / self.step_s).max(1) as usize
    }
}
