//! The resources of CloudSkin and the messages that its processes exchange.
//!
//! A [`Resource`] is what users apply and read: one envelope for every [`Kind`], with the typed
//! `spec` and `status` of [`service`], [`site`], [`cell`], [`policy`], [`model`] and [`decision`]. REST paths are made
//! by [`paths`]. [`link`] holds the messages between a site's agent and the control plane.

pub mod advice;
pub mod block;
pub mod cell;
pub mod decision;
mod error;
pub mod link;
pub mod model;
pub mod mount;
pub mod onnx;
pub mod paths;
pub mod policy;
mod resource;
pub mod service;
pub mod site;
pub mod tissue;

pub use error::{ApiError, Problem};
pub use resource::{
    API_VERSION, Condition, DEFAULT_TENANT, Kind, List, Metadata, Resource, WatchEvent, WatchKind,
};
