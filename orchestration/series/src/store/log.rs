//! What was appended since the last block, in the order of arrival.
//!
//! ```text
//! header   magic "CSKTSLOG" | u16 version
//! record   u32 length | u32 CRC-32C of the payload | payload
//! payload  1: a series, id and labels · 2: samples, each id, time, value · 3: a series' chunk, id, count, bytes
//! ```
//! A record is there whole or not at all: at an opening the log ends before the first that is torn.

use super::{
    codec::{Chunk, unpack},
    wire::{Reader, put_bytes, put_labels, put_number, put_signed},
};
use crate::{Error, Labels, Result, Sample};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"CSKTSLOG";
const VERSION: u16 = 1;
const HEADER_BYTES: u64 = 10;

/// No record is longer, so a damaged length takes no memory.
const RECORD_MAX_BYTES: usize = 32 << 20;

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;
const CHUNK: u8 = 3;

/// One thing that a log says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Entry {
    Series(u32, Labels),
    Sample(u32, Sample),
}

/// Records on their way into a log.
#[derive(Debug, Default)]
pub(crate) struct Records(Vec<u8>);

impl Records {
    pub(crate) fn series(&mut self, id: u32, labels: &Labels) {
        let mut payload = vec![SERIES];
        put_number(&mut payload, id.into());
        put_labels(&mut payload, labels);
        self.put(&payload);
    }

    pub(crate) fn samples(&mut self, samples: &[(u32, Sample)]) {
        // A record stays far below its limit: a sample takes at most 23 bytes.
        for part in samples.chunks(1 << 16) {
            let base = part.first().map_or(0, |(_, sample)| sample.time_ms);
            let mut payload = vec![SAMPLES];
            put_signed(&mut payload, base);
            for (id, sample) in part {
                put_number(&mut payload, (*id).into());
                put_signed(&mut payload, sample.time_ms.wrapping_sub(base));
                payload.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            }
            self.put(&payload);
        }
    }

    pub(crate) fn chunk(&mut self, id: u32, chunk: &Chunk) {
        let mut payload = vec![CHUNK];
        put_number(&mut payload, id.into());
        put_number(&mut payload, chunk.count().into());
        put_bytes(&mut payload, chunk.bytes());
        self.put(&payload);
    }

    fn put(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        self.0.extend_from_slice(payload);
    }
}

/// The log that is written.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Whether something lies behind `bytes` that a failed write left.
    is_torn: bool,
}

impl Log {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its place among logs; the highest is the one that counts.
    pub(crate) fn path_of(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("log-{number:016}"))
    }

    /// Makes a log that begins with these records; it is there whole or not at all.
    pub(crate) fn create(folder: &Path, number: u64, records: &Records) -> Result<Self> {
        let path = Self::path_of(folder, number);
        let draft = path.with_extension("draft");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&records.0);
        let write = || {
            let mut file = File::create(&draft)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&draft, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error| {
            // What is there of it would only take room.
            let _ = fs::remove_file(&draft);
            Error::disk("write", &path)(error)
        })?;
        Ok(Self { path, file, bytes: bytes.len() as u64, is_torn: false })
    }

    /// Opens a log; gives what it says, and how many bytes behind that were cut off.
    pub(crate) fn open(folder: &Path, number: u64) -> Result<(Self, Vec<Entry>, u64)> {
        let path = Self::path_of(folder, number);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::disk("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::disk("read", &path))?;
        let (entries, good) =
            read(&bytes).map_err(|what| Error::Corrupt { path: path.clone(), what })?;
        let cut = bytes.len() as u64 - good;
        if cut > 0 {
            file.set_len(good).map_err(Error::disk("cut", &path))?;
        }
        Ok((Self { path, file, bytes: good, is_torn: false }, entries, cut))
    }

    /// Appends all of them or none.
    pub(crate) fn append(&mut self, records: &Records) -> Result<()> {
        self.mend()?;
        if let Err(source) = self.file.write_all_at(&records.0, self.bytes) {
            self.is_torn = true;
            // If even that fails the next append tries again, before it writes.
            let _ = self.mend();
            return Err(Error::NotStored { action: "write", path: self.path.clone(), source });
        }
        self.bytes += records.0.len() as u64;
        Ok(())
    }

    fn mend(&mut self) -> Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes).map_err(|source| Error::NotStored {
                action: "cut",
                path: self.path.clone(),
                source,
            })?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Another hold on the file, to bring it to the disk with.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// What a log's bytes say, and how many of them are whole records.
