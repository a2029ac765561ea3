//! What requests say of objects in their headers, and what responses say.

use super::info::{Info, time_of};
use crate::{
    digest::{Algorithm, Kind},
    fault::{Fault, fail},
    record::{Headers, Record},
    tags::{self, Tags},
};
use geds::{Class, Stat};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use s3s::{S3Result, dto};

/// Most bytes of user metadata.
const METADATA_MAX_BYTES: usize = 2 << 10;

/// The usual storage class, which is not told in headers.
pub(super) const STANDARD: &str = "STANDARD";

const METADATA_PREFIX: &str = "x-amz-meta-";

const STORAGE_CLASSES: [&str; 6] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
];

/// Those of objects that are seldom read, the usual one first. They can all be read at once.
const COLD: [&str; 3] = ["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR"];

impl Info {
    /// The headers that are kept with an object.
    pub(super) fn kept_headers(&self) -> S3Result<Headers> {
        let text =
            |name: &str| self.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let encoding = text("content-encoding").map(|codings| without_chunks(&codings));
        Ok(Headers {
            content_type: text("content-type"),
            content_encoding: encoding.filter(|codings| !codings.is_empty()),
            content_language: text("content-language"),
            content_disposition: text("content-disposition"),
            cache_control: text("cache-control"),
            expires: text("expires"),
            redirect: self.redirect()?,
            storage_class: self.storage_class()?,
        })
    }

    fn redirect(&self) -> S3Result<Option<String>> {
        let Some(target) = self.header("x-amz-website-redirect-location") else { return Ok(None) };
        if ["/", "http://", "https://"].iter().any(|start| target.starts_with(start)) {
            return Ok(Some(target.to_owned()));
        }
        Err(Fault::InvalidArgument.because(
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        ))
    }

    /// The storage class that is asked for, if one is.
    pub(super) fn storage_class(&self) -> S3Result<Option<String>> {
        match self.header("x-amz-storage-class") {
            None | Some("") => Ok(None),
            Some(class) if STORAGE_CLASSES.contains(&class) => Ok(Some(class.to_owned())),
            Some(_) => fail(Fault::InvalidStorageClass),
        }
    }

    /// User metadata; several headers of one name are one, as in HTTP.
    pub(super) fn metadata(&self) -> S3Result<Vec<(String, String)>> {
        let mut metadata: Vec<(String, String)> = Vec::new();
        for name in self.headers.keys() {
            let Some(short) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
            let values: Vec<_> = self
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
                .collect();
            metadata.push((short.to_owned(), values.join(",")));
        }
        let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > METADATA_MAX_BYTES {
            return fail(Fault::MetadataTooLarge);
        }
        metadata.sort();
        Ok(metadata)
    }

    /// The tags of a header.
    pub(super) fn tags(&self) -> S3Result<Tags> {
        self.header("x-amz-tagging").map_or(Ok(Tags::new()), tags::of_header)
    }

    /// Refuses what would change how an object is kept, and what this store cannot do.
    pub(super) fn check_keeping(&self) -> S3Result<()> {
        self.check_acl()?;
        let named =
            |prefix: &str| self.headers.keys().any(|name| name.as_str().starts_with(prefix));
        if named("x-amz-object-lock-") {
            return Err(
                Fault::InvalidRequest.because("Bucket is missing Object Lock Configuration")
            );
        }
        if named("x-amz-server-side-encryption") {
            return Err(Fault::NotImplemented.because(
                "Server-side encryption is not implemented: leave the header out, or encrypt \
                 before you upload",
            ));
        }
        if named("x-amz-write-offset-bytes") {
            return Err(Fault::NotImplemented.because("Appending to objects is not implemented"));
        }
        Ok(())
    }
}

/// `aws-chunked` says how a body was sent, not what it is.
fn without_chunks(codings: &str) -> String {
    let kept = codings.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked");
    kept.collect::<Vec<_>>().join(",")
}

/// Sets a header whose value may be any text; what no header can carry is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// The same for a name that is no constant of HTTP.
pub(super) fn set_named(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Ok(name) = HeaderName::try_from(name) {
        set(headers, name, value);
    }
}

