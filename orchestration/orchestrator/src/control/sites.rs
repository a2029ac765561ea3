//! What sites say, and how long their word holds. Lost with the process: every site then counts
//! as heard of at the start, which only makes a takeover later.

use super::conn::Conn;
use api::{
    Problem,
    cell::Usage,
    link::{Call, Held, HeldCell, HeldState},
    service::Lost,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use types::{Bytes, Cpu, ErrorKind};

/// One site as it was last heard.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// The session with its agent.
    pub(super) conn: Option<Arc<Conn>>,
    /// Monotonic time of its last beat.
    pub(super) last_beat: Duration,
    /// Wall time of its last word, in milliseconds; 0 before the first.
    pub(super) last_seen: u64,
    /// What it holds, by uid.
    pub(super) held: HashMap<String, Vec<Held>>,
    /// What it said within this session that crashes have lost, by uid: it says each once.
    lost: HashMap<String, Vec<Lost>>,
    /// Its cells of `run`, by uid.
    pub(super) cells: HashMap<String, HeldCell>,
    /// Processors that its services use beyond what they asked for.
    pub(super) surplus: Cpu,
}

/// Most reports of lost requests that are kept of one service and site.
const LOST_MAX: usize = 64;

impl Live {
    /// Adds what a message says of lost requests; whether it says anything.
    fn take_lost(&mut self, held: &[Held]) -> bool {
        if !self.lost.is_empty() {
            let here: HashSet<&str> = held.iter().map(|one| one.uid.as_str()).collect();
            self.lost.retain(|uid, _| here.contains(uid.as_str()));
        }
        let mut news = false;
        for one in held.iter().filter(|one| !one.lost.is_empty()) {
            news = true;
            let known = self.lost.entry(one.uid.clone()).or_default();
            for lost in &one.lost {
                let key = (lost.epoch, lost.incarnation);
                known.retain(|old| (old.epoch, old.incarnation) != key);
                known.push(lost.clone());
            }
            let surplus = known.len().saturating_sub(LOST_MAX);
            known.drain(..surplus);
        }
        news
    }
}

/// All sites that are stored or have a session.
#[derive(Debug)]
pub(super) struct Sites {
    lease: Duration,
    live: BTreeMap<String, Live>,
}

