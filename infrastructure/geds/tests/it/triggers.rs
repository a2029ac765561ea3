//! Modules that are run for objects, with something else in place of modules.

use crate::rig::{Host, LONG, Process};
use geds::{
    Attributes, Config, Error, Geds, Limits, Put,
    trigger::{
        Claim, Counts, Definition, Events, Execute, HOPS, Job, Outcome, Runner, Stop, TRIGGERS,
        Trigger, Triggers,
        record::{Ended, HOPS_MAX},
    },
};
use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use testkit::{Folder, Random, wait_until};
use types::Digest;

const LEASE: Duration = Duration::from_millis(500);

fn limits() -> Limits {
    Limits { memory_bytes: 64 << 20, ..Limits::default() }
}

/// Runs on what happens below `in/`.
fn definition(name: &str, on: Events) -> Definition {
    Definition {
        name: name.to_owned(),
        bucket: "lab".to_owned(),
        prefix: "in/".to_owned(),
        on,
        existing: false,
        module_name: "module.wasm".to_owned(),
        module: Digest::from_sha256([7; 32]),
        args: Vec::new(),
        env: Vec::new(),
        dirs: Vec::new(),
        memory_bytes: 1 << 20,
        timeout_ms: 1000,
        attempts: 2,
        pause_ms: 1,
        at_once: 2,
    }
}

fn sealed() -> Events {
    Events { sealed: true, ..Events::default() }
}

fn put(geds: &Geds, key: &str) {
    geds.put("lab", key, key.as_bytes(), Put::overwrite().durable()).unwrap();
}

fn lab(geds: &Geds) -> Triggers {
    geds.create_bucket("lab").unwrap();
    Triggers::of(geds.clone())
}

/// Key, event and attempt of what was run.
type Run = (String, &'static str, u32);

/// Writes down what it was run for; fails for keys with `bad` in them.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<Run>>>);

impl Execute for Told {
    fn run(&self, _: &Trigger, job: &Job, _: &Stop) -> Outcome {
        self.0.lock().unwrap().push((job.key.clone(), job.event.name(), job.attempt));
        let bad = job.key.contains("bad");
        let ended = if bad { Ended::Badly } else { Ended::Well };
        Outcome { ended, said: format!("exit code 3\nof {}", job.key) }
    }
}

impl Told {
    fn sorted(&self) -> Vec<Run> {
        let mut all = self.0.lock().unwrap().clone();
        all.sort();
        all
    }
}

/// A runner in this process, until it is dropped.
struct Working(Stop, Option<thread::JoinHandle<()>>);

fn work(triggers: &Triggers, execute: impl Execute) -> Working {
    let stop = Stop::default();
    let (runner, own) = (Runner::new(triggers.clone(), execute, LEASE), stop.clone());
    Working(stop, Some(thread::spawn(move || runner.run(&own))))
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.stop();
        self.1.take().map(|thread| thread.join());
    }
}

#[test]
fn what_was_sealed_while_nobody_listened_is_found_and_each_version_is_run_once() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    put(&geds, "in/before");
    put(&geds, "in/both");
    let trigger = triggers.add(definition("one", sealed()), b"\0asm").unwrap();
    put(&geds, "in/both");
    put(&geds, "in/a");
    put(&geds, "in/bad");
    put(&geds, "elsewhere");
    geds.make_folder("lab", "in/folder").unwrap();
    assert_eq!(triggers.counts(&trigger).unwrap().pending, 3);

    let told = Told::default();
    let working = work(&triggers, told.clone());
    let done = |dead, done| {
        let wanted = Counts { dead, done, ..Counts::default() };
        wait_until("all is done", LONG, || triggers.counts(&trigger).unwrap() == wanted);
    };
    done(1, 2);
    let run = |key: &str, attempt| (key.to_owned(), "sealed", attempt);
    let first = [run("in/a", 1), run("in/bad", 1), run("in/bad", 2), run("in/both", 1)];
    assert_eq!(told.sorted(), first);
    let letters = triggers.dead(&trigger).unwrap();
    assert_eq!((letters[0].key.as_str(), letters[0].attempts), ("in/bad", 2));
    assert!(letters[0].said.contains("exit code 3\nof in/bad"), "{letters:?}");

    // While it listens; and what had failed for good is another task when it is sealed again.
    put(&geds, "in/c");
    done(1, 3);
    assert_eq!(triggers.retry(&trigger, None).unwrap(), 1);
    wait_until("it is tried again", LONG, || told.sorted().len() == 7);
    done(1, 3);
    assert!(matches!(triggers.retry(&trigger, Some("in/a")), Err(Error::NoObject { .. })));
    geds.delete("lab", "in/bad", None).unwrap();
    done(0, 3);
    drop(working);

    // Nothing is run again by another runner.
    let _working = work(&triggers, told.clone());
    put(&geds, "in/d");
    done(0, 4);
    assert_eq!(told.sorted().len(), 8);
}

