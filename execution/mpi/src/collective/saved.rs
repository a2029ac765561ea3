//! Collectives under way in images.

use super::{FAST_BYTES, Fast, LEFT, Needs, Operation, Plan, Round, Slot};
use crate::{
    communicator::Shared,
    error::{Fault, Result},
    image::{Damaged, Decoded, Reader, Row, Wire, Writer, ascending, sound, wire_enum},
    offer::{Entry, Offer},
    world::{World, lock},
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

wire_enum!(Needs { 0 => All, 1 => One(member), 2 => None });

impl Needs {
    /// Whether all of those exist among so many members.
    pub(crate) fn fits(self, size: usize) -> bool {
        !matches!(self, Self::One(member) if member >= size)
    }
}

impl Plan {
    fn fits(&self, size: usize) -> bool {
        match self {
            Self::Meet => true,
            Self::Make(first) => first.is_none_or(|first| first < size),
            Self::Adopt { members, .. } => members.len() <= size,
            Self::Pull(pulls) => pulls.fits(size),
            Self::Reduce(reduction) => reduction.fits(size),
            Self::ReduceByUser(reduction) => reduction.fits(size),
        }
    }
}

wire_enum!(Plan {
    0 => Meet,
    1 => Pull(pulls),
    2 => Reduce(reduction),
    3 => ReduceByUser(reduction),
    4 => Make(first),
    5 => Adopt { handle, members },
});

/// Where the round goes on that this is a part in, by value.
impl Wire for Operation {
    fn put(&self, to: &mut Writer<'_>) {
        self.shared.put(to);
        self.number.put(to);
        self.function.put(to);
        self.root.put(to);
        let ahead = match &self.plan {
            Some(Plan::Reduce(reduction)) if self.outcome.is_none() => {
                reduction.ahead(self, to.world)
            }
            _ => Ok(None),
        };
        let outcome = match (&self.outcome, &ahead) {
            (Some(outcome), _) => Some(outcome.clone().err()),
            // It would fail in the same way later.
            (None, Err(fault)) => Some(Some(fault.clone())),
            (None, Ok(_)) => None,
        };
        outcome.put(to);
        match ahead {
            Ok(Some(reduction)) => Some(Plan::Reduce(reduction)).put(to),
            _ => self.plan.put(to),
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let shared: Arc<Shared> = Wire::get(from)?;
        let (number, function, root): (u64, &'static str, i32) = Wire::get(from)?;
        let outcome: Option<Option<Fault>> = Wire::get(from)?;
        let plan: Option<Plan> = Wire::get(from)?;
        let size = shared.members.len();
        let me = shared.rank_of(from.me).map(|me| me as usize);
        let me = me.ok_or_else(|| Damaged::because("it takes part in a collective of others"))?;
        let fits = plan.as_ref().is_none_or(|plan| plan.fits(size));
        sound(fits, "a collective of it needs members that do not exist")?;
        if let Some(Plan::Adopt { members, .. }) = &plan {
            from.world.check_members(members)?;
        }
        let round = lock(&shared.rounds).get(&number).cloned();
        let round = round.filter(|round| !round.is_left_by(me)).ok_or_else(|| {
            Damaged::because("it takes part in a collective that its world does not know")
        })?;
        let (seen, unsent) = (0, Vec::new());
        let outcome = outcome.map(|fault| fault.map_or(Ok(()), Err));
        Ok(Self { shared, round, number, unsent, outcome, me, function, root, seen, plan })
    }
}

/// What a member offered, by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Given {
    Nothing,
    Data(Row),
    /// By readers.
    Rows(Vec<(usize, Row)>),
}

/// What a member published, as an image tells it.
#[derive(Debug)]
pub(crate) struct ToldEntry {
    member: usize,
    function: &'static str,
    root: i32,
    given: Given,
}

/// A round, as the image of one site tells it.
#[derive(Debug)]
pub(crate) struct ToldRound {
    pub(crate) number: u64,
    /// The members there that are through with it.
    pub(crate) left: Vec<usize>,
    pub(crate) entries: Vec<ToldEntry>,
}

/// A contribution in a slot: its round, its code and its bytes.
pub(crate) type ToldSlot = (u64, u64, Row);

wire_enum!(Given { 0 => Nothing, 1 => Data(row), 2 => Rows(rows) });
crate::image::wire_struct!(ToldEntry { member, function, root, given });
crate::image::wire_struct!(ToldRound { number, left, entries });

impl Fast {
    /// What a member put into its slots.
    pub(crate) fn tell(&self, member: usize) -> Vec<ToldSlot> {
        let told = |slot: &Slot| {
            let words = slot.words.iter().map(|word| word.load(Ordering::Relaxed));
            let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let (round, code) =
                (slot.round.load(Ordering::Acquire), slot.code.load(Ordering::Relaxed));
            (round, code, Row(bytes[..used].to_vec()))
        };
        self.0[member].iter().map(told).filter(|(round, ..)| *round > 0).collect()
    }

    /// Puts the same there.
    pub(crate) fn hear(&self, member: usize, slots: &[ToldSlot]) -> Decoded {
        for (round, code, Row(bytes)) in slots {
            let small = bytes.len() <= FAST_BYTES && *round < 1 << 62;
            sound(small, "a small contribution is a large one")?;
            if !self.entered(member, *round) {
                self.write(member, *round, *code, bytes);
            }
        }
        Ok(())
    }
}

impl Shared {
    /// The rounds that are under way, with what their members may still read.
    pub(crate) fn tell_rounds(&self, world: &World) -> Result<Vec<ToldRound>> {
        let rounds: BTreeMap<u64, Arc<Round>> =
            lock(&self.rounds).iter().map(|(number, round)| (*number, Arc::clone(round))).collect();
        let tell = |(number, round): (u64, Arc<Round>)| {
            let left = self.near().filter(|member| round.is_left_by(*member)).collect();
            Ok(ToldRound { number, left, entries: round.tell(self, world)? })
        };
        rounds.into_iter().map(tell).collect()
    }
}

impl Round {
    fn is_left_by(&self, member: usize) -> bool {
        self.stages[member].load(Ordering::Acquire) == LEFT
    }

    /// What members published, in order, for those that may still read it.
    fn tell(&self, shared: &Shared, world: &World) -> Result<Vec<ToldEntry>> {
        let size = shared.members.len();
        let mut near = vec![false; size];
        shared.near().for_each(|member| near[member] = true);
        let mut told = Vec::new();
        for (member, entry) in self.entries.iter().enumerate() {
            let Some(Entry { function, root, offer, result }) = entry.get() else { continue };
            let stage = self.stages[member].load(Ordering::Acquire);
            // Its buffer may have been written over by its part of the result, which all others
            // know by now, or take with them.
            if result.is_some() && matches!(offer, Offer::Same(_)) && stage > 0 {
                continue;
            }
            let space = world.space(shared.members[member]);
            // Members elsewhere may not have been sent it as long as it is in the round.
            let everyone = near[member] && stage != LEFT;
            let reads = |reader: &usize| everyone || near[*reader] && !self.is_left_by(*reader);
            let given = match offer {
                Offer::Nothing => Given::Nothing,
                // Nobody is left to read it.
                Offer::Same(_) if stage == LEFT => continue,
                Offer::Same(span) => Given::Data(Row(span.pack(&space)?)),
                Offer::Data(bytes) => Given::Data(Row(bytes.clone())),
                Offer::Each(_) if stage == LEFT => continue,
                Offer::Each(spans) => {
                    let row = |reader: usize| Ok((reader, Row(spans[reader].pack(&space)?)));
                    Given::Rows((0..size).filter(reads).map(row).collect::<Result<_>>()?)
                }
                Offer::Rows(rows) => {
                    let read = rows.iter().filter(|(reader, _)| reads(reader));
                    Given::Rows(read.map(|(reader, row)| (*reader, Row(row.clone()))).collect())
                }
            };
            told.push(ToldEntry { member, function, root: *root, given });
        }
        Ok(told)
    }
}

impl ToldRound {
    /// Fails unless it tells of each member once.
    pub(crate) fn check(&self) -> Decoded {
        ascending(self.left.iter())?;
        ascending(self.entries.iter().map(|entry| entry.member))?;
        self.entries.iter().try_for_each(|entry| match &entry.given {
            Given::Rows(rows) => ascending(rows.iter().map(|(reader, _)| reader)),
            _ => Ok(()),
        })
    }
}

/// A round, as the images of all sites tell it.
#[derive(Debug)]
pub(crate) struct Gathered {
    entries: Vec<Option<ToldEntry>>,
    left: Vec<bool>,
}

impl Gathered {
    /// A round that those members are through with which an image does not say to be in it.
    pub(crate) fn new(left: Vec<bool>) -> Self {
        Self { entries: left.iter().map(|_| None).collect(), left }
    }

    /// Adds what the image of a site tells that has these members.
    pub(crate) fn add(&mut self, told: ToldRound, there: &[usize]) -> Decoded {
        for member in there {
            self.left[*member] = told.left.binary_search(member).is_ok();
        }
        let size = self.left.len();
        for entry in told.entries {
            let rows = match &entry.given {
                Given::Rows(rows) => &**rows,
                _ => &[],
            };
            let exist = entry.member < size && rows.iter().all(|(reader, _)| *reader < size);
            sound(exist, "a collective of it has members that do not exist")?;
            match &mut self.entries[entry.member] {
                Some(known) => known.merge(entry)?,
                place => *place = Some(entry),
            }
        }
        Ok(())
    }

    /// The round as members at a site need it; nothing if they are through with it.
    pub(crate) fn round(self, shared: &Shared) -> Option<Round> {
        let size = self.left.len();
        let mut near = vec![false; size];
        shared.near().for_each(|member| near[member] = true);
        let left = shared.near().filter(|member| self.left[*member]).count();
        if left == shared.near().len() {
            return None;
        }
        let round = Round { detached: true, left: left.into(), ..Round::new(size) };
        for (member, told) in self.entries.into_iter().enumerate() {
            if self.left[member] && near[member] {
                round.stages[member].store(LEFT, Ordering::Release);
            }
            let Some(ToldEntry { function, root, given, .. }) = told else { continue };
            let offer = match given {
                Given::Nothing => Offer::Nothing,
                Given::Data(Row(bytes)) => Offer::Data(bytes),
                Given::Rows(told) => {
                    let needed = |(reader, _): &(usize, Row)| near[*reader] || near[member];
                    let rows = told.into_iter().filter(needed);
                    Offer::Rows(rows.map(|(reader, Row(row))| (reader, row)).collect())
                }
            };
            round.enter(member, Entry { function, root, offer, result: None });
        }
        Some(round)
    }
}

impl ToldEntry {
    /// Adds what another site knows of it.
    fn merge(&mut self, other: Self) -> Decoded {
        let same = (self.function, self.root) == (other.function, other.root);
        let fit = match (&mut self.given, other.given) {
            (Given::Rows(rows), Given::Rows(others)) => {
                let known: HashSet<usize> = rows.iter().map(|(reader, _)| *reader).collect();
                let new = others.into_iter().filter(|(reader, _)| !known.contains(reader));
                rows.extend(new);
                true
            }
            (known, other) => *known == other,
        };
        sound(same && fit, "the images tell of one entry of a collective in two ways")
    }
}
