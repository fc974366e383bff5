/** Errors: their codes, and the details that a program needs. */

import assert from "node:assert/strict";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { bytes, fails, refused } from "./checks.js";
import { eventually } from "./runner.js";
import { pathOf, pb, rpc } from "./schema.js";

const GET = pathOf(pb.KeyValueService.method.get);
const FAILED = pb.OperationLog.FAILED;
const atMost = (maximum) => ({ bound: { case: "maximum", value: maximum } });

async function severalViolations({ kv }) {
  const fields = { namespace: "NAMESPACE_INVALID", key: "KEY_INVALID" };
  const call = kv.get({ namespace: "no name: ключ", key: "" });
  await refused(call, Code.InvalidArgument, "NAMESPACE_INVALID", { fields });
  const nested = kv.set({
    namespace: "n",
    key: "k",
    expiration: { policy: { case: "ttl", value: { seconds: -1n } } },
    condition: { test: { case: "ifAbsent", value: false } },
  });
  await refused(nested, Code.InvalidArgument, "EXPIRATION_INVALID", {
    fields: {
      "expiration.ttl": "EXPIRATION_INVALID",
      "condition.if_absent": "CONDITION_INVALID",
    },
  });
}

async function notFound({ namespaces, name }) {
  const metadata = { namespace: name };
  for (const call of ["getNamespace", "getNamespaceStats", "deleteNamespace", "clearNamespace"]) {
    const asked = namespaces[call]({ namespace: name });
    await refused(asked, Code.NotFound, "NAMESPACE_NOT_FOUND", { metadata });
  }
}

async function rateLimited({ kv, namespaces, name }) {
  const policy = { maxOperationsPerSecond: atMost(1n) };
  await namespaces.createNamespace({ namespace: { name, policy } });
  const limited = await eventually(() =>
    kv.get({ namespace: name, key: "k" }).then(
      () => null,
      (error) => error,
    ),
  );
  const error = await refused(Promise.reject(limited), Code.ResourceExhausted, "RATE_LIMITED");
  const [retry] = error.findDetails(rpc.RetryInfoSchema);
  const wait = durationMs(retry.retryDelay);
  assert.ok(0 < wait && wait <= 2000, `${wait}`);
}

async function quotaExceeded({ kv, namespaces, name }) {
  const policy = { maxKeys: atMost(1n), evictionPolicy: pb.EvictionPolicy.NONE };
  await namespaces.createNamespace({ namespace: { name, policy } });
  await kv.set({ namespace: name, key: "a", value: bytes("v") });
  const call = kv.set({ namespace: name, key: "b", value: bytes("v") });
  const metadata = { limit: "max_keys", value: "1" };
  const error = await refused(call, Code.ResourceExhausted, "NAMESPACE_QUOTA_EXCEEDED", { metadata });
  assert.equal(error.findDetails(rpc.QuotaFailureSchema)[0].violations.length, 1);
  assert.equal(error.findDetails(rpc.RetryInfoSchema).length, 0);
}

async function alreadyExists({ namespaces, name }) {
  await namespaces.createNamespace({ namespace: { name } });
  const again = namespaces.createNamespace({ namespace: { name } });
  const metadata = { namespace: name };
  await refused(again, Code.AlreadyExists, "NAMESPACE_ALREADY_EXISTS", { metadata });
}

async function failedPrecondition({ kv, name }) {
  await kv.set({ namespace: name, key: "k", value: bytes("text") });
  const call = kv.increment({ namespace: name, key: "k" });
  await refused(call, Code.FailedPrecondition, "VALUE_NOT_INTEGER");
}

async function timeIsUp({ kv, name, timeoutHeader }) {
  // Of the server's own clock: the time of this call is up when it arrives.
  const headers = { [timeoutHeader]: timeoutHeader === "grpc-timeout" ? "0n" : "0" };
  const call = kv.set({ namespace: name, key: "k", value: bytes("v") }, { headers });
  await refused(call, Code.DeadlineExceeded, "DEADLINE_EXCEEDED");
  assert.equal((await kv.get({ namespace: name, key: "k" })).entry, undefined);
  // Of both: no write is flushed, answered and read within a millisecond every time.
  const late = await eventually(() =>
    kv.set({ namespace: name, key: "k", value: bytes("v") }, { timeoutMs: 1 }).then(
      () => null,
      (error) => error,
    ),
  );
  await fails(Promise.reject(late), Code.DeadlineExceeded);
  assert.ok((await kv.set({ namespace: name, key: "k" }, { timeoutMs: 20_000 })).applied);
}

async function cancelled({ kv, admin, name }) {
  const failures = async () => {
    const { operations } = await admin.listLoggedOperations({ log: FAILED, pageSize: 1000 });
    const gets = operations.filter((one) => one.method === GET);
    return gets.map((one) => `${Code[one.error.code]}: ${one.error.message}`);
  };
  const before = await failures();
  const leaving = new AbortController();
  const call = kv.get({ namespace: name, key: "k" }, { signal: leaving.signal });
  leaving.abort();
  await fails(call, Code.Canceled);
  assert.equal((await kv.get({ namespace: name, key: "k" })).entry, undefined);
  // It was the caller who left, so the server has not failed.
  const after = await failures();
  assert.deepEqual(after.slice(0, after.length - before.length), []);
}

/** Of unary calls, by what each case shows. */
export const errors = {
  "every violation is named": severalViolations,
  "a namespace is not found": notFound,
  "who asks too often is told when to come back": rateLimited,
  "a full namespace says which limit it was": quotaExceeded,
  "a namespace exists already": alreadyExists,
  "a value is no number": failedPrecondition,
  "the time of a call is up": timeIsUp,
  "a call is taken back": cancelled,
};

/** Connect carries no streams here; that must be an error and no riddle. */
export async function streamRefused({ kv, name }) {
  const messages = kv.watch({ namespace: name })[Symbol.asyncIterator]();
  await assert.rejects(messages.next(), (error) => error instanceof ConnectError);
}
