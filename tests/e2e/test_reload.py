"""What a server is told while it runs, and what it tells whoever has started it."""

import re
import signal
import socket

import tomllib
from harness.access import Tokens
from harness.calls import CALL_SECONDS_MAX, Client
from harness.server import Server, eventually, run
from harness.wire import pb


def config_of(client):
    """The configuration in force."""
    return client.admin.GetConfig(pb.GetConfigRequest(), timeout=CALL_SECONDS_MAX).config


def hang_up(server, words):
    """Has the configuration read again, and waits until that is told."""
    before = server.log().count(words)
    server.process.send_signal(signal.SIGHUP)
    eventually(words, lambda: server.log().count(words) > before)


def test_what_can_change_does_and_the_rest_is_named(data_dir, tmp_path):
    file = tmp_path / "pykv.toml"
    text = 'slow_operation_threshold = "50ms"\nread_only = false\n'
    file.write_text(text, encoding="utf-8")
    with Server(data_dir, "--config", file) as server, Client(server.address) as client:
        file.write_text(
            'slow_operation_threshold = "70ms"\nread_only = true\nworkers = 3\n'
            'compaction_interval = "2h"\n[default_policy]\nmax_keys = 77\n',
            encoding="utf-8",
        )
        hang_up(server, "are read again and in force")
        found = config_of(client)
        assert found.slow_operation_threshold.ToMilliseconds() == 70
        assert found.read_only and found.compaction_interval.ToSeconds() == 7200
        assert found.default_policy.max_keys.maximum == 77
        assert re.search(r'key="workers".*needs a restart|needs a restart.*key="workers"', server.log())
        assert "compaction_interval" not in server.log()
        metrics = server.http("/metrics")[2].decode()
        assert "\npykv_config_last_reload_successful 1" in metrics


def test_a_mistake_changes_nothing_and_all_of_it_is_told(data_dir, tmp_path):
    file = tmp_path / "pykv.toml"
    file.write_text("read_only = false\n", encoding="utf-8")
    with Server(data_dir, "--config", file) as server, Client(server.address) as client:
        file.write_text('read_only = true\nworkers = 0\nlog_filter = "pykv=loud"\n', encoding="utf-8")
        hang_up(server, "stay as they were")
        assert not config_of(client).read_only
        assert "pykv.toml:2 (workers)" in server.log() and "pykv.toml:3 (log_filter)" in server.log()
        metrics = server.http("/metrics")[2].decode()
        assert "\npykv_config_last_reload_successful 0" in metrics
        file.write_text("read_only = true\n", encoding="utf-8")
        hang_up(server, "are read again and in force")
        assert config_of(client).read_only


def test_a_server_that_is_open_does_not_seem_closed_after_a_reload(data_dir, tmp_path):
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("root", "*", "admin")
    file = tmp_path / "pykv.toml"
    file.write_text("", encoding="utf-8")
    with Server(data_dir, "--config", file) as server:
        file.write_text(f'tokens_file = "{tokens.path}"\n', encoding="utf-8")
        hang_up(server, "are read again and in force")
        told = [line for line in server.log().splitlines() if "needs a restart" in line]
        assert len(told) == 1 and 'key="tokens_file"' in told[0]
    other = Tokens(tmp_path / "other.toml")
    other.add("else", "*", "admin")
    with Server(data_dir, "--config", file) as server, Client(server.address) as client:
        file.write_text(f'tokens_file = "{other.path}"\n', encoding="utf-8")
        hang_up(server, "are read again and in force")
        assert "needs a restart" not in server.log()
        client.admin.GetConfig(pb.GetConfigRequest(), metadata=other.metadata("else"))


def test_what_was_changed_by_a_call_stays_unless_the_file_says_something_new(data_dir, tmp_path):
    file = tmp_path / "pykv.toml"
    file.write_text("max_wal_entries = 5000\n", encoding="utf-8")
    with Server(data_dir, "--config", file) as server, Client(server.address) as client:
        change = pb.ServerConfig(max_wal_entries=6000)
        request = pb.UpdateConfigRequest(config=change)
        request.update_mask.paths.append("max_wal_entries")
        client.admin.UpdateConfig(request, timeout=CALL_SECONDS_MAX)
        file.write_text('max_wal_entries = 5000\nflush_interval = "2s"\n', encoding="utf-8")
        hang_up(server, "are read again and in force")
        found = config_of(client)
        assert (found.max_wal_entries, found.flush_interval.ToSeconds()) == (6000, 2)
        file.write_text("max_wal_entries = 7000\n", encoding="utf-8")
        hang_up(server, "are read again and in force")
        assert config_of(client).max_wal_entries == 7000


def test_the_configuration_in_force_is_printed_as_a_file_that_says_the_same(tmp_path):
    flags = ["--workers", "3", "--set", "limits.max_streams=9"]
    printed = run("serve", *flags, "--print-config", env={"PYKV_READ_ONLY": "true"})
    assert printed.returncode == 0, printed.stderr
    found = tomllib.loads(printed.stdout.decode())
    assert (found["workers"], found["limits"]["max_streams"], found["read_only"]) == (3, 9, True)
    file = tmp_path / "same.toml"
    file.write_bytes(printed.stdout)
    again = run("serve", "--config", file, "--print-config")
    assert again.stdout == printed.stdout


def test_whoever_has_started_it_hears_what_it_does(data_dir, tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(10)

        def until(word):
            while True:
                said = heard.recv(4096).decode().splitlines()
                if word in said:
                    return said

        env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "300000"}
        with Server(data_dir, env=env) as server:
            until("READY=1")
            until("WATCHDOG=1")
            until("WATCHDOG=1")
            server.process.send_signal(signal.SIGHUP)
            said = until("RELOADING=1")
            assert any(line.startswith("MONOTONIC_USEC=") for line in said)
            until("READY=1")
            server.process.send_signal(signal.SIGTERM)
            until("STOPPING=1")
            assert server.wait_end() == 0
