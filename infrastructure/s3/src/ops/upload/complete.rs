//! The end of an upload: its parts become one object.

use super::{PartRecord, Upload, decode, part_key};
use crate::{
    digest::{self, Checksum, Kind},
    fault::{Fault, fail},
    ops::{
        describe::{self, tell_checksum},
        info::Info,
        write::conditional_put,
    },
    payload::given_checksum,
    record::{ETag, Parts, Record},
    store::{HIDDEN_BUCKET, of_geds},
};
use geds::{Error, Part, Put};
use s3s::{S3Response, S3Result, dto};

/// A part that the object is made of.
struct Chosen {
    number: u32,
    size: u64,
    version: u64,
    record: PartRecord,
}

pub(in crate::ops) fn complete(
    info: &Info,
    list: Option<dto::CompletedMultipartUpload>,
) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
    info.check_bucket()?;
    let (id, upload, _) = Upload::find(info)?;
    let put = conditional_put(info)?;
    let chosen = choose(info, &id, list.and_then(|list| list.parts).unwrap_or_default())?;
    check_size(info, &chosen)?;
    let checksum = whole_checksum(&upload, &chosen);
    check_promise(info, checksum.as_ref())?;

    let part = |chosen: &Chosen| Part {
        if_version: Some(chosen.version),
        ..Part::all(HIDDEN_BUCKET, part_key(&id, chosen.number))
    };
    let parts: Vec<_> = chosen.iter().map(part).collect();
    let class = describe::class_of(&upload.headers);
    let record = described(upload, &chosen, checksum);
    let put = Put { attributes: Some(record.attributes()), class, ..put };
    match info.geds().compose(&info.bucket, &info.key, &parts, put) {
        Ok(_) => {}
        // A part was uploaded anew, or the upload was ended, after it was looked at.
        Err(Error::Changed { bucket, .. } | Error::NoObject { bucket, .. })
            if bucket == HIDDEN_BUCKET =>
        {
            return fail(Fault::InvalidPart);
        }
        Err(error) => return Err(of_geds(error)),
    }
    super::remove(info, &id)?;
    Ok(S3Response::new(output(info, &record)))
}

/// Finds the parts that the client lists, which must be as it says.
fn choose(info: &Info, id: &str, list: Vec<dto::CompletedPart>) -> S3Result<Vec<Chosen>> {
    if list.is_empty() || list.len() > 10_000 {
        return fail(Fault::MalformedXML);
    }
    let numbers: Option<Vec<u32>> =
        list.iter().map(|part| u32::try_from(part.part_number?).ok()).collect();
    let numbers = numbers.ok_or(Fault::MalformedXML)?;
    if !numbers.is_sorted_by(|number, next| number < next) {
        return fail(Fault::InvalidPartOrder);
    }
    let parts = numbers.into_iter().zip(&list);
    let chosen: Vec<Chosen> =
        parts.map(|(number, part)| find(info, id, number, part)).collect::<S3Result<_>>()?;
    let all_but_last = chosen.split_last().map_or(&[][..], |(_, parts)| parts);
    if all_but_last.iter().any(|part| part.size < info.config.part_min_bytes) {
        return fail(Fault::EntityTooSmall);
    }
    Ok(chosen)
}

fn find(info: &Info, id: &str, number: u32, listed: &dto::CompletedPart) -> S3Result<Chosen> {
    let stat = match info.geds().stat(HIDDEN_BUCKET, &part_key(id, number)) {
        Ok(stat) => stat,
        Err(Error::NoObject { .. }) => return fail(Fault::InvalidPart),
        Err(error) => return Err(of_geds(error)),
    };
    let record: PartRecord = decode(&stat).ok_or(Fault::InvalidPart)?;
    let etag = ETag { md5: record.md5, parts: None }.to_string();
    if listed.e_tag.as_ref().is_none_or(|listed| listed.value() != etag) {
        return fail(Fault::InvalidPart);
    }
    let told = [
        &listed.checksum_crc32,
        &listed.checksum_crc32c,
        &listed.checksum_crc64nvme,
        &listed.checksum_sha1,
        &listed.checksum_sha256,
    ];
    for (algorithm, told) in digest::Algorithm::ALL.into_iter().zip(told) {
        let known = [&record.checksum, &record.joinable]
            .into_iter()
            .flatten()
            .find(|checksum| checksum.algorithm == algorithm);
        if let Some(told) = told
            && known.is_none_or(|checksum| checksum.text() != *told)
        {
            return fail(Fault::InvalidPart);
        }
    }
    Ok(Chosen { number, size: stat.size, version: stat.version, record })
}

