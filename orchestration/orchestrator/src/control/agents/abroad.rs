//! Policies at sites: what sites are told, so that they ask them while they are cut off, and what
//! they have decided meanwhile.

use super::{apart, lock, record};
use crate::control::{
    Error, Result, apply,
    batch::Batch,
    cache::{Cache, Id, Policy},
    decisions,
    state::State,
};
use api::{
    Kind,
    link::{Decided, PolicyAssignment, PolicyPlace},
};
use axum::body::Body;
use learning::catalog::Catalog;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tracing::warn;
use types::Digest;

/// Largest model that is sent to sites; with a larger one they fall back to the reactive rule.
const MODEL_MAX_BYTES: u64 = 32 << 20;
/// Moves that a site is told of: those of a day.
const MOVES_MAX: usize = 200;
/// Decisions that are taken of one beat; the site sends the rest again.
const DECIDED_MAX: usize = 64;

/// The models of policies, as blobs that sites fetch.
#[derive(Debug, Default)]
pub(super) struct Models(Mutex<HashMap<Id, Digest>>);

impl Models {
    /// Those in use, by their policies.
    pub(super) fn known(&self) -> BTreeMap<Id, Digest> {
        lock(&self.0).iter().map(|(id, digest)| (id.clone(), *digest)).collect()
    }
}

/// Makes blobs of the models that policies forecast with.
pub(super) async fn keep_models(state: &Arc<State>, policies: &[Arc<Policy>]) -> Result<()> {
    let mut now = HashMap::new();
    for policy in policies {
        let name = policy.spec.model.clone();
        if ["ewma", "mean", "max"].contains(&name.as_str()) || policy.spec.python_model().is_some()
        {
            continue;
        }
        let catalog = state.agents.catalog.clone();
        let read = apart(move || read(&catalog, &name)).await?;
        // The policy itself says why its model cannot be used.
        let Some((digest, bytes)) = read else { continue };
        if !state.blobs.has(&digest) {
            state.blobs.write(&digest, Body::from(bytes)).await?;
        }
        now.insert(policy.id(), digest);
    }
    let before = std::mem::replace(&mut *lock(&state.agents.abroad.0), now.clone());
    if before != now {
        state.wake();
    }
    Ok(())
}

fn read(catalog: &Catalog, name: &str) -> Option<(Digest, Vec<u8>)> {
    let record = catalog.production(name).ok()?.record;
    let path: PathBuf = catalog.file(name, record.id).ok()?;
    let short = fs::metadata(&path).is_ok_and(|file| file.len() <= MODEL_MAX_BYTES);
    let bytes = short.then(|| fs::read(&path).ok())??;
    Some((Digest::from_sha256(Sha256::digest(&bytes).into()), bytes))
}

/// The policies of the services at a site.
pub(in crate::control) fn assignments(
    cache: &Cache,
    models: &BTreeMap<Id, Digest>,
    site: &str,
) -> Vec<PolicyAssignment> {
    let one = |policy: &Arc<Policy>| {
        let metadata = &policy.resource.metadata;
        let service = cache.services.get(&Id::new(&metadata.tenant, &policy.spec.service))?;
        if service.deleting() || service.status.site.as_deref() != Some(site) {
            return None;
        }
        let admitted = |labels: &BTreeMap<String, String>| {
            let wanted = &service.spec.placement.sites.match_labels;
            wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let others = cache.sites.iter().filter(|(name, other)| {
            *name != site && !other.spec.cordoned && admitted(&other.resource.metadata.labels)
        });
        let places = others.map(|(name, other)| PolicyPlace {
            site: name.clone(),
            edge: other.resource.metadata.labels.get("tier").is_some_and(|tier| tier == "edge"),
        });
        // Its tests are not for sites.
        let spec = api::policy::PolicySpec { tests: Vec::new(), ..policy.spec.clone() };
        Some(PolicyAssignment {
            tenant: metadata.tenant.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            generation: policy.generation(),
            service: service.uid().to_owned(),
            spec,
            model: models.get(&policy.id()).copied(),
            places: places.collect(),
            moves: policy.status.moves.iter().take(MOVES_MAX).cloned().collect(),
        })
    };
    cache.policies.values().filter_map(one).collect()
}

/// Records what a site's policies decided while it was cut off; the ids of what need not be sent
/// again. A decision has the same name whenever it is told, and is stored once.
pub(in crate::control) async fn heard(
    state: &Arc<State>,
    site: &str,
    decided: &[Decided],
) -> Result<Vec<String>> {
    let mut recorded = Vec::new();
    for one in decided.iter().take(DECIDED_MAX) {
        hear(state, site, one).await?;
        recorded.push(one.id.clone());
    }
    Ok(recorded)
}

async fn hear(state: &Arc<State>, site: &str, decided: &Decided) -> Result<()> {
    let id = Id::new(&decided.tenant, &decided.policy);
    let policy = state.cache(|cache| cache.policies.get(&id).cloned());
    // It speaks for policies that it was told of, and for no others.
    let Some(policy) = policy.filter(|policy| policy.uid() == decided.uid) else {
        warn!(site, policy = %id, "a site decided for a policy that is not there any more");
        return Ok(());
    };
    let mut spec = decided.spec.clone();
    spec.subject = format!("service/{}", policy.spec.service);
    spec.by = format!("policy/{}", decided.policy);
    let name = name(site, decided);
    let at = Id::new(&decided.tenant, &name);
    if apply::load(state, Kind::Decision, &at).await?.is_none() {
        let mut decision = decisions::new(state, &decided.tenant, &spec);
        decision.metadata.name = name.clone();
        decision.metadata.labels.insert("site".to_owned(), site.to_owned());
        let decision = decisions::ended(state, decision, decisions::DONE, decided.observed.clone());
        let mut batch = Batch::new();
        decisions::add(state, &mut batch, decision);
        match state.commit(batch).await {
            // Somebody stored it in between, as this site over another connection.
            Ok(_) | Err(Error::Raced) => {}
            Err(error) => return Err(error),
        }
        record::named(state, &id, &name).await?;
    }
    if let Some(go) = &decided.go {
        let why = format!("`{site}` was cut off, and would have let it go to `{go}`");
        state.agents.seen(&id, |seen| seen.again = Some(why));
    }
    Ok(())
}

/// Sorts by time, and is the same for the same decision.
fn name(site: &str, decided: &Decided) -> String {
    let digest = Sha256::digest(format!("{site}/{}", decided.id));
    let short = data_encoding::HEXLOWER.encode(&digest[..4]);
    // A site's clock may be anything.
    let at = decided.spec.at.min(9_999_999_999_999);
    format!("{at:013}-at-site-{short}")
}

/// The models' blobs, which are not to be removed.
pub(in crate::control) fn in_use(state: &State) -> String {
    let known = state.agents.abroad.known();
    known.values().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// What a site is told of depends on these.
pub(in crate::control) fn models(state: &State) -> BTreeMap<Id, Digest> {
    state.agents.abroad.known()
}
