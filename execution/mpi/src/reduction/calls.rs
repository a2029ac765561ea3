//! The calls that reduce: which round, or which slots, each of them takes.

use super::{Op, Reduction, Target, UserReduction};
use crate::{
    abi,
    collective::{FAST_BYTES, Needs, Plan, code},
    engine::{Cb, Engine},
    error::{Result, count, ensure, fault},
    offer::Offer,
    op::{self, Builtin, Layout, UserOp},
    transfer::Span,
};

impl Engine {
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
        let round = self.meet(cb, comm, code(call, root, left.len()), left, needs)?;
        let Some(into) = into else { return Ok(Some(())) };
        let fast = self.slots(comm)?;
        fast.read(0, round, left);
        for member in 1..fast.members() {
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
}
