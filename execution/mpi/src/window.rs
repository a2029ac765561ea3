//! One-sided communication: windows into the memories of others.
//!
//! All memories of a site are in reach, so that a call is over when it returns; what remains to
//! be done is to synchronise. Members at other sites are written to in the order of the calls
//! ([`crate::site::reach`]).

mod dynamic;
mod epoch;
pub(crate) mod saved;

use crate::{
    abi,
    attribute::{Attributes, Holder},
    communicator::Shared,
    engine::{Blame, Cb, Engine},
    error::{Result, ensure, fault},
    mail::{Status, Work},
    memory::Space,
    movement::Named,
    op::{self, Builtin, Layout},
    site::reach::{Combining, Far},
    transfer::{self, Span},
    underway::Step,
    world::lock,
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering, fence},
    },
};

/// Who holds the lock of one member's window.
#[derive(Debug, Default)]
struct Holders {
    shared: u32,
    exclusive: bool,
    /// Who waits at other sites: the type of lock, the site and its ticket.
    queue: VecDeque<(i32, (u32, u32))>,
}

impl Holders {
    /// Takes the lock, unless others hold it in a way that excludes this.
    fn take(&mut self, kind: i32) -> bool {
        let free = !self.exclusive && (kind == abi::LOCK_SHARED || self.shared == 0);
        if free {
            self.exclusive = kind == abi::LOCK_EXCLUSIVE;
            self.shared += u32::from(kind == abi::LOCK_SHARED);
        }
        free
    }
}

/// What the members of a window share.
#[derive(Debug)]
pub(crate) struct Sync {
    locks: Vec<Mutex<Holders>>,
    /// Held while one accumulates, for each element must change at once.
    guards: Vec<Mutex<()>>,
    /// Whether a target let an origin in, by target and origin.
    posts: Vec<AtomicU32>,
    /// How many origins are through with a target.
    completions: Vec<AtomicU32>,
}

impl Sync {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            locks: (0..members).map(|_| Mutex::default()).collect(),
            guards: (0..members).map(|_| Mutex::default()).collect(),
            posts: (0..members * members).map(|_| AtomicU32::new(0)).collect(),
            completions: (0..members).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Held while one accumulates into a target.
    pub(crate) fn guard(&self, target: usize) -> &Mutex<()> {
        &self.guards[target]
    }

    /// Takes a lock if it is free, and nobody waits for it elsewhere.
    fn try_lock(&self, target: usize, kind: i32) -> bool {
        let mut holders = lock(&self.locks[target]);
        holders.queue.is_empty() && holders.take(kind)
    }

    /// Takes a lock for another site, or lets that wait; nothing if more wait than there are
    /// members.
    pub(crate) fn lock_for(&self, target: usize, kind: i32, who: (u32, u32)) -> Option<bool> {
        let mut holders = lock(&self.locks[target]);
        if holders.queue.len() >= self.locks.len() {
            return None;
        }
        let taken = holders.queue.is_empty() && holders.take(kind);
        if !taken {
            holders.queue.push_back((kind, who));
        }
        Some(taken)
    }

    /// Gives a lock back; tells who has it now of those that waited at other sites.
    pub(crate) fn unlock(&self, target: usize, kind: i32) -> Vec<(u32, u32)> {
        let mut holders = lock(&self.locks[target]);
        match kind {
            abi::LOCK_SHARED => holders.shared = holders.shared.saturating_sub(1),
            _ => holders.exclusive = false,
        }
        let mut next = Vec::new();
        while let Some((kind, who)) = holders.queue.front().copied()
            && holders.take(kind)
        {
            holders.queue.pop_front();
            next.push(who);
        }
        next
    }

    /// A target lets an origin in.
    pub(crate) fn post(&self, target: usize, origin: usize) {
        self.posts[target * self.locks.len() + origin].fetch_add(1, Ordering::SeqCst);
    }

    /// An origin is through with a target.
    pub(crate) fn complete(&self, target: usize) {
        self.completions[target].fetch_add(1, Ordering::SeqCst);
    }
}

/// One member's part of a window.
#[derive(Debug, Clone, Copy)]
struct Exposed {
    base: u32,
    size: u32,
    unit: i32,
}

