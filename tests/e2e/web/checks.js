/** Small words of the cases: bytes, moments, and how a call is refused. */

import assert from "node:assert/strict";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { pb, rpc } from "./schema.js";

export const MEBIBYTE = 1 << 20;

/** UTF-8. */
export function bytes(text) {
  return new TextEncoder().encode(text);
}

/** Bytes that look like nothing, the same ones each time. */
export function noise(length) {
  const made = new Uint8Array(length);
  let state = 0x9e3779b9;
  for (let place = 0; place < length; place += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    made[place] = state >>> 24;
  }
  return made;
}

/** Fails unless two arrays of bytes are the same; says no more of them than where they differ. */
export function sameBytes(found, expected) {
  assert.ok(found instanceof Uint8Array, `no bytes: ${typeof found}`);
  assert.equal(found.length, expected.length);
  assert.equal(
    found.findIndex((byte, place) => byte !== expected[place]),
    -1,
  );
}

/** Fails unless a timestamp is of these minutes. */
export function isRecent(timestamp) {
  assert.ok(Math.abs(timestampMs(timestamp) - Date.now()) < 300_000, `${timestampMs(timestamp)}`);
}

/** Expects a call to be refused with a code; returns the error. */
export async function fails(call, code) {
  try {
    await call;
  } catch (error) {
    assert.ok(error instanceof ConnectError, `not a ConnectError: ${error.stack}`);
    assert.equal(Code[error.code], Code[code], error.message);
    return error;
  }
  return assert.fail(`answered OK instead of ${Code[code]}`);
}

/**
 * Expects a call to be refused as documented; returns the error. `fields` are all violations there
 * must be, by field, and no others.
 */
export async function refused(call, code, reason, { fields, metadata } = {}) {
  const error = await fails(call, code);
  const infos = error.findDetails(rpc.ErrorInfoSchema);
  assert.equal(infos.length, 1, `${infos.length} times ErrorInfo: ${error.message}`);
  assert.deepEqual([infos[0].reason, infos[0].domain], [reason, "pykv"]);
  assert.ok(pb.ErrorReason[reason] > 0, `${reason} is not in the schema`);
  assert.ok(error.rawMessage.length > 0);
  for (const [key, value] of Object.entries(metadata ?? {})) {
    assert.equal(infos[0].metadata[key], value, `metadata "${key}"`);
  }
  if (fields !== undefined) {
    const requests = error.findDetails(rpc.BadRequestSchema);
    assert.equal(requests.length, 1, `${requests.length} times BadRequest`);
    const violations = requests[0].fieldViolations;
    assert.deepEqual(Object.fromEntries(violations.map((one) => [one.field, one.reason])), fields);
    assert.ok(violations.every((one) => one.description.length > 0));
  }
  return error;
}
