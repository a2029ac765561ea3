//! Checkpoints of services that may be started elsewhere: kept for other sites, and left with them.

use super::{
    Config, Error,
    core::Core,
    error::Result,
    folder,
    http::{Http, next_piece},
    state::sync_parent,
};
use api::{Problem, link::Peer};
use cells::worker::protocol::Checkpointed;
use hyper::{
    Method,
    header::{HeaderMap, HeaderName},
};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    fs::File,
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use types::{Epoch, ErrorKind};

/// Sites that get each checkpoint.
const COPIES: usize = 2;

/// How often a checkpoint is offered to a site, unless a newer one comes.
const PUSH_ATTEMPTS: u32 = 5;

/// How long a peer may take to say what it keeps. The site that was lost is among those asked, and
/// may hang instead of refusing.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How often sites that do not answer are asked for a checkpoint before it is given up.
const SEARCH_ROUNDS: u32 = 3;

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

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

    fn file_name(&self, uid: &str) -> String {
        format!("{uid}.{}.{}.{}", self.epoch, self.incarnation, self.sequence)
    }

    fn from_file_name(name: &str) -> Option<(String, Self)> {
        let parts: Vec<&str> = name.split('.').collect();
        let [uid, epoch, incarnation, sequence] = parts[..] else { return None };
        let stamp = Self {
            epoch: Epoch(epoch.parse().ok()?),
            incarnation: incarnation.parse().ok()?,
            sequence: sequence.parse().ok()?,
        };
        types::check_name(uid).ok().map(|()| (uid.to_owned(), stamp))
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
    Here,
    At(SocketAddr),
}

/// Checkpoints that this site keeps for others.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    http: Http,
    /// `http`, or `https` to other machines.
    scheme: &'static str,
    age_max: Duration,
    stored: Mutex<BTreeMap<String, Stamp>>,
    /// What is to be pushed after what is being pushed.
    pending: Mutex<HashMap<String, Option<Checkpointed>>>,
}

impl Checkpoints {
    pub(crate) fn open(config: &Config, http: Http, scheme: &'static str) -> Result<Self> {
        let folder = config.data_dir.join("checkpoints");
        let disk = |source| Error::Disk { path: folder.clone(), source };
        fs::create_dir_all(&folder).map_err(disk)?;
        let mut stored = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(disk)?.flatten() {
            let name = entry.file_name();
            let Some((uid, stamp)) = name.to_str().and_then(Stamp::from_file_name) else {
                // The rest of a transfer that broke off.
                let _ = fs::remove_file(entry.path());
                continue;
            };
            let newest = stored.entry(uid).or_insert(stamp);
            *newest = stamp.max(*newest);
        }
        let age_max = config.limits.checkpoint_age_max;
        let (stored, pending) = (Mutex::new(stored), Mutex::default());
        Ok(Self { folder, http, scheme, age_max, stored, pending })
    }

    fn stored(&self) -> MutexGuard<'_, BTreeMap<String, Stamp>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, Option<Checkpointed>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that is kept here, and its file.
    pub(crate) fn get(&self, uid: &str) -> Option<(Stamp, PathBuf)> {
        let stamp = *self.stored().get(uid)?;
        Some((stamp, self.folder.join(stamp.file_name(uid))))
    }

    /// Refuses what is older than what is kept.
    pub(crate) fn check(&self, uid: &str, stamp: Stamp) -> std::result::Result<(), Problem> {
        match self.stored().get(uid) {
            Some(kept) if *kept > stamp => {
                let message = format!("a newer checkpoint of `{uid}` is kept: {kept:?}");
                Err(Problem::new(ErrorKind::Conflict, message))
            }
            _ => Ok(()),
        }
    }

