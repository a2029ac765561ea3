//! Frames that come from other sites: bytes that may be anything.

use super::{
    Sites,
    courier::Job,
    frame::Frame,
    gather::{At, Head},
    letter::{Address, Wrong},
};
use crate::{
    FUNCTIONS,
    error::{self, Abort},
    world::World,
};

impl World {
    /// Takes a frame that came from another site. It writes to memory and wakes ranks, and never
    /// waits for them.
    ///
    /// # Errors
    ///
    /// When the frame is none that the other site may send, which is for the caller to report with
    /// [`World::lost`]; nothing of it was done then.
    pub fn deliver(&self, from_site: u32, frame: &[u8]) -> Result<(), Abort> {
        let refused = |wrong: Wrong| Abort::Refused {
            reason: format!("a frame from site {from_site} {wrong}").into(),
        };
        let sites = self.sites.as_deref().filter(|sites| sites.peer(from_site).is_some());
        let sites = sites.ok_or_else(|| refused("comes to a world that is not spread there"))?;
        let frame = Frame::decode(frame).ok_or_else(|| refused("can not be read"))?;
        sites.take(self, from_site, frame).map_err(refused)
    }
}

impl Sites {
    fn take(&self, world: &World, site: u32, frame: Frame<'_>) -> Result<(), Wrong> {
        match frame {
            Frame::Eager { from, to, context, tag, bytes } => {
                self.eager_came(world, site, Address { from, to, context, tag }, bytes)
            }
            Frame::Announce { from, to, context, tag, bytes, number } => {
                let address = Address { from, to, context, tag };
                self.announce_came(world, site, address, (bytes, number))
            }
            Frame::Credit { from, to, bytes } => self.credit_came(site, from, to, bytes),
            Frame::Ask { from, number, ticket, limit } => {
                self.ask_came(site, (from, number), ticket, limit)
            }
            Frame::Data { ticket, offset, bytes } => {
                self.data_came(world, site, (ticket, offset), bytes)
            }
            Frame::Done { ticket } => self.done_came(world, site, ticket),
            Frame::Cancel { from, number } => self.cancel_came(site, (from, number)),
            Frame::Cancelled { from, number, yes } => {
                self.cancelled_came(world, site, (from, number), yes != 0);
                Ok(())
            }
            Frame::Entry { context, round, member, function, root, kind, lengths, bytes } => {
                let head = Head { function, root, kind, lengths };
                self.entry_came(world, site, At { context, round, member }, head, bytes)
            }
            Frame::Part { context, round, member, bytes } => {
                self.part_came(world, site, At { context, round, member }, bytes)
            }
            Frame::Left { context, round } => {
                self.left_came(world, site, context, round);
                Ok(())
            }
            Frame::Made { context } => world.made_at(site, context),
            Frame::Slot { context, round, member, code, bytes } => {
                self.slot_came(world, site, At { context, round, member }, code, bytes)
            }
            other => self.take_rest(world, site, other),
        }
    }

    /// Frames of windows and of the world as a whole.
    fn take_rest(&self, world: &World, site: u32, frame: Frame<'_>) -> Result<(), Wrong> {
        match frame {
            Frame::Put { context, target, blocks, bytes } => {
                self.put_came(world, (context, target), &blocks, bytes)
            }
            Frame::Get { context, target, ticket, offset, blocks } => {
                self.get_came(world, site, (context, target), (ticket, offset), blocks)
            }
            Frame::Update { context, target, ticket, fetch, offset, op, kind, blocks, bytes } => {
                let answer = (fetch != 0).then_some((ticket, offset));
                let at = (context, target);
                self.update_came(world, site, at, answer, (op, kind), (&blocks, bytes))
            }
            Frame::Swap { context, target, ticket, blocks, expected, new } => {
                self.swap_came(world, site, (context, target), ticket, &blocks, [expected, new])
            }
            Frame::Lock { context, target, kind, ticket } => {
                self.lock_came(world, site, (context, target), kind, ticket)
            }
            Frame::Unlock { context, target, kind, ticket } => {
                self.unlock_came(world, site, (context, target), kind, ticket)
            }
            Frame::Post { context, target, origin } => {
                self.post_came(world, (context, target, origin))
            }
            Frame::Complete { context, target } => self.complete_came(world, context, target),
            Frame::Marker { ticket } => {
                let peer = self.peer(site).ok_or("comes from nowhere")?;
                peer.courier.answer(Job::Marker(Frame::Done { ticket }.encode()))
            }
            Frame::Abort { variant, rank, code, function, name, class, detail } => {
                let texts = [function, name, class, detail];
                world.abort_told_by(abort(site, variant, rank, code, texts), Some(site));
                Ok(())
            }
            _ => Err("is of no kind"),
        }
    }
}

