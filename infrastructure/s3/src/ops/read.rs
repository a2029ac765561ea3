//! Reading objects: GET, HEAD, and what is known of them.

use super::{
    aside,
    describe::{self, tell_checksum},
    info::{Carried, Info},
};
use crate::{
    conditions::Outcome,
    digest::Kind,
    fault::{Fault, fail},
    range::{self, Asked},
    record::Record,
    serve::Reply,
    store::of_geds,
};
use geds::Object;
use http::{HeaderMap, HeaderName, StatusCode, header};
use s3s::{S3Error, S3Response, S3Result, dto};
use std::{ops::Range, sync::Arc};

/// The parameters that replace headers of a response.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", header::CONTENT_TYPE),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-expires", header::EXPIRES),
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
];

/// What is to be sent of an object.
struct Selected {
    object: Object,
    range: Range<u64>,
    status: StatusCode,
    headers: HeaderMap,
}

pub(super) async fn get(info: &Arc<Info>) -> S3Result<S3Response<dto::GetObjectOutput>> {
    let Selected { object, range, status, headers } = select_here_or_aside(info).await?;
    let mut response = S3Response::new(dto::GetObjectOutput::default());
    response.headers = headers;
    Carried::attach(&mut response, status, Reply::of_object(object, range).await?);
    Ok(response)
}

pub(super) async fn head(info: &Arc<Info>) -> S3Result<S3Response<dto::HeadObjectOutput>> {
    let Selected { range, status, headers, .. } = select_here_or_aside(info).await?;
    let mut response = S3Response::new(dto::HeadObjectOutput::default());
    response.headers = headers;
    Carried::attach(&mut response, status, Reply::HeadOnly(range.end - range.start));
    Ok(response)
}

/// An object that is in the store is found at once.
async fn select_here_or_aside(info: &Arc<Info>) -> S3Result<Selected> {
    match info.tenant.is_here(&info.bucket, &info.key)? {
        true => select(info),
        false => aside(info, select).await,
    }
}

/// Finds the object and what of it is asked for, if the conditions hold.
fn select(info: &Info) -> S3Result<Selected> {
    info.check_version()?;
    let object = open(info)?;
    let stat = object.stat();
    let record = Record::of(stat);
    check_conditions(info, &object, &record)?;
    let mut headers = describe::headers(stat, &record);
    let selected = match info.part_number()? {
        Some(number) => part(info, &object, &record, number, &mut headers)?,
        None => ranged(info, &object, &record, &mut headers)?,
    };
    // The only part of nothing is all of it.
    let selected = selected.filter(|_| object.len() > 0);
    if let Some(range) = &selected {
        let told = match range.end.checked_sub(1) {
            Some(last) if !range.is_empty() => {
                format!("bytes {}-{last}/{}", range.start, object.len())
            }
            _ => format!("bytes */{}", object.len()),
        };
        describe::set(&mut headers, header::CONTENT_RANGE, &told);
    }
    for (parameter, name) in OVERRIDES {
        if let Some(value) = info.query.get(parameter) {
            describe::set(&mut headers, name, value);
        }
    }
    let status = if selected.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let range = selected.unwrap_or(0..object.len());
    Ok(Selected { range, status, headers, object })
}

pub(super) fn open(info: &Info) -> S3Result<Object> {
    if geds::is_internal(&info.bucket) {
        return fail(Fault::NoSuchBucket);
    }
    info.geds().object(&info.bucket, &info.key).map_err(of_geds)
}

fn check_conditions(info: &Info, object: &Object, record: &Record) -> S3Result<()> {
    let modified = object.stat().modified / 1000;
    let mut error: S3Error = match info.conditions("").decide(&record.etag.to_string(), modified) {
        Outcome::Proceed => return Ok(()),
        Outcome::NotModified => Fault::NotModified.into(),
        Outcome::Failed => return fail(Fault::PreconditionFailed),
    };
    let mut headers = HeaderMap::new();
    describe::identity(&mut headers, object.stat(), record);
    error.set_headers(headers);
    Err(error)
}

/// The bytes that a `Range` header asks for; none if all are meant.
fn ranged(
    info: &Info,
    object: &Object,
    record: &Record,
    headers: &mut HeaderMap,
) -> S3Result<Option<Range<u64>>> {
    match range::of_header(info.header("range"), object.len()) {
        Asked::Part(range) => Ok(Some(range)),
        Asked::Whole => {
            if let (true, Some((algorithm, text, kind))) =
                (describe::wants_checksums(info), record.told_checksum())
            {
                describe::checksum_headers(headers, algorithm, &text, kind);
            }
            Ok(None)
        }
        Asked::Unsatisfiable => {
            let mut error = S3Error::from(Fault::InvalidRange);
            let mut told = HeaderMap::new();
            let text = format!("bytes */{}", object.len());
            describe::set(&mut told, header::CONTENT_RANGE, &text);
            error.set_headers(told);
            Err(error)
        }
    }
}

