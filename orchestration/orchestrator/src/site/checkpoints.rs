//! Checkpoints of services that may be started elsewhere: kept for other sites, and looked for.

use super::{
    Config, Error, copies,
    error::Result,
    http::{Http, next_piece},
    shelf::Shelf,
    state::sync_parent,
};
use api::{Problem, link::Peer};
use cells::worker::protocol::Checkpointed;
use hyper::{
    Method,
    header::{HeaderMap, HeaderName},
};
use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use types::{Epoch, ErrorKind};

/// How long a peer may take to say what it keeps. The site that was lost is among those asked, and
/// may hang instead of refusing.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often sites that do not answer are asked for a checkpoint before it is given up.
const SEARCH_ROUNDS: u32 = 3;

/// Between two tries.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

pub(crate) const EPOCH: HeaderName = HeaderName::from_static("cloudskin-epoch");
pub(crate) const INCARNATION: HeaderName = HeaderName::from_static("cloudskin-incarnation");
pub(crate) const SEQUENCE: HeaderName = HeaderName::from_static("cloudskin-sequence");

/// Orders the checkpoints of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) epoch: Epoch,
    pub(crate) incarnation: u32,
    pub(crate) sequence: u64,
}

impl From<Stamp> for api::link::Stamp {
    fn from(stamp: Stamp) -> Self {
        let Stamp { epoch, incarnation, sequence } = stamp;
        Self { epoch, incarnation, sequence }
    }
}

impl Stamp {
    /// As headers say it.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        fn number<T: FromStr>(headers: &HeaderMap, name: &HeaderName) -> Option<T> {
            headers.get(name)?.to_str().ok()?.parse().ok()
        }
        Some(Self {
            epoch: Epoch(number(headers, &EPOCH)?),
            incarnation: number(headers, &INCARNATION)?,
            sequence: number(headers, &SEQUENCE)?,
        })
    }

    pub(crate) fn headers(&self) -> [(HeaderName, String); 3] {
        [
            (EPOCH, self.epoch.to_string()),
            (INCARNATION, self.incarnation.to_string()),
            (SEQUENCE, self.sequence.to_string()),
        ]
    }
}

/// A checkpoint that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) stamp: Stamp,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Here(PathBuf),
    At(SocketAddr),
}

/// Checkpoints here and at other sites.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// What this site keeps for others.
    pub(crate) shelf: Shelf,
    http: Http,
    /// `http`, or `https` to other machines.
    scheme: &'static str,
    /// What is to be pushed after what is being pushed.
    pending: Mutex<HashMap<String, Option<Checkpointed>>>,
}

