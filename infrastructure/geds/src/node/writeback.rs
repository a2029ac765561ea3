//! Objects on their way to storage outside, in the background.
//!
//! An object that was acknowledged outside stays in memory as well until room is needed: then nothing has to be
//! written. So memory is freed without waiting for the network, and a back end that fails delays nobody.

use super::{
    composed::Composed,
    names::{Backing, Names},
    outlets::Target,
    remotes::Remote,
    settle::Expected,
    slabs::mark,
    source::{Source, Sums},
    state::State,
    tenant::Tenant,
};
use crate::{
    Class, Error, Result,
    backend::{NICENESS, Upload, Uploaded, is_name},
    disk::Extent,
    put::Record,
    shared::{
        Access, Region,
        record::{CHECKED, CLASS, Header, MOVED, NOTED, Place},
    },
};
use rustix::{process::setpriority_process, thread::gettid};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::Ordering::SeqCst,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Most bytes and objects that are under way at once.
const UNDER_WAY_BYTES: u64 = 32 << 20;
const UNDER_WAY: usize = 32;
/// Most objects that are chosen at once under the lock.
const CHOSEN: usize = 2048;
/// Most bytes of slabs that cannot be used otherwise meanwhile, also as a share of all memory.
const HELD_BYTES: u64 = 128 << 20;
const HELD_SHARE: u64 = 4;
/// Larger objects are not written back: the journal's note of one has a checksum for each block.
const OBJECT_MAX_BYTES: u64 = 256 << 30;
/// Most names outside that are removed at once.
const REMOVED: usize = 64;
/// How often what lies on disk is looked at: that takes a walk over all names.
const LOOK_AT_FILES: Duration = Duration::from_secs(1);
/// How often the thread looks whether the node ends.
const LOOK: Duration = Duration::from_millis(50);
/// How long the thread lets the lock be when it found nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// What is not done again at once.
#[derive(Debug, Default)]
struct Rest(Option<Instant>);

impl Rest {
    /// Whether so much time has gone since this was last true.
    fn is_over(&mut self, pause: Duration) -> bool {
        let is_over = self.0.is_none_or(|last| last.elapsed() >= pause);
        if is_over {
            self.0 = Some(Instant::now());
        }
        is_over
    }
}

/// An object to write outside.
#[derive(Debug)]
struct Job {
    bucket: String,
    key: String,
    header: Header,
    attributes: Vec<u8>,
    bytes: Source,
    /// The version outside that it replaces, if something is known to be there.
    replaces: Option<Option<String>>,
}

/// Which objects are to be written.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    targets: BTreeMap<&'a str, &'a Target>,
    only_cold: bool,
}

/// What is to be written, and what is held meanwhile.
#[derive(Debug, Default)]
pub(super) struct Plan {
    jobs: Vec<Job>,
    bytes: u64,
    /// Bytes of the slabs that are held, and how many those may be.
    held_bytes: u64,
    held_max_bytes: u64,
    held: Vec<Place>,
    regions: HashMap<Place, Arc<Region>>,
}

/// An object that was written outside, or not.
type Outcome = (usize, Result<(Uploaded, Sums)>);

impl Tenant {
    /// Moves objects outside, until the node ends.
    pub(super) fn write_back(&self) {
        // At worst it is as nice as others.
        let _ = setpriority_process(Some(gettid()), NICENESS);
        let mut files = Rest::default();
        while !self.stopping.load(SeqCst) {
            let look_at_files = files.is_over(LOOK_AT_FILES);
            if self.remove_stale() | self.write_some(look_at_files) {
                continue;
            }
            thread::sleep(PAUSE);
            if !self.stopping.load(SeqCst) {
                // What was rung for may lie on disk.
                self.outlets.wait((!look_at_files).then_some(LOOK_AT_FILES));
            }
        }
    }

