//! Point-to-point communication.

use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, ensure, fault},
    mail::{Direct, Ending, Envelope, Mail, Mode, Request, Status, Taken, Template, Work},
    transfer::{self, Span},
    underway::Step,
    world::{Body, Waiting},
};
use std::sync::Arc;

/// A message's buffer as the program names it: address, count, datatype.
type Named = (u32, i32, i32);

fn tag_allowed(tag: i32) -> Result {
    ensure(tag >= 0, abi::ERR_TAG, || format!("the tag {tag} is negative"))
}

/// `source 1, tag 7`, for those who wait.
fn who(envelope: &Envelope) -> String {
    let any = |value: i32, name| {
        if value == abi::ANY_TAG { format!("any {name}") } else { format!("{name} {value}") }
    };
    format!("{}, {}", any(envelope.source, "source"), any(envelope.tag, "tag"))
}

impl Engine {
    /// The context and the receiver's rank in the world; nothing for MPI_PROC_NULL.
    #[inline]
    fn destination(&mut self, to: i32, tag: i32, communicator: i32) -> Result<Option<(u32, u32)>> {
        let shared = &self.communicator(communicator)?.shared;
        tag_allowed(tag)?;
        if to == abi::PROC_NULL {
            return Ok(None);
        }
        Ok(Some((shared.context, shared.member(to)?)))
    }

    /// What a receive asks for; nothing for MPI_PROC_NULL.
    #[inline]
    fn envelope(&mut self, source: i32, tag: i32, communicator: i32) -> Result<Option<Envelope>> {
        let shared = Arc::clone(&self.communicator(communicator)?.shared);
        if tag != abi::ANY_TAG {
            tag_allowed(tag)?;
        }
        let world_source = match source {
            abi::PROC_NULL => return Ok(None),
            abi::ANY_SOURCE => None,
            source => Some(shared.member(source)?),
        };
        Ok(Some(Envelope { shared, source, world_source, tag }))
    }

    /// Begins to send, once for a call that is made again and kept what this gave.
    fn send_once(
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

    /// Adds a request and gives its handle.
    pub(crate) fn request(&mut self, work: Work, communicator: i32) -> i32 {
        let request = Request { work, template: None, communicator, orphan: false };
        self.mail.requests.add(request)
    }

    fn send_work(
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

    fn send_template(
        &mut self,
        mode: Mode,
        span: Named,
        to: i32,
        tag: i32,
        communicator: i32,
        request: u32,
    ) -> Result {
        self.destination(to, tag, communicator)?;
        self.buffer(span.0, span.1, span.2)?;
        let template = Template::Send { mode, span, to, tag, communicator };
        self.add_template(template, communicator, request)
    }

    fn add_template(&mut self, template: Template, communicator: i32, request: u32) -> Result {
        let template = Some(template);
        let new = Request { work: Work::Inactive, template, communicator, orphan: false };
        let handle = self.mail.requests.add(new);
        self.space.write_i32(request, handle)
    }

    /// Posts a receive under a request; ends it at once if its message is here.
    fn post(&mut self, handle: i32, envelope: Option<Envelope>, span: Span) {
        let Some(envelope) = envelope else {
            return self.mail.finish(handle, Status::NOBODY.into());
        };
        match self.mail.receive(&self.world, &self.space, &envelope, &span) {
            Some(taken) => self.mail.settle(handle, taken, span),
            None => self.mail.post(handle, envelope, span),
        }
    }

    /// Starts a persistent request.
    pub(crate) fn start_request(&mut self, handle: i32) -> Result {
        let known = self.mail.requests.get(handle);
        let text = || format!("request {handle} is not an inactive persistent request");
        let Some(Request { work: Work::Inactive, template: Some(template), .. }) = known else {
            return Err(fault(abi::ERR_REQUEST, text()));
        };
        match template.clone() {
            Template::Send { mode, span, to, tag, communicator } => {
                let work = self.send_work(mode, span, to, tag, communicator)?;
                if let Some(request) = self.mail.requests.get_mut(handle) {
                    request.work = work;
                }
            }
            Template::Receive { span: (addr, count, datatype), source, tag, communicator } => {
                let envelope = self.envelope(source, tag, communicator)?;
                let span = self.buffer(addr, count, datatype)?;
                if let Some(request) = self.mail.requests.get_mut(handle) {
                    request.work = Work::Receive;
                }
                self.mail.poll(&self.world, &self.space);
                self.post(handle, envelope, span);
            }
        }
        Ok(())
    }

    /// Tells how an operation ended, to its status and to its caller.
    pub(crate) fn conclude(&mut self, ending: Ending, status: u32) -> Result {
        self.write_status(status, &ending.status, false)?;
        ending.fault.map_or(Ok(()), Err)
    }

    /// Writes a status, unless it is ignored.
    #[inline]
    pub(crate) fn write_status(&self, addr: u32, status: &Status, error: bool) -> Result {
        if addr == abi::STATUS_IGNORE {
            return Ok(());
        }
        let mut bytes: [u8; abi::STATUS_BYTES as usize] = self.space.array(i64::from(addr))?;
        bytes[..4].copy_from_slice(&status.source.to_le_bytes());
        bytes[4..8].copy_from_slice(&status.tag.to_le_bytes());
        if error {
            bytes[8..12].copy_from_slice(&status.error.to_le_bytes());
        }
        bytes[12..16].copy_from_slice(&i32::from(status.cancelled).to_le_bytes());
        bytes[16..].copy_from_slice(&status.bytes.to_le_bytes());
        self.space.write(i64::from(addr), &bytes)
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

    pub(crate) fn send_init(
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
        self.send_template(Mode::Standard, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn ssend_init(
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
        self.send_template(Mode::Synchronous, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn bsend_init(
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
        self.send_template(Mode::Buffered, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn rsend_init(
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
        self.send_template(Mode::Ready, (buf, count, datatype), dest, tag, comm, request)
    }

    pub(crate) fn recv_init(
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
        self.envelope(source, tag, comm)?;
        self.buffer(buf, count, datatype)?;
        let span = (buf, count, datatype);
        let template = Template::Receive { span, source, tag, communicator: comm };
        self.add_template(template, comm, request)
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

    /// The ending of a request, which is then gone.
    fn take_ending(&mut self, handle: i32) -> Option<Ending> {
        match &self.mail.requests.get(handle)?.work {
            Work::Done(_) => match self.mail.requests.remove(handle)?.work {
                Work::Done(ending) => Some(ending),
                _ => None,
            },
            _ => None,
        }
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

    /// Begins to send a copy of a buffer, which may be written to at once.
    fn send_copy(
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
