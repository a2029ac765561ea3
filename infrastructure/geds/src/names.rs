//! Names of buckets, by the rules of S3, and keys of objects.

use std::net::Ipv4Addr;

/// Longest key of an object.
pub const KEY_MAX_BYTES: usize = 1024;

/// How names of the platform's own buckets end.
const INTERNAL_END: &str = ".cloudskin.internal";

const BUCKET_MIN_BYTES: usize = 3;
const BUCKET_MAX_BYTES: usize = 63;

/// Beginnings and ends that S3 keeps for itself.
const RESERVED_STARTS: [&str; 4] = ["xn--", "sthree-", "amzn-s3-demo-", "-"];
const RESERVED_ENDS: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];

/// Why a text cannot be a bucket's name or an object's key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Too short or too long for a bucket.
    #[error(
        "a bucket's name has {BUCKET_MIN_BYTES} to {BUCKET_MAX_BYTES} bytes, `{0}` has {len}",
        len = .0.len()
    )]
    BucketLength(String),
    /// A character or a place of one that S3 does not allow.
    #[error(
        "`{0}` is no bucket's name: use lower-case letters, digits, dots and dashes, a letter or digit at both ends, and no two dots in a row"
    )]
    BucketCharacter(String),
    /// It reads as an address of version 4.
    #[error("`{0}` is no bucket's name: it reads as an IP address")]
    BucketAddress(String),
    /// S3 keeps this beginning or end for itself.
    #[error("`{name}` is no bucket's name: `{reserved}` is reserved")]
    BucketReserved {
        /// The name.
        name: String,
        /// The part of it that is reserved.
        reserved: &'static str,
    },
    /// A key of no bytes, or of too many.
    #[error("a key has 1 to {KEY_MAX_BYTES} bytes, this one has {0}")]
    KeyLength(usize),
}

/// Checks a bucket's name by the rules of S3.
///
/// # Errors
/// [`NameError`] says what is wrong with it.
pub fn check_bucket(name: &str) -> Result<(), NameError> {
    if !(BUCKET_MIN_BYTES..=BUCKET_MAX_BYTES).contains(&name.len()) {
        return Err(NameError::BucketLength(name.to_owned()));
    }
    if !bucket_characters(name) {
        return Err(NameError::BucketCharacter(name.to_owned()));
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Err(NameError::BucketAddress(name.to_owned()));
    }
    let start = RESERVED_STARTS.iter().find(|start| name.starts_with(**start));
    let end = RESERVED_ENDS.iter().find(|end| name.ends_with(**end));
    match start.or(end) {
        Some(reserved) => Err(NameError::BucketReserved { name: name.to_owned(), reserved }),
        None => Ok(()),
    }
}

/// Whether a bucket is one in which the platform keeps what is not for users to see, such as
/// [`CHECKPOINTS`](crate::CHECKPOINTS).
pub fn is_internal(bucket: &str) -> bool {
    bucket.ends_with(INTERNAL_END)
}

fn bucket_characters(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| letter(byte) || byte == b'.' || byte == b'-';
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(|byte| letter(*byte)))
        && bytes.iter().all(|byte| allowed(*byte))
        && !name.contains("..")
}

/// Checks an object's key: 1 to [`KEY_MAX_BYTES`] bytes, any text.
///
/// # Errors
/// [`NameError::KeyLength`].
pub fn check_key(key: &str) -> Result<(), NameError> {
    if (1..=KEY_MAX_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(NameError::KeyLength(key.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_named_by_the_rules_of_s3() {
        for good in ["lab", "my-bucket.v2", "0ab", "a23456789012345678901234567890"] {
            assert_eq!(check_bucket(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        let bad = [
            "",
            "ab",
            &long,
            "Lab",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "10.0.0.1",
            "xn--ab",
            "x-s3alias",
            "a b",
            "lab/x",
            "b\u{fc}cher",
        ];
        for bad in bad {
            assert!(check_bucket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_any_text_of_up_to_1024_bytes() {
        assert_eq!(check_key("a/\u{1f980}/"), Ok(()));
        assert_eq!(check_key(&"k".repeat(1024)), Ok(()));
        assert_eq!(check_key(""), Err(NameError::KeyLength(0)));
        assert_eq!(check_key(&"k".repeat(1025)), Err(NameError::KeyLength(1025)));
    }
}
