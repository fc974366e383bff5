"""Snapshot files, read and forged by other hands than the server's."""

import struct
from dataclasses import dataclass, field

HEADER_BYTES = 64
_RECORD_HEADER_BYTES = 32
_DEFINITION, _ENTRIES, _FOOTER = 1, 2, 3


@dataclass
class Snapshot:
    """What a file holds: of each namespace its values by key."""

    format: int
    millis: int
    spaces: dict = field(default_factory=dict)


def _number(data, at):
    number, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def _text(data, at):
    length, at = _number(data, at)
    return data[at : at + length].decode(), at + length


def _entries(payload, at):
    while at < len(payload):
        flags = payload[at]
        _version, at = _number(payload, at + 1)
        at += 12 if flags & 1 else 6
        key_bytes, at = _number(payload, at)
        value_bytes, at = _number(payload, at)
        value_at = at + key_bytes
        yield payload[at:value_at].decode(), payload[value_at : value_at + value_bytes]
        at = value_at + value_bytes


def read(data):
    """The content of a whole file; checksums are left to the server."""
    assert data[:8] == b"PYKVSNAP"
    form, _salt, millis = struct.unpack_from("<IIQ", data, 8)
    snapshot, names, at, counted = Snapshot(form, millis), {}, HEADER_BYTES, 0
    while True:
        (length,) = struct.unpack_from("<I", data, at + 4)
        payload = data[at + _RECORD_HEADER_BYTES : at + _RECORD_HEADER_BYTES + length]
        at += (_RECORD_HEADER_BYTES + length + 7) // 8 * 8
        if payload[0] == _FOOTER:
            namespaces, _records, entries = struct.unpack_from("<QQQ", payload, 1)
            assert (namespaces, entries) == (len(names), counted)
            assert at == len(data), "something follows the footer"
            return snapshot
        number, behind = _number(payload, 1)
        if payload[0] == _DEFINITION:
            names[number], _ = _text(payload, behind)
            snapshot.spaces[names[number]] = {}
            continue
        assert payload[0] == _ENTRIES
        space = snapshot.spaces[names[number]]
        for key, value in _entries(payload, behind):
            assert key not in space, f"{key} is there twice"
            space[key] = value
            counted += 1


def crc32c(data):
    """Castagnoli, a bit at a time: for the few bytes of a header."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def of_format(data, number):
    """The same file as one of another format, with its header's checksum right."""
    head = bytearray(data[:HEADER_BYTES])
    struct.pack_into("<I", head, 8, number)
    struct.pack_into("<I", head, 60, crc32c(head[:60]))
    return bytes(head) + data[HEADER_BYTES:]
