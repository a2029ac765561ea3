//! A model of the catalog: its versions and how good they are, whether it still fits what happens, and what is done
//! when it does not.
//!
//! The catalog is the truth about versions; the control plane makes the resource of what it finds there. A user
//! applies one to say how a model is kept up to date.

use crate::{ApiError, Condition};
use serde::{Deserialize, Serialize};
use types::{Bytes, Period};

/// Most versions that a status tells of, the latest.
pub const VERSIONS_TOLD_MAX: usize = 50;

/// How a model is kept up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ModelSpec {
    /// What is done when it no longer fits.
    pub retrain: Retrain,
    /// How much of the latest telemetry it then learns from.
    pub learn_from: Period,
    /// Data that need more memory are thinned out.
    pub memory_max: Bytes,
    /// Between two trainings, at least.
    pub pause: Period,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            retrain: Retrain::default(),
            learn_from: Period::from_millis(3 * 86_400_000),
            memory_max: Bytes(256 << 20),
            pause: Period::from_millis(3_600_000),
        }
    }
}

/// What is done when a model no longer fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retrain {
    /// Nothing but to say so.
    Off,
    /// A candidate is trained, for somebody to promote.
    #[default]
    Candidate,
    /// A candidate is trained, and takes its place if it is better on what neither has seen.
    Promote,
}

/// What is known of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts: `Ready` while a version is in production and sound, `Fits` until drift is found, `Retrained`.
    pub conditions: Vec<Condition>,
    /// The version in production.
    pub production: Option<u32>,
    /// The latest versions, the newest first.
    pub versions: Vec<ModelVersion>,
    /// How many there are in all.
    pub versions_total: u64,
    /// The version in production on the telemetry of services whose policies use it.
    pub watched: Vec<Watched>,
    /// When and why it no longer fits, the latest first, bounded.
    pub drifts: Vec<Drifted>,
    /// The last training after a drift.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trained: Option<Trained>,
    /// Names of decisions about it, latest first, bounded.
    pub decisions: Vec<String>,
}

/// A version in brief; `versions/NUMBER` below the model has all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelVersion {
    /// Its number, from 1.
    pub id: u32,
    /// `candidate`, `production` or `retired`.
    pub stage: String,
    /// How it was trained: `gbm`.
    pub kind: String,
    /// What it predicts: `latency`.
    pub target: String,
    /// The stretch ahead, in seconds.
    pub ahead_s: (u32, u32),
    /// The mean of how far it was off in its back-test, in the target's unit.
    pub mae: f64,
    /// The root of the mean square of that.
    pub rmse: f64,
    /// What the root mean square error is of who says that all stays as it is.
    pub naive_rmse: Option<f64>,
    /// The share of truths within intervals of 80 %.
    pub coverage80: Option<f64>,
    /// Moments that it was tested at.
    pub moments: u64,
    /// Moments that it learned from; 0 where it is not known.
    pub rows: u64,
    /// How long training took, in seconds.
    pub seconds: f64,
    /// The most memory that training had, in bytes.
    pub peak_bytes: u64,
    /// Its size.
    pub model_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub made: u64,
    /// The version that was in production when it was made.
    pub parent: Option<u32>,
    /// Why it was trained, if not by a user.
    pub because: String,
    /// Why it cannot be used; it is sound if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub damage: String,
}

/// What the version in production said of a service, beside what came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Watched {
    /// Of which tenant.
    pub tenant: String,
    /// Of which service.
    pub service: String,
    /// Which version.
    pub version: u32,
    /// Predictions whose truth has come, of the last day.
    pub moments: u64,
    /// The mean of how far they were off, in the target's unit.
    pub mae: f64,
    /// The share of truths within intervals of 80 %.
    pub coverage80: f64,
    /// Milliseconds since the Unix epoch up to which truths were taken.
    pub until: u64,
}

/// Changes of what the model sees, or of how well it predicts, that one look found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Drifted {
    /// Milliseconds since the Unix epoch of the moment at which the first showed.
    pub at: u64,
    /// Of the last.
    pub latest: u64,
    /// Which version.
    pub version: u32,
    /// On whose telemetry: `tenant/service`.
    pub service: String,
    /// What changed, as a sentence.
    pub message: String,
}

/// What came of a training after a drift.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trained {
    /// Milliseconds since the Unix epoch at which it began.
    pub at: u64,
    /// The version that it made, if it made one.
    pub version: Option<u32>,
    /// Whether that is in production.
    pub promoted: bool,
    /// How often in a row nothing better came of it; so much longer is waited for the next.
    pub in_vain: u32,
    /// What came of it, as a sentence.
    pub message: String,
}

impl ModelSpec {
    /// Checks values that the types cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field and what is allowed.
    pub fn check(&self) -> Result<(), ApiError> {
        let value = |field, reason: &str| Err(ApiError::Value { field, reason: reason.into() });
        let hour = Period::from_millis(3_600_000);
        if self.learn_from < hour || self.learn_from > Period::from_millis(15 * 86_400_000) {
            return value("learnFrom", "from `1h` to `15d`: older telemetry is not kept");
        }
        if self.memory_max < Bytes(16 << 20) || self.memory_max > Bytes(4 << 30) {
            return value("memoryMax", "from `16Mi` to `4Gi`");
        }
        if self.pause < Period::from_millis(1000) {
            return value("pause", "at least `1s`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Resource};
    use serde_json::json;

    #[test]
    fn what_is_not_said_is_usual_and_what_cannot_be_is_named() {
        let check = |spec: serde_json::Value| {
            let mut resource = Resource::new(Kind::Model, "default", "latency", &spec);
            resource.check().map_err(|error| types::chain(&error))
        };

        check(json!({})).unwrap();
        check(json!({"retrain": "promote", "learnFrom": "15d", "pause": "10m"})).unwrap();
        for (spec, field) in [
            (json!({"learnFrom": "16d"}), "learnFrom"),
            (json!({"memoryMax": "1Mi"}), "memoryMax"),
            (json!({"retrain": "always"}), "always"),
            (json!({"promote": true}), "promote"),
        ] {
            let error = check(spec).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
        assert_eq!(ModelSpec::default().retrain, Retrain::Candidate);
    }
}
