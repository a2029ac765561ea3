//! Collectives that combine data. They combine in rank order whatever the order of arrival, so
//! that results are the same from run to run, bit by bit.

use crate::{
    abi,
    basic::Kind,
    collective::{FAST_BYTES, Needs, Operation, Plan, code},
    engine::{Cb, Engine},
    error::{Result, count, ensure, fault},
    memory::Space,
    offer::{Offer, Source},
    op::{self, Builtin, Layout, UserOp},
    transfer::{self, Span},
    world::World,
};

/// Bytes that are combined at once: they fit into the nearest cache.
const BLOCK_BYTES: usize = 16 << 10;

/// The stage of a reduction whose whole result only has to be written.
const READY: u8 = 3;

/// An operation as a call names it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Builtin(Builtin, Kind),
    User { function: u32, datatype: i32 },
}

/// Where the result goes.
#[derive(Debug, Clone)]
enum Target {
    /// Only to the root, here.
    Root(Span),
    /// To the root, elsewhere.
    Elsewhere { root: usize },
    /// To everyone.
    All(Span),
    /// To each a part, from an element on.
    Segment { first: u64, into: Span },
    /// Of the members before, and of this one if inclusive.
    Prefix { inclusive: bool, into: Span },
}

impl Target {
    /// Who reads this member's contribution.
    fn readers(&self) -> Needs {
        match self {
            Self::Root(_) => Needs::None,
            Self::Elsewhere { root } => Needs::One(*root),
            _ => Needs::All,
        }
    }
}

/// A reduction by an operation of MPI, in one round.
#[derive(Debug)]
pub(crate) struct Reduction {
    builtin: Builtin,
    kind: Kind,
    count: u64,
    target: Target,
    stage: u8,
    /// A result that may be written only when nobody reads its place any more.
    held: Vec<u8>,
}

/// One member's contribution.
struct Row<'a> {
    kind: Kind,
    space: Space,
    source: Source<'a>,
}

impl Row<'_> {
    /// Reads elements from the `first` on, as they lie in memory.
    fn read(&self, first: u64, into: &mut [u8]) -> Result {
        let (extent, size) = (self.kind.extent(), self.kind.size());
        match self.source {
            Source::Span(span) => {
                self.space.read(i64::from(span.addr) + (first * extent as u64) as i64, into)
            }
            Source::Bytes(bytes) => {
                let start = first as usize * size;
                let row = bytes.get(start..start + into.len() / extent * size);
                let different = || fault(abi::ERR_COUNT, "members give different counts");
                op::spread(self.kind, row.ok_or_else(different)?, into);
                Ok(())
            }
        }
    }
}

/// Combines elements of all contributions of the members in order.
fn combine_range(
    reduction: (Builtin, Kind),
    operation: &Operation,
    world: &World,
    members: usize,
    range: std::ops::Range<u64>,
    mut write: impl FnMut(u64, &[u8]) -> Result,
) -> Result {
    let (builtin, kind) = reduction;
    let extent = kind.extent() as u64;
    let per_block = (BLOCK_BYTES / kind.extent()) as u64;
    let mut rows = Vec::new();
    for (member, entry) in operation.entries().take(members).enumerate() {
        let source = entry.source(operation.me);
        let source = source.ok_or_else(|| fault(abi::ERR_OTHER, "a member offers nothing"))?;
        rows.push(Row { kind, space: operation.memory_of(world, member), source });
    }
    let (mut left, mut right) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut first = range.start;
    while first < range.end {
        let elements = per_block.min(range.end - first);
        let bytes = (elements * extent) as usize;
        for (member, row) in rows.iter().enumerate() {
            if member == 0 {
                row.read(first, &mut left[..bytes])?;
            } else {
                row.read(first, &mut right[..bytes])?;
                op::combine(builtin, kind, Layout::Natural, &mut left[..bytes], &right[..bytes])?;
            }
        }
        write(first, &left[..bytes])?;
        first += elements;
    }
    Ok(())
}

impl Reduction {
    fn new(builtin: Builtin, kind: Kind, count: u64, target: Target) -> Self {
        Self { builtin, kind, count, target, stage: 0, held: Vec::new() }
    }

    /// Who reads this member's contribution.
    pub(crate) fn readers(&self) -> Needs {
        self.target.readers()
    }

