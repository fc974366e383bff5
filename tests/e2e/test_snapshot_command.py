"""`pykv snapshot`: files a person or a script saves, looks into, and puts back."""

import json
import os
import pty
import subprocess
import threading

import pytest
from harness import archive
from harness.calls import Client
from harness.server import Server, binary, environment, run

DONE, NO, USAGE, DAMAGED, UNAVAILABLE = 0, 1, 2, 65, 69
CANNOT_CREATE, IO, TEMPORARY = 73, 74, 75


@pytest.fixture
def pykv(server):
    """Runs a command against the shared server."""

    def command(*arguments, expect=DONE, **options):
        done = run("--server", f"http://{server.address}", *arguments, **options)
        assert done.returncode == expect, (arguments, done.stdout[-500:], done.stderr[-500:])
        assert b"panicked" not in done.stderr, done.stderr
        return done

    return command


@pytest.fixture
def file(pykv, client, name, tmp_path):
    """A snapshot of a namespace with ten entries."""
    for number in range(10):
        client.set(name, f"k{number}", b"secret-%d" % number)
    path = tmp_path / "file"
    pykv("snapshot", "save", path, "-n", name)
    return path


def test_a_file_is_saved_whole_looked_into_and_put_back(pykv, client, name, tmp_path):
    client.set(name, "k", b"v")
    path = tmp_path / "file"
    saved = pykv("snapshot", "save", path, "-n", name)
    assert b"1 entry in 1 namespace" in saved.stdout and saved.stderr == b"", saved
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"], "a part stays"
    assert archive.read(path.read_bytes()).spaces == {name: {"k": b"v"}}
    shown = run("snapshot", "inspect", path)
    assert shown.returncode == DONE and name.encode() in shown.stdout and shown.stderr == b""
    client.set(name, "k", b"changed")
    restored = pykv("snapshot", "restore", path, "--mode", "replace")
    assert b"1 entry restored" in restored.stdout and restored.stderr == b""
    assert client.value(name, "k") == b"v"


def test_everything_is_there_as_json(pykv, name, file):
    again = file.with_name("again")
    saved = json.loads(pykv("-o", "json", "snapshot", "save", again, "-n", name).stdout)
    assert saved["summary"]["entryCount"] == "10" and saved["summary"]["snapshotTime"]
    shown = json.loads(run("snapshot", "inspect", again, "--json").stdout)
    assert shown["formatVersion"] == 1 and shown["summary"] == saved["summary"]
    [space] = shown["namespaces"]
    assert (space["name"], space["entryCount"], space["keyBytes"]) == (name, "10", "20")
    arguments = ["snapshot", "restore", again, "--mode", "skip-existing", "--json"]
    restored = json.loads(pykv(*arguments).stdout)
    assert (restored["restoredCount"], restored["skippedCount"]) == ("0", "10")
    wrong = pykv("snapshot", "save", again, "-n", "nowhere", "--force", "--json", expect=NO)
    assert json.loads(wrong.stderr)["error"]["reason"] == "NAMESPACE_NOT_FOUND"
    assert archive.read(again.read_bytes()).spaces[name], "a copy that failed has replaced one"


def test_a_file_that_is_there_is_replaced_only_by_force(pykv, client, name, file):
    before = file.read_bytes()
    client.set(name, "one more", b"v")
    refused = pykv("snapshot", "save", file, "-n", name, expect=CANNOT_CREATE)
    assert b"--force" in refused.stderr and file.read_bytes() == before
    pykv("snapshot", "save", file, "-n", name, "--force")
    assert len(archive.read(file.read_bytes()).spaces[name]) == 11
    nowhere = file.parent / "none" / "file"
    pykv("snapshot", "save", nowhere, expect=CANNOT_CREATE)


def test_a_pipe_will_do(pykv, client, name, file):
    piped = pykv("snapshot", "save", "-", "-n", name).stdout
    assert archive.read(piped).spaces == archive.read(file.read_bytes()).spaces
    shown = run("snapshot", "inspect", "-", stdin=piped)
    assert shown.returncode == DONE and b"10" in shown.stdout
    rename = f"{name}={name}-2"
    arguments = ["snapshot", "restore", "-", "--mode", "overwrite", "--rename", rename]
    pykv(*arguments, stdin=piped)
    assert client.value(f"{name}-2", "k7") == b"secret-7"


