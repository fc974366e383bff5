"""Snapshots: every documented refusal, and callers and servers that go away."""

import itertools
import time

import grpc
import pytest
from harness import archive
from harness.calls import Client, refusal_of, refused, require
from harness.disks import fill as fill_disk
from harness.disks import image
from harness.server import Server, eventually
from harness.snapshots import counts, export, leftovers, restore, state, upload
from harness.wire import at_most, pb, ttl

REPLACE, OVERWRITE = pb.RESTORE_MODE_REPLACE, pb.RESTORE_MODE_OVERWRITE
END_SECONDS_MAX = 25
# Far more than a server holds in memory for a caller, or a connection in its buffers.
LARGE_BYTES = 40 << 20


def fill(client, space="default", total=LARGE_BYTES):
    """Writes about that many bytes of values."""
    for number in range(total // 500_000):
        client.set(space, f"large{number}", b"%d." % number + b"v" * 500_000)


@pytest.fixture
def data(client, name):
    """A small snapshot of the namespace of this test."""
    client.set(name, "k", b"v" * 100)
    return export(client, name)[0]


def messages(*payloads):
    """An upload of these messages."""
    return iter([pb.RestoreSnapshotRequest(**payload) for payload in payloads])


def test_an_export_names_what_is_wrong_with_its_names(client):
    fields = {f"namespaces[{n}]": "NAMESPACE_INVALID" for n in (0, 2)}
    with refused("INVALID_ARGUMENT", "NAMESPACE_INVALID", fields):
        export(client, "", "default", "not a name")
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "nowhere"}):
        export(client, "default", "nowhere")


OPTIONS = pb.RestoreSnapshotOptions(mode=REPLACE)


@pytest.mark.parametrize(
    ("upload_of", "field"),
    [
        (lambda data: messages(), "options"),
        (lambda data: messages({"chunk": data}), "options"),
        (lambda data: messages({}), "options"),
        (lambda data: messages({"options": OPTIONS}, {"options": OPTIONS}), "options"),
        (lambda data: messages({"options": OPTIONS}, {}), "chunk"),
        (lambda data: messages({"options": OPTIONS}, {"chunk": b"x" * ((1 << 20) + 1)}), "chunk"),
    ],
    ids=["nothing", "chunk first", "empty first", "options twice", "empty", "chunk too large"],
)
def test_an_upload_out_of_order_is_refused(client, name, data, upload_of, field):
    before = state(client)
    with refused("INVALID_ARGUMENT", "UPLOAD_INVALID", {field: "UPLOAD_INVALID"}):
        client.admin.RestoreSnapshot(upload_of(data), timeout=20)
    assert state(client) == before


def test_options_are_refused_with_everything_that_is_wrong_with_them(client, data):
    with refused("INVALID_ARGUMENT", "RESTORE_MODE_MISSING", {"options.mode": "RESTORE_MODE_MISSING"}):
        restore(client, data, pb.RESTORE_MODE_UNSPECIFIED)
    with refused("INVALID_ARGUMENT", "RESTORE_MODE_MISSING"):
        restore(client, data, 99)
    fields = {
        "options.mode": "RESTORE_MODE_MISSING",
        "options.namespaces[1]": "NAMESPACE_INVALID",
        "options.rename_namespaces": "NAMESPACE_INVALID",
    }
    with refused("INVALID_ARGUMENT", "RESTORE_MODE_MISSING", fields):
        options = {"namespaces": ["a", "-"], "rename_namespaces": {"a": "/"}}
        restore(client, data, pb.RESTORE_MODE_UNSPECIFIED, **options)
    for options in (
        {"rename_namespaces": {"a": "x", "b": "x"}},
        {"namespaces": ["a"], "rename_namespaces": {"b": "c"}},
    ):
        fields = {"options.rename_namespaces": "RENAME_INVALID"}
        with refused("INVALID_ARGUMENT", "RENAME_INVALID", fields):
            restore(client, data, **options)


def test_names_that_are_not_in_the_file_or_would_become_one_are_refused(client, name):
    others = [f"{name}-{letter}" for letter in "ab"]
    for other in others:
        client.set(other, "k", b"v")
    data, _ = export(client, *others)
    before = state(client)
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "nowhere"}):
        restore(client, data, REPLACE, namespaces=[others[0], "nowhere"])
    with refused("NOT_FOUND", "NAMESPACE_NOT_FOUND", metadata={"namespace": "nowhere"}):
        restore(client, data, REPLACE, rename_namespaces={"nowhere": "x"})
    with refused("INVALID_ARGUMENT", "RENAME_INVALID"):
        restore(client, data, REPLACE, rename_namespaces={others[0]: others[1]})
    assert state(client) == before


