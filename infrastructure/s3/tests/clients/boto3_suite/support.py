"""What the tests share."""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
MIB = 1 << 20


def client(key="lab", region="us-east-1", **options):
    options = {"retries": {"max_attempts": 0}, "read_timeout": 20, **options}
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        aws_access_key_id=key,
        aws_secret_access_key=key + "-secret",
        region_name=region,
        config=Config(**options),
    )


def refused(code, status, call, **arguments):
    """The call fails with this code and status."""
    try:
        call(**arguments)
    except ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, status), f"{found} instead of {(code, status)}: {error}"
        return error.response
    raise AssertionError(f"nothing was refused, {code} was expected")


def status(response):
    return response["ResponseMetadata"]["HTTPStatusCode"]


def headers(response):
    return response["ResponseMetadata"]["HTTPHeaders"]


def keys(response):
    return [entry["Key"] for entry in response.get("Contents", [])]


def prefixes(response):
    return [entry["Prefix"] for entry in response.get("CommonPrefixes", [])]


def body(response):
    return response["Body"].read()


def fill(s3, bucket, names):
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
