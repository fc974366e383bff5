"""Values as they are, over plain HTTP, with the conditions of HTTP."""

import email.utils
import time

import pytest
from harness.http import ask
from harness.server import eventually
from harness.wire import at_most, pb

MEBIBYTE = 1 << 20


@pytest.fixture
def at(server, name):
    """Asks about a key of a namespace that no other test uses."""

    def asks(method, key, body=None, **headers):
        named = {header.replace("_", "-"): value for header, value in headers.items()}
        return ask(server.address, method, f"/v1/namespaces/{name}/values/{key}", body, named)

    return asks


def test_a_value_is_made_replaced_and_removed(at, client, name):
    made = at("PUT", "a/b?ttl=60s", b"one")
    assert (made.status, made.body) == (201, b"")
    assert made.headers["location"] == f"/v1/namespaces/{name}/values/a/b"
    assert 59 <= int(made.headers["pykv-ttl"]) <= 60
    entry = client.get(name, "a/b")
    assert entry.value == b"one" and entry.HasField("ttl")
    assert made.headers["etag"] == f'"{entry.version}"'
    again = at("PUT", "a%2Fb", b"two")
    assert (again.status, again.body) == (204, b"")
    assert again.headers["etag"] == f'"{entry.version + 1}"' and "pykv-ttl" not in again.headers
    assert at("GET", "a/b").body == b"two"
    assert at("DELETE", "a/b").status == 204
    gone = at("DELETE", "a/b")
    assert (gone.status, gone.reason()) == (404, "KEY_NOT_FOUND")
    assert at("GET", "a/b").status == 404 and at("HEAD", "a/b").status == 404


def test_bytes_and_text_come_as_what_they_are_and_run_nowhere(at):
    for value, kind in (
        (b"caf\xc3\xa9 <script>", "text/plain; charset=utf-8"),
        (b"\xff\0", "application/octet-stream"),
        (b"", "text/plain; charset=utf-8"),
    ):
        at("PUT", "k", value, content_type="text/html")
        answer = at("GET", "k")
        assert (answer.body, answer.headers["content-type"]) == (value, kind)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        age = time.time() - email.utils.parsedate_to_datetime(
            answer.headers["last-modified"]
        ).timestamp()
        assert -2 < age < 60


def test_head_tells_of_an_entry_and_is_no_use_of_it(at, client, name):
    at("PUT", "k", b"12345")
    stats = lambda: client.namespaces.GetNamespaceStats(  # noqa: E731
        pb.GetNamespaceStatsRequest(namespace=name)
    ).stats
    head = at("HEAD", "k")
    assert (head.status, head.headers["content-length"], head.body) == (200, "5", b"")
    assert head.headers["etag"] == at("GET", "k").headers["etag"]
    assert stats().hits == 1


def test_what_a_reader_has_already_is_not_sent_again(at):
    tag = at("PUT", "k", b"v").headers["etag"]
    for value in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        answer = at("GET", "k", if_none_match=value)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag), value
    assert at("GET", "k", if_none_match='"0"').body == b"v"
    assert at("GET", "k", if_match=tag).status == 200
    assert at("GET", "k", if_match='"0"').status == 412
    at("PUT", "k", b"w")
    assert at("GET", "k", if_none_match=tag).body == b"w"


def test_a_write_happens_only_if_its_condition_holds(at):
    assert at("PUT", "k", b"1", if_match="*").status == 412
    tag = at("PUT", "k", b"1", if_none_match="*").headers["etag"]
    refused = at("PUT", "k", b"2", if_none_match="*")
    assert (refused.status, refused.reason()) == (412, "CONDITION_NOT_MET")
    assert at("PUT", "k", b"2", if_match='"0"').status == 412
    assert at("PUT", "k", b"2", if_match=tag).status == 204
    assert at("PUT", "k", b"3", if_match=tag).status == 412
    assert at("DELETE", "k", if_match=tag).status == 412
    now = at("GET", "k")
    assert now.body == b"2"
    assert at("DELETE", "k", if_match=now.headers["etag"]).status == 204
    assert at("DELETE", "k", if_match=now.headers["etag"]).status == 412


def test_a_time_to_live_is_kept(at):
    assert at("PUT", "k?ttl=0.05s", b"v").status == 201
    eventually("it expires", lambda: at("GET", "k").status == 404)


def test_what_cannot_be_is_refused_in_words(at, client, name):
    for path, headers, fields in (
        ("k?ttl=60", {}, ["ttl"]),
        ("k?ttl=60s&ttl=61s&x=1", {}, ["ttl", "x"]),
        ("%zz?ttl=%", {"if_match": "7"}, ["key", "if-match", "ttl"]),
        ("k", {"if_none_match": '"7"'}, ["if-none-match"]),
        ("k", {"if_none_match": "*", "if_match": "*"}, ["if-none-match"]),
    ):
        answer = at("PUT", path, b"v", **headers)
        assert (answer.status, answer.reason()) == (400, "REQUEST_MALFORMED"), answer
        assert answer.faults() == fields
    answer = at("PUT", "k?ttl=-1s", b"v")
    assert (answer.status, answer.reason()) == (400, "EXPIRATION_INVALID")
    assert at("GET", "k?ttl=1s").status == 400 and at("DELETE", "k?x").status == 400
    answer = at("PUT", "", b"v")
    assert (answer.status, answer.reason(), answer.faults()) == (400, "KEY_INVALID", ["key"])
    for method in ("POST", "PATCH", "BREW"):
        answer = at(method, "k", b"v")
        assert (answer.status, answer.reason()) == (405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, HEAD, PUT, DELETE, OPTIONS"
    assert at("OPTIONS", "k").status == 204
    assert client.value(name, "k") is None


def test_large_values_pass_and_larger_ones_are_refused(at, client, name):
    client.create(name, max_value_bytes=3 * MEBIBYTE)
    value = bytes(range(256)) * (3 * MEBIBYTE // 256)
    assert at("PUT", "k", value).status == 201
    assert at("PUT", "k", value).status == 204
    assert at("GET", "k").body == value
    answer = at("PUT", "k", value + b"x")
    assert (answer.status, answer.reason()) == (400, "VALUE_TOO_LARGE")
    answer = at("PUT", "k", value * 2)
    assert (answer.status, answer.reason()) == (413, "REQUEST_TOO_LARGE")
    assert at("GET", "k").body == value


def test_a_namespace_that_is_full_says_so(at, client, name):
    client.create(name, max_keys=at_most(1), eviction_policy=pb.EVICTION_POLICY_NONE)
    assert at("PUT", "a", b"v").status == 201
    answer = at("PUT", "b", b"v")
    assert (answer.status, answer.reason()) == (429, "NAMESPACE_QUOTA_EXCEEDED")
    assert "retry-after" not in answer.headers
