//! What outlives the node: buckets, which bytes on disk belong to which names, and which names had bytes in memory
//! alone.
//!
//! ```text
//! header   magic "CSGEDSJ1" | u16 version | 6 zero bytes
//! note     u32 length | u32 CRC-32C of the rest | the note in postcard's encoding
//! ```
//!
//! A torn end, which nothing was acknowledged for, ends it.

use super::remotes::Remote;
use crate::{Attributes, Error, Lost, Result, wire::WirePiece};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

const HEADER: [u8; 16] = *b"CSGEDSJ1\x01\0\0\0\0\0\0\0";
/// Longest note: an object of as many pieces as S3 has parts, with all attributes.
const NOTE_MAX_BYTES: u32 = 4 << 20;

/// A journal that is shorter is left as it is.
const LONG: u64 = 100_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Note {
    /// A bucket was made, or what is kept with it changed.
    Bucket { name: String, created: u64, attributes: Attributes },
    /// A bucket was removed.
    BucketGone { name: String },
    /// A name has these bytes on disk.
    Bound(Box<Bound>),
    /// A name no longer has the bytes that the journal says.
    Unbound { bucket: String, key: String },
    /// A name has bytes in memory alone, and none of those that the journal said before.
    Held { bucket: String, key: String },
    /// A name had bytes that are lost.
    Lost(Lost),
    /// Nobody needs to know any more what was lost so far.
    LostForgotten,
    /// A name has these bytes, of which some lie outside: their pieces have numbers in this list, from 0 on.
    Outside(Box<Bound>, Vec<Remote>),
    /// What a name outside has is referred to by nothing, and is to be removed.
    Stale { bucket: String, key: String, etag: Option<String> },
    /// It was removed.
    Removed { bucket: String, key: String },
}

/// A name and its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) modified: u64,
    pub(crate) crc32c: Option<u32>,
    pub(crate) attributes: Attributes,
    pub(crate) pieces: Vec<WirePiece>,
}

/// The journal, open for more notes.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// Why notes were lost, until a rewrite succeeds.
    broken: Option<String>,
    /// How many notes it has.
    notes: u64,
}

impl Journal {
    /// Reads the notes of a folder, in order, up to the first that is not whole.
    pub(super) fn read(folder: &Path) -> Result<Vec<Note>> {
        let file = match File::open(folder.join("journal")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("open the journal")(error)),
        };
        parse(&mut BufReader::new(file))
    }

    /// Writes a journal of these notes in place of the former one.
    pub(super) fn rewrite(folder: &Path, notes: impl Iterator<Item = Note>) -> Result<Self> {
        let (path, new) = (folder.join("journal"), folder.join("journal.new"));
        let mut count = 0;
        let write = || -> io::Result<BufWriter<File>> {
            let mut file = BufWriter::new(File::create(&new)?);
            file.write_all(&HEADER)?;
            for note in notes {
                file.write_all(&encode(&note)?)?;
                count += 1;
            }
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(Error::io("write the journal"))?;
        Ok(Self { path, file, broken: None, notes: count })
    }

    /// Whether most of it is about what is no longer so: `live` notes would do.
    pub(super) fn is_long(&self, live: u64) -> bool {
        self.notes > LONG && self.notes / 4 > live
    }

    /// Whether notes were lost: it is to be written anew.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Adds a note; it is on its way to the disk after the next [`flush`](Self::flush).
    pub(super) fn note(&mut self, note: &Note) {
        self.notes += 1;
        let written = encode(note).and_then(|bytes| self.file.write_all(&bytes));
        self.remember(written);
    }

    /// Hands all notes to the system.
    pub(super) fn flush(&mut self) {
        let flushed = self.file.flush();
        self.remember(flushed);
    }

    /// All notes are on disk when this returns.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.flush();
        if let Some(why) = &self.broken {
            let source = io::Error::other(why.clone());
            return Err(Error::Io { doing: "write the journal".to_owned(), source });
        }
        self.file.get_ref().sync_data().map_err(Error::io("sync the journal"))
    }

    /// A note that is torn ends the journal: what comes behind it would never be read.
    fn remember(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        if self.broken.is_none() {
            tracing::error!(path = %self.path.display(), %error, "the journal of objects on disk is broken");
        }
        self.broken.get_or_insert_with(|| error.to_string());
    }
}