impl Checkpoints {
    pub(crate) fn open(config: &Config, http: Http, scheme: &'static str) -> Result<Self> {
        let folder = config.data_dir.join("checkpoints");
        let shelf = Shelf::open(&folder, config.limits.checkpoint_age_max)
            .map_err(|source| Error::Disk { path: folder, source })?;
        Ok(Self { shelf, http, scheme, pending: Mutex::default() })
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, HashMap<String, Option<Checkpointed>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other sites forget it too.
    pub(crate) async fn remove_at(&self, peers: &[Peer], uid: &str, epoch: Epoch) {
        let asked = copies::chosen(peers, uid).map(|peer| {
            let url = format!("{}?epoch={epoch}", self.url(peer.address, uid));
            async move { self.http.ask(Method::DELETE, &url).await }
        });
        for outcome in futures_util::future::join_all(asked).await {
            // What stays is forgotten once it is old.
            if let Err(error) = outcome {
                tracing::debug!(uid, %error, "a peer keeps a checkpoint");
            }
        }
    }

    /// The newest that this site or a peer keeps, of this epoch or a later one.
    pub(crate) async fn newest(
        &self,
        uid: &str,
        peers: &[Peer],
        epochs: RangeInclusive<Epoch>,
    ) -> std::result::Result<Option<Found>, Problem> {
        for round in 1.. {
            let asked = peers.iter().map(|peer| self.look_at(peer, uid));
            let answers = futures_util::future::join_all(asked).await;
            let unreachable = answers.iter().filter(|answer| answer.is_err()).count();
            let here =
                self.shelf.get(uid).map(|(stamp, path)| Found { stamp, place: Place::Here(path) });
            let newest = here
                .into_iter()
                .chain(answers.into_iter().flatten().flatten())
                .filter(|found| epochs.contains(&found.stamp.epoch))
                .max_by_key(|found| found.stamp);
            // The site that was lost is among those that do not answer.
            if unreachable == 0 || newest.is_some() && unreachable == 1 {
                return Ok(newest);
            }
            if round >= SEARCH_ROUNDS {
                return match newest {
                    None if unreachable > 1 => Err(Problem::new(
                        ErrorKind::Unavailable,
                        format!("{unreachable} sites that may keep its state do not answer"),
                    )),
                    newest => Ok(newest),
                };
            }
            sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// What a peer keeps; to ask makes it keep it on.
    pub(crate) async fn look_at(
        &self,
        peer: &Peer,
        uid: &str,
    ) -> std::result::Result<Option<Found>, Problem> {
        let url = self.url(peer.address, uid);
        let asked = self.http.ask(Method::HEAD, &url);
        let answered = timeout(LOOK_TIMEOUT, asked).await.unwrap_or_else(|_| {
            let message = format!("`{}` did not say what it keeps in time", peer.site);
            Err(Problem::new(ErrorKind::Timeout, message))
        });
        match answered {
            Ok(response) => Ok(Stamp::from_headers(response.headers())
                .map(|stamp| Found { stamp, place: Place::At(peer.address) })),
            Err(problem) if problem.kind == ErrorKind::NotFound => Ok(None),
            Err(problem) => {
                tracing::debug!(uid, peer = peer.site, error = %problem, "a peer does not answer");
                Err(problem)
            }
        }
    }

    /// Copies what was found to `target`, whole or not at all.
    pub(crate) async fn place(
        &self,
        uid: &str,
        found: &Found,
        target: &Path,
    ) -> std::result::Result<(), Problem> {
        let beside = target.with_extension("new");
        match &found.place {
            Place::Here(path) => {
                let (from, to) = (path.clone(), beside.clone());
                let copied = tokio::task::spawn_blocking(move || {
                    fs::copy(&from, &to).and_then(|_| fs::File::open(&to)?.sync_all())
                });
                copied
                    .await
                    .map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?
                    .map_err(|error| disk(&beside, &error))?;
            }
            Place::At(address) => {
                let response = self.http.ask(Method::GET, &self.url(*address, uid)).await?;
                let mut body = response.into_body();
                let mut file = File::create(&beside).await.map_err(|e| disk(&beside, &e))?;
                while let Some(piece) = next_piece(&mut body).await? {
                    file.write_all(&piece).await.map_err(|e| disk(&beside, &e))?;
                }
                file.flush().await.map_err(|e| disk(&beside, &e))?;
                file.sync_all().await.map_err(|e| disk(&beside, &e))?;
            }
        }
        fs::rename(&beside, target)
            .and_then(|()| sync_parent(target))
            .map_err(|error| disk(target, &error))
    }

    pub(crate) fn url(&self, address: SocketAddr, uid: &str) -> String {
        format!("{}://{address}/peer/v1/checkpoints/{uid}", self.scheme)
    }
}

pub(crate) fn disk(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ErrorKind::Internal, format!("cannot use `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stamps_survive_headers(epoch: u64, incarnation: u32, sequence: u64) {
            let stamp = Stamp { epoch: Epoch(epoch), incarnation, sequence };
            let headers = stamp
                .headers()
                .map(|(name, value)| (name, value.parse().unwrap()))
                .into_iter()
                .collect();

            prop_assert_eq!(Stamp::from_headers(&headers), Some(stamp));
        }
    }
}
