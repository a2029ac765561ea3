"""Checksums: in headers, in trailers, of parts."""

import base64
import hashlib
import io
import zlib

from support import MIB, client, refused, headers, body


def b64(value):
    return base64.b64encode(value).decode()


def test_checksums_are_verified_kept_and_returned(s3, bucket):
    data = b"checksummed" * 1000
    values = {
        "CRC32": b64(zlib.crc32(data).to_bytes(4, "big")),
        "SHA1": b64(hashlib.sha1(data).digest()),
        "SHA256": b64(hashlib.sha256(data).digest()),
    }
    for name, value in values.items():
        field = "Checksum" + name
        for given in [{"ChecksumAlgorithm": name}, {field: value}]:
            put = s3.put_object(Bucket=bucket, Key="k", Body=data, **given)
            assert put[field] == value, given
            got = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
            assert (got[field], got["ChecksumType"]) == (value, "FULL_OBJECT")
        plain = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize"])
        assert plain["Checksum"][field] == value and plain["ObjectSize"] == len(data)
        wrong = {field: b64(b"\0" * len(base64.b64decode(value)))}
        refused("BadDigest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=data, **wrong)
        refused("InvalidRequest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=data, **{field: "x"})
    refused("BadDigest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=data, ContentMD5=b64(bytes(16)))
    refused("InvalidDigest", 400, s3.put_object, Bucket=bucket, Key="bad", Body=data, ContentMD5="x")
    refused("NoSuchKey", 404, s3.get_object, Bucket=bucket, Key="bad")
    # What has no checksum gets one.
    quiet = client(request_checksum_calculation="when_required")
    quiet.put_object(Bucket=bucket, Key="k", Body=data)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert "x-amz-checksum-crc64nvme" in headers(head)
    assert "x-amz-checksum-crc64nvme" not in headers(s3.head_object(Bucket=bucket, Key="k"))


def test_checksums_in_trailers(s3, bucket):
    # A body that cannot be read twice is sent in chunks, its checksum behind them.
    class Stream(io.RawIOBase):
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.inner.readinto(buffer)

        def seekable(self):
            return True

        def seek(self, *place):
            return self.inner.seek(*place)

        def tell(self):
            return self.inner.tell()

    for size in [0, 5, 70_000, 3 * MIB]:
        data = b"t" * size
        put = s3.put_object(Bucket=bucket, Key="k", Body=Stream(data), ChecksumAlgorithm="SHA256")
        assert put["ChecksumSHA256"] == b64(hashlib.sha256(data).digest())
        got = s3.get_object(Bucket=bucket, Key="k")
        assert body(got) == data and "ContentEncoding" not in got


def test_checksums_of_uploads_in_parts(s3, bucket):
    pieces = [b"a" * (5 * MIB), b"b" * 1000]
    whole = b"".join(pieces)

    def upload(algorithm, kind):
        created = s3.create_multipart_upload(
            Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, **({"ChecksumType": kind} if kind else {})
        )
        asked = {"Bucket": bucket, "Key": "k", "UploadId": created["UploadId"]}
        parts = []
        for number, piece in enumerate(pieces, 1):
            part = s3.upload_part(**asked, PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm)
            field = "Checksum" + algorithm
            parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
        return s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})

    crc = upload("CRC32", "FULL_OBJECT")
    assert crc["ChecksumCRC32"] == b64(zlib.crc32(whole).to_bytes(4, "big"))
    assert crc["ChecksumType"] == "FULL_OBJECT"
    for algorithm, digest in [("SHA256", hashlib.sha256), ("SHA1", hashlib.sha1)]:
        done = upload(algorithm, None)
        composite = digest(b"".join(digest(piece).digest() for piece in pieces)).digest()
        assert done["Checksum" + algorithm] == b64(composite) + "-2", done
        assert done["ChecksumType"] == "COMPOSITE"
        told = s3.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectParts", "ObjectSize", "StorageClass"]
        )
        assert told["Checksum"]["Checksum" + algorithm] == b64(composite)
        assert told["ObjectParts"]["TotalPartsCount"] == 2 and told["StorageClass"] == "STANDARD"
        assert told["ObjectParts"]["Parts"][1]["Checksum" + algorithm] == b64(digest(pieces[1]).digest())
        assert body(s3.get_object(Bucket=bucket, Key="k")) == whole
    call = s3.create_multipart_upload
    refused(
        "InvalidRequest", 400, call, Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT"
    )
    other = call(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    part = {"Bucket": bucket, "Key": "k", "UploadId": other, "PartNumber": 1, "Body": b"x"}
    refused("InvalidRequest", 400, s3.upload_part, **part, ChecksumAlgorithm="SHA1")
