"""Every bound of a request and of a policy: below and at it a call goes, above it it is told why not.

One table. What is within bounds must be answered OK; what is beyond must be refused with that code, that
reason and those fields, and nothing but those.
"""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from harness.calls import CALL_SECONDS_MAX, refused
from harness.snapshots import export, restore
from harness.wire import at_most, millis, pb, seconds

MEBIBYTE = 1 << 20
INT64_MAX = (1 << 63) - 1
VERSION_MAX = (1 << 56) - 1
# The last second of the year 9999.
LAST_SECOND = 253_402_300_799


@dataclass(frozen=True)
class Bound:
    """What is bounded, how it is tried, and where it ends."""

    what: str
    # Called with a client, a namespace of its own and one of the values.
    attempt: Any
    within: tuple
    beyond: tuple
    reason: str
    # The field that is wrong, where one is told.
    field: str | None = None
    # What the details say besides.
    metadata: dict | None = None
    code: str = "INVALID_ARGUMENT"


def key_of(size):
    """A key with that many bytes."""
    return "k" * size


def value(client, name, size):
    client.set(name, "k", b"v" * size)


def value_where_policy_allows(allowed):
    def attempt(client, name, size):
        name = f"{name}.{allowed}"
        policy = pb.NamespacePolicy(max_value_bytes=allowed)
        namespace = pb.Namespace(name=name, policy=policy)
        request = pb.UpdateNamespaceRequest(namespace=namespace, allow_missing=True)
        client.namespaces.UpdateNamespace(request, timeout=CALL_SECONDS_MAX)
        client.set(name, "k", b"v" * size)

    return attempt


def batch(client, name, count):
    steps = [pb.WriteOperation(set=pb.SetRequest(key=f"k{n}", value=b"v")) for n in range(count)]
    client.batch(name, steps)


def batch_get(client, name, count):
    request = pb.BatchGetRequest(namespace=name, keys=["k"] * count)
    client.kv.BatchGet(request, timeout=CALL_SECONDS_MAX)


def batch_bytes(client, name, size):
    # Five keys of one byte, and values that share what is left.
    each, rest = divmod(size - 5, 5)
    sizes = [each] * 4 + [each + rest]
    sets = [pb.SetRequest(key=f"{number}", value=bytes(size)) for number, size in enumerate(sizes)]
    answer = client.batch(name, [pb.WriteOperation(set=each) for each in sets])
    assert all(result.WhichOneof("result") == "set" for result in answer.results)


def answer_bytes(client, name, size):
    # Three values that never change and one that makes the difference.
    for number, each in enumerate((MEBIBYTE, MEBIBYTE, MEBIBYTE, size - 3 * MEBIBYTE)):
        client.set(name, f"k{number}", b"v" * each)
    keys = [f"k{number}" for number in range(4)]
    request = pb.BatchGetRequest(namespace=name, keys=keys, view=pb.ENTRY_VIEW_VALUE)
    answer = client.kv.BatchGet(request, timeout=CALL_SECONDS_MAX)
    assert sum(len(result.entry.value) for result in answer.results) == size


def lifetime(client, name, duration):
    client.set(name, "k", b"v", expiration=pb.Expiration(ttl=duration))


def moment(client, name, at):
    client.set(name, "k", b"v", expiration=pb.Expiration(expire_time=at))


def namespace_name(client, _, name):
    client.set(name, "k", b"v")


def if_version(client, name, version):
    client.set(name, "k", b"v", condition=pb.Condition(if_version=version))


def counter(client, name, delta):
    client.set(name, "c", str(INT64_MAX - 10).encode())
    client.increment(name, "c", delta=delta)


def counter_down(client, name, delta):
    client.set(name, "c", str(10 - INT64_MAX - 1).encode())
    client.increment(name, "c", delta=delta)


def listed(client, name, size):
    request = pb.ListEntriesRequest(namespace=name, page_size=size)
    client.set(name, "k", b"v")
    client.kv.ListEntries(request, timeout=CALL_SECONDS_MAX)


def list_prefix(client, name, prefix):
    client.set(name, "k", b"v")
    request = pb.ListEntriesRequest(namespace=name, prefix=prefix)
    client.kv.ListEntries(request, timeout=CALL_SECONDS_MAX)


def delete_prefix(client, name, prefix):
    client.set(name, "k", b"v")
    request = pb.DeletePrefixRequest(namespace=name, prefix=prefix)
    client.kv.DeletePrefix(request, timeout=CALL_SECONDS_MAX)


