"""`/v1`: every annotated route does what its method does; keys pass unchanged; streams; refusals."""

import base64
import contextlib
import importlib
import itertools
import json
import socket
from urllib.parse import quote, urlencode

import pytest
from google.api import annotations_pb2
from google.protobuf import json_format
from harness.calls import CALL_SECONDS_MAX
from harness.http import ask, ask_json, stream
from harness.server import Server, eventually
from harness.wire import at_most, millis, pb, ttl

SERVICES = ("key_value_service", "namespace_service", "admin_service")
# What no two calls have in common.
VOLATILE = {
    "createTime", "duration", "etag", "eventTime", "expireTime", "lastCompactionTime", "nextPageToken",
    "peer", "snapshotTime", "startTime", "ttl", "updateTime", "uptime",
}  # fmt: skip
_numbers = itertools.count(1)


def request_of(method, space):
    """A request to `method` that has something to say, about a namespace that `prepare` made."""
    first, second = pb.SetRequest(key="b1", value=b"1"), pb.DeleteRequest(key="k1")
    steps = [pb.WriteOperation(set=first), pb.WriteOperation(delete=second)]
    written = pb.Namespace(name=space, description="new", policy=pb.NamespacePolicy(max_keys=at_most(9)))
    requests = {
        "Get": pb.GetRequest(namespace=space, key="k1"),
        "Set": pb.SetRequest(namespace=space, key="k/ü", value=b"\xff\0", expiration=ttl(60_000)),
        "Delete": pb.DeleteRequest(namespace=space, key="k1", return_previous=True),
        "Touch": pb.TouchRequest(namespace=space, key="k1", expiration=ttl(60_000)),
        "Increment": pb.IncrementRequest(namespace=space, key="n", delta=-7),
        "BatchGet": pb.BatchGetRequest(namespace=space, keys=["k1", "none", "k3"]),
        "BatchWrite": pb.BatchWriteRequest(namespace=space, operations=steps, atomic=True),
        "ListEntries": pb.ListEntriesRequest(namespace=space, prefix="k", page_size=2),
        "ScanEntries": pb.ScanEntriesRequest(namespace=space, prefix="k", view=pb.ENTRY_VIEW_FULL),
        "DeletePrefix": pb.DeletePrefixRequest(namespace=space, prefix="k"),
        "Watch": pb.WatchRequest(
            namespace=space,
            keys=["k1", "k2"],
            prefixes=["k3"],
            include_initial=True,
            include_values=True,
            progress_interval=millis(1500),
        ),
        "CreateNamespace": pb.CreateNamespaceRequest(namespace=pb.Namespace(name=f"{space}-new")),
        "GetNamespace": pb.GetNamespaceRequest(namespace=space),
        "ListNamespaces": pb.ListNamespacesRequest(prefix=space, page_size=5),
        "UpdateNamespace": pb.UpdateNamespaceRequest(
            namespace=written, update_mask={"paths": ["description", "policy.max_keys"]}
        ),
        "DeleteNamespace": pb.DeleteNamespaceRequest(namespace=space, force=True),
        "ClearNamespace": pb.ClearNamespaceRequest(namespace=space),
        "GetNamespaceStats": pb.GetNamespaceStatsRequest(namespace=space),
        "ListHotKeys": pb.ListHotKeysRequest(namespace=space),
        "GetServerInfo": pb.GetServerInfoRequest(),
        "GetStats": pb.GetStatsRequest(include_namespaces=False),
        "GetPerformance": pb.GetPerformanceRequest(window=millis(60_000)),
        "ListLoggedOperations": pb.ListLoggedOperationsRequest(
            log=pb.OPERATION_LOG_SLOW, page_size=1, namespace="nobody"
        ),
        "Compact": pb.CompactRequest(wait=True),
        "GetConfig": pb.GetConfigRequest(),
        "UpdateConfig": pb.UpdateConfigRequest(
            config=pb.ServerConfig(log_filter="info"), update_mask={"paths": ["log_filter"]}
        ),
        "ExportSnapshot": pb.ExportSnapshotRequest(namespaces=[space]),
    }
    return requests[method]


def prepare(client, space):
    """A namespace with a few entries."""
    client.create(space)
    for number in (1, 2, 3):
        client.set(space, f"k{number}", b"%d" % number)


