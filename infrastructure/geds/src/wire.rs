//! What processes and their node say to each other over a socket, with descriptors.
//!
//! A frame is its length (32 bits, little endian) and a message in postcard's encoding. Descriptors
//! come with a frame's first byte.

use crate::{
    Attributes, BackendConfig, BackendState, Bucket, Destination, Error, Event, Limits, Listing,
    Lost, Page, Part, Put, Scope, Stat, Usage, remote::Ask, shared::record::Place,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::unix::net::UnixStream,
};
use types::ErrorKind;

/// The version of these messages.
pub(crate) const VERSION: u16 = 3;
/// Longest frame: a page of objects with all the attributes that they may have, and some more.
const FRAME_MAX_BYTES: usize = 32 << 20;
/// Most descriptors with a frame.
const DESCRIPTORS_MAX: usize = 2;

/// What a process asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message of a connection: begins a session.
    Join {
        version: u16,
    },
    /// The first message of another connection: what happens in a scope follows.
    Subscribe {
        version: u16,
        scope: Scope,
    },
    /// Records were left and the node sleeps. Not answered.
    Wake,
    /// Asks that all records that were left have been seen.
    Sync,
    /// A slab to write so much into; a spare one only if memory stays below the mark.
    Lease {
        bytes: u64,
        returned: Vec<(u16, u32)>,
        spare: bool,
    },
    /// Slabs that nothing more is written into.
    Return {
        slabs: Vec<(u16, u32)>,
    },
    /// A slab to read.
    Slab {
        slot: u16,
        generation: u32,
    },
    /// A chunk of the index for slots of a class.
    Chunk {
        class: u8,
        returned: Option<u32>,
    },
    Buckets,
    Bucket {
        bucket: String,
    },
    CreateBucket {
        bucket: String,
    },
    BucketAttributes {
        bucket: String,
        attributes: Attributes,
    },
    DeleteBucket {
        bucket: String,
    },
    List {
        bucket: String,
        listing: Listing,
    },
    Compose {
        bucket: String,
        key: String,
        parts: Vec<Part>,
        put: Put,
    },
    Persist {
        bucket: String,
        key: String,
    },
    PersistAll,
    /// A file to write a large object into.
    Stage,
    /// The file has, or will soon have, so many bytes.
    Grow {
        file: u64,
        bytes: u64,
    },
    /// The file is not wanted.
    Unstage {
        file: u64,
    },
    /// A file to read.
    File {
        file: u64,
    },
    /// What an object is composed of; the session's pins are set on it.
    Pieces {
        content: u64,
    },
    Usage,
    Limits,
    SetLimits {
        limits: Limits,
    },
    /// Objects that were lost, behind this bucket and key.
    Lost {
        after: Option<(String, String)>,
    },
    ForgetLost,
    /// Uses a back end as a bucket's lowest tier.
    Attach {
        bucket: String,
        backend: BackendConfig,
    },
    Detach {
        bucket: String,
    },
    Backends,
    /// Looks for an object outside, and makes it one of the bucket that stays there.
    Adopt {
        bucket: String,
        key: String,
    },
    /// A block of what lies outside, if it lies here as well; the session's pin is set on it.
    Block {
        number: u64,
        block: u64,
    },
    /// Reads blocks from outside.
    Fetch {
        number: u64,
        first: u64,
        count: u64,
    },
    /// What nodes of other sites have to do with.
    Far(Ask),
    /// Moves objects to a tier below memory.
    Relocate {
        bucket: String,
        keys: Vec<String>,
        to: Destination,
    },
}

impl Request {
    /// Whether it may come over a connection of its own, for it takes long and needs no session.
    pub(crate) fn is_apart(&self) -> bool {
        matches!(
            self,
            Self::Persist { .. }
                | Self::PersistAll
                | Self::Adopt { .. }
                | Self::Fetch { .. }
                | Self::Relocate { .. }
        )
    }
}

/// A range of bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where the object's bytes lie that it is a range of.
    pub(crate) place: Place,
    /// How many bytes lie there: the table of checksums of a file lies behind them.
    pub(crate) whole: u64,
    /// Where it begins among them.
    pub(crate) start: u64,
    /// How many bytes it has.
    pub(crate) len: u64,
}