fn encode(note: &Note) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_extend(note, vec![0; 8]).map_err(io::Error::other)?;
    let mut bytes = bytes;
    let (len, crc) = (bytes.len() as u32 - 8, crc32c::crc32c(&bytes[8..]));
    if len > NOTE_MAX_BYTES {
        return Err(io::Error::other("a note is too long"));
    }
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// Reads notes up to the first that is not whole.
///
/// # Errors
/// [`Error::Corrupt`] for another format or version.
pub(crate) fn parse(source: &mut impl Read) -> Result<Vec<Note>> {
    let mut header = [0; HEADER.len()];
    if source.read_exact(&mut header).is_err() || header != HEADER {
        return Err(Error::Corrupt {
            what: "the journal of objects on disk".to_owned(),
            why: "it does not begin as one of version 1 does".to_owned(),
        });
    }
    let mut notes = Vec::new();
    while let Some(note) = parse_one(source) {
        notes.push(note);
    }
    Ok(notes)
}

fn parse_one(source: &mut impl Read) -> Option<Note> {
    let mut head = [0; 8];
    source.read_exact(&mut head).ok()?;
    let word = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    let (len, crc) = (word(0)?, word(4)?);
    if len > NOTE_MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    source.take(len.into()).read_to_end(&mut bytes).ok()?;
    if bytes.len() != len as usize || crc32c::crc32c(&bytes) != crc {
        return None;
    }
    postcard::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Folder;

    fn notes() -> Vec<Note> {
        let bound = Bound {
            bucket: "lab".into(),
            key: "a".into(),
            version: 3,
            size: 1 << 33,
            modified: 5,
            crc32c: Some(6),
            attributes: Attributes::new().with("k", "v"),
            pieces: vec![(2, 7, 0, 4096, 1 << 33, 0, 1 << 33)],
        };
        vec![
            Note::Bucket { name: "lab".into(), created: 1, attributes: Attributes::new() },
            Note::Bound(Box::new(bound)),
            Note::Unbound { bucket: "lab".into(), key: "b".into() },
            Note::BucketGone { name: "old".into() },
            Note::Held { bucket: "lab".into(), key: "c".into() },
            Note::Lost(Lost { bucket: "lab".into(), key: "d".into(), why: "so".into() }),
            Note::LostForgotten,
            Note::Stale { bucket: "lab".into(), key: "e".into(), etag: Some("x".into()) },
            Note::Removed { bucket: "lab".into(), key: "e".into() },
        ]
    }

    #[test]
    fn notes_come_back_and_more_can_follow() {
        let folder = Folder::in_memory();
        assert_eq!(Journal::read(folder.path()).unwrap(), []);
        let mut journal = Journal::rewrite(folder.path(), notes().into_iter().take(2)).unwrap();
        notes().iter().skip(2).for_each(|note| journal.note(note));
        journal.sync().unwrap();
        assert_eq!(Journal::read(folder.path()).unwrap(), notes());
    }

    #[test]
    fn a_torn_or_damaged_end_ends_the_journal_and_no_more() {
        let folder = Folder::in_memory();
        drop(Journal::rewrite(folder.path(), notes().into_iter()).unwrap());
        let whole = fs::read(folder.join("journal")).unwrap();
        for end in HEADER.len()..whole.len() {
            let read = parse(&mut &whole[..end]).unwrap();
            assert!(read.len() < notes().len() && notes().starts_with(&read));
            let mut bytes = whole.clone();
            bytes[end] ^= 0x55;
            assert!(notes().starts_with(&parse(&mut bytes.as_slice()).unwrap()));
        }
        assert!(parse(&mut &whole[1..]).is_err());
    }
}