#[test]
fn names_that_come_and_go_are_run_for() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    put(&geds, "in/old");
    put(&geds, "in/kept");
    let on = Events { created: true, deleted: true, sealed: false };
    let trigger = triggers.add(definition("names", on), b"").unwrap();
    // Nobody listens: what was there is known all the same.
    geds.delete("lab", "in/old", None).unwrap();
    put(&geds, "in/new");
    put(&geds, "in/kept");

    let told = Told::default();
    let _working = work(&triggers, told.clone());
    let run = |key: &str, event: &'static str| (key.to_owned(), event, 1);
    let wanted = vec![run("in/new", "created"), run("in/old", "deleted")];
    wait_until("both are run", LONG, || told.sorted() == wanted);
    wait_until("that is known", LONG, || triggers.counts(&trigger).unwrap().pending == 0);
    geds.rename("lab", "in/new", "in/newer", Put::default()).unwrap();
    let wanted = vec![
        run("in/new", "created"),
        run("in/new", "deleted"),
        run("in/newer", "created"),
        run("in/old", "deleted"),
    ];
    wait_until("a rename is both", LONG, || told.sorted() == wanted);
}

#[test]
fn a_late_finish_of_an_old_lease_is_refused() {
    let host = Host::new(limits());
    let (geds, other) = (host.geds(), host.join());
    let triggers = lab(&geds);
    let trigger = triggers.add(definition("one", sealed()), b"").unwrap();
    put(&geds, "in/a");
    let others = Triggers::of(other);
    let claim = |triggers: &Triggers, lease| match triggers.claim(&trigger, "in/a", lease) {
        Ok(Claim::Yours(job)) => job,
        other => panic!("{other:?} is no claim"),
    };

    let first = claim(&triggers, 1);
    let mut second = None;
    wait_until("the lease is over", LONG, || {
        second = Some(others.claim(&trigger, "in/a", 60_000).unwrap());
        matches!(second, Some(Claim::Yours(_)))
    });
    let Some(Claim::Yours(second)) = second else { panic!() };
    assert!(second.fence > first.fence && second.attempt == 2);
    assert!(matches!(triggers.claim(&trigger, "in/a", 1), Ok(Claim::Later(_))));
    assert!(!triggers.renew(&trigger, &first, 60_000).unwrap());
    assert!(!triggers.finish(&trigger, &first, Ended::Well, "").unwrap());
    assert_eq!(triggers.counts(&trigger).unwrap().running, 1);
    assert!(others.renew(&trigger, &second, 60_000).unwrap());
    assert!(others.finish(&trigger, &second, Ended::Well, "").unwrap());
    assert!(!others.finish(&trigger, &second, Ended::Well, "").unwrap(), "it is finished once");
    assert!(matches!(others.claim(&trigger, "in/a", 1), Ok(Claim::Nothing)));

    // Of a trigger that was removed nothing can be finished, and one of its name knows nothing of it.
    put(&geds, "in/a");
    let third = claim(&triggers, 60_000);
    triggers.remove("one").unwrap();
    assert!(!triggers.finish(&trigger, &third, Ended::Well, "").unwrap());
    assert!(matches!(triggers.remove("one"), Err(Error::NoTrigger { .. })));
    triggers.add(definition("one", sealed()), b"").unwrap();
    let again = triggers.add(definition("one", sealed()), b"");
    assert!(matches!(again, Err(Error::TriggerExists { .. })), "{again:?}");
}

