//! What is asked of the prediction service: `POST` at [`crate::paths::predict`] and
//! [`crate::paths::rank`].

use crate::service::Prefer;
use serde::{Deserialize, Serialize};
use types::Period;

/// Most sites of one question.
pub const SITES_MAX: usize = 1000;

/// How will this service behave at that place?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Predict {
    /// The service.
    #[serde(alias = "application")]
    pub service: String,
    /// The site.
    pub at: String,
    /// For this load and level.
    #[serde(default, skip_serializing_if = "Assumed::is_default")]
    pub assume: Assumed,
}

/// Which of these places is best for the service, and why?
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rank {
    /// The service.
    #[serde(alias = "application")]
    pub service: String,
    /// The sites; all that there are if none are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites: Option<Vec<String>>,
    /// What counts; as the service's placement says if it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<Prefer>,
    /// For this load and level.
    #[serde(default, skip_serializing_if = "Assumed::is_default")]
    pub assume: Assumed,
}

/// What a prediction is for; what is not named is as it is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Assumed {
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The service level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sla: Option<Period>,
    /// A model of the catalog that is in production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Assumed {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
