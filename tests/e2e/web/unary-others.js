/** Every unary method of NamespaceService and AdminService. */

import assert from "node:assert/strict";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { bytes, isRecent, refused } from "./checks.js";
import { eventually } from "./runner.js";
import { pathOf, pb } from "./schema.js";

const GET = pathOf(pb.KeyValueService.method.get);
const SET = pathOf(pb.KeyValueService.method.set);
const atMost = (maximum) => ({ bound: { case: "maximum", value: maximum } });

async function createNamespace({ namespaces, name }) {
  const { namespace } = await namespaces.createNamespace({
    namespace: {
      name,
      description: "pro lidi: žluťoučký kůň",
      labels: { team: "a", tier: "1" },
      policy: { maxKeys: atMost(2n ** 53n + 1n), maxBytes: { bound: { case: "unlimited", value: true } } },
    },
  });
  assert.deepEqual(namespace.labels, { team: "a", tier: "1" });
  assert.equal(namespace.description, "pro lidi: žluťoučký kůň");
  assert.equal(namespace.policy.maxKeys.bound.value, 2n ** 53n + 1n);
  assert.equal(namespace.policy.maxBytes.bound.case, "unlimited");
  assert.equal(namespace.autoCreated, false);
  assert.ok(namespace.etag);
  isRecent(namespace.createTime);
}

async function getNamespace({ kv, namespaces, name }) {
  const { entry } = await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const { namespace } = await namespaces.getNamespace({ namespace: name });
  assert.deepEqual([namespace.name, namespace.autoCreated], [name, true]);
  assert.deepEqual([namespace.usage.keyCount, namespace.usage.version], [1n, entry.version]);
  assert.ok(namespace.usage.usedBytes > 2n);
  isRecent(namespace.createTime);
}

async function listNamespaces({ namespaces, name }) {
  const names = ["a", "b", "c"].map((letter) => `${name}.${letter}`);
  for (const one of names) {
    await namespaces.createNamespace({ namespace: { name: one } });
  }
  const page = { prefix: `${name}.`, pageSize: 2 };
  const first = await namespaces.listNamespaces(page);
  const second = await namespaces.listNamespaces({ ...page, pageToken: first.nextPageToken });
  const found = [...first.namespaces, ...second.namespaces].map((one) => one.name);
  assert.deepEqual([found, first.namespaces.length, second.nextPageToken], [names, 2, ""]);
}

async function updateNamespace({ namespaces, name }) {
  const policy = { maxKeys: atMost(7n), evictionPolicy: pb.EvictionPolicy.NONE };
  const made = await namespaces.updateNamespace({
    namespace: { name, description: "first", policy },
    allowMissing: true,
  });
  assert.equal(made.namespace.description, "first");
  const { etag } = made.namespace;
  const changed = await namespaces.updateNamespace({
    namespace: { name, etag, description: "ignored", policy: { maxKeys: atMost(8n) } },
    updateMask: { paths: ["policy.max_keys"] },
  });
  assert.equal(changed.namespace.description, "first");
  assert.equal(changed.namespace.policy.maxKeys.bound.value, 8n);
  assert.equal(changed.namespace.policy.evictionPolicy, pb.EvictionPolicy.NONE);
  assert.notEqual(changed.namespace.etag, etag);
  const late = namespaces.updateNamespace({ namespace: { name, etag, description: "second" } });
  await refused(late, Code.Aborted, "ETAG_MISMATCH");
}

