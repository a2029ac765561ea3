//! A file's times, which an object has only one of.

use crate::wasi::SetTime;
use geds::{Attributes, Stat};
use std::time::{SystemTime, UNIX_EPOCH};

/// The attribute that keeps times which somebody set: its version, then both in nanoseconds since the
/// Unix epoch, little-endian.
const ATTRIBUTE: &str = "file-times";

const VERSION: u8 = 1;

/// When a file was last read and written, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) accessed_ns: u64,
    pub(super) modified_ns: u64,
}

impl Times {
    /// Both now.
    pub(super) fn now() -> Self {
        let now = now_ns();
        Self { accessed_ns: now, modified_ns: now }
    }

    /// Those of a sealed object: what was set, else when it was sealed.
    pub(super) fn of(stat: &Stat) -> Self {
        let sealed_ns = stat.modified.saturating_mul(1_000_000);
        let sealed = Self { accessed_ns: sealed_ns, modified_ns: sealed_ns };
        stat.attributes.get(ATTRIBUTE).and_then(Self::decode).unwrap_or(sealed)
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (VERSION, times) = value.split_first().map(|(version, times)| (*version, times))?
        else {
            return None;
        };
        let (accessed, modified) = times.split_first_chunk()?;
        let modified = modified.try_into().ok()?;
        Some(Self {
            accessed_ns: u64::from_le_bytes(*accessed),
            modified_ns: u64::from_le_bytes(modified),
        })
    }

    /// An object's attributes with these times among them.
    pub(super) fn keep(self, attributes: Attributes) -> Attributes {
        let mut value = vec![VERSION];
        value.extend(self.accessed_ns.to_le_bytes());
        value.extend(self.modified_ns.to_le_bytes());
        attributes.with(ATTRIBUTE, value)
    }

    /// With the changes that a program asks for.
    pub(super) fn set(self, accessed: SetTime, modified: SetTime) -> Self {
        let set = |kept, to| match to {
            SetTime::Keep => kept,
            SetTime::Now => now_ns(),
            SetTime::To(ns) => ns,
        };
        Self {
            accessed_ns: set(self.accessed_ns, accessed),
            modified_ns: set(self.modified_ns, modified),
        }
    }
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_comes_back_and_anything_else_is_none() {
        let times = Times { accessed_ns: 1, modified_ns: u64::MAX };
        let kept = times.keep(Attributes::new());
        let value = kept.get(ATTRIBUTE).unwrap();
        assert_eq!(Times::decode(value), Some(times));
        for cut in 0..value.len() {
            assert_eq!(Times::decode(&value[..cut]), None);
        }
        assert_eq!(Times::decode(&[2; 17]), None);
        assert_eq!(Times::decode(&[1; 18]), None);
    }
}
