"""Namespaces: made, described, listed, changed, emptied and deleted."""

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.calls import Client, refused
from harness.server import Server
from harness.wire import at_most, pb, seconds


def update(client, namespace, paths=(), **more):
    """Updates; returns the namespace."""
    mask = FieldMask(paths=paths)
    request = pb.UpdateNamespaceRequest(namespace=namespace, update_mask=mask, **more)
    return client.namespaces.UpdateNamespace(request).namespace


def describe(client, name):
    """The namespace as it is."""
    return client.namespaces.GetNamespace(pb.GetNamespaceRequest(namespace=name)).namespace


def test_a_namespace_is_described_as_it_was_created(client, name):
    wanted = pb.Namespace(
        name=name,
        description="carts, für alle",
        labels={"team": "shop", "empty": ""},
        policy=pb.NamespacePolicy(max_keys=at_most(7), durability=pb.DURABILITY_ASYNC),
    )
    created = client.namespaces.CreateNamespace(pb.CreateNamespaceRequest(namespace=wanted))
    found = describe(client, name)
    assert created.namespace == found
    assert (found.name, found.description, dict(found.labels)) == (
        name,
        wanted.description,
        dict(wanted.labels),
    )
    assert found.policy == wanted.policy and found.etag and not found.auto_created
    assert found.HasField("create_time") and found.HasField("update_time")
    assert (found.usage.key_count, found.usage.used_bytes) == (0, 0)


def test_a_first_write_creates_its_namespace(client, name):
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": name}):
        describe(client, name)
    assert client.get(name, "k") is None
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
        describe(client, name)
    version = client.set(name, "k", b"v").entry.version
    found = describe(client, name)
    assert found.auto_created and found.usage.key_count == 1 and found.usage.used_bytes > 2
    assert found.usage.version == version
    with refused("ALREADY_EXISTS", "NAMESPACE_ALREADY_EXISTS", metadata={"namespace": name}):
        client.create(name)


def test_the_default_namespace_is_always_there(client):
    assert describe(client, "default").name == "default"
    assert describe(client, "").name == "default"


@pytest.mark.parametrize("good", ["0", "A", "myapp:production", "a.b_c-d:e", "n" * 128])
def test_any_name_of_the_documented_form_is_a_namespace(client, good):
    assert client.create(good).name == good


def test_all_violations_of_a_creation_are_listed_at_once(client):
    policy = pb.NamespacePolicy(
        max_keys=at_most(0),
        max_bytes=pb.Limit(),
        max_value_bytes=3 * (1 << 20) + 1,
        default_ttl=pb.Lifetime(ttl=seconds(0)),
        max_ttl=pb.Lifetime(unlimited=False),
        max_operations_per_second=pb.Limit(unlimited=False),
        watch_history_events=1_000_001,
    )
    labels = {"": "empty", **{f"label{number}": "x" for number in range(32)}}
    bad = pb.Namespace(name="-", description="d" * 1025, labels=labels, policy=policy)
    where = "namespace.policy"
    expected = {
        "namespace.name": "NAMESPACE_INVALID",
        "namespace.description": "DESCRIPTION_INVALID",
        "namespace.labels": "LABELS_INVALID",
        f"{where}.max_keys.maximum": "POLICY_INVALID",
        f"{where}.max_bytes": "POLICY_INVALID",
        f"{where}.max_value_bytes": "POLICY_INVALID",
        f"{where}.default_ttl.ttl": "POLICY_INVALID",
        f"{where}.max_ttl.unlimited": "POLICY_INVALID",
        f"{where}.max_operations_per_second.unlimited": "POLICY_INVALID",
        f"{where}.watch_history_events": "POLICY_INVALID",
    }
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", expected):
        client.namespaces.CreateNamespace(pb.CreateNamespaceRequest(namespace=bad))


def test_a_namespace_to_create_has_to_be_named(client):
    for request in [pb.CreateNamespaceRequest(), pb.CreateNamespaceRequest(namespace={})]:
        fields = {"namespace.name": "NAMESPACE_INVALID"}
        with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
            client.namespaces.CreateNamespace(request)