def as_dict(message):
    """A message as the gateway writes it."""
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def over_http(rule, verb, path, message):
    """The path, the query and the body that stand for `message` by a rule."""
    fields = json_format.MessageToDict(message)
    variables = [part.split("}")[0] for part in path.split("{")[1:]]
    for variable in variables:
        name, _, pattern = variable.partition("=")
        inside = fields
        *parents, last = name.split(".")
        for parent in parents:
            inside = inside[parent]
        safe = "/" if pattern == "**" else ""
        path = path.replace(f"{{{variable}}}", quote(inside.pop(last), safe=safe))
    if rule.body == "*":
        return path, "", fields
    body = fields.pop(rule.body, {}) if rule.body else None
    pairs = []
    for name, value in fields.items():
        pairs += [(name, item) for item in (value if isinstance(value, list) else [value])]
    text = [(name, str(v).lower() if isinstance(v, bool) else v) for name, v in pairs]
    return path, urlencode(text), body


def alike(value, space):
    """A value without what no two calls have in common."""
    if isinstance(value, dict):
        return {k: None if k in VOLATILE else alike(v, space) for k, v in value.items()}
    if isinstance(value, list):
        return [alike(item, space) for item in value]
    return value.replace(space, "SPACE") if isinstance(value, str) else value


def shape(value):
    """What a value is made of, without its numbers."""
    if isinstance(value, dict):
        return {name: shape(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [shape(inside) for inside in value[:1]]
    return type(value).__name__


def answers_over_grpc(client, stub, method, request):
    """The answers of a call; of one that does not end, the first."""
    call = getattr(stub, method.name)(request, timeout=CALL_SECONDS_MAX)
    if not method.server_streaming:
        return [as_dict(call)]
    found = [as_dict(next(call))] if method.name == "Watch" else [as_dict(m) for m in call]
    call.cancel()
    return found


def answers_over_http(address, method, verb, path, query, body):
    """The same over HTTP."""
    where = f"{path}?{query}" if query else path
    if not method.server_streaming:
        answer = ask_json(address, verb, where, body)
        assert answer.status == 200, (where, answer)
        return [answer.json()]
    with stream(address, where) as lines:
        found = lines if method.name != "Watch" else itertools.islice(lines, 1)
        return [json.loads(line)["result"] for line in found]


def routes():
    """Every binding of every annotated method."""
    for file in SERVICES:
        module = importlib.import_module(f"pykv.v1.{file}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                rule = method.GetOptions().Extensions[annotations_pb2.http]
                rules = [rule, *rule.additional_bindings] if rule.WhichOneof("pattern") else []
                for rule in rules:
                    verb = rule.WhichOneof("pattern")
                    name = f"{method.name}-{verb}-{getattr(rule, verb)}"
                    yield pytest.param(service, method, rule, id=name)


@pytest.mark.parametrize(("service", "method", "rule"), list(routes()))
def test_an_annotated_route_answers_as_its_method_does(server, client, service, method, rule):
    stubs = {
        "KeyValueService": client.kv,
        "NamespaceService": client.namespaces,
        "AdminService": client.admin,
    }
    ours, theirs = (f"walk-{next(_numbers)}" for _ in range(2))
    for space in (ours, theirs):
        prepare(client, space)
    verb = rule.WhichOneof("pattern")
    request = request_of(method.name, ours)
    path, query, body = over_http(rule, verb, getattr(rule, verb), request)
    http = answers_over_http(server.address, method, verb.upper(), path, query, body)
    request = request_of(method.name, theirs)
    grpc_ = answers_over_grpc(client, stubs[service.name], method, request)
    if rule.response_body:
        field = method.output_type.fields_by_name[rule.response_body].json_name
        grpc_ = [answer[field] for answer in grpc_]
    if service.name == "AdminService" and method.name not in ("GetConfig", "GetServerInfo"):
        assert shape(http) == shape(grpc_)
    else:
        assert alike(http, ours) == alike(grpc_, theirs)


ODD_KEYS = [
    "k", "a/b", "/a", "a/", "a//b", "..", "../x", "a/../b", ".", "%41", "%2F", "%", "a?b=c&d", "a#b",
    "a b", "a+b", "\0", "a\0b", "a\nb", "\x7f", '"\\', "k:get", ":", "é", "e\u0301", "😀", "\ufeff",
    "\u202e", "<script>", "K" * 4096,
]  # fmt: skip


def write_over(surface, address, client, space, key, value):
    """Writes over one surface."""
    text = base64.b64encode(value).decode()
    where = f"/v1/namespaces/{quote(space, safe='')}"
    sent = {"value": text}
    match surface:
        case "gRPC":
            return client.set(space, key, value)
        case "entries":
            return ask_json(address, "PUT", f"{where}/entries/{quote(key, safe='')}", sent)
        case ":set":
            return ask_json(address, "POST", f"{where}:set", {**sent, "key": key})
        case "values":
            return ask(address, "PUT", f"{where}/values/{quote(key, safe='')}", value)
        case "original":
            query = urlencode({"ns": space})
            return ask_json(
                address, "POST", f"/set?{query}", {**sent, "key": key, "encoding": "base64"}
            )
        case "Connect":
            message = {**sent, "namespace": space, "key": key}
            return ask_json(address, "POST", "/pykv.v1.KeyValueService/Set", message)


def read_over(surface, address, client, space, key):
    """Reads over one surface."""
    where = f"/v1/namespaces/{quote(space, safe='')}"
    match surface:
        case "gRPC":
            return client.value(space, key)
        case "entries":
            answer = ask(address, "GET", f"{where}/entries/{quote(key, safe='')}")
            return base64.b64decode(answer.json()["entry"]["value"])
        case ":set":
            answer = ask(address, "GET", f"{where}:get?{urlencode({'key': key})}")
            return base64.b64decode(answer.json()["entry"]["value"])
        case "values":
            answer = ask(address, "GET", f"{where}/values/{quote(key, safe='')}")
            assert answer.status == 200, answer
            return answer.body
        case "original":
            query = urlencode({"ns": space})
            found = ask(address, "GET", f"/get/{quote(key, safe='')}?{query}").json()
            assert found["key"] == key
            text = found["value"]
            return base64.b64decode(text) if "encoding" in found else text.encode()
        case "Connect":
            message = {"namespace": space, "key": key}
            answer = ask_json(address, "POST", "/pykv.v1.KeyValueService/Get", message)
            return base64.b64decode(answer.json()["entry"]["value"])


SURFACES = ("gRPC", "entries", ":set", "values", "original", "Connect")


@pytest.mark.parametrize("surface", SURFACES)
def test_a_key_written_on_one_surface_is_read_byte_for_byte_on_every_other(
    server, client, name, surface
):
    space = f"{name[:60]}:x"
    for number, key in enumerate(ODD_KEYS):
        value = b"%d \xff\0" % number if number % 2 else f"{number} ü".encode()
        written = write_over(surface, server.address, client, space, key, value)
        assert getattr(written, "status", 200) in (200, 201), (key, written)
        for other in SURFACES:
            assert read_over(other, server.address, client, space, key) == value, (key, other)
    page = client.kv.ListEntries(pb.ListEntriesRequest(namespace=space, page_size=1000))
    assert sorted(entry.key for entry in page.entries) == sorted(ODD_KEYS)


JSON = {"content-type": "application/json"}
NS = "/v1/namespaces/a"
BAD = [
    # method, path, body, headers, status, reason, fields
    ("GET", f"{NS}/entries/%zz", None, {}, 400, "REQUEST_MALFORMED", ["key"]),
    ("GET", f"{NS}/entries/%ff", None, {}, 400, "REQUEST_MALFORMED", ["key"]),
    ("GET", f"{NS}/entries/k?view=NONE&x=1", None, {}, 400, "REQUEST_MALFORMED", ["view", "x"]),
    ("GET", f"{NS}/entries/k?key=k", None, {}, 400, "REQUEST_MALFORMED", ["key"]),
    ("GET", f"{NS}/entries/k", b"{}", JSON, 400, "REQUEST_MALFORMED", ["body"]),
    ("GET", f"{NS}/entries/", None, {}, 400, "KEY_INVALID", ["key"]),
    ("GET", f"{NS}/entries/" + "K" * 4097, None, {}, 400, "KEY_INVALID", ["key"]),
    ("GET", "/v1/namespaces/a%2Fb/entries/k", None, {}, 400, "NAMESPACE_INVALID", ["namespace"]),
    ("GET", "/v1/namespaces/%20/entries/", None, {}, 400, "NAMESPACE_INVALID", ["namespace", "key"]),
    ("GET", f"{NS}/entries/none", None, {}, 404, "KEY_NOT_FOUND", []),
    ("GET", f"{NS}:nothing", None, {}, 404, "ROUTE_NOT_FOUND", []),
    ("GET", "/v1/namespaces/a:b", None, {}, 404, "ROUTE_NOT_FOUND", []),
    ("GET", "/v1/namespaces/", None, {}, 404, "ROUTE_NOT_FOUND", []),
    ("GET", "/v1/", None, {}, 404, "ROUTE_NOT_FOUND", []),
    ("GET", "/v1/namespaces/none", None, {}, 404, "NAMESPACE_NOT_FOUND", []),
    ("POST", f"{NS}/entries/k", b"{}", JSON, 405, "METHOD_NOT_ALLOWED", []),
    ("BREW", f"{NS}/entries/k", None, {}, 405, "METHOD_NOT_ALLOWED", []),
    ("PUT", f"{NS}/entries/k", b"{", JSON, 400, "REQUEST_MALFORMED", [""]),
    ("PUT", f"{NS}/entries/k", b"\xff", JSON, 400, "REQUEST_MALFORMED", [""]),
    ("PUT", f"{NS}/entries/k", b"[1]", JSON, 400, "REQUEST_MALFORMED", [""]),
    ("PUT", f"{NS}/entries/k", b'{"value":"%%"}', JSON, 400, "REQUEST_MALFORMED", ["value"]),
    ("PUT", f"{NS}/entries/k", b'{"tll":"6s"}', JSON, 400, "REQUEST_MALFORMED", ["tll"]),
    ("PUT", f"{NS}/entries/k", b'{"key":"x"}', JSON, 400, "REQUEST_MALFORMED", ["key"]),
    (
        "PUT", f"{NS}/entries/k?x=1", b'{"value":1,"expiration":{"ttl":"1"},"y":0}', JSON,
        400, "REQUEST_MALFORMED", ["value", "expiration.ttl", "y", "x"],
    ),
    ("PUT", f"{NS}/entries/k", b'{"expiration":{"ttl":"-1s"}}', JSON, 400, "EXPIRATION_INVALID",
     ["expiration.ttl"]),
    ("PUT", f"{NS}/entries/k", b"{}", {}, 415, "MEDIA_TYPE_UNSUPPORTED", []),
    ("PUT", f"{NS}/entries/k", b"{}", {"content-type": "text/plain"}, 415,
     "MEDIA_TYPE_UNSUPPORTED", []),
    ("PUT", f"{NS}/entries/k", b"{}", {"content-type": "application/json; charset=utf-16"}, 415,
     "MEDIA_TYPE_UNSUPPORTED", []),
    ("PUT", f"{NS}/entries/k", b" " * (9 << 20), JSON, 413, "REQUEST_TOO_LARGE", []),
    ("GET", f"{NS}:watch?start_version=99999", None, {}, 400, "VERSION_IN_FUTURE", []),
    ("GET", f"{NS}:watch", None, {"last-event-id": "x"}, 400, "REQUEST_MALFORMED",
     ["Last-Event-ID"]),
    ("PATCH", f"{NS}?updateMask=nope", b"{}", JSON, 400, "UPDATE_MASK_INVALID", ["update_mask.paths[0]"]),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "path", "body", "headers", "status", "reason", "fields"), BAD)
def test_what_cannot_be_is_refused_in_words(
    server, client, verb, path, body, headers, status, reason, fields
):
    client.set("a", "there", b"v")
    answer = ask(server.address, verb, path, body, headers)
    assert (answer.status, answer.reason(), answer.faults()) == (status, reason, fields), answer
    assert answer.headers["x-request-id"] and answer.headers["cache-control"] == "no-store"
    if status == 405:
        assert "GET" in answer.headers["allow"].split(", ")
    assert client.value("a", "there") == b"v" and client.value("a", "k") is None


def test_a_name_for_a_request_is_kept_if_it_is_fit_to_be_shown(server):
    for brought, kept in (("abc-1", True), ("a b", False), ("x" * 129, False)):
        answer = ask(server.address, "GET", "/v1/stats", None, {"x-request-id": brought})
        assert (answer.headers["x-request-id"] == brought) is kept


def test_head_is_get_without_a_body_and_options_tells_the_methods(server, client, name):
    client.set(name, "k", b"v")
    path = f"/v1/namespaces/{name}/entries/k"
    whole, head = (ask(server.address, verb, path) for verb in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    # The rest of an entry's life is not told here, so the length is the same.
    assert head.headers["content-length"] == whole.headers["content-length"]
    options = ask(server.address, "OPTIONS", path)
    assert options.status == 204
    assert options.headers["allow"] == "GET, PUT, DELETE, HEAD, OPTIONS"


def test_who_asks_too_often_is_told_when_to_come_back(server, client, name):
    client.create(name, max_operations_per_second=at_most(1))
    path = f"/v1/namespaces/{name}/entries/k"
    answers = [ask_json(server.address, "PUT", path, {}) for _ in range(20)]
    limited = next(answer for answer in answers if answer.status != 200)
    assert (limited.status, limited.reason()) == (429, "RATE_LIMITED")
    assert int(limited.headers["retry-after"]) >= 1
    kinds = [detail["@type"].rsplit(".", 1)[1] for detail in limited.error()["details"]]
    assert {"RetryInfo", "QuotaFailure", "ErrorInfo"} <= set(kinds)


def test_a_watch_as_server_sent_events_resumes_where_a_browser_was_cut_off(server, client, name):
    events = {"accept": "text/event-stream"}
    path = f"/v1/namespaces/{name}:watch?includeInitial=true&includeValues=true"
    version = client.set(name, "k", b"1").entry.version
    with stream(server.address, path, events) as lines:
        seen, place = next_event(lines)
        assert [event["type"] for event in seen["events"]] == ["WATCH_EVENT_TYPE_INITIAL"]
        assert (seen["initialComplete"], place) == (True, f"{version}")
    client.set(name, "k", b"2")
    client.delete(name, "k")
    with stream(server.address, path, {**events, "last-event-id": place}) as lines:
        found = []
        while len(found) < 2:
            seen, place = next_event(lines)
            found += [event["type"] for event in seen["events"]]
        assert found == ["WATCH_EVENT_TYPE_SET", "WATCH_EVENT_TYPE_DELETED"]
        assert place == f"{version + 2}"


def next_event(lines):
    """The next server-sent event, parsed, with its id."""
    fields = {}
    for line in iter(lambda: next(lines), b""):
        name, _, value = line.decode().partition(": ")
        fields[name] = value
    return json.loads(fields["data"]), fields.get("id")


def test_a_stream_that_fails_ends_with_the_error_as_its_last_line(server, client, name):
    client.set(name, "k", b"1")
    path = f"/v1/namespaces/{name}:watch"
    for headers in ({}, {"accept": "text/event-stream"}):
        client.set(name, "k", b"1")
        with stream(server.address, path, headers) as lines:
            first = next(lines)
            client.namespaces.DeleteNamespace(
                pb.DeleteNamespaceRequest(namespace=name, force=True), timeout=CALL_SECONDS_MAX
            )
            rest = [line for line in lines if b'"error"' in line]
        assert first and len(rest) == 1
        error = json.loads(rest[0].removeprefix(b"data: "))["error"]
        assert (error["code"], error["status"]) == (404, "NOT_FOUND")


def test_who_leaves_a_stream_ends_the_watch(server, client, name):
    client.set(name, "k", b"1")

    def watches():
        request = pb.GetNamespaceStatsRequest(namespace=name)
        return client.namespaces.GetNamespaceStats(request).stats.active_watches

    with stream(server.address, f"/v1/namespaces/{name}:watch") as lines:
        next(lines)
        assert watches() == 1
    eventually("the watch is over", lambda: watches() == 0)


def test_a_body_that_does_not_come_is_408(data_dir):
    with Server(data_dir, "--set", "limits.max_request_timeout=1s") as server:
        host, port = server.address.split(":")
        with contextlib.closing(socket.create_connection((host, int(port)), timeout=20)) as peer:
            head = f"PUT {NS}/entries/k HTTP/1.1\r\nhost: {server.address}\r\n"
            peer.sendall(f"{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n".encode())
            answer = peer.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 408 "), answer


def test_a_deadline_counts_over_http_too(server):
    answer = ask(server.address, "GET", "/v1/stats", None, {"grpc-timeout": "0n"})
    assert (answer.status, answer.reason()) == (504, "DEADLINE_EXCEEDED")


def test_calls_over_http_are_counted_as_what_they_are(data_dir):
    with Server(data_dir) as server:
        path = "/v1/namespaces/default/entries/k"
        assert ask_json(server.address, "PUT", path, {}).status == 200
        assert ask_json(server.address, "PUT", path, {"value": "AAAA"}).status == 200
        assert ask(server.address, "GET", "/get/k").status == 200
        page = ask(server.address, "GET", "/metrics").body.decode()
        handled = 'grpc_server_handled_total{grpc_type="unary",grpc_service="pykv.v1.KeyValueService"'
        line = lambda name: next(  # noqa: E731
            line for line in page.splitlines() if line.startswith(handled) and f'"{name}"' in line
            and 'grpc_code="OK"' in line
        )
        assert line("Set").endswith(" 2") and line("Get").endswith(" 1")