/// A window as one rank sees it.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) handler: i32,
    pub(crate) name: String,
    shared: Arc<Shared>,
    communicator: i32,
    rank: usize,
    parts: Vec<Exposed>,
    flavor: i32,
    /// Integers in the guest that attributes point to.
    words: Option<u32>,
    /// The locks that this rank holds, by target, and whether it has all.
    held: Vec<(usize, i32)>,
    /// Other sites that were written to since they last said that all is there.
    written: Vec<u32>,
    exposed_to: Option<Vec<usize>>,
    access_to: Option<Vec<usize>>,
    /// Whether a fence began an epoch, and calls were made in it.
    fenced: Option<bool>,
    pub(crate) attributes: Attributes,
}

impl Window {
    fn sync(&self) -> &Sync {
        self.shared.sync()
    }
}

/// The other side of a one-sided call.
struct Target {
    rank: usize,
    space: Space,
    span: Span,
    /// Where it is, if at another site.
    far: Option<Far>,
}

impl Engine {
    pub(crate) fn window_mut(&mut self, handle: i32) -> Result<&mut Window> {
        match self.windows.get_mut(handle) {
            Some(window) => {
                self.blame = Blame::Window(handle);
                Ok(window)
            }
            None => Err(fault(abi::ERR_WIN, format!("there is no window {handle}"))),
        }
    }

    fn create_window(
        &mut self,
        cb: Cb<'_>,
        exposed: Exposed,
        comm: i32,
        flavor: i32,
    ) -> Result<i32> {
        let communicator = self.once(|engine| {
            let members = engine.communicator(comm)?.shared.members.clone();
            let shared = engine.make_together(cb, comm, members)?;
            Ok(engine.adopt(comm, shared)? as u32)
        })? as i32;
        let known = self.communicator(communicator)?;
        let (shared, rank) = (Arc::clone(&known.shared), known.rank as usize);
        let words = [exposed.base, exposed.size, exposed.unit as u32];
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let round = self.exchange(cb, communicator, bytes)?;
        let part = |bytes: &[u8]| {
            let (words, _) = bytes.as_chunks::<4>();
            let word = |place: usize| words.get(place).map_or(0, |word| u32::from_le_bytes(*word));
            Exposed { base: word(0), size: word(1), unit: word(2) as i32 }
        };
        let parts = round.entries().map(|entry| part(entry.data())).collect();
        self.blame = Blame::Communicator(comm);
        Ok(self.windows.add(Window {
            handler: abi::ERRORS_ARE_FATAL,
            name: String::new(),
            shared,
            communicator,
            rank,
            parts,
            flavor,
            words: None,
            held: Vec::new(),
            written: Vec::new(),
            exposed_to: None,
            access_to: None,
            fenced: None,
            attributes: Attributes::new(),
        }))
    }

    fn exposed(&self, base: u32, size: i32, unit: i32) -> Result<Exposed> {
        ensure(unit > 0, abi::ERR_DISP, || {
            format!("the displacement unit {unit} is not positive")
        })?;
        let size = u32::try_from(size)
            .map_err(|_| fault(abi::ERR_SIZE, "the window's size is negative"))?;
        if size > 0 {
            self.space.check(i64::from(base), size as usize)?;
        }
        Ok(Exposed { base, size, unit })
    }

    pub(crate) fn win_create(
        &mut self,
        cb: Cb<'_>,
        base: u32,
        size: i32,
        disp_unit: i32,
        info: i32,
        comm: i32,
        win: u32,
    ) -> Result {
        self.info(info)?;
        self.space.check_place(win)?;
        let exposed = self.exposed(base, size, disp_unit)?;
        let handle = self.create_window(cb, exposed, comm, abi::WIN_FLAVOR_CREATE)?;
        self.space.write_i32(win, handle)
    }

    pub(crate) fn win_allocate(
        &mut self,
        cb: Cb<'_>,
        size: i32,
        disp_unit: i32,
        info: i32,
        comm: i32,
        baseptr: u32,
        win: u32,
    ) -> Result {
        self.info(info)?;
        self.space.check_place(win)?;
        let base = self.once(|engine| engine.allocate(cb, size))?;
        let exposed = self.exposed(base, size, disp_unit)?;
        let handle = self.create_window(cb, exposed, comm, abi::WIN_FLAVOR_ALLOCATE)?;
        self.space.write_i32(baseptr, base as i32)?;
        self.space.write_i32(win, handle)
    }

