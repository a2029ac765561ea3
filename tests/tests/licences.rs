//! Everything that we link may be passed on under permissive terms.

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use std::collections::{BTreeMap, BTreeSet};
use tests::{cargo_metadata, list, manifest, text};

/// The licences that we accept; `deny.toml` names the same.
const ACCEPTED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Why a package under this licence cannot be used, if so.
fn objection(licence: Option<&str>, accepted: &[Licensee]) -> Option<String> {
    let Some(licence) = licence else { return Some("it names no licence".to_owned()) };
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) => {
            let met = expression
                .evaluate(|wanted| accepted.iter().any(|licensee| licensee.satisfies(wanted)));
            (!met).then(|| format!("`{licence}` is not accepted"))
        }
        Err(error) => Some(format!("`{licence}` is no licence expression: {}", error.reason)),
    }
}

fn accepted() -> Vec<Licensee> {
    let parse = |name| Licensee::parse(name).expect("ACCEPTED holds licences");
    ACCEPTED.into_iter().map(parse).collect()
}

/// What `deny.toml` says at `[table] key`.
fn denied(table: &str, key: &str) -> Vec<String> {
    let settings = manifest("deny.toml");
    let values = settings[table][key].as_array().into_iter().flatten();
    values.filter_map(toml::Value::as_str).map(str::to_owned).collect()
}

#[test]
fn every_dependency_has_an_accepted_licence() {
    let platforms = denied("graph", "targets");
    let arguments: Vec<_> = platforms.iter().flat_map(|name| ["--filter-platform", name]).collect();
    let metadata = cargo_metadata(&arguments);
    let packages: BTreeMap<&str, &Value> =
        list(&metadata, "packages").iter().map(|package| (text(package, "id"), package)).collect();
    let accepted = accepted();

    let reachable = reachable(&metadata);
    let problems: Vec<_> = reachable
        .iter()
        .filter_map(|id| {
            let package = packages[id];
            let reason = objection(package["license"].as_str(), &accepted)?;
            Some(format!("{} {}: {reason}", package["name"], package["version"]))
        })
        .collect();

    assert!(reachable.len() > 100, "Cargo names only {} packages", reachable.len());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// All packages that a member needs, directly or not, on the platforms that we build for.
fn reachable(metadata: &Value) -> BTreeSet<&str> {
    let needs: BTreeMap<&str, &[Value]> = list(&metadata["resolve"], "nodes")
        .iter()
        .map(|node| (text(node, "id"), list(node, "dependencies")))
        .collect();
    let members = list(metadata, "workspace_members");
    let mut open: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            open.extend(needs[id].iter().filter_map(Value::as_str));
        }
    }
    found
}

#[test]
fn deny_toml_accepts_the_same_licences() {
    assert_eq!(denied("licenses", "allow"), ACCEPTED);
}

#[test]
fn expressions_are_understood_as_spdx_has_them() {
    let accepted = accepted();
    let objection = |licence| objection(licence, &accepted);

    for fine in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0-only OR Zlib",
        "(MIT OR GPL-2.0-only) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0-only",
    ] {
        assert_eq!(objection(Some(fine)), None);
    }
    for wrong in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT AND", "LicenseRef-ours", ""] {
        assert!(objection(Some(wrong)).is_some(), "{wrong}");
    }
    assert!(objection(None).is_some());
}
