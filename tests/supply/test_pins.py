"""What is downloaded is what was looked at: exact versions, by hash, from wherever this machine gets them."""

import json
import pathlib
import re
import subprocess
import tomllib
from collections import Counter

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
E2E = ROOT / "tests/e2e"
# What is planted here is wrong on purpose.
OWN = "tests/supply/test_pins.py"
# In halves, so that this file does not name them.
HOSTS = [f"{first}.{second}" for first, second in [
    ("pypi", "org"), ("pythonhosted", "org"), ("registry.npmjs", "org"), ("registry.yarnpkg", "com"),
    ("index.crates", "io"), ("static.crates", "io"), ("proxy.golang", "org"), ("sum.golang", "org"),
    ("repo1.maven", "org"), ("repo.maven.apache", "org"), ("rubygems", "org"), ("ghcr", "io"),
    ("registry-1.docker", "io"), ("deb.debian", "org"),
]]  # fmt: skip
# A setting that says where packages come from.
SETTING = re.compile(
    r"--(?:extra-)?index-url|--find-links|\bregistry\s*=\s*[\"']?https?:|"
    r"(?:PIP|NPM_CONFIG|CARGO_REGISTRIES|UV)_\w*(?:INDEX|REGISTRY)\w*=|\bGOPROXY=",
    re.I,
)
SETTINGS = (".npmrc", ".yarnrc", "pip.conf", ".pypirc", ".cargo/config.toml", ".cargo/config")
# What resolves versions, of each tool. `fmt` and what only takes text resolve none.
CARGO = re.compile(
    r"\bcargo(?:_in_root)?[\"',\s]+(?:\+\S+\s+)?"
    r"(?:build|b|test|t|run|r|check|c|bench|doc|clippy|fetch|metadata|tree|install)\b[^\n]*"
)
NPM = re.compile(r"\bnpm[\"',\s]+(?:i|install|add|update|exec)\b[^\n]*|\bnpx\b[^\n]*")
PIP = re.compile(r"\bpip3?[\"',\s]+install\b[^\n]*")
PINNED = re.compile(r"--require-hashes|\S+==[\d.]+(?:\s|$)")


