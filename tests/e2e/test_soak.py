"""Mixed load for minutes: what a server has in memory, open and on disk stays where it was.

The first third is the warm-up. A line is fitted through the rest: through the lower quarters of
short stretches, for a compaction lifts what lies above them by 15 MiB and lets it fall again. What
the line rises by must be less than `RISE_BYTES_MAX`: in three minutes one percent an hour cannot be
told from the breath of an allocator (2 to 3 MiB here), but 30 bytes lost with every call can. No
more files may be open in the last third than in the second.
"""

import random
import statistics
import threading
import time
from dataclasses import dataclass

import grpc
import pytest
from harness.calls import CALL_SECONDS_MAX, Client
from harness.frames import dial
from harness.server import Server, cycles
from harness.wire import at_most, pb, ttl

MEBIBYTE = 1 << 20
SECONDS = "E2E_SOAK_SECONDS"
SEGMENT_BYTES = 8 * MEBIBYTE
KEYS = 1000
COMPACTIONS_MIN = 50
ENV = {
    "PYKV_WAL_SEGMENT_BYTES": "8MiB",
    # So few that the log is compacted every few seconds.
    "PYKV_MAX_WAL_ENTRIES": "2000",
    "PYKV_WAL_MIN_FREE_BYTES": "0",
}
RISE_BYTES_MAX = 8 * MEBIBYTE
# The load's own connections come and go, and so do the files of a compaction.
DESCRIPTORS_SPARE = 4


class Worker(threading.Thread):
    """Does one kind of thing again and again until it is told to stop."""

    def __init__(self, act, stopping, pause=0.0):
        super().__init__(daemon=True)
        self.act, self.stopping, self.pause = act, stopping, pause
        self.count, self.failure = 0, None

    def run(self):
        while not self.stopping.wait(self.pause):
            try:
                self.act()
            except (grpc.RpcError, AssertionError, OSError) as error:
                self.failure = error
                return
            self.count += 1


