//! Collectives that combine data. They combine in rank order whatever the order of arrival, so
//! that results are the same from run to run, bit by bit.
//!
//! Here is how the members combine by an operation of MPI in one round; `user` has operations of the
//! program's own, and `calls` what programs call.

mod calls;
mod user;

pub(crate) use user::UserReduction;

use crate::{
    abi,
    basic::Kind,
    collective::{Needs, Operation},
    engine::Engine,
    error::{Result, fault},
    memory::Space,
    offer::Source,
    op::{self, Builtin, Layout},
    transfer::Span,
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

crate::image::wire_enum!(Target {
    0 => Root(into),
    1 => Elsewhere { root },
    2 => All(into),
    3 => Segment { first, into },
    4 => Prefix { inclusive, into },
});
crate::image::wire_struct!(Reduction { builtin, kind, count, target, stage, held });

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
