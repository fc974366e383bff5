// A request for every method that a browser can call, and what its answer must be.
import assert from "node:assert/strict";

const bytes = (text) => new TextEncoder().encode(text);
const text = (value) => new TextDecoder().decode(value);
const seconds = (count) => ({ seconds: BigInt(count), nanos: 0 });

/** By method: a request about a namespace with the entries k1, k2 and k3, and a check of the answer. */
export const UNARY = {
  Get: (space) => [{ namespace: space, key: "k1" }, (a) => assert.equal(text(a.entry.value), "1")],
  Set: (space) => [
    { namespace: space, key: "ключ/🎉", value: new Uint8Array([0, 255]), returnPrevious: true },
    (a) => assert.deepEqual([a.applied, typeof a.entry.version, a.previous], [true, "bigint", undefined]),
  ],
  Delete: (space) => [{ namespace: space, key: "k1" }, (a) => assert.equal(a.deleted, true)],
  Touch: (space) => [
    { namespace: space, key: "k1", expiration: { policy: { case: "ttl", value: seconds(60) } } },
    (a) => assert.ok(a.entry.ttl.seconds <= 60n),
  ],
  Increment: (space) => [
    { namespace: space, key: "n", delta: -(2n ** 60n) },
    (a) => assert.equal(a.value, -(2n ** 60n)),
  ],
  BatchGet: (space) => [
    { namespace: space, keys: ["k1", "none"] },
    (a) => assert.deepEqual(a.results.map((r) => r.entry && text(r.entry.value)), ["1", undefined]),
  ],
  BatchWrite: (space) => [
    { namespace: space, atomic: true, operations: [
      { operation: { case: "set", value: { key: "b", value: bytes("b") } } },
      { operation: { case: "delete", value: { key: "k1" } } },
    ] },
    (a) => assert.deepEqual(a.results.map((r) => r.result.case), ["set", "delete"]),
  ],
  ListEntries: (space) => [
    { namespace: space, prefix: "k", pageSize: 2 },
    (a) => assert.deepEqual(a.entries.map((e) => e.key), ["k1", "k2"]),
  ],
  DeletePrefix: (space) => [
    { namespace: space, prefix: "k" },
    (a) => assert.equal(a.deletedCount, 3n),
  ],
  CreateNamespace: (space) => [
    { namespace: { name: `${space}-new`, labels: { team: "a" } } },
    (a) => assert.equal(a.namespace.labels.team, "a"),
  ],
  GetNamespace: (space) => [{ namespace: space }, (a) => assert.equal(a.namespace.usage.keyCount, 3n)],
  ListNamespaces: (space) => [
    { prefix: space },
    (a) => assert.deepEqual(a.namespaces.map((n) => n.name), [space]),
  ],
  UpdateNamespace: (space) => [
    { namespace: { name: space, description: "new" }, updateMask: { paths: ["description"] } },
    (a) => assert.equal(a.namespace.description, "new"),
  ],
  DeleteNamespace: (space) => [{ namespace: space, force: true }, (a) => assert.ok(a)],
  ClearNamespace: (space) => [{ namespace: space }, (a) => assert.equal(a.deletedCount, 3n)],
  GetNamespaceStats: (space) => [{ namespace: space }, (a) => assert.equal(a.stats.sets, 3n)],
  ListHotKeys: (space) => [{ namespace: space }, (a) => assert.ok(Array.isArray(a.keys ?? a.hotKeys))],
  GetServerInfo: () => [{}, (a) => assert.equal(a.info.engine, "embedded")],
  GetStats: () => [{ includeNamespaces: true }, (a) => assert.ok(a.stats.namespaceCount >= 2n)],
  GetPerformance: () => [{ window: seconds(60) }, (a) => assert.ok(a.total.operations > 0n)],
  ListLoggedOperations: () => [{ log: 1, pageSize: 1 }, (a) => assert.ok(a.operations.length <= 1)],
  Compact: () => [{ wait: true }, (a) => assert.equal(typeof a.walBytes, "bigint")],
  GetConfig: () => [{}, (a) => assert.equal(a.config.readOnly, false)],
  UpdateConfig: () => [
    { config: { logFilter: "info" }, updateMask: { paths: ["log_filter"] } },
    (a) => assert.equal(a.config.logFilter, "info"),
  ],
};

/** By method: a request for a stream, and a check of its answers; how many to read, if it has no end. */
export const STREAMS = {
  ScanEntries: (space) => [
    { namespace: space, prefix: "k" },
    (all) => assert.deepEqual(all.flatMap((a) => a.entries.map((e) => e.key)), ["k1", "k2", "k3"]),
  ],
  ExportSnapshot: (space) => [
    { namespaces: [space] },
    (all) => assert.equal(all.at(-1).summary.entryCount, 3n),
  ],
  Watch: (space) => [
    { namespace: space, includeInitial: true, includeValues: true },
    (all) => {
      assert.deepEqual(all[0].events.map((e) => text(e.entry.value)), ["1", "2", "3"]);
      assert.ok(all[0].initialComplete && all[0].version > 0n);
    },
    1,
  ],
};

/** Puts in what the requests above expect. */
export async function prepare(keyValue, space) {
  for (const number of ["1", "2", "3"]) {
    await keyValue.set({ namespace: space, key: `k${number}`, value: bytes(number) });
  }
}
