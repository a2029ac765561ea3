//! The harness, run as quickly as it can.

use std::process::Command;

#[test]
fn a_quick_run_writes_rows_that_judge_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["cells", "--quick", "warm-start", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();

    assert!(run.status.success(), "{run:?}");
    assert!(String::from_utf8_lossy(&run.stdout).contains("cells/warm-start"));
    let report = std::fs::read(folder.path().join("cells.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    assert_eq!(report["machine"]["load_after"].as_array().unwrap().len(), 3);
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["name"], "cells/warm-start");
    assert_eq!(rows[0]["goal"], "<= 10");
    assert_eq!(rows[0]["met"], "inconclusive");
    assert!(rows[0]["value"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_name_that_no_row_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["cells", "--quick", "no-such-row", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();

    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains("no-such-row"));
}
