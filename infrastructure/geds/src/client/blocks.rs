//! Blocks of what lies outside, as the node keeps them here.

use super::{Client, Pin, unexpected};
use crate::{
    Error, Result,
    wire::{Piece, Reply, Request},
};
use std::sync::Arc;

/// How often a block is read that is dropped each time before it can be used.
const TRIES: usize = 16;

impl Client {
    /// A block, and what keeps it in place. If it does not lie here it is read, and with it those behind it.
    pub(crate) fn block(
        self: &Arc<Self>,
        number: u64,
        block: u64,
        count: u64,
    ) -> Result<(Piece, Pin)> {
        for _ in 0..TRIES {
            match self.ask(&Request::Block { number, block })?.0 {
                Reply::Pieces(pieces) => {
                    let piece = pieces.first().copied().map(Piece::from_wire);
                    let piece = piece.ok_or_else(unexpected)?;
                    return Ok((piece, Pin::taken(self, piece.place)));
                }
                Reply::Gone => {}
                _ => return Err(unexpected()),
            }
            let fetch = Request::Fetch { number, first: block, count };
            if let Reply::Failed(refusal) = self.link.call_apart(&fetch)? {
                return Err(refusal.into());
            }
        }
        Err(Error::Unavailable(format!(
            "block {block} is dropped each time before it can be read: allow more `cache_bytes`"
        )))
    }
}
