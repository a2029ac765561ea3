//! The state of one rank, and how its calls make progress, wait and fail.

use crate::{
    abi,
    attribute::{Attributes, Keyval},
    basic::BASICS,
    collective::Operation,
    communicator::Communicator,
    datatype::{Recipe, Type},
    environment::{Handler, Info},
    error::{self, Abort, Fault, Result, ensure, fault},
    mail::Mail,
    memory::Space,
    op::UserOp,
    table::Table,
    transfer::Span,
    underway::Underway,
    window::Window,
    world::{Waiting, World},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What the engine asks of the guest whose rank it is.
pub trait Callback {
    /// Calls a function of the guest by its pointer, with `int` and pointer arguments; gives its
    /// `int`, or nothing of meaning where `returns` is false. Meanwhile the guest may call
    /// functions of MPI, which must reach `rank`: it may be swapped with [`Rank::default`] and put
    /// back.
    ///
    /// # Errors
    ///
    /// When there is no such function, or it does not return.
    fn call(
        &mut self,
        rank: &mut Rank,
        function: u32,
        arguments: &[i32],
        returns: bool,
    ) -> Result<i32, Abort>;

    /// Allocates memory of the guest, aligned to 16 bytes; 0 if there is none.
    ///
    /// # Errors
    ///
    /// When the guest's allocator does not return.
    fn alloc(&mut self, bytes: u32) -> Result<u32, Abort>;

    /// Gives it back.
    ///
    /// # Errors
    ///
    /// When the guest's allocator does not return.
    fn free(&mut self, addr: u32) -> Result<(), Abort>;
}

pub(crate) type Cb<'a> = &'a mut dyn Callback;

/// What a call gives to the guest: an MPI error code.
pub type Outcome = Result<i32, Abort>;

/// One rank: what a cell holds to call MPI.
///
/// Each function of MPI is a method, made from the table that [`functions!`](crate::functions)
/// lists. A rank that is dropped before `MPI_Finalize` ends its world.
#[derive(Debug, Default)]
pub struct Rank {
    pub(crate) engine: Engine,
}

impl Rank {
    pub(crate) fn seated(world: Arc<World>, rank: u32, space: Space) -> Self {
        let mut engine = Engine::new(world, rank, space);
        engine.join();
        Self { engine }
    }

    /// Its number in MPI_COMM_WORLD.
    pub fn number(&self) -> u32 {
        self.engine.me
    }

    /// The world it belongs to.
    pub fn world(&self) -> &Arc<World> {
        &self.engine.world
    }

    /// Tells the world that this rank died, for a reason that says what happened to it.
    pub fn fail(&mut self, reason: &str) -> Abort {
        let abort = Abort::Died { rank: self.engine.me, reason: reason.into() };
        self.engine.world.abort(abort)
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let engine = &self.engine;
        if engine.world.stops.has_stopped(engine.me) {
            // Its image may live on; if not, whoever lets the others go on is told.
            return engine.world.stops.take_away(engine.me);
        }
        if matches!(engine.phase, Phase::Running | Phase::Interrupted) {
            engine.world.abort(Abort::Left { rank: engine.me });
        }
        engine.world.leave(engine.me);
    }
}

/// Where a program stands between `MPI_Init` and `MPI_Finalize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Fresh,
    Running,
    /// It runs, and has to make again the call that it was stopped in.
    Interrupted,
    Over,
}

/// What an error belongs to, for its handler.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blame {
    Communicator(i32),
    Window(i32),
}

/// A datatype of a program, under its handle.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) ty: Arc<Type>,
    pub(crate) committed: bool,
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
}

impl Named {
    pub(crate) fn new(ty: Arc<Type>, name: &str) -> Self {
        Self { ty, committed: false, name: name.to_owned(), attributes: Attributes::new() }
    }
}

