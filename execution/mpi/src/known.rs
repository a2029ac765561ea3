//! The communicators that a site knows, by their contexts.

use crate::{
    abi,
    communicator::Shared,
    error::{Result, ensure},
    site::{frame::Frame, gather::Spread, letter::Wrong},
    world::{World, lock},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
};

/// Communicators of which other sites may tell before this one has them.
const AHEAD_MAX: usize = 1 << 18;

/// A communicator, until its members here have forgotten it.
#[derive(Debug)]
struct Kept {
    shared: Weak<Shared>,
    /// The same, until every member here has taken it and every other site has it.
    until_settled: Option<Arc<Shared>>,
}

impl Kept {
    fn settle(&mut self) {
        if self.until_settled.as_ref().is_some_and(|shared| shared.is_settled()) {
            self.until_settled = None;
        }
    }
}

/// The communicators that have members here.
#[derive(Debug, Default)]
pub(crate) struct Known {
    communicators: HashMap<u32, Kept>,
    /// Sites that told of communicators which are not known here yet.
    early: HashMap<u32, BTreeSet<u32>>,
    /// How many there may be before those are removed that are forgotten.
    purge_at: usize,
}

impl Known {
    fn get(&self, context: u32) -> Option<Arc<Shared>> {
        self.communicators.get(&context)?.shared.upgrade()
    }

    pub(crate) fn add(&mut self, shared: &Arc<Shared>) {
        if self.communicators.len() >= self.purge_at {
            self.communicators.retain(|_, kept| kept.shared.strong_count() > 0);
            self.purge_at = 2 * self.communicators.len() + 64;
        }
        let until_settled = Some(Arc::clone(shared));
        let mut kept = Kept { shared: Arc::downgrade(shared), until_settled };
        kept.settle();
        self.communicators.insert(shared.context, kept);
    }

    /// All that are not forgotten, in the order of their contexts.
    pub(crate) fn all(&self) -> Vec<Arc<Shared>> {
        let all = self.communicators.values().filter_map(|kept| kept.shared.upgrade());
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|shared| shared.context);
        all
    }
}

impl World {
    /// The same world, to which the communicator of all ranks is known; every site has it from the
    /// beginning.
    pub(crate) fn furnished(self) -> Self {
        if let Some(spread) = &self.everyone.spread {
            spread.others().for_each(|site| spread.made_at(site));
        }
        lock(&self.known).add(&self.everyone);
        self
    }

    /// A communicator by its context; nothing if its members here have forgotten it.
    pub(crate) fn communicator(&self, context: u32) -> Option<Arc<Shared>> {
        lock(&self.known).get(context)
    }

    /// A communicator of these members, under its context: the one that is known here, or a new
    /// one.
    pub(crate) fn shared(&self, context: u32, members: Vec<u32>) -> Result<Arc<Shared>> {
        let mut known = lock(&self.known);
        if let Some(shared) = known.get(context) {
            // Another member told the number.
            let same = shared.members == members;
            ensure(same, abi::ERR_INTERN, || format!("communicator {context} exists already"))?;
            return Ok(shared);
        }
        let spread = self.sites.as_deref().and_then(|sites| Spread::of(sites, &members));
        let early = known.early.remove(&context).unwrap_or_default();
        if let Some(spread) = &spread {
            early.into_iter().for_each(|site| spread.made_at(site));
        }
        let shared = Arc::new(Shared::new(context, members).over(spread));
        known.add(&shared);
        drop(known);
        if let (Some(sites), Some(spread)) = (self.sites.as_deref(), &shared.spread) {
            spread.others().for_each(|site| sites.send(self, site, &Frame::Made { context }));
        }
        Ok(shared)
    }

    /// The communicator of a rank alone, whose context is the first that it may make.
    pub(crate) fn alone(&self, rank: u32) -> Arc<Shared> {
        let shared = Arc::new(Shared::new(1 + rank, vec![rank]));
        lock(&self.known).add(&shared);
        shared
    }

    /// A rank has a communicator that may have been made before it came.
    pub(crate) fn taken(&self, shared: &Shared, rank: u32) {
        let Some(member) = shared.rank_of(rank) else { return };
        shared.set_progress(member as usize, 1);
        if let Some(kept) = lock(&self.known).communicators.get_mut(&shared.context) {
            kept.settle();
        }
    }

    /// Another site has a communicator.
    pub(crate) fn made_at(&self, site: u32, context: u32) -> Result<(), Wrong> {
        let mut known = lock(&self.known);
        let Some(kept) = known.communicators.get_mut(&context) else {
            if known.early.len() >= AHEAD_MAX {
                return Err("tells of more communicators than it may be ahead");
            }
            known.early.entry(context).or_default().insert(site);
            return Ok(());
        };
        let Some(shared) = kept.shared.upgrade() else { return Ok(()) };
        if let Some(spread) = &shared.spread {
            spread.made_at(site);
        }
        kept.settle();
        drop(known);
        self.wake_all(&shared.members);
        Ok(())
    }
}
