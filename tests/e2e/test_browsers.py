"""What pages of other people can do with a browser that reaches this server: nothing."""

import contextlib
import http.client

import pytest
from harness.calls import Client
from harness.http import ask, ask_json
from harness.server import Server

APP = "https://app.example"
EVIL = "https://evil.example"
JSON = {"content-type": "application/json"}
WRITES = [
    ("PUT", "/v1/namespaces/default/entries/k", b"{}", JSON),
    ("POST", "/v1/namespaces/default:set", b'{"key":"k"}', JSON),
    ("PUT", "/v1/namespaces/default/values/k", b"v", {}),
    ("POST", "/set", b'{"key":"k","value":"v"}', JSON),
    ("POST", "/set", b'{"key":"k","value":"v"}', {}),
    ("POST", "/pykv.v1.KeyValueService/Set", b'{"key":"k"}', JSON),
    (
        "POST",
        "/pykv.v1.KeyValueService/Set",
        b"\0\0\0\0\x03\x12\x01k",
        {"content-type": "application/grpc-web+proto"},
    ),
]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A server that pages of one other origin may use, and that has a name."""
    flags = ("--set", f"cors_origins={APP}", "--set", "allowed_hosts=kv.example")
    with Server(tmp_path_factory.mktemp("known"), *flags) as running:
        yield running


def raw(address, method, path, body, headers):
    """Sends a request whose Host header is one of `headers`."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize(("method", "path", "body", "headers"), WRITES)
def test_a_page_of_another_origin_changes_nothing(server, client, method, path, body, headers):
    client.delete("default", "k")
    for foreign in (
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": f"http://{server.address}0"},
        {"origin": f"http://{server.address}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": EVIL},
    ):
        answer = ask(server.address, method, path, body, {**headers, **foreign})
        assert (answer.status, answer.reason()) == (403, "ORIGIN_FORBIDDEN"), foreign
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert client.value("default", "k") is None
    own = {"origin": f"http://{server.address}", "sec-fetch-site": "same-origin"}
    assert ask(server.address, method, path, body, {**headers, **own}).status in (200, 201)
    assert client.value("default", "k") is not None


@pytest.mark.parametrize("path", ["/v1/stats", "/get/k", "/health", "/v1/namespaces/a/values/k"])
def test_a_name_that_is_not_ours_is_not_answered(server, path):
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example"):
        assert raw(server.address, "GET", path, None, {"host": host}) == 403
        assert raw(server.address, "PUT", path, b"", {"host": host}) == 403
    for host in ("localhost", "localhost:1", "127.0.0.1", "[::1]:8000"):
        assert raw(server.address, "GET", path, None, {"host": host}) != 403


def test_a_server_with_a_name_answers_to_it(known):
    assert raw(known.address, "GET", "/health", None, {"host": "kv.example:443"}) == 200
    assert raw(known.address, "GET", "/health", None, {"host": "other.example"}) == 403


def test_pages_of_an_allowed_origin_may_read_and_write(known):
    with Client(known.address) as client:
        for number, (method, path, body, headers) in enumerate(WRITES):
            client.delete("default", "k")
            answer = ask(known.address, method, path, body, {**headers, "origin": APP})
            assert answer.status in (200, 201), (number, answer)
            assert answer.headers["access-control-allow-origin"] == APP
            assert answer.headers["vary"] == "origin"
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"grpc-status", "grpc-message", "grpc-status-details-bin"} <= set(exposed)
            assert {"x-request-id", "etag", "retry-after"} <= set(exposed)
            assert client.value("default", "k") is not None
    answer = ask(known.address, "GET", "/health", None, {"origin": EVIL})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "origin"


def test_a_browser_that_asks_first_is_told(known, server):
    def preflight(to, origin, method="POST"):
        headers = {"origin": origin, "access-control-request-method": method}
        path = "/v1/namespaces/default:set"
        asked = {**headers, "access-control-request-headers": "content-type,x-grpc-web"}
        return ask(to.address, "OPTIONS", path, None, asked)

    answer = preflight(known, APP)
    assert (answer.status, answer.body) == (200, b"OK")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-headers"] == "content-type,x-grpc-web"
    assert answer.headers["access-control-max-age"] == "600"
    for refused in (preflight(known, EVIL), preflight(known, "null"), preflight(known, APP, "FOO")):
        assert refused.status == 400
    assert "access-control-allow-origin" not in preflight(known, EVIL).headers
    # Without a word in the configuration no page may do anything.
    silent = preflight(server, APP)
    assert silent.status == 204
    assert not [name for name in silent.headers if name.startswith("access-control-")]


def test_no_answer_is_kept_or_guessed_at(server):
    for path in ("/v1/stats", "/health", "/nope", "/v1/nope", "/pykv.v1.KeyValueService/Nope"):
        headers = ask(server.address, "GET", path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store"


def test_headers_and_bodies_have_limits(server):
    long = {"x-long": "x" * (64 << 10)}
    assert raw(server.address, "GET", "/health", None, long) == 431
    answer = ask_json(server.address, "POST", "/pykv.v1.KeyValueService/Set", {"key": "k" * 9000})
    assert answer.status == 400 and answer.json()["code"] == "invalid_argument"


def test_connect_answers_plain_json(server, client, name):
    def call(method, message, **headers):
        named = {header.replace("_", "-"): value for header, value in headers.items()}
        return ask_json(server.address, "POST", f"/pykv.v1.{method}", message, named)

    written = call("KeyValueService/Set", {"namespace": name, "key": "k", "value": "dg=="})
    assert written.json()["applied"] is True and client.value(name, "k") == b"v"
    found = call("KeyValueService/Get", {"namespace": name, "key": "k"}).json()
    assert found["entry"]["value"] == "dg=="
    # As over gRPC, that there is no entry is an answer.
    assert call("KeyValueService/Get", {"namespace": name, "key": "none"}).json() == {}
    health = ask_json(server.address, "POST", "/grpc.health.v1.Health/Check", {})
    assert health.json() == {"status": "SERVING"}
    for answer, status, code in (
        (call("KeyValueService/Get", {"ky": 1}), 400, "invalid_argument"),
        (call("KeyValueService/Get", {}), 400, "invalid_argument"),
        (call("NamespaceService/GetNamespace", {"namespace": "none"}), 404, "not_found"),
        (call("KeyValueService/Nope", {}), 404, "not_found"),
        (call("KeyValueService/Watch", {}), 415, "invalid_argument"),
        (call("AdminService/GetStats", {}, connect_timeout_ms="0"), 504, "deadline_exceeded"),
        (call("AdminService/GetStats", {}, connect_timeout_ms="x"), 400, "invalid_argument"),
        (call("AdminService/GetStats", {}, content_type="text/plain"), 415, "invalid_argument"),
        (call("AdminService/GetStats", {}, content_encoding="gzip"), 415, "invalid_argument"),
    ):
        assert (answer.status, answer.json()["code"]) == (status, code), answer
        assert answer.json()["details"][0]["type"] == "google.rpc.ErrorInfo"
    assert ask(server.address, "GET", "/pykv.v1.KeyValueService/Get").status == 405
