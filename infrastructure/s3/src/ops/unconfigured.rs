//! What buckets and objects can be set up with at S3, and cannot here: read, it is as nobody ever
//! set it; removed, it is gone as before; set, it is refused.

use super::{describe, info::Info, read};
use crate::fault::{Fault, fail};
use s3s::{S3Response, S3Result, dto};

/// The answer for what nobody has set.
pub(super) fn missing<T>(info: &Info, fault: Fault) -> S3Result<T> {
    info.check_bucket()?;
    fail(fault)
}

/// The answer that says so by being empty, also to who removes it.
pub(super) fn empty<T: Default>(info: &Info) -> S3Result<S3Response<T>> {
    info.check_bucket()?;
    Ok(S3Response::new(T::default()))
}

/// The answer to who sets it.
pub(super) fn refused<T>(info: &Info, what: &str) -> S3Result<T> {
    info.check_bucket()?;
    Err(Fault::NotImplemented.because(format!("{what} not implemented by this endpoint")))
}

/// The answer about locks of objects, which no bucket has.
pub(super) fn unlocked<T>(info: &Info) -> S3Result<T> {
    read::open(info)?;
    Err(Fault::InvalidRequest.because("Bucket is missing Object Lock Configuration"))
}

/// The owner may do everything, and nobody else anything.
fn grants(info: &Info) -> (dto::Owner, Vec<dto::Grant>) {
    let owner = describe::owner(info);
    let grantee = dto::Grantee {
        id: owner.id.clone(),
        display_name: owner.display_name.clone(),
        type_: dto::Type::from_static(dto::Type::CANONICAL_USER),
        email_address: None,
        uri: None,
    };
    let permission = Some(dto::Permission::from_static(dto::Permission::FULL_CONTROL));
    (owner, vec![dto::Grant { grantee: Some(grantee), permission }])
}

pub(super) fn bucket_acl(info: &Info) -> S3Result<S3Response<dto::GetBucketAclOutput>> {
    info.check_bucket()?;
    let (owner, grants) = grants(info);
    Ok(S3Response::new(dto::GetBucketAclOutput { owner: Some(owner), grants: Some(grants) }))
}

pub(super) fn object_acl(info: &Info) -> S3Result<S3Response<dto::GetObjectAclOutput>> {
    info.check_version()?;
    read::open(info)?;
    let (owner, grants) = grants(info);
    Ok(S3Response::new(dto::GetObjectAclOutput {
        owner: Some(owner),
        grants: Some(grants),
        request_charged: None,
    }))
}

/// Takes an access list that changes nothing: the owner's alone.
pub(super) fn check_policy(info: &Info, policy: Option<dto::AccessControlPolicy>) -> S3Result<()> {
    info.check_acl()?;
    let Some(policy) = policy else {
        if info.header("x-amz-acl").is_none() {
            return Err(Fault::MissingSecurityHeader
                .because("Your request was missing a required header: x-amz-acl"));
        }
        return Ok(());
    };
    let owner = describe::owner(info).id;
    let is_owners = |grant: &dto::Grant| {
        grant.grantee.as_ref().is_some_and(|grantee| grantee.id == owner)
            && grant
                .permission
                .as_ref()
                .is_some_and(|p| p.as_str() == dto::Permission::FULL_CONTROL)
    };
    if policy.grants.unwrap_or_default().iter().all(is_owners) {
        return Ok(());
    }
    fail(Fault::AccessControlListNotSupported)
}

pub(super) fn ownership(
    info: &Info,
) -> S3Result<S3Response<dto::GetBucketOwnershipControlsOutput>> {
    info.check_bucket()?;
    let enforced = dto::ObjectOwnership::from_static(dto::ObjectOwnership::BUCKET_OWNER_ENFORCED);
    let rules = vec![dto::OwnershipControlsRule { object_ownership: enforced }];
    Ok(S3Response::new(dto::GetBucketOwnershipControlsOutput {
        ownership_controls: Some(dto::OwnershipControls { rules }),
    }))
}

/// Takes what is so anyway.
pub(super) fn set_ownership(
    info: &Info,
    controls: &dto::OwnershipControls,
) -> S3Result<S3Response<dto::PutBucketOwnershipControlsOutput>> {
    let is_enforced = |rule: &dto::OwnershipControlsRule| {
        rule.object_ownership.as_str() == dto::ObjectOwnership::BUCKET_OWNER_ENFORCED
    };
    if controls.rules.iter().all(is_enforced) {
        return empty(info);
    }
    refused(info, "Access lists are")
}

pub(super) fn payer(info: &Info) -> S3Result<S3Response<dto::GetBucketRequestPaymentOutput>> {
    info.check_bucket()?;
    let payer = Some(dto::Payer::from_static(dto::Payer::BUCKET_OWNER));
    Ok(S3Response::new(dto::GetBucketRequestPaymentOutput { payer }))
}
