//! Collectives among neighbours in a topology.

use crate::{
    abi,
    collective::Needs,
    datatype::Recipe,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    graph::Neighbours,
    movement::{Named, Pulls},
    offer::Offer,
    transfer::Span,
};
use std::{collections::BTreeMap, sync::Arc};

/// Several blocks as one span, in their order.
fn together(blocks: &[Span]) -> Result<Option<Span>> {
    let (first, rest) = match blocks {
        [] => return Ok(None),
        [only] => return Ok(Some(only.clone())),
        [first, rest @ ..] => (first, rest),
    };
    let mut recipe = Recipe { combiner: abi::COMBINER_STRUCT, ..Recipe::default() };
    recipe.ints.push(blocks.len() as i32);
    for block in std::iter::once(first).chain(rest) {
        let offset = i64::from(block.addr) - i64::from(first.addr);
        let offset = i32::try_from(offset)
            .map_err(|_| fault(abi::ERR_BUFFER, "blocks for one neighbour lie too far apart"))?;
        let number = i32::try_from(block.count)
            .map_err(|_| fault(abi::ERR_COUNT, "a block for a neighbour is too large"))?;
        recipe.ints.push(number);
        recipe.addresses.push(offset);
        recipe.types.push(Arc::clone(&block.ty));
    }
    Ok(Some(Span { addr: first.addr, count: 1, ty: Arc::new(recipe.build()?) }))
}

impl Engine {
    fn neighbours(&mut self, comm: i32) -> Result<Neighbours> {
        let known = self.communicator(comm)?;
        let neighbours = match (&known.grid, &known.graph) {
            (Some(grid), _) => Some(grid.neighbours(known.rank as i32)),
            (None, Some(graph)) => Some(graph.neighbours()),
            (None, None) => None,
        };
        let neighbours = neighbours.ok_or_else(|| {
            fault(abi::ERR_TOPOLOGY, format!("communicator {comm} has no topology"))
        })?;
        let (_, size) = self.place(comm)?;
        let known = |(rank, slot): &(i32, u32)| *slot != u32::MAX && *rank < size as i32;
        ensure(neighbours.sources.iter().all(known), abi::ERR_TOPOLOGY, || {
            "a neighbour does not have this process as its own: the graph is not symmetric"
                .to_owned()
        })?;
        Ok(neighbours)
    }

    /// Moves a block along each edge. All that goes to one neighbour goes as one.
    fn move_along_edges(
        &mut self,
        cb: Cb<'_>,
        neighbours: &Neighbours,
        (from, into): (Vec<Span>, Vec<Span>),
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let (_, size) = self.place(comm)?;
        let mut sent: Vec<Vec<Span>> = vec![Vec::new(); size];
        for (rank, block) in neighbours.destinations.iter().zip(from) {
            if let Some(blocks) = usize::try_from(*rank).ok().and_then(|rank| sent.get_mut(rank)) {
                blocks.push(block);
            }
        }
        let nothing = self.buffer(0, 0, abi::BYTE)?;
        let offer = sent.iter().map(|blocks| Ok(together(blocks)?.unwrap_or(nothing.clone())));
        let offer = Offer::Each(offer.collect::<Result<_>>()?);
        let mut received: BTreeMap<usize, Vec<(u32, Span)>> = BTreeMap::new();
        for ((rank, slot), block) in neighbours.sources.iter().zip(into) {
            if let Ok(rank) = usize::try_from(*rank) {
                received.entry(rank).or_default().push((*slot, block));
            }
        }
        let mut list = Vec::new();
        for (rank, mut blocks) in received {
            blocks.sort_by_key(|(slot, _)| *slot);
            let blocks: Vec<Span> = blocks.into_iter().map(|(_, block)| block).collect();
            list.extend(together(&blocks)?.map(|block| (rank, block)));
        }
        let operation = self.begin(comm, -1, offer, None, Pulls::plan(list, Needs::All))?;
        self.conduct(cb, comm, operation, request)
    }

    fn gather_from_neighbours(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        into: impl FnOnce(&Self, usize) -> Result<Vec<Span>>,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let neighbours = self.neighbours(comm)?;
        let own = self.buffer(addr, count, datatype)?;
        let into = into(self, neighbours.sources.len())?;
        let from = vec![own; neighbours.destinations.len()];
        self.move_along_edges(cb, &neighbours, (from, into), comm, request)
    }

