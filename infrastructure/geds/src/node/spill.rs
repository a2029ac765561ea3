//! Bytes on their way to disk: many objects of a slab into one file, or what is left of many files
//! into a new one.
//!
//! What is to move is chosen and held under the tenant's lock, written without it, and published
//! under it again, a few names at a time. A name that changed meanwhile keeps its new bytes.

use super::{
    bytes::Bytes,
    names::{Backing, stat_at},
    settle::Expected,
    state::State,
    tenant::Tenant,
};
use crate::{
    Error, Result, Stat, disk,
    put::Record,
    shared::record::{CHECKED, CLASS, Header, MOVED, NOTED, Place},
    wire::Piece,
};
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
};

/// Names that are moved at once under the lock.
const BATCH: usize = 256;
/// Bytes that are copied at once.
const COPY_BYTES: usize = 256 << 10;
/// How often an object that is changed all the time is tried to be made durable.
const TRIES: usize = 16;

/// What is to move to one file.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Whether names keep what they have in memory.
    keep: bool,
    jobs: Vec<Job>,
    extents: Vec<Source>,
    known: HashMap<(Place, u64), usize>,
    /// Why something was left out.
    left_out: Option<Error>,
}

#[derive(Debug)]
struct Job {
    what: What,
    /// What is to be written for it; nothing for what lies on disk already.
    extent: Option<usize>,
}

#[derive(Debug)]
enum What {
    /// A name.
    Name { header: Header, key: String, attributes: Vec<u8> },
    /// The copy on disk of an object in memory.
    Copy { bucket: u32, key: String, old: Backing },
    /// A piece of a composed object.
    Piece { content: u64, at: usize, old: Piece },
}

/// Bytes that are to be written.
#[derive(Debug)]
struct Source {
    anchor: Place,
    bytes: Bytes,
    size: u64,
}

/// Bytes in a file.
#[derive(Debug, Clone, Copy)]
struct Target {
    offset: u64,
    crc: u32,
}

impl Plan {
    /// The extent for bytes at a place, which is kept from being freed meanwhile. What cannot be
    /// read is left out, and remembered.
    fn extent(&mut self, state: &mut State, place: Place, size: u64) -> Option<usize> {
        if let Some(extent) = self.known.get(&(place, size)) {
            return Some(*extent);
        }
        match Bytes::open(state, place, size) {
            Ok(bytes) => {
                self.extents.push(Source { anchor: place.anchor(), bytes, size });
                self.known.insert((place, size), self.extents.len() - 1);
                Some(self.extents.len() - 1)
            }
            Err(error) => {
                self.left_out = Some(error);
                None
            }
        }
    }

    /// Adds a name, if it is still what the node saw.
    pub(super) fn add_name(&mut self, state: &mut State, unit: u32) {
        let index = Arc::clone(&state.index);
        let slot = index.slot(unit);
        let header = slot.header();
        let Some(key) = slot.key(&header) else { return };
        if state.unit(header.bucket, &key) != Some(unit) {
            return;
        }
        if !matches!(header.place, Place::Slab { .. } | Place::Pieces { .. }) {
            return;
        }
        let backing = state.backing(header.bucket, &key);
        let backed = backing.is_some_and(|backing| backing.version == header.version);
        if backed && self.keep {
            return;
        }
        if let Place::Pieces { content } = header.place
            && !backed
        {
            let in_memory = |place| matches!(place, Place::Slab { .. });
            self.add_content(state, content, in_memory);
            return;
        }
        let extent = if backed { None } else { self.extent(state, header.place, header.size) };
        if backed || extent.is_some() {
            let attributes = slot.attributes(&header);
            self.jobs.push(Job { what: What::Name { header, key, attributes }, extent });
        }
    }

    /// Adds a name that lies below memory as well, to leave it there alone.
    pub(super) fn add_backed(&mut self, state: &State, unit: u32) {
        let slot = state.index.slot(unit);
        let header = slot.header();
        let Some(key) = slot.key(&header) else { return };
        let backing = state.backing(header.bucket, &key);
        if backing.is_some_and(|backing| backing.version == header.version) {
            let attributes = slot.attributes(&header);
            self.jobs.push(Job { what: What::Name { header, key, attributes }, extent: None });
        }
    }