def committed():
    """Every text file of the project, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    texts = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and b"\0" not in (data := path.read_bytes())[:8000]:
            texts[name] = data.decode("utf-8", "replace")
    return texts


def programs(texts):
    """What is run by machines: scripts, images, workflows, tests. What people read is not."""
    ran = {name: text for name, text in texts.items() if text.startswith("#!")}
    kinds = (".sh", ".py", ".yml", ".yaml", "Dockerfile")
    return ran | {name: text for name, text in texts.items() if name.endswith(kinds)}


def unpinned_commands(text):
    """The commands of a script that may take other versions than were looked at."""
    text = re.sub(r"\\\n\s*", "", text)
    bad = [line for line in CARGO.findall(text) if "--locked" not in line and "--frozen" not in line]
    bad += NPM.findall(text)
    bad += [line for line in PIP.findall(text) if not PINNED.search(line)]
    return bad


def unpinned_requirements(text, lock):
    """What is wrong with a list of Python packages, or with what it is locked to."""
    bad, locked = [], {}
    for entry in lock.replace("\\\n", " ").splitlines():
        if entry.strip() and not entry.startswith("#"):
            known = re.match(r"([\w.-]+)==(\S+)(?: ;[^-]+)?((?: +--hash=sha256:[0-9a-f]{64})+)$", entry)
            if known:
                locked[known[1]] = known[2]
            else:
                bad.append(entry)
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            wanted = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.]+)$", line)
            if not wanted or locked.get(wanted[1].lower()) != wanted[2]:
                bad.append(line)
    return bad


def unpinned_node(package, lock):
    """What is wrong with the wishes of a Node package, or with what they are locked to."""
    exact = re.compile(r"\d+\.\d+\.\d+$")
    bad = [f"{name} {wish}" for name, wish in package["dependencies"].items() if not exact.match(wish)]
    for name, entry in lock["packages"].items():
        if name and not (entry.get("integrity", "").startswith("sha512-") and "resolved" not in entry):
            bad.append(name)
    return bad


def unpinned_crates(lock):
    """The crates of a lock file that are not from where most are, or without a checksum."""
    foreign = [crate for crate in tomllib.loads(lock)["package"] if crate["name"] != "pykv"]
    ((registry, _),) = Counter(crate.get("source") for crate in foreign).most_common(1)
    # Which one it is, deny.toml rules.
    assert registry.startswith("registry+")
    hashed = re.compile(r"[0-9a-f]{64}$")
    return [
        crate["name"]
        for crate in foreign
        if crate.get("source") != registry or not hashed.match(crate.get("checksum", ""))
    ]


def named_hosts(name, text):
    """The registries a file names, and the settings it makes for them."""
    bad = [host for host in HOSTS if re.search(rf"(?<![\w-]){re.escape(host)}\b", text)]
    bad += SETTING.findall(text)
    if name.endswith(SETTINGS):
        bad.append(name)
    return bad


def test_every_python_package_is_exact_and_hashed():
    text = (E2E / "requirements.txt").read_text()
    assert unpinned_requirements(text, (E2E / "requirements.lock").read_text()) == []


@pytest.mark.parametrize(
    "text, lock, expected",
    [
        ("a==1", f"a==1 \\\n    --hash=sha256:{'0' * 64}\n", []),
        ("a[x]==1", f"a==1 ; python_version < '4' \\\n    --hash=sha256:{'0' * 64}\n", []),
        ("a>=1", f"a==1 --hash=sha256:{'0' * 64}\n", ["a>=1"]),
        ("a==2", f"a==1 --hash=sha256:{'0' * 64}\n", ["a==2"]),
        ("a==1\nb==1", f"a==1 --hash=sha256:{'0' * 64}\n", ["b==1"]),
        ("", "a==1\n", ["a==1"]),
    ],
)
def test_a_python_package_that_is_not_pinned_is_seen(text, lock, expected):
    assert unpinned_requirements(text, lock) == expected


def test_every_node_package_is_exact_and_hashed():
    package = json.loads((E2E / "web/package.json").read_text())
    lock = json.loads((E2E / "web/package-lock.json").read_text())
    assert unpinned_node(package, lock) == []
    assert lock["packages"][""]["dependencies"] == package["dependencies"]


def test_a_node_package_that_is_not_pinned_is_seen():
    sound = {"integrity": "sha512-abc"}
    lock = {"": {}, "a": sound, "b": {}, "c": sound | {"resolved": "https://elsewhere.invalid"}}
    wishes = {"a": "1.2.3", "b": "^1.2.3", "c": "latest"}
    expected = ["b ^1.2.3", "c latest", "b", "c"]
    assert unpinned_node({"dependencies": wishes}, {"packages": lock}) == expected


def test_every_crate_is_hashed_and_from_one_registry():
    assert unpinned_crates((ROOT / "Cargo.lock").read_text()) == []


def test_a_crate_without_a_checksum_or_from_elsewhere_is_seen():
    text = (ROOT / "Cargo.lock").read_text()
    assert unpinned_crates(re.sub(r'(name = "h2"\n.*\n.*\n)checksum = .*', r"\1", text)) == ["h2"]
    moved = re.sub(r'(name = "h2"\n.*\n)source = .*', r'\1source = "git+https://x.invalid"', text)
    assert unpinned_crates(moved) == ["h2"]


def test_nothing_that_runs_takes_other_versions_than_are_locked():
    ran = programs(committed())
    assert {"tests/run", ".ci/run", "tests/supply/check"} <= set(ran)
    ran.pop(OWN, None)
    assert {name: bad for name, text in ran.items() if (bad := unpinned_commands(text))} == {}


@pytest.mark.parametrize(
    "command, bad",
    [
        ("cargo build --release --locked", False),
        ("cargo build --release", True),
        ("cargo build \\\n    --release \\\n    --locked", False),
        ('step "cargo test" cargo_in_root test', True),
        ('run("cargo", "metadata")', True),
        ("cargo +nightly test", True),
        ("cargo fmt --check", False),
        ("npm ci --silent", False),
        ("npm install left-pad", True),
        ("npx left-pad", True),
        ("pip install --require-hashes -r x", False),
        ("pip install uv==0.13.9", False),
        ("pip install -r requirements.txt", True),
        ("pip install pytest", True),
    ],
)
def test_a_command_that_takes_what_comes_is_seen(command, bad):
    assert bool(unpinned_commands(command)) is bad


def test_no_registry_is_named_in_the_project():
    named = {name: named_hosts(name, text) for name, text in committed().items()}
    named.pop(OWN, None)
    assert len(named) > 100
    assert {name: bad for name, bad in named.items() if bad} == {}


@pytest.mark.parametrize(
    "name, text",
    [
        *[("a.txt", f"see https://{host}/simple") for host in HOSTS],
        ("a.txt", "pip install --index-url=https://mirror.invalid"),
        (".env", "PIP_INDEX_URL=https://mirror.invalid"),
        ("Dockerfile", "ENV GOPROXY=off"),
        ("web/.npmrc", "audit=false"),
        (".cargo/config.toml", ""),
    ],
)
def test_a_registry_that_is_named_is_seen(name, text):
    assert named_hosts(name, text) != []


def test_the_compiler_refuses_unsafe_code_and_the_binary_overflow():
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert manifest["lints"]["rust"]["unsafe_code"] == "forbid"
    assert manifest["profile"]["release"]["overflow-checks"] is True
    assert manifest["profile"]["dist"]["inherits"] == "release"
    assert "overflow-checks" not in manifest["profile"]["dist"]
