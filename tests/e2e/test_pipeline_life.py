"""How pipelines begin, wait and end: limits, deadlines, cancelling, shutdown, a killed server."""

import itertools
import threading
import time

import grpc
import pytest
from harness.calls import Client, refusal_of, require
from harness.disks import FaultySyncs
from harness.pipes import Pipe, add, ask_all, get, kind, put, refusal
from harness.server import Server, cycles, eventually
from harness.wire import pb

END_SECONDS_MAX = 25


def test_one_pipeline_too_many_is_refused_and_a_place_comes_back(data_dir):
    flags = "--set", "limits.max_pipelines=2"
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        with Pipe(client, 30) as one, Pipe(client, 30) as two:
            for pipe in (one, two):
                assert pipe.ask(put(1, "default", "k", b"v")).set.applied
            with Pipe(client, 30) as three, pytest.raises(grpc.RpcError) as caught:
                three.ask(get(1, "default", "k"))
            too_many = refusal_of(caught.value)
            require(too_many, "RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": 2})
            assert "QuotaFailure" in too_many.details and too_many.retry_seconds is None
            two.end()
            assert list(two.call) == []
            assert len(ask_all(client, [get(1, "default", "k")])) == 1
            # Unary calls are not limited by it.
            assert client.value("default", "k") == b"v"
        eventually("cancelled ones give their places back", lambda: _opens(client), 10)


def _opens(client):
    try:
        return [len(ask_all(client, [get(1, "default", "k")])) for _ in range(2)] == [1, 1]
    except grpc.RpcError:
        return False


def test_a_pipeline_outlives_the_limit_of_unary_calls_and_not_its_own_deadline(data_dir):
    flags = "--set", "limits.max_request_timeout=100ms"
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        with Pipe(client) as pipe:
            begun = time.monotonic()
            while time.monotonic() < begun + 0.4:
                assert pipe.ask(add(1, "default", "n")).increment.applied
            pipe.end()
            assert list(pipe.call) == []
        # One that is never without an answer to send ends at its deadline too; by its own clock,
        # the server's: grpcio looks at its own only where it waits.
        call = client.kv.Pipeline((get(n, "default", "n") for n in itertools.count()), timeout=0.5)
        begun, seen = time.monotonic(), 0
        with pytest.raises(grpc.RpcError) as caught:
            for seen, _ in enumerate(call):
                pass
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert 0.4 < time.monotonic() - begun < 5 and seen > 100


def test_a_pipeline_that_is_cancelled_leaves_whole_requests_and_a_well_server(server, client, name):
    with Client(server.address) as other:
        for number in range(30):
            operations = [
                pb.WriteOperation(increment=pb.IncrementRequest(key=key)) for key in ("a", "b")
            ]
            pair = pb.BatchWriteRequest(namespace=name, operations=operations, atomic=True)
            pipe = Pipe(other, 20)
            for _ in range(200):
                pipe.send(pb.PipelineRequest(id=number, batch_write=pair))
            if number % 3:
                pipe.answer()
            pipe.cancel()
    one, two = client.value(name, "a"), client.value(name, "b")
    assert one == two, "a batch was done by half"
    assert client.set(name, "k", b"v").applied


def test_a_busy_server_that_leaves_ends_its_pipelines_and_keeps_what_it_answered(data_dir):
    acknowledged = {}
    for cycle in range(cycles("E2E_PIPELINE_ENDS", 8)):
        with Server(data_dir) as server, Client(server.address) as client:
            for number, value in acknowledged.items():
                found = int(client.value("default", f"n{number}") or b"0")
                assert found >= value, (cycle, number)
            busy = [Busy(server.address, number) for number in range(4)]
            with Pipe(client) as idle:
                assert idle.ask(put(1, "default", "k", b"v")).set.applied
                eventually("all are busy", lambda: all(one.answered > 300 for one in busy), 30)
                code, took = server.terminate()
                assert code == 0 and took < END_SECONDS_MAX, (code, took, server.log()[-3000:])
                with pytest.raises(grpc.RpcError) as caught:
                    idle.answer()
                require(refusal_of(caught.value), "UNAVAILABLE", "SHUTTING_DOWN")
            for one in busy:
                one.join(10)
                require(one.ended, "UNAVAILABLE", "SHUTTING_DOWN")
                assert one.ended.retry_seconds > 0
                acknowledged[one.number] = one.highest


