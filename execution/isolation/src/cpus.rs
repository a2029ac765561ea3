//! Sets of processors.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// Processors that a set may name: what the largest kernels are built for.
const CPUS_MAX: u32 = 8192;

/// A set of processors that is not empty, by the kernel's numbers: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuSet(BTreeSet<u32>);

/// A text is no set of processors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no set of processors: write numbers below 8192 and ranges, as in `0-3,8`")]
pub struct CpuSetError {
    text: String,
}

impl CpuSet {
    /// Whether all processors of this set are in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Its processors, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// How many.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self(cpus))
    }
}

/// Digits alone: `u32::from_str` would take a sign.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < CPUS_MAX)
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        Self::parse(text).ok_or_else(|| CpuSetError { text: text.chars().take(80).collect() })
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            match first == last {
                true => write!(f, "{separator}{first}")?,
                false => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sets_are_read_and_written_as_the_kernel_does() {
        for (text, written) in
            [("0", "0"), ("0-3,8", "0-3,8"), ("3,1,2,1\n", "1-3"), ("8191", "8191")]
        {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), written);
        }
        let (few, many) = ("1,3".parse::<CpuSet>().unwrap(), "0-3".parse::<CpuSet>().unwrap());
        assert!(few.is_subset(&many) && !many.is_subset(&few));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in ["", ",", "0,", "-", "1-", "3-1", "8192", "+1", "0-4294967295", "a", "0 1"] {
            assert!(wrong.parse::<CpuSet>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9,\\- ]{0,40}|.{0,40}") {
            if let Ok(set) = text.parse::<CpuSet>() {
                prop_assert!(set.len() > 0);
                prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set));
            }
        }
    }
}
