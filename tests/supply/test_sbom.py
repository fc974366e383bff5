"""The bill of materials is what the schema of CycloneDX asks for, and of the binary that was built."""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import sbom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

# What a panic says of its place, and so what a binary says of its parts.
CRATE = re.compile(rb"/registry/src/[^/\0]+/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[A-Za-z0-9_.+-]*)/")
COMPILER = re.compile(rb"/rustc/([0-9a-f]{40})/")


@pytest.fixture(scope="module")
def bill():
    """The bill for this machine's binary."""
    return sbom.bill()


@pytest.fixture(scope="module")
def binary():
    """What is in the binary that is released."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", sbom.ROOT / "target"))
    path = pathlib.Path(os.environ.get("PYKV_BIN", target / "release/pykv"))
    return path.read_bytes()


def invalid(bill):
    """What the schema has against a bill; nothing where it is sound."""
    return str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) or "")


def unlisted(binary, bill):
    """The crates and compilers a binary speaks of that its bill does not know."""
    listed = {(part["name"], part["version"]) for part in bill["components"]}
    spoken = {(name.decode(), version.decode()) for name, version in CRATE.findall(binary)}
    (std,) = [part for part in bill["components"] if part["name"] == "std"]
    commits = {commit.decode() for commit in COMPILER.findall(binary)}
    assert len(spoken) > 50, "too few to be all: is this the binary, and not stripped of its paths?"
    assert commits, "which compiler made this?"
    return sorted(spoken - listed) + sorted(commits - {std["properties"][0]["value"]})


def loose(bill):
    """What the graph of a bill has wrong: parts that nothing leads to, ways that lead nowhere."""
    graph = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    parts = {part["bom-ref"] for part in bill["components"]}
    seen, ahead = set(), [bill["metadata"]["component"]["bom-ref"]]
    while ahead:
        part = ahead.pop()
        if part not in seen:
            seen.add(part)
            ahead.extend(graph.get(part, ()))
    return sorted((seen - {bill["metadata"]["component"]["bom-ref"]}) ^ parts)


def test_the_bill_is_valid_cyclonedx(bill):
    assert invalid(bill) == ""


@pytest.mark.parametrize(
    "path, value",
    [
        (["bomFormat"], "SPDX"),
        (["components", 0, "type"], "crate"),
        (["components", 0, "hashes", 0, "content"], "none"),
        (["components", 0, "licenses", 0], {"licence": "MIT"}),
        (["metadata", "timestamp"], "today"),
        (["metadata", "component", "colour"], "red"),
    ],
)
def test_a_bill_the_schema_does_not_allow_is_seen(bill, path, value):
    changed = copy.deepcopy(bill)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert invalid(changed) != ""


def test_every_crate_that_the_binary_speaks_of_is_listed(bill, binary):
    assert unlisted(binary, bill) == []


@pytest.mark.parametrize("gone", ["h2", "ring", "tokio"])
def test_a_crate_that_is_not_listed_is_seen(bill, binary, gone):
    less = bill | {"components": [part for part in bill["components"] if part["name"] != gone]}
    assert [name for name, _ in unlisted(binary, less)] == [gone]


def test_another_version_than_was_built_is_seen(bill, binary):
    other = copy.deepcopy(bill)
    (part,) = [part for part in other["components"] if part["name"] == "h2"]
    built, part["version"] = part["version"], "0.4.15"
    assert unlisted(binary, other) == [("h2", built)]


def test_another_compiler_than_built_is_seen(bill, binary):
    other = copy.deepcopy(bill)
    (part,) = [part for part in other["components"] if part["name"] == "std"]
    built, part["properties"][0]["value"] = part["properties"][0]["value"], "0" * 40
    assert unlisted(binary, other) == [built]


def test_what_only_builds_or_tests_is_not_listed(bill):
    others = {"proptest", "tempfile", "protox", "tonic-prost-build", "zip", "syn", "quote"}
    # The list is worth something only as long as these are in the tree.
    assert others - {name for name, _ in sbom.checksums()} == set()
    assert others & {part["name"] for part in bill["components"]} == set()


def test_what_is_in_the_binary_and_no_crate_is_listed_too(bill):
    parts = [part for part in bill["components"] if not part["purl"].startswith("pkg:cargo/")]
    assert sorted(part["name"] for part in parts) == ["mimalloc", "std", "swagger-ui-dist"]


def test_everything_listed_is_named_licensed_and_hashed(bill):
    sums = sbom.checksums()
    for part in bill["components"]:
        assert part["purl"].startswith("pkg:") and part["licenses"][0]["expression"], part
        if part["purl"].startswith("pkg:cargo/"):
            assert part["hashes"][0]["content"] == sums[part["name"], part["version"]], part


def test_the_graph_holds_together(bill):
    assert loose(bill) == []
    orphan = {"bom-ref": "pkg:cargo/orphan@1.0.0"}
    assert loose(bill | {"components": [*bill["components"], orphan]}) == [orphan["bom-ref"]]
    nowhere = {"ref": bill["dependencies"][0]["ref"], "dependsOn": ["pkg:cargo/nobody@1.0.0"]}
    assert "pkg:cargo/nobody@1.0.0" in loose(bill | {"dependencies": [*bill["dependencies"], nowhere]})


def test_the_same_commit_gives_the_same_bytes(tmp_path):
    made = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        command = [sys.executable, sbom.ROOT / "tests/supply/sbom.py", "--output", path]
        # From elsewhere, in another language and zone, with other hashes of strings.
        changed = {"PYTHONHASHSEED": str(number), "TZ": f"UTC+{number}", "LC_ALL": "C"}
        subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | changed)
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_a_bill_for_another_target_is_of_that_target():
    bills = [sbom.bill(f"{machine}-unknown-linux-musl") for machine in ("x86_64", "aarch64")]
    assert [invalid(bill) for bill in bills] == ["", ""]
    assert [bill["metadata"]["properties"][0]["value"][:6] for bill in bills] == ["x86_64", "aarch6"]
    assert bills[0]["serialNumber"] != bills[1]["serialNumber"]
