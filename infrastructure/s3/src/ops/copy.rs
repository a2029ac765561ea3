//! Copies within the store: bytes are shared, what is kept with them is written anew.

use super::{
    describe::{self, tell_checksum},
    info::Info,
    write::conditional_put,
};
use crate::{
    conditions::Outcome,
    digest::{Algorithm, Checksum, Kind, Running},
    fault::{Fault, fail},
    record::Record,
    sign::unescape,
    store::{HIDDEN_BUCKET, of_geds},
};
use geds::{Class, Error, Object, Put, Stat};
use s3s::{S3Response, S3Result, dto};

/// How many bytes are read at a time to compute a checksum.
const READ_BYTES: usize = 1 << 20;

/// How often a copy is made anew when its source changed meanwhile.
pub(super) const ATTEMPTS: usize = 16;

/// What is copied.
pub(super) struct Source {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) object: Object,
    pub(super) record: Record,
}

impl Source {
    /// Finds what `x-amz-copy-source` names, if the conditions on it hold.
    pub(super) fn find(info: &Info) -> S3Result<Self> {
        let (bucket, key) = named_source(info)?;
        if bucket == HIDDEN_BUCKET {
            return fail(Fault::NoSuchBucket);
        }
        let object = info.geds().object(&bucket, &key).map_err(of_geds)?;
        let record = Record::of(object.stat());
        let conditions = info.conditions("x-amz-copy-source-");
        let modified = object.stat().modified / 1000;
        match conditions.decide(&record.etag.to_string(), modified) {
            Outcome::Proceed => Ok(Self { bucket, key, object, record }),
            Outcome::NotModified | Outcome::Failed => fail(Fault::PreconditionFailed),
        }
    }
}

impl Source {
    fn is_at(&self, bucket: &str, key: &str) -> bool {
        self.bucket == bucket && self.key == key
    }

    /// Whether it was this state that was copied, and not one that came meanwhile. (Who removes it
    /// afterwards does no harm.)
    pub(super) fn is_unchanged(&self, info: &Info) -> S3Result<bool> {
        match info.geds().stat(&self.bucket, &self.key) {
            Ok(stat) => Ok(stat.version == self.object.stat().version),
            Err(Error::NoObject { .. }) => Ok(true),
            Err(error) => Err(of_geds(error)),
        }
    }
}

