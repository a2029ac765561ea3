//! Encrypted files: AES-256-GCM in chunks.
//!
//! ```text
//! header   16 bytes, then u32 chunk bytes | 32 bytes salt
//! chunk    up to 64 KiB of the file, encrypted | 16 bytes tag
//! ```
//! Each object has a key of its own: HKDF-SHA-256 of the given key with the object's random salt. So a
//! chunk's nonce need be unique within its object alone: its number (eight bytes, big-endian), three zero
//! bytes, and 1 for the last chunk, as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online
//! authenticated-encryption and its nonce-reuse misuse-resistance, 2015). All chunks authenticate the
//! header. So chunks cannot be changed, exchanged, left out or cut off at the end; a file as a whole can be
//! put in another's place by who may rename.

use super::{
    CHUNK_BYTES, Chunks, Failed, FileKey, HEADER_BYTES, Kind, Sink, Unreadable, chunk_bytes,
    header, last_chunk, read_exact,
};
use geds::{Object, Writer};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use std::{fmt, io};

const SALT_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const WHOLE_HEADER_BYTES: usize = HEADER_BYTES + 4 + SALT_BYTES;
const SALT_AT: usize = HEADER_BYTES + 4;

/// What the derived key is for.
const PURPOSE: &[u8] = b"cloudskin file, version 1";

/// How large the object of a file is.
pub(super) fn encoded_bytes(size: u64) -> u64 {
    let tags = (last_chunk(size) + 1) * TAG_BYTES as u64;
    size.saturating_add(tags + WHOLE_HEADER_BYTES as u64)
}

fn whole_header(salt: &[u8]) -> [u8; WHOLE_HEADER_BYTES] {
    let mut whole = [0; WHOLE_HEADER_BYTES];
    whole[..HEADER_BYTES].copy_from_slice(&header(Kind::Encrypted));
    whole[HEADER_BYTES..SALT_AT].copy_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
    whole[SALT_AT..].copy_from_slice(salt);
    whole
}

/// The key of the object with this header.
fn object_key(key: &FileKey, header: &[u8; WHOLE_HEADER_BYTES]) -> Option<LessSafeKey> {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &header[SALT_AT..]);
    let secret = salt.extract(&key.0);
    let derived = secret.expand(&[PURPOSE], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(derived)))
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

pub(super) fn encode(key: &FileKey, file: &Writer, to: &mut dyn Sink) -> Result<(), Failed> {
    let (size, last) = (file.len(), last_chunk(file.len()));
    let mut sealer = Sealer::begin(key, to)?;
    for number in 0..=last {
        let (at, count) = (number * CHUNK_BYTES as u64, chunk_bytes(size, number));
        let mut fill = |chunk: &mut [u8]| Ok(file.read_at(at, chunk).map(|_| ())?);
        sealer.chunk(count, number == last, &mut fill, to)?;
    }
    Ok(())
}

/// Encrypts the chunks of one object, in order.
pub(super) struct Sealer {
    header: [u8; WHOLE_HEADER_BYTES],
    key: LessSafeKey,
    /// The next chunk's number.
    next: u64,
}

impl Sealer {
    /// With a key of its own; the object begins with its header.
    pub(super) fn begin(key: &FileKey, to: &mut dyn Sink) -> Result<Self, Failed> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let header = whole_header(&salt);
        let key = object_key(key, &header).ok_or_else(refused)?;
        to.write_all(&header)?;
        Ok(Self { header, key, next: 0 })
    }

    /// How many chunks there are so far.
    pub(super) fn chunks(&self) -> u64 {
        self.next
    }

    /// Adds a chunk of so many bytes, which `fill` writes to where they will lie, so that they are
    /// copied once. After an error nothing more may be added: a nonce would be used again.
    pub(super) fn chunk(
        &mut self,
        count: usize,
        last: bool,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), Failed>,
        to: &mut dyn Sink,
    ) -> Result<(), Failed> {
        to.append(count + TAG_BYTES, &mut |sealed| {
            let (chunk, tag) = sealed.split_at_mut(count);
            fill(chunk)?;
            let (nonce, header) = (nonce(self.next, last), Aad::from(&self.header));
            let made = self.key.seal_in_place_separate_tag(nonce, header, chunk);
            tag.copy_from_slice(made.map_err(|_| refused())?.as_ref());
            Ok(())
        })?;
        self.next += 1;
        Ok(())
    }

    /// Reads a full chunk of the object again, before it is sealed.
    pub(super) fn read_back(&self, number: u64, from: &Writer) -> Result<Vec<u8>, Failed> {
        let mut sealed = vec![0; CHUNK_BYTES + TAG_BYTES];
        from.read_at(chunk_at(number), &mut sealed)?;
        let nonce = nonce(number, false);
        let opened = self.key.open_in_place(nonce, Aad::from(&self.header), &mut sealed);
        let size = opened.map_err(|_| refused())?.len();
        sealed.truncate(size);
        Ok(sealed)
    }
}

fn refused() -> io::Error {
    io::Error::other("the cipher refused a chunk")
}

/// Where a chunk begins in the object.
fn chunk_at(number: u64) -> u64 {
    WHOLE_HEADER_BYTES as u64 + number * (CHUNK_BYTES + TAG_BYTES) as u64
}

/// An encrypted object.
pub(super) struct Encrypted {
    object: Object,
    header: [u8; WHOLE_HEADER_BYTES],
    key: LessSafeKey,
    size: u64,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Encrypted {
    pub(super) fn open(key: &FileKey, object: Object, size: u64) -> Result<Self, Unreadable> {
        if size > object.len() || encoded_bytes(size) != object.len() {
            return Err(Unreadable::Forged);
        }
        let mut header = [0; WHOLE_HEADER_BYTES];
        read_exact(&object, 0, &mut header)?;
        if header != whole_header(&header[SALT_AT..]) {
            return Err(Unreadable::Unknown);
        }
        let key = object_key(key, &header).ok_or(Unreadable::Forged)?;
        Ok(Self { object, header, key, size })
    }
}

impl Chunks for Encrypted {
    fn checks_end(&self) -> bool {
        true
    }

    fn chunk(&self, number: u64) -> Result<Vec<u8>, Unreadable> {
        let mut sealed = vec![0; chunk_bytes(self.size, number) + TAG_BYTES];
        read_exact(&self.object, chunk_at(number), &mut sealed)?;
        let nonce = nonce(number, number == last_chunk(self.size));
        let opened = self.key.open_in_place(nonce, Aad::from(&self.header), &mut sealed);
        let size = opened.map_err(|_| Unreadable::Forged)?.len();
        sealed.truncate(size);
        Ok(sealed)
    }
}
