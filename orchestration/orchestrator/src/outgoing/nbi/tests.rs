//! Another orchestrator, as our client sees it.

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
        assert_eq!((body["identifier"].as_str(), body["org"].as_str()), (Some("me"), Some("lab")));
        Json(json!({"session_token": "session"}))
    };
    let site = |Path(id): Path<String>| async move {
        let title = match id.as_str() {
            "site-1" => "Edge",
            "site-2" => "Cloud",
            _ => return Err(StatusCode::NOT_FOUND),
        };
        Ok(Json(json!({"site": {"id": id, "displayName": title}})))
    };
    let router = Router::new()
        .route(LOGIN, get(login))
        .route("/self-service/login", post(enter))
        .route("/inno-nbi-api/infrastructure/sites/{id}", get(site))
        .route("/inno-nbi-api/services", get(list).post(make))
        .route("/inno-nbi-api/services/{id}", get(one).delete(delete))
        .with_state(shared.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let nbi = json!({
        "url": url, "org": "lab", "login": {"identifier": "me", "password": "secret"},
        "app": "counter", "blockChart": "counter", "blockChartVersion": "1.0.0",
        "sites": {"cloud": "site-2", "edge": "site-1", "gone": "site-9"}, "readyWithin": "2s", "retries": 1,
    });
    (serde_json::from_value(nbi).unwrap(), shared)
}

fn at_the_edge() -> Vec<(String, String, &'static str)> {
    vec![
        ("id-edge".into(), "counter - Edge".into(), IN_SYNC),
        ("id-other".into(), "counters - Edge".into(), IN_SYNC),
        ("id-test".into(), "counter - test - Edge".into(), IN_SYNC),
    ]
}

async fn go(nbi: &Nbi, to: &str) -> Result<Value, String> {
    Relocations::default().relocate(nbi, to, &OnceLock::new()).await
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

    let done = go(&nbi, "cloud").await.unwrap();

    assert_eq!(done["deployed"], "counter - Cloud");
    assert_eq!(done["removed"], json!(["counter - Edge"]));
    let there = shared.lock().unwrap();
    assert_eq!(there.journal, ["make", "look", "look", "remove id-edge"]);
    let names: Vec<_> = there.chains.iter().map(|chain| chain.1.as_str()).collect();
    assert_eq!(names, ["counters - Edge", "counter - test - Edge", "counter - Cloud"]);
}

#[tokio::test]
async fn what_does_not_become_ready_leaves_the_application_where_it_was() {
    for comes_to in [ERROR, "OKTOSTATUS_PENDING"] {
        let there = There { chains: at_the_edge(), comes_to, ..There::default() };
        let (nbi, shared) = serve(there).await;

        let error = go(&nbi, "cloud").await.unwrap_err();

        assert!(error.contains(comes_to) && error.contains("stays"), "{error}");
        assert_eq!(shared.lock().unwrap().chains, at_the_edge());
        assert!(go(&nbi, "moon").await.unwrap_err().contains("`moon`"));
    }
}

#[tokio::test]
async fn one_that_stands_in_error_is_made_anew() {
    let mut chains = at_the_edge();
    chains.push(("id-old".into(), "counter - Cloud".into(), ERROR));
    let (nbi, shared) = serve(There { chains, comes_to: IN_SYNC, ..There::default() }).await;

    let done = go(&nbi, "cloud").await.unwrap();

    assert_eq!((&done["new"], &done["removed"]), (&json!(true), &json!(["counter - Edge"])));
    assert_eq!(shared.lock().unwrap().journal, ["remove id-old", "make", "look", "remove id-edge"]);
}

#[tokio::test]
async fn relocations_of_an_application_wait_for_each_other() {
    let (nbi, shared) = serve(There { comes_to: IN_SYNC, ..There::default() }).await;
    let all = Relocations::default();
    let under_way = all.turn(&nbi).await.unwrap();
    let (first, second) = (OnceLock::new(), OnceLock::new());

    let both = async {
        tokio::join!(all.relocate(&nbi, "cloud", &first), all.relocate(&nbi, "cloud", &second))
    };
    let waits = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(shared.lock().unwrap().journal.is_empty() && first.get().is_none());
        drop(under_way);
    };
    let ((one, other), ()) = tokio::join!(both, waits);

    assert_eq!((&one.unwrap()["new"], &other.unwrap()["new"]), (&json!(true), &json!(false)));
    assert_eq!(first.get().map(String::as_str), Some("counter - Cloud"));

    let _under_way = all.turn(&nbi).await.unwrap();
    let waiting = (0..=WAITING_MAX).map(|_| all.turn(&nbi));
    let refused = futures_util::future::select_all(waiting.map(Box::pin)).await.0;
    assert!(refused.unwrap_err().contains("wait already"));
}
