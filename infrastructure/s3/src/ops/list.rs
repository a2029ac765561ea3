//! Lists of objects: both versions of the request, and versions of objects, of which each has one.

use super::{describe, info::Info};
use crate::{fault::Fault, record::Record, sign::encode, store::of_geds};
use data_encoding::BASE64URL_NOPAD;
use geds::{Entry, Listing, Page};
use s3s::{S3Response, S3Result, dto};

/// What all kinds of list share.
struct Asked {
    prefix: String,
    delimiter: Option<String>,
    max: u32,
    encodes: bool,
}

impl Asked {
    fn of(info: &Info) -> S3Result<Self> {
        info.check_bucket()?;
        let text = |name: &str| info.query.get(name).map(str::to_owned);
        Ok(Self {
            prefix: text("prefix").unwrap_or_default(),
            delimiter: text("delimiter").filter(|delimiter| !delimiter.is_empty()),
            max: info.page_size("max-keys")?,
            encodes: info.encodes_urls()?,
        })
    }

    fn page(&self, info: &Info, after: Option<&str>) -> S3Result<Page> {
        if self.max == 0 {
            return Ok(Page::default());
        }
        let listing = Listing {
            prefix: self.prefix.clone(),
            delimiter: self.delimiter.clone(),
            after: after.filter(|after| !after.is_empty()).map(str::to_owned),
            limit: self.max as usize,
        };
        info.geds().list(&info.bucket, &listing).map_err(of_geds)
    }

    /// A name as the client wants it.
    fn name(&self, name: &str) -> String {
        if self.encodes { encode(name, true) } else { name.to_owned() }
    }

    fn told_prefixes(&self, page: &Page) -> Option<Vec<dto::CommonPrefix>> {
        let told = |prefix: &String| dto::CommonPrefix { prefix: Some(self.name(prefix)) };
        (!page.prefixes.is_empty()).then(|| page.prefixes.iter().map(told).collect())
    }

    fn told_objects(&self, page: &Page, owner: Option<&dto::Owner>) -> Option<Vec<dto::Object>> {
        let told = |entry: &Entry| {
            let record = Record::of(&entry.stat);
            let (checksum_algorithm, checksum_type) = told_checksum(&record);
            dto::Object {
                key: Some(self.name(&entry.key)),
                size: i64::try_from(entry.stat.size).ok(),
                last_modified: Some(describe::timestamp(entry.stat.modified)),
                e_tag: Some(describe::etag(&record)),
                storage_class: Some(class(entry, &record)),
                owner: owner.cloned(),
                checksum_algorithm,
                checksum_type,
                restore_status: None,
            }
        };
        (!page.entries.is_empty()).then(|| page.entries.iter().map(told).collect())
    }

    fn told_encoding(&self) -> Option<dto::EncodingType> {
        self.encodes.then(|| dto::EncodingType::from_static("url"))
    }

    fn told_max(&self) -> Option<i32> {
        i32::try_from(self.max).ok()
    }
}

fn class<C: From<String>>(entry: &Entry, record: &Record) -> C {
    describe::storage_class(&entry.stat, record).to_owned().into()
}

fn told_checksum(
    record: &Record,
) -> (Option<dto::ChecksumAlgorithmList>, Option<dto::ChecksumType>) {
    record
        .checksum
        .as_ref()
        .map(|(checksum, kind)| {
            (vec![checksum.algorithm.name().to_owned().into()], kind.name().to_owned().into())
        })
        .unzip()
}

pub(super) fn objects(info: &Info) -> S3Result<S3Response<dto::ListObjectsOutput>> {
    let asked = Asked::of(info)?;
    let marker = info.query.get("marker").unwrap_or_default();
    let page = asked.page(info, Some(marker))?;
    let has_delimiter = asked.delimiter.is_some();
    Ok(S3Response::new(dto::ListObjectsOutput {
        name: Some(info.bucket.clone()),
        prefix: Some(asked.name(&asked.prefix)),
        marker: Some(asked.name(marker)),
        max_keys: asked.told_max(),
        delimiter: asked.delimiter.as_deref().map(|delimiter| asked.name(delimiter)),
        is_truncated: Some(page.next.is_some()),
        contents: asked.told_objects(&page, Some(&describe::owner(info))),
        common_prefixes: asked.told_prefixes(&page),
        next_marker: page.next.as_deref().filter(|_| has_delimiter).map(|next| asked.name(next)),
        encoding_type: asked.told_encoding(),
        request_charged: None,
    }))
}

