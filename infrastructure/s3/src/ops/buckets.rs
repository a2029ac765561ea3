//! Buckets: made, removed, listed, and their settings.

use super::{describe, info::Info, upload};
use crate::{
    cors::{RULES_MAX, Rule},
    fault::{Fault, fail},
    store::of_geds,
    tags::{self, BUCKET_TAGS_MAX},
};
use data_encoding::BASE64URL_NOPAD;
use s3s::{S3Response, S3Result, dto};

/// Most buckets of a page.
const PAGE_MAX: usize = 10_000;

pub(super) fn create(
    info: &Info,
    configuration: Option<dto::CreateBucketConfiguration>,
) -> S3Result<S3Response<dto::CreateBucketOutput>> {
    info.check_acl()?;
    if info
        .header("x-amz-bucket-object-lock-enabled")
        .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        return Err(Fault::NotImplemented.because("Object Lock is not implemented"));
    }
    match info.header("x-amz-object-ownership") {
        None | Some("" | "BucketOwnerEnforced") => {}
        Some("BucketOwnerPreferred" | "ObjectWriter") => {
            return Err(Fault::NotImplemented
                .because("Access lists are not implemented: use BucketOwnerEnforced"));
        }
        Some(_) => {
            return Err(Fault::InvalidArgument.because("Invalid x-amz-object-ownership header"));
        }
    }
    if geds::is_internal(&info.bucket) {
        return fail(Fault::InvalidBucketName);
    }
    let region = configuration
        .and_then(|configuration| configuration.location_constraint)
        .map(|region| region.as_str().to_owned());
    info.geds().create_bucket(&info.bucket).map_err(of_geds)?;
    if let Some(region) = region.filter(|region| !region.is_empty()) {
        info.tenant.change_settings(&info.bucket, |settings| settings.region = Some(region))?;
    }
    let mut response = S3Response::new(dto::CreateBucketOutput::default());
    describe::set(&mut response.headers, http::header::LOCATION, &format!("/{}", info.bucket));
    Ok(response)
}

pub(super) fn delete(info: &Info) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
    info.check_bucket()?;
    info.geds().delete_bucket(&info.bucket).map_err(of_geds)?;
    upload::remove_all(&info.tenant, &info.bucket).map_err(of_geds)?;
    Ok(S3Response::new(dto::DeleteBucketOutput::default()))
}

pub(super) fn head(info: &Info) -> S3Result<S3Response<dto::HeadBucketOutput>> {
    let settings = info.tenant.settings(&info.bucket)?;
    let mut response = S3Response::new(dto::HeadBucketOutput::default());
    let region = settings.region.as_deref().unwrap_or(&info.config.region);
    describe::set_named(&mut response.headers, "x-amz-bucket-region", region);
    Ok(response)
}

pub(super) fn location(info: &Info) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
    let settings = info.tenant.settings(&info.bucket)?;
    let region = settings.region.unwrap_or_else(|| info.config.region.clone());
    // The oldest region has no name here.
    let told = (region != "us-east-1").then(|| region.into());
    Ok(S3Response::new(dto::GetBucketLocationOutput { location_constraint: told }))
}

pub(super) fn list(info: &Info) -> S3Result<S3Response<dto::ListBucketsOutput>> {
    let prefix = info.query.get("prefix").unwrap_or_default();
    let max = match info.query.get("max-buckets").filter(|text| !text.is_empty()) {
        None => PAGE_MAX,
        Some(text) => match text.parse() {
            Ok(max @ 1..=PAGE_MAX) => max,
            _ => {
                return Err(Fault::InvalidArgument
                    .because("Argument max-buckets must be an integer between 1 and 10000"));
            }
        },
    };
    let after = info
        .query
        .get("continuation-token")
        .filter(|token| !token.is_empty())
        .map(of_token)
        .transpose()?;
    let mut buckets = info.tenant.buckets()?;
    buckets.retain(|bucket| {
        bucket.name.starts_with(prefix) && after.as_ref().is_none_or(|after| bucket.name > *after)
    });
    let is_truncated = buckets.len() > max;
    buckets.truncate(max);
    let next = buckets.last().filter(|_| is_truncated);
    let continuation_token = next.map(|last| BASE64URL_NOPAD.encode(last.name.as_bytes()));
    let told = buckets.into_iter().map(|bucket| dto::Bucket {
        creation_date: Some(describe::timestamp(bucket.created)),
        name: Some(bucket.name),
        bucket_region: None,
    });
    Ok(S3Response::new(dto::ListBucketsOutput {
        buckets: Some(told.collect()),
        owner: Some(describe::owner(info)),
        prefix: info.query.get("prefix").map(str::to_owned),
        continuation_token,
    }))
}

