"""Who may call what: every method and every route against everybody there is."""

import re
import signal

import grpc
import pytest
from harness.access import Tokens
from harness.calls import Client, refusal_of, require
from harness.http import ask, ask_json
from harness.server import Server, eventually, run
from harness.wire import pb

# What each method needs, written down beside the code and not taken from it.
READER = {
    "Get", "BatchGet", "ListEntries", "ScanEntries", "Watch", "GetNamespace", "GetNamespaceStats",
    "ListHotKeys",
}  # fmt: skip
WRITER = {"Set", "Delete", "Touch", "Increment", "BatchWrite", "DeletePrefix"}
OWNER = {"ClearNamespace", "ExportSnapshot", "RestoreSnapshot"}
ANYBODY_KNOWN = {"ListNamespaces", "Pipeline"}
ADMIN = {
    "CreateNamespace", "UpdateNamespace", "DeleteNamespace", "GetServerInfo", "GetStats",
    "GetPerformance", "ListLoggedOperations", "Compact", "GetConfig", "UpdateConfig",
}  # fmt: skip
RANKS = ["reader", "writer", "owner", "admin"]
# Everybody, by what he may do to "acme", and whether he rules the server.
PRINCIPALS = {
    "nobody": None, "forger": None, "late": None, "stranger": "", "reader": "reader",
    "writer": "writer", "owner": "owner", "acme-admin": "admin", "root": "admin",
}  # fmt: skip
# Routes that are not of the schema: what a request of each may do.
ROUTES = {
    ("GET", "/v1/namespaces/{namespace}/values/{key}"): "Get",
    ("HEAD", "/v1/namespaces/{namespace}/values/{key}"): "Get",
    ("PUT", "/v1/namespaces/{namespace}/values/{key}"): "Set",
    ("DELETE", "/v1/namespaces/{namespace}/values/{key}"): "Delete",
    ("POST", "/set"): "Set",
    ("GET", "/get/{key}"): "Get",
    ("DELETE", "/delete/{key}"): "Delete",
    ("GET", "/namespaces"): "ListNamespaces",
    ("GET", "/namespaces/{namespace}/keys"): "GetNamespace",
    ("DELETE", "/namespaces/{namespace}"): "ClearNamespace",
    ("GET", "/stats"): "GetStats",
    ("POST", "/compact"): "Compact",
    ("GET", "/performance"): "GetPerformance",
    ("GET", "/performance/recent-errors"): "ListLoggedOperations",
    ("GET", "/metrics"): "GetStats",
    **{("GET", path): None for path in ("/health", "/livez", "/readyz", "/docs", "/openapi.json")},
}
DENIED = ("UNAUTHENTICATED", "PERMISSION_DENIED")


def expected(principal, method):
    """OK, or the code that somebody is turned away with."""
    if method is None:
        return "OK"
    role = PRINCIPALS[principal]
    if role is None:
        return "UNAUTHENTICATED"
    if method in ANYBODY_KNOWN or principal == "root":
        return "OK"
    needed = next(r for r, m in zip(RANKS, (READER, WRITER, OWNER, ADMIN)) if method in m)
    if needed == "admin" or role == "":
        return "PERMISSION_DENIED"
    return "OK" if RANKS.index(role) >= RANKS.index(needed) else "PERMISSION_DENIED"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Everybody's token."""
    made = Tokens(tmp_path_factory.mktemp("tokens") / "tokens.toml")
    for name, role in PRINCIPALS.items():
        match role:
            case None if name == "late":
                made.add(name, "*", "admin", expires="2020-01-01T00:00:00Z")
            case None:
                pass
            case "":
                made.add(name, "other,acm,acme2*", "owner")
            case _:
                made.add(name, "*" if name == "root" else "acme", role)
    right = made.secrets["root"]
    made.secrets["forger"] = right[:-4] + ("AAAA" if right[-4:] != "AAAA" else "BBBB")
    made.secrets["nobody"] = None
    return made


@pytest.fixture(scope="module")
def closed(tmp_path_factory, tokens):
    """A server that must know its callers."""
    data = tmp_path_factory.mktemp("data")
    with Server(data, "--tokens-file", tokens.path) as running:
        yield running