/// The state of one rank.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) world: Arc<World>,
    pub(crate) me: u32,
    pub(crate) space: Space,
    pub(crate) phase: Phase,
    pub(crate) provided: i32,
    pub(crate) mail: Mail,
    pub(crate) underway: Underway,
    /// Non-blocking collectives under way.
    pub(crate) operations: Vec<(i32, Operation)>,
    pub(crate) communicators: Table<Communicator>,
    pub(crate) groups: Table<Arc<[u32]>>,
    pub(crate) types: Table<Named>,
    pub(crate) ops: Table<UserOp>,
    pub(crate) keyvals: Table<Keyval>,
    pub(crate) infos: Table<Info>,
    pub(crate) handlers: Table<Handler>,
    pub(crate) windows: Table<Window>,
    /// Where `MPI_Buffer_attach` put the buffer, its size, and what is in it.
    pub(crate) buffer: Option<(u32, u32)>,
    pub(crate) buffered: Vec<Arc<Waiting>>,
    /// Messages that wait though the program gave up their requests.
    pub(crate) loose: Vec<Arc<Waiting>>,
    /// Classes and codes that the program added, with their texts.
    pub(crate) classes: Vec<(i32, String)>,
    /// Integers of the guest's memory that attributes point to.
    pub(crate) constants: Option<u32>,
    pub(crate) blame: Blame,
    pub(crate) function: &'static str,
    /// How often in a row a test found nothing.
    idle: u32,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new(World::nowhere(), 0, Space::default())
    }
}

impl Engine {
    pub(crate) fn new(world: Arc<World>, me: u32, space: Space) -> Self {
        let size = world.size() as usize;
        let mut engine = Self {
            me,
            space,
            phase: Phase::Fresh,
            provided: abi::THREAD_SINGLE,
            mail: Mail::new(me, size),
            underway: Underway::default(),
            operations: Vec::new(),
            communicators: Table::default(),
            groups: Table::new(2),
            types: Table::default(),
            ops: Table::new(abi::NO_OP + 1),
            keyvals: Table::new(abi::WIN_MODEL + 1),
            infos: Table::new(2),
            handlers: Table::new(3),
            windows: Table::default(),
            buffer: None,
            buffered: Vec::new(),
            loose: Vec::new(),
            classes: Vec::new(),
            constants: None,
            blame: Blame::Communicator(abi::COMM_WORLD),
            function: "",
            idle: 0,
            world,
        };
        // An engine of no world is only swapped in for another, and must cost little.
        if size > 0 {
            engine.furnish();
        }
        engine
    }

    fn furnish(&mut self) {
        for (name, kind) in BASICS {
            let ty = Arc::new(Type::basic(kind));
            self.types.add(Named { committed: true, ..Named::new(ty, name) });
        }
    }

    /// Adds the communicators that every rank has.
    fn join(&mut self) {
        let everyone = Arc::clone(&self.world.everyone);
        self.world.taken(&everyone, self.me);
        self.communicators.add(Communicator::new(everyone, self.me, "MPI_COMM_WORLD"));
        // The first context that each rank may make is that of itself alone.
        let alone = self.world.alone(self.me);
        self.world.taken(&alone, self.me);
        self.communicators.add(Communicator::new(alone, 0, "MPI_COMM_SELF"));
    }

    /// Checks that a function may be called now.
    #[inline]
    pub(crate) fn enter(&mut self, function: &'static str) -> Result<(), Abort> {
        self.function = function;
        self.blame = Blame::Communicator(abi::COMM_WORLD);
        if self.phase == Phase::Running { Ok(()) } else { self.enter_early(function) }
    }

    #[cold]
    fn enter_early(&mut self, function: &'static str) -> Result<(), Abort> {
        const ANY_TIME: [&str; 11] = [
            "MPI_Init",
            "MPI_Init_thread",
            "MPI_Initialized",
            "MPI_Finalized",
            "MPI_Get_version",
            "MPI_Get_library_version",
            "MPI_Wtick",
            "MPI_Abort",
            "MPI_Error_class",
            "MPI_Error_string",
            "MPI_Get_processor_name",
        ];
        if self.phase == Phase::Interrupted {
            return self.take_up(function);
        }
        if ANY_TIME.contains(&function) {
            return Ok(());
        }
        let when = match self.phase {
            Phase::Fresh => "before MPI_Init",
            _ => "after MPI_Finalize",
        };
        Err(self.world.abort(Abort::OutOfTurn { function, rank: self.me, when }))
    }

