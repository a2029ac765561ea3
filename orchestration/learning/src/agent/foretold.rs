//! What a decision expects to come, as it is written down with it.

use super::Load;
use crate::{Prediction, trajectory::LeftOut};
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
    /// Where who is followed will be, if anybody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextSite>,
}

/// The site that is expected to be the nearest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextSite {
    /// Its name.
    pub site: String,
    /// How likely it is.
    pub share: f64,
    /// By how many passages that were alike.
    pub passages: u32,
    /// In how many seconds.
    pub ahead_s: f64,
    /// The site that was the nearest as it was said.
    pub nearest: String,
    /// Positions that were left out of what it was said by.
    #[serde(default)]
    pub left_out: LeftOut,
    /// Why tracks were not learned from, or not all, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlearned: Option<String>,
}
