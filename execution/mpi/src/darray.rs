//! The part of an array that one process of a grid has: `MPI_Type_create_darray`.

use crate::{
    abi,
    datatype::{Part, Recipe, Type},
    error::{Result, ensure, fault},
    recipe::strided,
};
use std::sync::Arc;

/// How one dimension is divided.
struct Division {
    size: i64,
    distribution: i32,
    argument: i32,
    processes: i64,
    /// Which of the processes along the dimension this is.
    coordinate: i64,
}

impl Division {
    fn is_default(&self) -> bool {
        self.argument == abi::DISTRIBUTE_DFLT_DARG
    }

    /// How many elements each process has in a row.
    fn block(&self) -> Result<i64> {
        let (argument, size) = (i64::from(self.argument), self.size);
        let block = match (self.distribution, self.is_default()) {
            (abi::DISTRIBUTE_NONE, _) if self.processes == 1 => size,
            (abi::DISTRIBUTE_BLOCK, true) => (size + self.processes - 1) / self.processes,
            (abi::DISTRIBUTE_BLOCK, false) if argument * self.processes >= size => argument,
            (abi::DISTRIBUTE_CYCLIC, true) => 1,
            (abi::DISTRIBUTE_CYCLIC, false) => argument,
            _ => 0,
        };
        ensure(block > 0, abi::ERR_ARG, || {
            format!("{size} elements can not be divided among {} processes so", self.processes)
        })?;
        Ok(block)
    }

    /// The elements of this process, `stride` bytes apart, and where the first one lies.
    fn elements(&self, stride: i64, old: &Type) -> Result<(Type, i64)> {
        let (block, cycle) = (self.block()?, self.block()?.saturating_mul(self.processes));
        let element = Arc::new(old.resized(old.lb, stride, Recipe::default()));
        let first = block.saturating_mul(self.coordinate);
        let left = (self.size - first).max(0);
        // Whole blocks, and what is left for the last one.
        let whole = (left + cycle - block) / cycle;
        let rest = (left - whole * cycle).clamp(0, block);
        let fitting = |value: i64| {
            i32::try_from(value).map_err(|_| fault(abi::ERR_ARG, "the array is too large"))
        };
        let distance = cycle.saturating_mul(stride);
        let blocks = Arc::new(strided(fitting(whole)?, fitting(block)?, distance, &element)?);
        let last = Part { at: whole.saturating_mul(distance), length: rest as u64, old: &element };
        let all = Part { at: 0, length: u64::from(whole > 0), old: &blocks };
        Ok((Type::build(&[all, last], Recipe::default())?, first.saturating_mul(stride)))
    }
}

/// The place of a process in a grid, the last dimension running fastest.
fn coordinates((size, rank): (i32, i32), processes: &[i32]) -> Result<Vec<i64>> {
    let all = processes.iter().fold(1_i64, |all, dim| all.saturating_mul(i64::from(*dim)));
    let sound = processes.iter().all(|dim| *dim > 0) && all == i64::from(size);
    ensure(sound && (0..size).contains(&rank), abi::ERR_ARG, || {
        format!("rank {rank} of {size} processes has no place in a grid of {processes:?}")
    })?;
    let mut left = i64::from(rank);
    let mut places = vec![0; processes.len()];
    for (place, dim) in places.iter_mut().zip(processes).rev() {
        *place = left % i64::from(*dim);
        left /= i64::from(*dim);
    }
    Ok(places)
}

/// Makes the datatype; `rest` has sizes, distributions, arguments and processes of the dimensions.
pub(crate) fn build(
    old: &Arc<Type>,
    place: (i32, i32),
    dims: i32,
    rest: &[i32],
    order: i32,
) -> Result<Type> {
    let n = usize::try_from(dims).unwrap_or(0);
    let complete = n > 0 && n.checked_mul(4) == Some(rest.len());
    let ordered = matches!(order, abi::ORDER_C | abi::ORDER_FORTRAN);
    ensure(complete && ordered, abi::ERR_ARG, || {
        "a distributed array needs dimensions and an order".to_owned()
    })?;
    let [sizes, distributions, arguments, processes] =
        [0, 1, 2, 3].map(|part| &rest[part * n..(part + 1) * n]);
    let places = coordinates(place, processes)?;
    let mut ty = Arc::clone(old);
    let (mut stride, mut offset) = (old.extent, 0_i64);
    for step in 0..n {
        // The fastest dimension first.
        let dim = if order == abi::ORDER_C { n - 1 - step } else { step };
        ensure(sizes[dim] > 0, abi::ERR_ARG, || format!("dimension {dim} has no elements"))?;
        let division = Division {
            size: i64::from(sizes[dim]),
            distribution: distributions[dim],
            argument: arguments[dim],
            processes: i64::from(processes[dim]),
            coordinate: places[dim],
        };
        let (elements, start) = division.elements(stride, &ty)?;
        ty = Arc::new(elements);
        offset = offset.saturating_add(start);
        stride = stride.saturating_mul(division.size);
    }
    // A process that has nothing may have its place beyond the end.
    let at = if ty.size == 0 { 0 } else { offset };
    let placed = Type::build(&[Part { at, length: 1, old: &ty }], Recipe::default())?;
    Ok(placed.resized(0, stride, Recipe::default()))
}