def test_namespaces_are_listed_by_name_page_by_page(client, name):
    wanted = [f"{name}.{number:02}" for number in range(25)]
    for one in reversed(wanted):
        client.create(one)
    listed, token, sizes = [], "", []
    while True:
        request = pb.ListNamespacesRequest(prefix=f"{name}.", page_size=10, page_token=token)
        page = client.namespaces.ListNamespaces(request)
        listed += [namespace.name for namespace in page.namespaces]
        sizes.append(len(page.namespaces))
        token = page.next_page_token
        if not token:
            break
    assert listed == wanted and sizes == [10, 10, 5]
    everything = client.namespaces.ListNamespaces(pb.ListNamespacesRequest(page_size=5000))
    names = [namespace.name for namespace in everything.namespaces]
    assert "default" in names and names == sorted(names)


def test_a_list_of_namespaces_refuses_a_foreign_token_and_an_empty_page(client):
    request = pb.ListNamespacesRequest(page_size=0, page_token="nonsense")
    expected = {"page_size": "PAGE_SIZE_INVALID", "page_token": "PAGE_TOKEN_INVALID"}
    with refused("INVALID_ARGUMENT", "PAGE_SIZE_INVALID", expected):
        client.namespaces.ListNamespaces(request)


def test_an_update_changes_what_its_mask_names_and_nothing_else(client, name):
    created = client.create(name, max_keys=at_most(7), durability=pb.DURABILITY_ASYNC)
    new = pb.Namespace(
        name=name,
        description="ignored",
        policy=pb.NamespacePolicy(max_keys=at_most(9), max_value_bytes=5),
    )
    changed = update(client, new, ["policy.max_keys"])
    assert changed.policy.max_keys.maximum == 9 and changed.description == ""
    assert changed.policy.durability == pb.DURABILITY_ASYNC
    assert not changed.policy.HasField("max_value_bytes")
    assert changed.etag != created.etag and changed.create_time == created.create_time
    cleared = update(client, pb.Namespace(name=name), ["policy.max_keys", "description"])
    assert not cleared.policy.HasField("max_keys")
    assert describe(client, name) == cleared


def test_an_update_without_a_mask_changes_what_is_set(client, name):
    client.create(name, max_keys=at_most(7))
    changed = update(client, pb.Namespace(name=name, description="new", labels={"a": "b"}))
    assert (changed.description, dict(changed.labels)) == ("new", {"a": "b"})
    assert changed.policy.max_keys.maximum == 7


def test_an_update_with_an_old_etag_is_refused(client, name):
    first = client.create(name)
    second = update(client, pb.Namespace(name=name, description="2", etag=first.etag))
    with refused("ABORTED", "ETAG_MISMATCH"):
        update(client, pb.Namespace(name=name, description="3", etag=first.etag))
    assert update(client, pb.Namespace(name=name, description="4", etag=second.etag)).etag
    assert describe(client, name).description == "4"


def test_an_update_creates_a_missing_namespace_only_when_allowed(client, name):
    missing = pb.Namespace(name=name, description="declared")
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
        update(client, missing)
    made = update(client, missing, allow_missing=True)
    assert made.description == "declared" and not made.auto_created
    assert update(client, missing, allow_missing=True).description == "declared"


def test_all_violations_of_an_update_are_listed_at_once(client, name):
    client.create(name)
    bad = pb.Namespace(name=name, description="d" * 1025)
    bad.policy.max_keys.maximum = -1
    expected = {
        "namespace.description": "DESCRIPTION_INVALID",
        "namespace.policy.max_keys.maximum": "POLICY_INVALID",
        "update_mask.paths[1]": "UPDATE_MASK_INVALID",
        "update_mask.paths[2]": "UPDATE_MASK_INVALID",
    }
    with refused("INVALID_ARGUMENT", "DESCRIPTION_INVALID", expected):
        update(client, bad, ["description", "name", "policy.nonsense"])
    with refused("INVALID_ARGUMENT", "UPDATE_MASK_INVALID", metadata={"path": "usage"}):
        update(client, pb.Namespace(name=name), ["usage"])


