/** Every unary method of KeyValueService: a sensible request, and what it must be answered with. */

import assert from "node:assert/strict";
import { anyUnpack, durationFromMs, durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { bytes, isRecent, sameBytes } from "./checks.js";
import { pb, rpc } from "./schema.js";

async function get({ kv, name }) {
  assert.equal((await kv.get({ namespace: name, key: "k" })).entry, undefined);
  const written = await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const { entry } = await kv.get({ namespace: name, key: "k", view: pb.EntryView.FULL });
  assert.equal(entry.key, "k");
  sameBytes(entry.value, bytes("v"));
  assert.equal(entry.version, written.entry.version);
  assert.equal(entry.sizeBytes, 1n);
  assert.equal(entry.expireTime, undefined);
  isRecent(entry.updateTime);
  const brief = await kv.get({ namespace: name, key: "k", view: pb.EntryView.METADATA });
  assert.deepEqual([brief.entry.value.length, brief.entry.sizeBytes], [0, 1n]);
}

async function set({ kv, name }) {
  const ttl = { policy: { case: "ttl", value: durationFromMs(60_000) } };
  const first = await kv.set({ namespace: name, key: "k", value: bytes("old"), expiration: ttl });
  assert.equal(first.applied, true);
  assert.equal(first.previous, undefined);
  assert.equal(typeof first.entry.version, "bigint");
  const left = durationMs(first.entry.ttl);
  assert.ok(0 < left && left <= 60_000, `${left}`);
  const absent = { test: { case: "ifAbsent", value: true } };
  const kept = await kv.set({ namespace: name, key: "k", value: bytes("x"), condition: absent });
  assert.deepEqual([kept.applied, kept.entry.version], [false, first.entry.version]);
  const same = { test: { case: "ifVersion", value: first.entry.version } };
  const second = await kv.set({
    namespace: name,
    key: "k",
    value: bytes("new"),
    condition: same,
    returnPrevious: true,
  });
  assert.equal(second.applied, true);
  assert.ok(second.entry.version > first.entry.version);
  sameBytes(second.previous.value, bytes("old"));
}

async function remove({ kv, name }) {
  const { entry } = await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const wrong = { test: { case: "ifVersion", value: entry.version + 1n } };
  const kept = await kv.delete({ namespace: name, key: "k", condition: wrong });
  assert.deepEqual([kept.deleted, kept.entry.version], [false, entry.version]);
  const gone = await kv.delete({ namespace: name, key: "k", returnPrevious: true });
  assert.equal(gone.deleted, true);
  sameBytes(gone.previous.value, bytes("v"));
  assert.equal((await kv.delete({ namespace: name, key: "k" })).deleted, false);
}

async function touch({ kv, name }) {
  const never = { policy: { case: "never", value: true } };
  const moment = timestampFromMs(Date.now() + 3_600_000);
  const at = { policy: { case: "expireTime", value: moment } };
  assert.equal((await kv.touch({ namespace: name, key: "k", expiration: at })).applied, false);
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const view = pb.EntryView.FULL;
  const touched = await kv.touch({ namespace: name, key: "k", expiration: at, view });
  assert.equal(touched.applied, true);
  assert.equal(timestampMs(touched.entry.expireTime), timestampMs(moment));
  sameBytes(touched.entry.value, bytes("v"));
  const lasting = await kv.touch({ namespace: name, key: "k", expiration: never });
  assert.equal(lasting.entry.expireTime, undefined);
}

async function increment({ kv, name }) {
  const created = await kv.increment({ namespace: name, key: "n", initialValue: 40n, delta: 2n });
  assert.deepEqual([created.value, created.applied, created.created], [42n, true, true]);
  // A delta that is left out is 1, one that is zero reads.
  assert.equal((await kv.increment({ namespace: name, key: "n" })).value, 43n);
  assert.equal((await kv.increment({ namespace: name, key: "n", delta: 0n })).value, 43n);
  const bounded = await kv.increment({ namespace: name, key: "n", delta: -50n, lowerBound: 0n });
  assert.deepEqual([bounded.value, bounded.applied, bounded.created], [43n, false, false]);
  sameBytes((await kv.get({ namespace: name, key: "n" })).entry.value, bytes("43"));
}

async function batchGet({ kv, name }) {
  await kv.set({ namespace: name, key: "a", value: bytes("1") });
  await kv.set({ namespace: name, key: "b", value: bytes("2") });
  const { results } = await kv.batchGet({ namespace: name, keys: ["b", "none", "a", "b"] });
  assert.deepEqual(
    results.map(({ entry }) => entry && [entry.key, new TextDecoder().decode(entry.value)]),
    [["b", "2"], undefined, ["a", "1"], ["b", "2"]],
  );
}

async function batchWrite({ kv, name }) {
  const operation = (kind, value) => ({ operation: { case: kind, value } });
  await kv.set({ namespace: name, key: "text", value: bytes("no number") });
  const mixed = await kv.batchWrite({
    namespace: name,
    operations: [
      operation("set", { key: "a", value: bytes("1") }),
      operation("increment", { key: "a", delta: 9n }),
      operation("increment", { key: "text" }),
      operation("touch", { key: "none" }),
      operation("check", { key: "a", condition: { test: { case: "ifPresent", value: true } } }),
      operation("delete", { key: "a", returnPrevious: true }),
    ],
  });
  assert.equal(mixed.committed, true);
  const results = mixed.results.map(({ result }) => result);
  const kinds = ["set", "increment", "error", "touch", "check", "delete"];
  assert.deepEqual(
    results.map((result) => result.case),
    kinds,
  );
  const [written, added, refused, touched, checked, deleted] = results.map(({ value }) => value);
  assert.deepEqual([written.applied, added.value, touched.applied], [true, 10n, false]);
  assert.deepEqual([checked.held, deleted.deleted], [true, true]);
  sameBytes(deleted.previous.value, bytes("10"));
  assert.equal(refused.code, Code.FailedPrecondition);
  const info = refused.details.map((any) => anyUnpack(any, rpc.ErrorInfoSchema)).find(Boolean);
  assert.deepEqual([info.reason, info.domain], ["VALUE_NOT_INTEGER", "pykv"]);

  const atomic = await kv.batchWrite({
    namespace: name,
    atomic: true,
    operations: [
      operation("set", { key: "b", value: bytes("1") }),
      operation("check", { key: "c", condition: { test: { case: "ifPresent", value: true } } }),
    ],
  });
  assert.deepEqual([atomic.committed, atomic.results[1].result.value.held], [false, false]);
  assert.equal((await kv.get({ namespace: name, key: "b" })).entry, undefined);
}

async function listEntries({ kv, name }) {
  for (const key of ["p1", "p2", "p3", "q"]) {
    await kv.set({ namespace: name, key, value: bytes(key) });
  }
  const page = { namespace: name, prefix: "p", pageSize: 2, includeTotalSize: true };
  const first = await kv.listEntries(page);
  assert.deepEqual(
    first.entries.map((entry) => [entry.key, entry.sizeBytes]),
    [["p1", 2n], ["p2", 2n]],
  );
  assert.equal(first.totalSize, 3n);
  assert.ok(first.nextPageToken);
  const second = await kv.listEntries({ ...page, pageToken: first.nextPageToken });
  assert.deepEqual([second.entries.map(({ key }) => key), second.nextPageToken], [["p3"], ""]);
}

async function deletePrefix({ kv, name }) {
  for (const key of ["p1", "p2", "q"]) {
    await kv.set({ namespace: name, key, value: bytes(key) });
  }
  const counted = await kv.deletePrefix({ namespace: name, prefix: "p", validateOnly: true });
  assert.equal(counted.deletedCount, 2n);
  assert.equal((await kv.deletePrefix({ namespace: name, prefix: "p" })).deletedCount, 2n);
  assert.equal((await kv.deletePrefix({ namespace: name, prefix: "p" })).deletedCount, 0n);
  assert.ok((await kv.get({ namespace: name, key: "q" })).entry);
}

/** By the name of the method. */
export const entries = {
  "pykv.v1.KeyValueService/Get": get,
  "pykv.v1.KeyValueService/Set": set,
  "pykv.v1.KeyValueService/Delete": remove,
  "pykv.v1.KeyValueService/Touch": touch,
  "pykv.v1.KeyValueService/Increment": increment,
  "pykv.v1.KeyValueService/BatchGet": batchGet,
  "pykv.v1.KeyValueService/BatchWrite": batchWrite,
  "pykv.v1.KeyValueService/ListEntries": listEntries,
  "pykv.v1.KeyValueService/DeletePrefix": deletePrefix,
};
