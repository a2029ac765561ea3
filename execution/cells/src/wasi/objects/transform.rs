//! Files that are kept otherwise than they are read: encrypted, or compressed.
//!
//! An object's attribute says how, so that a reader who does not know it refuses instead of taking the
//! bytes for the file's. Both kinds are made of chunks of 64 KiB of the file, which are undone one by one
//! as they are read:
//!
//! ```text
//! header   magic "CSKFILE\0" | u8 version | u8 kind | 6 zero bytes | what the kind needs
//! ```

mod compress;
mod encrypt;
mod stream;

pub(super) use stream::EncryptedWriter;

use super::{errno, is_logged};
use crate::wasi::Errno;
use geds::{Attributes, Object, Stat, Writer};
use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
};

/// Bytes of the file in a chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// The attribute that says how an object is encoded: its version, the kind, and the file's size in bytes
/// as a little-endian number of eight bytes.
const ATTRIBUTE: &str = "file-transform";

const VERSION: u8 = 1;
const MAGIC: &[u8; 8] = b"CSKFILE\0";
const HEADER_BYTES: usize = 16;

/// How the files of a mount are kept.
#[derive(Clone, Default)]
pub enum Transform {
    /// As they are. Compressed ones are read nevertheless.
    #[default]
    None,
    /// Encrypted and authenticated: AES-256-GCM with a key of their own, made of this one. Objects
    /// that are not encrypted with it are refused.
    Encrypt(FileKey),
    /// Compressed with Zstandard. Others are read nevertheless.
    Compress,
}

/// A secret key of 32 bytes.
#[derive(Clone)]
pub struct FileKey([u8; 32]);

impl FileKey {
    /// Takes a key as a file has it: 32 bytes, or 64 hexadecimal digits and perhaps a line's end.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if let Ok(key) = bytes.try_into() {
            return Some(Self(key));
        }
        let digits = bytes.trim_ascii_end();
        let mut key = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Some(Self(key))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey")
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Encrypt(_) => "Encrypt",
            Self::Compress => "Compress",
        })
    }
}

/// A kind of encoding, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Encrypted = 1,
    Compressed = 2,
}

/// Why an object cannot be read as a file.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("it is encrypted, and no key was given for it")]
    NoKey,
    #[error("it is not encrypted, where only what is encrypted is trusted")]
    Plain,
    #[error("it is encrypted with another key, or was changed or cut")]
    Forged,
    #[error("it is encoded in a way that is not known here")]
    Unknown,
    #[error("its encoding is damaged: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Store(#[from] geds::Error),
}

impl Unreadable {
    /// The number that a program sees; the reason is logged.
    fn errno(self, stat: &Stat) -> Errno {
        let number = match self {
            Self::NoKey | Self::Forged => Errno::Acces,
            Self::Plain | Self::Unknown => Errno::Notsup,
            Self::Damaged(_) => Errno::Io,
            Self::Store(error) => return errno(error),
        };
        if is_logged() {
            tracing::warn!(version = stat.version, error = %self, "a program's file could not be read");
        }
        number
    }
}

/// What an object's attribute says: its kind, and the file's size.
fn described(stat: &Stat) -> Result<Option<(Kind, u64)>, Unreadable> {
    let Some(value) = stat.attributes.get(ATTRIBUTE) else { return Ok(None) };
    let Some(([VERSION, kind], size)) = value.split_first_chunk::<2>() else {
        return Err(Unreadable::Unknown);
    };
    let size = size.try_into().map(u64::from_le_bytes).map_err(|_| Unreadable::Unknown)?;
    match kind {
        1 => Ok(Some((Kind::Encrypted, size))),
        2 => Ok(Some((Kind::Compressed, size))),
        _ => Err(Unreadable::Unknown),
    }
}

/// How many bytes the file has that an object is.
pub(super) fn size_of(stat: &Stat) -> u64 {
    match described(stat) {
        Ok(Some((_, size))) => size,
        Ok(None) | Err(_) => stat.size,
    }
}