impl Sites {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, live: BTreeMap::new() }
    }

    pub(super) fn get(&self, site: &str) -> Option<&Live> {
        self.live.get(site)
    }

    /// A site that the store knows: its last beat may have been answered a moment ago.
    pub(super) fn assume(&mut self, site: &str, now: Duration) {
        let fresh = || Live { last_beat: now, ..Live::default() };
        self.live.entry(site.to_owned()).or_insert_with(fresh);
    }

    /// What any site says that crashes have lost of a service.
    pub(super) fn lost(&self, uid: &str) -> Vec<Lost> {
        let said = self.live.values().filter_map(|live| live.lost.get(uid));
        said.flatten().cloned().collect()
    }

    /// Notes what services use beyond what they asked for; whether it is another than before.
    pub(super) fn note_surplus(&mut self, site: &str, surplus: Cpu) -> bool {
        let live = self.live.get_mut(site);
        live.is_some_and(|live| std::mem::replace(&mut live.surplus, surplus) != surplus)
    }

    /// What a cell or tissue that runs uses at each site.
    pub(super) fn usage(&self, uid: &str) -> BTreeMap<String, Usage> {
        let of = |(site, live): (&String, &Live)| {
            let held = live.cells.get(uid).filter(|held| held.memory != Bytes(0))?;
            let usage = Usage { cpu_us: held.cpu_us, memory: held.memory, at: live.last_seen };
            Some((site.clone(), usage))
        };
        self.live.iter().filter_map(of).collect()
    }

    pub(super) fn forget(&mut self, site: &str) {
        self.live.remove(site);
    }

    /// The session begins; an older one of the same site ends.
    pub(super) fn join(&mut self, conn: Arc<Conn>, now: Duration, wall: u64, held: Vec<Held>) {
        let live = self.live.entry(conn.site().to_owned()).or_default();
        if let Some(older) = live.conn.replace(conn) {
            older.close();
        }
        live.last_beat = now;
        live.last_seen = wall;
        live.lost.clear();
        live.take_lost(&held);
        live.held = by_uid(held);
        live.cells.clear();
    }

    /// Ends the session with whoever has this name, if it was heard of; returns when its lease
    /// runs out.
    pub(super) fn dismiss(&mut self, site: &str) -> Option<Duration> {
        let live = self.live.get_mut(site)?;
        if let Some(conn) = live.conn.take() {
            conn.close();
        }
        Some(live.last_beat + self.lease)
    }

    /// The session ended; the lease runs on.
    pub(super) fn leave(&mut self, conn: &Arc<Conn>) {
        if let Some(live) = self.live.get_mut(conn.site())
            && live.conn.as_ref().is_some_and(|current| Arc::ptr_eq(current, conn))
        {
            live.conn = None;
        }
    }

    /// Renews the lease and takes over the report. Nothing if the session was replaced or its
    /// lease ran out: then it must end, and the site must say hello before it may serve.
    pub(super) fn beat(
        &mut self,
        conn: &Arc<Conn>,
        now: Duration,
        wall: u64,
        held: Vec<Held>,
        cells: &[HeldCell],
    ) -> Option<bool> {
        let live = self.live.get_mut(conn.site())?;
        let current = live.conn.as_ref().is_some_and(|current| Arc::ptr_eq(current, conn));
        if !current || now >= live.last_beat + self.lease {
            return None;
        }
        let news = live.take_lost(&held);
        let held = by_uid(held);
        let cells: HashMap<String, HeldCell> =
            cells.iter().map(|cell| (cell.uid.clone(), cell.clone())).collect();
        let changed = news || !same(&live.held, &held) || !same_cells(&live.cells, &cells);
        live.last_beat = now;
        live.last_seen = wall;
        live.held = held;
        live.cells = cells;
        Some(changed)
    }

    /// Ends the sessions whose lease ran out; returns when the next one will.
    pub(super) fn expire(&mut self, now: Duration) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for live in self.live.values_mut() {
            let Some(conn) = &live.conn else { continue };
            let expires = live.last_beat + self.lease;
            if now >= expires {
                conn.close();
                live.conn = None;
            } else {
                next = Some(next.map_or(expires, |next| next.min(expires)));
            }
        }
        next
    }

    /// The session with a site.
    pub(super) fn connection(&self, site: &str) -> Result<Arc<Conn>, Problem> {
        self.live.get(site).and_then(|live| live.conn.clone()).ok_or_else(|| {
            Problem::new(
                ErrorKind::Unavailable,
                format!("site `{site}` is not connected: start its agent, or wait for it"),
            )
        })
    }

    pub(super) fn connected(&self) -> Vec<Arc<Conn>> {
        self.live.values().filter_map(|live| live.conn.clone()).collect()
    }

    /// Notes what a verdict has brought about, ahead of the site's next beat: what it holds must
    /// not be taken for what it held before.
    pub(super) fn follow(&mut self, site: &str, uid: &str, verdict: &Call) {
        let held = self.live.get_mut(site).and_then(|live| live.held.get_mut(uid));
        let Some(held) = held else { return };
        held.retain_mut(|held| {
            match (verdict, held.state) {
                (Call::Abort { .. }, HeldState::Prepared) => return false,
                (Call::Abort { .. }, HeldState::HandedOver)
                | (Call::Activate { .. }, HeldState::Prepared) => held.state = HeldState::Serving,
                (Call::Release { .. }, HeldState::HandedOver) => held.state = HeldState::Forwarding,
                _ => {}
            }
            true
        });
    }
}

/// Whether two reports say the same, what is used aside.
fn same_cells(a: &HashMap<String, HeldCell>, b: &HashMap<String, HeldCell>) -> bool {
    let plain = |cell: &HeldCell| HeldCell { cpu_us: 0, memory: Bytes(0), ..cell.clone() };
    let alike = |(uid, a): (&String, &HeldCell)| b.get(uid).is_some_and(|b| plain(a) == plain(b));
    a.len() == b.len() && a.iter().all(alike)
}

fn by_uid(all: Vec<Held>) -> HashMap<String, Vec<Held>> {
    let mut held: HashMap<String, Vec<Held>> = HashMap::new();
    for one in all {
        held.entry(one.uid.clone()).or_default().push(one);
    }
    held
}

/// Whether two reports say the same, counters aside: those change with every request.
fn same(a: &HashMap<String, Vec<Held>>, b: &HashMap<String, Vec<Held>>) -> bool {
    let alike = |a: &Held, b: &Held| {
        a.epoch == b.epoch
            && a.incarnation == b.incarnation
            && a.state == b.state
            && a.message == b.message
            && a.started_from == b.started_from
    };
    a.len() == b.len()
        && a.iter().all(|(uid, a)| {
            b.get(uid)
                .is_some_and(|b| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)))
        })
}
