/** Streams: what comes first, how they go on, and how each side ends them. */

import assert from "node:assert/strict";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { bytes, fails, noise, refused, sameBytes } from "./checks.js";
import { eventually } from "./runner.js";
import { pb, rpc } from "./schema.js";

const put = (key, value = bytes("v")) => ({ operation: { case: "set", value: { key, value } } });

/** A stream that can be read one message at a time, and left. */
export function opened(call, request, options = {}) {
  const leaving = new AbortController();
  const messages = call(request, { ...options, signal: leaving.signal })[Symbol.asyncIterator]();
  const next = async () => {
    const { done, value } = await messages.next();
    assert.ok(!done, "the stream has ended");
    return value;
  };
  return { next, leave: () => leaving.abort() };
}

/** The events of a watch, up to the one of the key `until`. */
async function told(watch, until) {
  const events = [];
  while (!events.some((event) => event.entry.key === until)) {
    events.push(...(await watch.next()).events);
  }
  return events.map((event) => [event.type, event.entry.key, event.entry.version]);
}

async function scan({ kv, name }) {
  const keys = Array.from({ length: 2500 }, (_, place) => `k${String(place).padStart(4, "0")}`);
  for (let start = 0; start < keys.length; start += 1000) {
    const operations = keys.slice(start, start + 1000).map((key) => put(key, bytes(key)));
    await kv.batchWrite({ namespace: name, operations });
  }
  const found = [];
  for await (const message of kv.scanEntries({ namespace: name })) {
    assert.ok(message.entries.length > 0 && message.entries.length <= 1000);
    if (found.length === 0) {
      assert.equal(message.entries[0].key, "k0000");
      sameBytes(message.entries[0].value, bytes("k0000"));
      assert.equal(typeof message.entries[0].version, "bigint");
    }
    found.push(...message.entries.map((entry) => entry.key));
  }
  assert.deepEqual(found, keys);
  const rest = { namespace: name, startAfter: "k0009", limit: 2n, view: pb.EntryView.KEY };
  const some = [];
  for await (const message of kv.scanEntries(rest)) {
    some.push(...message.entries.map((entry) => entry.key));
  }
  assert.deepEqual(some, ["k0010", "k0011"]);
  // Whoever has seen enough leaves, and can go on asking.
  for await (const message of kv.scanEntries({ namespace: name })) {
    assert.equal(message.entries[0].key, "k0000");
    break;
  }
  assert.ok((await kv.get({ namespace: name, key: "k0001" })).entry);
}

async function watch({ kv, namespaces, name }) {
  const before = await kv.set({ namespace: name, key: "old", value: bytes("v") });
  const watching = opened(kv.watch, { namespace: name, prefixes: ["a"], includeValues: true });
  const first = await watching.next();
  assert.deepEqual([first.events.length, first.version], [0, before.entry.version]);
  await kv.set({ namespace: name, key: "b", value: bytes("unseen") });
  const { entry } = await kv.set({ namespace: name, key: "a", value: bytes("seen") });
  const { events } = await watching.next();
  assert.equal(events.length, 1);
  assert.equal(events[0].type, pb.WatchEventType.SET);
  assert.deepEqual([events[0].entry.key, events[0].entry.version], ["a", entry.version]);
  sameBytes(events[0].entry.value, bytes("seen"));
  const open = async () => (await namespaces.getNamespaceStats({ namespace: name })).stats.activeWatches;
  assert.equal(await open(), 1n);
  const waiting = watching.next();
  watching.leave();
  await fails(waiting, Code.Canceled);
  await eventually(async () => (await open()) === 0n);
}

async function exportSnapshot({ kv, admin, name }) {
  await fill(kv, name);
  const { file, summary, messages } = await exported(admin, name);
  assert.ok(messages > 3, `${messages}`);
  assert.equal(new TextDecoder().decode(file.slice(0, 4)).toUpperCase(), "PYKV");
  assert.deepEqual([summary.namespaceCount, summary.entryCount], [1n, 3n]);
}

