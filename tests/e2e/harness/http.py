"""HTTP as it is on the wire: one request on one connection, nothing tidied up on its way."""

import contextlib
import http.client
import json
from dataclasses import dataclass

SECONDS_MAX = 20


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        """The body, which must be JSON and said to be."""
        kind = self.headers.get("content-type", "")
        assert kind.split(";")[0] == "application/json", (kind, self.body)
        return json.loads(self.body)

    def error(self):
        """The error of `/v1` that this must be."""
        error = self.json()["error"]
        assert error["code"] == self.status, error
        return error

    def reason(self):
        """The reason of that error."""
        details = self.error()["details"]
        infos = [d for d in details if d["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
        assert len(infos) == 1 and infos[0]["domain"] == "pykv", details
        return infos[0]["reason"]

    def faults(self):
        """The fields that are wrong, in order."""
        kind = "type.googleapis.com/google.rpc.BadRequest"
        found = [d["fieldViolations"] for d in self.error()["details"] if d["@type"] == kind]
        return [violation["field"] for violation in sum(found, [])]


def ask(address, method, path, body=None, headers=None):
    """Sends one request; nothing is added to it but Host and the length of its body."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS_MAX)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())


def ask_json(address, method, path, message=None, headers=None):
    """Sends `message` as JSON."""
    body = None if message is None else json.dumps(message).encode()
    kind = {} if message is None else {"content-type": "application/json"}
    return ask(address, method, path, body, {**kind, **(headers or {})})


@contextlib.contextmanager
def stream(address, path, headers=None):
    """The lines of an answer that does not end, without their ends."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS_MAX)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield (line.rstrip(b"\n") for line in iter(response.readline, b""))
