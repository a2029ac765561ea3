//! Slots of the index that one session fills.

use super::{
    index::Index,
    record::{CLASSES, State},
};
use crate::{Error, Result};

/// How many chunks in a row may turn out to be full before that is an error.
const CHUNKS_TRIED: usize = 64;

/// The chunks that a session has leased, one of each class.
#[derive(Debug)]
pub(crate) struct Slots {
    session: u32,
    leases: [Option<Lease>; CLASSES.len()],
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    chunk: u32,
    /// The next slot to look at.
    next: usize,
}

impl Slots {
    pub(crate) fn new(session: u32) -> Self {
        Self { session, leases: [None; CLASSES.len()] }
    }

    /// Takes a free slot of a class. `lease` gives another chunk for one that is full.
    pub(crate) fn take(
        &mut self,
        index: &Index,
        class: usize,
        mut lease: impl FnMut(Option<u32>) -> Result<u32>,
    ) -> Result<u32> {
        for _ in 0..CHUNKS_TRIED {
            let mut full = None;
            if let Some(held) = self.leases.get_mut(class).and_then(Option::as_mut) {
                let mut units = (held.next..).zip(Index::units(held.chunk, class).skip(held.next));
                let free = units.find(|(_, unit)| index.slot(*unit).state() == State::Free);
                if let Some((at, unit)) = free {
                    held.next = at + 1;
                    index.slot(unit).begin(self.session);
                    return Ok(unit);
                }
                full = Some(held.chunk);
            }
            let chunk = lease(full)?;
            if let Some(held) = self.leases.get_mut(class) {
                *held = Some(Lease { chunk, next: 0 });
            }
        }
        Err(Error::TooMany { what: "objects".to_owned(), limit: index.chunks() })
    }
}