fn check_size(info: &Info, chosen: &[Chosen]) -> S3Result<()> {
    let Some(text) = info.header("x-amz-mp-object-size") else { return Ok(()) };
    let size: u64 = chosen.iter().map(|part| part.size).sum();
    match text.parse::<u64>() {
        Ok(told) if told == size => Ok(()),
        Ok(told) => Err(Fault::InvalidRequest.because(format!(
            "The provided 'x-amz-mp-object-size' header value {told} does not match what was \
             computed: {size}"
        ))),
        Err(_) => {
            Err(Fault::InvalidRequest.because("Value for x-amz-mp-object-size header is invalid."))
        }
    }
}

/// The object's checksum, as it was announced, or as S3 computes it by itself.
fn whole_checksum(upload: &Upload, chosen: &[Chosen]) -> Option<(Checksum, Kind)> {
    let joined = |of: fn(&PartRecord) -> Option<&Checksum>| {
        let sized: Option<Vec<_>> =
            chosen.iter().map(|part| Some((of(&part.record)?, part.size))).collect();
        Checksum::joined(sized?).map(|checksum| (checksum, Kind::FullObject))
    };
    match (upload.algorithm, upload.kind) {
        (Some(_), Kind::Composite) => {
            let all: Option<Vec<_>> =
                chosen.iter().map(|part| part.record.checksum.as_ref()).collect();
            Checksum::composite(all?).map(|checksum| (checksum, Kind::Composite))
        }
        (Some(_), Kind::FullObject) => joined(|part| part.checksum.as_ref()),
        (None, _) => joined(|part| part.joinable.as_ref()),
    }
}

/// Compares the checksum that the request gives for the whole object.
fn check_promise(info: &Info, known: Option<&(Checksum, Kind)>) -> S3Result<()> {
    let Some(promised) = given_checksum(&info.headers)? else { return Ok(()) };
    match known {
        Some((checksum, _)) if *checksum == promised => Ok(()),
        Some((checksum, _)) if checksum.algorithm == promised.algorithm => fail(Fault::BadDigest),
        _ => Err(Fault::InvalidRequest
            .because("The checksum of the request is of another type than that of the upload.")),
    }
}

fn described(upload: Upload, chosen: &[Chosen], checksum: Option<(Checksum, Kind)>) -> Record {
    let md5s: Vec<u8> = chosen.iter().flat_map(|part| part.record.md5).collect();
    let sizes: Vec<_> = chosen.iter().map(|part| (part.number, part.size)).collect();
    let checksums = match upload.algorithm {
        Some(_) => chosen.iter().filter_map(|part| part.record.checksum.clone()).collect(),
        None => Vec::new(),
    };
    Record {
        etag: ETag { md5: digest::md5(&md5s), parts: u32::try_from(chosen.len()).ok() },
        headers: upload.headers,
        metadata: upload.metadata,
        tags: upload.tags,
        checksum,
        parts: Some(Parts::new(&sizes, checksums)),
    }
}

fn output(info: &Info, record: &Record) -> dto::CompleteMultipartUploadOutput {
    let host = info.header("host").unwrap_or("localhost");
    let key = crate::sign::encode(&info.key, true);
    let mut output = dto::CompleteMultipartUploadOutput {
        location: Some(format!("http://{host}/{}/{key}", info.bucket)),
        bucket: Some(info.bucket.clone()),
        key: Some(info.key.clone()),
        e_tag: Some(describe::etag(record)),
        ..Default::default()
    };
    if let Some((algorithm, text, kind)) = record.told_checksum() {
        tell_checksum!(output, Some((algorithm, text)));
        output.checksum_type = Some(kind.name().to_owned().into());
    }
    output
}
