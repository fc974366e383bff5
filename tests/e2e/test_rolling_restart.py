"""A rolling restart as Kubernetes does it, under load: nothing acknowledged is lost, every error may be repeated."""

import re
import socket
import subprocess
import tempfile
import threading
import time

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from harness.calls import Client
from harness.server import binary, cycles, environment, eventually
from harness.wire import pb

RESTARTS = cycles("E2E_ROLLING_RESTARTS", 3)
# What a pod has before it is killed, and how often it is asked whether it is ready.
GRACE_SECONDS = 40
PROBE_SECONDS = 0.1
WRITERS = 6
# So long a rollout waits between two pods at least, that there is traffic on each.
BETWEEN_SECONDS = 1.5


def free_address():
    """An address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Pod:
    """One life of the server on a volume, with the two listeners that the manifests give it."""

    def __init__(self, volume, address, admin):
        self._log = tempfile.TemporaryFile()
        command = [binary(), "serve", "--listen", address, "--admin-listen", admin]
        command += ["--data-dir", volume, "--set", "drain.notice=300ms"]
        command = [str(word) for word in command]
        self.process = subprocess.Popen(
            command, env=environment(), stdout=self._log, stderr=self._log
        )

    def replace(self):
        """Ends it as a kubelet does; the exit code, and how long that took."""
        begun = time.monotonic()
        self.process.terminate()
        return self.process.wait(GRACE_SECONDS), time.monotonic() - begun

    def kill(self):
        """For the end of a test that has failed."""
        self.process.kill()
        self.process.wait()


def probe(admin, service):
    """What a probe of the kubelet sees: a connection of its own, plain text, no token, one second."""
    with grpc.insecure_channel(admin) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


class Writer(threading.Thread):
    """Writes one key after another, each until it is acknowledged, and remembers what it was told."""

    def __init__(self, number, address, stopping):
        super().__init__(daemon=True)
        self.number, self.stopping, self.client = number, stopping, Client(address)
        self.acknowledged, self.errors = [], []

    def run(self):
        count = 0
        while not self.stopping.is_set():
            key, value = f"w{self.number}-{count}", f"{count}".encode()
            request = pb.SetRequest(namespace="acme", key=key, value=value)
            try:
                self.client.kv.Set(request, timeout=10)
            except grpc.RpcError as error:
                self.errors.append(error)
                self.stopping.wait(0.02)
                continue
            self.acknowledged.append((key, value))
            count += 1


def is_retriable(error):
    """Whether a client's service config repeats it: UNAVAILABLE; from the server, with word on when."""
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    status = rpc_status.from_call(error)
    if status is None:
        # The connection was gone.
        return re.search("connect|Connection|socket|Socket|GOAWAY|goaway", error.details() or "") is not None
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def test_a_rolling_restart_under_load_loses_nothing_and_is_only_a_pause(data_dir):
    address, admin = free_address(), free_address()
    pod, stopping = Pod(data_dir, address, admin), threading.Event()
    try:
        eventually("the first one is ready", lambda: probe(admin, "readiness"), 30, PROBE_SECONDS)
        writers = [Writer(number, address, stopping) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for _ in range(RESTARTS):
            before = sum(len(writer.acknowledged) for writer in writers)
            eventually(
                "there is traffic",
                lambda before=before: sum(len(w.acknowledged) for w in writers) > before + 200,
                20,
            )
            code, took = pod.replace()
            assert code == 0 and took < 25
            pod = Pod(data_dir, address, admin)
            eventually("it lives", lambda: probe(admin, "liveness"), 30, PROBE_SECONDS)
            eventually("it is ready", lambda: probe(admin, "readiness"), 30, PROBE_SECONDS)
            stopping.wait(BETWEEN_SECONDS)
        stopping.set()
        for writer in writers:
            writer.join()
        errors = [error for writer in writers for error in writer.errors]
        print(f"{sum(len(w.acknowledged) for w in writers)} writes, {len(errors)} errors")
        assert errors, "it was not under load"
        for error in errors:
            assert is_retriable(error), (error.code(), error.details())
        with Client(address) as client:
            for writer in writers:
                keys = [key for key, _ in writer.acknowledged]
                found = [entry and entry.value for entry in client.values("acme", keys)]
                assert found == [value for _, value in writer.acknowledged]
    finally:
        stopping.set()
        pod.kill()


def test_a_probe_tells_what_it_should_while_a_server_leaves(data_dir):
    address, admin = free_address(), free_address()
    pod = Pod(data_dir, address, admin)
    try:
        eventually("it is ready", lambda: probe(admin, "readiness"), 30, PROBE_SECONDS)
        pod.process.terminate()
        # First it says so, for as long as whoever sends traffic may need to hear it; then it goes.
        eventually("it is not ready", lambda: not probe(admin, "readiness"), 5, 0.02)
        assert pod.process.wait(GRACE_SECONDS) == 0
    finally:
        pod.kill()
