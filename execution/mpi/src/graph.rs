//! Graphs of processes: topologies in which the program says who is whose neighbour.

use crate::{
    abi,
    collective::Operation,
    engine::{Cb, Engine},
    error::{Result, count, ensure, fault},
};
use std::collections::HashMap;

/// Neighbours and the weights of the edges to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edges {
    ranks: Vec<i32>,
    weights: Vec<i32>,
}

/// A graph as one process sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// The whole of a graph that all processes gave, as `MPI_Graph_create` takes it.
    whole: Option<(Vec<i32>, Vec<i32>)>,
    sources: Edges,
    destinations: Edges,
    /// Which of its blocks a source means for each of its edges to here.
    slots: Vec<u32>,
    weighted: bool,
}

/// Between whom the collectives of neighbours move blocks.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// Who gets each block that is sent; nobody beyond the border of a grid.
    pub(crate) destinations: Vec<i32>,
    /// From whom each block comes that is received, and which of its blocks that is.
    pub(crate) sources: Vec<(i32, u32)>,
}

impl Graph {
    /// Whether all ranks in it exist among so many.
    pub(crate) fn fits(&self, size: usize) -> bool {
        let exists = |rank: &i32| usize::try_from(*rank).is_ok_and(|rank| rank < size);
        let all = |ranks: &[i32]| ranks.iter().all(exists);
        let whole = self.whole.as_ref().is_none_or(|(index, edges)| {
            index.len() == size && all(edges) && ascending(index, edges.len())
        });
        let weighted = |edges: &Edges| !self.weighted || edges.ranks.len() == edges.weights.len();
        whole
            && all(&self.sources.ranks)
            && all(&self.destinations.ranks)
            && self.slots.len() == self.sources.ranks.len()
            && weighted(&self.sources)
            && weighted(&self.destinations)
    }

    pub(crate) fn kind(&self) -> i32 {
        if self.whole.is_some() { abi::GRAPH } else { abi::DIST_GRAPH }
    }

    pub(crate) fn neighbours(&self) -> Neighbours {
        let sources = self.sources.ranks.iter().copied().zip(self.slots.iter().copied());
        Neighbours { destinations: self.destinations.ranks.clone(), sources: sources.collect() }
    }

    /// Finds which block of its source each edge stands for: the first edge from a process for its
    /// first block for this one, and so on.
    fn match_slots(&mut self, me: i32, destinations_of: impl Fn(i32) -> Vec<i32>) {
        let mut blocks: HashMap<i32, Vec<u32>> = HashMap::new();
        for source in &self.sources.ranks {
            let slots = blocks.entry(*source).or_insert_with(|| {
                let list = destinations_of(*source);
                let mine = list.iter().enumerate().filter(|(_, rank)| **rank == me);
                mine.map(|(slot, _)| slot as u32).rev().collect()
            });
            self.slots.push(slots.pop().unwrap_or(u32::MAX));
        }
    }
}

/// Whether the ends of the lists of neighbours grow up to the number of edges.
fn ascending(index: &[i32], edges: usize) -> bool {
    index.first().is_none_or(|first| *first >= 0)
        && index.is_sorted()
        && index.last().is_none_or(|last| *last as usize == edges)
}

/// The neighbours of a process in a whole graph.
fn neighbours_in<'a>(index: &[i32], edges: &'a [i32], rank: i32) -> &'a [i32] {
    let end = |rank: i32| {
        usize::try_from(rank).ok().and_then(|rank| index.get(rank)).map_or(0, |end| *end as usize)
    };
    let start = if rank == 0 { 0 } else { end(rank - 1) };
    edges.get(start..end(rank)).unwrap_or(&[])
}

fn numbers(bytes: &[u8]) -> Vec<i32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| i32::from_le_bytes(*word)).collect()
}

