//! Tags of objects.

use super::{info::Info, read};
use crate::{
    fault::Fault,
    record::Record,
    store::of_geds,
    tags::{self, OBJECT_TAGS_MAX, Tags},
};
use geds::Error;
use s3s::{S3Response, S3Result, dto};

/// How often tags are written anew when somebody else changed the object meanwhile.
const ATTEMPTS: usize = 16;

/// Tags as they come in a request.
pub(super) fn read(tagging: dto::Tagging) -> S3Result<Tags> {
    let tag = |tag: dto::Tag| Some((tag.key?, tag.value.unwrap_or_default()));
    tagging
        .tag_set
        .into_iter()
        .map(tag)
        .collect::<Option<_>>()
        .ok_or_else(|| Fault::MalformedXML.into())
}

/// Tags as they stand in a response.
pub(super) fn told(tags: Tags) -> Vec<dto::Tag> {
    tags.into_iter().map(|(key, value)| dto::Tag { key: Some(key), value: Some(value) }).collect()
}

pub(super) fn get(info: &Info) -> S3Result<S3Response<dto::GetObjectTaggingOutput>> {
    info.check_version()?;
    let object = read::open(info)?;
    let tag_set = told(Record::of(object.stat()).tags);
    Ok(S3Response::new(dto::GetObjectTaggingOutput { tag_set, version_id: None }))
}

pub(super) fn set(
    info: &Info,
    tagging: dto::Tagging,
) -> S3Result<S3Response<dto::PutObjectTaggingOutput>> {
    let tags = tags::checked(read(tagging)?, OBJECT_TAGS_MAX)?;
    change(info, &tags)?;
    Ok(S3Response::new(dto::PutObjectTaggingOutput::default()))
}

pub(super) fn delete(info: &Info) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
    change(info, &Tags::new())?;
    Ok(S3Response::new(dto::DeleteObjectTaggingOutput::default()))
}

/// Writes an object's tags; its bytes and its time stay.
fn change(info: &Info, tags: &Tags) -> S3Result<()> {
    info.check_version()?;
    for _ in 0..ATTEMPTS {
        let object = read::open(info)?;
        let stat = object.stat();
        let record = Record { tags: tags.clone(), ..Record::of(stat) };
        let mut attributes = stat.attributes.clone();
        record.write(&mut attributes);
        let version = Some(stat.version);
        match info.geds().set_attributes(&info.bucket, &info.key, attributes, version) {
            Ok(_) => return Ok(()),
            Err(Error::Changed { .. }) => {}
            Err(error) => return Err(of_geds(error)),
        }
    }
    Err(Fault::OperationAborted.into())
}
