"""Presigned URLs, and buckets named by hosts."""

import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from support import ENDPOINT, MIB, body, client, keys, refused


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


def post(url, fields, data, name="f.txt"):
    """Sends a form as a browser does."""
    boundary = "----boundary"
    lines = []
    for field, value in fields.items():
        lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n')
    lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n')
    form = "".join(lines).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return fetch(url, "POST", form, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})


def test_forms(s3, bucket):
    for version in ["s3v4", None]:
        signer = client(signature_version=version) if version else s3
        form = signer.generate_presigned_post(
            bucket,
            "a/${filename}",
            Fields={"Content-Type": "c/d", "x-amz-meta-m": "1", "success_action_status": "201"},
            Conditions=[
                {"Content-Type": "c/d"},
                ["starts-with", "$x-amz-meta-m", ""],
                {"success_action_status": "201"},
                ["content-length-range", 2, 4 * MIB],
            ],
        )
        for data in [b"small", b"large\r\n------boundar" * 100_000]:
            code, answer = post(form["url"], form["fields"], data)
            assert code == 201 and b"<Key>a/f.txt</Key>" in answer, (code, answer)
            got = s3.get_object(Bucket=bucket, Key="a/f.txt")
            assert (body(got), got["ContentType"], got["Metadata"]) == (data, "c/d", {"m": "1"})
        for data, error in [(b"x", b"EntityTooSmall"), (b"x" * (4 * MIB + 1), b"EntityTooLarge")]:
            code, answer = post(form["url"], form["fields"], data)
            assert code == 400 and error in answer, (code, answer)
        code, answer = post(form["url"], {**form["fields"], "key": "b/x"}, b"data")
        assert code == 403 and b"AccessDenied" in answer, (code, answer)
        signature = "x-amz-signature" if version else "signature"
        code, answer = post(form["url"], {**form["fields"], signature: "0" * 64}, b"data")
        assert code == 403 and b"SignatureDoesNotMatch" in answer, (code, answer)
    code, answer = post(form["url"], {"key": "k"}, b"data")
    assert code == 403 and b"AccessDenied" in answer, (code, answer)
    refused("404", 404, s3.head_object, Bucket=bucket, Key="b/x")


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
