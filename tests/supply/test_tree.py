"""What the lock file brings in is let in by deny.toml, and what must not come in would not be."""

import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPOSITORY = "git+https://github.com/tokio-rs/bytes?rev=1#1"
ELSEWHERE = "registry+https://registry.invalid/index"
ALL_WELL = "advisories ok, bans ok, licenses ok, sources ok"
ADVISORY = """```toml
[advisory]
id = "{id}"
package = "{package}"
date = "2026-08-01"
{kind}

[versions]
patched = []
```

# Planted by a test
"""


def check(*arguments, **variables):
    """Runs the check as everybody does, with what this Python has beside it on the path."""
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "tests/supply/check", *arguments],
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def metadata():
    """What cargo says of the tree, as text."""
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def planted(metadata, tmp_path):
    """Checks the tree with one crate changed: its name, its version, where it is from, its licence."""

    def plant(crate, **changes):
        (old,) = [p for p in json.loads(metadata)["packages"] if p["name"] == crate]
        new = old | changes
        named = f"{new['source']}#{new['name']}@{new['version']}"
        tree = json.loads(metadata.replace(f'"{old["id"]}"', f'"{named}"'))
        for package in tree["packages"]:
            if package["id"] == named:
                package |= changes
            for wanted in package["dependencies"]:
                if wanted["name"] == crate:
                    wanted |= {"name": new["name"], "req": "*"}
        path = tmp_path / "metadata.json"
        path.write_text(json.dumps(tree))
        return check("--metadata-path", str(path))

    return plant


def test_nothing_is_in_the_tree_that_must_not_be():
    code, said = check()
    assert code == 0
    assert ALL_WELL in said


def test_a_tree_with_nothing_planted_is_well(planted):
    code, said = planted("h2")
    assert code == 0
    assert ALL_WELL in said


@pytest.mark.parametrize(
    "crate, changes, expected",
    [
        ("h2", {"version": "0.4.15"}, ["error[vulnerability]", "RUSTSEC-2026-0258"]),
        ("h2", {"version": "0.4.15"}, ["error[banned]", "empty DATA frames"]),
        ("futures-util", {"version": "0.3.30"}, ["error[yanked]"]),
        ("bytes", {"license": "GPL-3.0-only"}, ["error[rejected]", "licenses FAILED"]),
        ("bytes", {"license": "Acme-1.0"}, ["unknown term", "licenses FAILED"]),
        ("subtle", {"name": "openssl"}, ["error[banned]", "the one TLS stack"]),
        ("subtle", {"name": "native-tls"}, ["error[banned]", "the one TLS stack"]),
        ("subtle", {"name": "aws-lc-rs"}, ["error[banned]", "the one provider"]),
        ("lazy_static", {"name": "slab", "version": "0.3.0"}, ["error[duplicate]", "'slab'"]),
        ("bytes", {"source": REPOSITORY}, ["error[source-not-allowed]", "tokio-rs/bytes"]),
        ("bytes", {"source": ELSEWHERE}, ["error[source-not-allowed]", "registry.invalid"]),
    ],
)
def test_what_must_not_come_in_is_refused(planted, crate, changes, expected):
    code, said = planted(crate, **changes)
    assert code != 0
    assert [words for words in expected if words not in said] == []


def test_an_advisory_of_tomorrow_is_an_error_of_whatever_kind(tmp_path):
    planted = {
        ("bytes", ""): "error[vulnerability]",
        ("h2", 'informational = "unsound"'): "error[unsound]",
        ("ring", 'informational = "unmaintained"'): "error[unmaintained]",
        # Also of what only tests.
        ("proptest", 'informational = "unmaintained"'): "error[unmaintained]",
    }
    for number, (package, kind) in enumerate(planted):
        name = f"RUSTSEC-2026-999{number}"
        advisory = ADVISORY.format(id=name, package=package, kind=kind)
        (tmp_path / f"{name}.md").write_text(advisory)
    code, said = check(EXTRA_ADVISORIES=str(tmp_path))
    assert code != 0
    errors = [line.split(":")[0] for line in said.splitlines() if line.startswith("error[")]
    assert sorted(errors) == sorted(planted.values())
    assert [n for n in range(len(planted)) if f"RUSTSEC-2026-999{n}" not in said] == []


def test_an_exception_that_nothing_needs_any_more_is_an_error(tmp_path):
    text = (ROOT / "deny.toml").read_text()
    assert "\nskip = [\n" in text
    config = tmp_path / "deny.toml"
    needless = '\nskip = [\n    { crate = "nobody", reason = "no more" },\n'
    config.write_text(text.replace("\nskip = [\n", needless))
    code, said = check("--config", str(config))
    assert code != 0
    assert "error[unmatched-skip]" in said


def test_the_copy_of_the_advisories_is_of_the_day_the_readme_says():
    with tarfile.open(ROOT / "tests/supply/advisories.tar.gz") as archive:
        changed = max(member.mtime for member in archive if member.isfile())
    day = time.strftime("%Y-%m-%d", time.gmtime(changed))
    assert f" of {day}:" in (ROOT / "tests/supply/README.md").read_text()