    /// Adds a name and its copy on disk, as far as they lie in some files.
    fn add_stored(&mut self, state: &mut State, unit: u32, files: &BTreeSet<u64>) {
        let index = Arc::clone(&state.index);
        let slot = index.slot(unit);
        let header = slot.header();
        let Some(key) = slot.key(&header) else { return };
        let within = |place| matches!(place, Place::File { file, .. } if files.contains(&file));
        if within(header.place) {
            if let Some(extent) = self.extent(state, header.place, header.size) {
                let attributes = slot.attributes(&header);
                let what = What::Name { header, key, attributes };
                self.jobs.push(Job { what, extent: Some(extent) });
            }
            return;
        }
        let bucket = header.bucket;
        let backing = state.backing(bucket, &key).filter(|backing| within(backing.place));
        if let Some(old) = backing
            && let Some(extent) = self.extent(state, old.place, old.size)
        {
            self.jobs.push(Job { what: What::Copy { bucket, key, old }, extent: Some(extent) });
        }
    }

    /// Adds what is composed of bytes in a slab: its pieces there, unless all names that refer to it lie below as well.
    fn add_composed(&mut self, state: &mut State, content: u64, slab: Place) {
        let Some(known) = state.contents.get(&content) else { return };
        if !known.pieces.iter().any(|piece| piece.place.anchor() == slab) {
            return;
        }
        let members: BTreeSet<u32> = known.members.iter().copied().collect();
        let mut needed = members.is_empty();
        for unit in members {
            let slot = state.index.slot(unit);
            let header = slot.header();
            let Some(key) = slot.key(&header) else { continue };
            let refers = header.place == Place::Pieces { content };
            if !refers || state.unit(header.bucket, &key) != Some(unit) {
                continue;
            }
            let backing = state.backing(header.bucket, &key);
            needed |= backing.is_none_or(|backing| backing.version != header.version);
            self.add_backed(state, unit);
        }
        if needed {
            self.add_content(state, content, |place| place == slab);
        }
    }

    /// Adds the pieces of a composed object that are wanted.
    fn add_content(&mut self, state: &mut State, content: u64, wanted: impl Fn(Place) -> bool) {
        let pieces = state.contents.get(&content).map(|content| content.pieces.clone());
        for (at, old) in pieces.unwrap_or_default().into_iter().enumerate() {
            if !wanted(old.place.anchor()) {
                continue;
            }
            if let Some(extent) = self.extent(state, old.place, old.whole) {
                let what = What::Piece { content, at, old };
                self.jobs.push(Job { what, extent: Some(extent) });
            }
        }
    }

    /// Lets go of what the plan holds.
    fn done(&self, state: &mut State) {
        for extent in &self.extents {
            let busy = match extent.anchor {
                Place::Slab { slot, generation, .. } => {
                    state.slabs.get(slot, generation).map(|slab| &mut slab.busy)
                }
                Place::File { file, .. } => state.files.get(file).map(|stored| &mut stored.busy),
                Place::Nowhere | Place::Pieces { .. } | Place::Outside { .. } => None,
            };
            if let Some(busy) = busy {
                *busy = busy.saturating_sub(1);
            }
            state.reconsider(extent.anchor);
        }
    }

    /// How many bytes the file will have.
    fn bytes(&self) -> u64 {
        let behind = |at, source: &Source| disk::behind(at, source.size).unwrap_or(u64::MAX);
        self.extents.iter().fold(disk::EXTENTS_AT, behind)
    }

    /// Writes all bytes behind each other.
    fn write(&self, file: &File, sync: bool) -> Result<(Vec<Target>, u64)> {
        let mut at = disk::EXTENTS_AT;
        let mut targets = Vec::new();
        let mut buffer = vec![0; COPY_BYTES];
        for source in &self.extents {
            targets.push(source.copy(file, at, &mut buffer)?);
            at = disk::behind(at, source.size)
                .ok_or_else(|| Error::Invalid("a file would be too long".to_owned()))?;
        }
        if sync {
            file.sync_all().map_err(Error::io("sync a file with objects"))?;
        }
        Ok((targets, at))
    }
}

