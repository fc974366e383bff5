"""Policies of a namespace: each is in force at once, and for its own namespace only."""

import time

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.calls import Client, refusal_in, refused, require
from harness.server import Server, eventually
from harness.wire import at_most, millis, pb, ttl


def change(client, name, **policy):
    """Changes the given fields of a policy."""
    namespace = pb.Namespace(name=name, policy=pb.NamespacePolicy(**policy))
    mask = FieldMask(paths=[f"policy.{field}" for field in policy])
    request = pb.UpdateNamespaceRequest(namespace=namespace, update_mask=mask)
    return client.namespaces.UpdateNamespace(request).namespace


def usage(client, name):
    """What it holds."""
    request = pb.GetNamespaceRequest(namespace=name)
    return client.namespaces.GetNamespace(request).namespace.usage


def stats(client, name):
    """Its counters."""
    request = pb.GetNamespaceStatsRequest(namespace=name)
    return client.namespaces.GetNamespaceStats(request).stats


def fill(client, name, numbers, size=1):
    """Writes an entry for each number."""
    for number in numbers:
        client.set(name, f"k{number}", b"v" * size)


def present(client, name, count):
    """Which numbers have an entry, without a use of any."""
    keys = [f"k{number}" for number in range(count)]
    found = client.values(name, keys, pb.ENTRY_VIEW_METADATA)
    return [number for number, entry in enumerate(found) if entry is not None]


def test_the_least_recently_used_entry_makes_room_for_a_new_key(client, name):
    client.create(name, max_keys=at_most(3))
    fill(client, name, range(3))
    assert client.get(name, "k0") is not None
    client.get(name, "k1", pb.ENTRY_VIEW_METADATA)
    fill(client, name, [3])
    assert present(client, name, 4) == [0, 2, 3]
    fill(client, name, [4])
    assert present(client, name, 5) == [0, 3, 4]
    assert stats(client, name).evictions == 2


def test_a_namespace_that_does_not_evict_refuses_a_key_too_many(client, name):
    client.create(name, max_keys=at_most(2), eviction_policy=pb.EVICTION_POLICY_NONE)
    fill(client, name, range(2))
    metadata = {"limit": "max_keys", "value": 2}
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED", metadata=metadata) as caught:
        fill(client, name, [2])
    assert "QuotaFailure" in caught[0].details and caught[0].retry_seconds is None
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED"):
        client.increment(name, "counter")
    client.set(name, "k0", b"replaced")
    client.delete(name, "k1")
    fill(client, name, [2])
    assert present(client, name, 3) == [0, 2]
    assert stats(client, name).quota_rejections == 2


def test_a_limit_on_keys_holds_within_a_batch(client, name):
    client.create(name, max_keys=at_most(2), eviction_policy=pb.EVICTION_POLICY_NONE)
    steps = [pb.WriteOperation(set=pb.SetRequest(key=f"k{number}")) for number in range(3)]
    metadata = {"index": 2, "limit": "max_keys"}
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED", metadata=metadata):
        client.batch(name, steps, atomic=True)
    assert present(client, name, 3) == []
    answer = client.batch(name, steps)
    require(refusal_in(answer.results[2].error), "RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED")
    assert present(client, name, 3) == [0, 1]


def test_bytes_are_limited_by_eviction_or_refusal(client, name):
    client.create(name, max_bytes=at_most(20_000))
    fill(client, name, range(50), size=1000)
    held = usage(client, name)
    assert 10_000 < held.used_bytes <= 20_000 and 10 <= held.key_count < 20
    assert present(client, name, 50) == list(range(50 - held.key_count, 50))
    strict = f"{name}.strict"
    client.create(strict, max_bytes=at_most(20_000), eviction_policy=pb.EVICTION_POLICY_NONE)
    metadata = {"limit": "max_bytes", "value": 20_000}
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED", metadata=metadata):
        fill(client, strict, range(50), size=1000)
    assert usage(client, strict).used_bytes <= 20_000


def test_an_entry_larger_than_its_namespace_is_refused_and_evicts_nothing(client, name):
    client.create(name, max_bytes=at_most(10_000))
    fill(client, name, range(3), size=1000)
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED"):
        client.set(name, "large", b"v" * 20_000)
    assert present(client, name, 3) == [0, 1, 2]


def test_a_limit_on_values_holds_for_new_writes_and_leaves_old_ones(client, name):
    client.create(name)
    client.set(name, "k", b"v" * 100)
    change(client, name, max_value_bytes=10)
    sizes = {"limit_bytes": 10, "size_bytes": 11}
    with refused("INVALID_ARGUMENT", "VALUE_TOO_LARGE", {"value": "VALUE_TOO_LARGE"}, sizes):
        client.set(name, "k", b"v" * 11)
    assert client.value(name, "k") == b"v" * 100
    assert client.set(name, "k", b"v" * 10).applied
    change(client, name, max_value_bytes=3 << 20)
    assert client.set(name, "k", b"v" * (3 << 20)).applied
    assert client.get(name, "k").size_bytes == 3 << 20


