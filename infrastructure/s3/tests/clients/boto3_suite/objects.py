"""Objects: written, read, copied, removed."""

import base64
import datetime
import hashlib
import time
import urllib.request

from support import MIB, refused, status, headers, keys, prefixes, body, fill


def test_objects_come_back_as_they_were(s3, bucket):
    for data in [b"", b"x", b"y" * 1000, bytes(range(256)) * 4096, b"z" * (3 * MIB + 17)]:
        put = s3.put_object(Bucket=bucket, Key="k", Body=data)
        assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
        got = s3.get_object(Bucket=bucket, Key="k")
        assert body(got) == data and got["ContentLength"] == len(data)
        assert got["ETag"] == put["ETag"] and got["ContentType"] == "binary/octet-stream"
        head = s3.head_object(Bucket=bucket, Key="k")
        assert head["ContentLength"] == len(data) and head["ETag"] == put["ETag"]
        age = datetime.datetime.now(datetime.timezone.utc) - head["LastModified"]
        assert age < datetime.timedelta(seconds=30)
    refused("404", 404, s3.head_object, Bucket=bucket, Key="absent")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="absent")


def test_headers_and_metadata_are_kept(s3, bucket):
    kept = {
        "ContentType": "text/plain; charset=utf-8",
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "CacheControl": "no-cache",
        "WebsiteRedirectLocation": "/elsewhere",
        "Metadata": {"colour": "blue", "x-y": "1, 2"},
        "StorageClass": "STANDARD_IA",
    }
    expires = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Expires=expires, **kept)
    for found in [s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")]:
        assert {name: found.get(name) for name in kept} == kept, found
        assert found["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT"
    many = {"m": "x" * 2048}
    refused("MetadataTooLarge", 400, s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata=many)
    bad = {"Bucket": bucket, "Key": "k", "Body": b"", "StorageClass": "COLD"}
    refused("InvalidStorageClass", 400, s3.put_object, **bad)
    encrypted = {"Bucket": bucket, "Key": "k", "Body": b"", "ServerSideEncryption": "AES256"}
    refused("NotImplemented", 501, s3.put_object, **encrypted)


def test_responses_are_overridden(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="a/b")
    got = s3.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="c/d",
        ResponseContentDisposition="inline",
        ResponseCacheControl="no-store",
        ResponseContentLanguage="fr",
        ResponseContentEncoding="x",
    )
    assert got["ContentType"] == "c/d" and got["ContentDisposition"] == "inline"
    assert got["CacheControl"] == "no-store" and got["ContentLanguage"] == "fr"


def test_keys_may_be_any_text(s3, bucket):
    names = [
        "plain", "with space", "a+b", "a%2Fb", "ünïcödé/日本語/🦀", "..", "../up", "a/../b", "a//b",
        "folder/", "/lead", "q?x=1&y=2#z", "semi;colon,comma", "quote\"'`", "<xml>&amp;", "~tilde*!()",
        "back\\slash", "new\nline", "tab\t", "k" * 1024,
    ]  # fmt: skip
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    for name in names:
        assert body(s3.get_object(Bucket=bucket, Key=name)) == name.encode(), name
    expected = sorted(names, key=lambda name: name.encode())
    for listed in [s3.list_objects_v2(Bucket=bucket), s3.list_objects(Bucket=bucket)]:
        assert keys(listed) == expected, keys(listed)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": names[4]})
    assert urllib.request.urlopen(url).read() == names[4].encode()
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in names]})
    assert sorted(entry["Key"] for entry in gone["Deleted"]) == sorted(names)
    assert keys(s3.list_objects_v2(Bucket=bucket)) == []
    refused("KeyTooLongError", 400, s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"")


