"""Watch: what is told, in which order, from where on, and how it ends."""

import threading
import time

import grpc
import pytest
from harness.calls import CALL_SECONDS_MAX, Client, refusal_of, refused, require
from harness.server import Server, eventually
from harness.wire import at_most, millis, pb, seconds, ttl

SET, DELETED = pb.WATCH_EVENT_TYPE_SET, pb.WATCH_EVENT_TYPE_DELETED
INITIAL, CLEARED = pb.WATCH_EVENT_TYPE_INITIAL, pb.WATCH_EVENT_TYPE_CLEARED
EXPIRED, EVICTED = pb.WATCH_EVENT_TYPE_EXPIRED, pb.WATCH_EVENT_TYPE_EVICTED


def watch(client, namespace, timeout=CALL_SECONDS_MAX, **request):
    """Begins to watch; the messages."""
    return client.kv.Watch(pb.WatchRequest(namespace=namespace, **request), timeout=timeout)


def begun(client, namespace, **request):
    """A watch that is under way, and the version it begins at."""
    messages = watch(client, namespace, **request)
    first = next(messages)
    assert not first.events and not first.initial_complete
    return messages, first.version


def told(messages, until):
    """Events up to the one of the key `until`, that included."""
    events = []
    for message in messages:
        events += message.events
        if any(event.entry.key == until for event in message.events):
            return events
    raise AssertionError(f"the watch ended before {until}")


def brief(events):
    """Kind and key of each event."""
    return [(event.type, event.entry.key) for event in events]


def put(key, value=b"v"):
    """A step that sets."""
    return pb.WriteOperation(set=pb.SetRequest(key=key, value=value))


def version_of(client, name):
    """The namespace's version."""
    request = pb.GetNamespaceRequest(namespace=name)
    return client.namespaces.GetNamespace(request).namespace.usage.version


def watches(client, name):
    """How many watches are open."""
    request = pb.GetNamespaceStatsRequest(namespace=name)
    return client.namespaces.GetNamespaceStats(request).stats.active_watches


def test_changes_are_told_in_order_and_why_an_entry_went(client, name):
    client.create(name, max_keys=at_most(3))
    messages, start = begun(client, name, include_values=True)
    client.set(name, "e", b"", expiration=ttl(50))
    client.set(name, "d", b"1")
    client.delete(name, "d")
    client.delete(name, "nothing")
    client.touch(name, "e", expiration=ttl(60))
    eventually("it is swept", lambda: _expirations(client, name) == 1)
    for key in ("1", "2", "3"):
        client.set(name, key, key.encode())
    client.increment(name, "4", delta=4)
    client.namespaces.ClearNamespace(pb.ClearNamespaceRequest(namespace=name))
    client.set(name, "end", b"")
    events = told(messages, "end")
    expected = [(SET, "e"), (SET, "d"), (DELETED, "d"), (EXPIRED, "e"), (SET, "1"), (SET, "2")]
    expected += [(SET, "3"), (EVICTED, "1"), (SET, "4"), (CLEARED, ""), (SET, "end")]
    assert brief(events) == expected
    versions = [event.entry.version for event in events]
    assert versions == sorted(set(versions)) and versions[0] > start
    assert [e.entry.value for e in events if e.type == SET][1:-1] == [b"1", b"1", b"2", b"3", b"4"]
    first = events[0].entry
    assert first.HasField("ttl") and first.HasField("expire_time") and first.HasField("update_time")
    assert all(event.HasField("event_time") for event in events)
    gone = events[2].entry
    assert not gone.HasField("update_time") and not gone.value and gone.version
    messages.cancel()


def _expirations(client, name):
    request = pb.GetNamespaceStatsRequest(namespace=name)
    return client.namespaces.GetNamespaceStats(request).stats.expirations


def test_only_what_is_asked_for_is_told_and_values_only_when_asked_for(client, name):
    client.create(name)
    messages, _ = begun(client, name, keys=["x", "end", "x"], prefixes=["user:", "user:1", "ü/"])
    for key in ("x", "xx", "user", "user:1", "user:2", "ü/a", "ü", "end"):
        client.set(name, key, b"four")
    events = told(messages, "end")
    assert [e.entry.key for e in events] == ["x", "user:1", "user:2", "ü/a", "end"]
    assert all(e.entry.size_bytes == 4 and not e.entry.value for e in events)
    messages.cancel()


