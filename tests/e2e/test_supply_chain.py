"""What is in the tree is known, pinned and allowed; and the checks that say so notice when it is not."""

import json
import os
import re
import shutil
import subprocess
import tomllib

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from harness.wire import ROOT

SUPPLY = ROOT / "tests/supply"
ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2026-9999"
package = "prost"
date = "2026-01-01"

[versions]
patched = [">= 99.0.0"]
```

# A fault for a test

It is there to be found.
"""


def check(*arguments, **more):
    """What cargo-deny says, and whether it lets the tree pass."""
    assert shutil.which("cargo-deny"), "cargo-deny is missing: tests/run installs it"
    ran = subprocess.run(
        [str(SUPPLY / "check"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        timeout=300,
        check=False,
    )
    return ran.returncode == 0, ran.stdout + ran.stderr


def test_the_tree_has_no_known_fault_and_nothing_that_must_not_come_in():
    passes, said = check()
    assert passes, said[-4000:]


def test_an_advisory_a_licence_and_a_ban_are_noticed(tmp_path):
    advisory = tmp_path / "prost.md"
    advisory.write_text(ADVISORY, encoding="utf-8")
    passes, said = check(EXTRA_ADVISORY=str(advisory))
    assert not passes and "RUSTSEC-2026-9999" in said and "advisories FAILED" in said
    settings = (ROOT / "deny.toml").read_text(encoding="utf-8")
    for before, after, told in (
        ('    "MIT",\n', "", "licenses FAILED"),
        ('{ crate = "openssl",', '{ crate = "ring", reason = "a test" },\n    { crate = "openssl",',
         "bans FAILED"),
    ):  # fmt: skip
        assert before in settings
        other = tmp_path / "deny.toml"
        other.write_text(settings.replace(before, after), encoding="utf-8")
        passes, said = check(ROOT / "Cargo.toml", other)
        assert not passes and told in said, said[-2000:]


def sbom():
    """The list of what is in the binary."""
    return subprocess.run([str(SUPPLY / "sbom")], capture_output=True, text=True, check=True).stdout


def test_the_list_of_what_is_in_the_binary_is_valid_complete_and_always_the_same():
    text = sbom()
    assert text == sbom()
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"shelf"')) is not None
    listed = json.loads(text)
    found = {(c["name"], c["version"]) for c in listed["components"]}
    command = ["cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none",
               "--target", "x86_64-unknown-linux-gnu", "--format", "{p}"]  # fmt: skip
    tree = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    expected = set(re.findall(r"^(\S+) v(\S+)", tree, re.M)) - {("pykv", listed_version(listed))}
    assert found == expected
    assert {"tonic", "rustls", "ring", "mimalloc"} <= {name for name, _ in found}
    assert not {"proptest", "tempfile", "protox"} & {name for name, _ in found}
    for component in listed["components"]:
        assert component["hashes"] and component["licenses"], component


def listed_version(listed):
    """The version of the server itself."""
    return listed["metadata"]["component"]["version"]


def test_everything_is_pinned_and_no_lock_names_a_host():
    requirements = (ROOT / "tests/e2e/requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,-]+\])?==[0-9][0-9a-z.]*", line), line
    locks = list((ROOT / "tests").rglob("package-lock.json"))
    assert locks and (ROOT / "Cargo.lock").is_file()
    for lock in locks:
        packages = json.loads(lock.read_text(encoding="utf-8"))["packages"]
        for name, package in packages.items():
            assert not name or package.get("integrity", "").startswith("sha512-"), name
            assert "resolved" not in package, name
    run = (ROOT / "tests/run").read_text(encoding="utf-8") + (ROOT / ".ci/run").read_text(encoding="utf-8")
    for line in run.splitlines():
        if re.search(r"\bcargo(_in_root)? (build|test|clippy|doc|bench|install)\b", line):
            assert "--locked" in line, line
        assert "npm install" not in line


def test_what_the_security_page_says_of_the_code_is_set():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    assert manifest["lints"]["rust"]["unsafe_code"] == "forbid"
    assert manifest["profile"]["release"]["overflow-checks"] is True
    assert manifest["profile"]["dist"]["inherits"] == "release"
