//! Who sleeps when memory for cells runs out.

use super::Service;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How many cells are put to sleep at once: looking for them costs more than that.
const BATCH: usize = 64;

static SERVICES: Mutex<Vec<Weak<Service>>> = Mutex::new(Vec::new());

/// Lets this service be put to sleep when others need its memory.
pub(crate) fn enter(service: &Arc<Service>) {
    let mut services = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if services.len() == services.capacity() {
        services.retain(|service| service.strong_count() > 0);
    }
    services.push(Arc::downgrade(service));
}

/// Puts the cells to sleep that were idle longest; false if none could be.
pub(crate) fn make() -> bool {
    let mut idle: Vec<(u64, Arc<Service>)> = {
        let services = SERVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = services.iter().filter_map(Weak::upgrade);
        known.filter_map(|service| Some((service.idle_since()?, service))).collect()
    };
    if idle.len() > BATCH {
        idle.select_nth_unstable_by_key(BATCH, |(since, _)| *since);
    }
    let mut slept = 0;
    for (_, service) in idle {
        slept += usize::from(service.hibernate());
        if slept >= BATCH {
            break;
        }
    }
    slept > 0
}
