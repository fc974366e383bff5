"""The routes of the original server: what it answered in a recorded run, answered again."""

import base64
import json
from pathlib import Path

from harness.http import ask, ask_json
from harness.server import Server, eventually
from harness.wire import at_most, pb

RECORDS = Path(__file__).parents[1] / "golden/original-http.jsonl"
# Compared where the record has them; others are the framework's own.
HEADERS = ("content-type", "allow", "location", "vary")

# Two names with spaces, an empty key, a long one and half a surrogate pair were kept there; here the
# clearing of "myapp" spares "myapp:production", and that of "default" is left out.
SIZE = "refused writes are not there, and namespaces are apart"

# What is answered otherwise on purpose, by number: why, then the status and what the body must have.
DIFFERENCES = {
    2: ("a new log says that there is a default namespace", 200, {"total_keys": 0, "log_size": 1}),
    20: ("a name with a space is no namespace", 422, None),
    21: ("a name with a space is no namespace", 422, None),
    104: ("a name with a space is no namespace", 422, None),
    44: ("a key has at most 4096 bytes", 422, None),
    87: ("a ttl that no number can hold is a mistake of the caller", 200, None),
    203: ("a ttl that no number can hold is a mistake of the caller", 200, None),
    202: ("half of a surrogate pair is no text, so it was never set", 404, None),
    168: (SIZE, 200, {"store_size": 24}),
    181: (SIZE, 200, {"store_size": 24}),
    204: (SIZE, 200, {"store_size": 24}),
}

# Not asked again: there, an unnamed space stood beside the namespace "default"; here they are one, and
# all that follows would be missing what this clears.
LEFT_OUT = {145}


def body_of(request):
    """The body of a recorded request."""
    if "body_hex" in request:
        return bytes.fromhex(request["body_hex"])
    if "body_gen" in request:
        fields = {
            name: value if isinstance(value, str) else value["repeat"] * value["times"]
            for name, value in request["body_gen"].items()
        }
        return json.dumps(fields).encode()
    return request["body"].encode() if "body" in request else None


def masked(body, volatile):
    """A body as JSON without what differs from run to run; else as it is."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return body
    for pointer in volatile:
        *parents, last = pointer.split("/")[1:]
        place = parsed
        for name in parents:
            inside = place[int(name) :] if isinstance(place, list) else [place[name]]
            place = inside[0] if inside else {}
        place[last] = None
    return parsed


def differs(record, answer, host):
    """How an answer differs from a recorded one; empty if it does not."""
    expected = record["response"]
    found = []
    if answer.status != expected["status"]:
        found.append(f"status {answer.status} for {expected['status']}")
    for name, value in expected["headers"].items():
        ours = answer.headers.get(name)
        if (name in HEADERS or name.startswith("access-control-")) and ours != value.replace(
            "{host}", host
        ):
            found.append(f"{name}: {ours} for {value}")
    if "body" in expected and not found:
        volatile = record.get("volatile", ())
        ours = masked(answer.body.decode(), volatile)
        theirs = masked(expected["body"], volatile)
        # Member for member, and in the same order.
        if json.dumps(ours) != json.dumps(theirs):
            found.append(f"body {str(ours)[:300]} for {str(theirs)[:300]}")
    return found


def records():
    """The recorded run, without its heading."""
    with RECORDS.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][1:]


def gone(server):
    """Whether the entries that were to expire have done so."""
    waited = ["/get/t1", "/get/tb", "/get/ex"]
    return all(ask(server.address, "GET", path).status == 404 for path in waited)


def play(server, run, seen):
    """Asks again what was asked; returns what is answered otherwise and should not be."""
    wrong = []
    for record in run:
        if "wait_for_expiry" in record:
            eventually("entries expire", lambda: gone(server))
            continue
        request, number = record["request"], record["n"]
        if number in LEFT_OUT:
            continue
        where = (server.address, request["method"], request["path"])
        answer = ask(*where, body_of(request), request.get("headers"))
        found = differs(record, answer, server.address)
        seen.add(number)
        if answer.status >= 500:
            wrong.append((number, record["name"], answer))
        elif number in DIFFERENCES:
            _why, status, members = DIFFERENCES[number]
            as_listed = answer.status == status and (
                not members or members.items() <= answer.json().items()
            )
            if not found or not as_listed:
                wrong.append((number, record["name"], "not the difference that is listed", answer))
        elif found and record["kept"]:
            wrong.append((number, record["name"], found))
    return wrong


def test_what_the_original_answered_is_answered_again(data_dir):
    run, seen = records(), set()
    restart = next(place for place, record in enumerate(run) if "restart" in record)
    with Server(data_dir, "--set", "cors_origins=*") as server:
        wrong = play(server, run[:restart], seen)
        assert server.terminate()[0] == 0
    with Server(data_dir, "--set", "cors_origins=*") as server:
        wrong += play(server, run[restart + 1 :], seen)
    assert not wrong, "\n".join(map(str, wrong))
    assert len(seen) == 214 - len(LEFT_OUT) and set(DIFFERENCES) <= seen


def set_(server, ns=None, **fields):
    """Sets as the original's clients did."""
    query = "" if ns is None else f"?ns={ns}"
    return ask_json(server.address, "POST", f"/set{query}", fields)


