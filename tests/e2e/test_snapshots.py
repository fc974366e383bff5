"""Snapshots: out of one server, into another, under load, and nothing halfway."""

import threading
import time

import grpc
import pytest
from harness import archive
from harness.calls import Client, refused
from harness.ledger import Ledger
from harness.load import Load, spaces_by_durability, torn_pairs
from harness.server import Server, eventually
from harness.snapshots import counts, export, leftovers, restore, state, upload
from harness.wire import at_most, pb, seconds, ttl

REPLACE, OVERWRITE, SKIP = (
    pb.RESTORE_MODE_REPLACE,
    pb.RESTORE_MODE_OVERWRITE,
    pb.RESTORE_MODE_SKIP_EXISTING,
)


@pytest.fixture
def other(tmp_path):
    """A second server, and a client of it."""
    with Server(tmp_path / "other") as server, Client(server.address) as client:
        yield client


def fill(client, space, count, value_bytes=1000):
    """Writes keys k0, k1 ..."""
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        value = b"v" * value_bytes
        sets = [pb.SetRequest(key=f"k{n}", value=b"%d." % n + value) for n in numbers]
        client.batch(space, [pb.WriteOperation(set=one) for one in sets])


def test_a_copy_comes_back_in_another_server_as_it_was(client, other, name):
    client.create(name, max_keys=at_most(50), eviction_policy=pb.EVICTION_POLICY_NONE)
    memory = f"{name}-memory"
    client.create(memory, durability=pb.DURABILITY_MEMORY)
    values = {"binary": bytes(range(256)), "empty": b"", "ключ/ \U0001f600\0": "значение".encode()}
    for key, value in values.items():
        client.set(name, key, value)
    client.set(name, "long", b"x" * (1 << 20))
    client.set(name, "k" * 4096, b"longest key")
    client.set(name, "expiring", b"1", expiration=ttl(60_000))
    client.set(name, "touched", b"2")
    client.touch(name, "touched", expiration=ttl(90_000))
    client.increment(name, "counter", delta=41)
    client.set(memory, "in memory", b"3")
    data, summary = export(client, name, memory)
    assert (summary.namespace_count, summary.entry_count) == (2, 9)
    read = archive.read(data)
    assert read.millis == summary.snapshot_time.ToMilliseconds()
    assert read.spaces[name]["binary"] == bytes(range(256))
    assert counts(restore(other, data)) == (9, 0, 0)
    for space in (name, memory):
        keys = list(read.spaces[space])
        for before, after in zip(client.values(space, keys), other.values(space, keys)):
            assert (after.key, after.value) == (before.key, before.value)
            assert after.expire_time == before.expire_time, "a deadline is a moment"
            assert after.update_time == before.update_time
        request = pb.GetNamespaceRequest(namespace=space)
        before = client.namespaces.GetNamespace(request).namespace
        after = other.namespaces.GetNamespace(request).namespace
        assert after.policy == before.policy and after.usage.key_count == before.usage.key_count
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED"):
        fill(other, name, 60)
        other.set(name, "one more", b"v")


def test_modes_and_names_do_what_they_say_and_a_dry_run_does_nothing(client, name):
    there, back = f"{name}-there", f"{name}-back"
    for key in ("both", "only in file"):
        client.set(name, key, b"file")
    data, _ = export(client, name)
    cases = [
        (REPLACE, (2, 0, 0), {"both": b"file", "only in file": b"file"}),
        (OVERWRITE, (2, 0, 0), {"both": b"file", "only in file": b"file", "only there": b"live"}),
        (SKIP, (1, 1, 0), {"both": b"live", "only in file": b"file", "only there": b"live"}),
    ]
    for mode, expected, content in cases:
        for key in ("both", "only there"):
            client.set(there, key, b"live")
        client.delete(there, "only in file")
        version = client.get(there, "only there").version
        rename = {name: there}
        before = state(client)
        dry = restore(client, data, mode, rename_namespaces=rename, validate_only=True)
        assert counts(dry) == expected
        assert state(client) == before, "a dry run changed something"
        assert counts(restore(client, data, mode, rename_namespaces=rename)) == expected
        now, _ = export(client, there)
        assert archive.read(now).spaces[there] == content
        for key, value in content.items():
            assert value == b"live" or client.get(there, key).version > version
    restore(client, data, rename_namespaces={name: back})
    assert client.value(back, "both") == b"file" and client.value(name, "both") == b"file"


def test_what_has_expired_meanwhile_is_left_out_and_counted(client, name):
    client.set(name, "short", b"1", expiration=ttl(300))
    client.set(name, "long", b"1", expiration=ttl(60_000))
    data, _ = export(client, name)
    eventually("it has expired", lambda: client.get(name, "short") is None)
    assert counts(restore(client, data, REPLACE)) == (1, 0, 1)
    assert client.get(name, "short") is None and client.get(name, "long").ttl.seconds > 50


