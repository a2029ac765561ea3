//! Checksums of frames that were sent before: sealed bytes stay as they are, so they are summed once for all who read them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most objects whose sums are remembered: what is read again is read soon.
const OBJECTS_MAX: usize = 256;
/// Most frames of one object.
const FRAMES_MAX: usize = 1024;

/// The sums of a tenant's objects, by bucket, key and version.
#[derive(Debug, Default)]
pub(super) struct Sums(Mutex<HashMap<(String, String, u64), Arc<Frames>>>);

/// The sums of an object's frames, by where they begin and their length.
#[derive(Debug, Default)]
pub(super) struct Frames(Mutex<HashMap<(u64, usize), u32>>);

impl Sums {
    pub(super) fn of(&self, bucket: &str, key: &str, version: u64) -> Arc<Frames> {
        let mut all = lock(&self.0);
        let name = (bucket.to_owned(), key.to_owned(), version);
        if all.len() >= OBJECTS_MAX && !all.contains_key(&name) {
            all.clear();
        }
        Arc::clone(all.entry(name).or_default())
    }
}

impl Frames {
    /// The sum of the bytes at a place, which `sum` computes if it is not known.
    pub(super) fn get(&self, at: u64, len: usize, sum: impl FnOnce() -> u32) -> u32 {
        if let Some(known) = lock(&self.0).get(&(at, len)) {
            return *known;
        }
        let new = sum();
        let mut frames = lock(&self.0);
        if frames.len() < FRAMES_MAX {
            frames.insert((at, len), new);
        }
        new
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_a_version_is_summed_once() {
        let sums = Sums::default();
        let get = |key, version, at, new| sums.of("lab", key, version).get(at, 10, || new);
        assert_eq!((get("k", 1, 0, 5), get("k", 1, 0, 6)), (5, 5));
        assert_eq!((get("k", 1, 10, 7), get("k", 2, 0, 8), get("l", 1, 0, 9)), (7, 8, 9));
    }

    #[test]
    fn no_more_is_remembered_than_the_limits_say() {
        let sums = Sums::default();
        let frames = sums.of("lab", "k", 0);
        for at in 0..2 * FRAMES_MAX as u64 {
            assert_eq!(frames.get(at, 1, || at as u32), at as u32);
        }
        assert_eq!(lock(&frames.0).len(), FRAMES_MAX);
        (0..2 * OBJECTS_MAX as u64).for_each(|version| _ = sums.of("lab", "k", version));
        assert!(lock(&sums.0).len() <= OBJECTS_MAX);
    }
}
