//! How a thread learns of its next region.
//!
//! What changes with each region lies in one line of cache, at which the thread looks while it
//! waits. Its team and its place in it come by letter, and only if they are not those of its last
//! region.

use crate::{
    gate::Gate,
    line::Line,
    shared::{Shared, lock},
    team::Team,
};
use std::{
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

/// Shared variables of a region that fit into the line; the team keeps more.
const ARGS_FEW: usize = 12;

/// A team as one of its threads holds it: other threads' counts of it are not touched.
pub(crate) type OwnTeam = Rc<Arc<Team>>;

/// What a region's threads run.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) microtask: u32,
    count: usize,
    few: [u32; ARGS_FEW],
    /// All of them, if they are not few.
    many: Vec<u32>,
}

impl Work {
    pub(crate) fn new(microtask: u32, args: impl ExactSizeIterator<Item = u32>) -> Self {
        let (count, mut few) = (args.len(), [0; ARGS_FEW]);
        let mut many = Vec::new();
        if count <= ARGS_FEW {
            few.iter_mut().zip(args).for_each(|(place, arg)| *place = arg);
        } else {
            many.extend(args);
        }
        Self { microtask, count, few, many }
    }

    pub(crate) fn args(&self) -> &[u32] {
        if self.count <= ARGS_FEW { &self.few[..self.count] } else { &self.many }
    }
}

/// A place in a team.
pub(crate) struct Seat {
    pub(crate) team: Arc<Team>,
    pub(crate) tid: u32,
    /// The team's count of threads that were through with their regions before.
    pub(crate) joined: u32,
}

/// Where a thread gets its next region.
#[derive(Default)]
pub(crate) struct Mailbox {
    order: Line<Order>,
    gate: Line<Gate>,
    letter: Mutex<Letter>,
}

/// Fits into 64 bytes.
#[derive(Default)]
struct Order {
    /// Grows with each region. It is written last and read first: the rest belongs to it, and
    /// stays until its thread is through with the region.
    number: AtomicU32,
    microtask: AtomicU32,
    /// How many arguments there are, and whether a letter comes with them.
    count: AtomicU32,
    args: [AtomicU32; ARGS_FEW],
}

/// The bit that says so.
const LETTER: u32 = 1 << 31;

/// What does not fit.
#[derive(Default)]
struct Letter {
    seat: Option<Seat>,
    many: Vec<u32>,
}

impl Mailbox {
    /// Gives the thread its next region, in which it has this seat, if it is not that of its last.
    pub(crate) fn put(&self, work: &Work, seat: Option<Seat>) {
        let order = &self.order;
        let mut count = work.count as u32;
        if seat.is_some() || !work.many.is_empty() {
            *lock(&self.letter) = Letter { seat, many: work.many.clone() };
            count |= LETTER;
        }
        order.microtask.store(work.microtask, Ordering::Relaxed);
        order.count.store(count, Ordering::Relaxed);
        for (place, arg) in order.args.iter().zip(&work.few[..work.count.min(ARGS_FEW)]) {
            place.store(*arg, Ordering::Relaxed);
        }
        order.number.fetch_add(1, Ordering::SeqCst);
        self.gate.ring_after();
    }

    /// Has the thread look whether the program ends.
    pub(crate) fn ring(&self) {
        self.gate.ring();
    }

    /// Whether there is a region after the one of this number.
    pub(crate) fn is_full(&self, number: u32) -> bool {
        self.order.number.load(Ordering::Acquire) != number
    }

    /// Waits for the region after the one of this `number`, which then is its number; `None` at
    /// the program's end. A seat comes with it if it is a new one.
    pub(crate) fn take(
        &self,
        shared: &Shared,
        spins: u32,
        number: &mut u32,
    ) -> Option<(Work, Option<Seat>)> {
        self.gate.wait_long(spins, || self.is_full(*number) || shared.is_stopped());
        if shared.is_stopped() {
            return None;
        }
        *number = number.wrapping_add(1);
        let order = &self.order;
        let count = order.count.load(Ordering::Relaxed);
        let letter = if count & LETTER == 0 {
            Letter::default()
        } else {
            std::mem::take(&mut *lock(&self.letter))
        };
        let work = Work {
            microtask: order.microtask.load(Ordering::Relaxed),
            count: (count & !LETTER) as usize,
            few: std::array::from_fn(|at| order.args[at].load(Ordering::Relaxed)),
            many: letter.many,
        };
        Some((work, letter.seat))
    }
}
