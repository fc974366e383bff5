"""One call for each bound: what is tried with a value that is within or beyond it.

Each takes a client, a namespace of its own and the value, or makes such a function.
"""

from .calls import CALL_SECONDS_MAX
from .snapshots import export, restore
from .wire import millis, pb

MEBIBYTE = 1 << 20
INT64_MAX = (1 << 63) - 1


def key_of(size):
    """A key with that many bytes."""
    return "k" * size


def value(client, name, size):
    """A value of so many bytes."""
    client.set(name, "k", b"v" * size)


def value_where_policy_allows(allowed):
    """A value of so many bytes, in a namespace with that limit."""

    def attempt(client, name, size):
        name = f"{name}.{allowed}"
        policy = pb.NamespacePolicy(max_value_bytes=allowed)
        namespace = pb.Namespace(name=name, policy=policy)
        request = pb.UpdateNamespaceRequest(namespace=namespace, allow_missing=True)
        client.namespaces.UpdateNamespace(request, timeout=CALL_SECONDS_MAX)
        client.set(name, "k", b"v" * size)

    return attempt


def batch(client, name, count):
    """A batch of so many operations."""
    steps = [pb.WriteOperation(set=pb.SetRequest(key=f"k{n}", value=b"v")) for n in range(count)]
    client.batch(name, steps)


def batch_get(client, name, count):
    """A batch of so many keys."""
    request = pb.BatchGetRequest(namespace=name, keys=["k"] * count)
    client.kv.BatchGet(request, timeout=CALL_SECONDS_MAX)


def batch_bytes(client, name, size):
    """A batch of so many bytes in all."""
    # Five keys of one byte, and values that share what is left.
    each, rest = divmod(size - 5, 5)
    sizes = [each] * 4 + [each + rest]
    sets = [pb.SetRequest(key=f"{number}", value=bytes(size)) for number, size in enumerate(sizes)]
    answer = client.batch(name, [pb.WriteOperation(set=each) for each in sets])
    assert all(result.WhichOneof("result") == "set" for result in answer.results)


def answer_bytes(client, name, size):
    """An answer with so many bytes of values."""
    # Three values that never change and one that makes the difference.
    for number, each in enumerate((MEBIBYTE, MEBIBYTE, MEBIBYTE, size - 3 * MEBIBYTE)):
        client.set(name, f"k{number}", b"v" * each)
    keys = [f"k{number}" for number in range(4)]
    request = pb.BatchGetRequest(namespace=name, keys=keys, view=pb.ENTRY_VIEW_VALUE)
    answer = client.kv.BatchGet(request, timeout=CALL_SECONDS_MAX)
    assert sum(len(result.entry.value) for result in answer.results) == size


def lifetime(client, name, duration):
    """A time to live."""
    client.set(name, "k", b"v", expiration=pb.Expiration(ttl=duration))


def moment(client, name, at):
    """A moment to expire at."""
    client.set(name, "k", b"v", expiration=pb.Expiration(expire_time=at))


def namespace_name(client, _, name):
    """The name of a namespace."""
    client.set(name, "k", b"v")


def if_version(client, name, version):
    """A condition on a version."""
    client.set(name, "k", b"v", condition=pb.Condition(if_version=version))


def counter(client, name, delta):
    """An addition to a counter near its end."""
    client.set(name, "c", str(INT64_MAX - 10).encode())
    client.increment(name, "c", delta=delta)


def counter_down(client, name, delta):
    """An addition to a counter near its other end."""
    client.set(name, "c", str(10 - INT64_MAX - 1).encode())
    client.increment(name, "c", delta=delta)


def listed(client, name, size):
    """A page of entries."""
    request = pb.ListEntriesRequest(namespace=name, page_size=size)
    client.set(name, "k", b"v")
    client.kv.ListEntries(request, timeout=CALL_SECONDS_MAX)


def list_prefix(client, name, prefix):
    """A prefix to list."""
    client.set(name, "k", b"v")
    request = pb.ListEntriesRequest(namespace=name, prefix=prefix)
    client.kv.ListEntries(request, timeout=CALL_SECONDS_MAX)


def delete_prefix(client, name, prefix):
    """A prefix to delete."""
    client.set(name, "k", b"v")
    request = pb.DeletePrefixRequest(namespace=name, prefix=prefix)
    client.kv.DeletePrefix(request, timeout=CALL_SECONDS_MAX)


def scanned(client, name, limit):
    """A scan of so many entries."""
    client.set(name, "k", b"v")
    request = pb.ScanEntriesRequest(namespace=name, limit=limit)
    list(client.kv.ScanEntries(request, timeout=CALL_SECONDS_MAX))


def scan_after(client, name, key):
    """A key to begin a scan behind."""
    client.set(name, "k", b"v")
    request = pb.ScanEntriesRequest(namespace=name, start_after=key)
    list(client.kv.ScanEntries(request, timeout=CALL_SECONDS_MAX))


def listed_namespaces(client, _, size):
    """A page of namespaces."""
    request = pb.ListNamespacesRequest(page_size=size)
    client.namespaces.ListNamespaces(request, timeout=CALL_SECONDS_MAX)


def hot_keys(client, name, size):
    """So many hot keys."""
    client.set(name, "k", b"v")
    request = pb.ListHotKeysRequest(namespace=name, page_size=size)
    client.namespaces.ListHotKeys(request, timeout=CALL_SECONDS_MAX)


def logged_operations(client, _, size):
    """So many logged operations."""
    request = pb.ListLoggedOperationsRequest(page_size=size)
    client.admin.ListLoggedOperations(request, timeout=CALL_SECONDS_MAX)


def watch(**request):
    """Tries the watch that these functions of a value make up."""

    def attempt(client, name, size):
        made = {field: make(size) for field, make in request.items()}
        call = client.kv.Watch(pb.WatchRequest(namespace=name, **made), timeout=CALL_SECONDS_MAX)
        try:
            next(call)
        finally:
            call.cancel()

    return attempt


def described(**namespace):
    """Tries to describe a namespace with what these functions of a value make up."""

    def attempt(client, name, size):
        made = {field: make(size) for field, make in namespace.items()}
        request = pb.UpdateNamespaceRequest(
            namespace=pb.Namespace(name=name, **made), allow_missing=True
        )
        client.namespaces.UpdateNamespace(request, timeout=CALL_SECONDS_MAX)

    return attempt


def policy(field, make=lambda size: size):
    """A bound of a field of a policy."""
    return described(policy=lambda size: pb.NamespacePolicy(**{field: make(size)}))


def policy_of_server(client, _, size):
    """A size of values, as the server's default."""
    policy = pb.NamespacePolicy(max_value_bytes=size)
    config = pb.ServerConfig(default_policy=policy)
    request = pb.UpdateConfigRequest(config=config)
    client.admin.UpdateConfig(request, timeout=CALL_SECONDS_MAX)


def log_filter(client, _, size):
    """A filter of so many bytes."""
    text = ("info," + "pykv=info," * (size // 10))[: size - 5] + ",warn"
    request = pb.UpdateConfigRequest(config=pb.ServerConfig(log_filter=text))
    client.admin.UpdateConfig(request, timeout=CALL_SECONDS_MAX)


def upload_chunk(client, name, size):
    """An upload in chunks of so many bytes."""
    # Two values of which the file is more than a chunk.
    for number in range(4):
        client.set(name, f"k{number}", bytes([number + 65]) * MEBIBYTE)
    data, _ = export(client, name)
    restore(client, data, chunk=size)


def lifetime_of(milliseconds):
    """A `Lifetime` of so many milliseconds."""
    return pb.Lifetime(ttl=millis(milliseconds))