    /// Gives a call's result to the guest, by way of the error handler.
    #[inline]
    pub(crate) fn leave(&mut self, cb: &mut dyn Callback, result: Result) -> Outcome {
        match result {
            Ok(()) => {
                if !self.underway.done.is_empty() {
                    self.forget();
                }
                Ok(abi::SUCCESS)
            }
            Err(Fault::Abort(Abort::Stopped)) => Err(self.pause()),
            Err(fault) => {
                self.forget();
                self.fail(cb, fault)
            }
        }
    }

    #[cold]
    pub(crate) fn fail(&mut self, cb: &mut dyn Callback, fault: Fault) -> Outcome {
        let failure = match fault {
            Fault::Failure(failure) => failure,
            Fault::Abort(abort) => return Err(abort),
        };
        let (handler, name) = match self.blame {
            Blame::Communicator(handle) => {
                let known =
                    self.communicators.get(handle).or(self.communicators.get(abi::COMM_WORLD));
                known.map(|communicator| (communicator.handler, communicator.name.clone()))
            }
            Blame::Window(handle) => {
                self.windows.get(handle).map(|window| (window.handler, window.name.clone()))
            }
        }
        .unwrap_or((abi::ERRORS_ARE_FATAL, "MPI_COMM_WORLD".to_owned()));
        if handler == abi::ERRORS_RETURN {
            return Ok(failure.class);
        }
        if let Some(handler) = self.handlers.get(handler).copied() {
            return self.call_handler(cb, handler.function, failure.class);
        }
        Err(self.world.abort(Abort::Fatal {
            function: self.function,
            rank: self.me,
            communicator: name.into(),
            class: error::describe(failure.class).0,
            detail: failure.detail.into(),
        }))
    }

    /// Calls the program's error handler, with pointers to the handle and the code.
    fn call_handler(&mut self, cb: &mut dyn Callback, function: u32, code: i32) -> Outcome {
        let handle = match self.blame {
            Blame::Communicator(handle) | Blame::Window(handle) => handle,
        };
        let addr = cb.alloc(16)?;
        let _ = self.space.write_ints(addr, &[handle, code, 0]);
        let pointers = [0, 4, 8].map(|place| addr.wrapping_add(place) as i32);
        let result = self.call(cb, function, &pointers, false);
        cb.free(addr)?;
        result.map(|_| code)
    }

    /// Calls a function of the guest, during which the guest may call MPI.
    pub(crate) fn call(
        &mut self,
        cb: &mut dyn Callback,
        function: u32,
        arguments: &[i32],
        returns: bool,
    ) -> Result<i32, Abort> {
        let (name, blame) = (self.function, self.blame);
        self.underway.depth += 1;
        let mut rank = Rank { engine: std::mem::take(self) };
        let result = cb.call(&mut rank, function, arguments, returns);
        std::mem::swap(self, &mut rank.engine);
        self.underway.depth = self.underway.depth.saturating_sub(1);
        (self.function, self.blame) = (name, blame);
        result
    }

    /// Moves on whatever can move without waiting. Whether the rank is to stop.
    #[inline]
    pub(crate) fn progress(&mut self, cb: &mut dyn Callback) -> Result<bool> {
        let stopping = self.world.check()?;
        self.mail.poll(&self.world, &self.space);
        if !self.operations.is_empty() {
            self.progress_operations(cb)?;
        }
        Ok(stopping)
    }

