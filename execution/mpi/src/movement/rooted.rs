//! Collectives with a root: broadcast, gather, scatter.

use super::{Named, Pulls};
use crate::{
    abi,
    collective::{FAST_BYTES, Needs, code},
    engine::{Cb, Engine},
    error::Result,
    offer::Offer,
    transfer::{self, Span},
};

impl Engine {
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
            let round = self.meet(cb, comm, code, &[], Needs::One(root as usize))?;
            self.slots(comm)?.read(root as usize, round, row);
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
}