impl Engine {
    fn graph(&mut self, comm: i32, distributed: bool) -> Result<&Graph> {
        let graph = self.communicator(comm)?.graph.as_ref();
        let graph = graph.filter(|graph| graph.whole.is_none() == distributed);
        graph.ok_or_else(|| {
            let kind = if distributed { "distributed graph" } else { "graph" };
            fault(abi::ERR_TOPOLOGY, format!("communicator {comm} has no {kind}"))
        })
    }

    /// The ends and the edges of a graph of so many processes.
    fn read_graph(&self, nnodes: i32, index: u32, edges: u32) -> Result<(Vec<i32>, Vec<i32>)> {
        let index = self.space.ints(index, count(nnodes)? as usize)?;
        let number = index.last().copied().unwrap_or(0);
        let edges = self.space.ints(edges, count(number)? as usize)?;
        ensure(ascending(&index, edges.len()), abi::ERR_ARG, || {
            "the ends of the lists of neighbours do not grow".to_owned()
        })?;
        self.check_ranks(&edges, nnodes)?;
        Ok((index, edges))
    }

    fn check_ranks(&self, ranks: &[i32], size: i32) -> Result {
        let stranger = ranks.iter().find(|rank| !(0..size).contains(rank));
        stranger.map_or(Ok(()), |rank| {
            Err(fault(abi::ERR_RANK, format!("there is no rank {rank} among {size}")))
        })
    }

    pub(crate) fn graph_create(
        &mut self,
        cb: Cb<'_>,
        comm_old: i32,
        nnodes: i32,
        index: u32,
        edges: u32,
        _: i32,
        comm_graph: u32,
    ) -> Result {
        self.space.check_place(comm_graph)?;
        let (_, size) = self.place(comm_old)?;
        ensure(count(nnodes)? <= size as u64, abi::ERR_ARG, || {
            format!("a graph of {nnodes} needs more than {size} processes")
        })?;
        let (index, edges) = self.read_graph(nnodes, index, edges)?;
        let members = self.communicator(comm_old)?.shared.members[..nnodes as usize].to_vec();
        let shared = self.make_together(cb, comm_old, members)?;
        let handle = self.adopt(comm_old, shared)?;
        if handle != abi::COMM_NULL {
            let new = self.communicator_mut(handle)?;
            let ranks = neighbours_in(&index, &edges, new.rank as i32).to_vec();
            let sources = Edges { ranks, weights: Vec::new() };
            let mut graph = Graph { destinations: sources.clone(), sources, ..Graph::default() };
            graph.match_slots(new.rank as i32, |rank| neighbours_in(&index, &edges, rank).to_vec());
            graph.whole = Some((index, edges));
            new.graph = Some(graph);
        }
        self.space.write_i32(comm_graph, handle)
    }

    pub(crate) fn graph_map(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        nnodes: i32,
        index: u32,
        edges: u32,
        newrank: u32,
    ) -> Result {
        let (me, size) = self.place(comm)?;
        self.read_graph(nnodes, index, edges)?;
        ensure(nnodes as usize <= size, abi::ERR_ARG, || {
            "the graph needs more processes".to_owned()
        })?;
        let inside = me < nnodes as usize;
        self.space.write_i32(newrank, if inside { me as i32 } else { abi::UNDEFINED })
    }

    fn whole_graph(&mut self, comm: i32) -> Result<(Vec<i32>, Vec<i32>)> {
        Ok(self.graph(comm, false)?.whole.clone().unwrap_or_default())
    }

    pub(crate) fn graphdims_get(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        nnodes: u32,
        nedges: u32,
    ) -> Result {
        let (index, edges) = self.whole_graph(comm)?;
        self.space.write_i32(nnodes, index.len() as i32)?;
        self.space.write_i32(nedges, edges.len() as i32)
    }

    /// Writes as much of a list as the program has room for.
    fn write_some(&self, addr: u32, room: i32, list: &[i32]) -> Result {
        let shown = list.len().min(count(room)? as usize);
        self.space.write_ints(addr, &list[..shown])
    }

