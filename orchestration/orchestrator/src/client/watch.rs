//! Changes as they happen, over reconnects.

use super::{Client, Error, Result, sse};
use api::{Kind, WatchEvent, paths};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, body::Incoming, header};
use std::{collections::VecDeque, time::Duration};

/// How long a lost control plane may stay away before a watch gives up.
const AWAY_LIMIT: Duration = Duration::from_secs(30);

/// Pause before the first reconnect; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The changes of one kind in order, resumed where it stood when the connection breaks.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    kind: Kind,
    revision: u64,
    stream: Option<(Incoming, sse::Parser)>,
    /// Changes that have arrived, each with the revision up to which it completes them.
    ready: VecDeque<(Option<u64>, WatchEvent)>,
}

impl Watch {
    pub(super) fn new(client: Client, kind: Kind, revision: u64) -> Self {
        Self { client, kind, revision, stream: None, ready: VecDeque::new() }
    }

    /// The next change; waits for it.
    ///
    /// # Errors
    /// If the control plane refuses (the revision is too old: list again), or stays away.
    pub async fn next(&mut self) -> Result<WatchEvent> {
        let mut pause = FIRST_PAUSE;
        let mut away = Duration::ZERO;
        loop {
            if let Some((revision, event)) = self.ready.pop_front() {
                // One revision may change several resources: only its last event carries it.
                self.revision = self.revision.max(revision.unwrap_or_default());
                return Ok(event);
            }
            match self.receive().await {
                Ok(()) => (pause, away) = (FIRST_PAUSE, Duration::ZERO),
                Err(error @ (Error::Unreachable { .. } | Error::Broken { .. }))
                    if away < AWAY_LIMIT =>
                {
                    tracing::debug!(error = %types::chain(&error), "watch reconnects");
                    self.stream = None;
                    tokio::time::sleep(pause).await;
                    away += pause;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one piece of the stream into `ready`.
    async fn receive(&mut self) -> Result<()> {
        if self.stream.is_none() {
            self.stream = Some((self.connect().await?, sse::Parser::default()));
        }
        let url = || self.client.url().to_owned();
        let Some((body, parser)) = &mut self.stream else { return Ok(()) };
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(source)) => return Err(Error::Broken { url: url(), source: source.into() }),
            None => {
                let source = "the stream ended".into();
                return Err(Error::Broken { url: url(), source });
            }
        };
        let Some(bytes) = frame.data_ref() else { return Ok(()) };
        let events = parser.feed(bytes).map_err(|error| self.client.foreign(error.to_string()))?;
        for event in events {
            let revision = event.id.as_ref().and_then(|id| id.parse().ok());
            let change = self.decode(&event)?;
            self.ready.push_back((revision, change));
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Incoming> {
        let path = paths::list(self.client.tenant(), self.kind);
        let query = format!("{path}?watch=true&resourceVersion={}", self.revision);
        let accept = [(header::ACCEPT, "text/event-stream".to_owned())];
        let response = self.client.send(Method::GET, &query, Bytes::new(), &accept).await?;
        Ok(response.into_body())
    }

    /// An event named `error` carries the problem that ends the watch.
    fn decode(&self, event: &sse::Event) -> Result<WatchEvent> {
        if event.name.as_deref() == Some("error") {
            return Err(match serde_json::from_str(&event.data) {
                Ok(problem) => Error::Refused(problem),
                Err(_) => self.client.foreign("an error without words".into()),
            });
        }
        serde_json::from_str(&event.data).map_err(|error| self.client.foreign(error.to_string()))
    }
}
