//! Queries, and what there is to query.

use super::{Api, answers, answers::Named, form::Form};
use crate::{
    Error, Matcher, Result,
    query::{self, Query, QueryLimits},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::Request,
    response::Response,
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::task;

/// Asked for without a beginning or an end: all of it.
const ALWAYS: (i64, i64) = (i64::MIN / 2, i64::MAX / 2);

/// Does what may take long where it delays nobody, when it is its turn.
async fn evaluate<T: Send + 'static>(
    api: Api,
    work: impl FnOnce(&Api) -> Result<T> + Send + 'static,
) -> Result<T> {
    let closed = || Error::TooMuch("the server is about to end".to_owned());
    let _turn = api.inner.queries.acquire().await.map_err(|_| closed())?;
    let own = api.clone();
    task::spawn_blocking(move || work(&own)).await.map_err(|_| closed())?
}

fn limits(api: &Api, form: &Form) -> Result<QueryLimits> {
    let mut limits = api.inner.limits.clone();
    if let Some(asked) = form.period("timeout")? {
        let asked = Duration::from_millis(u64::try_from(asked).unwrap_or_default());
        limits.timeout = limits.timeout.min(asked);
    }
    Ok(limits)
}

pub(super) async fn query(State(api): State<Api>, request: Request<Body>) -> Result<Response> {
    let form = Form::of(request).await?;
    let limits = limits(&api, &form)?;
    let time_ms = form.time("time")?.unwrap_or_else(|| api.now_ms());
    let text = form.need("query")?.to_owned();
    evaluate(api, move |api| {
        let query = Query::parse(&text)?;
        query::instant(&api.inner.store, &query, time_ms, &limits).map(|one| answers::instant(&one))
    })
    .await
}

pub(super) async fn query_range(
    State(api): State<Api>,
    request: Request<Body>,
) -> Result<Response> {
    let form = Form::of(request).await?;
    let limits = limits(&api, &form)?;
    let missing = |name: &str| Error::Query(format!("the parameter `{name}` is missing"));
    let start = form.time("start")?.ok_or_else(|| missing("start"))?;
    let end = form.time("end")?.ok_or_else(|| missing("end"))?;
    let step = form.period("step")?.ok_or_else(|| missing("step"))?;
    let text = form.need("query")?.to_owned();
    evaluate(api, move |api| {
        let query = Query::parse(&text)?;
        let series = query::range(&api.inner.store, &query, (start, end), step, &limits)?;
        Ok(answers::matrix(&series))
    })
    .await
}

type Selected = (Vec<Vec<Matcher>>, (i64, i64));

/// Which series are meant: `match[]`, each a selector, and when.
fn selected(form: &Form) -> Result<Selected> {
    let selector = |text: &str| Query::parse(text)?.selector();
    let any = form.all("match[]").map(selector).collect::<Result<Vec<_>>>()?;
    let from = form.time("start")?.unwrap_or(ALWAYS.0);
    let to = form.time("end")?.unwrap_or(ALWAYS.1);
    Ok((any, (from, to)))
}

pub(super) async fn series(State(api): State<Api>, request: Request<Body>) -> Result<Response> {
    let form = Form::of(request).await?;
    let most = form.count("limit")?.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    evaluate(api, move |api| {
        let (any, (from, to)) = selected(&form)?;
        if any.is_empty() {
            return Err(Error::Query("no match[] parameter provided".to_owned()));
        }
        let found = api.inner.store.series(&any, from, to);
        Ok(answers::success(found.iter().take(most).map(Named).collect::<Vec<_>>()))
    })
    .await
}

pub(super) async fn labels(State(api): State<Api>, request: Request<Body>) -> Result<Response> {
    let form = Form::of(request).await?;
    evaluate(api, move |api| {
        let (any, (from, to)) = selected(&form)?;
        if any.is_empty() {
            return Ok(answers::success(api.inner.store.label_names()));
        }
        let found = api.inner.store.series(&any, from, to);
        let names = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name));
        Ok(answers::success(names.collect::<std::collections::BTreeSet<_>>()))
    })
    .await
}

pub(super) async fn label_values(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response> {
    if !crate::is_label_name(&name) {
        let shown: String = name.chars().take(60).collect();
        return Err(Error::Query(format!("invalid label name: {shown:?}")));
    }
    let form = Form::of(request).await?;
    evaluate(api, move |api| {
        let (any, (from, to)) = selected(&form)?;
        if any.is_empty() {
            return Ok(answers::success(api.inner.store.label_values(&name)));
        }
        let found = api.inner.store.series(&any, from, to);
        let values = found.iter().map(|labels| labels.get(&name)).filter(|value| !value.is_empty());
        Ok(answers::success(values.collect::<std::collections::BTreeSet<_>>()))
    })
    .await
}

pub(super) async fn metadata(State(api): State<Api>, request: Request<Body>) -> Result<Response> {
    let form = Form::of(request).await?;
    let most = form.count("limit")?.unwrap_or(usize::MAX);
    let all = api.inner.store.descriptions().into_iter();
    let wanted = all.filter(|(name, _)| form.get("metric").is_none_or(|metric| metric == name));
    let described: BTreeMap<_, _> = wanted.take(most).map(|(name, one)| (name, [one])).collect();
    Ok(answers::success(described))
}

/// Which Prometheus' API this is: clients choose by it what they ask for.
pub(super) async fn build() -> Response {
    answers::success(json!({
        "version": "2.42.0",
        "revision": "cloudskin",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) async fn stats(State(api): State<Api>) -> Response {
    answers::success(api.inner.store.stats())
}
