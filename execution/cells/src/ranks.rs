//! MPI as guests import it: from their calls to the engine's.
//!
//! The engine ([`mpi`]) holds everything that MPI knows of a rank. It copies messages straight from
//! one rank's linear memory to another's, and calls back into the guest for operations and
//! handlers of the program.

use crate::{
    host::{State, Stop, begin_unwind},
    wasi,
};
use mpi::{Abort, Callback, Rank, World};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};
use wasmtime::{AsContext, AsContextMut, Caller, Func, Linker, Memory, Ref, Store, Val};

/// The module that guests import MPI from.
pub(crate) const MODULE: &str = "cloudskin_mpi";

/// A cell's place in a world of ranks.
pub(crate) struct Seat {
    /// Away while one of its calls is at work.
    rank: Option<Box<Rank>>,
    memory: Arc<Lent>,
}

/// A cell's linear memory, which other ranks copy from and to.
#[derive(Debug)]
pub(crate) struct Lent {
    base: usize,
    /// As of the rank's last call: memory only grows, and what a call names existed before it.
    len: AtomicUsize,
}

#[expect(unsafe_code, reason = "other threads follow this pointer")]
// SAFETY: the runtime reserves all that a 32-bit memory can have, so that it never moves; it only
// grows, and `Tissue` keeps every cell until the threads of all ranks have ended. The rank's own
// thread is in a call of MPI, or the program has lent the bytes to one that is under way; guests
// that break MPI's rules race with each other inside their own memories.
unsafe impl mpi::Memory for Lent {
    fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }
}

impl Lent {
    /// Where the memory lies.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.base..self.base + self.len.load(Ordering::Acquire)
    }

    fn of(memory: Memory, store: impl AsContext) -> Result<Arc<Self>, Abort> {
        if memory.ty(&store).is_64() {
            return Err(refused("it has a 64-bit memory, which may move: build it for wasm32"));
        }
        let (base, len) = (memory.data_ptr(&store) as usize, memory.data_size(&store));
        Ok(Arc::new(Self { base, len: AtomicUsize::new(len) }))
    }
}

impl Seat {
    /// Takes a rank's seat for the cell in this store.
    pub(crate) fn take(
        store: &mut Store<State>,
        memory: Memory,
        world: &Arc<World>,
        rank: u32,
    ) -> Result<Self, Abort> {
        let memory = Lent::of(memory, &*store)?;
        let rank = world.rank(rank, memory.clone())?;
        Ok(Self { rank: Some(Box::new(rank)), memory })
    }

    /// Takes it as it was when the rank stopped.
    pub(crate) fn restore(
        store: &mut Store<State>,
        memory: Memory,
        world: &Arc<World>,
        rank: u32,
        image: &[u8],
    ) -> Result<Self, Abort> {
        let memory = Lent::of(memory, &*store)?;
        let rank = world.restore_rank(rank, memory.clone(), image)?;
        Ok(Self { rank: Some(Box::new(rank)), memory })
    }

    /// All that MPI knows of the rank, which has stopped as all have.
    pub(crate) fn save(&mut self) -> Result<Vec<u8>, Abort> {
        let rank = self.rank.as_mut();
        rank.ok_or_else(|| refused("MPI is at work for it")).and_then(|rank| rank.save())
    }

    /// The world that it is in, unless a call of it is at work.
    pub(crate) fn world(&self) -> Option<Weak<World>> {
        self.rank.as_ref().map(|rank| Arc::downgrade(rank.world()))
    }

    /// The memory that others copy from and to.
    pub(crate) fn memory(&self) -> &Arc<Lent> {
        &self.memory
    }

    /// Leaves it; the others learn why, if it failed.
    pub(crate) fn leave(mut self, failure: Option<&str>) {
        if let (Some(rank), Some(failure)) = (&mut self.rank, failure) {
            rank.fail(failure);
        }
    }
}

/// The guest while the engine works for it.
struct Guest<'a, 'b> {
    caller: &'a mut Caller<'b, State>,
}

impl Guest<'_, '_> {
    /// Notes how large the memory is now, and that it lies where it lay.
    fn look_at_memory(&mut self) -> Result<(), Abort> {
        let Some(memory) = self.caller.data().memory else { return Err(refused("no memory")) };
        let (base, len) =
            (memory.data_ptr(&*self.caller) as usize, memory.data_size(&*self.caller));
        match &self.caller.data().seat {
            Some(seat) if seat.memory.base == base => {
                seat.memory.len.store(len, Ordering::Release);
                Ok(())
            }
            _ => Err(refused("its memory was moved")),
        }
    }

    fn exported(&mut self, name: &str) -> Result<Func, Abort> {
        let found = self.caller.get_export(name).and_then(wasmtime::Extern::into_func);
        found.ok_or_else(|| refused(&format!("it exports no `{name}`: build it with --mpi")))
    }

