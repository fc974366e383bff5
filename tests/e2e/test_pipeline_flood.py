"""Callers that send and do not read: held back by flow control, nothing lost, memory bounded."""

import socket
import struct

from harness.calls import Client
from harness.pipes import get, kind
from harness.server import Server
from harness.wire import pb

MEBIBYTE = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# What a peer may send before it says otherwise.
WINDOW_BYTES = 65_535


def _frame(frame_type, flags, stream, payload=b""):
    length = struct.pack(">I", len(payload))[1:]
    return length + struct.pack(">BBI", frame_type, flags, stream) + payload


def _literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _headers(address):
    """Header fields of a pipeline, each spelled out."""
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", address.encode())]
    fields += [(b":path", b"/pykv.v1.KeyValueService/Pipeline")]
    fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    return b"".join(_literal(name, value) for name, value in fields)


class Flood:
    """Pipelines over one connection in bare HTTP/2: a frame for each request, and no reading ahead."""

    def __init__(self, address, streams=1):
        host, port = address.split(":")
        self.wire = socket.create_connection((host, port), timeout=20)
        self.streams = [2 * number + 1 for number in range(streams)]
        self.window = WINDOW_BYTES
        self.stream_window = dict.fromkeys(self.streams, WINDOW_BYTES)
        self.window_first = WINDOW_BYTES
        self.input = b""
        self.data = {stream: [] for stream in self.streams}
        self.ended, self.gone = set(), None
        self.unreported = 0
        block = _headers(address)
        self.wire.sendall(PREFACE + _frame(SETTINGS, 0, 0))
        self.wire.sendall(b"".join(_frame(HEADERS, END_HEADERS, s, block) for s in self.streams))

    def close(self):
        """Hangs up."""
        self.wire.close()

    def send(self, stream, messages, start):
        """Sends messages from `start` on, as far as the windows allow; returns how far that was."""
        out = []
        while start < len(messages):
            size = len(messages[start])
            if size > min(self.window, self.stream_window[stream]):
                break
            self.window -= size
            self.stream_window[stream] -= size
            out.append(_frame(DATA, 0, stream, messages[start]))
            start += 1
        self.wire.sendall(b"".join(out))
        return start

    def end(self, stream):
        """Sends nothing more on a stream."""
        self.wire.sendall(_frame(DATA, END_STREAM, stream))

    def listen(self, seconds, report=False):
        """Takes what comes until nothing does for so long; true if anything came. Without `report`
        the server never learns that its answers were read."""
        self.wire.settimeout(seconds)
        try:
            received = self.wire.recv(1 << 18)
        except TimeoutError:
            return False
        assert received, "the connection was closed"
        self.input += received
        while len(self.input) >= 9:
            length = int.from_bytes(self.input[:3], "big")
            if len(self.input) < 9 + length:
                break
            kind_, flags, stream = struct.unpack(">BBI", self.input[3:9])
            payload, self.input = self.input[9 : 9 + length], self.input[9 + length :]
            self._take(kind_, flags, stream, payload)
        if report:
            self.report()
        return True

    def report(self):
        """Lets the server send as much again as was read."""
        if self.unreported:
            size = struct.pack(">I", self.unreported)
            self.wire.sendall(_frame(WINDOW_UPDATE, 0, 0, size))
            for stream in self.streams:
                self.wire.sendall(_frame(WINDOW_UPDATE, 0, stream, size))
            self.unreported = 0

    def _take(self, kind_, flags, stream, payload):
        if kind_ == DATA:
            self.data[stream].append(payload)
            self.unreported += len(payload)
        elif kind_ == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == 4:
                    for one in self.streams:
                        self.stream_window[one] += value - self.window_first
                    self.window_first = value
            self.wire.sendall(_frame(SETTINGS, ACK, 0))
        elif kind_ == PING and not flags & ACK:
            self.wire.sendall(_frame(PING, ACK, 0, payload))
        elif kind_ == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self.stream_window[stream] += more
            else:
                self.window += more
        elif kind_ in (GOAWAY, RST_STREAM):
            raise AssertionError(f"the server gave up: {kind_} {payload!r}")
        if kind_ in (DATA, HEADERS) and flags & END_STREAM:
            self.ended.add(stream)

    def answers(self, stream):
        """Everything received on a stream, as messages."""
        data, found, at = b"".join(self.data[stream]), [], 0
        while at < len(data):
            size = int.from_bytes(data[at + 1 : at + 5], "big")
            found.append(pb.PipelineResponse.FromString(data[at + 5 : at + 5 + size]))
            at += 5 + size
        return found


