"""What namespaces and servers hold at most: the last that fits is taken, the next is told."""

import contextlib

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.calls import CALL_SECONDS_MAX, Client, refused
from harness.frames import SCAN, Wire, dial, message
from harness.http import ask
from harness.pipes import Pipe, get
from harness.server import Server, eventually
from harness.wire import at_most, pb

MEMORY, LRU, NONE = pb.DURABILITY_MEMORY, pb.EVICTION_POLICY_LRU, pb.EVICTION_POLICY_NONE
# Small enough to be reached one by one.
FEW = {
    "PYKV_MAX_NAMESPACES": "4",
    "PYKV_MAX_TOTAL_BYTES": "4MiB",
    "PYKV_LIMITS_MAX_WATCHES": "3",
    "PYKV_LIMITS_MAX_PIPELINES": "2",
    "PYKV_LIMITS_MAX_STREAMS": "5",
    "PYKV_LIMITS_MAX_HEADER_BYTES": "8KiB",
}
# As above; the other fields of a head take less than the 600 bytes that are left for them.
HEADER_BYTES = 8 << 10


@pytest.fixture
def few(data_dir):
    """A server of which everything can be used up."""
    with Server(data_dir, env=FEW) as server:
        yield server


def held(client, name):
    """Entries and bytes of a namespace."""
    request = pb.GetNamespaceRequest(namespace=name)
    usage = client.namespaces.GetNamespace(request, timeout=CALL_SECONDS_MAX).namespace.usage
    return usage.key_count, usage.used_bytes


def entry_bytes(client, name):
    """What an entry costs that is like those of these tests."""
    client.create(name, durability=MEMORY)
    client.set(name, "k0", b"v" * 100)
    return held(client, name)[1]


def put(client, name, number):
    """Writes an entry that costs as much as each of the others."""
    return client.set(name, f"k{number}", b"v" * 100)


LIMITS = {"max_keys": lambda _: 5, "max_bytes": lambda each: 5 * each}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_namespace_that_evicts_nothing_takes_the_last_that_fits(client, name, limit):
    most = LIMITS[limit](entry_bytes(client, f"{name}.one"))
    policy = {limit: at_most(most)}
    client.create(name, durability=MEMORY, eviction_policy=NONE, **policy)
    for number in range(5):
        assert put(client, name, number).applied
    metadata = {"limit": limit, "value": most}
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED", metadata=metadata) as caught:
        put(client, name, 5)
    violations = caught[0].details["QuotaFailure"].violations
    assert [v.subject for v in violations] == [f"namespace:{name}"]
    assert caught[0].retry_seconds is None and held(client, name)[0] == 5
    # What is there can be replaced by as much, and what goes makes room.
    put(client, name, 4)
    client.delete(name, "k0")
    put(client, name, 5)


@pytest.mark.parametrize("limit", LIMITS)
def test_a_namespace_that_evicts_gives_up_one_for_the_first_that_does_not_fit(client, name, limit):
    policy = {limit: at_most(LIMITS[limit](entry_bytes(client, f"{name}.one")))}
    client.create(name, durability=MEMORY, eviction_policy=LRU, **policy)
    for number in range(5):
        put(client, name, number)
    assert held(client, name)[0] == 5
    put(client, name, 5)
    found = [entry is not None for entry in client.values(name, [f"k{n}" for n in range(6)])]
    assert found == [False] + [True] * 5


def test_one_byte_less_holds_one_entry_less(client, name):
    most = 5 * entry_bytes(client, f"{name}.one") - 1
    client.create(name, durability=MEMORY, eviction_policy=NONE, max_bytes=at_most(most))
    for number in range(4):
        put(client, name, number)
    with refused("RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED", metadata={"limit": "max_bytes"}):
        put(client, name, 4)


