"""The wire itself: latency, limits of messages, deadlines, one owner for a directory."""

import signal
import socket
import statistics
import time

import grpc
import pytest
from harness.byhand import call_by_hand, details
from harness.calls import Client, refused
from harness.disks import FaultySyncs
from harness.server import Server, eventually, run
from harness.wire import pb

MEBIBYTE = 1 << 20


def test_a_batch_over_a_fresh_connection_is_not_delayed_by_the_network(server, client, name):
    keys = [f"k{number}" for number in range(100)]
    steps = [pb.WriteOperation(set=pb.SetRequest(key=key, value=b"v" * 100)) for key in keys]
    client.batch(name, steps)
    taken = []
    with Client(server.address) as fresh:
        grpc.channel_ready_future(fresh.channel).result(timeout=5)
        for _ in range(50):
            begun = time.perf_counter()
            assert all(fresh.values(name, keys))
            taken.append(time.perf_counter() - begun)
    median = statistics.median(taken)
    # Without TCP_NODELAY a delayed acknowledgement makes this 44 ms.
    assert median < 0.010, f"median {median * 1000:.1f} ms, largest {max(taken) * 1000:.1f} ms"


def test_a_request_above_the_limit_is_refused_and_the_connection_lives_on(client, name):
    for size in (5 * MEBIBYTE + 1, 16 * MEBIBYTE):
        with refused("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE"):
            client.set(name, "k", b"v" * size)
        assert client.get(name, "k") is None


def test_a_request_that_is_no_message_is_refused_and_not_a_bug(client):
    call = client.channel.unary_unary("/pykv.v1.KeyValueService/Set")
    for garbage in (b"\xff" * 20, b"\x0a\xff", b"\x12\x02\xff\xfe"):
        with pytest.raises(grpc.RpcError) as caught:
            call(garbage, timeout=5)
        code = caught.value.code()
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL), code
    assert client.get("default", "k") is None


def test_a_call_whose_time_is_up_when_it_arrives_is_not_begun(server, client, name):
    # grpcio ends a call by its own clock; only bare HTTP/2 shows what the server does.
    request = pb.SetRequest(namespace=name, key="k", value=b"v").SerializeToString()
    answer = call_by_hand(server.address, "/pykv.v1.KeyValueService/Set", request, "0n")
    assert (answer[":status"], answer["grpc-status"]) == ("200", "4"), answer
    assert "DEADLINE_EXCEEDED" in details(answer) and client.get(name, "k") is None


def test_the_server_ends_a_call_at_its_deadline_and_a_write_it_had_begun_happens(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"old")
        with FaultySyncs(server.pid, "delay_enter=700000") as strace:
            probe = client.kv.Set.future(pb.SetRequest(namespace="default", key="probe"))
            eventually("syncs are slow", strace.first, 20)
            request = pb.SetRequest(namespace="default", key="k", value=b"new")
            begun = time.monotonic()
            path = "/pykv.v1.KeyValueService/Set"
            answer = call_by_hand(server.address, path, request.SerializeToString(), "100m")
            assert 0.1 <= time.monotonic() - begun < 0.6
            assert answer["grpc-status"] == "4" and "DEADLINE_EXCEEDED" in details(answer)
            with pytest.raises(grpc.RpcError) as caught:
                client.kv.Set(pb.SetRequest(namespace="default", key="k2"), timeout=0.1)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            probe.result()
        assert client.value("default", "k") == b"new"


def test_a_caller_that_cancels_leaves_the_server_well(client, name):
    # In turn with calls that are answered: many resets at once are an attack, and end a connection.
    for number in range(100):
        call = client.kv.Set.future(pb.SetRequest(namespace=name, key=f"k{number}"), timeout=5)
        call.cancel()
        assert client.set(name, "k", b"v").applied


def test_a_connection_that_says_nothing_is_closed(server):
    # Two of them at once: a silent one, and one that stops half way through the preface.
    silent, half = (socket.create_connection(server.address.split(":")) for _ in range(2))
    half.sendall(b"PRI * HTTP/2.0\r\n")
    try:
        for connection in (silent, half):
            connection.settimeout(8)
            assert _is_closed(connection), "still open after 8 s"
    finally:
        silent.close()
        half.close()


def _is_closed(connection):
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_a_second_process_on_the_same_directory_is_refused(server, client, name):
    client.set(name, "k", b"v")
    second = run("serve", "--listen", "127.0.0.1:0", "--data-dir", server.data_dir)
    assert second.returncode == 75, second
    assert str(server.data_dir).encode() in second.stderr and len(second.stderr) > 20
    assert client.value(name, "k") == b"v", "the first one was disturbed"


def test_a_taken_address_is_named(server, data_dir):
    second = run("serve", "--listen", server.address, "--data-dir", data_dir)
    assert second.returncode not in (0, 101), second
    assert server.address.encode() in second.stderr, second.stderr


def test_an_address_beyond_loopback_is_refused(data_dir):
    for address in ("0.0.0.0:0", "[::]:0"):
        refusal = run("serve", "--listen", address, "--data-dir", data_dir)
        assert refusal.returncode == 78, refusal
        assert b"can be reached from other machines" in refusal.stderr


def test_many_connections_come_and_go(server):
    for _ in range(100):
        assert server.http("/livez")[0] == 200
    eventually("it still answers", server.is_ready, 5)


def test_it_stops_on_an_interrupt_too(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        server.process.send_signal(signal.SIGINT)
        assert server.wait_end() == 0
