//! Copies of this site's checkpoints with other sites, which go on from them when it is lost.

use super::{
    checkpoints::{PAUSE, Stamp},
    core::Core,
    folder,
};
use api::{Problem, link::Peer, service::OnSiteLost};
use cells::worker::protocol::Checkpointed;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;
use types::ErrorKind;

/// Sites that get each checkpoint.
const COPIES: usize = 2;

/// How often a checkpoint is offered to a site, unless a newer one comes.
const PUSH_ATTEMPTS: u32 = 5;

/// How often other sites are asked whether they still have what they got. They forget what nobody
/// asks for within days, and a peer may have lost its disk.
const TEND_EVERY: Duration = Duration::from_secs(600);

/// Sees that other sites have the newest checkpoint of each service that may be started there:
/// a service without requests writes no further one that would bring it to them.
pub(crate) async fn tend(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.copies_due.notified() => {}
            () = sleep(TEND_EVERY) => {}
        }
        let peers = core.read(|inner| inner.state.desired.peers.clone());
        for written in newest(&core) {
            if is_missing(&core, &written, &peers).await {
                push(&core, written, peers.clone());
            }
        }
    }
}

/// The newest checkpoint of each service here that may be started elsewhere.
fn newest(core: &Core) -> Vec<Checkpointed> {
    core.read(|inner| {
        let records = inner.state.records.iter().filter(|(_, record)| {
            record.assignment.spec.on_site_lost == OnSiteLost::Restart && !record.fresh
        });
        let written = records.filter_map(|(uid, record)| {
            let written = inner.live.get(uid)?.last_checkpoint.as_ref()?;
            (written.epoch == record.epoch()).then(|| written.clone())
        });
        written.collect()
    })
}

/// Whether a site that should have it says that it does not. To ask keeps it from forgetting.
async fn is_missing(core: &Core, written: &Checkpointed, peers: &[Peer]) -> bool {
    let asked =
        chosen(peers, &written.uid).map(|peer| core.checkpoints.look_at(peer, &written.uid));
    let answers = futures_util::future::join_all(asked).await;
    // Who does not answer is asked again next time.
    answers
        .into_iter()
        .flatten()
        .any(|found| found.is_none_or(|found| found.stamp < stamp(written)))
}

fn stamp(written: &Checkpointed) -> Stamp {
    let Checkpointed { epoch, incarnation, sequence, .. } = *written;
    Stamp { epoch, incarnation, sequence }
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
        match send(core, peer, written).await {
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
pub(crate) fn chosen<'a>(peers: &'a [Peer], uid: &str) -> impl Iterator<Item = &'a Peer> + use<'a> {
    let mut ranked: Vec<_> = peers
        .iter()
        .map(|peer| (*blake3::hash(format!("{uid} {}", peer.site).as_bytes()).as_bytes(), peer))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(COPIES).map(|(_, peer)| peer)
}

/// Leaves a checkpoint with a peer.
async fn send(core: &Core, peer: &Peer, written: &Checkpointed) -> Result<(), Problem> {
    let url = core.checkpoints.url(peer.address, &written.uid);
    core.http.put_file(&url, &stamp(written).headers(), &written.path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_two_peers_keep_a_service() {
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = |site: &str| Peer {
            site: site.into(),
            address,
            ingress: address,
            key: None,
            store: None,
        };
        let peers = ["a", "b", "c", "d"].map(peer);
        let mut turned = peers.clone();
        turned.reverse();

        let first: Vec<_> = chosen(&peers, "uid").collect();
        let second: Vec<_> = chosen(&turned, "uid").collect();

        assert_eq!(first.len(), 2);
        assert_eq!(first, second);
    }
}