def scanned(client, name, limit):
    client.set(name, "k", b"v")
    request = pb.ScanEntriesRequest(namespace=name, limit=limit)
    list(client.kv.ScanEntries(request, timeout=CALL_SECONDS_MAX))


def scan_after(client, name, key):
    client.set(name, "k", b"v")
    request = pb.ScanEntriesRequest(namespace=name, start_after=key)
    list(client.kv.ScanEntries(request, timeout=CALL_SECONDS_MAX))


def listed_namespaces(client, _, size):
    request = pb.ListNamespacesRequest(page_size=size)
    client.namespaces.ListNamespaces(request, timeout=CALL_SECONDS_MAX)


def hot_keys(client, name, size):
    client.set(name, "k", b"v")
    request = pb.ListHotKeysRequest(namespace=name, page_size=size)
    client.namespaces.ListHotKeys(request, timeout=CALL_SECONDS_MAX)


def logged_operations(client, _, size):
    request = pb.ListLoggedOperationsRequest(page_size=size)
    client.admin.ListLoggedOperations(request, timeout=CALL_SECONDS_MAX)


def watch(**request):
    """Tries the watch that these functions of a value make up."""

    def attempt(client, name, size):
        made = {field: make(size) for field, make in request.items()}
        call = client.kv.Watch(pb.WatchRequest(namespace=name, **made), timeout=CALL_SECONDS_MAX)
        try:
            next(call)
        finally:
            call.cancel()

    return attempt


def described(**namespace):
    """Tries to describe a namespace with what these functions of a value make up."""

    def attempt(client, name, size):
        made = {field: make(size) for field, make in namespace.items()}
        request = pb.UpdateNamespaceRequest(
            namespace=pb.Namespace(name=name, **made), allow_missing=True
        )
        client.namespaces.UpdateNamespace(request, timeout=CALL_SECONDS_MAX)

    return attempt


def policy(field, make=lambda size: size):
    """A bound of a field of a policy."""
    return described(policy=lambda size: pb.NamespacePolicy(**{field: make(size)}))


def policy_of_server(client, _, size):
    policy = pb.NamespacePolicy(max_value_bytes=size)
    config = pb.ServerConfig(default_policy=policy)
    request = pb.UpdateConfigRequest(config=config)
    client.admin.UpdateConfig(request, timeout=CALL_SECONDS_MAX)


