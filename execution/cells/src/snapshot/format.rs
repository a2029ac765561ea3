//! The bytes of a snapshot.
//!
//! ```text
//! header   magic "CSKSNAP\0" | u16 version = 1 | 6 zero bytes
//! section  u16 type | u16 version = 1 | u32 length | payload | u32 CRC-32C of all before it
//! ```
//! Numbers are little-endian. Types: 1 identity, 2 pages, 3 memory size, 4 globals, 5 descriptors
//! and clocks, 6 service, 7 commit, 8 what the ranks of a tissue share, 9 a rank, which is
//! followed by its memory, globals and descriptors, 10 threads. A reader refuses a type, version or length that it does not
//! know: what it cannot restore whole it does not restore.

use crate::dirty::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use types::{Digest, Epoch};

const MAGIC: &[u8; 8] = b"CSKSNAP\0";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const SECTION_HEADER_BYTES: usize = 8;

/// Largest payload: an id table of a service, with some room.
const PAYLOAD_MAX_BYTES: u32 = 256 << 20;

/// Most pages in a section; pages travel and are checked in pieces of this size.
pub(crate) const PAGES_MAX: u32 = 256;

/// How pages are written in a section.
const RAW: u32 = 0;
const ZERO: u32 = 1;
const ZSTD: u32 = 2;

/// Why bytes are not a snapshot that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("reading or writing it failed")]
    Io(#[from] io::Error),
    /// Not one of ours.
    #[error("it does not begin as a snapshot does")]
    Magic,
    /// Written by a newer version.
    #[error("it has format version {found}: this runtime reads version {VERSION}")]
    Version {
        /// What stands there.
        found: u16,
    },
    /// A section that this version does not know.
    #[error(
        "it has a section of type {kind} and version {version}, which this runtime does not know"
    )]
    Section {
        /// The section's type.
        kind: u16,
        /// The section's version.
        version: u16,
    },
    /// A section's checksum is wrong.
    #[error("its section number {index} is damaged")]
    Checksum {
        /// Counted from 0.
        index: u64,
    },
    /// A section's content makes no sense.
    #[error("its {section} section is malformed: {reason}")]
    Malformed {
        /// Which section.
        section: &'static str,
        /// Why.
        reason: String,
    },
    /// It ends before a commit.
    #[error("it is cut off: no complete state was found")]
    Incomplete,
    /// It belongs to another module.
    #[error("it is of the module {found} (`{name}`), not of {expected}")]
    Module {
        /// The module's name.
        name: String,
        /// The snapshot's module.
        found: Digest,
        /// The module at hand.
        expected: Digest,
    },
    /// It claims what the cell was not granted, or what is no longer there.
    #[error("its descriptors cannot be restored")]
    Descriptors(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The module.
    pub module: Digest,
    /// The module's name, for messages.
    pub name: String,
    /// The service's epoch; 0 for a program.
    pub epoch: Epoch,
    /// The service's start within the epoch.
    pub incarnation: u32,
    /// Counts up within the cell's life.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// Whether the program had begun; if not, it begins when it is resumed.
    pub begun: bool,
}

/// A mutable global's value, by the name under which the module exports it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GlobalValue {
    /// A 32-bit integer.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// The bits of a 32-bit float.
    F32(u32),
    /// The bits of a 64-bit float.
    F64(u64),
    /// A vector.
    V128(u128),
}

/// The ranks of an MPI program, without what each has of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TissueImage {
    /// How many there are.
    pub size: u32,
    /// What belongs to none of them, as the MPI engine saved it.
    pub world: Vec<u8>,
}

/// One rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankImage {
    /// Its number.
    pub number: u32,
    /// Where it stands.
    pub state: RankState,
}

/// Where a rank stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankState {
    /// In the middle of a call of MPI: what the engine saved of it.
    Stopped(Vec<u8>),
    /// It has ended with this exit code.
    Ended(u32),
    /// It runs: what follows is its memory as it was at some moment. Only on the way to another
    /// site, where the rest follows.
    Running,
}

/// What the threads of an OpenMP program have, which stand outside all parallel regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadsImage {
    /// What the OpenMP runtime knows, as it saved it.
    pub openmp: Vec<u8>,
    /// Where each thread but the first has its stack and its variables.
    pub places: Vec<ThreadPlace>,
}

/// Where a thread has its own parts of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadPlace {
    /// Its number.
    pub number: u32,
    /// The end of its stack, where it begins.
    pub stack_end: u32,
    /// Its variables.
    pub variables: u32,
}

