//! The endpoint as it is seen over a socket, by requests that no client library would send and by
//! those that real clients do send.

mod bodies;
mod classes;
mod clients;
mod connections;
mod documents;
mod housekeeping;
mod racing;
mod server;
mod tier;
mod wire;
