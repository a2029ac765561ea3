//! Models that sites share through their stores, and a store's limits that a policy sets.

use crate::world::{CONVERGED, Continuum, Process};
use rustix::process::Signal;
use serde_json::Value;
use std::{fmt::Write, fs};
use testkit::wait_until;

/// Three hours of two sites, ten seconds apart.
fn trace() -> String {
    let mut text = "timestamp,site,latency_ms\n".to_owned();
    for at in 0..1080_u32 {
        for (site, name) in ["edge", "cloud"].iter().enumerate() {
            let latency = 60 + (at + 30 * site as u32) % 120 / 4 + at * 7919 % 13;
            writeln!(text, "{},{name},{latency}", 1_700_000_000 + at * 10).unwrap();
        }
    }
    text
}

/// What the control plane says of the model: the version in production, and its condition `Shared`.
fn told(continuum: &Continuum) -> (Value, Value) {
    let run = continuum.run("get model/latency -o json");
    let model: Value = serde_json::from_str(&run.out).unwrap_or_default();
    let facts = model["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let shared = facts.into_iter().find(|fact| fact["type"] == "Shared").unwrap_or_default();
    (model["status"]["production"].clone(), shared)
}

#[test]
fn sites_share_models_and_go_on_with_the_last_one_while_their_store_is_away() {
    const AT: &str = "--catalog geds://lab/models";
    let Some(continuum) = Continuum::up() else { return };
    let data = continuum.data();
    continuum.run_with(&["down", "--data-dir"], &[&data.to_string_lossy()]).ok();
    let up = format!("up -d --loopback {} {AT} --data-dir", continuum.address(0));
    continuum.run_with(&up.split(' ').collect::<Vec<_>>(), &[&data.to_string_lossy()]).ok();
    fs::write(continuum.path("a.csv"), trace()).unwrap();
    // Its home is the cloud.
    continuum.run("geds mb geds://lab --site cloud").ok();
    let train = "train --kind ridge --data a.csv --target latency --horizon 5m";

    continuum.run(&format!("model {train} {AT}")).ok();
    continuum.run(&format!("model promote latency/1 {AT}")).ok();

    wait_until("the control plane uses it", CONVERGED, || {
        let (production, shared) = told(&continuum);
        production == 1 && shared["status"] == true
    });
    let objects = continuum.run("geds ls geds://lab/models/latency/ --site edge").ok();
    assert!(objects.contains("v1") && objects.contains("stages"), "{objects}");

    // Nobody is at its home.
    assert!(continuum.signal(Process::Agent("cloud"), Signal::STOP));
    continuum.kill_store("cloud");
    wait_until("it is told", CONVERGED, || {
        let (production, shared) = told(&continuum);
        production == 1
            && shared["reason"] == "Away"
            && shared["message"].as_str().unwrap().contains("what came last is used")
    });
    let place = format!("{AT} --store {}", data.join("sites/edge/store/default.geds").display());
    let listed = continuum.run(&format!("model ls {place}"));
    assert!(listed.err.contains("what came last is read"), "{listed}");
    assert!(listed.ok().contains("latency/v1"));
    let refused = continuum.run(&format!("model promote latency/1 --force {place}"));
    refused.fails(6, "geds://lab/models");

    assert!(continuum.signal(Process::Agent("cloud"), Signal::CONT));
    wait_until("it is shared again", CONVERGED, || told(&continuum).1["status"] == true);
    continuum.run(&format!("model {train} --seed 2 {AT}")).ok();
    continuum.run(&format!("model promote latency/2 --force {AT}")).ok();
    wait_until("the next one is used", CONVERGED, || told(&continuum).0 == 2);
}

const POLICY: &str = "\
apiVersion: cloudskin.eu/v1alpha1
kind: Policy
metadata: {name: room}
spec:
  service: ledger
  sla: 100ms
  sensors: [{every: 1s}]
  conditions: {go: 'false'}
  actuators:
  - store: {limit: memory, up: 'hour >= 0', min: 64Mi, max: 128Mi, step: 40Mi, coolDown: 1ms}
  - store: {limit: highWater, site: cloud, down: 'hour >= 0', up: 'hour < 0', min: 55, max: 90, step: 20, coolDown: 1ms}
";

#[test]
fn a_policy_sets_what_the_stores_of_sites_may_use() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &[]);
    continuum.run("geds set --memory 64Mi --site edge").ok();
    fs::write(continuum.path("room.yaml"), POLICY).unwrap();
    continuum.run("apply -f room.yaml").ok();

    let limit = |site: &str, name: &str| {
        let usage = continuum.run(&format!("geds usage --site {site} -o json")).json();
        usage.pointer(&format!("/limits/{name}")).and_then(Value::as_u64)
    };
    wait_until("both stores are at their last steps", CONVERGED, || {
        continuum.http("ledger").get("/sum").unwrap().ok();
        limit("edge", "memory_bytes") == Some(128 << 20)
            && limit("cloud", "high_water_percent") == Some(55)
    });
    let why = continuum.run("get decisions -o yaml").ok();
    assert!(why.contains("the store's memory from `104Mi` to `128Mi`"), "{why}");
    assert!(why.contains("the store's high-water mark from `60 %` to `55 %`"), "{why}");
}
