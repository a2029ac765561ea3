//! Series on disk: the newest samples in a log and in memory, the older ones in blocks.
//!
//! A batch is in the log before it is in memory, so whatever was acknowledged survives the death of the process, and
//! a power cut but for the seconds since the last [`Store::maintain`].

pub(crate) mod block;
pub(crate) mod codec;
mod head;
mod index;
mod limits;
pub(crate) mod log;
mod open;
mod upkeep;
pub(crate) mod wire;

pub use limits::{Appended, Limits, Stats};

use crate::{Error, Labels, Matcher, Result, Sample};
use block::{Block, Place};
use codec::{Chunk, unpack};
use head::{Fate, Head, fate};
use index::Index;
use log::{Log, Records};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Of so many metrics the description is remembered.
const DESCRIBED_MAX: usize = 20_000;

/// Who measured.
const SITE: &str = "site";

/// Of a metric's help and unit, no more is kept.
const DESCRIPTION_MAX_BYTES: usize = 1 << 10;

/// A series with the samples that were asked for, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub labels: Labels,
    /// What was measured, marks of staleness included.
    pub samples: Vec<Sample>,
}

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Description {
    /// `counter`, `gauge`, `histogram`, `summary`, or `unknown`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says, for people.
    pub help: String,
    /// In what it is measured; often empty.
    pub unit: String,
}

/// Series in one folder, which belongs to this process alone.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    inner: RwLock<Inner>,
    /// One upkeep at a time.
    upkeep: Mutex<()>,
    described: RwLock<HashMap<String, Description>>,
    /// Held locked.
    _lock: File,
}

#[derive(Debug)]
struct Inner {
    index: Index,
    head: Head,
    blocks: Vec<Arc<Block>>,
    log: Log,
    log_number: u64,
    /// The series that the log names.
    named: HashSet<u32>,
    /// What is older is in blocks, where nothing is added.
    horizon_ms: i64,
    /// Blocks that cannot be read: their files, and when they end.
    damaged: Vec<(PathBuf, i64)>,
    counts: Stats,
}

/// Where samples of a series are.
enum Source {
    Memory(Vec<u8>, u32),
    Disk(Arc<Block>, Place),
}

impl Source {
    fn read(&self) -> Result<Vec<Sample>> {
        match self {
            Self::Memory(bytes, count) => Ok(unpack(bytes, *count).unwrap_or_default()),
            Self::Disk(block, place) => block.read(place),
        }
    }
}

impl Store {
    /// Stores what may be stored of a batch, in the order given; `now_ms` is the present time. A series takes samples in
    /// the order of their times alone: what is earlier, or says something else of the same time, is refused and counted.
    ///
    /// # Errors
    /// [`Error::NotStored`] if the disk fails: then nothing of the batch is stored.
    pub fn append(&self, batch: &[(Labels, Sample)], now_ms: i64) -> Result<Appended> {
        let mut inner = self.write();
        let draft = inner.draft(batch, now_ms, &self.limits);
        if draft.samples.is_empty() {
            inner.counts.samples.add(&draft.appended);
            return Ok(draft.appended);
        }
        let mut records = Records::default();
        for (id, labels) in &draft.unnamed {
            records.series(*id, labels);
        }
        records.samples(&draft.samples);
        if let Err(error) = inner.log.append(&records) {
            inner.counts.failed_batches += 1;
            return Err(error);
        }
        for (id, labels) in &draft.unnamed {
            inner.index.number_as(labels, *id);
            inner.named.insert(*id);
        }
        for (id, sample) in draft.samples {
            inner.head.push(id, sample);
        }
        inner.counts.samples.add(&draft.appended);
        Ok(draft.appended)
    }

