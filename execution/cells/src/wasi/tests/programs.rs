//! Programs of C and C++ that use the system through their libraries.

use super::{
    host::{compile, run},
    support::granted,
};
use crate::wasi::Config;
use std::fs;

/// Runs a program that checks itself; it must exit with 0.
fn passes(name: &str, source: &str) {
    let Some(module) = compile(name, source) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        arguments: vec![name.to_owned()],
        grants: vec![granted(folder.path(), "/data")],
        ..Config::default()
    };
    let ended = run(&module, b"", config);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name}: {}", ended.stdout);
}

#[test]
fn iostream_reads_arguments_variables_and_input() {
    let Some(module) = compile("hello.cpp", include_str!("c/hello.cpp")) else { return };
    let config = Config {
        arguments: vec!["hello".to_owned(), "wörld".to_owned()],
        variables: vec![("GREETING".to_owned(), "hej".to_owned())],
        ..Config::default()
    };

    let ended = run(&module, b"first line\nsecond", config);

    assert_eq!(ended.stdout, "hej wörld: [first line][second]\n");
    assert_eq!((ended.code, ended.stderr.as_str()), (7, "done\n"));
}

#[test]
fn library_functions_behave() {
    passes("files.c", include_str!("c/files.c"));
    passes("directories.c", include_str!("c/directories.c"));
    passes("time.c", include_str!("c/time.c"));
    passes("raw.c", include_str!("c/raw.c"));
}

#[test]
fn a_program_sees_no_folder_it_was_not_granted() {
    let source = "#include <stdio.h>\nint main(void){return fopen(\"/etc/passwd\",\"r\")!=0;}";
    let Some(module) = compile("none.c", source) else { return };

    assert_eq!(run(&module, b"", Config::default()).code, 0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("passwd"), "x").expect("a file is written");
    let config = Config { grants: vec![granted(folder.path(), "/data")], ..Config::default() };
    assert_eq!(run(&module, b"", config).code, 0);
}
