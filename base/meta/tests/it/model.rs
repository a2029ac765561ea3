//! The store does what a map with a list of events does, whatever is asked of it.

use bytes::Bytes;
use meta::{
    Change, Compare, Config, Embedded, Error, Event, Item, LeaseId, MetaStore, Op, OpResponse, Txn,
    TxnOutcome,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use testkit::{Folder, soak_rounds};
use types::ManualClock;

type Key = &'static str;

/// One thing to do; leases and revisions are chosen among those there are.
#[derive(Debug, Clone)]
enum Step {
    Txn(Vec<Cond>, Vec<Act>, Vec<Act>),
    Grant(u64),
    Revoke(usize),
    KeepAlive(usize),
    Advance(u64),
    Compact(u64),
    Range(Key, usize, Option<Key>),
    Reopen,
}

#[derive(Debug, Clone)]
enum Cond {
    Exists(Key),
    Absent(Key),
    /// The right revision, or one beside it.
    ModRevision(Key, u64),
    Value(Key, Key),
    LeaseHeld(usize),
}

#[derive(Debug, Clone)]
enum Act {
    Get(Key),
    Put(Key, Key, Option<usize>),
    Delete(Key),
}

fn key() -> impl Strategy<Value = Key> {
    select(vec!["a", "a/1", "a/2", "b", "b/1"])
}

fn value() -> impl Strategy<Value = Key> {
    select(vec!["", "x", "y"])
}

fn cond() -> impl Strategy<Value = Cond> {
    prop_oneof![
        key().prop_map(Cond::Exists),
        key().prop_map(Cond::Absent),
        (key(), 0..2_u64).prop_map(|(key, off)| Cond::ModRevision(key, off)),
        (key(), value()).prop_map(|(key, value)| Cond::Value(key, value)),
        (0..4_usize).prop_map(Cond::LeaseHeld),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => key().prop_map(Act::Get),
        4 => (key(), value(), proptest::option::of(0..4_usize))
            .prop_map(|(key, value, lease)| Act::Put(key, value, lease)),
        2 => key().prop_map(Act::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (vec(cond(), 0..2), vec(act(), 0..4), vec(act(), 0..3))
            .prop_map(|(conds, then, otherwise)| Step::Txn(conds, then, otherwise)),
        2 => (10..100_u64).prop_map(Step::Grant),
        1 => (0..4_usize).prop_map(Step::Revoke),
        1 => (0..4_usize).prop_map(Step::KeepAlive),
        2 => (1..60_u64).prop_map(Step::Advance),
        1 => (0..12_u64).prop_map(Step::Compact),
        2 => (select(vec!["", "a", "a/", "c"]), 0..4_usize, proptest::option::of(key()))
            .prop_map(|(prefix, limit, after)| Step::Range(prefix, limit, after)),
        1 => Just(Step::Reopen),
    ]
}

/// What the store should be.
#[derive(Default)]
struct Model {
    items: BTreeMap<Bytes, Item>,
    history: Vec<Event>,
    revision: u64,
    oldest: u64,
    now: Duration,
    /// Every lease there ever was; `None` once it ended.
    leases: Vec<(LeaseId, Duration, Option<Duration>)>,
}

impl Model {
    fn held(&self, lease: LeaseId) -> bool {
        self.leases.iter().any(|(id, _, deadline)| *id == lease && deadline.is_some())
    }

    fn lease(&self, index: usize) -> LeaseId {
        self.leases.get(index).map_or(LeaseId(1 << 40), |(id, ..)| *id)
    }

    fn mod_revision(&self, key: &[u8]) -> u64 {
        self.items.get(key).map_or(0, |item| item.mod_revision)
    }

    fn txn(&self, (conds, then, otherwise): (&[Cond], &[Act], &[Act])) -> Txn {
        let op = |act: &Act| match act {
            Act::Get(key) => Op::get(*key),
            Act::Put(key, value, None) => Op::put(*key, *value),
            Act::Put(key, value, Some(n)) => Op::put_leased(*key, *value, self.lease(*n)),
            Act::Delete(key) => Op::delete(*key),
        };
        let compare = |cond: &Cond| match cond {
            Cond::Exists(key) => Compare::exists(*key),
            Cond::Absent(key) => Compare::absent(*key),
            Cond::ModRevision(key, off) => {
                Compare::mod_revision(*key, self.mod_revision(key.as_bytes()) + off)
            }
            Cond::Value(key, value) => Compare::value(*key, *value),
            Cond::LeaseHeld(n) => Compare::LeaseHeld(self.lease(*n), self.lease(*n).0),
        };
        Txn {
            compares: conds.iter().map(compare).collect(),
            then: then.iter().map(op).collect(),
            otherwise: otherwise.iter().map(op).collect(),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Exists(key) => self.items.contains_key(key),
            Compare::Absent(key) => !self.items.contains_key(key),
            Compare::ModRevision(key, revision) => self.mod_revision(key) == *revision,
            Compare::Value(key, value) => {
                self.items.get(key).is_some_and(|item| item.value == value)
            }
            Compare::LeaseHeld(lease, _) => self.held(*lease),
        }
    }

    /// What the transaction should answer; the words of a refusal.
    fn apply(&mut self, txn: &Txn) -> Result<TxnOutcome, &'static str> {
        for branch in [&txn.then, &txn.otherwise] {
            let mut keys: Vec<_> = branch.iter().filter_map(changed).collect();
            let count = keys.len();
            keys.sort();
            keys.dedup();
            if keys.len() < count {
                return Err("changes");
            }
        }
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let leases = ops.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            _ => None,
        });
        if leases.into_iter().any(|lease| !self.held(lease)) {
            return Err("lease");
        }
        let (revision, events) = (self.revision + 1, self.history.len());
        let responses = ops.iter().map(|op| self.step(op, revision)).collect();
        self.revision += u64::from(self.history.len() > events);
        Ok(TxnOutcome { succeeded, revision: self.revision, responses })
    }

    fn step(&mut self, op: &Op, revision: u64) -> OpResponse {
        match op {
            Op::Get(key) => OpResponse::Get(self.items.get(key).cloned()),
            Op::Put { key, value, lease } => {
                let before = self.items.get(key);
                let item = Item {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.map_or(revision, |item| item.create_revision),
                    mod_revision: revision,
                    version: before.map_or(0, |item| item.version) + 1,
                    lease: *lease,
                };
                self.items.insert(key.clone(), item.clone());
                let change = Change::Put(item);
                self.history.push(Event { key: key.clone(), revision, change });
                OpResponse::Put
            }
            Op::Delete(key) => OpResponse::Delete { existed: self.delete(key, revision) },
        }
    }

    fn delete(&mut self, key: &Bytes, revision: u64) -> bool {
        let previous = self.items.remove(key);
        let existed = previous.is_some();
        if existed {
            let change = Change::Delete { previous };
            self.history.push(Event { key: key.clone(), revision, change });
        }
        existed
    }

    fn end_lease(&mut self, lease: LeaseId) {
        self.revision += 1;
        let keys: Vec<_> =
            self.items.values().filter(|item| item.lease == Some(lease)).cloned().collect();
        for item in keys {
            assert!(self.delete(&item.key, self.revision), "it was just found");
        }
        if let Some(entry) = self.leases.iter_mut().find(|(id, ..)| *id == lease) {
            entry.2 = None;
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        let due = |(_, _, deadline): &&(_, _, Option<Duration>)| {
            deadline.is_some_and(|deadline| deadline <= self.now)
        };
        let due: Vec<LeaseId> = self.leases.iter().filter(due).map(|(id, ..)| *id).collect();
        due.into_iter().for_each(|lease| self.end_lease(lease));
    }

    fn renew(&mut self) {
        for (_, ttl, deadline) in &mut self.leases {
            *deadline = deadline.map(|_| self.now + *ttl);
        }
    }
}

