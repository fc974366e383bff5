"""A server in little memory: it keeps to its limit, and so the kernel leaves it alone."""

import random
import threading
import time

import grpc
import pytest
from harness.calls import CALL_SECONDS_MAX, Client
from harness.cgroups import memory_group
from harness.server import Server, binary, cycles, eventually, run
from harness.wire import pb

MEBIBYTE = 1 << 20
GROUP_BYTES = 256 * MEBIBYTE
TOTAL = {"PYKV_MAX_TOTAL_BYTES": "128MiB"}
SECONDS = "E2E_LITTLE_MEMORY_SECONDS"
# From nothing to the largest there is by default.
SIZES = (0, 10, 100, 100, 1000, 4000, 16_000, 65_000, 250_000, MEBIBYTE)
SPACES = {
    "sync": pb.DURABILITY_SYNC,
    "async": pb.DURABILITY_ASYNC,
    "memory": pb.DURABILITY_MEMORY,
}


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A group in which every server of a test is started."""
    with memory_group(GROUP_BYTES) as group:
        monkeypatch.setenv("PYKV_BIN", str(group.launcher(binary(), tmp_path)))
        yield group


class Filler(threading.Thread):
    """Writes values of many sizes to a namespace until it is told to stop."""

    def __init__(self, address, namespace, seed, stopping):
        super().__init__(daemon=True)
        self.client, self.namespace, self.stopping = Client(address), namespace, stopping
        self.rng, self.written, self.failure = random.Random(seed), 0, None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.write()
        except grpc.RpcError as error:
            self.failure = error
        finally:
            self.client.channel.close()

    def write(self):
        """One write of one entry or of several."""
        # New keys and old ones, which change their size.
        keys = [f"k{self.rng.randrange(200_000)}" for _ in range(self.rng.choice((1, 1, 20)))]
        sizes = [self.rng.choice(SIZES if len(keys) == 1 else SIZES[:-3]) for _ in keys]
        sets = [
            pb.SetRequest(key=key, value=self.rng.randbytes(size))
            for key, size in zip(keys, sizes, strict=True)
        ]
        answer = self.client.batch(self.namespace, [pb.WriteOperation(set=each) for each in sets])
        assert all(result.WhichOneof("result") == "set" for result in answer.results), answer
        self.written += sum(sizes)


def held_bytes(client):
    """What all namespaces hold, as charged."""
    spaces = client.namespaces.ListNamespaces(pb.ListNamespacesRequest()).namespaces
    return sum(space.usage.used_bytes for space in spaces)


@pytest.mark.parametrize(
    ("env", "total", "usual"),
    [(TOTAL, 128 * MEBIBYTE, 60), ({}, GROUP_BYTES // 2, 20)],
    ids=["half", "as it chooses"],
)
def test_writes_of_every_size_never_take_more_than_there_is(
    group, data_dir, rng, env, total, usual
):
    with Server(data_dir, env=env) as server, Client(server.address) as client:
        for name, durability in SPACES.items():
            client.create(name, durability=durability)
        stopping = threading.Event()
        fillers = [Filler(server.address, name, rng.random(), stopping) for name in SPACES]
        for filler in fillers:
            filler.start()
        end, most, compactions = time.monotonic() + cycles(SECONDS, usual), 0, 0
        try:
            while time.monotonic() < end:
                # Compactions hold a copy of what they are at.
                client.admin.Compact(pb.CompactRequest(wait=True), timeout=CALL_SECONDS_MAX)
                compactions += 1
                watched = time.monotonic() + 2
                while time.monotonic() < watched:
                    assert group.kills() == 0, f"killed, after {most / MEBIBYTE:.0f} MiB"
                    most = max(most, server.anonymous_bytes())
                    assert client.get("memory", "nothing") is None
                    time.sleep(0.02)
        finally:
            stopping.set()
            for filler in fillers:
                filler.join(CALL_SECONDS_MAX)
        written = sum(filler.written for filler in fillers)
        print(
            f"{written / MEBIBYTE:.0f} MiB written, {held_bytes(client) / MEBIBYTE:.0f} MiB held, "
            f"at most {most / MEBIBYTE:.0f} MiB in memory, {compactions} compactions"
        )
        assert [filler.failure for filler in fillers if filler.failure] == []
        assert group.kills() == 0 and server.process.poll() is None
        # Else it was never full, and nothing was shown.
        assert written > 2 * total and 0.8 * total < held_bytes(client) <= total
        assert most < GROUP_BYTES
        assert client.set("sync", "k", b"v").applied and server.is_ready()


def test_without_a_limit_of_its_own_a_server_takes_half_of_what_its_group_may_have(
    group, data_dir
):
    with Server(data_dir) as server, Client(server.address) as client:
        config = client.admin.GetConfig(pb.GetConfigRequest()).config
        assert config.max_total_bytes == GROUP_BYTES // 2
        assert group.used_bytes() > 0 and group.kills() == 0
        server.kill()
    printed = run("config", "print").stdout.decode()
    assert 'max_total_bytes = "128 MiB"' in printed, printed


def test_the_kernel_does_kill_a_server_that_is_told_to_take_more_than_there_is(group, data_dir):
    # What shows that the other tests can fail.
    with Server(data_dir, env={"PYKV_MAX_TOTAL_BYTES": "1GiB"}) as server:
        with Client(server.address) as client:
            client.create("memory", durability=pb.DURABILITY_MEMORY)
            with pytest.raises(grpc.RpcError):
                for number in range(400):
                    client.set("memory", f"k{number}", b"v" * MEBIBYTE)
        eventually("it is counted", lambda: group.kills() > 0, 5)
