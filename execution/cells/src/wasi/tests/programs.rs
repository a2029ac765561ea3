//! Programs of C and C++ that use the system through their libraries.

use super::{
    host::{compile, run},
    support::{bucket, granted, objects},
};
use crate::wasi::{Config, Grant};
use std::fs;

/// Runs a program that checks itself; it must exit with 0.
fn passes(name: &str, source: &str) {
    let Some(module) = compile(name, source) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    passes_in(name, &module, &[], granted(folder.path(), "/data"));
}

fn passes_in(name: &str, module: &[u8], arguments: &[&str], grant: Grant) {
    let arguments = std::iter::once(&name).chain(arguments).map(|argument| (*argument).to_owned());
    let (arguments, grants) = (arguments.collect(), vec![grant]);
    let ended = run(module, b"", Config { arguments, grants, ..Config::default() });
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{name}: {}", ended.stdout);
}

#[test]
fn library_functions_behave_in_a_bucket() {
    let (_folder, store) = objects();
    for (name, source) in
        [("files.c", include_str!("c/files.c")), ("directories.c", include_str!("c/directories.c"))]
    {
        let Some(module) = compile(name, source) else { return };
        passes_in(name, &module, &["without-links"], bucket(&store, "/data"));
    }
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
