//! Which versions of a model were and are used.

use super::Stage;
use serde::{Deserialize, Serialize};

/// So many versions can be gone back.
const HISTORY_MAX: usize = 50;
/// So many removals are remembered: far more than are ever under way at once.
const REMOVED_MAX: usize = 1000;

/// The file `stages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stages {
    /// Versions that were in production, in their order; the last one is.
    pub(super) history: Vec<u32>,
    /// Versions that were and are no more.
    pub(super) retired: Vec<u32>,
    /// The highest number of a version that was removed.
    #[serde(default)]
    pub(super) last_id: u32,
    /// Versions that were removed, or are about to be: the last ones.
    #[serde(default)]
    removed: Vec<u32>,
}

impl Stages {
    pub(super) fn production(&self) -> Option<u32> {
        self.history.last().copied()
    }

    /// Whether somebody removes it, or has.
    pub(super) fn is_removed(&self, id: u32) -> bool {
        self.removed.contains(&id)
    }

    pub(super) fn stage(&self, id: u32) -> Stage {
        let has = |ids: &&Vec<u32>| ids.contains(&id);
        match self.production() == Some(id) {
            true => Stage::Production,
            false if [&self.history, &self.retired, &self.removed].iter().any(has) => {
                Stage::Retired
            }
            false => Stage::Candidate,
        }
    }

    pub(super) fn promote(&mut self, id: u32) {
        self.history.retain(|other| *other != id);
        self.retired.retain(|other| *other != id);
        self.history.push(id);
        if self.history.len() > HISTORY_MAX {
            let oldest = self.history.remove(0);
            self.retired.push(oldest);
        }
    }

    pub(super) fn rollback(&mut self) {
        self.retired.extend(self.history.pop());
    }

    pub(super) fn forget(&mut self, id: u32) {
        self.history.retain(|other| *other != id);
        self.retired.retain(|other| *other != id);
        self.last_id = self.last_id.max(id);
        self.removed.retain(|other| *other != id);
        self.removed.push(id);
        let more = self.removed.len().saturating_sub(REMOVED_MAX);
        self.removed.drain(..more);
    }
}
