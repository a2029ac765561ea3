//! Point-to-point communication: what its calls have in common.
//!
//! `send` and `receive` have the calls that do so at once, `persistent` those that are prepared,
//! and `probe` those that look first.

mod persistent;
mod probe;
mod receive;
mod send;

use crate::{
    abi,
    engine::Engine,
    error::{Result, ensure},
    mail::{Ending, Envelope, Request, Status, Work},
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

    /// Adds a request and gives its handle.
    pub(crate) fn request(&mut self, work: Work, communicator: i32) -> i32 {
        let request = Request { work, template: None, communicator, orphan: false };
        self.mail.requests.add(request)
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
}
