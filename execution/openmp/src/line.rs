//! What is kept apart, so that threads do not slow one another down.

use std::ops::Deref;

/// A value on cache lines of its own: two of them, since processors fetch pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
