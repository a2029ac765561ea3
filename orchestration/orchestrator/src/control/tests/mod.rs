//! The control plane with sites that speak the site link over real sockets.

mod advice;
mod guests;
mod leases;
mod losses;
mod machines;
mod migrations;
mod models;
mod planner;
mod policies;
mod resources;
mod restores;
mod site;
mod store;
mod telemetry;
mod world;
