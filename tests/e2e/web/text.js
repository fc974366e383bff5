/** The text form of gRPC-Web, base64, by bare `fetch`: no client of today speaks it. */

import assert from "node:assert/strict";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { bytes, sameBytes } from "./checks.js";
import { pathOf, pb, rpc } from "./schema.js";

const TRAILERS = 0x80;

/** Sends a message; returns the answer, once its head is there. */
function send(address, method, message, { kind = "application/grpc-web-text", signal } = {}) {
  const data = toBinary(method.input, create(method.input, message));
  const frame = Buffer.alloc(5 + data.length);
  frame.writeUInt32BE(data.length, 1);
  frame.set(data, 5);
  return fetch(`http://${address}/${pathOf(method)}`, {
    method: "POST",
    headers: { "content-type": kind, accept: kind, "x-grpc-web": "1" },
    body: frame.toString("base64"),
    signal,
  });
}

/** The frames of an answer as they come; base64 may be padded anywhere, four letters are three bytes. */
async function* frames(response) {
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type"), /^application\/grpc-web-text(\+proto)?$/);
  let letters = "";
  let data = Buffer.alloc(0);
  for await (const piece of response.body) {
    letters += Buffer.from(piece).toString("latin1");
    const whole = letters.length - (letters.length % 4);
    const groups = letters.slice(0, whole).match(/.{4}/gs) ?? [];
    for (const group of groups) {
      assert.match(group, /^[A-Za-z0-9+/]{2}([A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)$/);
    }
    data = Buffer.concat([data, ...groups.map((group) => Buffer.from(group, "base64"))]);
    letters = letters.slice(whole);
    while (data.length >= 5 && data.length >= 5 + data.readUInt32BE(1)) {
      const end = 5 + data.readUInt32BE(1);
      yield { flags: data[0], data: new Uint8Array(data.subarray(5, end)) };
      data = data.subarray(end);
    }
  }
  assert.deepEqual([letters, data.length], ["", 0], "the answer is cut short");
}

/** Messages and trailers of an answer that ends. */
async function whole(method, response) {
  const messages = [];
  let trailers;
  for await (const { flags, data } of frames(response)) {
    assert.equal(trailers, undefined, "something follows the trailers");
    if (flags & TRAILERS) {
      const lines = new TextDecoder().decode(data).split("\r\n").filter(Boolean);
      trailers = new Headers(lines.map((line) => line.split(/:\s*(.*)/s).slice(0, 2)));
    } else {
      messages.push(fromBinary(method.output, data));
    }
  }
  return { messages, trailers: trailers ?? response.headers };
}

async function unary({ address, name }) {
  const { set, get } = pb.KeyValueService.method;
  for (const kind of ["application/grpc-web-text", "application/grpc-web-text+proto"]) {
    for (const value of ["", "a", "ab", "abc"].map(bytes)) {
      const written = { namespace: name, key: "ключ", value };
      const first = await whole(set, await send(address, set, written, { kind }));
      assert.equal(first.messages[0].applied, true);
      const asked = { namespace: name, key: "ключ" };
      const second = await whole(get, await send(address, get, asked, { kind }));
      assert.deepEqual([second.messages.length, second.trailers.get("grpc-status")], [1, "0"]);
      sameBytes(second.messages[0].entry.value, value);
    }
  }
}

async function refusedUnary({ address }) {
  const { get } = pb.KeyValueService.method;
  const { messages, trailers } = await whole(get, await send(address, get, { namespace: "no name" }));
  assert.deepEqual([messages.length, trailers.get("grpc-status")], [0, `${Code.InvalidArgument}`]);
  const details = Buffer.from(trailers.get("grpc-status-details-bin"), "base64");
  const status = fromBinary(rpc.StatusSchema, details);
  assert.equal(status.code, Code.InvalidArgument);
  const [info] = status.details.filter((any) => any.typeUrl.endsWith("/google.rpc.ErrorInfo"));
  assert.equal(fromBinary(rpc.ErrorInfoSchema, info.value).reason, "NAMESPACE_INVALID");
}

async function stream({ address, kv, name }) {
  const keys = Array.from({ length: 1500 }, (_, place) => `k${String(place).padStart(4, "0")}`);
  for (const part of [keys.slice(0, 1000), keys.slice(1000)]) {
    const operations = part.map((key) => ({
      operation: { case: "set", value: { key, value: bytes(key) } },
    }));
    await kv.batchWrite({ namespace: name, operations });
  }
  const { scanEntries } = pb.KeyValueService.method;
  const response = await send(address, scanEntries, { namespace: name });
  const { messages, trailers } = await whole(scanEntries, response);
  const entries = messages.flatMap((message) => message.entries);
  assert.deepEqual(
    entries.map((entry) => [entry.key, new TextDecoder().decode(entry.value)]),
    keys.map((key) => [key, key]),
  );
  assert.ok(messages.length > 1);
  assert.equal(trailers.get("grpc-status"), "0");
}

async function unfinished({ address, kv, namespaces, name }) {
  await namespaces.createNamespace({ namespace: { name } });
  const { watch } = pb.KeyValueService.method;
  const leaving = new AbortController();
  const request = { namespace: name, includeValues: true };
  const response = await send(address, watch, request, { signal: leaving.signal });
  const coming = frames(response);
  const next = async () => fromBinary(watch.output, (await coming.next()).value.data);
  assert.equal((await next()).events.length, 0);
  // Each message is there whole although more is to come.
  for (const value of ["", "a", "ab", "abc"].map(bytes)) {
    await kv.set({ namespace: name, key: "k", value });
    const { events } = await next();
    sameBytes(events[0].entry.value, value);
  }
  leaving.abort();
  await assert.rejects(coming.next(), { name: "AbortError" });
}

/** By what each case shows. */
export const textForm = {
  "one message": unary,
  "an error": refusedUnary,
  "a stream that ends": stream,
  "a stream that goes on": unfinished,
};
