"""Uploads in parts."""

import hashlib
import io

from boto3.s3.transfer import TransferConfig

from support import MIB, refused, status, prefixes, body


def parts_of(s3, bucket, key, pieces, **options):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    asked = {"Bucket": bucket, "Key": key, "UploadId": upload}
    done = [
        {"PartNumber": number, "ETag": s3.upload_part(**asked, PartNumber=number, Body=piece)["ETag"]}
        for number, piece in pieces.items()
    ]
    return asked, done


def test_uploads_in_parts(s3, bucket):
    pieces = {1: b"a" * (5 * MIB), 3: b"b" * (5 * MIB), 10000: b"c"}
    kept = {"ContentType": "a/b", "Metadata": {"m": "1"}, "Tagging": "t=1"}
    asked, done = parts_of(s3, bucket, "k", pieces, **kept)
    listed = s3.list_parts(**asked)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [
        (number, len(piece)) for number, piece in pieces.items()
    ]
    page = s3.list_parts(**asked, MaxParts=1, PartNumberMarker=1)
    assert [part["PartNumber"] for part in page["Parts"]] == [3] and page["IsTruncated"]
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="k")
    completed = s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": done})
    md5s = b"".join(hashlib.md5(piece).digest() for piece in pieces.values())
    assert completed["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert body(got) == b"".join(pieces.values())
    assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("a/b", {"m": "1"}, 1)
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
    assert (status(part), part["PartsCount"], body(part)) == (206, 3, pieces[3])
    refused("InvalidPartNumber", 416, s3.get_object, Bucket=bucket, Key="k", PartNumber=2)
    refused("NoSuchUpload", 404, s3.list_parts, **asked)
    refused("NoSuchUpload", 404, s3.complete_multipart_upload, **asked, MultipartUpload={"Parts": done})
    # Part 1 is the whole of an object that came at once.
    s3.put_object(Bucket=bucket, Key="one", Body=b"x")
    assert body(s3.get_object(Bucket=bucket, Key="one", PartNumber=1)) == b"x"


def test_a_part_is_replaced_when_it_is_sent_again(s3, bucket):
    asked, _ = parts_of(s3, bucket, "k", {1: b"old"})
    new = s3.upload_part(**asked, PartNumber=1, Body=b"new")["ETag"]
    s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": new}]})
    assert body(s3.get_object(Bucket=bucket, Key="k")) == b"new"


def test_uploads_that_cannot_be_completed(s3, bucket):
    asked, (first, second) = parts_of(s3, bucket, "k", {1: b"x", 2: b"y"})

    def complete(*parts):
        return {**asked, "MultipartUpload": {"Parts": list(parts)}}

    call = s3.complete_multipart_upload
    refused("EntityTooSmall", 400, call, **complete(first, second))
    refused("InvalidPartOrder", 400, call, **complete(second, first))
    refused("InvalidPart", 400, call, **complete(first, {"PartNumber": 9, "ETag": second["ETag"]}))
    refused("InvalidPart", 400, call, **complete({"PartNumber": 1, "ETag": second["ETag"]}))
    refused("MalformedXML", 400, call, **asked)
    refused("MalformedXML", 400, call, **complete())
    for number in [0, 10001]:
        refused("InvalidArgument", 400, s3.upload_part, **asked, PartNumber=number, Body=b"x")
    absent = {**asked, "UploadId": "absent"}
    refused("NoSuchUpload", 404, s3.upload_part, **absent, PartNumber=1, Body=b"x")
    refused("NoSuchUpload", 404, s3.abort_multipart_upload, **absent)
    refused("NoSuchUpload", 404, s3.list_parts, **{**asked, "Key": "other"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"first")
    refused("PreconditionFailed", 412, call, **complete(first), IfNoneMatch="*")
    call(**complete(first))
    assert body(s3.get_object(Bucket=bucket, Key="k")) == b"x"


def test_uploads_are_listed_and_aborted(s3, bucket):
    ids = {}
    for key in ["a", "b/1", "b/2", "c"]:
        ids[key] = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    again = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [entry["Key"] for entry in listed] == ["a", "a", "b/1", "b/2", "c"]
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert prefixes(grouped) == ["b/"] and len(grouped["Uploads"]) == 3
    found, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **marker)
        found += [entry["UploadId"] for entry in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(found) == sorted([*ids.values(), again])
    s3.upload_part(Bucket=bucket, Key="a", UploadId=again, PartNumber=1, Body=b"x")
    assert status(s3.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=again)) == 204
    refused("NoSuchUpload", 404, s3.list_parts, Bucket=bucket, Key="a", UploadId=again)
    assert len(s3.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 4
    assert s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_parts_are_copied(s3, bucket):
    data = bytes(range(256)) * (6 * MIB // 256)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    asked = {"Bucket": bucket, "Key": "k", "UploadId": upload, "CopySource": f"{bucket}/source"}
    copy = s3.upload_part_copy
    done = [
        copy(**asked, PartNumber=1)["CopyPartResult"],
        copy(**asked, PartNumber=2, CopySourceRange="bytes=5-14")["CopyPartResult"],
    ]
    assert done[1]["ETag"] == f'"{hashlib.md5(data[5:15]).hexdigest()}"'
    for text in ["bytes=0-", "0-5", f"bytes=0-{len(data)}"]:
        refused("InvalidArgument", 400, copy, **asked, PartNumber=3, CopySourceRange=text)
    refused("InvalidRange", 416, copy, **asked, PartNumber=3, CopySourceRange=f"bytes={len(data)}-{len(data) + 1}")
    refused("PreconditionFailed", 412, copy, **asked, PartNumber=3, CopySourceIfMatch='"x"')
    refused("NoSuchKey", 404, copy, **{**asked, "CopySource": f"{bucket}/absent"}, PartNumber=3)
    parts = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(done, 1)]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert body(s3.get_object(Bucket=bucket, Key="k")) == data + data[5:15]


def test_managed_transfers(s3, bucket):
    data = bytes(range(251)) * (20 * MIB // 251)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(data), bucket, "big", Config=config)
    target = io.BytesIO()
    s3.download_fileobj(bucket, "big", target, Config=config)
    assert target.getvalue() == data
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy", Config=config)
    assert body(s3.get_object(Bucket=bucket, Key="copy")) == data