fn changed(op: &Op) -> Option<&Bytes> {
    match op {
        Op::Get(_) => None,
        Op::Put { key, .. } | Op::Delete(key) => Some(key),
    }
}

/// The store beside its model.
struct Pair {
    store: Option<Embedded>,
    clock: ManualClock,
    path: std::path::PathBuf,
    config: Config,
    model: Model,
}

impl Pair {
    fn new(path: &Path, config: Config) -> Self {
        let model = Model { revision: 1, oldest: 1, ..Model::default() };
        let clock = ManualClock::default();
        let mut pair = Self { store: None, clock, path: path.to_owned(), config, model };
        pair.reopen();
        pair
    }

    fn reopen(&mut self) {
        self.store = None;
        let clock = Arc::new(self.clock.clone());
        self.store = Some(Embedded::open(&self.path, self.config.clone(), clock).unwrap());
    }

    fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Txn(conds, then, otherwise) => self.txn(conds, then, otherwise).await,
            Step::Grant(ttl_ms) => {
                let ttl = Duration::from_millis(*ttl_ms);
                let lease = self.store().lease_grant(ttl).await.unwrap();
                self.model.revision += 1;
                assert_eq!((lease.revision, lease.ttl), (self.model.revision, ttl));
                self.model.leases.push((lease.id, ttl, Some(self.model.now + ttl)));
            }
            Step::Revoke(n) => {
                let lease = self.model.lease(*n);
                let held = self.model.held(lease);
                let revoked = self.store().lease_revoke(lease).await;
                if held {
                    self.model.end_lease(lease);
                }
                assert_eq!(revoked.ok(), held.then_some(self.model.revision));
            }
            Step::KeepAlive(n) => {
                let lease = self.model.lease(*n);
                let kept = self.store().lease_keep_alive(lease).await.ok();
                let now = self.model.now;
                let entry = self.model.leases.iter_mut().find(|(id, ..)| *id == lease);
                let entry = entry.filter(|(_, _, deadline)| deadline.is_some());
                let ttl = entry.map(|(_, ttl, deadline)| {
                    *deadline = Some(now + *ttl);
                    *ttl
                });
                assert_eq!(kept, ttl);
            }
            Step::Advance(ms) => {
                let by = Duration::from_millis(*ms);
                self.clock.advance(by);
                self.model.advance(by);
                // Any transaction brings about what is due.
                self.store().txn(Txn::new()).await.unwrap();
            }
            Step::Compact(back) => {
                let revision = self.model.revision.saturating_sub(*back);
                self.store().compact(revision).await.unwrap();
                self.model.oldest = self.model.oldest.max(revision);
            }
            Step::Range(prefix, limit, after) => self.range(prefix, *limit, *after).await,
            Step::Reopen => {
                self.reopen();
                self.model.renew();
            }
        }
    }

    async fn txn(&mut self, conds: &[Cond], then: &[Act], otherwise: &[Act]) {
        let txn = self.model.txn((conds, then, otherwise));
        let expected = self.model.apply(&txn);
        match (self.store().txn(txn).await, expected) {
            (Ok(outcome), Ok(expected)) => assert_eq!(outcome, expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            other => panic!("{other:?}"),
        }
    }

    async fn range(&self, prefix: &str, limit: usize, after: Option<Key>) {
        let page = self.store().range(prefix.as_bytes(), limit, after.map(str::as_bytes)).await;
        let page = page.unwrap();
        let matches = self.model.items.values().filter(|item| {
            item.key.starts_with(prefix.as_bytes())
                && after.is_none_or(|after| item.key > after.as_bytes())
        });
        let all: Vec<_> = matches.cloned().collect();
        let count = if limit == 0 { all.len() } else { limit.min(all.len()) };
        assert_eq!((page.more, page.revision), (count < all.len(), self.model.revision));
        assert_eq!(page.items, all[..count]);
    }

    /// Every event from the oldest revision on, and not one more.
    async fn check_history(&self) {
        let Model { oldest, revision, history, .. } = &self.model;
        let expected: Vec<_> = history.iter().filter(|event| event.revision >= *oldest).collect();
        let mut watch = self.store().watch(b"", *oldest).await.unwrap();
        let mut events = Vec::new();
        while events.len() < expected.len() {
            events.extend(watch.next().await.unwrap().events);
        }
        assert_eq!(events.iter().collect::<Vec<_>>(), expected);
        assert!(watch.resume_revision() <= revision + 1);
        if *oldest > 1 {
            let gone = self.store().watch(b"", oldest - 1).await;
            assert!(matches!(gone, Err(Error::Compacted { .. })), "{gone:?}");
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare(steps: &[Step], config: Config) {
    let folder = Folder::in_memory();
    let mut pair = Pair::new(&folder.join("store"), config);
    for step in steps {
        pair.run(step).await;
    }
    pair.range("", 0, None).await;
    pair.check_history().await;
}

#[test]
fn behaves_as_a_map_with_a_history() {
    let cases = u32::try_from(soak_rounds(48)).unwrap_or(u32::MAX);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in vec(step(), 1..50), in_memory: bool, batch in 1..4_usize)| {
        let watch_recent_max_bytes = if in_memory { 1 << 20 } else { 0 };
        let config =
            Config { watch_recent_max_bytes, watch_batch_max_events: batch, ..Config::default() };
        compare(&steps, config);
    });
}
