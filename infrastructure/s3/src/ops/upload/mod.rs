//! Uploads in parts.
//!
//! An upload under way is an empty object in the hidden bucket, `u/<bucket>/<upload id>`, which
//! keeps what the object will be; its parts are `p/<upload id>/<number>`. Completion composes the
//! object of its parts without copying their bytes.

mod abandoned;
mod complete;
mod list;
mod part;

pub(crate) use abandoned::remove_abandoned;
pub(super) use complete::complete;
pub(super) use list::{parts, uploads};
pub(super) use part::{copy_part, put_part};

use super::{describe, info::Info};
use crate::{
    digest::{Algorithm, Checksum, Kind},
    fault::{Fault, fail},
    record::Headers,
    store::{HIDDEN_BUCKET, Tenant, of_geds},
    tags::Tags,
};
use data_encoding::HEXLOWER;
use geds::{Attributes, Error, Listing, Put, Stat};
use s3s::{S3Error, S3Response, S3Result, dto};
use serde::{Deserialize, Serialize};
use std::time::UNIX_EPOCH;

/// The attribute that keeps what is known of an upload or a part, and the version of its form.
const ATTRIBUTE: &str = "s3";
const VERSION: u8 = 1;

/// An upload under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Upload {
    key: String,
    headers: Headers,
    metadata: Vec<(String, String)>,
    tags: Tags,
    /// What the client announced to compute.
    algorithm: Option<Algorithm>,
    kind: Kind,
}

/// A part that was uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct PartRecord {
    md5: [u8; 16],
    /// In the algorithm of the upload, or else in that which the client used.
    checksum: Option<Checksum>,
    /// From which that of the whole object can be told.
    joinable: Option<Checksum>,
}

fn encode(value: &impl Serialize) -> Attributes {
    let encoded =
        postcard::to_extend(value, vec![VERSION]).expect("strings and numbers can be written");
    Attributes::new().with(ATTRIBUTE, encoded)
}

fn decode<T: for<'a> Deserialize<'a>>(stat: &Stat) -> Option<T> {
    match stat.attributes.get(ATTRIBUTE)?.split_first()? {
        (&VERSION, rest) => postcard::from_bytes(rest).ok(),
        _ => None,
    }
}

/// Where uploads to a bucket are kept.
fn uploads_prefix(bucket: &str) -> String {
    format!("u/{bucket}/")
}

/// Where the parts of an upload are kept.
fn parts_prefix(id: &str) -> String {
    format!("p/{id}/")
}

/// The key of a part; in order of number.
fn part_key(id: &str, number: u32) -> String {
    format!("p/{id}/{number:05}")
}

impl Upload {
    /// The upload that the query names, with what GEDS knows of it.
    fn find(info: &Info) -> S3Result<(String, Self, Stat)> {
        let id = info.query.get("uploadId").unwrap_or_default();
        let is_one = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_one {
            return fail(Fault::NoSuchUpload);
        }
        let key = format!("{}{id}", uploads_prefix(&info.bucket));
        let stat = match info.geds().stat(HIDDEN_BUCKET, &key) {
            Ok(stat) => stat,
            Err(Error::NoObject { .. } | Error::NoBucket { .. }) => {
                return fail(Fault::NoSuchUpload);
            }
            Err(error) => return Err(of_geds(error)),
        };
        match decode::<Self>(&stat) {
            Some(upload) if upload.key == info.key => Ok((id.to_owned(), upload, stat)),
            _ => fail(Fault::NoSuchUpload),
        }
    }

    /// The kind of checksum to tell of, if the client announced one.
    fn told_kind(&self) -> Option<dto::ChecksumType> {
        self.algorithm.map(|_| self.kind.name().to_owned().into())
    }

    fn told_algorithm(&self) -> Option<dto::ChecksumAlgorithm> {
        self.algorithm.map(|algorithm| algorithm.name().to_owned().into())
    }
}

