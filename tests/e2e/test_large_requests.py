"""Large requests, many at a time: they wait for each other, and small ones do not wait for them."""

import contextlib
import socket
import time

import h2.config
import h2.connection
import h2.events
from harness.calls import Client, refusal_of, refused, require
from harness.http import ask
from harness.server import Server, eventually
from harness.wire import pb

MEBIBYTE = 1 << 20
SET = "/pykv.v1.KeyValueService/Set"


class Unfinished:
    """A connection on which requests of a given length are begun and never ended."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), 10)
        self._talk = h2.connection.H2Connection(h2.config.H2Configuration())
        self._address = address
        self._talk.initiate_connection()
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _flush(self):
        self._socket.sendall(self._talk.data_to_send())

    def begin(self, announced, sent):
        """Begins a request that announces so many bytes, of which so many are sent."""
        stream = self._talk.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", self._address)]
        head += [(":path", SET), ("content-type", "application/grpc"), ("te", "trailers")]
        self._talk.send_headers(stream, head)
        self._talk.send_data(stream, b"\0" + announced.to_bytes(4, "big"))
        self._flush()
        while sent > 0:
            window = self._talk.local_flow_control_window(stream)
            size = min(window, self._talk.max_outbound_frame_size, sent)
            if size == 0:
                # The server reads on, or it does not.
                self._socket.settimeout(0.3)
                try:
                    self._talk.receive_data(self._socket.recv(65536))
                except TimeoutError:
                    return sent
                continue
            self._talk.send_data(stream, b"y" * size)
            self._flush()
            sent -= size
        return 0


def test_hundreds_of_large_requests_on_one_connection_are_all_answered(server, client, name):
    value = b"x" * MEBIBYTE
    calls = [
        client.kv.Set.future(pb.SetRequest(namespace=name, key=f"k{i}", value=value), timeout=25)
        for i in range(200)
    ]
    assert {call.code().name for call in calls} == {"OK"}


def test_small_bodies_that_do_not_say_how_long_they_are_do_not_wait_for_each_other(server, name):
    held = []
    host, port = server.address.rsplit(":", 1)
    for number in range(40):
        held.append(socket.create_connection((host, int(port)), 10))
        place = f"/v1/namespaces/{name}/values/k{number}"
        head = f"PUT {place} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        held[-1].sendall(head.encode() + b"5\r\nhello\r\n")
    begun = time.monotonic()
    # All are begun and none has ended: each has the room that a small one needs.
    for connection in held:
        connection.sendall(b"0\r\n\r\n")
        connection.settimeout(10)
        assert connection.recv(12) == b"HTTP/1.1 201"
        connection.close()
    assert time.monotonic() - begun < 5
    large = b"%x\r\n%s\r\n0\r\n\r\n" % (MEBIBYTE, b"v" * MEBIBYTE)
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head.encode() + large)
        assert connection.recv(12) == b"HTTP/1.1 204"


def test_requests_that_are_never_ended_take_no_more_than_their_share(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("a", "k", b"v")
        before = server.rss_bytes()
        with Unfinished(server.address) as attacker:
            left = [attacker.begin(4 * MEBIBYTE, 4 * MEBIBYTE - 1) for _ in range(12)]
            assert left[0] == 0 and left[-1] > 3 * MEBIBYTE
            assert server.rss_bytes() - before < 32 * MEBIBYTE
            begun = time.monotonic()
            client.set("a", "k", b"v" * MEBIBYTE)
            assert time.monotonic() - begun < 1


def test_where_others_have_all_the_room_a_large_request_is_told_to_come_back(data_dir):
    flags = ["--set", "limits.max_request_bytes=8MiB"]
    large = pb.SetRequest(namespace="a", key="k", value=b"v" * MEBIBYTE)
    with Server(data_dir, *flags) as server, contextlib.ExitStack() as held:
        client = held.enter_context(Client(server.address))
        attacker = held.enter_context(Unfinished(server.address))
        for _ in range(2):
            attacker.begin(4 * MEBIBYTE, 200_000)
        client.set("a", "small", b"v" * 60_000)
        with refused("UNAVAILABLE", "OVERLOADED") as caught:
            client.kv.Set(large, timeout=20)
        assert caught[0].retry_seconds > 0
        answer = ask(server.address, "PUT", "/v1/namespaces/a/values/k", b"v" * MEBIBYTE)
        assert (answer.status, answer.reason()) == (503, "OVERLOADED")
        assert answer.headers["retry-after"] == "1"
        held.pop_all().close()
        with Client(server.address) as again:

            def is_taken():
                call = again.kv.Set.future(large, timeout=20)
                if call.code().name != "OK":
                    require(refusal_of(call), "UNAVAILABLE", "OVERLOADED")
                return call.code().name == "OK"

            eventually("the room is free again", is_taken)
