//! What a node finds when it starts: names whose bytes are on disk.

use super::{
    files::Files,
    journal::{Bound, Journal, Note},
    lost::LostNames,
    remotes::Remote,
    settle::Expected,
    slabs::slab_bytes,
    state::State,
};
use crate::{
    Attributes, Error, Limits, Lost, Put, Result, check_bucket, check_key, disk,
    put::{Record, now},
    remote,
    shared::{
        index::Index,
        record::{AWAY, CHECKED, Header, MOVED, Place},
    },
    wire::Piece,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    path::Path,
};

/// More than any machine has, so that sizes can be added.
const MEMORY_MAX_BYTES: u64 = 1 << 50;

/// An object as the journal tells it, and what of it lies outside.
#[derive(Debug)]
struct Stored {
    bound: Bound,
    remotes: Vec<Remote>,
}

/// Names outside that were written, and are not known to be removed, with their versions.
type Written = BTreeMap<(String, String), Option<String>>;

/// A bucket as the journal tells it.
#[derive(Debug)]
struct Told {
    created: u64,
    attributes: Attributes,
    objects: BTreeMap<String, Stored>,
    /// Names that had bytes in memory alone.
    held: BTreeSet<String>,
}

type Buckets = BTreeMap<String, Told>;

/// Puts together what the notes say, in their order.
fn fold(notes: Vec<Note>) -> (Buckets, LostNames, Written) {
    let (mut buckets, mut lost) = (Buckets::new(), LostNames::default());
    let mut written = Written::new();
    for note in notes {
        match note {
            Note::Bucket { name, created, attributes }
                if check_bucket(remote::bucket_of(&name)).is_ok() =>
            {
                let told = buckets.entry(name).or_insert_with(|| Told {
                    created,
                    attributes: Attributes::new(),
                    objects: BTreeMap::new(),
                    held: BTreeSet::new(),
                });
                told.attributes = attributes;
            }
            Note::Bucket { .. } => {}
            Note::BucketGone { name } => _ = buckets.remove(&name),
            Note::Bound(bound) => bind(&mut buckets, &mut lost, *bound, Vec::new()),
            Note::Outside(bound, remotes) => {
                for remote in &remotes {
                    let name = (remote.bucket.clone(), remote.key.clone());
                    written.insert(name, remote.etag.clone());
                }
                bind(&mut buckets, &mut lost, *bound, remotes);
            }
            Note::Stale { bucket, key, etag } => _ = written.insert((bucket, key), etag),
            Note::Removed { bucket, key } => _ = written.remove(&(bucket, key)),
            Note::Unbound { bucket, key } => {
                if let Some(told) = buckets.get_mut(&bucket) {
                    told.objects.remove(&key);
                    told.held.remove(&key);
                }
            }
            Note::Held { bucket, key } => {
                if let Some(told) = buckets.get_mut(&bucket).filter(|_| check_key(&key).is_ok()) {
                    told.objects.remove(&key);
                    lost.found(&bucket, &key);
                    told.held.insert(key);
                }
            }
            Note::Lost(Lost { bucket, key, why }) => lost.add(&bucket, &key, why),
            Note::LostForgotten => lost = LostNames::default(),
        }
    }
    let told = buckets.values().flat_map(|told| told.objects.values());
    for remote in told.flat_map(|stored| &stored.remotes) {
        written.remove(&(remote.bucket.clone(), remote.key.clone()));
    }
    (buckets, lost, written)
}

fn bind(buckets: &mut Buckets, lost: &mut LostNames, bound: Bound, remotes: Vec<Remote>) {
    let told = buckets.get_mut(&bound.bucket);
    if let Some(told) = told.filter(|_| check_key(&bound.key).is_ok()) {
        told.held.remove(&bound.key);
        lost.found(&bound.bucket, &bound.key);
        told.objects.insert(bound.key.clone(), Stored { bound, remotes });
    }
}

/// Whether another site's node has the bytes.
fn is_away(bound: &Bound) -> bool {
    bound.pieces.is_empty() && bound.size > 0 && bound.attributes.has_site()
}

/// Files that were looked at: how long those are that are what they should be.
struct Looked<'a> {
    folder: &'a Path,
    lengths: HashMap<u64, Option<u64>>,
}

impl Looked<'_> {
    fn length(&mut self, number: u64) -> Option<u64> {
        let folder = self.folder;
        *self.lengths.entry(number).or_insert_with(|| {
            let file = File::open(disk::path(folder, number)).ok()?;
            disk::begins(&file, number).then(|| file.metadata().ok())?.map(|found| found.len())
        })
    }

    /// Why an object's bytes are not there, if so.
    fn missing(&mut self, Stored { bound, remotes }: &Stored) -> Option<String> {
        if is_away(bound) {
            return None;
        }
        let pieces = bound.pieces.iter().copied().map(Piece::from_wire);
        let mut size = 0_u64;
        for piece in pieces {
            if let Place::Outside { number } = piece.place {
                let remote = usize::try_from(number).ok().and_then(|number| remotes.get(number));
                let end = piece.start.checked_add(piece.len);
                let within = end.is_some_and(|end| end <= piece.whole);
                if !within || remote.is_none_or(|remote| remote.size != piece.whole) {
                    return Some("it names nothing outside".to_owned());
                }
                size = size.saturating_add(piece.len);
                continue;
            }
            let Place::File { file, offset } = piece.place else {
                return Some("it names no file".to_owned());
            };
            let Some(length) = self.length(file) else {
                return Some(format!("file {file:016x}.geds is missing or damaged"));
            };
            let end = disk::table_at(offset, piece.whole)
                .and_then(|table| table.checked_add(disk::blocks(piece.whole) * 4 + 4));
            let within = piece.start.checked_add(piece.len).is_some_and(|end| end <= piece.whole);
            if !within || end.is_none_or(|end| end > length) {
                return Some(format!("file {file:016x}.geds is too short"));
            }
            size = size.saturating_add(piece.len);
        }
        (size != bound.size).then(|| "its pieces are not as long as it was".to_owned())
    }
}