    /// The elements that a member combines where each at this site does a part: the one at a
    /// place among so many.
    fn chunk(&self, place: usize, size: usize) -> std::ops::Range<u64> {
        let (place, size) = (place as u64, size as u64);
        self.count * place / size..self.count * (place + 1) / size
    }

    fn write_to(
        &self,
        operation: &Operation,
        engine: &Engine,
        into: &Span,
        members: usize,
        range: std::ops::Range<u64>,
    ) -> Result {
        let (start, extent) = (i64::from(into.addr), self.kind.extent() as u64);
        combine_range(
            (self.builtin, self.kind),
            operation,
            &engine.world,
            members,
            range,
            |first, bytes| engine.space.write(start + (first * extent) as i64, bytes),
        )
    }

    fn combined(
        &self,
        operation: &Operation,
        world: &World,
        members: usize,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>> {
        let (reduction, mut row) = ((self.builtin, self.kind), Vec::new());
        combine_range(reduction, operation, world, members, range, |_, bytes| {
            row.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(row)
    }

    /// The same reduction with all of its result, once everyone came who gets the same: who saves
    /// a rank can not rely on the others to do their part. Those have written theirs already, or
    /// what they write over is still there.
    pub(crate) fn ahead(&self, operation: &Operation, world: &World) -> Result<Option<Self>> {
        let Target::All(into) = &self.target else { return Ok(None) };
        if self.stage == READY || !operation.have_all_come()? {
            return Ok(None);
        }
        let (near, extent) = (operation.near(), self.kind.extent() as u64);
        let mut held = Vec::new();
        for (place, member) in near.iter().enumerate() {
            let range = self.chunk(place, near.len());
            let mut written = |space: &Space, span: &Span| -> Result {
                let start = held.len();
                held.resize(start + ((range.end - range.start) * extent) as usize, 0);
                let from = i64::from(span.addr) + (range.start * extent) as i64;
                space.read(from, &mut held[start..])
            };
            let result = operation.entry(*member)?.and_then(|entry| entry.result.as_ref());
            match result.filter(|_| operation.has_reached(*member, 1)) {
                _ if self.stage == 2 => {
                    written(&operation.memory_of(world, operation.me), into)?;
                }
                Some(result) => written(&operation.memory_of(world, *member), result)?,
                None => held.extend(self.combined(operation, world, operation.size(), range)?),
            }
        }
        let (builtin, kind, count) = (self.builtin, self.kind, self.count);
        let target = Target::All(into.clone());
        Ok(Some(Self { builtin, kind, count, target, stage: READY, held }))
    }

    fn hold(
        &mut self,
        operation: &Operation,
        engine: &Engine,
        members: usize,
        range: std::ops::Range<u64>,
    ) -> Result {
        self.held = self.combined(operation, &engine.world, members, range)?;
        Ok(())
    }

    /// Combines what is this member's to combine.
    fn combine(&mut self, operation: &Operation, engine: &Engine) -> Result {
        let (me, size) = (operation.me, operation.size());
        match self.target.clone() {
            Target::Elsewhere { .. } => Ok(()),
            Target::Root(into) => self.write_to(operation, engine, &into, size, 0..self.count),
            Target::All(into) => {
                let near = operation.near();
                let place = near.iter().position(|member| *member == me).unwrap_or(0);
                let range = self.chunk(place, near.len());
                self.write_to(operation, engine, &into, size, range)
            }
            Target::Segment { first, into } => {
                self.hold(operation, engine, size, first..first + into.count)
            }
            Target::Prefix { inclusive, .. } => {
                let members = me + usize::from(inclusive);
                if members == 0 {
                    Ok(())
                } else {
                    self.hold(operation, engine, members, 0..self.count)
                }
            }
        }
    }

    /// Fetches what other members combined.
    fn fetch(&self, operation: &Operation, engine: &Engine, into: &Span) -> Result {
        let near = operation.near();
        let (size, extent) = (near.len(), self.kind.extent() as i64);
        let me = near.iter().position(|member| *member == operation.me).unwrap_or(0);
        for place in (0..size).map(|step| (me + step) % size).filter(|place| *place != me) {
            let (chunk, other) = (self.chunk(place, size), near[place]);
            let result = operation.entry(other)?.and_then(|entry| entry.result.as_ref());
            let result = result.ok_or_else(|| fault(abi::ERR_OTHER, "a member has no result"))?;
            let offset = chunk.start as i64 * extent;
            let bytes = (chunk.end - chunk.start) as usize * extent as usize;
            let space = operation.memory_of(&engine.world, other);
            let (from, to) = (i64::from(result.addr) + offset, i64::from(into.addr) + offset);
            Space::copy(&space, from, &engine.space, to, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, operation: &mut Operation, engine: &Engine) -> Result<bool> {
        if let (READY, Target::All(into)) = (self.stage, &self.target) {
            engine.space.write(i64::from(into.addr), &self.held)?;
            return Ok(true);
        }
        if self.stage == 0 {
            let needed = match &self.target {
                Target::Elsewhere { .. } => 0,
                Target::Prefix { .. } => operation.me + 1,
                _ => operation.size(),
            };
            if !operation.have_come(needed)? {
                return Ok(false);
            }
            self.combine(operation, engine)?;
            self.stage = 1;
            operation.reach(engine, 1);
        }
        if self.stage == 1 {
            let readers = match &self.target {
                Target::Root(_) => return Ok(true),
                Target::Elsewhere { root } => Needs::One(*root),
                _ => Needs::All,
            };
            if !operation.have_reached(readers, 1) {
                return Ok(false);
            }
            match self.target.clone() {
                Target::All(into) => self.fetch(operation, engine, &into)?,
                Target::Segment { into, .. } | Target::Prefix { into, .. } => {
                    engine.space.write(i64::from(into.addr), &self.held)?;
                    return Ok(true);
                }
                _ => return Ok(true),
            }
            self.stage = 2;
            operation.reach(engine, 2);
        }
        Ok(operation.have_reached(Needs::All, 2))
    }
}

/// A reduction by an operation of the program's own. Contributions are published as bytes, and
/// whoever needs the result combines all of them.
#[derive(Debug)]
pub(crate) struct UserReduction {
    function: u32,
    datatype: i32,
    target: Target,
}

impl UserReduction {
    /// Who reads this member's contribution.
    pub(crate) fn readers(&self) -> Needs {
        self.target.readers()
    }

    pub(crate) fn step(
        &mut self,
        operation: &mut Operation,
        engine: &mut Engine,
        cb: Cb<'_>,
    ) -> Result<bool> {
        let (members, first, into) = match &self.target {
            Target::Elsewhere { .. } => return Ok(true),
            Target::Root(into) | Target::All(into) => (operation.size(), 0, into),
            Target::Segment { first, into } => (operation.size(), *first, into),
            Target::Prefix { inclusive, into } => (operation.me + usize::from(*inclusive), 0, into),
        };
        if !operation.have_come(members)? {
            return Ok(false);
        }
        if members == 0 || into.bytes() == 0 {
            return Ok(true);
        }
        let size = into.ty.size;
        let (start, len) = ((first * size) as usize, (into.count * size) as usize);
        let mut rows = Vec::new();
        for entry in operation.entries().take(members) {
            let row = entry.data().get(start..start + len);
            rows.push(row.ok_or_else(|| fault(abi::ERR_COUNT, "members give different counts"))?);
        }
        engine.combine_by_user(cb, (self.function, self.datatype), &rows, into)?;
        Ok(true)
    }
}

impl Engine {
    /// Combines rows by calling the guest, and writes the result.
    fn combine_by_user(
        &mut self,
        cb: Cb<'_>,
        (function, datatype): (u32, i32),
        rows: &[&[u8]],
        into: &Span,
    ) -> Result {
        let (low, len) = into.ty.reach(0, into.count);
        let room = (len + low.unsigned_abs() + 31) / 16 * 16;
        let total = u32::try_from(2 * room + 16)
            .map_err(|_| fault(abi::ERR_NO_MEM, "the data are too large"))?;
        let scratch = cb.alloc(total)?;
        ensure(scratch != 0, abi::ERR_NO_MEM, || {
            format!("the guest has no {total} bytes for a reduction")
        })?;
        // Where elements begin so that their lowest byte lies within.
        let below = u32::try_from((-low).max(0)).unwrap_or(0).next_multiple_of(16);
        let origin = scratch.wrapping_add(below);
        let result = self.combine_in(
            cb,
            (function, datatype),
            rows,
            into,
            [origin, origin.wrapping_add(room as u32)],
            scratch.wrapping_add(2 * room as u32),
        );
        cb.free(scratch)?;
        result
    }

    fn combine_in(
        &mut self,
        cb: Cb<'_>,
        (function, datatype): (u32, i32),
        rows: &[&[u8]],
        into: &Span,
        [mut left, mut right]: [u32; 2],
        words: u32,
    ) -> Result {
        let at = |addr| Self::same_type(into, addr);
        transfer::unpack(&self.space, &at(left), rows[0])?;
        for row in &rows[1..] {
            transfer::unpack(&self.space, &at(right), row)?;
            self.space.write_ints(words, &[into.count as i32, datatype])?;
            let arguments = [left as i32, right as i32, words as i32, words.wrapping_add(4) as i32];
            self.call(cb, function, &arguments, false)?;
            std::mem::swap(&mut left, &mut right);
        }
        transfer::copy(&self.space, &at(left), &self.space, into)
    }

    fn user_op(&self, handle: i32) -> Result<UserOp> {
        let known = self.ops.get(handle).copied();
        known.ok_or_else(|| fault(abi::ERR_OP, format!("there is no operation {handle}")))
    }

    /// The operation of a call, if it is defined for the datatype.
    fn op(&self, handle: i32, datatype: i32) -> Result<Op> {
        let ty = self.datatype(datatype)?;
        let Some(builtin) = Builtin::of(handle) else {
            let UserOp { function, .. } = self.user_op(handle)?;
            return Ok(Op::User { function, datatype });
        };
        let kind = ty.kind.filter(|_| ty.basic);
        let derived = || fault(abi::ERR_OP, "a predefined operation needs a predefined datatype");
        let kind = kind.ok_or_else(derived)?;
        ensure(!matches!(builtin, Builtin::Replace | Builtin::NoOp), abi::ERR_OP, || {
            "MPI_REPLACE and MPI_NO_OP are for one-sided calls only".to_owned()
        })?;
        op::legal(builtin, kind)?;
        Ok(Op::Builtin(builtin, kind))
    }

    /// A reduction of `own`, of which `target` tells what this member gets.
    fn reduction(
        &mut self,
        cb: Cb<'_>,
        op: Op,
        own: Span,
        target: Target,
        root: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let result = match &target {
            Target::All(into) => Some(into.clone()),
            _ => None,
        };
        let (offer, plan) = match op {
            Op::Builtin(builtin, kind) => {
                let count = own.count;
                let plan = Reduction::new(builtin, kind, count, target);
                (Offer::Same(own), Plan::Reduce(plan))
            }
            Op::User { function, datatype } => {
                let plan = UserReduction { function, datatype, target };
                (Offer::Data(own.pack(&self.space)?), Plan::ReduceByUser(plan))
            }
        };
        let operation = self.begin(comm, root, offer, result, plan)?;
        self.conduct(cb, comm, operation, request)
    }

    /// The contribution: the send buffer, or in place the receive buffer.
    fn own(&self, sendbuf: u32, recvbuf: u32, count: i32, datatype: i32) -> Result<Span> {
        self.buffer(if sendbuf == abi::IN_PLACE { recvbuf } else { sendbuf }, count, datatype)
    }

    /// A small reduction through slots; nothing if it is not small.
    fn reduce_fast(
        &mut self,
        cb: Cb<'_>,
        op: Op,
        own: &Span,
        into: Option<&Span>,
        root: i32,
        comm: i32,
    ) -> Result<Option<()>> {
        let Op::Builtin(builtin, kind) = op else { return Ok(None) };
        let bytes = own.count.saturating_mul(kind.extent() as u64);
        if bytes > FAST_BYTES as u64 {
            return Ok(None);
        }
        let (mut left, mut right) = ([0; FAST_BYTES], [0; FAST_BYTES]);
        let (left, right) = (&mut left[..bytes as usize], &mut right[..bytes as usize]);
        self.space.read(i64::from(own.addr), left)?;
        let needs = if into.is_some() { Needs::All } else { Needs::None };
        let call = if root < 0 { 4 } else { 5 };
        let (shared, round) = self.meet(cb, comm, code(call, root, left.len()), left, needs)?;
        let Some(into) = into else { return Ok(Some(())) };
        let fast = shared.fast();
        fast.read(0, round, left);
        for member in 1..shared.members.len() {
            fast.read(member, round, right);
            op::combine(builtin, kind, Layout::Natural, left, right)?;
        }
        self.space.write(i64::from(into.addr), left)?;
        Ok(Some(()))
    }

    fn reduce_to_root(
        &mut self,
        cb: Cb<'_>,
        buffers: [u32; 2],
        count: i32,
        datatype: i32,
        op: i32,
        root: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let [sendbuf, recvbuf] = buffers;
        let is_root = self.is_root(comm, root)?;
        let op = self.op(op, datatype)?;
        let own = match is_root {
            true => self.own(sendbuf, recvbuf, count, datatype)?,
            false => self.buffer(sendbuf, count, datatype)?,
        };
        let into = if is_root { Some(self.buffer(recvbuf, count, datatype)?) } else { None };
        if request.is_none() && self.reduce_fast(cb, op, &own, into.as_ref(), root, comm)?.is_some()
        {
            return Ok(());
        }
        let target = into.map_or(Target::Elsewhere { root: root as usize }, Target::Root);
        self.reduction(cb, op, own, target, root, comm, request)
    }

    pub(crate) fn reduce(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        self.reduce_to_root(cb, [sendbuf, recvbuf], count, datatype, op, root, comm, None)
    }

    pub(crate) fn ireduce(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.reduce_to_root(cb, [sendbuf, recvbuf], count, datatype, op, root, comm, Some(request))
    }

    fn reduce_to_all(
        &mut self,
        cb: Cb<'_>,
        [sendbuf, recvbuf]: [u32; 2],
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        self.communicator(comm)?;
        let op = self.op(op, datatype)?;
        let own = self.own(sendbuf, recvbuf, count, datatype)?;
        let into = self.buffer(recvbuf, count, datatype)?;
        if request.is_none() && self.reduce_fast(cb, op, &own, Some(&into), -1, comm)?.is_some() {
            return Ok(());
        }
        self.reduction(cb, op, own, Target::All(into), -1, comm, request)
    }

    pub(crate) fn allreduce(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
    ) -> Result {
        self.reduce_to_all(cb, [sendbuf, recvbuf], count, datatype, op, comm, None)
    }

    pub(crate) fn iallreduce(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.reduce_to_all(cb, [sendbuf, recvbuf], count, datatype, op, comm, Some(request))
    }

    fn reduce_and_scatter(
        &mut self,
        cb: Cb<'_>,
        [sendbuf, recvbuf]: [u32; 2],
        counts: &[i32],
        datatype: i32,
        op: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let me = self.place(comm)?.0;
        let op = self.op(op, datatype)?;
        let mut total = 0_u64;
        let mut first = 0;
        for (member, elements) in counts.iter().enumerate() {
            if member == me {
                first = total;
            }
            total += count(*elements)?;
        }
        let total =
            i32::try_from(total).map_err(|_| fault(abi::ERR_COUNT, "the counts are too large"))?;
        let own = self.own(sendbuf, recvbuf, total, datatype)?;
        let into = self.buffer(recvbuf, counts[me], datatype)?;
        self.reduction(cb, op, own, Target::Segment { first, into }, -1, comm, request)
    }

    pub(crate) fn reduce_scatter(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        recvcounts: u32,
        datatype: i32,
        op: i32,
        comm: i32,
    ) -> Result {
        let size = self.world_size_of(comm)?;
        let counts = self.space.ints(recvcounts, size)?;
        self.reduce_and_scatter(cb, [sendbuf, recvbuf], &counts, datatype, op, comm, None)
    }

    pub(crate) fn ireduce_scatter(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        recvcounts: u32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let size = self.world_size_of(comm)?;
        let counts = self.space.ints(recvcounts, size)?;
        self.reduce_and_scatter(cb, [sendbuf, recvbuf], &counts, datatype, op, comm, Some(request))
    }

    fn world_size_of(&mut self, comm: i32) -> Result<usize> {
        Ok(self.place(comm)?.1)
    }

    pub(crate) fn reduce_scatter_block(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        recvcount: i32,
        datatype: i32,
        op: i32,
        comm: i32,
    ) -> Result {
        let counts = vec![recvcount; self.world_size_of(comm)?];
        self.reduce_and_scatter(cb, [sendbuf, recvbuf], &counts, datatype, op, comm, None)
    }

    pub(crate) fn ireduce_scatter_block(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        recvcount: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let counts = vec![recvcount; self.world_size_of(comm)?];
        self.reduce_and_scatter(cb, [sendbuf, recvbuf], &counts, datatype, op, comm, Some(request))
    }

    fn prefix(
        &mut self,
        cb: Cb<'_>,
        [sendbuf, recvbuf]: [u32; 2],
        inclusive: bool,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        self.communicator(comm)?;
        let op = self.op(op, datatype)?;
        let own = self.own(sendbuf, recvbuf, count, datatype)?;
        let into = self.buffer(recvbuf, count, datatype)?;
        self.reduction(cb, op, own, Target::Prefix { inclusive, into }, -1, comm, request)
    }

    pub(crate) fn scan(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
    ) -> Result {
        self.prefix(cb, [sendbuf, recvbuf], true, count, datatype, op, comm, None)
    }

    pub(crate) fn iscan(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.prefix(cb, [sendbuf, recvbuf], true, count, datatype, op, comm, Some(request))
    }

    pub(crate) fn exscan(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
    ) -> Result {
        self.prefix(cb, [sendbuf, recvbuf], false, count, datatype, op, comm, None)
    }

    pub(crate) fn iexscan(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        recvbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.prefix(cb, [sendbuf, recvbuf], false, count, datatype, op, comm, Some(request))
    }

    pub(crate) fn reduce_local(
        &mut self,
        cb: Cb<'_>,
        inbuf: u32,
        inoutbuf: u32,
        count: i32,
        datatype: i32,
        op: i32,
    ) -> Result {
        let (from, into) =
            (self.buffer(inbuf, count, datatype)?, self.buffer(inoutbuf, count, datatype)?);
        ensure(inbuf != inoutbuf || count == 0, abi::ERR_BUFFER, || {
            "both buffers are the same".to_owned()
        })?;
        match self.op(op, datatype)? {
            Op::Builtin(builtin, kind) => {
                let bytes = from.count as usize * kind.extent();
                let mut left = self.space.bytes(inbuf, bytes)?;
                let right = self.space.bytes(inoutbuf, bytes)?;
                op::combine(builtin, kind, Layout::Natural, &mut left, &right)?;
                self.space.write(i64::from(inoutbuf), &left)
            }
            Op::User { function, datatype } => {
                let rows = [from.pack(&self.space)?, into.pack(&self.space)?];
                self.combine_by_user(cb, (function, datatype), &[&rows[0], &rows[1]], &into)
            }
        }
    }

    pub(crate) fn op_create(&mut self, _: Cb<'_>, function: u32, commute: i32, op: u32) -> Result {
        self.space.check_place(op)?;
        let handle = self.ops.add(UserOp { function, commutes: commute != 0 });
        self.space.write_i32(op, handle)
    }

    pub(crate) fn op_free(&mut self, _: Cb<'_>, op: u32) -> Result {
        let handle = self.space.read_i32(op)?;
        self.user_op(handle)?;
        self.ops.remove(handle);
        self.space.write_i32(op, abi::OP_NULL)
    }

    pub(crate) fn op_commutative(&mut self, _: Cb<'_>, op: i32, commute: u32) -> Result {
        let commutes = match Builtin::of(op) {
            Some(_) => true,
            None => self.user_op(op)?.commutes,
        };
        self.space.write_i32(commute, i32::from(commutes))
    }
}

crate::image::wire_enum!(Target {
    0 => Root(into),
    1 => Elsewhere { root },
    2 => All(into),
    3 => Segment { first, into },
    4 => Prefix { inclusive, into },
});
crate::image::wire_struct!(Reduction { builtin, kind, count, target, stage, held });
crate::image::wire_struct!(UserReduction { function, datatype, target });

impl Target {
    /// Whether it can be among so many members.
    fn fits(&self, size: usize) -> bool {
        match self {
            Self::Elsewhere { root } => *root < size,
            Self::Segment { first, into } => *first < 1 << 32 && into.ty.bytes(*first).is_ok(),
            _ => true,
        }
    }
}

impl Reduction {
    /// Whether all that it names exist among so many members.
    pub(crate) fn fits(&self, size: usize) -> bool {
        let legal = op::legal(self.builtin, self.kind).is_ok();
        legal && self.count < 1 << 32 && self.target.fits(size)
    }
}

impl UserReduction {
    /// Whether all that it names exist among so many members.
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.target.fits(size)
    }
}
