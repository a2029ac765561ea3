//! Last calls of a transaction, kept in the store until the site has answered.
//!
//! The commit and the abort of a migration write them in the same transaction, so that neither a
//! crash nor a cut can leave a site without the verdict. Calls are idempotent: one that was heard
//! but not settled is made again.

use super::{
    Result,
    batch::Batch,
    conn::{CallError, Conn},
    state::State,
};
use api::link::Call;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tracing::warn;

/// One call that a site is owed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Owed {
    /// Who must hear it.
    pub(super) site: String,
    /// About which service.
    pub(super) uid: String,
    /// What.
    pub(super) call: Call,
}

/// Makes the call at `key`. Once the site has answered, whatever it said, it is to be settled.
pub(super) async fn call(state: &State, key: &str) -> Result<(), CallError> {
    let owed = state.cache(|cache| cache.owed.get(key).cloned());
    let Some(owed) = owed else { return Ok(()) };
    let conn = state.sites(|sites| sites.connection(&owed.site)).map_err(CallError::Unheard)?;
    let answer = conn.call(owed.call.clone(), state.config.call_timeout).await;
    match &answer {
        Ok(_) => state.sites(|sites| sites.follow(&owed.site, &owed.uid, &owed.call)),
        Err(CallError::Refused(_)) => {}
        Err(CallError::Unheard(problem)) => {
            // It stays owed. A site that does not answer is cut off, so that it comes back and
            // hears it then.
            warn!(site = owed.site, problem = problem.message, "the site has not heard a verdict");
            conn.close();
        }
    }
    answer.map(drop)
}

/// Forgets all calls about a service: what sites hold of it is decided anew, by epochs alone.
pub(super) fn settle_all(state: &State, batch: &mut Batch, uid: &str) {
    let keys: Vec<String> = state.cache(|cache| {
        let about = cache.owed.iter().filter(|(_, owed)| owed.uid == uid);
        about.map(|(key, _)| key.clone()).collect()
    });
    for key in keys {
        batch.settle(&key);
    }
}

/// Makes every call that the site is owed, in order; for a site that came back.
pub(super) async fn deliver_all(state: Arc<State>, conn: Arc<Conn>) {
    let keys: Vec<String> = state.cache(|cache| {
        let of_site = cache.owed.iter().filter(|(_, owed)| owed.site == conn.site());
        of_site.map(|(key, _)| key.clone()).collect()
    });
    for key in keys {
        match call(&state, &key).await {
            Ok(()) => {}
            Err(CallError::Unheard(_)) => return,
            Err(CallError::Refused(problem)) => {
                warn!(site = conn.site(), problem = problem.message, "a verdict was answered with");
            }
        }
        let mut batch = Batch::new();
        batch.settle(&key);
        if let Err(error) = state.commit(batch).await {
            warn!(site = conn.site(), error = types::chain(&error), "a verdict stays owed");
        }
    }
}