pub(super) fn create(info: &Info) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
    info.check_bucket()?;
    info.check_keeping()?;
    let (algorithm, kind) = announced(info)?;
    let upload = Upload {
        key: info.key.clone(),
        headers: info.kept_headers()?,
        metadata: info.metadata()?,
        tags: info.tags()?,
        algorithm,
        kind,
    };
    let id = new_id()?;
    info.tenant.make_hidden_bucket()?;
    let put = Put { attributes: Some(encode(&upload)), ..Put::default() };
    let key = format!("{}{id}", uploads_prefix(&info.bucket));
    info.geds().put(HIDDEN_BUCKET, &key, &[], put).map_err(of_geds)?;
    let mut response = S3Response::new(dto::CreateMultipartUploadOutput {
        bucket: Some(info.bucket.clone()),
        key: Some(info.key.clone()),
        upload_id: Some(id),
        ..Default::default()
    });
    if let Some(algorithm) = algorithm {
        let headers = &mut response.headers;
        describe::set_named(headers, "x-amz-checksum-algorithm", algorithm.name());
        describe::set_named(headers, "x-amz-checksum-type", kind.name());
    }
    Ok(response)
}

/// The checksum that the client announces to compute of all parts.
fn announced(info: &Info) -> S3Result<(Option<Algorithm>, Kind)> {
    let algorithm = describe::named_algorithm(info, "x-amz-checksum-algorithm")?;
    let kind = match info.header("x-amz-checksum-type") {
        None | Some("") => None,
        Some("FULL_OBJECT") => Some(Kind::FullObject),
        Some("COMPOSITE") => Some(Kind::Composite),
        Some(_) => {
            return Err(
                Fault::InvalidRequest.because("Value for x-amz-checksum-type header is invalid.")
            );
        }
    };
    let Some(algorithm) = algorithm else {
        if kind.is_some() {
            return Err(Fault::InvalidRequest.because(
                "The x-amz-checksum-type header can only be used with the \
                 x-amz-checksum-algorithm header.",
            ));
        }
        return Ok((None, Kind::FullObject));
    };
    let refused = |kind: Kind| {
        let (kind, name) = (kind.name(), algorithm.name().to_ascii_lowercase());
        Fault::InvalidRequest.because(format!(
            "The {kind} checksum type cannot be used with the {name} checksum algorithm."
        ))
    };
    match (algorithm, kind) {
        (Algorithm::Crc64Nvme, Some(Kind::Composite)) => Err(refused(Kind::Composite)),
        (Algorithm::Sha1 | Algorithm::Sha256, Some(Kind::FullObject)) => {
            Err(refused(Kind::FullObject))
        }
        (Algorithm::Crc64Nvme, _) => Ok((Some(algorithm), Kind::FullObject)),
        (_, kind) => Ok((Some(algorithm), kind.unwrap_or(Kind::Composite))),
    }
}

/// An id nobody can guess; the ids of one key come in the order in which its uploads began.
fn new_id() -> S3Result<String> {
    let mut bytes = [0; 16];
    let began = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let (time, random) = bytes.split_at_mut(6);
    time.copy_from_slice(&began.to_be_bytes()[10..]);
    getrandom::fill(random).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "no randomness for an upload");
        S3Error::from(Fault::InternalError)
    })?;
    Ok(HEXLOWER.encode(&bytes))
}

pub(super) fn abort(info: &Info) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
    info.check_bucket()?;
    let (id, _, _) = Upload::find(info)?;
    remove(info, &id)?;
    Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
}

/// Forgets an upload and its parts.
fn remove(info: &Info, id: &str) -> S3Result<()> {
    let geds = info.geds();
    let upload = format!("{}{id}", uploads_prefix(&info.bucket));
    // The upload first: a part that is stored meanwhile looks for it afterwards.
    geds.delete(HIDDEN_BUCKET, &upload, None).map_err(of_geds)?;
    remove_parts(&info.tenant, id).map_err(of_geds)
}

fn remove_parts(tenant: &Tenant, id: &str) -> Result<(), Error> {
    tenant.geds.delete_prefix(HIDDEN_BUCKET, &parts_prefix(id)).map(|_| ())
}

/// Forgets all uploads to a bucket that is no more.
pub(super) fn remove_all(tenant: &Tenant, bucket: &str) -> Result<(), Error> {
    let (geds, prefix) = (&tenant.geds, uploads_prefix(bucket));
    loop {
        let page = match geds.list(HIDDEN_BUCKET, &Listing::prefix(&prefix)) {
            Ok(page) => page,
            Err(Error::NoBucket { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if page.entries.is_empty() {
            return Ok(());
        }
        for entry in page.entries {
            let id = entry.key.strip_prefix(&prefix).unwrap_or_default();
            geds.delete(HIDDEN_BUCKET, &entry.key, None)?;
            remove_parts(tenant, id)?;
        }
    }
}
