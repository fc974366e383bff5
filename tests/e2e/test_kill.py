"""The process is killed under load: nothing that was acknowledged is lost."""

import threading
import time

import grpc
from harness.calls import Client
from harness.ledger import Ledger
from harness.load import Load, spaces_by_durability, torn_pairs
from harness.server import Server, cycles
from harness.wire import pb, seconds

CYCLES = cycles("E2E_KILLS", 200)
# Files of the log change often, so that kills meet that too.
SMALL = {"PYKV_WAL_SEGMENT_BYTES": "1MiB"}
LOAD_SECONDS = (0.10, 0.25)
# Every so often the server that has just been killed is killed again while it replays.
REPLAY_KILL_EVERY = 8


def compact_often(address, stopping):
    """Has the log compacted again and again, so that kills meet compactions and rotations."""
    with Client(address) as client:
        while not stopping.is_set():
            try:
                client.admin.Compact(pb.CompactRequest(wait=True), timeout=5)
            except grpc.RpcError:
                return
            stopping.wait(0.02)


def one_life(data_dir, ledger, rng, compacts):
    """A server starts, shows what it must hold, is written to, and is killed."""
    with Server(data_dir, env=SMALL) as server, Client(server.address) as client:
        complaints = ledger.complaints(client)
        complaints += [f"half a batch: {pair}" for pair in torn_pairs(ledger)]
        for space in ledger.spaces.values():
            request = pb.GetNamespaceRequest(namespace=space.name)
            version = client.namespaces.GetNamespace(request).namespace.usage.version
            if version < space.version:
                complaints.append(f"{space.name} went back from {space.version} to {version}")
        assert not complaints, complaints[:10]
        compactor = threading.Thread(
            target=compact_often, args=(server.address, stopping := threading.Event())
        )
        with Load(server.address, ledger, rng) as load:
            if compacts:
                compactor.start()
            # The length of a life is part of the test; there is no event to wait for.
            time.sleep(rng.uniform(*LOAD_SECONDS))
            early = list(load.refusals)
            server.kill()
        stopping.set()
        if compacts:
            compactor.join()
        assert not early, early[:3]


def test_kills_lose_nothing_that_was_acknowledged(data_dir, rng):
    ledger = Ledger()
    with Server(data_dir, env=SMALL) as server, Client(server.address) as client:
        spaces_by_durability(client, ledger)
        often = pb.ServerConfig(compaction_interval=seconds(1), max_wal_entries=500)
        client.admin.UpdateConfig(pb.UpdateConfigRequest(config=often, persist=True))
    for cycle in range(CYCLES):
        if cycle % REPLAY_KILL_EVERY == 1:
            with Server(data_dir, env=SMALL, wait=False) as server:
                time.sleep(rng.uniform(0, 0.03))
                server.kill()
        try:
            one_life(data_dir, ledger, rng, compacts=cycle % 2 == 0)
        except AssertionError as error:
            raise AssertionError(f"cycle {cycle}: {error}") from error
    with Server(data_dir, env=SMALL) as server, Client(server.address) as client:
        assert ledger.complaints(client) == []
    print(f"{CYCLES} kills, {ledger.acknowledged} acknowledgements, 0 lost")
    assert ledger.acknowledged > CYCLES * 20, "too little was written to mean anything"
