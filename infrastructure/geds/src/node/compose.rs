//! Objects that are composed of parts of others.

use super::{
    names::{stat_of, tier_of},
    settle::Expected,
    state::State,
    tenant::Tenant,
};
use crate::{
    Error, Part, Put, Result, Stat, check_key,
    put::Record,
    shared::record::{Header, Place},
    wire::Piece,
};

/// Most parts that an object is composed of: as many as S3 has.
const PARTS_MAX: usize = 10_000;
/// Most pieces, for parts may be composed themselves.
const PIECES_MAX: usize = 4 * PARTS_MAX;

impl Tenant {
    pub(super) fn compose(
        &self,
        bucket: &str,
        key: &str,
        parts: &[Part],
        put: &Put,
    ) -> Result<Stat> {
        check_key(key)?;
        let attributes = put.attributes.clone().unwrap_or_default().encode()?;
        let mut state = self.state();
        state.consume();
        let number = state.names.number(bucket)?;
        let pieces = parts_of(&mut state, parts)?;
        let size = pieces.iter().fold(0_u64, |size, piece| size.saturating_add(piece.len));
        let place = match pieces.as_slice() {
            [] => Place::Nowhere,
            [one] if one.start == 0 && one.len == one.whole => one.place,
            _ => {
                state.check_pieces(pieces.len())?;
                state.compose(pieces)
            }
        };
        let mut version = state.index.next_version();
        let header = loop {
            let header = Header::new(version, number, size, place).classed(put.class);
            let record = Record { header, key, attributes: &attributes, former: "" };
            if state.publish(&record, Expected::Asked { bucket, put })? {
                break header;
            }
            let newest = state.newest_version(number, key)?;
            version = state.index.version_after(newest)?;
        };
        state.flush_journal();
        Ok(stat_of(&header, &attributes, tier_of(place)))
    }
}

/// The pieces that parts of objects are.
fn parts_of(state: &mut State, parts: &[Part]) -> Result<Vec<Piece>> {
    if parts.len() > PARTS_MAX {
        return Err(Error::TooMany { what: "parts".to_owned(), limit: PARTS_MAX as u64 });
    }
    let mut pieces = Vec::new();
    for part in parts {
        let header = state.current(&part.bucket, &part.key)?;
        if header.away() {
            let site = state.stat(&part.bucket, &part.key)?.1.site.unwrap_or_default();
            let (bucket, key) = (part.bucket.clone(), part.key.clone());
            return Err(Error::Elsewhere { bucket, key, site });
        }
        if let Some(expected) = part.if_version.filter(|expected| *expected != header.version) {
            let (bucket, key) = (part.bucket.clone(), part.key.clone());
            let found = Some(header.version);
            return Err(Error::Changed { bucket, key, expected, found });
        }
        let range = part.range.clone().unwrap_or(0..header.size);
        if range.start > range.end || range.end > header.size {
            let (offset, end, size) = (range.start, range.end, header.size);
            return Err(Error::Range { offset, end, size });
        }
        let of_part = state.pieces_of(&header).ok_or_else(|| Error::Lost {
            bucket: part.bucket.clone(),
            key: part.key.clone(),
            why: "the node does not know what it is composed of".to_owned(),
        })?;
        cut(&of_part, range.start, range.end, &mut pieces);
        if pieces.len() > PIECES_MAX {
            return Err(Error::TooMany { what: "pieces".to_owned(), limit: PIECES_MAX as u64 });
        }
    }
    Ok(pieces)
}

/// What of some pieces lies between two places.
fn cut(pieces: &[Piece], start: u64, end: u64, into: &mut Vec<Piece>) {
    let mut at = 0_u64;
    for piece in pieces {
        let behind = at.saturating_add(piece.len);
        let (from, to) = (start.max(at), end.min(behind));
        if from < to {
            into.push(Piece { start: piece.start + (from - at), len: to - from, ..*piece });
        }
        at = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_of_pieces_has_the_bytes_of_its_range() {
        let place = |file| Place::File { file, offset: 0 };
        let piece = |file, start, len| Piece { place: place(file), whole: 100, start, len };
        let pieces = [piece(1, 10, 20), piece(2, 0, 5), piece(3, 50, 50)];
        let cut = |start, end| {
            let mut into = Vec::new();
            super::cut(&pieces, start, end, &mut into);
            into
        };
        assert_eq!(cut(0, 75), pieces);
        assert_eq!(cut(5, 22), [piece(1, 15, 15), piece(2, 0, 2)]);
        assert_eq!(cut(20, 26), [piece(2, 0, 5), piece(3, 50, 1)]);
        assert_eq!(cut(7, 7), []);
    }
}
