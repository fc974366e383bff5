"""The keys used most: found among many, told by reads and writes, and forgotten in time."""

import pytest
from harness.calls import refused
from harness.pipes import ask_all, get
from harness.wire import pb


def hot(client, namespace, **request):
    """What ListHotKeys answers."""
    request = pb.ListHotKeysRequest(namespace=namespace, **request)
    return client.namespaces.ListHotKeys(request)


def test_a_little_traffic_is_told_exactly(client, name):
    for number in range(6):
        client.set(name, "written", b"%d" % number)
    for _ in range(10):
        client.get(name, "read")
    client.values(name, ["read", "written", "once"])
    client.delete(name, "nothing-was-there")
    answer = hot(client, name)
    seconds = answer.window.ToNanoseconds() / 1e9
    assert 1 <= seconds < 30
    counts = {
        one.key: (round(one.reads_per_second * seconds), round(one.writes_per_second * seconds))
        for one in answer.hot_keys
    }
    assert counts == {"read": (11, 0), "written": (1, 6), "once": (1, 0)}
    assert [one.key for one in answer.hot_keys] == ["read", "written", "once"]


def test_hot_keys_are_found_among_many_others(client, name, rng):
    # Three keys have a fifth of the reads each, ten thousand others share the rest.
    keys = ["first", "second", "third"]
    others = [f"other{number}" for number in range(10_000)]
    reads = [rng.choice(keys) if rng.random() < 0.6 else rng.choice(others) for _ in range(40_000)]
    client.create(name)
    ask_all(client, [get(number, name, key) for number, key in enumerate(reads[:20_000])])
    client.values(name, reads[20_000:])
    answer = hot(client, name, page_size=3)
    seconds = answer.window.ToNanoseconds() / 1e9
    assert {one.key for one in answer.hot_keys} == set(keys)
    for one in answer.hot_keys:
        assert one.writes_per_second == 0
        # One part in 128 of everything, and what a sample of one in 64 may be off.
        assert one.reads_per_second * seconds == pytest.approx(reads.count(one.key), rel=0.5)


def test_as_many_are_told_as_were_asked_for(client, name):
    steps = [pb.WriteOperation(set=pb.SetRequest(key=f"k{n}", value=b"v")) for n in range(60)]
    client.batch(name, steps)
    client.set(name, "k7", b"v")
    assert len(hot(client, name).hot_keys) == 10
    assert [one.key for one in hot(client, name, page_size=1).hot_keys] == ["k7"]
    assert len(hot(client, name, page_size=1000).hot_keys) >= 60
    fields = {"namespace": "NAMESPACE_INVALID", "page_size": "PAGE_SIZE_INVALID"}
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        hot(client, "no name", page_size=0)


def test_a_namespace_without_traffic_has_none_and_one_that_is_missing_is_not_found(client, name):
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": name}):
        hot(client, name)
    client.create(name)
    assert list(hot(client, name).hot_keys) == []
    client.set(name, "k", b"v")
    assert [one.key for one in hot(client, name).hot_keys] == ["k"]
    client.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name, force=True))
    client.create(name)
    assert list(hot(client, name).hot_keys) == []


def test_scans_and_lists_are_no_use_of_a_key(client, name):
    client.set(name, "k", b"v")
    before = hot(client, name).hot_keys[0]
    assert before.key == "k" and before.reads_per_second == 0
    list(client.kv.ScanEntries(pb.ScanEntriesRequest(namespace=name)))
    client.kv.ListEntries(pb.ListEntriesRequest(namespace=name))
    after = hot(client, name).hot_keys[0]
    assert after.reads_per_second == 0 and after.writes_per_second > 0
