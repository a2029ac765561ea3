//! Windows of ranks at other sites.
//!
//! Whoever reads the link applies what comes, straight to the target's memory, whatever the target
//! is doing. Writes need no answer: they arrive before whatever is sent after them. Where others
//! may come to know by another way that they are done, their site is asked first.

use super::{
    CHUNK_BYTES, Incoming, Sites,
    courier::Job,
    frame::{Blocks, Frame},
    letter::Wrong,
};
use crate::{
    abi,
    basic::{BASICS, Kind},
    communicator::Shared,
    engine::{Cb, Engine},
    error::Result,
    memory::Space,
    op::{self, Builtin, Layout},
    transfer::{Pieces, Span},
    underway::Step,
    world::{World, lock},
};
use std::sync::Arc;

/// Blocks in one frame.
const BLOCKS_MAX: usize = 8192;

/// A member of a window at another site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Far {
    pub(crate) site: u32,
    /// The window's context.
    pub(crate) context: u32,
    /// The member's rank in the window.
    pub(crate) target: u32,
}

/// What is combined into a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Combining {
    /// The operation's handle.
    pub(crate) op: i32,
    pub(crate) kind: Kind,
}

/// The next blocks of at most so many bytes, whole elements of `size` bytes.
fn next_blocks(pieces: &mut Pieces, size: usize) -> (Blocks, u64) {
    let limit = (CHUNK_BYTES / size * size) as u64;
    let (mut blocks, mut bytes) = (Vec::new(), 0);
    while bytes < limit && (blocks.len() < BLOCKS_MAX || bytes % size as u64 != 0) {
        let Some((addr, len)) = pieces.next(limit - bytes) else { break };
        // Spans lie within a memory of 32 bits.
        blocks.push((addr as u32, len as u32));
        bytes += len as u64;
    }
    (blocks, bytes)
}

impl Engine {
    fn tell(&self, far: Far, frame: &Frame<'_>) {
        if let Some(sites) = self.world.sites.as_deref() {
            sites.send(&self.world, far.site, frame);
        }
    }

    /// A ticket for an answer; without other sites there is nothing to wait for.
    fn ticket(&self, site: u32, into: Pieces) -> Option<(u32, Arc<Incoming>)> {
        let sites = self.world.sites.as_deref()?;
        Some(sites.ticket(site, self.me, &self.space, into))
    }

    /// Waits for an answer that comes whatever the other ranks do: nothing is stopped for it.
    fn wait_for(&mut self, cb: Cb<'_>, incoming: &Incoming) -> Result {
        self.without_stopping(|engine| engine.wait_until_over(cb, incoming))?;
        incoming.result()
    }

    fn wait_until_over(&mut self, cb: Cb<'_>, incoming: &Incoming) -> Result {
        let waits = |engine: &Self| engine.function.to_owned();
        self.block(cb, waits, |_, _| Ok(incoming.is_over().then_some(())))
    }

    /// Waits until no more than a few frames are on their way of what was asked for so far.
    fn keep_pace(&mut self, cb: Cb<'_>, incoming: &Incoming, asked: u64) -> Result {
        const AHEAD: u64 = 4 * CHUNK_BYTES as u64;
        let waits = |engine: &Self| engine.function.to_owned();
        let near = || incoming.is_over() || incoming.received() + AHEAD > asked;
        self.without_stopping(|engine| engine.block(cb, waits, |_, _| Ok(near().then_some(()))))
    }

    /// Sends something that is answered when it is done, and waits for that.
    fn ask(&mut self, cb: Cb<'_>, site: u32, frame: impl FnOnce(u32) -> Frame<'static>) -> Result {
        let Some((ticket, incoming)) = self.ticket(site, Pieces::new(Span::default(), 0)) else {
            return Ok(());
        };
        if let Some(sites) = self.world.sites.as_deref() {
            sites.send(&self.world, site, &frame(ticket));
        }
        self.wait_for(cb, &incoming)
    }

    pub(crate) fn put_beyond(&mut self, far: Far, origin: Span, target: Span) -> Result {
        let Far { context, target: member, .. } = far;
        let bytes = origin.bytes();
        let (mut from, mut to) = (Pieces::new(origin, u64::MAX), Pieces::new(target, bytes));
        let mut row = Vec::new();
        loop {
            let (blocks, len) = next_blocks(&mut to, 1);
            if len == 0 {
                return Ok(());
            }
            row.clear();
            from.pack(&self.space, len, &mut row)?;
            self.tell(far, &Frame::Put { context, target: member, blocks, bytes: &row });
        }
    }

