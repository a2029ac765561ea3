//! One recorded choice: its inputs, its reason, and later what really happened.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionSpec {
    /// `place`, `migrate`, `restart`, `roll-back`.
    pub action: String,
    /// What it is about: `service/street-counter`.
    pub subject: String,
    /// Who decided: `user`, `planner`, `lease`.
    pub by: String,
    /// The reason as a sentence.
    pub reason: String,
    /// What was known at that moment.
    #[serde(default)]
    pub inputs: Value,
    /// What else could have been done, with scores.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// What was expected to come of it.
    #[serde(default)]
    pub prediction: Value,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
}

/// One way it could have gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternative {
    /// For example a site's name.
    pub name: String,
    /// Higher is better; absent when ruled out.
    pub score: Option<f64>,
    /// Why it got that score or was ruled out.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DecisionStatus {
    /// `pending`, `done`, `rolled back`, `failed`.
    pub outcome: String,
    /// Details: for a migration its phases in milliseconds and its bytes.
    pub observed: Value,
    /// Milliseconds since the Unix epoch.
    pub ended: Option<u64>,
}
