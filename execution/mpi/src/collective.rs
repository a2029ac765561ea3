//! How the members of a communicator act together.
//!
//! Small contributions are written into slots that every member reads; see [`Fast`] and `slots`. Everything
//! else is a [`Round`]: each member publishes where its data lies, whoever needs it copies it
//! straight from there, and those whose memory is read wait until that is done. A round is a
//! state machine, so that the blocking and the non-blocking calls are the same.

pub(crate) mod saved;
mod slots;

use crate::{
    abi,
    communicator::Shared,
    engine::{Cb, Engine},
    error::{Fault, Result, fault},
    mail::{Ending, Status, Work},
    memory::Space,
    movement::Pulls,
    offer::{Entry, Offer},
    reduction::{Reduction, UserReduction},
    site::gather::Spread,
    transfer::Span,
    underway::Step,
    world::{World, lock},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Bytes of a contribution that go through a slot.
pub(crate) const FAST_BYTES: usize = 240;
/// Stages of members that failed in a round, and of those that are through with it.
const GAVE_UP: u8 = 254;
const LEFT: u8 = 255;
/// Slots of each member: how many rounds the fastest may be ahead.
const DEPTH: u64 = 4;

#[repr(align(256))]
#[derive(Debug, Default)]
struct Slot {
    round: AtomicU64,
    code: AtomicU64,
    words: [AtomicU64; FAST_BYTES / 8],
}

/// The slots of a communicator's members.
#[derive(Debug)]
pub(crate) struct Fast(Vec<[Slot; DEPTH as usize]>);

impl Fast {
    pub(crate) fn new(members: usize) -> Self {
        Self((0..members).map(|_| Default::default()).collect())
    }

    /// How many members they are of.
    pub(crate) fn members(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn slot(&self, member: usize, round: u64) -> &Slot {
        &self.0[member][(round % DEPTH) as usize]
    }

    #[inline]
    fn entered(&self, member: usize, round: u64) -> bool {
        self.slot(member, round).round.load(Ordering::Acquire) >= round
    }

    /// Whether the slots of a round are free: they are once everyone is past the round that used
    /// them last.
    #[inline]
    fn is_free(&self, round: u64) -> bool {
        let earlier = (round + 1).saturating_sub(DEPTH);
        earlier == 0 || (0..self.0.len()).all(|member| self.entered(member, earlier))
    }

    /// Whether a round is the next of a member.
    pub(crate) fn is_next(&self, member: usize, round: u64) -> bool {
        let last = round.checked_sub(1);
        last.is_some_and(|last| self.slot(member, last).round.load(Ordering::Acquire) == last)
            && !self.entered(member, round)
    }

    #[inline]
    pub(crate) fn write(&self, member: usize, round: u64, code: u64, bytes: &[u8]) {
        let slot = self.slot(member, round);
        for (word, chunk) in slot.words.iter().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(padded), Ordering::Relaxed);
        }
        slot.code.store(code, Ordering::Relaxed);
        slot.round.store(round, Ordering::Release);
    }

    /// Reads a contribution that is there.
    #[inline]
    pub(crate) fn read(&self, member: usize, round: u64, bytes: &mut [u8]) {
        let slot = self.slot(member, round);
        for (word, chunk) in slot.words.iter().zip(bytes.chunks_mut(8)) {
            let word = word.load(Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Whose contribution a member waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Needs {
    All,
    One(usize),
    None,
}

impl Needs {
    fn range(self, size: usize) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..size,
            Self::One(member) => member..member + 1,
            Self::None => 0..0,
        }
    }
}

/// One collective call of all members.
#[derive(Debug)]
pub(crate) struct Round {
    entries: Vec<OnceLock<Entry>>,
    stages: Vec<AtomicU8>,
    left: AtomicUsize,
    /// Bytes of entries that came from other sites.
    pub(crate) held: Mutex<BTreeMap<u32, u64>>,
    /// Whether all entries are bytes, as in one that was under way when its ranks were saved: then
    /// no member reads the memory of another, wherever they are.
    detached: bool,
}

impl Round {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            entries: (0..members).map(|_| OnceLock::new()).collect(),
            stages: (0..members).map(|_| AtomicU8::new(0)).collect(),
            left: AtomicUsize::new(0),
            held: Mutex::default(),
            detached: false,
        }
    }

    /// What a member published, if it came.
    pub(crate) fn entry(&self, member: usize) -> Option<&Entry> {
        self.entries[member].get()
    }

    /// Publishes a member's entry; false if it did so before.
    pub(crate) fn enter(&self, member: usize, entry: Entry) -> bool {
        self.entries[member].set(entry).is_ok()
    }
}