def test_a_watch_resumes_anywhere_without_gap_or_repeat(client, name, rng):
    client.create(name)
    whole, start = begun(client, name)
    keys = [f"k{n}" for n in range(20)]

    def write(count):
        for _ in range(count):
            if rng.random() < 0.3:
                client.delete(name, rng.choice(keys))
            elif rng.random() < 0.3:
                client.batch(name, [put(key) for key in rng.sample(keys, 3)], atomic=True)
            else:
                client.set(name, rng.choice(keys), b"v")

    writer = threading.Thread(target=write, args=(400,))
    writer.start()
    pieces, resume = [], start
    while writer.is_alive() or resume < version_of(client, name):
        messages, first = begun(client, name, start_version=resume)
        assert first == resume
        for _ in range(rng.randrange(1, 12)):
            if resume >= version_of(client, name):
                break
            message = next(messages)
            assert message.version > resume
            pieces += message.events
            resume = message.version
        messages.cancel()
    writer.join()
    client.set(name, "end", b"")
    expected = told(whole, "end")[:-1]
    found = [(e.type, e.entry.key, e.entry.version) for e in pieces]
    assert found == [(e.type, e.entry.key, e.entry.version) for e in expected]
    assert len(found) > 400
    whole.cancel()


def test_entries_come_first_and_nothing_is_lost_before_the_changes(client, name, rng):
    client.create(name)
    keys = [f"k{n:05}" for n in range(6000)]
    for at in range(0, len(keys), 1000):
        client.batch(name, [put(key, b"old") for key in keys[at : at + 1000]])
    stop = threading.Event()
    written = []

    def write():
        while not stop.is_set() or not written:
            key = rng.choice(keys)
            written.append((key, client.set(name, key, b"new").entry.version))

    writer = threading.Thread(target=write)
    writer.start()
    state, complete = {}, None
    messages = watch(client, name, include_initial=True, include_values=True)
    for message in messages:
        if complete is None:
            assert message.version == 0 or message.initial_complete
        for event in message.events:
            assert event.type == (INITIAL if complete is None else SET)
            if complete is None:
                assert event.entry.key not in state, "told twice"
            state[event.entry.key] = event.entry
        if message.initial_complete:
            complete = message.version
            stop.set()
            writer.join()
            client.set(name, "end", b"")
        if "end" in state:
            break
    messages.cancel()
    assert complete and set(state) == set(keys) | {"end"}
    for key, version in written:
        if version > complete:
            assert state[key].version >= version
    for key in rng.sample(keys, 200):
        assert state[key].value == client.value(name, key)


def test_an_atomic_batch_is_never_split_and_large_values_leave_it_whole(client, name):
    client.create(name)
    messages, start = begun(client, name, include_values=True)
    for round_number in range(30):
        client.batch(name, [put(f"{round_number}/{n}") for n in range(40)], atomic=True)
    client.set(name, "end", b"")
    seen = 0
    for message in messages:
        rounds = {event.entry.key.split("/")[0] for event in message.events} - {"end"}
        assert len([e for e in message.events if e.entry.key != "end"]) == 40 * len(rounds)
        seen += len(rounds)
        if any(event.entry.key == "end" for event in message.events):
            break
    assert seen == 30
    # As many bytes of values as a batch may have; with what surrounds them more than a message.
    big = [put(f"big{n}", b"x" * ((1 << 20) - 16)) for n in range(4)]
    client.batch(name, big, atomic=True)
    message = next(messages)
    assert [e.entry.key for e in message.events] == [f"big{n}" for n in range(4)]
    assert all(e.entry.size_bytes == (1 << 20) - 16 for e in message.events)
    assert message.ByteSize() <= 4 << 20
    messages.cancel()
    again, _ = begun(client, name, start_version=start)
    assert next(again).events
    again.cancel()


def test_a_quiet_watch_says_that_it_is_alive_and_moves_on(client, name):
    client.create(name)
    messages, start = begun(client, name, keys=["never"], progress_interval=seconds(1))
    version = client.set(name, "other", b"").entry.version
    before = time.monotonic()
    message = next(messages)
    assert not message.events and message.version == version > start
    assert time.monotonic() - before < 5
    messages.cancel()


def test_a_namespace_that_is_not_there_yet_is_waited_for(client, name):
    messages, start = begun(client, name)
    assert start == 0
    client.set(name, "first", b"1")
    assert brief(told(messages, "first")) == [(SET, "first")]
    request = pb.DeleteNamespaceRequest(namespace=name, force=True)
    client.namespaces.DeleteNamespace(request)
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": name}):
        list(messages)


