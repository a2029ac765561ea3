//! The latest events in memory, so that watchers that keep up need not read the disk.

use super::tables::event_bytes;
use crate::Event;
use std::collections::VecDeque;

pub(super) struct Recent {
    /// Every event from this revision on is in `events`.
    covers_from: u64,
    events: VecDeque<Event>,
    bytes: u64,
    limit_bytes: u64,
}

impl Recent {
    pub(super) fn new(revision: u64, limit_bytes: usize) -> Self {
        let limit_bytes = limit_bytes as u64;
        Self { covers_from: revision + 1, events: VecDeque::new(), bytes: 0, limit_bytes }
    }

    /// Adds the events of a commit and forgets the oldest revisions beyond the limit.
    pub(super) fn extend(&mut self, events: Vec<Event>) {
        self.bytes += events.iter().map(event_bytes).sum::<u64>();
        self.events.extend(events);
        while self.bytes > self.limit_bytes {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= event_bytes(&event);
            self.covers_from = event.revision + 1;
        }
        // What is left of a revision that was cut is of no use.
        while self.events.front().is_some_and(|event| event.revision < self.covers_from) {
            self.bytes -= self.events.pop_front().map_or(0, |event| event_bytes(&event));
        }
    }

    /// The events from revision `from` to `to` that match, in whole revisions until `max_events`
    /// are reached, and the revision that they go up to. `None` if they do not reach back so far.
    pub(super) fn read(
        &self,
        prefix: &[u8],
        from: u64,
        to: u64,
        max_events: usize,
    ) -> Option<(Vec<Event>, u64)> {
        if from < self.covers_from {
            return None;
        }
        let mut events: Vec<Event> = Vec::new();
        let mut through = from;
        let first = self.events.partition_point(|event| event.revision < from);
        for event in self.events.range(first..).take_while(|event| event.revision <= to) {
            if events.len() >= max_events && event.revision > through {
                return Some((events, event.revision - 1));
            }
            through = event.revision;
            if event.key.starts_with(prefix) {
                events.push(event.clone());
            }
        }
        Some((events, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;

    fn event(revision: u64, key: &'static str) -> Event {
        Event { key: key.into(), revision, change: Change::Delete { previous: None } }
    }

    #[test]
    fn gives_whole_revisions_and_nothing_it_no_longer_has() {
        let size = event_bytes(&event(1, "a"));
        let mut recent = Recent::new(1, 4 * size as usize);
        recent.extend(vec![event(2, "a"), event(2, "b"), event(3, "a"), event(4, "b")]);

        let (events, through) = recent.read(b"", 2, 4, 1).expect("it reaches back to 2");
        assert_eq!((events.len(), through), (2, 2), "a revision is not split");
        assert_eq!(recent.read(b"a", 3, 4, 9), Some((vec![event(3, "a")], 4)));
        assert_eq!(recent.read(b"", 1, 4, 9), None, "what was before it began is unknown");

        recent.extend(vec![event(5, "a")]);
        assert_eq!(recent.read(b"", 2, 5, 9), None, "half a revision is none");
        assert_eq!(recent.read(b"", 3, 5, 9).map(|(events, _)| events.len()), Some(3));
    }
}