def test_clearing_removes_every_entry_and_keeps_the_namespace(client, name):
    client.create(name, max_keys=at_most(2000))
    for start in range(0, 2000, 1000):
        steps = [
            pb.WriteOperation(set=pb.SetRequest(key=f"k{number}"))
            for number in range(start, start + 1000)
        ]
        client.batch(name, steps)
    before = describe(client, name)
    request = pb.ClearNamespaceRequest(namespace=name)
    assert client.namespaces.ClearNamespace(request).deleted_count == 2000
    assert client.namespaces.ClearNamespace(request).deleted_count == 0
    after = describe(client, name)
    assert (after.usage.key_count, after.usage.used_bytes) == (0, 0)
    assert after.policy == before.policy and after.etag == before.etag
    assert client.get(name, "k0") is None
    assert client.set(name, "k0", b"").entry.version > before.usage.version


def test_deleting_a_namespace_with_entries_needs_force(client, name):
    client.set(name, "k", b"v")
    with refused("FAILED_PRECONDITION", "NAMESPACE_NOT_EMPTY", metadata={"namespace": name}):
        client.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name))
    request = pb.DeleteNamespaceRequest(namespace=name, force=True)
    assert client.namespaces.DeleteNamespace(request).deleted_count == 1
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": name}):
        client.namespaces.DeleteNamespace(request)
    assert client.get(name, "k") is None


def test_the_default_namespace_cannot_be_deleted(client):
    request = pb.DeleteNamespaceRequest(namespace="default", force=True)
    with refused("FAILED_PRECONDITION", "NAMESPACE_PROTECTED"):
        client.namespaces.DeleteNamespace(request)


def test_what_destroys_does_not_take_an_empty_name_for_default(client):
    fields = {"namespace": "NAMESPACE_INVALID"}
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        client.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(force=True))
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        client.namespaces.ClearNamespace(pb.ClearNamespaceRequest())


def test_a_missing_namespace_is_not_found_by_every_method_on_it(client, name):
    namespaces = client.namespaces
    calls = [
        lambda: namespaces.GetNamespace(pb.GetNamespaceRequest(namespace=name)),
        lambda: namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name)),
        lambda: namespaces.ClearNamespace(pb.ClearNamespaceRequest(namespace=name)),
        lambda: namespaces.GetNamespaceStats(pb.GetNamespaceStatsRequest(namespace=name)),
        lambda: update(client, pb.Namespace(name=name, description="x")),
    ]
    for call in calls:
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": name}):
            call()


def test_stats_count_what_happened_and_looking_does_not(client, name):
    client.create(name, max_keys=at_most(2))
    client.set(name, "a", b"1")
    client.set(name, "b", b"1")
    assert client.get(name, "a") and client.get(name, "none") is None
    client.get(name, "b", pb.ENTRY_VIEW_METADATA)
    client.set(name, "c", b"1")
    client.delete(name, "c")
    request = pb.GetNamespaceStatsRequest(namespace=name)
    stats = client.namespaces.GetNamespaceStats(request).stats
    assert stats.namespace == name and stats.usage.key_count == 1
    counted = (stats.hits, stats.misses, stats.sets, stats.deletes, stats.evictions)
    assert counted == (1, 1, 3, 1, 1)


def test_namespaces_survive_a_restart_as_they_were(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("made", max_keys=at_most(3), default_ttl=pb.Lifetime(ttl=seconds(3600)))
        client.set("auto", "k", b"v")
        client.create("gone")
        client.namespaces.DeleteNamespace(pb.DeleteNamespaceRequest(namespace="gone"))
        before = [describe(client, one) for one in ("made", "auto", "default")]
        assert server.terminate()[0] == 0
    with Server(data_dir) as server, Client(server.address) as client:
        assert [describe(client, one) for one in ("made", "auto", "default")] == before
        with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND"):
            describe(client, "gone")
        assert client.value("auto", "k") == b"v"
