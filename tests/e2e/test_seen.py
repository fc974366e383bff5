"""Seeing inside: logged operations, and the performance of every method."""

import time

import grpc
import pytest
from harness.byhand import call_by_hand
from harness.calls import Client, refusal_in, refused
from harness.disks import FaultySyncs
from harness.pipes import ask_all, get, put, read_batch
from harness.server import Server, eventually
from harness.snapshots import export, restore
from harness.wire import pb, seconds

SLOW, FAILED = pb.OPERATION_LOG_SLOW, pb.OPERATION_LOG_FAILED
GET, SET = "pykv.v1.KeyValueService/Get", "pykv.v1.KeyValueService/Set"


def logged(client, log=SLOW, **request):
    """Logged operations, newest first."""
    request = pb.ListLoggedOperationsRequest(log=log, **request)
    return list(client.admin.ListLoggedOperations(request).operations)


def slow_from(client, micros):
    """Makes operations slow that take longer."""
    config = pb.ServerConfig()
    config.slow_operation_threshold.FromMicroseconds(micros)
    client.admin.UpdateConfig(pb.UpdateConfigRequest(config=config))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A server on which every operation is slow."""
    with Server(tmp_path_factory.mktemp("data")) as server, Client(server.address) as client:
        slow_from(client, 0)
        yield client


def test_what_takes_longer_than_the_threshold_is_logged_and_nothing_else(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        slow_from(client, 3_600_000_000)
        client.set("n", "unseen", b"v")
        assert logged(client) == []
        begun = time.time()
        slow_from(client, 1)
        client.set("n", "seen", b"v" * 1000)
        ended = time.time()
        [found] = logged(client, namespace="n")
        assert (found.method, found.namespace, found.key) == (SET, "n", "seen")
        assert found.key_count == 1 and not found.HasField("error")
        assert 1000 < found.transferred_bytes < 1200
        assert begun - 0.01 <= found.start_time.ToNanoseconds() / 1e9 <= ended
        assert 1000 < found.duration.ToNanoseconds() <= (ended - begun) * 1e9
        host, port = found.peer.rsplit(":", 1)
        assert host == "127.0.0.1" and 0 < int(port) < 65536
        slow_from(client, 3_600_000_000)
        client.set("n", "unseen", b"v")
        assert [one.key for one in logged(client, namespace="n")] == ["seen"]


def test_the_newest_come_first_and_as_many_as_asked_for(seen, name):
    for number in range(130):
        seen.get(name, f"k{number}")
    found = logged(seen, namespace=name)
    assert [one.key for one in found] == [f"k{n}" for n in range(129, 29, -1)]
    starts = [one.start_time.ToNanoseconds() for one in found]
    assert starts == sorted(starts, reverse=True)
    assert [one.key for one in logged(seen, namespace=name, page_size=1)] == ["k129"]
    assert len(logged(seen, namespace=name, page_size=5000)) == 130
    assert logged(seen, pb.OPERATION_LOG_UNSPECIFIED, namespace=name, page_size=3) == found[:3]


def test_a_log_keeps_the_last_thousand(seen, name):
    ask_all(seen, [get(number, name, f"k{number}") for number in range(2500)])
    found = logged(seen, namespace=name, page_size=1000)
    assert [one.key for one in found] == [f"k{n}" for n in range(2499, 1499, -1)]


def test_only_operations_of_the_namespace_asked_for_are_listed(seen, name):
    for number in range(5):
        seen.get(name, f"k{number}")
        seen.get("default", f"k{number}")
    assert {one.namespace for one in logged(seen, namespace=name)} == {name}
    assert logged(seen, namespace="nothing-was-done-here") == []
    assert {one.namespace for one in logged(seen, namespace="", page_size=5)} == {"default"}
    assert {name, "default"} <= {one.namespace for one in logged(seen)}


def test_all_violations_are_listed_at_once(client):
    for size in (0, -1):
        fields = {"page_size": "PAGE_SIZE_INVALID", "namespace": "NAMESPACE_INVALID"}
        with refused("INVALID_ARGUMENT", "PAGE_SIZE_INVALID", fields):
            logged(client, page_size=size, namespace="no name")
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", {"namespace": "NAMESPACE_INVALID"}):
        logged(client, namespace="/")


@pytest.mark.parametrize("letter", ["k", "ü", "€", "😀"])
def test_keys_are_cut_between_characters(seen, name, letter):
    seen.get(name, letter * 500)
    [found] = logged(seen, namespace=name)
    assert found.key == letter * (128 // len(letter.encode()))
    seen.get(name, letter)
    assert logged(seen, namespace=name)[0].key == letter


def test_of_many_keys_their_number_is_told(seen, name):
    steps = [pb.WriteOperation(set=pb.SetRequest(key=f"k{n}", value=b"v")) for n in range(7)]
    seen.batch(name, steps)
    seen.values(name, ["k1", "k2", "none"])
    seen.kv.ListEntries(pb.ListEntriesRequest(namespace=name, prefix="k"))
    list(seen.kv.ScanEntries(pb.ScanEntriesRequest(namespace=name, prefix="k")))
    seen.kv.DeletePrefix(pb.DeletePrefixRequest(namespace=name, prefix="k"))
    told = [(m.method.split("/")[1], m.key, m.key_count) for m in logged(seen, namespace=name)]
    assert told == [
        ("DeletePrefix", "k", 7),
        ("ScanEntries", "k", 7),
        ("ListEntries", "k", 7),
        ("BatchGet", "", 3),
        ("BatchWrite", "", 7),
    ]


def test_the_wait_for_the_disk_is_told_apart(seen, name):
    for durability in ("SYNC", "MEMORY"):
        space = f"{name}-{durability.lower()}"
        seen.create(space, durability=f"DURABILITY_{durability}")
        # The first write of a namespace waits for its versions to be reserved.
        for number in range(9):
            seen.set(space, f"k{number}", b"v")
        found = [one for one in logged(seen, namespace=space) if one.key not in ("", "k0")]
        assert len(found) == 8
        for one in found:
            waited, whole = one.storage_wait.ToNanoseconds(), one.duration.ToNanoseconds()
            if durability == "SYNC":
                assert 0 < waited <= whole
            else:
                assert waited == 0


def test_requests_of_a_pipeline_are_logged_one_by_one(seen, name):
    requests = [put(1, name, "k", b"v" * 300), get(2, name, "k" * 200)]
    requests += [read_batch(3, name, ["a", "b"]), pb.PipelineRequest(id=4)]
    ask_all(seen, requests)
    many, cut, one = logged(seen, namespace=name)
    for found in (many, cut, one):
        assert found.method == "pykv.v1.KeyValueService/Pipeline" and found.peer
        assert found.storage_wait.ToNanoseconds() <= found.duration.ToNanoseconds()
    assert (one.key, one.key_count) == ("k", 1) and one.storage_wait.ToNanoseconds() > 0
    assert 300 < one.transferred_bytes < 500
    assert (cut.key, many.key, many.key_count) == ("k" * 128, "", 2)
    refused = [m for m in logged(seen) if m.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]]
    assert refusal_in(refused[0].error).reason == "OPERATION_MISSING"


def test_an_expired_deadline_is_logged_with_its_error_and_what_it_waited_for(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("n", "k", b"old")
        with FaultySyncs(server.pid, "delay_enter=700000") as strace:
            probe = client.kv.Set.future(pb.SetRequest(namespace="n", key="probe"))
            eventually("syncs are slow", strace.first, 20)
            request = pb.SetRequest(namespace="n", key="k", value=b"new").SerializeToString()
            answer = call_by_hand(server.address, f"/{SET}", request, "100m")
            assert answer["grpc-status"] == "4"
            probe.result()
        [found] = logged(client, FAILED)
        assert (found.method, found.namespace, found.key) == (SET, "n", "k")
        error = refusal_in(found.error)
        assert (error.code.name, error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert found.duration.ToNanoseconds() >= 100e6
        waited = found.storage_wait.ToNanoseconds() / found.duration.ToNanoseconds()
        assert 0.5 < waited <= 1, "it waited for the disk alone"
        assert found in logged(client, SLOW, namespace="n"), "it was slow, too"


def test_what_the_server_cannot_do_is_a_failure_and_what_it_refuses_is_none(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        with refused("INVALID_ARGUMENT", "KEY_INVALID"):
            client.get("n", "")
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
            client.namespaces.GetNamespace(pb.GetNamespaceRequest(namespace="none"))
        assert client.get("n", "none") is None
        assert logged(client, FAILED) == []
        with pytest.raises(grpc.RpcError):
            client.channel.unary_unary("/pykv.v1.KeyValueService/Nothing")(b"", timeout=5)
        [found] = logged(client, FAILED)
        assert refusal_in(found.error).code.name == "UNIMPLEMENTED" and found.namespace == ""


def test_an_upload_that_goes_wrong_midway_is_seen(seen):
    options = pb.RestoreSnapshotOptions(mode=pb.RESTORE_MODE_OVERWRITE)
    twice = [pb.RestoreSnapshotRequest(options=options)] * 2
    with refused("INVALID_ARGUMENT", "UPLOAD_INVALID", {"options": "UPLOAD_INVALID"}):
        seen.admin.RestoreSnapshot(iter(twice), timeout=20)
    method = "pykv.v1.AdminService/RestoreSnapshot"
    codes = [one.error.code for one in logged(seen) if one.method == method]
    assert grpc.StatusCode.INVALID_ARGUMENT.value[0] in codes


def call_everything(client, name):
    """Calls every method of the schema."""
    kv, spaces, admin = client.kv, client.namespaces, client.admin
    set_one = pb.SetRequest(namespace=name, key="k", value=b"v")
    spaces.CreateNamespace(pb.CreateNamespaceRequest(namespace=pb.Namespace(name=name)))
    kv.Set(set_one)
    kv.Get(pb.GetRequest(namespace=name, key="k"))
    kv.Touch(pb.TouchRequest(namespace=name, key="k"))
    kv.Increment(pb.IncrementRequest(namespace=name, key="n"))
    kv.BatchGet(pb.BatchGetRequest(namespace=name, keys=["k"]))
    kv.BatchWrite(
        pb.BatchWriteRequest(namespace=name, operations=[pb.WriteOperation(set=set_one)])
    )
    kv.ListEntries(pb.ListEntriesRequest(namespace=name))
    list(kv.ScanEntries(pb.ScanEntriesRequest(namespace=name)))
    watch = kv.Watch(pb.WatchRequest(namespace=name))
    next(watch)
    kv.Delete(pb.DeleteRequest(namespace=name, key="k"))
    next(watch)
    watch.cancel()
    kv.DeletePrefix(pb.DeletePrefixRequest(namespace=name, prefix="n"))
    ask_all(client, [get(1, name, "k"), put(2, name, "k", b"v")])
    spaces.GetNamespace(pb.GetNamespaceRequest(namespace=name))
    spaces.ListNamespaces(pb.ListNamespacesRequest())
    new = pb.Namespace(name=name, description="seen")
    spaces.UpdateNamespace(pb.UpdateNamespaceRequest(namespace=new))
    spaces.GetNamespaceStats(pb.GetNamespaceStatsRequest(namespace=name))
    spaces.ListHotKeys(pb.ListHotKeysRequest(namespace=name))
    data, _ = export(client, name)
    restore(client, data)
    spaces.ClearNamespace(pb.ClearNamespaceRequest(namespace=name))
    spaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name))
    admin.GetServerInfo(pb.GetServerInfoRequest())
    admin.GetStats(pb.GetStatsRequest())
    admin.ListLoggedOperations(pb.ListLoggedOperationsRequest())
    admin.Compact(pb.CompactRequest())
    admin.GetConfig(pb.GetConfigRequest())
    admin.UpdateConfig(pb.UpdateConfigRequest())
    admin.GetPerformance(pb.GetPerformanceRequest())


def methods_of_the_schema():
    """Every method, as reports name it."""
    files = {type(message).__name__: message.DESCRIPTOR.file for message in
             (pb.GetRequest(), pb.GetNamespaceStatsRequest(), pb.GetStatsRequest())}
    services = [s for file in files.values() for s in file.services_by_name.values()]
    return {f"{s.full_name}/{m.name}" for s in services for m in s.methods}


def test_every_method_that_was_called_has_its_percentiles(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        call_everything(client, "n")
        request = pb.GetPerformanceRequest(window=seconds(60))
        found = {m.method: m for m in client.admin.GetPerformance(request).methods}
        called = methods_of_the_schema()
        assert len(called) == 29 and called <= set(found), called - set(found)
        for method in called:
            one = found[method]
            told = [one.p50_latency, one.p95_latency, one.p99_latency, one.p999_latency]
            told = [length.ToNanoseconds() for length in [*told, one.max_latency]]
            assert told == sorted(told) and told[0] > 0, one
            assert one.operations >= 1 and one.error_ratio == 0, one
        by_messages = {"Pipeline": 2, "ScanEntries": 1, "ExportSnapshot": 2, "RestoreSnapshot": 3}
        for method, messages in by_messages.items():
            [one] = [m for full, m in found.items() if full.endswith(f"/{method}")]
            assert one.operations >= messages, one