/// `[/]<bucket>/<key>[?versionId=null]`, escaped as in URLs.
fn named_source(info: &Info) -> S3Result<(String, String)> {
    let invalid = || {
        Fault::InvalidArgument
            .because("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    };
    let text = info.header("x-amz-copy-source").ok_or_else(invalid)?;
    let (path, version) = match text.rsplit_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    if version.is_some_and(|version| !matches!(version, "null" | "")) {
        return Err(Fault::InvalidArgument.because("Invalid version id specified"));
    }
    let path = unescape(path, false).and_then(|path| String::from_utf8(path).ok());
    let path = path.ok_or_else(invalid)?;
    let (bucket, key) =
        path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(invalid)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(invalid());
    }
    geds::check_bucket(bucket).map_err(|_| Fault::InvalidBucketName)?;
    geds::check_key(key).map_err(|_| Fault::KeyTooLongError)?;
    Ok((bucket.to_owned(), key.to_owned()))
}

/// Whether a directive says that something is given anew.
fn is_replaced(info: &Info, header: &str, what: &str) -> S3Result<bool> {
    match info.header(header) {
        None | Some("" | "COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(Fault::InvalidArgument.because(format!("Unknown {what} directive."))),
    }
}

pub(super) fn object(info: &Info) -> S3Result<S3Response<dto::CopyObjectOutput>> {
    info.check_bucket()?;
    info.check_keeping()?;
    let mut put = conditional_put(info)?;
    for _ in 0..ATTEMPTS {
        let source = Source::find(info)?;
        let record = described(info, &source)?;
        put.attributes = Some(record.attributes());
        // A class that is not asked for is the usual one, whatever the source's is.
        let usual = || source.object.stat().class.map(|_| Class::Hot);
        put.class = describe::class_of(&record.headers).or_else(usual);
        let is_self = source.is_at(&info.bucket, &info.key);
        if is_self {
            // Then it is not the bytes of somebody who was faster that get these attributes.
            put.if_version = Some(source.object.stat().version);
        }
        let (from, to) = ((&*source.bucket, &*source.key), (&*info.bucket, &*info.key));
        match info.geds().copy(from, to, put.clone()) {
            Ok(stat) if is_self || source.is_unchanged(info)? => return Ok(copied(&stat, &record)),
            // What was just written is written again, if it is still there.
            Ok(stat) => put = Put::if_version(stat.version),
            Err(Error::Changed { .. }) if is_self => {}
            Err(error) => return Err(of_geds(error)),
        }
    }
    fail(Fault::OperationAborted)
}

fn copied(stat: &Stat, record: &Record) -> S3Response<dto::CopyObjectOutput> {
    let mut result = dto::CopyObjectResult {
        e_tag: Some(describe::etag(record)),
        last_modified: Some(describe::timestamp(stat.modified)),
        ..Default::default()
    };
    if let Some((algorithm, text, kind)) = record.told_checksum() {
        tell_checksum!(result, Some((algorithm, text)));
        result.checksum_type = Some(kind.name().to_owned().into());
    }
    S3Response::new(dto::CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    })
}

/// What is kept with the copy.
fn described(info: &Info, source: &Source) -> S3Result<Record> {
    let replaces = is_replaced(info, "x-amz-metadata-directive", "metadata")?;
    let replaces_tags = is_replaced(info, "x-amz-tagging-directive", "tagging")?;
    let class = info.storage_class()?;
    let redirect = info.header("x-amz-website-redirect-location");
    let algorithm = describe::named_algorithm(info, "x-amz-checksum-algorithm")?;

    let changes = replaces
        || replaces_tags
        || redirect.is_some()
        || algorithm.is_some()
        || info.headers.contains_key("x-amz-storage-class");
    if source.is_at(&info.bucket, &info.key) && !changes {
        return Err(Fault::InvalidRequest.because(
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or \
             encryption attributes.",
        ));
    }
    let mut record = source.record.clone();
    let new = info.kept_headers()?;
    if replaces {
        record.headers = new;
        record.metadata = info.metadata()?;
    } else {
        // These two are never copied.
        record.headers.redirect = new.redirect;
        record.headers.storage_class = class;
    }
    if replaces_tags {
        record.tags = info.tags()?;
    }
    if let Some(algorithm) = algorithm {
        record.checksum = Some((checksum(source, algorithm)?, Kind::FullObject));
    }
    // A copy is an object that came at once.
    record.parts = None;
    Ok(record)
}

/// The checksum of a source's bytes: known, or computed.
fn checksum(source: &Source, algorithm: Algorithm) -> S3Result<Checksum> {
    match &source.record.checksum {
        Some((checksum, Kind::FullObject)) if checksum.algorithm == algorithm => {
            return Ok(checksum.clone());
        }
        _ => {}
    }
    let mut running = Running::new(algorithm);
    each_piece(&source.object, 0..source.object.len(), |piece| running.update(piece))?;
    Ok(running.finish())
}

/// Reads bytes of an object, a piece at a time.
pub(super) fn each_piece(
    object: &Object,
    range: std::ops::Range<u64>,
    mut act: impl FnMut(&[u8]),
) -> S3Result<()> {
    if let Some(view) = object.view_range(range.clone()).map_err(of_geds)? {
        act(&view);
        return Ok(());
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut at = range.start;
    while at < range.end {
        let size = buffer.len().min(usize::try_from(range.end - at).unwrap_or(usize::MAX));
        let read = object.read_at(at, &mut buffer[..size]).map_err(of_geds)?;
        if read == 0 {
            return fail(Fault::InternalError);
        }
        act(&buffer[..read]);
        at += read as u64;
    }
    Ok(())
}
