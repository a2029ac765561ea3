//! How the first thread of a program leaves its call stack in memory.
//!
//! It does so outside parallel regions alone, in a call of the host that it makes again when it
//! goes on. All other threads are idle then: the host has nothing of the program on their stacks.

use super::guest::State;
use crate::{
    asyncify::Asyncify,
    error::Error,
    requests::Remote,
    wasi::{self, Wait, Waited},
};
use std::sync::{
    Arc, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use wasmtime::Caller;

/// Where a compiler's description of a place has the address of its text.
const TEXT_AT: u32 = 16;
/// Longest text that is read.
const TEXT_BYTES_MAX: u32 = 512;

/// What the first thread needs to stop.
pub(super) struct Saving {
    pub(super) asyncify: Asyncify,
    pub(super) asked: Arc<AtomicBool>,
    pub(super) remote: Remote,
    pub(super) doing: Arc<Doing>,
}

/// What a program does, for whoever waits for it.
#[derive(Debug, Default)]
pub(super) struct Doing {
    /// Where the compiler describes the region that it is in; 0 outside.
    region: AtomicU32,
    /// A memory that may be read from any thread.
    memory: OnceLock<openmp::Memory>,
}

impl Doing {
    /// Descriptions of places are here.
    pub(super) fn look_into(&self, memory: openmp::Memory) {
        // It has one memory.
        let _ = self.memory.set(memory);
    }

    /// Why it did not stop in time.
    pub(super) fn late(&self, waited_ms: u64) -> Error {
        match self.region.load(Ordering::Relaxed) {
            0 => Error::NoBarrier { waited_ms },
            region => Error::InRegion { waited_ms, place: self.place(region).unwrap_or_default() },
        }
    }

    /// Where the region is in the source: `;file;function;line;column;;` says the compiler.
    fn place(&self, region: u32) -> Option<String> {
        let memory = self.memory.get()?;
        let start = memory.u32(region.checked_add(TEXT_AT)?).ok()?;
        let mut text = Vec::new();
        for at in start..start.checked_add(TEXT_BYTES_MAX)? {
            match memory.u32(at & !3).ok()?.to_le_bytes()[(at % 4) as usize] {
                0 => break,
                byte => text.push(byte),
            }
        }
        let text = String::from_utf8(text).ok()?;
        let mut parts = text.split(';').skip(1);
        let (file, function, line) = (parts.next()?, parts.next()?, parts.next()?);
        let known = file != "unknown" && !text.contains(char::is_control);
        known.then(|| format!(" at {file}:{line} (in `{function}`)"))
    }
}

/// Whether the call is to return at once, because the thread unwinds: it was asked to stop, and
/// stands outside regions with no functions of the program under the host's.
pub(super) fn stops(caller: &mut Caller<'_, State>) -> wasmtime::Result<bool> {
    let state = caller.data();
    let Some(saving) = &state.saving else { return Ok(false) };
    if !saving.asked.load(Ordering::Relaxed) || !is_at_rest(state) {
        return Ok(false);
    }
    let (area, start) = (saving.asyncify.area, saving.asyncify.start_unwind.clone());
    let memory = state.ground.view();
    for (word, at) in saving.asyncify.header().iter().zip((area..).step_by(4)) {
        memory.put_u32(at, *word)?;
    }
    caller.data_mut().unwinding = true;
    start.call(caller, area)?;
    Ok(true)
}

fn is_at_rest(state: &State) -> bool {
    state.inside == 0 && state.openmp.as_ref().is_some_and(|thread| thread.is_at_rest())
}

/// Begins a region in a call of the guest, unless the thread stops before it.
pub(super) fn region<R: Default>(
    caller: &mut Caller<'_, State>,
    place: u32,
    work: impl FnOnce(&mut Caller<'_, State>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    <State as wasi::Host>::enter(caller)?;
    if stops(caller)? {
        return Ok(R::default());
    }
    let state = caller.data();
    // The outermost one; those within are on top of the host's calls of the program.
    let doing = state.saving.as_ref().filter(|_| state.inside == 0);
    let Some(doing) = doing.map(|saving| saving.doing.clone()) else { return work(caller) };
    doing.region.store(place.max(1), Ordering::Relaxed);
    let worked = work(caller);
    doing.region.store(0, Ordering::Relaxed);
    worked
}

/// Waits in the middle of a call; the first thread stops there if it is asked to.
pub(super) fn wait(caller: &mut Caller<'_, State>, wait: Wait) -> wasmtime::Result<Waited> {
    let state = caller.data();
    let timeout = state.wasi.lock().unwrap_or_else(PoisonError::into_inner).until(wait);
    match &state.saving {
        Some(saving) if is_at_rest(state) => {
            saving.remote.clone().wait(wait.is_for_input(), timeout);
            match stops(caller)? {
                true => Ok(Waited::Return(0)),
                false => Ok(Waited::Again),
            }
        }
        _ => {
            crate::run::wait_for(wait.is_for_input(), timeout, None);
            Ok(Waited::Again)
        }
    }
}