def test_ranges(s3, bucket):
    data = bytes(range(256)) * 40
    s3.put_object(Bucket=bucket, Key="k", Body=data)

    def get(text):
        got = s3.get_object(Bucket=bucket, Key="k", Range=text)
        return status(got), got.get("ContentRange"), body(got)

    size = len(data)
    assert get("bytes=0-9") == (206, f"bytes 0-9/{size}", data[:10])
    assert get("bytes=100-") == (206, f"bytes 100-{size - 1}/{size}", data[100:])
    assert get("bytes=-5") == (206, f"bytes {size - 5}-{size - 1}/{size}", data[-5:])
    assert get(f"bytes=-{size + 9}") == (206, f"bytes 0-{size - 1}/{size}", data)
    assert get(f"bytes=10-{size + 100}")[2] == data[10:]
    assert get("bytes=5-1") == (200, None, data)
    assert get("nonsense") == (200, None, data)
    assert get("bytes=0-1,4-5") == (200, None, data)
    for text in [f"bytes={size}-", "bytes=-0"]:
        error = refused("InvalidRange", 416, s3.get_object, Bucket=bucket, Key="k", Range=text)
        assert headers(error)["content-range"] == f"bytes */{size}"
    head = s3.head_object(Bucket=bucket, Key="k", Range="bytes=1-3")
    assert (status(head), head["ContentLength"]) == (206, 3)
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    refused("InvalidRange", 416, s3.get_object, Bucket=bucket, Key="empty", Range="bytes=0-")


def test_conditions_on_reads(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    hour = datetime.timedelta(hours=1)
    now = datetime.datetime.now(datetime.timezone.utc)
    asked = {"Bucket": bucket, "Key": "k"}
    for held in [
        {"IfMatch": etag},
        {"IfMatch": "*"},
        {"IfNoneMatch": '"other"'},
        {"IfModifiedSince": now - hour},
        {"IfUnmodifiedSince": now + hour},
        {"IfMatch": etag, "IfUnmodifiedSince": now - hour},
        {"IfNoneMatch": '"other"', "IfModifiedSince": now + hour},
    ]:
        assert body(s3.get_object(**asked, **held)) == b"x", held
    for failed in [{"IfMatch": '"other"'}, {"IfUnmodifiedSince": now - hour}]:
        refused("PreconditionFailed", 412, s3.get_object, **asked, **failed)
        refused("412", 412, s3.head_object, **asked, **failed)
    time.sleep(1.1 - time.time() % 1)
    since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
    for known in [{"IfNoneMatch": etag}, {"IfNoneMatch": "*"}, {"IfModifiedSince": since}]:
        answer = refused("304", 304, s3.get_object, **asked, **known)
        assert headers(answer)["etag"] == etag
        refused("304", 304, s3.head_object, **asked, **known)


def test_conditions_on_writes(s3, bucket):
    asked = {"Bucket": bucket, "Key": "k"}
    etag = s3.put_object(**asked, Body=b"1", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", 412, s3.put_object, **asked, Body=b"2", IfNoneMatch="*")
    refused("PreconditionFailed", 412, s3.put_object, **asked, Body=b"2", IfMatch='"other"')
    second = s3.put_object(**asked, Body=b"2", IfMatch=etag)["ETag"]
    refused("PreconditionFailed", 412, s3.put_object, **asked, Body=b"3", IfMatch=etag)
    absent = {"Bucket": bucket, "Key": "absent"}
    refused("NoSuchKey", 404, s3.put_object, **absent, Body=b"3", IfMatch=etag)
    refused("PreconditionFailed", 412, s3.delete_object, **asked, IfMatch=etag)
    assert body(s3.get_object(**asked)) == b"2"
    s3.delete_object(**asked, IfMatch=second)
    refused("NoSuchKey", 404, s3.get_object, **asked)
    assert status(s3.delete_object(**asked)) == 204


def test_copies(s3, bucket):
    kept = {"ContentType": "a/b", "Metadata": {"m": "1"}, "Tagging": "t=1"}
    etag = s3.put_object(Bucket=bucket, Key="a b+ü", Body=b"data", **kept)["ETag"]
    source = {"Bucket": bucket, "Key": "a b+ü"}
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert copied["CopyObjectResult"]["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key="copy")
    assert (body(got), got["ContentType"], got["Metadata"], got["TagCount"]) == (b"data", "a/b", {"m": "1"}, 1)
    s3.copy_object(
        Bucket=bucket,
        Key="new",
        CopySource=f"/{bucket}/a b+ü",
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
        ContentType="c/d",
        TaggingDirective="REPLACE",
        Tagging="u=2&v=3",
    )
    got = s3.get_object(Bucket=bucket, Key="new")
    assert (body(got), got["ContentType"], got["Metadata"], got["TagCount"]) == (b"data", "c/d", {"n": "2"}, 2)
    refused("InvalidRequest", 400, s3.copy_object, Bucket=bucket, Key="copy", CopySource=f"{bucket}/copy")
    replace = {"MetadataDirective": "REPLACE", "Metadata": {"o": "3"}}
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/copy", **replace)
    assert s3.head_object(Bucket=bucket, Key="copy")["Metadata"] == {"o": "3"}
    copy = {"Bucket": bucket, "Key": "k"}
    refused("NoSuchKey", 404, s3.copy_object, **copy, CopySource=f"{bucket}/absent")
    refused("NoSuchBucket", 404, s3.copy_object, **copy, CopySource=f"{bucket}-absent/k")
    refused("PreconditionFailed", 412, s3.copy_object, **copy, CopySource=source, CopySourceIfMatch='"x"')
    refused("PreconditionFailed", 412, s3.copy_object, **copy, CopySource=source, CopySourceIfNoneMatch=etag)
    s3.copy_object(**copy, CopySource=source, CopySourceIfMatch=etag)
    computed = s3.copy_object(**copy, CopySource=source, ChecksumAlgorithm="SHA256")
    expected = base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    assert computed["CopyObjectResult"]["ChecksumSHA256"] == expected


def test_deletes_of_many(s3, bucket):
    fill(s3, bucket, ["a", "b", "c"])
    objects = [{"Key": "a"}, {"Key": "b", "VersionId": "null"}, {"Key": "absent"}, {"Key": "c", "VersionId": "7"}]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [entry["Key"] for entry in gone["Deleted"]] == ["a", "b", "absent"]
    assert [(entry["Key"], entry["Code"]) for entry in gone["Errors"]] == [("c", "NoSuchVersion")]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "c"}], "Quiet": True})
    assert "Deleted" not in quiet and keys(s3.list_objects(Bucket=bucket)) == []
    many = {"Objects": [{"Key": str(number)} for number in range(1001)]}
    refused("MalformedXML", 400, s3.delete_objects, Bucket=bucket, Delete=many)