async function fill(kv, name) {
  for (const key of ["a", "b", "c"]) {
    await kv.set({ namespace: name, key, value: noise(700_000) });
  }
}

async function exported(admin, name) {
  const chunks = [];
  let last;
  for await (const message of admin.exportSnapshot({ namespaces: [name] })) {
    assert.equal(last?.summary, undefined, "something follows the summary");
    assert.ok(message.chunk.length <= 1 << 20);
    chunks.push(message.chunk);
    last = message;
  }
  const file = new Uint8Array(Buffer.concat(chunks));
  assert.equal(last.summary.sizeBytes, BigInt(file.length));
  return { file, summary: last.summary, messages: chunks.length };
}

async function pipeline({ kv, name }) {
  const asked = queue();
  const answers = kv.pipeline(asked)[Symbol.asyncIterator]();
  const ask = async (id, kind, value) => {
    asked.push({ id, request: { case: kind, value: { namespace: name, ...value } } });
    const answer = (await answers.next()).value;
    assert.equal(answer.id, id);
    return answer.response;
  };
  // One at a time: each answer is there before the next request is sent.
  const written = await ask(2n ** 62n + 1n, "set", { key: "k", value: bytes("v") });
  assert.deepEqual([written.case, written.value.applied], ["set", true]);
  const read = await ask(-1n, "get", { key: "k" });
  sameBytes(read.value.entry.value, bytes("v"));
  const wrong = await ask(7n, "delete", { key: "" });
  assert.deepEqual([wrong.case, wrong.value.code], ["error", Code.InvalidArgument]);
  const info = wrong.value.details.map((any) => anyUnpack(any, rpc.ErrorInfoSchema)).find(Boolean);
  assert.deepEqual([info.reason, info.domain], ["KEY_INVALID", "pykv"]);
  for (let id = 0n; id < 500n; id += 1n) {
    asked.push({ id, request: { case: "increment", value: { namespace: name, key: "n" } } });
  }
  asked.end();
  for (let id = 0n; id < 500n; id += 1n) {
    const answer = (await answers.next()).value;
    assert.deepEqual([answer.id, answer.response.value.value], [id, id + 1n]);
  }
  assert.equal((await answers.next()).done, true);
}

/** Messages that are sent as they are pushed. */
function queue() {
  const waiting = [];
  let wake = () => {};
  const push = (message) => {
    waiting.push(message);
    wake();
  };
  return {
    push,
    end: () => push(null),
    async *[Symbol.asyncIterator]() {
      for (;;) {
        while (waiting.length > 0) {
          const message = waiting.shift();
          if (message === null) {
            return;
          }
          yield message;
        }
        await new Promise((resolve) => (wake = resolve));
      }
    },
  };
}

async function restoreSnapshot({ kv, admin, name }) {
  await fill(kv, name);
  const { file, summary } = await exported(admin, name);
  const other = `${name}.restored`;
  async function* upload() {
    const options = { mode: pb.RestoreMode.REPLACE, renameNamespaces: { [name]: other } };
    yield { payload: { case: "options", value: options } };
    for (let start = 0; start < file.length; start += 100_000) {
      yield { payload: { case: "chunk", value: file.subarray(start, start + 100_000) } };
    }
  }
  const answer = await admin.restoreSnapshot(upload());
  assert.deepEqual([answer.restoredCount, answer.skippedCount, answer.expiredCount], [3n, 0n, 0n]);
  assert.equal(answer.summary.sizeBytes, summary.sizeBytes);
  sameBytes((await kv.get({ namespace: other, key: "c" })).entry.value, noise(700_000));
  async function* broken() {
    yield { payload: { case: "options", value: { mode: pb.RestoreMode.REPLACE } } };
    yield { payload: { case: "chunk", value: bytes("no snapshot at all") } };
  }
  await refused(admin.restoreSnapshot(broken()), Code.InvalidArgument, "SNAPSHOT_CORRUPT");
}

