"""Many entries at once: BatchGet, BatchWrite, ListEntries, DeletePrefix."""

import pytest
from harness.calls import refused, refusal_in, require
from harness.wire import pb, ttl


def put(key, value=b"v", **more):
    """A step that sets."""
    return pb.WriteOperation(set=pb.SetRequest(key=key, value=value, **more))


def check(key, **test):
    """A step that only requires."""
    condition = pb.Condition(**test)
    return pb.WriteOperation(check=pb.CheckOperation(key=key, condition=condition))


def pages(client, **request):
    """All pages of a list."""
    found, token = [], ""
    while True:
        page = client.kv.ListEntries(pb.ListEntriesRequest(page_token=token, **request))
        found.append(page)
        token = page.next_page_token
        if not token:
            return found


def test_a_batch_get_answers_in_the_order_of_its_keys(client, name):
    client.batch(name, [put("a", b"1"), put("b", b"2")])
    found = client.values(name, ["b", "missing", "a", "b"])
    assert [entry and entry.value for entry in found] == [b"2", None, b"1", b"2"]
    found = client.values(name, ["a", "missing"], pb.ENTRY_VIEW_VALUE)
    assert (found[0].key, found[0].value) == ("", b"1") and found[1] is None


def test_a_batch_has_a_result_for_each_step_and_later_steps_see_earlier_ones(client, name):
    steps = [
        put("k", b"1"),
        put("k", b"2", condition=pb.Condition(if_absent=True)),
        pb.WriteOperation(increment=pb.IncrementRequest(key="k", delta=41)),
        pb.WriteOperation(touch=pb.TouchRequest(key="k", expiration=ttl(60_000))),
        check("k", if_present=True),
        pb.WriteOperation(delete=pb.DeleteRequest(key="k", return_previous=True)),
        check("k", if_present=True),
        pb.WriteOperation(touch=pb.TouchRequest(key="k")),
    ]
    answer = client.batch(name, steps)
    assert answer.committed and len(answer.results) == len(steps)
    kinds = [result.WhichOneof("result") for result in answer.results]
    expected = ["set", "set", "increment", "touch", "check", "delete", "check", "touch"]
    assert kinds == expected
    results = answer.results
    assert results[0].set.applied and not results[1].set.applied
    assert results[2].increment.value == 42 and results[3].touch.applied
    assert results[4].check.held and results[5].delete.previous.value == b"42"
    assert not results[6].check.held and not results[7].touch.applied


def test_a_step_that_fails_is_told_alone_and_the_others_happen(client, name):
    client.set(name, "text", b"text")
    steps = [
        put("a"),
        pb.WriteOperation(increment=pb.IncrementRequest(key="text")),
        put("big", b"v" * (1 << 20) + b"v"),
        put("b"),
    ]
    answer = client.batch(name, steps)
    assert answer.committed
    require(refusal_in(answer.results[1].error), "FAILED_PRECONDITION", "VALUE_NOT_INTEGER")
    require(refusal_in(answer.results[2].error), "INVALID_ARGUMENT", "VALUE_TOO_LARGE")
    assert client.value(name, "a") == client.value(name, "b") == b"v"
    assert client.get(name, "big") is None


def test_an_atomic_batch_is_all_or_nothing_when_a_condition_does_not_hold(client, name):
    client.set(name, "lock", b"held")
    steps = [put("a"), check("lock", if_absent=True), put("b")]
    answer = client.batch(name, steps, atomic=True)
    assert not answer.committed and len(answer.results) == 3
    assert not answer.results[1].check.held
    assert answer.results[1].check.entry.key == "lock"
    assert client.values(name, ["a", "b"]) == [None, None]
    client.delete(name, "lock")
    answer = client.batch(name, steps, atomic=True)
    assert answer.committed and answer.results[1].check.held
    assert all(client.values(name, ["a", "b"]))


def test_an_atomic_batch_whose_bound_stands_against_it_changes_nothing(client, name):
    bounded = pb.IncrementRequest(key="n", upper_bound=1, delta=2)
    answer = client.batch(name, [put("a"), pb.WriteOperation(increment=bounded)], atomic=True)
    assert not answer.committed and not answer.results[1].increment.applied
    assert client.get(name, "a") is None


def test_an_atomic_batch_with_a_failing_step_fails_as_a_whole_and_names_it(client, name):
    client.set(name, "text", b"text")
    steps = [put("a"), put("b"), pb.WriteOperation(increment=pb.IncrementRequest(key="text"))]
    with refused("FAILED_PRECONDITION", "VALUE_NOT_INTEGER", metadata={"index": 2}):
        client.batch(name, steps, atomic=True)
    assert client.values(name, ["a", "b"]) == [None, None]


