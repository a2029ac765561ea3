"""Presigned URLs, and buckets named by hosts."""

import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from support import ENDPOINT, client, status, headers, keys, body


def fetch(url, method="GET", data=None, **more):
    request = urllib.request.Request(url, method=method, data=data, headers=more)
    try:
        answer = urllib.request.urlopen(request)
        return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_presigned_urls(s3, bucket):
    short = []
    for version in ["s3v4", None]:
        signer = client(signature_version=version) if version else s3
        asked = {"Bucket": bucket, "Key": "a b/ü+"}
        url = signer.generate_presigned_url("put_object", Params={**asked, "Metadata": {"m": "1"}}, ExpiresIn=60)
        # What boto3 signs as a header must be sent as one.
        code, answer = fetch(url, "PUT", b"data", **{"x-amz-meta-m": "1", "Content-Type": ""})
        assert code == 200, answer
        assert s3.head_object(**asked)["Metadata"] == {"m": "1"}
        url = signer.generate_presigned_url("get_object", Params={**asked, "ResponseContentType": "c/d"})
        assert fetch(url) == (200, b"data")
        assert urllib.request.urlopen(url).headers["Content-Type"] == "c/d"
        assert fetch(url.replace("a%20b", "a%20c"))[0] == 403
        assert fetch(url, "DELETE")[0] == 403
        short.append(signer.generate_presigned_url("get_object", Params=asked, ExpiresIn=1))
    time.sleep(2.1)
    for url in short:
        code, answer = fetch(url)
        assert code == 403 and b"Request has expired" in answer, answer
    assert fetch(f"{ENDPOINT}/{bucket}/k")[0] == 403


def test_virtual_hosts(s3, bucket):
    port = urlsplit(ENDPOINT).port
    virtual = boto3.client(
        "s3",
        endpoint_url=f"http://localhost:{port}",
        aws_access_key_id="lab",
        aws_secret_access_key="lab-secret",
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "virtual"}),
    )
    sent = []
    virtual.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    # Names below `localhost` need no resolver here: the connection goes to the address.
    resolve = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    try:
        virtual.put_object(Bucket=bucket, Key="a/b", Body=b"x")
        assert body(virtual.get_object(Bucket=bucket, Key="a/b")) == b"x"
        assert keys(virtual.list_objects_v2(Bucket=bucket)) == ["a/b"]
    finally:
        socket.getaddrinfo = resolve
    assert all(url.startswith(f"http://{bucket}.localhost:{port}/") for url in sent), sent
