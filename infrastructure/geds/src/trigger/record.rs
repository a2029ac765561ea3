//! What is known about one name for one trigger, and what comes next: no clock, no store.
//!
//! A [`Record`] says up to which version a name is [`settled`](Record::settled), and what is under way or failed. It is
//! compared with what the name is now ([`Seen`]); [`Rules::next`] says what is to be done. Every change is
//! written by compare-and-swap, so of all runners that mean to act on a name one does.

use super::{Event, Rules};
use serde::{Deserialize, Serialize};

/// Of objects that were written by triggers' modules because of objects that were written so, in a row, this many
/// are enough: a module that feeds itself, or two that feed each other, end there.
pub const HOPS_MAX: u8 = 8;

/// A lease or a pause that ends later than this from now, in milliseconds, was written by a clock that went wrong.
const FAR_AHEAD_MS: u64 = 60 * 60 * 1000;

/// The longest pause between two attempts, in milliseconds.
const PAUSE_MAX_MS: u64 = 5 * 60 * 1000;

/// The pause after a machine could not run a module, in milliseconds.
const UNABLE_PAUSE_MS: u64 = 5 * 1000;

/// What a name has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which sealed state.
    pub version: u64,
    /// How many triggers in a row led to it.
    pub hops: u8,
}

/// What is remembered about one name for one trigger.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The version for which nothing is to be done any more; none before the first, and after a delete.
    pub settled: Option<u64>,
    /// How many triggers in a row led to that version.
    pub hops: u8,
    /// The number of the last claim, greater than any before. A runner that shows another one has lost its claim.
    pub fence: u64,
    /// What is under way, waits or failed.
    pub task: Option<Task>,
}

/// One thing that is to be done to success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Because of what.
    pub event: Event,
    /// Of which version; of a delete, the last one that was known.
    pub version: u64,
    /// How many triggers in a row led to it.
    pub hops: u8,
    /// How often it was begun.
    pub attempts: u32,
    /// Where it stands.
    pub state: State,
}

/// Where a task stands. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// A runner has it, up to this time if it does not renew that.
    Running {
        /// When others may take it.
        until: u64,
    },
    /// It failed and is tried again then.
    Waiting {
        /// When.
        until: u64,
    },
    /// It failed as often as it may.
    Dead {
        /// Since when.
        since: u64,
    },
}

/// Who asks what comes next, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// How long the one who asks would have it, in milliseconds.
    pub lease: u64,
    /// The number that its claim would have: one that nobody was given before, in ascending order. Numbers that begin anew
    /// with each record would not do: records are forgotten, and runners that are late come to the next one.
    pub fence: u64,
}

impl Asked {
    /// By somebody who claims nothing.
    pub fn only(now: u64) -> Self {
        Self { now, lease: 0, fence: 0 }
    }
}

/// What comes next for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until something happens to it.
    Nothing,
    /// Nothing before this time.
    Later(u64),
    /// This is to be remembered; nothing is run.
    Note(Record),
    /// The record is of no use any more.
    Forget,
    /// A runner that writes this has the task.
    Run(Record),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The module ended with exit code 0.
    Well,
    /// It did not.
    Badly,
    /// It was not the module's fault: the attempt does not count.
    Released,
    /// This machine could not run it: the attempt does not count, and the next one is made after a pause.
    Unable,
}

/// Whoever says so has lost its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fenced;

/// What a name calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    event: Event,
    version: u64,
    hops: u8,
}

impl Rules {
    /// What comes next for a name, of which this is remembered and that is there.
    pub fn next(&self, record: Option<&Record>, seen: Option<Seen>, asked: Asked) -> Next {
        let now = asked.now;
        let blank = Record::default();
        let known = record.unwrap_or(&blank);
        let wanted = self.wanted(known, seen);
        let Some(task) = &known.task else {
            return match wanted {
                Some(wanted) => self.begin(known, wanted, 0, asked),
                None => self.note(record, seen),
            };
        };
        // Whatever has happened to the name since: one runner at a time.
        if let State::Running { until } = task.state
            && is_ahead(until, now)
        {
            return Next::Later(until);
        }
        let same = wanted.filter(|wanted| task.is_for(wanted));
        match (same, wanted) {
            (Some(wanted), _) => match task.state {
                State::Dead { .. } => Next::Nothing,
                State::Waiting { until } if is_ahead(until, now) => Next::Later(until),
                State::Waiting { .. } | State::Running { .. } => {
                    let wanted = Wanted { hops: task.hops, ..wanted };
                    self.begin(known, wanted, task.attempts, asked)
                }
            },
            (None, Some(other)) => self.begin(known, other, 0, asked),
            // What it was about has gone, or has come back.
            (None, None) => match (seen, known.settled) {
                // When this version goes, that is another delete.
                (Some(Seen { version, hops }), Some(_)) => {
                    let settled = Some(version);
                    Next::Note(Record { settled, hops, task: None, ..known.clone() })
                }
                (None, Some(_)) => Next::Note(Record { task: None, ..known.clone() }),
                (_, None) => Next::Forget,
            },
        }
    }

