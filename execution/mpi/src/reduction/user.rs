//! Reductions by operations of the program's own.

use super::Target;
use crate::{
    abi,
    collective::{Needs, Operation},
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    op::{Builtin, UserOp},
    transfer::{self, Span},
};

/// A reduction by an operation of the program's own. Contributions are published as bytes, and
/// whoever needs the result combines all of them.
#[derive(Debug)]
pub(crate) struct UserReduction {
    pub(super) function: u32,
    pub(super) datatype: i32,
    pub(super) target: Target,
}

impl UserReduction {
    /// Who reads this member's contribution.
    pub(crate) fn readers(&self) -> Needs {
        self.target.readers()
    }

    pub(crate) fn step(
        &mut self,
        operation: &mut Operation,
        engine: &mut Engine,
        cb: Cb<'_>,
    ) -> Result<bool> {
        let (members, first, into) = match &self.target {
            Target::Elsewhere { .. } => return Ok(true),
            Target::Root(into) | Target::All(into) => (operation.size(), 0, into),
            Target::Segment { first, into } => (operation.size(), *first, into),
            Target::Prefix { inclusive, into } => (operation.me + usize::from(*inclusive), 0, into),
        };
        if !operation.have_come(members)? {
            return Ok(false);
        }
        if members == 0 || into.bytes() == 0 {
            return Ok(true);
        }
        let size = into.ty.size;
        let (start, len) = ((first * size) as usize, (into.count * size) as usize);
        let mut rows = Vec::new();
        for entry in operation.entries().take(members) {
            let row = entry.data().get(start..start + len);
            rows.push(row.ok_or_else(|| fault(abi::ERR_COUNT, "members give different counts"))?);
        }
        engine.combine_by_user(cb, (self.function, self.datatype), &rows, into)?;
        Ok(true)
    }
}

impl Engine {
    /// Combines rows by calling the guest, and writes the result.
    pub(super) fn combine_by_user(
        &mut self,
        cb: Cb<'_>,
        (function, datatype): (u32, i32),
        rows: &[&[u8]],
        into: &Span,
    ) -> Result {
        let (low, len) = into.ty.reach(0, into.count);
        let room = (len + low.unsigned_abs() + 31) / 16 * 16;
        let total = u32::try_from(2 * room + 16)
            .map_err(|_| fault(abi::ERR_NO_MEM, "the data are too large"))?;
        let scratch = cb.alloc(total)?;
        ensure(scratch != 0, abi::ERR_NO_MEM, || {
            format!("the guest has no {total} bytes for a reduction")
        })?;
        // Where elements begin so that their lowest byte lies within.
        let below = u32::try_from((-low).max(0)).unwrap_or(0).next_multiple_of(16);
        let origin = scratch.wrapping_add(below);
        let result = self.combine_in(
            cb,
            (function, datatype),
            rows,
            into,
            [origin, origin.wrapping_add(room as u32)],
            scratch.wrapping_add(2 * room as u32),
        );
        cb.free(scratch)?;
        result
    }

    fn combine_in(
        &mut self,
        cb: Cb<'_>,
        (function, datatype): (u32, i32),
        rows: &[&[u8]],
        into: &Span,
        [mut left, mut right]: [u32; 2],
        words: u32,
    ) -> Result {
        let at = |addr| Self::same_type(into, addr);
        transfer::unpack(&self.space, &at(left), rows[0])?;
        for row in &rows[1..] {
            transfer::unpack(&self.space, &at(right), row)?;
            self.space.write_ints(words, &[into.count as i32, datatype])?;
            let arguments = [left as i32, right as i32, words as i32, words.wrapping_add(4) as i32];
            self.call(cb, function, &arguments, false)?;
            std::mem::swap(&mut left, &mut right);
        }
        transfer::copy(&self.space, &at(left), &self.space, into)
    }

    pub(super) fn user_op(&self, handle: i32) -> Result<UserOp> {
        let known = self.ops.get(handle).copied();
        known.ok_or_else(|| fault(abi::ERR_OP, format!("there is no operation {handle}")))
    }

    pub(crate) fn op_create(&mut self, _: Cb<'_>, function: u32, commute: i32, op: u32) -> Result {
        self.space.check_place(op)?;
        let handle = self.ops.add(UserOp { function, commutes: commute != 0 });
        self.space.write_i32(op, handle)
    }

    pub(crate) fn op_free(&mut self, _: Cb<'_>, op: u32) -> Result {
        let handle = self.space.read_i32(op)?;
        self.user_op(handle)?;
        self.ops.remove(handle);
        self.space.write_i32(op, abi::OP_NULL)
    }

    pub(crate) fn op_commutative(&mut self, _: Cb<'_>, op: i32, commute: u32) -> Result {
        let commutes = match Builtin::of(op) {
            Some(_) => true,
            None => self.user_op(op)?.commutes,
        };
        self.space.write_i32(commute, i32::from(commutes))
    }
}

crate::image::wire_struct!(UserReduction { function, datatype, target });

impl UserReduction {
    /// Whether all that it names exist among so many members.
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.target.fits(size)
    }
}
