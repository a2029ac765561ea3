//! What a live migration keeps.

use crate::{load::Load, world::Continuum};
use std::time::Duration;

#[test]
fn connections_uploads_and_retries_survive_a_migration() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &[]);
    let mut at_site = continuum.http_at("edge", "ledger");
    let mut at_door = continuum.http("ledger");
    let before = at_site.get_as("once", "/clock").unwrap();
    let counted = at_door.get("/sum").unwrap().ok();
    let mut upload = continuum.http_at("edge", "ledger");
    upload.begin("POST", "/add", &[("content-length", "200000")]).unwrap();
    upload.write(&[b'x'; 100_000]).unwrap();

    continuum.migrate("ledger", "cloud").ok();

    // The same connections, to the site that it left and to the local ingress.
    for connection in [&mut at_site, &mut at_door] {
        let answer = connection.get("/sum").unwrap();
        assert_eq!((answer.ok(), answer.header("cloudskin-site")), (counted.clone(), "cloud"));
        let again = connection.get_as("once", "/clock").unwrap();
        assert_eq!(again.body, before.body);
    }
    upload.write(&[b'x'; 100_000]).unwrap();
    let answer = upload.finish().unwrap();
    assert_eq!((answer.status, answer.header("cloudskin-site")), (200, "cloud"));
    let total: u64 = counted.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(answer.text(), (total + 1).to_string());
}

#[test]
fn moving_ten_times_under_load_loses_repeats_and_reorders_nothing() {
    let Some(continuum) = Continuum::up() else { return };
    continuum.serve("ledger", &["resources: {memory: 64Mi}"]);
    continuum.http("ledger").get("/fill/8").unwrap().ok();
    let doors = [continuum.ingress(), continuum.site_ingress("edge")];
    let load = Load::start("ledger", &doors, 3, 1);

    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        continuum.migrate("ledger", ["cloud", "edge"][round % 2]).ok();
    }

    let history = load.stop();
    eprintln!("{}", history.summary());
    history.counts_on(0);
    history.has_one_writer();
    let sum = continuum.http("ledger").get("/sum").unwrap();
    assert_eq!(sum.ok().split(' ').next().unwrap(), history.len().to_string());
    assert_eq!(sum.number("cloudskin-epoch"), 11);
}
