//! Collectives under way in images.

use super::{FAST_BYTES, Needs, Operation, Plan, Round};
use crate::{
    communicator::Shared,
    image::{Damaged, Decoded, Reader, Wire, Writer, sound, wire_enum},
    offer::{Entry, Offer},
    world::lock,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

wire_enum!(Needs { 0 => All, 1 => One(member), 2 => None });
crate::image::wire_struct!(Entry { function, root, offer, result });

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
            Self::Make(_) | Self::Adopt { .. } => false,
            Self::Pull(pulls) => pulls.fits(size),
            Self::Reduce(reduction) => reduction.fits(size),
            Self::ReduceByUser(reduction) => reduction.fits(size),
        }
    }
}

impl Wire for Plan {
    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Meet => to.byte(0),
            Self::Pull(pulls) => {
                to.byte(1);
                pulls.put(to);
            }
            Self::Reduce(reduction) => {
                to.byte(2);
                reduction.put(to);
            }
            Self::ReduceByUser(reduction) => {
                to.byte(3);
                reduction.put(to);
            }
            // Only between sites, whose ranks are not saved.
            Self::Make(_) | Self::Adopt { .. } => to.byte(u8::MAX),
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Self::Meet,
            1 => Self::Pull(Wire::get(from)?),
            2 => Self::Reduce(Wire::get(from)?),
            3 => Self::ReduceByUser(Wire::get(from)?),
            _ => return Err(Damaged::because("it has a collective that is not known")),
        })
    }
}

impl Wire for Offer {
    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Nothing => to.byte(0),
            Self::Same(span) => {
                to.byte(1);
                span.put(to);
            }
            Self::Each(spans) => {
                to.byte(2);
                spans.put(to);
            }
            Self::Data(bytes) => {
                to.byte(3);
                to.row(bytes);
            }
            Self::Rows(rows) => {
                to.byte(4);
                (rows.len() as u32).put(to);
                rows.iter().for_each(|row| to.row(row));
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        Ok(match from.byte()? {
            0 => Self::Nothing,
            1 => Self::Same(Wire::get(from)?),
            2 => Self::Each(Wire::get(from)?),
            3 => Self::Data(from.row()?),
            _ => {
                let count = u32::get(from)?;
                let mut rows = Vec::new();
                for _ in 0..count {
                    rows.push(from.row()?);
                }
                Self::Rows(rows)
            }
        })
    }
}

impl Wire for Operation {
    fn put(&self, to: &mut Writer<'_>) {
        self.shared.put(to);
        self.number.put(to);
        self.function.put(to);
        self.root.put(to);
        self.seen.put(to);
        self.plan.put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let shared: Arc<Shared> = Wire::get(from)?;
        let (number, function, root): (u64, &'static str, i32) = Wire::get(from)?;
        let (seen, plan): (usize, Option<Plan>) = Wire::get(from)?;
        let size = shared.members.len();
        let me = shared.rank_of(from.me);
        sound(me.is_some(), "it takes part in a collective of others")?;
        let fits = seen <= size && plan.as_ref().is_none_or(|plan| plan.fits(size));
        sound(fits, "a collective of it needs members that do not exist")?;
        let round = lock(&shared.rounds).get(&number).cloned();
        let me = me.unwrap_or(0) as usize;
        let round = round.filter(|round| round.entries[me].get().is_some());
        let round = round.ok_or_else(|| {
            Damaged::because("it takes part in a collective that it did not enter")
        })?;
        let (unsent, outcome) = (Vec::new(), None);
        Ok(Self { shared, round, number, unsent, outcome, me, function, root, seen, plan })
    }
}

impl Operation {
    /// The round that it is in, for those who look for it.
    pub(crate) fn place(&self) -> (u32, u64) {
        (self.shared.context, self.number)
    }
}

impl Shared {
    /// Writes what a rank gave to the other members, and they may not have read. `within` are the
    /// rounds that it is in.
    pub(crate) fn save(&self, within: &HashSet<(u32, u64)>, to: &mut Writer<'_>) {
        let me = self.rank_of(to.me).map(|me| me as usize);
        self.save_slots(me, to);
        let rounds: HashMap<u64, Arc<Round>> = lock(&self.rounds).clone();
        let mut numbers: Vec<u64> = rounds.keys().copied().collect();
        numbers.sort_unstable();
        // Members that have left for good have no image that could tell what they gave.
        let mine = |member: &usize| Some(*member) == me || to.world.is_gone(self.members[*member]);
        let told: Vec<usize> = (0..self.members.len()).filter(mine).collect();
        (numbers.len() as u32).put(to);
        for number in numbers {
            number.put(to);
            let left = !within.contains(&(self.context, number));
            rounds[&number].save(&told, me.filter(|_| !left), to);
        }
    }

