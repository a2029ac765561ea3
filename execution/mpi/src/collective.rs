//! How the members of a communicator act together.
//!
//! Small contributions are written into slots that every member reads; see [`Fast`]. Everything
//! else is a [`Round`]: each member publishes where its data lies, whoever needs it copies it
//! straight from there, and those whose memory is read wait until that is done. A round is a
//! state machine, so that the blocking and the non-blocking calls are the same.

mod saved;

use crate::{
    abi,
    communicator::{Communicator, Shared},
    engine::{Cb, Engine},
    error::{Fault, Result, ensure, fault},
    mail::{Ending, Status, Work},
    movement::Pulls,
    offer::{Entry, Offer},
    reduction::{Reduction, UserReduction},
    stop::Step,
    transfer::Span,
    world::lock,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

/// Bytes of a contribution that go through a slot.
pub(crate) const FAST_BYTES: usize = 240;
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

    #[inline]
    fn slot(&self, member: usize, round: u64) -> &Slot {
        &self.0[member][(round % DEPTH) as usize]
    }

    #[inline]
    fn entered(&self, member: usize, round: u64) -> bool {
        self.slot(member, round).round.load(Ordering::Acquire) >= round
    }

    #[inline]
    fn write(&self, member: usize, round: u64, code: u64, bytes: &[u8]) {
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
    /// Communicators that it makes, by colour.
    made: Mutex<HashMap<i32, Arc<Shared>>>,
}

impl Round {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            entries: (0..members).map(|_| OnceLock::new()).collect(),
            stages: (0..members).map(|_| AtomicU8::new(0)).collect(),
            left: AtomicUsize::new(0),
            made: Mutex::default(),
        }
    }

    /// The communicator of a colour, made by whoever comes first.
    pub(crate) fn make(
        &self,
        colour: i32,
        make: impl FnOnce() -> Result<Arc<Shared>>,
    ) -> Result<Arc<Shared>> {
        let mut made = lock(&self.made);
        if let Some(known) = made.get(&colour) {
            return Ok(Arc::clone(known));
        }
        let new = make()?;
        made.insert(colour, Arc::clone(&new));
        Ok(new)
    }
}

/// What is to be done in a round.
#[derive(Debug)]
pub(crate) enum Plan {
    /// To wait until everyone came.
    Meet,
    Pull(Pulls),
    Reduce(Reduction),
    ReduceByUser(UserReduction),
}