    /// Removes names outside that nothing refers to any more.
    fn remove_stale(&self) -> bool {
        let targets = self.outlets.targets();
        let stale: Vec<_> = {
            let state = self.state();
            let ours = |((bucket, _), _): &(&(String, String), _)| targets.contains_key(bucket);
            let some = state.remotes.stale().filter(ours).take(REMOVED);
            some.map(|(name, etag)| (name.clone(), etag.clone())).collect()
        };
        let mut removed = false;
        for ((bucket, key), etag) in stale {
            let Some(target) = targets.get(&bucket) else { continue };
            let begun = target.writer.start_remove(&bucket, &key, etag.as_deref());
            let ended = begun.and_then(|begun| match self.receive(&begun) {
                Some(ended) => ended,
                None => Err(Error::Unavailable("the node ends".to_owned())),
            });
            match ended {
                Ok(()) => {
                    removed = true;
                    self.state().note_removed(&bucket, &key);
                }
                // The others would fail as well.
                Err(error) => {
                    self.outlets.failed(&bucket, &error);
                    return removed;
                }
            }
        }
        removed
    }

    /// Writes some objects outside; says whether any were.
    fn write_some(&self, look_at_files: bool) -> bool {
        let targets = self.outlets.targets();
        if targets.is_empty() {
            return false;
        }
        let plan = self.state().plan_write_back(&targets, look_at_files);
        let written = self.write_out(&plan, &targets).0;
        if written {
            // Room can be made now.
            self.wake();
        }
        written
    }

    /// Writes what was planned, and lets go of it; says whether anything was written, and the last failure.
    pub(super) fn write_out(
        &self,
        plan: &Plan,
        targets: &BTreeMap<String, Target>,
    ) -> (bool, Option<Error>) {
        let written = self.write_planned(plan, targets);
        let mut state = self.state();
        for place in &plan.held {
            state.unhold(*place);
        }
        for job in &plan.jobs {
            state.remotes.end(&job.bucket, &job.key);
        }
        state.collect();
        written
    }

    fn write_planned(
        &self,
        plan: &Plan,
        targets: &BTreeMap<String, Target>,
    ) -> (bool, Option<Error>) {
        let started = Instant::now();
        let (sender, outcomes) = channel();
        let (mut next, mut under_way, mut bytes, mut sent) = (0, 0, 0_u64, 0_u64);
        let (mut any, mut failure) = (false, None);
        while next < plan.jobs.len() || under_way > 0 {
            let job = plan.jobs.get(next).filter(|job| {
                let fits = bytes + job.bytes.size() <= UNDER_WAY_BYTES && under_way < UNDER_WAY;
                (fits || under_way == 0) && !self.stopping.load(SeqCst)
            });
            if let Some(job) = job {
                let at = next;
                next += 1;
                // It may have been taken from its bucket meanwhile.
                let attached = self.outlets.is_attached(&job.bucket);
                let Some(target) = targets.get(&job.bucket).filter(|_| attached) else { continue };
                self.pace(started, sent, target.bytes_per_second);
                bytes += job.bytes.size();
                sent += job.bytes.size();
                under_way += 1;
                begin(at, job, target, &sender);
                continue;
            }
            if under_way == 0 {
                break;
            }
            // A node that ends does not wait for the network.
            let Some((at, uploaded)) = self.receive(&outcomes) else { break };
            under_way -= 1;
            let Some(job) = plan.jobs.get(at) else { continue };
            bytes -= job.bytes.size();
            match self.ended(job, uploaded) {
                Ok(()) => any = true,
                Err(error) => failure = Some(error),
            }
        }
        (any, failure)
    }

