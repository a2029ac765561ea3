//! Collectives without a root: gather at all, and all to all.

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
        let round = self.meet(cb, comm, code(3, -1, row.len()), row, Needs::All)?;
        let slots = self.slots(comm)?;
        for (member, into) in into.iter().enumerate() {
            slots.read(member, round, row);
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
                let rows = into.iter().enumerate();
                let rows = rows.map(|(member, span)| Ok((member, span.pack(&self.space)?)));
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
}
