//! Messages and requests in images.

use super::{
    Content, Ending, Envelope, Mail, Message, Mode, Posted, Request, Status, Template, Work,
};
use crate::{
    image::{Damaged, Decoded, Reader, Row, Wire, Writer, sound, wire_enum, wire_struct},
    ring::Header,
    transfer::Span,
    world::{Body, Waiting, World},
};
use std::sync::Arc;

wire_struct!(Status { source, tag, error, cancelled, bytes });
wire_struct!(Envelope { shared, source, world_source, tag });
wire_struct!(Ending { status, fault });
wire_enum!(Mode { 0 => Standard, 1 => Synchronous, 2 => Buffered, 3 => Ready });
wire_enum!(Template {
    0 => Send { mode, span, to, tag, communicator },
    1 => Receive { span, source, tag, communicator },
});
wire_enum!(Work {
    0 => Inactive,
    1 => Send(waiting),
    2 => Receive,
    3 => Collective,
    4 => Done(ending),
});
wire_struct!(Request { work, template, communicator, orphan });
wire_struct!(Posted { request, envelope, span });
wire_struct!(Message { from, context, tag, content });

/// A message that waits, as its sender knows it.
impl Wire for Arc<Waiting> {
    fn put(&self, to: &mut Writer<'_>) {
        if self.is_over() {
            return to.byte(1 + u8::from(self.is_cancelled()));
        }
        to.byte(0);
        self.number.put(to);
        self.receiver.put(to);
        self.bytes.put(to);
        match self.body() {
            Some(Body::Guest(span)) => {
                to.byte(1);
                span.put(to);
            }
            Some(Body::Host(bytes)) => {
                to.byte(2);
                to.row(bytes);
            }
            _ => to.byte(0),
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        let over = from.byte()?;
        if over > 0 {
            return Ok(Self::new(Waiting::ended(from.me, over > 1)));
        }
        let (number, receiver, bytes) = Wire::get(from)?;
        sound(receiver < from.world.size(), "a message goes to a rank that does not exist")?;
        let waiting = from.world.waiting_of((from.me, receiver), number, bytes, false)?;
        let (body, len) = match from.byte()? {
            1 => {
                let span: Span = Wire::get(from)?;
                let len = span.bytes();
                (Body::Guest(span), len)
            }
            2 => {
                let row = from.row()?;
                let len = row.len() as u64;
                (Body::Host(row), len)
            }
            _ => return Err(Damaged::because("a message of it lies nowhere")),
        };
        sound(len == bytes, "a message is not as long as its buffer")?;
        sound(waiting.know(body), "a message of it waits at two places")?;
        if let Some(sites) = from.world.beyond(receiver) {
            sites.offer(&waiting);
        }
        Ok(waiting)
    }
}

impl Content {
    /// A message that waits, as its receiver knows it.
    fn put_waiting(waiting: &Waiting, to: &mut Writer<'_>) {
        waiting.sender.put(to);
        waiting.number.put(to);
        waiting.bytes.put(to);
        waiting.is_claimed().put(to);
        // Who has left takes no image along, but what it sent is still to be received.
        let row = match waiting.body().filter(|_| to.world.is_gone(waiting.sender)) {
            Some(Body::Host(bytes)) => Some(Row(bytes.clone())),
            Some(Body::Guest(span)) => span.pack(&to.world.space(waiting.sender)).ok().map(Row),
            _ => None,
        };
        row.put(to);
    }

    fn get_waiting(from: &mut Reader<'_>) -> Decoded<Arc<Waiting>> {
        let (sender, number, bytes): (u32, u64, u64) = Wire::get(from)?;
        sound(sender < from.world.size(), "a message comes from a rank that does not exist")?;
        let waiting = from.world.waiting_of((sender, from.me), number, bytes, true)?;
        if bool::get(from)? {
            waiting.claim();
        }
        let row: Option<Row> = Wire::get(from)?;
        if let Some(sites) = from.world.beyond(sender).filter(|_| row.is_none()) {
            sound(waiting.know(Body::Away), "a message of it waits at two places")?;
            sound(sites.expect(&waiting), "more messages wait than may")?;
        }
        if let Some(Row(row)) = row {
            sound(row.len() as u64 == bytes, "a message is not as long as it says")?;
            sound(waiting.know(Body::Host(row)), "a message of it waits at two places")?;
        }
        Ok(waiting)
    }
}

impl Wire for Content {
    fn put(&self, to: &mut Writer<'_>) {
        match self {
            Self::Here(bytes) => {
                to.byte(0);
                to.row(bytes);
            }
            Self::There(waiting) => {
                to.byte(1);
                Self::put_waiting(waiting, to);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Decoded<Self> {
        match from.byte()? {
            0 => Ok(Self::Here(from.row()?.into())),
            1 => Ok(Self::There(Self::get_waiting(from)?)),
            _ => Err(Damaged::because("a message is neither here nor at its sender")),
        }
    }
}

impl Mail {
    /// What the other ranks sent and this one has not looked at.
    fn inbound(&self, world: &World) -> Vec<Message> {
        let mut messages = Vec::new();
        for (from, consumer) in self.consumers.iter().enumerate() {
            let from = from as u32;
            let Some(ring) = world.ring(from, self.me) else { continue };
            for (Header { context, tag, waiting, .. }, bytes) in consumer.pending(ring) {
                let content = match waiting {
                    None => Content::Here(bytes),
                    Some(number) => match world.look_up(from, number) {
                        Some(waiting) => Content::There(waiting),
                        None => continue,
                    },
                };
                messages.push(Message { from, context, tag, content });
            }
        }
        messages.retain(|message| !message.is_cancelled());
        messages
    }

    /// Whether all that was asked for has come from other sites.
    pub(crate) fn is_complete(&mut self) -> bool {
        self.collect();
        self.coming.is_empty()
    }

    pub(crate) fn save(&self, to: &mut Writer<'_>) {
        self.waited.put(to);
        self.requests.put(to);
        self.posted.put(to);
        let unexpected = self.unexpected.iter().filter(|message| !message.is_cancelled());
        let unexpected: Vec<_> = unexpected.collect();
        (unexpected.len() as u32).put(to);
        unexpected.iter().for_each(|message| message.put(to));
        self.found.put(to);
        self.inbound(to.world).put(to);
    }

    pub(crate) fn restore(&mut self, from: &mut Reader<'_>) -> Decoded {
        self.waited = Wire::get(from)?;
        sound(self.waited < 1 << 62, "a number is too large")?;
        self.requests = Wire::get(from)?;
        self.posted = Wire::get(from)?;
        self.unexpected = Vec::get(from)?.into();
        self.kept = self.unexpected.iter().map(Message::cost).sum();
        self.tell_kept(from.world);
        self.found = Wire::get(from)?;
        sound(
            self.requests.begins(1, 0) && self.found.begins(2, 0),
            "its handles do not begin where they do",
        )?;
        for Message { from: sender, context, tag, content } in Vec::get(from)? {
            sound(sender < from.world.size(), "a message comes from a rank that does not exist")?;
            let (bytes, waiting) = match content {
                Content::Here(bytes) => (bytes, None),
                Content::There(waiting) => {
                    sound(waiting.sender == sender, "a message comes from two ranks")?;
                    (Box::default(), Some(from.world.offer(&waiting)))
                }
            };
            let header = Header { context, tag, len: bytes.len() as u32, waiting };
            from.world.ring_to(sender, self.me).refill(header, bytes);
        }
        Ok(())
    }
}
