//! Moving the bytes of messages: between memories, and to and from a row of bytes.

use crate::{
    abi,
    datatype::Type,
    error::{Result, ensure},
    memory::Space,
};
use std::sync::Arc;

/// A buffer as a program names it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) addr: u32,
    pub(crate) count: u64,
    pub(crate) ty: Arc<Type>,
}

impl Span {
    /// The bytes of data in it. Counts are checked where a span is made.
    pub(crate) fn bytes(&self) -> u64 {
        self.ty.size * self.count
    }

    /// A part of it: `count` elements from `first` on.
    pub(crate) fn part(&self, first: u64, count: u64) -> Self {
        let offset = self.ty.extent.saturating_mul(first as i64);
        let addr = offset.saturating_add(i64::from(self.addr));
        Self { addr: addr as u32, count, ty: Arc::clone(&self.ty) }
    }

    /// Copies the data out, in the order of the type.
    pub(crate) fn pack(&self, space: &Space) -> Result<Vec<u8>> {
        let (start, len) = self.ty.reach(self.addr, self.count);
        // Before anything is allocated for a length that only the program vouches for.
        if self.ty.extent != 0 || self.count <= 1 {
            space.check(start, len as usize)?;
        }
        let mut bytes = vec![0; self.bytes() as usize];
        pack_into(space, self, &mut bytes)?;
        Ok(bytes)
    }
}

/// Walks through the blocks of a span.
struct Cursor<'a> {
    ty: &'a Type,
    base: i64,
    elements: u64,
    run: usize,
    repeat: u64,
    within: u64,
}

impl<'a> Cursor<'a> {
    fn new(span: &'a Span) -> Self {
        let base = i64::from(span.addr);
        Self { ty: &span.ty, base, elements: span.count, run: 0, repeat: 0, within: 0 }
    }

    /// The rest of the block where it stands.
    #[inline]
    fn block(&self) -> Option<(i64, u64)> {
        if self.elements == 0 {
            return None;
        }
        let run = self.ty.runs.get(self.run)?;
        let start = self.base + run.offset + run.stride * self.repeat as i64;
        Some((start + self.within as i64, run.len - self.within))
    }

    #[inline]
    fn advance(&mut self, bytes: u64) {
        self.within += bytes;
        let run = &self.ty.runs[self.run];
        if self.within < run.len {
            return;
        }
        self.within = 0;
        self.repeat += 1;
        if self.repeat < run.repeat {
            return;
        }
        self.repeat = 0;
        self.run += 1;
        if self.run == self.ty.runs.len() {
            self.run = 0;
            self.elements -= 1;
            self.base = self.base.wrapping_add(self.ty.extent);
        }
    }
}

/// Calls `each(address, offset in the row, length)` for the blocks of the first `limit` bytes.
#[inline]
fn walk(span: &Span, limit: u64, mut each: impl FnMut(i64, usize, usize) -> Result) -> Result {
    let bytes = span.bytes().min(limit);
    if span.ty.is_dense() {
        return if bytes == 0 { Ok(()) } else { each(i64::from(span.addr), 0, bytes as usize) };
    }
    let mut cursor = Cursor::new(span);
    let mut done = 0;
    while done < bytes {
        let Some((addr, len)) = cursor.block() else { break };
        let len = len.min(bytes - done);
        each(addr, done as usize, len as usize)?;
        cursor.advance(len);
        done += len;
    }
    Ok(())
}

/// Copies the data of a span to a row of bytes, as many as that takes.
pub(crate) fn pack_into(space: &Space, span: &Span, row: &mut [u8]) -> Result {
    walk(span, row.len() as u64, |addr, at, len| space.read(addr, &mut row[at..at + len]))
}

/// Copies a row of bytes into a span, as many as that takes.
pub(crate) fn unpack(space: &Space, span: &Span, row: &[u8]) -> Result {
    walk(span, row.len() as u64, |addr, at, len| space.write(addr, &row[at..at + len]))
}

/// Copies from one span to another, once; as many bytes as both have.
pub(crate) fn copy(from: &Space, source: &Span, into: &Space, target: &Span) -> Result {
    let bytes = source.bytes().min(target.bytes());
    if source.ty.is_dense() {
        let start = i64::from(source.addr);
        return walk(target, bytes, |addr, at, len| {
            Space::copy(from, start + at as i64, into, addr, len)
        });
    }
    if target.ty.is_dense() {
        let start = i64::from(target.addr);
        return walk(source, bytes, |addr, at, len| {
            Space::copy(from, addr, into, start + at as i64, len)
        });
    }
    let (mut source, mut target) = (Cursor::new(source), Cursor::new(target));
    let mut left = bytes;
    while left > 0 {
        let (Some((read, here)), Some((write, there))) = (source.block(), target.block()) else {
            break;
        };
        let len = here.min(there).min(left);
        Space::copy(from, read, into, write, len as usize)?;
        source.advance(len);
        target.advance(len);
        left -= len;
    }
    Ok(())
}

/// Fails with a truncation error if a message is longer than its receiver's buffer.
pub(crate) fn fits(sent: u64, room: u64) -> Result {
    ensure(sent <= room, abi::ERR_TRUNCATE, || {
        format!("a message of {sent} bytes does not fit into a buffer of {room}")
    })
}
