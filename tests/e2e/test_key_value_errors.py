"""Requests that are not valid: every violation is named, and nothing happens."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from harness.calls import refused
from harness.wire import pb, ttl

MEBIBYTE = 1 << 20
LONG_KEY = "k" * 4097
BAD_NAMES = ["-x", ".x", "a b", "a/b", "ä", "n" * 129, "a\n", "_x"]


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_bad_namespace_name_is_refused_by_every_method(client, bad):
    entry = {"namespace": bad, "key": "k"}
    step = pb.WriteOperation(delete=pb.DeleteRequest(key="k"))
    kv = client.kv
    calls = [
        lambda: kv.Get(pb.GetRequest(**entry)),
        lambda: kv.Set(pb.SetRequest(**entry)),
        lambda: kv.Delete(pb.DeleteRequest(**entry)),
        lambda: kv.Touch(pb.TouchRequest(**entry)),
        lambda: kv.Increment(pb.IncrementRequest(**entry)),
        lambda: kv.BatchGet(pb.BatchGetRequest(namespace=bad, keys=["k"])),
        lambda: kv.BatchWrite(pb.BatchWriteRequest(namespace=bad, operations=[step])),
        lambda: kv.ListEntries(pb.ListEntriesRequest(namespace=bad)),
        lambda: kv.DeletePrefix(pb.DeletePrefixRequest(namespace=bad, prefix="p")),
    ]
    for call in calls:
        with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", {"namespace": "NAMESPACE_INVALID"}):
            call()


@pytest.mark.parametrize("key", ["", LONG_KEY, "é" * 2049])
def test_a_bad_key_is_refused_by_every_method(client, name, key):
    entry = {"namespace": name, "key": key}
    kv = client.kv
    calls = [
        lambda: kv.Get(pb.GetRequest(**entry)),
        lambda: kv.Set(pb.SetRequest(**entry)),
        lambda: kv.Delete(pb.DeleteRequest(**entry)),
        lambda: kv.Touch(pb.TouchRequest(**entry)),
        lambda: kv.Increment(pb.IncrementRequest(**entry)),
    ]
    for call in calls:
        with refused("INVALID_ARGUMENT", "KEY_INVALID", {"key": "KEY_INVALID"}):
            call()
    with refused("INVALID_ARGUMENT", "KEY_INVALID", {"keys[1]": "KEY_INVALID"}):
        client.values(name, ["good", key])


def test_all_violations_are_listed_at_once(client):
    request = pb.SetRequest(
        namespace="-bad",
        key="",
        expiration=pb.Expiration(ttl=Duration(seconds=-1)),
        condition=pb.Condition(if_absent=False),
    )
    expected = {
        "namespace": "NAMESPACE_INVALID",
        "key": "KEY_INVALID",
        "expiration.ttl": "EXPIRATION_INVALID",
        "condition.if_absent": "CONDITION_INVALID",
    }
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", expected):
        client.kv.Set(request)
    listing = pb.ListEntriesRequest(namespace="-bad", page_size=0, page_token="x", prefix=LONG_KEY)
    expected = {
        "namespace": "NAMESPACE_INVALID",
        "prefix": "KEY_INVALID",
        "page_size": "PAGE_SIZE_INVALID",
        "page_token": "PAGE_TOKEN_INVALID",
    }
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", expected):
        client.kv.ListEntries(listing)


def test_all_violations_of_a_batch_are_listed_at_once_with_their_places(client, name):
    steps = [
        pb.WriteOperation(set=pb.SetRequest(key="ok")),
        pb.WriteOperation(set=pb.SetRequest(key="", expiration=pb.Expiration())),
        pb.WriteOperation(),
        pb.WriteOperation(delete=pb.DeleteRequest(key="k", namespace="elsewhere")),
        pb.WriteOperation(touch=pb.TouchRequest(key="k", condition=pb.Condition(if_absent=True))),
        pb.WriteOperation(increment=pb.IncrementRequest(key=LONG_KEY)),
        pb.WriteOperation(check=pb.CheckOperation(key="k")),
    ]
    expected = {
        "operations[1].set.key": "KEY_INVALID",
        "operations[1].set.expiration": "EXPIRATION_INVALID",
        "operations[2]": "OPERATION_MISSING",
        "operations[3].delete.namespace": "NAMESPACE_MISMATCH",
        "operations[4].touch.condition.if_absent": "CONDITION_INVALID",
        "operations[5].increment.key": "KEY_INVALID",
        "operations[6].check.condition": "CONDITION_INVALID",
    }
    for atomic in (False, True):
        with refused("INVALID_ARGUMENT", "KEY_INVALID", expected):
            client.batch(name, steps, atomic)
    assert client.get(name, "ok") is None, "a refused request changed something"


@pytest.mark.parametrize(
    "expiration, place",
    [
        (pb.Expiration(), "expiration"),
        (pb.Expiration(ttl=Duration()), "expiration.ttl"),
        (pb.Expiration(ttl=Duration(seconds=-1)), "expiration.ttl"),
        (pb.Expiration(ttl=Duration(seconds=1, nanos=1_000_000_000)), "expiration.ttl"),
        (pb.Expiration(ttl=Duration(seconds=315_576_000_000)), "expiration.ttl"),
        (pb.Expiration(never=False), "expiration.never"),
        (pb.Expiration(keep=False), "expiration.keep"),
    ],
)
def test_an_expiration_that_says_nothing_sensible_is_refused(client, name, expiration, place):
    fields = {place: "EXPIRATION_INVALID"}
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID", fields):
        client.set(name, "k", b"", expiration=expiration)
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID", fields):
        client.touch(name, "k", expiration=expiration)
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID", fields):
        client.increment(name, "k", expiration=expiration)


def test_a_moment_after_the_year_9999_is_refused(client, name):
    late = Timestamp(seconds=253_402_300_800)
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID"):
        client.set(name, "k", b"", expiration=pb.Expiration(expire_time=late))


@pytest.mark.parametrize(
    "condition, place",
    [
        (pb.Condition(), "condition"),
        (pb.Condition(if_present=False), "condition.if_present"),
        (pb.Condition(if_version=0), "condition.if_version"),
        (pb.Condition(if_version=-1), "condition.if_version"),
    ],
)
def test_a_condition_that_tests_nothing_is_refused(client, name, condition, place):
    fields = {place: "CONDITION_INVALID"}
    with refused("INVALID_ARGUMENT", "CONDITION_INVALID", fields):
        client.set(name, "k", b"", condition=condition)
    with refused("INVALID_ARGUMENT", "CONDITION_INVALID", fields):
        client.delete(name, "k", condition=condition)
    with refused("INVALID_ARGUMENT", "CONDITION_INVALID", fields):
        client.touch(name, "k", condition=condition)


def test_if_absent_makes_no_sense_for_delete_and_touch(client, name):
    absent = pb.Condition(if_absent=True)
    fields = {"condition.if_absent": "CONDITION_INVALID"}
    with refused("INVALID_ARGUMENT", "CONDITION_INVALID", fields):
        client.delete(name, "k", condition=absent)
    with refused("INVALID_ARGUMENT", "CONDITION_INVALID", fields):
        client.touch(name, "k", condition=absent)


def test_a_value_above_the_policy_is_refused_with_both_sizes(client, name):
    client.set(name, "k", b"v" * MEBIBYTE)
    sizes = {"limit_bytes": MEBIBYTE, "size_bytes": MEBIBYTE + 1}
    with refused("INVALID_ARGUMENT", "VALUE_TOO_LARGE", {"value": "VALUE_TOO_LARGE"}, sizes):
        client.set(name, "k", b"w" * (MEBIBYTE + 1))
    sizes = {"limit_bytes": 3 * MEBIBYTE, "size_bytes": 3 * MEBIBYTE + 1}
    with refused("INVALID_ARGUMENT", "VALUE_TOO_LARGE", {"value": "VALUE_TOO_LARGE"}, sizes):
        client.set(name, "k", b"w" * (3 * MEBIBYTE + 1))
    assert client.get(name, "k").size_bytes == MEBIBYTE


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_items(client, name, count):
    limit = {"limit": 1000}
    request = pb.BatchGetRequest(namespace=name, keys=["k"] * count)
    with refused("INVALID_ARGUMENT", "BATCH_TOO_LARGE", {"keys": "BATCH_TOO_LARGE"}, limit):
        client.kv.BatchGet(request)
    step = pb.WriteOperation(set=pb.SetRequest(key="k"))
    fields = {"operations": "BATCH_TOO_LARGE"}
    with refused("INVALID_ARGUMENT", "BATCH_TOO_LARGE", fields, limit):
        client.batch(name, [step] * count)


def test_a_batch_has_at_most_4_mebibytes(client, name):
    def step(number, size):
        return pb.WriteOperation(set=pb.SetRequest(key=f"k{number}", value=b"v" * size))

    fits = [step(number, MEBIBYTE - 2) for number in range(4)]
    assert client.batch(name, fits).committed
    over = [*fits, step(4, 1)]
    fields, limit = {"operations": "BATCH_TOO_LARGE"}, {"limit": 4 * MEBIBYTE}
    with refused("INVALID_ARGUMENT", "BATCH_TOO_LARGE", fields, limit):
        client.batch(name, over)
    assert client.get(name, "k4") is None


def test_an_answer_above_4_mebibytes_is_refused_in_words(client, name):
    client.set(name, "k", b"v" * MEBIBYTE)
    with refused("RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE"):
        client.values(name, ["k"] * 5)
    assert len(client.values(name, ["k"] * 3)) == 3


@pytest.mark.parametrize("size", [0, -1])
def test_a_page_has_at_least_one_entry(client, name, size):
    with refused("INVALID_ARGUMENT", "PAGE_SIZE_INVALID", {"page_size": "PAGE_SIZE_INVALID"}):
        client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, page_size=size))


def test_a_page_token_of_another_list_is_refused(client, name):
    for number in range(3):
        client.set(name, f"a{number}", b"")
        client.set(f"{name}.b", f"a{number}", b"")
    page = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, page_size=1))
    token = page.next_page_token
    fields = {"page_token": "PAGE_TOKEN_INVALID"}
    others = [
        {"namespace": name, "page_token": "not a token"},
        {"namespace": name, "page_token": token[:-1]},
        {"namespace": name, "page_token": token, "prefix": "a"},
        {"namespace": f"{name}.b", "page_token": token},
    ]
    for other in others:
        with refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", fields):
            client.kv.ListEntries(pb.ListEntriesRequest(page_size=1, **other))


def test_a_prefix_to_delete_has_at_least_one_byte(client, name):
    client.set(name, "k", b"")
    with refused("INVALID_ARGUMENT", "PREFIX_EMPTY", {"prefix": "PREFIX_EMPTY"}):
        client.kv.DeletePrefix(pb.DeletePrefixRequest(namespace=name))
    with refused("INVALID_ARGUMENT", "KEY_INVALID", {"prefix": "KEY_INVALID"}):
        client.kv.DeletePrefix(pb.DeletePrefixRequest(namespace=name, prefix=LONG_KEY))
    assert client.get(name, "k") is not None


def test_a_refusal_never_repeats_what_a_tenant_wrote(client):
    secret = "s3cret-" + "x" * 4096
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID") as caught:
        client.set("bad name", secret, b"", expiration=ttl(0))
    assert "s3cret" not in caught[0].message and "s3cret" not in str(caught[0].details)
