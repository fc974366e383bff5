"""Python stubs of the schema, generated once for each run, as one flat namespace each."""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

ROOT = Path(__file__).resolve().parents[3]
FILES = (
    "entry",
    "error_reason",
    "namespace",
    "key_value_service",
    "namespace_service",
    "admin_service",
)
# A child process of a test finds the stubs of its parent here.
STUBS_VARIABLE = "E2E_STUBS"


def _generate():
    """Compiles `proto/pykv` and returns the directory; `google/*` comes from its own packages."""
    import google.api.annotations_pb2
    import grpc_tools
    from grpc_tools import protoc

    stubs = Path(tempfile.mkdtemp(prefix="e2e-stubs-"))
    atexit.register(shutil.rmtree, stubs, ignore_errors=True)
    google_protos = Path(google.api.annotations_pb2.__file__).parents[2]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{google_protos}", f"-I{well_known}", f"-I{ROOT / 'proto'}"]
    arguments += [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    arguments += [f"pykv/v1/{name}.proto" for name in FILES]
    if protoc.main(arguments) != 0:
        raise RuntimeError("the schema does not compile for Python")
    return stubs


def _load():
    """All messages, enums and enum values of `pykv.v1`, and all stubs."""
    known = os.environ.get(STUBS_VARIABLE)
    stubs = Path(known) if known else _generate()
    os.environ[STUBS_VARIABLE] = str(stubs)
    sys.path.insert(0, str(stubs))
    messages, services = SimpleNamespace(), SimpleNamespace()
    for name in FILES:
        module = importlib.import_module(f"pykv.v1.{name}_pb2")
        for message in module.DESCRIPTOR.message_types_by_name:
            setattr(messages, message, getattr(module, message))
        for enum, descriptor in module.DESCRIPTOR.enum_types_by_name.items():
            setattr(messages, enum, getattr(module, enum))
            for value in descriptor.values:
                setattr(messages, value.name, value.number)
        for service in module.DESCRIPTOR.services_by_name:
            stub = importlib.import_module(f"pykv.v1.{name}_pb2_grpc")
            setattr(services, service, getattr(stub, f"{service}Stub"))
    return messages, services


pb, stubs = _load()


def millis(count):
    """A `Duration` of `count` milliseconds."""
    duration = Duration()
    duration.FromMilliseconds(count)
    return duration


def seconds(count):
    """A `Duration` of `count` seconds."""
    return millis(round(count * 1000))


def moment(unix_seconds):
    """A `Timestamp`, to the millisecond."""
    timestamp = Timestamp()
    timestamp.FromMilliseconds(round(unix_seconds * 1000))
    return timestamp


def ttl(milliseconds):
    """An `Expiration` that long from now."""
    return pb.Expiration(ttl=millis(milliseconds))


def at_most(count):
    """A `Limit` of `count`."""
    return pb.Limit(maximum=count)
