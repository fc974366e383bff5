"""Fixtures: a server for a module, a client for it, a seed, names nobody else uses."""

import itertools
import os
import random
import tempfile

import pytest
from harness.calls import Client
from harness.server import Server, binary


def pytest_report_header():
    """Says what is tested."""
    try:
        return [f"binary: {binary()}"]
    except AssertionError as missing:
        return [f"binary: {missing}"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with an empty directory, shared by the tests of a file."""
    with Server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    """A client of the shared server."""
    with Client(server.address) as dialled:
        yield dialled


@pytest.fixture
def data_dir():
    """An empty directory for one test, on the disk on which servers usually live."""
    with tempfile.TemporaryDirectory(prefix="e2e-data-") as path:
        yield os.path.join(path, "data")


_numbers = itertools.count(1)


@pytest.fixture
def name(request):
    """A namespace name that no other test uses."""
    words = request.node.originalname.removeprefix("test_")
    return f"{words[:40].rstrip('_')}-{next(_numbers)}"


@pytest.fixture
def rng():
    """Random choices from a printed seed; E2E_SEED repeats a run."""
    seed = int(os.environ.get("E2E_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed: E2E_SEED={seed}")
    return random.Random(seed)
