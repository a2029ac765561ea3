//! What the runtime knows that outlives regions, as bytes.
//!
//! Between regions most of it is in the guest's memory or is made anew for the next region. An
//! image holds the rest: the settings, those of the initial task, the allocators, and of each
//! thread its number and where its own things lie in the guest's memory. Threads that have such
//! things are made again under their numbers and in their order when a region wants them.
//!
//! Numbers are little-endian words. The bytes of an image may be anything: whatever is read is
//! checked, and what it says about the guest's memory is checked again where it is used.

use crate::{
    Config, Error, Result, Schedule, ScheduleKind, Thread,
    alloc::{Allocator, Fallback},
    config::{Icvs, LEVELS_MAX, THREADS_MAX},
    fork::Hired,
    mailbox::Mailbox,
    shared::{Shared, lock},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

/// Version of the bytes.
const VERSION: u32 = 1;
/// Longest text that describes where a thread runs.
const FORMAT_BYTES_MAX: u32 = 4096;
/// Most allocators of a program's own.
const ALLOCATORS_MAX: u32 = 1024;

/// What a thread has in the guest's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Own {
    /// Where each depth's numbers are.
    slots: Vec<u32>,
    /// Variables, and where the thread's copies of them are.
    private: Vec<(u32, u32)>,
}

/// What is kept for an image while the program runs, and what came from one.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    own: Mutex<BTreeMap<u32, Own>>,
    /// The threads that live, by number.
    living: Mutex<Vec<(u32, Weak<Mailbox>)>>,
    /// Threads of the image that no region has wanted yet, in the order in which regions had them.
    returning: Mutex<VecDeque<u32>>,
    /// What the first thread starts with.
    initial: Mutex<Option<Initial>>,
    /// Time that had passed.
    pub(crate) before: Duration,
}

/// What is the first thread's alone.
#[derive(Debug, Clone, Copy)]
struct Initial {
    icvs: Icvs,
    pushed_threads: u32,
    pushed_teams: (u32, u32),
}

impl Kept {
    /// A thread has got another slot.
    pub(crate) fn slot(&self, gtid: u32, slot: u32) {
        lock(&self.own).entry(gtid).or_default().slots.push(slot);
    }

    /// A thread has got a copy of a variable.
    pub(crate) fn private(&self, gtid: u32, variable: u32, copy: u32) {
        lock(&self.own).entry(gtid).or_default().private.push((variable, copy));
    }

    /// The thread of the image that is made next.
    pub(crate) fn returning(&self) -> Option<u32> {
        lock(&self.returning).pop_front()
    }

    /// A thread has been made.
    pub(crate) fn made(&self, gtid: u32, mailbox: &Arc<Mailbox>) {
        lock(&self.living).push((gtid, Arc::downgrade(mailbox)));
    }

    /// All threads but the first: those of the crew in its order, the others by number.
    fn order(&self, crew: &[Hired]) -> Vec<u32> {
        let living = lock(&self.living);
        let number = |hired: &Hired| {
            let mailbox = Arc::as_ptr(hired.mailbox());
            let found = living.iter().find(|(_, known)| known.as_ptr() == mailbox);
            found.map(|(gtid, _)| *gtid)
        };
        let mut order: Vec<u32> = crew.iter().filter_map(number).collect();
        // Those that would have been next in the crew come before who was never in it.
        for gtid in lock(&self.returning).iter().chain(living.iter().map(|(gtid, _)| gtid)) {
            if !order.contains(gtid) {
                order.push(*gtid);
            }
        }
        order
    }
}

impl Thread {
    /// Whether the runtime has nothing under way, so that an image holds all: this is the first
    /// thread, outside all regions, tasks and loops. The others are then idle, with nothing of
    /// the program on their stacks.
    pub fn is_at_rest(&self) -> bool {
        self.gtid == 0
            && self.depth() == 1
            && self.allocated.borrow().is_empty()
            && self.frame(|frame| {
                let running = frame.running();
                frame.nested() == 1
                    && !running.task.has_children()
                    && running.group.is_none()
                    && frame.cursor.is_none()
                    && frame.doacross.is_none()
                    && frame.reduction.is_none()
                    && frame.team.queue.outstanding() == 0
                    && frame.team.cancelled() == 0
            })
    }

