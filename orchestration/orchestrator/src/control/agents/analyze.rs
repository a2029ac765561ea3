//! Planning on request: what a service is like now, what is forecast, and what its policies say.

use super::{act, policies};
use crate::control::{Error, Result, apply, cache::Id, state::State};
use api::{DEFAULT_TENANT, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use types::{ErrorKind, check_name};

/// Whose quality of service is to be analyzed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Asked {
    /// A service.
    #[serde(alias = "application", alias = "app")]
    service: String,
    /// Of which tenant.
    #[serde(default)]
    tenant: Option<String>,
}

/// Runs the policies of a service now and answers with what they found; they act as they would by
/// themselves.
pub(in super::super) async fn analyze(state: &Arc<State>, asked: Asked) -> Result<Value> {
    let tenant = asked.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
    let name = asked.service.strip_prefix("service/").unwrap_or(&asked.service);
    for name in [tenant, name] {
        check_name(name).map_err(|error| Error::refuse(ErrorKind::Invalid, error.to_string()))?;
    }
    let id = Id::new(tenant, name);
    let mut own = policies(state);
    own.retain(|policy| policy.resource.metadata.tenant == tenant && policy.spec.service == name);
    let Some(service) = state.cache(|cache| cache.services.get(&id).cloned()) else {
        return Err(apply::not_found(Kind::Service, &id));
    };
    if own.is_empty() {
        let message = format!("no policy looks after `service/{name}`: apply one");
        return Err(Error::refuse(ErrorKind::NotFound, message));
    }
    let mut analyses = Vec::new();
    for policy in own {
        let ran = act::run(state, &policy.id(), "it was asked to").await?;
        let spec = ran.spec.as_ref();
        let qos = spec.and_then(|spec| spec.inputs.get("measured")).cloned();
        analyses.push(json!({
            "policy": policy.resource.metadata.name,
            "sla": policy.spec.sla,
            "qos": qos,
            "prediction": spec.map(|spec| &spec.prediction),
            "alternatives": spec.map(|spec| &spec.alternatives),
            "verdict": ran.said,
            "action": spec.map(|spec| &spec.action),
            "decision": ran.decision,
        }));
    }
    let site = &service.status.site;
    Ok(json!({"service": name, "tenant": tenant, "site": site, "analyses": analyses}))
}
