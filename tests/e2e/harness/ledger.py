"""What a store must hold, kept outside of it: acknowledged, possible, observed.

A key belongs to one writer, which has at most one call under way. Its cell therefore knows one
acknowledged state and at most one state that may or may not have come about. After a crash the
store must show one of the two; whatever it shows is then what it must keep.
"""

import threading
from dataclasses import dataclass, field

# A state that no value equals: nothing is under way.
_NOTHING = object()


@dataclass
class Cell:
    """One key: `value` none means that there is no entry."""

    value: bytes | None = None
    version: int = 0
    possible: object = _NOTHING

    def complaint(self, entry):
        """Why `entry`, or none, cannot be what the store holds; none if it can."""
        found = None if entry is None else entry.value
        if found == self.value:
            if entry is not None and self.possible is _NOTHING and entry.version != self.version:
                return f"has version {entry.version} instead of {self.version}"
            return None
        if self.possible is not _NOTHING and found == self.possible:
            return None
        told = [_shown(self.value)]
        told += [] if self.possible is _NOTHING else [f"perhaps {_shown(self.possible)}"]
        return f"holds {_shown(found)} instead of {' or '.join(told)}"

    def settle(self, entry):
        """Takes what the store shows as what it must keep."""
        self.value = None if entry is None else entry.value
        self.version = 0 if entry is None else entry.version
        self.possible = _NOTHING


def _shown(value):
    return "nothing" if value is None else repr(value[:24])


@dataclass
class Space:
    """One namespace."""

    name: str
    survives: bool
    cells: dict[str, Cell] = field(default_factory=dict)
    # The highest version that anybody was told.
    version: int = 0


class Ledger:
    """All namespaces. Writers report here; `cut` ends what counts as acknowledged."""

    def __init__(self):
        self.spaces: dict[str, Space] = {}
        self.acknowledged = 0
        self._lock = threading.Lock()
        # Whether it is too late for an acknowledgement; writers then end.
        self.is_cut = False

    def space(self, name, survives=True):
        """The namespace, made if need be; `survives` says whether a crash may not empty it."""
        return self.spaces.setdefault(name, Space(name, survives))

    def begin(self, cells, values):
        """The writer of `cells` is about to ask for `values`."""
        for cell, value in zip(cells, values, strict=True):
            cell.possible = value

    def acknowledge(self, space, cells, versions):
        """The answer is there; after `cut` it is as if it had not come."""
        with self._lock:
            if self.is_cut:
                return
            for cell, version in zip(cells, versions, strict=True):
                cell.value, cell.possible = cell.possible, _NOTHING
                cell.version = version if cell.value is not None else 0
                space.version = max(space.version, version)
            self.acknowledged += 1

    def abandon(self, cells):
        """The server said that it did nothing."""
        with self._lock:
            if not self.is_cut:
                for cell in cells:
                    cell.possible = _NOTHING

    def cut(self):
        """From now on nothing is acknowledged any more."""
        with self._lock:
            self.is_cut = True

    def resume(self):
        """Acknowledgements count again."""
        self.is_cut = False

    def complaints(self, client):
        """Everything the store shows that it may not show; settles what it may."""
        found = []
        for space in self.spaces.values():
            keys = list(space.cells)
            entries = client.values(space.name, keys) if keys else []
            for key, entry in zip(keys, entries, strict=True):
                cell = space.cells[key]
                if space.survives:
                    complaint = cell.complaint(entry)
                else:
                    complaint = None if entry is None else "is back in a namespace of memory"
                if complaint:
                    found.append(f"{space.name}/{key} {complaint}")
                cell.settle(entry)
        return found
