//! What other crates and Prometheus' clients rely on.

mod api;
mod beside_prometheus;
mod dashboards;
mod kill;
mod serving;
mod store;
mod world;
