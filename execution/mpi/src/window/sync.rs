//! What the members of a window share at a site: locks, and who was let in and is through.

use crate::{abi, world::lock};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Who holds the lock of one member's window.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) shared: u32,
    pub(super) exclusive: bool,
    /// Who waits at other sites: the type of lock, the site and its ticket.
    queue: VecDeque<(i32, (u32, u32))>,
}

impl Holders {
    /// Takes the lock, unless others hold it in a way that excludes this.
    fn take(&mut self, kind: i32) -> bool {
        let free = !self.exclusive && (kind == abi::LOCK_SHARED || self.shared == 0);
        if free {
            self.exclusive = kind == abi::LOCK_EXCLUSIVE;
            self.shared += u32::from(kind == abi::LOCK_SHARED);
        }
        free
    }
}

/// What the members of a window share.
#[derive(Debug)]
pub(crate) struct Sync {
    pub(super) locks: Vec<Mutex<Holders>>,
    /// Held while one accumulates, for each element must change at once.
    pub(super) guards: Vec<Mutex<()>>,
    /// Which targets let an origin in, by origin; nothing where none ever did.
    posts: Vec<OnceLock<Box<[AtomicU32]>>>,
    /// How many origins are through with a target.
    pub(super) completions: Vec<AtomicU32>,
}

impl Sync {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            locks: (0..members).map(|_| Mutex::default()).collect(),
            guards: (0..members).map(|_| Mutex::default()).collect(),
            posts: (0..members).map(|_| OnceLock::new()).collect(),
            completions: (0..members).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Held while one accumulates into a target.
    pub(crate) fn guard(&self, target: usize) -> &Mutex<()> {
        &self.guards[target]
    }

    /// Takes a lock if it is free, and nobody waits for it elsewhere.
    pub(super) fn try_lock(&self, target: usize, kind: i32) -> bool {
        let mut holders = lock(&self.locks[target]);
        holders.queue.is_empty() && holders.take(kind)
    }

    /// Takes a lock for another site, or lets that wait; nothing if more wait than there are
    /// members.
    pub(crate) fn lock_for(&self, target: usize, kind: i32, who: (u32, u32)) -> Option<bool> {
        let mut holders = lock(&self.locks[target]);
        if holders.queue.len() >= self.locks.len() {
            return None;
        }
        let taken = holders.queue.is_empty() && holders.take(kind);
        if !taken {
            holders.queue.push_back((kind, who));
        }
        Some(taken)
    }

    /// Gives a lock back; tells who has it now of those that waited at other sites.
    pub(crate) fn unlock(&self, target: usize, kind: i32) -> Vec<(u32, u32)> {
        let mut holders = lock(&self.locks[target]);
        match kind {
            abi::LOCK_SHARED => holders.shared = holders.shared.saturating_sub(1),
            _ => holders.exclusive = false,
        }
        let mut next = Vec::new();
        while let Some((kind, who)) = holders.queue.front().copied()
            && holders.take(kind)
        {
            holders.queue.pop_front();
            next.push(who);
        }
        next
    }

    /// A target lets an origin in.
    pub(crate) fn post(&self, target: usize, origin: usize) {
        self.posts(origin)[target].fetch_add(1, Ordering::SeqCst);
    }

    /// How often each target let an origin in.
    pub(super) fn posts(&self, origin: usize) -> &[AtomicU32] {
        let none = || self.locks.iter().map(|_| AtomicU32::new(0)).collect();
        self.posts[origin].get_or_init(none)
    }

    /// The same, if any ever did.
    pub(super) fn known_posts(&self, origin: usize) -> Option<&[AtomicU32]> {
        self.posts[origin].get().map(|posts| &**posts)
    }

    /// An origin is through with a target.
    pub(crate) fn complete(&self, target: usize) {
        self.completions[target].fetch_add(1, Ordering::SeqCst);
    }
}
