//! What a node finds when it starts: names whose bytes are on disk.

use super::{
    files::Files,
    journal::{Bound, Journal, Note},
    settle::Expected,
    slabs::slab_bytes,
    state::State,
};
use crate::{
    Attributes, Error, Limits, Put, Result, check_bucket, check_key, disk,
    put::{Record, now},
    remote,
    shared::{
        index::Index,
        record::{AWAY, CHECKED, Header, MOVED, Place},
    },
    wire::Piece,
};
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::Path,
};

/// More than any machine has, so that sizes can be added.
const MEMORY_MAX_BYTES: u64 = 1 << 50;

/// A bucket as the journal tells it.
#[derive(Debug)]
struct Told {
    created: u64,
    attributes: Attributes,
    objects: BTreeMap<String, Bound>,
}

type Buckets = BTreeMap<String, Told>;

/// Puts together what the notes say, in their order.
fn fold(notes: Vec<Note>) -> Buckets {
    let mut buckets = Buckets::new();
    for note in notes {
        match note {
            Note::Bucket { name, created, attributes }
                if check_bucket(remote::bucket_of(&name)).is_ok() =>
            {
                let told = buckets.entry(name).or_insert_with(|| Told {
                    created,
                    attributes: Attributes::new(),
                    objects: BTreeMap::new(),
                });
                told.attributes = attributes;
            }
            Note::Bucket { .. } => {}
            Note::BucketGone { name } => _ = buckets.remove(&name),
            Note::Bound(bound) => {
                let told = buckets.get_mut(&bound.bucket);
                if let Some(told) = told.filter(|_| check_key(&bound.key).is_ok()) {
                    told.objects.insert(bound.key.clone(), *bound);
                }
            }
            Note::Unbound { bucket, key } => {
                if let Some(told) = buckets.get_mut(&bucket) {
                    told.objects.remove(&key);
                }
            }
        }
    }
    buckets
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
    fn missing(&mut self, bound: &Bound) -> Option<String> {
        if is_away(bound) {
            return None;
        }
        let pieces = bound.pieces.iter().copied().map(Piece::from_wire);
        let mut size = 0_u64;
        for piece in pieces {
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
        let mut buckets = fold(Journal::read(folder)?);
        let mut looked = Looked { folder: &objects, lengths: HashMap::new() };
        for (bucket, told) in &mut buckets {
            told.objects.retain(|key, bound| match looked.missing(bound) {
                None => true,
                Some(why) => {
                    tracing::error!(bucket, key, why, "an object on disk is lost");
                    false
                }
            });
        }
        let bound = || buckets.values().flat_map(|told| told.objects.values());
        // Numbers that were given out for objects in memory are not known any more: time is behind
        // none of them, unless more than a million were given out in each millisecond.
        let last = bound().map(|bound| bound.version).max().unwrap_or(0);
        let first = (last + 1).max(now() << 20);
        let journal = Journal::rewrite(folder, notes(&buckets))?;
        let index = Index::create(limits.objects, first)?;
        let mut state = Self::new(index, limits, files, journal, folder);
        state.recovering = true;
        for (name, told) in &buckets {
            state.take_over(name, told)?;
        }
        state.recovering = false;
        for file in state.files.empty() {
            state.files.remove(file);
        }
        Ok(state)
    }

    fn take_over(&mut self, name: &str, told: &Told) -> Result<()> {
        let number = self.create_bucket(name, told.created, told.attributes.clone())?;
        for bound in told.objects.values() {
            let pieces: Vec<Piece> = bound.pieces.iter().copied().map(Piece::from_wire).collect();
            let place = match pieces.as_slice() {
                [] => Place::Nowhere,
                [piece] if piece.start == 0 && piece.len == piece.whole => piece.place,
                _ => self.compose(pieces),
            };
            let attributes = bound.attributes.encode()?;
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
        let bound = told.objects.values().map(|bound| Note::Bound(Box::new(bound.clone())));
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