async function deleteNamespace({ kv, namespaces, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const careful = namespaces.deleteNamespace({ namespace: name });
  await refused(careful, Code.FailedPrecondition, "NAMESPACE_NOT_EMPTY");
  assert.equal((await namespaces.deleteNamespace({ namespace: name, force: true })).deletedCount, 1n);
  const gone = namespaces.getNamespace({ namespace: name });
  await refused(gone, Code.NotFound, "NAMESPACE_NOT_FOUND");
}

async function clearNamespace({ kv, namespaces, name }) {
  for (const key of ["a", "b"]) {
    await kv.set({ namespace: name, key, value: bytes("v") });
  }
  assert.equal((await namespaces.clearNamespace({ namespace: name })).deletedCount, 2n);
  assert.equal((await kv.get({ namespace: name, key: "a" })).entry, undefined);
  assert.equal((await namespaces.getNamespace({ namespace: name })).namespace.usage.keyCount, 0n);
}

async function getNamespaceStats({ kv, namespaces, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  await kv.batchGet({ namespace: name, keys: ["k", "none", "k"] });
  await kv.delete({ namespace: name, key: "k" });
  const { stats } = await namespaces.getNamespaceStats({ namespace: name });
  assert.equal(stats.namespace, name);
  const counters = [stats.sets, stats.hits, stats.misses, stats.deletes, stats.usage.keyCount];
  assert.deepEqual(counters, [1n, 2n, 1n, 1n, 0n]);
}

async function listHotKeys({ kv, namespaces, name }) {
  await kv.set({ namespace: name, key: "warm", value: bytes("v") });
  await kv.batchGet({ namespace: name, keys: Array(20).fill("hot") });
  const answer = await namespaces.listHotKeys({ namespace: name, pageSize: 1 });
  assert.deepEqual(
    answer.hotKeys.map((one) => one.key),
    ["hot"],
  );
  const seconds = durationMs(answer.window) / 1000;
  assert.equal(Math.round(answer.hotKeys[0].readsPerSecond * seconds), 20);
  assert.equal(answer.hotKeys[0].writesPerSecond, 0);
}

async function getServerInfo({ admin }) {
  const { info } = await admin.getServerInfo({});
  assert.equal(info.engine, "embedded");
  assert.match(info.version, /^\d+\.\d+\.\d+/);
  assert.deepEqual([info.limits.maxKeyBytes, info.limits.maxValueBytes], [4096n, 3n << 20n]);
  assert.ok(info.capabilities.includes(pb.Capability.RESUMABLE_WATCH));
}

async function getStats({ kv, admin, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const { stats } = await admin.getStats({ includeNamespaces: true });
  assert.equal(stats.namespaceCount, BigInt(stats.namespaces.length));
  assert.equal(stats.namespaces.find((one) => one.namespace === name).sets, 1n);
  assert.ok(stats.totals.sets >= 1n && stats.walEntries > 0n && stats.walBytes > 0n);
  assert.ok(durationMs(stats.uptime) > 0);
  isRecent(stats.startTime);
  assert.equal((await admin.getStats({})).stats.namespaces.length, 0);
}

async function getPerformance({ kv, admin, name }) {
  await kv.get({ namespace: name, key: "k" });
  const read = () => admin.getPerformance({ window: durationFromMs(300_000) });
  const answer = await eventually(async () => {
    const found = await read();
    return found.methods.some((one) => one.method === GET) && found;
  });
  const gets = answer.methods.find((one) => one.method === GET);
  assert.ok(gets.operations >= 1n && gets.operationsPerSecond > 0);
  assert.ok(gets.errorRatio >= 0 && gets.errorRatio < 1);
  assert.ok(durationMs(gets.maxLatency) >= 0 && answer.total.operations >= gets.operations);
  assert.equal(answer.total.method, "");
  assert.ok(answer.totalOperations >= answer.total.operations && durationMs(answer.window) > 0);
}

async function listLoggedOperations({ kv, admin, name }) {
  const slowFrom = (threshold) =>
    admin.updateConfig({ config: { slowOperationThreshold: threshold } });
  const before = (await admin.getConfig({})).config.slowOperationThreshold;
  await slowFrom(durationFromMs(0));
  await kv.set({ namespace: name, key: "sl/ow", value: bytes("v") });
  await slowFrom(before);
  const request = { log: pb.OperationLog.SLOW, namespace: name, pageSize: 5 };
  const { operations } = await admin.listLoggedOperations(request);
  assert.equal(operations.length, 1);
  const [found] = operations;
  assert.deepEqual([found.method, found.namespace, found.key], [SET, name, "sl/ow"]);
  assert.deepEqual([found.keyCount, found.error], [1n, undefined]);
  assert.match(found.peer, /^127\.0\.0\.1:\d+$/);
  isRecent(found.startTime);
}

async function compact({ kv, admin, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("v") });
  const answer = await admin.compact({ wait: true });
  assert.ok(answer.started && answer.walBytes > 0n);
  assert.equal(typeof answer.walEntries, "bigint");
  isRecent((await admin.getStats({})).stats.lastCompactionTime);
  assert.ok((await kv.get({ namespace: name, key: "k" })).entry);
}

async function getConfig({ admin }) {
  const { config } = await admin.getConfig({});
  assert.deepEqual([config.autoCreateNamespaces, config.readOnly], [true, false]);
  assert.equal(config.maxWalEntries, 1_000_000n);
  assert.equal(durationMs(config.flushInterval), 1000);
  assert.equal(config.defaultPolicy.maxKeys.bound.case, "unlimited");
  assert.equal(config.defaultPolicy.durability, pb.Durability.SYNC);
}

async function updateConfig({ admin }) {
  const before = (await admin.getConfig({})).config;
  const changed = await admin.updateConfig({
    config: { flushInterval: durationFromMs(1500), maxWalEntries: 5n },
    updateMask: { paths: ["flush_interval"] },
  });
  assert.equal(durationMs(changed.config.flushInterval), 1500);
  assert.equal(changed.config.maxWalEntries, before.maxWalEntries);
  const back = await admin.updateConfig({ config: { flushInterval: before.flushInterval } });
  assert.deepEqual(back.config, before);
}

/** By the name of the method. */
export const others = {
  "pykv.v1.NamespaceService/CreateNamespace": createNamespace,
  "pykv.v1.NamespaceService/GetNamespace": getNamespace,
  "pykv.v1.NamespaceService/ListNamespaces": listNamespaces,
  "pykv.v1.NamespaceService/UpdateNamespace": updateNamespace,
  "pykv.v1.NamespaceService/DeleteNamespace": deleteNamespace,
  "pykv.v1.NamespaceService/ClearNamespace": clearNamespace,
  "pykv.v1.NamespaceService/GetNamespaceStats": getNamespaceStats,
  "pykv.v1.NamespaceService/ListHotKeys": listHotKeys,
  "pykv.v1.AdminService/GetServerInfo": getServerInfo,
  "pykv.v1.AdminService/GetStats": getStats,
  "pykv.v1.AdminService/GetPerformance": getPerformance,
  "pykv.v1.AdminService/ListLoggedOperations": listLoggedOperations,
  "pykv.v1.AdminService/Compact": compact,
  "pykv.v1.AdminService/GetConfig": getConfig,
  "pykv.v1.AdminService/UpdateConfig": updateConfig,
};
