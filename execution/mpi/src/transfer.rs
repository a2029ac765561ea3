//! Moving the bytes of messages: between memories, and to and from a row of bytes.

use crate::{
    abi,
    datatype::Type,
    error::{Result, ensure},
    memory::Space,
};
use std::sync::Arc;

/// A buffer as a program names it.
#[derive(Debug, Clone, Default)]
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

/// Walks through the blocks of a span, whose type it is told at each step.
#[derive(Debug)]
struct Cursor {
    base: i64,
    elements: u64,
    run: usize,
    repeat: u64,
    within: u64,
}

impl Cursor {
    fn new(span: &Span) -> Self {
        let base = i64::from(span.addr);
        Self { base, elements: span.count, run: 0, repeat: 0, within: 0 }
    }

    /// The rest of the block where it stands.
    #[inline]
    fn block(&self, ty: &Type) -> Option<(i64, u64)> {
        if self.elements == 0 {
            return None;
        }
        let run = ty.runs.get(self.run)?;
        let start = self.base + run.offset + run.stride * self.repeat as i64;
        Some((start + self.within as i64, run.len - self.within))
    }

    #[inline]
    fn advance(&mut self, ty: &Type, bytes: u64) {
        self.within += bytes;
        let run = &ty.runs[self.run];
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
        if self.run == ty.runs.len() {
            self.run = 0;
            self.elements -= 1;
            self.base = self.base.wrapping_add(ty.extent);
        }
    }
}

/// The data of a span, piece by piece.
#[derive(Debug)]
pub(crate) struct Pieces {
    span: Span,
    cursor: Cursor,
    done: u64,
    bytes: u64,
}

impl Pieces {
    /// The first `limit` bytes of a span, or all.
    pub(crate) fn new(span: Span, limit: u64) -> Self {
        let (cursor, bytes) = (Cursor::new(&span), span.bytes().min(limit));
        Self { span, cursor, done: 0, bytes }
    }

    /// How many bytes are behind.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> u64 {
        self.bytes - self.done
    }

    /// The next block, of at most `limit` bytes: its address and length.
    pub(crate) fn next(&mut self, limit: u64) -> Option<(i64, usize)> {
        let limit = limit.min(self.left());
        if limit == 0 {
            return None;
        }
        let (addr, len) = match self.span.ty.is_dense() {
            true => (i64::from(self.span.addr) + self.done as i64, limit),
            false => {
                let (addr, len) = self.cursor.block(&self.span.ty)?;
                let len = len.min(limit);
                self.cursor.advance(&self.span.ty, len);
                (addr, len)
            }
        };
        self.done += len;
        Some((addr, len as usize))
    }

    /// Appends the next bytes to a row, as many as `limit` at most.
    pub(crate) fn pack(&mut self, space: &Space, limit: u64, row: &mut Vec<u8>) -> Result {
        let end = self.done + limit.min(self.left());
        while let Some((addr, len)) = self.next(end - self.done) {
            let start = row.len();
            row.resize(start + len, 0);
            space.read(addr, &mut row[start..])?;
        }
        Ok(())
    }

    /// Puts a row where the next bytes belong; what is beyond the last is left out.
    pub(crate) fn unpack(&mut self, space: &Space, mut row: &[u8]) -> Result {
        while let Some((addr, len)) = self.next(row.len() as u64) {
            let (first, rest) = row.split_at(len);
            space.write(addr, first)?;
            row = rest;
        }
        Ok(())
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
        let Some((addr, len)) = cursor.block(&span.ty) else { break };
        let len = len.min(bytes - done);
        each(addr, done as usize, len as usize)?;
        cursor.advance(&span.ty, len);
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
    let (mut reader, mut writer) = (Cursor::new(source), Cursor::new(target));
    let mut left = bytes;
    while left > 0 {
        let blocks = (reader.block(&source.ty), writer.block(&target.ty));
        let (Some((read, here)), Some((write, there))) = blocks else { break };
        let len = here.min(there).min(left);
        Space::copy(from, read, into, write, len as usize)?;
        reader.advance(&source.ty, len);
        writer.advance(&target.ty, len);
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
