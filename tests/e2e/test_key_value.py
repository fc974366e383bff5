"""Single entries: what Get, Set, Delete, Touch and Increment promise."""

import time

import pytest
from harness.calls import refused
from harness.server import eventually
from harness.wire import millis, moment, pb, ttl

INT64_MAX = 2**63 - 1


def test_a_value_comes_back_as_it_was_written(client, name):
    values = [b"", b"\0", b"text", bytes(range(256)), "žluťoučký".encode(), b"x" * 100_000]
    for number, value in enumerate(values):
        written = client.set(name, f"k{number}", value)
        assert written.applied and not written.HasField("previous")
        assert (written.entry.key, written.entry.value) == (f"k{number}", b"")
        entry = client.get(name, f"k{number}")
        assert (entry.value, entry.size_bytes) == (value, len(value))
        assert entry.version == written.entry.version > 0
        assert not entry.HasField("expire_time") and not entry.HasField("ttl")


def test_any_text_of_1_to_4096_bytes_is_a_key(client, name):
    for key in ["k", "a/b//c/..", " ", "\t\r\n\x01", "ключ 🔑", "é" * 2048, "k" * 4096]:
        client.set(name, key, key.encode())
        entry = client.get(name, key)
        assert (entry.key, entry.value) == (key, key.encode())


def test_a_miss_is_an_answer_without_an_entry(client, name):
    assert client.get(name, "nothing") is None
    client.set(name, "something", b"")
    assert client.get(name, "nothing") is None
    assert client.get(name, "something").value == b""


def test_an_empty_namespace_means_default(client):
    client.set("", "shared", b"1")
    assert client.value("default", "shared") == b"1"


def test_namespaces_do_not_see_each_other(client, name):
    client.set(name, "k", b"mine")
    assert client.get(f"{name}:other", "k") is None
    client.set(f"{name}:other", "k", b"theirs")
    assert client.value(name, "k") == b"mine"


def test_a_view_returns_what_it_says(client, name):
    client.set(name, "k", b"value", expiration=ttl(60_000))
    full = client.get(name, "k", pb.ENTRY_VIEW_FULL)
    assert (full.key, full.value, full.size_bytes) == ("k", b"value", 5)
    assert full.HasField("expire_time") and full.HasField("ttl") and full.HasField("update_time")
    metadata = client.get(name, "k", pb.ENTRY_VIEW_METADATA)
    assert (metadata.key, metadata.value, metadata.size_bytes) == ("k", b"", 5)
    assert metadata.version == full.version and metadata.expire_time == full.expire_time
    value = client.get(name, "k", pb.ENTRY_VIEW_VALUE)
    assert (value.key, value.value, value.version) == ("", b"value", full.version)
    assert not value.HasField("expire_time") and not value.HasField("update_time")
    key = client.get(name, "k", pb.ENTRY_VIEW_KEY)
    assert (key.key, key.value, key.version) == ("k", b"", 0)


def test_every_change_takes_a_higher_version(client, name):
    versions = [client.set(name, "a", b"1").entry.version]
    versions.append(client.set(name, "b", b"2").entry.version)
    versions.append(client.touch(name, "a", expiration=ttl(60_000)).entry.version)
    versions.append(client.increment(name, "n").entry.version)
    client.delete(name, "a")
    versions.append(client.set(name, "a", b"3").entry.version)
    assert versions == sorted(set(versions)), versions


def test_conditions_of_set_hold_or_the_write_does_not_happen(client, name):
    absent, present = pb.Condition(if_absent=True), pb.Condition(if_present=True)
    refusal = client.set(name, "k", b"1", condition=present)
    assert not refusal.applied and not refusal.HasField("entry")
    first = client.set(name, "k", b"1", condition=absent)
    assert first.applied
    second = client.set(name, "k", b"2", condition=absent)
    assert not second.applied and second.entry.version == first.entry.version
    assert client.value(name, "k") == b"1"
    assert client.set(name, "k", b"3", condition=present).applied
    stale = pb.Condition(if_version=first.entry.version)
    third = client.set(name, "k", b"4", condition=stale)
    assert not third.applied and client.value(name, "k") == b"3"
    current = pb.Condition(if_version=third.entry.version)
    assert client.set(name, "k", b"5", condition=current).applied
    assert client.value(name, "k") == b"5"


