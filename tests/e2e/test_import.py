"""`pykv import --pykv-log`: what an original log comes to, line by line."""

import json
import time

import pytest
from harness.calls import Client
from harness.server import Server, run
from harness.wire import at_most, pb

DONE, NO, USAGE, DAMAGED, UNAVAILABLE, IO = 0, 1, 2, 65, 69, 74


def line(action="SET", key="k", value="v", ttl=None, namespace=None, timestamp=None):
    """A line as the original writes it."""
    value = value if action == "SET" else None
    timestamp = time.time() if timestamp is None else timestamp
    record = {
        "timestamp": timestamp,
        "action": action,
        "key": key,
        "value": value,
        "ttl": ttl,
        "namespace": namespace,
    }
    return json.dumps(record).encode() + b"\n"


@pytest.fixture
def imported(server, tmp_path):
    """Imports these lines; returns the completed process."""

    def command(*lines, flags=(), expect=DONE, name="wal.log"):
        log = tmp_path / name
        log.write_bytes(b"".join(lines))
        server_flags = ["--server", f"http://{server.address}"]
        done = run(*server_flags, "import", "--pykv-log", log, *flags)
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        assert b"panicked" not in done.stderr
        return done

    return command


def report(done):
    """The lines of a report as JSON, without and with the summary."""
    *told, last = [json.loads(text) for text in done.stdout.splitlines()]
    return told, {name: value for name, value in last["summary"].items() if name != "dryRun"}


def test_the_state_a_log_comes_to_is_there(imported, client, name):
    done = imported(
        line(key="a", value="old", namespace=name),
        line(key="b", value="значение \U0001f600", namespace=name),
        line(key="a", value="new", namespace=name),
        line(key="gone", namespace=name),
        line("DEL", key="gone", namespace=name),
        line(key="with/slash", value="", namespace=name),
        line(key=f"{name}-plain", value="1"),
        line(key="b", value="2", namespace=f"{name}:inner"),
    )
    assert b"written   5" in done.stdout and done.stderr == b""
    assert client.value(name, "a") == b"new"
    assert client.value(name, "b").decode() == "значение \U0001f600"
    assert client.get(name, "gone") is None
    assert client.value(name, "with/slash") == b""
    assert client.value("default", f"{name}-plain") == b"1"
    assert client.value(f"{name}:inner", "b") == b"2"


def test_times_to_live_stay_what_they_were(imported, client, name):
    now = time.time()
    done = imported(
        line(key="hour", ttl=3600, namespace=name, timestamp=now - 600),
        line(key="expired", ttl=10, namespace=name, timestamp=now - 11),
        line(key="never", namespace=name),
        line(key="zero", ttl=0, namespace=name, timestamp=now - 1000),
        line(key="negative", ttl=-5, namespace=name),
        line(key="replaced", value="old", namespace=name, timestamp=now - 100),
        line(key="replaced", value="new", ttl=1, namespace=name, timestamp=now - 50),
        line(key="far", ttl=10**13, namespace=name),
        flags=["--json"],
    )
    told, summary = report(done)
    assert told == [] and summary == {
        "lines": "8",
        "unusable": "0",
        "expired": "3",
        "written": "4",
        "refused": "0",
    }
    entry = client.get(name, "hour")
    assert abs(entry.expire_time.ToMilliseconds() - (now + 3000) * 1000) < 2
    for key in ("never", "zero", "far"):
        assert not client.get(name, key).HasField("expire_time"), key
    for key in ("expired", "negative", "replaced"):
        assert client.get(name, key) is None, key


def test_what_has_expired_in_the_log_takes_nothing_away(imported, client, name):
    client.set(name, "k", b"live")
    imported(line(ttl=1, namespace=name, timestamp=time.time() - 10))
    assert client.value(name, "k") == b"live"


def test_known_defects_of_the_original_come_to_what_users_were_told(imported, client, name):
    space = f"{name}:prod"
    glued = line(key="torn", namespace=name)[:-20] + line(key="glued", namespace=name)
    done = imported(
        line(key="k", value="1", namespace=space),
        # What a clear of a namespace with a colon logs.
        line("DEL", key="prod:k", namespace=space),
        # The same place by another spelling.
        line(key="x:y", namespace=name),
        line("DEL", key="y", namespace=f"{name}:x"),
        glued,
        expect=DAMAGED,
        flags=["--json"],
    )
    told, summary = report(done)
    assert [problem["problem"]["line"] for problem in told] == ["5"]
    assert summary["written"] == "1"
    assert client.value(name, "glued") == b"v"
    assert client.get(name, "x:y") is None and client.get(space, "k") is None


