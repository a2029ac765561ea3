//! How a service moves: Prepare → Transfer → Commit → Activate and Release, or Abort.
//!
//! [`step`] takes a state and what happened and says what to do next. The commit is the only
//! point of no return: before it every failure leads to an abort, after which the source serves
//! on; behind it the target holds the higher epoch, and what is owed to the sites is owed until
//! they have heard it.

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being recorded.
    Recording,
    /// The target makes itself ready.
    Preparing,
    /// The state travels.
    Transferring,
    /// The switch is being stored.
    Committing,
    /// The abort is being stored, whatever it takes.
    Aborting,
    /// The switch is stored; the sites are being told.
    Committed(Told),
    /// The abort is stored; the sites are being told.
    Aborted(Told),
    /// Over.
    Ended(Outcome),
}

/// Which of the two sites has answered the last call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The site that served at first.
    pub source: bool,
    /// The site that was to serve.
    pub target: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target serves.
    Moved,
    /// The source serves on.
    RolledBack,
    /// Nothing was begun.
    Refused,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The migration is in the store.
    Recorded,
    /// It could not be put there.
    NotRecorded,
    /// The target listens.
    Prepared,
    /// The whole state arrived at the target and the source stands.
    Transferred,
    /// The switch is in the store.
    Committed,
    /// The store has refused the switch and still holds the migration.
    NotCommitted,
    /// The abort is in the store.
    Aborted,
    /// A site refused, failed, did not answer in time or was lost; or the user changed their mind.
    Failed,
    /// The source answered the last call, or was lost and will be told when it is back.
    SourceTold,
    /// The target did.
    TargetTold,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the target to get ready.
    CallPrepare,
    /// Ask the source to send its state.
    CallTransfer,
    /// Store the switch, and that the sites must be told, in one transaction.
    StoreCommit,
    /// Point the name at the target.
    SwitchName,
    /// Tell the target to serve.
    CallActivate,
    /// Tell the source to forward and drop.
    CallRelease,
    /// Store that nothing moved, and that the sites must be told, in one transaction.
    StoreAbort,
    /// Tell the source to serve on.
    CallAbortSource,
    /// Tell the target to drop what it has.
    CallAbortTarget,
}

/// The state after the event, and the steps to take in this order. An event that the state does
/// not wait for (a late answer, a second failure) changes nothing.
pub fn step(state: State, event: Event) -> (State, Vec<Step>) {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Recording, E::Recorded) => (S::Preparing, vec![Step::CallPrepare]),
        (S::Recording, E::NotRecorded) => (S::Ended(Outcome::Refused), vec![]),
        (S::Preparing, E::Prepared) => (S::Transferring, vec![Step::CallTransfer]),
        (S::Transferring, E::Transferred) => (S::Committing, vec![Step::StoreCommit]),
        (S::Committing, E::Committed) => (
            S::Committed(Told::default()),
            vec![Step::SwitchName, Step::CallActivate, Step::CallRelease],
        ),
        (S::Preparing | S::Transferring, E::Failed) | (S::Committing, E::NotCommitted) => {
            (S::Aborting, vec![Step::StoreAbort])
        }
        (S::Aborting, E::Aborted) => {
            (S::Aborted(Told::default()), vec![Step::CallAbortSource, Step::CallAbortTarget])
        }
        (S::Committed(told), E::SourceTold | E::TargetTold) => {
            let (told, both) = hear(told, event);
            (if both { S::Ended(Outcome::Moved) } else { S::Committed(told) }, vec![])
        }
        (S::Aborted(told), E::SourceTold | E::TargetTold) => {
            let (told, both) = hear(told, event);
            (if both { S::Ended(Outcome::RolledBack) } else { S::Aborted(told) }, vec![])
        }
        (unmoved, _) => (unmoved, vec![]),
    }
}

/// Where a migration stands that a new control plane finds: in the store and so uncommitted, or
/// no longer there.
pub fn recover(recorded: bool) -> Option<(State, Vec<Step>)> {
    recorded.then(|| (State::Aborting, vec![Step::StoreAbort]))
}