def test_a_thousand_steps_are_one_batch(client, name):
    steps = [put(f"k{number:04}", str(number).encode()) for number in range(1000)]
    assert all(result.set.applied for result in client.batch(name, steps, atomic=True).results)
    found = client.values(name, [f"k{number:04}" for number in range(1000)])
    assert [int(entry.value) for entry in found] == list(range(1000))


def test_a_list_goes_through_all_entries_by_key_once(client, name):
    keys = sorted({f"{number % 7}/{number}" for number in range(250)} | {"ä", "z", "Ž", "🔑"})
    client.batch(name, [put(key, key.encode()) for key in reversed(keys)])
    found = pages(client, namespace=name, page_size=17, include_total_size=True)
    listed = [entry.key for page in found for entry in page.entries]
    assert listed == sorted(keys, key=lambda key: key.encode())
    assert found[0].total_size == len(keys)
    entry = found[0].entries[0]
    assert entry.value == b"" and entry.version > 0 and entry.size_bytes == len(entry.key.encode())


def test_a_list_can_be_narrowed_to_a_prefix(client, name):
    client.batch(name, [put(key) for key in ["a", "a/1", "a/2", "ab", "b", "a/\U0010ffff"]])
    found = pages(client, namespace=name, prefix="a/", page_size=1, include_total_size=True)
    assert [page.entries[0].key for page in found] == ["a/1", "a/2", "a/\U0010ffff"]
    assert found[0].total_size == 3
    nothing = pages(client, namespace=name, prefix="zzz", include_total_size=True)
    assert len(nothing) == 1 and not nothing[0].entries and nothing[0].total_size == 0


@pytest.mark.parametrize(
    "view, expected",
    [
        (pb.ENTRY_VIEW_KEY, ("k", b"", False)),
        (pb.ENTRY_VIEW_METADATA, ("k", b"", True)),
        (pb.ENTRY_VIEW_FULL, ("k", b"value", True)),
        (pb.ENTRY_VIEW_UNSPECIFIED, ("k", b"", True)),
    ],
)
def test_a_list_shows_the_view_asked_for(client, name, view, expected):
    client.set(name, "k", b"value")
    listing = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, view=view))
    [entry] = listing.entries
    assert (entry.key, entry.value, entry.version > 0) == expected


def test_a_page_has_100_entries_by_default_and_never_more_than_1000(client, name):
    for start in range(0, 2000, 1000):
        client.batch(name, [put(f"{number:04}") for number in range(start, start + 1000)])

    def size(**request):
        listing = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, **request))
        return len(listing.entries)

    assert size() == 100
    assert 1 <= size(page_size=5000) <= 1000


def test_a_page_of_large_values_stays_below_4_mebibytes_and_the_list_goes_on(client, name):
    for number in range(9):
        client.set(name, f"k{number}", bytes([number]) * (1 << 20))
    found = pages(client, namespace=name, view=pb.ENTRY_VIEW_FULL)
    assert all(page.ByteSize() <= 4 << 20 for page in found) and len(found) > 1
    values = [entry.value[:1] for page in found for entry in page.entries]
    assert values == [bytes([number]) for number in range(9)]


def test_a_list_goes_on_behind_an_entry_that_was_deleted(client, name):
    client.batch(name, [put(f"k{number}") for number in range(6)])
    first = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name, page_size=2))
    client.delete(name, "k1")
    client.delete(name, "k2")
    rest = client.kv.ListEntries(
        pb.ListEntriesRequest(namespace=name, page_size=100, page_token=first.next_page_token)
    )
    assert [entry.key for entry in rest.entries] == ["k3", "k4", "k5"]


def test_a_prefix_is_counted_or_deleted_and_nothing_else_is(client, name):
    for start in range(0, 3000, 1000):
        client.batch(name, [put(f"p/{number}") for number in range(start, start + 1000)])
    client.batch(name, [put("p"), put("q/1"), put("p0")])
    request = {"namespace": name, "prefix": "p/"}
    count = client.kv.DeletePrefix(pb.DeletePrefixRequest(validate_only=True, **request))
    assert count.deleted_count == 3000 and client.get(name, "p/0") is not None
    assert client.kv.DeletePrefix(pb.DeletePrefixRequest(**request)).deleted_count == 3000
    assert client.kv.DeletePrefix(pb.DeletePrefixRequest(**request)).deleted_count == 0
    listing = client.kv.ListEntries(pb.ListEntriesRequest(namespace=name))
    assert [entry.key for entry in listing.entries] == ["p", "p0", "q/1"]