/// What the node answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    /// With the index and the session's page.
    Joined {
        session: u32,
        limits: Limits,
    },
    /// With the slab.
    Slab {
        slot: u16,
        generation: u32,
        bytes: u64,
    },
    /// What was asked for is no longer there: look again.
    Gone,
    /// There is no room at the moment.
    Busy {
        what: String,
        used_bytes: u64,
        limit_bytes: u64,
        wait_ms: u64,
    },
    Chunk {
        chunk: u32,
    },
    Buckets(Vec<Bucket>),
    Bucket {
        number: u32,
        bucket: Bucket,
    },
    Page(Page),
    Stat(Stat),
    /// With the file.
    File {
        file: u64,
    },
    Pieces(Vec<WirePiece>),
    Usage(Usage),
    Limits(Limits),
    Event(Event),
    Missed(u64),
    /// Bytes of an object at another site.
    Bytes(Vec<u8>),
    /// Whether there was one.
    Was(bool),
    /// It is not kept here: read it by ranges.
    Apart(Stat),
    Lost(Vec<Lost>),
    Backends(Vec<BackendState>),
    Failed(Refusal),
    /// The keys of objects that were not moved, and why.
    Relocated(Vec<(String, Refusal)>),
}

/// A [`Piece`] as numbers: kind of place, number, generation, offset, whole, start, length.
pub(crate) type WirePiece = (u8, u64, u32, u64, u64, u64, u64);

impl Piece {
    pub(crate) fn to_wire(self) -> WirePiece {
        let (kind, number, generation, offset) = match self.place {
            Place::Slab { slot, generation, offset } => (1, u64::from(slot), generation, offset),
            Place::File { file, offset } => (2, file, 0, offset),
            Place::Outside { number } => (4, number, 0, 0),
            Place::Nowhere | Place::Pieces { .. } => (0, 0, 0, 0),
        };
        (kind, number, generation, offset, self.whole, self.start, self.len)
    }

    pub(crate) fn from_wire(wire: WirePiece) -> Self {
        let (kind, number, generation, offset, whole, start, len) = wire;
        let place = match kind {
            1 => Place::Slab { slot: number as u16, generation, offset },
            2 => Place::File { file: number, offset },
            4 => Place::Outside { number },
            _ => Place::Nowhere,
        };
        Self { place, whole, start, len }
    }
}

/// An [`Error`] on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    NoBucket(String),
    NoObject(String, String),
    BucketExists(String),
    BucketNotEmpty(String),
    Exists(String, String),
    Changed(String, String, u64, Option<u64>),
    Exhausted(String, u64, u64, u64, u64),
    TooMany(String, u64),
    Range(u64, u64, u64),
    Lost(String, String, String),
    Elsewhere(String, String, String),
    Corrupt(String, String),
    Invalid(String),
    Denied(String),
    Unavailable(String),
    /// A failure of the node's system: what it could not do, and the system's number for why.
    Io(String, Option<i32>),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::NoBucket { bucket } => Self::NoBucket(bucket),
            Error::NoObject { bucket, key } => Self::NoObject(bucket, key),
            Error::BucketExists { bucket } => Self::BucketExists(bucket),
            Error::BucketNotEmpty { bucket } => Self::BucketNotEmpty(bucket),
            Error::Exists { bucket, key } => Self::Exists(bucket, key),
            Error::Changed { bucket, key, expected, found } => {
                Self::Changed(bucket, key, expected, found)
            }
            Error::Exhausted { what, wanted_bytes, used_bytes, limit_bytes, waited_ms } => {
                Self::Exhausted(what, wanted_bytes, used_bytes, limit_bytes, waited_ms)
            }
            Error::TooMany { what, limit } => Self::TooMany(what, limit),
            Error::Range { offset, end, size } => Self::Range(offset, end, size),
            Error::Lost { bucket, key, why } => Self::Lost(bucket, key, why),
            Error::Elsewhere { bucket, key, site } => Self::Elsewhere(bucket, key, site),
            Error::Corrupt { what, why } => Self::Corrupt(what, why),
            Error::Io { doing, source } => Self::Io(doing, source.raw_os_error()),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Denied(why) => Self::Denied(why),
            other => {
                debug_assert_eq!(other.kind(), ErrorKind::Invalid);
                Self::Invalid(other.to_string())
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoBucket(bucket) => Self::NoBucket { bucket },
            Refusal::NoObject(bucket, key) => Self::NoObject { bucket, key },
            Refusal::BucketExists(bucket) => Self::BucketExists { bucket },
            Refusal::BucketNotEmpty(bucket) => Self::BucketNotEmpty { bucket },
            Refusal::Exists(bucket, key) => Self::Exists { bucket, key },
            Refusal::Changed(bucket, key, expected, found) => {
                Self::Changed { bucket, key, expected, found }
            }
            Refusal::Exhausted(what, wanted_bytes, used_bytes, limit_bytes, waited_ms) => {
                Self::Exhausted { what, wanted_bytes, used_bytes, limit_bytes, waited_ms }
            }
            Refusal::TooMany(what, limit) => Self::TooMany { what, limit },
            Refusal::Range(offset, end, size) => Self::Range { offset, end, size },
            Refusal::Lost(bucket, key, why) => Self::Lost { bucket, key, why },
            Refusal::Elsewhere(bucket, key, site) => Self::Elsewhere { bucket, key, site },
            Refusal::Corrupt(what, why) => Self::Corrupt { what, why },
            Refusal::Invalid(why) => Self::Invalid(why),
            Refusal::Denied(why) => Self::Denied(why),
            Refusal::Unavailable(why) => Self::Unavailable(why),
            Refusal::Io(doing, number) => {
                let source = number.map_or_else(
                    || io::Error::other("the node did not say why"),
                    io::Error::from_raw_os_error,
                );
                Self::Io { doing, source }
            }
        }
    }
}

