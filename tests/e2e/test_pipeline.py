"""Pipeline: order, answers, errors inside the stream, several namespaces, large values."""

import grpc
import pytest
from harness.calls import Client, refusal_in, refusal_of, require
from harness.pipes import (
    Pipe,
    add,
    ask_all,
    get,
    kind,
    put,
    read_batch,
    refusal,
    remove,
    touch,
    write_batch,
)
from harness.server import Server
from harness.wire import at_most, pb, ttl

MEBIBYTE = 1 << 20


def test_every_kind_of_request_is_answered_by_its_kind(client, name):
    step = pb.WriteOperation(set=pb.SetRequest(key="c", value=b"3"))
    check = pb.CheckOperation(key="a", condition=pb.Condition(if_present=True))
    answers = ask_all(
        client,
        [
            put(-5, name, "a", b"1"),
            get(0, name, "a"),
            touch(2**62, name, "a", expiration=ttl(60_000), view=pb.ENTRY_VIEW_FULL),
            add(1, name, "n", delta=5),
            write_batch(7, name, [step, pb.WriteOperation(check=check)], atomic=True),
            read_batch(7, name, ["a", "gone", "c"]),
            remove(9, name, "a", return_previous=True),
            get(10, name, "a"),
        ],
    )
    kinds = ["set", "get", "touch", "increment", "batch_write", "batch_get", "delete", "get"]
    assert [kind(answer) for answer in answers] == kinds
    assert answers[0].set.applied and answers[0].set.entry.version > 0
    assert answers[1].get.entry.value == b"1" and answers[1].get.entry.key == "a"
    assert answers[2].touch.applied and answers[2].touch.entry.HasField("ttl")
    assert answers[3].increment.value == 5 and answers[3].increment.created
    assert answers[4].batch_write.committed and len(answers[4].batch_write.results) == 2
    found = answers[5].batch_get.results
    assert [r.entry.value if r.HasField("entry") else None for r in found] == [b"1", None, b"3"]
    assert answers[6].delete.previous.value == b"1"
    assert not answers[7].get.HasField("entry")


def test_an_answer_comes_without_waiting_for_more_requests(client, name):
    with Pipe(client, timeout=20) as pipe:
        for number in range(50):
            assert pipe.ask(put(number, name, "k", b"%d" % number)).set.applied
            assert pipe.ask(get(number, name, "k")).get.entry.value == b"%d" % number
        pipe.end()
        assert list(pipe.call) == []
        assert pipe.call.code() == grpc.StatusCode.OK


def test_a_pipeline_without_requests_ends_well(client):
    assert ask_all(client, []) == []


class Model:
    """What a namespace holds, as the requests sent so far have left it."""

    def __init__(self):
        self.entries = {}

    def expect(self, request):
        """Applies a request; returns what its answer must say."""
        which = request.WhichOneof("request")
        asked = getattr(request, which)
        if which == "get":
            return self.entries.get(asked.key)
        if which == "batch_get":
            return [self.entries.get(key) for key in asked.keys]
        if which == "batch_write":
            return [self._write(step.WhichOneof("operation"), step) for step in asked.operations]
        return self._write(which, request)

    def _write(self, which, holder):
        asked = getattr(holder, which)
        before = self.entries.get(asked.key)
        if which == "set":
            if asked.condition.if_absent and before is not None:
                return False
            self.entries[asked.key] = asked.value
            return True
        if which == "delete":
            return self.entries.pop(asked.key, None) is not None
        if which == "touch":
            return before is not None
        if before is not None and not before.lstrip(b"-").isdigit():
            return "VALUE_NOT_INTEGER"
        number = int(before or b"0") + asked.delta
        self.entries[asked.key] = b"%d" % number
        return number