def test_a_dry_run_checks_and_changes_nothing(pykv, client, name, file):
    client.set(name, "k7", b"changed")
    arguments = ["snapshot", "restore", file, "--mode", "replace", "--dry-run"]
    checked = pykv(*arguments)
    assert b"10 entries would be restored" in checked.stdout
    assert client.value(name, "k7") == b"changed"
    damaged = file.with_name("damaged")
    damaged.write_bytes(file.read_bytes()[:-1])
    arguments[2] = damaged
    assert b"SNAPSHOT_CORRUPT" in pykv(*arguments, expect=DAMAGED).stderr


def test_damage_is_exit_65_with_its_offset_with_and_without_a_server(pykv, client, name, file):
    content = file.read_bytes()
    at = content.index(b"secret-7")
    record = content.rindex(b"\xc5KVr", 0, at)
    file.write_bytes(content[:at] + b"S" + content[at + 1 :])
    for damaged in (
        run("snapshot", "inspect", file),
        pykv("snapshot", "restore", file, "--mode", "replace", expect=DAMAGED),
    ):
        assert damaged.returncode == DAMAGED and damaged.stdout == b""
        assert f"offset {record}".encode() in damaged.stderr, damaged.stderr
        assert b"secret" not in damaged.stderr
    file.write_bytes(archive.of_format(content, 9))
    newer = run("snapshot", "inspect", file)
    assert newer.returncode == DAMAGED and b"format 9" in newer.stderr
    missing = run("snapshot", "inspect", file.with_name("missing"))
    assert missing.returncode == IO and missing.stdout == b""


def test_what_is_wrong_is_a_usage_error(pykv, file, name):
    pykv("snapshot", "restore", file, expect=USAGE)
    pykv("snapshot", "restore", file, "--mode", "some", expect=USAGE)
    pykv("snapshot", "restore", file, "--mode", "replace", "--rename", "a", expect=USAGE)
    both = ["--rename", f"{name}=x", "--rename", "other=x"]
    wrong = pykv("snapshot", "restore", file, "--mode", "replace", *both, expect=USAGE)
    assert b"RENAME_INVALID" in wrong.stderr
    away = run("--server", "http://127.0.0.1:1", "snapshot", "restore", file, "--mode", "replace")
    assert away.returncode == UNAVAILABLE


def test_the_time_limit_is_for_silence_and_not_for_the_whole(data_dir, tmp_path):
    path = tmp_path / "file"
    with Server(data_dir) as server, Client(server.address) as client:
        for number in range(60):
            client.set("default", f"k{number}", b"v" * 500_000)
        serve = ["--server", f"http://{server.address}", "--timeout", "2s", "snapshot"]
        assert run(*serve, "save", path).returncode == DONE
        # A pipe that takes its time: longer than the limit in all, and never silent for so long.
        read, write = os.pipe()

        def trickle():
            content = path.read_bytes()
            step = len(content) // 12 + 1
            with os.fdopen(write, "wb") as pipe:
                for start in range(0, len(content), step):
                    pipe.write(content[start : start + step])
                    pipe.flush()
                    threading.Event().wait(0.25)

        writer = threading.Thread(target=trickle)
        writer.start()
        arguments = [str(binary()), *serve, "restore", "-", "--mode", "replace"]
        done = subprocess.run(arguments, stdin=read, capture_output=True, env=environment())
        writer.join()
        assert done.returncode == DONE, done
        # A server that stops in the middle.
        os.kill(server.pid, 19)
        try:
            for command in (["save", tmp_path / "x"], ["restore", path, "--mode", "replace"]):
                silent = run(*serve, *command, timeout=30)
                assert silent.returncode in (TEMPORARY, UNAVAILABLE), silent
        finally:
            os.kill(server.pid, 18)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"], "a part stays"


def test_a_terminal_is_shown_how_far_it_is(server, client, name, tmp_path):
    for number in range(40):
        client.set(name, f"k{number}", b"v" * 900_000)
    serve = [str(binary()), "--server", f"http://{server.address}", "snapshot"]
    path = str(tmp_path / "file")
    for command in (["save", path, "-n", name], ["restore", path, "--mode", "replace"]):
        shown, terminal = pty.openpty()
        with subprocess.Popen(
            [*serve, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**environment(), "TERM": "xterm"},
        ) as process:
            os.close(terminal)
            said = process.stdout.read()
            assert process.wait(60) == DONE
        text = b""
        while True:
            try:
                piece = os.read(shown, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        os.close(shown)
        assert b"MiB" in text and b"MiB/s" in text, text
        assert b"entries" in said
