//! From `apply` to `down`.

use crate::{
    guests,
    world::{CONVERGED, Continuum, Process, manifest},
};
use std::{fs, process::Stdio};
use testkit::wait_until;

#[test]
fn a_service_is_applied_reached_described_and_deleted() {
    let Some(continuum) = Continuum::up() else { return };
    let spec = ["durability: checkpoint", "checkpointEvery: 100ms"];

    assert!(continuum.apply("ledger", "ledger.wasm", &spec).ok().contains("created"));
    assert!(continuum.apply("ledger", "ledger.wasm", &spec).ok().contains("unchanged"));
    continuum.run("wait --for ready service/ledger").ok();
    assert_eq!(continuum.run("diff -f ledger.yaml").code, Some(0));
    let changed = manifest("ledger", "ledger.wasm", &["maxBody: 1Mi"]);
    fs::write(continuum.path("changed.yaml"), changed).unwrap();
    let diff = continuum.run("diff -f changed.yaml");
    assert!(diff.code == Some(1) && diff.out.contains("maxBody"), "{diff}");
    let dry = continuum.run("apply --dry-run -f changed.yaml").ok();
    assert!(dry.contains("configured (dry run)"), "{dry}");

    let answer = continuum.http("ledger").get("/add").unwrap();
    assert_eq!((answer.ok().as_str(), answer.header("cloudskin-site")), ("1", "edge"));
    continuum.http("ledger").get("/say").unwrap().ok();
    assert!(continuum.run("logs service/ledger").ok().contains("somebody asked"));
    continuum.migrate("ledger", "cloud").ok();
    let why = continuum.run("why service/ledger").ok();
    assert!(why.contains("migrate service/ledger") && why.contains("done"), "{why}");
    assert!(why.contains("place service/ledger"), "{why}");
    let described = continuum.run("describe service/ledger").ok();
    assert!(described.contains("cloud") && described.contains("Ready"), "{described}");
    let answer = continuum.http("ledger").get("/add").unwrap();
    assert_eq!((answer.ok().as_str(), answer.header("cloudskin-site")), ("2", "cloud"));

    continuum.run("delete service/ledger").ok();
    continuum.run("wait --for deleted service/ledger --timeout 10s").ok();
    assert_eq!(continuum.http("ledger").get("/add").unwrap().status, 404);
    continuum.run("get service/ledger").fails(3, "ledger");
}

#[test]
fn programs_run_at_sites_and_snapshots_go_on_elsewhere() {
    let Some(continuum) = Continuum::up() else { return };
    let Some(steps) = guests::migratable("steps") else { return };
    fs::copy(steps, continuum.path("steps.wasm")).unwrap();
    let whole = continuum.run("run --site edge --name whole steps.wasm 5");
    assert!(whole.code == Some(7) && whole.out.ends_with("step 1\nsum 15\n"), "{whole}");
    continuum.run("wait --for exited cell/whole --timeout 10s").ok();
    assert_eq!(continuum.run("logs cell/whole").ok(), whole.out);

    // A snapshot of a running one goes on here, there, and under the other engine.
    let mut running =
        continuum.command(&["run", "--site", "edge", "--name", "part"], &["steps.wasm", "60"]);
    let mut running = running.stdout(Stdio::null()).spawn().unwrap();
    wait_until("it has begun", CONVERGED, || {
        continuum.run("logs cell/part").out.contains("step 58")
    });
    continuum.run("snapshot cell/part -f part.snapshot").ok();
    continuum.run("snapshot cell/part -f part.snapshot").fails(4, "--force");
    for how in ["", "--engine pulley", "--site cloud"] {
        let run = continuum.run(&format!("restore {how} part.snapshot steps.wasm"));
        assert!(run.code == Some(7) && run.out.ends_with("step 1\nsum 1830\n"), "{how}: {run}");
        assert!(!run.out.contains("step 60"), "{how}: {run}");
    }
    running.wait().unwrap();
    let snapshot = fs::read(continuum.path("part.snapshot")).unwrap();
    for cut in [0, 7, snapshot.len() / 2, snapshot.len() - 1] {
        fs::write(continuum.path("cut.snapshot"), &snapshot[..cut]).unwrap();
        continuum.run("restore cut.snapshot steps.wasm").fails(1, "snapshot");
    }
    continuum.run("restore part.snapshot ledger.wasm").fails(1, "snapshot");

    continuum.serve("ledger", &[]);
    continuum.run("snapshot service/ledger -f service.snapshot").ok();
    continuum.run("restore service.snapshot ledger.wasm").fails(1, "it is restored by its site");
    continuum.run("run --site nowhere ledger.wasm").fails(2, "nowhere");
}

#[test]
fn down_leaves_no_process_and_the_next_up_goes_on() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("kept", &["durability: journal", "checkpointEvery: 1h"]);
    continuum.serve("saved", &["durability: checkpoint", "checkpointEvery: 1h"]);
    let first = continuum.http("kept").get_as("one", "/clock").unwrap();
    for service in ["kept", "saved"] {
        continuum.http(service).get("/add").unwrap().ok();
    }
    let said = continuum.start();
    assert!(said.code == Some(0) && said.err.contains("up already"), "{said}");
    assert!(continuum.processes().len() >= 5);

    let data = continuum.data();
    let down = continuum.run_with(&["down", "--data-dir"], &[&data.to_string_lossy()]);
    assert!(down.ok().contains("ended"));
    assert_eq!(continuum.processes(), Vec::<i32>::new());
    continuum.start().ok();

    for service in ["kept", "saved"] {
        continuum.until_ready(service);
    }
    assert_eq!(continuum.http("saved").get("/add").unwrap().ok(), "2");
    let again = continuum.http("kept").get_as("one", "/clock").unwrap();
    assert_eq!(again.ok(), first.ok());
    assert!(continuum.service("saved")["status"]["lost"].as_array().is_none_or(Vec::is_empty));

    // Without its supervisor everything goes on, and `down` ends it all the same.
    continuum.kill(Process::Supervisor);
    continuum.http_at("edge", "saved").get("/add").unwrap().ok();
    continuum.kill(Process::Agent("edge"));
    let down = continuum.run_with(&["down", "--data-dir"], &[&data.to_string_lossy()]).ok();
    assert!(down.contains("control") && down.contains("worker"), "{down}");
    assert_eq!(continuum.processes(), Vec::<i32>::new());
}
