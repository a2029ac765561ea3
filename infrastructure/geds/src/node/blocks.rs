//! Bytes outside that are read block by block, and kept in memory or on disk as long as nobody needs the room.

use super::{
    remotes::Remote,
    slabs::{mark, slab_bytes},
    state::{OWN, State},
    tenant::Tenant,
};
use crate::{
    Error, Result,
    backend::{BLOCK_BYTES, Backend},
    disk,
    shared::{Access, Region, record::Place},
    wire::{Piece, Reply},
};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// Most blocks that are read at once for one who asks.
pub(crate) const BLOCKS_AT_ONCE: u64 = 8;
/// How long somebody waits for a block that another one reads before looking again.
const LOOK: Duration = Duration::from_secs(1);
/// How often a block that does not have its checksum is read again.
const READS: usize = 2;

/// The slab that blocks are written into.
#[derive(Debug)]
pub(super) struct Open {
    slot: u16,
    generation: u32,
    region: Arc<Region>,
    next: u64,
}

/// Where a block is to lie.
enum Room {
    Slab { place: Place, offset: u64, region: Arc<Region> },
    File { number: u64, file: File },
}

impl Tenant {
    /// A block that lies here, pinned for the session; else it is to be fetched first.
    pub(super) fn block(&self, session: u32, number: u64, block: u64) -> Reply {
        let mut state = self.state();
        let Some(cached) = state.remotes.cached(number, block) else { return Reply::Gone };
        let Some(seat) = state.seats.get(&session) else { return Reply::Gone };
        seat.page.pin(cached.place);
        let (place, len) = (cached.place, cached.len);
        Reply::Pieces(vec![Piece { place, whole: len, start: 0, len }.to_wire()])
    }

