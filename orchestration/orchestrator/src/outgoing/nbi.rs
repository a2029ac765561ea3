//! Another orchestrator moves its application: NearbyOne's northbound interface, as a client.
//!
//! The application is deployed where it goes, waited for, and only then removed where it was. What
//! fails on the way leaves it where it was.

use super::https::{Caller, pause};
use api::policy::{Login, Nbi};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, Uri, header};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

const BASE: &str = "/inno-nbi-api";
const LOGIN: &str = "/.ory/kratos/public/self-service/login/api";
/// What the other side calls a service chain that is as it was declared.
const IN_SYNC: &str = "OKTOSTATUS_IN_SYNC";
const ERROR: &str = "OKTOSTATUS_ERROR";
/// Between two looks at what is being deployed.
const LOOK: Duration = Duration::from_millis(1000);

/// Relocations that may wait for the one of the same application that is under way.
const WAITING_MAX: usize = 4;

/// Who holds it may relocate.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Relocations that are under way, by where the other orchestrator is and the application's name.
#[derive(Debug, Default)]
pub(crate) struct Relocations(Mutex<HashMap<(String, String), Turn>>);

impl Relocations {
    /// Waits until no other relocation of this application is under way: two at a time would
    /// remove what the other one deploys.
    async fn turn(&self, nbi: &Nbi) -> Result<tokio::sync::OwnedMutexGuard<()>, String> {
        let turn = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What only this map holds is over.
            known.retain(|_, turn| Arc::strong_count(turn) > 1);
            known.entry((root(nbi), nbi.app.clone())).or_default().clone()
        };
        // One is the map's, one ours, one of whoever has the turn.
        if Arc::strong_count(&turn) >= WAITING_MAX + 3 {
            let app = &nbi.app;
            return Err(format!("{WAITING_MAX} relocations of `{app}` wait already: nothing done"));
        }
        Ok(turn.lock_owned().await)
    }

    /// Deploys the application at one of our sites' counterparts and removes it elsewhere; what
    /// was done. `deployed` is set to its name there as soon as some of it may be there, so that
    /// whoever stops in the middle can say so.
    pub(crate) async fn relocate(
        &self,
        nbi: &Nbi,
        to: &str,
        deployed: &OnceLock<String>,
    ) -> Result<Value, String> {
        let site =
            nbi.sites.get(to).ok_or_else(|| format!("`sites` names no counterpart of `{to}`"))?;
        let _turn = self.turn(nbi).await?;
        let remote = Remote::enter(nbi).await?;
        let (name, ours) = remote.names(site).await?;
        let (known, broken) = remote.known(&name).await?;
        let _ = deployed.set(name.clone());
        let target = match &known {
            Some(id) => id.clone(),
            None => remote.deploy(&name, site, &broken).await?,
        };
        if let Err(why) = remote.wait(&target).await {
            // What stays of it is found by its name the next time.
            let kept = match known {
                None => remote.remove(&target).await.err(),
                Some(_) => None,
            };
            let kept = kept.map(|why| format!("; what was deployed is still there: {why}"));
            return Err(format!(
                "`{name}` is not ready, and the application stays where it was: {why}{}",
                kept.unwrap_or_default()
            ));
        }
        let removed = remote.leave(&target, &ours).await.map_err(|why| {
            format!("unfinished: `{name}` is deployed, and where it was it may still be: {why}")
        })?;
        Ok(json!({"deployed": name, "id": target, "new": known.is_none(), "removed": removed}))
    }
}

/// Where the other orchestrator is, however its address was written.
fn root(nbi: &Nbi) -> String {
    nbi.url.trim_end_matches('/').trim_end_matches(BASE).to_owned()
}

/// A deployed application there.
#[derive(Debug)]
struct Chain {
    id: String,
    name: String,
    status: String,
}

impl Chain {
    fn read(value: &Value) -> Option<Self> {
        let chain = value.get("service_chain").unwrap_or(value);
        Some(Self {
            id: text(chain, "id")?,
            name: text(chain, "name")?,
            status: text(chain, "status").unwrap_or_default(),
        })
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}

/// The other orchestrator, for who is logged in.
struct Remote<'a> {
    nbi: &'a Nbi,
    caller: Caller,
    root: String,
    token: Option<String>,
}

impl<'a> Remote<'a> {
    async fn enter(nbi: &'a Nbi) -> Result<Self, String> {
        let caller = Caller::new(nbi.ca.as_deref())?;
        let mut remote = Self { nbi, caller, root: root(nbi), token: None };
        if let Some(login) = &nbi.login {
            remote.token = Some(remote.log_in(login).await?);
        }
        Ok(remote)
    }

    async fn log_in(&self, login: &Login) -> Result<String, String> {
        let flow = self.again(&Method::GET, LOGIN, None).await?;
        let action = flow["ui"]["action"].as_str().unwrap_or_default();
        let action: Uri = action.parse().map_err(|_| "the login names no action".to_owned())?;
        // Wherever it points to: the password goes to nobody but the one who was named.
        let path = action.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let body = json!({
            "identifier": login.identifier, "password": login.password,
            "method": "password", "org": self.nbi.org,
        });
        let said = self.again(&Method::POST, &path, Some(&body)).await?;
        text(&said, "session_token").ok_or_else(|| "the login gave no session_token".to_owned())
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        self.again(&Method::GET, &format!("{BASE}{path}"), None).await
    }

    async fn chains(&self) -> Result<Vec<Chain>, String> {
        let found = self.get("/services").await?;
        let all = found.as_array().ok_or_else(|| "`GET /services` is no list".to_owned())?;
        Ok(all.iter().filter_map(Chain::read).collect())
    }

