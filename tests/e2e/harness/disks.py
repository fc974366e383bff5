"""File systems that fill up and lose power, and processes whose syncs fail."""

import contextlib
import fcntl
import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

# The file system goes down at once; what its journal had not flushed is lost, as in a power cut.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


def needs(*programs):
    """Fails, saying what is missing, where a machine cannot do what a test needs."""
    missing = [program for program in programs if shutil.which(program) is None]
    assert not missing, f"missing here: {', '.join(missing)} (tests/run installs them)"
    assert os.geteuid() == 0, "missing here: the right to mount; run the tests as root"


def _run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"missing here: {' '.join(map(str, arguments))}: {done.stderr}"


class Image:
    """An ext4 of its own in a file, to be mounted, filled and cut off."""

    def __init__(self, home, mebibytes):
        needs("mkfs.ext4", "mount", "umount")
        self.file, self.mount_point = Path(home) / "image", Path(home) / "mount"
        self.mount_point.mkdir()
        with open(self.file, "wb") as image:
            image.truncate(mebibytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0", str(self.file))

    def mount(self):
        """Mounts it; the journal is replayed if it was cut off."""
        _run("mount", "-o", "loop", str(self.file), str(self.mount_point))
        return self.mount_point

    def unmount(self):
        """Takes it away; whoever used it must have ended."""
        _run("umount", str(self.mount_point))

    def cut(self):
        """The power fails."""
        directory = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(directory)


@contextlib.contextmanager
def image(mebibytes):
    """An image that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="e2e-image-") as home:
        made = Image(home, mebibytes)
        try:
            yield made
        finally:
            if os.path.ismount(made.mount_point):
                made.unmount()


@contextlib.contextmanager
def tmpfs(mebibytes, options=""):
    """A file system in memory of that size; yields where it is."""
    needs("mount", "umount")
    with tempfile.TemporaryDirectory(prefix="e2e-tmpfs-") as home:
        option = f"size={mebibytes}m{options}"
        _run("mount", "-t", "tmpfs", "-o", option, "tmpfs", home)
        try:
            yield Path(home)
        finally:
            _run("umount", home)


def free_bytes(path):
    """What can still be written there."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def fill(path, leave_bytes):
    """Writes a file `filler` that leaves about that much; returns it."""
    filler = Path(path) / "filler"
    with open(filler, "ab") as file:
        while (left := free_bytes(path) - leave_bytes) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, 2), min(left, 64 << 20))
                file.seek(0, 2)
            except OSError:
                break
    return filler


# Any of these may be what a sync is made of.
SYNCS = "fdatasync,fsync,sync_file_range,msync"
_FAULT = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\d+\.\d+) .*\((?:INJECTED|DELAYED)\)", re.MULTILINE)


class FaultySyncs:
    """strace on a process: while inside, every sync of it gets `fault`, as strace spells it."""

    def __init__(self, pid, fault):
        needs("strace")
        self._trace = tempfile.NamedTemporaryFile(prefix="e2e-strace-")
        arguments = ["strace", "-f", "-ttt", "-p", str(pid), "-o", self._trace.name]
        arguments += ["-e", f"trace={SYNCS}", "-e", f"inject={SYNCS}:{fault}:when=1+"]
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()
        self._trace.close()

    def first(self):
        """When the first sync was begun that got the fault, by the wall clock; none if none did."""
        said = self.process.poll() is not None and self.process.stderr.read()
        found = _FAULT.search(Path(self._trace.name).read_text(encoding="utf-8"))
        assert found or not said, f"missing here: the right to trace a process: {said}"
        return float(found.group(1)) if found else None
