//! Receives, and calls that send and receive.

use super::{Named, who};
use crate::{
    abi,
    engine::{Cb, Engine},
    error::Result,
    mail::{Direct, Ending, Envelope, Mode, Status, Taken, Work},
    transfer::Span,
    underway::Step,
    world::Waiting,
};
use std::sync::Arc;

impl Engine {
    /// Posts a receive under a request; ends it at once if its message is here.
    pub(super) fn post(&mut self, handle: i32, envelope: Option<Envelope>, span: Span) {
        let Some(envelope) = envelope else {
            return self.mail.finish(handle, Status::NOBODY.into());
        };
        match self.mail.receive(&self.world, &self.space, &envelope, &span) {
            Some(taken) => self.mail.settle(handle, taken, span),
            None => self.mail.post(handle, envelope, span),
        }
    }

    pub(crate) fn recv(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        source: i32,
        tag: i32,
        comm: i32,
        status: u32,
    ) -> Result {
        if let Some(ending) = self.receive_direct((buf, count, datatype), source, tag, comm)? {
            return self.conclude(ending, status);
        }
        let envelope = self.envelope(source, tag, comm)?;
        let span = self.buffer(buf, count, datatype)?;
        let ending = self.receive(cb, envelope, span)?;
        self.conclude(ending, status)
    }

    /// The shortest way to a small message whose sender and receiver both are at it; nothing if
    /// the message is to be received as all are.
    #[inline]
    fn receive_direct(
        &mut self,
        (addr, count, datatype): Named,
        source: i32,
        tag: i32,
        communicator: i32,
    ) -> Result<Option<Ending>> {
        const POLLS: u32 = 256;
        let others = self.mail.is_clear() && self.operations.is_empty();
        if source < 0 || tag < abi::ANY_TAG || !others || !self.underway.again.is_empty() {
            return Ok(None);
        }
        let shared = &self.communicator(communicator)?.shared;
        let (from, context) = (shared.member(source)?, shared.context);
        let ty = self.datatype(datatype)?;
        if count < 0 || !ty.is_dense() {
            return Ok(None);
        }
        let room = ty.size.saturating_mul(count as u64);
        if self.space.check(i64::from(addr), room as usize).is_err() {
            return Ok(None);
        }
        for _ in 0..POLLS {
            match self.mail.direct(&self.world, &self.space, (from, context, tag), (addr, room))? {
                Direct::Here(mut ending) => {
                    ending.status.source = source;
                    return Ok(Some(ending));
                }
                Direct::NotYet => {
                    if self.world.check()? {
                        break;
                    }
                    std::hint::spin_loop();
                }
                Direct::No => break,
            }
        }
        Ok(None)
    }

    fn receive(&mut self, cb: Cb<'_>, envelope: Option<Envelope>, span: Span) -> Result<Ending> {
        let Some(envelope) = envelope else { return Ok(Status::NOBODY.into()) };
        let text = envelope.clone();
        let handle = match self.replayed() {
            Some(Step::Posted(handle)) => handle,
            Some(_) => return Err(self.other_step()),
            None => {
                let taken = self.mail.receive(&self.world, &self.space, &envelope, &span);
                if let Some(Taken::Here(ending)) = taken {
                    return Ok(ending);
                }
                let handle = self.request(Work::Receive, abi::COMM_WORLD);
                match taken {
                    Some(taken) => self.mail.settle(handle, taken, span),
                    None => self.mail.post(handle, envelope, span),
                }
                handle
            }
        };
        let waits = |engine: &Self| format!("{}({})", engine.function, who(&text));
        let ending = self.block(cb, waits, |engine, _| Ok(engine.take_ending(handle)));
        ending.map_err(|fault| self.interrupted(fault, Step::Posted(handle)))
    }

    /// Receives after something was sent in the same call, which is kept as its first step: both
    /// have to be over.
    fn exchange_messages(
        &mut self,
        cb: Cb<'_>,
        (sent, to, tag): (Option<Arc<Waiting>>, i32, i32),
        envelope: Option<Envelope>,
        span: Span,
    ) -> Result<Ending> {
        let handle = match self.replayed() {
            Some(Step::Posted(handle)) => handle,
            Some(_) => return Err(self.other_step()),
            None => {
                let handle = self.request(Work::Receive, abi::COMM_WORLD);
                self.post(handle, envelope.clone(), span);
                handle
            }
        };
        let waits = |engine: &Self| {
            let source = envelope.as_ref().map_or_else(String::new, who);
            format!("{}({source}, destination {to}, tag {tag})", engine.function)
        };
        let ending = self.block(cb, waits, |engine, _| {
            let over = sent.as_ref().is_none_or(|waiting| waiting.is_over());
            Ok(if over { engine.take_ending(handle) } else { None })
        });
        ending.map_err(|fault| {
            let fault = self.interrupted(fault, Step::Sent(sent));
            self.interrupted(fault, Step::Posted(handle))
        })
    }

    pub(crate) fn irecv(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        source: i32,
        tag: i32,
        comm: i32,
        request: u32,
    ) -> Result {
        let envelope = self.envelope(source, tag, comm)?;
        let span = self.buffer(buf, count, datatype)?;
        self.space.check_place(request)?;
        let handle = self.request(Work::Receive, comm);
        self.mail.poll(&self.world, &self.space);
        self.post(handle, envelope, span);
        self.space.write_i32(request, handle)
    }

    pub(crate) fn sendrecv(
        &mut self,
        cb: Cb<'_>,
        sendbuf: u32,
        sendcount: i32,
        sendtype: i32,
        dest: i32,
        sendtag: i32,
        recvbuf: u32,
        recvcount: i32,
        recvtype: i32,
        source: i32,
        recvtag: i32,
        comm: i32,
        status: u32,
    ) -> Result {
        let envelope = self.envelope(source, recvtag, comm)?;
        let span = self.buffer(recvbuf, recvcount, recvtype)?;
        let named = (sendbuf, sendcount, sendtype);
        let sent = self.send_once(Mode::Standard, named, dest, sendtag, comm)?;
        let ending = self.exchange_messages(cb, (sent, dest, sendtag), envelope, span)?;
        self.conclude(ending, status)
    }

    pub(crate) fn sendrecv_replace(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        dest: i32,
        sendtag: i32,
        source: i32,
        recvtag: i32,
        comm: i32,
        status: u32,
    ) -> Result {
        let envelope = self.envelope(source, recvtag, comm)?;
        let span = self.buffer(buf, count, datatype)?;
        let sent = match self.replayed() {
            Some(Step::Sent(sent)) => sent,
            Some(_) => return Err(self.other_step()),
            None => self.send_copy(&span, dest, sendtag, comm)?,
        };
        let ending = self.exchange_messages(cb, (sent, dest, sendtag), envelope, span)?;
        self.conclude(ending, status)
    }
}
