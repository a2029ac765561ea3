use super::*;
use api::service::ServiceSpec;
use proptest::prelude::*;
use types::Digest;

const UID: &str = "uid";

fn spec(on_site_lost: OnSiteLost) -> ServiceSpec {
    ServiceSpec {
        on_site_lost,
        ..serde_json::from_value(serde_json::json!({"module": "a.wasm"})).unwrap()
    }
}

fn assignment(epoch: u64, on_site_lost: OnSiteLost) -> Assignment {
    Assignment {
        tenant: "default".into(),
        name: "a".into(),
        uid: UID.into(),
        epoch: Epoch(epoch),
        module: Digest::from_sha256([1; 32]),
        spec: spec(on_site_lost),
        restore: false,
        snapshot: None,
    }
}

/// A site as the plan sees it, with processes that do at once what they are told.
#[derive(Debug)]
struct World {
    state: State,
    live: BTreeMap<String, Live>,
    lease: bool,
    now: Duration,
}

/// What happens to a site.
#[derive(Debug, Clone)]
enum Happening {
    Desire(Option<(u64, OnSiteLost)>),
    List(u64),
    Lease(bool),
    WorkerDies,
    ServiceFails,
    Prepare(u64),
    Transfer,
    Activate,
    Release,
    Abort,
}

fn happening() -> impl Strategy<Value = Happening> {
    let policy = prop_oneof![Just(OnSiteLost::Keep), Just(OnSiteLost::Restart)];
    prop_oneof![
        proptest::option::of((0..6_u64, policy)).prop_map(Happening::Desire),
        (0..6_u64).prop_map(Happening::List),
        any::<bool>().prop_map(Happening::Lease),
        Just(Happening::WorkerDies),
        Just(Happening::ServiceFails),
        (0..6_u64).prop_map(Happening::Prepare),
        Just(Happening::Transfer),
        Just(Happening::Activate),
        Just(Happening::Release),
        Just(Happening::Abort),
    ]
}

impl World {
    fn new() -> Self {
        let state = serde_json::json!({
            "version": 1, "desired": {}, "records": {}, "moved": {}, "cells": {},
        });
        Self {
            state: serde_json::from_value(state).unwrap(),
            live: BTreeMap::new(),
            lease: true,
            now: Duration::from_secs(1),
        }
    }

