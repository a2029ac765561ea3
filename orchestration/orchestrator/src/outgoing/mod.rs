//! What policies tell others: webhooks, and the northbound interface of another orchestrator.

mod https;
pub(crate) mod nbi;
pub(crate) mod webhook;

pub(crate) use https::pause;