impl Target {
    fn place(self, file: u64) -> Place {
        Place::File { file, offset: self.offset }
    }
}

impl Source {
    fn copy(&self, file: &File, at: u64, buffer: &mut [u8]) -> Result<Target> {
        let mut sums = disk::Sums::default();
        let mut done = 0;
        while done < self.size {
            let count = buffer.len().min((self.size - done) as usize);
            let part = &mut buffer[..count];
            self.bytes.read(done, part)?;
            // Summed from this copy: a process that still writes cannot make it wrong.
            sums.add(part);
            file.write_all_at(part, at + done).map_err(Error::io("write objects to disk"))?;
            done += count as u64;
        }
        let (blocks, crc) = sums.finish();
        disk::seal(file, at, self.size, &blocks).map_err(Error::io("write objects to disk"))?;
        Ok(Target { offset: at, crc })
    }
}

impl Tenant {
    /// Moves the objects of the slab that was not used for longest to disk; false if there is none
    /// to move.
    pub(super) fn relieve(&self) -> Result<bool> {
        let mut plan = Plan::default();
        {
            let mut state = self.state();
            state.collect();
            let over = state.over_mark();
            let somebody_waits = std::mem::take(&mut state.wanted_bytes) > 0;
            if !over {
                return Ok(false);
            }
            let Some(victim) = victim(&state) else {
                // Blocks lie in a slab that is still written.
                state.close_blocks();
                return Ok(false);
            };
            if state.drop_blocks(victim) {
                state.collect();
                return Ok(true);
            }
            // Who waits is not kept waiting for the network.
            if !somebody_waits && self.outlets.any_works() && state.awaits_write_back(victim) {
                self.outlets.ring();
                return Ok(false);
            }
            plan_slab(&mut plan, &mut state, victim);
        }
        let any = !plan.jobs.is_empty();
        self.move_out(plan, false)?;
        Ok(any)
    }

    /// Writes what is left of files of which most is waste into a new one; false if there is
    /// little waste.
    pub(super) fn compact(&self) -> Result<bool> {
        let mut plan = Plan::default();
        {
            let mut state = self.state();
            let files: BTreeSet<u64> = state.files.sparse().into_iter().collect();
            if files.is_empty() {
                return Ok(false);
            }
            for unit in state.units() {
                plan.add_stored(&mut state, unit, &files);
            }
            let contents: Vec<u64> = state.contents.keys().copied().collect();
            let within = |place| matches!(place, Place::File { file, .. } if files.contains(&file));
            for content in contents {
                plan.add_content(&mut state, content, within);
            }
        }
        let any = !plan.jobs.is_empty();
        // What was durable stays so when the old files go.
        self.move_out(plan, true)?;
        Ok(any)
    }

    /// Puts an object on disk, synced.
    pub(super) fn persist(&self, bucket: &str, key: &str) -> Result<Stat> {
        for _ in 0..TRIES {
            let mut plan = Plan { keep: true, ..Plan::default() };
            let (unit, files) = {
                let mut state = self.state();
                state.consume();
                state.current(bucket, key)?;
                let (unit, _) = state.stat(bucket, key)?;
                plan.add_name(&mut state, unit);
                (unit, files_of(&mut state, unit)?)
            };
            let any = !plan.jobs.is_empty();
            self.move_out(plan, true)?;
            if any {
                continue;
            }
            for file in &files {
                file.sync_all().map_err(Error::io("sync a file with objects"))?;
            }
            let mut state = self.state();
            state.sync_journal()?;
            if state.stat(bucket, key)?.0 == unit {
                return Ok(stat_at(&state.index, unit));
            }
        }
        Err(Error::Unavailable(format!("object `{key}` changes all the time: persist it later")))
    }

    /// Puts all objects on disk, synced.
    pub(super) fn persist_all(&self) -> Result<()> {
        let units: Vec<u32> = {
            let mut state = self.state();
            state.consume();
            state.units()
        };
        for some in units.chunks(BATCH) {
            let mut plan = Plan { keep: true, ..Plan::default() };
            {
                let mut state = self.state();
                some.iter().for_each(|unit| plan.add_name(&mut state, *unit));
            }
            self.move_out(plan, true)?;
        }
        self.sync_files()
    }