@pytest.fixture
def guarded(closed, tokens):
    """The same, with something in three namespaces."""
    with Client(closed.address) as client:
        for name in ("acme", "other", "secret"):
            request = pb.SetRequest(namespace=name, key="k", value=b"v")
            client.kv.Set(request, metadata=tokens.metadata("root"))
    return closed


def shown(tokens, name):
    """What somebody's calls carry."""
    return [] if name == "nobody" else tokens.metadata(name)


def message_for(method):
    """A request about the namespace "acme", as far as the method has one."""
    request = method.input_type._concrete_class()
    match method.name:
        case "CreateNamespace" | "UpdateNamespace":
            request.namespace.name = "acme"
        case "ExportSnapshot":
            request.namespaces.append("acme")
        case "RestoreSnapshot":
            request.options.mode = pb.RESTORE_MODE_SKIP_EXISTING
            request.options.namespaces.append("acme")
        case "Watch":
            request.namespace, request.include_initial = "acme", True
        case "Pipeline" | "ListNamespaces":
            pass
        case _ if "namespace" in method.input_type.fields_by_name:
            request.namespace = "acme"
    if "key" in method.input_type.fields_by_name:
        request.key = "k"
    return request


def code_of(stub, method, metadata):
    """How a call of a method ends, or OK once a stream has begun."""
    call = getattr(stub, method.name)
    request = message_for(method)
    given = iter([request]) if method.client_streaming else request
    try:
        if not method.server_streaming:
            call(given, metadata=metadata, timeout=20)
            return "OK"
        stream = call(given, metadata=metadata, timeout=20)
        for _ in stream:
            if method.name == "Watch":
                stream.cancel()
                return "OK"
        return "OK"
    except grpc.RpcError as error:
        refusal = refusal_of(error)
        if refusal.code.name in DENIED:
            assert refusal.reason in ("TOKEN_MISSING", "TOKEN_INVALID", "ROLE_INSUFFICIENT")
            return refusal.code.name
        return "OK"


def test_every_method_asks_everybody_for_the_role_it_needs(guarded, tokens):
    cells, wrong = 0, []
    with Client(guarded.address) as client:
        for stub, service in (
            (client.kv, pb.GetRequest.DESCRIPTOR.file.services_by_name["KeyValueService"]),
            (client.namespaces,
             pb.GetNamespaceRequest.DESCRIPTOR.file.services_by_name["NamespaceService"]),
            (client.admin, pb.GetStatsRequest.DESCRIPTOR.file.services_by_name["AdminService"]),
        ):  # fmt: skip
            for method in service.methods:
                for principal in PRINCIPALS:
                    cells += 1
                    found = code_of(stub, method, shown(tokens, principal))
                    if found != expected(principal, method.name):
                        wrong.append((method.name, principal, found))
                    if method.name in ("DeleteNamespace", "ClearNamespace"):
                        request = pb.SetRequest(namespace="acme", key="k", value=b"v")
                        client.kv.Set(request, metadata=tokens.metadata("root"))
    assert not wrong
    assert cells == 29 * len(PRINCIPALS)


def routes(guarded):
    """Every route there is: its method and path, and the RPC it is."""
    paths = ask(guarded.address, "GET", "/openapi.json").json()["paths"]
    found = dict(ROUTES)
    for path, place in paths.items():
        for verb in set(place) & {"get", "put", "post", "patch", "delete", "head"}:
            rpc = re.fullmatch(r"\w+Service_([A-Za-z]+)(_\d+)?", place[verb]["operationId"])
            known = (verb.upper(), path) in ROUTES
            assert bool(rpc) != known, f"{verb} {path} has no line in this table"
            if rpc:
                found[verb.upper(), path] = rpc.group(1)
    return found