def test_set_returns_the_replaced_entry_when_asked(client, name):
    assert not client.set(name, "k", b"old", return_previous=True).HasField("previous")
    replaced = client.set(name, "k", b"new", return_previous=True)
    assert replaced.previous.value == b"old"
    assert replaced.previous.version < replaced.entry.version


def test_delete_says_what_it_did(client, name):
    assert not client.delete(name, "k").deleted
    version = client.set(name, "k", b"v").entry.version
    wrong = client.delete(name, "k", condition=pb.Condition(if_version=version + 1))
    assert not wrong.deleted and wrong.entry.version == version
    right = client.delete(
        name, "k", condition=pb.Condition(if_version=version), return_previous=True
    )
    assert right.deleted and right.previous.value == b"v" and not right.HasField("entry")
    assert client.get(name, "k") is None


def test_an_entry_expires_at_its_deadline_and_not_before(client, name):
    written = time.monotonic()
    entry = client.set(name, "k", b"v", expiration=ttl(400)).entry
    assert 0 < entry.ttl.ToMilliseconds() <= 400
    eventually("the entry expires", lambda: client.get(name, "k") is None, 5)
    assert time.monotonic() - written >= 0.399
    assert client.set(name, "k", b"v", condition=pb.Condition(if_absent=True)).applied


def test_an_expired_entry_is_invisible_to_every_method(client, name):
    client.set(name, "keep", b"1")
    client.set(name, "gone", b"1", expiration=ttl(1))
    eventually("the entry expires", lambda: client.get(name, "gone") is None, 5, 0.001)
    assert not client.delete(name, "gone").deleted
    assert not client.touch(name, "gone").applied
    assert client.values(name, ["gone", "keep"])[0] is None
    listing = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, include_total_size=True))
    assert [entry.key for entry in listing.entries] == ["keep"] and listing.total_size == 1
    prefix = pb.DeletePrefixRequest(namespace=name, prefix="g", validate_only=True)
    assert client.kv.DeletePrefix(prefix).deleted_count == 0
    assert client.increment(name, "gone").created


def test_a_moment_to_expire_is_kept_and_one_past_deletes_at_once(client, name):
    deadline = moment(time.time() + 3600)
    client.set(name, "k", b"v", expiration=pb.Expiration(expire_time=deadline))
    assert client.get(name, "k").expire_time == deadline
    past = pb.Expiration(expire_time=moment(time.time() - 1))
    client.set(name, "k", b"w", expiration=past)
    assert client.get(name, "k") is None
    client.set(name, "new", b"w", expiration=past)
    assert client.get(name, "new") is None


def test_an_expiry_is_kept_replaced_or_removed_as_asked(client, name):
    client.set(name, "k", b"1", expiration=ttl(60_000))
    before = client.get(name, "k").expire_time
    client.set(name, "k", b"2", expiration=pb.Expiration(keep=True))
    assert client.get(name, "k").expire_time == before
    client.set(name, "k", b"3")
    assert not client.get(name, "k").HasField("expire_time")
    client.set(name, "k", b"4", expiration=ttl(60_000))
    client.set(name, "k", b"5", expiration=pb.Expiration(never=True))
    assert not client.get(name, "k").HasField("expire_time")
    client.set(name, "new", b"6", expiration=pb.Expiration(keep=True))
    assert not client.get(name, "new").HasField("expire_time")


def test_a_rest_of_a_millisecond_is_rounded_up(client, name):
    expiration = ttl(1_000)
    expiration.ttl.nanos = 1
    entry = client.set(name, "k", b"", expiration=expiration).entry
    assert entry.ttl.ToNanoseconds() % 1_000_000 == 0
    assert entry.ttl.ToMilliseconds() <= 1_001


def test_touch_changes_the_expiry_and_nothing_else(client, name):
    assert not client.touch(name, "k", expiration=ttl(60_000)).applied
    client.set(name, "k", b"v")
    before = client.get(name, "k")
    touched = client.touch(name, "k", expiration=ttl(60_000))
    assert touched.applied and touched.entry.value == b"" and touched.entry.key == "k"
    after = client.get(name, "k")
    assert (after.value, after.update_time) == (b"v", before.update_time)
    assert after.HasField("expire_time")
    full = client.touch(name, "k", expiration=pb.Expiration(never=True), view=pb.ENTRY_VIEW_FULL)
    assert full.entry.value == b"v" and not client.get(name, "k").HasField("expire_time")
    stale = pb.Condition(if_version=before.version)
    assert not client.touch(name, "k", expiration=ttl(1), condition=stale).applied
    assert client.value(name, "k") == b"v"


