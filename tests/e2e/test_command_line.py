"""The command line: what a person or a script types, reads and gets as an exit code."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from harness.calls import Client
from harness.server import Server, binary, environment, run
from harness.wire import pb

DONE, NO, USAGE, DAMAGED, UNAVAILABLE, TEMPORARY, CONFIGURATION = 0, 1, 2, 65, 69, 75, 78


@pytest.fixture(scope="module")
def pykv(server):
    """Runs a command against the shared server."""

    def command(*arguments, expect=DONE, stdin=b""):
        done = run("--server", f"http://{server.address}", *arguments, stdin=stdin)
        assert done.returncode == expect, (arguments, done)
        assert b"panicked" not in done.stderr, done.stderr
        return done

    return command


def test_a_value_goes_in_and_comes_out_byte_for_byte(pykv, client, name, tmp_path):
    pykv("set", "-n", name, "k", "plain text")
    assert pykv("get", "-n", name, "k").stdout == b"plain text"
    raw = bytes(range(256)) * 10
    pykv("set", "-n", name, "k", "-", stdin=raw)
    assert pykv("get", "-n", name, "k").stdout == raw == client.value(name, "k")
    file = tmp_path / "value"
    file.write_bytes(b"\0file\n")
    pykv("set", "-n", name, "k", "--file", file)
    assert pykv("get", "-n", name, "k").stdout == b"\0file\n"
    pykv("set", "-n", name, "empty", "")
    assert pykv("get", "-n", name, "empty").stdout == b""


def test_a_miss_is_exit_1_with_nothing_on_stdout(pykv, name):
    missed = pykv("get", "-n", name, "nothing", expect=NO)
    assert missed.stdout == b""
    pykv("delete", "-n", name, "nothing", expect=NO)


def test_delete_deletes(pykv, name):
    pykv("set", "-n", name, "k", "v")
    pykv("delete", "-n", name, "k")
    pykv("get", "-n", name, "k", expect=NO)


def test_a_ttl_is_written_as_people_write_it(pykv, client, name):
    pykv("set", "-n", name, "k", "v", "--ttl", "5m")
    left = client.get(name, "k").ttl.ToMilliseconds()
    assert 290_000 < left <= 300_000
    pykv("set", "-n", name, "k", "v", "--ttl", "soon", expect=USAGE)


def test_conditions_hold_or_the_exit_is_1(pykv, client, name):
    pykv("set", "-n", name, "k", "1", "--if-present", expect=NO)
    pykv("set", "-n", name, "k", "1", "--if-absent")
    pykv("set", "-n", name, "k", "2", "--if-absent", expect=NO)
    version = client.get(name, "k").version
    pykv("set", "-n", name, "k", "3", "--if-version", version + 1, expect=NO)
    pykv("set", "-n", name, "k", "3", "--if-version", version)
    assert client.value(name, "k") == b"3"


def test_what_is_wrong_is_said_on_stderr_every_violation_of_it(pykv):
    wrong = pykv("set", "-n", ".bad.", "k" * 5000, "v", expect=USAGE)
    said = wrong.stderr.decode()
    assert wrong.stdout == b"" and "namespace" in said and "key" in said, said
    assert "NAMESPACE_INVALID" in said and "Status {" not in said, said


def test_an_error_as_json_is_one_object(pykv):
    wrong = pykv("--output", "json", "set", "-n", ".bad", "k", "v", expect=USAGE)
    error = json.loads(wrong.stderr)["error"]
    assert wrong.stdout == b"" and error["reason"] == "NAMESPACE_INVALID" and error["message"]


def test_namespaces_are_made_shown_and_taken_away(pykv, client, name):
    pykv("namespaces", "create", name, "--max-keys", "2", "--durability", "async")
    request = pb.GetNamespaceRequest(namespace=name)
    policy = client.namespaces.GetNamespace(request).namespace.policy
    assert policy.max_keys.maximum == 2 and policy.durability == pb.DURABILITY_ASYNC
    pykv("namespaces", "create", name, expect=NO)
    assert name.encode() in pykv("namespaces", "list").stdout
    assert name.encode() in pykv("namespaces", "get", name).stdout
    shown = json.loads(pykv("--output", "json", "namespaces", "get", name).stdout)
    assert name in json.dumps(shown)
    pykv("set", "-n", name, "k", "v")
    refused = pykv("namespaces", "delete", name, expect=NO)
    assert b"NAMESPACE_NOT_EMPTY" in refused.stderr
    pykv("namespaces", "clear", name)
    pykv("get", "-n", name, "k", expect=NO)
    pykv("namespaces", "delete", name)
    missing = pykv("namespaces", "get", name, expect=NO)
    assert b"NAMESPACE_NOT_FOUND" in missing.stderr


def test_stats_are_a_table_or_json(pykv, name):
    pykv("set", "-n", name, "k", "v")
    assert name.encode() in pykv("stats").stdout
    assert name in json.dumps(json.loads(pykv("stats", "--json").stdout))


def test_health_says_whether_traffic_may_come(pykv):
    assert pykv("health").returncode == DONE
    away = run("--server", "http://127.0.0.1:1", "health")
    assert away.returncode == UNAVAILABLE, away


def test_a_server_that_is_not_there_is_exit_69_and_named():
    away = run("--server", "http://127.0.0.1:1", "get", "k")
    assert away.returncode == UNAVAILABLE and b"127.0.0.1:1" in away.stderr, away


def test_the_server_can_be_named_by_the_environment(server, client, name):
    client.set(name, "k", b"v")
    done = run("get", "-n", name, "k", env={"PYKV_SERVER": f"http://{server.address}"})
    assert (done.returncode, done.stdout) == (DONE, b"v")


def test_nonsense_is_exit_2_and_help_is_0():
    for arguments in (["nonsense"], ["get"], ["set", "k"], ["get", "--nonsense", "k"]):
        assert run(*arguments).returncode == USAGE, arguments
    for arguments in (["--help"], ["serve", "--help"], ["wal", "--help"], ["--version"]):
        done = run(*arguments)
        assert done.returncode == DONE and done.stdout, arguments


def test_a_reader_that_leaves_is_no_panic(server, client, name):
    client.set(name, "k", b"v" * (1 << 20))
    arguments = ["--server", f"http://{server.address}", "get", "-n", name, "k"]
    process = subprocess.Popen(
        [str(binary()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) != 101 and b"panicked" not in said, said


def test_the_configuration_can_be_printed_and_checked(tmp_path):
    printed = run("config", "print")
    assert printed.returncode == DONE and b"listen" in printed.stdout
    file = tmp_path / "pykv.toml"
    file.write_bytes(printed.stdout)
    assert run("config", "check", "--config", file).returncode == DONE
    again = run("config", "print", "--config", file)
    assert again.stdout == printed.stdout
    overridden = run("config", "print", "--config", file, env={"PYKV_WORKERS": "7"})
    assert re.search(rb"(?m)^workers = 7$", overridden.stdout)
    file.write_text("workers = 0\nnonsense = 1\n")
    refused = run("config", "check", "--config", file)
    assert refused.returncode == CONFIGURATION
    assert b"pykv.toml:1" in refused.stderr and b"pykv.toml:2" in refused.stderr


@pytest.fixture
def log(data_dir):
    """The directory of a server that was killed after some writes."""
    with Server(data_dir) as server, Client(server.address) as client:
        for number in range(10):
            client.set("shop", f"k{number}", b"secret-%d" % number)
        client.delete("shop", "k0")
        server.kill()
    return Path(data_dir)


def test_a_log_can_be_verified_and_dumped_offline(log):
    verified = run("wal", "verify", "--data-dir", log)
    assert verified.returncode == DONE and verified.stdout, verified
    dumped = run("wal", "dump", "--data-dir", log)
    assert dumped.returncode == DONE, dumped.stderr
    lines = [json.loads(line) for line in dumped.stdout.splitlines()]
    assert len(lines) >= 11 and "k9" in dumped.stdout.decode()
    assert b"secret" not in dumped.stdout, "values are shown only when asked for"
    with_values = run("wal", "dump", "--values", "--data-dir", log).stdout
    assert len(with_values) > len(dumped.stdout)


def test_a_log_in_use_is_left_alone_by_the_tools(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        busy = run("wal", "repair", "--data-dir", data_dir, "--truncate", "1:64", "--accept-loss")
        assert busy.returncode in (TEMPORARY, USAGE), busy
        assert client.set("default", "k", b"w").applied


def test_a_damaged_log_is_repaired_by_the_very_command_the_refusal_names(log):
    [segment] = log.glob("*.segment")
    content = segment.read_bytes()
    # In the key of one of the later writes; what is before it must survive.
    damage = content.rindex(b"k7")
    whole = bytearray(content)
    whole[damage] ^= 1
    segment.write_bytes(whole)
    verified = run("wal", "verify", "--data-dir", log)
    assert verified.returncode == DAMAGED and segment.name.encode() in verified.stderr
    refused = run("serve", "--listen", "127.0.0.1:0", "--data-dir", log)
    assert refused.returncode == DAMAGED, refused
    named = re.search(rb"pykv (wal repair [^\n`'\"]+)", refused.stderr)
    assert named, refused.stderr
    arguments = named.group(1).decode().split()
    arguments = [word for word in arguments if word != "--accept-loss"]
    hesitant = run(*arguments)
    assert hesitant.returncode != DONE, "data were given up without --accept-loss"
    assert segment.read_bytes() == bytes(whole)
    repaired = run(*arguments, "--accept-loss")
    assert repaired.returncode == DONE, repaired
    kept = [path for path in log.iterdir() if path.is_file() and path.name != segment.name]
    assert any(bytes(whole) == path.read_bytes() for path in kept), "no copy was kept"
    with Server(log) as server, Client(server.address) as client:
        values = [client.value("shop", f"k{number}") for number in range(10)]
        assert values == [b"secret-%d" % number for number in range(7)] + [None] * 3
