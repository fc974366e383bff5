"""Clients of browsers and of Node reach every method, over every transport they have."""

import base64
import json
import os
import subprocess
from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc
from harness.http import ask
from harness.wire import ROOT, pb

HERE = Path(__file__).parent / "web"
# Where the packages of `web/package.json` are installed.
PACKAGES = Path(os.environ.get("E2E_WEB", ROOT / "target/e2e-web"))
MINUTES_MAX = 5
CASES_MIN = 190


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """The schema in JavaScript."""
    out = tmp_path_factory.mktemp("stubs")
    schema = ROOT / "proto"
    files = [str(file.relative_to(schema)) for file in schema.rglob("*.proto")]
    plugin = PACKAGES / "node_modules/.bin/protoc-gen-es"
    assert plugin.exists(), f"no packages: npm ci in {PACKAGES}, with what is in {HERE}"
    arguments = ["protoc", f"--plugin=protoc-gen-es={plugin}", f"-I{schema}"]
    arguments += [f"-I{Path(grpc_tools.__file__).parent / '_proto'}", f"--es_out={out}"]
    arguments += ["--es_opt=target=js,import_extension=js", *files]
    assert protoc.main(arguments) == 0
    # A module is looked for beside the file that names it.
    (out / "node_modules").symlink_to(PACKAGES / "node_modules")
    (out / "package.json").write_text('{"type": "module"}')
    for script in HERE.glob("*.mjs"):
        (out / script.name).write_text(script.read_text())
    return out


def test_every_method_is_reached_over_every_transport(server, stubs):
    ran = subprocess.run(
        ["node", "clients.mjs", f"http://{server.address}", str(stubs)],
        cwd=stubs,
        capture_output=True,
        text=True,
        timeout=MINUTES_MAX * 60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    cases = [json.loads(line) for line in ran.stdout.splitlines()]
    failed = [case for case in cases if case["error"]]
    assert not failed, json.dumps(failed, indent=1)
    assert len({case["transport"] for case in cases}) == 6 and len(cases) >= CASES_MIN


def frames(body):
    """The frames of gRPC-Web: whether it is the trailers, and what is in it."""
    while body:
        kind, length = body[0], int.from_bytes(body[1:5], "big")
        yield kind == 0x80, body[5 : 5 + length]
        body = body[5 + length :]


def test_the_text_form_of_grpc_web_is_base64_both_ways(server, client, name):
    client.set(name, "k", b"v")
    get = pb.GetRequest(namespace=name, key="k").SerializeToString()
    scan = pb.ScanEntriesRequest(namespace=name).SerializeToString()
    for method, message in (("Get", get), ("ScanEntries", scan)):
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        kind = "application/grpc-web-text+proto"
        path = f"/pykv.v1.KeyValueService/{method}"
        headers = {"content-type": kind, "accept": kind}
        answer = ask(server.address, "POST", path, base64.b64encode(framed), headers)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        # Each piece is encoded by itself, so padding may stand in the middle.
        pieces = answer.body.replace(b"=", b"= ").replace(b"= =", b"==").split()
        found = list(frames(b"".join(base64.b64decode(piece) for piece in pieces)))
        assert [is_trailers for is_trailers, _ in found] == [False, True]
        assert b"grpc-status:0" in found[1][1].replace(b" ", b"")
        if method == "Get":
            assert pb.GetResponse.FromString(found[0][1]).entry.value == b"v"