def test_increment_counts_from_its_initial_value(client, name):
    first = client.increment(name, "n", initial_value=10)
    assert (first.value, first.applied, first.created) == (11, True, True)
    second = client.increment(name, "n", delta=-5, initial_value=99)
    assert (second.value, second.applied, second.created) == (6, True, False)
    assert client.value(name, "n") == b"6"
    assert client.increment(name, "n", delta=0).value == 6
    client.set(name, "text", b"41")
    assert client.increment(name, "text").value == 42


def test_a_bound_stops_a_counter_and_changes_nothing(client, name):
    for expected in (1, 2, 3):
        answer = client.increment(name, "n", upper_bound=3, expiration=ttl(60_000))
        assert (answer.value, answer.applied) == (expected, True)
    version = client.get(name, "n").version
    refusal = client.increment(name, "n", upper_bound=3)
    assert (refusal.value, refusal.applied) == (3, False)
    assert refusal.entry.version == version and 0 < refusal.entry.ttl.ToMilliseconds() <= 60_000
    low = client.increment(name, "n", delta=-10, lower_bound=0)
    assert (low.value, low.applied) == (3, False)
    none = client.increment(name, "none", delta=5, upper_bound=4)
    assert not none.applied and not none.created and not none.HasField("entry")
    assert client.get(name, "none") is None


def test_a_counter_s_window_is_fixed_unless_it_shall_slide(client, name):
    client.increment(name, "n", expiration=ttl(60_000))
    fixed = client.get(name, "n").expire_time
    client.increment(name, "n", expiration=ttl(120_000))
    assert client.get(name, "n").expire_time == fixed
    client.increment(name, "n", expiration=ttl(120_000), refresh_expiration=True)
    later = client.get(name, "n").expire_time
    assert later.ToMilliseconds() > fixed.ToMilliseconds() + 50_000


def test_increments_of_many_callers_are_all_counted(client, name):
    request = pb.IncrementRequest(namespace=name, key="n")
    calls = [client.kv.Increment.future(request, timeout=20) for _ in range(500)]
    assert sorted(call.result().value for call in calls) == list(range(1, 501))


def test_a_value_that_is_no_integer_cannot_be_incremented(client, name):
    for value in [b"", b"1.5", b"abc", b" 1", b"9223372036854775808", b"\xff"]:
        client.set(name, "k", value)
        with refused("FAILED_PRECONDITION", "VALUE_NOT_INTEGER"):
            client.increment(name, "k")
        assert client.value(name, "k") == value


@pytest.mark.parametrize("start, delta", [(INT64_MAX, 1), (-INT64_MAX - 1, -1)])
def test_a_sum_beyond_64_bits_is_out_of_range(client, name, start, delta):
    client.set(name, "n", str(start).encode())
    with refused("OUT_OF_RANGE", "COUNTER_OVERFLOW"):
        client.increment(name, "n", delta=delta)
    assert client.value(name, "n") == str(start).encode()


def test_an_update_time_moves_with_the_value(client, name):
    client.set(name, "k", b"1")
    first = client.get(name, "k").update_time.ToMilliseconds()
    assert abs(first / 1000 - time.time()) < 60
    eventually("the clock moves on", lambda: time.time() * 1000 > first + 2, 5, 0.001)
    client.set(name, "k", b"2")
    assert client.get(name, "k").update_time.ToMilliseconds() > first


def test_the_longest_ttl_there_is_ends_before_the_year_10000(client, name):
    client.set(name, "k", b"", expiration=ttl(10 * 365 * 86_400_000))
    assert client.get(name, "k").HasField("ttl")
    century = pb.Expiration(ttl=millis(9_000 * 366 * 86_400_000))
    with refused("INVALID_ARGUMENT", "EXPIRATION_INVALID"):
        client.set(name, "k", b"", expiration=century)
