//! The access keys an endpoint knows.

use crate::config::Key;
use std::{collections::HashMap, sync::Arc};

/// Access keys by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(HashMap<String, Arc<Key>>);

impl Keys {
    pub(crate) fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        Self(keys.into_iter().map(|key| (key.access_key.clone(), Arc::new(key))).collect())
    }

    pub(super) fn find(&self, access_key: &str) -> Option<&Arc<Key>> {
        self.0.get(access_key)
    }
}
