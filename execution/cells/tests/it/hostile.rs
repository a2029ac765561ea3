//! Guests that misbehave: each gets a clear error, and its neighbour notices nothing.

use crate::{
    guests,
    worker::{Worker, service},
};
use cells::worker::protocol::Command;
use std::time::Duration;
use types::ErrorKind;

#[tokio::test]
async fn a_failing_guest_is_told_apart_and_restarts_from_its_checkpoint() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let neighbour = worker.serve(&service(&module, folder.path())).await;
    let cases = [
        ("/trap", ErrorKind::Guest, "aborted"),
        ("/spin", ErrorKind::Timeout, "longer than 300 ms"),
        ("/twice", ErrorKind::Guest, "more was written"),
        ("/flood", ErrorKind::Guest, "declares 4294967280 bytes"),
        ("/exit", ErrorKind::Guest, "exit code 3"),
    ];
    for (path, kind, words) in cases {
        let mut start = service(&module, folder.path());
        start.request_timeout = Duration::from_millis(300);
        let handle = worker.serve(&start).await;
        worker.text(handle, "a", "/add").await;
        worker.command(Command::Checkpoint { uid: start.uid.clone() }).await.unwrap();

        let failure = worker.ask(handle, "bad", path).await.unwrap_err();

        assert_eq!(failure.kind, kind, "{path}: {failure}");
        assert!(failure.message.contains(words), "{path}: {failure}");
        let after = worker.ask(handle, "b", "/add").await.unwrap_err();
        assert_eq!(after.kind, ErrorKind::Unavailable);
        start.incarnation += 1;
        let handle = worker.serve(&start).await;
        assert_eq!(worker.text(handle, "c", "/add").await, "2", "{path}");
        worker.text(neighbour, path, "/add").await;
    }
    assert_eq!(worker.text(neighbour, "last", "/add").await, (cases.len() + 1).to_string());
}

#[tokio::test]
async fn a_guest_that_never_reads_is_given_up() {
    let Some(ledger) = guests::migratable("ledger.c") else { return };
    let Some(deaf) = guests::migratable("deaf.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let neighbour = worker.serve(&service(&ledger, folder.path())).await;
    let mut start = service(&deaf, folder.path());
    start.request_timeout = Duration::from_millis(200);

    let begun = worker.command(Command::Start(Box::new(start)));
    let (failure, answer) = tokio::join!(begun, worker.text(neighbour, "a", "/add"));

    let failure = failure.unwrap_err();
    assert_eq!(failure.kind, ErrorKind::Timeout, "{failure}");
    assert!(failure.message.contains("no request within 200 ms"), "{failure}");
    assert_eq!(answer, "1");
}

#[tokio::test]
async fn a_trap_names_the_guests_functions() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let handle = worker.serve(&service(&module, folder.path())).await;

    let failure = worker.ask(handle, "t", "/trap").await.unwrap_err();

    assert!(failure.message.contains("give_up"), "{failure}");
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_inside_the_guest() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    start.limits.memory_bytes = 8 << 20;
    let handle = worker.serve(&start).await;

    assert_eq!(worker.ask(handle, "f", "/fill/100").await.unwrap().status, 507);
    assert_eq!(worker.text(handle, "a", "/add").await, "1");
}

#[tokio::test]
async fn modules_that_cannot_serve_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let cases = [
        (wat("(module)"), "_start"),
        (wat("(module (import \"env\" \"nope\" (func)) (func (export \"_start\")))"), "env.nope"),
        (
            wat("(module (memory (export \"memory\") 65536) (func (export \"_start\")))"),
            "suspended",
        ),
        (b"\0asm\x0d\0\x01\0".to_vec(), "component"),
        (b"hello".to_vec(), "not a WebAssembly module"),
        (wat("(module (func (export \"_start\")))")[..20].to_vec(), "malformed"),
    ];
    for (bytes, words) in cases {
        let module = folder.path().join(format!("{}.wasm", types::random_id()));
        std::fs::write(&module, bytes).unwrap();
        let start = service(&module, folder.path());

        let failure = worker.command(Command::Start(Box::new(start))).await.unwrap_err();

        assert!(failure.message.contains(words), "wanted {words:?}: {failure}");
    }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn damaged_state_is_refused_and_never_half_restored() {
    let Some(module) = guests::migratable("ledger.c") else { return };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path()).await;
    let mut start = service(&module, folder.path());
    let handle = worker.serve(&start).await;
    worker.text(handle, "a", "/add").await;
    let stop = Command::Stop { uid: start.uid.clone(), checkpoint: true };
    worker.command(stop.clone()).await.unwrap();
    let path = start.state_folder.join("checkpoint");
    let whole = std::fs::read(&path).unwrap();

    for at in [0, 9, 20, 100, whole.len() / 2, whole.len() - 3] {
        let mut bent = whole.clone();
        bent[at] ^= 0x40;
        std::fs::write(&path, &bent).unwrap();
        let failure = worker.command(Command::Start(Box::new(start.clone()))).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Corrupt, "byte {at}: {failure}");
    }
    for size in [0, 15, 16, 30, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..size]).unwrap();
        let failure = worker.command(Command::Start(Box::new(start.clone()))).await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Corrupt, "cut to {size}: {failure}");
    }
    std::fs::write(&path, &whole).unwrap();
    start.incarnation += 1;
    let handle = worker.serve(&start).await;
    assert_eq!(worker.text(handle, "b", "/add").await, "2");
}