def _told(answer):
    """What an answer says, as the model puts it."""
    which = kind(answer)
    if which == "error":
        return refusal(answer).reason
    said = getattr(answer, which)
    if which == "get":
        return said.entry.value if said.HasField("entry") else None
    if which == "batch_get":
        return [r.entry.value if r.HasField("entry") else None for r in said.results]
    if which == "batch_write":
        return [_told_of(result, result.WhichOneof("result")) for result in said.results]
    return _told_of(answer, which)


def _told_of(holder, which):
    said = getattr(holder, which)
    if which == "error":
        return refusal_in(said).reason
    if which == "delete":
        return said.deleted
    return said.value if which == "increment" else said.applied


def _random_request(rng, number, name):
    key = f"k{rng.randrange(40)}"
    pick = rng.randrange(12)
    if pick < 4:
        return get(number, name, key)
    if pick == 4:
        keys = [f"k{rng.randrange(40)}" for _ in range(rng.randrange(1, 9))]
        return read_batch(number, name, keys, rng.choice((pb.ENTRY_VIEW_FULL, pb.ENTRY_VIEW_VALUE)))
    if pick == 5:
        return remove(number, name, key)
    if pick == 6:
        return touch(number, name, key, expiration=pb.Expiration(never=True))
    if pick == 7:
        return add(number, name, key, delta=rng.randrange(-3, 4) or 1)
    if pick == 8:
        operations = []
        while len(operations) < 1 + pick % 5:
            step = _random_request(rng, 0, "")
            which = step.WhichOneof("request")
            if which in ("set", "delete", "touch", "increment"):
                operations.append(pb.WriteOperation(**{which: getattr(step, which)}))
        return write_batch(number, name, operations)
    condition = pb.Condition(if_absent=True) if rng.randrange(4) == 0 else None
    value = b"%d" % rng.randrange(100) if rng.randrange(3) else b"x" * rng.randrange(200)
    return put(number, name, key, value, condition=condition)


def test_thousands_of_mixed_requests_are_answered_in_order_as_a_model_says(client, name, rng):
    # Two namespaces in turns and in stretches, and one that is SYNC beside one that is not.
    client.create(f"{name}-m", durability=pb.DURABILITY_MEMORY)
    names = [name, f"{name}-m"]
    models = {one: Model() for one in names}
    for _ in range(3):
        requests, where = [], names[0]
        for _ in range(4_000):
            where = rng.choice(names) if rng.randrange(8) == 0 else where
            number = rng.randrange(-(2**63), 2**63)
            requests.append(_random_request(rng, number, where))
        expected = []
        for request in requests:
            asked = getattr(request, request.WhichOneof("request"))
            expected.append(models[asked.namespace].expect(request))
        for index, answer in enumerate(ask_all(client, requests)):
            assert _told(answer) == expected[index], (index, requests[index], answer)
    for one, model in models.items():
        found = client.values(one, [f"k{number}" for number in range(40)])
        found = {entry.key: entry.value for entry in found if entry}
        assert found == model.entries


def test_what_one_pipeline_wrote_others_read(client, server, name):
    with Client(server.address) as other, Pipe(client, 20) as one, Pipe(other, 20) as two:
        for number in range(20):
            assert one.ask(put(number, name, "k", b"%d" % number)).set.applied
            assert two.ask(get(number, name, "k")).get.entry.value == b"%d" % number
            assert client.value(name, "k") == b"%d" % number


