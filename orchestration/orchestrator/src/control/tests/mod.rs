//! The control plane with sites that speak the site link over real sockets.

mod guests;
mod leases;
mod machines;
mod migrations;
mod resources;
mod site;
mod store;
mod world;