    /// What the application is called at this site, and at all counterparts of our sites. Another
    /// application's name may begin like this one's: only these are ours.
    async fn names(&self, site: &str) -> Result<(String, HashSet<String>), String> {
        let own = self.name(site).await?.ok_or_else(|| format!("site `{site}` is not there"))?;
        let mut all = HashSet::from([own.clone()]);
        for other in self.nbi.sites.values().filter(|other| *other != site) {
            // Where there is no site any more, there is nothing to remove.
            all.extend(self.name(other).await?);
        }
        Ok((own, all))
    }

    async fn name(&self, site: &str) -> Result<Option<String>, String> {
        let path = format!("{BASE}/infrastructure/sites/{site}");
        let found = match self.retried(&Method::GET, &path, None).await {
            Ok(found) => found,
            Err(problem) if problem.status == Some(StatusCode::NOT_FOUND) => return Ok(None),
            Err(problem) => return Err(problem.text),
        };
        let title = text(&found["site"], "displayName")
            .ok_or_else(|| format!("site `{site}` has no displayName there"))?;
        Ok(Some(format!("{} - {title}", self.nbi.app)))
    }

    /// What is deployed under this name already, if it can still become ready, and the ids of what
    /// cannot, which is removed: it would fail for ever.
    async fn known(&self, name: &str) -> Result<(Option<String>, Vec<String>), String> {
        let chains = self.chains().await?.into_iter().filter(|chain| chain.name == name);
        let (broken, whole): (Vec<_>, Vec<_>) = chains.partition(|chain| chain.status == ERROR);
        for chain in &broken {
            self.remove(&chain.id).await?;
        }
        let id = |chain: Chain| chain.id;
        Ok((whole.into_iter().next().map(id), broken.into_iter().map(id).collect()))
    }

    /// Removes the application under these names, all but the one that stays; their names.
    async fn leave(&self, stays: &str, ours: &HashSet<String>) -> Result<Vec<String>, String> {
        let mut removed = Vec::new();
        for chain in self.chains().await? {
            if chain.id != stays && ours.contains(&chain.name) {
                self.remove(&chain.id).await?;
                removed.push(chain.name);
            }
        }
        Ok(removed)
    }

    /// Deploys it; the id that it got. One that was made although its answer was lost is found by
    /// its name, and not made twice; those that were just removed may still be listed.
    async fn deploy(&self, name: &str, site: &str, gone: &[String]) -> Result<String, String> {
        let nbi = self.nbi;
        let mut block = json!({
            "displayName": name, "blockChartName": nbi.block_chart,
            "blockChartVersion": nbi.block_chart_version, "site_id": site,
        });
        if let Some(values) = &nbi.values {
            block["values"] = values.clone().into();
        }
        let body = json!({"name": name, "blocks": [block]});
        let mut tried = 0;
        loop {
            let problem =
                match self.once(&Method::POST, &format!("{BASE}/services"), Some(&body)).await {
                    Ok(Value::String(id)) => return Ok(id),
                    Ok(_) => return Err("`POST /services` answered no id".to_owned()),
                    Err(problem) => problem,
                };
            let made = |chain: &Chain| chain.name == name && !gone.contains(&chain.id);
            if let Some(made) = self.chains().await?.into_iter().find(made) {
                return Ok(made.id);
            }
            if !problem.passes || tried == nbi.retries {
                return Err(problem.text);
            }
            pause(tried).await;
            tried += 1;
        }
    }

    async fn wait(&self, id: &str) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let found = self.get(&format!("/services/{id}")).await?;
            let chain = Chain::read(&found).ok_or_else(|| "it answers no service".to_owned())?;
            match chain.status.as_str() {
                IN_SYNC => return Ok(()),
                ERROR => return Err(format!("it is {ERROR}")),
                other if begun.elapsed() >= self.nbi.ready_within.0 => {
                    return Err(format!("it is {other} after {}", self.nbi.ready_within));
                }
                _ => tokio::time::sleep(LOOK.min(self.nbi.ready_within.0)).await,
            }
        }
    }

    async fn remove(&self, id: &str) -> Result<(), String> {
        let path = format!("{BASE}/services/{id}");
        match self.retried(&Method::DELETE, &path, None).await {
            Ok(_) => Ok(()),
            Err(problem) if problem.status == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(problem) => Err(problem.text),
        }
    }

    async fn again(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        self.retried(method, path, body).await.map_err(|problem| problem.text)
    }

    /// What may be asked twice is, as often as is allowed.
    async fn retried(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let mut tried = 0;
        loop {
            match self.once(method, path, body).await {
                Err(problem) if problem.passes && tried < self.nbi.retries => {}
                came => return came,
            }
            pause(tried).await;
            tried += 1;
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.root))
            .header(header::ACCEPT, "application/json")
            .header("x-org", &self.nbi.org);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let refused = |passes, status, text: String| Refused {
            passes,
            status,
            text: format!("{method} {path}: {text}"),
        };
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| refused(false, None, error.to_string()))?;
        let (status, answer) = self
            .caller
            .ask(request, self.nbi.timeout.0)
            .await
            .map_err(|problem| refused(true, None, problem))?;
        if !status.is_success() {
            let said: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
            return Err(refused(
                status.is_server_error(),
                Some(status),
                format!("{status} {said}"),
            ));
        }
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer)
            .map_err(|_| refused(false, Some(status), "the answer is no JSON".to_owned()))
    }
}

/// Why a request was not answered as it was meant.
#[derive(Debug)]
struct Refused {
    /// It may pass: asking again makes sense.
    passes: bool,
    status: Option<StatusCode>,
    text: String,
}

#[cfg(test)]
mod tests;