def test_what_is_no_whole_snapshot_is_refused_wherever_it_is_damaged(client, name, data):
    before = state(client)
    cases = [b"", b"garbage", data[:63], data[:64], data + b"\0", data + data, data[64:]]
    cases += [data[:at] for at in range(65, len(data), 7)]
    for at in range(0, len(data), 5):
        cases.append(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
    for case in cases:
        with refused("INVALID_ARGUMENT", "SNAPSHOT_CORRUPT") as refusal:
            restore(client, case, REPLACE)
        assert 0 <= int(refusal[0].metadata["offset"]) <= len(case)
        assert "offset" in refusal[0].message and "expected" in refusal[0].message
    newer = archive.of_format(data, 2)
    with refused("INVALID_ARGUMENT", "SNAPSHOT_UNSUPPORTED", metadata={"format_version": 2}):
        restore(client, newer, REPLACE)
    assert state(client) == before
    assert counts(restore(client, archive.of_format(data, 1), REPLACE)) == (1, 0, 0)


def test_what_a_namespace_does_not_take_is_refused_before_anything_changes(client, name):
    for number in range(10):
        client.set(name, f"k{number}", b"v" * 200)
    data, _ = export(client, name)
    none = pb.EVICTION_POLICY_NONE
    cases = {
        "keys": ({"max_keys": at_most(9), "eviction_policy": none}, "NAMESPACE_QUOTA_EXCEEDED"),
        "bytes": ({"max_bytes": at_most(999), "eviction_policy": none}, "NAMESPACE_QUOTA_EXCEEDED"),
        "value": ({"max_value_bytes": 199}, "VALUE_TOO_LARGE"),
    }
    for what, (policy, reason) in cases.items():
        target = f"{name}-{what}"
        client.create(target, **policy)
        before = state(client)
        code = "INVALID_ARGUMENT" if what == "value" else "RESOURCE_EXHAUSTED"
        with refused(code, reason, metadata={"namespace": target}):
            restore(client, data, REPLACE, rename_namespaces={name: target})
        assert state(client) == before
    target = f"{name}-keys"
    one = restore(client, export(client, name)[0], rename_namespaces={name: f"{name}-free"})
    assert counts(one) == (10, 0, 0)
    assert client.get(target, "k0") is None


def test_a_full_server_and_one_with_too_many_namespaces_refuse(data_dir, client, name):
    for number in range(5):
        client.create(f"{name}-{number}", eviction_policy=pb.EVICTION_POLICY_NONE)
        client.set(f"{name}-{number}", "k", b"v" * 900_000)
    data, _ = export(client, *[f"{name}-{n}" for n in range(5)])
    limits = ["--max-total-bytes", "2MiB", "--set", "max_namespaces=4"]
    with Server(data_dir, *limits) as server, Client(server.address) as small:
        before = state(small)
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_NAMESPACES", metadata={"limit": 4}):
            restore(small, data)
        only = [f"{name}-0", f"{name}-1", f"{name}-2", f"{name}-3"]
        with refused("RESOURCE_EXHAUSTED", "MEMORY_EXHAUSTED"):
            restore(small, data, namespaces=only)
        small.admin.UpdateConfig(
            pb.UpdateConfigRequest(config=pb.ServerConfig(max_total_bytes=64 << 20))
        )
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_NAMESPACES", metadata={"limit": 4}):
            restore(small, data, namespaces=only)
        assert state(small) == before
        assert counts(restore(small, data, namespaces=only[:3])) == (3, 0, 0)


def test_a_read_only_server_gives_and_does_not_take(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        client.admin.UpdateConfig(pb.UpdateConfigRequest(config=pb.ServerConfig(read_only=True)))
        data, _ = export(client)
        with refused("FAILED_PRECONDITION", "READ_ONLY"):
            restore(client, data)
        assert counts(restore(client, data, validate_only=True)) == (1, 0, 0)


def test_there_are_a_few_places_and_they_are_free_again(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client)
        calls = [client.admin.ExportSnapshot(pb.ExportSnapshotRequest()) for _ in range(4)]
        assert all(next(call).chunk for call in calls)
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": 4}):
            export(client)
        for call in calls:
            call.cancel()
        eventually("the places are free", lambda: not leftovers(server))
        assert export(client)[1].entry_count > 0
        hold = [iter(Held()) for _ in range(2)]
        uploads = [client.admin.RestoreSnapshot.future(one) for one in hold]
        eventually("both are under way", lambda: len(leftovers(server)) == 2)
        with refused("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS", metadata={"limit": 2}):
            restore(client, b"")
        for call in uploads:
            call.cancel()
        eventually("the places are free", lambda: not leftovers(server))


class Held:
    """An upload that has begun and waits, until its call is over."""

    def __init__(self, data=b""):
        self.messages = upload(data)

    def __iter__(self):
        yield from self.messages
        while True:
            # grpcio asks for the next message on a thread of its own, which this keeps busy.
            time.sleep(0.05)
            yield pb.RestoreSnapshotRequest(chunk=b"")


def test_a_caller_who_goes_away_leaves_nothing(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client)
        data, _ = export(client)
        for messages_read in (0, 1, 20):
            call = client.admin.ExportSnapshot(pb.ExportSnapshotRequest())
            assert len(list(itertools.islice(call, messages_read))) == messages_read
            call.cancel()
            eventually("nothing is left", lambda: not leftovers(server), 5)
        before = state(client)
        for part in (data[:1000], data[: len(data) // 2]):
            call = client.admin.RestoreSnapshot.future(iter(Held(part)))
            eventually("it is under way", lambda: leftovers(server))
            call.cancel()
            eventually("nothing is left", lambda: not leftovers(server), 5)
        assert state(client)[0] == before[0]
        with Client(server.address) as other:
            call = other.admin.ExportSnapshot(pb.ExportSnapshotRequest())
            next(call)
        eventually("nothing is left of a closed connection", lambda: not leftovers(server), 5)


def test_a_deadline_ends_both_streams(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client)
        call = client.admin.ExportSnapshot(pb.ExportSnapshotRequest(), timeout=0.3)
        with pytest.raises(grpc.RpcError) as ended:
            for _ in call:
                time.sleep(0.05)
        assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError) as ended:
            client.admin.RestoreSnapshot(iter(Held()), timeout=0.3)
        assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        eventually("nothing is left", lambda: not leftovers(server), 5)


def test_a_server_that_leaves_ends_open_streams_and_leaves_nothing(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client)
        out = client.admin.ExportSnapshot(pb.ExportSnapshotRequest())
        assert next(out).chunk
        back = client.admin.RestoreSnapshot.future(iter(Held(b"")))
        eventually("both are under way", lambda: len(leftovers(server)) >= 2)
        server.process.terminate()
        # Read on, slowly: an export that has something to say is ended all the same.
        with pytest.raises(grpc.RpcError) as ended:
            for _ in out:
                time.sleep(0.02)
        require(refusal_of(ended.value), "UNAVAILABLE", "SHUTTING_DOWN")
        require(refusal_of(back.exception()), "UNAVAILABLE", "SHUTTING_DOWN")
        assert server.wait_end() == 0, server.log()[-3000:]
        assert "panicked" not in server.log()
        assert not list(server.data_dir.rglob("*.spool"))
    with Server(data_dir) as server, Client(server.address) as client:
        assert client.value("default", "large0").startswith(b"0.")


def test_a_full_disk_ends_an_export_that_needs_it_and_nothing_else():
    with image(500) as disk:
        disk.mount()
        with Server(disk.mount_point / "data") as server, Client(server.address) as client:
            fill(client, total=120 << 20)
            # Enough for the log, too little for a copy beside it.
            filler = fill_disk(disk.mount_point, 140 << 20)
            call = client.admin.ExportSnapshot(pb.ExportSnapshotRequest())
            assert next(call).chunk
            # Nobody reads, so the rest goes to the disk; the log has room all the while.
            eventually("it was given up", lambda: not leftovers(server), 20)
            for number in range(20):
                client.set("default", f"beside{number}", b"v")
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            require(refusal_of(ended.value), "RESOURCE_EXHAUSTED", "DISK_FULL")
            filler.unlink()
            assert len(export(client)[0]) > 100 << 20


def test_a_restore_that_the_disk_has_no_room_for_changes_nothing(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        fill(client, total=100 << 20)
        data, _ = export(client)
    with image(400) as disk:
        disk.mount()
        with Server(disk.mount_point / "data") as server, Client(server.address) as client:
            client.set("default", "own", b"v")
            filler = fill_disk(disk.mount_point, 90 << 20)
            before = state(client)
            with refused("RESOURCE_EXHAUSTED", "DISK_FULL"):
                restore(client, data, REPLACE, chunk=1 << 20)
            assert state(client) == before and client.value("default", "own") == b"v"
            assert client.set("default", "more", b"v").applied, "the log goes on"
            filler.unlink()
            response = restore(client, data, REPLACE, chunk=1 << 20)
            assert response.restored_count == (100 << 20) // 500_000
            assert client.get("default", "own") is None
            assert client.set("default", "soon", b"v", expiration=ttl(60_000)).applied


@pytest.mark.parametrize(
    ("bad", "code", "reason"),
    [
        (b"\x12\x80\x80\xc0\x02" + b"x" * (5 << 20), "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE"),
        (b"\xff" * 20, "INVALID_ARGUMENT", "REQUEST_MALFORMED"),
    ],
)
def test_a_message_that_is_too_large_or_none_is_refused_in_words(client, name, bad, code, reason):
    client.set(name, "k", b"v")
    raw = client.channel.stream_unary("/pykv.v1.AdminService/RestoreSnapshot")
    good = pb.RestoreSnapshotRequest(options=OPTIONS).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        raw(iter([good, bad]), timeout=20)
    require(refusal_of(caught.value), code, reason)
    assert client.value(name, "k") == b"v"
