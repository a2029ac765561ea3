//! What dies, and what is promised then.

use crate::{
    http::Http,
    load::Load,
    world::{Continuum, Process},
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The ids that a service's status names as lost.
pub(crate) fn lost(service: &Value) -> BTreeSet<String> {
    let lists = service["status"]["lost"].as_array().into_iter().flatten();
    let ids = lists.flat_map(|lost| lost["requestIds"].as_array().cloned().unwrap_or_default());
    ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

#[test]
fn a_checkpointed_service_names_what_a_crash_has_lost() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &["durability: checkpoint", "checkpointEvery: 1h"]);
    let mut http = continuum.http_at("edge", "ledger");
    let ids: BTreeSet<String> = (0..5).map(|number| format!("id-{number}")).collect();
    for id in &ids {
        http.get_as(id, "/add").unwrap().ok();
    }

    continuum.kill(Process::Worker("edge"));

    // The same connection: the request waits for the new worker.
    let answer = http.get("/add").unwrap();
    assert_eq!((answer.ok().as_str(), answer.number("cloudskin-epoch")), ("1", 1));
    assert_eq!(answer.number("cloudskin-incarnation"), 2);
    let service = continuum.until("ledger", "what was lost is named", |status| {
        status["lost"].as_array().is_some_and(|lost| !lost.is_empty())
    });
    assert_eq!(lost(&service), ids);
    assert_eq!(service["status"]["lost"][0]["count"], 5);
    let described = continuum.run("describe service/ledger").ok();
    assert!(described.contains("5 answered requests") && described.contains("id-4"), "{described}");
}

#[test]
fn a_journalled_service_loses_nothing_and_answers_as_before() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &["durability: journal", "checkpointEvery: 1h"]);
    let mut http = continuum.http_at("edge", "ledger");
    let mut given = Vec::new();
    for (number, path) in ["/add", "/clock", "/add", "/touch/5", "/clock"].iter().enumerate() {
        given.push(http.get_as(&number.to_string(), path).unwrap().ok());
    }
    let sum = http.get("/sum").unwrap().ok();

    for victims in [
        &[Process::Worker("edge")][..],
        &[Process::Agent("edge"), Process::Worker("edge")],
        &[Process::Supervisor, Process::Control, Process::Agent("edge"), Process::Worker("edge")],
    ] {
        victims.iter().for_each(|victim| continuum.kill(*victim));
        if continuum.pid(Process::Supervisor).is_none() {
            continuum.start().ok();
        }
        continuum.until_ready("ledger");
        let mut http = continuum.http_at("edge", "ledger");
        for (number, before) in given.iter().enumerate() {
            assert_eq!(http.get_as(&number.to_string(), "/add").unwrap().ok(), *before);
        }
        assert_eq!(http.get("/sum").unwrap().ok(), sum);
        assert_eq!(lost(&continuum.service("ledger")), BTreeSet::new());
    }
}

