//! The metrics of one process, as Prometheus scrapes them.

use crate::process::Process;
use prometheus_client::{
    encoding::text::encode,
    registry::{Metric, Registry as Inner, Unit},
};
use std::fmt;

/// The media type of what [`Registry::render`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one process. Fill it while starting, then share it.
#[derive(Debug)]
pub struct Registry {
    inner: Inner,
}

impl Registry {
    /// A registry with what the system knows of this process: memory, processor time, open files.
    pub fn new() -> Self {
        let mut inner = Inner::default();
        inner.register_collector(Box::new(Process));
        Self { inner }
    }

    /// Adds a metric. Names are `cloudskin_<part>_<what>`, without the unit; `help` is a sentence
    /// without its full stop.
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.inner.register(name, help, metric);
    }

    /// Adds a metric in seconds; the unit is appended to the name.
    pub fn register_seconds(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.inner.register_with_unit(name, help, Unit::Seconds, metric);
    }

    /// Adds a metric in bytes; the unit is appended to the name.
    pub fn register_bytes(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.inner.register_with_unit(name, help, Unit::Bytes, metric);
    }

    /// The OpenMetrics text of all of them now.
    ///
    /// # Errors
    /// Only if a metric of ours fails to write itself.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(4096);
        encode(&mut text, &self.inner)?;
        Ok(text)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{counter::Counter, gauge::Gauge};

    #[test]
    fn metrics_have_names_units_and_an_end() {
        let mut registry = Registry::new();
        let moves: Counter = Counter::default();
        let stopped: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
        registry.register("cloudskin_control_migrations", "Migrations begun", moves.clone());
        registry.register_seconds("cloudskin_control_stop", "Stop time", stopped.clone());
        moves.inc();
        stopped.set(0.25);

        let text = registry.render().unwrap();

        assert!(text.contains("cloudskin_control_migrations_total 1\n"), "{text}");
        assert!(text.contains("cloudskin_control_stop_seconds 0.25\n"), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