impl Transform {
    /// Whether files are kept as they are.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The attributes of an object that is so encoded.
    pub(super) fn describe(&self, attributes: Option<Attributes>, size: u64) -> Option<Attributes> {
        let kind = match self {
            Self::None => return attributes,
            Self::Encrypt(_) => Kind::Encrypted,
            Self::Compress => Kind::Compressed,
        };
        let mut value = vec![VERSION, kind as u8];
        value.extend(size.to_le_bytes());
        Some(attributes.unwrap_or_default().with(ATTRIBUTE, value))
    }

    /// About how large the object of a file becomes.
    pub(super) fn encoded_bytes(&self, size: u64) -> u64 {
        match self {
            Self::None => size,
            Self::Encrypt(_) => encrypt::encoded_bytes(size),
            // Room that is not needed is given back.
            Self::Compress => size / 2,
        }
    }

    /// Writes a file that is not sealed yet as it is kept.
    pub(super) fn encode(&self, file: &Writer, to: &mut dyn Sink) -> geds::Result<()> {
        match self {
            Self::None => each_chunk(file, |_, chunk, _| Ok(to.write_all(chunk)?)),
            Self::Encrypt(key) => encrypt::encode(key, file, to),
            Self::Compress => compress::encode(file, &mut *to),
        }
        .map_err(Failed::into_error)
    }

    /// What reads an object's file; none if its bytes are the object's.
    pub(super) fn decoder(&self, object: &Object) -> Result<Option<Decoder>, Errno> {
        self.decoder_of(object).map_err(|error| error.errno(object.stat()))
    }

    fn decoder_of(&self, object: &Object) -> Result<Option<Decoder>, Unreadable> {
        let chunks: Box<dyn Chunks> = match (described(object.stat())?, self) {
            (None, Self::Encrypt(_)) => return Err(Unreadable::Plain),
            (None, _) => return Ok(None),
            (Some((Kind::Encrypted, size)), Self::Encrypt(key)) => {
                Box::new(encrypt::Encrypted::open(key, object.clone(), size)?)
            }
            (Some((Kind::Encrypted, _)), _) => return Err(Unreadable::NoKey),
            (Some((Kind::Compressed, _)), Self::Encrypt(_)) => return Err(Unreadable::Plain),
            (Some((Kind::Compressed, size)), _) => {
                Box::new(compress::Compressed::open(object.clone(), size)?)
            }
        };
        let (stat, size) = (object.stat().clone(), size_of(object.stat()));
        let decoder = Decoder { chunks, stat, size, last: Mutex::new((u64::MAX, Vec::new())) };
        // What was cut, and a wrong key, are refused now and not when the file's end is read.
        if decoder.chunks.checks_end() {
            decoder.with_chunk(last_chunk(size), |_| ())?;
        }
        Ok(Some(decoder))
    }
}

/// The number of the last chunk; an empty file has one too.
fn last_chunk(size: u64) -> u64 {
    size.saturating_sub(1) / CHUNK_BYTES as u64
}

/// How many bytes of a file are in a chunk.
fn chunk_bytes(size: u64, number: u64) -> usize {
    let left = size.saturating_sub(number.saturating_mul(CHUNK_BYTES as u64));
    left.min(CHUNK_BYTES as u64) as usize
}

/// The common part of a header.
fn header(kind: Kind) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    (header[8], header[9]) = (VERSION, kind as u8);
    header
}

/// Why encoding ended.
pub(super) enum Failed {
    Store(geds::Error),
    Sink(io::Error),
}

