/** Keys, values and numbers come back as they went. */

import assert from "node:assert/strict";
import { Code } from "@connectrpc/connect";
import { MEBIBYTE, bytes, noise, refused, sameBytes } from "./checks.js";

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

async function comesBack({ kv, name }, key, value) {
  const written = await kv.set({ namespace: name, key, value });
  assert.deepEqual([written.entry.key, written.entry.sizeBytes], [key, BigInt(value.length)]);
  const { entry } = await kv.get({ namespace: name, key });
  assert.deepEqual([entry.key, entry.sizeBytes], [key, BigInt(value.length)]);
  sameBytes(entry.value, value);
}

async function binary(context) {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const values = [all, Uint8Array.of(0), Uint8Array.of(0xff, 0xfe), bytes("\n\r\n"), noise(100_001)];
  for (const [place, value] of values.entries()) {
    await comesBack(context, `k${place}`, value);
  }
}

async function unicode(context) {
  const keys = ["ключ 🔑", "a/b//c/..", " ", "\t\r\n\u0001", "é".repeat(2048)];
  keys.push("%2F+&=?#", '"\\', "\u2028");
  for (const key of keys) {
    await comesBack(context, key, bytes(key));
  }
  const { results } = await context.kv.batchGet({ namespace: context.name, keys });
  assert.deepEqual(
    results.map((result) => result.entry.key),
    keys,
  );
}

async function empty(context) {
  await comesBack(context, "k", new Uint8Array(0));
  const { kv, name } = context;
  // A value that is empty is there, unlike one that is not.
  assert.ok((await kv.get({ namespace: name, key: "k" })).entry);
  assert.equal((await kv.get({ namespace: name, key: "none" })).entry, undefined);
}

async function large(context) {
  const { kv, namespaces, name } = context;
  const most = 3 * MEBIBYTE;
  await namespaces.createNamespace({ namespace: { name, policy: { maxValueBytes: BigInt(most) } } });
  await comesBack(context, "k", noise(most));
  const call = kv.set({ namespace: name, key: "l", value: noise(most + 1) });
  const metadata = { limit_bytes: `${most}`, size_bytes: `${most + 1}` };
  await refused(call, Code.InvalidArgument, "VALUE_TOO_LARGE", { metadata });
}

async function numbers({ kv, name }) {
  const add = (key, delta, initialValue = 0n) =>
    kv.increment({ namespace: name, key, delta, initialValue });
  // The first integer that a JavaScript number cannot tell from its neighbour.
  assert.equal((await add("odd", 1n, 2n ** 53n)).value, 2n ** 53n + 1n);
  assert.equal((await add("most", 1n, INT64_MAX - 1n)).value, INT64_MAX);
  assert.equal((await add("least", -1n, INT64_MIN + 1n)).value, INT64_MIN);
  assert.equal((await add("least", INT64_MAX)).value, -1n);
  sameBytes((await kv.get({ namespace: name, key: "most" })).entry.value, bytes(`${INT64_MAX}`));
  await refused(add("most", 1n), Code.OutOfRange, "COUNTER_OVERFLOW");
}

/** By what each case shows. */
export const values = {
  "binary values": binary,
  "keys of any text": unicode,
  "empty values": empty,
  "the largest values": large,
  "64-bit numbers": numbers,
};
