//! The call under way: how it is interrupted, and made again without doing anything twice.
//!
//! A call that is interrupted fails with [`Abort::Stopped`], and the guest makes it again later, with
//! the same arguments. What it has done by then is kept as [`Step`]s, in order: made again, it takes
//! these instead of doing them twice. Whatever is not a step can be done again, for it only looks.

use crate::{
    blocking::may_block,
    collective::Operation,
    engine::{Engine, Phase},
    error::{Abort, Fault, Result},
    image::{Damaged, Decoded, Reader, Wire, Writer, sound},
    site::Incoming,
    world::Waiting,
};
use std::{collections::VecDeque, sync::Arc};

/// Something that an interrupted call has done, and what it gave.
#[derive(Debug)]
pub(crate) enum Step {
    /// A part that gives nothing.
    Done,
    /// Memory of the guest's, or a handle.
    Word(u32),
    /// A message that was sent; with what is not over yet.
    Sent(Option<Arc<Waiting>>),
    /// A receive that was posted under a request.
    Posted(i32),
    /// A round that was entered.
    Entered(Box<Operation>),
    /// A round of slots that was counted, and whether the contribution is in its slot.
    Counted { round: u64, written: bool },
    /// A lock that another site was asked for.
    Asked(Arc<Incoming>),
    /// The same, which it gave.
    Granted,
}

/// The call that is under way, as far as it would have to be known if it were interrupted.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    pub(crate) function: &'static str,
    /// What it did since it was made last.
    pub(crate) done: Vec<Step>,
    /// What it did before, and has to take up.
    pub(crate) again: VecDeque<Step>,
    /// How many calls of the guest it is in: what these call can not be interrupted.
    pub(crate) depth: u32,
}

impl Engine {
    /// Stops here if that was asked for. Nothing of the call may have been done.
    #[inline]
    pub(crate) fn stopping_point(&mut self) -> Result<(), Abort> {
        match self.world.check() {
            Ok(false) => Ok(()),
            Ok(true) => self.stop_at_entry(),
            Err(abort) => Err(abort),
        }
    }

    #[cold]
    fn stop_at_entry(&mut self) -> Result<(), Abort> {
        if self.may_stop() { Err(self.pause()) } else { Ok(()) }
    }

    /// Whether the call under way may be interrupted.
    pub(crate) fn may_stop(&self) -> bool {
        self.is_outermost() && may_block(self.function)
    }

    /// Whether the call under way is the guest's, and not one from within.
    fn is_outermost(&self) -> bool {
        self.underway.depth == 0
    }

    /// Leaves the call under way, to be made again.
    pub(crate) fn pause(&mut self) -> Abort {
        let earlier = std::mem::take(&mut self.underway.again);
        self.underway.again = self.underway.done.drain(..).chain(earlier).collect();
        if !self.underway.again.is_empty() {
            self.underway.function = self.function;
            self.phase = Phase::Interrupted;
        }
        self.world.stopped(self.me, self.function);
        Abort::Stopped
    }

    /// Takes up a call that was interrupted.
    pub(crate) fn take_up(&mut self, function: &'static str) -> Result<(), Abort> {
        if self.underway.function != function {
            let when = "instead of the function that it was stopped in";
            return Err(self.world.abort(Abort::OutOfTurn { function, rank: self.me, when }));
        }
        self.phase = Phase::Running;
        Ok(())
    }

    /// What a step gave that the call did before it was interrupted.
    #[inline]
    pub(crate) fn replayed(&mut self) -> Option<Step> {
        if self.underway.again.is_empty() { None } else { self.replay() }
    }

    #[cold]
    fn replay(&mut self) -> Option<Step> {
        if self.is_outermost() { self.underway.again.pop_front() } else { None }
    }

    /// Whether the call takes up what it did before it was interrupted.
    pub(crate) fn is_replaying(&self) -> bool {
        self.is_outermost() && !self.underway.again.is_empty()
    }

    /// Keeps what a step gave.
    pub(crate) fn keep(&mut self, step: Step) {
        if self.is_outermost() {
            self.underway.done.push(step);
        }
    }

    /// Keeps the step that was interrupted, if that is how a call fails.
    #[cold]
    pub(crate) fn interrupted(&mut self, fault: Fault, step: Step) -> Fault {
        if matches!(fault, Fault::Abort(Abort::Stopped)) {
            self.keep(step);
        }
        fault
    }

    /// Does a part of a call once that gives a number, however often the call is made. A part that
    /// is interrupted takes up its own steps, if it has any, and is done again.
    pub(crate) fn once(&mut self, part: impl FnOnce(&mut Self) -> Result<u32>) -> Result<u32> {
        let word = match self.replayed() {
            Some(Step::Word(word)) => word,
            step => self.take_up_part(step, part)?,
        };
        self.keep(Step::Word(word));
        Ok(word)
    }

    /// The same for a part that gives nothing.
    pub(crate) fn once_only(&mut self, part: impl FnOnce(&mut Self) -> Result) -> Result {
        match self.replayed() {
            Some(Step::Done) => {}
            step => self.take_up_part(step, part)?,
        }
        self.keep(Step::Done);
        Ok(())
    }

    /// Does a part; a step that is not its end belongs to what the part itself did before it was
    /// interrupted.
    fn take_up_part<T>(
        &mut self,
        step: Option<Step>,
        part: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if let Some(step) = step {
            self.underway.again.push_front(step);
        }
        part(self)
    }

    /// Does something that is not to be interrupted.
    pub(crate) fn without_stopping<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.underway.depth += 1;
        let result = work(self);
        self.underway.depth = self.underway.depth.saturating_sub(1);
        result
    }

    /// A call is made again with other arguments, or its image is damaged.
    #[cold]
    pub(crate) fn other_step(&mut self) -> Fault {
        let when = "with other arguments than before it was stopped";
        let abort = Abort::OutOfTurn { function: self.function, rank: self.me, when };
        self.world.abort(abort).into()
    }

    /// Forgets the steps of a call that is over.
    #[cold]
    pub(crate) fn forget(&mut self) {
        if self.is_outermost() {
            self.underway.done.clear();
            self.underway.again.clear();
        }
    }
}

impl Step {
    /// Whether it is to be done anew by a rank that is restored: nobody remembers it there.
    pub(crate) fn is_forgotten(&self) -> bool {
        matches!(self, Self::Asked(incoming) if !incoming.is_over())
    }
}

impl Wire for Step {
    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Done => to.byte(0),
            // Who saves a rank leaves out what is forgotten.
            Self::Granted | Self::Asked(_) => to.byte(6),
            Self::Word(word) => {
                to.byte(1);
                word.put(to);
            }
            Self::Sent(sent) => {
                to.byte(2);
                sent.put(to);
            }
            Self::Posted(handle) => {
                to.byte(3);
                handle.put(to);
            }
            Self::Entered(operation) => {
                to.byte(4);
                operation.put(to);
            }
            Self::Counted { round, written } => {
                to.byte(5);
                round.put(to);
                written.put(to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Self::Done,
            1 => Self::Word(Wire::get(from)?),
            2 => Self::Sent(Wire::get(from)?),
            3 => Self::Posted(Wire::get(from)?),
            4 => Self::Entered(Box::new(Wire::get(from)?)),
            5 => {
                let (round, written) = Wire::get(from)?;
                sound(round < 1 << 62, "a number is too large")?;
                Self::Counted { round, written }
            }
            6 => Self::Granted,
            _ => return Err(Damaged::because("a step of its call is not known")),
        })
    }
}
