//! Prometheus' HTTP API: queries, what there is to query, and series that are pushed.

mod answers;
mod ask;
mod form;
mod push;
mod serve;

pub use serve::serve;

use crate::{Store, query::QueryLimits};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use std::sync::Arc;
use tokio::sync::Semaphore;
use types::Clock;

/// So many queries are evaluated at once; each may take much memory. Others wait.
const QUERIES_AT_ONCE: usize = 4;

/// So many pushed batches are read at once; others wait.
const PUSHES_AT_ONCE: usize = 4;

/// What the API speaks for.
#[derive(Debug, Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    limits: QueryLimits,
    queries: Semaphore,
    pushes: Semaphore,
}

impl Api {
    /// Speaks for a store.
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>, limits: QueryLimits) -> Self {
        let queries = Semaphore::new(QUERIES_AT_ONCE);
        let pushes = Semaphore::new(PUSHES_AT_ONCE);
        Self { inner: Arc::new(Inner { store, clock, limits, queries, pushes }) }
    }

    /// The routes, without any guard.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/api/v1/query", get(ask::query).post(ask::query))
            .route("/api/v1/query_range", get(ask::query_range).post(ask::query_range))
            .route("/api/v1/series", get(ask::series).post(ask::series))
            .route("/api/v1/labels", get(ask::labels).post(ask::labels))
            .route("/api/v1/label/{name}/values", get(ask::label_values))
            .route("/api/v1/metadata", get(ask::metadata))
            .route("/api/v1/status/buildinfo", get(ask::build))
            .route("/api/v1/status/tsdb", get(ask::stats))
            .route("/api/v1/write", post(push::remote_write))
            .route("/v1/metrics", post(push::otlp))
            // Each reads its own body, up to a limit of its own.
            .layer(DefaultBodyLimit::disable())
            .with_state(self)
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.inner.clock.wall().as_millis()).unwrap_or(i64::MAX)
    }
}