    pub(crate) fn graph_get(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        maxindex: i32,
        maxedges: i32,
        index: u32,
        edges: u32,
    ) -> Result {
        let (ends, ranks) = self.whole_graph(comm)?;
        self.write_some(index, maxindex, &ends)?;
        self.write_some(edges, maxedges, &ranks)
    }

    fn neighbours_of(&mut self, comm: i32, rank: i32) -> Result<Vec<i32>> {
        let (index, edges) = self.whole_graph(comm)?;
        self.check_ranks(&[rank], index.len() as i32)?;
        Ok(neighbours_in(&index, &edges, rank).to_vec())
    }

    pub(crate) fn graph_neighbors_count(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        rank: i32,
        nneighbors: u32,
    ) -> Result {
        let number = self.neighbours_of(comm, rank)?.len();
        self.space.write_i32(nneighbors, number as i32)
    }

    pub(crate) fn graph_neighbors(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        rank: i32,
        maxneighbors: i32,
        neighbors: u32,
    ) -> Result {
        let ranks = self.neighbours_of(comm, rank)?;
        self.write_some(neighbors, maxneighbors, &ranks)
    }

    /// Neighbours that a process names itself, with weights unless there are none.
    fn read_edges(&self, degree: i32, ranks: u32, weights: u32, size: i32) -> Result<Edges> {
        let degree = count(degree)? as usize;
        let ranks = self.space.ints(ranks, degree)?;
        self.check_ranks(&ranks, size)?;
        let weights = match weights {
            // MPI_WEIGHTS_EMPTY is no address either.
            _ if degree == 0 => Vec::new(),
            abi::UNWEIGHTED => Vec::new(),
            addr => self.space.ints(addr, degree)?,
        };
        let negative = weights.iter().any(|weight| *weight < 0);
        ensure(!negative, abi::ERR_ARG, || "a weight is negative".to_owned())?;
        Ok(Edges { ranks, weights })
    }

    /// Makes the communicator of a graph, and tells its members the edges that this one knows.
    fn tell_edges(&mut self, cb: Cb<'_>, comm_old: i32, edges: &[i32]) -> Result<(i32, Operation)> {
        let handle = self.once(|engine| {
            let members = engine.communicator(comm_old)?.shared.members.clone();
            let shared = engine.make_together(cb, comm_old, members)?;
            Ok(engine.adopt(comm_old, shared)? as u32)
        })? as i32;
        let bytes = edges.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok((handle, self.exchange(cb, handle, bytes)?))
    }

    fn give_graph(&mut self, handle: i32, graph: Graph, comm: u32) -> Result {
        self.communicator_mut(handle)?.graph = Some(graph);
        self.space.write_i32(comm, handle)
    }

    pub(crate) fn dist_graph_create_adjacent(
        &mut self,
        cb: Cb<'_>,
        comm_old: i32,
        indegree: i32,
        sources: u32,
        sourceweights: u32,
        outdegree: i32,
        destinations: u32,
        destweights: u32,
        info: i32,
        _: i32,
        comm_dist_graph: u32,
    ) -> Result {
        self.space.check_place(comm_dist_graph)?;
        self.info(info)?;
        let (me, size) = self.place(comm_old)?;
        let weighted = sourceweights != abi::UNWEIGHTED;
        ensure(weighted == (destweights != abi::UNWEIGHTED), abi::ERR_ARG, || {
            "only some of the edges have weights".to_owned()
        })?;
        let sources = self.read_edges(indegree, sources, sourceweights, size as i32)?;
        let destinations = self.read_edges(outdegree, destinations, destweights, size as i32)?;
        let (handle, round) = self.tell_edges(cb, comm_old, &destinations.ranks)?;
        let mut graph = Graph { sources, destinations, weighted, ..Graph::default() };
        let lists: Vec<&[u8]> = round.entries().map(|entry| entry.data()).collect();
        let list = |rank: i32| lists.get(rank as usize).map_or(Vec::new(), |list| numbers(list));
        graph.match_slots(me as i32, list);
        self.give_graph(handle, graph, comm_dist_graph)
    }

