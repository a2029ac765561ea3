//! What the control plane counts.

use std::time::Duration;
use telemetry::{
    Registry,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

type Labels = Vec<(&'static str, String)>;

/// The metrics of one control plane.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    sites: Gauge,
    services: Gauge,
    assignments: Counter,
    migrations: Family<Labels, Counter>,
    migration_total: Histogram,
    migration_stop: Histogram,
    requests: Family<Labels, Counter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::new();
        let metrics = Self {
            registry: Registry::default(),
            sites: Gauge::default(),
            services: Gauge::default(),
            assignments: Counter::default(),
            migrations: Family::default(),
            migration_total: Histogram::new([0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0]),
            migration_stop: Histogram::new([0.001, 0.002, 0.004, 0.008, 0.012, 0.03, 0.1, 1.0]),
            requests: Family::default(),
        };
        let mut add = |name: &str, help: &str, metric: Gauge| registry.register(name, help, metric);
        add("cloudskin_control_sites_connected", "Sites with a session", metrics.sites.clone());
        add("cloudskin_control_services", "Services in the store", metrics.services.clone());
        registry.register(
            "cloudskin_control_assignments",
            "Services given to a site, other than by a migration",
            metrics.assignments.clone(),
        );
        registry.register(
            "cloudskin_control_migrations",
            "Migrations that ended",
            metrics.migrations.clone(),
        );
        registry.register_seconds(
            "cloudskin_control_migration",
            "Migrations that moved a service, from the request to the last answer",
            metrics.migration_total.clone(),
        );
        registry.register_seconds(
            "cloudskin_control_migration_stop",
            "How long services stood while their last state travelled",
            metrics.migration_stop.clone(),
        );
        registry.register(
            "cloudskin_control_requests",
            "REST requests answered",
            metrics.requests.clone(),
        );
        Self { registry, ..metrics }
    }

    pub(super) fn assigned(&self) {
        self.assignments.inc();
    }

    pub(super) fn moved(&self, total: Duration, stop: Duration) {
        self.migrations.get_or_create(&vec![("outcome", "moved".to_owned())]).inc();
        self.migration_total.observe(total.as_secs_f64());
        self.migration_stop.observe(stop.as_secs_f64());
    }

    pub(super) fn rolled_back(&self) {
        self.migrations.get_or_create(&vec![("outcome", "rolled back".to_owned())]).inc();
    }

    pub(super) fn answered(&self, method: &str, status: u16) {
        // Made-up methods must not fill the memory.
        let known = ["GET", "HEAD", "PUT", "POST", "DELETE"].contains(&method);
        let method = if known { method } else { "other" }.to_owned();
        let labels = vec![("method", method), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// The OpenMetrics text, with these gauges as they are now.
    pub(super) fn render(&self, sites: usize, services: usize) -> Result<String, std::fmt::Error> {
        self.sites.set(i64::try_from(sites).unwrap_or(i64::MAX));
        self.services.set(i64::try_from(services).unwrap_or(i64::MAX));
        self.registry.render()
    }
}
