//! Lists of uploads, and of the parts of one.

use super::{PartRecord, Upload, decode, part_key, parts_prefix, uploads_prefix};
use crate::{
    fault::Fault,
    ops::{
        describe::{self, tell_checksum},
        info::Info,
    },
    record::ETag,
    sign::encode,
    store::{HIDDEN_BUCKET, of_geds},
};
use geds::{Entry, Error, Geds, Listing};
use s3s::{S3Response, S3Result, dto};

pub(in crate::ops) fn parts(info: &Info) -> S3Result<S3Response<dto::ListPartsOutput>> {
    info.check_bucket()?;
    let max = info.page_size("max-parts")?;
    let marker = marker(info)?;
    let (id, upload, _) = Upload::find(info)?;
    let listing = Listing::prefix(parts_prefix(&id)).after(part_key(&id, marker));
    let page = match max {
        0 => geds::Page::default(),
        max => {
            let listing = listing.limit(max as usize);
            info.geds().list(HIDDEN_BUCKET, &listing).map_err(of_geds)?
        }
    };
    let parts: Vec<_> = page.entries.iter().filter_map(told_part).collect();
    let last = parts.last().and_then(|part| part.part_number);
    let owner = describe::owner(info);
    Ok(S3Response::new(dto::ListPartsOutput {
        bucket: Some(info.bucket.clone()),
        key: Some(info.key.clone()),
        upload_id: Some(id),
        part_number_marker: i32::try_from(marker).ok(),
        next_part_number_marker: last.or(i32::try_from(marker).ok()),
        max_parts: i32::try_from(max).ok(),
        is_truncated: Some(page.next.is_some()),
        checksum_algorithm: upload.told_algorithm(),
        checksum_type: upload.told_kind(),
        initiator: Some(dto::Initiator {
            id: owner.id.clone(),
            display_name: owner.display_name.clone(),
        }),
        owner: Some(owner),
        storage_class: Some(class(&upload).into()),
        parts: (!parts.is_empty()).then_some(parts),
        ..Default::default()
    }))
}

fn marker(info: &Info) -> S3Result<u32> {
    let Some(text) = info.query.get("part-number-marker").filter(|text| !text.is_empty()) else {
        return Ok(0);
    };
    text.parse().map(|marker: u32| marker.min(99_999)).map_err(|_| {
        Fault::InvalidArgument
            .because("Provided part-number-marker not an integer or within integer range")
    })
}

fn class(upload: &Upload) -> String {
    upload.headers.storage_class.clone().unwrap_or_else(|| describe::STANDARD.to_owned())
}

fn told_part(entry: &Entry) -> Option<dto::Part> {
    let number = entry.key.rsplit('/').next()?.parse().ok()?;
    let record: PartRecord = decode(&entry.stat)?;
    let etag = ETag { md5: record.md5, parts: None };
    let mut part = dto::Part {
        part_number: Some(number),
        size: i64::try_from(entry.stat.size).ok(),
        last_modified: Some(describe::timestamp(entry.stat.modified)),
        e_tag: Some(dto::ETag::Strong(etag.to_string())),
        ..Default::default()
    };
    tell_checksum!(part, record.checksum.map(|checksum| checksum.told()));
    Some(part)
}

/// An upload in a list.
struct Listed {
    id: String,
    initiated: u64,
    upload: Upload,
}

/// What a list of uploads is asked for with.
struct Asked {
    prefix: String,
    delimiter: Option<String>,
    key_marker: String,
    id_marker: String,
    max: usize,
}

/// A page of uploads.
#[derive(Default)]
struct Page {
    uploads: Vec<Listed>,
    prefixes: Vec<String>,
    next: Option<(String, String)>,
}

pub(in crate::ops) fn uploads(
    info: &Info,
) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
    info.check_bucket()?;
    let max = info.page_size("max-uploads")?;
    let text = |name: &str| info.query.get(name).unwrap_or_default().to_owned();
    let asked = Asked {
        prefix: text("prefix"),
        delimiter: Some(text("delimiter")).filter(|delimiter| !delimiter.is_empty()),
        key_marker: text("key-marker"),
        id_marker: text("upload-id-marker"),
        max: max as usize,
    };
    let encodes = info.encodes_urls()?;
    let page = page(all(info.geds(), &info.bucket).map_err(of_geds)?, &asked);

    let name = |name: String| if encodes { encode(&name, true) } else { name };
    let owner = describe::owner(info);
    let told = |listed: Listed| dto::MultipartUpload {
        checksum_algorithm: listed.upload.told_algorithm(),
        checksum_type: listed.upload.told_kind(),
        initiated: Some(describe::timestamp(listed.initiated)),
        initiator: Some(dto::Initiator {
            id: owner.id.clone(),
            display_name: owner.display_name.clone(),
        }),
        owner: Some(owner.clone()),
        storage_class: Some(class(&listed.upload).into()),
        key: Some(name(listed.upload.key)),
        upload_id: Some(listed.id),
    };
    let prefixes: Vec<_> = page
        .prefixes
        .into_iter()
        .map(|prefix| dto::CommonPrefix { prefix: Some(name(prefix)) })
        .collect();
    let is_truncated = page.next.is_some();
    let (next_key, next_id) = page.next.unzip();
    let uploads: Vec<_> = page.uploads.into_iter().map(told).collect();
    Ok(S3Response::new(dto::ListMultipartUploadsOutput {
        bucket: Some(info.bucket.clone()),
        prefix: Some(name(asked.prefix)),
        delimiter: asked.delimiter.map(name),
        encoding_type: encodes.then(|| dto::EncodingType::from_static("url")),
        key_marker: Some(name(asked.key_marker)),
        upload_id_marker: Some(asked.id_marker),
        next_key_marker: next_key.map(name),
        next_upload_id_marker: next_id,
        max_uploads: i32::try_from(max).ok(),
        is_truncated: Some(is_truncated),
        uploads: (!uploads.is_empty()).then_some(uploads),
        common_prefixes: (!prefixes.is_empty()).then_some(prefixes),
        ..Default::default()
    }))
}