    pub(crate) fn get_beyond(
        &mut self,
        cb: Cb<'_>,
        far: Far,
        origin: Span,
        target: Span,
    ) -> Result {
        let Far { site, context, target: member } = far;
        let bytes = target.bytes();
        let Some((ticket, incoming)) = self.ticket(site, Pieces::new(origin, bytes)) else {
            return Ok(());
        };
        let (mut to, mut offset) = (Pieces::new(target, u64::MAX), 0);
        loop {
            let (blocks, len) = next_blocks(&mut to, 1);
            if len == 0 {
                break;
            }
            self.tell(far, &Frame::Get { context, target: member, ticket, offset, blocks });
            offset += len;
            self.keep_pace(cb, &incoming, offset)?;
        }
        if offset == 0 { Ok(()) } else { self.wait_for(cb, &incoming) }
    }

    /// Combines a row into a target, and gives what was there to `result`.
    pub(crate) fn update_beyond(
        &mut self,
        cb: Cb<'_>,
        far: Far,
        Combining { op, kind }: Combining,
        (row, target): (&[u8], Span),
        result: Option<Span>,
    ) -> Result {
        let Far { site, context, target: member } = far;
        let number = BASICS.iter().position(|(_, known)| *known == kind).unwrap_or(0) as u8;
        let bytes = target.bytes();
        let answer = result.and_then(|result| self.ticket(site, Pieces::new(result, bytes)));
        let ticket = answer.as_ref().map_or(0, |(ticket, _)| *ticket);
        let fetch = u8::from(answer.is_some());
        let (mut to, mut offset) = (Pieces::new(target, u64::MAX), 0);
        loop {
            let (blocks, len) = next_blocks(&mut to, kind.size());
            if len == 0 {
                break;
            }
            // There is no row where nothing is to be combined.
            let bytes = row.get(offset as usize..(offset + len) as usize).unwrap_or_default();
            let frame = Frame::Update {
                context,
                target: member,
                ticket,
                fetch,
                offset,
                op,
                kind: number,
                blocks,
                bytes,
            };
            self.tell(far, &frame);
            offset += len;
            if let Some((_, incoming)) = &answer {
                self.keep_pace(cb, incoming, offset)?;
            }
        }
        match answer {
            Some((_, incoming)) if offset > 0 => self.wait_for(cb, &incoming),
            _ => Ok(()),
        }
    }

    pub(crate) fn swap_beyond(
        &mut self,
        cb: Cb<'_>,
        far: Far,
        target: Span,
        [expected, new]: [&[u8]; 2],
        result: Span,
    ) -> Result {
        let Far { site, context, target: member } = far;
        let Some((ticket, incoming)) = self.ticket(site, Pieces::new(result, u64::MAX)) else {
            return Ok(());
        };
        let (blocks, _) = next_blocks(&mut Pieces::new(target, u64::MAX), 1);
        self.tell(far, &Frame::Swap { context, target: member, ticket, blocks, expected, new });
        self.wait_for(cb, &incoming)
    }

    /// Takes a lock, which an interrupted call may have asked for `again`.
    pub(crate) fn lock_beyond(
        &mut self,
        cb: Cb<'_>,
        far: Far,
        kind: i32,
        again: Option<Step>,
    ) -> Result {
        let Far { site, context, target } = far;
        let incoming = match again {
            Some(Step::Asked(incoming)) => incoming,
            Some(_) => return Err(self.other_step()),
            None => {
                let nothing = Pieces::new(Span::default(), 0);
                let Some((ticket, incoming)) = self.ticket(site, nothing) else { return Ok(()) };
                self.tell(far, &Frame::Lock { context, target, kind, ticket });
                incoming
            }
        };
        // Who holds it may have stopped.
        match self.wait_until_over(cb, &incoming) {
            Ok(()) => incoming.result(),
            Err(fault) => Err(self.interrupted(fault, Step::Asked(incoming))),
        }
    }