def _message(request):
    encoded = request.SerializeToString()
    return b"\0" + struct.pack(">I", len(encoded)) + encoded


def _flood(data_dir, messages, streams, check):
    """Sends all of them down each stream without reading, then reads; answers must be complete."""
    with Server(data_dir) as server:
        with Client(server.address) as client:
            client.set("default", "k", b"v")
        before, most = server.rss_bytes(), 0
        flood = Flood(server.address, streams)
        sent = dict.fromkeys(flood.streams, 0)
        try:
            # Until no window is left and none comes any more.
            while True:
                counts = dict(sent)
                for stream in flood.streams:
                    sent[stream] = flood.send(stream, messages, sent[stream])
                most = max(most, server.rss_bytes())
                if not flood.listen(0.5) and counts == sent:
                    break
            held = dict(sent)
            assert all(count < len(messages) for count in held.values()), "nobody was held back"
            grown = max(most, server.rss_bytes()) - before
            assert grown < 96 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB for a caller who does not read"
            # Others are served meanwhile.
            with Client(server.address) as client:
                assert client.value("default", "k") == b"v"
            flood.report()
            while len(flood.ended) < streams:
                for stream in flood.streams:
                    if sent[stream] < len(messages):
                        sent[stream] = flood.send(stream, messages, sent[stream])
                        if sent[stream] == len(messages):
                            flood.end(stream)
                assert flood.listen(20, report=True), "no answer for 20 s"
            for stream in flood.streams:
                answers = flood.answers(stream)
                assert [answer.id for answer in answers] == list(range(len(messages)))
                check(answers)
        finally:
            flood.close()
        print(f"held back after {list(held.values())}, {grown / MEBIBYTE:.1f} MiB more memory")


def test_a_hundred_thousand_tiny_requests_unread_are_held_back_and_all_answered(data_dir):
    # The smallest requests there are, a frame each: 10 to 14 bytes.
    messages = [_message(get(number, "", "k")) for number in range(100_000)]
    assert len(messages[0]) == 10 and len(messages[-1]) == 14

    def check(answers):
        assert all(answer.get.entry.value == b"v" for answer in answers[::997])

    _flood(data_dir, messages, 1, check)


def test_eight_pipelines_of_one_connection_unread_are_held_back_and_all_answered(data_dir):
    key = "user:1234567890"
    messages = [_message(get(number, "acme", key)) for number in range(40_000)]

    def check(answers):
        assert all(kind(answer) == "get" for answer in answers[::997])

    _flood(data_dir, messages, 8, check)


def test_large_answers_unread_are_not_gathered(data_dir):
    # Each asks for 3.9 MiB.
    with Server(data_dir) as server, Client(server.address) as client:
        for number in range(4):
            client.set("default", f"k{number}", b"v" * (MEBIBYTE - 16_000))
    keys = [f"k{number}" for number in range(4)]
    message = _message(pb.PipelineRequest(batch_get=pb.BatchGetRequest(keys=keys)))
    with Server(data_dir) as server:
        floods = [Flood(server.address) for _ in range(10)]
        before = server.rss_bytes()
        for flood in floods:
            flood.listen(1)
            flood.send(1, [message] * 2_000, 0)
        for flood in floods:
            while flood.listen(0.5):
                pass
        grown = server.rss_bytes() - before
        for flood in floods:
            flood.close()
        # Of each: the values of one run, their answers, and what is encoded of them.
        assert grown < 10 * 32 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB"
        print(f"{grown / MEBIBYTE:.0f} MiB for ten pipelines")
