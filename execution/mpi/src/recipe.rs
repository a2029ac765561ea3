//! How derived datatypes are made: from a recipe, which a program may ask for later, and from which
//! a rank that is restored makes its datatypes again.

use crate::{
    abi,
    datatype::{Part, Recipe, Type},
    error::{Result, count, ensure, fault},
};
use std::sync::Arc;

/// The arguments do not belong to the combiner: no call makes such a recipe, but an image may.
fn unknown() -> crate::error::Fault {
    fault(abi::ERR_ARG, "the arguments are not those of the datatype's combiner")
}

impl Recipe {
    /// Makes the datatype.
    pub(crate) fn build(self) -> Result<Type> {
        let ty = match (self.combiner, self.ints.as_slice(), self.addresses.as_slice()) {
            (abi::COMBINER_DUP, [], []) => {
                Type { recipe: Self::default(), ..(**self.old()?).clone() }
            }
            (abi::COMBINER_CONTIGUOUS, [number], []) => {
                let part = Part { at: 0, length: count(*number)?, old: self.old()? };
                Type::build(&[part], Self::default())?
            }
            (abi::COMBINER_VECTOR, [number, length, stride], []) => {
                let stride = i64::from(*stride).saturating_mul(self.old()?.extent);
                strided(*number, *length, stride, self.old()?)?
            }
            (abi::COMBINER_HVECTOR, [number, length], [stride]) => {
                strided(*number, *length, i64::from(*stride), self.old()?)?
            }
            (abi::COMBINER_INDEXED, [number, rest @ ..], []) => {
                let (lengths, places) = halves(*number, rest)?;
                placed(lengths, places, self.old()?.extent, self.old()?)?
            }
            (abi::COMBINER_HINDEXED, [_, lengths @ ..], places) => {
                placed(lengths, places, 1, self.old()?)?
            }
            (abi::COMBINER_INDEXED_BLOCK, [_, length, places @ ..], []) => {
                placed(&vec![*length; places.len()], places, self.old()?.extent, self.old()?)?
            }
            (abi::COMBINER_HINDEXED_BLOCK, [_, length], places) => {
                placed(&vec![*length; places.len()], places, 1, self.old()?)?
            }
            (abi::COMBINER_STRUCT, [_, lengths @ ..], places) => self.structure(lengths, places)?,
            (abi::COMBINER_SUBARRAY, [dims, rest @ .., order], []) => {
                self.subarray(*dims, rest, *order)?
            }
            (abi::COMBINER_RESIZED, [], [lb, extent]) => {
                self.old()?.resized(i64::from(*lb), i64::from(*extent), Self::default())
            }
            _ => return Err(unknown()),
        };
        let depth = self.types.iter().map(|old| old.depth + 1).max().unwrap_or(0).max(ty.depth);
        let ty = Type { recipe: self, depth, ..ty };
        ty.check_bounds()?;
        Ok(ty)
    }

    /// The datatype that it is made of, where that is one.
    fn old(&self) -> Result<&Arc<Type>> {
        match self.types.as_slice() {
            [old] => Ok(old),
            _ => Err(unknown()),
        }
    }

    fn structure(&self, lengths: &[i32], places: &[i32]) -> Result<Type> {
        let same = lengths.len() == places.len() && places.len() == self.types.len();
        ensure(same, abi::ERR_ARG, || "a structure has parts without a place".to_owned())?;
        let part = |((length, place), old): ((&i32, &i32), _)| {
            Ok(Part { at: i64::from(*place), length: count(*length)?, old })
        };
        let parts = lengths.iter().zip(places).zip(&self.types).map(part);
        Ok(Type::build(&parts.collect::<Result<Vec<_>>>()?, Self::default())?.padded())
    }

    fn subarray(&self, dims: i32, rest: &[i32], order: i32) -> Result<Type> {
        let ordered = matches!(order, abi::ORDER_C | abi::ORDER_FORTRAN);
        ensure(dims > 0 && ordered, abi::ERR_ARG, || {
            "a subarray needs dimensions and an order".to_owned()
        })?;
        let n = dims as usize;
        ensure(n.checked_mul(3) == Some(rest.len()), abi::ERR_ARG, || {
            "a subarray has dimensions without a size".to_owned()
        })?;
        let (sizes, rest) = rest.split_at(n);
        let (subsizes, starts) = rest.split_at(n);
        let old = self.old()?;
        let mut ty = Arc::clone(old);
        let (mut stride, mut offset) = (old.extent, 0_i64);
        for step in 0..n {
            // The fastest dimension first.
            let dim = if order == abi::ORDER_C { n - 1 - step } else { step };
            let (size, subsize, start) = (sizes[dim], subsizes[dim], starts[dim]);
            let within = size > 0
                && subsize > 0
                && start >= 0
                && i64::from(start) + i64::from(subsize) <= i64::from(size);
            ensure(within, abi::ERR_ARG, || {
                format!("dimension {dim} of the subarray lies outside of the array")
            })?;
            ty = Arc::new(strided(subsize, 1, stride, &ty)?);
            offset = offset.saturating_add(stride.saturating_mul(i64::from(start)));
            stride = stride.saturating_mul(i64::from(size));
        }
        let placed = Type::build(&[Part { at: offset, length: 1, old: &ty }], Self::default())?;
        Ok(placed.resized(0, stride, Self::default()))
    }
}

fn halves(number: i32, ints: &[i32]) -> Result<(&[i32], &[i32])> {
    let number = count(number)? as usize;
    ensure(number.checked_mul(2) == Some(ints.len()), abi::ERR_ARG, || {
        "the datatype has blocks without a place".to_owned()
    })?;
    Ok(ints.split_at(number))
}

/// Blocks of equal length and distance.
fn strided(number: i32, length: i32, stride: i64, old: &Arc<Type>) -> Result<Type> {
    let (number, length) = (count(number)?, count(length)?);
    let block = Arc::new(Type::build(&[Part { at: 0, length, old }], Recipe::default())?);
    // A block as far apart from the next as the stride tells.
    let spaced = Arc::new(Type { extent: stride, ..(*block).clone() });
    if number <= 1 || length == 0 {
        return Ok(if number == 0 {
            Type { align: 1, ..Type::default() }
        } else {
            (*block).clone()
        });
    }
    let last = Part { at: stride.saturating_mul(number as i64 - 1), length: 1, old: &block };
    let mut whole =
        Type::build(&[Part { at: 0, length: number - 1, old: &spaced }, last], Recipe::default())?;
    // The bounds are those of the blocks, not of their distances.
    let span = stride * (number as i64 - 1);
    let (low, high) = (block.lb + span.min(0), block.ub() + span.max(0));
    (whole.lb, whole.extent) = (low, high - low);
    Ok(whole)
}

/// Blocks of given lengths at given places, `unit` bytes each.
fn placed(lengths: &[i32], places: &[i32], unit: i64, old: &Arc<Type>) -> Result<Type> {
    ensure(lengths.len() == places.len(), abi::ERR_ARG, || {
        "the datatype has blocks without a place".to_owned()
    })?;
    let part = |(length, place): (&i32, &i32)| {
        Ok(Part { at: i64::from(*place).saturating_mul(unit), length: count(*length)?, old })
    };
    let parts = lengths.iter().zip(places).map(part).collect::<Result<Vec<_>>>()?;
    Type::build(&parts, Recipe::default())
}