    /// Gives a lock back, once all that was done under it is there.
    pub(crate) fn unlock_beyond(&mut self, cb: Cb<'_>, far: Far, kind: i32) -> Result {
        let Far { site, context, target } = far;
        self.ask(cb, site, |ticket| Frame::Unlock { context, target, kind, ticket })
    }

    /// Waits until all that was written to these sites is there.
    pub(crate) fn settle_beyond(&mut self, cb: Cb<'_>, sites: &[u32]) -> Result {
        sites.iter().try_for_each(|site| self.ask(cb, *site, |ticket| Frame::Marker { ticket }))
    }

    pub(crate) fn post_beyond(&self, far: Far, origin: usize) {
        let Far { context, target, .. } = far;
        // Here the other is the origin that is let in, and the target is this rank.
        self.tell(far, &Frame::Post { context, target, origin: origin as u32 });
    }

    pub(crate) fn complete_beyond(&self, far: Far) {
        let Far { context, target, .. } = far;
        self.tell(far, &Frame::Complete { context, target });
    }
}

impl Sites {
    /// A window and the memory of one of its members here.
    fn exposed(
        &self,
        world: &World,
        context: u32,
        target: u32,
    ) -> Result<(Arc<Shared>, Space), Wrong> {
        let shared = world.communicator(context);
        let shared = shared.filter(|shared| shared.known_sync().is_some());
        let shared = shared.ok_or("reaches for a window that is not here")?;
        let member = shared.members.get(target as usize).copied();
        let member = member.filter(|member| world.beyond(*member).is_none());
        let member = member.ok_or("reaches for a member that is not here")?;
        Ok((shared, world.space(member)))
    }