def items(answer):
    """The faults of a 422 as pairs of type and place."""
    assert answer.status == 422, answer
    return [(item["type"], item["loc"]) for item in answer.json()["detail"]]


def test_a_name_with_a_space_is_no_namespace(server):
    fault = [("namespace_invalid", ["body", "namespace"])]
    assert items(set_(server, "a%20b", key="k", value="v")) == fault
    assert items(set_(server, key="k", value="v", namespace="a\nb")) == fault
    answer = ask(server.address, "GET", "/get/k?ns=a+b")
    assert items(answer) == [("namespace_invalid", ["query", "ns"])]


def test_a_key_has_1_to_4096_bytes(server):
    fault = [("key_invalid", ["body", "key"])]
    assert items(set_(server, key="", value="v")) == fault
    assert items(set_(server, key="K" * 4097, value="v")) == fault
    assert set_(server, key="K" * 4096, value="v").status == 200
    answer = ask(server.address, "GET", "/get/" + "K" * 4097)
    assert items(answer) == [("key_invalid", ["path", "key"])]


def test_a_time_to_live_is_above_zero_and_one_that_no_number_holds_is_refused(server):
    assert items(set_(server, key="n", value="v", ttl=-5)) == [
        ("greater_than_equal", ["body", "ttl"])
    ]
    body = b'{"key":"ovf","value":"b","ttl":1' + b"0" * 400 + b"}"
    answer = ask(server.address, "POST", "/set", body)
    assert items(answer)[0][0] == "json_invalid"
    assert ask(server.address, "GET", "/get/ovf").status == 404
    assert set_(server, key="never", value="v", ttl=10**18).status == 200
    entry = ask(server.address, "GET", "/v1/namespaces/default/entries/never").json()["entry"]
    assert "ttl" not in entry


def test_half_of_a_surrogate_pair_is_no_text(server):
    answer = ask(server.address, "POST", "/set", b'{"key":"ls","value":"\\ud800"}')
    assert items(answer)[0][0] == "json_invalid"
    assert ask(server.address, "GET", "/get/ls").status == 404


def test_default_is_the_unnamed_space_and_namespaces_are_apart(data_dir):
    with Server(data_dir) as server:
        for name, key in ((None, "k"), ("default", "d"), ("my", "k"), ("my:app", "k")):
            assert set_(server, name, key=key, value="v").status == 200
        get = lambda path: ask(server.address, "GET", path).status  # noqa: E731
        assert get("/get/d") == get("/get/k?ns=default") == 200
        assert get("/get/my:k") == get("/get/my:app:k") == get("/get/app:k?ns=my") == 404
        assert ask(server.address, "GET", "/namespaces").json() == {
            "namespaces": ["default", "my", "my:app"],
            "count": 3,
        }
        cleared = ask(server.address, "DELETE", "/namespaces/my").json()
        assert cleared == {"status": "cleared", "namespace": "my", "keys_deleted": 1}
        assert get("/get/k?ns=my:app") == 200
        assert ask(server.address, "DELETE", "/namespaces/default").json()["keys_deleted"] == 2
        assert ask(server.address, "GET", "/health").json()["store_size"] == 1


def test_a_value_above_the_policy_is_413_and_one_without_room_507(server, client, name):
    client.create(name, max_value_bytes=4, max_keys=at_most(1), eviction_policy=pb.EVICTION_POLICY_NONE)
    too_large = set_(server, name, key="k", value="12345")
    assert (too_large.status, too_large.json()) == (
        413,
        {"detail": "Value too large", "reason": "VALUE_TOO_LARGE"},
    )
    assert set_(server, name, key="k", value="1234").status == 200
    full = set_(server, name, key="l", value="1")
    assert (full.status, full.json()["reason"]) == (507, "NAMESPACE_QUOTA_EXCEEDED")
    # Far above what any policy allows.
    answer = ask(server.address, "POST", "/set", b" " * (9 << 20))
    assert (answer.status, answer.json()["reason"]) == (413, "REQUEST_TOO_LARGE")