    fn wanted(&self, known: &Record, seen: Option<Seen>) -> Option<Wanted> {
        match (seen, known.settled) {
            (Some(seen), settled) => {
                let event = match settled {
                    Some(settled) if seen.version <= settled => None,
                    Some(_) => Some(Event::Sealed).filter(|_| self.on.sealed),
                    None if seen.version < self.since => None,
                    None if self.on.created => Some(Event::Created),
                    None => Some(Event::Sealed).filter(|_| self.on.sealed),
                };
                event.map(|event| Wanted { event, version: seen.version, hops: seen.hops })
            }
            (None, Some(version)) if self.on.deleted => {
                Some(Wanted { event: Event::Deleted, version, hops: known.hops })
            }
            (None, _) => None,
        }
    }

    /// What is to be remembered of a name for which nothing is run.
    fn note(&self, record: Option<&Record>, seen: Option<Seen>) -> Next {
        match (record, seen) {
            (None, Some(seen)) if self.on.deleted => {
                let settled = Some(seen.version);
                Next::Note(Record { settled, hops: seen.hops, ..Record::default() })
            }
            (Some(_), None) => Next::Forget,
            _ => Next::Nothing,
        }
    }

    /// The next attempt, or the end of them.
    fn begin(&self, known: &Record, wanted: Wanted, attempts: u32, asked: Asked) -> Next {
        let Asked { now, lease, fence } = asked;
        let Wanted { event, version, hops } = wanted;
        let task = |attempts, state| Some(Task { event, version, hops, attempts, state });
        if hops >= HOPS_MAX || attempts >= self.attempts {
            let task = task(attempts, State::Dead { since: now });
            return Next::Note(Record { task, ..known.clone() });
        }
        let task = task(attempts + 1, State::Running { until: now.saturating_add(lease) });
        Next::Run(Record { fence, task, ..known.clone() })
    }

    /// The pause behind so many attempts, in milliseconds.
    fn pause(&self, attempts: u32) -> u64 {
        let doubled = 1_u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX);
        self.pause_ms.saturating_mul(doubled).min(PAUSE_MAX_MS)
    }
}

impl Record {
    /// The same after an attempt; none if nothing has to be remembered.
    ///
    /// # Errors
    /// [`Fenced`] when the claim of this number is not the one in force.
    pub fn finish(
        &self,
        rules: &Rules,
        fence: u64,
        ended: Ended,
        now: u64,
    ) -> Result<Option<Self>, Fenced> {
        let task = self.held(fence)?.clone();
        let with = |attempts, state| {
            let task = Some(Task { attempts, state, ..task.clone() });
            Ok(Some(Self { task, ..self.clone() }))
        };
        match ended {
            Ended::Well if task.event == Event::Deleted => Ok(None),
            Ended::Well => {
                let settled = Some(task.version);
                Ok(Some(Self { settled, hops: task.hops, task: None, ..self.clone() }))
            }
            Ended::Badly if task.attempts >= rules.attempts => {
                with(task.attempts, State::Dead { since: now })
            }
            Ended::Badly => {
                let until = now.saturating_add(rules.pause(task.attempts));
                with(task.attempts, State::Waiting { until })
            }
            Ended::Released => with(task.attempts.saturating_sub(1), State::Waiting { until: now }),
            Ended::Unable => {
                let until = now.saturating_add(UNABLE_PAUSE_MS);
                with(task.attempts.saturating_sub(1), State::Waiting { until })
            }
        }
    }

    /// The same, held for longer.
    ///
    /// # Errors
    /// [`Fenced`] when the claim of this number is not the one in force.
    pub fn renew(&self, fence: u64, until: u64) -> Result<Self, Fenced> {
        let task = Task { state: State::Running { until }, ..self.held(fence)?.clone() };
        Ok(Self { task: Some(task), ..self.clone() })
    }

    /// The same with another try, if it had failed for good.
    pub fn retry(&self, now: u64) -> Option<Self> {
        let dead = self.task.as_ref().filter(|task| matches!(task.state, State::Dead { .. }))?;
        // What went in circles goes round once more.
        let task =
            Task { attempts: 0, hops: 0, state: State::Waiting { until: now }, ..dead.clone() };
        Some(Self { task: Some(task), ..self.clone() })
    }

    /// The task of a claim.
    fn held(&self, fence: u64) -> Result<&Task, Fenced> {
        let running = |task: &&Task| matches!(task.state, State::Running { .. });
        self.task.as_ref().filter(running).filter(|_| self.fence == fence).ok_or(Fenced)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(&(VERSION, self)).unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::from_bytes(bytes) {
            Ok((VERSION, record)) => Some(record),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Of what is written about a name.
const VERSION: u16 = 1;

impl Task {
    fn is_for(&self, wanted: &Wanted) -> bool {
        (self.event, self.version) == (wanted.event, wanted.version)
    }
}

fn is_ahead(until: u64, now: u64) -> bool {
    until > now && until - now <= FAR_AHEAD_MS
}

#[cfg(test)]
mod tests;