/// A member's part in a round.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) shared: Arc<Shared>,
    round: Arc<Round>,
    number: u64,
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

    /// Whether these members are that far.
    pub(crate) fn have_reached(&self, who: Needs, stage: u8) -> bool {
        let mut stages = self.round.stages[who.range(self.size())].iter();
        stages.all(|reached| reached.load(Ordering::Acquire) >= stage)
    }

    fn step(&mut self, engine: &mut Engine, cb: Cb<'_>) -> Result<bool> {
        let Some(mut plan) = self.plan.take() else { return Ok(true) };
        let done = match &mut plan {
            Plan::Meet => self.have_come(self.size()),
            Plan::Pull(pulls) => pulls.step(self, engine),
            Plan::Reduce(reduction) => reduction.step(self, engine),
            Plan::ReduceByUser(reduction) => reduction.step(self, engine, cb),
        };
        self.plan = Some(plan);
        done
    }

    /// Goes on as far as it can; whether it is over.
    pub(crate) fn poll(&mut self, engine: &mut Engine, cb: Cb<'_>) -> Result<bool> {
        let done = self.step(engine, cb);
        if done.is_err() {
            // Nobody shall wait for one that gave up.
            self.reach(engine, u8::MAX);
        }
        if !matches!(done, Ok(false)) {
            self.leave();
        }
        done
    }

    /// Leaves the round, which ends with its last member.
    fn leave(&mut self) {
        self.plan = None;
        if self.round.left.fetch_add(1, Ordering::AcqRel) + 1 == self.size() {
            lock(&self.shared.rounds).remove(&self.number);
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
            Some(Step::Entered(operation)) => return Ok(operation),
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
            Arc::clone(rounds.entry(number).or_insert_with(|| Arc::new(Round::new(members))))
        };
        // Each member enters a round once, as rounds are counted.
        let _ = round.entries[me].set(Entry { function, root, offer, result });
        self.world.wake_all(&shared.members);
        Ok(Operation { shared, round, number, me, function, root, seen: 0, plan: Some(plan) })
    }

    /// Ends a round.
    pub(crate) fn finish(&mut self, cb: Cb<'_>, mut operation: Operation) -> Result<Operation> {
        let waits = |engine: &Self| engine.function.to_owned();
        match self.block(cb, waits, |engine, cb| Ok(operation.poll(engine, cb)?.then_some(()))) {
            Ok(()) => Ok(operation),
            Err(fault) => Err(self.interrupted(fault, Step::Entered(operation))),
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

    /// Makes a communicator of these members together with the others of its parent. At one site
    /// nobody waits for it: whoever comes first makes it.
    pub(crate) fn make_together(
        &mut self,
        communicator: i32,
        colour: i32,
        members: Vec<u32>,
    ) -> Result<Arc<Shared>> {
        let mut operation = self.begin(communicator, -1, Offer::Nothing, None, Plan::Meet)?;
        let make = || Ok(Arc::new(Shared::new(self.world.new_context(self.me)?, members)));
        let made = operation.round.make(colour, make);
        operation.leave();
        made
    }

    /// The same within a round that was just held.
    pub(crate) fn make_in(
        &self,
        operation: &Operation,
        colour: i32,
        members: Vec<u32>,
    ) -> Result<Arc<Shared>> {
        let make = || Ok(Arc::new(Shared::new(self.world.new_context(self.me)?, members)));
        operation.round.make(colour, make)
    }

    /// Puts a contribution into a slot and waits for those of others. Gives the slots and the
    /// round in which to read them.
    #[inline]
    pub(crate) fn meet(
        &mut self,
        cb: Cb<'_>,
        communicator: i32,
        code: u64,
        bytes: &[u8],
        needs: Needs,
    ) -> Result<(Arc<Shared>, u64)> {
        let (counted, mut written) = match self.replayed() {
            Some(Step::Counted { round, written }) => (Some(round), written),
            Some(_) => return Err(self.other_step()),
            None => (None, false),
        };
        let Communicator { shared, rank, fast_rounds, .. } = self.communicator_mut(communicator)?;
        let round = counted.unwrap_or(*fast_rounds + 1);
        *fast_rounds = round;
        let (shared, me) = (Arc::clone(shared), *rank as usize);
        let met = self.meet_in(cb, (&shared, me, round), code, bytes, needs, &mut written);
        if let Err(fault) = met {
            return Err(self.interrupted(fault, Step::Counted { round, written }));
        }
        let (size, fast) = (shared.members.len(), shared.fast());
        for member in needs.range(size) {
            let other = fast.slot(member, round).code.load(Ordering::Relaxed);
            ensure(other == code, abi::ERR_OTHER, || {
                format!("member {member} calls another collective or gives another count or root")
            })?;
        }
        Ok((shared, round))
    }
}

impl Engine {
    /// Waits until a slot is free, writes into it, and waits for the others.
    #[inline]
    fn meet_in(
        &mut self,
        cb: Cb<'_>,
        (shared, me, round): (&Shared, usize, u64),
        code: u64,
        bytes: &[u8],
        needs: Needs,
        written: &mut bool,
    ) -> Result {
        let (size, fast) = (shared.members.len(), shared.fast());
        let waits = |engine: &Self| engine.function.to_owned();
        if !*written {
            // The slot is free once everyone is past the round that used it last.
            let free = |earlier| (0..size).all(|member| fast.entered(member, earlier));
            if round >= DEPTH && !free(round + 1 - DEPTH) {
                self.block(cb, waits, |_, _| Ok(free(round + 1 - DEPTH).then_some(())))?;
            }
            fast.write(me, round, code, bytes);
            *written = true;
            self.world.wake_all(&shared.members);
        }
        let mut missing = needs.range(size);
        self.block(cb, waits, |_, _| {
            while missing.start < missing.end {
                if !fast.entered(missing.start, round) {
                    return Ok(None);
                }
                missing.start += 1;
            }
            Ok(Some(()))
        })
    }
}

/// What must be the same at all members: the call, its root and its bytes.
pub(crate) fn code(call: u8, root: i32, bytes: usize) -> u64 {
    u64::from(call) << 56 | (bytes as u64 & 0xff_ffff) << 32 | u64::from(root as u32)
}
