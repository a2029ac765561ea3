//! REST: users' side of the control plane.

mod advising;
mod content;
mod dashboard;
mod grpc;
mod guard;
mod homes;
mod joining;
mod models;
mod refusal;
mod resources;
mod verbs;
mod watching;

use super::{overview, session, state::State};
use api::paths;
use axum::{
    Json, Router,
    extract::{Request, State as Shared, WebSocketUpgrade},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use refusal::Refusal;
use std::{net::SocketAddr, sync::Arc};
use types::ErrorKind;

type Answer<T = Response> = Result<T, Refusal>;

/// All routes behind their guards; `address` is where the listener is bound.
pub(super) fn router(state: Arc<State>, address: SocketAddr) -> Router {
    let one = "/apis/v1/tenants/{tenant}/{kind}/{name}";
    let resource = get(resources::get).put(resources::apply).delete(resources::delete);
    Router::new()
        .route("/", get(dashboard::page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route(paths::STATUS, get(status))
        .route(paths::LINK, get(link))
        .route(paths::JOIN, post(joining::join))
        .route(paths::JOIN_TOKENS, post(joining::create_token))
        .route(paths::RENEW, post(joining::renew))
        .route(paths::ANALYZE_QOS, post(verbs::analyze_qos))
        .route(
            &paths::home("{tenant}", "{bucket}"),
            get(homes::read).put(homes::claim).delete(homes::disclaim),
        )
        .route(&paths::predict("{tenant}"), post(advising::predict))
        .route(&paths::rank("{tenant}"), post(advising::rank))
        .route(grpc::PREDICT, post(grpc::predict))
        .route(grpc::RANK, post(grpc::rank))
        .route("/apis/v1/blobs/{digest}", get(content::read).put(content::write))
        .route("/apis/v1/tenants/{tenant}/{kind}", get(resources::list))
        .route(one, resource)
        .route(&format!("{one}/migrate"), post(verbs::migrate))
        .route(&format!("{one}/logs"), get(verbs::logs))
        .route(&format!("{one}/snapshot"), post(verbs::snapshot))
        .route(&format!("{one}/restore"), post(verbs::restore))
        .route(&format!("{one}/promote"), post(models::promote))
        .route(&format!("{one}/rollback"), post(models::rollback))
        .route(&format!("{one}/versions/{{version}}"), get(models::version))
        .nest(paths::PROMETHEUS, state.telemetry.api().router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(
            (state.clone(), guard::Hosts::new(&state.config, address)),
            guard::check,
        ))
        .layer(middleware::from_fn_with_state(state.clone(), account))
        .with_state(state)
}

/// Counts answers, and says of each that it is nothing else than it says.
async fn account(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let mut response = next.run(request).await;
    state.metrics.answered(&method, response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn status(Shared(state): Shared<Arc<State>>) -> Json<overview::Overview> {
    Json(overview::now(&state))
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Answer {
    let text = state.metrics_now().map_err(|error| {
        Refusal::new(ErrorKind::Internal, format!("the metrics cannot be written: {error}"))
    })?;
    Ok(([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], text).into_response())
}

async fn link(Shared(state): Shared<Arc<State>>, request: Request) -> Answer {
    use axum::extract::FromRequest;
    let speaker = request.extensions().get::<session::Speaker>().cloned().ok_or_else(|| {
        Refusal::new(ErrorKind::Forbidden, "this is where agents of sites connect")
    })?;
    let upgrade = WebSocketUpgrade::from_request(request, &()).await.map_err(|rejection| {
        let text = format!("this is where agents of sites connect with a WebSocket: {rejection}");
        Refusal::new(ErrorKind::Invalid, text).with(rejection.into_response().status())
    })?;
    Ok(upgrade
        .max_message_size(session::MESSAGE_MAX_BYTES)
        .max_frame_size(session::MESSAGE_MAX_BYTES)
        .on_upgrade(move |socket| {
            state.tasks.track_future(session::run(state.clone(), socket, speaker))
        }))
}

async fn no_such_path(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(200).collect();
    let text = format!("there is nothing at `{path}`: resources are under /apis/v1/tenants/");
    Refusal::new(ErrorKind::NotFound, text)
}

async fn no_such_method(request: Request) -> Refusal {
    let method: String = request.method().as_str().chars().take(20).collect();
    Refusal::new(ErrorKind::Invalid, format!("`{method}` is not possible here"))
        .with(StatusCode::METHOD_NOT_ALLOWED)
}
