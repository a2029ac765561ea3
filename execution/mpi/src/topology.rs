//! Cartesian topologies.

use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, count, ensure, fault},
    graph::Neighbours,
    image::{Decoded, Reader, Wire, Writer, sound},
};
use std::cmp::Ordering;

/// The most dimensions of a grid.
const DIMENSIONS_MAX: i32 = 64;

/// A grid of processes, the last dimension running fastest.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    dims: Vec<i32>,
    periodic: Vec<bool>,
}

impl Grid {
    fn size(&self) -> i64 {
        self.dims.iter().fold(1, |size, dim| i64::from(*dim).saturating_mul(size))
    }

    fn coordinates(&self, rank: i32) -> Vec<i32> {
        let mut rest = rank;
        let mut coordinates = vec![0; self.dims.len()];
        for (coordinate, dim) in coordinates.iter_mut().zip(&self.dims).rev() {
            *coordinate = rest % dim;
            rest /= dim;
        }
        coordinates
    }

    /// The rank at some coordinates; none outside of a dimension that does not wrap.
    fn rank(&self, coordinates: &[i32]) -> Option<i32> {
        let mut rank = 0;
        for ((coordinate, dim), periodic) in coordinates.iter().zip(&self.dims).zip(&self.periodic)
        {
            let within = (0..*dim).contains(coordinate);
            if !within && !periodic {
                return None;
            }
            rank = rank * dim + coordinate.rem_euclid(*dim);
        }
        Some(rank)
    }
}

impl Grid {
    /// Those before and after a process along each dimension. What goes to the one before comes
    /// from the one after, even where both are the same process.
    pub(crate) fn neighbours(&self, rank: i32) -> Neighbours {
        let own = self.coordinates(rank);
        let mut neighbours = Neighbours::default();
        for dimension in 0..own.len() {
            for (step, slot) in [(-1, 1), (1, 0)] {
                let mut coordinates = own.clone();
                coordinates[dimension] += step;
                let neighbour = self.rank(&coordinates).unwrap_or(abi::PROC_NULL);
                neighbours.destinations.push(neighbour);
                neighbours.sources.push((neighbour, 2 * dimension as u32 + slot));
            }
        }
        neighbours
    }
}

/// Divides a number of processes among the dimensions that are zero, as evenly as possible.
fn divide(nodes: i32, dims: &mut [i32]) -> Result {
    let text = || fault(abi::ERR_DIMS, format!("{nodes} processes can not be divided so"));
    let given = dims.iter().filter(|dim| **dim != 0);
    let fixed = given.fold(1_i64, |fixed, dim| fixed.saturating_mul(i64::from(*dim)));
    let valid = nodes > 0 && fixed > 0 && dims.iter().all(|dim| *dim >= 0);
    if !valid || i64::from(nodes) % fixed != 0 {
        return Err(text());
    }
    let free = dims.iter().filter(|dim| **dim == 0).count();
    let rest = (i64::from(nodes) / fixed) as i32;
    if free == 0 {
        return if rest == 1 { Ok(()) } else { Err(text()) };
    }
    // No number is a product of more than thirty others, but for ones.
    let mut sizes = even_sizes(rest, free.min(31) as u32, (1, rest)).into_iter();
    for dim in dims.iter_mut().filter(|dim| **dim == 0) {
        *dim = sizes.next().unwrap_or(1);
    }
    Ok(())
}

/// The divisors of a number, ascending.
fn divisors(n: i32) -> Vec<i32> {
    let small = (1..).take_while(|size| i64::from(*size) * i64::from(*size) <= i64::from(n));
    let small: Vec<i32> = small.filter(|size| n % size == 0).collect();
    let large = small.iter().rev().map(|size| n / size).filter(|size| !small.contains(size));
    small.iter().copied().chain(large).collect()
}

/// How a power compares with a number.
fn compare_power(base: i32, exponent: u32, n: i32) -> Ordering {
    let power = i64::from(base).checked_pow(exponent);
    power.map_or(Ordering::Greater, |power| power.cmp(&i64::from(n)))
}

/// Whether a number is a product of so many sizes from `low` to `high`.
fn can_divide(n: i32, parts: u32, (low, high): (i32, i32)) -> bool {
    let possible = compare_power(low, parts, n).is_le() && compare_power(high, parts, n).is_ge();
    if !possible || parts <= 1 {
        return possible;
    }
    let sizes = divisors(n).into_iter().rev().filter(|size| (low..=high).contains(size));
    sizes.into_iter().any(|size| can_divide(n / size, parts - 1, (low, size)))
}