#[test]
fn a_lost_sites_service_is_restarted_and_its_old_site_never_answers_again() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve(
        "ledger",
        &["durability: checkpoint", "checkpointEvery: 100ms", "onSiteLost: restart"],
    );
    let doors = [continuum.site_ingress("edge"), continuum.site_ingress("cloud")];
    let load = Load::start("ledger", &doors, 2, 2);
    std::thread::sleep(Duration::from_millis(1500));
    // Asked while the site is cut off, read by it only when it is back.
    let mut late = Http::connect(doors[0], "ledger.localhost").unwrap();

    let cut_off = [Process::Agent("edge"), Process::Worker("edge")];
    cut_off.iter().for_each(|process| assert!(continuum.signal(*process, Signal::STOP)));
    let since = Instant::now();
    late.begin("GET", "/add", &[("cloudskin-request-id", "late")]).unwrap();
    let service = continuum.until("ledger", "another site serves it", |status| {
        status["site"] == "cloud" && status["phase"] == "Ready"
    });
    let after = since.elapsed();
    assert_eq!(service["status"]["epoch"], 2);
    // Not before the lease, which the last beat began up to a second ago, and the margin.
    assert!(after > Duration::from_millis(2900), "after {after:?}");
    continuum.http_at("cloud", "ledger").get("/sum").unwrap().ok();
    cut_off.iter().for_each(|process| assert!(continuum.signal(*process, Signal::CONT)));
    let answer = late.finish().unwrap();
    assert!(answer.status != 200 || answer.number("cloudskin-epoch") == 2, "{answer:?}");
    let edge = || continuum.http_at("edge", "ledger").get("/sum").unwrap();
    testkit::wait_until("the old site has dropped it", Duration::from_secs(10), || {
        let answer = edge();
        answer.status == 404 || answer.header("cloudskin-epoch") == "2"
    });

    let history = load.stop();
    eprintln!("{}", history.summary());
    history.has_one_writer();
    let sum = continuum.http_at("cloud", "ledger").get("/sum").unwrap().ok();
    let counter: u64 = sum.split(' ').next().unwrap().parse().unwrap();
    let late = u64::from(answer.status == 200);
    // A period, and the time that a checkpoint takes to the other site.
    history.lost_only_since(counter - late, 1, since - Duration::from_millis(600));
    let why = continuum.run("why service/ledger").ok();
    assert!(why.contains("restart service/ledger") && why.contains("lease"), "{why}");
}

#[test]
fn what_a_lost_site_had_answered_is_named_once_it_is_back() {
    let Some(continuum) = Continuum::up() else { return };
    let services = ["checkpoint", "journal"];
    let ids = |service: &str| -> BTreeSet<String> {
        (0..5).map(|number| format!("{service}-{number}")).collect()
    };
    for service in services {
        let durability = format!("durability: {service}");
        continuum.serve(service, &[&durability, "checkpointEvery: 1h", "onSiteLost: restart"]);
        let mut http = continuum.http_at("edge", service);
        for id in ids(service) {
            http.get_as(&id, "/add").unwrap().ok();
        }
    }

    let cut_off = [Process::Agent("edge"), Process::Worker("edge")];
    cut_off.iter().for_each(|process| assert!(continuum.signal(*process, Signal::STOP)));
    for service in services {
        continuum.until(service, "another site serves it", |status| {
            status["site"] == "cloud" && status["phase"] == "Ready"
        });
        assert_eq!(lost(&continuum.service(service)), BTreeSet::new());
    }
    cut_off.iter().for_each(|process| assert!(continuum.signal(*process, Signal::CONT)));

    for service in services {
        let named = continuum.until(service, "what was lost is named", |status| {
            status["lost"].as_array().is_some_and(|lost| !lost.is_empty())
        });
        assert_eq!(lost(&named), ids(service));
        assert_eq!(named["status"]["lost"][0]["epoch"], 1);
        assert_eq!(continuum.http_at("cloud", service).get("/add").unwrap().ok(), "1");
    }
}

#[test]
fn a_kept_service_is_answered_without_its_control_plane_and_a_restartable_one_is_not() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("kept", &["onSiteLost: keep"]);
    continuum.serve("bound", &["onSiteLost: restart"]);
    assert!(continuum.signal(Process::Control, Signal::STOP));

    testkit::wait_until("the lease has run out", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(50));
        continuum.http_at("edge", "bound").get("/add").unwrap().status == 503
    });
    assert_eq!(continuum.http_at("edge", "kept").get("/add").unwrap().ok(), "1");
    // A worker that dies meanwhile is started again without the control plane.
    continuum.kill(Process::Worker("edge"));
    continuum.http_at("edge", "kept").get("/add").unwrap().ok();
    let refused = continuum.http_at("edge", "bound").get("/add").unwrap();
    assert!(refused.status == 503 && refused.text().contains("lease"), "{}", refused.text());

    assert!(continuum.signal(Process::Control, Signal::CONT));
    for service in ["kept", "bound"] {
        continuum.until_ready(service);
        continuum.http_at("edge", service).get("/add").unwrap().ok();
        assert_eq!(continuum.service(service)["status"]["epoch"], 1);
    }
}
