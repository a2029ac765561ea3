//! The compact protocol of Thrift, as far as Parquet's footers and page headers need it: a walk over bytes that are
//! there already. What says how much follows is believed only as far as there are bytes.

use super::{Answer, Fault};

/// Structures within structures; Parquet has six.
const DEPTH_MAX: u8 = 32;

/// What a field is, as its header says.
pub(super) type Kind = u8;

const TRUE: Kind = 1;
const FALSE: Kind = 2;
const BYTE: Kind = 3;
const I64: Kind = 6;
const DOUBLE: Kind = 7;
const BINARY: Kind = 8;
const LIST: Kind = 9;
const SET: Kind = 10;
const MAP: Kind = 11;
const STRUCTURE: Kind = 12;

/// Reads values one after the other.
#[derive(Debug)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// How many bytes were not read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads a structure. `field` is given each field's number and kind, and answers whether it read it; what it did
    /// not read is passed by.
    pub(super) fn structure(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> Answer<bool>,
    ) -> Answer<()> {
        self.deeper()?;
        let mut number = 0i16;
        loop {
            let head = self.byte()?;
            if head == 0 {
                self.depth -= 1;
                return Ok(());
            }
            let step = i16::from(head >> 4);
            number = match step {
                0 => i16::try_from(self.zigzag()?).map_err(|_| odd())?,
                step => number.checked_add(step).ok_or_else(odd)?,
            };
            if !field(self, number, head & 15)? {
                self.pass(head & 15)?;
            }
        }
    }

    /// A field that is a structure.
    pub(super) fn inner(
        &mut self,
        kind: Kind,
        field: impl FnMut(&mut Self, i16, Kind) -> Answer<bool>,
    ) -> Answer<bool> {
        expect(kind == STRUCTURE)?;
        self.structure(field).map(|()| true)
    }

    /// A field that is a list of structures; `each` reads one.
    pub(super) fn structures(
        &mut self,
        kind: Kind,
        mut each: impl FnMut(&mut Self) -> Answer<()>,
    ) -> Answer<bool> {
        expect(kind == LIST)?;
        let (of, count) = self.list()?;
        expect(of == STRUCTURE || count == 0)?;
        for _ in 0..count {
            each(self)?;
        }
        Ok(true)
    }

    pub(super) fn integer(&mut self, kind: Kind) -> Answer<i64> {
        match kind {
            BYTE => self.byte().map(|byte| i64::from(byte as i8)),
            4..=I64 => self.zigzag(),
            _ => Err(odd()),
        }
    }

    pub(super) fn truth(kind: Kind) -> Answer<bool> {
        expect(kind == TRUE || kind == FALSE).map(|()| kind == TRUE)
    }

    pub(super) fn text(&mut self, kind: Kind) -> Answer<String> {
        expect(kind == BINARY)?;
        let bytes = self.binary()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| odd())
    }

    fn binary(&mut self) -> Answer<&'a [u8]> {
        let length = self.varint()?;
        self.take(usize::try_from(length).map_err(|_| odd())?)
    }

    /// What the elements are, and how many. Each takes a byte at least.
    fn list(&mut self) -> Answer<(Kind, usize)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        let count = usize::try_from(count).map_err(|_| odd())?;
        expect(count <= self.rest.len()).map(|()| (head & 15, count))
    }

    fn pass(&mut self, kind: Kind) -> Answer<()> {
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.byte().map(drop),
            4..=I64 => self.varint().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => self.binary().map(drop),
            LIST | SET => {
                let (of, count) = self.list()?;
                self.pass_each(&[of], count)
            }
            MAP => self.pass_map(),
            STRUCTURE => self.structure(|_, _, _| Ok(false)),
            _ => Err(odd()),
        }
    }

    fn pass_map(&mut self) -> Answer<()> {
        let count = usize::try_from(self.varint()?).map_err(|_| odd())?;
        expect(count <= self.rest.len())?;
        if count == 0 {
            return Ok(());
        }
        let kinds = self.byte()?;
        self.pass_each(&[kinds >> 4, kinds & 15], count)
    }

    fn pass_each(&mut self, kinds: &[Kind], count: usize) -> Answer<()> {
        self.deeper()?;
        for _ in 0..count {
            for &kind in kinds {
                // Within lists a truth has a byte of its own.
                self.pass(if kind == FALSE || kind == TRUE { BYTE } else { kind })?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn deeper(&mut self) -> Answer<()> {
        self.depth += 1;
        expect(self.depth <= DEPTH_MAX)
    }

    fn zigzag(&mut self) -> Answer<i64> {
        self.varint().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn varint(&mut self) -> Answer<u64> {
        varint(&mut self.rest)
    }

    fn byte(&mut self) -> Answer<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Answer<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Short)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// An unsigned number of seven bits in each byte, the lowest first.
pub(super) fn varint(bytes: &mut &[u8]) -> Answer<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(Fault::Short)?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(odd())
}

fn expect(holds: bool) -> Answer<()> {
    if holds { Ok(()) } else { Err(odd()) }
}

fn odd() -> Fault {
    Fault::damaged("its description cannot be read")
}