/// Sends a message with descriptors.
pub(crate) fn send(
    mut stream: &UnixStream,
    message: &impl Serialize,
    descriptors: &[OwnedFd],
) -> io::Result<()> {
    let mut frame = vec![0; 4];
    frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
    let len = frame.len() - 4;
    if len > FRAME_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    let sent = if descriptors.is_empty() { 0 } else { send_first(stream, &frame, descriptors)? };
    stream.write_all(&frame[sent..])
}

fn send_first(stream: &UnixStream, frame: &[u8], descriptors: &[OwnedFd]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match sendmsg(stream, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// Receives a message and its descriptors; none at the end of the stream.
pub(crate) fn receive<M: DeserializeOwned>(
    mut stream: &UnixStream,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut len = [0; 4];
    let (count, descriptors) = receive_first(stream, &mut len)?;
    if count == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut len[count..])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > FRAME_MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    // Taken as bytes come, for the length is only what the other side says.
    let mut frame = Vec::with_capacity(len.min(64 << 10));
    stream.take(len as u64).read_to_end(&mut frame)?;
    if frame.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let message = postcard::from_bytes(&frame)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((message, descriptors)))
}

fn receive_first(stream: &UnixStream, len: &mut [u8; 4]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        let into = &mut [IoSliceMut::new(len)];
        match recvmsg(stream, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.bytes,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((count, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (here, there) = UnixStream::pair().unwrap();
        let file = crate::shared::memory_file("test", 4096).unwrap();
        let reply = Reply::Slab { slot: 1, generation: 2, bytes: 3 };
        send(&here, &reply, &[file]).unwrap();
        send(&here, &Reply::Done, &[]).unwrap();
        let (first, descriptors) = receive::<Reply>(&there).unwrap().unwrap();
        assert!(matches!(first, Reply::Slab { slot: 1, generation: 2, bytes: 3 }));
        assert_eq!(rustix::fs::fstat(&descriptors[0]).unwrap().st_size, 4096);
        let (second, descriptors) = receive::<Reply>(&there).unwrap().unwrap();
        assert!(matches!(second, Reply::Done) && descriptors.is_empty());
        drop(here);
        assert!(receive::<Reply>(&there).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in
            [&[255, 255, 255, 255][..], &[4, 0, 0, 0, 255, 255, 255, 255], &[9, 0, 0, 0, 1]]
        {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(bytes).unwrap();
            drop(here);
            assert!(receive::<Request>(&there).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn errors_keep_their_kind_on_the_way() {
        let errors = [
            Error::no_bucket("b"),
            Error::Exhausted {
                what: "memory".to_owned(),
                wanted_bytes: 1,
                used_bytes: 2,
                limit_bytes: 3,
                waited_ms: 4,
            },
            Error::Io { doing: "write".to_owned(), source: io::Error::from_raw_os_error(28) },
            Error::AttributesSize { size_bytes: 1 << 20 },
        ];
        for error in errors {
            let (kind, text) = (error.kind(), error.to_string());
            let back = Error::from(Refusal::from(error));
            assert_eq!((back.kind(), back.to_string()), (kind, text));
        }
    }
}