    fn exchange_with_neighbours(
        &mut self,
        cb: Cb<'_>,
        from: impl FnOnce(&Self, usize) -> Result<Vec<Span>>,
        into: impl FnOnce(&Self, usize) -> Result<Vec<Span>>,
        comm: i32,
        request: Option<u32>,
    ) -> Result {
        let neighbours = self.neighbours(comm)?;
        let from = from(self, neighbours.destinations.len())?;
        let into = into(self, neighbours.sources.len())?;
        self.move_along_edges(cb, &neighbours, (from, into), comm, request)
    }
}

/// Each call in its blocking and its non-blocking form.
macro_rules! calls {
    ($(
        $blocking:ident $later:ident($($argument:ident: $type:ty),*) =
            |$engine:ident, $cb:ident, $comm:ident, $request:ident| $body:expr;
    )*) => {
        impl Engine {
            $(
                pub(crate) fn $blocking(
                    &mut self,
                    $cb: Cb<'_>,
                    $($argument: $type,)*
                    $comm: i32,
                ) -> Result {
                    let ($engine, $request) = (self, None);
                    $body
                }

                pub(crate) fn $later(
                    &mut self,
                    $cb: Cb<'_>,
                    $($argument: $type,)*
                    $comm: i32,
                    request: u32,
                ) -> Result {
                    self.space.check_place(request)?;
                    let ($engine, $request) = (self, Some(request));
                    $body
                }
            )*
        }
    };
}

calls! {
    neighbor_allgather ineighbor_allgather(
        sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32
    ) = |engine, cb, comm, request| {
        let into = |engine: &Self, size| engine.equal_parts((recvbuf, recvcount, recvtype), size);
        engine.gather_from_neighbours(cb, (sendbuf, sendcount, sendtype), into, comm, request)
    };
    neighbor_allgatherv ineighbor_allgatherv(
        sendbuf: u32, sendcount: i32, sendtype: i32,
        recvbuf: u32, recvcounts: u32, displs: u32, recvtype: i32
    ) = |engine, cb, comm, request| {
        let into =
            |engine: &Self, size| engine.parts((recvbuf, recvtype), recvcounts, displs, size);
        engine.gather_from_neighbours(cb, (sendbuf, sendcount, sendtype), into, comm, request)
    };
    neighbor_alltoall ineighbor_alltoall(
        sendbuf: u32, sendcount: i32, sendtype: i32, recvbuf: u32, recvcount: i32, recvtype: i32
    ) = |engine, cb, comm, request| {
        let from = |engine: &Self, size| engine.equal_parts((sendbuf, sendcount, sendtype), size);
        let into = |engine: &Self, size| engine.equal_parts((recvbuf, recvcount, recvtype), size);
        engine.exchange_with_neighbours(cb, from, into, comm, request)
    };
    neighbor_alltoallv ineighbor_alltoallv(
        sendbuf: u32, sendcounts: u32, sdispls: u32, sendtype: i32,
        recvbuf: u32, recvcounts: u32, rdispls: u32, recvtype: i32
    ) = |engine, cb, comm, request| {
        let from = |engine: &Self, size| engine.parts((sendbuf, sendtype), sendcounts, sdispls, size);
        let into = |engine: &Self, size| engine.parts((recvbuf, recvtype), recvcounts, rdispls, size);
        engine.exchange_with_neighbours(cb, from, into, comm, request)
    };
    neighbor_alltoallw ineighbor_alltoallw(
        sendbuf: u32, sendcounts: u32, sdispls: u32, sendtypes: u32,
        recvbuf: u32, recvcounts: u32, rdispls: u32, recvtypes: u32
    ) = |engine, cb, comm, request| {
        let from =
            |engine: &Self, size| engine.typed_parts([sendbuf, sendcounts, sdispls, sendtypes], size);
        let into =
            |engine: &Self, size| engine.typed_parts([recvbuf, recvcounts, rdispls, recvtypes], size);
        engine.exchange_with_neighbours(cb, from, into, comm, request)
    };
}
