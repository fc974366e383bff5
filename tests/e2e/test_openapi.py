"""The description of the HTTP routes: it is valid, it is true, and its pages load nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from harness.http import ask, ask_json
from harness.server import Server
from openapi_spec_validator import validate

CASES_MIN = 5000
# Of each operation. Those with few parameters have fewer.
CASES_MAX = 120
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
PHASES = "examples,coverage,fuzzing,stateful"
# A stream without an end, and what makes all other routes refuse everything.
LEFT_OUT = ("/v1/namespaces/{namespace}:watch", "/v1/config")
MINUTES_MAX = 15


def test_the_description_is_valid_and_the_one_that_is_committed(server):
    answer = ask(server.address, "GET", "/openapi.json")
    document = answer.json()
    validate(document)
    assert document["openapi"] == "3.1.0"
    golden = Path(__file__).parents[1] / "golden/openapi.json"
    assert answer.body == golden.read_bytes()


def test_thousands_of_requests_are_answered_as_the_description_says(data_dir, rng, tmp_path):
    with Server(data_dir) as server:
        command = [Path(sys.executable).with_name("schemathesis"), "run"]
        command += [f"http://{server.address}/openapi.json", "--checks", ",".join(CHECKS)]
        command += ["--phases", PHASES, "--max-examples", CASES_MAX, "--seed", rng.getrandbits(32)]
        # One thread: with more, Python 3.11 now and then fails to parse its own source.
        command += ["--suppress-health-check", "all", "--workers", 1, "--no-color"]
        for path in LEFT_OUT:
            command += ["--exclude-path", path]
        ran = subprocess.run(
            [str(word) for word in command],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
            capture_output=True,
            text=True,
            timeout=MINUTES_MAX * 60,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
        counted = re.search(r"(\d+) generated, (\d+) passed", ran.stdout)
        assert counted, ran.stdout[-3000:]
        generated, passed = map(int, counted.groups())
        print(f"{generated} cases")
        assert generated == passed and generated >= CASES_MIN
        assert ask(server.address, "GET", "/health").json()["status"] == "healthy"


CODES = {
    "CANCELLED": 499, "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504, "INTERNAL": 500, "UNKNOWN": 500, "DATA_LOSS": 500,
}  # fmt: skip
METHODS = ("get", "put", "post", "patch", "delete")


def operations(server):
    """Every operation of the schema: method, path, and what is said about it."""
    paths = ask(server.address, "GET", "/openapi.json").json()["paths"]
    for path, place in paths.items():
        for method in METHODS:
            if path.startswith("/v1") and method in place:
                yield method.upper(), path, place[method]


def test_every_code_that_a_comment_names_is_among_the_responses(server):
    named = 0
    for method, path, operation in operations(server):
        _, _, errors = operation.get("description", "").partition("Errors:")
        errors = errors.split("\n\n")[0]
        while (bare := re.sub(r"\([^()]*\)", "", errors)) != errors:
            errors = bare
        for code in re.findall(r"\b[A-Z_]{5,}\b", errors):
            if code in CODES:
                named += 1
                assert str(CODES[code]) in operation["responses"], (method, path, code)
    assert named > 40


def test_every_body_that_is_offered_as_an_example_is_accepted(server):
    tried = 0
    for method, path, operation in operations(server):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if not content or not operation["operationId"].split("_")[0].endswith("Service"):
            continue
        place = path.replace("{namespace}", "acme").replace("{key}", "user:123")
        answer = ask_json(server.address, method, place, content["example"])
        # What is not there yet, or is there already, is not the example's fault.
        assert answer.status in (200, 404, 409), (method, place, content["example"], answer.body)
        tried += 1
    assert tried > 10


def test_the_pages_load_nothing_from_elsewhere(server):
    for path in ("/docs", "/redoc"):
        page = ask(server.address, "GET", path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = dict(
            part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        text = page.body.decode()
        assert "PyKV" in text and "<style" not in text and not re.search(r"<script(?! src)", text)
        loaded = re.findall(r'(?:src|href)="([^"#]+)"', text)
        assert loaded
        for place in loaded:
            if not place.startswith("data:,"):
                assert place.startswith("/") and not place.startswith("//"), place
                assert ask(server.address, "GET", place).status == 200, place
                assert ask(server.address, "HEAD", place).body == b""
        refused = ask(server.address, "POST", path)
        assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
    assert json.loads(ask(server.address, "GET", "/openapi.json").body)["info"]["title"] == "PyKV"
