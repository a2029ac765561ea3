//! Saving a world that has stopped, and restoring it: all that MPI knows of its ranks, as bytes.
//!
//! What belongs to one rank is in its image; what it shares with others is in that of its site's
//! part of the world ([`part`]). A message that waits for its receiver is told by both sides, which
//! meet again wherever they are. The guests' memories are not in it: buffers are told as addresses,
//! as the program gave them. Nothing in an image depends on where the ranks were. An image may come
//! from anywhere: whatever it says is checked.
//!
//! ```text
//! rank    "CSKMPIR\0" | u16 version | 6 zero bytes | moment | size | rank | datatypes | state
//! part    "CSKMPIW\0" | u16 version | 6 zero bytes | moment | size | ranks | who has finished | communicators
//! ```

mod part;

use crate::{
    Memory, Rank, abi,
    attribute::Attributes,
    basic::BASICS,
    communicator::{Communicator, Shared},
    datatype::Type,
    engine::{Engine, Named, Phase},
    error::Abort,
    graph::Graph,
    image::{Damaged, Decoded, Reader, Wire, Writer, sound, wire_enum, wire_struct},
    memory::Space,
    world::{Waiting, World, lock},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

const RANK: &[u8; 8] = b"CSKMPIR\0";
const VERSION: u8 = 3;

/// A message that waits while ranks are restored, and whether its receiver and its sender were.
type Meeting = (Arc<Waiting>, bool, bool);

/// What ranks that are restored have in common.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    /// When each was saved.
    moments: Vec<u64>,
    present: HashSet<u32>,
    shareds: HashMap<u32, Arc<Shared>>,
    waiting: HashMap<(u32, u64), Meeting>,
}

fn refused(reason: String) -> Abort {
    Abort::Refused { reason: reason.into() }
}

fn head(kind: &[u8; 8]) -> Vec<u8> {
    [kind.as_slice(), &[VERSION, 0, 0, 0, 0, 0, 0, 0]].concat()
}

fn check_head(kind: &[u8; 8], from: &mut Reader<'_>) -> Decoded {
    sound(from.take(8)? == kind, "it is no such image")?;
    let version = from.take(8)?;
    sound(version == &head(kind)[8..], "it has a version that is not known here")
}

wire_enum!(Phase { 0 => Fresh, 1 => Running, 2 => Interrupted, 3 => Over });
wire_struct!(Named { ty, committed, name, attributes });

impl Wire for Communicator {
    fn put(&self, to: &mut Writer<'_>) {
        self.shared.put(to);
        self.rank.put(to);
        self.rounds.put(to);
        self.fast_rounds.put(to);
        self.name.put(to);
        self.handler.put(to);
        self.attributes.put(to);
        self.grid.put(to);
        self.graph.put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let shared: Arc<Shared> = Wire::get(from)?;
        let (rank, rounds, fast_rounds): (u32, u64, u64) = Wire::get(from)?;
        sound(shared.rank_of(from.me) == Some(rank), "a communicator of it belongs to others")?;
        sound(rounds < 1 << 62 && fast_rounds < 1 << 62, "a number is too large")?;
        let (name, handler, attributes): (String, i32, Attributes) = Wire::get(from)?;
        let (grid, graph): (_, Option<Graph>) = Wire::get(from)?;
        let fits = graph.as_ref().is_none_or(|graph| graph.fits(shared.members.len()));
        sound(fits, "a graph of it has processes that do not exist")?;
        Ok(Self { shared, rank, rounds, fast_rounds, name, handler, attributes, grid, graph })
    }
}

impl Engine {
    fn basics(&self) -> Vec<Arc<Type>> {
        let handles = 1..=BASICS.len() as i32;
        handles.filter_map(|handle| Some(Arc::clone(&self.types.get(handle)?.ty))).collect()
    }

    fn save_state(&mut self, to: &mut Writer<'_>) {
        self.buffered.retain(|waiting| !waiting.is_over());
        self.loose.retain(|waiting| !waiting.is_over());
        let forgotten = self.underway.again.iter().all(|step| step.is_forgotten());
        match self.phase {
            // Its call is made anew.
            Phase::Interrupted if forgotten => Phase::Running.put(to),
            phase => phase.put(to),
        }
        self.world.stops.function(self.me).put(to);
        self.underway.function.put(to);
        let steps = self.underway.again.iter().filter(|step| !step.is_forgotten());
        let steps: Vec<_> = steps.collect();
        (steps.len() as u32).put(to);
        steps.iter().for_each(|step| step.put(to));
        self.contexts_made().load(Ordering::Relaxed).put(to);
        self.provided.put(to);
        self.communicators.put(to);
        self.groups.put(to);
        self.types.put(to);
        self.ops.put(to);
        self.keyvals.put(to);
        self.infos.put(to);
        self.handlers.put(to);
        self.windows.put(to);
        self.buffer.put(to);
        self.buffered.put(to);
        self.loose.put(to);
        self.classes.put(to);
        self.constants.put(to);
        self.mail.save(to);
        (self.operations.len() as u32).put(to);
        for (handle, operation) in &self.operations {
            handle.put(to);
            operation.put(to);
        }
    }