    /// A file that [`Checkpoints::keep`] can take.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.folder.join(format!("incoming-{}", types::random_id()))
    }

    /// Keeps what lies at `incoming`, unless something newer came meanwhile.
    pub(crate) fn keep(
        &self,
        uid: &str,
        stamp: Stamp,
        incoming: &Path,
    ) -> std::result::Result<(), Problem> {
        let mut stored = self.stored();
        let older = stored.get(uid).copied();
        if older.is_some_and(|older| older > stamp) {
            // Nobody needs it.
            let _ = fs::remove_file(incoming);
            return Ok(());
        }
        let path = self.folder.join(stamp.file_name(uid));
        fs::rename(incoming, &path)
            .and_then(|()| sync_parent(&path))
            .map_err(|error| disk(&path, &error))?;
        stored.insert(uid.to_owned(), stamp);
        if let Some(older) = older.filter(|older| *older != stamp) {
            // If it stays, a restart forgets it.
            let _ = fs::remove_file(self.folder.join(older.file_name(uid)));
        }
        Ok(())
    }

    /// Forgets what is kept of a service up to this epoch.
    pub(crate) fn remove(&self, uid: &str, epoch: Epoch) {
        let mut stored = self.stored();
        if let Some(stamp) = stored.get(uid).copied().filter(|stamp| stamp.epoch <= epoch) {
            stored.remove(uid);
            let _ = fs::remove_file(self.folder.join(stamp.file_name(uid)));
        }
    }

    /// Forgets what nobody replaced for long: its service is gone.
    pub(crate) fn expire(&self) {
        let now = SystemTime::now();
        let mut stored = self.stored();
        stored.retain(|uid, stamp| {
            let path = self.folder.join(stamp.file_name(uid));
            let written = fs::metadata(&path).and_then(|file| file.modified());
            let age = written.ok().and_then(|written| now.duration_since(written).ok());
            let keep = age.is_none_or(|age| age < self.age_max);
            if !keep {
                let _ = fs::remove_file(path);
            }
            keep
        });
    }

    /// Lets other sites forget it too.
    pub(crate) async fn remove_at(&self, peers: &[Peer], uid: &str, epoch: Epoch) {
        let asked = chosen(peers, uid).map(|peer| {
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
            let here = self.get(uid).map(|(stamp, _)| Found { stamp, place: Place::Here });
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

    async fn look_at(&self, peer: &Peer, uid: &str) -> std::result::Result<Option<Found>, Problem> {
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
            Place::Here => {
                let from = self.folder.join(found.stamp.file_name(uid));
                let to = beside.clone();
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

    fn url(&self, address: SocketAddr, uid: &str) -> String {
        format!("{}://{address}/peer/v1/checkpoints/{uid}", self.scheme)
    }

    /// Leaves a checkpoint with a peer.
    async fn send(&self, peer: &Peer, written: &Checkpointed) -> std::result::Result<(), Problem> {
        let stamp = Stamp {
            epoch: written.epoch,
            incarnation: written.incarnation,
            sequence: written.sequence,
        };
        self.http
            .put_file(&self.url(peer.address, &written.uid), &stamp.headers(), &written.path)
            .await
    }
}

/// Leaves a checkpoint with other sites, in the background. While one is on its way only the
/// latest of those that follow is kept.
pub(crate) fn push(core: &Arc<Core>, written: Checkpointed, peers: Vec<Peer>) {
    let uid = written.uid.clone();
    let mut pending = core.checkpoints.pending();
    if let Some(next) = pending.get_mut(&uid) {
        *next = Some(written);
        return;
    }
    pending.insert(uid.clone(), None);
    drop(pending);
    let pushing = core.clone();
    core.spawn(async move {
        let checkpoints = &pushing.checkpoints;
        let mut latest = Some(written);
        while let Some(written) = latest {
            let chosen = chosen(&peers, &uid);
            let offers = chosen.map(|peer| offer(&pushing, peer, &written));
            let taken = futures_util::future::join_all(offers).await;
            if taken.iter().all(|taken| *taken) {
                folder::keep_journals(&pushing.state_folder(&uid), Some(written.sequence));
            }
            let mut pending = checkpoints.pending();
            latest = pending.get_mut(&uid).and_then(Option::take);
            if latest.is_none() {
                pending.remove(&uid);
            }
        }
    });
}

/// Whether the peer has it.
async fn offer(core: &Core, peer: &Peer, written: &Checkpointed) -> bool {
    for attempt in 1..=PUSH_ATTEMPTS {
        match core.checkpoints.send(peer, written).await {
            Ok(()) => {
                core.metrics.checkpoints_pushed.inc();
                return true;
            }
            // A newer one is there: another site serves, or a later push was faster.
            Err(problem) if problem.kind == ErrorKind::Conflict => return false,
            Err(error) => {
                tracing::debug!(uid = written.uid, peer = peer.site, attempt, %error, "push failed");
            }
        }
        let newer = core.checkpoints.pending().get(&written.uid).is_some_and(Option::is_some);
        if newer {
            return false;
        }
        sleep(PAUSE).await;
    }
    core.metrics.checkpoints_unpushed.inc();
    tracing::warn!(uid = written.uid, peer = peer.site, "a peer does not take a checkpoint");
    false
}

/// The sites that keep a service's checkpoints: spread over all, the same ones each time.
fn chosen<'a>(peers: &'a [Peer], uid: &str) -> impl Iterator<Item = &'a Peer> + use<'a> {
    let mut ranked: Vec<_> = peers
        .iter()
        .map(|peer| (*blake3::hash(format!("{uid} {}", peer.site).as_bytes()).as_bytes(), peer))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(COPIES).map(|(_, peer)| peer)
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
        fn stamps_survive_headers_and_file_names(epoch: u64, incarnation: u32, sequence: u64) {
            let stamp = Stamp { epoch: Epoch(epoch), incarnation, sequence };
            let headers = stamp
                .headers()
                .map(|(name, value)| (name, value.parse().unwrap()))
                .into_iter()
                .collect();

            prop_assert_eq!(Stamp::from_headers(&headers), Some(stamp));
            let read = Stamp::from_file_name(&stamp.file_name("uid-1"));
            prop_assert_eq!(read, Some(("uid-1".to_owned(), stamp)));
        }

        #[test]
        fn any_file_name_is_a_stamp_or_none(name: String) {
            let _ = Stamp::from_file_name(&name);
        }
    }

    #[test]
    fn the_same_two_peers_keep_a_service() {
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = |site: &str| Peer { site: site.into(), address, ingress: address };
        let peers = ["a", "b", "c", "d"].map(peer);
        let mut turned = peers.clone();
        turned.reverse();

        let first: Vec<_> = chosen(&peers, "uid").collect();
        let second: Vec<_> = chosen(&turned, "uid").collect();

        assert_eq!(first.len(), 2);
        assert_eq!(first, second);
    }
}
