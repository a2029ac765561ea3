//! The repository as files, as Cargo sees it and as git does.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that holds the workspace.
///
/// # Panics
/// If this crate does not lie in the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in the workspace").to_owned()
}

/// A file of the repository as text.
///
/// # Panics
/// If it is not there, naming it.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

/// A file of the repository that is written in TOML.
///
/// # Panics
/// If it is not there or malformed, naming it.
pub fn manifest(path: &str) -> toml::Table {
    read(path).parse().unwrap_or_else(|error| panic!("`{path}`: {error}"))
}

/// What `cargo metadata` says, with these further arguments.
///
/// # Panics
/// If Cargo fails, with what it says.
pub fn cargo_metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version=1", "--locked"]).args(arguments);
    serde_json::from_slice(&output(&mut command)).expect("Cargo writes JSON")
}

/// The text in a field of what Cargo said; empty if there is none.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The list in a field of what Cargo said; empty if there is none.
pub fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

/// Every file that git tracks, relative to the root.
///
/// # Panics
/// If git fails, with what it says.
pub fn tracked_files() -> Vec<String> {
    let listed = output(Command::new("git").args(["ls-files", "-z"]));
    let names = String::from_utf8(listed).expect("files of the repository have plain names");
    names.split_terminator('\0').map(str::to_owned).collect()
}

fn output(command: &mut Command) -> Vec<u8> {
    let done = command.current_dir(root()).output();
    let done = done.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {complaint}");
    done.stdout
}