fn of_token(token: &str) -> S3Result<String> {
    let decoded = BASE64URL_NOPAD.decode(token.as_bytes()).ok();
    decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Fault::InvalidArgument.because("The continuation token provided is incorrect")
    })
}

pub(super) fn cors(info: &Info) -> S3Result<S3Response<dto::GetBucketCorsOutput>> {
    let settings = info.tenant.settings(&info.bucket)?;
    if settings.cors.is_empty() {
        return fail(Fault::NoSuchCORSConfiguration);
    }
    let full = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let told = settings.cors.into_iter().map(|rule| dto::CORSRule {
        id: rule.id,
        allowed_origins: rule.origins,
        allowed_methods: rule.methods,
        allowed_headers: full(rule.headers),
        expose_headers: full(rule.exposed),
        max_age_seconds: rule.max_age,
    });
    Ok(S3Response::new(dto::GetBucketCorsOutput { cors_rules: Some(told.collect()) }))
}

pub(super) fn set_cors(
    info: &Info,
    configuration: dto::CORSConfiguration,
) -> S3Result<S3Response<dto::PutBucketCorsOutput>> {
    info.check_bucket()?;
    let rules: Vec<Rule> = configuration
        .cors_rules
        .into_iter()
        .map(|rule| Rule {
            id: rule.id,
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers: rule.allowed_headers.unwrap_or_default(),
            exposed: rule.expose_headers.unwrap_or_default(),
            max_age: rule.max_age_seconds,
        })
        .collect();
    if rules.is_empty() || rules.len() > RULES_MAX {
        return fail(Fault::MalformedXML);
    }
    rules.iter().try_for_each(Rule::check)?;
    info.tenant.change_settings(&info.bucket, |settings| settings.cors = rules)?;
    Ok(S3Response::new(dto::PutBucketCorsOutput::default()))
}

pub(super) fn delete_cors(info: &Info) -> S3Result<S3Response<dto::DeleteBucketCorsOutput>> {
    info.check_bucket()?;
    info.tenant.change_settings(&info.bucket, |settings| settings.cors.clear())?;
    Ok(S3Response::new(dto::DeleteBucketCorsOutput::default()))
}

pub(super) fn tagging(info: &Info) -> S3Result<S3Response<dto::GetBucketTaggingOutput>> {
    let settings = info.tenant.settings(&info.bucket)?;
    if settings.tags.is_empty() {
        return fail(Fault::NoSuchTagSet);
    }
    let tag_set = super::tagging::told(settings.tags);
    Ok(S3Response::new(dto::GetBucketTaggingOutput { tag_set }))
}

pub(super) fn set_tagging(
    info: &Info,
    tagging: dto::Tagging,
) -> S3Result<S3Response<dto::PutBucketTaggingOutput>> {
    info.check_bucket()?;
    let tags = tags::checked(super::tagging::read(tagging)?, BUCKET_TAGS_MAX)?;
    info.tenant.change_settings(&info.bucket, |settings| settings.tags = tags)?;
    Ok(S3Response::new(dto::PutBucketTaggingOutput::default()))
}

pub(super) fn delete_tagging(info: &Info) -> S3Result<S3Response<dto::DeleteBucketTaggingOutput>> {
    info.check_bucket()?;
    info.tenant.change_settings(&info.bucket, |settings| settings.tags.clear())?;
    Ok(S3Response::new(dto::DeleteBucketTaggingOutput::default()))
}
