//! Composed objects on their way outside. Their pieces may move to disk meanwhile, so they are found anew for each
//! range that is read, and kept in place no longer than that takes.

use super::{
    bytes::Bytes as Opened,
    source::Sums,
    state::{Content, State},
    writeback::{Plan, Wanted},
};
use crate::{Error, Result, backend::BLOCK_BYTES, shared::record::Place, wire::Piece};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::{Mutex, PoisonError, Weak},
};

/// A composed object that is being read.
#[derive(Debug)]
pub(super) struct Composed {
    state: Weak<Mutex<State>>,
    content: u64,
    /// Where in the object its pieces begin, and where the last one ends.
    starts: Vec<u64>,
    /// The checksums of blocks, as they are read.
    sums: Mutex<BTreeMap<u64, u32>>,
}

impl Composed {
    /// Reads a content, which is not freed until its `busy` is counted down; none if some of it lies outside itself.
    pub(super) fn new(
        state: &Weak<Mutex<State>>,
        number: u64,
        content: &mut Content,
    ) -> Option<Self> {
        if content.pieces.iter().any(|piece| matches!(piece.place, Place::Outside { .. })) {
            return None;
        }
        let mut starts = vec![0];
        let mut end = 0_u64;
        for piece in &content.pieces {
            end = end.checked_add(piece.len)?;
            starts.push(end);
        }
        content.busy += 1;
        Some(Self { state: Weak::clone(state), content: number, starts, sums: Mutex::default() })
    }

    pub(super) fn size(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// A range of the bytes; the blocks that it has are summed.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut at = range.start;
        // The last piece that begins there or before.
        let first = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        for (number, span) in self.starts.windows(2).enumerate().skip(first) {
            let end = span[1].min(range.end);
            if at >= range.end {
                break;
            }
            if end > at {
                let (from, to) = ((at - range.start) as usize, (end - range.start) as usize);
                self.read_piece(number, at - span[0], &mut bytes[from..to])?;
                at = end;
            }
        }
        self.sum(range.start, &bytes);
        Ok(bytes.into())
    }

    fn read_piece(&self, number: usize, at: u64, part: &mut [u8]) -> Result<()> {
        let ended = || Error::Unavailable("the node ends".to_owned());
        let state = self.state.upgrade().ok_or_else(ended)?;
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let (piece, opened) = {
            let mut state = lock();
            let content = state.contents.get(&self.content);
            let piece = content.and_then(|content| content.pieces.get(number).copied());
            let piece: Piece = piece.ok_or_else(ended)?;
            (piece, Opened::open(&mut state, piece.place, piece.whole)?)
        };
        let read = opened.read(piece.start + at, part);
        lock().unhold(piece.place.anchor());
        read
    }

    fn sum(&self, start: u64, bytes: &[u8]) {
        let blocks = (start / BLOCK_BYTES..).zip(bytes.chunks(BLOCK_BYTES as usize));
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.extend(blocks.map(|(block, bytes)| (block, crc32c::crc32c(bytes))));
    }

    /// The checksums of all blocks, once all were read.
    pub(super) fn sums(&self) -> Result<Sums> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut whole = 0;
        let mut all = Vec::new();
        for (expected, (block, crc)) in sums.iter().enumerate() {
            if *block != expected as u64 {
                break;
            }
            let len = BLOCK_BYTES.min(self.size().saturating_sub(block * BLOCK_BYTES));
            whole = crc32c::crc32c_combine(whole, *crc, len as usize);
            all.push(*crc);
        }
        match all.len() as u64 == self.size().div_ceil(BLOCK_BYTES) {
            true => Ok((all, whole)),
            false => Err(Error::Unavailable("not all of an object was sent".to_owned())),
        }
    }
}

impl State {
    /// What is composed of bytes in slabs and may have to be written outside, by slab.
    pub(super) fn composed_in_slabs(&self) -> HashMap<Place, BTreeSet<u64>> {
        let mut by_slab: HashMap<Place, BTreeSet<u64>> = HashMap::new();
        let open = self.contents.iter().filter(|(_, content)| content.looked_at != content.holds);
        for (number, content) in open {
            for piece in &content.pieces {
                if matches!(piece.place, Place::Slab { .. }) {
                    by_slab.entry(piece.place.anchor()).or_default().insert(*number);
                }
            }
        }
        by_slab
    }

    /// Adds the names of something composed; says whether there is one that is not outside yet.
    pub(super) fn plan_content(
        &mut self,
        plan: &mut Plan,
        wanted: &Wanted<'_>,
        content: u64,
    ) -> bool {
        let members = self.contents.get(&content).map(|content| content.members.clone());
        let members: BTreeSet<u32> = members.unwrap_or_default().into_iter().collect();
        let place = Place::Pieces { content };
        let any = members.into_iter().fold(false, |any, unit| {
            let refers = self.index.slot(unit).header().place == place;
            any | (refers && self.plan_name(plan, wanted, unit, place))
        });
        if !any
            && wanted.is_any()
            && let Some(content) = self.contents.get_mut(&content)
        {
            content.looked_at = content.holds;
        }
        any
    }

    /// What was found to need nothing is looked at again.
    pub(super) fn look_again(&mut self) {
        self.slabs.look_again();
        self.contents.values_mut().for_each(|content| content.looked_at = 0);
    }
}