    /// Reads blocks that do not lie here yet; whoever finds them being read already waits for the first.
    pub(super) fn fetch(&self, number: u64, first: u64, count: u64) -> Result<()> {
        let (remote, wanted) = {
            let mut state = self.state();
            loop {
                let Some(entry) = state.remotes.get(number) else { return Ok(()) };
                if entry.blocks.contains_key(&first) {
                    return Ok(());
                }
                if !entry.coming.contains(&first) {
                    break;
                }
                let waited = self.arrived.wait_timeout(state, LOOK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let Some(entry) = state.remotes.get(number) else { return Ok(()) };
            let remote = Arc::clone(&entry.remote);
            let blocks = first..first.saturating_add(count.clamp(1, BLOCKS_AT_ONCE));
            let wanted: Vec<u64> = blocks
                .take_while(|block| remote.block(*block).is_some())
                .filter(|block| !entry.blocks.contains_key(block) && !entry.coming.contains(block))
                .collect();
            if wanted.is_empty() {
                let (offset, end, size) = (first, first, remote.size);
                return Err(Error::Range { offset, end, size });
            }
            entry.coming.extend(&wanted);
            entry.busy += 1;
            (remote, wanted)
        };
        let fetched = self.fetch_all(number, &remote, &wanted);
        let mut state = self.state();
        if let Some(entry) = state.remotes.get(number) {
            wanted.iter().for_each(|block| _ = entry.coming.remove(block));
            entry.busy = entry.busy.saturating_sub(1);
        }
        state.reconsider(Place::Outside { number });
        drop(state);
        self.arrived.notify_all();
        fetched
    }

    fn fetch_all(&self, number: u64, remote: &Remote, wanted: &[u64]) -> Result<()> {
        let backend = self.outlets.reader(&remote.bucket)?;
        let start = |block: u64| {
            let range = remote.block(block).unwrap_or(0..0);
            Ok((block, backend.start_block(&remote.key, range, &remote.etag)?))
        };
        let under_way: Vec<_> = wanted.iter().map(|block| start(*block)).collect::<Result<_>>()?;
        for (block, received) in under_way {
            let bytes = backend.receive(&remote.bucket, &remote.key, &received)?;
            let bytes = match check(remote, block, &bytes) {
                Ok(()) => bytes,
                Err(error) => read_again(&backend, remote, block, error)?,
            };
            self.write_block(number, block, &bytes)?;
        }
        Ok(())
    }

    /// Writes a block to where there is room for it.
    fn write_block(&self, number: u64, block: u64, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let room = self.state().room(len)?;
        let (place, written) = match room {
            Room::Slab { place, offset, region } => {
                region.copy_in(offset, bytes);
                (place, Ok(()))
            }
            Room::File { number, file } => {
                let mut sums = disk::Sums::default();
                sums.add(bytes);
                let written = file
                    .write_all_at(bytes, disk::EXTENTS_AT)
                    .and_then(|()| disk::seal(&file, disk::EXTENTS_AT, len, &sums.finish().0));
                let place = Place::File { file: number, offset: disk::EXTENTS_AT };
                (place, written.map_err(Error::io("write a block to disk")))
            }
        };
        let mut state = self.state();
        if let Some(entry) = state.remotes.get(number)
            && written.is_ok()
        {
            entry.coming.remove(&block);
            state.keep_block(number, block, place, len);
        }
        state.block_written(place, len);
        drop(state);
        written?;
        self.arrived.notify_all();
        Ok(())
    }
}

impl State {
    /// Room for a block: in memory below the mark, else on disk.
    fn room(&mut self, len: u64) -> Result<Room> {
        let fits = |open: &Open| open.next + len <= open.region.len();
        if !self.blocks.as_ref().is_some_and(fits) {
            self.close_blocks();
            self.open_blocks(len)?;
        }
        if let Some(open) = &mut self.blocks {
            let offset = open.next;
            open.next = (offset + len).next_multiple_of(64);
            let place = Place::Slab { slot: open.slot, generation: open.generation, offset };
            let region = Arc::clone(&open.region);
            if let Some(slab) = self.slabs.get(open.slot, open.generation) {
                slab.busy += 1;
            }
            return Ok(Room::Slab { place, offset, region });
        }
        let limits = self.limits.clone();
        let (number, file) = self.files.create(None, len, &limits)?;
        Ok(Room::File { number, file })
    }

    fn open_blocks(&mut self, len: u64) -> Result<()> {
        let limits = self.limits.clone();
        let bytes = len.max(BLOCK_BYTES);
        let (used, _) = self.slabs.used();
        if used + bytes.max(slab_bytes(&limits)) > mark(&limits) {
            return Ok(());
        }
        let Some(lent) = self.slabs.lend(bytes, OWN, &limits)? else { return Ok(()) };
        let slab = self.slabs.get(lent.slot, lent.generation);
        let file = slab.map(|slab| slab.to_write()).transpose()?;
        let region = file.map(|file| Region::map(&file, Access::Write)).transpose()?;
        let open = |region| {
            let (slot, generation) = (lent.slot, lent.generation);
            Open { slot, generation, region: Arc::new(region), next: 0 }
        };
        self.blocks = region.map(open);
        Ok(())
    }

    /// A block was written, or could not be.
    fn block_written(&mut self, place: Place, len: u64) {
        match place {
            Place::Slab { slot, generation, .. } => {
                if let Some(slab) = self.slabs.get(slot, generation) {
                    slab.busy = slab.busy.saturating_sub(1);
                }
                self.index.touch(slot);
            }
            Place::File { file, offset } => {
                if let Some(stored) = self.files.get(file) {
                    let end = disk::behind(offset, len).unwrap_or(offset);
                    (stored.busy, stored.bytes) = (stored.busy.saturating_sub(1), end);
                }
            }
            Place::Nowhere | Place::Pieces { .. } | Place::Outside { .. } => {}
        }
        self.reconsider(place);
    }

    /// Nothing more is written into the slab that blocks are written into.
    pub(super) fn close_blocks(&mut self) {
        let Some(open) = self.blocks.take() else { return };
        self.slabs.close(open.slot, open.generation, OWN);
        self.index.touch(open.slot);
        self.reconsider(Place::Slab { slot: open.slot, generation: open.generation, offset: 0 });
    }
}

fn read_again(
    backend: &Backend,
    remote: &Remote,
    block: u64,
    mut error: Error,
) -> Result<bytes::Bytes> {
    for _ in 1..READS {
        let range = remote.block(block).unwrap_or(0..0);
        let received = backend.start_block(&remote.key, range, &remote.etag)?;
        let bytes = backend.receive(&remote.bucket, &remote.key, &received)?;
        match check(remote, block, &bytes) {
            Ok(()) => return Ok(bytes),
            Err(again) => error = again,
        }
    }
    Err(error)
}

fn check(remote: &Remote, block: u64, bytes: &[u8]) -> Result<()> {
    let corrupt = |why: String| Error::Corrupt {
        what: format!("object `{}` outside of bucket `{}`", remote.key, remote.bucket),
        why,
    };
    let expected = remote.block(block).map_or(0, |range| range.end - range.start);
    if bytes.len() as u64 != expected {
        let len = bytes.len();
        return Err(corrupt(format!("{len} bytes came where {expected} were announced")));
    }
    match remote.sums.get(block as usize) {
        Some(sum) if *sum != crc32c::crc32c(bytes) => {
            Err(corrupt(format!("block {block} does not match its checksum")))
        }
        _ => Ok(()),
    }
}
