//! A status page of an application whose numbers become series.

use crate::ApiError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Period;

/// Most values of a page.
const VALUES_MAX: usize = 32;
/// Most bytes of a path, a pointer, and a name each.
const TEXT_MAX_BYTES: usize = 256;
/// Names that are the platform's own.
const RESERVED: [&str; 3] = ["cloudskin_", "process_", "scrape_"];

/// A page of JSON that the site which runs the service fetches from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// Where the service answers with it.
    #[serde(default = "default_path")]
    pub path: String,
    /// Between two fetches.
    #[serde(default = "default_every")]
    pub every: Period,
    /// Names of series, and where in the page their numbers are, as JSON Pointer (RFC 6901).
    pub values: BTreeMap<String, String>,
}

fn default_path() -> String {
    "/".into()
}
fn default_every() -> Period {
    Period::from_millis(15_000)
}

impl Metrics {
    /// Checks values that the types cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field and what is allowed.
    pub fn check(&self) -> Result<(), ApiError> {
        let value = |field, reason: String| Err(ApiError::Value { field, reason });
        let plain = self.path.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.path.starts_with('/') || !plain || self.path.len() > TEXT_MAX_BYTES {
            return value("metrics.path", "a path such as `/status`, of at most 256 bytes".into());
        }
        let hour = Period::from_millis(3_600_000);
        if self.every < Period::from_millis(1000) || self.every > hour {
            return value("metrics.every", "from `1s` to `1h`".into());
        }
        if self.values.is_empty() || self.values.len() > VALUES_MAX {
            return value("metrics.values", format!("from 1 to {VALUES_MAX} of them"));
        }
        for (name, pointer) in &self.values {
            if !is_name(name) {
                let reason = format!(
                    "`{name}` names no series: write letters, digits and `_`, and begin with a letter; {} and `up` \
                     are the platform's",
                    RESERVED.map(|prefix| format!("`{prefix}…`")).join(", ")
                );
                return value("metrics.values", reason);
            }
            if !is_pointer(pointer) {
                let reason = format!(
                    "`{pointer}` is no JSON Pointer: write `/stats/queue/length` for the number at stats, queue, \
                     length, `/items/0` for the first of a list (`~1` is a `/` in a name, `~0` a `~`)"
                );
                return value("metrics.values", reason);
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let reserved = name == "up" || RESERVED.iter().any(|prefix| name.starts_with(prefix));
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    first && letters && !reserved && name.len() <= TEXT_MAX_BYTES
}

/// Empty (the whole page), or names that each follow a `/`.
fn is_pointer(pointer: &str) -> bool {
    let escapes = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    let begins = pointer.is_empty() || pointer.starts_with('/');
    begins && escapes && pointer.len() <= TEXT_MAX_BYTES
}

#[cfg(test)]
mod tests {
    use crate::{Kind, Resource};
    use serde_json::json;

    #[test]
    fn a_page_is_declared_and_what_cannot_be_is_named() {
        let check = |metrics: serde_json::Value| {
            let spec = json!({"module": "a.wasm", "metrics": metrics});
            let mut resource = Resource::new(Kind::Service, "default", "a", &spec);
            resource.check().map_err(|error| types::chain(&error))
        };
        let values = json!({"queue_length": "/stats/queue/length", "all": "", "odd": "/a~1b/0"});

        check(json!({"path": "/status", "every": "5s", "values": values})).unwrap();
        check(json!({"values": {"count": "/count"}})).unwrap();
        for (metrics, field) in [
            (json!({"values": {}}), "metrics.values"),
            (json!({"path": "status", "values": {"a": "/a"}}), "metrics.path"),
            (json!({"path": "/a b", "values": {"a": "/a"}}), "metrics.path"),
            (json!({"every": "100ms", "values": {"a": "/a"}}), "metrics.every"),
            (json!({"values": {"cloudskin_up": "/a"}}), "the platform's"),
            (json!({"values": {"up": "/a"}}), "the platform's"),
            (json!({"values": {"a-b": "/a"}}), "names no series"),
            (json!({"values": {"a": ".stats.queue"}}), "JSON Pointer"),
            (json!({"values": {"a": "/a~2"}}), "JSON Pointer"),
            (json!({"values": {"a": 7}}), "7"),
        ] {
            let error = check(metrics.clone()).unwrap_err();
            assert!(error.contains(field), "{metrics}: {error}");
        }
    }
}
