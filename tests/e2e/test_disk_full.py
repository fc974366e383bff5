"""The disk fills up: writes are refused, reads go on, and writes resume by themselves."""

import time

import grpc
import pytest
from harness.calls import Client, refusal_of, refused
from harness.disks import fill, image, tmpfs
from harness.server import Server, eventually
from harness.wire import pb

CYCLES = 25
# By default writes stop while there is still space; without that reserve the disk itself says no.
DISKS = {
    "reserve": {},
    "to the last byte": {
        "PYKV_WAL_MIN_FREE_BYTES": "0",
        "PYKV_WAL_RESUME_FREE_BYTES": "0",
        "PYKV_WAL_SEGMENT_BYTES": "1MiB",
    },
}
RESUME_SECONDS_MAX = 5
DISK_MEBIBYTES = 400
# Less than any log needs to go on.
LEFT_BYTES = 64 << 10


def write_until_refused(client, kept, seconds_max=20, prefix="k"):
    """Writes new keys until the disk is full; `kept` gets what was acknowledged.

    The one write that itself meets the end of the disk may not know whether it happened.
    """
    end, unknown = time.monotonic() + seconds_max, 0
    while time.monotonic() < end:
        number = len(kept) + unknown
        key, value = f"{prefix}{number}", b"%d." % number + b"v" * 20_000
        try:
            client.set("default", key, value)
        except grpc.RpcError as error:
            refusal = refusal_of(error)
            if refusal.reason == "OUTCOME_UNKNOWN" and unknown == 0:
                unknown = 1
                continue
            assert (refusal.code.name, refusal.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
            assert refusal.retry_seconds is None, "room returns when a person makes some"
            return
        assert unknown == 0, "a write went through after one had met the end of the disk"
        kept[key] = value
    raise AssertionError(f"still writing after {seconds_max} s and {len(kept)} entries")


def check_reads(client, kept):
    """Everything acknowledged is there, by every way of reading."""
    keys = list(kept)[-100:]
    assert [entry.value for entry in client.values("default", keys)] == [kept[k] for k in keys]
    assert client.value("default", keys[0]) == kept[keys[0]]
    assert client.get("default", "none") is None
    request = pb.ListEntriesRequest(namespace="default", page_size=1, include_total_size=True)
    assert client.kv.ListEntries(request).total_size >= len(kept)


def resumes(client, kept):
    """Whether a write goes through."""
    try:
        client.set("default", "resumed", b"v")
    except grpc.RpcError as error:
        assert refusal_of(error).reason == "DISK_FULL"
        return False
    kept["resumed"] = b"v"
    return True


@pytest.fixture(params=DISKS)
def settings(request):
    """How a server treats the end of a disk."""
    return DISKS[request.param]


def test_writes_are_refused_while_the_disk_is_full_and_resume_without_a_restart(settings):
    with image(DISK_MEBIBYTES) as disk:
        disk.mount()
        kept = {}
        with Server(disk.mount_point / "data", env=settings) as server, Client(
            server.address
        ) as client:
            client.set("default", "k0", b"v")
            kept["k0"] = b"v"
            for cycle in range(CYCLES):
                filler = fill(disk.mount_point, LEFT_BYTES)
                write_until_refused(client, kept)
                check_reads(client, kept)
                assert client.serving("liveness") == "SERVING"
                assert client.get("default", f"k{len(kept) + 1}") is None
                with refused("RESOURCE_EXHAUSTED", "DISK_FULL"):
                    client.increment("default", "counter")
                with refused("RESOURCE_EXHAUSTED", "DISK_FULL"):
                    client.create(f"new{cycle}")
                filler.unlink()
                eventually("writes resume", lambda: resumes(client, kept), RESUME_SECONDS_MAX)
            server.kill()
        with Server(disk.mount_point / "data", env=settings) as server, Client(
            server.address
        ) as client:
            lost = [key for key, value in kept.items() if client.value("default", key) != value]
            assert not lost, f"{len(lost)} of {len(kept)} lost, such as {lost[:5]}"
            assert client.get("default", "counter") is None, "a refused write happened"


def test_a_file_system_filled_by_the_server_itself_refuses_and_keeps_everything(settings):
    with tmpfs(160) as home:
        kept = {}
        with Server(home / "data", env=settings) as server, Client(server.address) as client:
            write_until_refused(client, kept, seconds_max=60)
            assert len(kept) > 100
            check_reads(client, kept)
            server.kill()
        with Server(home / "data", env=settings) as server, Client(server.address) as client:
            check_reads(client, kept)


def test_memory_is_not_taken_from_who_could_not_write_that_down():
    """A namespace that is not logged goes on; what it needs it takes from itself."""
    with tmpfs(160) as home:
        kept = {}
        env = {"PYKV_MAX_TOTAL_BYTES": "16MiB"}
        with Server(home / "data", env=env) as server, Client(server.address) as client:
            client.create("scratch", durability=pb.DURABILITY_MEMORY)
            for number in range(500):
                key, value = f"k{number}", b"%d." % number + b"v" * 20_000
                client.set("default", key, value)
                kept[key] = value
            fill(home, LEFT_BYTES)
            with refused("RESOURCE_EXHAUSTED", "DISK_FULL"):
                for _ in range(10_000):
                    client.set("default", "k0", kept["k0"])
            for number in range(1_000):
                client.set("scratch", f"s{number}", b"v" * 20_000)
            assert client.get("default", "none") is None
            check_reads(client, kept)
            assert client.value("scratch", "s999") is not None


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "terminated"])
def test_a_server_starts_on_a_full_disk_and_serves_reads(kill, settings):
    with image(DISK_MEBIBYTES) as disk:
        disk.mount()
        kept = {}
        with Server(disk.mount_point / "data", env=settings) as server, Client(
            server.address
        ) as client:
            for number in range(50):
                kept[f"k{number}"] = b"v" * 1000
                client.set("default", f"k{number}", kept[f"k{number}"])
            filler = fill(disk.mount_point, LEFT_BYTES)
            write_until_refused(client, kept)
            if kill:
                server.kill()
            else:
                assert server.terminate()[0] == 0
        fill(disk.mount_point, 4096)
        with Server(disk.mount_point / "data", env=settings) as server, Client(
            server.address
        ) as client:
            check_reads(client, kept)
            write_until_refused(client, {}, prefix="new")
            with refused("RESOURCE_EXHAUSTED", "DISK_FULL"):
                client.set("default", "k", b"v")
            filler.unlink()
            eventually("writes resume", lambda: resumes(client, kept), RESUME_SECONDS_MAX)
            check_reads(client, kept)