    pub(crate) fn win_free(&mut self, cb: Cb<'_>, win: u32) -> Result {
        let handle = self.space.read_i32(win)?;
        let window = self.window_mut(handle)?;
        let (communicator, flavor, words) = (window.communicator, window.flavor, window.words);
        let base = window.parts[window.rank].base;
        window.check_closed(true)?;
        ensure(window.exposed_to.is_none(), abi::ERR_RMA_SYNC, || {
            "the window is exposed still".to_owned()
        })?;
        self.delete_attributes(cb, Holder::Window, handle)?;
        self.settle(cb, handle)?;
        self.exchange(cb, communicator, Vec::new())?;
        if flavor == abi::WIN_FLAVOR_ALLOCATE {
            cb.free(base)?;
        }
        if let Some(words) = words {
            cb.free(words)?;
        }
        self.windows.remove(handle);
        self.communicators.remove(communicator);
        self.blame = Blame::Communicator(abi::COMM_WORLD);
        self.space.write_i32(win, abi::WIN_NULL)
    }

    pub(crate) fn win_get_group(&mut self, _: Cb<'_>, win: i32, group: u32) -> Result {
        let members: Arc<[u32]> = self.window_mut(win)?.shared.members.as_slice().into();
        self.add_group(members, group)
    }

    pub(crate) fn win_set_name(&mut self, _: Cb<'_>, win: i32, name: u32) -> Result {
        let name = self.space.string(name, abi::MAX_OBJECT_NAME as usize - 1)?;
        self.window_mut(win)?.name = name;
        Ok(())
    }

    pub(crate) fn win_get_name(
        &mut self,
        _: Cb<'_>,
        win: i32,
        name: u32,
        resultlen: u32,
    ) -> Result {
        let text = self.window_mut(win)?.name.clone();
        let len = self.space.write_string(name, &text, abi::MAX_OBJECT_NAME as usize)?;
        self.space.write_i32(resultlen, len)
    }

    pub(crate) fn win_get_attr(
        &mut self,
        cb: Cb<'_>,
        win: i32,
        keyval: i32,
        value: u32,
        flag: u32,
    ) -> Result {
        let window = self.window_mut(win)?;
        let (own, flavor, words) = (window.parts[window.rank], window.flavor, window.words);
        let words = match words {
            Some(words) => words,
            None => self.allocate(cb, 16)?,
        };
        self.window_mut(win)?.words = Some(words);
        let size = if flavor == abi::WIN_FLAVOR_DYNAMIC { 0 } else { own.size as i32 };
        self.space.write_ints(words, &[size, own.unit, flavor, abi::WIN_UNIFIED])?;
        let found = match keyval {
            abi::WIN_BASE => Some(own.base),
            abi::WIN_SIZE..=abi::WIN_MODEL => {
                Some(words.wrapping_add(4 * (keyval - abi::WIN_SIZE) as u32))
            }
            _ => self.attribute(Holder::Window, win, keyval)?,
        };
        self.write_attribute(found, value, flag)
    }

    /// The target of a call, within its window; nothing for MPI_PROC_NULL.
    fn target(
        &mut self,
        win: i32,
        rank: i32,
        displacement: i32,
        count: i32,
        datatype: i32,
    ) -> Result<Option<Target>> {
        let window = self.window_mut(win)?;
        if rank == abi::PROC_NULL {
            return Ok(None);
        }
        let member = window.shared.member(rank)?;
        window.enter_epoch(rank as usize)?;
        let part = window.parts[rank as usize];
        let offset = match window.flavor {
            // An address, of which the upper half are negative as MPI_Aint.
            abi::WIN_FLAVOR_DYNAMIC => i64::from(displacement as u32),
            _ => i64::from(displacement) * i64::from(part.unit),
        };
        ensure(offset >= 0, abi::ERR_DISP, || {
            format!("the displacement {displacement} is negative")
        })?;
        let addr = u32::try_from(i64::from(part.base) + offset);
        let addr =
            addr.map_err(|_| fault(abi::ERR_RMA_RANGE, "the displacement leads out of memory"))?;
        let span = self.span(addr, count, datatype)?;
        let (start, len) = span.ty.reach(addr, span.count);
        let (low, high) = (i64::from(part.base), i64::from(part.base) + i64::from(part.size));
        let within = len == 0 || start >= low && start.saturating_add_unsigned(len) <= high;
        ensure(within, abi::ERR_RMA_RANGE, || {
            format!(
                "{len} bytes at displacement {displacement} lie outside of the window of rank {rank}, which has {} bytes",
                part.size
            )
        })?;
        let space = if member == self.me { self.space.clone() } else { self.world.space(member) };
        let far = self.far(win, rank as usize)?;
        Ok(Some(Target { rank: rank as usize, space, span, far }))
    }

