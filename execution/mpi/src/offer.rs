//! What a member of a collective lets the others read: where it lies, or the bytes themselves.

use crate::{error::Result, memory::Space, transfer::Span};

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
    /// Bytes of the host's, some for each.
    Rows(Vec<Vec<u8>>),
}

impl Offer {
    /// The same offer without the memory it lies in: bytes in the order of their types, as in a
    /// message. For members who do not read that memory, those that `wanted` refuses, the rows of
    /// an offer to each are left empty.
    #[allow(dead_code, reason = "for ranks that are saved within a round")]
    pub(crate) fn materialise(
        &self,
        space: &Space,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Self> {
        Ok(match self {
            Self::Nothing => Self::Nothing,
            Self::Same(span) => Self::Data(span.pack(space)?),
            Self::Each(spans) => {
                let row = |(member, span): (usize, &Span)| match wanted(member) {
                    true => span.pack(space),
                    false => Ok(Vec::new()),
                };
                Self::Rows(spans.iter().enumerate().map(row).collect::<Result<_>>()?)
            }
            Self::Data(bytes) => Self::Data(bytes.clone()),
            Self::Rows(rows) => {
                let row = |(member, row): (usize, &Vec<u8>)| match wanted(member) {
                    true => row.clone(),
                    false => Vec::new(),
                };
                Self::Rows(rows.iter().enumerate().map(row).collect())
            }
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
            Offer::Rows(rows) => rows.get(member).map(|row| Source::Bytes(row)),
        }
    }
}