    /// Reads the same; gives the function that the rank stopped in.
    fn restore_state(&mut self, from: &mut Reader<'_>) -> Decoded<&'static str> {
        self.phase = Wire::get(from)?;
        let stopped_in = Wire::get(from)?;
        self.underway.function = Wire::get(from)?;
        self.underway.again = Vec::get(from)?.into();
        let interrupted = self.phase == Phase::Interrupted;
        sound(interrupted != self.underway.again.is_empty(), "it is within a call and is not")?;
        self.contexts_made().store(Wire::get(from)?, Ordering::Relaxed);
        self.provided = Wire::get(from)?;
        self.communicators = Wire::get(from)?;
        self.groups = Wire::get(from)?;
        self.types = Wire::get(from)?;
        self.ops = Wire::get(from)?;
        self.keyvals = Wire::get(from)?;
        self.infos = Wire::get(from)?;
        self.handlers = Wire::get(from)?;
        self.windows = Wire::get(from)?;
        self.buffer = Wire::get(from)?;
        self.buffered = Wire::get(from)?;
        self.loose = Wire::get(from)?;
        self.classes = Wire::get(from)?;
        self.constants = Wire::get(from)?;
        self.mail.restore(from)?;
        self.operations = Wire::get(from)?;
        self.check_tables()?;
        Ok(stopped_in)
    }

    fn contexts_made(&self) -> &AtomicU32 {
        static NONE: AtomicU32 = AtomicU32::new(0);
        self.world.contexts_of(self.me).unwrap_or(&NONE)
    }

    fn check_tables(&self) -> Decoded {
        let begin = self.communicators.begins(1, 2)
            && self.types.begins(1, BASICS.len())
            && self.groups.begins(2, 0)
            && self.ops.begins(abi::NO_OP + 1, 0)
            && self.keyvals.begins(abi::WIN_MODEL + 1, 0)
            && self.infos.begins(2, 0)
            && self.handlers.begins(3, 0)
            && self.windows.begins(1, 0);
        sound(begin, "its handles do not begin where they do")?;
        let world = self.communicators.get(abi::COMM_WORLD);
        let right = world.is_some_and(|world| Arc::ptr_eq(&world.shared, &self.world.everyone));
        sound(right, "its first communicator is not MPI_COMM_WORLD")?;
        let ranks = self.groups.handles().filter_map(|group| self.groups.get(group));
        let size = self.world.size();
        let exist = ranks.flat_map(|group| group.iter()).all(|rank| *rank < size);
        sound(exist, "a group of it has ranks that do not exist")
    }
}

impl Rank {
    /// All that MPI knows of a rank that has stopped. All ranks of its site must have stopped, and
    /// where there are other sites, those of all sites, with [`World::flush_links`] done at each.
    /// The world may be resumed afterwards, or be restored elsewhere from the images of its ranks
    /// and of [`World::save`] at each site.
    ///
    /// # Errors
    ///
    /// When some rank runs, or something is still on its way from another site.
    pub fn save(&mut self) -> Result<Vec<u8>, Abort> {
        let engine = &mut self.engine;
        let world = Arc::clone(&engine.world);
        world.check_rest()?;
        let me = engine.me;
        let refusal = |reason: &str| refused(format!("rank {me} can not be saved: {reason}"));
        if !engine.mail.is_complete() {
            return Err(refusal("a message for it is on its way from another site"));
        }
        let basics = engine.basics();
        let mut writer = Writer::new(&world, &basics);
        engine.save_state(&mut writer);
        let state = std::mem::take(&mut writer.bytes);
        writer.check().map_err(|damaged| refusal(&damaged.0))?;
        let mut image = Writer::new(&world, &[]);
        image.bytes = head(RANK);
        world.moment().put(&mut image);
        world.size().put(&mut image);
        engine.me.put(&mut image);
        writer.put_types(basics.len(), &mut image);
        image.bytes.extend(state);
        Ok(image.bytes)
    }
}

impl World {
    /// What holds the images of one stop at one site together.
    fn moment(&self) -> u64 {
        u64::try_from(self.stops.age().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Restores a rank of a world that is restored, over the memory that it had when it was saved,
    /// or a copy. The guest makes again the call that it was stopped in.
    ///
    /// # Errors
    ///
    /// When the image is damaged, or not one of this world and this rank. The world can not be
    /// used then.
    pub fn restore_rank(
        self: &Arc<Self>,
        rank: u32,
        memory: Arc<dyn Memory>,
        image: &[u8],
    ) -> Result<Rank, Abort> {
        let space = self.take_seat(rank, memory)?;
        self.restore_image(rank, space, image).map_err(|damaged| {
            self.abort(refused(format!("the image of rank {rank} can not be used: {}", damaged.0)))
        })
    }

    fn restore_image(self: &Arc<Self>, rank: u32, space: Space, image: &[u8]) -> Decoded<Rank> {
        let mut from = Reader::new(self, rank, image);
        check_head(RANK, &mut from)?;
        let (moment, size, me): (u64, u32, u32) = Wire::get(&mut from)?;
        sound(size == self.size() && me == rank, "it is the image of another rank")?;
        let known = lock(&self.restoring).as_ref().map(|known| known.moments[rank as usize]);
        sound(known == Some(moment), "it was saved at another moment than its world")?;
        let mut rank = Rank { engine: Engine::new(Arc::clone(self), rank, space) };
        // Until it is whole it is none whose loss would end the world.
        rank.engine.phase = Phase::Over;
        let function = rank.engine.restore(&mut from);
        let function = function.inspect_err(|_| rank.engine.phase = Phase::Over)?;
        match rank.engine.phase {
            Phase::Over => self.leave(me),
            _ => self.stops.arrive(me, function),
        }
        if let Some(restoring) = &mut *lock(&self.restoring) {
            restoring.present.insert(me);
        }
        Ok(rank)
    }

    /// A communicator of a world that is restored.
    pub(crate) fn restored_shared(&self, context: u32) -> Option<Arc<Shared>> {
        lock(&self.restoring).as_ref()?.shareds.get(&context).cloned()
    }

    /// Fails unless there can be a communicator of these members.
    pub(crate) fn check_members(&self, members: &[u32]) -> Decoded {
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        let distinct = sorted.windows(2).all(|pair| pair[0] < pair[1]);
        let exist = sorted.last().is_some_and(|last| *last < self.size());
        sound(distinct && exist, "a communicator has members that do not exist")
    }

    /// A message that waits, which its sender and its receiver name.
    pub(crate) fn waiting_of(
        &self,
        route: (u32, u32),
        number: u64,
        bytes: u64,
        by_receiver: bool,
    ) -> Decoded<Arc<Waiting>> {
        let mut restoring = lock(&self.restoring);
        let restoring = restoring.as_mut();
        let restoring = restoring.ok_or_else(|| Damaged::because("its world runs already"))?;
        let make = || (Arc::new(Waiting::unknown(route, number, bytes)), false, false);
        let (waiting, received, sent) =
            restoring.waiting.entry((route.0, number)).or_insert_with(make);
        let known = if by_receiver { received } else { sent };
        let twice = std::mem::replace(known, true);
        let same = waiting.bytes == bytes && waiting.receiver == route.1;
        sound(!twice && same, "a message of it waits at two places")?;
        Ok(Arc::clone(waiting))
    }

    /// Fails unless all ranks of a world that is restored are there and fit together.
    pub(crate) fn complete(&self) -> Result<(), Abort> {
        let mut place = lock(&self.restoring);
        let Some(restoring) = &*place else { return Ok(()) };
        let here = |rank: &u32| self.beyond(*rank).is_none();
        let missing =
            |rank: &u32| here(rank) && !restoring.present.contains(rank) && !self.is_gone(*rank);
        if let Some(rank) = (0..self.size()).find(missing) {
            return Err(refused(format!(
                "rank {rank} is not restored: all ranks are to be there before any goes on"
            )));
        }
        // Who has finished never takes what still waits for it, and has no image to say so.
        let finished = (0..self.size()).any(|rank| self.is_gone(rank));
        for ((sender, _), (waiting, received, sent)) in &restoring.waiting {
            // Another site knows the other side.
            if !here(sender) || !here(&waiting.receiver) {
                continue;
            }
            let known = *received && waiting.body().is_some() || finished && *sent;
            if !known || !sent && !self.is_gone(*sender) {
                return Err(refused(format!(
                    "the images do not belong together: a message of rank {sender} is known to one \
                     side only"
                )));
            }
        }
        for context in restoring.shareds.keys() {
            let known = self.maker_of(*context).is_none_or(|(maker, before)| {
                let made = self.contexts_of(maker).map_or(0, |made| made.load(Ordering::Relaxed));
                before < made || !here(&maker) || self.is_gone(maker)
            });
            if !known {
                return Err(refused(format!(
                    "the images do not belong together: context {context} was never made"
                )));
            }
        }
        *place = None;
        Ok(())
    }
}

impl Engine {
    fn restore(&mut self, from: &mut Reader<'_>) -> Decoded<&'static str> {
        from.get_types(self.basics())?;
        let function = self.restore_state(from)?;
        from.end()?;
        Ok(function)
    }
}
