//! What all processes of the continuum measure, as series: of the control plane itself, and of each site over its link.
//!
//! A site may be behind a router that lets nobody in, so nothing dials it: the agent is asked as for anything else.

use super::{Config, Result, conn::Conn, state::State};
use ::series::{
    Labels, Store,
    exposition::{self, Format, Page},
    http::Api,
    query::QueryLimits,
    scrape::{self, Ledger, PAGE_SAMPLES_MAX, wall_ms},
};
use api::link::{Call, Reply};
use futures_util::future::join_all;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};
use types::{Clock, chain};

/// The folder of the series in that of the control plane.
const FOLDER: &str = "telemetry";

/// The store of series, and what its pages told last.
#[derive(Debug)]
pub(super) struct Telemetry {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    own: Mutex<Ledger>,
    sites: Mutex<HashMap<String, Ledger>>,
}

/// What a page said, when it was asked for, and how long that took.
type Told = (Option<Page>, i64, Duration);

impl Telemetry {
    pub(super) fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(&config.data_dir.join(FOLDER), config.telemetry.clone())?;
        let own = Ledger::new(labels("cloudskin-control", "control", None)?);
        Ok(Self { store: Arc::new(store), clock, own: Mutex::new(own), sites: Mutex::default() })
    }

    pub(super) fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    pub(super) fn api(&self) -> Api {
        Api::new(self.store.clone(), self.clock.clone(), QueryLimits::default())
    }

    fn keep(&self, ledger: &mut Ledger, (page, time_ms, took): &Told) {
        let now_ms = wall_ms(&*self.clock);
        let kept = scrape::keep(&self.store, ledger, page.as_ref(), (*time_ms, *took), now_ms);
        if let Err(error) = kept {
            warn!(error = chain(&error), "samples of a page were not stored");
        }
    }

    /// Stores what sites told; of those that are known no more the series end.
    fn keep_sites(&self, told: HashMap<String, Told>) {
        let mut ledgers = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        for (site, told) in &told {
            let ledger = match ledgers.get_mut(site) {
                Some(ledger) => ledger,
                None => match labels("cloudskin-site", site, Some(site)) {
                    Ok(labels) => ledgers.entry(site.clone()).or_insert(Ledger::new(labels)),
                    Err(error) => {
                        warn!(error = chain(&error), site, "a site has no series");
                        continue;
                    }
                },
            };
            self.keep(ledger, told);
        }
        let time_ms = wall_ms(&*self.clock);
        for (_, mut ledger) in ledgers.extract_if(|site, _| !told.contains_key(site)) {
            self.keep(&mut ledger, &(None, time_ms, Duration::ZERO));
        }
    }
}

impl State {
    /// The control plane's own metrics, in OpenMetrics.
    pub(super) fn metrics_now(&self) -> std::result::Result<String, std::fmt::Error> {
        let sites = self.sites(|sites| sites.connected().len());
        let services = self.cache(|cache| cache.services.len());
        self.metrics.render(sites, services)
    }
}

fn labels(job: &str, instance: &str, site: Option<&str>) -> Result<Labels> {
    let pairs = [("job", job), ("instance", instance), ("site", site.unwrap_or_default())];
    Ok(Labels::new(pairs)?)
}

/// Asks for metrics again and again until the control plane stops.
pub(super) async fn run(state: Arc<State>) {
    let mut ticks = interval(state.config.scrape_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = state.stop.cancelled() => return,
            _ = ticks.tick() => round(&state).await,
        }
    }
}

/// Keeps the store in order until the control plane stops.
pub(super) async fn upkeep(state: Arc<State>) {
    let Telemetry { store, clock, .. } = &state.telemetry;
    scrape::upkeep(store.clone(), clock.clone(), state.stop.clone()).await;
}

/// Asks everybody once.
pub(super) async fn round(state: &Arc<State>) {
    let telemetry = &state.telemetry;
    let own = state.metrics_now().map_err(|error| error.to_string());
    let own = page("the control plane", own);
    let told = (own, wall_ms(&*telemetry.clock), Duration::ZERO);
    telemetry.keep(&mut telemetry.own.lock().unwrap_or_else(PoisonError::into_inner), &told);

    let connected: HashMap<String, Arc<Conn>> = state.sites(|sites| {
        sites.connected().into_iter().map(|conn| (conn.site().to_owned(), conn)).collect()
    });
    let known: Vec<String> = state.cache(|cache| cache.sites.keys().cloned().collect());
    let asked = known.into_iter().map(|site| {
        let conn = connected.get(&site).cloned();
        async move {
            let told = ask(state, conn).await;
            (site, told)
        }
    });
    telemetry.keep_sites(join_all(asked).await.into_iter().collect());
    super::models::keep_measured(state);
}

/// What a site tells; nothing if it is not connected or refuses.
async fn ask(state: &State, conn: Option<Arc<Conn>>) -> Told {
    let clock = &state.telemetry.clock;
    let (time_ms, began) = (wall_ms(&**clock), clock.monotonic());
    let mut told = None;
    if let Some(conn) = conn {
        let text = match conn.call(Call::Metrics, state.config.call_timeout).await {
            Ok(Reply::Metrics { text }) => Ok(text),
            Ok(_) => Err("it answered something else".to_owned()),
            Err(error) => Err(format!("{error:?}")),
        };
        told = page(conn.site(), text);
    }
    (told, time_ms, clock.monotonic().saturating_sub(began))
}

fn page(whose: &str, text: Result<String, String>) -> Option<Page> {
    let read = |text: String| {
        exposition::read(&text, Format::OpenMetrics, PAGE_SAMPLES_MAX)
            .map_err(|error| chain(&error))
    };
    text.and_then(read).inspect_err(|error| debug!(whose, error, "metrics cannot be read")).ok()
}
