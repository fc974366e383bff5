"""The binary: how it is found, started, watched and ended."""

import http.client
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .wire import ROOT

# From the start of the process to readiness with little data. Generous: machines are shared.
READY_SECONDS_MAX = 30
# A process that was told to end is killed after this long, so that no test hangs.
END_SECONDS_MAX = 40
_LISTENING = re.compile(r"listening.*?(127\.0\.0\.1:\d+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def binary():
    """The binary under test: PYKV_BIN, else the newest build there is."""
    named = os.environ.get("PYKV_BIN")
    candidates = (
        [Path(named)] if named else [ROOT / f"target/{p}/pykv" for p in ("release", "debug")]
    )
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise AssertionError(f"there is no binary at {' or '.join(map(str, candidates))}")


def environment(extra=None):
    """The environment without anything that would configure a server, and then `extra`."""
    original = ("PORT", "LOG_FILE", "STORE_CAPACITY", "MAX_LOG_SIZE")
    original += ("COMPACTION_INTERVAL", "CLEANUP_INTERVAL")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYKV_") and name not in original
    }
    return {**kept, "NO_COLOR": "1", **(extra or {})}


def run(*arguments, env=None, stdin=b"", timeout=60, cwd=None):
    """Runs the binary to its end; returns the completed process, its output as bytes."""
    return subprocess.run(
        [str(binary()), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=environment(env),
        cwd=cwd,
        check=False,
    )


def eventually(what, check, seconds_max=10.0, pause=0.005):
    """The first true answer of `check`; fails when there was none for `seconds_max`."""
    end = time.monotonic() + seconds_max
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds_max} s: {what}"
        time.sleep(pause)


def cycles(name, usual):
    """How often to repeat: `usual`, or what the variable of that name says for a longer run."""
    return int(os.environ.get(name, usual))


class Server:
    """A running `pykv serve` on a free port of loopback, on `data_dir`."""

    def __init__(self, data_dir, *flags, env=None, wait=True):
        self.data_dir = Path(data_dir)
        self._log = tempfile.NamedTemporaryFile(prefix="e2e-server-", suffix=".log")
        arguments = [str(binary()), "serve", "--listen", "127.0.0.1:0"]
        arguments += ["--data-dir", str(data_dir), *map(str, flags)]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment(env),
        )
        self._address = None
        if wait:
            self.wait_ready()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.kill()
        if kind is not None:
            print(f"--- log of the server, pid {self.process.pid} ---\n{self.log()[-6000:]}")
        self._log.close()

    @property
    def pid(self):
        """The id of the process."""
        return self.process.pid

    def log(self):
        """What it has logged so far, without colours."""
        text = Path(self._log.name).read_text(encoding="utf-8", errors="replace")
        return _COLOURS.sub("", text)

    @property
    def address(self):
        """`host:port`, once it listens."""
        if self._address is None:
            self._address = eventually(
                "the server listens", self._listening, READY_SECONDS_MAX, 0.002
            )
        return self._address

    def _listening(self):
        found = _LISTENING.search(self.log())
        if found is None and self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        return found and found.group(1)

    def http(self, path, method="GET", timeout=5):
        """Status, headers and body of a plain HTTP request."""
        connection = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def is_ready(self):
        """Whether traffic may come."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        try:
            return self.http("/readyz")[0] == 200
        except OSError:
            return False

    def wait_ready(self, seconds_max=READY_SECONDS_MAX):
        """Returns when it is ready."""
        eventually("the server is ready", self.is_ready, seconds_max)
        return self

    def kill(self):
        """As a power cut would: no goodbye. Harmless when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait()

    def terminate(self):
        """Asks it to end; returns the exit code and how many seconds that took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(), time.monotonic() - begun

    def wait_end(self, seconds_max=END_SECONDS_MAX):
        """The exit code, once it has ended by itself."""
        try:
            return self.process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end in {seconds_max} s") from None

    def rss_bytes(self):
        """What it has in memory now."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def anonymous_bytes(self):
        """What of that is its own, and no file of which others have a part."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
        assert lines, "it has ended"
        return int(lines[0].split()[1]) * 1024

    def descriptors(self):
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
