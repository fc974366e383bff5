"""What the README shows works as it is shown: every block of its sixty seconds."""

import json
import re
import subprocess
import sys

import pytest
from harness.server import Server, binary, environment
from harness.wire import ROOT

SHOWN = "127.0.0.1:8000"
# The command a reader types for what they have built; here it is the binary under test.
ALIAS = "alias pykv=target/release/pykv"


def blocks(language, heading="Sixty seconds"):
    """The blocks of a section, in order, with their text."""
    text = (ROOT / "README.md").read_text()
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.S)


def shell_lines(program, heading="Sixty seconds"):
    lines = [line for block in blocks("sh", heading) for line in block.splitlines()]
    return [line for line in lines if line.startswith(program + " ")]


@pytest.fixture(scope="module")
def shell(server, tmp_path_factory):
    """Runs a line as a shell would, against the shared server."""
    bin_dir = tmp_path_factory.mktemp("bin")
    (bin_dir / "pykv").symlink_to(binary())

    def run(line):
        variables = environment({"PYKV_SERVER": f"http://{server.address}"})
        variables["PATH"] = f"{bin_dir}:{variables['PATH']}"
        line = line.replace(SHOWN, server.address)
        done = subprocess.run(["sh", "-c", line], env=variables, capture_output=True, timeout=30)
        assert done.returncode == 0, (line, done)
        return done.stdout

    return run


def test_the_commands_shown_work_in_the_order_shown(shell):
    assert any(ALIAS in block for block in blocks("sh"))
    answers = {line: shell(line) for line in shell_lines("pykv")}
    assert answers["pykv get greeting"].strip() == b"hello"
    assert b"acme" in answers["pykv stats"]
    assert len(answers) == 5


def test_what_is_shown_for_curl_answers(shell):
    lines = [line.replace("curl ", "curl -sf ") for line in shell_lines("curl")]
    written, value, ready, metrics = map(shell, lines)
    assert (written, value, ready) == (b"", b"hello", b"ready\n")
    assert b"pykv_keys" in metrics


def test_what_is_shown_over_http_answers(shell):
    lines = shell_lines("curl", "Over HTTP")
    answers = [json.loads(shell(line.replace("curl ", "curl -sf "))) for line in lines]
    written, read, counted, scanned, called = answers
    assert written["applied"] and counted["value"] == "1"
    assert read["entry"]["value"] == called["entry"]["value"] == "aGVsbG8="
    assert [entry["key"] for entry in scanned["result"]["entries"]] == ["user/1"]


def test_the_client_shown_works_with_the_stubs_made_as_shown(tmp_path):
    (generate,) = [line for line in shell_lines("python") if "grpc_tools.protoc" in line]
    generate = generate.replace("python ", f"{sys.executable} ", 1)
    (tmp_path / "proto").symlink_to(ROOT / "proto")
    done = subprocess.run(["sh", "-c", generate], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done
    (program,) = blocks("python")
    with Server(tmp_path / "data") as server:
        program = program.replace(SHOWN, server.address)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=30
        )
    assert done.stdout == b"b'hello'\n", done
