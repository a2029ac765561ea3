//! What other crates and Prometheus' clients rely on.

mod api;
mod beside_prometheus;
mod kill;
mod store;
mod world;
