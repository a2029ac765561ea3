//! A sealed object that was opened: what it was then, whatever its name becomes.

use crate::{
    Error, Result, Stat, View,
    backend::BLOCK_BYTES,
    client::{Client, Found, Mapped, Pin, unexpected},
    disk::Extent,
    node::names::{stat_of, tier_of},
    shared::record::{Header, Place},
    wire::{Piece, Reply, Request},
};
use std::{
    ops::Range,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// A sealed object. It stays readable, with the same bytes, when its name is overwritten, renamed
/// or deleted. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    stat: Stat,
    spans: Arc<[Span]>,
}

/// Bytes of an object that lie together.
#[derive(Debug)]
struct Span {
    /// Where in the object they begin.
    at: u64,
    len: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory { slab: Arc<Mapped>, offset: u64, pin: Pin },
    Disk(Disk),
    Outside(Outside),
}

/// What lies outside: the block that was used last is held.
#[derive(Debug)]
struct Outside {
    number: u64,
    /// Where among the bytes outside the span begins.
    start: u64,
    last: Mutex<Option<(u64, Arc<Source>, u64)>>,
    pin: Pin,
}

/// Blocks that are read at once when they are read in order.
const AHEAD: u64 = 4;

/// An extent on disk, which is opened when it is first read: the pin keeps its file in place.
#[derive(Debug)]
struct Disk {
    file: u64,
    offset: u64,
    whole: u64,
    /// Where in the extent the span begins.
    start: u64,
    opened: OnceLock<Extent>,
    pin: Pin,
}

impl Object {
    /// Opens what was found. None if it is there no longer, and is to be looked for again.
    pub(crate) fn open(client: &Arc<Client>, found: Found) -> Result<Option<Self>> {
        let Found { header, attributes, pin } = found;
        let stat = stat_of(&header, &attributes, tier_of(header.place));
        let Some(spans) = spans(client, &header, pin)? else { return Ok(None) };
        Ok(Some(Self { stat, spans: spans.into() }))
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "a size, as of a file")]
    pub fn len(&self) -> u64 {
        self.stat.size
    }

    /// What is known about it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Copies the bytes from `offset` on into `buffer`, as many as fit, and says how many: fewer
    /// than fit only at the end of the object, none behind it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] for objects on disk.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let end = self.len().min(offset.saturating_add(buffer.len() as u64));
        let first = self.spans.partition_point(|span| span.at + span.len <= offset);
        let mut at = offset;
        for span in self.spans.iter().skip(first) {
            if at >= end {
                break;
            }
            let until = end.min(span.at + span.len);
            let part = &mut buffer[(at - offset) as usize..(until - offset) as usize];
            span.read(at - span.at, part)?;
            at = until;
        }
        Ok(at.min(end).saturating_sub(offset) as usize)
    }

    /// All bytes without a copy, if they lie together in memory.
    pub fn view(&self) -> Option<View> {
        self.view_range(0..self.len()).ok().flatten()
    }

    /// These bytes without a copy, if they lie together in memory.
    ///
    /// # Errors
    /// [`Error::Range`] when the object does not have them.
    pub fn view_range(&self, range: Range<u64>) -> Result<Option<View>> {
        let (offset, end, size) = (range.start, range.end, self.len());
        if offset > end || end > size {
            return Err(Error::Range { offset, end, size });
        }
        if offset == end {
            return Ok(Some(View::owned(Vec::new())));
        }
        let first = self.spans.partition_point(|span| span.at + span.len <= offset);
        let Some(span) = self.spans.get(first).filter(|span| end <= span.at + span.len) else {
            return Ok(None);
        };
        match &span.source {
            Source::Memory { slab, offset: begin, pin } => {
                let begin = begin + (offset - span.at);
                Ok(View::shared(Arc::clone(slab), begin, end - offset, pin.clone()))
            }
            Source::Disk(_) | Source::Outside(_) => Ok(None),
        }
    }

    /// All bytes: borrowed where they lie together in memory, else read.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn bytes(&self) -> Result<View> {
        if let Some(view) = self.view() {
            return Ok(view);
        }
        // The sizes of spans are known to be true once they are open.
        self.spans.iter().try_for_each(Span::check)?;
        let mut bytes = vec![0; self.len() as usize];
        let count = self.read_at(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(View::owned(bytes))
    }
}

impl Span {
    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        self.source.read(at, buffer)
    }

    fn check(&self) -> Result<()> {
        match &self.source {
            Source::Memory { .. } => Ok(()),
            Source::Disk(disk) => disk.extent().map(|_| ()),
            Source::Outside(_) if self.len == 0 => Ok(()),
            // The last byte is there.
            Source::Outside(outside) => outside.read(self.len - 1, &mut [0]),
        }
    }
}

