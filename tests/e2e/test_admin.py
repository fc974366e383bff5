"""The server as a whole: what it says of itself, and what can be changed while it runs."""

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.calls import Client, refused
from harness.server import Server, eventually
from harness.wire import at_most, millis, pb, seconds


def config(client):
    """The configuration in force."""
    return client.admin.GetConfig(pb.GetConfigRequest()).config


def configure(client, config, paths=(), persist=False):
    """Changes it; returns what is then in force."""
    mask = FieldMask(paths=paths)
    request = pb.UpdateConfigRequest(config=config, update_mask=mask, persist=persist)
    return client.admin.UpdateConfig(request).config


def test_the_server_says_what_it_is_and_can(client):
    info = client.admin.GetServerInfo(pb.GetServerInfoRequest()).info
    assert info.version and info.engine == "embedded" and "-" in info.build_target
    limits = info.limits
    assert (limits.max_key_bytes, limits.max_value_bytes) == (4096, 3 << 20)
    assert (limits.max_batch_items, limits.max_request_bytes) == (1000, 5 << 20)
    assert limits.max_response_bytes == 4 << 20 and limits.max_namespaces >= 1000
    promised = {
        pb.CAPABILITY_ORDERED_SCAN,
        pb.CAPABILITY_RESUMABLE_WATCH,
        pb.CAPABILITY_ATOMIC_BATCH,
        pb.CAPABILITY_EXACT_COUNTS,
        pb.CAPABILITY_NAMESPACE_EVICTION,
        pb.CAPABILITY_ORDERED_VERSIONS,
        pb.CAPABILITY_SYNC_DURABILITY,
    }
    assert promised <= set(info.capabilities)


def test_stats_add_up(client, name):
    def read(**request):
        return client.admin.GetStats(pb.GetStatsRequest(**request)).stats

    before = read()
    assert not before.namespaces and before.server_version and before.HasField("start_time")
    client.set(name, "k", b"v")
    assert client.get(name, "k") and client.get(name, "none") is None
    after = read(include_namespaces=True)
    assert after.totals.sets == before.totals.sets + 1
    assert after.totals.hits == before.totals.hits + 1
    assert after.totals.misses == before.totals.misses + 1
    assert after.namespace_count == len(after.namespaces) == before.namespace_count + 1
    assert after.totals.namespace == "" and after.uptime.ToNanoseconds() > 0
    assert after.wal_entries > before.wal_entries and after.wal_bytes > 0
    names = [one.namespace for one in after.namespaces]
    assert names == sorted(names)
    [mine] = [one for one in after.namespaces if one.namespace == name]
    assert (mine.sets, mine.hits, mine.misses, mine.usage.key_count) == (1, 1, 1, 1)
    for counter in ("sets", "hits", "misses", "deletes", "evictions", "expirations"):
        summed = sum(getattr(one, counter) for one in after.namespaces)
        assert summed == getattr(after.totals, counter), counter


def test_performance_tells_each_method_s_share(client, name):
    def read():
        request = pb.GetPerformanceRequest(window=seconds(300))
        return client.admin.GetPerformance(request)

    def gets():
        methods = {m.method: m for m in read().methods}
        found = methods.get("pykv.v1.KeyValueService/Get")
        return found.operations if found else 0

    before = gets()
    for _ in range(50):
        client.get(name, "k")
    eventually("50 gets are counted", lambda: gets() >= before + 50, 5)
    answer = read()
    assert answer.total.method == "" and answer.total.operations >= 50
    assert answer.total_operations >= answer.total.operations
    assert answer.HasField("window")
    for method in [answer.total, *answer.methods]:
        assert method.operations > 0 and method.operations_per_second > 0
        assert 0 <= method.error_ratio <= 1
        latencies = [method.p50_latency, method.p95_latency, method.p99_latency]
        latencies = [one.ToNanoseconds() for one in [*latencies, method.p999_latency]]
        assert latencies == sorted(latencies) and latencies[0] > 0
        assert method.max_latency.ToNanoseconds() >= method.mean_latency.ToNanoseconds() > 0


