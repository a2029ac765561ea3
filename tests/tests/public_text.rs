//! What the repository says to strangers: nothing of the machines it was made on, and no promise
//! that nothing enforces.

use std::{collections::BTreeSet, fs};
use tests::{read, root, tracked_files};

/// Folders under which people and build machines keep their checkouts.
const PRIVATE: [&str; 5] = ["root", "home", "work", "Users", "builds"];

/// Made-up folders in tests and documents.
const MADE_UP: [&str; 3] = ["/home/a", "/home/u", "/work/inc"];

/// The first absolute path in `bytes` that belongs to one machine: its first two parts.
fn private_path(bytes: &[u8]) -> Option<String> {
    let in_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let in_path = |byte: &u8| in_name(byte) || b"/}".contains(byte);
    let starts =
        (0..bytes.len()).filter(|&at| bytes[at] == b'/' && (at == 0 || !in_path(&bytes[at - 1])));
    let mut private = starts.filter_map(|at| {
        let mut parts = bytes[at + 1..].splitn(3, |byte| *byte == b'/');
        let first = parts.next()?;
        let folder = PRIVATE.iter().find(|folder| folder.as_bytes() == first)?;
        let name = parts.next()?.split(|byte| !in_name(byte)).next()?;
        Some(format!("/{folder}/{}", String::from_utf8_lossy(name)))
    });
    private.find(|path| !path.ends_with('/') && !MADE_UP.contains(&path.as_str()))
}

#[test]
fn no_file_names_a_folder_of_a_build_machine() {
    let root = root();
    let here = root.to_string_lossy();
    let mut problems = Vec::new();
    let files = tracked_files();
    for file in &files {
        // A file that was removed but not committed yet, or a link to nowhere.
        let Ok(bytes) = fs::read(root.join(file)) else { continue };
        let own = String::from_utf8_lossy(&bytes).contains(&*here).then(|| here.to_string());
        if let Some(path) = own.or_else(|| private_path(&bytes)) {
            problems.push(format!("{file}: {path}"));
        }
    }

    assert!(files.len() > 100, "git names only {} files", files.len());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn private_paths_are_told_from_others() {
    let path = |folder: &str| format!("see '/{folder}' there");

    for private in ["root/.cargo", "home/jane/x", "work/main/a.rs", "Users/jane", "builds/1/x"] {
        let found = private_path(path(private).as_bytes());
        let parts: Vec<_> = private.splitn(3, '/').collect();
        assert_eq!(found, Some(format!("/{}/{}", parts[0], parts[1])));
    }
    for public in ["home", "usr/home/x", "work/inc", "home/u/project", "roots/x", "root/"] {
        assert_eq!(private_path(path(public).as_bytes()), None, "{public}");
    }
    assert_eq!(private_path(b"$HOME/work/x ./work/x a/root/x"), None);
}

/// A row of a table of promises.
#[derive(Debug)]
struct Promise {
    id: String,
    /// What enforces it, as written.
    enforced: String,
}

/// The rows of all tables whose last column is `enforced by`.
fn promises(text: &str) -> Vec<Promise> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        let Some(inner) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<_> = inner.split('|').map(str::trim).collect();
        let (first, last) = (cells[0], cells[cells.len() - 1]);
        let ruler = first.starts_with("--");
        if in_table && !ruler {
            rows.push(Promise { id: first.to_owned(), enforced: last.to_owned() });
        }
        in_table |= last == "enforced by";
    }
    rows
}

/// Why nothing enforces this promise, if so. What enforces it is a test (`file::test`, which JavaScript names by a sentence) or a row of
/// a benchmark (`bench area/row`); a promise that is not kept yet begins with "not yet".
fn objection(promise: &Promise, benches: &str) -> Option<String> {
    if promise.enforced.starts_with("not yet") {
        return None;
    }
    let names: Vec<_> = promise.enforced.split('`').skip(1).step_by(2).collect();
    if names.is_empty() {
        return Some("it names neither a test nor a row of a benchmark".to_owned());
    }
    names.into_iter().find_map(|name| missing(name, benches))
}

fn missing(name: &str, benches: &str) -> Option<String> {
    if let Some(row) = name.strip_prefix("bench ") {
        let found = benches.contains(&format!("\"{row}\""));
        return (!found).then(|| format!("no benchmark has the row `{row}`"));
    }
    let Some((file, test)) = name.rsplit_once("::") else {
        return Some(format!("`{name}` is neither `file::test` nor `bench area/row`"));
    };
    let Ok(source) = fs::read_to_string(root().join(file)) else {
        return Some(format!("there is no file `{file}`"));
    };
    let named = match file.rsplit_once('.') {
        Some((_, "py")) => format!("def {test}("),
        Some((_, "mjs")) => format!("test(\"{test}\""),
        _ => format!("fn {test}("),
    };
    let found = source.contains(&named);
    (!found).then(|| format!("`{file}` has no test `{test}`"))
}

/// All sources of benchmarks, one after another.
fn benches() -> String {
    let files = tracked_files();
    let sources = files.iter().filter(|file| file.starts_with("benches/") && file.ends_with(".rs"));
    sources.map(|file| fs::read_to_string(root().join(file)).unwrap_or_default()).collect()
}

#[test]
fn every_promise_names_what_enforces_it() {
    let promises = promises(&read("SPECIFICATION.md"));
    let benches = benches();
    let problems: Vec<_> = promises
        .iter()
        .filter_map(|promise| Some(format!("{}: {}", promise.id, objection(promise, &benches)?)))
        .collect();

    assert!(promises.len() > 50, "only {} promises were found", promises.len());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_promise_has_a_name_of_its_own_and_no_kpi_is_missing() {
    let promises = promises(&read("SPECIFICATION.md"));
    let mut names = BTreeSet::new();

    let twice: Vec<_> = promises.iter().filter(|promise| !names.insert(&promise.id)).collect();
    let missing: Vec<_> =
        (1..=14).map(|n| format!("KPI{n}")).filter(|kpi| !names.contains(kpi)).collect();

    assert!(twice.is_empty(), "{twice:?}");
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_promise_without_a_test_is_noticed() {
    let table = "
| id | promise | enforced by |
|---|---|---|
| A1 | kept | `tests/tests/public_text.rs::a_promise_without_a_test_is_noticed` |
| A2 | measured | `bench cells/row` |
| A3 | planned | not yet measured: `bench cells/other` |
| B1 | without anything | by hand |
| B2 | without its test | `tests/tests/public_text.rs::no_such_test` |
| B3 | without its file | `tests/tests/nowhere.rs::test` |
| B4 | without its row | `bench cells/other` |

| id | other table |
|---|---|
| C1 | not a promise |
";
    let promises = promises(table);
    let objections =
        promises.iter().filter(|promise| objection(promise, "name: \"cells/row\"").is_some());

    assert_eq!(promises.len(), 7, "{promises:?}");
    let names: Vec<_> = objections.map(|promise| promise.id.as_str()).collect();
    assert_eq!(names, ["B1", "B2", "B3", "B4"]);
}