/// What is to be done in a round.
#[derive(Debug)]
pub(crate) enum Plan {
    /// To wait until everyone came.
    Meet,
    /// To wait until this member came, if any: it numbers what they make.
    Make(Option<usize>),
    /// The same for a communicator of these members that was given its handle before.
    Adopt {
        handle: i32,
        members: Vec<u32>,
    },
    Pull(Pulls),
    Reduce(Reduction),
    ReduceByUser(UserReduction),
}

impl Plan {
    /// Who reads what a member offers that has this plan.
    fn audience(&self, offer: &Offer) -> Needs {
        match (self, offer) {
            (Self::Meet, _) => Needs::All,
            (_, Offer::Nothing) => Needs::None,
            (Self::Pull(pulls), Offer::Same(_)) => pulls.readers(),
            (Self::Reduce(reduction), _) => reduction.readers(),
            (Self::ReduceByUser(reduction), _) => reduction.readers(),
            _ => Needs::All,
        }
    }
}

/// A member's part in a round.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) shared: Arc<Shared>,
    pub(crate) round: Arc<Round>,
    pub(crate) number: u64,
    /// The other sites that are still to be sent this member's entry, by their places.
    pub(crate) unsent: Vec<usize>,
    /// How it ended, where that is all there is left to do.
    outcome: Option<Result>,
    pub(crate) me: usize,
    function: &'static str,
    root: i32,
    /// How many members are known to have done what is waited for.
    seen: usize,
    plan: Option<Plan>,
}

impl Operation {
    pub(crate) fn size(&self) -> usize {
        self.shared.members.len()
    }

    /// The members whose memory is in reach, and which share the work.
    pub(crate) fn near(&self) -> Vec<usize> {
        if self.round.detached { vec![self.me] } else { self.shared.near().collect() }
    }

    /// The memory of a member that is in reach.
    pub(crate) fn memory_of(&self, world: &World, member: usize) -> Space {
        world.space(self.shared.members[member])
    }

    /// What a member published, if it came.
    pub(crate) fn entry(&self, member: usize) -> Result<Option<&Entry>> {
        let Some(entry) = self.round.entries[member].get() else { return Ok(None) };
        if entry.function != self.function || entry.root != self.root {
            let root = |root| if root < 0 { String::new() } else { format!(" with root {root}") };
            let text = format!(
                "member {member} calls {}{} where member {} calls {}{}",
                entry.function,
                root(entry.root),
                self.me,
                self.function,
                root(self.root)
            );
            return Err(fault(abi::ERR_OTHER, text));
        }
        Ok(Some(entry))
    }

