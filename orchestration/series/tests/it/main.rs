//! What other crates and Prometheus' clients rely on.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod api;
mod beside_prometheus;
mod dashboards;
mod kill;
mod serving;
mod store;
mod world;
