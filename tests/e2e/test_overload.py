"""More than a server can do: what it sheds it says so of, does not do, and soon it is as before."""

import contextlib
import time

import grpc
import pytest
from harness.calls import CALL_SECONDS_MAX, Client, refusal_of
from harness.disks import FaultySyncs
from harness.frames import Wire, message, set_request
from harness.server import Server, eventually
from harness.wire import at_most, pb
from hyperframe.frame import DataFrame

MEBIBYTE = 1 << 20
NORMAL_SECONDS_MAX = 5
# A write that nothing holds up, on a shared machine.
WRITE_SECONDS_MAX = 0.1
RATE = 200


def shed(call):
    """How an ended call was refused; none if it was answered."""
    error = call.exception()
    return None if error is None else refusal_of(error)


def is_normal(client):
    """Whether a write is as quick as it ever was."""
    begun = time.monotonic()
    with contextlib.suppress(grpc.RpcError):
        client.set("default", "normal", b"v")
        return time.monotonic() - begun < WRITE_SECONDS_MAX
    return False


def test_a_rate_three_times_too_high_loses_two_thirds_and_no_more(client, name):
    client.create(name, durability=pb.DURABILITY_MEMORY, max_operations_per_second=at_most(RATE))
    request = pb.IncrementRequest(namespace=name, key="k")
    seconds, calls, begun = 4, [], time.monotonic()
    # An open loop: the next call is due when it is due, however the last one fared.
    for number in range(3 * RATE * seconds):
        time.sleep(max(0.0, begun + number / (3 * RATE) - time.monotonic()))
        calls.append(client.kv.Increment.future(request, timeout=CALL_SECONDS_MAX))
    refusals = [shed(call) for call in calls]
    took = time.monotonic() - begun
    refused = [refusal for refusal in refusals if refusal is not None]
    done = len(calls) - len(refused)
    print(f"{done} of {len(calls)} in {took:.2f} s")
    assert 0.9 * RATE * took <= done <= RATE * (took + 1) + 1
    assert {refusal.reason for refusal in refused} == {"RATE_LIMITED"}
    assert all(refusal.retry_seconds is not None for refusal in refused)
    assert max(refusal.retry_seconds for refusal in refused) <= 1
    time.sleep(max(refusal.retry_seconds for refusal in refused))
    # Nothing of what was refused was counted, and whoever came back in time passes.
    assert client.increment(name, "k").value == done + 1
    for _ in range(RATE // 4):
        client.get(name, "k")
        time.sleep(1 / RATE)


def test_behind_a_slow_disk_what_is_too_much_is_told_so_and_not_done(data_dir):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(data_dir))
        clients = [stack.enter_context(Client(server.address)) for _ in range(14)]
        sent = {}
        with FaultySyncs(server.pid, "delay_enter=1000000") as strace:
            clients[0].kv.Set.future(pb.SetRequest(key="probe"))
            eventually("syncs are slow", strace.first, 20)
            for number in range(14 * 14):
                request = pb.SetRequest(key=f"k{number}", value=bytes(MEBIBYTE))
                client = clients[number % len(clients)]
                sent[f"k{number}"] = client.kv.Set.future(request, timeout=CALL_SECONDS_MAX)
            refusals = {key: shed(call) for key, call in sent.items()}
        eventually("it is as before", lambda: is_normal(clients[0]), NORMAL_SECONDS_MAX)
        refused = {key: refusal for key, refusal in refusals.items() if refusal is not None}
        print(f"{len(refused)} of {len(sent)} were shed")
        assert refused, "there was no overload"
        for refusal in refused.values():
            assert refusal.reason in ("OVERLOADED", "REQUEST_MEMORY_EXHAUSTED"), refusal
            assert refusal.retry_seconds is not None and refusal.retry_seconds > 0, refusal
        keys = list(sent)
        found = clients[0].values("default", keys, pb.ENTRY_VIEW_METADATA)
        done = {key for key, entry in zip(keys, found, strict=True) if entry is not None}
        assert done == set(keys) - set(refused), "what was shed was done, or what was answered not"


@pytest.mark.parametrize("missing", [1, 1000])
def test_a_call_of_which_the_rest_comes_after_its_deadline_is_not_executed(server, client, missing):
    key = b"half%d" % missing
    body = message(set_request(key, 5000))
    with Wire(server.address) as wire:
        stream = wire.next_stream()
        wire.send(wire.headers(stream, extra=[("grpc-timeout", "100m")]))
        wire.pour(stream, body[:-missing])
        wire.answered(stream)
        assert wire.seen["grpc-status 4"] == 1, wire.seen
        wire.send(DataFrame(stream, body[-missing:], flags=("END_STREAM",)).serialize())
        stream = wire.next_stream()
        wire.send(wire.headers(stream))
        wire.pour(stream, message(set_request(b"after", 1)), last=True)
        wire.read(5, lambda: wire.seen["grpc-status 0"] or wire.is_over)
        assert wire.seen["grpc-status 0"] == 1, wire.seen
    assert client.get("default", key.decode()) is None and client.value("default", "after") == b"\0"