    /// What all members published, from the first on.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.round.entries.iter().filter_map(OnceLock::get)
    }

    /// Whether the first `count` members came.
    pub(crate) fn have_come(&mut self, count: usize) -> Result<bool> {
        while self.seen < count {
            if self.entry(self.seen)?.is_none() {
                return Ok(false);
            }
            self.seen += 1;
        }
        self.seen = 0;
        Ok(true)
    }

    /// Tells the others how far this member is.
    pub(crate) fn reach(&mut self, engine: &Engine, stage: u8) {
        self.seen = 0;
        self.round.stages[self.me].store(stage, Ordering::Release);
        engine.world.wake_all(&self.shared.members);
    }

    /// Whether a member is that far and has not failed.
    pub(crate) fn has_reached(&self, member: usize, stage: u8) -> bool {
        let reached = self.round.stages[member].load(Ordering::Acquire);
        reached >= stage && reached != GAVE_UP
    }

    /// Whether all members came.
    pub(crate) fn have_all_come(&self) -> Result<bool> {
        for member in 0..self.size() {
            if self.entry(member)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether these members are that far, as far as they read memory that is in reach: those
    /// elsewhere read copies.
    pub(crate) fn have_reached(&self, who: Needs, stage: u8) -> bool {
        if self.round.detached {
            return true;
        }
        let reached = |member: usize| self.round.stages[member].load(Ordering::Acquire) >= stage;
        match (self.shared.spread.as_deref(), who) {
            (None, who) => who.range(self.size()).all(reached),
            (Some(spread), Needs::All) => spread.near().iter().all(|member| reached(*member)),
            (Some(spread), Needs::One(member)) => !spread.is_near(member) || reached(member),
            (Some(_), Needs::None) => true,
        }
    }

    /// The communicator of these members, which the first of them numbers.
    fn adopt(&self, engine: &Engine, members: Vec<u32>) -> Result<Arc<Shared>> {
        let first = members.first().and_then(|first| self.shared.rank_of(*first));
        let entry = first.map_or(Ok(None), |first| self.entry(first as usize))?;
        let word = entry.and_then(|entry| entry.data().first_chunk()).copied();
        let missing = || fault(abi::ERR_OTHER, "a communicator was told without its number");
        let context = u32::from_le_bytes(word.ok_or_else(missing)?);
        engine.world.shared(context, members)
    }

    fn step(&mut self, engine: &mut Engine, cb: Cb<'_>) -> Result<bool> {
        let Some(mut plan) = self.plan.take() else { return Ok(true) };
        let done = match &mut plan {
            Plan::Meet => self.have_come(self.size()),
            Plan::Make(None) => Ok(true),
            Plan::Make(Some(first)) => self.entry(*first).map(|entry| entry.is_some()),
            Plan::Adopt { handle, members } => self.step_adopt(engine, *handle, members),
            Plan::Pull(pulls) => pulls.step(self, engine),
            Plan::Reduce(reduction) => reduction.step(self, engine),
            Plan::ReduceByUser(reduction) => reduction.step(self, engine, cb),
        };
        self.plan = Some(plan);
        done
    }

    fn step_adopt(&self, engine: &mut Engine, handle: i32, members: &[u32]) -> Result<bool> {
        let first = members.first().and_then(|first| self.shared.rank_of(*first));
        if first.is_some_and(|first| self.round.entry(first as usize).is_none()) {
            return Ok(false);
        }
        let shared = self.adopt(engine, members.to_vec())?;
        if let Some(known) = engine.communicators.get_mut(handle) {
            known.shared = Arc::clone(&shared);
        }
        engine.world.taken(&shared, engine.me);
        Ok(true)
    }

    /// Goes on as far as it can; whether it is over.
    pub(crate) fn poll(&mut self, engine: &mut Engine, cb: Cb<'_>) -> Result<bool> {
        if !self.unsent.is_empty() {
            self.publish(engine)?;
            // A reduction in place writes over what those elsewhere are still to be sent.
            if !self.unsent.is_empty() && matches!(self.plan, Some(Plan::Reduce(_))) {
                return Ok(false);
            }
        }
        if self.outcome.is_none() {
            let done = self.step(engine, cb);
            if let Ok(false) = done {
                return Ok(false);
            }
            if done.is_err() {
                // Nobody shall wait for one that gave up.
                self.reach(engine, GAVE_UP);
            }
            self.outcome = Some(done.map(|_| ()));
        }
        // Those elsewhere need its entry even so.
        if !self.unsent.is_empty() && engine.world.check().is_ok() {
            return Ok(false);
        }
        self.leave(engine);
        self.outcome.take().unwrap_or(Ok(())).map(|()| true)
    }

    /// Leaves the round, which ends with its last member at this site.
    fn leave(&mut self, engine: &Engine) {
        self.plan = None;
        // It reads nothing any more.
        self.round.stages[self.me].store(LEFT, Ordering::Release);
        if self.round.left.fetch_add(1, Ordering::AcqRel) + 1 < self.shared.near().len() {
            return;
        }
        lock(&self.shared.rounds).remove(&self.number);
        if self.shared.spread.is_some() {
            let held = std::mem::take(&mut *lock(&self.round.held));
            engine.leave_beyond(&self.shared, self.number, held);
        }
    }
}

impl Engine {
    /// Enters the next round of a communicator, or takes up the one that an interrupted call is in.
    pub(crate) fn begin(
        &mut self,
        communicator: i32,
        root: i32,
        offer: Offer,
        result: Option<Span>,
        plan: Plan,
    ) -> Result<Operation> {
        match self.replayed() {
            Some(Step::Entered(operation)) => return Ok(*operation),
            Some(_) => return Err(self.other_step()),
            None => {}
        }
        let function = self.function;
        let known = self.communicator_mut(communicator)?;
        known.rounds += 1;
        let (shared, me, number) = (Arc::clone(&known.shared), known.rank as usize, known.rounds);
        let members = shared.members.len();
        let round = {
            let mut rounds = lock(&shared.rounds);
            shared.enter(me, number);
            Arc::clone(rounds.entry(number).or_insert_with(|| Arc::new(Round::new(members))))
        };
        let readers = |spread: &Spread| spread.readers(plan.audience(&offer));
        let unsent = shared.spread.as_deref().map_or(Vec::new(), readers);
        let (offer, result) = match round.detached {
            true => (offer.materialise(&self.space)?, None),
            false => (offer, result),
        };
        // Each member enters a round once, as rounds are counted.
        round.enter(me, Entry { function, root, offer, result });
        self.world.wake_all(&shared.members);
        let (plan, outcome) = (Some(plan), None);
        Ok(Operation { shared, round, number, unsent, outcome, me, function, root, seen: 0, plan })
    }

    /// Ends a round.
    pub(crate) fn finish(&mut self, cb: Cb<'_>, mut operation: Operation) -> Result<Operation> {
        let waits = |engine: &Self| engine.function.to_owned();
        match self.block(cb, waits, |engine, cb| Ok(operation.poll(engine, cb)?.then_some(()))) {
            Ok(()) => Ok(operation),
            Err(fault) => Err(self.interrupted(fault, Step::Entered(Box::new(operation)))),
        }
    }

    /// Ends a round now, or under a request.
    pub(crate) fn conduct(
        &mut self,
        cb: Cb<'_>,
        communicator: i32,
        operation: Operation,
        request: Option<u32>,
    ) -> Result {
        let Some(request) = request else { return self.finish(cb, operation).map(|_| ()) };
        let handle = self.request(Work::Collective, communicator);
        self.operations.push((handle, operation));
        self.space.write_i32(request, handle)?;
        self.progress_operations(cb)
    }

    /// Goes on with the non-blocking rounds.
    pub(crate) fn progress_operations(&mut self, cb: Cb<'_>) -> Result {
        let mut operations = std::mem::take(&mut self.operations);
        let mut abort = None;
        operations.retain_mut(|(handle, operation)| {
            let ending = match operation.poll(self, cb) {
                Ok(false) => return true,
                Ok(true) => Status::EMPTY.into(),
                Err(Fault::Failure(failure)) => {
                    let status = Status { error: failure.class, ..Status::EMPTY };
                    Ending { status, fault: Some(Fault::Failure(failure)) }
                }
                Err(Fault::Abort(reason)) => {
                    abort = Some(reason);
                    return false;
                }
            };
            self.mail.finish(*handle, ending);
            false
        });
        self.operations = operations;
        abort.map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// Gives bytes to all members and gets those of all.
    pub(crate) fn exchange(
        &mut self,
        cb: Cb<'_>,
        communicator: i32,
        bytes: Vec<u8>,
    ) -> Result<Operation> {
        let operation = self.begin(communicator, -1, Offer::Data(bytes), None, Plan::Meet)?;
        self.finish(cb, operation)
    }

    /// What this rank tells the others when they make a communicator of these members.
    pub(crate) fn number_for(&self, members: &[u32]) -> Result<Offer> {
        Ok(match members.first() == Some(&self.me) {
            true => Offer::Data(self.world.new_context(self.me)?.to_le_bytes().to_vec()),
            false => Offer::Nothing,
        })
    }

    /// Makes a communicator of these members together with the others of its parent. Its first
    /// member numbers it, so that all sites have the same number.
    pub(crate) fn make_together(
        &mut self,
        cb: Cb<'_>,
        communicator: i32,
        members: Vec<u32>,
    ) -> Result<Arc<Shared>> {
        let parent = Arc::clone(&self.communicator(communicator)?.shared);
        let mine = members.contains(&self.me);
        let first = members.first().filter(|_| mine).and_then(|first| parent.rank_of(*first));
        let offer = self.number_for(&members)?;
        let plan = Plan::Make(first.map(|first| first as usize));
        let operation = self.begin(communicator, -1, offer, None, plan)?;
        let operation = self.finish(cb, operation)?;
        match mine {
            true => operation.adopt(self, members),
            // It is in none.
            false => Ok(Arc::new(Shared::new(0, Vec::new()))),
        }
    }
}

/// What must be the same at all members: the call, its root and its bytes.
pub(crate) fn code(call: u8, root: i32, bytes: usize) -> u64 {
    u64::from(call) << 56 | (bytes as u64 & 0xff_ffff) << 32 | u64::from(root as u32)
}
