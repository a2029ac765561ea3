//! Whatever happens to a name and to its runners.

use super::*;
use crate::trigger::Events;
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

const LEASE: u64 = 10;

fn rules(on: Events, attempts: u32) -> Rules {
    Rules { on, since: 0, attempts, pause_ms: 4 }
}

fn on(created: bool, sealed: bool, deleted: bool) -> Events {
    Events { created, sealed, deleted }
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    Seal,
    Delete,
    Pass(u64),
    /// A runner asks for the name.
    Claim(usize),
    /// A runner says how what it once claimed has ended, also if it has said so before.
    Finish(usize, Ended),
    Renew(usize),
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    let runner = 0..3_usize;
    let ended = prop_oneof![
        Just(Ended::Well),
        Just(Ended::Badly),
        Just(Ended::Released),
        Just(Ended::Unable)
    ];
    prop_oneof![
        2 => Just(Step::Seal),
        1 => Just(Step::Delete),
        3 => (1..30_u64).prop_map(Step::Pass),
        4 => runner.clone().prop_map(Step::Claim),
        4 => (runner.clone(), ended).prop_map(|(runner, ended)| Step::Finish(runner, ended)),
        1 => runner.prop_map(Step::Renew),
        1 => Just(Step::Retry),
    ]
}

/// One name, its record, and three runners, of which each step is a compare-and-swap.
#[derive(Debug, Default)]
struct World {
    rules: Option<Rules>,
    record: Option<Record>,
    seen: Option<Seen>,
    now: u64,
    versions: u64,
    /// What each runner believes that it has.
    claims: BTreeMap<usize, (u64, Task)>,
    /// What was finished well, as the record took it.
    done: BTreeSet<(Event, u64)>,
    /// What was begun last, and how often in a row.
    begun: Option<((Event, u64), u32)>,
}

impl World {
    fn rules(&self) -> Rules {
        self.rules.clone().unwrap()
    }

    fn act(&mut self, step: &Step) {
        match *step {
            Step::Seal => {
                self.versions += 1;
                self.seen = Some(Seen { version: self.versions, hops: 0 });
            }
            Step::Delete => self.seen = None,
            Step::Pass(time) => self.now += time,
            Step::Claim(runner) => self.claim(runner),
            Step::Finish(runner, ended) => self.finish(runner, ended),
            Step::Renew(runner) => {
                let Some((fence, _)) = self.claims.get(&runner) else { return };
                let renewed =
                    self.record.as_ref().map(|record| record.renew(*fence, self.now + LEASE));
                if let Some(Ok(renewed)) = renewed {
                    self.record = Some(renewed);
                }
            }
            Step::Retry => {
                let again = self.record.as_ref().and_then(|record| record.retry(self.now));
                if again.is_some() {
                    self.record = again;
                    self.begun = None;
                }
            }
        }
    }

    fn claim(&mut self, runner: usize) {
        let live = self
            .record
            .as_ref()
            .and_then(|record| record.task.clone())
            .filter(|task| matches!(task.state, State::Running { until } if until > self.now));
        self.versions += 1;
        let asked = Asked { now: self.now, lease: LEASE, fence: self.versions };
        match self.rules().next(self.record.as_ref(), self.seen, asked) {
            Next::Nothing => {}
            Next::Later(time) => assert!(time > self.now, "it can be waited for"),
            Next::Forget => self.record = None,
            Next::Note(record) => self.record = Some(record),
            Next::Run(record) => {
                assert_eq!(live, None, "a name has one runner at a time");
                let task = record.task.clone().unwrap();
                let what = (task.event, task.version);
                assert!(!self.done.contains(&what), "{what:?} was done already");
                let before = self.begun.filter(|(last, _)| *last == what);
                self.begun = Some((what, before.map_or(1, |(_, count)| count + 1)));
                self.claims.insert(runner, (record.fence, task));
                self.record = Some(record);
            }
        }
    }

    fn finish(&mut self, runner: usize, ended: Ended) {
        // It stays: a runner that has lost its memory says it again.
        let Some((fence, task)) = self.claims.get(&runner).cloned() else { return };
        let Some(record) = &self.record else { return };
        let Ok(next) = record.finish(&self.rules(), fence, ended, self.now) else { return };
        let held = record.task.as_ref().unwrap();
        let what = (task.event, task.version);
        assert_eq!((held.event, held.version), what, "a claim is of what it was made for");
        match ended {
            Ended::Well => assert!(self.done.insert(what), "{what:?} was finished twice"),
            Ended::Badly => {}
            Ended::Released | Ended::Unable => {
                self.begun = self.begun.map(|(last, count)| (last, count - 1))
            }
        }
        self.record = next;
    }

    /// Nothing more happens to the name, and one runner that is well does what is to be done.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.act(&Step::Retry);
            self.now += PAUSE_MAX_MS;
            self.act(&Step::Claim(9));
            self.act(&Step::Finish(9, Ended::Well));
        }
    }
}

