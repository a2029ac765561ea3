//! Pages that tell metrics are fetched now and then, and become series.
//!
//! Start at [`run`], which fetches over HTTP; who fetches in another way gives what came to a [`Ledger`].

use crate::{
    Description, Error, Labels, NAME, Result, Sample, Store,
    exposition::{self, Format, Page},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    task,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use types::{Clock, chain};

/// Most bytes of a page.
pub const PAGE_MAX_BYTES: usize = 16 << 20;

/// Most samples of a page.
pub const PAGE_SAMPLES_MAX: usize = 100_000;

/// Between two turns of a store's upkeep: so much is lost at most when the power is cut.
const UPKEEP: Duration = Duration::from_secs(5);

/// What is asked for: the newer form first.
const ACCEPT: &str =
    "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A page that is fetched over HTTP.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address, `http://…`.
    pub url: String,
    /// Of all its series: `job`, `instance` and others.
    pub labels: Labels,
    /// Between two fetches.
    pub interval: Duration,
}

impl Target {
    /// A page of a job; `instance` is the address' host and port.
    ///
    /// # Errors
    /// [`Error::Query`] for what is no address that can be fetched.
    pub fn new(url: &str, job: &str, interval: Duration) -> Result<Self> {
        let invalid = |what: &str| Error::Query(format!("`{url}` cannot be scraped: {what}"));
        let uri: hyper::Uri = url.parse().map_err(|_| invalid("it is no address"))?;
        if uri.scheme_str() != Some("http") {
            return Err(invalid("write `http://HOST:PORT/metrics`; TLS is not supported"));
        }
        let host = uri.authority().ok_or_else(|| invalid("it names no host"))?.to_string();
        let labels = Labels::new([("job", job.to_owned()), ("instance", host)])?;
        if interval < Duration::from_millis(100) {
            return Err(invalid("the interval is shorter than 100 ms"));
        }
        Ok(Self { url: url.to_owned(), labels, interval })
    }
}

/// What was told by one page before, so that series that vanish are marked as ended.
#[derive(Debug)]
pub struct Ledger {
    labels: Labels,
    told: HashSet<Labels>,
}

impl Ledger {
    /// For a page of whose series all have these labels.
    pub fn new(labels: Labels) -> Self {
        Self { labels, told: HashSet::new() }
    }

    /// The samples of one fetch that began at `time_ms`: the page's, those about the fetch itself (`up`,
    /// `scrape_duration_seconds`, `scrape_samples_scraped`), and marks of the series that the last page told and this does not.
    pub fn batch(
        &mut self,
        page: Option<&Page>,
        time_ms: i64,
        took: Duration,
    ) -> Vec<(Labels, Sample)> {
        let mut batch = Vec::new();
        let mut told = HashSet::new();
        for one in page.map_or(&[][..], |page| &page.samples) {
            // What has labels that cannot be is left out alone.
            let Ok(labels) = self.merged(&one.labels) else { continue };
            if one.time_ms.is_none() {
                told.insert(labels.clone());
            }
            batch.push((labels, Sample::new(one.time_ms.unwrap_or(time_ms), one.value)));
        }
        let vanished = self.told.difference(&told);
        batch.extend(vanished.map(|labels| (labels.clone(), Sample::stale(time_ms))));
        self.told = told;
        let told = page.map_or(0, |page| page.samples.len()) as f64;
        for (name, value) in [
            ("up", f64::from(u8::from(page.is_some()))),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", told),
        ] {
            batch.push((self.labels.with(NAME, name), Sample::new(time_ms, value)));
        }
        batch
    }

    /// The labels that a page tells, with those of the target; where both say something the target is right, and what
    /// the page said becomes `exported_…`.
    fn merged(&self, told: &[(String, String)]) -> Result<Labels> {
        let own = self.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let told = told.iter().map(|(name, value)| {
            let taken = !self.labels.get(name).is_empty();
            let name = if taken { format!("exported_{name}") } else { name.clone() };
            (name, value.clone())
        });
        Labels::new(told.chain(own))
    }
}

/// Stores what came of a fetch, and what its metrics are.
///
/// # Errors
/// As [`Store::append`].
pub fn keep(
    store: &Store,
    ledger: &mut Ledger,
    page: Option<&Page>,
    (time_ms, took): (i64, Duration),
    now_ms: i64,
) -> Result<()> {
    for (name, description) in page.into_iter().flat_map(|page| &page.descriptions) {
        store.describe(name, Description::clone(description));
    }
    let appended = store.append(&ledger.batch(page, time_ms, took), now_ms)?;
    if appended.refused() > 0 {
        debug!(?appended, labels = %ledger.labels, "samples of a page were refused");
    }
    Ok(())
}

