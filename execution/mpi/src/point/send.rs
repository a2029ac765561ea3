//! Sends: the four modes, blocking and not, and the buffer of buffered ones.

use super::Named;
use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    mail::{Mail, Mode, Status, Work},
    transfer::{self, Span},
    underway::Step,
    world::{Body, Waiting},
};
use std::sync::Arc;

impl Engine {
    /// Begins to send, once for a call that is made again and kept what this gave.
    pub(super) fn send_once(
        &mut self,
        mode: Mode,
        named: Named,
        to: i32,
        tag: i32,
        communicator: i32,
    ) -> Result<Option<Arc<Waiting>>> {
        match self.replayed() {
            Some(Step::Sent(sent)) => Ok(sent),
            Some(_) => Err(self.other_step()),
            None => self.begin_send(mode, named, to, tag, communicator),
        }
    }

    /// Begins to send; gives what is not over yet.
    fn begin_send(
        &mut self,
        mode: Mode,
        (addr, count, datatype): Named,
        to: i32,
        tag: i32,
        communicator: i32,
    ) -> Result<Option<Arc<Waiting>>> {
        let Some((context, to)) = self.destination(to, tag, communicator)? else { return Ok(None) };
        let ty = self.datatype(datatype)?;
        if mode != Mode::Synchronous && count >= 0 && ty.is_dense() {
            let bytes = ty.size.saturating_mul(count as u64);
            let near = self.world.beyond(to).is_none();
            let room = |mail: &Mail| near || mail.has_room(&self.world, to, bytes as usize);
            if bytes <= 64 && mode != Mode::Buffered && room(&self.mail) {
                let mut small = [0; 64];
                self.space.read(i64::from(addr), &mut small[..bytes as usize])?;
                self.mail.push(&self.world, to, context, tag, &small[..bytes as usize]);
                return Ok(None);
            }
        }
        let span = self.buffer(addr, count, datatype)?;
        let bytes = span.bytes();
        if mode == Mode::Buffered {
            self.reserve(bytes)?;
        }
        let short = mode != Mode::Synchronous && bytes <= self.world.config().eager_bytes as u64;
        if short && self.mail.has_room(&self.world, to, bytes as usize) {
            let mut row = std::mem::take(&mut self.mail.scratch);
            row.resize(row.len().max(bytes as usize), 0);
            let packed = transfer::pack_into(&self.space, &span, &mut row[..bytes as usize]);
            if packed.is_ok() {
                self.mail.push(&self.world, to, context, tag, &row[..bytes as usize]);
            }
            self.mail.scratch = row;
            return packed.map(|()| None);
        }
        let body = match mode {
            Mode::Buffered => Body::Host(span.pack(&self.space)?),
            _ => Body::Guest(span),
        };
        let waiting = self.mail.waiting(to, bytes, body);
        self.mail.announce(&self.world, to, context, tag, &waiting);
        if mode == Mode::Buffered {
            self.buffered.push(waiting);
            return Ok(None);
        }
        Ok(Some(waiting))
    }

    /// Fails unless a buffered message fits into what is attached.
    fn reserve(&mut self, bytes: u64) -> Result {
        self.buffered.retain(|waiting| !waiting.is_over());
        let cost = |bytes: u64| bytes + abi::BSEND_OVERHEAD as u64;
        let used: u64 = self.buffered.iter().map(|waiting| cost(waiting.bytes)).sum();
        let size = self.buffer.map_or(0, |(_, size)| u64::from(size));
        ensure(used + cost(bytes) <= size, abi::ERR_BUFFER, || {
            format!(
                "the attached buffer of {size} bytes has no room for {bytes} more, with {used} in use"
            )
        })
    }

