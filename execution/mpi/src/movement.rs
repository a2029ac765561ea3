//! Collectives that move data: broadcast, gather, scatter, and all to all.

use crate::{
    abi,
    collective::{FAST_BYTES, Needs, Operation, Plan, code},
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

    fn broadcast(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        root: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let frame = self.frame(comm, root)?;
        let span = self.buffer(addr, count, datatype)?;
        let (bytes, is_root) = (span.bytes() as usize, frame.me as i32 == root);
        if request.is_none() && bytes <= FAST_BYTES {
            let mut row = [0; FAST_BYTES];
            let row = &mut row[..bytes];
            let code = code(2, root, bytes);
            if is_root {
                transfer::pack_into(&self.space, &span, row)?;
                return self.meet(cb, comm, code, row, Needs::None).map(|_| ());
            }
            let (shared, round) = self.meet(cb, comm, code, &[], Needs::One(root as usize))?;
            shared.fast().read(root as usize, round, row);
            return transfer::unpack(&self.space, &span, row);
        }
        let (offer, plan) = match is_root {
            true => (Offer::Same(span), Pulls::plan(Vec::new(), Needs::All)),
            false => (Offer::Nothing, Pulls::plan(vec![(root as usize, span)], Needs::None)),
        };
        let operation = self.begin(comm, root, offer, None, plan)?;
        self.conduct(cb, comm, operation, request)
    }

    pub(crate) fn bcast(
        &mut self,
        cb: Cb<'_>,
        buffer: u32,
        count: i32,
        datatype: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        self.broadcast(cb, (buffer, count, datatype), root, comm, None)
    }

    pub(crate) fn ibcast(
        &mut self,
        cb: Cb<'_>,
        buffer: u32,
        count: i32,
        datatype: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.broadcast(cb, (buffer, count, datatype), root, comm, Some(request))
    }

    /// Gathers at the root, whose parts `into` gives.
    fn gather_by(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        into: impl FnOnce(&Self, usize) -> Result<Vec<Span>>,
        root: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let frame = self.frame(comm, root)?;
        if frame.me as i32 != root {
            let offer = Offer::Same(self.buffer(addr, count, datatype)?);
            let plan = Pulls::plan(Vec::new(), Needs::One(root as usize));
            let operation = self.begin(comm, root, offer, None, plan)?;
            return self.conduct(cb, comm, operation, request);
        }
        let in_place = addr == abi::IN_PLACE;
        let mut list: Vec<_> = into(self, frame.size)?.into_iter().enumerate().collect();
        let offer = match in_place {
            true => Offer::Nothing,
            false => Offer::Same(self.buffer(addr, count, datatype)?),
        };
        list.retain(|(from, _)| !in_place || *from != frame.me);
        let operation = self.begin(comm, root, offer, None, Pulls::plan(list, Needs::None))?;
        self.conduct(cb, comm, operation, request)
    }

    pub(crate) fn gather(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        let into = |engine: &Self, size| engine.equal_parts((recvbuf, recvcount, recvtype), size);
        self.gather_by(cb, (sendbuf, sendcount, sendtype), into, root, comm, None)
    }

    pub(crate) fn igather(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let into = |engine: &Self, size| engine.equal_parts((recvbuf, recvcount, recvtype), size);
        self.gather_by(cb, (sendbuf, sendcount, sendtype), into, root, comm, Some(request))
    }

    pub(crate) fn gatherv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        displs: u32,
        recvtype: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        let into =
            |engine: &Self, size| engine.parts((recvbuf, recvtype), recvcounts, displs, size);
        self.gather_by(cb, (sendbuf, sendcount, sendtype), into, root, comm, None)
    }

    pub(crate) fn igatherv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        displs: u32,
        recvtype: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let into =
            |engine: &Self, size| engine.parts((recvbuf, recvtype), recvcounts, displs, size);
        self.gather_by(cb, (sendbuf, sendcount, sendtype), into, root, comm, Some(request))
    }

    /// Scatters from the root, whose parts `from` gives.
    fn scatter_by(
        &mut self,
        cb: Cb<'_>,
        from: impl FnOnce(&Self, usize) -> Result<Vec<Span>>,
        (addr, count, datatype): Named,
        root: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let frame = self.frame(comm, root)?;
        let is_root = frame.me as i32 == root;
        let list = match is_root && addr == abi::IN_PLACE {
            true => Vec::new(),
            false => vec![(root as usize, self.buffer(addr, count, datatype)?)],
        };
        let (offer, readers) = match is_root {
            true => (Offer::Each(from(self, frame.size)?), Needs::All),
            false => (Offer::Nothing, Needs::None),
        };
        let operation = self.begin(comm, root, offer, None, Pulls::plan(list, readers))?;
        self.conduct(cb, comm, operation, request)
    }

    pub(crate) fn scatter(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        let from = |engine: &Self, size| engine.equal_parts((sendbuf, sendcount, sendtype), size);
        self.scatter_by(cb, from, (recvbuf, recvcount, recvtype), root, comm, None)
    }

    pub(crate) fn iscatter(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let from = |engine: &Self, size| engine.equal_parts((sendbuf, sendcount, sendtype), size);
        self.scatter_by(cb, from, (recvbuf, recvcount, recvtype), root, comm, Some(request))
    }

    pub(crate) fn scatterv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        displs: u32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
    ) -> Result {
        let from =
            |engine: &Self, size| engine.parts((sendbuf, sendtype), sendcounts, displs, size);
        self.scatter_by(cb, from, (recvbuf, recvcount, recvtype), root, comm, None)
    }

    pub(crate) fn iscatterv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        displs: u32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        root: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let from =
            |engine: &Self, size| engine.parts((sendbuf, sendtype), sendcounts, displs, size);
        self.scatter_by(cb, from, (recvbuf, recvcount, recvtype), root, comm, Some(request))
    }

    /// Gathers at everyone.
    fn allgather_by(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        into: Vec<Span>,
        equal: bool,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let frame = self.frame(comm, 0)?;
        let in_place = addr == abi::IN_PLACE;
        let own = match in_place {
            true => into[frame.me].clone(),
            false => self.buffer(addr, count, datatype)?,
        };
        let bytes = own.bytes() as usize;
        if request.is_none() && equal && bytes <= FAST_BYTES {
            return self.allgather_fast(cb, &own, &into, comm);
        }
        // Each begins with its neighbour, so that not all read the same memory at once.
        let mut list: Vec<_> = into.into_iter().enumerate().collect();
        list.rotate_left(frame.me);
        list.retain(|(from, _)| !in_place || *from != frame.me);
        let plan = Pulls::plan(list, Needs::All);
        let operation = self.begin(comm, -1, Offer::Same(own), None, plan)?;
        self.conduct(cb, comm, operation, request)
    }

    fn allgather_fast(&mut self, cb: Cb<'_>, own: &Span, into: &[Span], comm: i32) -> Result {
        let mut row = [0; FAST_BYTES];
        let row = &mut row[..own.bytes() as usize];
        transfer::pack_into(&self.space, own, row)?;
        let (shared, round) = self.meet(cb, comm, code(3, -1, row.len()), row, Needs::All)?;
        for (member, into) in into.iter().enumerate() {
            shared.fast().read(member, round, row);
            transfer::fits(row.len() as u64, into.bytes())?;
            transfer::unpack(&self.space, into, row)?;
        }
        Ok(())
    }

    pub(crate) fn allgather(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        comm: i32,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let into = self.equal_parts((recvbuf, recvcount, recvtype), size)?;
        self.allgather_by(cb, (sendbuf, sendcount, sendtype), into, true, comm, None)
    }

    pub(crate) fn iallgather(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let into = self.equal_parts((recvbuf, recvcount, recvtype), size)?;
        self.allgather_by(cb, (sendbuf, sendcount, sendtype), into, true, comm, Some(request))
    }

    pub(crate) fn allgatherv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        displs: u32,
        recvtype: i32,
        comm: i32,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let into = self.parts((recvbuf, recvtype), recvcounts, displs, size)?;
        self.allgather_by(cb, (sendbuf, sendcount, sendtype), into, false, comm, None)
    }

    pub(crate) fn iallgatherv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        displs: u32,
        recvtype: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let into = self.parts((recvbuf, recvtype), recvcounts, displs, size)?;
        self.allgather_by(cb, (sendbuf, sendcount, sendtype), into, false, comm, Some(request))
    }

    /// Each to each. Without parts to send, those that are received into are sent, in place.
    fn alltoall_by(
        &mut self,
        cb: Cb<'_>,
        from: Option<Vec<Span>>,
        into: Vec<Span>,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let me = self.frame(comm, 0)?.me;
        let (offer, readers) = match from {
            Some(from) => (Offer::Each(from), Needs::All),
            None => {
                let rows = into.iter().map(|span| span.pack(&self.space));
                (Offer::Rows(rows.collect::<Result<_>>()?), Needs::None)
            }
        };
        let mut list: Vec<_> = into.into_iter().enumerate().collect();
        list.rotate_left(me);
        let operation = self.begin(comm, -1, offer, None, Pulls::plan(list, readers))?;
        self.conduct(cb, comm, operation, request)
    }

    fn alltoall_equal(
        &mut self,
        cb: Cb<'_>,
        send: Named,
        receive: Named,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let from = match send.0 {
            abi::IN_PLACE => None,
            _ => Some(self.equal_parts(send, size)?),
        };
        let into = self.equal_parts(receive, size)?;
        self.alltoall_by(cb, from, into, comm, request)
    }

    pub(crate) fn alltoall(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        comm: i32,
    ) -> Result {
        let (send, receive) = ((sendbuf, sendcount, sendtype), (recvbuf, recvcount, recvtype));
        self.alltoall_equal(cb, send, receive, comm, None)
    }

    pub(crate) fn ialltoall(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let (send, receive) = ((sendbuf, sendcount, sendtype), (recvbuf, recvcount, recvtype));
        self.alltoall_equal(cb, send, receive, comm, Some(request))
    }

    fn alltoall_varied(
        &mut self,
        cb: Cb<'_>,
        send: [u32; 3],
        sendtype: i32,
        receive: [u32; 3],
        recvtype: i32,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let from = match send[0] {
            abi::IN_PLACE => None,
            _ => Some(self.parts((send[0], sendtype), send[1], send[2], size)?),
        };
        let into = self.parts((receive[0], recvtype), receive[1], receive[2], size)?;
        self.alltoall_by(cb, from, into, comm, request)
    }

    pub(crate) fn alltoallv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        sdispls: u32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        rdispls: u32,
        recvtype: i32,
        comm: i32,
    ) -> Result {
        let (send, receive) = ([sendbuf, sendcounts, sdispls], [recvbuf, recvcounts, rdispls]);
        self.alltoall_varied(cb, send, sendtype, receive, recvtype, comm, None)
    }

    pub(crate) fn ialltoallv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        sdispls: u32,
        sendtype: i32,
        recvbuf: u32,
        recvcounts: u32,
        rdispls: u32,
        recvtype: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let (send, receive) = ([sendbuf, sendcounts, sdispls], [recvbuf, recvcounts, rdispls]);
        self.alltoall_varied(cb, send, sendtype, receive, recvtype, comm, Some(request))
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

    fn alltoall_typed(
        &mut self,
        cb: Cb<'_>,
        send: [u32; 4],
        receive: [u32; 4],
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let size = self.frame(comm, 0)?.size;
        let from = match send[0] {
            abi::IN_PLACE => None,
            _ => Some(self.typed_parts(send, size)?),
        };
        let into = self.typed_parts(receive, size)?;
        self.alltoall_by(cb, from, into, comm, request)
    }

    pub(crate) fn alltoallw(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        sdispls: u32,
        sendtypes: u32,
        recvbuf: u32,
        recvcounts: u32,
        rdispls: u32,
        recvtypes: u32,
        comm: i32,
    ) -> Result {
        let send = [sendbuf, sendcounts, sdispls, sendtypes];
        self.alltoall_typed(cb, send, [recvbuf, recvcounts, rdispls, recvtypes], comm, None)
    }

    pub(crate) fn ialltoallw(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcounts: u32,
        sdispls: u32,
        sendtypes: u32,
        recvbuf: u32,
        recvcounts: u32,
        rdispls: u32,
        recvtypes: u32,
        comm: i32,
        request: u32,
    ) -> Result {
        let send = [sendbuf, sendcounts, sdispls, sendtypes];
        self.alltoall_typed(
            cb,
            send,
            [recvbuf, recvcounts, rdispls, recvtypes],
            comm,
            Some(request),
        )
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
