//! Probes, and the messages that matched probes take out.

use super::who;
use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, fault},
    mail::{Status, Taken, Work},
    transfer::Span,
    underway::Step,
};

impl Engine {
    pub(crate) fn probe(
        &mut self,
        cb: Cb<'_>,
        source: i32,
        tag: i32,
        comm: i32,
        status: u32,
    ) -> Result {
        let Some(envelope) = self.envelope(source, tag, comm)? else {
            return self.write_status(status, &Status::NOBODY, false);
        };
        let waits = |engine: &Self| format!("{}({})", engine.function, who(&envelope));
        let found = self.block(cb, waits, |engine, _| Ok(engine.mail.probe(&envelope)))?;
        self.write_status(status, &found, false)
    }

    pub(crate) fn iprobe(
        &mut self,
        cb: Cb<'_>,
        source: i32,
        tag: i32,
        comm: i32,
        flag: u32,
        status: u32,
    ) -> Result {
        let found = match self.envelope(source, tag, comm)? {
            None => Some(Status::NOBODY),
            Some(envelope) => self.attempt(cb, |engine, _| Ok(engine.mail.probe(&envelope)))?,
        };
        if let Some(found) = &found {
            self.write_status(status, found, false)?;
        }
        self.space.write_i32(flag, i32::from(found.is_some()))
    }

    pub(crate) fn mprobe(
        &mut self,
        cb: Cb<'_>,
        source: i32,
        tag: i32,
        comm: i32,
        message: u32,
        status: u32,
    ) -> Result {
        self.space.check_place(message)?;
        let (handle, found) = match self.envelope(source, tag, comm)? {
            None => (abi::MESSAGE_NO_PROC, Status::NOBODY),
            Some(envelope) => {
                let waits = |engine: &Self| format!("{}({})", engine.function, who(&envelope));
                self.block(cb, waits, |engine, _| Ok(engine.mail.extract(&envelope)))?
            }
        };
        self.write_status(status, &found, false)?;
        self.space.write_i32(message, handle)
    }

    pub(crate) fn improbe(
        &mut self,
        cb: Cb<'_>,
        source: i32,
        tag: i32,
        comm: i32,
        flag: u32,
        message: u32,
        status: u32,
    ) -> Result {
        self.space.check_place(message)?;
        let found = match self.envelope(source, tag, comm)? {
            None => Some((abi::MESSAGE_NO_PROC, Status::NOBODY)),
            Some(envelope) => self.attempt(cb, |engine, _| Ok(engine.mail.extract(&envelope)))?,
        };
        self.space.write_i32(flag, i32::from(found.is_some()))?;
        let Some((handle, found)) = found else { return Ok(()) };
        self.write_status(status, &found, false)?;
        self.space.write_i32(message, handle)
    }

    fn receive_message(
        &mut self,
        buf: u32,
        count: i32,
        datatype: i32,
        message: u32,
    ) -> Result<(Taken, Span)> {
        let handle = self.space.read_i32(message)?;
        let span = self.buffer(buf, count, datatype)?;
        self.space.write_i32(message, abi::MESSAGE_NULL)?;
        if handle == abi::MESSAGE_NO_PROC {
            return Ok((Taken::Here(Status::NOBODY.into()), span));
        }
        let taken = self.mail.receive_found(&self.world, &self.space, handle, &span);
        let none = || fault(abi::ERR_REQUEST, format!("there is no message {handle}"));
        Ok((taken.ok_or_else(none)?, span))
    }

    pub(crate) fn mrecv(
        &mut self,
        cb: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        message: u32,
        status: u32,
    ) -> Result {
        let handle = match self.replayed() {
            Some(Step::Posted(handle)) => handle,
            Some(_) => return Err(self.other_step()),
            None => {
                let (taken, span) = self.receive_message(buf, count, datatype, message)?;
                if let Taken::Here(ending) = taken {
                    return self.conclude(ending, status);
                }
                let handle = self.request(Work::Receive, abi::COMM_WORLD);
                self.mail.settle(handle, taken, span);
                handle
            }
        };
        let waits = |engine: &Self| engine.function.to_owned();
        match self.block(cb, waits, |engine, _| Ok(engine.take_ending(handle))) {
            Ok(ending) => self.conclude(ending, status),
            Err(fault) => Err(self.interrupted(fault, Step::Posted(handle))),
        }
    }

    pub(crate) fn imrecv(
        &mut self,
        _: Cb<'_>,
        buf: u32,
        count: i32,
        datatype: i32,
        message: u32,
        request: u32,
    ) -> Result {
        self.space.check_place(request)?;
        let (taken, span) = self.receive_message(buf, count, datatype, message)?;
        let handle = self.request(Work::Receive, abi::COMM_WORLD);
        self.mail.settle(handle, taken, span);
        self.space.write_i32(request, handle)
    }
}
