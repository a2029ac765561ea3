//! What a decision expects to come, as it is written down with it.

use super::Load;
use crate::Prediction;
use serde::{Deserialize, Serialize};

/// The `prediction` of a policy's decision: what is expected of where the service was, and of where
/// it goes or best would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Foretold {
    /// The figure.
    pub figure: Load,
    /// The service level in milliseconds.
    pub sla_ms: f64,
    /// Seconds after the decision at which the time ahead begins.
    pub from_s: u64,
    /// And at which it ends.
    pub to_s: u64,
    /// Where the service was.
    pub at: String,
    /// What is expected there.
    pub here: Option<Prediction>,
    /// The other place.
    pub to: Option<String>,
    /// What is expected there.
    pub there: Option<Prediction>,
    /// The requests each second that are expected, if latencies are judged by them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Prediction>,
}
