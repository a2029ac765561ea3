//! Collectives that move data: how members copy from each other in a round, and the barrier.
//!
//! `rooted` has those with a root, and `all` those without.

mod all;
mod rooted;

use crate::{
    abi,
    collective::{Needs, Operation, Plan, code},
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    offer::{Offer, Source},
    transfer::{self, Span},
};
use std::sync::Arc;

/// A buffer as the program names it: address, count, datatype.
pub(crate) type Named = (u32, i32, i32);

/// What a member copies from others, and who copies from it.
#[derive(Debug)]
pub(crate) struct Pulls {
    list: Vec<(usize, Span)>,
    next: usize,
    readers: Needs,
    copied: bool,
}

impl Pulls {
    pub(crate) fn plan(list: Vec<(usize, Span)>, readers: Needs) -> Plan {
        Plan::Pull(Self { list, next: 0, readers, copied: false })
    }

    /// Who copies from this member.
    pub(crate) fn readers(&self) -> Needs {
        self.readers
    }

    pub(crate) fn step(&mut self, operation: &mut Operation, engine: &Engine) -> Result<bool> {
        while let Some((from, into)) = self.list.get(self.next) {
            let Some(entry) = operation.entry(*from)? else { return Ok(false) };
            let nothing = || fault(abi::ERR_OTHER, format!("member {from} offers nothing"));
            match entry.source(operation.me).ok_or_else(nothing)? {
                Source::Bytes(row) => {
                    transfer::fits(row.len() as u64, into.bytes())?;
                    transfer::unpack(&engine.space, into, row)?;
                }
                Source::Span(source) => {
                    transfer::fits(source.bytes(), into.bytes())?;
                    let space = engine.world.space(operation.shared.members[*from]);
                    transfer::copy(&space, source, &engine.space, into)?;
                }
            }
            self.next += 1;
        }
        if !self.copied {
            self.copied = true;
            operation.reach(engine, 1);
        }
        Ok(operation.have_reached(self.readers, 1))
    }
}

/// What a call has in common with those of the other members.
struct Frame {
    size: usize,
    me: usize,
}

impl Engine {
    fn frame(&mut self, communicator: i32, root: i32) -> Result<Frame> {
        let known = self.communicator(communicator)?;
        let (size, me) = (known.shared.members.len(), known.rank as usize);
        let exists = usize::try_from(root).is_ok_and(|root| root < size);
        ensure(exists, abi::ERR_ROOT, || format!("there is no root {root} among {size} members"))?;
        Ok(Frame { size, me })
    }

    /// Parts of one buffer, by counts and displacements in elements.
    pub(crate) fn parts(
        &self,
        (addr, datatype): (u32, i32),
        counts: u32,
        displacements: u32,
        size: usize,
    ) -> Result<Vec<Span>> {
        let counts = self.space.ints(counts, size)?;
        let displacements = self.space.ints(displacements, size)?;
        let extent = self.datatype(datatype)?.extent;
        let part = |(count, displacement): (&i32, &i32)| {
            let offset = extent.saturating_mul(i64::from(*displacement));
            let start = offset.saturating_add(i64::from(addr));
            let start = u32::try_from(start)
                .map_err(|_| fault(abi::ERR_ARG, "a displacement leads out of memory"));
            self.buffer(if *count == 0 { addr } else { start? }, *count, datatype)
        };
        counts.iter().zip(&displacements).map(part).collect()
    }

    /// Equal parts of one buffer.
    pub(crate) fn equal_parts(
        &self,
        (addr, count, datatype): Named,
        size: usize,
    ) -> Result<Vec<Span>> {
        let whole = i64::from(count) * size as i64;
        let whole =
            i32::try_from(whole).map_err(|_| fault(abi::ERR_COUNT, "the counts are too large"))?;
        let whole = self.buffer(addr, whole, datatype)?;
        let count = count as u64;
        Ok((0..size as u64).map(|part| whole.part(part * count, count)).collect())
    }

    pub(crate) fn barrier(&mut self, cb: Cb<'_>, comm: i32) -> Result {
        self.meet(cb, comm, code(1, -1, 0), &[], Needs::All).map(|_| ())
    }

    pub(crate) fn ibarrier(&mut self, cb: Cb<'_>, comm: i32, request: u32) -> Result {
        self.space.check_place(request)?;
        let operation = self.begin(comm, -1, Offer::Nothing, None, Plan::Meet)?;
        self.conduct(cb, comm, operation, Some(request))
    }

    /// Parts by counts, displacements in bytes, and datatypes of their own.
    pub(crate) fn typed_parts(
        &self,
        [addr, counts, displacements, datatypes]: [u32; 4],
        size: usize,
    ) -> Result<Vec<Span>> {
        let counts = self.space.ints(counts, size)?;
        let displacements = self.space.ints(displacements, size)?;
        let datatypes = self.space.ints(datatypes, size)?;
        let part = |place: usize| {
            let start = i64::from(addr) + i64::from(displacements[place]);
            let start = u32::try_from(start)
                .map_err(|_| fault(abi::ERR_ARG, "a displacement leads out of memory"));
            let count = counts[place];
            self.buffer(if count == 0 { addr } else { start? }, count, datatypes[place])
        };
        (0..size).map(part).collect()
    }

    /// The rank of this process in a communicator and how many members that has.
    pub(crate) fn place(&mut self, comm: i32) -> Result<(usize, usize)> {
        let frame = self.frame(comm, 0)?;
        Ok((frame.me, frame.size))
    }

    /// Fails unless a root exists; whether this process is it.
    pub(crate) fn is_root(&mut self, comm: i32, root: i32) -> Result<bool> {
        let frame = self.frame(comm, root)?;
        Ok(frame.me as i32 == root)
    }

    /// A span of elements of one kind, for reductions.
    pub(crate) fn same_type(span: &Span, addr: u32) -> Span {
        Span { addr, count: span.count, ty: Arc::clone(&span.ty) }
    }
}

crate::image::wire_struct!(Pulls { list, next, readers, copied });

impl Pulls {
    /// Whether all that it names exist among so many members.
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.readers.fits(size) && self.list.iter().all(|(from, _)| *from < size)
    }
}
