"""What a server refuses to start on: it says why and what to do, and changes nothing."""

import hashlib
import re
import struct
from pathlib import Path

import pytest
from harness.archive import crc32c
from harness.calls import Client
from harness.disks import tmpfs
from harness.server import Server, run
from harness.wire import pb

LOCKED, DAMAGED, CANNOT_CREATE, CONFIGURATION = 75, 65, 73, 78
# Small segments, so that a little data is a log of many files.
SMALL = {"PYKV_WAL_SEGMENT_BYTES": "1MiB", "PYKV_WAL_MIN_FREE_BYTES": "0"}
HEADER_BYTES = 64


def contents(data_dir):
    """A hash for every file."""
    files = sorted(path for path in Path(data_dir).rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def segments(data_dir):
    """The files of the log, oldest first."""
    return sorted(Path(data_dir).glob("*.segment"))


def used_bytes(path):
    """How far a file is written; what follows is reserved space."""
    return len(path.read_bytes().rstrip(b"\0"))


def flip(path, offset):
    """Changes one bit."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def start(data_dir, *flags, env=None):
    """A start that is expected to fail."""
    refusal = run("serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir, *flags, env=env)
    assert b"panicked" not in refusal.stderr and b"RUST_BACKTRACE" not in refusal.stderr
    return refusal.returncode, refusal.stderr.decode()


def refuses(data_dir, code, *words):
    """Checks that a start is refused with `code` and those words, and changes nothing."""
    before = contents(data_dir)
    found, said = start(data_dir, env=SMALL)
    assert found == code, (found, said)
    for word in words:
        assert word.lower() in said.lower(), (word, said)
    assert contents(data_dir) == before, "a refusal changed the directory"
    return said


@pytest.fixture
def filled(data_dir):
    """A directory of a server that ended well: a snapshot and a few segments after it."""
    with Server(data_dir, env=SMALL) as server, Client(server.address) as client:
        for number in range(20):
            client.set("default", f"old{number}", b"v" * 100_000)
        client.admin.Compact(pb.CompactRequest(wait=True), timeout=30)
        for number in range(30):
            client.set("default", f"new{number}", b"v" * 100_000)
        assert server.terminate()[0] == 0
    assert len(segments(data_dir)) >= 2 and list(Path(data_dir).glob("*.snapshot"))
    return Path(data_dir)


def everything_is_there(data_dir):
    """The entries of `filled`."""
    with Server(data_dir, env=SMALL) as server, Client(server.address) as client:
        keys = [f"old{n}" for n in range(20)] + [f"new{n}" for n in range(30)]
        for key in keys:
            assert client.get("default", key).size_bytes == 100_000, key
        assert server.terminate()[0] == 0


@pytest.mark.parametrize("where", ["header", "first", "middle", "last"])
@pytest.mark.parametrize("which", [0, -1], ids=["closed", "open"])
def test_a_damaged_segment_is_refused_by_file_and_offset(filled, which, where):
    segment = segments(filled)[which]
    used = used_bytes(segment)
    offset = {
        "header": 20,
        "first": HEADER_BYTES + 5,
        "middle": used // 2,
        "last": used - 9,
    }[where]
    flip(segment, offset)
    said = refuses(filled, DAMAGED, segment.name, "offset", "pykv wal")
    told = [int(number) for number in re.findall(r"offset (\d+)", said)]
    assert told and any(number <= offset for number in told), said
    flip(segment, offset)
    everything_is_there(filled)


@pytest.mark.parametrize("pattern", ["MANIFEST", "*.snapshot"])
def test_a_damaged_manifest_or_snapshot_is_refused(filled, pattern):
    [path] = filled.glob(pattern)
    flip(path, used_bytes(path) // 2)
    refuses(filled, DAMAGED, path.name)
    flip(path, used_bytes(path) // 2)
    everything_is_there(filled)


def test_a_log_cut_short_is_refused(filled):
    segment = segments(filled)[-1]
    whole = segment.read_bytes()
    segment.write_bytes(whole[: used_bytes(segment) // 2])
    refuses(filled, DAMAGED, segment.name)
    segment.write_bytes(whole)
    everything_is_there(filled)


@pytest.mark.parametrize("pattern", ["*.segment", "*.snapshot", "MANIFEST"])
def test_a_missing_file_is_refused(filled, pattern):
    path = sorted(filled.glob(pattern))[0]
    away = filled.parent / "away"
    path.rename(away)
    refuses(filled, DAMAGED, path.name)
    away.rename(path)
    everything_is_there(filled)


def test_swapped_segments_are_refused(filled):
    one, two = segments(filled)[:2]
    away = filled.parent / "away"
    for source, target in ((one, away), (two, one), (away, two)):
        source.rename(target)
    refuses(filled, DAMAGED)
    for source, target in ((one, away), (two, one), (away, two)):
        source.rename(target)
    everything_is_there(filled)


def test_a_log_of_a_newer_format_is_refused(filled):
    segment = segments(filled)[0]
    with open(segment, "r+b") as file:
        header = bytearray(file.read(HEADER_BYTES))
        [format_now] = struct.unpack_from("<I", header, 8)
        [checksum] = struct.unpack_from("<I", header, 60)
        assert checksum == crc32c(header[:60]), "this test no longer knows the header"
        struct.pack_into("<I", header, 8, format_now + 1)
        struct.pack_into("<I", header, 60, crc32c(header[:60]))
        file.seek(0)
        file.write(header)
    refuses(filled, DAMAGED, segment.name, f"format {format_now + 1}")


def test_a_torn_end_that_nobody_was_promised_is_cut_off_and_kept_aside(data_dir):
    env = {**SMALL, "PYKV_FLUSH_INTERVAL": "60s"}
    with Server(data_dir, env=env) as server, Client(server.address) as client:
        client.create("async", durability=pb.DURABILITY_ASYNC)
        for number in range(100):
            client.set("async", f"k{number}", b"v" * 50)
        server.kill()
    segment = segments(data_dir)[-1]
    used = used_bytes(segment)
    torn = segment.read_bytes()[used - 40 : used]
    flip(segment, used - 20)
    before = contents(data_dir)
    with Server(data_dir, env=env) as server, Client(server.address) as client:
        keys = [f"k{number}" for number in range(100)]
        found = [entry is not None for entry in client.values("async", keys)]
        assert found == [True] * 99 + [False]
        assert "WARN" in server.log() and "torn" in server.log().lower()
        client.set("async", "k99", b"again")
        server.kill()
    aside = [path for path in Path(data_dir).iterdir() if path.name not in before]
    assert any(torn[:15] in path.read_bytes() for path in aside), "the cut bytes are gone"
    with Server(data_dir, env=env) as server, Client(server.address) as client:
        assert client.value("async", "k99") == b"again"


def test_a_directory_in_use_is_refused_and_its_owner_is_not_disturbed(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        code, said = start(data_dir)
        assert code == LOCKED and str(data_dir) in said, said
        assert client.set("default", "k", b"w").applied
        server.kill()
    with Server(data_dir) as server, Client(server.address) as client:
        assert client.value("default", "k") == b"w", "the lock of a dead process held"


def test_a_directory_that_cannot_be_made_or_written_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a directory")
    code, said = start(file / "data")
    assert code == CANNOT_CREATE and str(file) in said, (code, said)
    with tmpfs(4, options=",ro") as home:
        for path in (home, home / "data"):
            code, said = start(path)
            assert code == CANNOT_CREATE and str(home) in said, (code, said)


def test_a_foreign_file_in_the_directory_is_left_alone(filled):
    notes = filled / "notes.txt"
    notes.write_text("mine")
    (filled / "99999999.segment.bak").write_text("mine too")
    everything_is_there(filled)
    assert notes.read_text() == "mine" and (filled / "99999999.segment.bak").exists()


def test_every_complaint_about_the_configuration_is_told_at_once_with_its_place(tmp_path):
    config = tmp_path / "pykv.toml"
    config.write_text(
        'listen = "nowhere"\nworkers = 0\nlog_fromat = "json"\n'
        '[default_policy]\nmax_keys = -1\ndurability = "maybe"\n'
    )
    env = {"PYKV_FLUSH_INTERVAL": "an hour", "PYKV_MAX_NAMESPACE": "5"}
    flags = ["--config", config]
    code, said = start(tmp_path / "data", *flags, env=env)
    assert code == CONFIGURATION, (code, said)
    places = ["pykv.toml:2", "pykv.toml:3", "pykv.toml:5", "pykv.toml:6"]
    words = [*places, "log_format", "PYKV_FLUSH_INTERVAL", "PYKV_MAX_NAMESPACE", "max_keys"]
    missing = [word for word in words if word not in said]
    assert not missing, (missing, said)
    assert not (tmp_path / "data").exists(), "it began in spite of its complaints"


def test_a_configuration_file_that_is_not_there_or_is_no_toml_is_named(tmp_path):
    code, said = start(tmp_path / "data", "--config", tmp_path / "missing.toml")
    assert code == CONFIGURATION and "missing.toml" in said, (code, said)
    broken = tmp_path / "broken.toml"
    broken.write_text("listen = \n")
    code, said = start(tmp_path / "data", "--config", broken)
    assert code == CONFIGURATION and "broken.toml:1" in said, (code, said)


def test_an_address_in_use_is_refused_and_the_directory_given_back(tmp_path):
    with Server(tmp_path / "first") as first:
        arguments = ("serve", "--listen", first.address, "--data-dir", tmp_path / "second")
        refused = run(*arguments)
        assert refused.returncode == 69, refused
        assert first.address.encode() in refused.stderr
        assert first.http("/readyz")[0] == 200
    with Server(tmp_path / "second"):
        pass
