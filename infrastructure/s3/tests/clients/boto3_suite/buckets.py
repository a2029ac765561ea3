"""Buckets and their settings."""

import json
import urllib.error
import urllib.request

import boto3
from botocore.handlers import validate_bucket_name

from support import ENDPOINT, MIB, client, refused, status, headers


def test_buckets_are_made_listed_and_removed(s3, bucket):
    names = [found["Name"] for found in s3.list_buckets()["Buckets"]]
    assert bucket in names and names == sorted(names)
    assert status(s3.head_bucket(Bucket=bucket)) == 200
    refused("BucketAlreadyOwnedByYou", 409, s3.create_bucket, Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    refused("BucketNotEmpty", 409, s3.delete_bucket, Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a")
    assert status(s3.delete_bucket(Bucket=bucket)) == 204
    refused("404", 404, s3.head_bucket, Bucket=bucket)
    refused("NoSuchBucket", 404, s3.delete_bucket, Bucket=bucket)
    refused("NoSuchBucket", 404, s3.list_objects_v2, Bucket=bucket)
    refused("NoSuchBucket", 404, s3.put_object, Bucket=bucket, Key="a", Body=b"x")
    refused("NoSuchBucket", 404, s3.get_object, Bucket=bucket, Key="a")


def test_buckets_are_listed_in_pages(s3, bucket):
    names = [f"{bucket}-{number}" for number in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    found, token = [], None
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = s3.list_buckets(Prefix=bucket + "-", MaxBuckets=2, **more)
        assert len(page["Buckets"]) <= 2
        found += [entry["Name"] for entry in page["Buckets"]]
        token = page.get("ContinuationToken")
        if not token:
            break
    assert found == names, found


def test_bucket_names_follow_the_rules(s3, bucket):
    s3.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    for name in ["ab", "Upper", "under_score", "a..b", "-a-b", "10.0.0.1", "a" * 64]:
        refused("InvalidBucketName", 400, s3.create_bucket, Bucket=name)
    refused("InvalidBucketName", 400, s3.create_bucket, Bucket="s3.cloudskin.internal")


def test_locations_are_kept(s3, bucket):
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    other = client(region="eu-west-3")
    other.create_bucket(
        Bucket=bucket + "-eu", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
    )
    assert s3.get_bucket_location(Bucket=bucket + "-eu")["LocationConstraint"] == "eu-west-3"
    assert headers(s3.head_bucket(Bucket=bucket + "-eu"))["x-amz-bucket-region"] == "eu-west-3"


def test_tenants_see_their_buckets_alone(s3, bucket):
    s3.put_object(Bucket=bucket, Key="secret", Body=b"x")
    other = client("field")
    assert bucket not in [found["Name"] for found in other.list_buckets()["Buckets"]]
    refused("404", 404, other.head_bucket, Bucket=bucket)
    refused("NoSuchBucket", 404, other.get_object, Bucket=bucket, Key="secret")
    refused("NoSuchBucket", 404, other.put_object, Bucket=bucket, Key="new", Body=b"x")
    source = {"Bucket": bucket, "Key": "secret"}
    other.create_bucket(Bucket=bucket + "-theirs")
    refused("NoSuchBucket", 404, other.copy_object, Bucket=bucket + "-theirs", Key="k", CopySource=source)


def test_keys_and_secrets_are_checked(s3, bucket):
    refused("InvalidAccessKeyId", 403, client("nobody").list_buckets)
    wrong = boto3.client(
        "s3", endpoint_url=ENDPOINT, aws_access_key_id="lab", aws_secret_access_key="wrong", region_name="x"
    )
    refused("SignatureDoesNotMatch", 403, wrong.list_buckets)
    refused("SignatureDoesNotMatch", 403, wrong.put_object, Bucket=bucket, Key="k", Body=b"x" * MIB)


def test_unset_settings_read_as_unset(s3, bucket):
    for call, code in [
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
        (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
        (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ]:
        refused(code, 404, call, Bucket=bucket)
        refused("NoSuchBucket", 404, call, Bucket=bucket + "-absent")
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    for call in [
        s3.delete_bucket_policy,
        s3.delete_bucket_encryption,
        s3.delete_bucket_lifecycle,
        s3.delete_bucket_website,
        s3.delete_bucket_replication,
        s3.delete_public_access_block,
        s3.delete_bucket_cors,
        s3.delete_bucket_tagging,
    ]:
        assert status(call(Bucket=bucket)) == 204, call
    versioning = {"Status": "Enabled"}
    refused(
        "NotImplemented", 501, s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=versioning
    )
    refused("NotImplemented", 501, s3.put_bucket_policy, Bucket=bucket, Policy=json.dumps({}))


def test_access_lists_are_the_owners(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"", ACL="private")
    for acl in [s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(Bucket=bucket, Key="a")]:
        (grant,) = acl["Grants"]
        assert grant["Permission"] == "FULL_CONTROL"
        assert grant["Grantee"]["ID"] == acl["Owner"]["ID"]
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_object_acl(Bucket=bucket, Key="a", ACL="bucket-owner-full-control")
    code = "AccessControlListNotSupported"
    refused(code, 400, s3.put_bucket_acl, Bucket=bucket, ACL="public-read")
    refused(code, 400, s3.put_object, Bucket=bucket, Key="a", Body=b"", ACL="public-read")
    refused("NoSuchKey", 404, s3.get_object_acl, Bucket=bucket, Key="absent")


def test_bucket_tags(s3, bucket):
    tags = [{"Key": "project", "Value": "x y"}, {"Key": "größe", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    twice = {"TagSet": [tags[0], tags[0]]}
    refused("InvalidTag", 400, s3.put_bucket_tagging, Bucket=bucket, Tagging=twice)
    s3.delete_bucket_tagging(Bucket=bucket)
    refused("NoSuchTagSet", 404, s3.get_bucket_tagging, Bucket=bucket)


def test_cors(s3, bucket):
    rule = {
        "AllowedOrigins": ["https://*.example.org"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]

    def preflight(origin, method):
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        request = urllib.request.Request(f"{ENDPOINT}/{bucket}/k", method="OPTIONS", headers=asked)
        return urllib.request.urlopen(request)

    told = preflight("https://a.example.org", "PUT").headers
    assert told["Access-Control-Allow-Origin"] == "https://a.example.org"
    assert told["Access-Control-Allow-Methods"] == "GET, PUT"
    assert told["Access-Control-Max-Age"] == "60"
    for origin, method in [("https://example.com", "PUT"), ("https://a.example.org", "DELETE")]:
        try:
            preflight(origin, method)
            raise AssertionError("a preflight was allowed")
        except urllib.error.HTTPError as error:
            assert error.code == 403 and b"AccessForbidden" in error.read()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    request = urllib.request.Request(url, headers={"Origin": "https://a.example.org"})
    assert urllib.request.urlopen(request).headers["Access-Control-Allow-Origin"]
    bad = {"CORSRules": [{**rule, "AllowedMethods": ["PATCH"]}]}
    refused("InvalidRequest", 400, s3.put_bucket_cors, Bucket=bucket, CORSConfiguration=bad)
    s3.delete_bucket_cors(Bucket=bucket)
    refused("NoSuchCORSConfiguration", 404, s3.get_bucket_cors, Bucket=bucket)
