//! The API on a listener of its own, for who shows the token.

use super::Api;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::{io, net::IpAddr, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use types::Token;

/// Where the API is, besides at the root: where the control plane has it, too.
const PREFIX: &str = "/prometheus";

/// Serves the API until `stop`, to who shows the token.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    token: Token,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .nest(PREFIX, api.clone().router())
        .merge(api.router())
        .layer(middleware::from_fn_with_state(Arc::new(token), admit))
        .route("/healthz", get(|| async { "ok\n" }));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Lets a request through, or refuses it.
async fn admit(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    match refusal(&token, request.headers()) {
        Some((status, what)) => refused(status, what),
        None => next.run(request).await,
    }
}

/// Why a request is refused, if it is.
fn refusal(token: &Token, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !header(header::HOST).is_some_and(is_this_machine) {
        // A browser that was lured here by a foreign name.
        let what = "this host is not the server's: use its address";
        return Some((StatusCode::FORBIDDEN, what));
    }
    if headers.contains_key(header::ORIGIN) {
        return Some((StatusCode::FORBIDDEN, "pages of other servers may not ask here"));
    }
    let shown = header(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    let shown = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let what = "send `Authorization: Bearer TOKEN`; the token is in `token` of the data folder";
    let admitted = shown.is_some_and(|(_, shown)| token.admits(shown.trim()));
    (!admitted).then_some((StatusCode::UNAUTHORIZED, what))
}

fn refused(status: StatusCode, what: &str) -> Response {
    let body = json!({ "status": "error", "errorType": "unauthorized", "error": what }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether a `Host` names this machine by its loopback address.
fn is_this_machine(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