def count_up(client, spaces, number, stopping, failures):
    """Counts in one namespace and, after the answer, in the other; writes pairs as one."""
    try:
        round_ = 0
        while not stopping.is_set():
            round_ += 1
            for space in spaces[:2]:
                client.increment(space, f"counter{number}", delta=1)
            steps = [
                pb.WriteOperation(set=pb.SetRequest(key=f"{side}{number}", value=b"%d" % round_))
                for side in ("left", "right")
            ]
            client.batch(spaces[2], steps, atomic=True)
            client.set(spaces[3], f"k{round_}", b"v" * 100)
            client.set(spaces[3], "soon", b"v", expiration=ttl(5))
            if round_ % 10 == 0:
                request = pb.ClearNamespaceRequest(namespace=spaces[4])
                client.namespaces.ClearNamespace(request)
            client.batch(spaces[4], steps, atomic=True)
            client.touch(spaces[0], f"counter{number}", expiration=ttl(60_000))
    except grpc.RpcError as error:
        failures.append(error)


def test_a_copy_under_load_shows_one_moment_over_all_its_namespaces(server, client, name):
    spaces = [f"{name}-{letter}" for letter in "abcde"]
    for space, more in zip(spaces, ({}, {}, {}, {"max_keys": at_most(30)}, {})):
        client.create(space, durability=pb.DURABILITY_MEMORY, **more)
        fill(client, space, 20_000 if space in spaces[:2] else 20, 50)
    stopping, failures, writers = threading.Event(), [], []
    clients = [Client(server.address) for _ in range(3)]
    for number, own in enumerate(clients):
        arguments = (own, spaces, number, stopping, failures)
        writers.append(threading.Thread(target=count_up, args=arguments))
        writers[-1].start()
    moved = set()
    for _ in range(40):
        shown = archive.read(export(client, *spaces)[0]).spaces
        for number in range(3):
            key = f"counter{number}"
            a, b = (int(shown[space].get(key, b"0")) for space in spaces[:2])
            assert a - 1 <= b <= a, f"{a} in a and {b} in b are of no one moment"
            moved.add((number, a))
            for space in (spaces[2], spaces[4]):
                left, right = (shown[space].get(f"{side}{number}") for side in ("left", "right"))
                assert left == right, "half a batch"
        assert len(shown[spaces[3]]) <= 30
        assert sum(key.startswith("k") for key in shown[spaces[0]]) == 20_000
    stopping.set()
    for writer, own in zip(writers, clients):
        writer.join(30)
        own.channel.close()
    assert not failures, failures[0]
    assert len(moved) > 40, "nothing was written meanwhile"
    eventually("nothing is left", lambda: not leftovers(server))


def test_a_damaged_upload_under_load_changes_nothing(data_dir, rng):
    ledger = Ledger()
    with Server(data_dir) as server, Client(server.address) as client:
        spaces_by_durability(client, ledger, ["sync", "async"])
        fill(client, "default", 2000)
        data, _ = export(client, "default")
        before = client.get("default", "k7").version
        with Load(server.address, ledger, rng) as load:
            for _ in range(60):
                at = rng.randrange(len(data))
                flipped = bytearray(data)
                flipped[at] ^= 1 << rng.randrange(8)
                damaged = rng.choice([bytes(flipped), data[:at], data + data[:at] + b"\0"])
                with refused("INVALID_ARGUMENT", "SNAPSHOT_CORRUPT") as refusal:
                    restore(client, damaged, REPLACE)
                assert int(refusal[0].metadata["offset"]) <= len(damaged)
            load.stop()
            assert not load.refusals, load.refusals[:3]
        assert ledger.complaints(client) + torn_pairs(ledger) == []
        assert client.get("default", "k7").version == before
        assert not leftovers(server)


def test_a_killed_restore_leaves_a_part_and_is_repeated(data_dir, rng):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client, "a", 20_000)
        fill(client, "b", 20_000)
        data, _ = export(client, "a", "b")
        client.set("a", "own", b"v")
        client.set("other", "k", b"v")
    expected = archive.read(data).spaces
    found = []
    for cycle in range(8):
        with Server(data_dir) as server, Client(server.address) as client:
            call = client.admin.RestoreSnapshot.future(upload(data, REPLACE, chunk=1 << 20))
            # The length of a life is part of the test; there is no event to wait for.
            time.sleep(rng.uniform(0, 0.25))
            server.kill()
            assert call.exception() is not None or call.result().restored_count == 40_000
        with Server(data_dir) as server, Client(server.address) as client:
            assert client.value("other", "k") == b"v"
            part = archive.read(export(client, "a", "b")[0]).spaces
            found.append(sum(map(len, part.values())))
            for space, entries in part.items():
                alien = {k: v for k, v in entries.items() if expected[space].get(k) != v}
                assert alien in ({}, {"own": b"v"}), "neither before nor after"
            if cycle % 2:
                assert counts(restore(client, data, REPLACE)) == (40_000, 0, 0)
                assert archive.read(export(client, "a", "b")[0]).spaces == expected
            client.set("a", "own", b"v")
    print(f"entries found after a kill: {found}")


def test_messages_of_both_streams_count_as_operations(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client, "default", 3000)
        data, _ = export(client)
        restore(client, data, chunk=10_000)
        request = pb.GetPerformanceRequest(window=seconds(60))
        methods = {m.method: m for m in client.admin.GetPerformance(request).methods}
        out = methods["pykv.v1.AdminService/ExportSnapshot"]
        back = methods["pykv.v1.AdminService/RestoreSnapshot"]
        assert out.operations >= len(data) / (1 << 18) and out.error_ratio == 0
        assert back.operations >= len(data) / 10_000 and back.error_ratio == 0