    fn save_slots(&self, me: Option<usize>, to: &mut Writer<'_>) {
        let mut slots = Vec::new();
        if let (Some(me), Some(fast)) = (me, self.known_fast()) {
            slots.extend(fast.0[me].iter().map(|slot| {
                let words = slot.words.iter().map(|word| word.load(Ordering::Relaxed));
                let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let (round, code) =
                    (slot.round.load(Ordering::Acquire), slot.code.load(Ordering::Relaxed));
                (round, code, bytes[..used].to_vec())
            }));
            slots.retain(|(round, _, _)| *round > 0);
        }
        (slots.len() as u32).put(to);
        for (round, code, bytes) in slots {
            round.put(to);
            code.put(to);
            to.row(&bytes);
        }
    }

    pub(crate) fn restore(&self, from: &mut Reader<'_>) -> Decoded {
        let me = self.rank_of(from.me).map(|me| me as usize);
        for _ in 0..u32::get(from)? {
            let (round, code): (u64, u64) = Wire::get(from)?;
            let bytes = from.row()?;
            sound(
                bytes.len() <= FAST_BYTES && round < 1 << 62,
                "a small contribution is a large one",
            )?;
            if let Some(me) = me {
                self.fast().write(me, round, code, &bytes);
            }
        }
        let size = self.members.len();
        for _ in 0..u32::get(from)? {
            let number = u64::get(from)?;
            from.count_places(size)?;
            let round = {
                let mut rounds = lock(&self.rounds);
                Arc::clone(rounds.entry(number).or_insert_with(|| Arc::new(Round::new(size))))
            };
            if round.restore(self, from)? == size {
                lock(&self.rounds).remove(&number);
            }
        }
        Ok(())
    }
}

impl Round {
    /// Writes what these members published, of whom one may still be in the round.
    fn save(&self, told: &[usize], within: Option<usize>, to: &mut Writer<'_>) {
        let told = told.iter().filter_map(|member| Some((*member, self.entries[*member].get()?)));
        let told: Vec<_> = told.collect();
        (told.len() as u32).put(to);
        for (member, entry) in told {
            member.put(to);
            self.stages[member].load(Ordering::Acquire).put(to);
            (Some(member) != within).put(to);
            entry.put(to);
        }
        let made = lock(&self.made).clone();
        let mut colours: Vec<i32> = made.keys().copied().collect();
        colours.sort_unstable();
        (colours.len() as u32).put(to);
        for colour in colours {
            colour.put(to);
            made[&colour].put(to);
        }
    }

    /// Reads the same; gives how many members have left.
    fn restore(&self, shared: &Shared, from: &mut Reader<'_>) -> Decoded<usize> {
        for _ in 0..u32::get(from)? {
            let (member, stage): (usize, u8) = Wire::get(from)?;
            let (left, entry): (bool, Entry) = Wire::get(from)?;
            let rank = shared.members.get(member).copied();
            let own = rank.is_some_and(|rank| rank == from.me || from.world.is_gone(rank));
            sound(own, "it tells what another rank gave to a collective")?;
            // What one that has left for good gave is told by everyone.
            if self.entries[member].set(entry).is_ok() {
                self.stages[member].store(stage, Ordering::Release);
                self.left.fetch_add(usize::from(left), Ordering::AcqRel);
            }
        }
        for (colour, made) in Vec::<(i32, Arc<Shared>)>::get(from)? {
            let known = Arc::clone(lock(&self.made).entry(colour).or_insert(Arc::clone(&made)));
            sound(Arc::ptr_eq(&known, &made), "a communicator was made twice")?;
        }
        Ok(self.left.load(Ordering::Acquire))
    }
}
