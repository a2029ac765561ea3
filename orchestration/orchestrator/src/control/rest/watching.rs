//! Watches: changes as server-sent events, resumable by revision.

use super::{
    super::{
        batch::prefix,
        cache::{Id, read_resource},
        state::State,
    },
    Answer, Refusal,
    resources::{self, Labels, present},
};
use api::{Kind, Problem, Resource, WatchEvent, WatchKind};
use axum::response::{
    IntoResponse,
    sse::{Event, KeepAlive, Sse},
};
use futures_util::stream;
use meta::{Change, Watch};
use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};
use tokio::sync::OwnedSemaphorePermit;
use types::ErrorKind;

/// How often a silent stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the history may take to say whether it reaches back far enough.
const PROBE: Duration = Duration::from_secs(2);

struct Watching {
    state: Arc<State>,
    watch: Watch,
    tenant: String,
    selector: Labels,
    /// What the watcher was shown and has to be told of when it goes.
    shown: BTreeSet<String>,
    /// What it saw before this stream is not known.
    resumed: bool,
    ready: VecDeque<Event>,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// Streams changes after `from`; all that is there, and then changes, without one.
pub(super) async fn answer(
    state: Arc<State>,
    kind: Kind,
    tenant: &str,
    selector: Labels,
    from: Option<u64>,
) -> Answer {
    let Ok(place) = state.watches.clone().try_acquire_owned() else {
        let message = "too many watches at a time: close some, or poll the list";
        return Err(Refusal::new(ErrorKind::Exhausted, message));
    };
    let mut first = Vec::new();
    let revision = match from {
        Some(revision) => {
            reaches_back(&state, revision).await?;
            revision
        }
        None => {
            let list = resources::all(&state, kind, tenant, &selector).await?;
            first = list.items;
            list.resource_version
        }
    };
    let watch = state.store.watch(prefix(kind, tenant).as_bytes(), revision + 1).await?;
    let mut watching = Watching {
        state,
        watch,
        tenant: tenant.to_owned(),
        selector,
        shown: BTreeSet::new(),
        resumed: from.is_some(),
        ready: VecDeque::new(),
        ended: false,
        _place: place,
    };
    watching.begin(first);
    let events = stream::unfold(watching, |mut watching| async move {
        let event = watching.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// Refuses a revision that the history has forgotten, before the stream begins.
async fn reaches_back(state: &State, revision: u64) -> Answer<()> {
    if revision >= state.cache(|cache| cache.revision) {
        return Ok(());
    }
    // Every revision changed something somewhere, so this answers at once.
    let mut probe = state.store.watch(b"", revision + 1).await?;
    match tokio::time::timeout(PROBE, probe.next()).await {
        Ok(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

impl Watching {
    /// What is there already, oldest change first, so that any of them can be resumed from.
    fn begin(&mut self, mut first: Vec<Resource>) {
        first.sort_by_key(|resource| resource.metadata.resource_version);
        for (index, resource) in first.iter().enumerate() {
            let revision = resource.metadata.resource_version;
            let last = first.get(index + 1).is_none_or(|n| n.metadata.resource_version != revision);
            self.shown.insert(resource.metadata.name.clone());
            let event = WatchEvent {
                revision: revision.unwrap_or_default(),
                kind: WatchKind::Applied,
                resource: resource.clone(),
            };
            self.push(&event, last);
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let batch = tokio::select! {
                batch = self.watch.next() => batch,
                () = self.state.stop.cancelled() => return None,
            };
            match batch {
                Ok(batch) => self.take(batch.events),
                Err(error) => self.fail(error),
            }
        }
    }

    fn take(&mut self, events: Vec<meta::Event>) {
        for (index, event) in events.iter().enumerate() {
            // Several changes of one revision: only the last one may be resumed from.
            let last = events.get(index + 1).is_none_or(|next| next.revision != event.revision);
            if let Some(shown) = self.translate(event) {
                self.push(&shown, last);
            }
        }
    }

    fn translate(&mut self, event: &meta::Event) -> Option<WatchEvent> {
        let (resource, deleted) = match &event.change {
            Change::Put(item) => (read_resource(item).ok()?, false),
            Change::Delete { previous } => (self.last(event, previous.as_ref())?, true),
        };
        let name = resource.metadata.name.clone();
        let taken = !deleted && self.selector.take(&resource);
        let kind = match taken {
            true => WatchKind::Applied,
            // It is gone, or no longer what was asked for.
            false if self.shown.contains(&name) || self.resumed => WatchKind::Deleted,
            false => return None,
        };
        match taken {
            true => self.shown.insert(name),
            false => self.shown.remove(&name),
        };
        let resource = present(&self.state, resource);
        Some(WatchEvent { revision: event.revision, kind, resource })
    }

    /// A resource that is gone, as it last was; only its name if nobody knows more.
    fn last(&self, event: &meta::Event, previous: Option<&meta::Item>) -> Option<Resource> {
        if let Some(resource) = previous.and_then(|item| read_resource(item).ok()) {
            return Some(resource);
        }
        let key = std::str::from_utf8(&event.key).ok()?;
        let mut parts = key.rsplit('/');
        let (name, _tenant, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Id::new(&self.tenant, name);
        let spec = serde_json::json!({});
        Some(Resource::new(kind.parse().ok()?, &id.tenant, &id.name, &spec))
    }

    fn push(&mut self, event: &WatchEvent, resumable: bool) {
        let Ok(sse) = Event::default().json_data(event) else { return };
        let sse = if resumable { sse.id(event.revision.to_string()) } else { sse };
        self.ready.push_back(sse);
    }

    /// Tells why the stream ends.
    fn fail(&mut self, error: meta::Error) {
        let problem = Problem::from(super::super::Error::from(error));
        if let Ok(event) = Event::default().event("error").json_data(&problem) {
            self.ready.push_back(event);
        }
        self.ended = true;
    }
}
