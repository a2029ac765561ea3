//! What a service was asked since its last checkpoint.
//!
//! A journal file belongs to the checkpoint whose sequence is in its name. With `durability:
//! journal` it holds each request with what the guest learnt from clocks and randomness, and is on
//! disk before the answer leaves; with `durability: checkpoint` it holds only the ids, so that
//! what a crash loses can be named, and is written without waiting for the disk.
//!
//! ```text
//! file    magic "CSKJRNL2"
//! record  u32 length | u32 CRC-32C of it | payload (postcard) | u32 CRC-32C of length and payload
//! ```
//!
//! A record that a crash cut off is the last one, and no answer has left for it. Damage before
//! that would lose what was answered, and is an error where that was promised: the length has a
//! checksum of its own, so that a wrong one is not taken for a record that was cut off.

use super::tape::Taken;
use crate::error::{Error, Result};
use api::link::Segment;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

pub(crate) const MAGIC: &[u8; 8] = b"CSKJRNL2";

/// Of the format that was written before, which is still read.
const FIRST_MAGIC: &[u8; 8] = b"CSKJRNL1";

/// Largest record: a request of the largest body.
const RECORD_MAX_BYTES: u32 = (1 << 30) + (1 << 20);

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// What replays it; absent with `durability: checkpoint`.
    pub(crate) replay: Option<Replay>,
}

/// What it takes to answer a request again with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// The request's frame.
    pub(crate) record: Vec<u8>,
    /// What the guest learnt meanwhile.
    pub(crate) taken: Vec<Taken>,
    /// Keyless BLAKE3 of the answer's frame.
    pub(crate) answer: [u8; 32],
}

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Closed until the next entry: thousands of services wait, and the kernel keeps some KiB for
    /// each open file.
    file: Option<File>,
    path: PathBuf,
    durable: bool,
}

fn file_name(sequence: u64) -> String {
    format!("journal-{sequence:016x}")
}

impl Journal {
    /// Begins the journal that follows the checkpoint of this sequence; `durable` ones wait for
    /// the disk.
    pub(crate) fn create(folder: &Path, sequence: u64, durable: bool) -> Result<Self> {
        let path = folder.join(file_name(sequence));
        let failed = |source| Error::Write { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .map_err(failed)?;
        file.write_all(MAGIC).map_err(failed)?;
        if durable {
            file.sync_all().map_err(failed)?;
            sync_folder(folder).map_err(failed)?;
        }
        Ok(Self { file: None, path, durable })
    }

    /// Closes the file until the next entry.
    pub(crate) fn rest(&mut self) {
        self.file = None;
    }

    /// Adds an entry; a durable journal has it on disk afterwards.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<()> {
        let payload = postcard::to_stdvec(entry)
            .map_err(|error| Error::runtime("cannot encode a journal entry", error))?;
        self.write(&record(&payload))
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().append(true).open(&self.path)?),
        };
        file.write_all(record)?;
        if self.durable { file.sync_data() } else { Ok(()) }
    }
}

/// The bytes that hold this payload.
pub(crate) fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    let mut record = Vec::with_capacity(payload.len() + 12);
    record.extend_from_slice(&length);
    record.extend_from_slice(&crc32c::crc32c(&length).to_le_bytes());
    record.extend_from_slice(payload);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
    record.extend_from_slice(&checksum.to_le_bytes());
    record
}

/// The entries of every journal that follows the checkpoint of this sequence, in order. A torn
/// tail, which no answer has left for, ends a journal; so does damage, unless the journal is
/// `durable`.
///
/// # Errors
/// [`Error::Journal`] if a durable journal is damaged before its tail.
pub(crate) fn read_from(folder: &Path, sequence: u64, durable: bool) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (_, path) in files(folder)?.into_iter().filter(|(found, _)| *found >= sequence) {
        let mut file =
            File::open(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let end = read_entries(&mut file, &mut entries)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        match end {
            Ended::Damaged { offset } if durable => return Err(Error::Journal { path, offset }),
            Ended::Damaged { offset } => {
                let path = path.display();
                tracing::warn!(%path, offset, "a journal is damaged: more was lost than is named");
            }
            Ended::Whole | Ended::Torn => {}
        }
    }
    Ok(entries)
}

