//! Programs in C, compiled with the header and linked with the libraries that Cargo built.

use geds::{Config, Geds, Limits, Node};
use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use testkit::Folder;

/// What a program that is linked with the archive needs besides.
const SYSTEM: [&str; 5] = ["-lgcc_s", "-lpthread", "-lm", "-ldl", "-lc"];

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A library that was built with these tests.
fn built(name: &str) -> PathBuf {
    let here = env::current_exe().expect("this program has a path");
    here.parent().expect("it lies in a folder").join(name)
}

/// A folder as the libraries are installed in.
fn installed() -> Folder {
    let folder = Folder::in_memory();
    for name in ["libgeds.so", "libgeds.so.0"] {
        symlink(built("libgeds_c.so"), folder.join(name)).expect("a link is made");
    }
    symlink(built("libgeds_c.a"), folder.join("libgeds.a")).expect("a link is made");
    folder
}

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the program is installed");
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8_lossy(&stdout).into_owned()
}

/// Compiles the program, linked with these arguments.
fn compiled(folder: &Folder, name: &str, link: &[String]) -> PathBuf {
    let program = folder.join(name);
    let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    compiler.args(["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]);
    compiler.arg("-I").arg(source("include")).arg(source("tests/use.c")).arg("-o").arg(&program);
    succeeds(compiler.args(link));
    program
}

fn shared(folder: &Folder) -> PathBuf {
    let path = folder.join("").display().to_string();
    let link = ["-L".to_owned() + &path, "-lgeds".to_owned(), "-Wl,-rpath,".to_owned() + &path];
    compiled(folder, "shared", &link)
}

#[test]
fn a_program_uses_the_shared_library_in_a_store_of_its_own() {
    let folder = installed();
    let said = succeeds(Command::new(shared(&folder)).arg(folder.join("node")));
    assert_eq!(said, "all is well\n");

    let left = Geds::open(Config::alone(folder.join("node"))).expect("nobody uses the store");
    assert_eq!(&*left.view("lab", "kept").expect("it was durable"), b"1");
}

#[test]
fn a_program_uses_the_archive_in_a_store_of_its_own() {
    let folder = installed();
    let mut link = vec![folder.join("libgeds.a").display().to_string()];
    link.extend(SYSTEM.map(str::to_owned));
    let program = compiled(&folder, "static", &link);

    let said = succeeds(Command::new(program).arg(folder.join("node")));
    assert_eq!(said, "all is well\n");
}

#[test]
fn a_program_joins_the_hosts_node() {
    let folder = installed();
    let program = shared(&folder);
    let node = Node::start(folder.join("node")).expect("a node starts");
    let socket = folder.join("lab.sock");
    node.listen("lab", &Limits::default(), &socket).expect("a socket opens");

    let said = succeeds(Command::new(program).arg(&socket));

    assert_eq!(said, "all is well\n");
    let geds = node.geds("lab", &Limits::default()).expect("the tenant is there");
    assert_eq!(&*geds.view("lab", "last").expect("the program made it"), b"1");
    assert_eq!(geds.stat("lab", "together").expect("the program made it").size, 32_000);
}

#[test]
fn the_header_declares_what_the_library_has() {
    let header = fs::read_to_string(source("include/geds.h")).expect("the header is there");
    let declared: BTreeSet<&str> = header
        .lines()
        .filter(|line| line.starts_with("int") || line.starts_with("const char"))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .collect();
    let symbols =
        succeeds(Command::new("nm").args(["-D", "--defined-only"]).arg(built("libgeds_c.so")));
    // Libraries that it is made of may show functions of their own.
    let ours = |name: &&str| name.starts_with("geds_") || declared.contains(name);
    let exported: BTreeSet<&str> =
        symbols.lines().filter_map(|line| line.rsplit(' ').next()).filter(ours).collect();

    assert_eq!(declared, exported);
    assert!(declared.len() > 20, "{declared:?}");
}
