"""HTTP/2 by its frames, with nothing that keeps a caller polite: for clients that mean no good."""

import base64
import select
import socket
import struct
import time
from collections import Counter

import hpack
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">HBBBI")
_KINDS = {0: "data", 1: "headers", 3: "reset", 4: "settings", 6: "ping", 7: "goaway", 8: "window"}
_ACK, _END_STREAM, _PADDED = 1, 1, 8
_CODES = dict(
    enumerate(
        "NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED "
        "FRAME_SIZE_ERROR REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR "
        "ENHANCE_YOUR_CALM".split()
    )
)
_SEND_BYTES = 64 << 10
# Everything a caller could be granted.
_WINDOW_MAX = (1 << 31) - 1
SET = "/pykv.v1.KeyValueService/Set"
SCAN = "/pykv.v1.KeyValueService/ScanEntries"


def dial(address):
    """A plain connection."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=5)


def message(body, flag=0, length=None):
    """A gRPC message, as long as it is or claims to be."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def set_request(key, size):
    """A SetRequest of that key with a value of `size` zeros, spelled out."""
    return b"\x12" + _varint(len(key)) + key + b"\x1a" + _varint(size) + bytes(size)


def _varint(number):
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found + bytes([number]))


class Wire:
    """A connection that sends whatever it is given, and counts in `seen` what comes back."""

    def __init__(self, address, settings=None, answers_pings=True):
        self.socket = dial(address)
        self.socket.setblocking(False)
        self.seen = Counter()
        self.answers_pings = answers_pings
        # What may be sent, over all and for each stream that was asked about.
        self.credit, self.initial, self.credits = 65_535, 65_535, {}
        self.closed = False
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._received, self._owed = bytearray(), b""
        self._stream = -1
        self.send(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def is_over(self):
        """Whether the server has ended it."""
        return self.closed or any(name.startswith("goaway") for name in self.seen)

    def next_stream(self):
        """A new stream."""
        self._stream += 2
        self.credits[self._stream] = self.initial
        return self._stream

    def block(self, path=SET, extra=()):
        """The headers of a call, packed; to be sent in the order in which they are made."""
        fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost")]
        fields += [(":path", path), ("content-type", "application/grpc"), ("te", "trailers")]
        return self._encoder.encode([*fields, *extra])

    def headers(self, stream, path=SET, extra=(), flags=("END_HEADERS",)):
        """The frame that opens a call."""
        return HeadersFrame(stream, self.block(path, extra), flags=flags).serialize()

    def send(self, data, seconds=5.0):
        """Sends, reading meanwhile, until all is gone, the server ends it, or time is up."""
        end, left = time.monotonic() + seconds, memoryview(data)
        while left and not self.is_over and (wait := end - time.monotonic()) > 0:
            can_read, can_write, _ = select.select([self.socket], [self.socket], [], wait)
            if can_read:
                self._take()
            if can_write and not self.is_over:
                try:
                    left = left[self.socket.send(left[:_SEND_BYTES]) :]
                except BlockingIOError:
                    pass
                except OSError:
                    self._end()
        return not left

    def read(self, seconds, until=None):
        """Reads for that long, or until it is over, or `until` is true."""
        end = time.monotonic() + seconds
        while not self.closed and not (until and until()):
            wait = end - time.monotonic()
            if wait <= 0 or not select.select([self.socket], [], [], wait)[0]:
                return
            self._take()
            self._pay()

    def answered(self, stream, seconds=5.0):
        """Reads until a call has ended, by an answer or a reset."""
        self.read(seconds, lambda: self.seen[f"{stream}"] or self.is_over)
        return bool(self.seen[f"{stream}"])

    def greeted(self):
        """Reads until the server has told its settings: how much it takes at once."""
        self.read(5, lambda: self.seen["settings"])

    def pour(self, stream, body, seconds=5.0, last=False):
        """Sends `body` as DATA as fast as the windows allow; says how much went out."""
        end, sent = time.monotonic() + seconds, 0
        while sent < len(body) and not self.is_over and f"{stream}" not in self.seen:
            size = min(16_384, len(body) - sent, self.credit, self.credits[stream])
            if size <= 0:
                if time.monotonic() > end:
                    break
                self.read(0.01, lambda: min(self.credit, self.credits[stream]) > 0)
                continue
            flags = ("END_STREAM",) if last and sent + size == len(body) else ()
            if not self.send(DataFrame(stream, body[sent : sent + size], flags=flags).serialize()):
                break
            sent += size
            self.credit -= size
            self.credits[stream] -= size
        return sent

    def _end(self):
        if not self.closed:
            self.closed = True
            self.seen["closed"] += 1

    def _take(self):
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        received, at = self._received, 0
        received += data
        while len(received) - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(received, at)
            size = high << 8 | low
            if len(received) - at < 9 + size:
                break
            at += 9 + size
            self._frame(_KINDS.get(kind), flags, stream, bytes(received[at - size : at]))
        del received[:at]

    def _frame(self, kind, flags, stream, body):
        if kind == "goaway":
            self.seen[f"goaway {_code(body[4:8])}"] += 1
        elif kind == "reset":
            self.seen[f"reset {_code(body)}"] += 1
            self.seen[f"{stream}"] += 1
        elif kind == "ping":
            self.seen["pong" if flags & _ACK else "ping"] += 1
            if self.answers_pings and not flags & _ACK:
                self._owed += b"\0\0\x08\x06\x01\0\0\0\0" + body
        elif kind == "settings":
            self.seen["settings acknowledged" if flags & _ACK else "settings"] += 1
            for at in range(0, len(body), 6):
                setting, value = struct.unpack_from(">HI", body, at)
                if setting == SettingsFrame.INITIAL_WINDOW_SIZE:
                    self.credits = {
                        s: credit + value - self.initial for s, credit in self.credits.items()
                    }
                    self.initial = value
            if not flags & _ACK:
                # Until then the server counts with what every caller may assume.
                self._owed += b"\0\0\0\x04\x01\0\0\0\0"
        elif kind == "window":
            [more] = struct.unpack(">I", body)
            if stream:
                self.credits[stream] = self.credits.get(stream, self.initial) + more
            else:
                self.credit += more
        elif kind == "headers":
            for name, value in self._decoder.decode(body):
                if name in (":status", "grpc-status") and (name, value) != (":status", "200"):
                    self.seen[f"{name} {value}"] += 1
                elif name == "grpc-status-details-bin" and "RetryInfo" in _text(value):
                    self.seen["RetryInfo"] += 1
            if flags & _END_STREAM:
                self.seen[f"{stream}"] += 1
        elif kind == "data":
            self.seen["data bytes"] += len(body)

    def _pay(self):
        # Between frames only: never while a part of one is on its way.
        owed, self._owed = self._owed, b""
        if owed:
            self.send(owed)

    def open_windows(self):
        """Lets the server send as much as it likes."""
        self.send(WindowUpdateFrame(0, window_increment=_WINDOW_MAX - 65_535).serialize())

    def outcome(self):
        """What came back, without what was counted for single streams."""
        return Counter({name: count for name, count in self.seen.items() if not name.isdigit()})


def _text(value):
    return base64.b64decode(value + "=" * (-len(value) % 4)).decode(errors="replace")


def _code(body):
    number = int.from_bytes(body, "big")
    return _CODES.get(number, str(number))