    /// Syncs files that were written when nobody asked for it.
    fn sync_files(&self) -> Result<()> {
        let numbers = self.state().files.numbers();
        for number in numbers {
            let file = self.state().files.open_one(number)?;
            if let Some(file) = file {
                file.sync_all().map_err(Error::io("sync a file with objects"))?;
            }
        }
        self.state().sync_journal()
    }

    /// Writes a file and makes names refer to it.
    pub(super) fn move_out(&self, mut plan: Plan, sync: bool) -> Result<()> {
        let left_out = plan.left_out.take();
        self.move_planned(&plan, sync)?;
        left_out.map_or(Ok(()), Err)
    }

    fn move_planned(&self, plan: &Plan, sync: bool) -> Result<()> {
        if plan.jobs.is_empty() {
            plan.done(&mut self.state());
            return Ok(());
        }
        let moved = if plan.extents.is_empty() {
            self.publish_moved(plan, 0, &[])
        } else {
            self.write_and_publish(plan, sync)
        };
        let mut state = self.state();
        plan.done(&mut state);
        state.collect();
        moved
    }

    fn write_and_publish(&self, plan: &Plan, sync: bool) -> Result<()> {
        let (number, file) = {
            let mut state = self.state();
            let limits = state.limits.clone();
            state.files.create(None, plan.bytes(), &limits)?
        };
        let moved = plan.write(&file, sync).and_then(|(targets, bytes)| {
            if let Some(stored) = self.state().files.get(number) {
                stored.bytes = bytes;
            }
            self.publish_moved(plan, number, &targets)
        });
        let mut state = self.state();
        if let Some(stored) = state.files.get(number) {
            stored.busy = 0;
        }
        state.reconsider(Place::File { file: number, offset: 0 });
        moved?;
        if sync { state.sync_journal() } else { Ok(()) }
    }

    fn publish_moved(&self, plan: &Plan, file: u64, targets: &[Target]) -> Result<()> {
        for jobs in plan.jobs.chunks(BATCH) {
            let mut state = self.state();
            for job in jobs {
                let written = job.extent.and_then(|extent| targets.get(extent));
                match (&job.what, written) {
                    (What::Name { header, key, attributes }, Some(target)) if plan.keep => {
                        state.back_name(header, key, attributes, target.place(file), target.crc)?;
                    }
                    (What::Name { header, key, attributes }, Some(target)) => {
                        state.move_name(header, key, attributes, target.place(file), target.crc)?;
                    }
                    (What::Name { header, key, attributes }, None) => {
                        state.drop_from_memory(header, key, attributes)?;
                    }
                    (What::Copy { bucket, key, old }, Some(target)) => {
                        state.move_copy(*bucket, key, old, target.place(file));
                    }
                    (What::Piece { content, at, old }, Some(target)) => {
                        state.move_piece(*content, *at, old, target.place(file));
                    }
                    (What::Copy { .. } | What::Piece { .. }, None) => {}
                }
            }
            state.flush_journal();
        }
        Ok(())
    }
}

impl State {
    /// Makes a name refer to its copy on disk alone.
    fn drop_from_memory(&mut self, header: &Header, key: &str, attributes: &[u8]) -> Result<()> {
        let backing = self.backing(header.bucket, key);
        match backing.filter(|backing| backing.version == header.version) {
            Some(Backing { place, .. }) => {
                self.move_name(header, key, attributes, place, header.crc)
            }
            None => Ok(()),
        }
    }

    /// Notes the copy on disk, or outside, of a name that stays in memory.
    pub(super) fn back_name(
        &mut self,
        header: &Header,
        key: &str,
        attributes: &[u8],
        place: Place,
        crc: u32,
    ) -> Result<()> {
        let version = header.version;
        let now = self.unit(header.bucket, key).map(|unit| self.index.slot(unit).header());
        if now.is_none_or(|now| now.version != version || now.place != header.place) {
            return Ok(());
        }
        // If it changed and the node has not seen how, it looks at this again when it does.
        self.set_backing(
            header.bucket,
            key,
            Some(Backing { version, memory: header.place, place, size: header.size }),
        );
        self.move_name(header, key, attributes, header.place, crc)?;
        // What is kept with it may have changed: then its record is another one.
        if let Some(unit) = self.unit(header.bucket, key) {
            self.note_again(unit);
        }
        Ok(())
    }