/// The highest sequence of a journal here. A checkpoint that was cut off may have begun one beyond
/// the last checkpoint's; it must not be begun again while its entries are the only ones.
pub(crate) fn last_sequence(folder: &Path) -> Result<u64> {
    Ok(files(folder)?.last().map_or(0, |(sequence, _)| *sequence))
}

/// The file that says from which sequence on journals stay, written by the site's agent.
const KEPT_FILE: &str = "kept";

/// Most journals that stay behind their checkpoint, and the most bytes of them: other sites
/// usually have a checkpoint after one or two more.
const STAYING_MAX: usize = 64;
const STAYING_MAX_BYTES: u64 = 16 << 20;

/// Removes the journals that the checkpoint of this sequence has made needless. What no other
/// site has a checkpoint of stays, within limits, so that it can be named if the service goes on
/// there.
pub(crate) fn remove_before(folder: &Path, sequence: u64) {
    let kept = kept_from(folder).unwrap_or(sequence);
    let (mut count, mut bytes) = (0, 0);
    let older = files(folder).unwrap_or_default().into_iter().rev();
    for (found, path) in older.filter(|(found, _)| *found < sequence) {
        count += 1;
        bytes += fs::metadata(&path).map_or(0, |file| file.len());
        if found < kept || count > STAYING_MAX || bytes > STAYING_MAX_BYTES {
            // One that stays is removed next time.
            let _ = fs::remove_file(path);
        }
    }
}

/// From which sequence on journals stay, if one is given.
pub(crate) fn kept_from(folder: &Path) -> Option<u64> {
    fs::read_to_string(folder.join(KEPT_FILE)).ok()?.trim().parse().ok()
}

/// Lets journals stay from this sequence on: other sites have a checkpoint of it. Without a
/// sequence none stays longer than its checkpoint.
pub(crate) fn keep_from(folder: &Path, sequence: Option<u64>) -> io::Result<()> {
    let path = folder.join(KEPT_FILE);
    match sequence {
        Some(sequence) => {
            let beside = folder.join("kept.new");
            fs::write(&beside, sequence.to_string())?;
            fs::rename(beside, path)
        }
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// What each journal that is here names, oldest first; at most so many ids in all, the newest.
pub(crate) fn segments(folder: &Path, ids_max: usize) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    let mut left = ids_max;
    for (sequence, path) in files(folder)?.into_iter().rev() {
        let mut entries = Vec::new();
        File::open(&path)
            .and_then(|mut file| read_entries(&mut file, &mut entries))
            .map_err(|source| Error::Read { path, source })?;
        if entries.is_empty() {
            continue;
        }
        let count = entries.len() as u64;
        let request_ids: Vec<_> = entries.into_iter().take(left).map(|entry| entry.id).collect();
        left -= request_ids.len();
        segments.push(Segment { sequence, count, request_ids });
    }
    segments.reverse();
    Ok(segments)
}

fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let sequence = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("journal-"))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        files.extend(sequence.map(|sequence| (sequence, path)));
    }
    files.sort();
    Ok(files)
}

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// After a record.
    Whole,
    /// In the middle of what was being written last.
    Torn,
    /// Before the record at this offset, which is not as it was written.
    Damaged {
        /// In bytes.
        offset: u64,
    },
}

pub(crate) fn read_entries(source: &mut impl Read, entries: &mut Vec<Entry>) -> io::Result<Ended> {
    let mut offset = 0;
    let mut magic = Vec::new();
    source.by_ref().take(8).read_to_end(&mut magic)?;
    if magic.len() < MAGIC.len() {
        return Ok(Ended::Torn);
    }
    match &magic[..] {
        magic if magic == MAGIC => {}
        magic if magic == FIRST_MAGIC => return read_first_format(source, entries),
        _ => return Ok(wrong(&magic, offset)),
    }
    offset += magic.len() as u64;
    loop {
        let mut header = Vec::new();
        source.by_ref().take(8).read_to_end(&mut header)?;
        let Some((length, checksum)) = header.split_first_chunk::<4>() else {
            return Ok(if header.is_empty() { Ended::Whole } else { Ended::Torn });
        };
        let Ok(checksum) = <[u8; 4]>::try_from(checksum) else { return Ok(Ended::Torn) };
        let size = u32::from_le_bytes(*length);
        let of_length = crc32c::crc32c(length);
        if of_length.to_le_bytes() != checksum || size > RECORD_MAX_BYTES {
            return Ok(wrong(&header, offset));
        }
        let wanted = u64::from(size) + 4;
        let mut rest = Vec::new();
        if source.by_ref().take(wanted).read_to_end(&mut rest)? as u64 != wanted {
            return Ok(Ended::Torn);
        }
        let (payload, checksum) = rest.split_at(size as usize);
        let is_right = crc32c::crc32c_append(of_length, payload).to_le_bytes()[..] == *checksum;
        match postcard::from_bytes(payload) {
            Ok(entry) if is_right => entries.push(entry),
            // After a failure of power the last record may have its length and not all of itself.
            _ if !is_right && source.read(&mut [0])? == 0 => return Ok(Ended::Torn),
            _ => return Ok(Ended::Damaged { offset }),
        }
        offset += header.len() as u64 + wanted;
    }
}

