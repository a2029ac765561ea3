//! Which queue stands behind a name.

use super::{Gate, Queue, Route};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// All queues of the site.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_uid: HashMap<String, Arc<Queue>>,
    /// Tenant, then name.
    by_name: HashMap<String, HashMap<String, Arc<Queue>>>,
}

impl Routes {
    /// The queue of a service.
    pub(super) fn find(&self, tenant: &str, name: &str) -> Option<Arc<Queue>> {
        self.read().by_name.get(tenant)?.get(name).cloned()
    }

    /// The queue of a service by its uid.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<Arc<Queue>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// All queues.
    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.read().by_uid.values().cloned().collect()
    }

    /// Treats a service's requests so from now on. One that is `held` has the name before one of
    /// the same name that moved away.
    pub(crate) fn set(&self, uid: &str, tenant: &str, name: &str, held: bool, route: Route) {
        let known = self.read().by_uid.get(uid).cloned();
        let queue = match known {
            Some(queue) => {
                queue.set(route);
                queue
            }
            None => Arc::new(Queue::new(uid.into(), tenant.into(), name.into(), route)),
        };
        let named = self.find(tenant, name);
        if named.is_none_or(|named| named.uid != uid && held) {
            let mut tables = self.write();
            tables.by_uid.insert(uid.to_owned(), queue.clone());
            tables.by_name.entry(tenant.to_owned()).or_default().insert(name.to_owned(), queue);
        }
    }

    /// The service is no longer here; requests that wait for it are told so.
    pub(crate) fn remove(&self, uid: &str) {
        let mut tables = self.write();
        let Some(queue) = tables.by_uid.remove(uid) else { return };
        if let Some(names) = tables.by_name.get_mut(&queue.tenant) {
            if names.get(&queue.name).is_some_and(|named| named.uid == uid) {
                names.remove(&queue.name);
            }
            if names.is_empty() {
                tables.by_name.remove(&queue.tenant);
            }
        }
        drop(tables);
        let route = queue.route();
        queue.set(Route { gate: Gate::Gone, max_body: route.max_body, timeout: route.timeout });
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}