class Load:
    """Everything a server is used for, on a set of keys that does not grow."""

    def __init__(self, server, rng):
        self.server, self.stopping = server, threading.Event()
        self.client = Client(server.address)
        for name, durability in (("async", pb.DURABILITY_ASYNC), ("sync", pb.DURABILITY_SYNC)):
            self.client.create(name, durability=durability)
        self.client.create("small", durability=pb.DURABILITY_ASYNC, max_keys=at_most(100))
        seeds = [rng.random() for _ in range(3)]
        acts = [(self._writes(seed), 0.0) for seed in seeds]
        acts += [(self._watch, 0.05), (self._connection, 0.05), (self._namespace, 0.5)]
        self.workers = [Worker(act, self.stopping, pause) for act, pause in acts]

    def __enter__(self):
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for worker in self.workers:
            worker.join(CALL_SECONDS_MAX)
        self.client.channel.close()

    def _writes(self, seed):
        rng, client = random.Random(seed), self.client

        def act():
            key = f"k{rng.randrange(KEYS)}"
            value = rng.randbytes(rng.choice((100, 1000, 8000)))
            # Sets, some of which expire; every kind of write and read.
            client.set("async", key, value)
            client.set(
                "async", f"t{rng.randrange(100)}", value, expiration=ttl(rng.randrange(1, 3000))
            )
            client.value("async", key)
            client.increment("async", f"c{rng.randrange(10)}")
            client.set("small", f"k{rng.randrange(10_000)}", value)
            if rng.random() < 0.1:
                client.delete("async", key)
                client.set("sync", key, value)
                client.values("async", [f"k{number}" for number in range(100)])

        return act

    def _watch(self):
        request = pb.WatchRequest(namespace="async", include_values=True)
        calls = [self.client.kv.Watch(request, timeout=CALL_SECONDS_MAX) for _ in range(3)]
        for call in calls:
            next(call)
            call.cancel()

    def _connection(self):
        with Client(self.server.address) as client:
            request = pb.GetRequest(namespace="async", key="nothing")
            client.kv.Get(request, timeout=CALL_SECONDS_MAX, wait_for_ready=True)
        with dial(self.server.address) as connection:
            connection.sendall(
                b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
            while connection.recv(1 << 16):
                pass

    def _namespace(self):
        self.client.create("passing")
        self.client.set("passing", "k", b"v")
        request = pb.DeleteNamespaceRequest(namespace="passing", force=True)
        self.client.namespaces.DeleteNamespace(request, timeout=CALL_SECONDS_MAX)


def disk_bytes(server):
    """What its directory takes, space set aside included."""
    total = 0
    for path in server.data_dir.iterdir():
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:
            pass
    return total


def live_bytes(client):
    """What its entries are charged."""
    spaces = client.namespaces.ListNamespaces(pb.ListNamespacesRequest()).namespaces
    return sum(space.usage.used_bytes for space in spaces)


def compactions(server):
    """How many there have been."""
    lines = server.http("/metrics")[2].decode().splitlines()
    name = "pykv_compaction_seconds_count"
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def rise(samples):
    """How far a line through `samples` rises, first to last; each is (seconds, number)."""
    stretch = max(1, len(samples) // 12)
    pieces = [samples[at : at + stretch] for at in range(0, len(samples), stretch)]
    times = [statistics.mean(time for time, _ in piece) for piece in pieces]
    quarters = [sorted(number for _, number in piece)[len(piece) // 4] for piece in pieces]
    slope = statistics.linear_regression(times, quarters).slope
    return slope * (samples[-1][0] - samples[0][0])


@dataclass
class Sample:
    """A server at one moment."""

    seconds: float
    memory_bytes: int
    files: int
    # Above what it may have: three times what lives, and two segments.
    disk_excess_bytes: int


def sample(server, client, begun):
    """Takes one."""
    return Sample(
        time.monotonic() - begun,
        server.anonymous_bytes(),
        server.descriptors(),
        disk_bytes(server) - 3 * live_bytes(client) - 2 * SEGMENT_BYTES,
    )


def complaints(samples):
    """What is wrong with them."""
    length = samples[-1].seconds
    steady = [one for one in samples if one.seconds > length / 3]
    second = [one.files for one in steady if one.seconds <= 2 * length / 3]
    third = [one.files for one in steady if one.seconds > 2 * length / 3]
    grown = rise([(one.seconds, one.memory_bytes) for one in steady])
    excess = max(one.disk_excess_bytes for one in steady)
    print(
        f"memory rises by {grown / MEBIBYTE:.2f} of {steady[0].memory_bytes / MEBIBYTE:.0f} MiB, "
        f"files {max(second)} then {max(third)}, disk {excess / MEBIBYTE:+.1f} MiB"
    )
    found = []
    if grown > RISE_BYTES_MAX:
        found.append(f"memory grows by {grown / MEBIBYTE:.1f} MiB in {2 * length / 3:.0f} s")
    if max(third) > max(second) + DESCRIPTORS_SPARE:
        found.append(f"files: {max(second)}, then {max(third)}")
    if excess > 0:
        found.append(f"{excess / MEBIBYTE:.1f} MiB too many on disk")
    return found


def test_nothing_grows_under_mixed_load(data_dir, rng):
    samples = []
    with Server(data_dir, env=ENV) as server, Load(server, rng) as load:
        begun, before = time.monotonic(), compactions(server)
        while time.monotonic() - begun < cycles(SECONDS, 180):
            samples.append(sample(server, load.client, begun))
            assert [worker.failure for worker in load.workers if worker.failure] == []
            time.sleep(0.25)
        count = compactions(server) - before
        print(f"{[worker.count for worker in load.workers]} acts, {count} compactions")
        assert complaints(samples) == []
        assert count >= COMPACTIONS_MIN


FLAT = {"memory": 0, "files": 0.0, "disk": 0}


@pytest.mark.parametrize(
    ("leak", "seen"),
    [
        ({}, []),
        # 3,000 calls a second and 30 bytes with each.
        ({"memory": 90_000}, ["memory grows"]),
        ({"files": 0.1}, ["files"]),
        ({"disk": 100_000}, ["on disk"]),
    ],
    ids=["nothing", "memory", "files", "disk"],
)
def test_what_grows_is_seen_through_the_noise(rng, leak, seen):
    each_second = {**FLAT, **leak}
    for _ in range(20):
        samples = []
        for number in range(720):
            seconds = number / 4
            # As measured: 15 MiB of breath, two files, a disk well below what it may have.
            memory = 75 * MEBIBYTE + rng.randrange(15 * MEBIBYTE) + seconds * each_second["memory"]
            files = 22 + rng.randrange(3) + int(seconds * each_second["files"])
            disk = -rng.randrange(1, 10 * MEBIBYTE) + seconds * each_second["disk"]
            samples.append(Sample(seconds, int(memory), files, int(disk)))
        found = complaints(samples)
        assert len(found) == len(seen), found
        assert all(word in told for word, told in zip(seen, found, strict=True)), found
