"""What the server and the command line write is for the account that runs them."""

import os
import stat

from harness.calls import Client
from harness.server import Server, eventually, run
from harness.wire import pb


def mode(path):
    """The permissions of a path."""
    return stat.S_IMODE(os.stat(path).st_mode)


def test_nobody_else_may_read_the_log_or_a_snapshot(data_dir, tmp_path):
    before = os.umask(0o022)
    try:
        with Server(data_dir) as server, Client(server.address) as client:
            client.set("acme", "k", b"v" * 10_000)
            assert client.admin.Compact(pb.CompactRequest(wait=True), timeout=20).started
            client.set("acme", "k", b"w")
            found = {name: mode(os.path.join(data_dir, name)) for name in os.listdir(data_dir)}
            assert mode(data_dir) == 0o700 and len(found) > 3
            assert set(found.values()) == {0o600}, found
            saved = tmp_path / "all.pykv"
            ran = run("snapshot", "save", saved, "-s", f"http://{server.address}")
            assert ran.returncode == 0 and mode(saved) == 0o600
        flags = ["--name", "x", "--role", "reader", "--file", tmp_path / "tokens.toml"]
        assert run("token", "new", *flags).returncode == 0
        assert mode(tmp_path / "tokens.toml") == 0o640
        eventually("it has ended", lambda: server.process.poll() is not None)
    finally:
        os.umask(before)
