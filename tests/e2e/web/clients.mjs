// Calls every method over every transport: `node clients.mjs URL STUBS`. Prints one line of JSON for each
// case, and exits with 0 whatever came of them: who started it reads the lines.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import { STREAMS, UNARY, prepare } from "./cases.mjs";

const CASE_MS_MAX = 20_000;
const [baseUrl, stubs] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(`${stubs}/${file}`).href);
const { KeyValueService } = await load("pykv/v1/key_value_service_pb.js");
const { NamespaceService } = await load("pykv/v1/namespace_service_pb.js");
const { AdminService } = await load("pykv/v1/admin_service_pb.js");
const { ErrorInfoSchema, BadRequestSchema, RetryInfoSchema } = await load("google/rpc/error_details_pb.js");
const SERVICES = [KeyValueService, NamespaceService, AdminService];

const TRANSPORTS = {
  "gRPC-Web of connect-web": { make: () => web.createGrpcWebTransport({ baseUrl }), streams: true },
  "Connect JSON of connect-web": { make: () => web.createConnectTransport({ baseUrl }) },
  "Connect binary of connect-web": {
    make: () => web.createConnectTransport({ baseUrl, useBinaryFormat: true }),
  },
  "gRPC of connect-node": { make: () => node.createGrpcTransport({ baseUrl }), streams: true, uploads: true },
  "gRPC-Web of connect-node, HTTP/1.1": {
    make: () => node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }), streams: true,
  },
  "gRPC-Web of connect-node, HTTP/2": {
    make: () => node.createGrpcWebTransport({ baseUrl, httpVersion: "2" }), streams: true,
  },
};

let spaces = 0;
const signal = () => AbortSignal.timeout(CASE_MS_MAX);

async function attempt(transport, name, run) {
  let error = null;
  try {
    await run();
  } catch (caught) {
    error = String(caught?.stack ?? caught);
  }
  console.log(JSON.stringify({ transport, case: name, error }));
}

/** What a call is refused with. */
async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  return assert.fail("it was not refused");
}

function checkError(error, code, reason) {
  assert.equal(error.code, code, error.message);
  const [info] = error.findDetails(ErrorInfoSchema);
  assert.deepEqual([info?.reason, info?.domain], [reason, "pykv"]);
  return info;
}

async function take(stream, count) {
  const found = [];
  for await (const answer of stream) {
    found.push(answer);
    if (found.length === count) break;
  }
  return found;
}

/** Every method that the descriptors have; one without a case is a failure. */
async function methods(name, clients, transport) {
  for (const service of SERVICES) {
    for (const method of service.methods) {
      const client = clients[service.typeName];
      const unary = method.methodKind === "unary";
      if (!unary && (!transport.streams || method.methodKind !== "server_streaming")) continue;
      await attempt(name, method.name, async () => {
        const space = `web-${(spaces += 1)}`;
        await prepare(clients[KeyValueService.typeName], space);
        const make = (unary ? UNARY : STREAMS)[method.name];
        assert.ok(make, "there is no case for this method");
        const [request, check, count] = make(space);
        const abort = new AbortController();
        const timer = setTimeout(() => abort.abort(), CASE_MS_MAX);
        const answer = client[method.localName](request, { signal: abort.signal });
        check(unary ? await answer : await take(answer, count));
        clearTimeout(timer);
        abort.abort();
      });
    }
  }
}