    fn send_and_wait(
        &mut self,
        cb: Cb<'_>,
        mode: Mode,
        named: Named,
        to: i32,
        tag: i32,
        communicator: i32,
    ) -> Result {
        let Some(waiting) = self.send_once(mode, named, to, tag, communicator)? else {
            return Ok(());
        };
        let waits = |engine: &Self| format!("{}(destination {to}, tag {tag})", engine.function);
        let sent = self.block(cb, waits, |_, _| Ok(waiting.is_over().then_some(())));
        sent.map_err(|fault| self.interrupted(fault, Step::Sent(Some(waiting))))
    }

    pub(super) fn send_work(
        &mut self,
        mode: Mode,
        named: Named,
        to: i32,
        tag: i32,
        communicator: i32,
    ) -> Result<Work> {
        let waiting = self.begin_send(mode, named, to, tag, communicator)?;
        Ok(waiting.map_or_else(|| Work::Done(Status::EMPTY.into()), Work::Send))
    }

    fn send_later(
        &mut self,
        mode: Mode,
        named: Named,
        to: i32,
        tag: i32,
        communicator: i32,
        request: u32,
    ) -> Result {
        self.space.check_place(request)?;
        let work = self.send_work(mode, named, to, tag, communicator)?;
        let handle = self.request(work, communicator);
        self.space.write_i32(request, handle)
    }

    pub(crate) fn send(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
    ) -> Result {
        self.send_and_wait(cb, Mode::Standard, (buf, count, datatype), dest, tag, comm)
    }

    pub(crate) fn ssend(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
    ) -> Result {
        self.send_and_wait(cb, Mode::Synchronous, (buf, count, datatype), dest, tag, comm)
    }

    pub(crate) fn bsend(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
    ) -> Result {
        self.send_and_wait(cb, Mode::Buffered, (buf, count, datatype), dest, tag, comm)
    }

    pub(crate) fn rsend(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
    ) -> Result {
        self.send_and_wait(cb, Mode::Ready, (buf, count, datatype), dest, tag, comm)
    }

    pub(crate) fn isend(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.send_later(Mode::Standard, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn issend(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.send_later(Mode::Synchronous, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn ibsend(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.send_later(Mode::Buffered, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn irsend(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        tag: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        self.send_later(Mode::Ready, (buf, count, datatype), dest, tag, comm, request)
    }

    /// Begins to send a copy of a buffer, which may be written to at once.
    pub(super) fn send_copy(
        &mut self,
        span: &Span,
        to: i32,
        tag: i32,
        communicator: i32,
    ) -> Result<Option<Arc<Waiting>>> {
        let Some((context, to)) = self.destination(to, tag, communicator)? else {
            return Ok(None);
        };
        let bytes = span.pack(&self.space)?;
        let waiting = self.mail.waiting(to, bytes.len() as u64, Body::Host(bytes));
        self.mail.announce(&self.world, to, context, tag, &waiting);
        Ok(Some(waiting))
    }

    pub(crate) fn buffer_attach(&mut self, _: Cb<'_>, buffer: u32, size: i32) -> Result {
        ensure(self.buffer.is_none(), abi::ERR_BUFFER, || {
            "a buffer is attached already".to_owned()
        })?;
        let size = u32::try_from(size);
        let size = size.map_err(|_| fault(abi::ERR_ARG, "the buffer's size is negative"))?;
        self.space.check(i64::from(buffer), size as usize)?;
        self.buffer = Some((buffer, size));
        Ok(())
    }

    pub(crate) fn buffer_detach(&mut self, cb: Cb<'_>, buffer: u32, size: u32) -> Result {
        let Some((addr, bytes)) = self.buffer else {
            return Err(fault(abi::ERR_BUFFER, "no buffer is attached"));
        };
        let waits = |engine: &Self| {
            format!("{}, {} messages are left", engine.function, engine.buffered.len())
        };
        self.block(cb, waits, |engine, _| {
            engine.buffered.retain(|waiting| !waiting.is_over());
            Ok(engine.buffered.is_empty().then_some(()))
        })?;
        self.buffer = None;
        self.space.write_i32(buffer, addr as i32)?;
        self.space.write_i32(size, bytes as i32)
    }
}