def log_filter(client, _, size):
    text = ("info," + "pykv=info," * (size // 10))[: size - 5] + ",warn"
    request = pb.UpdateConfigRequest(config=pb.ServerConfig(log_filter=text))
    client.admin.UpdateConfig(request, timeout=CALL_SECONDS_MAX)


def upload_chunk(client, name, size):
    # Two values of which the file is more than a chunk.
    for number in range(4):
        client.set(name, f"k{number}", bytes([number + 65]) * MEBIBYTE)
    data, _ = export(client, name)
    restore(client, data, chunk=size)


def duration_ms(milliseconds):
    return millis(milliseconds)


def lifetime_of(milliseconds):
    return pb.Lifetime(ttl=millis(milliseconds))


KEY = {"reason": "KEY_INVALID", "field": "key"}
NAME = {"reason": "NAMESPACE_INVALID", "field": "namespace"}
LIFETIME = {"reason": "EXPIRATION_INVALID", "field": "expiration.ttl"}
PAGE = {"reason": "PAGE_SIZE_INVALID", "field": "page_size"}
MANY = {"reason": "BATCH_TOO_LARGE", "metadata": {"limit": 1000}}
BAD_POLICY = {"reason": "POLICY_INVALID"}


def sized(limit):
    """What is told of a value that is too large by one byte."""
    return {"limit_bytes": limit, "size_bytes": limit + 1}


BOUNDS = [
    Bound("key", lambda c, n, size: c.set(n, key_of(size), b""), (1, 4095, 4096), (0, 4097), **KEY),
    Bound("key of letters", lambda c, n, k: c.get(n, k), ("é" * 2048,), ("é" * 2048 + "e",), **KEY),
    Bound("key to delete", lambda c, n, size: c.delete(n, key_of(size)), (4096,), (0, 4097), **KEY),
    Bound("key of a counter", lambda c, n, k: c.increment(n, k), (key_of(4096),), ("",), **KEY),
    Bound(
        "value", value, (0, MEBIBYTE - 1, MEBIBYTE), (MEBIBYTE + 1,),
        "VALUE_TOO_LARGE", "value", sized(MEBIBYTE),
    ),
    Bound(
        "value, by policy", value_where_policy_allows(10), (9, 10), (11,),
        "VALUE_TOO_LARGE", "value", sized(10),
    ),
    Bound(
        "value, whatever the policy", value_where_policy_allows(3 * MEBIBYTE),
        (3 * MEBIBYTE - 1, 3 * MEBIBYTE), (3 * MEBIBYTE + 1,),
        "VALUE_TOO_LARGE", "value", sized(3 * MEBIBYTE),
    ),
    Bound(
        "length of a name", lambda c, _, size: c.set("n" * size, "k", b""), (1, 127, 128), (129,),
        **NAME,
    ),
    Bound(
        "letters of a name", namespace_name,
        ("aZ09._:-", "0", "Z.", "a-", "a:b", "a__b", "default"),
        (".a", "_a", ":a", "-a", "a b", "a/b", "a\n", "a\0", "ä", "a%", "a*", " a", "a "),
        **NAME,
    ),
    Bound("items of a batch", batch, (1, 999, 1000), (0, 1001), field="operations", **MANY),
    Bound("keys of a batch", batch_get, (1, 999, 1000), (0, 1001), field="keys", **MANY),
    Bound(
        "bytes of a batch", batch_bytes, (4 * MEBIBYTE - 1, 4 * MEBIBYTE), (4 * MEBIBYTE + 1,),
        "BATCH_TOO_LARGE", "operations", {"limit": 4 * MEBIBYTE},
    ),
    Bound(
        "bytes of an answer", answer_bytes, (4 * MEBIBYTE - 1024,), (4 * MEBIBYTE,),
        "RESPONSE_TOO_LARGE", metadata={"limit": 4 * MEBIBYTE}, code="RESOURCE_EXHAUSTED",
    ),
    Bound(
        "time to live", lifetime, (millis(1), seconds(1), Duration(nanos=1)),
        (Duration(), millis(-1), Duration(seconds=INT64_MAX)),
        **LIFETIME,
    ),
    Bound(
        "time to live, in the end", lifetime,
        (Duration(seconds=LAST_SECOND - round(time.time()) - 600),),
        (Duration(seconds=LAST_SECOND),), "EXPIRATION_INVALID", "expiration",
    ),
    Bound(
        "moment to expire at", moment,
        (Timestamp(), Timestamp(seconds=1), Timestamp(seconds=LAST_SECOND, nanos=999_000_000)),
        (Timestamp(seconds=LAST_SECOND + 1), Timestamp(seconds=INT64_MAX)),
        "EXPIRATION_INVALID", "expiration.expire_time",
    ),
    Bound(
        "version of a condition", if_version, (1, VERSION_MAX - 1, VERSION_MAX),
        (0, -1, VERSION_MAX + 1, INT64_MAX), "CONDITION_INVALID", "condition.if_version",
    ),
    Bound(
        "sum of a counter", counter, (9, 10), (11, INT64_MAX), "COUNTER_OVERFLOW",
        code="OUT_OF_RANGE",
    ),
    Bound(
        "sum of a counter, below", counter_down, (-9, -10), (-11, -INT64_MAX - 1),
        "COUNTER_OVERFLOW", code="OUT_OF_RANGE",
    ),
    Bound("page of entries", listed, (1, 999, 1000, 1001, 2**31 - 1), (0, -1, -(2**31)), **PAGE),
    Bound("page of namespaces", listed_namespaces, (1, 1000, 1001), (0, -1), **PAGE),
    Bound("hot keys", hot_keys, (1, 100, 101), (0, -1), **PAGE),
    Bound("logged operations", logged_operations, (1, 1000, 1001), (0, -1), **PAGE),
    Bound(
        "entries of a scan", scanned, (1, INT64_MAX), (0, -1), "PAGE_SIZE_INVALID", "limit",
    ),
    Bound(
        "where a scan starts", scan_after, ("", key_of(4096)), (key_of(4097),),
        "KEY_INVALID", "start_after",
    ),
    Bound(
        "prefix to list", list_prefix, ("", key_of(4096)), (key_of(4097),),
        "KEY_INVALID", "prefix",
    ),
    Bound(
        "prefix to delete", delete_prefix, ("k", key_of(4096)), (key_of(4097),),
        "KEY_INVALID", "prefix",
    ),
    Bound("no prefix to delete", delete_prefix, ("k",), ("",), "PREFIX_EMPTY", "prefix"),
    Bound(
        "keys of a watch", watch(keys=lambda count: ["k"] * count), (0, 999, 1000), (1001,),
        field="keys", **MANY,
    ),
    Bound(
        "prefixes of a watch", watch(prefixes=lambda count: ["k"] * count), (0, 99, 100), (101,),
        "BATCH_TOO_LARGE", "prefixes", {"limit": 100},
    ),
    Bound(
        "prefix of a watch", watch(prefixes=lambda size: [key_of(size)]), (0, 4096), (4097,),
        "KEY_INVALID", "prefixes[0]",
    ),
    Bound(
        "progress of a watch", watch(progress_interval=duration_ms), (1000, 1001, 600_000),
        (999, 600_001, 0, -1), "WATCH_INVALID", "progress_interval",
    ),
    Bound(
        "start of a watch", watch(start_version=lambda version: version), (0,), (-1,),
        "WATCH_INVALID", "start_version",
    ),
    Bound(
        "start of a watch, in the future", watch(start_version=lambda version: version), (0,), (1,),
        "VERSION_IN_FUTURE", code="OUT_OF_RANGE", metadata={"version": 1},
    ),
    Bound(
        "description", described(description=lambda size: "d" * size), (0, 1023, 1024), (1025,),
        "DESCRIPTION_INVALID", "namespace.description",
    ),
    Bound(
        "labels", described(labels=lambda count: {f"l{n}": "" for n in range(count)}), (0, 31, 32),
        (33,), "LABELS_INVALID", "namespace.labels",
    ),
    Bound(
        "name of a label", described(labels=lambda size: {"l" * size: "v"}), (1, 62, 63), (0, 64),
        "LABELS_INVALID", "namespace.labels",
    ),
    Bound(
        "value of a label", described(labels=lambda size: {"l": "v" * size}), (0, 62, 63), (64,),
        "LABELS_INVALID", "namespace.labels",
    ),
    *(
        Bound(
            field, policy(field, at_most), (1, 2, INT64_MAX if wide else 2**31), (0, -1),
            field=f"namespace.policy.{field}.maximum", **BAD_POLICY,
        )
        for field, wide in (
            ("max_keys", True), ("max_bytes", True), ("max_operations_per_second", False),
        )
    ),
    *(
        Bound(
            field, policy(field, lifetime_of), (1, 2, 10**12), (0, -1),
            field=f"namespace.policy.{field}.ttl", **BAD_POLICY,
        )
        for field in ("default_ttl", "max_ttl")
    ),
    Bound(
        "max_value_bytes", policy("max_value_bytes"), (1, 3 * MEBIBYTE - 1, 3 * MEBIBYTE),
        (0, -1, 3 * MEBIBYTE + 1, INT64_MAX),
        field="namespace.policy.max_value_bytes", **BAD_POLICY,
    ),
    Bound(
        "watch_history_events", policy("watch_history_events"), (0, 1, 1_000_000),
        (-1, 1_000_001), field="namespace.policy.watch_history_events", **BAD_POLICY,
    ),
    Bound(
        "max_value_bytes of the server", policy_of_server, (3 * MEBIBYTE, MEBIBYTE),
        (0, 3 * MEBIBYTE + 1), "CONFIG_INVALID", "config.default_policy.max_value_bytes",
    ),
    Bound(
        "log_filter", log_filter, (1023, 1024), (1025,), "CONFIG_INVALID", "config.log_filter",
    ),
    Bound(
        "chunk of an upload", upload_chunk, (MEBIBYTE - 1, MEBIBYTE), (MEBIBYTE + 1,),
        "UPLOAD_INVALID",
    ),
]


@pytest.mark.parametrize("bound", BOUNDS, ids=[bound.what for bound in BOUNDS])
def test_a_bound_holds_and_nothing_below_it_is_refused(client, name, bound):
    for within in bound.within:
        bound.attempt(client, name, within)
    fields = None if bound.field is None else {bound.field: bound.reason}
    for beyond in bound.beyond:
        with refused(bound.code, bound.reason, fields, bound.metadata) as caught:
            bound.attempt(client, name, beyond)
        assert caught[0].retry_seconds is None, "it is of no use to come back"
