//! The operations of S3, each by its name there. s3s finds out which one a request is and writes its
//! answer; what they do stands in the modules beside.

mod buckets;
mod copy;
mod describe;
mod info;
mod list;
mod read;
mod tagging;
mod unconfigured;
mod upload;
mod write;

pub(crate) use describe::owner_id;
pub(crate) use info::{Carriage, Carried, Info, Operation};
pub(crate) use upload::remove_abandoned;
pub(crate) use write::put;

use crate::fault::{Fault, fail};
use s3s::{S3, S3Request, S3Response, S3Result, dto};
use std::sync::Arc;

/// All operations; what they need comes with each request.
#[derive(Debug)]
pub(crate) struct Operations;

/// Runs an operation on a thread that may block: it asks the node, or goes over many objects.
async fn aside<T: Send + 'static>(
    info: &Arc<Info>,
    operation: impl FnOnce(&Info) -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    let info = Arc::clone(info);
    crate::store::blocking(move || operation(&info)).await?
}

/// Where an operation runs: here, because it only looks at shared memory, or aside.
macro_rules! run {
    (here $info:ident, $act:expr) => {
        $act
    };
    (aside $info:ident, $act:expr) => {
        aside($info, move |$info| $act).await
    };
}

/// Writes the operations as s3s wants them: each with the request's [`Info`] and what s3s has read.
macro_rules! operations {
    ($($where:ident $name:ident($info:ident, $input:ident: $in:ident) -> $out:ident { $act:expr })*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(async fn $name(
                &self,
                request: S3Request<dto::$in>,
            ) -> S3Result<S3Response<dto::$out>> {
                let info = Info::of(&request)?;
                // Nobody else has set it.
                let _ = info.operation.set(stringify!($name));
                let $info = &info;
                let $input = request.input;
                run!($where $info, $act)
            })*
        }
    };
}