/// The bytes of one of the parts that the object was uploaded in.
fn part(
    info: &Info,
    object: &Object,
    record: &Record,
    number: u32,
    headers: &mut HeaderMap,
) -> S3Result<Option<Range<u64>>> {
    if info.headers.contains_key(header::RANGE) {
        return Err(Fault::InvalidRequest
            .because("Cannot specify both Range header and partNumber query parameter"));
    }
    let Some(parts) = &record.parts else {
        if number != 1 {
            return fail(Fault::InvalidPartNumber);
        }
        return Ok(Some(0..object.len()));
    };
    let part = parts.iter().find(|part| part.number == number).ok_or(Fault::InvalidPartNumber)?;
    describe::set_named(headers, "x-amz-mp-parts-count", &parts.count().to_string());
    if let (true, Some(checksum)) = (describe::wants_checksums(info), &part.checksum) {
        let kind = record.checksum.as_ref().map_or(Kind::Composite, |(_, kind)| *kind);
        describe::checksum_headers(headers, checksum.algorithm, &checksum.text(), kind);
    }
    let start = part.offset.min(object.len());
    Ok(Some(start..part.offset.saturating_add(part.size).min(object.len())))
}

/// What a client asks to know of an object.
const ATTRIBUTES: [&str; 5] = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];

pub(super) fn attributes(info: &Info) -> S3Result<S3Response<dto::GetObjectAttributesOutput>> {
    info.check_version()?;
    let asked = asked_attributes(info)?;
    let wants = |name: &str| asked.contains(&name);
    let object = open(info)?;
    let record = Record::of(object.stat());
    check_conditions(info, &object, &record)?;

    let mut output = dto::GetObjectAttributesOutput {
        last_modified: Some(describe::timestamp(object.stat().modified)),
        ..Default::default()
    };
    if wants("ETag") {
        output.e_tag = Some(describe::etag(&record));
    }
    if wants("ObjectSize") {
        output.object_size = i64::try_from(object.len()).ok();
    }
    if wants("StorageClass") {
        let class = describe::storage_class(object.stat(), &record).to_owned();
        output.storage_class = Some(class.into());
    }
    if let (true, Some((checksum, kind))) = (wants("Checksum"), &record.checksum) {
        let mut told = dto::Checksum {
            checksum_type: Some(dto::ChecksumType::from(kind.name().to_owned())),
            ..Default::default()
        };
        tell_checksum!(told, Some(checksum.told()));
        output.checksum = Some(told);
    }
    if wants("ObjectParts") {
        output.object_parts = parts(info, &record)?;
    }
    Ok(S3Response::new(output))
}

fn asked_attributes(info: &Info) -> S3Result<Vec<&str>> {
    let values = info.headers.get_all("x-amz-object-attributes").iter();
    let names: Vec<&str> = values
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() || names.iter().any(|name| !ATTRIBUTES.contains(name)) {
        return Err(Fault::InvalidArgument.because("Invalid attribute name specified."));
    }
    Ok(names)
}

fn parts(info: &Info, record: &Record) -> S3Result<Option<dto::GetObjectAttributesParts>> {
    let Some(parts) = &record.parts else { return Ok(None) };
    let number = |name: &str, default: u32| -> S3Result<u32> {
        let Some(text) = info.header(name) else { return Ok(default) };
        text.parse().map_err(|_| {
            Fault::InvalidArgument
                .because(format!("Provided {name} not an integer or within integer range"))
        })
    };
    let marker = number("x-amz-part-number-marker", 0)?;
    let max = number("x-amz-max-parts", 1000)?.min(1000);
    let told = |number: u32| i32::try_from(number).ok();
    let mut behind = parts.iter().filter(|part| part.number > marker);
    let page: Vec<_> = behind.by_ref().take(max as usize).collect();
    let is_truncated = behind.next().is_some();
    let next = page.last().map_or(marker, |part| part.number);
    let page = page.into_iter().map(|part| {
        let mut output = dto::ObjectPart {
            part_number: told(part.number),
            size: i64::try_from(part.size).ok(),
            ..Default::default()
        };
        tell_checksum!(output, part.checksum.map(|checksum| checksum.told()));
        output
    });
    Ok(Some(dto::GetObjectAttributesParts {
        is_truncated: Some(is_truncated),
        max_parts: told(max),
        next_part_number_marker: told(next),
        part_number_marker: told(marker),
        parts: Some(page.collect()),
        total_parts_count: told(parts.count()),
    }))
}
