//! What differs between what is stored and what a file says.

use api::{Kind, Metadata, Resource};
use serde::Serialize;
use serde_json::Value;

/// Whether both say the same of what a user decides: labels, annotations and spec.
pub fn is_same(before: &Resource, after: &Resource) -> bool {
    wanted(before) == wanted(after)
}

/// The part of a resource that a user decides.
fn wanted(resource: &Resource) -> Resource {
    let Metadata { tenant, name, labels, annotations, .. } = resource.metadata.clone();
    Resource {
        metadata: Metadata { tenant, name, labels, annotations, ..Metadata::default() },
        status: Value::Object(serde_json::Map::new()),
        ..resource.clone()
    }
}

/// That part as YAML, without the status that it does not have.
pub fn documents(resource: &Resource) -> String {
    let Resource { api_version, kind, metadata, spec, .. } = wanted(resource);
    yaml(&Document { api_version, kind, metadata, spec })
}

/// A resource as users write it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: String,
    kind: Kind,
    metadata: Metadata,
    spec: Value,
}

/// Plain data as YAML, each value on a line of its own so that it can be searched and compared.
///
/// # Panics
/// If the value is not plain data.
pub fn yaml(value: &impl Serialize) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).expect("plain data has a YAML form")
}

/// The unified diff from what is stored (nothing, if it is new) to what would be; empty when
/// they are the same.
pub fn unified(before: Option<&Resource>, after: &Resource) -> String {
    let old = before.map(documents).unwrap_or_default();
    let new = documents(after);
    if old == new {
        return String::new();
    }
    let name = format!("{}/{}", after.kind.path(), after.metadata.name);
    similar::TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(3)
        .header(&format!("{name} (stored)"), &format!("{name} (given)"))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(memory: &str) -> Resource {
        let spec = serde_json::json!({"module": "a.wasm", "resources": {"memory": memory}});
        Resource::new(Kind::Service, "default", "a", &spec)
    }

    #[test]
    fn what_the_control_plane_writes_is_no_difference() {
        let mut stored = service("64Mi");
        stored.metadata.resource_version = Some(7);
        stored.metadata.uid = "u".into();
        stored.status = serde_json::json!({"phase": "Ready"});

        assert!(is_same(&stored, &service("64Mi")));
        assert_eq!(unified(Some(&stored), &service("64Mi")), "");
    }

    #[test]
    fn a_changed_value_is_shown_before_and_after() {
        let text = unified(Some(&service("64Mi")), &service("128Mi"));

        assert!(text.contains("-    memory: 64Mi\n"), "{text}");
        assert!(text.contains("+    memory: 128Mi\n"), "{text}");
        assert!(text.contains("--- service/a (stored)"), "{text}");
        assert!(!is_same(&service("64Mi"), &service("128Mi")));
    }

    #[test]
    fn everything_of_a_new_resource_is_added() {
        let text = unified(None, &service("64Mi"));

        assert!(text.lines().skip(3).all(|line| line.starts_with('+')), "{text}");
    }
}
