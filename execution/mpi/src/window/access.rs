//! One-sided calls: they write to, read from and combine into the memories of others.

use super::Target;
use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    mail::{Status, Work},
    movement::Named,
    op::{self, Builtin, Layout},
    site::reach::{Combining, Far},
    transfer::{self, Span},
    world::lock,
};
use std::sync::Arc;

impl Engine {
    /// The target of a call, within its window; nothing for MPI_PROC_NULL.
    fn target(
        &mut self,
        win: i32,
        rank: i32,
        displacement: i32,
        count: i32,
        datatype: i32,
    ) -> Result<Option<Target>> {
        let window = self.window_mut(win)?;
        if rank == abi::PROC_NULL {
            return Ok(None);
        }
        let member = window.shared.member(rank)?;
        window.enter_epoch(rank as usize)?;
        let part = window.parts[rank as usize];
        let offset = match window.flavor {
            // An address, of which the upper half are negative as MPI_Aint.
            abi::WIN_FLAVOR_DYNAMIC => i64::from(displacement as u32),
            _ => i64::from(displacement) * i64::from(part.unit),
        };
        ensure(offset >= 0, abi::ERR_DISP, || {
            format!("the displacement {displacement} is negative")
        })?;
        let addr = u32::try_from(i64::from(part.base) + offset);
        let addr =
            addr.map_err(|_| fault(abi::ERR_RMA_RANGE, "the displacement leads out of memory"))?;
        let span = self.span(addr, count, datatype)?;
        let (start, len) = span.ty.reach(addr, span.count);
        let (low, high) = (i64::from(part.base), i64::from(part.base) + i64::from(part.size));
        let within = len == 0 || start >= low && start.saturating_add_unsigned(len) <= high;
        ensure(within, abi::ERR_RMA_RANGE, || {
            format!(
                "{len} bytes at displacement {displacement} lie outside of the window of rank {rank}, which has {} bytes",
                part.size
            )
        })?;
        let space = if member == self.me { self.space.clone() } else { self.world.space(member) };
        let far = self.far(win, rank as usize)?;
        Ok(Some(Target { rank: rank as usize, space, span, far }))
    }

    /// Notes that a site was written to, and may not have all of it yet.
    fn wrote(&mut self, win: i32, far: Far) -> Result {
        let written = &mut self.window_mut(win)?.written;
        if !written.contains(&far.site) {
            written.push(far.site);
        }
        Ok(())
    }

