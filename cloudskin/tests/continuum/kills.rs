//! kill -9 at random moments, and what must hold after each.

use crate::{
    failures::lost,
    load::{History, Load},
    world::{CONVERGED, Continuum, Process},
};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};
use testkit::{Random, soak_rounds};

/// Rounds in the suite; `CLOUDSKIN_SOAK_ROUNDS` makes it more.
const ROUNDS: u64 = 6;

const VICTIMS: [Process; 6] = [
    Process::Agent("cloud"),
    Process::Agent("edge"),
    Process::Worker("cloud"),
    Process::Worker("edge"),
    Process::Control,
    Process::Supervisor,
];

/// One that must lose nothing; one that may lose a period, and names it; one that is started
/// elsewhere when its site is lost for longer than a lease.
const SERVICES: [(&str, [&str; 3]); 3] = [
    ("journalled", ["durability: journal", "checkpointEvery: 500ms", "onSiteLost: keep"]),
    ("checkpointed", ["durability: checkpoint", "checkpointEvery: 300ms", "onSiteLost: keep"]),
    ("roaming", ["durability: checkpoint", "checkpointEvery: 200ms", "onSiteLost: restart"]),
];

/// How often it is looked at least whether everything is well again.
const LOOKS_MIN: u32 = 100;

/// What one takeover may lose: a second of the two clients that ask every 4 ms.
const TAKEOVER_MAX: u64 = 500;

#[test]
fn killed_at_random_moments_everything_converges_and_keeps_its_promises() {
    let Some(continuum) = Continuum::up() else { return };
    let mut random = Random::printed("kills");
    let rounds = soak_rounds(ROUNDS);
    SERVICES.iter().for_each(|(name, spec)| continuum.serve(name, spec));
    let doors =
        [continuum.ingress(), continuum.site_ingress("edge"), continuum.site_ingress("cloud")];
    let loads = SERVICES.map(|(name, _)| Load::start(name, &doors, 2, 4));
    let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut named = BTreeSet::new();

    std::thread::scope(|scope| {
        let mut own = Random::from_seed(random.next_u64());
        let (continuum, stop, moved) = (&continuum, &stop, &moved);
        let mover = scope.spawn(move || keep_moving(continuum, stop, moved, &mut own));
        // A failed round must also end the one who moves.
        let ending = Stop(stop);
        for round in 0..rounds {
            kill(continuum, &mut random, round);
            let since = Instant::now();
            named.extend(converge(continuum));
            eprintln!("{round}: well after {:?}", since.elapsed());
        }
        drop(ending);
        mover.join().unwrap();
    });

    named.extend(converge(&continuum));
    let histories = loads.map(Load::stop);
    eprintln!("{} moves, {} named as lost", moved.load(Ordering::Relaxed), named.len());
    for ((name, _), history) in SERVICES.iter().zip(&histories) {
        eprintln!("{name}: {}", history.summary());
    }
    named.extend(converge(&continuum));
    check(&continuum, &histories, &named);

    // The stores open, and hold what was promised, once more after an orderly end.
    let data = continuum.data();
    continuum.run_with(&["down", "--data-dir"], &[&data.to_string_lossy()]).ok();
    continuum.start().ok();
    named.extend(converge(&continuum));
    check(&continuum, &histories, &named);
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn check(continuum: &Continuum, histories: &[History; 3], named: &BTreeSet<String>) {
    histories.iter().for_each(History::has_one_writer);
    let [journalled, checkpointed, roaming] = histories;
    journalled.counts_on(0);
    assert_eq!(counter(continuum, "journalled"), journalled.len());
    checkpointed.lost_only(counter(continuum, "checkpointed"), named, 0);
    let takeovers = takeovers(continuum, "roaming");
    roaming.lost_only(counter(continuum, "roaming"), named, takeovers * TAKEOVER_MAX);
}

/// How often a service was started elsewhere because its site was lost.
fn takeovers(continuum: &Continuum, service: &str) -> u64 {
    let decisions = continuum.run("get decisions -o json").json();
    let subject = format!("service/{service}");
    let all = decisions["items"].as_array().into_iter().flatten().map(|decision| &decision["spec"]);
    all.filter(|spec| spec["action"] == "restart" && spec["subject"] == *subject).count() as u64
}

fn counter(continuum: &Continuum, service: &str) -> u64 {
    let sum = continuum.http(service).get("/sum").unwrap().ok();
    sum.split(' ').next().unwrap().parse().unwrap()
}

/// Moves the services to and fro until told to stop. A move may fail while processes die, but only
/// with an error that says so.
fn keep_moving(continuum: &Continuum, stop: &AtomicBool, moved: &AtomicU64, random: &mut Random) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50 + random.below(500)));
        let (service, _) = SERVICES[random.below(3) as usize];
        let site = ["cloud", "edge"][random.below(2) as usize];
        let run = continuum.migrate(service, site);
        let refused = matches!(run.code, Some(1..=8)) && run.err.contains("error:");
        assert!(run.code == Some(0) || refused, "{run}");
        assert!(!run.err.contains("panicked"), "{run}");
        moved.fetch_add(u64::from(run.code == Some(0)), Ordering::Relaxed);
    }
}

/// Kills one process, sometimes two, after a while.
fn kill(continuum: &Continuum, random: &mut Random, round: u64) {
    std::thread::sleep(Duration::from_millis(random.below(900)));
    for _ in 0..1 + u64::from(random.one_in(3)) {
        let victim = VICTIMS[random.below(VICTIMS.len() as u64) as usize];
        let lives = continuum.pid(victim).is_some();
        eprintln!("{round}: kill {victim:?}{}", if lives { "" } else { ", which does not live" });
        if lives {
            continuum.kill(victim);
        }
        std::thread::sleep(Duration::from_millis(random.below(100)));
    }
    if continuum.pid(Process::Supervisor).is_none() {
        std::thread::sleep(Duration::from_millis(random.below(300)));
        continuum.start().ok();
    }
}

/// Waits until everything is well again; returns what was named as lost.
fn converge(continuum: &Continuum) -> BTreeSet<String> {
    let mut last = String::new();
    let started = Instant::now();
    for looks in 0.. {
        let sites = continuum.run("get sites -o json");
        let services = continuum.run("get services -o json");
        if let (Some(0), Some(0)) = (sites.code, services.code) {
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            let (sites, services) = (parse(&sites.out), parse(&services.out));
            let items = |list: &serde_json::Value| list["items"].as_array().unwrap().clone();
            let ready = items(&sites).iter().all(|site| site["status"]["ready"] == true)
                && items(&services).iter().all(|service| {
                    let phase = &service["status"]["phase"];
                    phase == "Ready" || phase == "Migrating"
                });
            if ready && continuum.pid(Process::Supervisor).is_some() {
                return items(&services).iter().flat_map(lost).collect();
            }
        }
        last.clear();
        let state = continuum.run("get services -o wide");
        last += &format!("{}\n{}", continuum.run("get sites"), state);
        // A machine that stood still gave nobody time to get well: the looks count, too.
        let is_over = started.elapsed() > CONVERGED && looks > LOOKS_MIN;
        assert!(!is_over, "not well again: {last}");
        std::thread::sleep(Duration::from_millis(50));
    }
    unreachable!("looks have no end")
}