impl From<geds::Error> for Failed {
    fn from(error: geds::Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

impl Failed {
    fn into_error(self) -> geds::Error {
        match self {
            Self::Store(error) => error,
            // A writer of the store wraps its own error.
            Self::Sink(error) => match error.downcast::<geds::Error>() {
                Ok(error) => error,
                Err(source) => geds::Error::Io { doing: "encode a file".to_owned(), source },
            },
        }
    }
}

/// Where an encoded file goes.
pub(super) trait Sink: io::Write {
    /// Adds so many bytes, which `fill` writes to where they belong.
    fn append(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), Failed>,
    ) -> Result<(), Failed>;
}

impl Sink for Vec<u8> {
    fn append(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let at = self.len();
        self.resize(at + len, 0);
        fill(&mut self[at..])
    }
}

impl Sink for Writer {
    fn append(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        self.append_with(len, fill)
    }
}

/// Gives the chunks of a file, in order: the number, the bytes, whether it is the last.
fn each_chunk(
    file: &Writer,
    mut each: impl FnMut(u64, &[u8], bool) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let size = file.len();
    let mut chunk = vec![0; chunk_bytes(size, 0)];
    for number in 0..=last_chunk(size) {
        chunk.truncate(chunk_bytes(size, number));
        file.read_at(number * CHUNK_BYTES as u64, &mut chunk)?;
        each(number, &chunk, number == last_chunk(size))?;
    }
    Ok(())
}

/// An encoded object, of which single chunks can be had.
trait Chunks: fmt::Debug + Send + Sync {
    /// Whether its last chunk shows that it is whole.
    fn checks_end(&self) -> bool;

    /// The bytes of the file in a chunk.
    fn chunk(&self, number: u64) -> Result<Vec<u8>, Unreadable>;
}

/// Reads the file of an encoded object.
#[derive(Debug)]
pub(super) struct Decoder {
    chunks: Box<dyn Chunks>,
    stat: Stat,
    size: u64,
    /// The chunk that was read last, with its number: small reads go on in it.
    last: Mutex<(u64, Vec<u8>)>,
}

impl Decoder {
    /// Reads at `offset`; fewer bytes than are asked for at the end only.
    pub(super) fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let end = self.size.min(offset.saturating_add(into.len() as u64));
        let mut at = offset;
        while at < end {
            let (number, start) = (at / CHUNK_BYTES as u64, (at % CHUNK_BYTES as u64) as usize);
            let rest = &mut into[(at - offset) as usize..(end - offset) as usize];
            let copied = self.with_chunk(number, |chunk| {
                let part = chunk.get(start..).unwrap_or_default();
                let count = part.len().min(rest.len());
                rest[..count].copy_from_slice(&part[..count]);
                count
            });
            match copied.map_err(|error| error.errno(&self.stat))? {
                0 => return Err(Errno::Io),
                count => at += count as u64,
            }
        }
        Ok(at.saturating_sub(offset) as usize)
    }

    fn with_chunk<R>(&self, number: u64, work: impl FnOnce(&[u8]) -> R) -> Result<R, Unreadable> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != number {
            let chunk = self.chunks.chunk(number)?;
            if chunk.len() != chunk_bytes(self.size, number) {
                return Err(Unreadable::Damaged("a chunk has another size"));
            }
            *last = (number, chunk);
        }
        Ok(work(&last.1))
    }
}

/// Reads all of a range of an object.
fn read_exact(object: &Object, offset: u64, into: &mut [u8]) -> Result<(), Unreadable> {
    match object.read_at(offset, into)? {
        count if count == into.len() => Ok(()),
        _ => Err(Unreadable::Damaged("it is too short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bytes_or_digits() {
        let digits = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";
        let bytes: Vec<u8> = (0..32).collect();
        let parsed = |text: &[u8]| FileKey::parse(text).map(|key| key.0.to_vec());
        assert_eq!(parsed(&bytes), Some(bytes.clone()));
        assert_eq!(parsed(digits.as_bytes()), Some(bytes));
        for wrong in [&b""[..], &[1; 31], &[1; 33], &[b'g'; 64], &[b'0'; 66]] {
            assert_eq!(parsed(wrong), None);
        }
    }

    #[test]
    fn files_are_cut_into_chunks() {
        let chunk = CHUNK_BYTES as u64;
        let of = |size| (last_chunk(size), chunk_bytes(size, last_chunk(size)));
        assert_eq!(of(0), (0, 0));
        assert_eq!(of(1), (0, 1));
        assert_eq!(of(chunk), (0, CHUNK_BYTES));
        assert_eq!(of(chunk + 1), (1, 1));
        assert_eq!(of(u64::MAX).0, u64::MAX / chunk);
    }
}
