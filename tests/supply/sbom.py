"""Writes what is in the released binary as CycloneDX JSON: `sbom.py [--target TRIPLE] [--output FILE]`.

Needs cargo, and nothing of Python but itself, so that it also runs where binaries are made. In it are the
crates that are linked in (normal dependencies, with the features of a release build), what some of them carry
along that other lists know by another name, and the standard library. Not in it: what only builds or tests.
The same commit and compiler give the same bytes.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Whatever is not of this shape is not understood, and then nothing is written.
LINE = re.compile(r"(\d+) (\S+) v(\S+)(?: \(.*\))?$")


def run(*command):
    """The output of a command, run in the root of the project."""
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def linked(target):
    """What is linked into the binary: (name, version) of each crate, with those it calls on."""
    out = run("cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--target", target,
              "--prefix", "depth", "--format", " {p}")  # fmt: skip
    edges, path = {}, []
    for line in out.splitlines():
        depth, name, version = LINE.match(line.removesuffix(" (*)")).groups()
        path[int(depth) :] = [(name, version)]
        edges.setdefault(path[-1], set())
        if len(path) > 1:
            edges[path[-2]].add(path[-1])
    return edges


def described():
    """Every crate of the lock file, as its own manifest describes it."""
    packages = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    return {(package["name"], package["version"]): package for package in packages}


def checksums():
    """The SHA-256 of what was downloaded for each crate."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    return {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock}


def licences(expression):
    """A licence as SPDX writes it; a slash is how crates used to say OR."""
    return [{"expression": re.sub(r"\s*/\s*", " OR ", expression)}]


def crate(package, checksum):
    """A crate as a component."""
    purl = f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "scope": "required",
        "hashes": [{"alg": "SHA-256", "content": checksum}],
        "licenses": licences(package["license"]),
        "purl": purl,
    }
    if package["repository"]:
        component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return component


def foreign(name, version, purl, licence):
    """A component that is no crate."""
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": "required",
        "licenses": licences(licence),
        "purl": purl,
    }


def folder(packages, name):
    """Where the source of a crate is, and the crate."""
    (package,) = (package for package in packages.values() if package["name"] == name)
    return pathlib.Path(package["manifest_path"]).parent, package


def carried(packages):
    """What crates carry along: pairs of the crate and the component."""
    # Its build only unpacks files, and what it unpacks is served by the binary.
    path, swagger = folder(packages, "utoipa-swagger-ui-vendored")
    (archive,) = (path / "res").glob("v*.zip")
    version = archive.stem.removeprefix("v")
    purl = f"pkg:npm/swagger-ui-dist@{version}"
    yield "pykv", foreign("swagger-ui-dist", version, purl, "Apache-2.0")

    path, allocator = folder(packages, "libmimalloc-sys")
    header = (path / "c_src/mimalloc/v3/include/mimalloc.h").read_text()
    number = int(re.search(r"define MI_MALLOC_VERSION (\d+)", header).group(1))
    version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    purl = f"pkg:github/microsoft/mimalloc@v{version}"
    yield "libmimalloc-sys", foreign("mimalloc", version, purl, "MIT")


def standard_library():
    """The standard library, as the compiler brings it, and the commit it is of."""
    facts = dict(re.findall(r"^([\w-]+): (.*)$", run("rustc", "--version", "--verbose"), re.M))
    purl = f"pkg:github/rust-lang/rust@{facts['release']}#library/std"
    component = foreign("std", facts["release"], purl, "MIT OR Apache-2.0")
    component["properties"] = [{"name": "rustc:commit", "value": facts["commit-hash"]}]
    return component, facts["host"]


def moment():
    """When this state of the project was made: SOURCE_DATE_EPOCH, or the commit."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct")
    return run("date", "-u", "-d", f"@{seconds.strip()}", "+%Y-%m-%dT%H:%M:%SZ").strip()


def bill(target=None):
    """The whole document."""
    std, host = standard_library()
    target = target or host
    edges, packages, sums = linked(target), described(), checksums()
    (own,) = (known for known in edges if packages[known]["source"] is None)
    package = packages[own]
    ref = {known: f"pkg:cargo/{known[0]}@{known[1].replace('+', '%2B')}" for known in edges}
    ref[own] = f"pkg:generic/{own[0]}@{own[1]}"

    calls = {ref[known]: {ref[other] for other in others} for known, others in edges.items()}
    components = [crate(packages[known], sums[known]) for known in edges if known != own]
    for holder, component in carried(packages):
        (known,) = (known for known in edges if known[0] == holder)
        calls[ref[known]].add(component["bom-ref"])
        components.append(component)
    components.append(std)
    calls[ref[own]].add(std["bom-ref"])

    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": moment(),
            "lifecycles": [{"phase": "build"}],
            "component": {
                "type": "application",
                "bom-ref": ref[own],
                "name": own[0],
                "version": own[1],
                "description": package["description"],
                "licenses": licences(package["license"]),
                "purl": ref[own],
            },
            "properties": [{"name": "rust:target", "value": target}],
        },
        "components": sorted(components, key=lambda component: component["bom-ref"]),
        "dependencies": [
            {"ref": each, "dependsOn": sorted(calls.get(each, ()))}
            for each in sorted({ref[own], *(component["bom-ref"] for component in components)})
        ],
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    return document


def main():
    """Writes the document to a file, or prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", help="the triple of the binary; by default this machine's")
    parser.add_argument("--output", type=pathlib.Path, help="the file; by default standard output")
    given = parser.parse_args()
    text = json.dumps(bill(given.target), indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