#[test]
fn objects_that_triggers_made_one_after_the_other_end_among_the_dead_letters() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    let trigger = triggers.add(definition("one", sealed()), b"").unwrap();
    let made = |hops: u8| {
        let mark = Attributes::new().with(HOPS, hops.to_string());
        let key = format!("in/{hops}");
        geds.put("lab", &key, b"", Put::default().attributes(mark)).unwrap();
        triggers.claim(&trigger, &key, 1000).unwrap()
    };
    assert!(matches!(made(HOPS_MAX - 1), Claim::Yours(job) if job.hops == HOPS_MAX - 1));
    assert_eq!(made(HOPS_MAX), Claim::Nothing);
    let letters = triggers.dead(&trigger).unwrap();
    assert!(letters[0].said.contains("8 triggers in a row"), "{letters:?}");
    triggers.retry(&trigger, Some(&format!("in/{HOPS_MAX}"))).unwrap();
    let again = triggers.claim(&trigger, &format!("in/{HOPS_MAX}"), 1000).unwrap();
    assert!(matches!(again, Claim::Yours(_)), "who looked at it may let it go on");
}

#[test]
fn a_look_goes_over_many_names_and_whatever_lies_in_the_records() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    let all = definition("all", Events { sealed: true, deleted: true, created: false });
    geds.put("lab", "in/0000", b"", Put::default()).unwrap();
    let trigger = triggers.add(Definition { existing: true, ..all }, b"").unwrap();
    let key = |number: usize| format!("in/{number:04}");
    for number in 1..2300 {
        geds.put("lab", &key(number), b"", Put::default()).unwrap();
    }
    // Of some it is known, one is damaged, and some are gone.
    let gone = [100, 2250];
    let mut done = 0;
    for number in (0..2300).step_by(50) {
        let Claim::Yours(job) = triggers.claim(&trigger, &key(number), 60_000).unwrap() else {
            panic!("{number} was not claimed")
        };
        triggers.finish(&trigger, &job, Ended::Well, "").unwrap();
        done += 1;
    }
    for number in gone {
        geds.delete("lab", &key(number), None).unwrap();
    }
    let damaged = format!("job/{}/{}", trigger.id, key(51));
    geds.put(TRIGGERS, &damaged, b"", Put::default()).unwrap();
    geds.put(TRIGGERS, "def/strange", b"\x01\x00\xff", Put::default()).unwrap();
    let long = format!("in/{}", "k".repeat(1020));
    geds.put("lab", &long, b"", Put::default()).unwrap();

    let (mut due, mut skipped, mut pages, mut after) = (Vec::new(), 0, 0, None);
    loop {
        let look = triggers.look(&trigger, after.as_deref()).unwrap();
        due.extend(look.due);
        (skipped, pages, after) = (skipped + look.skipped, pages + 1, look.next);
        if after.is_none() {
            break;
        }
    }
    let open =
        |number: &usize| (!number.is_multiple_of(50) || gone.contains(number)) && *number != 51;
    let wanted: Vec<String> = (0..2300).filter(open).map(key).collect();
    assert_eq!(due, wanted);
    assert!(pages >= 3 && skipped == 1, "{pages} pages, {skipped} skipped");
    let counts = triggers.counts(&trigger).unwrap();
    assert_eq!((counts.done, counts.pending), (done - 2, wanted.len() as u64));
    assert!(matches!(triggers.claim(&trigger, &key(51), 1), Err(Error::Corrupt { .. })));
    assert_eq!(triggers.claim(&trigger, &long, 1).unwrap(), Claim::Nothing);
    assert_eq!(triggers.list().unwrap(), [trigger]);
    assert!(matches!(triggers.named("strange"), Err(Error::Corrupt { .. })));
}

