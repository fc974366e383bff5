"""What tools see without our schema: reflection, health, metrics, probes."""

import shutil
import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness.calls import Client, refused
from harness.server import Server, eventually
from harness.wire import pb

SERVICES = ["KeyValueService", "NamespaceService", "AdminService"]
OURS = [f"pykv.v1.{service}" for service in SERVICES]
Status = health_pb2.HealthCheckResponse.ServingStatus


def test_reflection_lists_every_service(client):
    listed = set(ProtoReflectionDescriptorDatabase(client.channel).get_services())
    assert listed >= {*OURS, "grpc.health.v1.Health"}


def test_a_tool_without_the_schema_can_make_a_call(client, name):
    client.set(name, "k", b"value")
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(client.channel))
    service = pool.FindServiceByName("pykv.v1.KeyValueService")
    assert len(service.methods) == 12
    method = service.methods_by_name["Get"]
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = client.channel.unary_unary(
        "/pykv.v1.KeyValueService/Get",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    assert call(request(namespace=name, key="k"), timeout=5).entry.value == b"value"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_in_both_of_its_versions(client, version):
    call = client.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="pykv.v1.Entry"),
    ]
    services, file = list(call(iter(requests), timeout=5))
    names = {service.name for service in services.list_services_response.service}
    assert names >= set(OURS)
    assert file.file_descriptor_response.file_descriptor_proto
    missing = reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol")
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([missing]), timeout=5))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_keeps_the_http_annotations(client):
    stub = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    request = reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="pykv.v1.KeyValueService"
    )
    [answer] = stub.ServerReflectionInfo(iter([request]), timeout=5)
    files = b"".join(answer.file_descriptor_response.file_descriptor_proto)
    assert b"/v1/namespaces/{namespace}/entries/{key=**}" in files


@pytest.mark.parametrize("service", ["", "readiness", "liveness", *OURS])
def test_every_service_has_a_health_of_its_own(client, service):
    assert client.serving(service) == "SERVING"
    watch = client.health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=5)
    assert next(watch).status == Status.SERVING
    watch.cancel()


def test_the_health_of_an_unknown_service(client):
    request = health_pb2.HealthCheckRequest(service="no.such.Service")
    with pytest.raises(grpc.RpcError) as caught:
        client.health.Check(request, timeout=5)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watch = client.health.Watch(request, timeout=5)
    assert next(watch).status == Status.SERVICE_UNKNOWN
    watch.cancel()


def test_a_watch_of_health_hears_that_the_server_leaves(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        watch = client.health.Watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert next(watch).status == Status.SERVING
        server.process.terminate()
        assert next(watch).status == Status.NOT_SERVING
        assert server.wait_end() == 0


def test_probes_answer_over_plain_http(server):
    for path in ("/livez", "/readyz"):
        status, headers, body = server.http(path)
        assert status == 200 and body and headers["content-type"].startswith("text/plain"), path
        status, _, body = server.http(path, method="HEAD")
        assert status == 200 and body == b"", path


def metrics(server):
    """The page as text, and its samples by name and labels."""
    status, headers, body = server.http("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    text = body.decode()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return text, dict(line.rsplit(" ", 1) for line in lines)


def test_metrics_please_promtool(server, client, name):
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    client.set(name, "k", b"v")
    text, _ = metrics(server)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_metrics_count_calls_by_method_and_code(server, client, name):
    def count(code, method="Get"):
        _, samples = metrics(server)
        labels = 'grpc_service="pykv.v1.KeyValueService"', f'grpc_method="{method}"'
        found = [
            float(value)
            for sample, value in samples.items()
            if sample.startswith("grpc_server_handled_total")
            and all(label in sample for label in (*labels, f'grpc_code="{code}"'))
        ]
        return sum(found)

    well, badly = count("OK"), count("InvalidArgument")
    client.get(name, "k")
    with refused("INVALID_ARGUMENT", "KEY_INVALID"):
        client.get(name, "")
    eventually("both are counted", lambda: count("OK") == well + 1, 5)
    assert count("InvalidArgument") == badly + 1


def test_metrics_tell_what_each_namespace_holds(server, client, name):
    client.set(name, "k", b"v")
    client.get(name, "k")
    client.get(name, "none")
    _, samples = metrics(server)
    label = f'{{namespace="{name}"}}'
    for series in ("keys", "hits_total", "misses_total", "sets_total"):
        assert float(samples[f"pykv_{series}{label}"]) == 1, series
    assert float(samples[f"pykv_bytes{label}"]) > 2
    assert float(samples["pykv_ready"]) == 1
    assert float(samples["pykv_wal_records"]) > 0
    assert float(samples["pykv_wal_fsync_seconds_count"]) > 0
    assert float(samples["pykv_store_queue_depth"]) >= 0
    assert 'pykv_requests_total{method="Get",code="OK"}' in samples
    assert 'pykv_request_duration_seconds_count{method="Get"}' in samples
    assert float(samples["process_resident_memory_bytes"]) > 1 << 20


def test_metrics_and_log_never_show_what_tenants_wrote(server, client, name):
    client.set(name, "canary-key", b"canary-value")
    client.get(name, "canary-key")
    client.delete(name, "canary-key")
    client.kv.DeletePrefix(pb.DeletePrefixRequest(namespace=name, prefix="canary"))
    with refused("INVALID_ARGUMENT", "VALUE_TOO_LARGE"):
        client.set(name, "canary-key", b"canary-value" * 100_000)
    assert "canary" not in metrics(server)[0] and "canary" not in server.log()