def test_a_default_ttl_is_for_writes_that_say_nothing(client, name):
    client.create(name, default_ttl=pb.Lifetime(ttl=millis(60_000)))
    client.set(name, "k", b"")
    assert 0 < client.get(name, "k").ttl.ToMilliseconds() <= 60_000
    client.set(name, "k", b"", expiration=ttl(120_000))
    assert client.get(name, "k").ttl.ToMilliseconds() > 60_000
    client.touch(name, "k")
    assert client.get(name, "k").ttl.ToMilliseconds() <= 60_000
    client.set(name, "k", b"", expiration=pb.Expiration(never=True))
    assert not client.get(name, "k").HasField("ttl")
    client.increment(name, "n")
    assert client.get(name, "n").HasField("ttl")
    change(client, name, default_ttl=pb.Lifetime(unlimited=True))
    client.set(name, "k", b"")
    assert not client.get(name, "k").HasField("ttl")


def test_no_entry_lives_longer_than_the_maximum(client, name):
    client.create(name, max_ttl=pb.Lifetime(ttl=millis(60_000)))
    client.set(name, "k", b"", expiration=ttl(3_600_000))
    assert client.get(name, "k").ttl.ToMilliseconds() <= 60_000
    client.set(name, "plain", b"")
    assert client.get(name, "plain").ttl.ToMilliseconds() <= 60_000
    fields = {"expiration.never": "EXPIRATION_INVALID"}
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID", fields):
        client.set(name, "k", b"", expiration=pb.Expiration(never=True))


def test_a_rate_limit_lets_one_second_through_and_says_when_to_come_back(client, name):
    client.create(name, max_operations_per_second=at_most(20), durability=pb.DURABILITY_MEMORY)
    allowed, begun = 0, time.monotonic()
    with refused("RESOURCE_EXHAUSTED", "RATE_LIMITED", metadata={"namespace": name}) as caught:
        while allowed < 1000:
            client.get(name, "k")
            allowed += 1
    elapsed = time.monotonic() - begun
    assert 20 <= allowed <= 20 + 20 * elapsed + 1
    assert 0 < caught[0].retry_seconds <= 1
    eventually("the limit lets one through again", lambda: _is_let_through(client, name), 3)
    assert stats(client, name).rate_limit_rejections >= 1


def _is_let_through(client, name):
    try:
        client.set(name, "k", b"")
    except Exception as error:  # a refusal here is expected; any other fails by the deadline
        assert "RATE" in repr(error) or "rate" in repr(error), error
        return False
    return True


def test_each_operation_of_a_batch_counts_against_the_rate(client, name):
    client.create(name, max_operations_per_second=at_most(10), durability=pb.DURABILITY_MEMORY)
    assert len(client.values(name, ["k"] * 9)) == 9
    with refused("RESOURCE_EXHAUSTED", "RATE_LIMITED"):
        client.values(name, ["k"] * 9)


def test_a_limit_on_the_rate_of_one_namespace_leaves_the_others_alone(client, name):
    client.create(name, max_operations_per_second=at_most(1), durability=pb.DURABILITY_MEMORY)
    with refused("RESOURCE_EXHAUSTED", "RATE_LIMITED"):
        for _ in range(20):
            client.get(name, "k")
    for number in range(100):
        assert client.get(f"{name}.other", f"k{number}") is None


def test_a_lowered_limit_trims_an_evicting_namespace(client, name):
    client.create(name)
    fill(client, name, range(50))
    change(client, name, max_keys=at_most(10))
    eventually("it is trimmed", lambda: usage(client, name).key_count <= 10, 5)
    assert present(client, name, 50) == list(range(40, 50))


def test_a_lowered_limit_stops_writes_where_nothing_is_evicted(client, name):
    client.create(name, eviction_policy=pb.EVICTION_POLICY_NONE)
    fill(client, name, range(5))
    change(client, name, max_keys=at_most(3))
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED"):
        fill(client, name, [5])
    assert present(client, name, 6) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kill", [False, True], ids=["terminated", "killed"])
def test_what_survives_a_restart_is_what_the_durability_says(data_dir, kill):
    modes = {
        "sync": pb.DURABILITY_SYNC,
        "async": pb.DURABILITY_ASYNC,
        "memory": pb.DURABILITY_MEMORY,
    }
    with Server(data_dir) as server, Client(server.address) as client:
        for name, durability in modes.items():
            client.create(name, durability=durability)
            client.set(name, "k", b"v")
        last = client.set("memory", "k", b"w").entry.version
        if kill:
            server.kill()
        else:
            assert server.terminate()[0] == 0
    with Server(data_dir) as server, Client(server.address) as client:
        found = {name: client.value(name, "k") for name in modes}
        assert found == {"sync": b"v", "async": b"v", "memory": None}
        assert client.set("memory", "k", b"x").entry.version > last, "a version came back"


def test_ttl_and_eviction_survive_a_restart(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("lru", max_keys=at_most(10))
        fill(client, "lru", range(30))
        client.set("ttl", "long", b"", expiration=ttl(3_600_000))
        client.set("ttl", "short", b"", expiration=ttl(50))
        deadline = client.get("ttl", "long").expire_time
        server.kill()
    with Server(data_dir) as server, Client(server.address) as client:
        assert present(client, "lru", 30) == list(range(20, 30))
        assert client.get("ttl", "long").expire_time == deadline
        eventually("the short one is gone", lambda: client.get("ttl", "short") is None, 5)
