//! What was lost with a site.
//!
//! A site that comes back with an old epoch says what it had answered under it, by checkpoint. The
//! site that took over says from which checkpoint it went on. What lies behind that is lost, and
//! is named in the service's status as what crashes lose is.

use super::{Error, Result, batch::Batch, state::State, status::merge_lost};
use api::{
    link::{Stamp, Tail},
    service::{Lost, ServiceStatus, Takeover},
};
use std::sync::Arc;
use tracing::info;
use types::Epoch;

/// Most ids that one report names.
const IDS_MAX: usize = 1000;

/// Longest id; an ingress takes none that is longer.
const ID_MAX_BYTES: usize = 128;

/// Most takeovers that a service's status remembers.
const TAKEOVERS_MAX: usize = 16;

/// Most tails that are looked at in one beat; the site sends the rest again.
const TAILS_MAX: usize = 64;

/// Remembers from where an epoch went on.
pub(super) fn remember(status: &mut ServiceStatus, epoch: Epoch, from: Option<Stamp>) {
    let Some(from) = from else { return };
    if status.takeovers.iter().any(|takeover| takeover.epoch == epoch) {
        return;
    }
    status.takeovers.push(Takeover { epoch, from });
    status.takeovers.sort_by_key(|takeover| takeover.epoch);
    let surplus = status.takeovers.len().saturating_sub(TAKEOVERS_MAX);
    status.takeovers.drain(..surplus);
}

/// Names what was lost; returns the tails that need not be sent again. One whose takeover is not
/// known yet is left with its site.
pub(super) async fn note(state: &Arc<State>, tails: &[Tail]) -> Result<Vec<(String, Epoch)>> {
    let mut noted = Vec::new();
    for tail in tails.iter().take(TAILS_MAX) {
        if note_one(state, tail).await? {
            noted.push((tail.uid.clone(), tail.epoch));
        }
    }
    Ok(noted)
}

async fn note_one(state: &Arc<State>, tail: &Tail) -> Result<bool> {
    loop {
        let service = state.cache(|cache| cache.service_by_uid(&tail.uid).cloned());
        let Some(service) = service else { return Ok(true) };
        let Some(lost) = lost(&service.status, tail) else { return Ok(false) };
        if lost.count == 0 {
            return Ok(true);
        }
        let mut new = service.status.clone();
        let count = lost.count;
        merge_lost(&mut new.lost, vec![lost]);
        if new == service.status {
            return Ok(true);
        }
        let mut batch = Batch::new();
        batch.put(service.with_status(&new));
        match state.commit(batch).await {
            Err(Error::Raced) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                info!(service = %service.id(), epoch = %tail.epoch, count, "lost with a site");
                return Ok(true);
            }
        }
    }
}

/// What the takeover after the tail's epoch went on without; none while that is not known.
fn lost(status: &ServiceStatus, tail: &Tail) -> Option<Lost> {
    let after = |takeover: &&Takeover| takeover.epoch > tail.epoch;
    let takeover = status.takeovers.iter().filter(after).min_by_key(|takeover| takeover.epoch)?;
    // Only sequences of one epoch can be compared: all that is named of others is lost.
    let since = match takeover.from.epoch == tail.epoch {
        true => takeover.from.sequence,
        false => 0,
    };
    let behind = || tail.segments.iter().filter(|segment| segment.sequence >= since);
    let ids = behind().flat_map(|segment| &segment.request_ids);
    let ids = ids.filter(|id| id.len() <= ID_MAX_BYTES).cloned();
    Some(Lost {
        epoch: tail.epoch,
        incarnation: tail.incarnation,
        at: tail.at,
        count: behind().fold(0, |sum, segment| sum.saturating_add(segment.count)),
        request_ids: ids.take(IDS_MAX).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::link::Segment;

    fn tail() -> Tail {
        let segment = |sequence, ids: [&str; 2]| Segment {
            sequence,
            count: 2,
            request_ids: ids.map(str::to_owned).to_vec(),
        };
        let segments = vec![segment(5, ["a", "b"]), segment(6, ["c", "d"])];
        Tail { uid: "u".into(), epoch: Epoch(2), incarnation: 3, at: 7, segments }
    }

    fn taken(takeovers: &[(u64, u64, u64)]) -> ServiceStatus {
        let mut status = ServiceStatus::default();
        for (epoch, from, sequence) in takeovers {
            let from = Stamp { epoch: Epoch(*from), incarnation: 1, sequence: *sequence };
            remember(&mut status, Epoch(*epoch), Some(from));
        }
        status
    }

    #[test]
    fn what_lies_behind_the_checkpoint_of_the_takeover_is_lost() {
        let named = |takeovers: &[(u64, u64, u64)]| {
            lost(&taken(takeovers), &tail()).map(|lost| (lost.count, lost.request_ids.join(" ")))
        };

        assert_eq!(named(&[]), None, "nobody has taken over yet");
        assert_eq!(named(&[(2, 1, 4)]), None, "that was this epoch's own start");
        assert_eq!(named(&[(3, 2, 6)]), Some((2, "c d".into())));
        assert_eq!(named(&[(3, 2, 7)]), Some((0, String::new())));
        assert_eq!(named(&[(4, 3, 9), (3, 2, 6)]), Some((2, "c d".into())), "the first counts");
        assert_eq!(named(&[(3, 1, 6)]), Some((4, "a b c d".into())), "from an older epoch");
        assert_eq!(named(&[(3, 0, 0)]), Some((4, "a b c d".into())), "from the beginning");
    }

    #[test]
    fn takeovers_are_remembered_once_and_the_latest_stay() {
        let all: Vec<_> = (1..=40).map(|epoch| (epoch, epoch, epoch)).collect();
        let mut status = taken(&all);
        assert_eq!(status.takeovers.len(), TAKEOVERS_MAX);
        assert_eq!(status.takeovers[0].epoch, Epoch(25));

        remember(&mut status, Epoch(40), Some(Stamp::default()));
        remember(&mut status, Epoch(41), None);

        assert_eq!(status.takeovers.last().unwrap().from.sequence, 40);
    }
}
