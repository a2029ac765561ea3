//! How a store is found again, whatever ended the process that had it.

use super::{
    Inner, Limits, Stats, Store,
    block::{Block, last_ms_of},
    head::{Fate, Head, fate},
    index::Index,
    log::{Entry, Log, Records},
    millis,
};
use crate::{Error, Result};
use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
};
use tracing::warn;

/// What lies in a store's folder.
#[derive(Default)]
struct Found {
    blocks: Vec<(PathBuf, i64)>,
    logs: Vec<u64>,
}

impl Store {
    /// Opens the store in a folder, which is made if there is none.
    ///
    /// # Errors
    /// [`Error::Taken`] if another process has it; [`Error::Disk`]; [`Error::Corrupt`] for a log that is none, or of
    /// another version. What is torn at the log's end is cut off, a block that is damaged is left out: both are logged
    /// and counted in [`Stats`].
    pub fn open(folder: &Path, limits: Limits) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::disk("make", folder))?;
        let lock = lock(folder)?;
        let found = look(folder)?;
        let (log, log_number, entries, cut_bytes) = open_log(folder, &found.logs)?;
        let mut index = Index::default();
        // The log goes on with the numbers that it began with; blocks have none.
        let named = number(&entries, &mut index);
        let (blocks, damaged) = open_blocks(found.blocks, &mut index)?;
        let horizon_ms = blocks.iter().map(|block| block.last_ms.saturating_add(1)).max();
        let horizon_ms = horizon_ms.unwrap_or(i64::MIN);
        let mut stored: HashMap<u32, i64> = HashMap::new();
        for (id, last_ms) in blocks.iter().flat_map(|block| block.ends()) {
            let known = stored.entry(id).or_insert(last_ms);
            *known = last_ms.max(*known);
        }
        let mut head = Head::new(millis(limits.block));
        for entry in entries {
            let Entry::Sample(id, sample) = entry else { continue };
            let Some(id) = named.get(&id) else { continue };
            // What is in a block was in the log, too, when the process died between the two. Of a series that went on
            // while the block was written, what the log has is in none.
            let is_new = stored.get(id).is_none_or(|last_ms| sample.time_ms > *last_ms);
            if is_new && fate(head.last(*id), sample) == Fate::Stored {
                head.push(*id, sample);
            }
        }
        let named = named.into_iter().filter(|(own, id)| own == id).map(|(_, id)| id).collect();
        let counts = Stats { cut_bytes, ..Stats::default() };
        let inner =
            Inner { index, head, blocks, log, log_number, named, horizon_ms, damaged, counts };
        Ok(Self {
            folder: folder.to_owned(),
            limits,
            inner: RwLock::new(inner),
            upkeep: Mutex::default(),
            described: RwLock::default(),
            _lock: lock,
        })
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let lock = File::create(&path).map_err(Error::disk("make", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Taken { path: folder.to_owned() }),
        Err(fs::TryLockError::Error(error)) => Err(Error::disk("lock", &path)(error)),
    }
}

fn look(folder: &Path) -> Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(folder).map_err(Error::disk("list", folder))? {
        let path = entry.map_err(Error::disk("list", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|kind| kind == "draft") {
            // What a process wrote when it died: nobody was told of it.
            fs::remove_file(&path).map_err(Error::disk("remove", &path))?;
        } else if let Some(last_ms) = last_ms_of(name) {
            found.blocks.push((path, last_ms));
        } else if let Some(number) = name.strip_prefix("log-").and_then(|text| text.parse().ok()) {
            found.logs.push(number);
        }
    }
    found.logs.sort_unstable();
    Ok(found)
}

type Opened = (Log, u64, Vec<Entry>, u64);

/// Opens the last log, whose beginning says what the earlier ones said, and removes those; makes the first. Gives also
/// what it says, and how much was cut off.
fn open_log(folder: &Path, logs: &[u64]) -> Result<Opened> {
    let Some((last, earlier)) = logs.split_last() else {
        return Ok((Log::create(folder, 1, &Records::default())?, 1, Vec::new(), 0));
    };
    let (log, entries, cut) = Log::open(folder, *last)?;
    if cut > 0 {
        warn!(cut_bytes = cut, "the log of series had a torn end, which was cut off");
    }
    for number in earlier {
        let path = Log::path_of(folder, *number);
        fs::remove_file(&path).map_err(Error::disk("remove", path))?;
    }
    Ok((log, *last, entries, cut))
}

/// Gives the series of a log their numbers. One that went and came again has two there, and one from now on.
fn number(entries: &[Entry], index: &mut Index) -> HashMap<u32, u32> {
    let series = entries.iter().filter_map(|entry| match entry {
        Entry::Series(id, labels) => Some((*id, labels)),
        Entry::Sample(..) => None,
    });
    series.map(|(id, labels)| (id, index.number_as(labels, id))).collect()
}

type Blocks = (Vec<Arc<Block>>, Vec<(PathBuf, i64)>);

/// Those that can be read, in the order of time, and those that cannot.
fn open_blocks(found: Vec<(PathBuf, i64)>, index: &mut Index) -> Result<Blocks> {
    let (mut blocks, mut damaged) = (Vec::new(), Vec::new());
    for (path, last_ms) in found {
        match Block::open(&path, |labels| index.number(&labels)) {
            Ok(block) => blocks.push(Arc::new(block)),
            Err(error @ Error::Corrupt { .. }) => {
                warn!(error = types::chain(&error), "a block of series is left out");
                damaged.push((path, last_ms));
            }
            Err(error) => return Err(error),
        }
    }
    blocks.sort_by_key(|block| block.first_ms);
    Ok((blocks, damaged))
}
