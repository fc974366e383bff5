"""Clients of browsers and of Node: every method, over every transport, as they would use it."""

import importlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import grpc_tools
import pytest
from grpc_tools import protoc
from harness.server import Server
from harness.wire import FILES, ROOT

HERE = Path(__file__).parent / "web"
# Where the packages of `web/package.json` are installed: `tests/run` does it.
PACKAGES = Path(os.environ.get("E2E_WEB", ROOT / "target/e2e-web"))
# All cases together take some ten seconds; each of them at most 20.
MINUTES_MAX = 5
UNARY, DOWN, UP = "unary", "server streaming", "uploads"
CARRIED = {
    "web-grpc-web": (UNARY, DOWN),
    "web-connect-json": (UNARY,),
    "web-connect-proto": (UNARY,),
    "node-grpc": (UNARY, DOWN, UP),
    "node-grpc-web-http1": (UNARY, DOWN),
    "node-grpc-web-http2": (UNARY, DOWN),
    "node-connect-json-http2": (UNARY,),
}
# Cases that are not named after a method: of errors, values and streams, or that there are none.
MORE_CASES_MIN = {True: 8 + 5 + 6, False: 8 + 5 + 1}
OTHERS_MIN = {"schema": 1, "grpc-web-text": 4, "cors": 5, "http1": 3}


def methods(*kinds):
    """The full names of all methods of these kinds that the schema has."""
    found = set()
    for file in FILES:
        descriptor = importlib.import_module(f"pykv.v1.{file}_pb2").DESCRIPTOR
        for service in descriptor.services_by_name.values():
            for method in service.methods:
                kind = DOWN if method.server_streaming else UNARY
                kind = UP if method.client_streaming else kind
                if kind in kinds:
                    found.add(f"{service.full_name}/{method.name}")
    return found


def generate(folder):
    """Has `protoc-gen-es` write the schema as JavaScript."""
    plugin = PACKAGES / "node_modules/.bin/protoc-gen-es"
    assert plugin.exists(), f"no packages: npm ci in {PACKAGES}, with what is in {HERE}"
    schema = ROOT / "proto"
    arguments = ["protoc", f"-I{schema}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    arguments += [f"--plugin=protoc-gen-es={plugin}", f"--es_out={folder}"]
    arguments += ["--es_opt=target=js,import_extension=js"]
    arguments += sorted(str(path.relative_to(schema)) for path in schema.rglob("*.proto"))
    assert protoc.main(arguments) == 0, "the schema does not compile for JavaScript"


@pytest.fixture(scope="module")
def report(server, tmp_path_factory):
    """What came of every case: by transport and name, what is wrong."""
    flags = ("--set", "cors_origins=https://app.example")
    # A script looks for packages in the folders above it.
    folder = tempfile.TemporaryDirectory(prefix="run-", dir=PACKAGES)
    with folder as place, Server(tmp_path_factory.mktemp("cors"), *flags) as cors:
        for script in HERE.glob("*.js"):
            shutil.copy(script, place)
        (Path(place) / "gen").mkdir()
        generate(Path(place) / "gen")
        ran = subprocess.run(
            ["node", "main.js", server.address, cors.address],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=MINUTES_MAX * 60,
            check=False,
        )
    print(ran.stdout.rpartition("\n{")[0])
    assert ran.returncode == 0, ran.stderr[-6000:]
    summary = json.loads(ran.stdout.splitlines()[-1])
    assert set(summary["groups"]) == {*CARRIED, *OTHERS_MIN}
    return summary


def require_passed(cases, count_min):
    """Fails with all that went wrong, and when there are fewer cases than there should be."""
    failed = [f"--- {name}\n{error}" for name, error in cases.items() if error]
    assert not failed, "\n".join([f"{len(failed)} of {len(cases)} cases failed", *failed])
    assert len(cases) >= count_min


@pytest.mark.parametrize("transport", CARRIED)
def test_every_case_passes_over_every_transport(report, transport):
    kinds = CARRIED[transport]
    count_min = len(methods(*kinds)) + MORE_CASES_MIN[DOWN in kinds]
    require_passed(report["groups"][transport], count_min)


@pytest.mark.parametrize("transport", CARRIED)
def test_every_method_of_the_schema_is_answered(report, transport):
    expected = methods(*CARRIED[transport])
    assert len(expected) >= 24
    assert set(report["answered"][transport]) >= expected
    assert set(report["groups"][transport]) >= expected


@pytest.mark.parametrize("group", OTHERS_MIN)
def test_what_no_client_shows_is_as_it_should_be(report, group):
    require_passed(report["groups"][group], OTHERS_MIN[group])