    /// The series that all matchers admit, with their samples of this stretch of time, both ends included. Series
    /// without a sample there are left out.
    ///
    /// # Errors
    /// [`Error::TooMuch`] if more than `samples_max` would have to be read; [`Error::Disk`] and [`Error::Corrupt`] of a block.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        samples_max: usize,
    ) -> Result<Vec<Series>> {
        let sources = self.sources(matchers, from_ms, to_ms, samples_max)?;
        let mut all = Vec::with_capacity(sources.len());
        for (labels, sources) in sources {
            let mut samples: Vec<Sample> = Vec::new();
            for source in sources {
                let read = source.read()?;
                let wanted = |one: &Sample| (from_ms..=to_ms).contains(&one.time_ms);
                samples.extend(read.into_iter().filter(wanted));
            }
            if !samples.is_empty() {
                all.push(Series { labels, samples });
            }
        }
        Ok(all)
    }

    /// Where the samples are, in the order of time. Reading them needs no lock.
    fn sources(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        samples_max: usize,
    ) -> Result<Vec<(Labels, Vec<Source>)>> {
        let inner = self.read();
        let touches = |first: i64, last: i64| first <= to_ms && last >= from_ms;
        let blocks: Vec<_> =
            inner.blocks.iter().filter(|block| touches(block.first_ms, block.last_ms)).collect();
        let mut found = Vec::new();
        let mut samples = 0_usize;
        for (id, labels) in inner.index.select(matchers) {
            let mut sources = Vec::new();
            for block in &blocks {
                let places = block.places(id).iter();
                for place in places.filter(|place| touches(place.first_ms, place.last_ms)) {
                    samples += place.count as usize;
                    sources.push(Source::Disk(Arc::clone(block), *place));
                }
            }
            let chunks = inner.head.chunks(id).iter();
            for chunk in chunks.filter(|one| touches(one.first_ms(), one.last().time_ms)) {
                samples += chunk.count() as usize;
                sources.push(Source::Memory(chunk.bytes().to_vec(), chunk.count()));
            }
            if samples > samples_max {
                return Err(Error::TooMuch(format!(
                    "the query reads more than {samples_max} samples: ask for a shorter range or fewer series"
                )));
            }
            if !sources.is_empty() {
                found.push((labels, sources));
            }
        }
        Ok(found)
    }

    /// The series that one of the lists of matchers admits and that have samples in this stretch of time, as far as
    /// blocks and chunks say that.
    pub fn series(&self, any: &[Vec<Matcher>], from_ms: i64, to_ms: i64) -> Vec<Labels> {
        let inner = self.read();
        let mut ids = HashMap::new();
        for matchers in any {
            ids.extend(inner.index.select(matchers));
        }
        let touches = |first: i64, last: i64| first <= to_ms && last >= from_ms;
        let mut found: Vec<Labels> = ids
            .into_iter()
            .filter(|(id, _)| {
                let stored = inner.blocks.iter().flat_map(|block| block.places(*id));
                let mut fresh = inner.head.chunks(*id).iter();
                fresh.any(|chunk| touches(chunk.first_ms(), chunk.last().time_ms))
                    || stored.into_iter().any(|place| touches(place.first_ms, place.last_ms))
            })
            .map(|(_, labels)| labels)
            .collect();
        found.sort();
        found
    }

    /// The names of all labels, in their order.
    pub fn label_names(&self) -> Vec<String> {
        self.read().index.names()
    }

    /// All values of a label, in their order.
    pub fn label_values(&self, name: &str) -> Vec<String> {
        self.read().index.values(name)
    }

    /// Remembers what a metric is, for those who ask; not on disk. Longer texts are cut.
    pub fn describe(&self, name: &str, mut description: Description) {
        cut(&mut description.help);
        cut(&mut description.unit);
        let mut described = self.described.write().unwrap_or_else(PoisonError::into_inner);
        if described.len() < DESCRIBED_MAX || described.contains_key(name) {
            described.insert(name.to_owned(), description);
        }
    }

    /// What metrics are, by name.
    pub fn descriptions(&self) -> Vec<(String, Description)> {
        let described = self.described.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            described.iter().map(|(name, what)| (name.clone(), what.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// What it holds.
    pub fn stats(&self) -> Stats {
        let inner = self.read();
        Stats {
            series: inner.index.len(),
            blocks: inner.blocks.len(),
            disk_bytes: inner.disk_bytes(),
            memory_bytes: inner.head.bytes(),
            damaged_blocks: inner.damaged.len(),
            ..inner.counts
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn upkeep_turn(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a batch is to be stored.
#[derive(Default)]
struct Draft {
    /// Series that the log does not name yet.
    unnamed: Vec<(u32, Labels)>,
    samples: Vec<(u32, Sample)>,
    appended: Appended,
}

/// Cuts a text of a description between two characters.
fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(DESCRIPTION_MAX_BYTES));
}

impl Inner {
    fn draft(&self, batch: &[(Labels, Sample)], now_ms: i64, limits: &Limits) -> Draft {
        let mut draft = Draft::default();
        let mut new: HashMap<Labels, u32> = HashMap::new();
        // New series of each site.
        let mut of_site: HashMap<&str, usize> = HashMap::new();
        // The last sample of each series, with what stands earlier in the batch.
        let mut last: HashMap<u32, Sample> = HashMap::new();
        let oldest = now_ms.saturating_sub(millis(limits.age)).max(self.horizon_ms).max(0);
        let newest = now_ms.saturating_add(millis(limits.future));
        for (labels, sample) in batch {
            if sample.time_ms < oldest || sample.time_ms > newest {
                let counts = &mut draft.appended;
                match sample.time_ms < oldest {
                    true => counts.too_old += 1,
                    false => counts.in_future += 1,
                }
                continue;
            }
            let known = self.index.id(labels).or_else(|| new.get(labels).copied());
            let id = known.unwrap_or(self.index.next() + new.len() as u32);
            if known.is_none() {
                let site = labels.get(SITE);
                let own = of_site.get(site).copied().unwrap_or(0) + self.index.count(SITE, site);
                let site_is_full = !site.is_empty() && own >= limits.site_series;
                if self.index.len() + new.len() >= limits.series || site_is_full {
                    draft.appended.too_many_series += 1;
                    continue;
                }
                new.insert(labels.clone(), id);
                *of_site.entry(site).or_default() += 1;
            }
            let before = last.get(&id).copied().or_else(|| self.head.last(id));
            match fate(before, *sample) {
                Fate::Stored => {
                    draft.appended.stored += 1;
                    draft.samples.push((id, *sample));
                    if last.insert(id, *sample).is_none() && !self.named.contains(&id) {
                        draft.unnamed.push((id, labels.clone()));
                    }
                }
                Fate::Repeated => draft.appended.repeated += 1,
                Fate::Conflicting => draft.appended.conflicting += 1,
                Fate::OutOfOrder => draft.appended.out_of_order += 1,
            }
        }
        draft
    }

    fn disk_bytes(&self) -> u64 {
        self.log.bytes() + self.blocks.iter().map(|block| block.bytes).sum::<u64>()
    }
}

/// The period in whole milliseconds.
fn millis(period: types::Period) -> i64 {
    i64::try_from(period.0.as_millis()).unwrap_or(i64::MAX)
}

/// Records that say again what is in memory.
fn checkpoint(index: &Index, head: &Head) -> Records {
    let mut records = Records::default();
    let mut all: Vec<(u32, &[Chunk])> = head.iter().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    for (id, chunks) in all {
        let Some(labels) = index.labels(id) else { continue };
        records.series(id, labels);
        chunks.iter().for_each(|chunk| records.chunk(id, chunk));
    }
    records
}