/// The records of format 1: their lengths have no checksum, so that damage is not told from a torn
/// tail.
fn read_first_format(source: &mut impl Read, entries: &mut Vec<Entry>) -> io::Result<Ended> {
    loop {
        let mut length = Vec::new();
        source.by_ref().take(4).read_to_end(&mut length)?;
        let Ok(of_length) = <[u8; 4]>::try_from(&length[..]) else {
            return Ok(if length.is_empty() { Ended::Whole } else { Ended::Torn });
        };
        let size = u32::from_le_bytes(of_length);
        if size > RECORD_MAX_BYTES {
            return Ok(Ended::Torn);
        }
        let wanted = u64::from(size) + 4;
        let mut rest = Vec::new();
        if source.by_ref().take(wanted).read_to_end(&mut rest)? as u64 != wanted {
            return Ok(Ended::Torn);
        }
        let (payload, checksum) = rest.split_at(size as usize);
        let found = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
        match postcard::from_bytes(payload) {
            Ok(entry) if found.to_le_bytes()[..] == *checksum => entries.push(entry),
            _ => return Ok(Ended::Torn),
        }
    }
}

/// What ends where eight bytes are not what they should be. After a failure of power a file may be
/// longer than what reached the disk: what did not is zero.
fn wrong(bytes: &[u8], offset: u64) -> Ended {
    if bytes.iter().all(|byte| *byte == 0) { Ended::Torn } else { Ended::Damaged { offset } }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(id: &str) -> Entry {
        let taken = vec![Taken::Realtime(3)];
        Entry {
            id: id.into(),
            replay: Some(Replay { record: vec![1; 40], taken, answer: [2; 32] }),
        }
    }

    #[test]
    fn entries_come_back_and_old_journals_go() {
        let folder = tempfile::tempdir().unwrap();
        for sequence in [3, 4] {
            let mut journal = Journal::create(folder.path(), sequence, true).unwrap();
            journal.append(&entry(&format!("a{sequence}"))).unwrap();
            journal.append(&entry(&format!("b{sequence}"))).unwrap();
        }

        let ids = |sequence| {
            let entries = read_from(folder.path(), sequence, true).unwrap();
            entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(3), ["a3", "b3", "a4", "b4"]);
        assert_eq!(ids(4), ["a4", "b4"]);
        assert_eq!(last_sequence(folder.path()).unwrap(), 4);
        let segments = segments(folder.path(), 3).unwrap();
        let named: Vec<_> = segments
            .iter()
            .map(|one| (one.sequence, one.count, one.request_ids.join(" ")))
            .collect();
        assert_eq!(named, [(3, 2, "a3".into()), (4, 2, "a4 b4".into())]);
        remove_before(folder.path(), 4);
        assert_eq!(ids(0), ["a4", "b4"]);
    }

    #[test]
    fn journals_stay_until_another_site_has_their_checkpoint_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let here = || files(folder.path()).unwrap().into_iter().map(|(sequence, _)| sequence);
        keep_from(folder.path(), Some(0)).unwrap();
        for sequence in 1..=5 {
            Journal::create(folder.path(), sequence, false).unwrap();
            remove_before(folder.path(), sequence);
        }
        assert!(here().eq(1..=5));

        keep_from(folder.path(), Some(3)).unwrap();
        remove_before(folder.path(), 5);
        assert!(here().eq(3..=5));
        for sequence in 6..=200 {
            Journal::create(folder.path(), sequence, false).unwrap();
        }
        remove_before(folder.path(), 200);
        assert!(here().eq(200 - STAYING_MAX as u64..=200));
        keep_from(folder.path(), None).unwrap();
        keep_from(folder.path(), None).unwrap();
        remove_before(folder.path(), 200);
        assert!(here().eq(200..=200));
    }

    /// A durable journal of three entries: its folder, its file, and where each record begins.
    fn three() -> (tempfile::TempDir, PathBuf, Vec<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), 0, true).unwrap();
        let path = folder.path().join(file_name(0));
        let mut begins = Vec::new();
        for id in ["a", "b", "c"] {
            begins.push(fs::metadata(&path).unwrap().len() as usize);
            journal.append(&entry(id)).unwrap();
        }
        (folder, path, begins)
    }

    #[test]
    fn what_was_answered_is_never_lost_without_an_error() {
        let (folder, path, begins) = three();
        let whole = fs::read(&path).unwrap();

        // The last record may be one that was being written when the power failed.
        for at in 0..begins[2] {
            for bit in 0..8 {
                let mut bent = whole.clone();
                bent[at] ^= 1 << bit;
                fs::write(&path, bent).unwrap();
                let error = read_from(folder.path(), 0, true).unwrap_err();
                let place = begins.iter().rfind(|begin| **begin <= at).copied().unwrap_or(0);
                assert!(error.to_string().contains(&format!("at byte {place}")), "{at}: {error}");
                assert_eq!(error.kind(), types::ErrorKind::Corrupt);
            }
        }
        for at in begins[2]..begins[2] + 8 {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            fs::write(&path, bent).unwrap();
            read_from(folder.path(), 0, true).unwrap_err();
        }
        let unknown = [b"CSKJRNL3", &whole[8..]].concat();
        fs::write(&path, unknown).unwrap();
        read_from(folder.path(), 0, true).unwrap_err();
    }

    #[test]
    fn a_journal_of_the_first_format_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = FIRST_MAGIC.to_vec();
        for id in ["a", "b"] {
            let payload = postcard::to_stdvec(&entry(id)).unwrap();
            let record = [&(payload.len() as u32).to_le_bytes(), &payload[..]].concat();
            bytes.extend([&record[..], &crc32c::crc32c(&record).to_le_bytes()].concat());
        }
        let ids = |bytes: &[u8]| {
            fs::write(folder.path().join(file_name(0)), bytes).unwrap();
            let entries = read_from(folder.path(), 0, true).unwrap();
            entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
        };

        assert_eq!(ids(&bytes), ["a", "b"]);
        assert_eq!(ids(&bytes[..bytes.len() - 1]), ["a"]);
    }

    #[test]
    fn what_a_crash_cut_off_ends_a_journal() {
        let (folder, path, begins) = three();
        let whole = fs::read(&path).unwrap();
        let count = || read_from(folder.path(), 0, true).unwrap().len();

        for size in 0..whole.len() {
            fs::write(&path, &whole[..size]).unwrap();
            let complete = begins.iter().skip(1).filter(|end| **end <= size).count();
            assert_eq!(count(), complete, "cut to {size}");
        }
        // What the disk had made room for, and never got.
        for kept in begins.iter().chain([&0, &whole.len()]) {
            let mut zeros = whole[..*kept].to_vec();
            zeros.resize(whole.len() + 5000, 0);
            fs::write(&path, zeros).unwrap();
            assert_eq!(
                count(),
                begins.iter().skip(1).chain([&whole.len()]).filter(|end| *end <= kept).count()
            );
        }
        let mut last = whole.clone();
        last[begins[2] + 20..].fill(0);
        fs::write(&path, last).unwrap();
        assert_eq!(count(), 2);
    }

    proptest! {
        #[test]
        fn damage_ends_a_journal_and_never_alters_it(at: usize, value: u8, cut: usize) {
            let folder = tempfile::tempdir().unwrap();
            let mut journal = Journal::create(folder.path(), 0, false).unwrap();
            let written: Vec<_> = (0..4).map(|id| entry(&id.to_string())).collect();
            written.iter().for_each(|entry| journal.append(entry).unwrap());
            let path = folder.path().join(file_name(0));
            let mut bytes = fs::read(&path).unwrap();
            let size = bytes.len();
            bytes[at % size] = value;
            bytes.truncate(size - cut % size);
            fs::write(&path, bytes).unwrap();

            let found = read_from(folder.path(), 0, false).unwrap();

            prop_assert!(written.starts_with(&found));
        }
    }
}
