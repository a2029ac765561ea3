//! Models that a program runs: ONNX files, each under a name.

use crate::ApiError;
use serde::{Deserialize, Serialize};
use types::Digest;

/// Most models of one program.
const MODELS_MAX: usize = 16;
/// Longest name, in bytes.
const NAME_MAX_BYTES: usize = 128;

/// A model that a program is given, at whichever site it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnnxModel {
    /// What the program loads it by.
    pub name: String,
    /// The file: `NAME.onnx@sha256:…` once uploaded. The command line uploads a local file and
    /// writes the digest behind its name.
    pub file: String,
}

impl OnnxModel {
    /// The digest behind the file's name, when it was uploaded.
    pub fn digest(&self) -> Option<Digest> {
        self.file.rsplit_once('@')?.1.parse().ok()
    }
}

/// Checks what a type cannot.
///
/// # Errors
/// [`ApiError::Value`] names the field that is wrong, and what could stand there.
pub(crate) fn check(models: &[OnnxModel]) -> Result<(), ApiError> {
    let wrong = |field, reason: &str| Err(ApiError::Value { field, reason: reason.to_owned() });
    if models.len() > MODELS_MAX {
        return wrong("models", "at most 16");
    }
    for (at, model) in models.iter().enumerate() {
        if model.name.is_empty() || model.name.len() > NAME_MAX_BYTES {
            return wrong("models.name", "give it a name of at most 128 bytes");
        }
        if model.file.is_empty() {
            return wrong("models.file", "name an `.onnx` file");
        }
        if models[..at].iter().any(|other| other.name == model.name) {
            return wrong("models.name", "two models have the same: give each its own");
        }
    }
    Ok(())
}