    /// All that the runtime knows beyond the guest's memory.
    ///
    /// # Errors
    /// [`Error::Misuse`] if something is under way.
    pub fn save(&self) -> Result<Vec<u8>> {
        if !self.is_at_rest() {
            return Err(Error::Misuse("it is saved within a region"));
        }
        let shared = &self.shared;
        let mut image = Image::default();
        image.word(VERSION);
        let config = &shared.config;
        image.words(&[config.ceiling, config.thread_limit, u32::from(config.dynamic)]);
        image.schedule(config.schedule);
        image.words(&[config.max_active_levels, config.stack_bytes, config.teams]);
        image.words(&[u32::from(config.cancellation), config.max_task_priority]);
        image.list(&config.num_threads);
        image.icvs(&self.icvs());
        let (teams, threads) = self.pushed_teams.get();
        image.words(&[self.pushed_threads.get(), teams, threads]);
        let time = shared.kept.before + shared.started.elapsed();
        image.long(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let format = lock(&shared.affinity_format).clone();
        image.word(format.len() as u32);
        image.0.extend(format);
        let allocators = lock(&shared.allocators).clone();
        image.word(allocators.len() as u32);
        allocators.iter().for_each(|allocator| image.allocator(allocator.as_ref()));
        let order = shared.kept.order(&self.crew.borrow());
        image.list(&order);
        let own = lock(&shared.kept.own);
        for gtid in std::iter::once(0).chain(order) {
            let own = own.get(&gtid).cloned().unwrap_or_default();
            image.list(&own.slots);
            let private: Vec<u32> =
                own.private.iter().flat_map(|(variable, copy)| [*variable, *copy]).collect();
            image.list(&private);
        }
        Ok(image.0)
    }

    /// Takes over what the image that the runtime was made from has of this thread.
    pub(crate) fn resume(&self) {
        let kept = &self.shared.kept;
        if let Some(own) = lock(&kept.own).get(&self.gtid) {
            self.take_own(&own.slots, &own.private);
        }
        let initial = if self.gtid == 0 { lock(&kept.initial).take() } else { None };
        if let Some(initial) = initial {
            self.set_icvs(|icvs| *icvs = initial.icvs);
            self.pushed_threads.set(initial.pushed_threads);
            self.pushed_teams.set(initial.pushed_teams);
        }
    }
}

/// Puts into a new program's state what the image has; `config` is what the host says of itself.
pub(crate) fn restore(shared: &mut Shared, image: &[u8]) -> Result<()> {
    let mut bytes = Bytes(image);
    let version = bytes.word()?;
    if version != VERSION {
        return Err(Error::Image { reason: "its version is not known" });
    }
    bytes.config(&mut shared.config)?;
    let icvs = bytes.icvs()?;
    let (pushed_threads, teams) = (bytes.word()?, (bytes.word()?, bytes.word()?));
    let initial = Initial { icvs, pushed_threads, pushed_teams: teams };
    let before = Duration::from_nanos(bytes.long()?);
    let format = bytes.bytes(FORMAT_BYTES_MAX)?;
    let count = bytes.at_most(ALLOCATORS_MAX)?;
    let allocators: Result<Vec<_>> = (0..count).map(|_| bytes.allocator()).collect();
    let order = bytes.list(THREADS_MAX)?;
    check_order(&order, shared.config.thread_limit)?;
    let mut own = BTreeMap::new();
    for gtid in std::iter::once(0).chain(order.iter().copied()) {
        own.insert(gtid, bytes.own()?);
    }
    bytes.end()?;
    *shared.created.get_mut() = order.len() as u32 + 1;
    shared.allocators = Mutex::new(allocators?);
    shared.affinity_format = Mutex::new(format);
    shared.kept = Kept {
        own: Mutex::new(own),
        returning: Mutex::new(order.into()),
        initial: Mutex::new(Some(initial)),
        before,
        ..Kept::default()
    };
    Ok(())
}

/// Each number between the first thread's and the last is there once.
fn check_order(order: &[u32], thread_limit: u32) -> Result<()> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let complete = sorted.iter().copied().eq(1..=order.len() as u32);
    if complete && order.len() < thread_limit as usize {
        return Ok(());
    }
    Err(Error::Image { reason: "its threads are not numbered from 1 on, or are too many" })
}

/// An image in the making.
#[derive(Default)]
struct Image(Vec<u8>);