    /// Waits until `ready` gives something. It polls for a while and then sleeps; whoever brings
    /// what it waits for wakes it. It fails with [`Abort::Stopped`] where the rank is to stop: who
    /// calls it then keeps what the call did, see `underway`.
    pub(crate) fn block<T>(
        &mut self,
        cb: &mut dyn Callback,
        waits: impl Fn(&Self) -> String,
        mut ready: impl FnMut(&mut Self, &mut dyn Callback) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            let mut began = None;
            let mut polls = 0_u32;
            loop {
                let stopping = self.progress(cb)?;
                if let Some(found) = ready(self, cb)? {
                    return Ok(found);
                }
                if stopping && self.may_stop() {
                    return Err(Abort::Stopped.into());
                }
                polls += 1;
                std::hint::spin_loop();
                if polls.is_multiple_of(64) {
                    let began = began.get_or_insert_with(Instant::now);
                    if began.elapsed() >= self.world.config().spin {
                        break;
                    }
                }
            }
            self.world.announce(self.me);
            let last = self.progress(cb).and_then(|stopping| Ok((stopping, ready(self, cb)?)));
            match last {
                Ok((stopping, None)) if !(stopping && self.may_stop()) => {
                    self.world.sleep(self.me, None, || waits(self));
                }
                last => {
                    self.world.stay(self.me);
                    match last?.1 {
                        Some(found) => return Ok(found),
                        None => return Err(Abort::Stopped.into()),
                    }
                }
            }
        }
    }

    /// Looks once whether `ready` gives something. A program that asks again and again gives its
    /// processor to the others for a moment.
    pub(crate) fn attempt<T>(
        &mut self,
        cb: &mut dyn Callback,
        mut ready: impl FnMut(&mut Self, &mut dyn Callback) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        self.progress(cb)?;
        let found = ready(self, cb)?;
        if found.is_some() {
            self.idle = 0;
            return Ok(found);
        }
        self.idle += 1;
        let patience = if self.world.is_crowded() { 64 } else { 4096 };
        if self.idle < patience {
            return Ok(None);
        }
        self.idle = patience / 2;
        self.world.announce(self.me);
        self.progress(cb)?;
        let found = ready(self, cb)?;
        match found {
            Some(_) => self.world.stay(self.me),
            None => self.world.sleep(self.me, Some(Duration::from_micros(50)), String::new),
        }
        Ok(found)
    }

    /// A datatype by its handle.
    pub(crate) fn named(&self, handle: i32) -> Result<&Named> {
        self.types
            .get(handle)
            .ok_or_else(|| fault(abi::ERR_TYPE, format!("there is no datatype {handle}")))
    }

    /// A datatype that may be used in communication.
    #[inline]
    pub(crate) fn datatype(&self, handle: i32) -> Result<&Arc<Type>> {
        let named = self.named(handle)?;
        match named.committed {
            true => Ok(&named.ty),
            false => Err(fault(abi::ERR_TYPE, format!("datatype {handle} is not committed"))),
        }
    }

    /// A buffer that a program names by address, count and datatype.
    #[inline]
    pub(crate) fn span(&self, addr: u32, count: i32, datatype: i32) -> Result<Span> {
        let ty = Arc::clone(self.datatype(datatype)?);
        let count = error::count(count)?;
        ty.bytes(count)?;
        Ok(Span { addr, count, ty })
    }

    /// The same, if it lies within memory.
    #[inline]
    pub(crate) fn buffer(&self, addr: u32, count: i32, datatype: i32) -> Result<Span> {
        ensure(addr != abi::IN_PLACE, abi::ERR_BUFFER, || {
            "MPI_IN_PLACE is not allowed here".to_owned()
        })?;
        let span = self.span(addr, count, datatype)?;
        self.check_span(&span)?;
        Ok(span)
    }

    pub(crate) fn check_span(&self, span: &Span) -> Result {
        let (start, len) = span.ty.reach(span.addr, span.count);
        if len == 0 { Ok(()) } else { self.space.check(start, len as usize) }
    }

    /// Makes a datatype and writes its handle.
    pub(crate) fn make_type(&mut self, recipe: Recipe, handle: u32) -> Result {
        self.space.check_place(handle)?;
        let ty = recipe.build()?;
        let new = self.types.add(Named::new(Arc::new(ty), ""));
        self.space.write_i32(handle, new)
    }

    /// How a type is made, for those who ask later.
    pub(crate) fn recipe(
        combiner: i32,
        ints: &[i32],
        addresses: &[i32],
        types: &[&Arc<Type>],
    ) -> Recipe {
        let types = types.iter().map(|ty| Arc::clone(ty)).collect();
        Recipe { combiner, ints: ints.to_vec(), addresses: addresses.to_vec(), types }
    }
}