#[test]
fn what_cannot_be_a_trigger_is_refused() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    assert!(triggers.list().unwrap().is_empty());
    let good = || definition("one", sealed());
    for bad in [
        definition("Name", sealed()),
        definition("one", Events::default()),
        Definition { attempts: 0, ..good() },
        Definition { at_once: 100_000, ..good() },
        Definition { timeout_ms: 0, ..good() },
        Definition { module_name: "../module".to_owned(), ..good() },
        Definition { bucket: TRIGGERS.to_owned(), ..good() },
        Definition { args: vec!["a".repeat(70_000)], ..good() },
    ] {
        let refused = triggers.add(bad.clone(), b"");
        assert!(matches!(refused, Err(Error::Invalid(_))), "{bad:?}: {refused:?}");
    }
    let nowhere = Definition { bucket: "none".to_owned(), ..good() };
    assert!(matches!(triggers.add(nowhere, b""), Err(Error::NoBucket { .. })));
}

/// Runs until it is stopped.
struct Endless(Told);

impl Execute for Endless {
    fn run(&self, trigger: &Trigger, job: &Job, stop: &Stop) -> Outcome {
        self.0.run(trigger, job, stop);
        while !stop.is_asked() {
            thread::sleep(Duration::from_millis(1));
        }
        Outcome { ended: Ended::Released, said: String::new() }
    }
}

#[test]
fn what_runs_when_a_runner_is_ended_is_begun_again_at_once_and_is_no_failure() {
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    let trigger = triggers.add(definition("one", sealed()), b"").unwrap();
    put(&geds, "in/a");
    let told = Told::default();
    let working = work(&triggers, Endless(told.clone()));
    wait_until("it runs", LONG, || told.sorted().len() == 1);
    // Longer than its lease: it is renewed.
    thread::sleep(LEASE + LEASE / 2);
    assert!(matches!(triggers.claim(&trigger, "in/a", 1), Ok(Claim::Later(_))));
    drop(working);
    let Claim::Yours(job) = triggers.claim(&trigger, "in/a", 60_000).unwrap() else { panic!() };
    assert_eq!(job.attempt, 1);

    // Who has lost its claim is told to stop; so is who runs for a trigger that was removed.
    let other = triggers.add(definition("other", sealed()), b"").unwrap();
    let told = Told::default();
    let working = work(&triggers, Endless(told.clone()));
    put(&geds, "in/b");
    wait_until("both run it", LONG, || told.sorted().len() == 2);
    triggers.remove("other").unwrap();
    wait_until("one has stopped", LONG, || triggers.counts(&other).unwrap().running == 0);
    assert_eq!(triggers.counts(&trigger).unwrap().running, 2);
    drop(working);
}

/// Makes one object of each, as the first of its name or not at all, and is slow about it.
struct Copies(Geds);

impl Execute for Copies {
    fn run(&self, _: &Trigger, job: &Job, _: &Stop) -> Outcome {
        thread::sleep(Duration::from_millis(5));
        let out = job.key.replacen("in/", "out/", 1);
        let ended = match self.0.put("lab", &out, b"done", Put::default().durable()) {
            Ok(_) | Err(Error::Exists { .. }) => Ended::Well,
            Err(_) => Ended::Badly,
        };
        Outcome { ended, said: String::new() }
    }
}

/// What a child does that is killed: see `children`.
pub(crate) fn run_for_ever(geds: Geds) {
    let triggers = Triggers::of(geds.clone());
    Runner::new(triggers, Copies(geds), LEASE).run(&Stop::default());
}

