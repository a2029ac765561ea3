//! What a member of a collective lets the others read: where it lies, or the bytes themselves.

use crate::{error::Result, memory::Space, transfer::Span};
use std::collections::BTreeMap;

/// What a member lets others read.
#[derive(Debug)]
pub(crate) enum Offer {
    Nothing,
    /// The same for everyone.
    Same(Span),
    /// One for each.
    Each(Vec<Span>),
    /// Bytes of the host's, the same for everyone.
    Data(Vec<u8>),
    /// Bytes of the host's, by the members that read them.
    Rows(BTreeMap<usize, Vec<u8>>),
}

impl Offer {
    /// The same offer without the memory it lies in: bytes in the order of their types, as in a
    /// message.
    pub(crate) fn materialise(self, space: &Space) -> Result<Self> {
        Ok(match self {
            Self::Same(span) => Self::Data(span.pack(space)?),
            Self::Each(spans) => {
                let rows = spans.iter().enumerate();
                let rows = rows.map(|(reader, span)| Ok((reader, span.pack(space)?)));
                Self::Rows(rows.collect::<Result<_>>()?)
            }
            bytes => bytes,
        })
    }
}

/// Where a member reads what another offers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// In the memory of the member that offers.
    Span(&'a Span),
    /// Here, in the order of the type, without gaps.
    Bytes(&'a [u8]),
}

/// What a member publishes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) function: &'static str,
    pub(crate) root: i32,
    pub(crate) offer: Offer,
    /// Where its part of a result will lie; nothing if nobody reads it there.
    pub(crate) result: Option<Span>,
}

impl Entry {
    /// What it offers to everyone, if that is bytes.
    pub(crate) fn data(&self) -> &[u8] {
        match &self.offer {
            Offer::Data(bytes) => bytes,
            _ => &[],
        }
    }

    /// What it offers to a member.
    pub(crate) fn source(&self, member: usize) -> Option<Source<'_>> {
        match &self.offer {
            Offer::Nothing => None,
            Offer::Same(span) => Some(Source::Span(span)),
            Offer::Each(spans) => spans.get(member).map(Source::Span),
            Offer::Data(bytes) => Some(Source::Bytes(bytes)),
            Offer::Rows(rows) => rows.get(&member).map(|row| Source::Bytes(row)),
        }
    }
}