///
/// # Errors
/// What is wrong, if that is no log, or one of a version that we do not know.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vec<Entry>, u64), String> {
    let mut reader = Reader(bytes);
    if reader.array() != Some(*MAGIC) {
        return Err("it is no log of series".to_owned());
    }
    let version = reader.array().map(u16::from_le_bytes);
    if version != Some(VERSION) {
        let found = version.unwrap_or_default();
        return Err(format!("its format has version {found}, and this reads {VERSION}"));
    }
    let mut entries = Vec::new();
    let mut good = HEADER_BYTES;
    while let Some(payload) = take_record(&mut reader) {
        let before = entries.len();
        if read_payload(payload, &mut entries).is_none() {
            entries.truncate(before);
            break;
        }
        good += payload.len() as u64 + 8;
    }
    Ok((entries, good))
}

fn take_record<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(reader.array()?) as usize;
    let sum = u32::from_le_bytes(reader.array()?);
    if length > RECORD_MAX_BYTES {
        return None;
    }
    reader.take(length).filter(|payload| crc32c::crc32c(payload) == sum)
}

fn read_payload(payload: &[u8], entries: &mut Vec<Entry>) -> Option<()> {
    let mut reader = Reader(payload);
    match reader.byte()? {
        SERIES => entries.push(Entry::Series(reader.small()?, reader.labels()?)),
        SAMPLES => {
            let base = reader.signed()?;
            while !reader.is_empty() {
                let id = reader.small()?;
                let time_ms = base.wrapping_add(reader.signed()?);
                let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
                entries.push(Entry::Sample(id, Sample::new(time_ms, value)));
            }
        }
        CHUNK => {
            let (id, count) = (reader.small()?, reader.small()?);
            let samples = unpack(reader.bytes()?, count)?;
            entries.extend(samples.into_iter().map(|sample| Entry::Sample(id, sample)));
        }
        _ => return None,
    }
    reader.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NAME;
    use proptest::prelude::*;

    fn three() -> Records {
        let mut records = Records::default();
        records.series(7, &Labels::new([(NAME, "up"), ("site", "edge")]).unwrap());
        let mut chunk = Chunk::new(Sample::new(1, 0.5));
        chunk.push(Sample::stale(2));
        records.chunk(7, &chunk);
        records.samples(&[(7, Sample::new(3, f64::NAN)), (7, Sample::new(5, -1.0))]);
        records
    }

    #[test]
    fn a_log_that_is_torn_anywhere_ends_before_the_tear() {
        let folder = tempfile::tempdir().unwrap();
        drop(Log::create(folder.path(), 1, &three()).unwrap());
        let path = Log::path_of(folder.path(), 1);
        let whole = fs::read(&path).unwrap();
        let all = read(&whole).unwrap().0;
        assert_eq!(all.len(), 5);

        for end in HEADER_BYTES as usize..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut log, entries, cut) = Log::open(folder.path(), 1).unwrap();
            assert!(all.starts_with(&entries) && entries.len() < all.len(), "{end}");
            assert_eq!(log.bytes() + cut, end as u64);

            log.append(&three()).unwrap();
            let (_, again, cut) = Log::open(folder.path(), 1).unwrap();
            assert_eq!((again.len(), cut), (entries.len() + all.len(), 0), "{end}");
        }
    }

    #[test]
    fn logs_of_other_versions_are_refused() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&9_u16.to_le_bytes());

        assert!(read(&bytes).unwrap_err().contains("version 9"));
        assert!(read(b"something").unwrap_err().contains("no log"));
    }

    proptest! {
        #[test]
        fn a_changed_byte_changes_no_sample(at in HEADER_BYTES as usize..90, with: u8) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend_from_slice(&VERSION.to_le_bytes());
            bytes.extend_from_slice(&three().0);
            let all = read(&bytes).unwrap().0;
            let at = at.min(bytes.len() - 1);
            bytes[at] = with;

            prop_assert!(all.starts_with(&read(&bytes).unwrap().0));
        }
    }
}