def _error_cases(name):
    """Requests that fail, each with the code and reason of its unary method."""
    long = "k" * 4097
    expired = pb.Expiration(ttl=ttl(0).ttl)
    unmet = [
        pb.WriteOperation(set=pb.SetRequest(key="x", value=b"1")),
        pb.WriteOperation(increment=pb.IncrementRequest(key="word")),
    ]
    other = [pb.WriteOperation(set=pb.SetRequest(namespace="other", key="x"))]
    absent = pb.Condition(if_absent=True)
    return [
        (pb.PipelineRequest(), "INVALID_ARGUMENT", "OPERATION_MISSING"),
        (get(0, "a b", "k"), "INVALID_ARGUMENT", "NAMESPACE_INVALID"),
        (get(0, name, ""), "INVALID_ARGUMENT", "KEY_INVALID"),
        (put(0, name, long, b""), "INVALID_ARGUMENT", "KEY_INVALID"),
        (put(0, name, "k", b"v" * (2 * MEBIBYTE)), "INVALID_ARGUMENT", "VALUE_TOO_LARGE"),
        (put(0, name, "k", b"v" * (3 * MEBIBYTE + 1)), "INVALID_ARGUMENT", "VALUE_TOO_LARGE"),
        (put(0, name, "k", b"", expiration=expired), "INVALID_ARGUMENT", "EXPIRATION_INVALID"),
        (put(0, name, "k", b"", condition=pb.Condition()), "INVALID_ARGUMENT", "CONDITION_INVALID"),
        (remove(0, name, "k", condition=absent), "INVALID_ARGUMENT", "CONDITION_INVALID"),
        (touch(0, name, "k", condition=absent), "INVALID_ARGUMENT", "CONDITION_INVALID"),
        (add(0, name, "word"), "FAILED_PRECONDITION", "VALUE_NOT_INTEGER"),
        (add(0, name, "most", delta=1), "OUT_OF_RANGE", "COUNTER_OVERFLOW"),
        (read_batch(0, name, []), "INVALID_ARGUMENT", "BATCH_TOO_LARGE"),
        (read_batch(0, name, ["k"] * 1001), "INVALID_ARGUMENT", "BATCH_TOO_LARGE"),
        (read_batch(0, name, ["large"] * 5), "RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE"),
        (write_batch(0, name, []), "INVALID_ARGUMENT", "BATCH_TOO_LARGE"),
        (write_batch(0, name, other), "INVALID_ARGUMENT", "NAMESPACE_MISMATCH"),
        (write_batch(0, name, [pb.WriteOperation()]), "INVALID_ARGUMENT", "OPERATION_MISSING"),
        (write_batch(0, name, unmet, atomic=True), "FAILED_PRECONDITION", "VALUE_NOT_INTEGER"),
        (put(0, "full", "two", b"v"), "RESOURCE_EXHAUSTED", "NAMESPACE_QUOTA_EXCEEDED"),
    ]


def test_a_request_that_fails_is_answered_and_the_stream_goes_on(client, name):
    client.create("full", max_keys=at_most(1), eviction_policy=pb.EVICTION_POLICY_NONE)
    client.set("full", "one", b"v")
    client.set(name, "word", b"w")
    client.set(name, "most", b"%d" % (2**63 - 1))
    client.set(name, "large", b"v" * MEBIBYTE)
    cases = _error_cases(name)
    # Each between two that must not notice, and all of them in one go.
    requests = []
    for number, (request, _, _) in enumerate(cases):
        request.id = number
        requests += [add(1_000 + number, name, "n"), request, get(2_000 + number, name, "n")]
    answers = ask_all(client, requests)
    for number, (request, code, reason) in enumerate(cases):
        before, failed, after = answers[3 * number : 3 * number + 3]
        assert before.increment.value == number + 1, request
        require(refusal(failed), code, reason)
        assert after.get.entry.value == b"%d" % (number + 1), request
    # And each alone, compared with what the unary method says.
    with Pipe(client, 30) as pipe:
        for request, code, reason in cases:
            alone = refusal(pipe.ask(request))
            require(alone, code, reason)
            which = request.WhichOneof("request")
            if which is None:
                assert alone.fields == {"request": "OPERATION_MISSING"}
                continue
            method = "".join(word.capitalize() for word in which.split("_"))
            with pytest.raises(grpc.RpcError) as caught:
                getattr(client.kv, method)(getattr(request, which), timeout=20)
            unary = refusal_of(caught.value)
            assert (alone.message, alone.details) == (unary.message, unary.details), request


