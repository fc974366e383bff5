"""Snapshots through the API, and what a server may still have of them."""

import os
from pathlib import Path

from .wire import pb

CALL_SECONDS_MAX = 60


def export(client, *names, **options):
    """The file of these namespaces, or of all, and its summary."""
    request = pb.ExportSnapshotRequest(namespaces=names)
    chunks, summary = [], None
    for message in client.admin.ExportSnapshot(request, timeout=CALL_SECONDS_MAX, **options):
        assert summary is None, "something follows the summary"
        assert len(message.chunk) <= 1 << 20
        chunks.append(message.chunk)
        summary = message.summary if message.HasField("summary") else None
    data = b"".join(chunks)
    assert summary is not None and summary.size_bytes == len(data)
    return data, summary


def upload(data, mode=pb.RESTORE_MODE_OVERWRITE, chunk=100_000, **options):
    """The messages of a restore."""
    options = pb.RestoreSnapshotOptions(mode=mode, **options)
    yield pb.RestoreSnapshotRequest(options=options)
    for start in range(0, len(data), chunk):
        yield pb.RestoreSnapshotRequest(chunk=data[start : start + chunk])


def restore(client, data, mode=pb.RESTORE_MODE_OVERWRITE, timeout=CALL_SECONDS_MAX, **options):
    """Puts a file back; returns the response."""
    return client.admin.RestoreSnapshot(upload(data, mode, **options), timeout=timeout)


def counts(response):
    """Restored, skipped, expired."""
    return response.restored_count, response.skipped_count, response.expired_count


def leftovers(server):
    """Threads and files of snapshots that a server still has; none of them should outlive a call."""
    found = []
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().strip()
        except OSError:
            continue
        if name.startswith("pykv-snapshot"):
            found.append(f"thread {name}")
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if ".spool" in target:
            found.append(target)
    found += [path.name for path in Path(server.data_dir).rglob("*.spool")]
    return found


def state(client):
    """All that a mere look must leave as it is: definitions, usage, versions, counters."""
    namespaces = client.namespaces.ListNamespaces(pb.ListNamespacesRequest(page_size=1000))
    stats = client.admin.GetStats(pb.GetStatsRequest(include_namespaces=True)).stats
    return list(namespaces.namespaces), list(stats.namespaces)
