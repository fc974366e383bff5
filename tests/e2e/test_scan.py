"""ScanEntries: everything once and in order, in bounded memory, beside traffic, until it ends."""

import itertools
import random
import signal
import threading
import time

import grpc
import pytest
from harness.calls import Client, refusal_of, refused
from harness.server import Server, eventually
from harness.wire import at_most, pb, ttl

MEBIBYTE = 1 << 20
# Entries of 100 kB that are far more than what a client takes before it is read from.
UNREAD = 600


def scan(client, namespace, timeout=60, **more):
    """The messages of a scan."""
    return client.kv.ScanEntries(
        pb.ScanEntriesRequest(namespace=namespace, **more), timeout=timeout
    )


def keys(messages):
    """The keys in messages."""
    return [entry.key for message in messages for entry in message.entries]


def fill(client, namespace, names, value=b"v"):
    """Writes entries, a thousand or three MiB at a time."""
    names, at_once = list(names), max(1, min(1000, 3 * MEBIBYTE // (len(value) + 50)))
    for start in range(0, len(names), at_once):
        steps = [
            pb.WriteOperation(set=pb.SetRequest(key=key, value=value))
            for key in names[start : start + at_once]
        ]
        client.batch(namespace, steps)


def test_everything_comes_once_and_in_the_order_of_keys(client, name):
    names = [f"k{number}" for number in range(3_000)] + ["", "ü/€", "a b", "\n"][1:]
    fill(client, name, names)
    messages = list(scan(client, name))
    assert keys(messages) == sorted(names, key=str.encode)
    assert all(1 <= len(message.entries) <= 1000 for message in messages)
    assert len(messages) >= 4


def test_a_message_is_about_256_kib_and_one_entry_may_be_larger(client, name):
    client.create(name, max_value_bytes=3 * MEBIBYTE)
    fill(client, name, [f"s{number:03}" for number in range(100)], b"v" * 20_000)
    fill(client, name, ["large"], b"v" * (3 * MEBIBYTE))
    sizes = [message.ByteSize() for message in scan(client, name)]
    assert sizes[0] > 3 * MEBIBYTE and len(sizes) > 5
    assert all(size < 300_000 for size in sizes[1:]), sizes
    assert min(sizes[1:-1]) > 200_000, sizes


def test_a_prefix_is_taken_literally(client, name):
    fill(client, name, ["a", "a*", "a*b", "a?c", "ab", "b", "[a]"])
    for prefix, expected in [("a*", ["a*", "a*b"]), ("[", ["[a]"]), ("zz", [])]:
        assert keys(scan(client, name, prefix=prefix)) == expected
    assert keys(scan(client, name, prefix="a")) == ["a", "a*", "a*b", "a?c", "ab"]


def test_a_scan_that_broke_is_resumed_behind_the_last_key(client, name):
    names = [f"k{number:05}" for number in range(5_000)]
    fill(client, name, names)
    found, cuts = [], 0
    while True:
        call = scan(client, name, start_after=found[-1] if found else "", prefix="k")
        part = list(itertools.islice(call, 1))
        found += keys(part)
        if not part:
            break
        call.cancel()
        cuts += 1
    assert found == names and cuts >= 5
    # Also behind a key that is not there, or not with the prefix.
    assert keys(scan(client, name, start_after="k04998x")) == ["k04999"]
    assert keys(scan(client, name, start_after="a", prefix="k0000"))[0] == "k00000"
    assert keys(scan(client, name, start_after="z", prefix="k")) == []


def test_a_limit_ends_it(client, name):
    names = [f"k{number:05}" for number in range(2_500)]
    fill(client, name, names)
    for limit in (1, 999, 1_000, 1_001, 2_000, 2_500, 10_000, 2**63 - 1):
        assert keys(scan(client, name, limit=limit)) == names[:limit], limit


def test_a_view_chooses_what_comes(client, name):
    client.set(name, "k", b"value", expiration=ttl(60_000))
    one = {}
    for view in ("UNSPECIFIED", "KEY", "METADATA", "FULL", "VALUE"):
        view_number = getattr(pb, f"ENTRY_VIEW_{view}")
        one[view] = next(iter(scan(client, name, view=view_number))).entries[0]
    assert one["KEY"] == pb.Entry(key="k")
    assert one["VALUE"] == pb.Entry(value=b"value", version=one["FULL"].version)
    full = one["FULL"]
    assert (full.key, full.value, full.size_bytes) == ("k", b"value", 5)
    assert full.HasField("ttl") and full.HasField("expire_time") and full.HasField("update_time")
    assert one["METADATA"].value == b"" and one["METADATA"].size_bytes == 5
    one["UNSPECIFIED"].ClearField("ttl")
    full.ClearField("ttl")
    assert one["UNSPECIFIED"] == full


def test_a_scan_uses_nothing(client, name):
    client.create(name, max_keys=at_most(3))
    for key in ("a", "b", "c"):
        client.set(name, key, b"v")
    assert keys(scan(client, name)) == ["a", "b", "c"]
    request = pb.GetNamespaceStatsRequest(namespace=name)
    stats = client.namespaces.GetNamespaceStats(request).stats
    assert (stats.hits, stats.misses) == (0, 0)
    client.set(name, "d", b"v")
    assert keys(scan(client, name)) == ["b", "c", "d"], "the scan has changed who goes"


def test_what_is_there_throughout_is_sent_exactly_once_beside_writers(server, client, name, rng):
    stays = [f"stay{number:05}" for number in range(4_000)]
    fill(client, name, stays)
    stop, failures = threading.Event(), []

    def churn(seed):
        mine = random.Random(seed)
        with Client(server.address) as other:
            while not stop.is_set():
                try:
                    fill(other, name, [f"stay{mine.randrange(4_000):05}x" for _ in range(30)])
                    fill(other, name, [mine.choice(stays) for _ in range(30)], b"w" * 300)
                    for _ in range(10):
                        other.delete(name, f"stay{mine.randrange(4_000):05}x")
                except grpc.RpcError as error:
                    failures.append(refusal_of(error))

    threads = [threading.Thread(target=churn, args=(rng.random(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            found = keys(scan(client, name))
            assert found == sorted(found) and len(set(found)) == len(found)
            assert [key for key in found if not key.endswith("x")] == stays
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]


def test_a_hundred_thousand_entries_and_slow_readers_take_no_memory(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("big", durability=pb.DURABILITY_MEMORY)
        names = [f"k{number:06}" for number in range(100_000)]
        fill(client, "big", names, b"v" * 500)
        assert next(iter(scan(client, "big", limit=1))).entries[0].key == names[0]
        before, most, found = server.rss_bytes(), 0, []
        for message in scan(client, "big"):
            found += [entry.key for entry in message.entries]
            most = max(most, server.rss_bytes())
        assert found == names
        assert most - before < 24 * MEBIBYTE, f"{(most - before) / MEBIBYTE:.0f} MiB"
        # Twenty that have read one message and then nothing, on connections of their own.
        readers = [Client(server.address) for _ in range(20)]
        for reader in readers:
            grpc.channel_ready_future(reader.channel).result(timeout=20)
        calls = [scan(reader, "big") for reader in readers]
        for call in calls:
            assert next(call).entries[0].key == names[0]
        most = 0
        for _ in range(20):
            most = max(most, server.rss_bytes())
            assert client.set("big", "other", b"v").applied
            time.sleep(0.02)
        grown = most - before
        assert grown < 20 * 4 * MEBIBYTE, f"{grown / MEBIBYTE:.0f} MiB for twenty slow readers"
        print(f"{grown / MEBIBYTE:.0f} MiB for twenty slow readers")
        for call, reader in zip(calls, readers, strict=True):
            call.cancel()
            reader.channel.close()
        assert client.value("big", "other") == b"v"


def test_traffic_is_served_while_others_scan(server, client, name):
    client.create(name, durability=pb.DURABILITY_MEMORY)
    fill(client, name, [f"k{number:06}" for number in range(50_000)], b"v" * 200)
    stop, counts = threading.Event(), []

    def read():
        with Client(server.address) as other:
            while not stop.is_set():
                counts.append(len(keys(scan(other, name))))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        taken = []
        for _ in range(200):
            begun = time.perf_counter()
            assert client.set(name, "k000000", b"v").applied
            taken.append(time.perf_counter() - begun)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert counts and set(counts) == {50_000}
    # A whole scan takes far longer than this.
    assert sorted(taken)[len(taken) // 2] < 0.1, sorted(taken)[len(taken) // 2]


def test_the_rate_of_a_namespace_slows_a_scan_down_and_does_not_break_it(client, name):
    fill(client, name, [f"k{number:05}" for number in range(6_000)])
    limit = pb.NamespacePolicy(max_operations_per_second=at_most(4))
    update = {"paths": ["policy.max_operations_per_second"]}
    client.namespaces.UpdateNamespace(
        pb.UpdateNamespaceRequest(
            namespace=pb.Namespace(name=name, policy=limit), update_mask=update
        )
    )
    begun = time.monotonic()
    messages = list(scan(client, name))
    assert len(keys(messages)) == 6_000 and len(messages) == 6
    # Four at once, then four a second.
    assert time.monotonic() - begun > 0.3
    with refused("RESOURCE_EXHAUSTED", "RATE_LIMITED") as caught:
        for _ in range(6):
            next(scan(client, name))
    assert caught[0].retry_seconds > 0


def test_every_mistake_is_told_at_once(client):
    fields = {
        "namespace": "NAMESPACE_INVALID",
        "prefix": "KEY_INVALID",
        "start_after": "KEY_INVALID",
        "limit": "PAGE_SIZE_INVALID",
    }
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        next(scan(client, "a b", prefix="p" * 4097, start_after="p" * 4097, limit=0))
    with refused("INVALID_ARGUMENT", "PAGE_SIZE_INVALID", {"limit": "PAGE_SIZE_INVALID"}):
        next(scan(client, "default", limit=-1))


def test_a_namespace_that_is_not_there_is_empty_or_not_found(client, data_dir):
    assert list(scan(client, "nobody")) == []
    flag = "--set", "auto_create_namespaces=false"
    with Server(data_dir, *flag) as server, Client(server.address) as strict:
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "nobody"}):
            next(scan(strict, "nobody"))
        # One that goes in mid-scan.
        strict.create("goes", durability=pb.DURABILITY_MEMORY)
        fill(strict, "goes", [f"k{number:05}" for number in range(UNREAD)], b"v" * 100_000)
        call = scan(strict, "goes")
        assert next(call).entries[0].key == "k00000"
        strict.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace="goes", force=True))
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
            for _ in call:
                pass


@pytest.mark.parametrize("method", ["ClearNamespace", "DeleteNamespace"])
def test_a_namespace_that_is_emptied_meanwhile_has_no_more(client, name, method):
    client.create(name, durability=pb.DURABILITY_MEMORY)
    fill(client, name, [f"k{number:05}" for number in range(UNREAD)], b"v" * 100_000)
    call = scan(client, name)
    found = keys([next(call)])
    more = {"force": True} if method == "DeleteNamespace" else {}
    request = getattr(pb, f"{method}Request")(namespace=name, **more)
    getattr(client.namespaces, method)(request, timeout=20)
    found += keys(call)
    assert call.code() == grpc.StatusCode.OK
    assert found == [f"k{number:05}" for number in range(len(found))] and len(found) < UNREAD


def test_a_scan_has_the_callers_deadline_and_no_other(data_dir):
    flags = "--set", "limits.max_request_timeout=500ms"
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        client.create("m", durability=pb.DURABILITY_MEMORY)
        fill(client, "m", [f"k{number:05}" for number in range(60)], b"v" * 100_000)
        call, found = scan(client, "m", timeout=20), []
        for message in call:
            found += keys([message])
            time.sleep(0.03)
        assert len(found) == 60
        call = scan(client, "m", timeout=0.3)
        next(call)
        time.sleep(0.4)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_server_that_leaves_ends_a_scan_with_a_reason(data_dir):
    flags = "--set", "drain.stream_grace=0s"
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        client.create("m", durability=pb.DURABILITY_MEMORY)
        fill(client, "m", [f"k{number:05}" for number in range(UNREAD)], b"v" * 100_000)
        call = scan(client, "m")
        found = keys([next(call)])
        server.process.send_signal(signal.SIGTERM)
        eventually("it leaves", lambda: _is_gone(server), 20)
        # Read slowly: the end comes in the place of what was still to be sent.
        with pytest.raises(grpc.RpcError) as caught:
            for message in call:
                found += keys([message])
        ended = refusal_of(caught.value)
        assert ended.code.name == "UNAVAILABLE" and ended.reason == "SHUTTING_DOWN", ended
        assert found == [f"k{number:05}" for number in range(len(found))] and len(found) < UNREAD
        assert server.wait_end() == 0


def _is_gone(server):
    try:
        return server.http("/readyz")[0] == 503
    except OSError:
        return True


def test_a_scan_is_counted_by_its_messages(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client, "default", [f"k{number:05}" for number in range(2_500)])
        assert len(list(scan(client, "default"))) == 3
        answer = client.admin.GetPerformance(pb.GetPerformanceRequest())
        found = [m for m in answer.methods if m.method == "pykv.v1.KeyValueService/ScanEntries"]
        assert [m.operations for m in found] == [3]