/// All uploads to a bucket, by key and then by when they began.
fn all(geds: &Geds, bucket: &str) -> Result<Vec<Listed>, Error> {
    let prefix = uploads_prefix(bucket);
    let (mut listing, mut found) = (Listing::prefix(&prefix), Vec::new());
    loop {
        let page = match geds.list(HIDDEN_BUCKET, &listing) {
            Ok(page) => page,
            Err(Error::NoBucket { .. }) => break,
            Err(error) => return Err(error),
        };
        found.extend(page.entries.into_iter().filter_map(|entry| {
            Some(Listed {
                id: entry.key.strip_prefix(&prefix)?.to_owned(),
                initiated: entry.stat.modified,
                upload: decode(&entry.stat)?,
            })
        }));
        match page.next {
            Some(next) => listing.after = Some(next),
            None => break,
        }
    }
    // Ids come in the order in which uploads began.
    found.sort_by(|a, b| (&a.upload.key, &a.id).cmp(&(&b.upload.key, &b.id)));
    Ok(found)
}

/// Cuts a page out of all uploads.
fn page(all: Vec<Listed>, asked: &Asked) -> Page {
    let mut page = Page::default();
    for listed in all {
        let key = &listed.upload.key;
        if !key.starts_with(&asked.prefix) || *key < asked.key_marker {
            continue;
        }
        // Of the marker's key those that come behind the marker's upload, whether that is still there or not.
        let is_behind = !asked.id_marker.is_empty() && listed.id > asked.id_marker;
        if !asked.key_marker.is_empty() && *key == asked.key_marker && !is_behind {
            continue;
        }
        let group = asked.delimiter.as_ref().and_then(|delimiter| {
            let rest = &key[asked.prefix.len()..];
            let end = rest.find(delimiter.as_str())? + delimiter.len();
            Some(key[..asked.prefix.len() + end].to_owned())
        });
        if group
            .as_ref()
            .is_some_and(|group| page.prefixes.last() == Some(group) || *group == asked.key_marker)
        {
            continue;
        }
        if page.uploads.len() + page.prefixes.len() == asked.max {
            page.next = last(&page).filter(|_| asked.max > 0);
            break;
        }
        match group {
            Some(group) => page.prefixes.push(group),
            None => page.uploads.push(listed),
        }
    }
    page
}

/// The marker behind which the next page begins.
fn last(page: &Page) -> Option<(String, String)> {
    let upload = page.uploads.last().map(|listed| (listed.upload.key.clone(), listed.id.clone()));
    let prefix = page.prefixes.last().map(|prefix| (prefix.clone(), String::new()));
    upload.max(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::Kind, record::Headers, tags::Tags};

    fn listed(key: &str, id: &str) -> Listed {
        let upload = Upload {
            key: key.into(),
            headers: Headers::default(),
            metadata: Vec::new(),
            tags: Tags::new(),
            algorithm: None,
            kind: Kind::FullObject,
        };
        Listed { id: id.into(), initiated: 0, upload }
    }

    fn all() -> Vec<Listed> {
        [("a", "1"), ("a", "2"), ("b/x", "3"), ("b/y", "4"), ("c", "5")]
            .map(|(key, id)| listed(key, id))
            .into()
    }

    fn asked(delimiter: Option<&str>, max: usize) -> Asked {
        Asked {
            prefix: String::new(),
            delimiter: delimiter.map(str::to_owned),
            key_marker: String::new(),
            id_marker: String::new(),
            max,
        }
    }

    /// The ids and prefixes of all pages.
    fn walk(delimiter: Option<&str>, max: usize) -> Vec<Vec<String>> {
        let (mut asked, mut pages) = (asked(delimiter, max), Vec::new());
        loop {
            let page = page(all(), &asked);
            let ids = page.uploads.iter().map(|listed| listed.id.clone());
            pages.push(ids.chain(page.prefixes.iter().cloned()).collect());
            match page.next {
                Some((key, id)) => (asked.key_marker, asked.id_marker) = (key, id),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        assert_eq!(walk(None, 10), [["1", "2", "3", "4", "5"]]);
        assert_eq!(walk(None, 2), [vec!["1", "2"], vec!["3", "4"], vec!["5"]]);
        assert_eq!(walk(None, 1).len(), 5);
        assert_eq!(walk(Some("/"), 10), [["1", "2", "5", "b/"]]);
        assert_eq!(walk(Some("/"), 3), [vec!["1", "2", "b/"], vec!["5"]]);
    }

    #[test]
    fn an_upload_that_ended_may_be_the_marker() {
        let marked =
            |id: &str| Asked { key_marker: "a".into(), id_marker: id.into(), ..asked(None, 10) };
        let ids = |asked: &Asked| -> Vec<String> {
            page(all(), asked).uploads.into_iter().map(|listed| listed.id).collect()
        };
        assert_eq!(ids(&marked("1")), ["2", "3", "4", "5"]);
        assert_eq!(ids(&marked("15")), ["2", "3", "4", "5"]);
        assert_eq!(ids(&marked("2")), ["3", "4", "5"]);
    }

    #[test]
    fn a_key_marker_alone_skips_the_key() {
        let page = page(all(), &Asked { key_marker: "a".into(), ..asked(None, 10) });

        let ids: Vec<_> = page.uploads.iter().map(|listed| listed.id.as_str()).collect();
        assert_eq!(ids, ["3", "4", "5"]);
    }
}