    /// Where a member of a window is, if at another site.
    fn far(&mut self, win: i32, rank: usize) -> Result<Option<Far>> {
        let world = Arc::clone(&self.world);
        let shared = &self.window_mut(win)?.shared;
        let member = shared.members[rank];
        let (context, target) = (shared.context, rank as u32);
        Ok(world.beyond(member).map(|sites| Far { site: sites.of(member), context, target }))
    }

    /// Notes that a site was written to, and may not have all of it yet.
    fn wrote(&mut self, win: i32, far: Far) -> Result {
        let written = &mut self.window_mut(win)?.written;
        if !written.contains(&far.site) {
            written.push(far.site);
        }
        Ok(())
    }

    /// Waits until all that was written through a window is there.
    fn settle(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let written = std::mem::take(&mut self.window_mut(win)?.written);
        self.settle_beyond(cb, &written)
    }

    fn put_now(
        &mut self,
        (addr, count, datatype): Named,
        rank: i32,
        displacement: i32,
        target: (i32, i32),
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, displacement, target.0, target.1)? else {
            return Ok(());
        };
        let origin = self.buffer(addr, count, datatype)?;
        transfer::fits(origin.bytes(), target.span.bytes())?;
        if let Some(far) = target.far {
            self.wrote(win, far)?;
            return self.put_beyond(far, origin, target.span);
        }
        transfer::copy(&self.space, &origin, &target.space, &target.span)
    }

    fn get_now(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        rank: i32,
        displacement: i32,
        target: (i32, i32),
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, displacement, target.0, target.1)? else {
            return Ok(());
        };
        let origin = self.buffer(addr, count, datatype)?;
        transfer::fits(target.span.bytes(), origin.bytes())?;
        if let Some(far) = target.far {
            return self.get_beyond(cb, far, origin, target.span);
        }
        transfer::copy(&target.space, &target.span, &self.space, &origin)
    }

    /// Combines the origin's data into the target's, and gives what was there before.
    fn update(
        &mut self,
        cb: Cb<'_>,
        origin: Option<Span>,
        result: Option<Span>,
        target: Target,
        op: i32,
        win: i32,
    ) -> Result {
        let builtin = Builtin::of(op);
        let builtin = builtin
            .ok_or_else(|| fault(abi::ERR_OP, "one-sided calls need a predefined operation"))?;
        if target.span.bytes() == 0 {
            return Ok(());
        }
        let kind = target.span.ty.kind;
        let kind = kind
            .ok_or_else(|| fault(abi::ERR_TYPE, "the target's elements are not all of one type"))?;
        op::legal(builtin, kind)?;
        let row = match (&origin, builtin) {
            (_, Builtin::NoOp) | (None, _) => Vec::new(),
            (Some(origin), _) => origin.pack(&self.space)?,
        };
        if let Some(far) = target.far {
            let bytes = target.span.bytes();
            if let Some(result) = &result {
                transfer::fits(bytes, result.bytes())?;
            }
            if builtin != Builtin::NoOp {
                transfer::fits(row.len() as u64, bytes)?;
                transfer::fits(bytes, row.len() as u64)?;
            }
            self.wrote(win, far)?;
            let combining = Combining { op, kind };
            return self.update_beyond(cb, far, combining, (&row, target.span), result);
        }
        let window = self.window_mut(win)?;
        let shared = Arc::clone(&window.shared);
        let _guard = lock(&shared.sync().guards[target.rank]);
        let mut old = target.span.pack(&target.space)?;
        if let Some(result) = result {
            transfer::fits(old.len() as u64, result.bytes())?;
            transfer::unpack(&self.space, &result, &old)?;
        }
        if builtin == Builtin::NoOp {
            return Ok(());
        }
        transfer::fits(row.len() as u64, old.len() as u64)?;
        op::combine(builtin, kind, Layout::Packed, &mut old, &row)?;
        transfer::unpack(&target.space, &target.span, &old)
    }

    pub(crate) fn put(
        &mut self,
        _: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
    ) -> Result {
        self.put_now((origin, origin_count, origin_type), rank, disp, (count, datatype), win)
    }

    pub(crate) fn get(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
    ) -> Result {
        self.get_now(cb, (origin, origin_count, origin_type), rank, disp, (count, datatype), win)
    }

    pub(crate) fn accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, count, datatype)? else { return Ok(()) };
        let origin = self.buffer(origin, origin_count, origin_type)?;
        self.update(cb, Some(origin), None, target, op, win)
    }

    pub(crate) fn get_accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        result: u32,
        result_count: i32,
        result_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, count, datatype)? else { return Ok(()) };
        let origin = match op {
            abi::NO_OP => None,
            _ => Some(self.buffer(origin, origin_count, origin_type)?),
        };
        let result = self.buffer(result, result_count, result_type)?;
        self.update(cb, origin, Some(result), target, op, win)
    }

    pub(crate) fn fetch_and_op(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        result: u32,
        datatype: i32,
        rank: i32,
        disp: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, 1, datatype)? else { return Ok(()) };
        let origin = match op {
            abi::NO_OP => None,
            _ => Some(self.buffer(origin, 1, datatype)?),
        };
        let result = self.buffer(result, 1, datatype)?;
        self.update(cb, origin, Some(result), target, op, win)
    }

    pub(crate) fn compare_and_swap(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        compare: u32,
        result: u32,
        datatype: i32,
        rank: i32,
        disp: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, 1, datatype)? else { return Ok(()) };
        ensure(target.span.ty.is_swappable(), abi::ERR_TYPE, || {
            "only integers, logical values and bytes of predefined datatypes can be swapped"
                .to_owned()
        })?;
        let new = self.buffer(origin, 1, datatype)?.pack(&self.space)?;
        let expected = self.buffer(compare, 1, datatype)?.pack(&self.space)?;
        let result = self.buffer(result, 1, datatype)?;
        if let Some(far) = target.far {
            return self.swap_beyond(cb, far, target.span, [&expected, &new], result);
        }
        let shared = Arc::clone(&self.window_mut(win)?.shared);
        let _guard = lock(&shared.sync().guards[target.rank]);
        let old = target.span.pack(&target.space)?;
        transfer::unpack(&self.space, &result, &old)?;
        if old == expected {
            transfer::unpack(&target.space, &target.span, &new)?;
        }
        Ok(())
    }

    /// A request that is over: one-sided calls are, when they return.
    fn over(&mut self, request: u32) -> Result {
        let handle = self.request(Work::Done(Status::EMPTY.into()), abi::COMM_WORLD);
        self.space.write_i32(request, handle)
    }

    pub(crate) fn rput(
        &mut self,
        _: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.put_now((origin, origin_count, origin_type), rank, disp, (count, datatype), win)?;
        self.over(request)
    }

    pub(crate) fn rget(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.get_now(cb, (origin, origin_count, origin_type), rank, disp, (count, datatype), win)?;
        self.over(request)
    }

    pub(crate) fn raccumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.accumulate(
            cb,
            origin,
            origin_count,
            origin_type,
            rank,
            disp,
            count,
            datatype,
            op,
            win,
        )?;
        self.over(request)
    }

    pub(crate) fn rget_accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        result: u32,
        result_count: i32,
        result_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.get_accumulate(
            cb,
            origin,
            origin_count,
            origin_type,
            result,
            result_count,
            result_type,
            rank,
            disp,
            count,
            datatype,
            op,
            win,
        )?;
        self.over(request)
    }

    /// The communicator of a window, to meet in; what was written is seen by all who meet.
    fn meeting(&mut self, win: i32) -> Result<i32> {
        fence(Ordering::SeqCst);
        Ok(self.window_mut(win)?.communicator)
    }

    pub(crate) fn win_fence(&mut self, cb: Cb<'_>, assert: i32, win: i32) -> Result {
        self.window_mut(win)?.check_closed(true)?;
        self.settle(cb, win)?;
        let communicator = self.meeting(win)?;
        self.barrier(cb, communicator)?;
        let ends = assert & abi::MODE_NOSUCCEED != 0;
        self.window_mut(win)?.fenced = if ends { None } else { Some(false) };
        Ok(())
    }

    /// Takes a lock of a member here, unless others hold it in a way that excludes this.
    fn try_lock(&mut self, win: i32, kind: i32, target: usize) -> Result<bool> {
        Ok(self.window_mut(win)?.sync().try_lock(target, kind))
    }

    fn release(&mut self, cb: Cb<'_>, win: i32, target: usize) -> Result {
        fence(Ordering::SeqCst);
        let window = self.window_mut(win)?;
        let place = window.held.iter().position(|(held, _)| *held == target);
        let place = place.ok_or_else(|| {
            fault(abi::ERR_RMA_SYNC, format!("rank {target} of the window is not locked"))
        })?;
        let (_, kind) = window.held.remove(place);
        let shared = Arc::clone(&window.shared);
        match self.far(win, target)? {
            Some(far) => self.unlock_beyond(cb, far, kind),
            None => {
                self.world.unlock_here(&shared, target, kind);
                Ok(())
            }
        }
    }

    /// Whether a rank is a member of a window, rather than MPI_PROC_NULL; fails for others.
    fn is_member(&mut self, rank: i32, win: i32) -> Result<bool> {
        let window = self.window_mut(win)?;
        match rank {
            abi::PROC_NULL => Ok(false),
            rank => window.shared.member(rank).map(|_| true),
        }
    }

    pub(crate) fn win_lock(
        &mut self,
        cb: Cb<'_>,
        lock_type: i32,
        rank: i32,
        _: i32,
        win: i32,
    ) -> Result {
        if !self.is_member(rank, win)? {
            return Ok(());
        }
        let window = self.window_mut(win)?;
        let target = rank as usize;
        window.check_closed(false)?;
        ensure(window.fenced != Some(true), abi::ERR_RMA_SYNC, || {
            "the calls since the last fence are to be ended by another".to_owned()
        })?;
        window.fenced = None;
        let held = window.held.iter().any(|(held, _)| *held == target);
        ensure(!held, abi::ERR_RMA_SYNC, || {
            format!("rank {rank} of the window is locked already")
        })?;
        let known = matches!(lock_type, abi::LOCK_SHARED | abi::LOCK_EXCLUSIVE);
        ensure(known, abi::ERR_LOCKTYPE, || format!("{lock_type} is no type of lock"))?;
        let waits = |engine: &Self| format!("{}(rank {rank})", engine.function);
        let again = self.replayed();
        match self.far(win, target)? {
            // It was given by another site before its ranks were saved.
            _ if matches!(again, Some(Step::Granted)) => {}
            Some(far) => self.lock_beyond(cb, far, lock_type, again)?,
            None if again.is_some() => return Err(self.other_step()),
            None => self.block(cb, waits, |engine, _| {
                Ok(engine.try_lock(win, lock_type, target)?.then_some(()))
            })?,
        }
        self.window_mut(win)?.held.push((target, lock_type));
        Ok(())
    }

    pub(crate) fn win_unlock(&mut self, cb: Cb<'_>, rank: i32, win: i32) -> Result {
        if !self.is_member(rank, win)? {
            return Ok(());
        }
        self.release(cb, win, rank as usize)
    }

    pub(crate) fn win_lock_all(&mut self, cb: Cb<'_>, assert: i32, win: i32) -> Result {
        let members = self.window_mut(win)?.parts.len();
        (0..members as i32).try_for_each(|rank| {
            self.once_only(|engine| engine.win_lock(cb, abi::LOCK_SHARED, rank, assert, win))
        })
    }

    pub(crate) fn win_unlock_all(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let held: Vec<usize> =
            self.window_mut(win)?.held.iter().map(|(target, _)| *target).collect();
        held.into_iter().try_for_each(|target| self.release(cb, win, target))
    }

    /// Calls to members here are complete when they return: a flush only orders them.
    fn flush(&mut self, cb: Cb<'_>, win: i32) -> Result {
        self.settle(cb, win)?;
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_flush(&mut self, cb: Cb<'_>, rank: i32, win: i32) -> Result {
        self.is_member(rank, win)?;
        self.flush(cb, win)
    }

    pub(crate) fn win_flush_local(&mut self, _: Cb<'_>, rank: i32, win: i32) -> Result {
        self.is_member(rank, win)?;
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_flush_all(&mut self, cb: Cb<'_>, win: i32) -> Result {
        self.flush(cb, win)
    }

    pub(crate) fn win_flush_local_all(&mut self, _: Cb<'_>, win: i32) -> Result {
        self.meeting(win).map(|_| ())
    }

    pub(crate) fn win_sync(&mut self, _: Cb<'_>, win: i32) -> Result {
        self.meeting(win).map(|_| ())
    }

    /// A group's members by their ranks in a window.
    fn window_ranks(&mut self, group: i32, win: i32) -> Result<Vec<usize>> {
        let group = self.group(group)?;
        let shared = &self.window_mut(win)?.shared;
        let ranks = group.iter().map(|member| shared.rank_of(*member).map(|rank| rank as usize));
        let ranks: Option<Vec<_>> = ranks.collect();
        ranks.ok_or_else(|| fault(abi::ERR_GROUP, "the group is not part of the window's"))
    }

    pub(crate) fn win_post(&mut self, _: Cb<'_>, group: i32, _: i32, win: i32) -> Result {
        let origins = self.window_ranks(group, win)?;
        let window = self.window_mut(win)?;
        ensure(window.exposed_to.is_none(), abi::ERR_RMA_SYNC, || {
            "the window is exposed already".to_owned()
        })?;
        let me = window.rank;
        window.exposed_to = Some(origins.clone());
        let shared = Arc::clone(&window.shared);
        for origin in origins {
            match self.far(win, origin)? {
                Some(far) => self.post_beyond(Far { target: me as u32, ..far }, origin),
                None => shared.sync().post(me, origin),
            }
        }
        self.world.wake_all(&shared.members);
        Ok(())
    }

    pub(crate) fn win_start(&mut self, cb: Cb<'_>, group: i32, _: i32, win: i32) -> Result {
        let targets = self.window_ranks(group, win)?;
        let window = self.window_mut(win)?;
        ensure(window.access_to.is_none(), abi::ERR_RMA_SYNC, || {
            "an access epoch is open already".to_owned()
        })?;
        let (me, size, shared) = (window.rank, window.parts.len(), Arc::clone(&window.shared));
        let waits = |engine: &Self| engine.function.to_owned();
        for target in &targets {
            let post = &shared.sync().posts[target * size + me];
            self.once_only(|engine| {
                let posted = || (post.load(Ordering::SeqCst) > 0).then_some(());
                engine.block(cb, waits, |_, _| Ok(posted()))?;
                post.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            })?;
        }
        self.window_mut(win)?.access_to = Some(targets);
        Ok(())
    }

    pub(crate) fn win_complete(&mut self, _: Cb<'_>, win: i32) -> Result {
        fence(Ordering::SeqCst);
        let window = self.window_mut(win)?;
        let targets = window.access_to.take();
        let targets =
            targets.ok_or_else(|| fault(abi::ERR_RMA_SYNC, "no access epoch was started"))?;
        let shared = Arc::clone(&window.shared);
        for target in targets {
            match self.far(win, target)? {
                Some(far) => self.complete_beyond(far),
                None => shared.sync().complete(target),
            }
        }
        self.world.wake_all(&shared.members);
        Ok(())
    }

    /// Ends the exposure of a window once all origins are through.
    fn end_exposure(&mut self, win: i32) -> Result<Option<()>> {
        let window = self.window_mut(win)?;
        let Some(origins) = &window.exposed_to else {
            return Err(fault(abi::ERR_RMA_SYNC, "the window was not posted"));
        };
        let completions = &window.shared.sync().completions[window.rank];
        if completions.load(Ordering::SeqCst) < origins.len() as u32 {
            return Ok(None);
        }
        completions.fetch_sub(origins.len() as u32, Ordering::SeqCst);
        window.exposed_to = None;
        Ok(Some(()))
    }

    pub(crate) fn win_wait(&mut self, cb: Cb<'_>, win: i32) -> Result {
        let waits = |engine: &Self| engine.function.to_owned();
        self.block(cb, waits, |engine, _| engine.end_exposure(win))
    }

    pub(crate) fn win_test(&mut self, cb: Cb<'_>, win: i32, flag: u32) -> Result {
        let over = self.attempt(cb, |engine, _| engine.end_exposure(win))?;
        self.space.write_i32(flag, i32::from(over.is_some()))
    }
}
