//! One service's requests: sent to its cell, kept while it moves or restarts, sent on after it.

use super::{
    Ingress,
    answer::{self, Body, Refusal},
    forward,
};
use crate::site::metrics::ServiceCounters;
use bytes::Bytes;
use cells::worker::Client;
use hyper::{
    Response,
    header::{HeaderMap, HeaderValue},
    http::request::Parts,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use types::{Clock, ErrorKind};

/// What the ingress adds to the time that a request may take in its cell, so that the worker's
/// own, more precise, answer comes first.
const GRACE: Duration = Duration::from_secs(1);

/// A request whose worker died under it this often is given up: it may be what kills it.
const DEATHS_MAX: u32 = 3;

/// A worker that refuses while the agent believes that it serves is asked again after this.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// How a service's requests are treated now.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) gate: Gate,
    /// Largest body.
    pub(crate) max_body: u64,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Gate {
    /// It is sent to the cell.
    Serve(Target),
    /// It waits.
    Wait(&'static str),
    /// It is refused; this may pass.
    Refuse(String),
    /// It is sent to another site's ingress.
    Forward(SocketAddr),
    /// It is refused and told where to go.
    Moved(SocketAddr),
    /// The service is no longer here.
    Gone,
}

/// A cell that takes requests.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) handle: u32,
    pub(crate) epoch: HeaderValue,
    pub(crate) incarnation: HeaderValue,
    /// Its answers count only while the site's lease holds.
    pub(crate) lease_bound: bool,
}

/// One service's requests.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) uid: String,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) counters: ServiceCounters,
    route: watch::Sender<Arc<Route>>,
    waiting: AtomicUsize,
}

/// One request, its body whole.
pub(super) struct Ask<'a> {
    pub(super) ingress: &'a Ingress,
    pub(super) parts: &'a Parts,
    pub(super) id: &'a str,
    pub(super) body: Bytes,
    /// How often it was forwarded already.
    pub(super) hops: u32,
}

impl Queue {
    pub(crate) fn new(uid: String, tenant: String, name: String, route: Route) -> Self {
        let (route, _) = watch::channel(Arc::new(route));
        let (counters, waiting) = (ServiceCounters::default(), AtomicUsize::new(0));
        Self { uid, tenant, name, counters, route, waiting }
    }

    /// Treats requests anew, those that wait included.
    pub(crate) fn set(&self, route: Route) {
        self.route.send_replace(Arc::new(route));
    }

