"""A sync fails on the live server: it acknowledges nothing more and ends, and loses nothing."""

import pytest
from harness.calls import Client
from harness.disks import FaultySyncs
from harness.ledger import Ledger
from harness.load import Load, spaces_by_durability, torn_pairs
from harness.server import Server, eventually

RUNS = 20


@pytest.mark.parametrize("run", range(RUNS))
def test_no_write_is_acknowledged_after_a_failed_sync_and_none_before_is_lost(data_dir, rng, run):
    ledger = Ledger()
    with Server(data_dir) as server, Client(server.address) as client:
        spaces_by_durability(client, ledger, ["sync"])
        with Load(server.address, ledger, rng, writers=6) as load:
            eventually("writes are acknowledged", lambda: ledger.acknowledged > 50, 10)
            with FaultySyncs(server.pid, "error=EIO") as strace:
                failed_at = eventually("a sync fails", strace.first, 20)
                assert server.wait_end() == 74, server.log()[-3000:]
            load.stop()
            assert load.latest_begun < failed_at, "a write begun after the failure was acknowledged"
            reasons = {refusal.reason for _, refusal in load.refusals}
            assert reasons <= {"OUTCOME_UNKNOWN", "STORAGE_FAILURE", "SHUTTING_DOWN", ""}, reasons
            for _, refusal in load.refusals:
                if refusal.reason == "OUTCOME_UNKNOWN":
                    assert refusal.code.name == "UNKNOWN", "clients repeat what is UNAVAILABLE"
        assert "panicked" not in server.log()
    with Server(data_dir) as server, Client(server.address) as client:
        assert ledger.complaints(client) + torn_pairs(ledger) == []
        client.set("sync", "goes-on", b"v")
