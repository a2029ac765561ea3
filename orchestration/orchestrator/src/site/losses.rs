//! What the control plane is told of lost requests, a message's worth at a time.
//!
//! What crashes lost stands in a service's record; what a site had answered under an epoch that
//! it gives up, and that another site may have gone on without, is kept as a [`Tail`] until the
//! control plane has noted it. Both can be long, and beats are small and often.

use super::{core::Core, state::Record};
use api::{
    link::{Held, Tail},
    service::{Lost, OnSiteLost},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use types::Epoch;

/// Most bytes of lost requests' ids in a message, and as much of tails: far below the largest
/// message, for what a site holds needs room too.
const IDS_MAX_BYTES: usize = 1 << 20;

/// What an id takes in a message besides its own bytes.
const ID_EXTRA_BYTES: usize = 4;

/// Most ids that one tail names, as one crash does.
const TAIL_IDS_MAX: usize = 1000;

/// Most tails that are kept; the oldest are forgotten.
const TAILS_MAX: usize = 64;

/// Names one report of lost requests.
type Key = (String, Epoch, u32, u64, u64);

fn key(uid: &str, lost: &Lost) -> Key {
    (uid.to_owned(), lost.epoch, lost.incarnation, lost.at, lost.count)
}

fn size(ids: &[String]) -> usize {
    ids.iter().map(|id| id.len() + ID_EXTRA_BYTES).sum::<usize>() + 64
}

/// What the control plane was told within this session: each report once, as room allows.
#[derive(Debug, Default)]
pub(crate) struct Told {
    known: HashSet<Key>,
    /// By the beat that carried them.
    sent: BTreeMap<u64, Vec<Key>>,
}

impl Told {
    /// Leaves in the beat of this sequence what is news and fits; the rest follows later.
    pub(crate) fn window(&mut self, sequence: u64, held: &mut [Held]) {
        let mut room = IDS_MAX_BYTES;
        let (mut here, mut going) = (HashSet::new(), Vec::new());
        for one in held.iter_mut().filter(|one| !one.lost.is_empty()) {
            let uid = one.uid.clone();
            one.lost.retain(|lost| {
                let key = key(&uid, lost);
                let news = !self.known.contains(&key);
                here.insert(key.clone());
                let size = size(&lost.request_ids);
                if !news || size > room {
                    return false;
                }
                room -= size;
                going.push(key);
                true
            });
        }
        self.known.retain(|key| here.contains(key));
        self.sent.insert(sequence, going);
    }

    /// The control plane has this beat and all before it.
    pub(crate) fn acknowledged(&mut self, sequence: u64) {
        let later = self.sent.split_off(&(sequence + 1));
        let heard = std::mem::replace(&mut self.sent, later);
        self.known.extend(heard.into_values().flatten());
    }
}

/// The tails that fit into a message, oldest first, and at least one.
pub(crate) fn window(tails: &[Tail]) -> Vec<Tail> {
    let mut room = IDS_MAX_BYTES;
    let fits = |tail: &&Tail| {
        let size = tail.segments.iter().map(|segment| size(&segment.request_ids)).sum::<usize>();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    tails.iter().take_while(fits).cloned().collect()
}

/// Remembers what the state in the folder of a service had answered, for it is about to be given
/// up for one that another site went on from.
pub(crate) async fn keep_tail(core: &Core, record: &Record) {
    let epoch = if record.fresh { record.previous } else { Some(record.epoch()) };
    let restart = record.assignment.spec.on_site_lost == OnSiteLost::Restart;
    let Some(epoch) = epoch.filter(|_| restart) else { return };
    let uid = &record.assignment.uid;
    let folder = core.state_folder(uid);
    let reading =
        tokio::task::spawn_blocking(move || cells::worker::answered(&folder, TAIL_IDS_MAX));
    let segments = match reading.await {
        Ok(Ok(segments)) => segments,
        Ok(Err(error)) => {
            let error = types::chain(&error);
            return tracing::warn!(uid, error, "what an old epoch answered cannot be named");
        }
        Err(_) => return,
    };
    if segments.is_empty() {
        return;
    }
    let incarnation = record.incarnation;
    let tail = Tail { uid: uid.clone(), epoch, incarnation, at: core.wall_ms(), segments };
    core.update(uid, |inner| {
        let tails = &mut inner.state.tails;
        tails.retain(|old| (&old.uid, old.epoch) != (&tail.uid, tail.epoch));
        tails.push(tail);
        let surplus = tails.len().saturating_sub(TAILS_MAX);
        tails.drain(..surplus);
    });
}

/// The control plane has noted these.
pub(crate) fn noted(core: &Arc<Core>, noted: Vec<(String, Epoch)>) {
    if noted.is_empty() {
        return;
    }
    core.update_all(|inner| {
        inner.state.tails.retain(|tail| !noted.contains(&(tail.uid.clone(), tail.epoch)));
    });
    let persisting = core.clone();
    core.spawn(async move {
        // If it is told again, that changes nothing.
        if let Err(failure) = persisting.persist().await {
            tracing::debug!(%failure, "a noted tail is not yet forgotten");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::link::{FromSite, HeldState, Segment};
    use types::Bytes;

    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|id| format!("{id:0128}")).collect()
    }

    /// A site whose services lost as much as can be remembered.
    fn held() -> Vec<Held> {
        let lost = |incarnation| Lost {
            epoch: Epoch(1),
            incarnation,
            at: 7,
            count: 5000,
            request_ids: ids(1000),
        };
        let one = |service| Held {
            tenant: "default".into(),
            name: format!("service-{service}"),
            uid: format!("uid-{service}"),
            epoch: Epoch(2),
            incarnation: 17,
            state: HeldState::Serving,
            message: String::new(),
            requests_answered: 1,
            cpu_us: 0,
            last_checkpoint: None,
            lost: (1..=16).rev().map(lost).collect(),
            memory: Bytes(1),
            started_from: None,
            answers: api::link::Answers::default(),
            page: None,
        };
        (0..10).map(one).collect()
    }

    #[test]
    fn every_loss_is_told_once_and_no_message_is_large() {
        let mut told = Told::default();
        let mut heard = HashSet::new();
        let mut beats = 0;

        for sequence in 1.. {
            let mut held = held();
            told.window(sequence, &mut held);
            let news: Vec<Key> = held
                .iter()
                .flat_map(|one| one.lost.iter().map(|lost| key(&one.uid, lost)))
                .collect();
            let beat = FromSite::Beat {
                sequence,
                held,
                cells: Vec::new(),
                tails: Vec::new(),
                decided: Vec::new(),
            };
            let size = serde_json::to_string(&beat).unwrap().len();
            assert!(size < 2 << 20, "{size} bytes");
            if news.is_empty() {
                break;
            }
            beats = sequence;
            // Every other beat is lost on its way.
            if sequence % 2 == 0 {
                assert!(news.iter().all(|key| heard.insert(key.clone())), "told twice");
                told.acknowledged(sequence);
            }
        }

        assert_eq!(heard.len(), 160);
        assert!((20..100).contains(&beats), "{beats} beats");
        // Another session begins anew.
        let mut again = held();
        Told::default().window(1, &mut again);
        assert!(again.iter().any(|one| !one.lost.is_empty()));
    }

    #[test]
    fn tails_share_a_message_as_room_allows() {
        let tail = |epoch| Tail {
            uid: "a".into(),
            epoch: Epoch(epoch),
            incarnation: 1,
            at: 7,
            segments: vec![Segment { sequence: 1, count: 1000, request_ids: ids(1000) }],
        };
        let all: Vec<Tail> = (1..=TAILS_MAX as u64).map(tail).collect();

        let first = window(&all);

        assert!((2..10).contains(&first.len()), "{}", first.len());
        assert_eq!(first[..], all[..first.len()]);
    }
}