    fn view(&self) -> View<'_> {
        View { state: &self.state, live: &self.live, lease_holds: self.lease, now: self.now }
    }

    fn record(&mut self) -> Option<&mut Record> {
        self.state.records.get_mut(UID)
    }

    fn live(&mut self) -> &mut Live {
        self.live.entry(UID.into()).or_default()
    }

    fn up(&mut self, state: ServiceState) {
        let Some(record) = self.state.records.get(UID) else { return };
        let up = Up {
            handle: 1,
            epoch: record.epoch(),
            incarnation: record.incarnation,
            state,
            migration: record.role.migration().map(str::to_owned),
        };
        self.live().phase = Phase::Up(up);
    }

    fn happen(&mut self, happening: Happening) {
        let role = self.state.records.get(UID).map(|record| record.role.clone());
        match happening {
            Happening::Desire(wanted) => {
                let services = wanted.map(|(epoch, policy)| assignment(epoch, policy));
                let desired =
                    Desired { services: services.into_iter().collect(), ..Desired::default() };
                assert!(absorb(&mut self.state, desired).is_empty());
            }
            Happening::List(epoch) => self.state.desired.drop = vec![(UID.into(), Epoch(epoch))],
            Happening::Lease(holds) => self.lease = holds,
            Happening::WorkerDies => self.live().phase = Phase::Down,
            Happening::ServiceFails if self.live().up().is_some() => {
                let retry_at = self.now;
                self.live().phase =
                    Phase::Failed { message: String::new(), retry_at, in_worker: true };
            }
            Happening::Prepare(epoch) if role.is_none() => {
                let over = self.state.moved.get(UID).map(|moved| moved.assignment.epoch);
                if over.is_none_or(|over| over < Epoch(epoch)) {
                    let role = Role::Prepared { migration: "m".into() };
                    let record = Record::new(assignment(epoch, OnSiteLost::Keep), role);
                    self.state.records.insert(UID.into(), record);
                    self.up(ServiceState::Prepared);
                }
            }
            Happening::Transfer if role == Some(Role::Serve) && self.live().up().is_some() => {
                self.record().unwrap().role = Role::HandedOver { migration: "m".into() };
                self.up(ServiceState::HandedOver);
            }
            Happening::Activate if matches!(role, Some(Role::Prepared { .. })) => {
                let record = self.record().unwrap();
                (record.role, record.confirmed) = (Role::Serve, false);
                self.up(ServiceState::Serving);
            }
            Happening::Release if matches!(role, Some(Role::HandedOver { .. })) => {
                let record = self.state.records.remove(UID).unwrap();
                self.state.add_moved(Moved {
                    assignment: record.assignment,
                    migration: "m".into(),
                    to: "127.0.0.1:1".parse().unwrap(),
                    forward_until_ms: 1,
                    lost: Vec::new(),
                });
                self.live().phase = Phase::Down;
            }
            Happening::Abort if matches!(role, Some(Role::HandedOver { .. })) => {
                self.record().unwrap().role = Role::Serve;
                self.up(ServiceState::Serving);
            }
            Happening::Abort if matches!(role, Some(Role::Prepared { .. })) => {
                self.state.records.remove(UID);
                self.live().phase = Phase::Down;
            }
            _ => {}
        }
    }

    /// Checks that the action is allowed, and takes it.
    fn act(&mut self, action: Action) {
        let record = self.state.records.get(UID).cloned();
        let over = self.state.moved.get(UID).map(|moved| moved.assignment.epoch);
        let open = record.as_ref().is_some_and(|record| record.role.migration().is_some());
        match action {
            Action::Begin(wanted) => {
                assert!(record.is_none() && over.is_none_or(|over| wanted.epoch > over));
                assert!(!self.live().phase.in_worker(), "something still runs");
                self.state.records.insert(UID.into(), Record::new(*wanted, Role::Serve));
                self.start();
            }
            Action::Start(_) => {
                assert!(!open, "started before the verdict");
                self.start();
            }
            Action::Supersede(wanted) => {
                let record = record.unwrap();
                assert!(wanted.epoch >= record.epoch(), "an older epoch");
                assert!(!open || wanted.epoch > record.epoch(), "superseded before the verdict");
                assert!(over.is_none_or(|over| wanted.epoch > over), "an epoch that is over");
                let confirmed = record.confirmed;
                let newer = Record { confirmed, ..Record::new(*wanted, Role::Serve) };
                self.state.records.insert(UID.into(), newer);
                self.start();
            }
            Action::Fence(_, fenced) => {
                self.up(if fenced { ServiceState::Fenced } else { ServiceState::Serving });
            }
            Action::Activate(_) => {
                let record = record.unwrap();
                let named = self.state.desired.services.first().map(|wanted| wanted.epoch);
                assert_eq!(named, Some(record.epoch()), "activated without a verdict");
                self.record().unwrap().role = Role::Serve;
                self.up(ServiceState::Serving);
            }
            Action::Resume(_) => panic!("nothing was left half-way"),
            Action::Drop(_) => {
                let record = record.unwrap();
                let mut listed = self.state.desired.drop.iter();
                let listed = listed.any(|(_, epoch)| *epoch >= record.epoch());
                let absent = self.state.desired.services.is_empty() && record.confirmed;
                let over = over.is_some_and(|over| over >= record.epoch());
                assert!(listed || (absent && !open) || over, "dropped without reason");
                self.state.records.remove(UID);
                self.live().phase = Phase::Down;
            }
            Action::Evict(_) => {
                assert!(record.is_none());
                self.live().phase = Phase::Down;
            }
            Action::Run(_) | Action::Grant(_) | Action::End(_) => panic!("there are no cells"),
        }
    }

    fn start(&mut self) {
        let record = self.record().unwrap();
        record.incarnation += 1;
        let allowed = may_serve(&record.clone(), self.lease);
        self.live().phase = Phase::Down;
        if allowed {
            self.up(ServiceState::Serving);
        }
    }

    fn settle(&mut self) {
        for _ in 0..8 {
            let actions = reconcile(&self.view());
            assert!(actions.len() <= 1, "two steps at once: {actions:?}");
            let Some(action) = actions.into_iter().next() else { return };
            assert_eq!(step(&self.view(), UID).as_ref(), Some(&action));
            self.act(action);
        }
        panic!("it never settles: {self:?}");
    }

    fn check(&mut self) {
        let lease = self.lease;
        let live = self.live().clone();
        let record = self.state.records.get(UID);
        let moved = self.state.moved.get(UID);
        let Some(Verdict::Serve { lease_bound, .. }) = gate(record, &live, moved, lease, 2) else {
            return;
        };
        let (record, up) = (record.unwrap(), live.up().unwrap());
        assert!(!lease_bound || lease, "served without a lease");
        assert_eq!(up.epoch, record.epoch());
        assert!(!matches!(record.role, Role::Prepared { .. }), "served before the verdict");
        assert_ne!(up.state, ServiceState::HandedOver, "served after its state left");
        assert_ne!(up.state, ServiceState::Fenced);
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_settles_and_serves_only_what_it_may(
        happenings in proptest::collection::vec(happening(), 1..40)
    ) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
            world.check();
            world.settle();
            world.check();
        }
    }
}

#[test]
fn requests_are_forwarded_until_the_window_closes() {
    let to = "127.0.0.1:1".parse().unwrap();
    let moved = Moved {
        assignment: assignment(1, OnSiteLost::Keep),
        migration: "m".into(),
        to,
        forward_until_ms: 10,
        lost: Vec::new(),
    };
    let prepared =
        Record::new(assignment(3, OnSiteLost::Keep), Role::Prepared { migration: "n".into() });
    let ask = |record: Option<&Record>, wall_ms| {
        gate(record, &Live::default(), Some(&moved), true, wall_ms)
    };

    assert_eq!(ask(None, 9), Some(Verdict::Forward(to)));
    assert_eq!(ask(None, 10), Some(Verdict::Moved(to)));
    assert_eq!(ask(Some(&prepared), 9), Some(Verdict::Forward(to)));
    assert!(matches!(ask(Some(&prepared), 10), Some(Verdict::Wait(_))));
}

#[test]
fn names_that_are_no_names_are_ignored() {
    let mut world = World::new();
    let mut bad = assignment(1, OnSiteLost::Keep);
    bad.uid = "../../etc".into();
    let desired = Desired { services: vec![bad], ..Desired::default() };

    let complaints = absorb(&mut world.state, desired);

    assert_eq!(complaints.len(), 1);
    assert!(reconcile(&world.view()).is_empty());
}

#[test]
fn it_looks_again_when_the_next_thing_is_due() {
    let mut world = World::new();
    let retry_at = Duration::from_secs(5);
    world.live().phase = Phase::Failed { message: String::new(), retry_at, in_worker: false };
    let lease_until = Duration::from_secs(3);

    assert_eq!(next_look(&world.view(), lease_until, 0), Some(lease_until));
    world.lease = false;
    assert_eq!(next_look(&world.view(), lease_until, 0), Some(retry_at));
    world.now = Duration::from_secs(6);
    assert_eq!(next_look(&world.view(), lease_until, 0), None);
}