/// One section.
#[derive(Debug, Clone, PartialEq)]
pub enum Section {
    /// What it is of; the first section of every round.
    Identity(Identity),
    /// Pages of memory: index of the first, in units of 4 KiB, and their bytes.
    Pages {
        /// Index of the first.
        first: u32,
        /// A multiple of 4 KiB.
        bytes: Vec<u8>,
    },
    /// Pages that are zero: index of the first and how many.
    ZeroPages {
        /// Index of the first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// Size of the memory in units of 64 KiB.
    MemorySize(u32),
    /// Mutable globals.
    Globals(Vec<(String, GlobalValue)>),
    /// Descriptors, timers and clocks, as [`crate::wasi::WasiImage`] encodes them.
    Wasi(Vec<u8>),
    /// What the host keeps for a service.
    Service(Vec<u8>),
    /// What the ranks of an MPI program share.
    Tissue(TissueImage),
    /// A rank; what follows until the next is its own.
    Rank(RankImage),
    /// The threads of an OpenMP program.
    Threads(ThreadsImage),
    /// The end of a round: what came before is a complete state.
    Commit {
        /// Counted from 0.
        round: u32,
    },
}

/// Writes sections.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    sink: W,
    round: u32,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub(crate) fn new(mut sink: W) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        sink.write_all(&header)?;
        Ok(Self { sink, round: 0, written: HEADER_BYTES as u64 })
    }

    /// How many bytes were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// What the bytes are written to.
    pub(crate) fn sink(&mut self) -> &mut W {
        &mut self.sink
    }

    fn section(&mut self, kind: u16, parts: &[&[u8]]) -> io::Result<()> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length)
            .ok()
            .filter(|length| *length <= PAYLOAD_MAX_BYTES)
            .ok_or_else(|| io::Error::other("a snapshot's section is too large"))?;
        let mut header = [0; SECTION_HEADER_BYTES];
        header[..2].copy_from_slice(&kind.to_le_bytes());
        header[2..4].copy_from_slice(&1_u16.to_le_bytes());
        header[4..].copy_from_slice(&length.to_le_bytes());
        let mut checksum = crc32c::crc32c(&header);
        self.sink.write_all(&header)?;
        for part in parts {
            checksum = crc32c::crc32c_append(checksum, part);
            self.sink.write_all(part)?;
        }
        self.sink.write_all(&checksum.to_le_bytes())?;
        self.written += (SECTION_HEADER_BYTES + 4) as u64 + u64::from(length);
        Ok(())
    }

    /// Writes what the round is of.
    pub(crate) fn identity(&mut self, identity: &Identity) -> io::Result<()> {
        self.encoded(1, identity)
    }

    /// Writes at most [`PAGES_MAX`] pages from `first` on; zero pages as such, others as they are
    /// or, if asked, compressed.
    pub(crate) fn pages(&mut self, first: u32, bytes: &[u8], compress: bool) -> io::Result<()> {
        let count = (bytes.len() / PAGE_BYTES) as u32;
        let head = |kind: u32| {
            let mut head = [0; 12];
            head[..4].copy_from_slice(&first.to_le_bytes());
            head[4..8].copy_from_slice(&count.to_le_bytes());
            head[8..].copy_from_slice(&kind.to_le_bytes());
            head
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return self.section(2, &[&head(ZERO)]);
        }
        if compress {
            return self.section(2, &[&head(ZSTD), &zstd::bulk::compress(bytes, 1)?]);
        }
        self.section(2, &[&head(RAW), bytes])
    }

    pub(crate) fn memory_size(&mut self, wasm_pages: u32) -> io::Result<()> {
        self.section(3, &[&wasm_pages.to_le_bytes()])
    }

    pub(crate) fn globals(&mut self, globals: &[(String, GlobalValue)]) -> io::Result<()> {
        self.encoded(4, &globals)
    }

    pub(crate) fn wasi(&mut self, image: &[u8]) -> io::Result<()> {
        self.section(5, &[image])
    }

    pub(crate) fn service(&mut self, image: &[u8]) -> io::Result<()> {
        self.section(6, &[image])
    }

    pub(crate) fn tissue(&mut self, image: &TissueImage) -> io::Result<()> {
        self.encoded(8, image)
    }

    pub(crate) fn rank(&mut self, image: &RankImage) -> io::Result<()> {
        self.encoded(9, image)
    }

    pub(crate) fn threads(&mut self, image: &ThreadsImage) -> io::Result<()> {
        self.encoded(10, image)
    }

    /// Ends the round.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        self.section(7, &[&self.round.to_le_bytes()])?;
        self.round += 1;
        self.sink.flush()
    }

    /// Writes a section whose payload may be anything.
    pub(crate) fn raw_section(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        self.section(kind, &[payload])
    }

    fn encoded(&mut self, kind: u16, value: &impl Serialize) -> io::Result<()> {
        let payload = postcard::to_stdvec(value).map_err(io::Error::other)?;
        self.section(kind, &[&payload])
    }
}

