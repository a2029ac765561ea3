//! A service's snapshot as a user brings it: checked whole, and made a service's checkpoint.
//!
//! A worker refuses state of a newer epoch than its own, for it would be another writer's. A
//! snapshot that a user asks for is none: [`adopt`] gives it the epoch under which the service
//! goes on, and changes nothing else of it.

use super::{Identity, Reader, Section, SnapshotError, Writer, decode};
use crate::{
    cell::check_module,
    dirty::PAGE_BYTES,
    error::{Error, Result},
    service::check_image,
    wasi::{self, Wasi, WasiImage},
};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::Path,
};
use types::{Digest, Epoch};

/// Size of a Wasm page.
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// What a service can take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its module; any if none is given.
    pub module: Option<Digest>,
    /// Most bytes of linear memory that it is granted.
    pub memory_bytes: u64,
}

/// Checks that a file is one whole snapshot of a service that can be taken over, and says what it
/// is of.
///
/// # Errors
/// [`Error::Snapshot`] if it is damaged, cut off, a program's, another module's, larger than the
/// memory that is granted, or claims descriptors that a service does not have.
pub fn check(path: &Path, expected: Expected) -> Result<Identity> {
    pass(path, expected, |_, _| Ok(()))
}

/// Checks the file `from` like [`check`] and writes it to `to` as the first state of this epoch;
/// on disk when this returns.
///
/// # Errors
/// As [`check`], and [`Error::Write`] if `to` cannot be written.
pub fn adopt(from: &Path, to: &Path, expected: Expected, epoch: Epoch) -> Result<Identity> {
    let failed = |source| Error::Write { path: to.to_owned(), source };
    let file = File::create(to).map_err(failed)?;
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file)).map_err(failed)?;
    let identity = pass(from, expected, |kind, payload| match kind {
        Kind::Identity(identity) => {
            writer.identity(&Identity { epoch, incarnation: 0, sequence: 0, ..identity.clone() })
        }
        Kind::Other(kind) => writer.raw_section(kind, payload),
    })?;
    writer.sink().flush().map_err(failed)?;
    writer.sink().get_ref().sync_all().map_err(failed)?;
    Ok(identity)
}

/// What a section that is copied is.
enum Kind<'a> {
    Identity(&'a Identity),
    Other(u16),
}

/// Reads all sections once, checks them, and hands each on.
fn pass(
    path: &Path,
    expected: Expected,
    mut copy: impl FnMut(Kind<'_>, &[u8]) -> io::Result<()>,
) -> Result<Identity> {
    let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file))?;
    let mut found = Found::default();
    while let Some((kind, payload)) = reader.next_raw()? {
        let section = decode(kind, payload.clone())?;
        found.take(&section, expected)?;
        let kind = match &section {
            Section::Identity(identity) => Kind::Identity(identity),
            _ => Kind::Other(kind),
        };
        copy(kind, &payload).map_err(SnapshotError::from)?;
    }
    found.finish()
}

/// What was read so far.
#[derive(Default)]
struct Found {
    identity: Option<Identity>,
    wasi: bool,
    service: bool,
    /// The last section ended a round.
    whole: bool,
}