def test_object_tags(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=%2F")
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "/"}]
    before = s3.head_object(Bucket=bucket, Key="k")
    new = [{"Key": "c", "Value": "3"}]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": new})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == new
    after = s3.head_object(Bucket=bucket, Key="k")
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])
    assert status(s3.delete_object_tagging(Bucket=bucket, Key="k")) == 204
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert "TagCount" not in s3.get_object(Bucket=bucket, Key="k")
    many = {"TagSet": [{"Key": str(number), "Value": ""} for number in range(11)]}
    refused("BadRequest", 400, s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=many)
    refused("NoSuchKey", 404, s3.get_object_tagging, Bucket=bucket, Key="absent")


def test_versions_are_null(s3, bucket):
    fill(s3, bucket, ["a", "b/1", "b/2", "c"])
    listed = s3.list_object_versions(Bucket=bucket, MaxKeys=3)
    found = [(entry["Key"], entry["VersionId"], entry["IsLatest"]) for entry in listed["Versions"]]
    assert found == [(key, "null", True) for key in ["a", "b/1", "b/2"]]
    assert listed["IsTruncated"] and listed["NextKeyMarker"] == "b/2"
    rest = s3.list_object_versions(
        Bucket=bucket, KeyMarker=listed["NextKeyMarker"], VersionIdMarker=listed["NextVersionIdMarker"]
    )
    assert [entry["Key"] for entry in rest["Versions"]] == ["c"] and not rest["IsTruncated"]
    grouped = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert prefixes(grouped) == ["b/"]
    assert body(s3.get_object(Bucket=bucket, Key="a", VersionId="null")) == b"a"
    refused("InvalidArgument", 400, s3.get_object, Bucket=bucket, Key="a", VersionId="other")
    refused("InvalidArgument", 400, s3.list_object_versions, Bucket=bucket, VersionIdMarker="null")
