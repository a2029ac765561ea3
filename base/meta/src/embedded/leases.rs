//! When each lease ends. Which leases there are is in the file; deadlines are of this process.

use crate::LeaseId;
use std::{collections::HashMap, time::Duration};

pub(super) struct Leases {
    held: HashMap<LeaseId, Held>,
}

struct Held {
    ttl: Duration,
    deadline: Duration,
}

impl Leases {
    /// The leases that were found in the file, each with its full time from `now`.
    pub(super) fn resume(leases: Vec<(LeaseId, Duration)>, now: Duration) -> Self {
        let mut resumed = Self { held: HashMap::new() };
        leases.into_iter().for_each(|(lease, ttl)| resumed.insert(lease, ttl, now));
        resumed
    }

    pub(super) fn insert(&mut self, lease: LeaseId, ttl: Duration, now: Duration) {
        self.held.insert(lease, Held { ttl, deadline: now.saturating_add(ttl) });
    }

    pub(super) fn remove(&mut self, lease: LeaseId) {
        self.held.remove(&lease);
    }

    /// Its full time, which begins anew; `None` if its time is up, even if its end is not written
    /// yet.
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Duration) -> Option<Duration> {
        let held = self.held.get_mut(&lease).filter(|held| now < held.deadline)?;
        held.deadline = now.saturating_add(held.ttl);
        Some(held.ttl)
    }

    /// The leases whose time is up, oldest first.
    pub(super) fn due(&self, now: Duration) -> Vec<LeaseId> {
        let due = self.held.iter().filter(|(_, held)| now >= held.deadline);
        let mut due: Vec<_> = due.map(|(lease, _)| *lease).collect();
        due.sort_unstable();
        due
    }

    /// How long until the next lease ends.
    pub(super) fn next_end(&self, now: Duration) -> Option<Duration> {
        self.held.values().map(|held| held.deadline.saturating_sub(now)).min()
    }
}