def test_every_route_asks_everybody_for_the_role_it_needs(guarded, tokens):
    statuses = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
    wrong = []
    table = routes(guarded)
    for (verb, path), method in table.items():
        place = path.replace("{namespace}", "acme").replace("{key}", "k")
        place = place.replace("{namespace.name}", "acme")
        if path in ("/get/{key}", "/delete/{key}"):
            place += "?ns=acme"
        if method in ("ExportSnapshot",):
            place += "?namespaces=acme"
        body = {"namespace": "acme", "key": "k", "value": "v"} if path == "/set" else {}
        if path == "/v1/namespaces" and verb == "POST":
            body = {"name": "acme"}
        for principal in PRINCIPALS:
            headers = dict(shown(tokens, principal))
            if verb in ("GET", "HEAD", "DELETE"):
                answer = watch_or_ask(guarded.address, verb, place, headers)
            else:
                answer = ask_json(guarded.address, verb, place, body, headers).status
            want = statuses.get(expected(principal, method))
            if (answer if answer in (401, 403) else None) != want:
                wrong.append((verb, path, principal, answer, want))
    assert not wrong
    assert len(table) >= 50


def watch_or_ask(address, verb, place, headers):
    """The status of an answer, whether or not it ends."""
    import http.client

    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(verb, place, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_other_ways_in_ask_as_grpc_does(guarded, tokens):
    path = "/pykv.v1.KeyValueService/Get"
    connect = {"content-type": "application/json"}
    body = b'{"namespace": "acme", "key": "k"}'
    web = {"content-type": "application/grpc-web+proto"}
    get = pb.GetRequest(namespace="acme", key="k").SerializeToString()
    framed = b"\0" + len(get).to_bytes(4, "big") + get
    for principal, status, code in (
        ("nobody", 401, "16"), ("forger", 401, "16"), ("stranger", 403, "7"), ("reader", 200, "0")
    ):  # fmt: skip
        headers = dict(shown(tokens, principal))
        answer = ask(guarded.address, "POST", path, body, {**connect, **headers})
        assert answer.status == status, principal
        answer = ask(guarded.address, "POST", path, framed, {**web, **headers})
        found = answer.headers.get("grpc-status") or re.search(
            rb"grpc-status:\s*(\d+)", answer.body
        ).group(1).decode()
        assert found == code, principal


def test_a_refusal_says_how_to_show_who_one_is_and_reads_no_body(guarded, tokens):
    answer = ask(guarded.address, "GET", "/v1/namespaces/acme/entries/k")
    assert answer.status == 401 and answer.reason() == "TOKEN_MISSING"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    old = ask(guarded.address, "GET", "/get/k?ns=acme")
    assert (old.status, old.json()["detail"]) == (401, "Not authenticated")
    old = ask(guarded.address, "GET", "/get/k?ns=acme", headers=tokens.headers("stranger"))
    assert (old.status, old.json()["reason"]) == (403, "ROLE_INSUFFICIENT")
    # A body is promised and never sent: who had to read it would wait.
    for path, verb in (("/v1/namespaces/acme/values/k", "PUT"), ("/set", "POST"),
                       ("/pykv.v1.KeyValueService/Set", "POST"),
                       ("/v1/namespaces/acme/entries/k", "PUT")):  # fmt: skip
        headers = {"content-type": "application/json", "content-length": "1000000"}
        assert ask(guarded.address, verb, path, headers=headers).status == 401, path


def test_whether_a_namespace_exists_is_not_told_to_who_may_not_see_it(guarded, tokens):
    texts = set()
    with Client(guarded.address) as client:
        for name in ("secret", "nothing"):
            try:
                request = pb.GetNamespaceRequest(namespace=name)
                client.namespaces.GetNamespace(request, metadata=tokens.metadata("reader"))
            except grpc.RpcError as error:
                refusal = refusal_of(error)
                require(refusal, "PERMISSION_DENIED", "ROLE_INSUFFICIENT",
                        metadata={"namespace": name, "required_role": "reader"})  # fmt: skip
                texts.add((refusal.message.replace(name, "X"), tuple(sorted(refusal.details))))
    assert len(texts) == 1


def test_lists_show_what_their_caller_may_see_page_by_page(guarded, tokens):
    with Client(guarded.address) as client:
        for i in range(30):
            for name in (f"acme2-{i:02}", f"zz-{i:02}"):
                request = pb.SetRequest(namespace=name, key="k", value=b"v")
                client.kv.Set(request, metadata=tokens.metadata("root"))

        def listed(principal, page_size):
            names, token = [], ""
            while True:
                request = pb.ListNamespacesRequest(page_size=page_size, page_token=token)
                page = client.namespaces.ListNamespaces(request, metadata=tokens.metadata(principal))
                assert len(page.namespaces) <= page_size
                names += [namespace.name for namespace in page.namespaces]
                token = page.next_page_token
                if not token:
                    return names

        assert listed("reader", 1) == ["acme"]
        own = [f"acme2-{i:02}" for i in range(30)] + ["other"]
        for page_size in (1, 7, 31, 1000):
            assert listed("stranger", page_size) == own
        assert set(listed("root", 1000)) >= {"acme", "default", "other", "secret", "zz-29", *own}
    names = ask(guarded.address, "GET", "/namespaces", headers=tokens.headers("stranger")).json()
    assert names["namespaces"] == own


def test_each_request_of_a_pipeline_needs_what_its_method_needs(guarded, tokens):
    get = pb.GetRequest(namespace="acme", key="k")
    requests = [
        pb.PipelineRequest(id=1, get=get),
        pb.PipelineRequest(id=2, set=pb.SetRequest(namespace="acme", key="k", value=b"x")),
        pb.PipelineRequest(id=3, get=pb.GetRequest(namespace="secret", key="k")),
        pb.PipelineRequest(id=4, get=get),
    ]
    with Client(guarded.address) as client:
        answers = list(client.kv.Pipeline(iter(requests), metadata=tokens.metadata("reader")))
    codes = [a.error.code if a.WhichOneof("response") == "error" else 0 for a in answers]
    denied = grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert codes == [0, denied, denied, 0]
    assert answers[3].get.entry.value == b"v"


def test_copies_need_the_right_to_all_that_is_in_them(guarded, tokens):
    with Client(guarded.address) as client:

        def export(principal, *names):
            request = pb.ExportSnapshotRequest(namespaces=names)
            stream = client.admin.ExportSnapshot(request, metadata=tokens.metadata(principal))
            return b"".join(message.chunk for message in stream)

        def restore(principal, data, **options):
            options = pb.RestoreSnapshotOptions(mode=pb.RESTORE_MODE_OVERWRITE, **options)
            messages = [pb.RestoreSnapshotRequest(options=options)]
            messages += [pb.RestoreSnapshotRequest(chunk=data)]
            call = client.admin.RestoreSnapshot
            return call(iter(messages), metadata=tokens.metadata(principal))

        def denied(act, *given, **options):
            with pytest.raises(grpc.RpcError) as caught:
                act(*given, **options)
            require(refusal_of(caught.value), "PERMISSION_DENIED", "ROLE_INSUFFICIENT")

        copy = export("owner", "acme")
        denied(export, "owner")
        denied(export, "owner", "acme", "secret")
        denied(restore, "owner", copy)
        denied(restore, "owner", copy, namespaces=["acme"], rename_namespaces={"acme": "secret"})
        # It would be made with the policy in the file, which only an admin chooses.
        denied(restore, "stranger", copy, namespaces=["acme"], rename_namespaces={"acme": "acme2x"})
        assert restore("owner", copy, namespaces=["acme"]).restored_count == 1
        renamed = {"acme": "other"}
        answer = restore("stranger", copy, namespaces=["acme"], rename_namespaces=renamed)
        assert answer.restored_count == 1
        assert restore("root", copy).restored_count == 1


def test_a_token_that_is_taken_out_ends_streams_and_one_put_in_is_known_at_once(tmp_path, data_dir):
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("watcher", "acme", "reader")
    tokens.add("piper", "acme", "writer")
    with Server(data_dir, "--tokens-file", tokens.path) as server, Client(server.address) as client:
        watch = client.kv.Watch(pb.WatchRequest(namespace="acme"), metadata=tokens.metadata("watcher"))
        watch.initial_metadata()
        import queue

        requests = queue.Queue()
        pipe = client.kv.Pipeline(iter(requests.get, None), metadata=tokens.metadata("piper"))
        requests.put(pb.PipelineRequest(id=1, get=pb.GetRequest(namespace="acme", key="k")))
        assert next(pipe).id == 1
        tokens.add("new", "acme", "reader")
        known = {"metadata": tokens.metadata("new"), "timeout": 5}

        def is_known():
            try:
                client.kv.Get(pb.GetRequest(namespace="acme", key="k"), **known)
                return True
            except grpc.RpcError:
                return False

        eventually("a token put in is known", is_known)
        assert watch.is_active() and pipe.is_active(), "who stays is not disturbed"
        tokens.remove("watcher")
        tokens.remove("piper")
        for stream in (watch, pipe):
            with pytest.raises(grpc.RpcError) as caught:
                eventually("the stream ends", lambda stream=stream: next(stream, None) is None)
            require(refusal_of(caught.value), "UNAUTHENTICATED", "TOKEN_INVALID")
        requests.put(None)


def test_a_file_with_a_mistake_changes_nothing_and_is_told(tmp_path, data_dir):
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("reader", "acme", "reader")
    good = dict(tokens.entries)
    with Server(data_dir, "--tokens-file", tokens.path) as server, Client(server.address) as client:
        tokens.entries = {"bad": "[[tokens]]\nname = 1\n"}
        tokens.write()
        eventually("the mistake is told", lambda: "tokens.toml:2" in server.log())
        client.kv.Get(pb.GetRequest(namespace="acme", key="k"), metadata=tokens.metadata("reader"))
        tokens.entries = {}
        tokens.path.chmod(0o644)
        server.process.send_signal(signal.SIGHUP)
        eventually("the mode is told", lambda: "mode 644" in server.log())
        client.kv.Get(pb.GetRequest(namespace="acme", key="k"), metadata=tokens.metadata("reader"))
        tokens.entries = good
        tokens.write()
        assert tokens.secrets["reader"] not in server.log()


def test_a_server_does_not_start_with_tokens_it_cannot_read(tmp_path):
    tokens = Tokens(tmp_path / "tokens.toml")
    entry = tokens.entries
    tokens.add("x", "acme", "reader")
    entry["x"] = entry["x"].replace("reader", "king")
    tokens.write()
    flags = ["--listen", "127.0.0.1:0", "--data-dir", tmp_path / "data"]
    ended = run("serve", *flags, "--tokens-file", tokens.path)
    assert ended.returncode == 78 and b"role" in ended.stderr and b"tokens.toml:" in ended.stderr
    tokens.path.chmod(0o604)
    ended = run("serve", *flags, "--tokens-file", tokens.path)
    assert ended.returncode == 78 and b"mode 604" in ended.stderr
    ended = run("serve", *flags, "--tokens-file", tmp_path / "none.toml")
    assert ended.returncode == 78


def test_the_command_line_shows_its_token(guarded, tokens, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(tokens.secrets["reader"] + "\n", encoding="utf-8")
    secret.chmod(0o600)
    server = f"http://{guarded.address}"
    got = run("get", "k", "-n", "acme", "-s", server, env={"PYKV_TOKEN_FILE": str(secret)})
    assert (got.returncode, got.stdout) == (0, b"v")
    refused = run("set", "k", "x", "-n", "acme", "-s", server, "--token-file", secret)
    assert refused.returncode == 77 and b"ROLE_INSUFFICIENT" in refused.stderr
    assert run("get", "k", "-n", "acme", "-s", server).returncode == 77
    assert run("health", "-s", server).returncode == 0


def test_who_guesses_tokens_waits_and_others_do_not(data_dir, tmp_path):
    import time

    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("reader", "acme", "reader")
    get = pb.GetRequest(namespace="acme", key="k")
    guess = [("authorization", "Bearer kv1_" + "0" * 24 + "_" + "A" * 43)]
    with Server(data_dir, "--tokens-file", tokens.path) as server, Client(server.address) as client:
        begun = time.monotonic()
        calls = [client.kv.Get.future(get, metadata=guess) for _ in range(40)]
        known = client.kv.Get(get, metadata=tokens.metadata("reader"))
        assert not known.HasField("entry") and time.monotonic() - begun < 0.9
        assert {call.code().name for call in calls} == {"UNAUTHENTICATED"}
        assert time.monotonic() - begun >= 1.0