    /// Calls a function of the guest that gives an `int`, or nothing.
    fn invoke(&mut self, function: &Func, arguments: &[i32]) -> Result<i32, Abort> {
        let ty = function.ty(&*self.caller);
        let arguments: Vec<Val> = arguments.iter().map(|&argument| Val::I32(argument)).collect();
        let mut results = vec![Val::I32(0); ty.results().len()];
        function
            .call(self.caller.as_context_mut(), &arguments, &mut results)
            .map_err(|error| refused(&format!("{:#}", error.root_cause())))?;
        self.look_at_memory()?;
        Ok(results.first().and_then(Val::i32).unwrap_or_default())
    }

    /// The function that a C function pointer names.
    fn function(&mut self, pointer: u32) -> Result<Func, Abort> {
        let table = self.caller.get_export("__indirect_function_table");
        let table = table.and_then(wasmtime::Extern::into_table);
        let entry = table.and_then(|table| table.get(&mut *self.caller, u64::from(pointer)));
        match entry {
            Some(Ref::Func(Some(function))) => Ok(function),
            _ => Err(refused(&format!("{pointer} is no function pointer"))),
        }
    }
}

impl Callback for Guest<'_, '_> {
    fn call(
        &mut self,
        rank: &mut Rank,
        function: u32,
        arguments: &[i32],
        _returns: bool,
    ) -> Result<i32, Abort> {
        let function = self.function(function)?;
        // The guest may call MPI meanwhile.
        let lent = Box::new(std::mem::take(rank));
        if let Some(seat) = &mut self.caller.data_mut().seat {
            seat.rank = Some(lent);
        }
        let result = self.invoke(&function, arguments);
        if let Some(back) = self.caller.data_mut().seat.as_mut().and_then(|seat| seat.rank.take()) {
            *rank = *back;
        }
        result
    }

    fn alloc(&mut self, bytes: u32) -> Result<u32, Abort> {
        let malloc = self.exported("malloc")?;
        self.invoke(&malloc, &[bytes.cast_signed()]).map(i32::cast_unsigned)
    }

    fn free(&mut self, addr: u32) -> Result<(), Abort> {
        let free = self.exported("free")?;
        self.invoke(&free, &[addr.cast_signed()]).map(drop)
    }
}

fn refused(reason: &str) -> Abort {
    Abort::Refused { reason: reason.into() }
}

/// Has the engine work for the rank of the calling cell, which is one of its own unless it has a
/// seat among others.
///
/// A rank that is to stop leaves the guest from within the call; the guest makes it again when it
/// goes on.
fn with_rank<T: Default>(
    caller: &mut Caller<'_, State>,
    work: impl FnOnce(&mut Rank, &mut dyn Callback) -> Result<T, Abort>,
) -> wasmtime::Result<T> {
    <State as wasi::Host>::enter(caller)?;
    if caller.data().seat.is_none() {
        sit_alone(caller)?;
    }
    let mut guest = Guest { caller };
    guest.look_at_memory()?;
    let seat = guest.caller.data_mut().seat.as_mut();
    let Some(mut rank) = seat.and_then(|seat| seat.rank.take()) else {
        return Err(refused("MPI was called while it was at work").into());
    };
    let outcome = work(&mut rank, &mut guest);
    if let Some(seat) = &mut guest.caller.data_mut().seat {
        seat.rank = Some(rank);
    }
    match outcome {
        Err(Abort::Stopped) => {
            begin_unwind(guest.caller, Stop::Asked)?;
            Ok(T::default())
        }
        outcome => Ok(outcome?),
    }
}

/// A program that was started alone is a world of one rank.
fn sit_alone(caller: &mut Caller<'_, State>) -> wasmtime::Result<()> {
    let memory = caller.data().memory.ok_or_else(|| refused("no memory"))?;
    let lent = Lent::of(memory, &*caller)?;
    let rank = World::new(1, mpi::Config::default())?.rank(0, lent.clone())?;
    caller.data_mut().seat = Some(Seat { rank: Some(Box::new(rank)), memory: lent });
    Ok(())
}

/// Offers all functions of MPI that the engine has.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    macro_rules! offer {
        ($($name:literal $method:ident($($argument:ident: $type:ty),*);)*) => {
            $(linker.func_wrap(
                MODULE,
                $name,
                |mut caller: Caller<'_, State> $(, $argument: $type)*| {
                    with_rank(&mut caller, |rank, guest| rank.$method(guest $(, $argument)*))
                },
            )?;)*
        };
    }
    mpi::functions!(offer);
    linker.func_wrap(MODULE, "MPI_Wtime", |mut caller: Caller<'_, State>| {
        with_rank(&mut caller, |rank, _| Ok(rank.wtime()))
    })?;
    linker.func_wrap(MODULE, "MPI_Wtick", |mut caller: Caller<'_, State>| {
        with_rank(&mut caller, |rank, _| Ok(rank.wtick()))
    })?;
    Ok(())
}
