//! A packaged application: named components that are deployed together.

use crate::{ApiError, Condition, service::ServiceSpec};
use serde::{Deserialize, Serialize};
use types::check_name;

/// A versioned package; applying it makes a service of each component, named
/// `<block>-<component>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockSpec {
    /// The package's version.
    pub version: String,
    /// Its parts.
    pub components: Vec<Component>,
}

/// One part of a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// Unique within the block.
    pub name: String,
    /// The service that runs it.
    pub service: ServiceSpec,
}

/// What is known of a block.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BlockStatus {
    /// Generation of the spec that this status answers.
    pub observed_generation: u64,
    /// Facts; `Ready` holds when every component is ready.
    pub conditions: Vec<Condition>,
    /// Names of the services made.
    pub services: Vec<String>,
}

impl BlockSpec {
    /// Checks names and each component's service.
    ///
    /// # Errors
    /// [`ApiError`] says what is wrong.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.components.is_empty() {
            return Err(ApiError::Value {
                field: "components",
                reason: "a block has at least one component".into(),
            });
        }
        let mut names = std::collections::BTreeSet::new();
        for component in &self.components {
            check_name(&component.name)
                .map_err(|source| ApiError::Name { field: "components[].name", source })?;
            if !names.insert(&component.name) {
                return Err(ApiError::Value {
                    field: "components",
                    reason: format!("`{}` stands there twice", component.name),
                });
            }
            component.service.check()?;
        }
        Ok(())
    }
}
