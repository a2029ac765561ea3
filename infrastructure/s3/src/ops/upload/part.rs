//! Parts: uploaded, or copied from an object.

use super::{PartRecord, Upload, encode, part_key};
use crate::{
    digest::{Algorithm, Digests, Hasher},
    fault::{Fault, fail},
    ops::{
        copy::{ATTEMPTS, Source, each_piece},
        describe::{self, tell_checksum},
        info::Info,
    },
    payload::{Expected, Ingest, Sink},
    range,
    record::ETag,
    store::{HIDDEN_BUCKET, of_geds},
};
use geds::{Error, Part, Put, Stat};
use s3s::{S3Response, S3Result, dto};

fn numbered(info: &Info) -> S3Result<u32> {
    info.part_number()?.ok_or_else(|| {
        Fault::InvalidArgument
            .because("Part number must be an integer between 1 and 10000, inclusive")
    })
}

pub(in crate::ops) async fn put_part(info: &Info) -> S3Result<S3Response<dto::UploadPartOutput>> {
    info.check_bucket()?;
    let number = numbered(info)?;
    let (id, upload, _) = Upload::find(info)?;
    info.check_keeping()?;
    let expected = Expected::of(&info.headers)?;
    let algorithm = part_algorithm(&upload, expected.algorithm())?;
    let key = part_key(&id, number);
    let sink =
        Sink { tenant: &info.tenant, bucket: HIDDEN_BUCKET, key: &key, put: Put::overwrite() };
    let ingest = Ingest { expected, algorithm, is_part: true };
    let (_, digests) =
        ingest.run(info.take_body()?, sink, |digests| encode(&recorded(digests))).await?;
    still_wanted(info, &key)?;

    let mut response = S3Response::new(dto::UploadPartOutput {
        e_tag: Some(etag(&digests)),
        ..Default::default()
    });
    if let Some(checksum) = digests.checksum.or(digests.joinable) {
        describe::set_named(&mut response.headers, checksum.algorithm.header(), &checksum.text());
    }
    Ok(response)
}

/// What is computed of a part: what the upload was announced with.
fn part_algorithm(upload: &Upload, used: Option<Algorithm>) -> S3Result<Option<Algorithm>> {
    match (upload.algorithm, used) {
        (Some(announced), Some(used)) if announced != used => {
            Err(Fault::InvalidRequest.because(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum \
                 Type: {}",
                announced.name().to_ascii_lowercase(),
                used.name().to_ascii_lowercase()
            )))
        }
        (announced, used) => Ok(announced.or(used)),
    }
}

fn recorded(digests: &Digests) -> PartRecord {
    PartRecord {
        md5: digests.md5,
        checksum: digests.checksum.clone(),
        joinable: digests.joinable.clone(),
    }
}

fn etag(digests: &Digests) -> dto::ETag {
    dto::ETag::Strong(ETag { md5: digests.md5, parts: None }.to_string())
}

/// Removes a part that was stored after its upload had ended.
fn still_wanted(info: &Info, key: &str) -> S3Result<()> {
    match Upload::find(info) {
        Ok(_) => Ok(()),
        Err(error) => {
            info.geds().delete(HIDDEN_BUCKET, key, None).map_err(of_geds)?;
            Err(error)
        }
    }
}

pub(in crate::ops) fn copy_part(info: &Info) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
    info.check_bucket()?;
    let number = numbered(info)?;
    let (id, upload, _) = Upload::find(info)?;
    let key = part_key(&id, number);
    for _ in 0..ATTEMPTS {
        let source = Source::find(info)?;
        match copy_once(info, &source, &key, upload.algorithm)? {
            Ok((stat, digests)) => {
                still_wanted(info, &key)?;
                return Ok(copied(&stat, digests));
            }
            // Its source was written again meanwhile.
            Err(Error::Changed { .. }) => {}
            Err(error) => return Err(of_geds(error)),
        }
    }
    fail(Fault::OperationAborted)
}

/// Makes a part of a source's bytes, which are shared, if it still is the version that was read.
fn copy_once(
    info: &Info,
    source: &Source,
    key: &str,
    algorithm: Option<Algorithm>,
) -> S3Result<geds::Result<(Stat, Digests)>> {
    let size = source.object.len();
    let range = match info.header("x-amz-copy-source-range") {
        Some(text) => copied_range(text, size)?,
        None => 0..size,
    };
    let mut hasher = Hasher::new(false, algorithm).joinable();
    each_piece(&source.object, range.clone(), |piece| hasher.update(piece))?;
    let digests = hasher.finish();
    let put = Put { attributes: Some(encode(&recorded(&digests))), ..Put::overwrite() };
    let cut = Part {
        range: Some(range),
        if_version: Some(source.object.stat().version),
        ..Part::all(&source.bucket, &source.key)
    };
    let composed = info.geds().compose(HIDDEN_BUCKET, key, &[cut], put);
    Ok(composed.map(|stat| (stat, digests)))
}

fn copied(stat: &Stat, digests: Digests) -> S3Response<dto::UploadPartCopyOutput> {
    let mut result = dto::CopyPartResult {
        e_tag: Some(etag(&digests)),
        last_modified: Some(describe::timestamp(stat.modified)),
        ..Default::default()
    };
    tell_checksum!(result, digests.checksum.map(|checksum| checksum.told()));
    S3Response::new(dto::UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..Default::default()
    })
}

fn copied_range(text: &str, size: u64) -> S3Result<std::ops::Range<u64>> {
    let Some(range) = range::of_copy_source(text) else {
        return Err(Fault::InvalidArgument.because(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy",
        ));
    };
    if range.start >= size {
        return fail(Fault::InvalidRange);
    }
    if range.end > size {
        return Err(Fault::InvalidArgument
            .because(format!("Range specified is not valid for source object of size: {size}")));
    }
    Ok(range)
}