/// Reads sections from bytes that may be anything.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    source: R,
    index: u64,
    read: u64,
}

impl<R: Read> Reader<R> {
    /// Checks the header.
    pub(crate) fn new(mut source: R) -> Result<Self, SnapshotError> {
        let mut header = [0; HEADER_BYTES];
        source.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::Magic,
            _ => error.into(),
        })?;
        if header[..8] != *MAGIC {
            return Err(SnapshotError::Magic);
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(SnapshotError::Version { found: version });
        }
        Ok(Self { source, index: 0, read: HEADER_BYTES as u64 })
    }

    /// Where the bytes come from.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// How many bytes were read.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// The next section; `None` where the bytes end between two.
    pub(crate) fn next(&mut self) -> Result<Option<Section>, SnapshotError> {
        let Some((kind, payload)) = self.next_raw()? else { return Ok(None) };
        decode(kind, payload).map(Some)
    }

    /// The next section's type and payload, whose checksum is right.
    pub(crate) fn next_raw(&mut self) -> Result<Option<(u16, Vec<u8>)>, SnapshotError> {
        let mut header = [0; SECTION_HEADER_BYTES];
        if !read_or_end(&mut self.source, &mut header)? {
            return Ok(None);
        }
        let [a, b, c, d, length @ ..] = header;
        let (kind, version) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let length = u32::from_le_bytes(length);
        if !(1..=10).contains(&kind) || version != 1 {
            return Err(SnapshotError::Section { kind, version });
        }
        if length > PAYLOAD_MAX_BYTES {
            return Err(malformed(kind, format!("it declares {length} bytes")));
        }
        let payload = self.payload(length)?;
        let mut checksum = [0; 4];
        self.source.read_exact(&mut checksum).map_err(cut)?;
        let found = crc32c::crc32c_append(crc32c::crc32c(&header), &payload);
        if found != u32::from_le_bytes(checksum) {
            return Err(SnapshotError::Checksum { index: self.index });
        }
        self.index += 1;
        self.read += (SECTION_HEADER_BYTES + 4) as u64 + u64::from(length);
        Ok(Some((kind, payload)))
    }

    /// Grows with what really arrives, not with what the header promises.
    fn payload(&mut self, length: u32) -> Result<Vec<u8>, SnapshotError> {
        let mut payload =
            Vec::with_capacity((length as usize).min(PAGE_BYTES * (PAGES_MAX as usize + 1)));
        let read = self.source.by_ref().take(u64::from(length)).read_to_end(&mut payload)?;
        if read < length as usize {
            return Err(SnapshotError::Incomplete);
        }
        Ok(payload)
    }
}

/// Fills `buffer`, or says that the bytes ended before its first.
fn read_or_end(source: &mut impl Read, buffer: &mut [u8]) -> Result<bool, SnapshotError> {
    loop {
        match source.read(&mut buffer[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    source.read_exact(&mut buffer[1..]).map_err(cut)?;
    Ok(true)
}

fn cut(error: io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Incomplete,
        _ => error.into(),
    }
}

fn malformed(kind: u16, reason: impl Into<String>) -> SnapshotError {
    const NAMES: [&str; 11] = [
        "",
        "identity",
        "pages",
        "memory size",
        "globals",
        "descriptor",
        "service",
        "commit",
        "tissue",
        "rank",
        "threads",
    ];
    SnapshotError::Malformed { section: NAMES[usize::from(kind)], reason: reason.into() }
}

/// What a payload of this type says.
pub(crate) fn decode(kind: u16, payload: Vec<u8>) -> Result<Section, SnapshotError> {
    let number = || {
        <[u8; 4]>::try_from(&payload[..])
            .map(u32::from_le_bytes)
            .map_err(|_| malformed(kind, "it is not a number"))
    };
    Ok(match kind {
        1 => Section::Identity(encoded(kind, &payload)?),
        2 => decode_pages(&payload)?,
        3 => Section::MemorySize(number()?),
        4 => Section::Globals(encoded(kind, &payload)?),
        5 => Section::Wasi(payload),
        6 => Section::Service(payload),
        8 => Section::Tissue(encoded(kind, &payload)?),
        9 => Section::Rank(encoded(kind, &payload)?),
        10 => Section::Threads(encoded(kind, &payload)?),
        _ => Section::Commit { round: number()? },
    })
}

fn encoded<T: for<'a> Deserialize<'a>>(kind: u16, payload: &[u8]) -> Result<T, SnapshotError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(malformed(kind, "bytes are left over")),
        Err(error) => Err(malformed(kind, error.to_string())),
    }
}

