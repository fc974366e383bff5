"""A pipeline as a test holds it: requests go in one by one, answers come out in order."""

import queue

from .calls import refusal_in
from .wire import pb

# No answer of a test should take longer.
ANSWER_SECONDS_MAX = 20


class Pipe:
    """One open pipeline."""

    def __init__(self, client, timeout=None):
        self._requests = queue.SimpleQueue()
        self.call = client.kv.Pipeline(iter(self._requests.get, None), timeout=timeout)

    def send(self, request):
        """Sends a `PipelineRequest`."""
        self._requests.put(request)

    def end(self):
        """Sends nothing any more."""
        self._requests.put(None)

    def answer(self):
        """The next answer."""
        return next(self.call)

    def ask(self, request):
        """Sends one request and waits for its answer."""
        self.send(request)
        return self.answer()

    def cancel(self):
        """Gives up."""
        self.call.cancel()
        self._requests.put(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cancel()


def ask_all(client, requests, timeout=60):
    """The answers to `requests`, on a stream of their own that ends well."""
    answers = list(client.kv.Pipeline(iter(requests), timeout=timeout))
    assert [a.id for a in answers] == [r.id for r in requests], "answers are out of order"
    return answers


def kind(answer):
    """Which response it is."""
    return answer.WhichOneof("response")


def refusal(answer):
    """What the error in an answer says."""
    assert kind(answer) == "error", answer
    return refusal_in(answer.error)


def get(number, namespace, key, view=pb.ENTRY_VIEW_UNSPECIFIED):
    """A get."""
    return pb.PipelineRequest(id=number, get=pb.GetRequest(namespace=namespace, key=key, view=view))


def put(number, namespace, key, value, **more):
    """A set."""
    request = pb.SetRequest(namespace=namespace, key=key, value=value, **more)
    return pb.PipelineRequest(id=number, set=request)


def remove(number, namespace, key, **more):
    """A delete."""
    request = pb.DeleteRequest(namespace=namespace, key=key, **more)
    return pb.PipelineRequest(id=number, delete=request)


def touch(number, namespace, key, **more):
    """A touch."""
    request = pb.TouchRequest(namespace=namespace, key=key, **more)
    return pb.PipelineRequest(id=number, touch=request)


def add(number, namespace, key, **more):
    """An increment."""
    request = pb.IncrementRequest(namespace=namespace, key=key, **more)
    return pb.PipelineRequest(id=number, increment=request)


def read_batch(number, namespace, keys, view=pb.ENTRY_VIEW_UNSPECIFIED):
    """A batch get."""
    request = pb.BatchGetRequest(namespace=namespace, keys=keys, view=view)
    return pb.PipelineRequest(id=number, batch_get=request)


def write_batch(number, namespace, operations, atomic=False):
    """A batch write."""
    request = pb.BatchWriteRequest(namespace=namespace, operations=operations, atomic=atomic)
    return pb.PipelineRequest(id=number, batch_write=request)