def test_who_asks_too_often_is_told_when_to_come_back(server, client, name):
    client.create(name, max_operations_per_second=at_most(1))
    answers = [set_(server, name, key="k", value="v") for _ in range(20)]
    limited = next(answer for answer in answers if answer.status != 200)
    assert (limited.status, limited.json()["reason"]) == (429, "RATE_LIMITED")
    assert int(limited.headers["retry-after"]) >= 1


def test_keys_with_slashes_are_read_and_deleted(server):
    for key, paths in (("a/b", ["a/b", "a%2Fb"]), ("a//b/", ["a//b%2F"]), ("../x", ["../x"])):
        assert set_(server, key=key, value="v").status == 200
        for path in paths:
            assert ask(server.address, "GET", f"/get/{path}").json()["key"] == key
        assert ask(server.address, "DELETE", f"/delete/{paths[0]}").status == 200
    moved = ask(server.address, "GET", "/get/a/b/?ns=x")
    assert moved.status == 307
    assert moved.headers["location"] == f"http://{server.address}/get/a/b?ns=x"


def test_bytes_that_are_no_text_come_as_base64(server, client, name):
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    assert set_(server, name, key="k", value=text, encoding="base64").status == 200
    assert client.value(name, "k") == data
    answer = ask(server.address, "GET", f"/get/k?ns={name}").json()
    assert answer == {"key": "k", "value": text, "namespace": name, "encoding": "base64"}
    assert items(set_(server, name, key="k", value="%", encoding="base64"))[0][0] == "base64"


def test_everything_wrong_is_told_in_one_answer_and_nothing_is_written(server, name):
    answer = set_(server, key=1, ttl=1.5, namespace=[], value=None, encoding=name)
    assert [place for _type, place in items(answer)] == [
        ["body", field] for field in ("key", "value", "ttl", "namespace", "encoding")
    ]


def test_numbers_are_right_and_per_namespace(data_dir):
    with Server(data_dir) as server:
        get = lambda path: ask(server.address, "GET", path)  # noqa: E731
        idle = {
            "total_operations": 0,
            "operations_per_second": 0,
            "error_rate": 0,
            "avg_latency_ms": 0,
            "p95_latency_ms": 0,
            "p99_latency_ms": 0,
        }
        assert get("/performance").json() == idle
        assert get("/performance/recent-errors").json() == []
        assert set_(server, "app", key="k", value="v").status == 200
        assert get("/get/k?ns=app").status == 200
        assert get("/get/none?ns=app").status == 404
        assert set_(server, "app", key="", value="v").status == 422
        counts = {"cache_hits": 1, "cache_misses": 1, "total_keys": 1}
        stats = get("/stats").json()
        assert stats["namespaces"] == {"app": counts} and stats["last_compaction"] is None
        assert counts.items() <= stats.items() and stats["uptime_seconds"] > 0
        of_app = get("/stats?ns=app").json()
        assert (of_app["namespace"], of_app["namespace_stats"]) == ("app", counts)
        assert of_app["namespaces"] is None and counts.items() <= of_app.items()
        unknown = get("/stats?ns=zzz").json()
        assert unknown["total_keys"] == 0 and unknown["namespace_stats"]["total_keys"] == 0
        assert "zzz" not in get("/stats").json()["namespaces"]
        busy = get("/performance").json()
        assert busy["operation_breakdown"] == {"set": 2, "get": 2, "delete": 0}
        # A refusal is no failure of the server.
        assert (busy["total_operations"], busy["successful_operations"]) == (4, 4)
        assert busy["error_rate"] == 0 and busy["p99_latency_ms"] > 0
        late = {"grpc-timeout": "0n"}
        for _ in range(2):
            answer = ask_json(server.address, "POST", "/set", {"key": "k", "value": "v"}, late)
            assert (answer.status, answer.json()["reason"]) == (504, "DEADLINE_EXCEEDED")
        first, second = get("/performance/recent-errors").json()
        assert set(first) == {"operation", "timestamp", "error", "duration_ms"}
        assert first["operation"] == "set" and first["timestamp"] >= second["timestamp"]
        assert ask(server.address, "POST", "/compact").json() == {"status": "compaction_started"}
        eventually("it is compacted", lambda: get("/stats").json()["last_compaction"])
        assert "Z" not in get("/stats").json()["last_compaction"]
