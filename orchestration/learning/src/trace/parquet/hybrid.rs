//! Small numbers, in runs of the same one and in groups of packed bits.

use super::{Answer, Fault, thrift::varint};

/// Reads numbers of a range of bytes, without writing them down.
#[derive(Debug)]
pub(super) struct Hybrid {
    width: u32,
    at: usize,
    end: usize,
    run: Run,
}

#[derive(Debug, Clone, Copy)]
enum Run {
    Same {
        value: u32,
        left: u64,
    },
    /// The next number begins at a bit behind `at`.
    Packed {
        bit: u64,
        left: u64,
    },
}

impl Hybrid {
    /// Of numbers of so many bits, at most 32.
    pub(super) fn new(width: u32, at: usize, end: usize) -> Self {
        Self { width, at, end, run: Run::Same { value: 0, left: 0 } }
    }

    /// The next number; `bytes` are always the same.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Answer<u32> {
        loop {
            match &mut self.run {
                Run::Same { value, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { bit, left } if *left > 0 => {
                    let value =
                        bits(&bytes[self.at..self.end], *bit, self.width).ok_or_else(ended)?;
                    *bit += u64::from(self.width);
                    *left -= 1;
                    return Ok(value);
                }
                _ => self.begin(bytes)?,
            }
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Answer<()> {
        if let Run::Packed { bit, .. } = self.run {
            self.at = self.at.saturating_add((bit / 8) as usize).min(self.end);
        }
        let mut rest = &bytes[self.at..self.end];
        let head = varint(&mut rest).map_err(|_| ended())?;
        if head & 1 == 1 {
            let left = (head >> 1).checked_mul(8).ok_or_else(ended)?;
            self.at = self.end - rest.len();
            self.run = Run::Packed { bit: 0, left };
            return Ok(());
        }
        let (value, rest) =
            rest.split_at_checked(self.width.div_ceil(8) as usize).ok_or_else(ended)?;
        let value = value.iter().rev().fold(0, |value, byte| (value << 8) | u32::from(*byte));
        self.at = self.end - rest.len();
        self.run = Run::Same { value, left: head >> 1 };
        Ok(())
    }
}

/// A number of so many bits, the lowest first.
fn bits(bytes: &[u8], at: u64, width: u32) -> Option<u32> {
    let (byte, shift) = (usize::try_from(at / 8).ok()?, at % 8);
    let needed = (shift as usize + width as usize).div_ceil(8);
    let of = bytes.get(byte..byte.checked_add(needed)?)?;
    let whole = of.iter().rev().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
    Some(((whole >> shift) & ((1u64 << width) - 1)) as u32)
}

fn ended() -> Fault {
    Fault::damaged("a page has fewer values than it says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_packed_groups_follow_each_other_and_end() {
        // Five times 3, then eight numbers of three bits (0 to 7), then twice 1.
        let bytes = [10, 3, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010, 4, 1];
        let mut numbers = Hybrid::new(3, 0, bytes.len());

        let read: Vec<u32> = (0..15).map(|_| numbers.next(&bytes).unwrap()).collect();

        assert_eq!(read, [3, 3, 3, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7, 1, 1]);
        assert!(numbers.next(&bytes).is_err());
        // Runs of nothing do not go on for ever, and widths of none and all bits are read.
        assert!(Hybrid::new(1, 0, 4).next(&[0, 0, 0, 0]).is_err());
        assert_eq!(Hybrid::new(0, 0, 1).next(&[2]).unwrap(), 0);
        assert_eq!(Hybrid::new(32, 0, 5).next(&[2, 1, 2, 3, 4]).unwrap(), 0x0403_0201);
    }
}
