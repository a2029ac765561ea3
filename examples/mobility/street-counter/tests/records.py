"""The record protocol (docs/protocol/record.md) for tests: requests in, answers out."""

import struct


def request(method="POST", path="/", headers=(), body=b""):
    """One request as bytes."""
    parts = [bytes([1, len(method)]), method.encode()]
    parts += [struct.pack("<H", len(path)), path.encode(), struct.pack("<H", len(headers))]
    for text in (text for header in headers for text in header):
        parts += [struct.pack("<H", len(text)), text.encode()]
    record = b"".join(parts) + body
    return struct.pack("<I", len(record)) + record


def jpeg(body):
    """A JPEG frame."""
    return request(headers=[("content-type", "image/jpeg")], body=body)


def luminance(body, width, height):
    """A raw frame."""
    headers = [("content-type", "application/x-luminance")]
    headers += [("x-width", str(width)), ("x-height", str(height))]
    return request(headers=headers, body=body)


def answers(data):
    """All answers in `data` as (status, content type, body)."""
    at, found = 0, []
    while at < len(data):
        size, version, status, length = struct.unpack_from("<IBHH", data, at)
        assert version == 1, version
        kind = data[at + 9 : at + 9 + length].decode()
        found.append((status, kind, data[at + 9 + length : at + 4 + size]))
        at += 4 + size
    assert at == len(data), "the last answer is cut off"
    return found