def test_lines_that_cannot_be_used_are_told_by_number_and_stop_nothing(imported, client, name):
    lines = [
        line(key="first", namespace=name),
        b"\n",
        b"not json\n",
        b'{"timestamp": 1, "action": "SET", "key": "\xff"}\n',
        b"[1, 2]\n",
        b"null\n",
        line("FLUSH", namespace=name),
        line(key="", namespace=name),
        line(key="k" * 4097, namespace=name),
        line(namespace="not a name"),
        line(key="huge", value="v" * (3 * 1024 * 1024 + 1), namespace=name),
        line(key="ttl", ttl="soon", namespace=name),
        line(key="late", ttl=5, timestamp="now", namespace=name),
        json.dumps({"action": "SET", "key": "k"}).encode() + b"\n",
        line(key="last", namespace=name),
        line(key="torn", namespace=name)[:-30],
    ]
    done = imported(*lines, expect=DAMAGED, flags=["--json"])
    told, summary = report(done)
    numbers = [int(problem["problem"]["line"]) for problem in told]
    assert numbers == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16]
    assert all(problem["problem"]["text"] for problem in told)
    assert (summary["lines"], summary["unusable"], summary["written"]) == ("16", "14", "2")
    assert client.value(name, "first") == client.value(name, "last") == b"v"
    done = imported(*lines, expect=DAMAGED)
    text = done.stdout.decode()
    assert "line 16: it is cut short" in text and "line 3: it is not JSON" in text
    assert b"14 lines could not be used" in done.stderr
    many = imported(*[b"x\n"] * 1000, expect=DAMAGED).stdout.decode()
    assert "line 20:" in many and "line 21:" not in many and "and 980 more" in many


def test_a_refusal_of_the_server_is_told_for_each_entry(imported, client, name):
    client.create(name, max_keys=at_most(2), eviction_policy=pb.EVICTION_POLICY_NONE)
    client.create(f"{name}-small", max_value_bytes=10)
    lines = [line(key=f"k{number}", namespace=name) for number in range(5)]
    lines.append(line(key="k", value="v" * 11, namespace=f"{name}-small"))
    done = imported(*lines, expect=NO, flags=["--json"])
    told, summary = report(done)
    refusals = {(r["refusal"]["line"], r["refusal"]["reason"]) for r in told}
    quota = "NAMESPACE_QUOTA_EXCEEDED"
    assert refusals == {("3", quota), ("4", quota), ("5", quota), ("6", "VALUE_TOO_LARGE")}
    assert (summary["written"], summary["refused"]) == ("2", "4")


def test_names_can_be_moved_and_a_dry_run_writes_nothing(imported, client, name):
    lines = [line(key="a"), line(key="b", namespace="app")]
    flags = ["-n", name, "--namespace-prefix", f"{name}."]
    dry = imported(*lines, flags=[*flags, "--dry-run"])
    assert b"would be written  2" in dry.stdout
    assert client.get(name, "a") is None and client.get(f"{name}.app", "b") is None
    imported(*lines, flags=flags, name="wal.log.backup.1700000000")
    assert client.value(name, "a") == b"v" and client.value(f"{name}.app", "b") == b"v"
    clash = imported(line(key="c"), line(key="c", value="w", namespace=name), flags=["-n", name], expect=DAMAGED)
    assert b"line 1: line 2 has written" in clash.stdout
    assert client.value(name, "c") == b"w"


def test_a_dry_run_needs_no_server_and_an_import_does(tmp_path):
    log = tmp_path / "wal.log"
    log.write_bytes(line(ttl=1, timestamp=1) + line(key="x"))
    away = ["--server", "http://127.0.0.1:1", "import", "--pykv-log"]
    dry = run(*away, log, "--dry-run")
    assert dry.returncode == DONE and b"not known without a server" in dry.stdout
    assert run(*away, log).returncode == UNAVAILABLE
    assert run(*away, tmp_path / "none").returncode == IO
    assert run("import").returncode == USAGE
    piped = run(*away, "-", "--dry-run", "--json", stdin=line() + b"junk\n")
    assert piped.returncode == DAMAGED
    assert json.loads(piped.stdout.splitlines()[-1])["summary"]["written"] == "1"


def test_a_large_log_goes_in_quickly_and_a_rate_is_kept(data_dir, tmp_path):
    log = tmp_path / "wal.log"
    with open(log, "wb") as file:
        for number in range(60_000):
            file.write(line(key=f"k{number % 40_000}", value=f"value {number}", timestamp=1.5))
    with Server(data_dir) as server, Client(server.address) as client:
        client.create("slow", max_operations_per_second=at_most(2000))
        serve = ["--server", f"http://{server.address}", "import", "--pykv-log", log]
        begun = time.monotonic()
        assert run(*serve).returncode == DONE
        print(f"60,000 lines, 40,000 entries in {time.monotonic() - begun:.2f} s")
        request = pb.GetNamespaceRequest(namespace="default")
        assert client.namespaces.GetNamespace(request).namespace.usage.key_count == 40_000
        assert client.value("default", "k0") == b"value 40000"
        few = tmp_path / "few.log"
        few.write_bytes(b"".join(line(key=f"k{number}") for number in range(5000)))
        done = run(*serve[:-1], few, "-n", "slow", "--json")
        assert done.returncode == DONE, done
        assert json.loads(done.stdout)["summary"]["written"] == "5000"
