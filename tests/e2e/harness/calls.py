"""A client, and how a test says which refusal it expects."""

import contextlib
import os
from dataclasses import dataclass, field

# An idle grpcio client looks at its connection only this often, 5 s unless told: a server that
# leaves would be kept waiting for the answer to its farewell.
os.environ.setdefault("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "50")

import grpc  # noqa: E402
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from .wire import pb, stubs

DOMAIN = "pykv"
# No unary call of a test should take longer; the server's own limit is 30 s.
CALL_SECONDS_MAX = 20
# A channel of its own for each client: grpcio otherwise shares connections, and their back-off,
# between channels to one address.
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_retries", 0),
)


class Client:
    """One connection with the stubs of every service."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, options=_OPTIONS)
        self.kv = stubs.KeyValueService(self.channel)
        self.namespaces = stubs.NamespaceService(self.channel)
        self.admin = stubs.AdminService(self.channel)
        self.health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def create(self, name, **policy):
        """Creates a namespace with a policy."""
        namespace = pb.Namespace(name=name, policy=pb.NamespacePolicy(**policy))
        request = pb.CreateNamespaceRequest(namespace=namespace)
        return self.namespaces.CreateNamespace(request, timeout=CALL_SECONDS_MAX).namespace

    def set(self, namespace, key, value, **more):
        """Sets; returns the response."""
        request = pb.SetRequest(namespace=namespace, key=key, value=value, **more)
        return self.kv.Set(request, timeout=CALL_SECONDS_MAX)

    def get(self, namespace, key, view=pb.ENTRY_VIEW_UNSPECIFIED):
        """The entry, or none."""
        request = pb.GetRequest(namespace=namespace, key=key, view=view)
        response = self.kv.Get(request, timeout=CALL_SECONDS_MAX)
        return response.entry if response.HasField("entry") else None

    def value(self, namespace, key):
        """The value, or none."""
        entry = self.get(namespace, key)
        return None if entry is None else entry.value

    def delete(self, namespace, key, **more):
        """Deletes; returns the response."""
        request = pb.DeleteRequest(namespace=namespace, key=key, **more)
        return self.kv.Delete(request, timeout=CALL_SECONDS_MAX)

    def touch(self, namespace, key, **more):
        """Touches; returns the response."""
        request = pb.TouchRequest(namespace=namespace, key=key, **more)
        return self.kv.Touch(request, timeout=CALL_SECONDS_MAX)

    def increment(self, namespace, key, **more):
        """Increments; returns the response."""
        request = pb.IncrementRequest(namespace=namespace, key=key, **more)
        return self.kv.Increment(request, timeout=CALL_SECONDS_MAX)

    def values(self, namespace, keys, view=pb.ENTRY_VIEW_FULL):
        """For each key its entry or none, in any number of calls."""
        found = []
        for start in range(0, len(keys), 1000):
            request = pb.BatchGetRequest(
                namespace=namespace, keys=keys[start : start + 1000], view=view
            )
            results = self.kv.BatchGet(request, timeout=CALL_SECONDS_MAX).results
            found += [r.entry if r.HasField("entry") else None for r in results]
        return found

    def batch(self, namespace, operations, atomic=False):
        """Writes a batch; returns the response."""
        request = pb.BatchWriteRequest(namespace=namespace, operations=operations, atomic=atomic)
        return self.kv.BatchWrite(request, timeout=CALL_SECONDS_MAX)

    def serving(self, service):
        """The name of the health status of a service."""
        request = health_pb2.HealthCheckRequest(service=service)
        answer = self.health.Check(request, timeout=CALL_SECONDS_MAX, wait_for_ready=True)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@dataclass
class Refusal:
    """A status that is not OK, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict = field(default_factory=dict)
    fields: dict = field(default_factory=dict)
    details: dict = field(default_factory=dict)

    @property
    def retry_seconds(self):
        """When to come back; none where repeating cannot help."""
        info = self.details.get("RetryInfo")
        return None if info is None else info.retry_delay.ToNanoseconds() / 1e9


_DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.PreconditionFailure,
)


def _with_details(refusal, details):
    for detail in details:
        for kind in _DETAILS:
            if detail.Is(kind.DESCRIPTOR):
                message = kind()
                detail.Unpack(message)
                refusal.details[kind.DESCRIPTOR.name] = message
    info = refusal.details.get("ErrorInfo")
    if info is not None:
        refusal.reason, refusal.domain = info.reason, info.domain
        refusal.metadata = dict(info.metadata)
    bad_request = refusal.details.get("BadRequest")
    if bad_request is not None:
        refusal.fields = {v.field: v.reason for v in bad_request.field_violations}
    return refusal


def refusal_of(error):
    """What a failed call says."""
    refusal = Refusal(error.code(), error.details() or "")
    status = rpc_status.from_call(error)
    return refusal if status is None else _with_details(refusal, status.details)


def refusal_in(status):
    """What the status inside a batch result says."""
    codes = {code.value[0]: code for code in grpc.StatusCode}
    return _with_details(Refusal(codes[status.code], status.message), status.details)


def require(refusal, code, reason, fields=None, metadata=None):
    """Fails unless a refusal is the documented one."""
    assert refusal.code.name == code, refusal
    assert (refusal.reason, refusal.domain) == (reason, DOMAIN), refusal
    if fields is not None:
        assert refusal.fields == fields, refusal
    for key, value in (metadata or {}).items():
        assert refusal.metadata.get(key) == str(value), refusal


@contextlib.contextmanager
def refused(code, reason, fields=None, metadata=None):
    """Expects the call inside to be refused; yields a list that then holds the refusal.

    `fields` are all violations there must be, by field, and no others.
    """
    caught = []
    try:
        yield caught
    except grpc.RpcError as error:
        refusal = refusal_of(error)
        require(refusal, code, reason, fields, metadata)
        caught.append(refusal)
    else:
        raise AssertionError(f"answered OK instead of {code} {reason}")