proptest! {
    #[test]
    fn each_version_is_finished_once_whatever_happens(
        steps in vec(step(), 0..60),
        which in 1..8_u8,
        attempts in 1..4_u32,
    ) {
        let on = on(which & 1 != 0, which & 2 != 0, which & 4 != 0);
        let mut world = World { rules: Some(rules(on, attempts)), ..World::default() };
        for step in &steps {
            world.act(step);
            let most = world.begun.map_or(0, |(_, count)| count);
            prop_assert!(most <= attempts, "it was begun {most} times");
        }
        world.settle();
        let left = world.record.as_ref().and_then(|record| record.task.as_ref());
        prop_assert_eq!(left, None);
        if let Some(seen) = world.seen {
            // The last version is always run for; others may have been replaced before.
            let created = world.done.iter().any(|(event, _)| *event == Event::Created);
            let sealed = world.done.contains(&(Event::Sealed, seen.version));
            prop_assert!(!on.sealed || sealed || world.done.contains(&(Event::Created, seen.version)));
            prop_assert!(!on.created || created);
        } else {
            prop_assert_eq!(world.record, None, "of a name that has gone nothing is left");
        }
    }

    #[test]
    fn what_was_written_is_read_and_anything_else_is_no_panic(bytes in vec(any::<u8>(), 0..80)) {
        if let Some(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }
}

fn at(version: u64) -> Option<Seen> {
    Some(Seen { version, hops: 0 })
}

fn asked(now: u64) -> Asked {
    Asked { now, lease: LEASE, fence: now + 1 }
}

/// What a runner gets.
fn claimed(next: Next) -> Record {
    match next {
        Next::Run(record) => record,
        other => panic!("{other:?} is no claim"),
    }
}

#[test]
fn pauses_double_up_to_the_dead_letters() {
    let rules = rules(on(false, true, false), 3);
    let (mut now, mut record) = (100, None);
    for pause in [4, 8] {
        let taken = claimed(rules.next(record.as_ref(), at(1), asked(now)));
        let failed = taken.finish(&rules, taken.fence, Ended::Badly, now).unwrap();
        assert_eq!(rules.next(failed.as_ref(), at(1), asked(now)), Next::Later(now + pause));
        now += pause;
        record = failed;
    }
    let taken = claimed(rules.next(record.as_ref(), at(1), asked(now)));
    let dead = taken.finish(&rules, taken.fence, Ended::Badly, now).unwrap().unwrap();
    assert_eq!(dead.task.as_ref().unwrap().state, State::Dead { since: now });
    assert_eq!(rules.next(Some(&dead), at(1), asked(now + 1_000_000)), Next::Nothing);

    // Another version is another task; so is another try.
    assert_eq!(claimed(rules.next(Some(&dead), at(2), asked(now))).task.unwrap().attempts, 1);
    let again = dead.retry(now).unwrap();
    assert_eq!(claimed(rules.next(Some(&again), at(1), asked(now))).task.unwrap().attempts, 1);
    assert_eq!(again.retry(now), None);
}

#[test]
fn a_runner_that_is_lost_each_time_ends_among_the_dead_letters() {
    let rules = rules(on(false, true, false), 2);
    let first = claimed(rules.next(None, at(1), asked(0)));
    assert_eq!(rules.next(Some(&first), at(1), asked(LEASE - 1)), Next::Later(LEASE));
    let second = claimed(rules.next(Some(&first), at(1), asked(LEASE)));
    assert_eq!(second.finish(&rules, first.fence, Ended::Well, LEASE), Err(Fenced));
    let Next::Note(dead) = rules.next(Some(&second), at(1), asked(3 * LEASE)) else { panic!() };
    assert!(matches!(dead.task.unwrap().state, State::Dead { .. }));
}

#[test]
fn what_was_there_before_is_left_alone_and_what_goes_in_circles_ends() {
    let rules = Rules { since: 5, ..rules(on(false, true, true), 2) };
    let Next::Note(known) = rules.next(None, at(4), asked(0)) else { panic!() };
    assert_eq!(rules.next(Some(&known), at(4), asked(0)), Next::Nothing);
    let gone = claimed(rules.next(Some(&known), None, asked(0))).task.unwrap();
    assert_eq!((gone.event, gone.version), (Event::Deleted, 4));
    assert!(matches!(rules.next(None, at(6), asked(0)), Next::Run(_)));

    let circling = Some(Seen { version: 7, hops: HOPS_MAX });
    let Next::Note(dead) = rules.next(None, circling, asked(0)) else { panic!() };
    let again = dead.retry(0).unwrap();
    assert!(matches!(rules.next(Some(&again), circling, asked(0)), Next::Run(_)));
}

#[test]
fn a_clock_that_was_wrong_holds_nothing_for_ever() {
    let rules = rules(on(false, true, false), 3);
    let taken = claimed(rules.next(None, at(1), asked(u64::MAX / 2)));
    assert!(matches!(rules.next(Some(&taken), at(1), asked(1000)), Next::Run(_)));
}
