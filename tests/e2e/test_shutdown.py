"""SIGTERM under load: the server says goodbye, ends with 0 in time, and loses nothing."""

import signal
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness.calls import Client
from harness.ledger import Ledger
from harness.load import Load, spaces_by_durability, torn_pairs
from harness.server import Server, eventually

CYCLES = 50
END_SECONDS_MAX = 25
# An answer that tells more than a closed connection: what was refused did not happen.
GOODBYES = {"SHUTTING_DOWN", ""}


def test_a_server_that_leaves_under_load_loses_nothing_and_is_gone_in_time(data_dir, rng):
    ledger = Ledger()
    longest = 0.0
    with Server(data_dir) as server, Client(server.address) as client:
        spaces_by_durability(client, ledger)
    for cycle in range(CYCLES):
        with Server(data_dir) as server, Client(server.address) as client:
            assert ledger.complaints(client) + torn_pairs(ledger) == [], cycle
            with Load(server.address, ledger, rng) as load:
                time.sleep(rng.uniform(0.05, 0.3))
                code, took = server.terminate()
            longest = max(longest, took)
            assert code == 0, (cycle, server.log()[-3000:])
            assert took < END_SECONDS_MAX
            strange = [r for _, r in load.refusals if r.reason not in GOODBYES]
            assert not strange, strange[:3]
            for _, refusal in load.refusals:
                assert refusal.code.name == "UNAVAILABLE", refusal
                assert refusal.reason == "" or refusal.retry_seconds > 0, refusal
    with Server(data_dir) as server, Client(server.address) as client:
        assert ledger.complaints(client) == []
    print(f"{CYCLES} ends, longest {longest:.2f} s, {ledger.acknowledged} acknowledgements kept")
    assert ledger.acknowledged > CYCLES * 20


def test_a_server_with_nothing_to_do_ends_at_once(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        code, took = server.terminate()
        assert code == 0 and took < 3, took


def test_an_open_stream_does_not_keep_a_server_from_leaving(data_dir):
    with Server(data_dir) as server, grpc.insecure_channel(server.address) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        states = health_pb2_grpc.HealthStub(channel).Watch(request)
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        code, took = server.terminate()
        assert code == 0 and took < END_SECONDS_MAX
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as ended:
            next(states)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_second_signal_ends_it_at_once_and_everything_is_kept(data_dir):
    with Server(data_dir, "--set", "drain.notice=15s", "--set", "drain.timeout=5s") as server:
        with Client(server.address) as client:
            client.set("default", "k", b"v")
            server.process.send_signal(signal.SIGTERM)
            # The notice has begun: traffic is still served, and told to go elsewhere.
            eventually("it says that it leaves", lambda: server.http("/readyz")[0] == 503, 10)
            assert client.value("default", "k") == b"v"
            code, took = server.terminate()
        assert code == 0 and took < 10, took
    with Server(data_dir) as server, Client(server.address) as client:
        assert client.value("default", "k") == b"v"
