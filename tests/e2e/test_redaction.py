"""What people keep in the server, and what they show to it, is in no log, no metric and no trace."""

import contextlib
import itertools
import json
import secrets

import grpc
import pytest
from harness.access import Tokens
from harness.calls import Client, refusal_of
from harness.http import ask
from harness.server import Server, eventually, run
from harness.wire import pb, ttl

# Everything the binary has to say; a release build leaves the finest out altogether.
LOUD = "info,pykv=trace"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_key_value_or_token_leaves_by_another_door(data_dir, tmp_path, form):
    key, value, wrong = (f"canary{secrets.token_hex(12)}" for _ in range(3))
    tokens = Tokens(tmp_path / "tokens.toml")
    token = tokens.add("root", "*", "admin")
    guess = token[:-6] + wrong[-6:]
    # Everything is slow, so everything is told of.
    flags = ["--log-filter", LOUD, "--log-format", form, "--tokens-file", tokens.path]
    flags += ["--set", "slow_operation_threshold=0s"]
    told = []
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        root = tokens.metadata("root")
        payload = value.encode()
        entry = {"namespace": "acme", "key": key, "value": payload}
        client.kv.Set(pb.SetRequest(**entry), metadata=root)
        client.kv.Get(pb.GetRequest(namespace="acme", key=key), metadata=root)
        batch = pb.BatchWriteRequest(
            namespace="acme", operations=[pb.WriteOperation(set=pb.SetRequest(**entry))]
        )
        client.kv.BatchWrite(batch, metadata=root)
        requests = [pb.PipelineRequest(id=1, set=pb.SetRequest(**entry))]
        list(client.kv.Pipeline(iter(requests), metadata=root))
        list(client.kv.ScanEntries(pb.ScanEntriesRequest(namespace="acme", prefix=key), metadata=root))
        refusals = [
            (client.kv.Increment, pb.IncrementRequest(namespace="acme", key=key, delta=1), root),
            (client.kv.Set, pb.SetRequest(**entry, expiration=ttl(0)), root),
            (client.kv.Set, pb.SetRequest(namespace="acme", key=key, value=payload * 50_000), root),
            (client.kv.Get, pb.GetRequest(namespace=f"-{key}", key=key), root),
            (client.kv.Get, pb.GetRequest(namespace="acme", key=key * 200), root),
            (client.kv.Get, pb.GetRequest(namespace="acme", key=key),
             [("authorization", f"Bearer {guess}")]),
        ]  # fmt: skip
        for call, request, metadata in refusals:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, metadata=metadata, timeout=20)
            refusal = refusal_of(caught.value)
            told.append(f"{refusal}")
        headers = tokens.headers("root")
        place = f"/v1/namespaces/acme/values/{key}"
        assert ask(server.address, "PUT", place, payload, headers).status == 204
        assert ask(server.address, "GET", f"/get/{key}?ns=acme", headers=headers).status == 200
        for path in (f"/v1/namespaces/acme/entries/{key}?nothing={value}", f"/{key}?x={value}"):
            answer = ask(server.address, "GET", path, headers=headers)
            assert answer.status in (400, 404)
        with contextlib.suppress(OSError):
            ask(server.address, "GET", "/" + key * 3000)
        eventually("slow operations are told of", lambda: "an operation was slow" in server.log())
        told.append(ask(server.address, "GET", "/metrics", headers=headers).body.decode())
        server.terminate()
        told.append(server.log())
        if form == "json":
            # A release build says first, in words, that it has nothing as fine as was asked for.
            for line in itertools.dropwhile(lambda x: x[:1] != "{", server.log().splitlines()):
                json.loads(line)
    secrets_of = {"key": key, "value": value, "token": token.split("_", 2)[2], "guess": guess[-30:]}
    for text in told[:-1]:
        for name in ("value", "token", "guess"):
            assert secrets_of[name] not in text, f"a {name} in {text[:400]}"
    for text in told[-2:]:
        for name, secret in secrets_of.items():
            assert secret not in text, f"a {name} in a log or a metric"


def test_a_request_has_one_name_for_its_caller_and_for_the_log(data_dir):
    flags = ["--log-format", "json", "--set", "slow_operation_threshold=0s"]
    with Server(data_dir, *flags) as server, Client(server.address) as client:
        get = pb.GetRequest(namespace="acme", key="k")
        _, call = client.kv.Get.with_call(get, metadata=[("x-request-id", "mine-1")])
        assert dict(call.initial_metadata())["x-request-id"] == "mine-1"
        answer = ask(server.address, "GET", "/get/k?ns=acme", headers={"x-request-id": "mine-2"})
        assert answer.headers["x-request-id"] == "mine-2"
        named = ask(server.address, "GET", "/get/k?ns=acme").headers["x-request-id"]

        def lines():
            found = [json.loads(line) for line in server.log().splitlines()]
            return [line["fields"] for line in found if "request_id" in line["fields"]]

        for name in ("mine-1", "mine-2", named):
            eventually(f"{name} is told of", lambda name=name: [x for x in lines() if x["request_id"] == name])
        line = next(line for line in lines() if line["request_id"] == "mine-1")
        assert line["method"] == "pykv.v1.KeyValueService/Get" and line["namespace"] == "acme"
        assert line["elapsed_ms"] > 0 and line["peer"].startswith("127.0.0.1:")
        request = pb.ListLoggedOperationsRequest(log=pb.OPERATION_LOG_SLOW)
        kept = client.admin.ListLoggedOperations(request).operations
        assert {"mine-1", "mine-2", named} <= {operation.request_id for operation in kept}


def test_a_flood_of_slow_operations_is_not_a_flood_of_lines(data_dir):
    with Server(data_dir, "--set", "slow_operation_threshold=0s") as server:
        with Client(server.address) as client:
            get = pb.GetRequest(namespace="acme", key="k")
            calls = [client.kv.Get.future(get) for _ in range(2000)]
            assert all(call.result() is not None for call in calls)
            assert 100 <= server.log().count("an operation was slow") < 500


def test_what_a_token_is_called_is_no_secret_but_its_digest_and_text_are_not_printed(tmp_path):
    tokens = Tokens(tmp_path / "tokens.toml")
    token = tokens.add("root", "*", "admin")
    checked = run("config", "check", "--tokens-file", tokens.path)
    printed = run("config", "print", "--tokens-file", tokens.path)
    assert checked.returncode == printed.returncode == 0
    for text in (checked.stdout, checked.stderr, printed.stdout):
        assert token.encode() not in text and b"sha256 =" not in text
    assert token not in tokens.path.read_text(encoding="utf-8")
