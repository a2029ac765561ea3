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
use std::time::{Duration, Instant};

const BASE: &str = "/inno-nbi-api";
const LOGIN: &str = "/.ory/kratos/public/self-service/login/api";
/// What the other side calls a service chain that is as it was declared.
const IN_SYNC: &str = "OKTOSTATUS_IN_SYNC";
const ERROR: &str = "OKTOSTATUS_ERROR";
/// Between two looks at what is being deployed.
const LOOK: Duration = Duration::from_millis(1000);

/// Deploys the application at one of our sites' counterparts and removes it elsewhere; what was
/// done.
pub(crate) async fn relocate(nbi: &Nbi, to: &str) -> Result<Value, String> {
    let site =
        nbi.sites.get(to).ok_or_else(|| format!("`sites` names no counterpart of `{to}`"))?;
    let remote = Remote::enter(nbi).await?;
    let found = remote.get(&format!("/infrastructure/sites/{site}")).await?;
    let title = text(&found["site"], "displayName")
        .ok_or_else(|| format!("site `{site}` has no displayName there"))?;
    let name = format!("{} - {title}", nbi.app);
    let before = remote.chains().await?;
    let known = before.iter().find(|chain| chain.name == name).map(|chain| chain.id.clone());
    let target = match &known {
        Some(id) => id.clone(),
        None => remote.deploy(&name, site).await?,
    };
    if let Err(why) = remote.wait(&target).await {
        if known.is_none() {
            // What stays of it is said with the reason, and found by its name the next time.
            let _ = remote.remove(&target).await;
        }
        return Err(format!(
            "`{name}` is not ready, and the application stays where it was: {why}"
        ));
    }
    let prefix = format!("{} - ", nbi.app);
    let mut removed = Vec::new();
    for chain in remote.chains().await? {
        if chain.id != target && chain.name.starts_with(&prefix) {
            remote.remove(&chain.id).await?;
            removed.push(chain.name);
        }
    }
    Ok(json!({"deployed": name, "id": target, "new": known.is_none(), "removed": removed}))
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
        let root = nbi.url.trim_end_matches('/').trim_end_matches(BASE).to_owned();
        let mut remote = Self { nbi, caller, root, token: None };
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

    /// Deploys it; the id that it got. One that was made although its answer was lost is found by
    /// its name, and not made twice.
    async fn deploy(&self, name: &str, site: &str) -> Result<String, String> {
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
            if let Some(made) = self.chains().await?.into_iter().find(|chain| chain.name == name) {
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
        let mut tried = 0;
        loop {
            match self.once(&Method::DELETE, &path, None).await {
                Ok(_) => return Ok(()),
                Err(problem) if problem.status == Some(StatusCode::NOT_FOUND) => return Ok(()),
                Err(problem) if !problem.passes || tried == self.nbi.retries => {
                    return Err(problem.text);
                }
                Err(_) => {}
            }
            pause(tried).await;
            tried += 1;
        }
    }

    /// What may be asked twice is, as often as is allowed.
    async fn again(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let mut tried = 0;
        loop {
            match self.once(method, path, body).await {
                Ok(answer) => return Ok(answer),
                Err(problem) if !problem.passes || tried == self.nbi.retries => {
                    return Err(problem.text);
                }
                Err(_) => {}
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
mod tests {
    use super::*;
    use axum::{
        Json, Router,
        extract::{Path, State},
        http::HeaderMap,
        routing::{get, post},
    };
    use std::sync::{Arc, Mutex};

    /// The other orchestrator.
    #[derive(Default)]
    struct There {
        chains: Vec<(String, String, &'static str)>,
        /// What a chain that is made comes to.
        comes_to: &'static str,
        /// Answers to `POST /services` that are lost.
        lost: u32,
        journal: Vec<String>,
    }
    type Shared = Arc<Mutex<There>>;

    async fn list(State(there): State<Shared>, headers: HeaderMap) -> Json<Value> {
        assert_eq!(headers["authorization"], "Bearer session");
        assert_eq!(headers["x-org"], "lab");
        let there = there.lock().unwrap();
        let each = there.chains.iter().map(|(id, name, status)| {
            json!({"service_chain": {"id": id, "name": name, "status": status, "blocks": []}})
        });
        Json(each.collect())
    }

    async fn make(
        State(there): State<Shared>,
        Json(body): Json<Value>,
    ) -> Result<Json<String>, StatusCode> {
        assert_eq!(body["blocks"][0]["site_id"], "site-2");
        assert_eq!(body["blocks"][0]["blockChartName"], "counter");
        let mut there = there.lock().unwrap();
        let (id, status) = (format!("id-{}", there.chains.len()), there.comes_to);
        there.chains.push((id.clone(), body["name"].as_str().unwrap().to_owned(), status));
        there.journal.push("make".into());
        if there.lost > 0 {
            there.lost -= 1;
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        Ok(Json(id))
    }

    async fn one(State(there): State<Shared>, Path(id): Path<String>) -> Json<Value> {
        let mut there = there.lock().unwrap();
        there.journal.push("look".into());
        let chain = there.chains.iter_mut().find(|chain| chain.0 == id).unwrap();
        let found = json!({"service_chain": {"id": id, "name": chain.1, "status": chain.2}});
        if chain.2 == "OKTOSTATUS_PROGRESSING" {
            chain.2 = IN_SYNC;
        }
        Json(found)
    }

    async fn delete(State(there): State<Shared>, Path(id): Path<String>) -> Json<String> {
        let mut there = there.lock().unwrap();
        there.chains.retain(|chain| chain.0 != id);
        there.journal.push(format!("remove {id}"));
        Json(id)
    }

    async fn serve(there: There) -> (Nbi, Shared) {
        let shared: Shared = Arc::new(Mutex::new(there));
        let login = || async {
            Json(json!({"ui": {"action": "https://elsewhere.example/self-service/login?flow=1"}}))
        };
        let enter = |Json(body): Json<Value>| async move {
            assert_eq!(
                (body["identifier"].as_str(), body["org"].as_str()),
                (Some("me"), Some("lab"))
            );
            Json(json!({"session_token": "session"}))
        };
        let site = || async { Json(json!({"site": {"id": "site-2", "displayName": "Cloud"}})) };
        let router = Router::new()
            .route(LOGIN, get(login))
            .route("/self-service/login", post(enter))
            .route("/inno-nbi-api/infrastructure/sites/site-2", get(site))
            .route("/inno-nbi-api/services", get(list).post(make))
            .route("/inno-nbi-api/services/{id}", get(one).delete(delete))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let nbi = json!({
            "url": url, "org": "lab", "login": {"identifier": "me", "password": "secret"},
            "app": "counter", "blockChart": "counter", "blockChartVersion": "1.0.0",
            "sites": {"cloud": "site-2"}, "readyWithin": "2s", "retries": 1,
        });
        (serde_json::from_value(nbi).unwrap(), shared)
    }

    fn at_the_edge() -> Vec<(String, String, &'static str)> {
        vec![
            ("id-edge".into(), "counter - Edge".into(), IN_SYNC),
            ("id-other".into(), "counters - Edge".into(), IN_SYNC),
        ]
    }

    #[tokio::test]
    async fn an_application_is_ready_where_it_goes_before_it_ends_where_it_was() {
        let there = There {
            chains: at_the_edge(),
            comes_to: "OKTOSTATUS_PROGRESSING",
            lost: 1,
            ..There::default()
        };
        let (nbi, shared) = serve(there).await;

        let done = relocate(&nbi, "cloud").await.unwrap();

        assert_eq!(done["deployed"], "counter - Cloud");
        assert_eq!(done["removed"], json!(["counter - Edge"]));
        let there = shared.lock().unwrap();
        assert_eq!(there.journal, ["make", "look", "look", "remove id-edge"]);
        let names: Vec<_> = there.chains.iter().map(|chain| chain.1.as_str()).collect();
        assert_eq!(names, ["counters - Edge", "counter - Cloud"]);
    }

    #[tokio::test]
    async fn what_does_not_become_ready_leaves_the_application_where_it_was() {
        for comes_to in [ERROR, "OKTOSTATUS_PENDING"] {
            let there = There { chains: at_the_edge(), comes_to, ..There::default() };
            let (nbi, shared) = serve(there).await;

            let error = relocate(&nbi, "cloud").await.unwrap_err();

            assert!(error.contains(comes_to) && error.contains("stays"), "{error}");
            assert_eq!(shared.lock().unwrap().chains, at_the_edge());
            assert!(relocate(&nbi, "moon").await.unwrap_err().contains("`moon`"));
        }
    }
}