fn hear(mut told: Told, event: Event) -> (Told, bool) {
    match event {
        Event::SourceTold => told.source = true,
        _ => told.target = true,
    }
    (told, told.source && told.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a site does with the service.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Holds {
        Nothing,
        Prepared,
        Serving,
        HandedOver,
        Forwarding,
    }

    /// What the store says: the writer's epoch, a migration, and calls that sites are owed.
    #[derive(Debug, Clone)]
    struct Stored {
        epoch: u64,
        migration: bool,
        owed: Vec<Step>,
    }

    struct World {
        state: State,
        todo: Vec<Step>,
        stored: Stored,
        source: Holds,
        target: Holds,
        name_at_target: bool,
    }

    /// How the next step goes.
    #[derive(Debug, Clone, Copy)]
    enum Luck {
        Works,
        /// The site does it, but its answer is lost.
        WorksUnheard,
        Fails,
        /// The control plane dies just before.
        Crash,
        /// The control plane dies just after.
        CrashAfter,
    }

    impl World {
        fn new() -> Self {
            Self {
                state: State::Recording,
                todo: Vec::new(),
                stored: Stored { epoch: 1, migration: false, owed: Vec::new() },
                source: Holds::Serving,
                target: Holds::Nothing,
                name_at_target: false,
            }
        }

        fn feed(&mut self, event: Event) {
            let (state, steps) = step(self.state, event);
            self.state = state;
            self.todo.extend(steps);
        }

        /// A new control plane reads the store: names are rebuilt, the open migration is aborted,
        /// owed calls are made.
        fn restart(&mut self) {
            self.name_at_target = self.stored.epoch == 2;
            self.todo = self.stored.owed.clone();
            self.state = State::Ended(Outcome::Moved);
            if let Some((state, steps)) = recover(self.stored.migration) {
                (self.state, self.todo) = (state, steps);
            } else if !self.stored.owed.is_empty() {
                self.state = match self.stored.epoch {
                    1 => State::Aborted(Told::default()),
                    _ => State::Committed(Told::default()),
                };
            }
        }

        /// Carries one step out and returns what is heard of it.
        fn act(&mut self, todo: Step) -> Event {
            match todo {
                Step::CallPrepare => {
                    self.target = Holds::Prepared;
                    return Event::Prepared;
                }
                Step::CallTransfer => {
                    self.source = Holds::HandedOver;
                    return Event::Transferred;
                }
                Step::StoreCommit => {
                    assert!(self.stored.migration);
                    let owed = vec![Step::CallActivate, Step::CallRelease];
                    self.stored = Stored { epoch: 2, migration: false, owed };
                    return Event::Committed;
                }
                Step::StoreAbort => {
                    let owed = vec![Step::CallAbortSource, Step::CallAbortTarget];
                    self.stored = Stored { migration: false, owed, ..self.stored };
                    return Event::Aborted;
                }
                Step::SwitchName => self.name_at_target = true,
                Step::CallActivate => self.target = Holds::Serving,
                Step::CallRelease => self.source = Holds::Forwarding,
                Step::CallAbortSource => self.source = Holds::Serving,
                Step::CallAbortTarget => self.target = Holds::Nothing,
            }
            match todo {
                Step::CallActivate | Step::CallAbortTarget => Event::TargetTold,
                _ => Event::SourceTold,
            }
        }

        fn run_one(&mut self, luck: Luck) {
            if self.todo.is_empty() {
                return;
            }
            let todo = self.todo.remove(0);
            let local = matches!(todo, Step::SwitchName);
            let stores = matches!(todo, Step::StoreCommit | Step::StoreAbort);
            match luck {
                Luck::Crash => self.restart(),
                Luck::CrashAfter => {
                    self.act(todo);
                    self.restart();
                }
                Luck::Fails if todo == Step::StoreCommit => self.feed(Event::NotCommitted),
                // The abort and owed calls are tried until they work.
                Luck::Fails if self.stored.owed.contains(&todo) || stores || local => {
                    self.todo.insert(0, todo);
                }
                Luck::Fails => self.feed(Event::Failed),
                Luck::WorksUnheard if !stores && !local => {
                    self.act(todo);
                    match self.stored.owed.contains(&todo) {
                        true => self.todo.push(todo),
                        false => self.feed(Event::Failed),
                    }
                }
                Luck::Works | Luck::WorksUnheard => {
                    let event = self.act(todo);
                    if !local {
                        self.stored.owed.retain(|owed| *owed != todo);
                        self.feed(event);
                    }
                }
            }
        }

        fn check(&self) {
            let both = self.source == Holds::Serving && self.target == Holds::Serving;
            assert!(!both, "two writers");
            assert!(self.target != Holds::Serving || self.stored.epoch == 2);
            if self.target == Holds::Serving {
                assert!(self.name_at_target, "the target serves before its name points at it");
            }
        }
    }

    fn luck() -> impl Strategy<Value = Luck> {
        prop_oneof![
            4 => Just(Luck::Works),
            1 => Just(Luck::WorksUnheard),
            1 => Just(Luck::Fails),
            1 => Just(Luck::Crash),
            1 => Just(Luck::CrashAfter),
        ]
    }

    proptest! {
        #[test]
        fn every_failure_ends_with_one_writer(
            lucks in proptest::collection::vec(luck(), 0..16)
        ) {
            let mut world = World::new();
            world.stored.migration = true;
            world.feed(Event::Recorded);
            for luck in lucks {
                world.run_one(luck);
                world.check();
            }
            while !world.todo.is_empty() {
                world.run_one(Luck::Works);
                world.check();
            }

            prop_assert!(!world.stored.migration);
            match world.stored.epoch {
                1 => {
                    prop_assert_eq!(world.source, Holds::Serving);
                    prop_assert_eq!(world.target, Holds::Nothing);
                }
                _ => {
                    prop_assert_eq!(world.target, Holds::Serving);
                    prop_assert_eq!(world.source, Holds::Forwarding);
                }
            }
        }
    }

    #[test]
    fn the_name_is_switched_between_the_commit_and_the_calls() {
        let (_, steps) = step(State::Committing, Event::Committed);

        assert_eq!(steps, [Step::SwitchName, Step::CallActivate, Step::CallRelease]);
    }

    #[test]
    fn behind_the_commit_nothing_aborts() {
        for event in [Event::Failed, Event::NotCommitted, Event::Aborted] {
            let committed = State::Committed(Told::default());
            assert_eq!(step(committed, event), (committed, vec![]));
        }
    }
}