operations! {
    aside list_buckets(info, _input: ListBucketsInput) -> ListBucketsOutput {
        buckets::list(info)
    }
    aside create_bucket(info, input: CreateBucketInput) -> CreateBucketOutput {
        buckets::create(info, input.create_bucket_configuration)
    }
    aside delete_bucket(info, _input: DeleteBucketInput) -> DeleteBucketOutput {
        buckets::delete(info)
    }
    aside head_bucket(info, _input: HeadBucketInput) -> HeadBucketOutput {
        buckets::head(info)
    }
    aside get_bucket_location(info, _input: GetBucketLocationInput) -> GetBucketLocationOutput {
        buckets::location(info)
    }
    aside get_bucket_cors(info, _input: GetBucketCorsInput) -> GetBucketCorsOutput {
        buckets::cors(info)
    }
    aside put_bucket_cors(info, input: PutBucketCorsInput) -> PutBucketCorsOutput {
        buckets::set_cors(info, input.cors_configuration)
    }
    aside delete_bucket_cors(info, _input: DeleteBucketCorsInput) -> DeleteBucketCorsOutput {
        buckets::delete_cors(info)
    }
    aside get_bucket_tagging(info, _input: GetBucketTaggingInput) -> GetBucketTaggingOutput {
        buckets::tagging(info)
    }
    aside put_bucket_tagging(info, input: PutBucketTaggingInput) -> PutBucketTaggingOutput {
        buckets::set_tagging(info, input.tagging)
    }
    aside delete_bucket_tagging(info, _input: DeleteBucketTaggingInput)
        -> DeleteBucketTaggingOutput
    {
        buckets::delete_tagging(info)
    }

    aside list_objects(info, _input: ListObjectsInput) -> ListObjectsOutput {
        list::objects(info)
    }
    aside list_objects_v2(info, _input: ListObjectsV2Input) -> ListObjectsV2Output {
        list::objects_v2(info)
    }
    aside list_object_versions(info, _input: ListObjectVersionsInput) -> ListObjectVersionsOutput {
        list::versions(info)
    }

    here get_object(info, _input: GetObjectInput) -> GetObjectOutput {
        read::get(info).await
    }
    here head_object(info, _input: HeadObjectInput) -> HeadObjectOutput {
        read::head(info).await
    }
    aside get_object_attributes(info, _input: GetObjectAttributesInput)
        -> GetObjectAttributesOutput
    {
        read::attributes(info)
    }
    here put_object(info, _input: PutObjectInput) -> PutObjectOutput {
        write::put(info).await
    }
    aside copy_object(info, _input: CopyObjectInput) -> CopyObjectOutput {
        copy::object(info)
    }
    here delete_object(info, _input: DeleteObjectInput) -> DeleteObjectOutput {
        write::delete(info).await
    }
    aside delete_objects(info, input: DeleteObjectsInput) -> DeleteObjectsOutput {
        write::delete_many(info, input.delete)
    }
    aside get_object_tagging(info, _input: GetObjectTaggingInput) -> GetObjectTaggingOutput {
        tagging::get(info)
    }
    aside put_object_tagging(info, input: PutObjectTaggingInput) -> PutObjectTaggingOutput {
        tagging::set(info, input.tagging)
    }
    aside delete_object_tagging(info, _input: DeleteObjectTaggingInput)
        -> DeleteObjectTaggingOutput
    {
        tagging::delete(info)
    }

    aside create_multipart_upload(info, _input: CreateMultipartUploadInput)
        -> CreateMultipartUploadOutput
    {
        upload::create(info)
    }
    here upload_part(info, _input: UploadPartInput) -> UploadPartOutput {
        upload::put_part(info).await
    }
    aside upload_part_copy(info, _input: UploadPartCopyInput) -> UploadPartCopyOutput {
        upload::copy_part(info)
    }
    aside complete_multipart_upload(info, input: CompleteMultipartUploadInput)
        -> CompleteMultipartUploadOutput
    {
        upload::complete(info, input.multipart_upload)
    }
    aside abort_multipart_upload(info, _input: AbortMultipartUploadInput)
        -> AbortMultipartUploadOutput
    {
        upload::abort(info)
    }
    aside list_parts(info, _input: ListPartsInput) -> ListPartsOutput {
        upload::parts(info)
    }
    aside list_multipart_uploads(info, _input: ListMultipartUploadsInput)
        -> ListMultipartUploadsOutput
    {
        upload::uploads(info)
    }

    here get_bucket_acl(info, _input: GetBucketAclInput) -> GetBucketAclOutput {
        unconfigured::bucket_acl(info)
    }
    here put_bucket_acl(info, input: PutBucketAclInput) -> PutBucketAclOutput {
        unconfigured::check_policy(info, input.access_control_policy)
            .and_then(|()| unconfigured::empty(info))
    }
    aside get_object_acl(info, _input: GetObjectAclInput) -> GetObjectAclOutput {
        unconfigured::object_acl(info)
    }
    aside put_object_acl(info, input: PutObjectAclInput) -> PutObjectAclOutput {
        read::open(info)
            .and_then(|_| unconfigured::check_policy(info, input.access_control_policy))
            .and_then(|()| unconfigured::empty(info))
    }
    here get_bucket_versioning(info, _input: GetBucketVersioningInput)
        -> GetBucketVersioningOutput
    {
        unconfigured::empty(info)
    }
    here put_bucket_versioning(info, _input: PutBucketVersioningInput)
        -> PutBucketVersioningOutput
    {
        unconfigured::refused(info, "Versioning is")
    }
    here get_bucket_policy(info, _input: GetBucketPolicyInput) -> GetBucketPolicyOutput {
        unconfigured::missing(info, Fault::NoSuchBucketPolicy)
    }
    here get_bucket_policy_status(info, _input: GetBucketPolicyStatusInput)
        -> GetBucketPolicyStatusOutput
    {
        unconfigured::missing(info, Fault::NoSuchBucketPolicy)
    }
    here put_bucket_policy(info, _input: PutBucketPolicyInput) -> PutBucketPolicyOutput {
        unconfigured::refused(info, "Bucket policies are")
    }
    here delete_bucket_policy(info, _input: DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput {
        unconfigured::empty(info)
    }
    here get_bucket_encryption(info, _input: GetBucketEncryptionInput)
        -> GetBucketEncryptionOutput
    {
        unconfigured::missing(info, Fault::ServerSideEncryptionConfigurationNotFoundError)
    }
    here put_bucket_encryption(info, _input: PutBucketEncryptionInput)
        -> PutBucketEncryptionOutput
    {
        unconfigured::refused(info, "Server-side encryption is")
    }
    here delete_bucket_encryption(info, _input: DeleteBucketEncryptionInput)
        -> DeleteBucketEncryptionOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_lifecycle_configuration(info, _input: GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput
    {
        unconfigured::missing(info, Fault::NoSuchLifecycleConfiguration)
    }
    here put_bucket_lifecycle_configuration(info, _input: PutBucketLifecycleConfigurationInput)
        -> PutBucketLifecycleConfigurationOutput
    {
        unconfigured::refused(info, "Lifecycle rules are")
    }
    here delete_bucket_lifecycle(info, _input: DeleteBucketLifecycleInput)
        -> DeleteBucketLifecycleOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_website(info, _input: GetBucketWebsiteInput) -> GetBucketWebsiteOutput {
        unconfigured::missing(info, Fault::NoSuchWebsiteConfiguration)
    }
    here put_bucket_website(info, _input: PutBucketWebsiteInput) -> PutBucketWebsiteOutput {
        unconfigured::refused(info, "Websites are")
    }
    here delete_bucket_website(info, _input: DeleteBucketWebsiteInput)
        -> DeleteBucketWebsiteOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_replication(info, _input: GetBucketReplicationInput)
        -> GetBucketReplicationOutput
    {
        unconfigured::missing(info, Fault::ReplicationConfigurationNotFoundError)
    }
    here put_bucket_replication(info, _input: PutBucketReplicationInput)
        -> PutBucketReplicationOutput
    {
        unconfigured::refused(info, "Replication is")
    }
    here delete_bucket_replication(info, _input: DeleteBucketReplicationInput)
        -> DeleteBucketReplicationOutput
    {
        unconfigured::empty(info)
    }
    here get_public_access_block(info, _input: GetPublicAccessBlockInput)
        -> GetPublicAccessBlockOutput
    {
        unconfigured::missing(info, Fault::NoSuchPublicAccessBlockConfiguration)
    }
    here put_public_access_block(info, _input: PutPublicAccessBlockInput)
        -> PutPublicAccessBlockOutput
    {
        unconfigured::refused(info, "Public access blocks are")
    }
    here delete_public_access_block(info, _input: DeletePublicAccessBlockInput)
        -> DeletePublicAccessBlockOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_ownership_controls(info, _input: GetBucketOwnershipControlsInput)
        -> GetBucketOwnershipControlsOutput
    {
        unconfigured::ownership(info)
    }
    here put_bucket_ownership_controls(info, input: PutBucketOwnershipControlsInput)
        -> PutBucketOwnershipControlsOutput
    {
        unconfigured::set_ownership(info, &input.ownership_controls)
    }
    here get_object_lock_configuration(info, _input: GetObjectLockConfigurationInput)
        -> GetObjectLockConfigurationOutput
    {
        unconfigured::missing(info, Fault::ObjectLockConfigurationNotFoundError)
    }
    here put_object_lock_configuration(info, _input: PutObjectLockConfigurationInput)
        -> PutObjectLockConfigurationOutput
    {
        unconfigured::refused(info, "Object Lock is")
    }
    aside get_object_retention(info, _input: GetObjectRetentionInput) -> GetObjectRetentionOutput {
        unconfigured::unlocked(info)
    }
    aside put_object_retention(info, _input: PutObjectRetentionInput) -> PutObjectRetentionOutput {
        unconfigured::unlocked(info)
    }
    aside get_object_legal_hold(info, _input: GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput {
        unconfigured::unlocked(info)
    }
    aside put_object_legal_hold(info, _input: PutObjectLegalHoldInput) -> PutObjectLegalHoldOutput {
        unconfigured::unlocked(info)
    }
    here get_bucket_logging(info, _input: GetBucketLoggingInput) -> GetBucketLoggingOutput {
        unconfigured::empty(info)
    }
    here get_bucket_notification_configuration(
        info, _input: GetBucketNotificationConfigurationInput
    )
        -> GetBucketNotificationConfigurationOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_accelerate_configuration(info, _input: GetBucketAccelerateConfigurationInput)
        -> GetBucketAccelerateConfigurationOutput
    {
        unconfigured::empty(info)
    }
    here get_bucket_request_payment(info, _input: GetBucketRequestPaymentInput)
        -> GetBucketRequestPaymentOutput
    {
        unconfigured::payer(info)
    }
    here post_object(_info, _input: PostObjectInput) -> PostObjectOutput {
        fail(Fault::MethodNotAllowed)
    }
}