@pytest.mark.parametrize("way", ["one by one", "as a batch"])
def test_as_many_operations_as_the_rate_allows_pass_and_the_next_is_told_when_to_come(
    client, name, way
):
    # A third of a second passes before there is one operation's worth again.
    client.create(name, durability=MEMORY, max_operations_per_second=at_most(3))
    if way == "as a batch":
        assert len(client.values(name, ["k"] * 3)) == 3
    else:
        for _ in range(3):
            client.get(name, "k")
    with refused("RESOURCE_EXHAUSTED", "RATE_LIMITED", metadata={"namespace": name}) as caught:
        client.get(name, "k")
    assert 0 < caught[0].retry_seconds <= 1
    violations = caught[0].details["QuotaFailure"].violations
    assert [v.subject for v in violations] == [f"namespace:{name}"]
    eventually("it may come again", lambda: _passes(client, name), 3, 0.05)


def _passes(client, name):
    try:
        client.get(name, "k")
    except grpc.RpcError:
        return False
    return True


def test_as_many_namespaces_as_allowed_can_be_made_in_any_way(few):
    with Client(few.address) as client:
        # "default" is one of them.
        client.create("a")
        client.set("b", "k", b"v")
        request = pb.UpdateNamespaceRequest(namespace=pb.Namespace(name="c"), allow_missing=True)
        client.namespaces.UpdateNamespace(request)
        request = pb.UpdateNamespaceRequest(namespace=pb.Namespace(name="d"), allow_missing=True)
        for attempt in (
            lambda: client.create("d"),
            lambda: client.set("d", "k", b"v"),
            lambda: client.increment("d", "k"),
            lambda: client.namespaces.UpdateNamespace(request),
        ):
            with refused(
                "RESOURCE_EXHAUSTED", "TOO_MANY_NAMESPACES", metadata={"limit": 4}
            ) as caught:
                attempt()
            assert caught[0].retry_seconds is None
        client.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace="a"))
        client.create("d")


def test_a_server_that_is_full_refuses_what_evicts_nothing_and_makes_room_otherwise(few):
    with Client(few.address) as client:
        client.create("strict", durability=MEMORY, eviction_policy=NONE)
        with refused("RESOURCE_EXHAUSTED", "MEMORY_EXHAUSTED") as caught:
            for number in range(100):
                client.set("strict", f"k{number}", b"v" * 100_000)
        violations = caught[0].details["QuotaFailure"].violations
        assert [v.subject for v in violations] == ["server"] and caught[0].retry_seconds is None
        count, used = held(client, "strict")
        assert 3_500_000 < used <= 4 << 20 and count >= 35
        policy = pb.NamespacePolicy(eviction_policy=LRU)
        request = pb.UpdateNamespaceRequest(
            namespace=pb.Namespace(name="strict", policy=policy),
            update_mask=FieldMask(paths=["policy.eviction_policy"]),
        )
        client.namespaces.UpdateNamespace(request)
        for number in range(100):
            client.set("strict", f"k{number}", b"v" * 100_000)
        assert held(client, "strict")[1] <= 4 << 20
        assert client.get("strict", "k99") is not None and client.get("strict", "k0") is None


def _watch(client):
    call = client.kv.Watch(pb.WatchRequest(namespace="default"), timeout=CALL_SECONDS_MAX)
    try:
        next(call)
    except grpc.RpcError:
        call.cancel()
        raise
    return call.cancel


def _pipeline(client):
    pipe = Pipe(client, timeout=CALL_SECONDS_MAX)
    try:
        pipe.ask(get(1, "default", "k"))
    except grpc.RpcError:
        pipe.cancel()
        raise
    return pipe.cancel


@pytest.mark.parametrize(
    ("begin", "most"), [(_watch, 3), (_pipeline, 2)], ids=["watch", "pipeline"]
)
def test_as_many_streams_of_a_kind_as_allowed_can_be_open(few, begin, most):
    with contextlib.ExitStack() as stack:
        # Each on a connection of its own: the limit is one over all callers.
        clients = [stack.enter_context(Client(few.address)) for _ in range(most + 1)]
        ends = [begin(client) for client in clients[:most]]
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": most}):
            begin(clients[most])
        ends.pop()()
        ends.append(eventually("a place is free", lambda: _begun(begin, clients[most]), 5))
        for end in ends:
            end()