    fn put_now(
        &mut self,
        (addr, count, datatype): Named,
        rank: i32,
        displacement: i32,
        target: (i32, i32),
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, displacement, target.0, target.1)? else {
            return Ok(());
        };
        let origin = self.buffer(addr, count, datatype)?;
        transfer::fits(origin.bytes(), target.span.bytes())?;
        if let Some(far) = target.far {
            self.wrote(win, far)?;
            return self.put_beyond(far, origin, target.span);
        }
        transfer::copy(&self.space, &origin, &target.space, &target.span)
    }

    fn get_now(
        &mut self,
        cb: Cb<'_>,
        (addr, count, datatype): Named,
        rank: i32,
        displacement: i32,
        target: (i32, i32),
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, displacement, target.0, target.1)? else {
            return Ok(());
        };
        let origin = self.buffer(addr, count, datatype)?;
        transfer::fits(target.span.bytes(), origin.bytes())?;
        if let Some(far) = target.far {
            return self.get_beyond(cb, far, origin, target.span);
        }
        transfer::copy(&target.space, &target.span, &self.space, &origin)
    }

    /// Combines the origin's data into the target's, and gives what was there before.
    fn update(
        &mut self,
        cb: Cb<'_>,
        origin: Option<Span>,
        result: Option<Span>,
        target: Target,
        op: i32,
        win: i32,
    ) -> Result {
        let builtin = Builtin::of(op);
        let builtin = builtin
            .ok_or_else(|| fault(abi::ERR_OP, "one-sided calls need a predefined operation"))?;
        if target.span.bytes() == 0 {
            return Ok(());
        }
        let kind = target.span.ty.kind;
        let kind = kind
            .ok_or_else(|| fault(abi::ERR_TYPE, "the target's elements are not all of one type"))?;
        op::legal(builtin, kind)?;
        let row = match (&origin, builtin) {
            (_, Builtin::NoOp) | (None, _) => Vec::new(),
            (Some(origin), _) => origin.pack(&self.space)?,
        };
        if let Some(far) = target.far {
            let bytes = target.span.bytes();
            if let Some(result) = &result {
                transfer::fits(bytes, result.bytes())?;
            }
            if builtin != Builtin::NoOp {
                transfer::fits(row.len() as u64, bytes)?;
                transfer::fits(bytes, row.len() as u64)?;
            }
            self.wrote(win, far)?;
            let combining = Combining { op, kind };
            return self.update_beyond(cb, far, combining, (&row, target.span), result);
        }
        let window = self.window_mut(win)?;
        let shared = Arc::clone(&window.shared);
        let _guard = lock(&shared.sync().guards[target.rank]);
        let mut old = target.span.pack(&target.space)?;
        if let Some(result) = result {
            transfer::fits(old.len() as u64, result.bytes())?;
            transfer::unpack(&self.space, &result, &old)?;
        }
        if builtin == Builtin::NoOp {
            return Ok(());
        }
        transfer::fits(row.len() as u64, old.len() as u64)?;
        op::combine(builtin, kind, Layout::Packed, &mut old, &row)?;
        transfer::unpack(&target.space, &target.span, &old)
    }

    pub(crate) fn put(
        &mut self,
        _: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
    ) -> Result {
        self.put_now((origin, origin_count, origin_type), rank, disp, (count, datatype), win)
    }

    pub(crate) fn get(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
    ) -> Result {
        self.get_now(cb, (origin, origin_count, origin_type), rank, disp, (count, datatype), win)
    }

    pub(crate) fn accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, count, datatype)? else { return Ok(()) };
        let origin = self.buffer(origin, origin_count, origin_type)?;
        self.update(cb, Some(origin), None, target, op, win)
    }

    pub(crate) fn get_accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        result: u32,
        result_count: i32,
        result_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, count, datatype)? else { return Ok(()) };
        let origin = match op {
            abi::NO_OP => None,
            _ => Some(self.buffer(origin, origin_count, origin_type)?),
        };
        let result = self.buffer(result, result_count, result_type)?;
        self.update(cb, origin, Some(result), target, op, win)
    }

    pub(crate) fn fetch_and_op(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        result: u32,
        datatype: i32,
        rank: i32,
        disp: i32,
        op: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, 1, datatype)? else { return Ok(()) };
        let origin = match op {
            abi::NO_OP => None,
            _ => Some(self.buffer(origin, 1, datatype)?),
        };
        let result = self.buffer(result, 1, datatype)?;
        self.update(cb, origin, Some(result), target, op, win)
    }

    pub(crate) fn compare_and_swap(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        compare: u32,
        result: u32,
        datatype: i32,
        rank: i32,
        disp: i32,
        win: i32,
    ) -> Result {
        let Some(target) = self.target(win, rank, disp, 1, datatype)? else { return Ok(()) };
        ensure(target.span.ty.is_swappable(), abi::ERR_TYPE, || {
            "only integers, logical values and bytes of predefined datatypes can be swapped"
                .to_owned()
        })?;
        let new = self.buffer(origin, 1, datatype)?.pack(&self.space)?;
        let expected = self.buffer(compare, 1, datatype)?.pack(&self.space)?;
        let result = self.buffer(result, 1, datatype)?;
        if let Some(far) = target.far {
            return self.swap_beyond(cb, far, target.span, [&expected, &new], result);
        }
        let shared = Arc::clone(&self.window_mut(win)?.shared);
        let _guard = lock(&shared.sync().guards[target.rank]);
        let old = target.span.pack(&target.space)?;
        transfer::unpack(&self.space, &result, &old)?;
        if old == expected {
            transfer::unpack(&target.space, &target.span, &new)?;
        }
        Ok(())
    }

    /// A request that is over: one-sided calls are, when they return.
    fn over(&mut self, request: u32) -> Result {
        let handle = self.request(Work::Done(Status::EMPTY.into()), abi::COMM_WORLD);
        self.space.write_i32(request, handle)
    }

    pub(crate) fn rput(
        &mut self,
        _: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.put_now((origin, origin_count, origin_type), rank, disp, (count, datatype), win)?;
        self.over(request)
    }

    pub(crate) fn rget(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.get_now(cb, (origin, origin_count, origin_type), rank, disp, (count, datatype), win)?;
        self.over(request)
    }

    pub(crate) fn raccumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.accumulate(
            cb,
            origin,
            origin_count,
            origin_type,
            rank,
            disp,
            count,
            datatype,
            op,
            win,
        )?;
        self.over(request)
    }

    pub(crate) fn rget_accumulate(
        &mut self,
        cb: Cb<'_>,
        origin: u32,
        origin_count: i32,
        origin_type: i32,
        result: u32,
        result_count: i32,
        result_type: i32,
        rank: i32,
        disp: i32,
        count: i32,
        datatype: i32,
        op: i32,
        win: i32,
        request: u32,
    ) -> Result {
        self.get_accumulate(
            cb,
            origin,
            origin_count,
            origin_type,
            result,
            result_count,
            result_type,
            rank,
            disp,
            count,
            datatype,
            op,
            win,
        )?;
        self.over(request)
    }
}
