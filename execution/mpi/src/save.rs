//! Saving a world that has stopped, and restoring it: all that MPI knows of its ranks, as bytes.
//!
//! Each rank's image stands for itself; what two ranks share, such as a message that waits for its
//! receiver, each tells as it knows it, and a world that is restored puts it together. The guests'
//! memories are not in it: buffers are told as addresses, as the program gave them. An image may
//! come from anywhere: whatever it says is checked.
//!
//! ```text
//! rank    "CSKMPIR\0" | u16 version | 6 zero bytes | moment | size | rank | datatypes | what is shared | state
//! world   "CSKMPIW\0" | u16 version | 6 zero bytes | moment | size | who has finished | what forms
//! ```

use crate::{
    Config, Memory, Rank, abi,
    attribute::Attributes,
    basic::BASICS,
    communicator::{Communicator, Shared},
    datatype::Type,
    engine::{Engine, Named, Phase},
    error::Abort,
    graph::Graph,
    image::{Damaged, Decoded, Reader, Wire, Writer, sound, wire_enum, wire_struct},
    memory::Space,
    underway::Step,
    world::{STOPPING, Waiting, World, lock},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const RANK: &[u8; 8] = b"CSKMPIR\0";
const WORLD: &[u8; 8] = b"CSKMPIW\0";
const VERSION: u8 = 2;

/// A message that waits while ranks are restored, and whether its receiver and its sender were.
type Meeting = (Arc<Waiting>, bool, bool);

/// What ranks that are restored have in common.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    moment: u64,
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

    /// The rounds that this rank is in.
    fn within(&self) -> HashSet<(u32, u64)> {
        let steps = self.underway.again.iter().filter_map(|step| match step {
            Step::Entered(operation) => Some(operation.place()),
            _ => None,
        });
        steps.chain(self.operations.iter().map(|(_, operation)| operation.place())).collect()
    }

    fn save_state(&mut self, to: &mut Writer<'_>) {
        self.buffered.retain(|waiting| !waiting.is_over());
        self.loose.retain(|waiting| !waiting.is_over());
        self.lingering.retain(|shared| !shared.is_over());
        self.phase.put(to);
        self.world.stops.function(self.me).put(to);
        self.underway.function.put(to);
        let steps = self.underway.again.iter().filter(|step| !step.is_forgotten());
        let steps: Vec<_> = steps.collect();
        (steps.len() as u32).put(to);
        steps.iter().for_each(|step| step.put(to));
        self.contexts_made().load(Ordering::Relaxed).put(to);
        self.provided.put(to);
        self.communicators.put(to);
        self.lingering.put(to);
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
        self.lingering = Wire::get(from)?;
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
        for shared in &self.lingering {
            shared.freed.fetch_add(1, Ordering::AcqRel);
        }
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
    /// All that MPI knows of a rank that has stopped. The world must have stopped as a whole; it
    /// may be resumed afterwards, or be restored elsewhere from [`World::save`] and the images of
    /// all of its ranks.
    ///
    /// # Errors
    ///
    /// When some rank runs or is at another site, or the state is larger than an image can be.
    pub fn save(&mut self) -> Result<Vec<u8>, Abort> {
        let engine = &mut self.engine;
        let world = Arc::clone(&engine.world);
        world.check_rest()?;
        let basics = engine.basics();
        let mut writer = Writer::new(&world, engine.me, &basics);
        engine.save_state(&mut writer);
        let state = std::mem::take(&mut writer.bytes);
        let within = engine.within();
        let mut place = 0;
        // What is shared may name more that is.
        while let Some(shared) = writer.shareds.get(place).cloned() {
            shared.save(&within, &mut writer);
            place += 1;
        }
        let given = std::mem::take(&mut writer.bytes);
        writer.check().map_err(|damaged| {
            refused(format!("rank {} can not be saved: {}", engine.me, damaged.0))
        })?;
        let mut image = Writer::new(&world, engine.me, &[]);
        image.bytes = head(RANK);
        world.moment().put(&mut image);
        world.size().put(&mut image);
        engine.me.put(&mut image);
        writer.put_types(basics.len(), &mut image);
        (writer.shareds.len() as u32).put(&mut image);
        for shared in &writer.shareds {
            shared.context.put(&mut image);
            shared.members.put(&mut image);
        }
        image.bytes.extend([given, state].concat());
        Ok(image.bytes)
    }
}

impl World {
    /// Fails unless all ranks have stopped or finished, at one site.
    fn check_rest(&self) -> Result<(), Abort> {
        if self.sites.is_some() {
            let reason =
                "a world can be saved while all of its ranks are at one site, and not at several";
            return Err(refused(reason.into()));
        }
        let stopped = self.state.load(Ordering::SeqCst) == STOPPING && self.stops.all_rest();
        let reason = || refused("only a world whose ranks have all stopped can be saved".into());
        if stopped { Ok(()) } else { Err(reason()) }
    }

    /// What holds the images of one stop together.
    fn moment(&self) -> u64 {
        u64::try_from(self.stops.age().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What belongs to no rank of a world that has stopped.
    ///
    /// # Errors
    ///
    /// When some rank runs.
    pub fn save(&self) -> Result<Vec<u8>, Abort> {
        self.check_rest()?;
        let mut image = Writer::new(self, 0, &[]);
        image.bytes = head(WORLD);
        self.moment().put(&mut image);
        self.size().put(&mut image);
        let gone: Vec<u32> = (0..self.size()).filter(|rank| self.is_gone(*rank)).collect();
        gone.put(&mut image);
        let forming = lock(&self.forming);
        let mut keys: Vec<_> = forming.keys().cloned().collect();
        keys.sort_unstable();
        (keys.len() as u32).put(&mut image);
        for key in keys {
            let (shared, left) = &forming[&key];
            key.put(&mut image);
            (shared.context, *left).put(&mut image);
        }
        Ok(image.bytes)
    }

    /// A world as it was saved, without its ranks: each is to be restored before
    /// [`World::resume`] lets them go on.
    ///
    /// # Errors
    ///
    /// When the image is not that of a world of so many ranks, or is damaged.
    pub fn restored(size: u32, config: Config, image: &[u8]) -> Result<Arc<Self>, Abort> {
        let damaged = |damaged: Damaged| {
            refused(format!("the image of the MPI world can not be used: {}", damaged.0))
        };
        let mut world = Self::new(size, config)?;
        let mut from = Reader::new(&world, 0, image);
        let moment =
            check_head(WORLD, &mut from).and_then(|()| u64::get(&mut from)).map_err(damaged)?;
        // Nobody else has it yet.
        if let Some(world) = Arc::get_mut(&mut world) {
            world.before = Duration::from_nanos(moment);
        }
        world.state.store(STOPPING, Ordering::SeqCst);
        world.stops.set_age(Duration::from_nanos(moment));
        *lock(&world.restoring) = Some(Restoring { moment, ..Restoring::default() });
        let mut from = Reader::new(&world, 0, &image[24..]);
        world.restore_common(&mut from).map_err(damaged)?;
        Ok(world)
    }

    fn restore_common(&self, from: &mut Reader<'_>) -> Decoded {
        sound(u32::get(from)? == self.size(), "it has another number of ranks")?;
        for rank in Vec::<u32>::get(from)? {
            sound(rank < self.size(), "it tells of ranks that do not exist")?;
            self.leave(rank);
        }
        for _ in 0..u32::get(from)? {
            let key: (u32, i32, Vec<u32>) = Wire::get(from)?;
            let (context, left): (u32, usize) = Wire::get(from)?;
            sound((1..=key.2.len()).contains(&left), "a communicator forms without members")?;
            let shared = self.shared_of(context, &key.2)?;
            lock(&self.forming).insert(key, (shared, left));
        }
        from.end()
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
        let known = lock(&self.restoring).as_ref().map(|restoring| restoring.moment);
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

    /// What the members of a communicator share, which all of its members name.
    pub(crate) fn shared_of(&self, context: u32, members: &[u32]) -> Decoded<Arc<Shared>> {
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        let distinct = sorted.windows(2).all(|pair| pair[0] < pair[1]);
        let exist = sorted.last().is_none_or(|last| *last < self.size());
        sound(distinct && exist, "a communicator has members that do not exist")?;
        let mut restoring = lock(&self.restoring);
        let restoring = restoring.as_mut();
        let restoring = restoring.ok_or_else(|| Damaged::because("its world runs already"))?;
        let shared = match context {
            0 => Arc::clone(&self.everyone),
            _ => {
                let make = || Arc::new(Shared::new(context, members.to_vec()));
                Arc::clone(restoring.shareds.entry(context).or_insert_with(make))
            }
        };
        sound(shared.members == members, "two ranks tell of other members of a communicator")?;
        Ok(shared)
    }

    /// A message that waits, which its sender and its receiver name.
    pub(crate) fn waiting_of(
        &self,
        sender: u32,
        number: u64,
        bytes: u64,
        receiver: bool,
    ) -> Decoded<Arc<Waiting>> {
        let mut restoring = lock(&self.restoring);
        let restoring = restoring.as_mut();
        let restoring = restoring.ok_or_else(|| Damaged::because("its world runs already"))?;
        let make = || (Arc::new(Waiting::unknown(sender, number, bytes)), false, false);
        let (waiting, received, sent) =
            restoring.waiting.entry((sender, number)).or_insert_with(make);
        let known = if receiver { received } else { sent };
        let twice = std::mem::replace(known, true);
        sound(!twice && waiting.bytes == bytes, "a message of it waits at two places")?;
        Ok(Arc::clone(waiting))
    }

    /// Fails unless all ranks of a world that is restored are there and fit together.
    pub(crate) fn complete(&self) -> Result<(), Abort> {
        let mut place = lock(&self.restoring);
        let Some(restoring) = &*place else { return Ok(()) };
        let missing = |rank: &u32| !restoring.present.contains(rank) && !self.is_gone(*rank);
        if let Some(rank) = (0..self.size()).find(missing) {
            return Err(refused(format!(
                "rank {rank} is not restored: all ranks are to be there before any goes on"
            )));
        }
        // Who has finished never takes what still waits for it, and has no image to say so.
        let finished = (0..self.size()).any(|rank| self.is_gone(rank));
        for ((sender, _), (waiting, received, sent)) in &restoring.waiting {
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
                before < made || self.is_gone(maker)
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
        let mut shareds = Vec::new();
        for (context, members) in Vec::<(u32, Vec<u32>)>::get(from)? {
            let shared = from.world.shared_of(context, &members)?;
            from.share(Arc::clone(&shared));
            shareds.push(shared);
        }
        for shared in &shareds {
            shared.restore(from)?;
        }
        let function = self.restore_state(from)?;
        from.end()?;
        Ok(function)
    }
}