def _begun(begin, client):
    try:
        return begin(client)
    except grpc.RpcError:
        return None


def test_as_many_calls_as_allowed_can_be_open_on_a_connection(few):
    with Wire(few.address) as wire:
        wire.greeted()
        streams = [wire.next_stream() for _ in range(6)]
        wire.send(b"".join(wire.headers(stream) for stream in streams))
        wire.answered(streams[5])
        assert wire.seen["reset REFUSED_STREAM"] == 1, wire.seen
        assert [stream for stream in streams if wire.seen[f"{stream}"]] == [streams[5]]
        assert not wire.is_over


@pytest.mark.parametrize("protocol", ["HTTP/2", "HTTP/1"])
def test_headers_as_large_as_allowed_pass(few, protocol):
    for size, passes in ((HEADER_BYTES - 600, True), (HEADER_BYTES + 1, False)):
        if protocol == "HTTP/1":
            answer = ask(few.address, "GET", "/livez", headers={"x-large": "y" * size})
            assert answer.status == (200 if passes else 431), (size, answer)
            continue
        with Wire(few.address) as wire:
            wire.greeted()
            stream = wire.next_stream()
            wire.send(wire.headers(stream, SCAN, [("x-large", "y" * size)]))
            wire.pour(stream, message(b""), last=True)
            assert wire.answered(stream)
            expected = "grpc-status 0" if passes else ":status 431"
            assert wire.seen[expected] == 1, (size, wire.seen)
            assert not wire.is_over


@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"])
@pytest.mark.parametrize("on_loopback", ["true", "false"])
def test_as_many_connections_as_allowed_are_served(data_dir, limit, on_loopback):
    env = {f"PYKV_LIMITS_{limit}": "5", "PYKV_LIMITS_LIMIT_LOOPBACK": on_loopback}
    limited = limit == "MAX_CONNECTIONS" or on_loopback == "true"
    with Server(data_dir, env=env) as server, contextlib.ExitStack() as stack:
        eventually("the probes of the start are gone", lambda: _served(server.address), 5)
        crowd = []
        while len(crowd) < (5 if limited else 20):
            connection = stack.enter_context(dial(server.address))
            assert _answers(connection), f"only {len(crowd)} are served"
            crowd.append(connection)
        with contextlib.closing(dial(server.address)) as one_more:
            assert _answers(one_more) != limited
        crowd.pop().close()
        eventually("a place is free", lambda: _served(server.address), 5)


def _served(address):
    with contextlib.closing(dial(address)) as connection:
        return _answers(connection)


def _answers(connection):
    try:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        return connection.recv(12) == b"HTTP/1.1 200"
    except ConnectionError:
        return False


def test_exports_at_a_time_are_four(client, name):
    # More than windows and buffers take, so that an export nobody reads goes on.
    for number in range(40):
        client.set(name, f"k{number}", b"v" * 1_000_000)
    request = pb.ExportSnapshotRequest(namespaces=[name])
    calls = [client.admin.ExportSnapshot(request, timeout=CALL_SECONDS_MAX) for _ in range(4)]
    for call in calls:
        next(call)
    with refused("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": 4}):
        next(client.admin.ExportSnapshot(request, timeout=CALL_SECONDS_MAX))
    for call in calls:
        call.cancel()


def test_a_message_as_large_as_allowed_is_read_and_a_larger_one_is_not(server):
    # Nothing so large can be right: what is read is refused for what it says.
    for size, code in ((5 << 20, 3), ((5 << 20) + 1, 8)):
        # A value of zeros: its tag, four bytes of length, and itself.
        length = size - 5
        body = b"\x1a" + bytes([length >> shift & 0x7F | 0x80 for shift in (0, 7, 14)])
        body += bytes([length >> 21]) + bytes(length)
        assert len(body) == size
        with Wire(server.address) as wire:
            wire.greeted()
            stream = wire.next_stream()
            wire.send(wire.headers(stream))
            wire.pour(stream, message(body), last=True)
            wire.answered(stream)
            assert wire.seen[f"grpc-status {code}"] == 1, (size, wire.seen)
