//! Functions of policies' own Python: their processes, their sensors, and the figures of these.

use super::{apart, lock, record, situation};
use crate::{
    control::{
        Error, Result,
        cache::{Id, Policy, Service},
        state::State,
    },
    python::{self, Marked, Worker, sensor::Said},
};
use api::policy::Function;
use learning::agent::{Figures, sensor};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
};
use types::ErrorKind;

/// A figure counts until its sensor was to be asked so many times again.
const ROUNDS_MAX: u64 = 3;

/// The processes of policies' Python.
#[derive(Debug, Default)]
pub(super) struct Functions(Mutex<HashMap<Id, Known>>);

/// A worker, and what it was made for.
#[derive(Debug)]
struct Known {
    uid: String,
    python: api::policy::Python,
    worker: Arc<Worker>,
}

/// What a sensor last said.
#[derive(Debug, Clone, Default)]
pub(super) struct Sensed {
    at_ms: u64,
    every_ms: u64,
    /// By site; under no name what holds for all.
    values: BTreeMap<String, f64>,
}

impl Functions {
    /// The worker of a policy, if it has functions; its process begins when it is asked.
    pub(super) fn worker(&self, policy: &Policy) -> Result<Option<Arc<Worker>>> {
        let Some(python) = &policy.spec.python else { return Ok(None) };
        let mut known = lock(&self.0);
        if let Some(known) = known.get(&policy.id())
            && known.uid == policy.uid()
            && known.python == *python
        {
            return Ok(Some(known.worker.clone()));
        }
        // What the former one was promised is free when its thread has ended.
        known.remove(&policy.id());
        let worker = Worker::new(python)
            .map_err(|error| Error::refuse(ErrorKind::Exhausted, error.to_string()))?;
        let worker = Arc::new(worker);
        let (uid, python) = (policy.uid().to_owned(), python.clone());
        known.insert(policy.id(), Known { uid, python, worker: worker.clone() });
        Ok(Some(worker))
    }

    pub(super) fn forget(&self, policies: &HashSet<Id>) {
        lock(&self.0).retain(|id, _| policies.contains(id));
    }
}

/// Asks the sensors that are due; why the policy is to be run, if one of them says so.
pub(super) async fn sensed(
    state: &Arc<State>,
    policy: &Arc<Policy>,
    service: Option<Arc<Service>>,
) -> Result<Option<String>> {
    let Some(service) = service.filter(|_| policy.spec.python_sensors().next().is_some()) else {
        return Ok(None);
    };
    let (asked, of) = (state.clone(), policy.clone());
    match apart(move || ask_all(&asked, &of, &service)).await? {
        // It was said when it failed.
        Err(python::Error::Resting { .. }) => Ok(None),
        Err(error) => record::sensing(state, policy, Some(&error)).await.map(|()| None),
        // Of what was not asked it is not known whether it would answer.
        Ok(Heard { answered: false, .. }) => Ok(None),
        Ok(Heard { why, .. }) => record::sensing(state, policy, None).await.map(|()| why),
    }
}

/// What sensors said.
#[derive(Debug, Default)]
struct Heard {
    /// One was asked, and answered.
    answered: bool,
    /// Why the policy is to be run, if it is.
    why: Option<String>,
}

fn ask_all(
    state: &State,
    policy: &Policy,
    service: &Service,
) -> std::result::Result<Heard, python::Error> {
    let worker = state.agents.functions.worker(policy);
    let worker = worker.map_err(|error| python::Error::Failed(types::chain(&error)))?;
    let Some(worker) = worker else { return Ok(Heard::default()) };
    let marked = worker.functions()?;
    let (now_ms, mut heard) = (state.wall_ms(), Heard::default());
    let mut gathered = None;
    for function in policy.spec.python_sensors() {
        let own = marked.iter().find(|one| one.kind == "sensor" && one.name == function.name);
        let last = state.agents.seen(&policy.id(), |seen| seen.sensed.get(&function.name).cloned());
        let (due, every_ms) = due(own, last.as_ref(), now_ms)?;
        if !due {
            continue;
        }
        // Before it is asked: one that fails is asked again no sooner.
        let noted = Sensed { at_ms: now_ms, every_ms, ..last.unwrap_or_default() };
        note(state, policy, function, noted.clone());
        let places = gathered.get_or_insert_with(|| situation::gather(state, policy, service));
        let Some(places) = places else { return Ok(heard) };
        let nodes = own.map(|own| own.nodes.as_slice()).unwrap_or_default();
        let question =
            places.ask(|situation| python::sensor::question(function, situation.moment, nodes));
        let said = python::sensor::answer(&function.name, &worker.call(question)?)?;
        heard.answered = true;
        match said {
            Said::Nothing => {}
            Said::Run(reason) => heard.why = heard.why.or(Some(reason)),
            Said::Values(values) => {
                let values = of_places(values, &places.places);
                note(state, policy, function, Sensed { values, ..noted });
            }
        }
    }
    Ok(heard)
}

/// What was said of sites where the service can be, or of all: a function may name whatever it
/// likes, and what it says stays in memory.
fn of_places(mut values: BTreeMap<String, f64>, places: &[situation::At]) -> BTreeMap<String, f64> {
    values.retain(|name, _| name.is_empty() || places.iter().any(|at| at.site == *name));
    values
}

fn note(state: &State, policy: &Policy, function: &Function, sensed: Sensed) {
    state.agents.seen(&policy.id(), |seen| seen.sensed.insert(function.name.clone(), sensed));
}

/// Whether a sensor is to be asked, and how often it is.
fn due(
    own: Option<&Marked>,
    last: Option<&Sensed>,
    now_ms: u64,
) -> std::result::Result<(bool, u64), python::Error> {
    let times = own.map(python::sensor::times).transpose()?.unwrap_or_default();
    let every_ms = python::sensor::every_ms(&times);
    let last = last.map(|last| last.at_ms);
    Ok((sensor::due(&times, last, now_ms, &[]).is_some(), every_ms))
}

/// What the sensors last said in numbers, for each place.
pub(super) fn figures(
    state: &State,
    policy: &Policy,
    places: &[situation::At],
    now_ms: u64,
) -> Figures {
    let one = |function: &Function| {
        let sensed =
            state.agents.seen(&policy.id(), |seen| seen.sensed.get(&function.name).cloned());
        let fresh = |sensed: &Sensed| {
            now_ms.saturating_sub(sensed.at_ms) <= sensed.every_ms.saturating_mul(ROUNDS_MAX)
        };
        let values = sensed.filter(fresh).map(|sensed| sensed.values).unwrap_or_default();
        let of = |at: &situation::At| values.get(&at.site).or_else(|| values.get("")).copied();
        (function.name.clone(), places.iter().map(of).collect())
    };
    policy.spec.python_sensors().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_other_names_is_not_kept() {
        let at = |site: &str| situation::At { site: site.into(), edge: false, samples: Vec::new() };
        let said = ["", "edge", "moon"].map(|name| (name.to_owned(), 1.0));

        let kept = of_places(BTreeMap::from(said), &[at("edge"), at("cloud")]);

        assert_eq!(kept.into_keys().collect::<Vec<_>>(), ["", "edge"]);
    }
}
