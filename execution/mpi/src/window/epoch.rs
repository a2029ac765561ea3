//! Which epochs are open in a window.

use super::Window;
use crate::{
    abi,
    error::{Result, ensure},
};

impl Window {
    /// Fails unless a call to a member is within an epoch.
    pub(super) fn enter_epoch(&mut self, target: usize) -> Result {
        let locked = self.held.len() == self.parts.len()
            || self.held.iter().any(|(held, _)| *held == target);
        let started = || self.access_to.as_ref().is_some_and(|targets| targets.contains(&target));
        if locked || started() {
            return Ok(());
        }
        ensure(self.fenced.is_some(), abi::ERR_RMA_SYNC, || {
            format!("no fence, start or lock lets this process call rank {target} of the window")
        })?;
        self.fenced = Some(true);
        Ok(())
    }

    /// Fails where epochs of other kinds are open.
    pub(super) fn check_closed(&self, locks: bool) -> Result {
        let open = locks && !self.held.is_empty() || self.access_to.is_some();
        ensure(!open, abi::ERR_RMA_SYNC, || {
            "an epoch is open in the window that is to end first".to_owned()
        })
    }
}