def test_everything_wrong_with_a_watch_is_told_at_once(client):
    fields = {
        "namespace": "NAMESPACE_INVALID",
        "keys": "BATCH_TOO_LARGE",
        "prefixes": "BATCH_TOO_LARGE",
        "keys[1]": "KEY_INVALID",
        "prefixes[0]": "KEY_INVALID",
        "start_version": "WATCH_INVALID",
        "progress_interval": "WATCH_INVALID",
    }
    keys = ["a", "", *[f"k{n}" for n in range(1000)]]
    prefixes = ["p" * 4097, *[f"{n}" for n in range(100)]]
    request = {"keys": keys, "prefixes": prefixes, "start_version": -1}
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        next(watch(client, "-", progress_interval=millis(999), **request))
    for more in ({"start_version": 1, "include_initial": True}, {"start_version": -1}):
        with refused("INVALID_ARGUMENT", "WATCH_INVALID", {"start_version": "WATCH_INVALID"}):
            next(watch(client, "default", **more))
    with refused("INVALID_ARGUMENT", "WATCH_INVALID", metadata={"field": "progress_interval"}):
        next(watch(client, "default", progress_interval=seconds(601)))


def test_what_is_not_kept_is_refused_and_what_is_to_come_too(client, name):
    client.create(name, watch_history_events=10)
    first = client.set(name, "k", b"").entry.version
    for _ in range(30):
        last = client.set(name, "k", b"").entry.version
    with refused("OUT_OF_RANGE", "WATCH_HISTORY_LOST") as caught:
        next(watch(client, name, start_version=first))
    oldest = int(caught[0].metadata["oldest_version"])
    assert first < oldest < last
    messages, _ = begun(client, name, start_version=oldest)
    assert next(messages).events[0].entry.version == oldest + 1
    messages.cancel()
    with refused("OUT_OF_RANGE", "WATCH_HISTORY_LOST"):
        next(watch(client, name, start_version=oldest - 1))
    with refused("OUT_OF_RANGE", "VERSION_IN_FUTURE", metadata={"version": last + 1}):
        next(watch(client, name, start_version=last + 1))


def test_a_reader_that_is_too_slow_is_cut_off_with_its_last_version(client, name):
    client.create(name)
    messages, start = begun(client, name, include_values=True)
    value = b"x" * (900 << 10)
    for n in range(120):
        client.set(name, f"k{n % 3}", value)
    last, count = start, 0
    with pytest.raises(grpc.RpcError) as ended:
        for message in messages:
            assert message.version > last
            last, count = message.version, count + len(message.events)
    refusal = refusal_of(ended.value)
    require(refusal, "RESOURCE_EXHAUSTED", "WATCH_LAGGING", metadata={"last_version": last})
    assert refusal.retry_seconds is None and count < 120
    with refused("OUT_OF_RANGE", "WATCH_HISTORY_LOST"):
        next(watch(client, name, start_version=last))
    # Nobody else is any the worse for it.
    messages, _ = begun(client, name, start_version=version_of(client, name))
    client.set(name, "end", b"")
    assert brief(told(messages, "end")) == [(SET, "end")]
    messages.cancel()


def test_a_watch_that_is_given_up_or_out_of_time_leaves_nothing(client, name):
    client.create(name)
    open_watches = [begun(client, name)[0] for _ in range(5)]
    assert watches(client, name) == 5
    open_watches.append(watch(client, name, timeout=0.5))
    with pytest.raises(grpc.RpcError) as ended:
        list(open_watches[-1])
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    for messages in open_watches:
        messages.cancel()
    eventually("no watch is open", lambda: watches(client, name) == 0)


def test_a_server_without_first_use_knows_no_such_namespace(data_dir):
    with Server(data_dir, "--set", "auto_create_namespaces=false") as server:
        with Client(server.address) as client:
            with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "none"}):
                next(watch(client, "none"))


def test_there_are_only_so_many_watches(data_dir):
    with Server(data_dir, "--set", "limits.max_watches=2") as server:
        with Client(server.address) as client:
            first, second = begun(client, "default")[0], begun(client, "default")[0]
            with refused("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": 2}):
                next(watch(client, "default"))
            first.cancel()

            def again():
                try:
                    return begun(client, "default")[0]
                except grpc.RpcError:
                    return None

            eventually("a place is free again", again).cancel()
            second.cancel()


