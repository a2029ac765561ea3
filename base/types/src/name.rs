//! Names of resources, by the rules of Kubernetes, and random identifiers.

use crate::hex;
use std::cell::RefCell;

/// Longest name: one DNS label.
pub const NAME_MAX_BYTES: usize = 63;

/// Why a text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`NAME_MAX_BYTES`].
    #[error("the name is {size_bytes} bytes long: at most {NAME_MAX_BYTES} are allowed")]
    TooLong {
        /// How long it is.
        size_bytes: usize,
    },
    /// A character outside `a-z`, `0-9` and `-`, or a dash at an end.
    #[error(
        "`{0}` is not a name: use lower-case letters, digits and dashes, and start and end with a letter or digit"
    )]
    Character(String),
}

/// Checks that `name` is a DNS label (RFC 1123), as names of resources and tenants must be.
///
/// # Errors
/// [`NameError`] says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong { size_bytes: name.len() });
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.bytes().all(allowed) || name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::Character(name.to_owned()));
    }
    Ok(())
}

/// A new identifier of 128 random bits as 32 hexadecimal digits.
///
/// # Panics
/// If the operating system gives no randomness.
pub fn random_id() -> String {
    thread_local! {
        // The operating system is asked for many at once: each request gets one.
        static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL_BYTES], used: POOL_BYTES }) };
    }
    POOL.with_borrow_mut(|pool| hex::encode(&pool.take()))
}

/// How much randomness a thread keeps.
const POOL_BYTES: usize = 64 * ID_BYTES;
const ID_BYTES: usize = 16;

/// Randomness that was not given out yet. A process that forks without executing another program
/// would share it with its child: none of ours does.
struct Pool {
    bytes: [u8; POOL_BYTES],
    used: usize,
}

impl Pool {
    fn take(&mut self) -> [u8; ID_BYTES] {
        if self.used == POOL_BYTES {
            getrandom::fill(&mut self.bytes).expect("the operating system gives randomness");
            self.used = 0;
        }
        let mut id = [0; ID_BYTES];
        // What was given out is not kept.
        id.swap_with_slice(&mut self.bytes[self.used..self.used + ID_BYTES]);
        self.used += ID_BYTES;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_dns_labels_and_refuses_the_rest() {
        for good in ["a", "street-counter", "9lives", &"x".repeat(63)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "ä", "..", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_identifier_comes_twice() {
        let ids = |_| (0..1000).map(|_| random_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || ids(()))).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();

        assert!(all.iter().all(|id| id.len() == 32), "{all:?}");
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 4000);
    }
}
