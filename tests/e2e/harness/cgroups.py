"""Little memory: a group of processes that may have only so much and is killed for more."""

import contextlib
import itertools
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

_MOUNTED = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Group:
    """A memory cgroup of either version."""

    path: Path
    version: int

    def launcher(self, program, directory):
        """A program that joins the group and then is `program`."""
        script = Path(directory) / f"in-{self.path.name}"
        script.write_text(
            f'#!/bin/sh\necho $$ >"{self.path}/cgroup.procs" && exec "{program}" "$@"\n',
            encoding="utf-8",
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return script

    def kills(self):
        """How many processes were killed for want of memory."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        lines = (self.path / name).read_text(encoding="ascii").splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def used_bytes(self):
        """What it holds now, files that could be dropped included."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return int((self.path / name).read_text(encoding="ascii"))


@contextlib.contextmanager
def memory_group(limit_bytes):
    """A group that may use so much; whoever joined it must have ended inside."""
    parent, version = _parent()
    group = Group(parent / f"pykv-e2e-{os.getpid()}-{next(_numbers)}", version)
    try:
        group.path.mkdir()
    except OSError as error:
        raise AssertionError(f"missing here: the right to make a memory cgroup: {error}") from error
    try:
        names = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.swap.max")}[version]
        missing = f"missing here: {names[0]} in {group.path}"
        assert (group.path / names[0]).exists(), missing
        for name, limit in zip(names, (limit_bytes, 0), strict=False):
            if (group.path / name).exists():
                (group.path / name).write_text(str(limit), encoding="ascii")
        yield group
    finally:
        _remove(group.path)


def _remove(path):
    # The kernel is a moment behind a process that has ended.
    for _ in range(100):
        try:
            return path.rmdir()
        except OSError:
            time.sleep(0.05)
    return path.rmdir()


def _parent():
    """The group below which to make one: our own or, in version 2, where memory is dealt out."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            own = _MOUNTED / "memory" / path.lstrip("/")
            # In a container the mount often begins at the own group.
            return (own if own.is_dir() else _MOUNTED / "memory"), 1
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, _, path = line.split(":", 2)
        own = _MOUNTED / path.lstrip("/")
        for group in (own, *own.parents):
            control = group / "cgroup.subtree_control"
            # A group that has processes of its own deals out nothing; then one around it does.
            if control.is_file() and "memory" in control.read_text(encoding="ascii").split():
                return group, 2
    raise AssertionError("missing here: a memory cgroup below which to make another")
