//! The folders are the architecture: a crate uses what stands to its left, and no more.

use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};
use tests::{cargo_metadata, list, manifest, root, text};

/// The layers, from left to right.
const LAYERS: [&str; 5] = ["base", "infrastructure", "execution", "orchestration", "cloudskin"];

/// The order within a layer. In `base` any crate may use any other, but `types` none.
const ORDERS: [(&str, &[&str]); 3] = [
    ("infrastructure", &["geds", "streams", "nexus", "s3"]),
    ("execution", &["shield", "mpi", "openmp", "isolation", "inference", "cells"]),
    ("orchestration", &["series", "learning", "orchestrator", "functions", "dataspace"]),
];

/// These look at every layer, and no crate uses them.
const OBSERVERS: [&str; 2] = ["tests", "benches"];

/// Programs that use the platform, as `examples/mobility` with its crate `mobility-demo`; only
/// tests use them.
const EXAMPLES: &str = "examples";

/// What other languages use of the platform; no crate uses it. A folder is a language, a crate's name
/// ends with it: `sdk/c` with `geds-c`.
const SDK: &str = "sdk";

/// A heavy dependency, with all crates whose names begin with its own, and who alone uses it.
const HOMES: [(&str, &str); 5] = [
    ("wasmtime", "cells"),
    ("object_store", "geds"),
    ("kube", "orchestrator"),
    ("tonic", "api"),
    ("tract", "inference"),
];

/// Where a crate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: String,
    /// Its first folder.
    layer: String,
}

impl Place {
    fn of(package: &Value) -> Self {
        let folder = folder(package);
        let layer = folder.split('/').next().unwrap_or_default().to_owned();
        Self { name: text(package, "name").to_owned(), layer }
    }

    fn observes(&self) -> bool {
        OBSERVERS.contains(&self.layer.as_str())
    }

    fn is_example(&self) -> bool {
        self.layer == EXAMPLES
    }

    fn is_sdk(&self) -> bool {
        self.layer == SDK
    }

    fn layer(&self) -> Option<usize> {
        LAYERS.iter().position(|layer| *layer == self.layer)
    }

    /// How far to the right it stands within its layer.
    fn order(&self) -> Option<usize> {
        let (_, order) = ORDERS.iter().find(|(layer, _)| *layer == self.layer)?;
        order.iter().position(|name| *name == self.name)
    }
}

/// Why `user` may not use `used`, if so.
fn objection(user: &Place, used: &Place, only_in_tests: bool) -> Option<&'static str> {
    if used.name == "testkit" && !only_in_tests {
        return Some("`testkit` is for tests: make it a dev-dependency");
    }
    if used.observes() {
        return Some("nothing uses tests and benchmarks");
    }
    if used.is_example() && !only_in_tests {
        return Some("nothing is built on an example");
    }
    if used.is_sdk() {
        return Some("it is for other languages: use what it stands on");
    }
    if user.observes() || user.is_example() || user.is_sdk() || used.is_example() {
        return None;
    }
    match (user.layer(), used.layer()) {
        (Some(user), Some(used)) if used < user => return None,
        (Some(user), Some(used)) if used > user => return Some("it stands to the right"),
        (Some(_), Some(_)) => {}
        _ => return Some("its folder is no layer: see LAYERS in this test"),
    }
    if user.layer == "base" {
        let leftmost = user.name == "types";
        return leftmost.then_some("`types` stands leftmost and uses nothing of ours");
    }
    match (user.order(), used.order()) {
        (Some(user), Some(used)) if used < user => None,
        (Some(_), Some(_)) => Some("it stands to the right in the same layer"),
        _ => Some("one of them has no place in its layer: see ORDERS in this test"),
    }
}

/// A package's folder, relative to the root.
fn folder(package: &Value) -> String {
    let manifest = Path::new(text(package, "manifest_path"));
    let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok());
    folder.expect("members lie in the workspace").to_string_lossy().into_owned()
}