/** By the name of the method: all that are not unary. */
export const streams = {
  "pykv.v1.KeyValueService/ScanEntries": scan,
  "pykv.v1.KeyValueService/Watch": watch,
  "pykv.v1.KeyValueService/Pipeline": pipeline,
  "pykv.v1.AdminService/ExportSnapshot": exportSnapshot,
  "pykv.v1.AdminService/RestoreSnapshot": restoreSnapshot,
};

async function resumed({ kv, name }) {
  const versions = [];
  for (const key of ["a", "b", "c"]) {
    versions.push((await kv.set({ namespace: name, key, value: bytes(key) })).entry.version);
  }
  await kv.delete({ namespace: name, key: "a" });
  const watching = opened(kv.watch, { namespace: name, startVersion: versions[0] });
  const { SET, DELETED } = pb.WatchEventType;
  const missed = await told(watching, "a");
  assert.deepEqual(missed.slice(0, 2), [[SET, "b", versions[1]], [SET, "c", versions[2]]]);
  assert.deepEqual(missed[2].slice(0, 2), [DELETED, "a"]);
  const { entry } = await kv.set({ namespace: name, key: "d", value: bytes("d") });
  assert.deepEqual(await told(watching, "d"), [[SET, "d", entry.version]]);
  watching.leave();
}

async function initial({ kv, name }) {
  await kv.batchWrite({ namespace: name, operations: [put("b"), put("a", new Uint8Array(0))] });
  const request = { namespace: name, includeInitial: true, includeValues: true };
  const watching = opened(kv.watch, request);
  const events = [];
  let message;
  do {
    message = await watching.next();
    events.push(...message.events);
  } while (!message.initialComplete);
  const { INITIAL } = pb.WatchEventType;
  assert.deepEqual(
    events.map(({ type, entry }) => [type, entry.key, entry.sizeBytes, entry.value.length]),
    [[INITIAL, "a", 0n, 0], [INITIAL, "b", 1n, 1]],
  );
  watching.leave();
}

async function deletedMeanwhile({ kv, namespaces, name }) {
  await namespaces.createNamespace({ namespace: { name } });
  const watching = opened(kv.watch, { namespace: name });
  assert.equal((await watching.next()).events.length, 0);
  await namespaces.deleteNamespace({ namespace: name, force: true });
  const metadata = { namespace: name };
  await refused(watching.next(), Code.NotFound, "NAMESPACE_NOT_FOUND", { metadata });
}

async function neverBegun({ kv, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const future = opened(kv.watch, { namespace: name, startVersion: 2n ** 62n });
  await refused(future.next(), Code.OutOfRange, "VERSION_IN_FUTURE");
  const fields = { namespace: "NAMESPACE_INVALID", limit: "PAGE_SIZE_INVALID" };
  const scanning = opened(kv.scanEntries, { namespace: "no name", limit: 0n });
  await refused(scanning.next(), Code.InvalidArgument, "NAMESPACE_INVALID", { fields });
}

async function endedByTheServersClock({ kv, name, timeoutHeader }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  // Without a clock of the client's own, so that it is the server that ends the call.
  const headers = { [timeoutHeader]: "300m" };
  const watching = opened(kv.watch, { namespace: name }, { headers });
  assert.ok((await watching.next()).version > 0n);
  await refused(watching.next(), Code.DeadlineExceeded, "DEADLINE_EXCEEDED");
}

async function endedByEitherClock({ kv, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const watching = opened(kv.watch, { namespace: name }, { timeoutMs: 300 });
  assert.ok((await watching.next()).version > 0n);
  await fails(watching.next(), Code.DeadlineExceeded);
}

/** More about streams, by what each case shows. */
export const aboutStreams = {
  "a watch resumes from a version": resumed,
  "a watch tells what is there, then what comes": initial,
  "an error ends a stream that has begun": deletedMeanwhile,
  "an error takes the place of a stream": neverBegun,
  "the server ends a stream at its deadline": endedByTheServersClock,
  "a stream ends when its time is up": endedByEitherClock,
};
