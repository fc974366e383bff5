"""Traces: a collector built with the published schema gets a span for each call, in its caller's trace."""

import contextlib
import queue
import secrets
from concurrent import futures

import grpc
from harness.calls import Client
from harness.http import ask
from harness.server import Server, run
from harness.wire import pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SECONDS_MAX = 20
INTERNAL_KIND_SERVER = 2


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans, each with the resource it is of."""

    def __init__(self):
        self._spans = queue.SimpleQueue()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def Export(self, request, context):
        """Called by whoever sends."""
        for resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans.put((about, span))
        return trace_service_pb2.ExportTraceServiceResponse()

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(None)

    def take(self, trace):
        """The next span of a trace, and its resource."""
        while True:
            about, span = self._spans.get(timeout=SECONDS_MAX)
            if span.trace_id.hex() == trace:
                return about, span

    def rest(self):
        """All that has come and was not taken."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._spans.get_nowait()[1])
        return found


def attributes(span):
    """What a span says, by name."""
    kinds = ("string_value", "int_value", "double_value")
    pick = {a.key: a.value for a in span.attributes}
    return {key: getattr(v, next(k for k in kinds if v.HasField(k))) for key, v in pick.items()}


def parent():
    """The header of a call in a trace of its own; the trace, and the span it is under."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-01", trace, span


def test_calls_are_spans_in_the_traces_of_their_callers(data_dir):
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}"}
        with Server(data_dir, env=env) as server, Client(server.address) as client:
            header, trace, above = parent()
            request = pb.SetRequest(namespace="acme", key="secret-key", value=b"secret-value")
            client.kv.Set(request, metadata=[("traceparent", header)], timeout=SECONDS_MAX)
            about, span = collector.take(trace)
            assert (about["service.name"], bool(about["service.version"])) == ("pykv", True)
            assert (span.parent_span_id.hex(), span.kind) == (above, INTERNAL_KIND_SERVER)
            assert span.name == "pykv.v1.KeyValueService/Set"
            said = attributes(span)
            assert said["rpc.system"] == "grpc" and said["rpc.grpc.status_code"] == 0
            assert (said["rpc.service"], said["rpc.method"]) == ("pykv.v1.KeyValueService", "Set")
            assert said["pykv.namespace"] == "acme" and said["pykv.storage_wait_ms"] > 0
            assert span.end_time_unix_nano > span.start_time_unix_nano
            assert b"secret" not in span.SerializeToString()

            header, trace, above = parent()
            answer = ask(server.address, "GET", "/v1/namespaces/acme/entries/secret-key",
                         headers={"traceparent": header})  # fmt: skip
            assert answer.status == 200
            _, span = collector.take(trace)
            assert (span.name, span.parent_span_id.hex()) == ("pykv.v1.KeyValueService/Get", above)

            header, trace, _ = parent()
            watch = client.kv.Watch(pb.WatchRequest(namespace="acme"),
                                    metadata=[("traceparent", header)])  # fmt: skip
            watch.initial_metadata()
            watch.cancel()
            assert attributes(collector.take(trace)[1])["rpc.grpc.status_code"] == 1


def test_what_a_caller_does_not_record_is_not_recorded_and_the_last_spans_are_sent(data_dir):
    with Collector() as collector:
        flags = ["--set", f"traces.endpoint=http://127.0.0.1:{collector.port}"]
        flags += ["--set", "traces.ratio=0"]
        with Server(data_dir, *flags) as server, Client(server.address) as client:
            header, trace, _ = parent()
            unrecorded = header[:-1] + "0"
            get = pb.GetRequest(namespace="acme", key="k")
            for metadata in ([("traceparent", unrecorded)], []):
                client.kv.Get(get, metadata=metadata, timeout=SECONDS_MAX)
            header, last, _ = parent()
            client.kv.Get(get, metadata=[("traceparent", header)], timeout=SECONDS_MAX)
            assert server.terminate()[0] == 0
        spans = [span.trace_id.hex() for span in collector.rest()]
        assert spans == [last]


def test_a_collector_that_is_not_there_holds_up_nobody(data_dir):
    flags = ["--set", "traces.endpoint=http://127.0.0.1:9"]
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        for _ in range(100):
            client.set("acme", "k", b"v")
        code, took = server.terminate()
        assert code == 0 and took < 10


def test_an_address_that_is_none_is_refused():
    checked = run("config", "check", "--set", "traces.endpoint=collector", "--set", "traces.ratio=2")
    assert checked.returncode == 78
    assert b"http://" in checked.stderr and b"from 0 to 1" in checked.stderr