    /// The edges that a process gives: source, destination and weight of each.
    fn read_any_edges(
        &self,
        n: i32,
        [sources, degrees, destinations, weights]: [u32; 4],
        size: i32,
    ) -> Result<Vec<i32>> {
        let n = count(n)? as usize;
        let (sources, degrees) = (self.space.ints(sources, n)?, self.space.ints(degrees, n)?);
        self.check_ranks(&sources, size)?;
        let lengths = degrees.iter().map(|degree| count(*degree)).collect::<Result<Vec<_>>>()?;
        let total = i32::try_from(lengths.iter().sum::<u64>())
            .map_err(|_| fault(abi::ERR_COUNT, "the graph has too many edges"))?;
        let Edges { ranks, weights } = self.read_edges(total, destinations, weights, size)?;
        let starts = sources.iter().zip(&degrees);
        let starts = starts.flat_map(|(rank, degree)| (0..*degree).map(|_| *rank));
        let weights = weights.into_iter().chain(std::iter::repeat(1));
        let edges = starts.zip(ranks).zip(weights);
        Ok(edges.flat_map(|((from, to), weight)| [from, to, weight]).collect())
    }

    pub(crate) fn dist_graph_create(
        &mut self,
        cb: Cb<'_>,
        comm_old: i32,
        n: i32,
        sources: u32,
        degrees: u32,
        destinations: u32,
        weights: u32,
        info: i32,
        _: i32,
        comm_dist_graph: u32,
    ) -> Result {
        self.space.check_place(comm_dist_graph)?;
        self.info(info)?;
        let (me, size) = self.place(comm_old)?;
        let given = [sources, degrees, destinations, weights];
        let edges = self.read_any_edges(n, given, size as i32)?;
        let (handle, round) = self.tell_edges(cb, comm_old, &edges)?;
        let mut graph = Graph { weighted: weights != abi::UNWEIGHTED, ..Graph::default() };
        let mut blocks: HashMap<i32, u32> = HashMap::new();
        for entry in round.entries() {
            let edges = numbers(entry.data());
            let (edges, _) = edges.as_chunks::<3>();
            for &[from, to, weight] in edges {
                if from == me as i32 {
                    graph.destinations.ranks.push(to);
                    graph.destinations.weights.push(weight);
                }
                let block = blocks.entry(from).or_default();
                if to == me as i32 {
                    graph.sources.ranks.push(from);
                    graph.sources.weights.push(weight);
                    graph.slots.push(*block);
                }
                *block += 1;
            }
        }
        self.give_graph(handle, graph, comm_dist_graph)
    }

    pub(crate) fn dist_graph_neighbors_count(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        indegree: u32,
        outdegree: u32,
        weighted: u32,
    ) -> Result {
        let graph = self.graph(comm, true)?;
        let (sources, destinations) = (graph.sources.ranks.len(), graph.destinations.ranks.len());
        let has_weights = graph.weighted;
        self.space.write_i32(indegree, sources as i32)?;
        self.space.write_i32(outdegree, destinations as i32)?;
        self.space.write_i32(weighted, i32::from(has_weights))
    }

    pub(crate) fn dist_graph_neighbors(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        maxindegree: i32,
        sources: u32,
        sourceweights: u32,
        maxoutdegree: i32,
        destinations: u32,
        destweights: u32,
    ) -> Result {
        let graph = self.graph(comm, true)?.clone();
        for (edges, room, ranks, weights) in [
            (&graph.sources, maxindegree, sources, sourceweights),
            (&graph.destinations, maxoutdegree, destinations, destweights),
        ] {
            self.write_some(ranks, room, &edges.ranks)?;
            if graph.weighted && weights != abi::UNWEIGHTED {
                self.write_some(weights, room, &edges.weights)?;
            }
        }
        Ok(())
    }
}

crate::image::wire_struct!(Edges { ranks, weights });
crate::image::wire_struct!(Graph { whole, sources, destinations, slots, weighted });