class Busy(threading.Thread):
    """Counts up as fast as it can until the stream ends."""

    def __init__(self, address, number):
        super().__init__(daemon=True)
        self.address, self.number = address, number
        self.answered = self.highest = 0
        self.ended = None
        self.start()

    def run(self):
        """Until the server has had enough."""
        requests = (add(n, "default", f"n{self.number}") for n in itertools.count())
        with Client(self.address) as client:
            try:
                for expected, answer in enumerate(client.kv.Pipeline(requests)):
                    assert answer.id == expected and kind(answer) == "increment", answer
                    assert answer.increment.value > self.highest, answer
                    self.answered, self.highest = expected + 1, answer.increment.value
            except grpc.RpcError as error:
                self.ended = refusal_of(error)


def test_nothing_that_a_pipeline_answered_is_lost_when_the_server_is_killed(data_dir, rng):
    highest = 0
    for _ in range(cycles("E2E_PIPELINE_KILLS", 10)):
        with Server(data_dir) as server:
            with Client(server.address) as client:
                found = int(client.value("default", "n0") or b"0")
                assert found >= highest, f"{found} of {highest} acknowledged"
            busy = Busy(server.address, 0)
            eventually("it is busy", lambda: busy.answered > 50, 30)
            time.sleep(rng.uniform(0, 0.1))
            server.kill()
            busy.join(10)
            assert busy.ended is not None and busy.ended.code.name in ("UNAVAILABLE", "UNKNOWN")
            assert busy.highest >= found
            highest = busy.highest
    print(f"{highest} counted")


def test_answers_wait_for_the_disk_and_what_gathers_meanwhile_is_done_in_one_go(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("m", durability=pb.DURABILITY_MEMORY)
        client.set("m", "k", b"v")
        with FaultySyncs(server.pid, "delay_enter=300000") as strace:
            probe = client.kv.Set.future(pb.SetRequest(namespace="default", key="probe"))
            eventually("syncs are slow", strace.first, 20)
            probe.result()
            begun = time.monotonic()
            # By itself each of these would wait for a sync of 0.3 s.
            answers = ask_all(client, [add(number, "default", "n") for number in range(100)])
            took = time.monotonic() - begun
            assert [answer.increment.value for answer in answers] == list(range(1, 101))
            assert 0.25 < took < 5, took
            # Where no disk is waited for nothing waits.
            begun = time.monotonic()
            assert len(ask_all(client, [add(number, "m", "n") for number in range(100)])) == 100
            assert time.monotonic() - begun < 0.25


def test_a_failed_disk_fails_requests_with_an_unknown_outcome(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        client.create("m", durability=pb.DURABILITY_MEMORY)
        client.set("m", "k", b"v")
        with FaultySyncs(server.pid, "error=EIO"), Pipe(client, 20) as pipe:
            try:
                # Tracing begins a little after it is asked for.
                while kind(answer := pipe.ask(put(1, "default", "k", b"w"))) == "set":
                    assert pipe.ask(get(0, "m", "k")).get.entry.value == b"v"
                failed = refusal(answer)
                assert (failed.code.name, failed.reason) == ("UNKNOWN", "OUTCOME_UNKNOWN")
            except grpc.RpcError as error:
                # The process ends by itself, and may be quicker.
                assert refusal_of(error).code.name == "UNAVAILABLE"
            assert server.wait_end() == 74


def test_a_pipeline_is_counted_by_its_messages(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        requests = [put(number, "default", "k", b"v") for number in range(200)]
        ask_all(client, [*requests, *[pb.PipelineRequest(id=n) for n in range(50)]])
        answer = client.admin.GetPerformance(pb.GetPerformanceRequest())
        found = [m for m in answer.methods if m.method == "pykv.v1.KeyValueService/Pipeline"]
        assert [m.operations for m in found] == [250]
        assert found[0].error_ratio == 0, "a caller's mistake is none of the server's"
        page = server.http("/metrics")[2].decode()
        line = 'grpc_server_handled_total{grpc_type="bidi_stream",grpc_service="pykv.v1.KeyValueService",'
        line += 'grpc_method="Pipeline",grpc_code="OK"} 1'
        assert line in page