#[test]
fn runners_are_killed_at_any_moment_and_each_object_is_done_once() {
    const OBJECTS: usize = 120;
    let host = Host::new(limits());
    let geds = host.geds();
    let triggers = lab(&geds);
    let many = Definition { attempts: 1000, ..definition("copies", sealed()) };
    let trigger = triggers.add(many, b"").unwrap();
    for number in 0..OBJECTS {
        put(&geds, &format!("in/{number}"));
    }
    let mut random = Random::from_seed(11);
    let mut runners: Vec<Process> =
        (0..2).map(|_| Process::start("runner", host.socket())).collect();
    let (began, mut kills) = (Instant::now(), 0);
    let done = || triggers.counts(&trigger).unwrap().done as usize;
    while done() < OBJECTS {
        assert!(began.elapsed() < LONG, "{:?}", triggers.counts(&trigger));
        thread::sleep(Duration::from_millis(random.next_u64() % 200));
        if kills < 10 && done() > 0 {
            let one = (random.next_u64() % 2) as usize;
            runners[one].kill();
            runners[one] = Process::start("runner", host.socket());
            kills += 1;
        }
    }
    let made = geds.list("lab", &geds::Listing::prefix("out/")).unwrap().entries;
    assert_eq!(made.len(), OBJECTS);
    let counts = Counts { done: OBJECTS as u64, ..Counts::default() };
    assert_eq!(triggers.counts(&trigger).unwrap(), counts);
    assert!(kills > 0, "somebody was killed");
}

#[test]
fn a_killed_node_comes_back_with_its_queue() {
    let folder = Folder::in_memory();
    let mut node = Process::start("node", folder.path());
    let socket = folder.join("lab.sock");
    let join = || {
        let mut geds = None;
        wait_until("the node is there", LONG, || {
            geds = Geds::open(Config::join(&socket)).ok();
            geds.is_some()
        });
        geds.unwrap()
    };
    let geds = join();
    let triggers = lab(&geds);
    let on = Events { sealed: true, deleted: true, created: false };
    let trigger = triggers.add(definition("one", on), b"module").unwrap();
    for key in ["in/done", "in/failed", "in/held", "in/left", "in/gone"] {
        put(&geds, key);
    }
    let claim = |triggers: &Triggers, key: &str| match triggers.claim(&trigger, key, 60_000) {
        Ok(Claim::Yours(job)) => job,
        other => panic!("{other:?} is no claim of {key}"),
    };
    for key in ["in/done", "in/gone"] {
        triggers.finish(&trigger, &claim(&triggers, key), Ended::Well, "").unwrap();
    }
    for _ in 0..2 {
        wait_until("it can be tried again", LONG, || {
            match triggers.claim(&trigger, "in/failed", 60_000).unwrap() {
                Claim::Yours(job) => triggers.finish(&trigger, &job, Ended::Badly, "why").unwrap(),
                _ => false,
            }
        });
    }
    let held = claim(&triggers, "in/held");
    geds.delete("lab", "in/gone", None).unwrap();
    // In memory alone: it is lost, which is no delete.
    geds.put("lab", "in/lost", b"", Put::default()).unwrap();
    let lost = claim(&triggers, "in/lost");
    triggers.finish(&trigger, &lost, Ended::Well, "").unwrap();
    thread::sleep(Duration::from_millis(400));
    node.kill();

    let _node = Process::start("node", folder.path());
    let triggers = Triggers::of(join());
    assert_eq!(triggers.named("one").unwrap(), trigger);
    assert_eq!(triggers.module(&trigger).unwrap(), b"module");
    let counts = triggers.counts(&trigger).unwrap();
    assert_eq!((counts.dead, counts.running), (1, 1), "{counts:?}");
    assert_eq!(triggers.dead(&trigger).unwrap()[0].said, "why");
    assert!(triggers.finish(&trigger, &held, Ended::Well, "").unwrap(), "its lease is in force");
    let told = Told::default();
    let _working = work(&triggers, told.clone());
    let wanted = [("in/gone", "deleted"), ("in/left", "sealed")];
    let wanted: Vec<_> = wanted.iter().map(|(key, event)| ((*key).to_owned(), *event, 1)).collect();
    wait_until("what was left is run", LONG, || told.sorted() == wanted);
}
