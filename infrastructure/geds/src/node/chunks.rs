//! Who fills which chunk of the index, and which have room.

use crate::{
    Error, Result,
    shared::{
        index::Index,
        record::{CLASSES, State, slots_of},
    },
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{FallocateFlags, fallocate},
};

/// The chunks of a tenant's index.
#[derive(Debug)]
pub(super) struct Chunks {
    /// What is known of chunks 1 and on.
    taken: Vec<Chunk>,
    /// By class: chunks nobody fills that had a quarter of their slots free once.
    roomy: Vec<Vec<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    class: usize,
    /// The session that fills it.
    lent: Option<u32>,
    free: u64,
    /// Whether it stands in `roomy`.
    listed: bool,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { taken: Vec::new(), roomy: vec![Vec::new(); CLASSES.len()] }
    }

    fn chunk(&mut self, number: u32) -> Option<&mut Chunk> {
        self.taken.get_mut(number.checked_sub(1)? as usize)
    }

    /// Lends a chunk of a class to a session.
    pub(super) fn lend(
        &mut self,
        index: &Index,
        file: &OwnedFd,
        class: usize,
        session: u32,
    ) -> Result<u32> {
        if class >= CLASSES.len() {
            return Err(Error::Invalid(format!("there is no class {class} of slots")));
        }
        let number = match self.roomy(class).or_else(|| self.fresh(index)) {
            Some(number) => number,
            None => self.empty_of_any_class().ok_or_else(|| Error::TooMany {
                what: "chunks of names".to_owned(),
                limit: index.chunks(),
            })?,
        };
        let range = index.chunk_bytes(number);
        fallocate(file.as_fd(), FallocateFlags::KEEP_SIZE, range.start, range.end - range.start)
            .map_err(|error| Error::io("get memory for names")(error.into()))?;
        if let Some(chunk) = self.chunk(number) {
            *chunk = Chunk { class, lent: Some(session), free: 0, listed: false };
        }
        Ok(number)
    }

    fn roomy(&mut self, class: usize) -> Option<u32> {
        while let Some(number) = self.roomy.get_mut(class)?.pop() {
            if let Some(chunk) = self.chunk(number) {
                chunk.listed = false;
                if chunk.lent.is_none() && chunk.class == class {
                    return Some(number);
                }
            }
        }
        None
    }

    fn fresh(&mut self, index: &Index) -> Option<u32> {
        let number = self.taken.len() as u64 + 1;
        if number >= index.chunks() {
            return None;
        }
        self.taken.push(Chunk { class: 0, lent: None, free: 0, listed: false });
        Some(number as u32)
    }

    fn empty_of_any_class(&mut self) -> Option<u32> {
        let empty = |chunk: &Chunk| chunk.lent.is_none() && chunk.free == slots_of(chunk.class);
        let at = self.taken.iter().position(empty)?;
        Some(at as u32 + 1)
    }

    /// Takes a chunk back from the session that filled it.
    pub(super) fn take_back(&mut self, index: &Index, number: u32, session: u32) {
        let Some(chunk) = self.chunk(number).filter(|chunk| chunk.lent == Some(session)) else {
            return;
        };
        chunk.lent = None;
        let units = Index::units(number, chunk.class);
        chunk.free = units.filter(|unit| index.slot(*unit).state() == State::Free).count() as u64;
        self.list(number);
    }

    /// A slot of the chunk was freed.
    pub(super) fn freed(&mut self, number: u32) {
        if let Some(chunk) = self.chunk(number).filter(|chunk| chunk.lent.is_none()) {
            chunk.free = (chunk.free + 1).min(slots_of(chunk.class));
            self.list(number);
        }
    }

    fn list(&mut self, number: u32) {
        let Some(chunk) = self.chunk(number) else { return };
        let class = chunk.class;
        if chunk.listed || chunk.free * 4 < slots_of(class) {
            return;
        }
        chunk.listed = true;
        if let Some(roomy) = self.roomy.get_mut(class) {
            roomy.push(number);
        }
    }

    /// The chunks that a session fills.
    pub(super) fn lent_to(&self, session: u32) -> Vec<u32> {
        let numbered = (1..).zip(&self.taken);
        numbered
            .filter(|(_, chunk)| chunk.lent == Some(session))
            .map(|(number, _)| number)
            .collect()
    }

    /// The class of slots that a chunk has.
    pub(super) fn class(&self, number: u32) -> Option<usize> {
        self.taken.get(number.checked_sub(1)? as usize).map(|chunk| chunk.class)
    }

    /// How many chunks were taken from the arena.
    pub(super) fn count(&self) -> u64 {
        self.taken.len() as u64
    }
}
