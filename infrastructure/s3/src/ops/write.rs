//! Writing and removing objects.

use super::{aside, describe, info::Info};
use crate::{
    conditions::{Conditions, Outcome},
    digest::{self, Digests, Kind},
    fault::{Fault, fail},
    payload::{Expected, Ingest, Sink},
    record::{ETag, Record},
    store::of_geds,
};
use geds::{Error, Put};
use s3s::{S3Error, S3Response, S3Result, dto};
use std::sync::Arc;

/// Most objects that one request removes.
const DELETE_MAX: usize = 1000;

pub(crate) async fn put(info: &Arc<Info>) -> S3Result<S3Response<dto::PutObjectOutput>> {
    info.check_bucket()?;
    info.check_keeping()?;
    let put = match has_conditions(info) {
        true => aside(info, conditional_put).await?,
        false => Put::overwrite(),
    };
    let (headers, metadata, tags) = (info.kept_headers()?, info.metadata()?, info.tags()?);
    let put = Put { class: describe::class_of(&headers), ..put };
    let expected = Expected::of(&info.headers)?;
    let algorithm = Some(expected.algorithm().unwrap_or(digest::DEFAULT));
    let record = |digests: &Digests| Record {
        etag: ETag { md5: digests.md5, parts: None },
        headers,
        metadata,
        tags,
        checksum: digests.checksum.clone().map(|checksum| (checksum, Kind::FullObject)),
        parts: None,
    };
    let sink = Sink { tenant: &info.tenant, bucket: &info.bucket, key: &info.key, put };
    let ingest = Ingest { expected, algorithm, is_part: false };
    let (_, digests) =
        ingest.run(info.take_body()?, sink, |digests| record(digests).attributes()).await?;

    let etag = ETag { md5: digests.md5, parts: None };
    let mut response = S3Response::new(dto::PutObjectOutput {
        e_tag: Some(dto::ETag::Strong(etag.to_string())),
        ..Default::default()
    });
    if let Some(checksum) = &digests.checksum {
        let (algorithm, text) = checksum.told();
        describe::checksum_headers(&mut response.headers, algorithm, &text, Kind::FullObject);
    }
    Ok(response)
}

fn has_conditions(info: &Info) -> bool {
    info.header("if-match").is_some() || info.header("if-none-match").is_some()
}

/// How an object is written so that the request's conditions hold when it appears.
pub(super) fn conditional_put(info: &Info) -> S3Result<Put> {
    let conditions = info.conditions("");
    let conditions =
        Conditions { if_modified_since: None, if_unmodified_since: None, ..conditions };
    if conditions == Conditions::default() {
        return Ok(Put::overwrite());
    }
    let stat = match info.geds().stat(&info.bucket, &info.key) {
        Ok(stat) => stat,
        Err(Error::NoObject { .. }) if conditions.if_match.is_some() => {
            return fail(Fault::NoSuchKey);
        }
        Err(Error::NoObject { .. }) => return Ok(Put::default()),
        Err(error) => return Err(of_geds(error)),
    };
    let etag = Record::of(&stat).etag.to_string();
    match conditions.decide(&etag, 0) {
        Outcome::Proceed => Ok(Put::if_version(stat.version)),
        Outcome::NotModified | Outcome::Failed => fail(Fault::PreconditionFailed),
    }
}

pub(super) async fn delete(info: &Arc<Info>) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
    match has_conditions(info) {
        true => aside(info, delete_now).await,
        false => delete_now(info),
    }
}

fn delete_now(info: &Info) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
    info.check_bucket()?;
    info.check_version()?;
    let condition = info.conditions("").if_match;
    let version = match condition {
        None => None,
        Some(tags) => match info.geds().stat(&info.bucket, &info.key) {
            Ok(stat) if tags.contains(&Record::of(&stat).etag.to_string()) => Some(stat.version),
            Ok(_) => return fail(Fault::PreconditionFailed),
            Err(error) => return Err(of_geds(error)),
        },
    };
    info.geds().delete(&info.bucket, &info.key, version).map_err(of_geds)?;
    Ok(S3Response::new(dto::DeleteObjectOutput::default()))
}

pub(super) fn delete_many(
    info: &Info,
    delete: dto::Delete,
) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
    info.check_bucket()?;
    if delete.objects.is_empty() || delete.objects.len() > DELETE_MAX {
        return fail(Fault::MalformedXML);
    }
    let is_quiet = delete.quiet.unwrap_or(false);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for object in delete.objects {
        match delete_one(info, &object) {
            Ok(()) => deleted.push(dto::DeletedObject {
                key: Some(object.key),
                version_id: object.version_id,
                ..Default::default()
            }),
            Err(error) => errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(object.key),
                version_id: object.version_id,
            }),
        }
    }
    Ok(S3Response::new(dto::DeleteObjectsOutput {
        deleted: (!is_quiet && !deleted.is_empty()).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        request_charged: None,
    }))
}

fn delete_one(info: &Info, object: &dto::ObjectIdentifier) -> S3Result<()> {
    let (geds, bucket) = (info.geds(), &info.bucket);
    if object.version_id.as_deref().is_some_and(|version| !matches!(version, "null" | "")) {
        return fail(Fault::NoSuchVersion);
    }
    let mut version = None;
    if let Some(etag) = &object.e_tag {
        let stat = geds.stat(bucket, &object.key).map_err(of_geds)?;
        if etag.value() != "*" && etag.value() != Record::of(&stat).etag.to_string() {
            return Err(S3Error::from(Fault::PreconditionFailed));
        }
        version = Some(stat.version);
    }
    geds.delete(bucket, &object.key, version).map(|_| ()).map_err(of_geds)
}
