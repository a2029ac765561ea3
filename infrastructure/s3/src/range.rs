//! Ranges of bytes: `bytes=0-9`, `bytes=9-`, `bytes=-9`.

use std::ops::Range;

/// What a `Range` header asks for of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: S3 passes by what it does not understand, and several ranges at once.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Nothing that the object has.
    Unsatisfiable,
}

/// Reads a `Range` header for an object of `size` bytes.
pub(crate) fn of_header(text: Option<&str>, size: u64) -> Asked {
    let range = text.and_then(|text| text.trim().strip_prefix("bytes=")).and_then(parse);
    match range {
        None => Asked::Whole,
        Some((None, Some(0))) => Asked::Unsatisfiable,
        Some((None, Some(length))) if size > 0 => Asked::Part(size.saturating_sub(length)..size),
        Some((Some(first), last)) if first < size => {
            let end = last.map_or(size, |last| size.min(last.saturating_add(1)));
            Asked::Part(first..end)
        }
        Some(_) => Asked::Unsatisfiable,
    }
}

/// The first and last byte, or only a last one: how many from the end.
fn parse(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = text.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    match (first, last) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
}

/// None if it is no number; nothing stands for an end that is open.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number that is too large lies behind every object.
    Some(Some(text.parse().unwrap_or(u64::MAX)))
}

/// The range of a part that is copied: `bytes=<first>-<last>`, both given and within the source.
pub(crate) fn of_copy_source(text: &str) -> Option<Range<u64>> {
    match parse(text.trim().strip_prefix("bytes=")?)? {
        (Some(first), Some(last)) => Some(first..last.checked_add(1)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_object() {
        for (text, size, expected) in [
            ("bytes=0-9", 100, Asked::Part(0..10)),
            ("bytes=90-200", 100, Asked::Part(90..100)),
            ("bytes=5-", 100, Asked::Part(5..100)),
            ("bytes=-5", 100, Asked::Part(95..100)),
            ("bytes=-500", 100, Asked::Part(0..100)),
            ("bytes=0-0", 1, Asked::Part(0..1)),
            ("bytes=0-99999999999999999999", 5, Asked::Part(0..5)),
        ] {
            assert_eq!(of_header(Some(text), size), expected, "{text}");
        }
    }

    #[test]
    fn what_is_outside_is_unsatisfiable() {
        for (text, size) in
            [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-0", 0), ("bytes=-1", 0)]
        {
            assert_eq!(of_header(Some(text), size), Asked::Unsatisfiable, "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_asks_for_the_whole() {
        for text in
            ["", "bytes=", "bytes=-", "bytes=9-1", "bytes=a-b", "items=0-1", "bytes=0-1,3-4"]
        {
            assert_eq!(of_header(Some(text), 100), Asked::Whole, "{text}");
        }
        assert_eq!(of_header(None, 100), Asked::Whole);
    }

    #[test]
    fn a_copied_range_has_both_ends() {
        assert_eq!(of_copy_source("bytes=0-9"), Some(0..10));
        for text in ["bytes=0-", "bytes=-5", "0-9", "bytes=9-0", "bytes=0-18446744073709551615"] {
            assert_eq!(of_copy_source(text), None, "{text}");
        }
    }
}