fn decode_pages(payload: &[u8]) -> Result<Section, SnapshotError> {
    let word = |at: usize| {
        payload
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk())
            .copied()
            .map(u32::from_le_bytes)
    };
    let (Some(first), Some(count), Some(kind)) = (word(0), word(4), word(8)) else {
        return Err(malformed(2, "it is too short"));
    };
    let size = count as usize * PAGE_BYTES;
    let body = &payload[12..];
    let bytes = match kind {
        ZERO if body.is_empty() => return Ok(Section::ZeroPages { first, count }),
        _ if count > PAGES_MAX => return Err(malformed(2, format!("it declares {count} pages"))),
        RAW => body.to_vec(),
        ZSTD => {
            zstd::bulk::decompress(body, size).map_err(|error| malformed(2, error.to_string()))?
        }
        _ => return Err(malformed(2, "its kind is unknown")),
    };
    if bytes.len() != size {
        return Err(malformed(2, format!("it declares {size} bytes and holds {}", bytes.len())));
    }
    Ok(Section::Pages { first, bytes })
}

/// How many bytes at the front of `source` are complete rounds, each section's checksum checked.
///
/// # Errors
/// [`SnapshotError::Incomplete`] if there is no complete round.
pub(crate) fn committed_bytes(source: impl Read) -> Result<u64, SnapshotError> {
    let mut reader = Reader::new(source)?;
    let mut committed = 0;
    loop {
        match reader.next() {
            Ok(Some(Section::Commit { .. })) => committed = reader.read(),
            Ok(Some(_)) => {}
            // A crash while a later round was being added leaves a torn tail.
            Ok(None) | Err(_) if committed > 0 => return Ok(committed),
            Ok(None) => return Err(SnapshotError::Incomplete),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            module: Digest::from_sha256([1; 32]),
            name: "a.wasm".into(),
            epoch: Epoch(3),
            incarnation: 1,
            sequence: 9,
            at: 77,
            begun: true,
        }
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.identity(&identity()).unwrap();
        writer.pages(3, &[5; 2 * PAGE_BYTES], false).unwrap();
        writer.pages(9, &[6; PAGE_BYTES], true).unwrap();
        writer.pages(11, &[0; PAGE_BYTES], false).unwrap();
        writer.memory_size(2).unwrap();
        writer.globals(&[("__stack_pointer".into(), GlobalValue::I32(-4))]).unwrap();
        writer.wasi(b"w").unwrap();
        writer.service(b"s").unwrap();
        writer.commit().unwrap();
        assert_eq!(writer.written(), writer.sink().len() as u64);
        writer.sink
    }

    fn sections(bytes: &[u8]) -> Result<Vec<Section>, SnapshotError> {
        let mut reader = Reader::new(bytes)?;
        let mut all = Vec::new();
        while let Some(section) = reader.next()? {
            all.push(section);
        }
        Ok(all)
    }

    #[test]
    fn sections_come_back() {
        let all = sections(&sample()).unwrap();

        assert_eq!(all[0], Section::Identity(identity()));
        assert_eq!(all[1], Section::Pages { first: 3, bytes: vec![5; 2 * PAGE_BYTES] });
        assert_eq!(all[2], Section::Pages { first: 9, bytes: vec![6; PAGE_BYTES] });
        assert_eq!(all[3], Section::ZeroPages { first: 11, count: 1 });
        assert_eq!(all[8], Section::Commit { round: 0 });
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let whole = sample();

        for at in (0..10).chain(16..whole.len()) {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            assert!(sections(&bent).is_err(), "byte {at}");
        }
        for size in 0..whole.len() {
            let cut = &whole[..size];
            assert!(committed_bytes(cut).is_err(), "cut to {size}");
        }
    }

    #[test]
    fn a_torn_tail_leaves_the_rounds_before_it() {
        let mut bytes = sample();
        let whole = bytes.len() as u64;
        bytes.extend_from_slice(&sample()[16..80]);

        assert_eq!(committed_bytes(&bytes[..]).unwrap(), whole);
    }

    #[test]
    fn an_unknown_section_is_refused_by_number() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.section(99, &[b"?"]).unwrap();

        let error = sections(&writer.sink).unwrap_err();

        assert!(matches!(error, SnapshotError::Section { kind: 99, version: 1 }), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(tail: Vec<u8>, flips: Vec<(usize, u8)>) {
            let mut bytes = sample();
            for (at, value) in flips {
                let size = bytes.len();
                bytes[16 + at % (size - 16)] = value;
            }
            bytes.extend(tail);
            let _ = sections(&bytes);
        }
    }
}