impl Image {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_le_bytes());
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.word(*word));
    }

    fn long(&mut self, long: u64) {
        self.0.extend(long.to_le_bytes());
    }

    fn list(&mut self, words: &[u32]) {
        self.word(words.len() as u32);
        self.words(words);
    }

    fn schedule(&mut self, schedule: Schedule) {
        let kind = match schedule.kind {
            ScheduleKind::Static => 1,
            ScheduleKind::Dynamic => 2,
            ScheduleKind::Guided => 3,
            ScheduleKind::Auto => 4,
        };
        self.words(&[kind, schedule.chunk]);
    }

    fn icvs(&mut self, icvs: &Icvs) {
        self.words(&[icvs.threads, u32::from(icvs.dynamic)]);
        self.schedule(icvs.schedule);
        self.words(&[icvs.max_active_levels, icvs.thread_limit, icvs.teams]);
        let device = icvs.default_device.cast_unsigned();
        self.words(&[icvs.teams_thread_limit, device, icvs.allocator]);
    }

    fn allocator(&mut self, allocator: Option<&Allocator>) {
        let Some(allocator) = allocator else { return self.word(0) };
        let (kind, other) = match allocator.fallback {
            Fallback::Null => (1, 0),
            Fallback::Abort => (2, 0),
            Fallback::Other(other) => (3, other),
        };
        self.words(&[kind, other, allocator.alignment, allocator.pool_bytes, allocator.used_bytes]);
    }
}

/// An image that is read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn word(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from(self.word()?) | u64::from(self.word()?) << 32)
    }

    fn between(&mut self, least: u32, most: u32) -> Result<u32> {
        let word = self.word()?;
        if (least..=most).contains(&word) {
            return Ok(word);
        }
        Err(Error::Image { reason: "a number in it is out of its range" })
    }

    fn at_most(&mut self, most: u32) -> Result<u32> {
        self.between(0, most)
    }

    fn truth(&mut self) -> Result<bool> {
        Ok(self.at_most(1)? == 1)
    }

    fn bytes(&mut self, most: u32) -> Result<Vec<u8>> {
        let length = self.at_most(most)? as usize;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }

    /// No longer than the bytes that are there.
    fn list(&mut self, most: u32) -> Result<Vec<u32>> {
        let count = self.at_most(most)?;
        if self.0.len() / 4 < count as usize {
            return Err(CUT);
        }
        (0..count).map(|_| self.word()).collect()
    }

    fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Image { reason: "bytes are left over" }) }
    }

    fn schedule(&mut self) -> Result<Schedule> {
        let kind = match self.between(1, 4)? {
            1 => ScheduleKind::Static,
            2 => ScheduleKind::Dynamic,
            3 => ScheduleKind::Guided,
            _ => ScheduleKind::Auto,
        };
        Ok(Schedule { kind, chunk: self.word()? })
    }

    /// What the program was started with; the processors are this host's.
    fn config(&mut self, config: &mut Config) -> Result<()> {
        config.ceiling = self.between(1, THREADS_MAX)?;
        config.thread_limit = self.between(1, THREADS_MAX)?;
        config.dynamic = self.truth()?;
        config.schedule = self.schedule()?;
        config.max_active_levels = self.at_most(LEVELS_MAX)?;
        config.stack_bytes = self.between(64 << 10, 1 << 30)?;
        config.teams = self.word()?;
        config.cancellation = self.truth()?;
        config.max_task_priority = self.word()?;
        config.num_threads = self.list(LEVELS_MAX)?;
        if config.num_threads.contains(&0) {
            return Err(Error::Image { reason: "a number in it is out of its range" });
        }
        Ok(())
    }

    fn icvs(&mut self) -> Result<Icvs> {
        Ok(Icvs {
            threads: self.between(1, u32::MAX)?,
            dynamic: self.truth()?,
            schedule: self.schedule()?,
            max_active_levels: self.at_most(LEVELS_MAX)?,
            thread_limit: self.between(1, THREADS_MAX)?,
            teams: self.word()?,
            teams_thread_limit: self.word()?,
            default_device: self.word()?.cast_signed(),
            allocator: self.word()?,
        })
    }

    fn allocator(&mut self) -> Result<Option<Allocator>> {
        let kind = self.at_most(3)?;
        if kind == 0 {
            return Ok(None);
        }
        let other = self.word()?;
        let fallback = match kind {
            1 => Fallback::Null,
            2 => Fallback::Abort,
            _ => Fallback::Other(other),
        };
        let alignment = self.word()?;
        let (pool_bytes, used_bytes) = (self.word()?, self.word()?);
        if !alignment.is_power_of_two() {
            return Err(Error::Image { reason: "an alignment in it is no power of two" });
        }
        Ok(Some(Allocator { alignment, pool_bytes, used_bytes, fallback }))
    }

    fn own(&mut self) -> Result<Own> {
        let slots = self.list(u32::MAX)?;
        let private = self.list(u32::MAX)?;
        let pairs = private.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(CUT);
        }
        Ok(Own { slots, private: pairs.map(|pair| (pair[0], pair[1])).collect() })
    }
}

/// What ends too early.
const CUT: Error = Error::Image { reason: "it is cut off" };