/// A number as a product of so many sizes, which decrease, between two bounds that allow it. The
/// largest and the smallest are as close as possible; of equally close ones, those that are larger.
fn even_sizes(n: i32, parts: u32, (low, high): (i32, i32)) -> Vec<i32> {
    if parts <= 1 {
        return vec![n; parts as usize];
    }
    let divisors = divisors(n);
    let within = divisors.iter().copied().filter(|size| (low..=high).contains(size));
    let (smaller, larger): (Vec<i32>, Vec<i32>) =
        within.partition(|size| compare_power(*size, parts, n).is_lt());
    let exact = larger.first().filter(|size| compare_power(**size, parts, n).is_eq());
    if let Some(exact) = exact {
        return vec![*exact; parts as usize];
    }
    let mut best = None;
    for first in larger {
        for last in smaller.iter().rev().copied() {
            if best.is_some_and(|(first_best, last_best)| first - last > first_best - last_best) {
                break;
            }
            let both = i64::from(first) * i64::from(last);
            let rest = (i64::from(n) / both) as i32;
            if i64::from(n) % both == 0 && can_divide(rest, parts - 2, (last, first)) {
                best = Some((first, last));
                break;
            }
        }
    }
    let (first, last) = best.unwrap_or((n, 1));
    let mut sizes = vec![first];
    sizes.extend(even_sizes(n / first / last, parts - 2, (last, first)));
    sizes.push(last);
    sizes
}

impl Engine {
    fn grid(&mut self, comm: i32) -> Result<Grid> {
        let grid = self.communicator(comm)?.grid.clone();
        grid.ok_or_else(|| {
            fault(abi::ERR_TOPOLOGY, format!("communicator {comm} has no Cartesian topology"))
        })
    }

    fn read_grid(&self, ndims: i32, dims: u32, periods: u32) -> Result<Grid> {
        ensure((0..=DIMENSIONS_MAX).contains(&ndims), abi::ERR_DIMS, || {
            format!("{ndims} dimensions are not possible")
        })?;
        let dims = self.space.ints(dims, ndims as usize)?;
        let periodic =
            self.space.ints(periods, ndims as usize)?.iter().map(|flag| *flag != 0).collect();
        let grid = Grid { dims, periodic };
        let bad = grid.dims.iter().any(|dim| *dim <= 0 || *dim > 1 << 20) || grid.size() > 1 << 20;
        ensure(!bad, abi::ERR_DIMS, || {
            "a dimension is not positive, or the grid is too large".to_owned()
        })?;
        Ok(grid)
    }

    pub(crate) fn cart_create(
        &mut self,
        cb: Cb<'_>,
        comm_old: i32,
        ndims: i32,
        dims: u32,
        periods: u32,
        _: i32,
        comm_cart: u32,
    ) -> Result {
        self.space.check_place(comm_cart)?;
        let (_, size) = self.place(comm_old)?;
        let grid = self.read_grid(ndims, dims, periods)?;
        let fits = grid.size() <= size as i64;
        ensure(fits, abi::ERR_DIMS, || {
            format!("a grid of {} needs more than {size} processes", grid.size())
        })?;
        let members = self.communicator(comm_old)?.shared.members[..grid.size() as usize].to_vec();
        let shared = self.make_together(cb, comm_old, members)?;
        let handle = self.adopt(comm_old, shared)?;
        if handle != abi::COMM_NULL {
            self.communicator_mut(handle)?.grid = Some(grid);
        }
        self.space.write_i32(comm_cart, handle)
    }

    pub(crate) fn cart_sub(
        &mut self,
        cb: Cb<'_>,
        comm: i32,
        remain_dims: u32,
        newcomm: u32,
    ) -> Result {
        self.space.check_place(newcomm)?;
        let grid = self.grid(comm)?;
        let remain = self.space.ints(remain_dims, grid.dims.len())?;
        let coordinates = grid.coordinates(self.communicator(comm)?.rank as i32);
        let part = |keep: bool| {
            let chosen = remain.iter().enumerate().filter(move |(_, flag)| (**flag != 0) == keep);
            chosen.map(|(place, _)| place)
        };
        let place = |keep| part(keep).fold(0, |rank, dim| rank * grid.dims[dim] + coordinates[dim]);
        let handle = self.split(cb, comm, place(false), place(true))?;
        let dims = part(true).map(|dim| grid.dims[dim]).collect();
        let periodic = part(true).map(|dim| grid.periodic[dim]).collect();
        self.communicator_mut(handle)?.grid = Some(Grid { dims, periodic });
        self.space.write_i32(newcomm, handle)
    }