impl State {
    /// Takes over a tenant's folder.
    pub(super) fn recover(folder: &Path, limits: Limits) -> Result<Self> {
        check_limits(&limits)?;
        let objects = folder.join("objects");
        let files = Files::open(&objects)?;
        let (mut buckets, mut lost, written) = fold(Journal::read(folder)?);
        let mut looked = Looked { folder: &objects, lengths: HashMap::new() };
        for (bucket, told) in &mut buckets {
            told.objects.retain(|key, stored| match looked.missing(stored) {
                None => true,
                Some(why) => {
                    tracing::error!(bucket, key, why, "an object on disk is lost");
                    lost.add(bucket, key, why);
                    false
                }
            });
            for key in std::mem::take(&mut told.held) {
                lost.add(bucket, &key, "it was in memory alone when the node ended".to_owned());
            }
        }
        if lost.count() > 0 {
            tracing::warn!(count = lost.count(), "objects of a former node are lost");
        }
        let bound = || buckets.values().flat_map(|told| told.objects.values());
        // Numbers that were given out for objects in memory are not known any more: time is behind
        // none of them, unless more than a million were given out in each millisecond.
        let last = bound().map(|stored| stored.bound.version).max().unwrap_or(0);
        let first = (last + 1).max(now() << 20);
        let stale = |(name, etag): (&(String, String), &Option<String>)| {
            let ((bucket, key), etag) = (name.clone(), etag.clone());
            Note::Stale { bucket, key, etag }
        };
        let notes = notes(&buckets).chain(lost.all().map(Note::Lost));
        let journal = Journal::rewrite(folder, notes.chain(written.iter().map(stale)))?;
        let index = Index::create(limits.objects, first)?;
        let mut state = Self::new(index, limits, files, journal, folder);
        (state.recovering, state.lost) = (true, lost);
        for (name, told) in &buckets {
            state.take_over(name, told)?;
        }
        state.recovering = false;
        for ((bucket, key), etag) in written {
            state.remotes.set_stale(bucket, key, etag);
        }
        for file in state.files.empty() {
            state.files.remove(file);
        }
        Ok(state)
    }

    fn take_over(&mut self, name: &str, told: &Told) -> Result<()> {
        let number = self.create_bucket(name, told.created, told.attributes.clone())?;
        for Stored { bound, remotes } in told.objects.values() {
            let mut here = |wire| {
                let piece = Piece::from_wire(wire);
                let Place::Outside { number } = piece.place else { return piece };
                let remote = remotes.get(number as usize).cloned();
                let number = remote.map_or(0, |remote| self.remotes.add(remote));
                Piece { place: Place::Outside { number }, ..piece }
            };
            let pieces: Vec<Piece> = bound.pieces.iter().copied().map(&mut here).collect();
            let place = match pieces.as_slice() {
                [] => Place::Nowhere,
                [piece] if piece.start == 0 && piece.len == piece.whole => piece.place,
                _ => self.compose(pieces),
            };
            let mut attributes = bound.attributes.clone();
            let class = attributes.take_class();
            let attributes = attributes.encode()?;
            let checked = if bound.crc32c.is_some() { CHECKED } else { 0 };
            let away = if is_away(bound) { AWAY } else { 0 };
            let flags = MOVED | checked | away;
            let header = Header {
                flags,
                bucket: number,
                version: bound.version,
                size: bound.size,
                modified: bound.modified,
                place,
                crc: bound.crc32c.unwrap_or_default(),
                key_len: 0,
                attributes_len: 0,
                former_len: 0,
            };
            let header = header.classed(class);
            let key = &bound.key;
            let record = Record { header, key, attributes: &attributes, former: "" };
            let put = Put::overwrite();
            self.publish(&record, Expected::Asked { bucket: name, put: &put })?;
        }
        Ok(())
    }
}

fn notes(buckets: &Buckets) -> impl Iterator<Item = Note> {
    buckets.iter().flat_map(|(name, told)| {
        let (created, attributes) = (told.created, told.attributes.clone());
        let bucket = Note::Bucket { name: name.clone(), created, attributes };
        let bound = told.objects.values().map(|Stored { bound, remotes }| {
            let bound = Box::new(bound.clone());
            match remotes.as_slice() {
                [] => Note::Bound(bound),
                _ => Note::Outside(bound, remotes.clone()),
            }
        });
        std::iter::once(bucket).chain(bound)
    })
}

/// Checks limits that somebody wants to set.
pub(super) fn check_limits(limits: &Limits) -> Result<()> {
    if limits.high_water_percent > 100 {
        return Err(Error::Invalid("the high-water mark is at most 100 percent".to_owned()));
    }
    if limits.memory_bytes > MEMORY_MAX_BYTES {
        return Err(Error::Invalid(format!(
            "a store has at most {MEMORY_MAX_BYTES} bytes of memory"
        )));
    }
    if limits.memory_bytes < slab_bytes(limits) {
        let least = slab_bytes(limits);
        return Err(Error::Invalid(format!("a store needs at least {least} bytes of memory")));
    }
    Ok(())
}