fn members() -> Vec<Value> {
    let metadata = cargo_metadata(&["--no-deps"]);
    let members = list(&metadata, "packages").to_vec();
    assert!(members.len() >= 11, "Cargo names only {} crates", members.len());
    members
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn crates_use_what_stands_to_their_left() {
    let members = members();
    let places: BTreeMap<&str, Place> =
        members.iter().map(|member| (text(member, "name"), Place::of(member))).collect();
    let mut problems = Vec::new();
    for member in &members {
        let user = &places[text(member, "name")];
        for dependency in list(member, "dependencies") {
            let Some(used) = places.get(text(dependency, "name")) else { continue };
            let only_in_tests = text(dependency, "kind") == "dev";
            if let Some(reason) = objection(user, used, only_in_tests) {
                problems.push(format!("`{}` uses `{}`: {reason}", user.name, used.name));
            }
        }
    }

    assert_none(&problems);
}

#[test]
fn every_crate_is_named_as_its_folder_and_has_a_place() {
    let problems: Vec<_> = members()
        .iter()
        .filter(|member| {
            let place = Place::of(member);
            let ordered = ORDERS.iter().any(|(layer, _)| *layer == place.layer);
            let placed = place.observes()
                || place.is_example()
                || place.is_sdk()
                || place.layer().is_some() && (!ordered || place.order().is_some());
            let named = match place.name.rsplit_once('-') {
                Some((_, language)) if place.is_sdk() => Some(language),
                _ if place.is_example() => place.name.strip_suffix("-demo"),
                _ => Some(place.name.as_str()),
            };
            !placed || folder(member).rsplit('/').next() != named
        })
        .map(|member| format!("`{}` in `{}`", text(member, "name"), folder(member)))
        .collect();

    assert_none(&problems);
}

#[test]
fn heavy_dependencies_have_one_home() {
    let mut problems = Vec::new();
    for member in &members() {
        let user = text(member, "name");
        for dependency in list(member, "dependencies") {
            let used = text(dependency, "name");
            let heavy = HOMES.iter().find(|(heavy, _)| {
                used.strip_prefix(heavy)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            });
            // Benchmarks sign requests with what they ask servers with.
            if let Some((heavy, home)) =
                heavy.filter(|(_, home)| ![*home, "benches"].contains(&user))
            {
                problems
                    .push(format!("`{user}` uses `{used}`: `{heavy}` has its home in `{home}`"));
            }
        }
    }

    assert_none(&problems);
}

#[test]
fn dependencies_and_lints_are_declared_in_the_root() {
    let mut problems = Vec::new();
    for member in &members() {
        let path = format!("{}/Cargo.toml", folder(member));
        let manifest = manifest(&path);
        for (name, declared) in dependencies(&manifest) {
            let inherited = declared.get("workspace").and_then(toml::Value::as_bool) == Some(true);
            let adds = declared.as_table().is_some_and(|table| {
                ["version", "path", "git", "registry"].iter().any(|key| table.contains_key(*key))
            });
            if !inherited || adds {
                problems.push(format!("{path}: write `{name}.workspace = true`"));
            }
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            problems.push(format!("{path}: write `workspace = true` in `[lints]`"));
        }
    }

    assert_none(&problems);
}

/// Every dependency in a manifest, those of single targets included.
fn dependencies(manifest: &toml::Table) -> Vec<(&String, &toml::Value)> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let of_targets = targets.into_iter().flat_map(|table| table.values());
    let tables = of_targets.filter_map(toml::Value::as_table).chain([manifest]);
    tables
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"].map(|kind| table.get(kind))
        })
        .flatten()
        .filter_map(toml::Value::as_table)
        .flatten()
        .collect()
}

#[test]
fn every_crate_opens_by_telling_what_it_is() {
    let mut problems = Vec::new();
    for member in &members() {
        for target in list(member, "targets") {
            let kinds = list(target, "kind");
            if !kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
                continue;
            }
            let path = text(target, "src_path");
            let opening = fs::read_to_string(path).unwrap_or_default();
            if !opening.starts_with("//! ") {
                problems
                    .push(format!("`{}`: {path} does not begin with `//! `", text(member, "name")));
            }
        }
    }

    assert_none(&problems);
}

#[test]
fn the_rules_refuse_what_they_shall() {
    let place = |path: &str| {
        let (layer, name) = path.split_once('/').unwrap_or((path, path));
        Place { name: name.to_owned(), layer: layer.to_owned() }
    };
    let allowed = |user: &str, used: &str, only_in_tests| {
        objection(&place(user), &place(used), only_in_tests).is_none()
    };

    for (user, used) in [
        ("base/meta", "base/types"),
        ("infrastructure/nexus", "infrastructure/geds"),
        ("execution/cells", "infrastructure/s3"),
        ("execution/cells", "execution/shield"),
        ("orchestration/orchestrator", "orchestration/learning"),
        ("cloudskin", "orchestration/dataspace"),
        ("tests", "execution/cells"),
        ("examples/mobility-demo", "orchestration/orchestrator"),
        ("sdk/geds-c", "infrastructure/geds"),
    ] {
        assert!(allowed(user, used, false), "{user} → {used}");
    }
    for (user, used) in [
        ("base/types", "base/api"),
        ("base/meta", "execution/cells"),
        ("base/meta", "base/testkit"),
        ("infrastructure/geds", "infrastructure/streams"),
        ("execution/shield", "execution/cells"),
        ("execution/cells", "orchestration/learning"),
        ("orchestration/orchestrator", "orchestration/functions"),
        ("orchestration/orchestrator", "orchestration/new"),
        ("orchestration/orchestrator", "cloudskin"),
        ("elsewhere/new", "base/types"),
        ("cloudskin", "tests"),
        ("cloudskin", "examples/mobility-demo"),
        ("examples/mobility-demo", "benches"),
        ("cloudskin", "sdk/geds-c"),
        ("sdk/cloudskin-python", "tests"),
    ] {
        assert!(!allowed(user, used, false), "{user} → {used}");
    }
    assert!(allowed("base/meta", "base/testkit", true));
    assert!(allowed("cloudskin", "examples/mobility-demo", true));
}