def test_compaction_drops_what_is_obsolete_and_keeps_what_is_not(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        steps = [pb.WriteOperation(set=pb.SetRequest(key="k", value=b"v" * 1000))] * 1000
        for _ in range(5):
            client.batch("default", steps)
        client.set("default", "other", b"kept")
        before = client.admin.GetStats(pb.GetStatsRequest()).stats
        answer = client.admin.Compact(pb.CompactRequest(wait=True), timeout=30)
        assert answer.started and answer.wal_entries < before.wal_entries
        after = client.admin.GetStats(pb.GetStatsRequest()).stats
        assert after.wal_bytes < before.wal_bytes and after.HasField("last_compaction_time")
        assert not after.compaction_running
        assert client.value("default", "k") == b"v" * 1000
        server.kill()
    with Server(data_dir) as server, Client(server.address) as client:
        assert client.value("default", "k") == b"v" * 1000
        assert client.value("default", "other") == b"kept"


def test_the_configuration_in_force_is_told_whole(client):
    found = config(client)
    policy = found.default_policy
    assert policy.max_keys.unlimited and policy.max_bytes.unlimited
    assert policy.max_value_bytes == 1 << 20 and policy.default_ttl.unlimited
    assert policy.max_ttl.unlimited and policy.max_operations_per_second.unlimited
    assert policy.eviction_policy == pb.EVICTION_POLICY_LRU
    assert policy.durability == pb.DURABILITY_SYNC
    assert found.auto_create_namespaces and not found.read_only and found.HasField("read_only")
    assert found.max_total_bytes > 1 << 20 and found.max_wal_entries == 1_000_000
    assert found.flush_interval == seconds(1) and found.HasField("compaction_interval")
    assert found.cleanup_interval.ToMilliseconds() > 0
    assert found.slow_operation_threshold.ToMilliseconds() > 0 and found.log_filter


def test_a_change_of_the_configuration_is_in_force_at_once(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        before = config(client)
        changed = configure(client, pb.ServerConfig(read_only=True))
        assert changed.read_only and changed == config(client)
        with refused("FAILED_PRECONDITION", "READ_ONLY"):
            client.set("default", "k", b"v")
        with refused("FAILED_PRECONDITION", "READ_ONLY"):
            client.create("new")
        assert client.get("default", "k") is None
        configure(client, pb.ServerConfig(read_only=False))
        client.set("default", "k", b"v")

        configure(client, pb.ServerConfig(auto_create_namespaces=False))
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "new"}):
            client.set("new", "k", b"v")
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
            client.get("new", "k")
        configure(client, pb.ServerConfig(auto_create_namespaces=True))

        limited = pb.ServerConfig(default_policy=pb.NamespacePolicy(max_keys=at_most(2)))
        configure(client, limited)
        for number in range(5):
            client.set("auto", f"k{number}", b"")
        request = pb.GetNamespaceRequest(namespace="auto")
        assert client.namespaces.GetNamespace(request).namespace.usage.key_count == 2
        unlimited = pb.NamespacePolicy(max_keys=pb.Limit(unlimited=True))
        configure(client, pb.ServerConfig(default_policy=unlimited))
        assert config(client) == before


def test_a_mask_chooses_what_of_the_configuration_changes(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        before = config(client)
        new = pb.ServerConfig(max_wal_entries=5000, flush_interval=millis(500))
        new.default_policy.max_value_bytes = 77
        new.default_policy.max_keys.maximum = 9
        changed = configure(client, new, ["flush_interval", "default_policy.max_value_bytes"])
        assert changed.flush_interval == millis(500)
        assert changed.default_policy.max_value_bytes == 77
        assert changed.max_wal_entries == before.max_wal_entries
        assert changed.default_policy.max_keys.unlimited


def test_all_violations_of_a_configuration_are_listed_at_once(client):
    bad = pb.ServerConfig(
        max_total_bytes=0,
        max_wal_entries=-1,
        flush_interval=seconds(0),
        compaction_interval=seconds(-1),
        cleanup_interval=seconds(0),
        slow_operation_threshold=seconds(-1),
        log_filter="pykv=nonsense=x",
        default_policy=pb.NamespacePolicy(max_keys=at_most(0)),
    )
    named = ["max_total_bytes", "max_wal_entries", "flush_interval", "compaction_interval"]
    named += ["cleanup_interval", "slow_operation_threshold", "log_filter"]
    named += ["default_policy.max_keys.maximum"]
    expected = {f"config.{field}": "CONFIG_INVALID" for field in named}
    before = config(client)
    with refused("INVALID_ARGUMENT", "CONFIG_INVALID", expected):
        configure(client, bad)
    fields = {"update_mask.paths[0]": "UPDATE_MASK_INVALID"}
    with refused("INVALID_ARGUMENT", "UPDATE_MASK_INVALID", fields, {"path": "listen"}):
        configure(client, pb.ServerConfig(), ["listen"])
    assert config(client) == before


def test_a_change_is_kept_across_restarts_only_when_asked(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        original = config(client)
        configure(client, pb.ServerConfig(max_wal_entries=4321), persist=True)
        configure(client, pb.ServerConfig(slow_operation_threshold=millis(77)))
        server.kill()
    with Server(data_dir) as server, Client(server.address) as client:
        found = config(client)
        assert found.max_wal_entries == 4321
        assert found.slow_operation_threshold == original.slow_operation_threshold
        assert client.admin.Compact(pb.CompactRequest(wait=True), timeout=30).started
        assert server.terminate()[0] == 0
    with Server(data_dir) as server, Client(server.address) as client:
        assert config(client).max_wal_entries == 4321


def test_an_unknown_method_is_unimplemented(client):
    for path in ["/pykv.v1.KeyValueService/Nothing", "/no.such.Service/Get"]:
        call = client.channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_large_cache_in_memory_does_not_keep_the_log_of_others_from_compaction(data_dir):
    env = {"PYKV_MAX_WAL_ENTRIES": "500", "PYKV_WAL_MIN_FREE_BYTES": "0"}
    with Server(data_dir, env=env) as server, Client(server.address) as client:
        client.create("cache", durability=pb.DURABILITY_MEMORY)
        client.create("small", durability=pb.DURABILITY_ASYNC)
        for start in range(0, 20_000, 1000):
            keys = [f"k{number}" for number in range(start, start + 1000)]
            steps = [pb.WriteOperation(set=pb.SetRequest(key=key, value=b"v")) for key in keys]
            client.batch("cache", steps)

        def is_compacted():
            for _ in range(200):
                client.set("small", "k", b"v")
            return "the log was compacted" in server.log()

        eventually("the log of the small one is compacted", is_compacted)
