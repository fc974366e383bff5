"""Writers that keep a ledger while a server is killed, cut off, or asked to leave."""

import random
import threading
import time

import grpc

from .calls import Client, refusal_of
from .ledger import Cell
from .wire import pb

# These say that nothing was done; any other failure leaves both outcomes possible.
NOT_DONE = {"SHUTTING_DOWN", "STARTING_UP", "OVERLOADED", "DISK_FULL", "STORAGE_FAILURE"}
MODES = {
    "sync": pb.DURABILITY_SYNC,
    "async": pb.DURABILITY_ASYNC,
    "memory": pb.DURABILITY_MEMORY,
}
_KEYS_OF_A_WRITER = 24
# Longer than any group commit, far shorter than a test.
_CALL_SECONDS_MAX = 10


class Writer(threading.Thread):
    """Sets, deletes, counts and writes pairs, one call at a time, on keys of its own."""

    def __init__(self, load, client, space, number, seed):
        super().__init__(name=f"writer-{number}", daemon=True)
        self.load, self.client, self.space = load, client, space
        self.ledger, self.rng = load.ledger, random.Random(seed)
        keys = [f"w{number}/{index}" for index in range(_KEYS_OF_A_WRITER)]
        self.keys = [f"w{number}/counter", f"w{number}/left", f"w{number}/right", *keys]
        for key in self.keys:
            space.cells.setdefault(key, Cell())

    def run(self):
        """Until it is told to stop or the server is gone."""
        acts = [self._set_one] * 5 + [
            self._remove_one,
            self._count_one,
            self._set_pair,
            self._set_pair,
        ]
        while not self.load.stopping.is_set() and not self.ledger.is_cut:
            try:
                self.rng.choice(acts)()
            except grpc.RpcError as error:
                if not self._goes_on(refusal_of(error)):
                    return

    def _goes_on(self, refusal):
        if refusal.reason in NOT_DONE:
            self.ledger.abandon(self.under_way)
        with self.load.lock:
            self.load.refusals.append((time.time(), refusal))
        # A server that leaves or is gone has nothing for this writer any more.
        return refusal.reason in ("DISK_FULL", "OVERLOADED")

    def _cells(self, keys):
        self.under_way = [self.space.cells[key] for key in keys]
        return self.under_way

    def _call(self, method, request):
        begun = time.time()
        answer = method(request, timeout=_CALL_SECONDS_MAX)
        with self.load.lock:
            self.load.latest_begun = max(self.load.latest_begun, begun)
        return answer

    def _value(self):
        size = self.rng.choice((0, 8, 60, 300, 2000))
        return self.rng.randbytes(8).hex().encode() + b"." * size

    def _set_one(self):
        key, value = self.rng.choice(self.keys[3:]), self._value()
        cells = self._cells([key])
        self.ledger.begin(cells, [value])
        request = pb.SetRequest(namespace=self.space.name, key=key, value=value)
        answer = self._call(self.client.kv.Set, request)
        self.ledger.acknowledge(self.space, cells, [answer.entry.version])

    def _remove_one(self):
        key = self.rng.choice(self.keys[3:])
        cells = self._cells([key])
        self.ledger.begin(cells, [None])
        request = pb.DeleteRequest(namespace=self.space.name, key=key)
        self._call(self.client.kv.Delete, request)
        self.ledger.acknowledge(self.space, cells, [0])

    def _count_one(self):
        cells = self._cells(self.keys[:1])
        before = int(cells[0].value or b"0")
        self.ledger.begin(cells, [str(before + 1).encode()])
        request = pb.IncrementRequest(namespace=self.space.name, key=self.keys[0])
        answer = self._call(self.client.kv.Increment, request)
        assert answer.value == before + 1, f"counted {answer.value} after {before}"
        self.ledger.acknowledge(self.space, cells, [answer.entry.version])

    def _set_pair(self):
        keys, value = self.keys[1:3], self._value()
        cells = self._cells(keys)
        self.ledger.begin(cells, [value, value])
        steps = [pb.WriteOperation(set=pb.SetRequest(key=key, value=value)) for key in keys]
        request = pb.BatchWriteRequest(namespace=self.space.name, operations=steps, atomic=True)
        answer = self._call(self.client.kv.BatchWrite, request)
        assert answer.committed
        versions = [result.set.entry.version for result in answer.results]
        self.ledger.acknowledge(self.space, cells, versions)


class Load:
    """Writers over a few connections, for the namespaces of a ledger."""

    def __init__(self, address, ledger, rng, writers=3, connections=2):
        self.ledger = ledger
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.refusals = []
        # When the latest call began that was answered OK.
        self.latest_begun = 0.0
        self.clients = [Client(address) for _ in range(connections)]
        spaces = [space for space in ledger.spaces.values() for _ in range(writers)]
        self.writers = [
            Writer(self, self.clients[number % connections], space, number, rng.random())
            for number, space in enumerate(spaces)
        ]
        for writer in self.writers:
            writer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends it; every writer is gone afterwards."""
        self.stopping.set()
        for writer in self.writers:
            writer.join(_CALL_SECONDS_MAX + 5)
            assert not writer.is_alive(), "a call hangs"
        for client in self.clients:
            client.channel.close()


def spaces_by_durability(client, ledger, modes=MODES):
    """Makes a namespace for each durability, in the server and in the ledger."""
    for mode in modes:
        client.create(mode, durability=MODES[mode])
        ledger.space(mode, survives=mode != "memory")


def torn_pairs(ledger):
    """Pairs of keys that were only ever written together and are not equal."""
    torn = []
    for space in ledger.spaces.values():
        for key, cell in space.cells.items():
            other = space.cells.get(key.replace("/left", "/right"))
            if key.endswith("/left") and cell.value != other.value:
                torn.append(f"{space.name}/{key}")
    return torn
