//! Policies at sites: what sites are told, so that they ask them while they are cut off, and what
//! they have decided meanwhile.

use super::{apart, lock, record, service_of};
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
    policy::{Actuator, PolicySpec},
};
use axum::body::Body;
use learning::catalog::Catalog;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tracing::warn;
use types::{Digest, ErrorKind};

/// Largest model that is sent to sites; with a larger one they fall back to the reactive rule.
const MODEL_MAX_BYTES: u64 = 32 << 20;
/// Moves that a site is told of: those of a day.
const MOVES_MAX: usize = 200;
/// Bytes of all policies that one site is told of, as JSON: all that it is told goes in one message,
/// which may have 16 MiB.
const TOLD_MAX_BYTES: usize = 2 << 20;
/// Decisions that are taken of one beat; the site sends the rest again.
const DECIDED_MAX: usize = 64;

/// The models of policies, as blobs that sites fetch.
#[derive(Debug, Default)]
pub(super) struct Models {
    kept: Mutex<HashMap<Id, Digest>>,
    /// Policies of which their sites are not told, because it would be too much.
    left_out: Mutex<BTreeSet<Id>>,
}

impl Models {
    /// Those in use, by their policies.
    pub(super) fn known(&self) -> BTreeMap<Id, Digest> {
        lock(&self.kept).iter().map(|(id, digest)| (id.clone(), *digest)).collect()
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
    let before = std::mem::replace(&mut *lock(&state.agents.abroad.kept), now.clone());
    if before != now {
        state.wake();
    }
    tell_left_out(state);
    Ok(())
}

/// Says of which policies sites are not told, whenever that changes.
fn tell_left_out(state: &State) {
    let models = models(state);
    let left_out: BTreeSet<Id> = state.cache(|cache| {
        let services = cache.policies.values().filter_map(|policy| {
            let tenant = &policy.resource.metadata.tenant;
            cache.services.get(&Id::new(tenant, &policy.spec.service))
        });
        let sites: BTreeSet<&str> =
            services.filter_map(|service| service.status.site.as_deref()).collect();
        sites.into_iter().flat_map(|site| told(cache, &models, site).1).collect()
    });
    let before = std::mem::replace(&mut *lock(&state.agents.abroad.left_out), left_out.clone());
    for policy in left_out.difference(&before) {
        warn!(
            policy = %policy,
            "its site is not told of it, and will not ask it when it is cut off: all policies there are more than {TOLD_MAX_BYTES} bytes"
        );
    }
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
    told(cache, models, site).0
}

/// The policies that a site is told of, and those that would be too much.
fn told(
    cache: &Cache,
    models: &BTreeMap<Id, Digest>,
    site: &str,
) -> (Vec<PolicyAssignment>, Vec<Id>) {
    let all = cache.policies.values();
    within(all.filter_map(|policy| assignment(cache, models, site, policy)), TOLD_MAX_BYTES)
}

/// Those that fit into so many bytes, and the names of the others.
fn within(
    all: impl Iterator<Item = PolicyAssignment>,
    mut left: usize,
) -> (Vec<PolicyAssignment>, Vec<Id>) {
    let (mut told, mut left_out) = (Vec::new(), Vec::new());
    for one in all {
        let bytes = serde_json::to_vec(&one).map_or(usize::MAX, |text| text.len());
        match left.checked_sub(bytes) {
            Some(rest) => {
                left = rest;
                told.push(one);
            }
            None => left_out.push(Id::new(&one.tenant, &one.name)),
        }
    }
    (told, left_out)
}

/// What a site is told of a policy, if the policy's service is there.
fn assignment(
    cache: &Cache,
    models: &BTreeMap<Id, Digest>,
    site: &str,
    policy: &Policy,
) -> Option<PolicyAssignment> {
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
    Some(PolicyAssignment {
        tenant: metadata.tenant.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        generation: policy.generation(),
        service: service.uid().to_owned(),
        spec: for_a_site(&policy.spec),
        model: models.get(&policy.id()).copied(),
        places: places.collect(),
        moves: policy.status.moves.iter().take(MOVES_MAX).cloned().collect(),
    })
}

/// What a site needs of a policy: not its tests, nor what it could not do alone anyway and has
/// passwords in it.
fn for_a_site(spec: &PolicySpec) -> PolicySpec {
    let mut spec = PolicySpec { tests: Vec::new(), ..spec.clone() };
    spec.actuators.retain(|actuator| !matches!(actuator, Actuator::Nbi(_)));
    spec
}

/// Records what a site's policies decided while it was cut off; the ids of what need not be sent
/// again. A decision has the same name whenever it is told, and is stored once. One that cannot be
/// recorded holds up no other.
pub(in crate::control) async fn heard(
    state: &Arc<State>,
    site: &str,
    decided: &[Decided],
) -> Vec<String> {
    let mut recorded = Vec::new();
    for one in decided.iter().take(DECIDED_MAX) {
        if let Err(error) = hear(state, site, one).await {
            let (policy, kind) = (Id::new(&one.tenant, &one.policy), error.kind());
            let error = types::chain(&error);
            warn!(site, policy = %policy, id = one.id, error, "what a site decided is not noted");
            match kind {
                // Neither would the others be, and the site waits for an answer to its beat.
                ErrorKind::Unavailable => break,
                // It never will be: the site is not to send it for ever.
                ErrorKind::Invalid | ErrorKind::Forbidden | ErrorKind::NotFound => {}
                _ => continue,
            }
        }
        recorded.push(one.id.clone());
    }
    recorded
}

async fn hear(state: &Arc<State>, site: &str, decided: &Decided) -> Result<()> {
    let id = Id::new(&decided.tenant, &decided.policy);
    let policy = state.cache(|cache| cache.policies.get(&id).cloned());
    // It speaks for policies that it was told of, and for no others.
    let Some(policy) = policy.filter(|policy| policy.uid() == decided.uid) else {
        return Err(Error::refuse(ErrorKind::NotFound, "the policy is not there any more"));
    };
    if !was_at(state, &policy, site) {
        let text = format!("`service/{}` was not at `{site}`", policy.spec.service);
        return Err(Error::refuse(ErrorKind::Forbidden, text));
    }
    let name = name(site, decided);
    let at = Id::new(&decided.tenant, &name);
    if apply::load(state, Kind::Decision, &at).await?.is_none() {
        store(state, site, &policy, decided, &name).await?;
    }
    // Told again, it may be stored and not named: the process may have ended in between.
    if !policy.status.decisions.contains(&name) {
        record::named(state, &id, &name).await?;
    }
    if let Some(go) = &decided.go {
        let why = format!("`{site}` was cut off, and would have let it go to `{go}`");
        state.agents.seen(&id, |seen| seen.again = Some(why));
    }
    Ok(())
}

/// Whether a policy's service is at a site, or was lately.
fn was_at(state: &State, policy: &Policy, site: &str) -> bool {
    let is = service_of(state, policy)
        .is_some_and(|service| service.status.site.as_deref() == Some(site));
    // A move that has just been made is not in the policy's status yet.
    let noted = policy.status.site.as_deref() == Some(site);
    is || noted || policy.status.moves.iter().any(|moved| moved.from == site)
}

async fn store(
    state: &Arc<State>,
    site: &str,
    policy: &Policy,
    decided: &Decided,
    name: &str,
) -> Result<()> {
    let mut spec = decided.spec.clone();
    spec.subject = format!("service/{}", policy.spec.service);
    spec.by = format!("policy/{}", decided.policy);
    let mut decision = decisions::new(state, &decided.tenant, &spec);
    name.clone_into(&mut decision.metadata.name);
    decision.metadata.labels.insert("site".to_owned(), site.to_owned());
    let decision = decisions::ended(state, decision, decisions::DONE, decided.observed.clone());
    let mut batch = Batch::new();
    decisions::add(state, &mut batch, decision);
    match state.commit(batch).await {
        // Somebody stored it in between, as this site over another connection.
        Ok(_) | Err(Error::Raced) => Ok(()),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assigned(name: &str) -> PolicyAssignment {
        let spec = json!({
            "service": "counter", "sla": "100ms",
            "actuators": ["migrate", {"nbi": {
                "url": "https://nbi.example.org", "org": "lab", "app": "counter",
                "login": {"identifier": "me", "password": "secret"}, "blockChart": "counter",
                "blockChartVersion": "1.0.0", "sites": {"cloud": "site-2"},
            }}],
        });
        let spec: PolicySpec = serde_json::from_value(spec).unwrap();
        PolicyAssignment {
            tenant: "default".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            generation: 1,
            service: "uid-counter".into(),
            spec: for_a_site(&spec),
            model: None,
            places: Vec::new(),
            moves: Vec::new(),
        }
    }

    #[test]
    fn sites_are_told_of_so_much_and_of_no_passwords() {
        let mut large = assigned("large");
        large.spec.model = "x".repeat(10_000);
        let all = [assigned("a"), large, assigned("z")];

        let (told, left_out) = within(all.into_iter(), 4000);

        let names: Vec<_> = told.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((names, left_out), (vec!["a", "z"], vec![Id::new("default", "large")]));
        let text = serde_json::to_string(&told).unwrap();
        assert!(text.contains("migrate") && !text.contains("secret"), "{text}");
    }
}
