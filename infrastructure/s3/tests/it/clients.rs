//! Real clients. What they need is said in the folder `tests/clients`.

use crate::server::Server;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
}

#[test]
fn boto3_does_what_it_does_with_amazon() {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("s3-clients");
    succeeds(Command::new(file("prepare.sh")).arg(&python));
    let server = Server::start();

    let mut suite = Command::new(python.join("bin/python"));
    suite.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("AWS_CA_BUNDLE").env_remove("AWS_PROFILE");
    succeeds(suite.arg(file("boto3_suite")).arg(format!("http://{}", server.address)));
}

#[test]
fn s3cmd_does_what_it_does_with_amazon() {
    let server = Server::start();

    succeeds(Command::new(file("s3cmd.sh")).arg(server.address.to_string()));
}

#[test]
fn rclone_does_what_it_does_with_amazon() {
    let server = Server::start();

    succeeds(Command::new(file("rclone.sh")).arg(server.address.to_string()));
}