/// A sentence of the reasons that are not sent whole.
const TEXT_BYTES_MAX: usize = 16 << 10;

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The frame that tells why the world ended.
pub(super) fn abort_frame<T>(abort: &Abort, give: impl FnOnce(&Frame<'_>) -> T) -> T {
    let other;
    let (variant, rank, code, [function, name, class, detail]) = match abort {
        Abort::Called { rank, communicator, code } => (1, *rank, *code, ["", communicator, "", ""]),
        Abort::Fatal { function, rank, communicator, class, detail } => {
            (2, *rank, 0, [*function, &**communicator, *class, &**detail])
        }
        Abort::Deadlock { waits } => (3, 0, 0, ["", "", "", &**waits]),
        Abort::Left { rank } => (4, *rank, 0, [""; 4]),
        Abort::Died { rank, reason } => (5, *rank, 0, ["", "", "", &**reason]),
        Abort::Ended { reason } => (6, 0, 0, ["", "", "", &**reason]),
        Abort::OutOfTurn { function, rank, when } => (7, *rank, 0, [*function, *when, "", ""]),
        Abort::Lost { site, reason } => (8, *site, 0, ["", "", "", &**reason]),
        Abort::Refused { reason } => (9, 0, 0, ["", "", "", &**reason]),
        #[allow(unreachable_patterns, reason = "those that are no ends of a world")]
        _ => {
            other = abort.to_string();
            (6, 0, 0, ["", "", "", &*other])
        }
    };
    let (name, detail) = (short(name), short(detail));
    give(&Frame::Abort { variant, rank, code, function, name, class, detail })
}

/// The name of a function, if there is such a one.
fn function_named(name: &str) -> &'static str {
    FUNCTIONS.iter().find(|known| **known == name).copied().unwrap_or("MPI")
}

/// Why another site says that the world ended.
fn abort(
    site: u32,
    variant: u8,
    rank: u32,
    code: i32,
    [function, name, class, detail]: [&str; 4],
) -> Abort {
    const WHEN: [&str; 5] = [
        "before MPI_Init",
        "after MPI_Finalize",
        "a second time",
        "instead of the function that it was stopped in",
        "with other arguments than before it was stopped",
    ];
    let when = WHEN.iter().find(|when| **when == name).copied();
    let function = function_named(function);
    match (variant, when) {
        (1, _) => Abort::Called { rank, communicator: name.into(), code },
        (2, _) => Abort::Fatal {
            function,
            rank,
            communicator: name.into(),
            class: error::class_named(class),
            detail: detail.into(),
        },
        (3, _) => Abort::Deadlock { waits: detail.into() },
        (4, _) => Abort::Left { rank },
        (5, _) => Abort::Died { rank, reason: detail.into() },
        (6, _) => Abort::Ended { reason: detail.into() },
        (7, Some(when)) => Abort::OutOfTurn { function, rank, when },
        (8, _) => Abort::Lost { site: rank, reason: detail.into() },
        (9, _) => Abort::Refused { reason: detail.into() },
        _ => {
            let reason = format!("site {site} ended the world without a reason that is known");
            Abort::Ended { reason: reason.into() }
        }
    }
}