pub(super) fn objects_v2(info: &Info) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
    let asked = Asked::of(info)?;
    let token = info.query.get("continuation-token");
    let start_after = info.query.get("start-after");
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => Some(of_token(token)?),
        None => start_after.map(str::to_owned),
    };
    let page = asked.page(info, after.as_deref())?;
    let wants_owner = info.query.get("fetch-owner") == Some("true");
    let owner = wants_owner.then(|| describe::owner(info));
    Ok(S3Response::new(dto::ListObjectsV2Output {
        name: Some(info.bucket.clone()),
        prefix: Some(asked.name(&asked.prefix)),
        max_keys: asked.told_max(),
        key_count: i32::try_from(page.entries.len() + page.prefixes.len()).ok(),
        continuation_token: token.map(str::to_owned),
        is_truncated: Some(page.next.is_some()),
        next_continuation_token: page.next.as_deref().map(token_of),
        contents: asked.told_objects(&page, owner.as_ref()),
        common_prefixes: asked.told_prefixes(&page),
        delimiter: asked.delimiter.as_deref().map(|delimiter| asked.name(delimiter)),
        encoding_type: asked.told_encoding(),
        start_after: start_after.map(|after| asked.name(after)),
        request_charged: None,
    }))
}

fn token_of(next: &str) -> String {
    BASE64URL_NOPAD.encode(next.as_bytes())
}

fn of_token(token: &str) -> S3Result<String> {
    let decoded = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
    decoded
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            Fault::InvalidArgument.because("The continuation token provided is incorrect")
        })
}

pub(super) fn versions(info: &Info) -> S3Result<S3Response<dto::ListObjectVersionsOutput>> {
    let asked = Asked::of(info)?;
    let key_marker = info.query.get("key-marker").unwrap_or_default();
    let version_marker = info.query.get("version-id-marker");
    if version_marker.is_some_and(|marker| !marker.is_empty()) && key_marker.is_empty() {
        return Err(Fault::InvalidArgument
            .because("A version-id marker cannot be specified without a key marker."));
    }
    let page = asked.page(info, Some(key_marker))?;
    let owner = describe::owner(info);
    let told = |entry: &Entry| {
        let record = Record::of(&entry.stat);
        let (checksum_algorithm, checksum_type) = told_checksum(&record);
        dto::ObjectVersion {
            key: Some(asked.name(&entry.key)),
            version_id: Some("null".to_owned()),
            is_latest: Some(true),
            size: i64::try_from(entry.stat.size).ok(),
            last_modified: Some(describe::timestamp(entry.stat.modified)),
            e_tag: Some(describe::etag(&record)),
            storage_class: Some(class(entry, &record)),
            owner: Some(owner.clone()),
            checksum_algorithm,
            checksum_type,
            restore_status: None,
        }
    };
    let versions: Vec<_> = page.entries.iter().map(told).collect();
    Ok(S3Response::new(dto::ListObjectVersionsOutput {
        name: Some(info.bucket.clone()),
        prefix: Some(asked.name(&asked.prefix)),
        key_marker: Some(asked.name(key_marker)),
        version_id_marker: Some(version_marker.unwrap_or_default().to_owned()),
        max_keys: asked.told_max(),
        delimiter: asked.delimiter.as_deref().map(|delimiter| asked.name(delimiter)),
        is_truncated: Some(page.next.is_some()),
        versions: (!versions.is_empty()).then_some(versions),
        common_prefixes: asked.told_prefixes(&page),
        next_key_marker: page.next.as_deref().map(|next| asked.name(next)),
        next_version_id_marker: page.next.as_ref().map(|_| "null".to_owned()),
        encoding_type: asked.told_encoding(),
        ..Default::default()
    }))
}