impl Source {
    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        match self {
            Self::Memory { slab, offset, .. } => {
                if slab.region.copy_out(offset + at, buffer) {
                    return Ok(());
                }
                Err(beyond())
            }
            Self::Disk(disk) => {
                let count = disk.extent()?.read_at(disk.start + at, buffer)?;
                if count == buffer.len() { Ok(()) } else { Err(beyond()) }
            }
            Self::Outside(outside) => outside.read(at, buffer),
        }
    }
}

impl Outside {
    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        let mut at = self.start.checked_add(at).ok_or_else(beyond)?;
        let mut rest = buffer;
        while !rest.is_empty() {
            let (block, within) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
            let wanted = (within + rest.len() as u64).div_ceil(BLOCK_BYTES);
            let (source, len) = self.block(block, wanted)?;
            let count = len.saturating_sub(within).min(rest.len() as u64);
            if count == 0 {
                return Err(beyond());
            }
            let (now, later) = rest.split_at_mut(count as usize);
            source.read(within, now)?;
            (at, rest) = (at + count, later);
        }
        Ok(())
    }

    /// A block and its length.
    fn block(&self, block: u64, wanted: u64) -> Result<(Arc<Source>, u64)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &*last {
            Some((held, source, len)) if *held == block => return Ok((Arc::clone(source), *len)),
            Some((held, ..)) => Some(*held),
            None => None,
        };
        let in_order = before.is_some_and(|before| before.checked_add(1) == Some(block));
        let count = if in_order { wanted.max(AHEAD) } else { wanted };
        // Others read other blocks meanwhile.
        *last = None;
        drop(last);
        let client = self.pin.client();
        let (piece, pin) = client.block(self.number, block, count)?;
        if matches!(piece.place, Place::Outside { .. }) {
            return Err(unexpected());
        }
        let source = Arc::new(source(client, piece, pin)?.ok_or_else(beyond)?);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((block, Arc::clone(&source), piece.len));
        Ok((source, piece.len))
    }
}

impl Disk {
    fn extent(&self) -> Result<&Extent> {
        if let Some(extent) = self.opened.get() {
            return Ok(extent);
        }
        let file = self.pin.client().file(self.file)?;
        let extent = Extent::open(file, self.offset, self.whole)?;
        Ok(self.opened.get_or_init(|| extent))
    }
}

fn beyond() -> Error {
    Error::Corrupt { what: "an object".to_owned(), why: "it is longer than its bytes".to_owned() }
}

/// The spans of an object; none if what it lies in is there no longer.
fn spans(client: &Arc<Client>, header: &Header, pin: Pin) -> Result<Option<Vec<Span>>> {
    let (place, size) = (header.place, header.size);
    let pieces = match place {
        Place::Nowhere => return if size == 0 { Ok(Some(Vec::new())) } else { Err(beyond()) },
        Place::Slab { .. } | Place::File { .. } | Place::Outside { .. } => {
            vec![(Piece { place, whole: size, start: 0, len: size }, pin)]
        }
        Place::Pieces { content } => match client.ask(&Request::Pieces { content })?.0 {
            Reply::Pieces(pieces) => {
                let pieces = pieces.into_iter().map(Piece::from_wire);
                pieces.map(|piece| (piece, Pin::taken(client, piece.place))).collect()
            }
            Reply::Gone => return Ok(None),
            _ => return Err(unexpected()),
        },
    };
    let mut spans = Vec::with_capacity(pieces.len());
    let mut at = 0_u64;
    for (piece, pin) in pieces {
        let Some(source) = source(client, piece, pin)? else { return Ok(None) };
        spans.push(Span { at, len: piece.len, source });
        at = at.checked_add(piece.len).ok_or_else(beyond)?;
    }
    if at == size { Ok(Some(spans)) } else { Err(beyond()) }
}

fn source(client: &Arc<Client>, piece: Piece, pin: Pin) -> Result<Option<Source>> {
    let fits = piece.start.checked_add(piece.len).is_some_and(|end| end <= piece.whole);
    if !fits {
        return Err(beyond());
    }
    match piece.place {
        Place::Slab { slot, generation, offset } => {
            let Some(slab) = client.slab(slot, generation)? else { return Ok(None) };
            let offset = offset.checked_add(piece.start).ok_or_else(beyond)?;
            if slab.region.sealed(offset, piece.len).is_none() {
                return Err(beyond());
            }
            Ok(Some(Source::Memory { slab, offset, pin }))
        }
        Place::File { file, offset } => {
            let (whole, start) = (piece.whole, piece.start);
            let disk = Disk { file, offset, whole, start, opened: OnceLock::new(), pin };
            Ok(Some(Source::Disk(disk)))
        }
        Place::Outside { number } => {
            let (start, last) = (piece.start, Mutex::default());
            Ok(Some(Source::Outside(Outside { number, start, last, pin })))
        }
        Place::Nowhere | Place::Pieces { .. } => Err(beyond()),
    }
}
