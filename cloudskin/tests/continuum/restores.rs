//! Services that are put back to a snapshot.

use crate::{
    guests,
    world::{Continuum, Process},
};
use std::fs;

#[test]
fn a_service_is_put_back_to_its_snapshot_here_and_at_another_site() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &["checkpointEvery: 100ms", "onSiteLost: restart"]);
    let add = |service: &str| continuum.http(service).get("/add").unwrap();
    for count in 1..=3 {
        assert_eq!(add("ledger").ok(), count.to_string());
    }
    continuum.run("snapshot service/ledger -f three.snap").ok();
    for count in 4..=7 {
        assert_eq!(add("ledger").ok(), count.to_string());
    }

    let said = continuum.run("restore three.snap").ok();

    assert!(said.contains("service/ledger") && said.contains("epoch 2"), "{said}");
    // Not even a crash at once brings back what was before.
    continuum.kill(Process::Worker("edge"));
    let answer = add("ledger");
    let (site, epoch) = (answer.header("cloudskin-site"), answer.number("cloudskin-epoch"));
    assert_eq!((answer.ok().as_str(), site, epoch), ("4", "edge", 2));

    continuum.run("restore three.snap --to service/ledger --site site/cloud").ok();
    let answer = add("ledger");
    assert_eq!((answer.ok().as_str(), answer.header("cloudskin-site")), ("4", "cloud"));
    continuum.kill(Process::Control);
    let ready = continuum.until_ready("ledger");
    assert_eq!(ready["status"]["restored"]["epoch"], ready["status"]["epoch"]);
    let why = continuum.run("why service/ledger").ok();
    assert!(why.contains("restore service/ledger") && why.contains("done"), "{why}");

    // Another service of the same module, which never had so high an epoch.
    continuum.run("snapshot service/ledger -f later.snap").ok();
    continuum.serve("twin", &[]);
    continuum.run("restore later.snap").fails(4, "--to");
    continuum.run("restore later.snap --to service/twin").ok();
    assert_eq!(add("twin").ok(), "5");
}

#[test]
fn what_is_no_snapshot_of_the_service_is_refused_and_the_service_goes_on() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &[]);
    assert_eq!(continuum.http("ledger").get("/add").unwrap().ok(), "1");
    continuum.run("snapshot service/ledger -f one.snap").ok();
    let module = fs::read(continuum.path("ledger.wasm")).unwrap();
    let other = guests::with_memory(&module, 40);
    fs::write(continuum.path("other.wasm"), other).unwrap();
    continuum.apply("other", "other.wasm", &[]).ok();
    continuum.run("wait --for ready service/other").ok();

    continuum.run("restore one.snap --to service/other").fails(2, "of the module `ledger.wasm`");
    let snapshot = fs::read(continuum.path("one.snap")).unwrap();
    for cut in [0, 7, snapshot.len() / 2, snapshot.len() - 1] {
        fs::write(continuum.path("cut.snap"), &snapshot[..cut]).unwrap();
        continuum.run("restore cut.snap --to service/ledger").fails(1, "snapshot");
    }
    let mut bent = snapshot;
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    fs::write(continuum.path("bent.snap"), bent).unwrap();
    continuum.run("restore bent.snap --to service/ledger").fails(1, "damaged");
    continuum.run("restore one.snap --to service/nobody").fails(3, "apply");
    continuum.run("restore one.snap --to site/edge").fails(2, "service");
    continuum.run("restore one.snap --dir . --to service/ledger").fails(2, "--dir");
    continuum.run("restore one.snap --to service/ledger --site nowhere").fails(3, "nowhere");

    let answer = continuum.http("ledger").get("/add").unwrap();
    assert_eq!((answer.ok().as_str(), answer.number("cloudskin-epoch")), ("2", 1));
    continuum.run("delete service/ledger").ok();
    continuum.run("wait --for deleted service/ledger --timeout 10s").ok();
    continuum.run("restore one.snap").fails(3, "apply");
}
