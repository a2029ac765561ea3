//! Objects that are moved to another tier because somebody wants it, not because of pressure.

use crate::{
    Entry, Error, Geds, Listing, Result, Tier,
    client::unexpected,
    wire::{Reply, Request},
};
use serde::{Deserialize, Serialize};

/// Most objects, and about how many bytes, that the node moves before it says how far it is.
const BATCH: usize = 256;
const BATCH_BYTES: u64 = 128 << 20;
/// Most objects that are named because they were not moved.
const NAMED: usize = 100;

/// Where the bytes of objects are to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// In memory, as far as there is room below the high-water mark.
    Memory,
    /// On disk, synced; what lies in the bucket's back end as well is left there alone.
    Disk,
    /// In the bucket's back end alone.
    Outside,
}

/// What came of moving objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Relocated {
    /// How many objects were moved.
    pub objects: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// How many were not moved though they should have been.
    pub failed: u64,
    /// The first of those.
    pub failures: Vec<Unmoved>,
}

/// An object that was not moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmoved {
    /// Its key.
    pub key: String,
    /// Why it was not.
    pub why: String,
}

impl Destination {
    /// Whether an object is to be moved; what lies in several places may be.
    fn wants(self, entry: &Entry) -> bool {
        let stat = &entry.stat;
        let there = match self {
            Self::Memory => stat.tier == Tier::Memory,
            Self::Disk => matches!(stat.tier, Tier::Disk | Tier::Outside),
            Self::Outside => stat.tier == Tier::Outside,
        };
        // Bytes at another site are that site's to move.
        stat.size > 0 && stat.site.is_none() && !there
    }
}

impl Geds {
    /// Moves the bytes of all objects of a bucket of this site whose keys begin so, and frees where they were as soon
    /// as nobody reads them there. `told` is called now and then with what was done so far. An object that changes
    /// meanwhile keeps its new bytes where they are.
    ///
    /// # Errors
    /// [`Error::NoBucket`]; [`Error::Invalid`] for [`Destination::Outside`] of a bucket without a
    /// [back end](Self::attach); the first failure if none of some objects could be moved, as of a full disk or a back end
    /// that cannot be reached. What was moved before it stays so. Failures of single objects are told in what is returned.
    pub fn relocate(
        &self,
        bucket: &str,
        prefix: &str,
        to: Destination,
        mut told: impl FnMut(&Relocated),
    ) -> Result<Relocated> {
        let (mut listing, mut done) = (Listing::prefix(prefix), Relocated::default());
        loop {
            let page = self.list(bucket, &listing)?;
            let wanted: Vec<Entry> =
                page.entries.into_iter().filter(|entry| to.wants(entry)).collect();
            for batch in batches(&wanted) {
                self.relocate_some(bucket, batch, to, &mut done)?;
                told(&done);
            }
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(done),
            }
        }
    }

    fn relocate_some(
        &self,
        bucket: &str,
        batch: &[Entry],
        to: Destination,
        done: &mut Relocated,
    ) -> Result<()> {
        let failed = match to {
            Destination::Memory => self.raise(bucket, batch),
            Destination::Disk | Destination::Outside => self.lower(bucket, batch, to)?,
        };
        let (mut last, before) = (None, done.objects);
        for entry in batch {
            match failed.iter().find(|(key, _)| *key == entry.key) {
                None => {
                    done.objects += 1;
                    done.bytes += entry.stat.size;
                }
                // Deleted meanwhile.
                Some((_, Error::NoObject { .. })) => {}
                Some((key, error)) => {
                    done.failed += 1;
                    if done.failures.len() < NAMED {
                        let (key, why) = (key.clone(), types::chain(error));
                        done.failures.push(Unmoved { key, why });
                    }
                    last = Some(key);
                }
            }
        }
        // Those behind would fail as well.
        let last = last.filter(|_| done.objects == before).cloned();
        match failed.into_iter().find(|(key, _)| Some(key) == last.as_ref()) {
            Some((_, error)) if is_of_all(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks the node to move objects down; gives those that it did not move.
    fn lower(
        &self,
        bucket: &str,
        batch: &[Entry],
        to: Destination,
    ) -> Result<Vec<(String, Error)>> {
        let keys = batch.iter().map(|entry| entry.key.clone()).collect();
        match self.ask_apart(&Request::Relocate { bucket: bucket.to_owned(), keys, to })? {
            Reply::Relocated(failed) => {
                Ok(failed.into_iter().map(|(key, why)| (key, why.into())).collect())
            }
            _ => Err(unexpected()),
        }
    }

    /// Copies objects into memory.
    fn raise(&self, bucket: &str, batch: &[Entry]) -> Vec<(String, Error)> {
        let raise = |key: &str| {
            match self.bring_to_memory(bucket, key, u64::MAX) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Unavailable(
                "there is no room for it in memory below the high-water mark, or it is composed of others"
                    .to_owned(),
            )),
            Err(error) => Err(error),
        }
        };
        let failed = |entry: &Entry| Some((entry.key.clone(), raise(&entry.key).err()?));
        batch.iter().filter_map(failed).collect()
    }
}

/// Whether what one object failed of, others will fail of as well.
fn is_of_all(error: &Error) -> bool {
    use crate::ErrorKind::{Exhausted, Forbidden, Internal, Unavailable};
    matches!(error.kind(), Exhausted | Forbidden | Internal | Unavailable)
}

/// Cuts objects into what is moved at once.
fn batches(mut entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    std::iter::from_fn(move || {
        let mut bytes = 0_u64;
        let fits = entries.iter().take(BATCH).take_while(|entry| {
            let fits = bytes < BATCH_BYTES;
            bytes = bytes.saturating_add(entry.stat.size);
            fits
        });
        let (batch, rest) = entries.split_at(fits.count());
        entries = rest;
        (!batch.is_empty()).then_some(batch)
    })
}
