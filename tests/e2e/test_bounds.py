"""Every bound of a request and of a policy: up to it a call goes, above it is told why it does not.

One table. What is within bounds must be answered OK; what is beyond must be refused with that code,
that reason and those fields, and nothing but those.
"""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from harness import attempts
from harness.calls import refused
from harness.wire import at_most, millis, seconds

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
    Bound(
        "key",
        lambda c, n, size: c.set(n, attempts.key_of(size), b""),
        (1, 4095, 4096),
        (0, 4097),
        **KEY,
    ),
    Bound("key of letters", lambda c, n, k: c.get(n, k), ("é" * 2048,), ("é" * 2048 + "e",), **KEY),
    Bound(
        "key to delete",
        lambda c, n, size: c.delete(n, attempts.key_of(size)),
        (4096,),
        (0, 4097),
        **KEY,
    ),
    Bound(
        "key of a counter",
        lambda c, n, k: c.increment(n, k),
        (attempts.key_of(4096),),
        ("",),
        **KEY,
    ),
    Bound(
        "value",
        attempts.value,
        (0, MEBIBYTE - 1, MEBIBYTE),
        (MEBIBYTE + 1,),
        "VALUE_TOO_LARGE",
        "value",
        sized(MEBIBYTE),
    ),
    Bound(
        "value, by policy",
        attempts.value_where_policy_allows(10),
        (9, 10),
        (11,),
        "VALUE_TOO_LARGE",
        "value",
        sized(10),
    ),
    Bound(
        "value, whatever the policy",
        attempts.value_where_policy_allows(3 * MEBIBYTE),
        (3 * MEBIBYTE - 1, 3 * MEBIBYTE),
        (3 * MEBIBYTE + 1,),
        "VALUE_TOO_LARGE",
        "value",
        sized(3 * MEBIBYTE),
    ),
    Bound(
        "length of a name",
        lambda c, _, size: c.set("n" * size, "k", b""),
        (1, 127, 128),
        (129,),
        **NAME,
    ),
    Bound(
        "letters of a name",
        attempts.namespace_name,
        ("aZ09._:-", "0", "Z.", "a-", "a:b", "a__b", "default"),
        (".a", "_a", ":a", "-a", "a b", "a/b", "a\n", "a\0", "ä", "a%", "a*", " a", "a "),
        **NAME,
    ),
    Bound(
        "items of a batch", attempts.batch, (1, 999, 1000), (0, 1001), field="operations", **MANY
    ),
    Bound("keys of a batch", attempts.batch_get, (1, 999, 1000), (0, 1001), field="keys", **MANY),
    Bound(
        "bytes of a batch",
        attempts.batch_bytes,
        (4 * MEBIBYTE - 1, 4 * MEBIBYTE),
        (4 * MEBIBYTE + 1,),
        "BATCH_TOO_LARGE",
        "operations",
        {"limit": 4 * MEBIBYTE},
    ),
    Bound(
        "bytes of an answer",
        attempts.answer_bytes,
        (4 * MEBIBYTE - 1024,),
        (4 * MEBIBYTE,),
        "RESPONSE_TOO_LARGE",
        metadata={"limit": 4 * MEBIBYTE},
        code="RESOURCE_EXHAUSTED",
    ),
    Bound(
        "time to live",
        attempts.lifetime,
        (millis(1), seconds(1), Duration(nanos=1)),
        (Duration(), millis(-1), Duration(seconds=INT64_MAX)),
        **LIFETIME,
    ),
    Bound(
        "time to live, in the end",
        attempts.lifetime,
        (Duration(seconds=LAST_SECOND - round(time.time()) - 600),),
        (Duration(seconds=LAST_SECOND),),
        "EXPIRATION_INVALID",
        "expiration",
    ),
    Bound(
        "moment to expire at",
        attempts.moment,
        (Timestamp(), Timestamp(seconds=1), Timestamp(seconds=LAST_SECOND, nanos=999_000_000)),
        (Timestamp(seconds=LAST_SECOND + 1), Timestamp(seconds=INT64_MAX)),
        "EXPIRATION_INVALID",
        "expiration.expire_time",
    ),
    Bound(
        "version of a condition",
        attempts.if_version,
        (1, VERSION_MAX - 1, VERSION_MAX),
        (0, -1, VERSION_MAX + 1, INT64_MAX),
        "CONDITION_INVALID",
        "condition.if_version",
    ),
    Bound(
        "sum of a counter",
        attempts.counter,
        (9, 10),
        (11, INT64_MAX),
        "COUNTER_OVERFLOW",
        code="OUT_OF_RANGE",
    ),
    Bound(
        "sum of a counter, below",
        attempts.counter_down,
        (-9, -10),
        (-11, -INT64_MAX - 1),
        "COUNTER_OVERFLOW",
        code="OUT_OF_RANGE",
    ),
    Bound(
        "page of entries",
        attempts.listed,
        (1, 999, 1000, 1001, 2**31 - 1),
        (0, -1, -(2**31)),
        **PAGE,
    ),
    Bound("page of namespaces", attempts.listed_namespaces, (1, 1000, 1001), (0, -1), **PAGE),
    Bound("hot keys", attempts.hot_keys, (1, 100, 101), (0, -1), **PAGE),
    Bound("logged operations", attempts.logged_operations, (1, 1000, 1001), (0, -1), **PAGE),
    Bound(
        "entries of a scan",
        attempts.scanned,
        (1, INT64_MAX),
        (0, -1),
        "PAGE_SIZE_INVALID",
        "limit",
    ),
    Bound(
        "where a scan starts",
        attempts.scan_after,
        ("", attempts.key_of(4096)),
        (attempts.key_of(4097),),
        "KEY_INVALID",
        "start_after",
    ),
    Bound(
        "prefix to list",
        attempts.list_prefix,
        ("", attempts.key_of(4096)),
        (attempts.key_of(4097),),
        "KEY_INVALID",
        "prefix",
    ),
    Bound(
        "prefix to delete",
        attempts.delete_prefix,
        ("k", attempts.key_of(4096)),
        (attempts.key_of(4097),),
        "KEY_INVALID",
        "prefix",
    ),
    Bound("no prefix to delete", attempts.delete_prefix, ("k",), ("",), "PREFIX_EMPTY", "prefix"),
    Bound(
        "keys of a watch",
        attempts.watch(keys=lambda count: ["k"] * count),
        (0, 999, 1000),
        (1001,),
        field="keys",
        **MANY,
    ),
    Bound(
        "prefixes of a watch",
        attempts.watch(prefixes=lambda count: ["k"] * count),
        (0, 99, 100),
        (101,),
        "BATCH_TOO_LARGE",
        "prefixes",
        {"limit": 100},
    ),
    Bound(
        "prefix of a watch",
        attempts.watch(prefixes=lambda size: [attempts.key_of(size)]),
        (0, 4096),
        (4097,),
        "KEY_INVALID",
        "prefixes[0]",
    ),
    Bound(
        "progress of a watch",
        attempts.watch(progress_interval=millis),
        (1000, 1001, 600_000),
        (999, 600_001, 0, -1),
        "WATCH_INVALID",
        "progress_interval",
    ),
    Bound(
        "start of a watch",
        attempts.watch(start_version=lambda version: version),
        (0,),
        (-1,),
        "WATCH_INVALID",
        "start_version",
    ),
    Bound(
        "start of a watch, in the future",
        attempts.watch(start_version=lambda version: version),
        (0,),
        (1,),
        "VERSION_IN_FUTURE",
        code="OUT_OF_RANGE",
        metadata={"version": 1},
    ),
    Bound(
        "description",
        attempts.described(description=lambda size: "d" * size),
        (0, 1023, 1024),
        (1025,),
        "DESCRIPTION_INVALID",
        "namespace.description",
    ),
    Bound(
        "labels",
        attempts.described(labels=lambda count: {f"l{n}": "" for n in range(count)}),
        (0, 31, 32),
        (33,),
        "LABELS_INVALID",
        "namespace.labels",
    ),
    Bound(
        "name of a label",
        attempts.described(labels=lambda size: {"l" * size: "v"}),
        (1, 62, 63),
        (0, 64),
        "LABELS_INVALID",
        "namespace.labels",
    ),
    Bound(
        "value of a label",
        attempts.described(labels=lambda size: {"l": "v" * size}),
        (0, 62, 63),
        (64,),
        "LABELS_INVALID",
        "namespace.labels",
    ),
    *(
        Bound(
            field,
            attempts.policy(field, at_most),
            (1, 2, INT64_MAX if wide else 2**31),
            (0, -1),
            field=f"namespace.policy.{field}.maximum",
            **BAD_POLICY,
        )
        for field, wide in (
            ("max_keys", True),
            ("max_bytes", True),
            ("max_operations_per_second", False),
        )
    ),
    *(
        Bound(
            field,
            attempts.policy(field, attempts.lifetime_of),
            (1, 2, 10**12),
            (0, -1),
            field=f"namespace.policy.{field}.ttl",
            **BAD_POLICY,
        )
        for field in ("default_ttl", "max_ttl")
    ),
    Bound(
        "max_value_bytes",
        attempts.policy("max_value_bytes"),
        (1, 3 * MEBIBYTE - 1, 3 * MEBIBYTE),
        (0, -1, 3 * MEBIBYTE + 1, INT64_MAX),
        field="namespace.policy.max_value_bytes",
        **BAD_POLICY,
    ),
    Bound(
        "watch_history_events",
        attempts.policy("watch_history_events"),
        (0, 1, 1_000_000),
        (-1, 1_000_001),
        field="namespace.policy.watch_history_events",
        **BAD_POLICY,
    ),
    Bound(
        "max_value_bytes of the server",
        attempts.policy_of_server,
        (3 * MEBIBYTE, MEBIBYTE),
        (0, 3 * MEBIBYTE + 1),
        "CONFIG_INVALID",
        "config.default_policy.max_value_bytes",
    ),
    Bound(
        "log_filter",
        attempts.log_filter,
        (1023, 1024),
        (1025,),
        "CONFIG_INVALID",
        "config.log_filter",
    ),
    Bound(
        "chunk of an upload",
        attempts.upload_chunk,
        (MEBIBYTE - 1, MEBIBYTE),
        (MEBIBYTE + 1,),
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