/// The headers that describe an object to whoever reads it.
pub(super) fn headers(stat: &Stat, record: &Record) -> HeaderMap {
    let mut told = HeaderMap::with_capacity(16);
    identity(&mut told, stat, record);
    told.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let kept = &record.headers;
    let content_type = kept.content_type.as_deref().unwrap_or("binary/octet-stream");
    set(&mut told, header::CONTENT_TYPE, content_type);
    for (name, value) in [
        (header::CONTENT_ENCODING, &kept.content_encoding),
        (header::CONTENT_LANGUAGE, &kept.content_language),
        (header::CONTENT_DISPOSITION, &kept.content_disposition),
        (header::CACHE_CONTROL, &kept.cache_control),
        (header::EXPIRES, &kept.expires),
    ] {
        if let Some(value) = value {
            set(&mut told, name, value);
        }
    }
    if let Some(target) = &kept.redirect {
        set_named(&mut told, "x-amz-website-redirect-location", target);
    }
    match storage_class(stat, record) {
        STANDARD => {}
        class => set_named(&mut told, "x-amz-storage-class", class),
    }
    if !record.tags.is_empty() {
        set_named(&mut told, "x-amz-tagging-count", &record.tags.len().to_string());
    }
    for (name, value) in &record.metadata {
        set_named(&mut told, &format!("{METADATA_PREFIX}{name}"), value);
    }
    told
}

/// The class of the store that stands for a storage class; none for that of the bucket.
pub(super) fn class_of(headers: &Headers) -> Option<Class> {
    match headers.storage_class.as_deref() {
        Some(class) if COLD.contains(&class) => Some(Class::Cold),
        Some(STANDARD) => Some(Class::Hot),
        _ => None,
    }
}

/// The storage class of an object: that which it was asked for with, unless the store was told otherwise since.
pub(super) fn storage_class<'a>(stat: &Stat, record: &'a Record) -> &'a str {
    let asked = record.headers.storage_class.as_deref().unwrap_or(STANDARD);
    match stat.class {
        Some(Class::Cold) if !COLD.contains(&asked) => COLD[0],
        Some(Class::Hot) if COLD.contains(&asked) => STANDARD,
        _ => asked,
    }
}

/// The headers by which caches know an object.
pub(super) fn identity(told: &mut HeaderMap, stat: &Stat, record: &Record) {
    set(told, header::ETAG, &format!("\"{}\"", record.etag));
    set(told, header::LAST_MODIFIED, &httpdate::fmt_http_date(time_of(stat.modified)));
}

/// The headers that tell a checksum.
pub(super) fn checksum_headers(told: &mut HeaderMap, algorithm: Algorithm, text: &str, kind: Kind) {
    set_named(told, algorithm.header(), text);
    set_named(told, "x-amz-checksum-type", kind.name());
}

/// Writes a checksum, as its algorithm and its text, into the one of a value's fields that is its
/// algorithm's.
macro_rules! tell_checksum {
    ($into:expr, $checksum:expr) => {
        if let Some((algorithm, text)) = $checksum {
            let text = Some(text);
            match algorithm {
                $crate::digest::Algorithm::Crc32 => $into.checksum_crc32 = text,
                $crate::digest::Algorithm::Crc32c => $into.checksum_crc32c = text,
                $crate::digest::Algorithm::Crc64Nvme => $into.checksum_crc64nvme = text,
                $crate::digest::Algorithm::Sha1 => $into.checksum_sha1 = text,
                $crate::digest::Algorithm::Sha256 => $into.checksum_sha256 = text,
            }
        }
    };
}
pub(super) use tell_checksum;

/// An ETag as s3s writes it.
pub(super) fn etag(record: &Record) -> dto::ETag {
    dto::ETag::Strong(record.etag.to_string())
}

/// A time as s3s writes it.
pub(super) fn timestamp(milliseconds: u64) -> dto::Timestamp {
    time_of(milliseconds).into()
}

/// Whether the client asks for checksums.
pub(super) fn wants_checksums(info: &Info) -> bool {
    info.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"))
}

/// The algorithm that a header names.
pub(super) fn named_algorithm(info: &Info, header: &str) -> S3Result<Option<Algorithm>> {
    let Some(name) = info.header(header).filter(|name| !name.is_empty()) else { return Ok(None) };
    Algorithm::of_name(name).map(Some).ok_or_else(|| {
        Fault::InvalidRequest.because(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid \
             types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })
}

/// The owner of everything that a tenant sees.
pub(super) fn owner(info: &Info) -> dto::Owner {
    dto::Owner {
        id: Some(owner_id(&info.tenant.name)),
        display_name: Some(info.tenant.name.clone()),
    }
}

/// What S3 calls the canonical user: 64 hexadecimal digits.
pub(crate) fn owner_id(tenant: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, tenant.as_bytes());
    data_encoding::HEXLOWER.encode(digest.as_ref())
}
