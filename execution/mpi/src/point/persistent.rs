//! Persistent requests: what they do is kept as a template, and done each time they are started.

use super::Named;
use crate::{
    abi,
    engine::{Cb, Engine},
    error::{Result, fault},
    mail::{Mode, Request, Template, Work},
};

impl Engine {
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
}