/// Fetches a page.
///
/// # Errors
/// [`Error::Scrape`] if nobody answers in time, or something else than a page; [`Error::Malformed`] for its lines.
pub async fn fetch(url: &str, limit: Duration) -> Result<Page> {
    let failed = |what: String| Error::Scrape { url: url.to_owned(), what };
    let late = || failed(format!("no answer within {} ms", limit.as_millis()));
    let (kind, text) = timeout(limit, get(url)).await.map_err(|_| late())?.map_err(failed)?;
    exposition::read(&text, Format::of(&kind), PAGE_SAMPLES_MAX)
}

async fn get(url: &str) -> Result<(String, String), String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(url).header(header::ACCEPT, ACCEPT).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = client.request(request).await.map_err(|error| chain(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    let body = Limited::new(answer.into_body(), PAGE_MAX_BYTES).collect().await;
    let body = body.map_err(|error| {
        format!("the page is cut or longer than {PAGE_MAX_BYTES} bytes: {error}")
    })?;
    let text =
        String::from_utf8(body.to_bytes().into()).map_err(|_| "the page is no text".to_owned())?;
    Ok((kind, text))
}

/// Fetches a target again and again until `stop`.
pub async fn run(
    target: Target,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut ledger = Ledger::new(target.labels.clone());
    let mut ticks = interval(target.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (time_ms, began) = (wall_ms(&*clock), clock.monotonic());
        let page = fetch(&target.url, target.interval).await;
        if let Err(error) = &page {
            debug!(error = chain(error), "a page was not scraped");
        }
        let when = (time_ms, clock.monotonic().saturating_sub(began));
        if let Err(error) = keep(&store, &mut ledger, page.ok().as_ref(), when, wall_ms(&*clock)) {
            warn!(error = chain(&error), url = target.url, "samples of a page were not stored");
        }
    }
}

/// Keeps a store in order until `stop`.
pub async fn upkeep(store: Arc<Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ends = tokio::select! {
            () = stop.cancelled() => true,
            _ = ticks.tick() => false,
        };
        let (kept, now_ms) = (store.clone(), wall_ms(&*clock));
        let done = task::spawn_blocking(move || kept.maintain(now_ms)).await;
        if let Ok(Err(error)) = done {
            warn!(error = chain(&error), "the store of series could not be kept in order");
        }
        if ends {
            return;
        }
    }
}

/// The present time in milliseconds since the Unix epoch.
pub fn wall_ms(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.wall().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        exposition::read(text, Format::Text, 100).unwrap()
    }

    #[test]
    fn what_vanishes_is_marked_and_labels_are_the_targets() {
        let labels = Labels::new([("job", "shop"), ("instance", "a:1")]).unwrap();
        let mut ledger = Ledger::new(labels);
        let took = Duration::from_millis(250);
        let told = |batch: Vec<(Labels, Sample)>| -> Vec<String> {
            let value =
                |one: Sample| if one.is_stale() { "stale".into() } else { one.value.to_string() };
            batch.into_iter().map(|(labels, one)| format!("{labels} {}", value(one))).collect()
        };

        let first = ledger.batch(Some(&page("a{job=\"x\"} 1\nb 2\nc 3 7")), 1000, took);
        let gone = ledger.batch(Some(&page("b 4")), 2000, took);
        let down = ledger.batch(None, 3000, took);

        assert_eq!(first[2].1.time_ms, 7);
        assert_eq!(
            told(first),
            [
                r#"a{exported_job="x", instance="a:1", job="shop"} 1"#,
                r#"b{instance="a:1", job="shop"} 2"#,
                r#"c{instance="a:1", job="shop"} 3"#,
                r#"up{instance="a:1", job="shop"} 1"#,
                r#"scrape_duration_seconds{instance="a:1", job="shop"} 0.25"#,
                r#"scrape_samples_scraped{instance="a:1", job="shop"} 3"#,
            ]
        );
        assert_eq!(told(gone)[1], r#"a{exported_job="x", instance="a:1", job="shop"} stale"#);
        assert_eq!(
            told(down)[..2],
            [r#"b{instance="a:1", job="shop"} stale"#, r#"up{instance="a:1", job="shop"} 0"#]
        );
    }

    #[test]
    fn what_cannot_be_scraped_is_refused() {
        let refused =
            |url: &str| Target::new(url, "x", Duration::from_secs(1)).unwrap_err().to_string();

        assert!(refused("https://a/metrics").contains("TLS"));
        assert!(refused("/metrics").contains("http://"));
        assert!(refused("not an address").contains("no address"));
    }
}