    pub(super) fn put_came(
        &self,
        world: &World,
        (context, target): (u32, u32),
        blocks: &Blocks,
        mut bytes: &[u8],
    ) -> Result<(), Wrong> {
        let (_, space) = self.exposed(world, context, target)?;
        for (addr, len) in blocks {
            let block = bytes.split_at_checked(*len as usize);
            let (block, rest) = block.ok_or("writes blocks that are longer than its bytes")?;
            write(&space, *addr, block)?;
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn get_came(
        &self,
        world: &World,
        site: u32,
        (context, target): (u32, u32),
        (ticket, offset): (u32, u64),
        blocks: Blocks,
    ) -> Result<(), Wrong> {
        let (_, space) = self.exposed(world, context, target)?;
        bytes_of(&space, &blocks)?;
        let peer = self.peer(site).ok_or("comes from nowhere")?;
        peer.courier.answer(Job::Blocks { ticket, offset, space, blocks })
    }

    pub(super) fn update_came(
        &self,
        world: &World,
        site: u32,
        (context, target): (u32, u32),
        answer: Option<(u32, u64)>,
        (op, kind): (i32, u8),
        (blocks, row): (&Blocks, &[u8]),
    ) -> Result<(), Wrong> {
        let (shared, space) = self.exposed(world, context, target)?;
        let kind = BASICS.get(usize::from(kind)).map(|(_, kind)| *kind);
        let (Some(builtin), Some(kind)) = (Builtin::of(op), kind) else {
            return Err("combines in a way that is not known");
        };
        if op::legal(builtin, kind).is_err() {
            return Err("combines what can not be combined");
        }
        bytes_of(&space, blocks)?;
        let _guard = lock(shared.sync().guard(target as usize));
        let mut old = read(&space, blocks);
        if let Some((ticket, offset)) = answer {
            self.send_later(site, &Frame::Data { ticket, offset, bytes: &old })?;
        }
        if builtin == Builtin::NoOp {
            return Ok(());
        }
        if row.len() != old.len()
            || op::combine(builtin, kind, Layout::Packed, &mut old, row).is_err()
        {
            return Err("combines rows of different lengths");
        }
        put(&space, blocks, &old)
    }

    pub(super) fn swap_came(
        &self,
        world: &World,
        site: u32,
        (context, target): (u32, u32),
        ticket: u32,
        blocks: &Blocks,
        [expected, new]: [&[u8]; 2],
    ) -> Result<(), Wrong> {
        let (shared, space) = self.exposed(world, context, target)?;
        if bytes_of(&space, blocks)? != new.len() || new.is_empty() {
            return Err("swaps rows of different lengths");
        }
        let _guard = lock(shared.sync().guard(target as usize));
        let old = read(&space, blocks);
        self.send_later(site, &Frame::Data { ticket, offset: 0, bytes: &old })?;
        if old == expected { put(&space, blocks, new) } else { Ok(()) }
    }

    pub(super) fn lock_came(
        &self,
        world: &World,
        site: u32,
        (context, target): (u32, u32),
        kind: i32,
        ticket: u32,
    ) -> Result<(), Wrong> {
        let (shared, _) = self.exposed(world, context, target)?;
        if !matches!(kind, abi::LOCK_SHARED | abi::LOCK_EXCLUSIVE) {
            return Err("asks for a lock of no type");
        }
        match shared.sync().lock_for(target as usize, kind, (site, ticket)) {
            None => Err("asks for more locks than it has ranks"),
            Some(true) => self.send_later(site, &Frame::Done { ticket }),
            Some(false) => Ok(()),
        }
    }

    pub(super) fn unlock_came(
        &self,
        world: &World,
        site: u32,
        (context, target): (u32, u32),
        kind: i32,
        ticket: u32,
    ) -> Result<(), Wrong> {
        let (shared, _) = self.exposed(world, context, target)?;
        self.unlocked(world, &shared, target as usize, kind);
        self.send_later(site, &Frame::Done { ticket })
    }

    /// Gives a lock back and to the next who wait for it elsewhere.
    fn unlocked(&self, world: &World, shared: &Shared, target: usize, kind: i32) {
        for (site, ticket) in shared.sync().unlock(target, kind) {
            if let Err(wrong) = self.send_later(site, &Frame::Done { ticket }) {
                world.lost(site, &format!("the site {wrong}"));
            }
        }
        world.wake_all(&shared.members);
    }

    pub(super) fn post_came(
        &self,
        world: &World,
        (context, target, origin): (u32, u32, u32),
    ) -> Result<(), Wrong> {
        let (shared, _) = self.exposed(world, context, origin)?;
        if target as usize >= shared.members.len() {
            return Err("lets origins in for a member that is not there");
        }
        shared.sync().post(target as usize, origin as usize);
        world.wake_all(&shared.members);
        Ok(())
    }

    pub(super) fn complete_came(
        &self,
        world: &World,
        context: u32,
        target: u32,
    ) -> Result<(), Wrong> {
        let (shared, _) = self.exposed(world, context, target)?;
        shared.sync().complete(target as usize);
        world.wake_all(&shared.members);
        Ok(())
    }
}

impl World {
    /// Gives back the lock of a member here.
    pub(crate) fn unlock_here(&self, shared: &Shared, target: usize, kind: i32) {
        match self.sites.as_deref() {
            Some(sites) => sites.unlocked(self, shared, target, kind),
            None => {
                shared.sync().unlock(target, kind);
                self.wake_all(&shared.members);
            }
        }
    }
}

const OUTSIDE: Wrong = "reaches outside of a memory";

fn write(space: &Space, addr: u32, block: &[u8]) -> Result<(), Wrong> {
    space.write(i64::from(addr), block).map_err(|_| OUTSIDE)
}

/// How many bytes some blocks have, if all lie within a memory and in one frame's limits.
fn bytes_of(space: &Space, blocks: &Blocks) -> Result<usize, Wrong> {
    let mut bytes = 0;
    for (addr, len) in blocks {
        space.check(i64::from(*addr), *len as usize).map_err(|_| OUTSIDE)?;
        bytes += *len as usize;
    }
    match bytes <= CHUNK_BYTES {
        true => Ok(bytes),
        false => Err("reaches for more than one frame has"),
    }
}

/// The bytes of blocks that were checked.
fn read(space: &Space, blocks: &Blocks) -> Vec<u8> {
    let block = |(addr, len): &(u32, u32)| space.bytes(*addr, *len as usize).unwrap_or_default();
    blocks.iter().flat_map(block).collect()
}

fn put(space: &Space, blocks: &Blocks, mut bytes: &[u8]) -> Result<(), Wrong> {
    for (addr, len) in blocks {
        let Some((block, rest)) = bytes.split_at_checked(*len as usize) else { break };
        write(space, *addr, block)?;
        bytes = rest;
    }
    Ok(())
}
