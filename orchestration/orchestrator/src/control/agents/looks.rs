//! Who is looked at, and whose turn it is: policies are looked at side by side, and one tenant's
//! slow ones must not keep those of others waiting.

use super::lock;
use crate::control::cache::Id;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

/// Policies that are looked at at a time.
const LOOKS_MAX: usize = 32;
/// Those of one tenant among them.
const OF_A_TENANT_MAX: usize = 8;

/// Policies that are being looked at.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// With the number of the look.
    under_way: HashMap<Id, u64>,
    /// The number of each policy's last look.
    last: HashMap<Id, u64>,
    count: u64,
}

/// The right to look at a policy, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    looks: Arc<Looks>,
    id: Id,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = lock(&self.looks.0);
        // A policy that was deleted and made anew may be looked at again already.
        if inner.under_way.get(&self.id) == Some(&self.number) {
            inner.under_way.remove(&self.id);
        }
    }
}

impl Looks {
    /// Those that were not looked at for longest come first: a round goes on behind where the one
    /// before it had no place left, for each tenant and for all.
    pub(super) fn in_turn<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> Id) -> Vec<T> {
        let inner = lock(&self.0);
        all.sort_by_cached_key(|one| inner.last.get(&id(one)).copied().unwrap_or_default());
        all
    }

    /// Begins a look; nothing if it is under way already, or too many others are.
    pub(super) fn begin(self: &Arc<Self>, id: &Id) -> Option<Place> {
        let mut inner = lock(&self.0);
        let of_it = inner.under_way.keys().filter(|other| other.tenant == id.tenant).count();
        let full = inner.under_way.len() >= LOOKS_MAX || of_it >= OF_A_TENANT_MAX;
        if full || inner.under_way.contains_key(id) {
            return None;
        }
        inner.count += 1;
        let number = inner.count;
        inner.under_way.insert(id.clone(), number);
        inner.last.insert(id.clone(), number);
        Some(Place { looks: self.clone(), id: id.clone(), number })
    }

    /// Keeps these policies alone.
    pub(super) fn forget(&self, known: &HashSet<Id>) {
        let mut inner = lock(&self.0);
        inner.under_way.retain(|id, _| known.contains(id));
        inner.last.retain(|id, _| known.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: &str, count: usize) -> Vec<Id> {
        (0..count).map(|number| Id::new(tenant, &format!("p{number:02}"))).collect()
    }

    fn round(looks: &Arc<Looks>, all: &[Id]) -> Vec<Place> {
        let turn = looks.in_turn(all.to_vec(), Id::clone);
        turn.iter().filter_map(|id| looks.begin(id)).collect()
    }

    #[test]
    fn a_tenant_with_many_slow_policies_keeps_nobody_else_waiting() {
        let looks = Arc::new(Looks::default());
        let all = [of("a", 100), of("b", 2)].concat();

        let slow = round(&looks, &all);

        assert_eq!(slow.len(), OF_A_TENANT_MAX + 2);
        assert!(round(&looks, &all).is_empty(), "each of them is looked at once at a time");
        drop(slow);
        let next = round(&looks, &all);
        assert!(next.iter().any(|place| place.id == all[8]), "the next ones have their turn");
        assert!(next.iter().all(|place| place.id != all[0]));
    }

    #[test]
    fn a_place_is_given_back_by_a_panic_and_by_whoever_is_gone() {
        let looks = Arc::new(Looks::default());
        let id = Id::new("a", "qos");
        let place = looks.begin(&id).unwrap();
        let ended = std::thread::spawn(move || {
            let _place = place;
            panic!("a look that panics");
        });
        assert!(ended.join().is_err());

        let old = looks.begin(&id).unwrap();
        looks.forget(&HashSet::new());
        let _new = looks.begin(&id).unwrap();
        drop(old);
        assert!(looks.begin(&id).is_none(), "the new one is still under way");
    }
}