def test_a_rate_limit_refuses_requests_and_not_the_stream(client, name):
    client.create(name, max_operations_per_second=at_most(10))
    answers = ask_all(client, [get(number, name, "k") for number in range(500)])
    refused = [refusal(answer) for answer in answers if kind(answer) == "error"]
    assert 1 <= len(refused) <= 490 and kind(answers[0]) == "get"
    for one in refused:
        require(one, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert one.retry_seconds > 0


def test_where_namespaces_are_not_made_on_first_use_it_says_so(data_dir):
    flag = "--set", "auto_create_namespaces=false"
    with Server(data_dir, *flag) as server, Client(server.address) as client:
        requests = [get(1, "nobody", "k"), put(2, "nobody", "k", b""), put(3, "default", "k", b"v")]
        answers = ask_all(client, [*requests, get(4, "default", "k")])
        for answer in answers[:2]:
            require(refusal(answer), "NOT_FOUND", "NAMESPACE_NOT_FOUND")
        assert answers[2].set.applied and answers[3].get.entry.value == b"v"


def test_a_read_only_server_answers_the_reads(data_dir):
    with Server(data_dir) as server, Client(server.address) as client:
        client.set("default", "k", b"v")
        config, mask = pb.ServerConfig(read_only=True), {"paths": ["read_only"]}
        client.admin.UpdateConfig(pb.UpdateConfigRequest(config=config, update_mask=mask))
        answers = ask_all(client, [put(1, "default", "k", b""), get(2, "default", "k")])
        require(refusal(answers[0]), "FAILED_PRECONDITION", "READ_ONLY")
        assert answers[1].get.entry.value == b"v"


def test_large_values_pass_both_ways(client, name):
    client.create(name, max_value_bytes=3 * MEBIBYTE)
    values = [bytes([number]) * (3 * MEBIBYTE) for number in range(6)]
    requests = [put(n, name, f"k{n}", value) for n, value in enumerate(values)]
    requests += [get(10 + n, name, f"k{n}") for n in range(6)]
    requests += [put(20, name, "k0", b"small", return_previous=True)]
    requests += [read_batch(21, name, ["k1"]), read_batch(22, name, ["k1", "k2"])]
    steps = [
        pb.WriteOperation(delete=pb.DeleteRequest(key=f"k{n}", return_previous=True))
        for n in range(1, 6)
    ]
    answers = ask_all(client, [*requests, write_batch(23, name, steps)])
    assert all(answer.set.applied for answer in answers[:6])
    assert [answer.get.entry.value for answer in answers[6:12]] == values
    assert answers[12].set.previous.value == values[0]
    assert answers[13].batch_get.results[0].entry.value == values[1]
    require(refusal(answers[14]), "RESOURCE_EXHAUSTED", "RESPONSE_TOO_LARGE")
    # As in the unary answer: what does not fit is left out, and it is told that it was there.
    gone = [result.delete.previous for result in answers[15].batch_write.results]
    assert all(entry.size_bytes == 3 * MEBIBYTE for entry in gone)
    assert gone[0].value == values[1] and gone[-1].value == b""


def test_a_message_that_is_too_large_or_none_ends_the_stream_in_words(client, name):
    serialize = pb.PipelineRequest.SerializeToString
    raw = client.channel.stream_stream("/pykv.v1.KeyValueService/Pipeline")
    good = serialize(put(1, name, "k", b"v"))
    large = serialize(put(2, name, "k", b"v" * (5 * MEBIBYTE)))
    cases = [
        (large, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE"),
        (b"\xff" * 20, "INVALID_ARGUMENT", "REQUEST_MALFORMED"),
        (b"\x12\x02\x12\x01", "INVALID_ARGUMENT", "REQUEST_MALFORMED"),
        (b"\x12\x04\x12\x02\xff\xfe", "INVALID_ARGUMENT", "REQUEST_MALFORMED"),
    ]
    for bad, code, reason in cases:
        call = raw(iter([good, bad, good]), timeout=20)
        assert pb.PipelineResponse.FromString(next(call)).set.applied
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        require(refusal_of(caught.value), code, reason)
    assert client.value(name, "k") == b"v"