async function errors(name, kv, namespaces) {
  await attempt(name, "all faults of a request, with their fields", async () => {
    const error = await refusal(kv.get({ namespace: "a b", key: "" }, { signal: signal() }));
    checkError(error, Code.InvalidArgument, "NAMESPACE_INVALID");
    const [bad] = error.findDetails(BadRequestSchema);
    assert.deepEqual(bad.fieldViolations.map((v) => [v.field, v.reason]), [
      ["namespace", "NAMESPACE_INVALID"], ["key", "KEY_INVALID"],
    ]);
  });
  await attempt(name, "metadata of an error", async () => {
    const error = await refusal(namespaces.getNamespace({ namespace: "nowhere" }));
    assert.equal(checkError(error, Code.NotFound, "NAMESPACE_NOT_FOUND").metadata.namespace, "nowhere");
  });
  await attempt(name, "when to come back", async () => {
    const space = `web-limited-${(spaces += 1)}`;
    const policy = { maxOperationsPerSecond: { bound: { case: "maximum", value: 1n } } };
    await namespaces.createNamespace({ namespace: { name: space, policy } });
    const asked = Array.from({ length: 20 }, () => kv.get({ namespace: space, key: "k" }));
    const refused = (await Promise.allSettled(asked)).find((one) => one.status === "rejected");
    const error = ConnectError.from(refused?.reason);
    checkError(error, Code.ResourceExhausted, "RATE_LIMITED");
    assert.ok(error.findDetails(RetryInfoSchema)[0].retryDelay);
  });
  await attempt(name, "a deadline that the server keeps", async () => {
    const headers = { "grpc-timeout": "0n", "connect-timeout-ms": "0" };
    const error = await refusal(kv.get({ namespace: "x", key: "k" }, { headers }));
    checkError(error, Code.DeadlineExceeded, "DEADLINE_EXCEEDED");
  });
  await attempt(name, "3 MiB pass unchanged", async () => {
    const space = `web-large-${(spaces += 1)}`;
    const policy = { maxValueBytes: BigInt(3 << 20) };
    await namespaces.createNamespace({ namespace: { name: space, policy } });
    const value = new Uint8Array(3 << 20).map((_, index) => index % 251);
    await kv.set({ namespace: space, key: "k", value }, { signal: signal() });
    const answer = await kv.get({ namespace: space, key: "k" }, { signal: signal() });
    assert.equal(Buffer.compare(answer.entry.value, value), 0);
  });
}

async function streams(name, kv, namespaces) {
  await attempt(name, "a watch goes on where another ended", async () => {
    const space = `web-${(spaces += 1)}`;
    await prepare(kv, space);
    const [first] = await take(kv.watch({ namespace: space, includeInitial: true }), 1);
    await kv.delete({ namespace: space, key: "k2" });
    const rest = kv.watch({ namespace: space, startVersion: first.version }, { signal: signal() });
    for await (const answer of rest) {
      if (answer.events.length === 0) continue;
      assert.deepEqual(answer.events.map((event) => event.entry.key), ["k2"]);
      break;
    }
  });
  await attempt(name, "an error that ends a stream that has begun", async () => {
    const space = `web-${(spaces += 1)}`;
    await prepare(kv, space);
    const read = async () => {
      for await (const answer of kv.watch({ namespace: space }, { signal: signal() })) {
        if (answer.events.length === 0) await namespaces.deleteNamespace({ namespace: space, force: true });
      }
    };
    checkError(await refusal(read()), Code.NotFound, "NAMESPACE_NOT_FOUND");
  });
}

async function uploads(name, kv, admin) {
  await attempt(name, "Pipeline", async () => {
    async function* requests() {
      yield { id: 1n, request: { case: "set", value: { namespace: "p", key: "k" } } };
      yield { id: 2n, request: { case: "get", value: { namespace: "p", key: "k" } } };
    }
    const answers = await take(kv.pipeline(requests(), { signal: signal() }), 2);
    assert.deepEqual(answers.map((a) => [Number(a.id), a.response.case]), [[1, "set"], [2, "get"]]);
  });
  await attempt(name, "RestoreSnapshot", async () => {
    const space = `web-${(spaces += 1)}`;
    await prepare(kv, space);
    const file = await take(admin.exportSnapshot({ namespaces: [space] }));
    async function* requests() {
      yield { payload: { case: "options", value: { mode: 1 } } };
      for (const { chunk } of file) {
        if (chunk.length > 0) yield { payload: { case: "chunk", value: chunk } };
      }
    }
    const answer = await admin.restoreSnapshot(requests(), { signal: signal() });
    assert.equal(answer.restoredCount, 3n);
  });
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const made = transport.make();
  const clients = Object.fromEntries(SERVICES.map((s) => [s.typeName, createClient(s, made)]));
  const [kv, namespaces, admin] = SERVICES.map((service) => clients[service.typeName]);
  await methods(name, clients, transport);
  await errors(name, kv, namespaces);
  if (transport.streams) await streams(name, kv, namespaces);
  if (transport.uploads) await uploads(name, kv, admin);
}
process.exit(0);