    /// Waits for something, unless the node ends.
    fn receive<T>(&self, receiver: &Receiver<T>) -> Option<T> {
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(received) => return Some(received),
                Err(RecvTimeoutError::Timeout) if !self.stopping.load(SeqCst) => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits so that no more bytes are sent than a back end is to get.
    fn pace(&self, started: Instant, sent: u64, bytes_per_second: u64) {
        if bytes_per_second == 0 {
            return;
        }
        let due = Duration::from_secs_f64(sent as f64 / bytes_per_second as f64);
        while let Some(left) = due.checked_sub(started.elapsed())
            && !left.is_zero()
            && !self.stopping.load(SeqCst)
        {
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn ended(&self, job: &Job, uploaded: Result<(Uploaded, Sums)>) -> Result<()> {
        let published = uploaded.and_then(|(uploaded, (sums, crc))| {
            let mut state = self.state();
            if self.outlets.stored(&job.bucket, job.bytes.size()) {
                // While it rested, what its buckets have was passed by.
                state.look_again();
            }
            state.publish_outside(job, sums, crc, uploaded)
        });
        match published {
            // Written again, or deleted, meanwhile: the back end has not failed.
            Ok(()) | Err(Error::Changed { .. } | Error::NoObject { .. }) => Ok(()),
            Err(error) => {
                self.outlets.failed(&job.bucket, &error);
                Err(error)
            }
        }
    }
}

/// Sends an object on its way.
fn begin(at: usize, job: &Job, target: &Target, sender: &Sender<Outcome>) {
    let before = match job.bytes.sums_before() {
        Ok(before) => before,
        Err(error) => {
            let _ = sender.send((at, Err(error)));
            return;
        }
    };
    let (source, sent) = (job.bytes.clone(), job.bytes.clone());
    let upload = Upload {
        bucket: job.bucket.clone(),
        key: job.key.clone(),
        size: job.bytes.size(),
        replaces: job.replaces.clone(),
        read: Arc::new(move |range| source.read(range)),
    };
    let sender = sender.clone();
    target.writer.upload(upload, move |uploaded| {
        let summed = || match sent {
            Source::Pieces(composed) => composed.sums(),
            Source::Slab { .. } | Source::File { .. } => before.ok_or_else(unsummed),
        };
        let _ = sender.send((at, uploaded.and_then(|uploaded| Ok((uploaded, summed()?)))));
    });
}

fn unsummed() -> Error {
    Error::Unavailable("an object went outside without its checksum: it is sent again".to_owned())
}

impl State {
    /// Whether the thread that moves objects outside may have something to do.
    pub(super) fn wants_write_back(&self, any_cold: bool) -> bool {
        any_cold
            || self.names.any_cold()
            || self.over_low_mark()
            || self.disk_is_full()
            || self.remotes.stale().next().is_some()
    }

    /// Whether so much memory is in use that objects are written outside, so that room can be made at once later.
    fn over_low_mark(&self) -> bool {
        self.slabs.used().0 > mark(&self.limits) / 2
    }

    /// Whether a slab may have objects that are to go outside first.
    pub(super) fn awaits_write_back(&mut self, victim: Place) -> bool {
        let Place::Slab { slot, generation, .. } = victim else { return false };
        let slab = self.slabs.get(slot, generation);
        slab.is_some_and(|slab| slab.looked_at != (slab.holds, true))
    }

    fn plan_write_back(&mut self, targets: &BTreeMap<String, Target>, look_at_files: bool) -> Plan {
        let held_max_bytes = HELD_BYTES.min(self.limits.memory_bytes / HELD_SHARE);
        let mut plan = Plan { held_max_bytes, ..Plan::default() };
        self.consume();
        for class in [Class::Cold, Class::Hot] {
            if class == Class::Hot && !self.over_low_mark() {
                break;
            }
            let wanted = Wanted::of(class, targets, &self.names);
            if !wanted.targets.is_empty() {
                self.plan_slabs(&mut plan, &wanted, class);
            }
            if !wanted.targets.is_empty() && look_at_files {
                self.plan_files(&mut plan, &wanted, class);
            }
        }
        plan
    }

    /// Adds what lies in memory, what was let go of longest ago first.
    fn plan_slabs(&mut self, plan: &mut Plan, wanted: &Wanted<'_>, class: Class) {
        let now = self.index.tick();
        let full = self.slabs.full();
        let mut full: Vec<_> = full
            .filter(|(_, slab)| slab.looked_at != (slab.holds, class == Class::Hot))
            .map(|(slot, slab)| {
                (now.wrapping_sub(self.index.touched(slot)), slot, slab.generation())
            })
            .collect();
        full.sort_unstable_by_key(|(age, ..)| std::cmp::Reverse(*age));
        let composed = if full.is_empty() { HashMap::new() } else { self.composed_in_slabs() };
        for (_, slot, generation) in full {
            let Some(slab) = self.slabs.get(slot, generation) else { continue };
            let (members, holds) = (slab.members.clone(), slab.holds);
            let anchor = Place::Slab { slot, generation, offset: 0 };
            let mut nothing_left = true;
            for unit in members {
                if plan.is_full() {
                    return;
                }
                nothing_left &= !self.plan_name(plan, wanted, unit, anchor);
            }
            for content in composed.get(&anchor).into_iter().flatten() {
                if plan.is_full() {
                    return;
                }
                nothing_left &= !self.plan_content(plan, wanted, *content);
            }
            if nothing_left && let Some(slab) = self.slabs.get(slot, generation) {
                slab.looked_at = (holds, class == Class::Hot);
            }
        }
    }

    /// Whether most of the disk is in use.
    fn disk_is_full(&self) -> bool {
        let share = u64::from(self.limits.high_water_percent.min(100));
        self.files.bytes() > self.limits.disk_bytes / 100 * share
    }

    /// Adds what lies on disk, if it is cold, or most of the disk is in use.
    fn plan_files(&mut self, plan: &mut Plan, wanted: &Wanted<'_>, class: Class) {
        if self.files.bytes() == 0 || (class == Class::Hot && !self.disk_is_full()) {
            return;
        }
        let numbers: Vec<u32> =
            wanted.targets.keys().filter_map(|name| self.names.number(name).ok()).collect();
        let keys = numbers.iter().filter_map(|number| self.names.keys(*number));
        let units: Vec<u32> =
            keys.flat_map(|keys| keys.keys.values().map(|named| named.unit)).collect();
        for unit in units {
            let place = self.index.slot(unit).header().place;
            if plan.is_full() {
                return;
            }
            if matches!(place, Place::File { .. } | Place::Pieces { .. }) {
                self.plan_name(plan, wanted, unit, place.anchor());
            }
        }
    }

    /// Adds a name whose bytes lie there and not outside yet; says whether it is one.
    pub(super) fn plan_name(
        &mut self,
        plan: &mut Plan,
        wanted: &Wanted<'_>,
        unit: u32,
        anchor: Place,
    ) -> bool {
        let index = Arc::clone(&self.index);
        let slot = index.slot(unit);
        let header = slot.header();
        if header.place.anchor() != anchor || header.size > OBJECT_MAX_BYTES {
            return false;
        }
        let Some(key) = slot.key(&header).filter(|key| is_name(key)) else { return false };
        let Some(bucket) = self.names.keys(header.bucket).map(|keys| keys.name.clone()) else {
            return false;
        };
        let is_current = self.unit(header.bucket, &key) == Some(unit);
        if !is_current || !wanted.covers(&bucket, &header) {
            return false;
        }
        let backing = self.backing(header.bucket, &key);
        let outside = |backing: &Backing| matches!(backing.place, Place::Outside { .. });
        if backing.filter(|backing| backing.version == header.version).is_some_and(|b| outside(&b))
        {
            return false;
        }
        // Something else still needs the bytes that the name has outside, or it is under way.
        if self.remotes.has_name(&bucket, &key) || self.remotes.is_pending(&bucket, &key) {
            return true;
        }
        let Some(bytes) = self.hold_source(plan, &header) else { return true };
        let replaces = self.remotes.begin(&bucket, &key);
        let attributes = slot.attributes(&header);
        plan.bytes += header.size;
        plan.jobs.push(Job { bucket, key, header, attributes, bytes, replaces });
        true
    }

    /// The bytes of a name, which are kept in place until the plan is done.
    fn hold_source(&mut self, plan: &mut Plan, header: &Header) -> Option<Source> {
        let size = header.size;
        match header.place {
            Place::Slab { slot, generation, offset } => {
                let anchor = header.place.anchor();
                let region = match plan.regions.get(&anchor) {
                    Some(region) => Arc::clone(region),
                    None => {
                        let slab = self.slabs.get(slot, generation)?;
                        let region = Region::map(&slab.to_read().ok()?, Access::Read).ok()?;
                        slab.busy += 1;
                        plan.held_bytes += slab.bytes();
                        plan.held.push(anchor);
                        let region = Arc::new(region);
                        plan.regions.insert(anchor, Arc::clone(&region));
                        region
                    }
                };
                region.sealed(offset, size)?;
                Some(Source::Slab { region, offset, size })
            }
            Place::File { file, offset } => {
                let opened = Arc::new(self.files.open_one(file).ok()??);
                let extent = Arc::new(Extent::open(opened, offset, size).ok()?);
                self.files.get(file)?.busy += 1;
                plan.held.push(header.place.anchor());
                Some(Source::File { extent, size })
            }
            Place::Pieces { content } => {
                let composed = Composed::new(&self.own, content, self.contents.get_mut(&content)?)?;
                plan.held.push(header.place);
                Some(Source::Pieces(Arc::new(composed)))
            }
            Place::Nowhere | Place::Outside { .. } => None,
        }
    }

    pub(super) fn unhold(&mut self, place: Place) {
        let busy = match place {
            Place::Slab { slot, generation, .. } => {
                self.slabs.get(slot, generation).map(|slab| &mut slab.busy)
            }
            Place::File { file, .. } => self.files.get(file).map(|stored| &mut stored.busy),
            Place::Pieces { content } => {
                self.contents.get_mut(&content).map(|content| &mut content.busy)
            }
            Place::Nowhere | Place::Outside { .. } => None,
        };
        if let Some(busy) = busy {
            *busy = busy.saturating_sub(1);
        }
        self.reconsider(place);
    }

    /// Makes a name refer to its bytes outside: what lies in memory stays there as well, what lies on disk does not.
    fn publish_outside(
        &mut self,
        job: &Job,
        sums: Vec<u32>,
        crc: u32,
        uploaded: Uploaded,
    ) -> Result<()> {
        let (header, key) = (&job.header, job.key.as_str());
        let remote = Remote {
            bucket: job.bucket.clone(),
            key: job.key.clone(),
            etag: uploaded.etag,
            size: header.size,
            sums,
        };
        let number = self.remotes.add(remote);
        let place = Place::Outside { number };
        // If the name changed meanwhile nothing comes to refer to it.
        self.reconsider(place);
        if self.is_in_memory(header) {
            self.back_name(header, key, &job.attributes, place, crc)?;
        } else {
            let sealed_as = header.crc32c().unwrap_or(crc);
            let flags = MOVED | CHECKED | NOTED | header.flags & CLASS;
            let moved = Header { flags, place, crc: sealed_as, ..*header };
            let record = Record { header: moved, key, attributes: &job.attributes, former: "" };
            self.publish(&record, Expected::Same { header, attributes: &job.attributes })?;
        }
        self.flush_journal();
        Ok(())
    }
}

impl<'a> Wanted<'a> {
    /// What buckets with these back ends may have of a class; when room is needed it is of any.
    fn of(class: Class, targets: &'a BTreeMap<String, Target>, names: &Names) -> Self {
        let any_cold = |bucket: &str| {
            let keys = names.number(bucket).ok().and_then(|number| names.keys(number));
            keys.is_some_and(|keys| keys.any_cold)
        };
        let some = |bucket: &str, target: &Target| {
            class == Class::Hot || target.class == Class::Cold || any_cold(bucket)
        };
        let some = targets.iter().filter(|(bucket, target)| some(bucket, target));
        let targets = some.map(|(bucket, target)| (bucket.as_str(), target)).collect();
        Self { targets, only_cold: class == Class::Cold }
    }

    /// All that buckets with these back ends have.
    pub(super) fn all(targets: &'a BTreeMap<String, Target>) -> Self {
        let targets = targets.iter().map(|(bucket, target)| (bucket.as_str(), target)).collect();
        Self { targets, only_cold: false }
    }

    /// Whether it is of any class.
    pub(super) fn is_any(&self) -> bool {
        !self.only_cold
    }

    fn covers(&self, bucket: &str, header: &Header) -> bool {
        let target = self.targets.get(bucket);
        target.is_some_and(|target| {
            !self.only_cold || header.class().unwrap_or(target.class) == Class::Cold
        })
    }
}

impl Plan {
    /// For somebody who waits: as much as is held at most.
    pub(super) fn unbounded() -> Self {
        Self { held_max_bytes: HELD_BYTES, ..Self::default() }
    }

    pub(super) fn is_full(&self) -> bool {
        let held = self.held_bytes >= self.held_max_bytes;
        self.jobs.len() >= CHOSEN || self.bytes >= HELD_BYTES || held
    }
}