    /// Makes a name refer to its bytes at another place, if it is still the same.
    fn move_name(
        &mut self,
        header: &Header,
        key: &str,
        attributes: &[u8],
        place: Place,
        crc: u32,
    ) -> Result<()> {
        let old = header;
        let sealed_as = header.crc32c();
        if sealed_as.is_some_and(|sealed| sealed != crc) {
            tracing::error!(key, "the bytes in memory are not those that were sealed");
        }
        let flags = MOVED | CHECKED | NOTED | header.flags & CLASS;
        let header = Header { flags, place, crc: sealed_as.unwrap_or(crc), ..*header };
        let record = Record { header, key, attributes, former: "" };
        self.publish(&record, Expected::Same { header: old, attributes }).map(|_| ())
    }

    fn move_copy(&mut self, bucket: u32, key: &str, old: &Backing, place: Place) {
        let known = self.backing(bucket, key);
        let same = |known: &Backing| known.version == old.version && known.place == old.place;
        if known.is_some_and(|known| same(&known)) {
            self.set_backing(bucket, key, Some(Backing { place, ..*old }));
            if let Some(unit) = self.unit(bucket, key) {
                self.note_again(unit);
            }
        }
    }

    fn move_piece(&mut self, content: u64, at: usize, old: &Piece, place: Place) {
        let Some(known) = self.contents.get_mut(&content) else { return };
        let Some(piece) = known.pieces.get_mut(at).filter(|piece| *piece == old) else { return };
        piece.place = place;
        let members = known.members.clone();
        self.hold_bytes(place, old.len);
        self.let_go(old.place, old.len);
        for unit in members {
            let refers = self.index.slot(unit).header().place == Place::Pieces { content };
            if refers {
                self.note_again(unit);
            }
        }
    }
}

/// The slab to move out: the one that was let go of longest ago and is not pinned.
fn victim(state: &State) -> Option<Place> {
    let now = state.index.tick();
    let anchor = |slot: u16, generation: u32| Place::Slab { slot, generation, offset: 0 };
    let pinned = |place| state.seats.values().any(|seat| seat.page.pinned(place));
    let full = state.slabs.full().map(|(slot, slab)| {
        (now.wrapping_sub(state.index.touched(slot)), anchor(slot, slab.generation()))
    });
    full.filter(|(_, place)| !pinned(*place)).max_by_key(|(age, _)| *age).map(|(_, place)| place)
}

fn plan_slab(plan: &mut Plan, state: &mut State, victim: Place) {
    let Place::Slab { slot, generation, .. } = victim else { return };
    let members = state.slabs.get(slot, generation).map(|slab| std::mem::take(&mut slab.members));
    let members: BTreeSet<u32> = members.unwrap_or_default().into_iter().collect();
    for unit in &members {
        if state.index.slot(*unit).header().place.anchor() == victim {
            plan.add_name(state, *unit);
        }
    }
    let contents: Vec<u64> = state.contents.keys().copied().collect();
    for content in contents {
        plan.add_composed(state, content, victim);
    }
    // Those that cannot be moved now are tried again.
    if let Some(slab) = state.slabs.get(slot, generation) {
        slab.members.extend(members);
    }
}

/// The files in which an object lies.
fn files_of(state: &mut State, unit: u32) -> Result<Vec<File>> {
    let slot = state.index.slot(unit);
    let header = slot.header();
    let key = slot.key(&header).unwrap_or_default();
    let pieces = state.pieces_on_disk(&key, &header).unwrap_or_default();
    let numbers: BTreeSet<u64> = pieces
        .iter()
        .filter_map(|piece| match piece.place {
            Place::File { file, .. } => Some(file),
            _ => None,
        })
        .collect();
    let opened = numbers.into_iter().map(|number| state.files.open_one(number));
    opened.filter_map(Result::transpose).collect()
}
