"""SIGTERM under load: the server says goodbye, ends with 0 in time, and loses nothing."""

import time

from harness.calls import Client
from harness.ledger import Ledger
from harness.load import Load, spaces_by_durability, torn_pairs
from harness.server import Server

CYCLES = 50
END_SECONDS_MAX = 25
# An answer that tells more than a closed connection: what was refused did not happen.
GOODBYES = {"SHUTTING_DOWN", ""}


def test_a_server_that_leaves_under_load_loses_nothing_and_is_gone_in_time(data_dir, rng):
    ledger = Ledger()
    longest = 0.0
    with Server(data_dir) as server, Client(server.address) as client:
        spaces_by_durability(client, ledger)
    for cycle in range(CYCLES):
        with Server(data_dir) as server, Client(server.address) as client:
            assert ledger.complaints(client) + torn_pairs(ledger) == [], cycle
            with Load(server.address, ledger, rng) as load:
                time.sleep(rng.uniform(0.05, 0.3))
                code, took = server.terminate()
            longest = max(longest, took)
            assert code == 0, (cycle, server.log()[-3000:])
            assert took < END_SECONDS_MAX
            strange = [r for _, r in load.refusals if r.reason not in GOODBYES]
            assert not strange, strange[:3]
            for _, refusal in load.refusals:
                assert refusal.code.name == "UNAVAILABLE", refusal
                assert refusal.reason == "" or refusal.retry_seconds > 0, refusal
    with Server(data_dir) as server, Client(server.address) as client:
        assert ledger.complaints(client) == []
    print(f"{CYCLES} ends, longest {longest:.2f} s, {ledger.acknowledged} acknowledgements kept")
    assert ledger.acknowledged > CYCLES * 20


def test_a_server_with_nothing_to_do_ends_at_once(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        code, took = server.terminate()
        assert code == 0 and took < 3, took