    /// How requests are treated now.
    pub(crate) fn route(&self) -> Arc<Route> {
        self.route.borrow().clone()
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Answers a request, whatever happens to the service meanwhile.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Response<Body>, Refusal> {
        let mut route = self.route();
        let deadline = Instant::now() + route.timeout + GRACE;
        let mut record = None;
        let mut deaths = 0;
        loop {
            let failed_connection = match &route.gate {
                Gate::Serve(target) => {
                    self.check_lease(&ask, target)?;
                    let record = match &record {
                        Some(record) => record,
                        None => record.insert(encode(&ask)?),
                    };
                    let sent = target.client.request(target.handle, ask.id, record);
                    let answered = timeout_at(deadline, sent).await.map_err(|_| overdue(&route))?;
                    match answered {
                        Ok(frame) => return self.answer(&ask, target, &frame),
                        Err(failure) => match failure.kind {
                            ErrorKind::Fenced => None,
                            ErrorKind::Unavailable if deaths < DEATHS_MAX => {
                                deaths += u32::from(target.client.is_closed());
                                None
                            }
                            ErrorKind::Unavailable => return Err(Refusal::later(failure.message)),
                            ErrorKind::Exhausted => return Err(Refusal::too_many(failure.message)),
                            kind => return Err(Refusal::new(kind, failure.message)),
                        },
                    }
                }
                Gate::Forward(to) => match forward::send(&ask, *to, deadline).await? {
                    Ok(response) => return Ok(response),
                    Err(lost) => Some(lost),
                },
                Gate::Wait(_) => None,
                Gate::Refuse(reason) => return Err(Refusal::later(format!("{self}: {reason}"))),
                Gate::Moved(to) => {
                    let public = ask.ingress.core.reach.ingress_behind(*to);
                    return Err(Refusal::moved(public));
                }
                Gate::Gone => {
                    let message = format!("{self} is no longer here");
                    return Err(Refusal::new(ErrorKind::NotFound, message));
                }
            };
            route = self.next(&ask, route, deadline, failed_connection).await?;
        }
    }

    fn answer(
        &self,
        ask: &Ask<'_>,
        target: &Target,
        frame: &Bytes,
    ) -> Result<Response<Body>, Refusal> {
        // Between the question and the answer the lease may have run out, and another site may
        // answer by now.
        self.check_lease(ask, target)?;
        let mut response = answer::from_guest(frame)?;
        let headers = response.headers_mut();
        headers.insert(answer::EPOCH, target.epoch.clone());
        headers.insert(answer::INCARNATION, target.incarnation.clone());
        Ok(response)
    }

    fn check_lease(&self, ask: &Ask<'_>, target: &Target) -> Result<(), Refusal> {
        let core = &ask.ingress.core;
        if target.lease_bound && !core.lease.holds(core.clock.monotonic()) {
            return Err(Refusal::later(format!("{self}: the site's lease has run out")));
        }
        Ok(())
    }

    /// Waits until the request can be tried again.
    async fn next(
        &self,
        ask: &Ask<'_>,
        used: Arc<Route>,
        deadline: Instant,
        failed_connection: Option<String>,
    ) -> Result<Arc<Route>, Refusal> {
        let _place = Place::take(self, ask.ingress.core.config.limits.waiting_requests_max)?;
        let mut routes = self.route.subscribe();
        let tried = !matches!(used.gate, Gate::Wait(_));
        let again = Instant::now() + ASK_AGAIN;
        loop {
            let now = routes.borrow_and_update().clone();
            if !Arc::ptr_eq(&now, &used) && !matches!(now.gate, Gate::Wait(_)) {
                return Ok(now);
            }
            let waits = matches!(now.gate, Gate::Wait(_));
            let until = if tried && !waits { again.min(deadline) } else { deadline };
            match timeout_at(until, routes.changed()).await {
                Ok(_) => {}
                Err(_) if until < deadline => return Ok(now),
                Err(_) => {
                    let reason = match (&now.gate, failed_connection) {
                        (Gate::Wait(reason), _) => (*reason).to_owned(),
                        (_, Some(lost)) => lost,
                        _ => "its worker does not take requests".to_owned(),
                    };
                    return Err(Refusal::later(format!("{self}: {reason}")));
                }
            }
        }
    }
}

impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "service `{}` of tenant `{}`", self.name, self.tenant)
    }
}

/// A place among the requests that wait.
struct Place<'a>(&'a Queue);

impl<'a> Place<'a> {
    fn take(queue: &'a Queue, limit: usize) -> Result<Self, Refusal> {
        let place = Self(queue);
        if queue.waiting.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(Refusal::too_many(format!("{queue}: {limit} requests wait already")));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn overdue(route: &Route) -> Refusal {
    let limit = route.timeout.as_millis();
    let message = format!("no answer within {limit} ms; the request may still take effect");
    Refusal::new(ErrorKind::Timeout, message)
}

/// The request as the guest reads it.
fn encode(ask: &Ask<'_>) -> Result<Bytes, Refusal> {
    let parts = ask.parts;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let headers = guest_headers(&parts.headers, ask.id);
    cells::record::encode_request(parts.method.as_str(), path, headers.iter().copied(), &ask.body)
        .map_err(|error| Refusal::new(ErrorKind::Invalid, error.to_string()))
}

fn guest_headers<'a>(headers: &'a HeaderMap, id: &'a str) -> Vec<(&'a str, &'a [u8])> {
    let mut list = Vec::with_capacity(headers.len() + 1);
    list.push((cells::record::REQUEST_ID, id.as_bytes()));
    let rest = headers
        .iter()
        .filter(|(name, _)| **name != answer::REQUEST_ID && **name != answer::FORWARDED);
    list.extend(rest.map(|(name, value)| (name.as_str(), value.as_bytes())));
    list
}