    pub(crate) fn cart_coords(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        rank: i32,
        maxdims: i32,
        coords: u32,
    ) -> Result {
        let grid = self.grid(comm)?;
        let exists = (0..grid.size()).contains(&i64::from(rank));
        ensure(exists, abi::ERR_RANK, || format!("there is no rank {rank} in the grid"))?;
        let coordinates = grid.coordinates(rank);
        let shown = coordinates.len().min(count(maxdims)? as usize);
        self.space.write_ints(coords, &coordinates[..shown])
    }

    pub(crate) fn cart_rank(&mut self, _: Cb<'_>, comm: i32, coords: u32, rank: u32) -> Result {
        let grid = self.grid(comm)?;
        let coordinates = self.space.ints(coords, grid.dims.len())?;
        let found = grid.rank(&coordinates);
        let found = found.ok_or_else(|| {
            fault(abi::ERR_ARG, format!("the coordinates {coordinates:?} lie outside of the grid"))
        })?;
        self.space.write_i32(rank, found)
    }

    pub(crate) fn cart_shift(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        direction: i32,
        disp: i32,
        rank_source: u32,
        rank_dest: u32,
    ) -> Result {
        let grid = self.grid(comm)?;
        let own = grid.coordinates(self.communicator(comm)?.rank as i32);
        let dimension = usize::try_from(direction).ok().filter(|dimension| *dimension < own.len());
        let dimension = dimension.ok_or_else(|| {
            fault(abi::ERR_DIMS, format!("the grid has no dimension {direction}"))
        })?;
        let neighbour = |step: i64| {
            let mut coordinates = own.clone();
            let moved = i64::from(own[dimension]) + step;
            coordinates[dimension] = i32::try_from(moved).ok()?;
            grid.rank(&coordinates)
        };
        let (source, dest) = (neighbour(-i64::from(disp)), neighbour(i64::from(disp)));
        self.space.write_i32(rank_source, source.unwrap_or(abi::PROC_NULL))?;
        self.space.write_i32(rank_dest, dest.unwrap_or(abi::PROC_NULL))
    }

    pub(crate) fn cart_get(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        maxdims: i32,
        dims: u32,
        periods: u32,
        coords: u32,
    ) -> Result {
        let grid = self.grid(comm)?;
        let own = grid.coordinates(self.communicator(comm)?.rank as i32);
        let shown = own.len().min(count(maxdims)? as usize);
        let periodic: Vec<i32> = grid.periodic.iter().map(|flag| i32::from(*flag)).collect();
        self.space.write_ints(dims, &grid.dims[..shown])?;
        self.space.write_ints(periods, &periodic[..shown])?;
        self.space.write_ints(coords, &own[..shown])
    }

    pub(crate) fn cartdim_get(&mut self, _: Cb<'_>, comm: i32, ndims: u32) -> Result {
        let dims = self.grid(comm)?.dims.len();
        self.space.write_i32(ndims, dims as i32)
    }

    pub(crate) fn cart_map(
        &mut self,
        _: Cb<'_>,
        comm: i32,
        ndims: i32,
        dims: u32,
        periods: u32,
        newrank: u32,
    ) -> Result {
        let (me, size) = self.place(comm)?;
        let grid = self.read_grid(ndims, dims, periods)?;
        ensure(grid.size() <= size as i64, abi::ERR_DIMS, || {
            "the grid needs more processes".to_owned()
        })?;
        let inside = (me as i64) < grid.size();
        self.space.write_i32(newrank, if inside { me as i32 } else { abi::UNDEFINED })
    }

    pub(crate) fn dims_create(&mut self, _: Cb<'_>, nnodes: i32, ndims: i32, dims: u32) -> Result {
        ensure((0..=DIMENSIONS_MAX).contains(&ndims), abi::ERR_DIMS, || {
            format!("{ndims} dimensions are not possible")
        })?;
        let mut sizes = self.space.ints(dims, ndims as usize)?;
        divide(nnodes, &mut sizes)?;
        self.space.write_ints(dims, &sizes)
    }

    pub(crate) fn topo_test(&mut self, _: Cb<'_>, comm: i32, status: u32) -> Result {
        let known = self.communicator(comm)?;
        let kind = match (&known.grid, &known.graph) {
            (Some(_), _) => abi::CART,
            (None, Some(graph)) => graph.kind(),
            (None, None) => abi::UNDEFINED,
        };
        self.space.write_i32(status, kind)
    }
}

impl Wire for Grid {
    fn put(&self, to: &mut Writer<'_>) {
        self.dims.put(to);
        self.periodic.put(to);
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let (dims, periodic): (Vec<i32>, Vec<bool>) = Wire::get(from)?;
        let grid = Self { dims, periodic };
        let positive = grid.dims.iter().all(|dim| *dim > 0) && grid.size() <= 1 << 20;
        sound(positive && grid.dims.len() == grid.periodic.len(), "a grid of it is none")?;
        Ok(grid)
    }
}