def test_an_end_with_watches_open_is_told_to_each_of_them(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("n")
        quiet = [begun(client, "n", keys=["none"])[0] for _ in range(10)]
        busy = [begun(client, "n")[0] for _ in range(3)]
        waiting = begun(client, "later")[0]
        stop = threading.Event()

        def write():
            with Client(server.address) as writer:
                while not stop.is_set():
                    try:
                        writer.set("n", "k", b"v")
                    except grpc.RpcError:
                        return

        writer = threading.Thread(target=write)
        writer.start()
        assert next(busy[0]).events
        code, took = server.terminate()
        stop.set()
        writer.join()
        assert code == 0 and took < 25, (code, took, server.log()[-2000:])
        for messages in [*quiet, *busy, waiting]:
            with pytest.raises(grpc.RpcError) as ended:
                list(messages)
            require(refusal_of(ended.value), "UNAVAILABLE", "SHUTTING_DOWN")


@pytest.mark.parametrize("durability", [pb.DURABILITY_SYNC, pb.DURABILITY_ASYNC])
@pytest.mark.parametrize("ending", ["kill", "terminate"])
def test_a_watch_resumes_after_a_restart(data_dir, durability, ending):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("n", durability=durability)
        messages, start = begun(client, "n")
        for n in range(50):
            client.set("n", f"k{n % 7}", b"v", expiration=ttl(200 if n % 5 == 0 else 60_000))
        client.delete("n", "k1")
        eventually("something expired", lambda: _expirations(client, "n") > 0)
        client.set("n", "end", b"")
        before = told(messages, "end")
        middle = before[20].entry.version
        getattr(server, ending)()
    with Server(data_dir) as server, Client(server.address) as client:
        for resume, expected in ((start, before), (middle, before[21:])):
            again, first = begun(client, "n", start_version=resume)
            assert first == resume
            client.set("n", "restarted", b"")
            found = told(again, "restarted")
            versions = [event.entry.version for event in found]
            assert versions == sorted(set(versions))
            known = [e for e in found if e.entry.version <= before[-1].entry.version]
            assert brief(known) == brief(expected), "told again as it was"
            assert [e.entry.version for e in known] == [e.entry.version for e in expected]
            again.cancel()
        client.admin.Compact(pb.CompactRequest(wait=True))
        last = version_of(client, "n")
        getattr(server, ending)()
    with Server(data_dir) as server, Client(server.address) as client:
        with refused("OUT_OF_RANGE", "WATCH_HISTORY_LOST") as caught:
            next(watch(client, "n", start_version=middle))
        assert int(caught[0].metadata["oldest_version"]) >= last
        messages, _ = begun(client, "n", start_version=last)
        client.set("n", "end", b"")
        assert brief(told(messages, "end"))[-1] == (SET, "end")


def test_nothing_that_a_watch_told_is_lost_by_a_kill(data_dir, rng):
    highest = {}
    for _ in range(10):
        with Server(data_dir) as server, Client(server.address) as client:
            for mode, version in highest.items():
                assert version_of(client, mode) >= version, mode
                found = {}
                messages = watch(client, mode, include_initial=True)
                for message in messages:
                    found.update({e.entry.key: e.entry.version for e in message.events})
                    if message.initial_complete:
                        break
                messages.cancel()
                assert found["counter"] >= version, mode
            modes = {"sync": pb.DURABILITY_SYNC, "async": pb.DURABILITY_ASYNC}
            if not highest:
                for mode, durability in modes.items():
                    client.create(mode, durability=durability)
            open_watches = {mode: begun(client, mode)[0] for mode in modes}

            def write(mode, address=server.address):
                with Client(address) as writer:
                    while True:
                        try:
                            writer.increment(mode, "counter")
                        except grpc.RpcError:
                            return

            def read(mode, messages):
                try:
                    for message in messages:
                        highest[mode] = max(message.version, highest.get(mode, 0))
                except grpc.RpcError:
                    return

            threads = [threading.Thread(target=write, args=(mode,)) for mode in modes]
            threads += [threading.Thread(target=read, args=item) for item in open_watches.items()]
            for thread in threads:
                thread.start()
            eventually("both were told", lambda: len(highest) == 2)
            time.sleep(rng.uniform(0.05, 0.2))
            server.kill()
            for thread in threads:
                thread.join(CALL_SECONDS_MAX)
    assert all(version > 100 for version in highest.values()), highest
