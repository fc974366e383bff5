"""A start with two million writes: alive at once, honest while it replays, ready soon, whole."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from harness.calls import Client, refusal_of
from harness.server import Server, eventually
from harness.wire import pb

ENTRIES = 1_000_000
# Each entry is written twice, so that a replay meets it twice.
WRITES = 2 * ENTRIES
# As many calls of one write each: a batch is one record of the log, and so is each of these.
SINGLES = 100_000
BATCH = 1000
SECONDS_PER_MILLION = 10
RSS_GROWTH_MAX = 1.3
SPACE = "million"


def key(number):
    """The key of an entry."""
    return f"user:{number:09}"


def value(number, pass_number):
    """What the entry holds after a pass."""
    return b"%d/%d:" % (pass_number, number) + b"v" * 80


def write_all(client, pass_number):
    """Writes every entry once, a few batches at a time."""

    def write(start):
        operations = [
            pb.WriteOperation(set=pb.SetRequest(key=key(n), value=value(n, pass_number)))
            for n in range(start, start + BATCH)
        ]
        request = pb.BatchWriteRequest(namespace=SPACE, operations=operations)
        answer = client.kv.BatchWrite(request, timeout=60)
        assert answer.committed and len(answer.results) == BATCH

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(0, ENTRIES, BATCH)))


def wrong_entries(client):
    """Which entries are missing or not what was last written; reads every one."""

    def read(start):
        span = range(start, start + BATCH)
        request = pb.BatchGetRequest(
            namespace=SPACE, keys=[key(n) for n in span], view=pb.ENTRY_VIEW_VALUE
        )
        results = client.kv.BatchGet(request, timeout=60).results
        pairs = zip(span, results, strict=True)
        return [n for n, result in pairs if result.entry.value != value(n, 2)]

    with ThreadPoolExecutor(3) as pool:
        return [n for found in pool.map(read, range(0, ENTRIES, BATCH)) for n in found]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A directory with two million writes of a server that was killed, and its size in memory."""
    data_dir = tmp_path_factory.mktemp("million") / "data"
    begun = time.monotonic()
    with Server(data_dir) as server, Client(server.address) as client:
        client.create(SPACE, durability=pb.DURABILITY_ASYNC)
        for pass_number in (1, 2):
            write_all(client, pass_number)
        stats = client.admin.GetStats(pb.GetStatsRequest()).stats
        rss = server.rss_bytes()
        server.kill()
    took = time.monotonic() - begun
    print(f"{WRITES} writes, {stats.wal_entries} records: {took:.1f} s, {rss >> 20} MiB")
    return data_dir, rss


def observe_start(server):
    """Until it is ready: what health, probes and calls said."""
    seen = {"alive": False, "not_ready": False, "progress": [], "probe": False}
    with Client(server.address) as client:
        while True:
            seen["alive"] |= client.serving("liveness") == "SERVING"
            ready = client.serving("") == "SERVING"
            try:
                client.get(SPACE, key(0))
                answered = True
            except grpc.RpcError as error:
                answered = False
                refusal = refusal_of(error)
                assert (refusal.code.name, refusal.reason) == ("UNAVAILABLE", "STARTING_UP")
                assert refusal.retry_seconds > 0
                seen["progress"].append(float(refusal.metadata["progress"]))
            if ready:
                assert answered, "ready and yet not answering"
                return seen
            seen["not_ready"] = True
            if not answered:
                seen["probe"] |= server.http("/livez")[0] == 200 and not server.is_ready()


def test_a_start_is_alive_at_once_and_says_that_it_replays(loaded):
    data_dir, rss_before = loaded
    begun = time.monotonic()
    with Server(data_dir, wait=False) as server:
        assert server.address
        listening = time.monotonic() - begun
        seen = observe_start(server)
        took = time.monotonic() - begun
        rss = server.rss_bytes()
        print(f"listening after {listening:.2f} s, ready after {took:.2f} s, {rss >> 20} MiB")
        assert seen["alive"] and seen["not_ready"] and seen["probe"], seen
        assert seen["progress"] == sorted(seen["progress"]), "progress went back"
        assert all(0 <= progress <= 1 for progress in seen["progress"])
        assert listening < 2 and took <= SECONDS_PER_MILLION * WRITES / 1e6
        assert rss <= RSS_GROWTH_MAX * rss_before, (rss, rss_before)
        server.kill()


def test_a_million_entries_of_a_killed_server_are_all_there(loaded):
    data_dir, _ = loaded
    with Server(data_dir) as server, Client(server.address) as client:
        request = pb.GetNamespaceRequest(namespace=SPACE)
        assert client.namespaces.GetNamespace(request).namespace.usage.key_count == ENTRIES
        wrong = wrong_entries(client)
        assert not wrong, f"{len(wrong)} wrong, such as {wrong[:5]}"
        assert client.admin.Compact(pb.CompactRequest(wait=True), timeout=60).started
        server.kill()
    begun = time.monotonic()
    with Server(data_dir) as server, Client(server.address) as client:
        print(f"ready {time.monotonic() - begun:.2f} s after the start from a snapshot")
        assert not wrong_entries(client)


def test_a_server_that_is_asked_to_end_while_it_replays_ends_well(loaded):
    data_dir, _ = loaded
    with Server(data_dir, wait=False) as server:
        # Its probes answer, so it also listens for signals.
        eventually("it is alive", lambda: server.http("/livez")[0] == 200, 5, 0.001)
        assert not server.is_ready(), "there is too little to replay for this test"
        code, took = server.terminate()
        assert code == 0 and took < 25, (code, took, server.log()[-2000:])
    with Server(data_dir) as server, Client(server.address) as client:
        eventually("the data is there", lambda: client.value(SPACE, key(0)) == value(0, 2), 5)


def write_singles(client, under_way_max=256):
    """Writes one entry with each call, many calls at a time."""
    free = threading.Semaphore(under_way_max)
    failed = []

    def done(call):
        free.release()
        if call.code() is not grpc.StatusCode.OK:
            failed.append(call.code())

    for number in range(SINGLES):
        free.acquire()
        request = pb.SetRequest(namespace=SPACE, key=key(number), value=value(number, 1))
        client.kv.Set.future(request, timeout=30).add_done_callback(done)
    for _ in range(under_way_max):
        free.acquire()
    assert not failed, failed[:3]


def test_a_log_of_single_writes_is_replayed_in_ten_seconds_per_million(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create(SPACE, durability=pb.DURABILITY_ASYNC)
        begun = time.monotonic()
        write_singles(client)
        took = time.monotonic() - begun
        assert client.admin.GetStats(pb.GetStatsRequest()).stats.wal_entries >= SINGLES
        server.kill()
    begun = time.monotonic()
    with Server(data_dir) as server, Client(server.address) as client:
        ready = time.monotonic() - begun
        print(f"{SINGLES} records written in {took:.1f} s, ready after {ready:.2f} s")
        assert ready <= 1 + SECONDS_PER_MILLION * SINGLES / 1e6
        keys = [key(number) for number in range(SINGLES)]
        found = client.values(SPACE, keys, pb.ENTRY_VIEW_VALUE)
        pairs = enumerate(found)
        assert not [n for n, entry in pairs if entry is None or entry.value != value(n, 1)]