impl Found {
    fn take(&mut self, section: &Section, expected: Expected) -> Result<(), SnapshotError> {
        self.whole = matches!(section, Section::Commit { .. });
        let page = PAGE_BYTES as u64;
        match section {
            Section::Identity(identity) => {
                if let Some(module) = expected.module {
                    check_module(identity, module)?;
                }
                self.identity = Some(identity.clone());
            }
            Section::Pages { first, bytes } => {
                check_memory(u64::from(*first) * page + bytes.len() as u64, expected)?;
            }
            Section::ZeroPages { first, count } => {
                check_memory((u64::from(*first) + u64::from(*count)) * page, expected)?;
            }
            Section::MemorySize(pages) => {
                check_memory(u64::from(*pages) * WASM_PAGE_BYTES, expected)?;
            }
            Section::Wasi(image) => {
                check_descriptors(image)?;
                self.wasi = true;
            }
            Section::Service(image) => {
                check_image(image)?;
                self.service = true;
            }
            Section::Tissue(_) | Section::Rank(_) => {
                return Err(SnapshotError::Malformed {
                    section: "rank",
                    reason: "this is a snapshot of the ranks of an MPI program, not of a service"
                        .into(),
                });
            }
            Section::Threads(_) => {
                return Err(SnapshotError::Malformed {
                    section: "threads",
                    reason: "this is a snapshot of a program on threads, not of a service".into(),
                });
            }
            Section::Globals(_) | Section::Commit { .. } => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Identity> {
        let identity = self.identity.filter(|_| self.whole && self.wasi);
        let identity = identity.ok_or(SnapshotError::Incomplete)?;
        if !self.service {
            let reason = "this is a program's snapshot, not a service's: `cloudskin restore \
                          SNAPSHOT MODULE` continues it";
            return Err(
                SnapshotError::Malformed { section: "service", reason: reason.into() }.into()
            );
        }
        Ok(identity)
    }
}

fn check_memory(bytes: u64, expected: Expected) -> Result<(), SnapshotError> {
    if bytes <= expected.memory_bytes {
        return Ok(());
    }
    let reason = format!(
        "it needs {bytes} bytes of memory: the service is granted {} bytes (`resources.memory`)",
        expected.memory_bytes
    );
    Err(SnapshotError::Malformed { section: "memory size", reason })
}

/// A service has its streams and nothing else, whatever the snapshot claims.
fn check_descriptors(image: &[u8]) -> Result<(), SnapshotError> {
    let mut image = WasiImage::decode(image).map_err(|error| SnapshotError::Malformed {
        section: "descriptor",
        reason: error.to_string(),
    })?;
    let refused = |error| SnapshotError::Descriptors(Box::new(error));
    if let Some(graphs) = image.graphs.take() {
        // Its models are where it is served.
        graphs.check().map_err(refused)?;
    }
    let (streams, sources) = (wasi::Streams::null(), Box::new(wasi::SystemSources));
    let (none, limits) = (Vec::new(), wasi::Limits::default());
    Wasi::restore(image, none, Vec::new(), streams, sources, limits).map(drop).map_err(refused)
}

/// A service's snapshot with this memory: for tests of those who check and carry snapshots.
#[doc(hidden)]
pub fn sample(module: Digest, epoch: Epoch, memory: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new())?;
    let name = "sample.wasm".to_owned();
    let (incarnation, sequence, at) = (1, 7, 77);
    writer.identity(&Identity { module, name, epoch, incarnation, sequence, at, begun: true })?;
    let mut page = [0; PAGE_BYTES];
    for (first, part) in memory.chunks(PAGE_BYTES).enumerate() {
        page.fill(0);
        page[..part.len()].copy_from_slice(part);
        writer.pages(first as u32, &page, false)?;
    }
    writer.memory_size(2)?;
    let nobody = wasi::Config { streams: wasi::Streams::null(), ..wasi::Config::default() };
    let mut wasi = nobody.build().map_err(io::Error::other)?;
    let image = wasi.save().map_err(io::Error::other)?;
    writer.wasi(&image.encode().map_err(io::Error::other)?)?;
    writer.service(&crate::service::empty_image().map_err(io::Error::other)?)?;
    writer.commit()?;
    Ok(std::mem::take(writer.sink()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: Digest = Digest::from_sha256([1; 32]);
    const EXPECTED: Expected = Expected { module: Some(MODULE), memory_bytes: 1 << 20 };

    fn checked(bytes: &[u8], expected: Expected) -> Result<Identity> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        check(file.path(), expected)
    }

    #[test]
    fn a_snapshot_is_adopted_under_another_epoch_and_is_else_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, sample(MODULE, Epoch(9), b"state").unwrap()).unwrap();

        let said = adopt(&from, &to, EXPECTED, Epoch(3)).unwrap();

        let kept = check(&to, EXPECTED).unwrap();
        assert_eq!((said.epoch, said.sequence), (Epoch(9), 7));
        assert_eq!(kept, Identity { epoch: Epoch(3), incarnation: 0, sequence: 0, ..said });
        let sections = |path| {
            let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
            std::iter::from_fn(|| reader.next().unwrap()).skip(1).collect::<Vec<_>>()
        };
        assert_eq!(sections(&from), sections(&to));
    }

    #[test]
    fn what_cannot_be_taken_over_is_refused_with_the_reason() {
        let whole = sample(MODULE, Epoch(1), b"state").unwrap();
        let other = Expected { module: Some(Digest::from_sha256([2; 32])), ..EXPECTED };
        let small = Expected { memory_bytes: 64 << 10, ..EXPECTED };
        let mut program = Writer::new(Vec::new()).unwrap();
        let mut reader = Reader::new(&whole[..]).unwrap();
        while let Some((kind, payload)) = reader.next_raw().unwrap() {
            if kind != 6 {
                program.raw_section(kind, &payload).unwrap();
            }
        }
        let program = std::mem::take(program.sink());

        for (bytes, expected, words) in [
            (&whole, other, "`sample.wasm`"),
            (&whole, small, "`resources.memory`"),
            (&program, EXPECTED, "this is a program's snapshot"),
        ] {
            let error = checked(bytes, expected).unwrap_err();
            assert!(types::chain(&error).contains(words), "{words}: {error:?}");
        }
        checked(&whole, Expected { module: None, ..EXPECTED }).unwrap();
    }

    #[test]
    fn no_damage_and_no_cut_is_taken_for_a_snapshot() {
        let whole = sample(MODULE, Epoch(1), b"state").unwrap();

        for at in (0..10).chain((16..whole.len()).step_by(7)) {
            let mut bent = whole.clone();
            bent[at] ^= 0x10;
            assert!(checked(&bent, EXPECTED).is_err(), "byte {at}");
        }
        for size in (0..whole.len()).step_by(7) {
            assert!(checked(&whole[..size], EXPECTED).is_err(), "cut to {size}");
        }
        let mut more = whole.clone();
        more.extend(&whole[16..90]);
        assert!(checked(&more, EXPECTED).is_err(), "a second round that does not end");
    }
}
