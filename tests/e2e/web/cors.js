/** Pages of other origins: what a browser is told about them. */

import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import * as web from "@connectrpc/connect-web";
import { bytes, fails, refused, sameBytes } from "./checks.js";
import { pathOf, pb } from "./schema.js";
import { clients } from "./transports.js";

export const APP = "https://app.example";
const EVIL = "https://evil.example";
const EXPOSED = ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"];
const { get, set, scanEntries } = pb.KeyValueService.method;
const MAKERS = [
  [web.createGrpcWebTransport, "content-type,grpc-timeout,x-grpc-web,x-user-agent"],
  [web.createConnectTransport, "connect-protocol-version,connect-timeout-ms,content-type"],
];

/** What a browser asks before it lets a page of `origin` call a method. */
function preflight(address, origin, headers = MAKERS[0][1]) {
  return fetch(`http://${address}/${pathOf(set)}`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": headers,
    },
  });
}

/** A gRPC-Web call as the page of `origin` would make it. */
function post(address, origin, method, message) {
  const data = toBinary(method.input, create(method.input, message));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(data.length, 1);
  return fetch(`http://${address}/${pathOf(method)}`, {
    method: "POST",
    headers: {
      "content-type": "application/grpc-web+proto",
      "x-grpc-web": "1",
      ...(origin ? { origin } : {}),
    },
    body: Buffer.concat([head, data]),
  });
}

function corsHeaders(response) {
  return [...response.headers.keys()].filter((name) => name.startsWith("access-control-"));
}

function listed(response, name) {
  return (response.headers.get(name) ?? "").toLowerCase().split(/\s*,\s*/);
}

async function asked({ cors }) {
  for (const [, headers] of MAKERS) {
    const response = await preflight(cors, APP, headers);
    assert.ok(response.ok, `${response.status}`);
    assert.equal(response.headers.get("access-control-allow-origin"), APP);
    assert.ok(listed(response, "access-control-allow-methods").includes("post"));
    const allowed = listed(response, "access-control-allow-headers");
    assert.deepEqual(
      headers.split(",").filter((name) => !allowed.includes(name)),
      [],
    );
    assert.ok(Number(response.headers.get("access-control-max-age")) > 0);
  }
  const foreign = await preflight(cors, EVIL);
  assert.equal(foreign.headers.get("access-control-allow-origin"), null);
}

async function readable({ cors, name }) {
  const messages = [
    [set, { namespace: name, key: "k", value: bytes("v") }],
    [get, { namespace: "no name", key: "" }],
    [scanEntries, { namespace: name }],
    [scanEntries, { namespace: "no name" }],
  ];
  for (const [method, message] of messages) {
    const response = await post(cors, APP, method, message);
    await response.arrayBuffer();
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("access-control-allow-origin"), APP);
    assert.ok(listed(response, "vary").includes("origin"));
    assert.ok(response.headers.get("x-request-id"));
    const exposed = listed(response, "access-control-expose-headers");
    assert.deepEqual(
      EXPOSED.filter((header) => !exposed.includes(header)),
      [],
    );
  }
}

/** Clients of connect-web in a page of `origin`. */
function page(address, make, origin) {
  const as = (input, { headers, ...init }) =>
    fetch(input, { ...init, headers: [...new Headers(headers), ["origin", origin]] });
  return clients(make({ baseUrl: `http://${address}`, fetch: as }));
}

async function usable({ cors, name }) {
  for (const [make] of MAKERS) {
    const { kv } = page(cors, make, APP);
    await kv.set({ namespace: name, key: "k", value: bytes("v") });
    sameBytes((await kv.get({ namespace: name, key: "k" })).entry.value, bytes("v"));
    await refused(kv.get({ namespace: name }), Code.InvalidArgument, "KEY_INVALID");
  }
}

async function refusedToStrangers({ cors, address, name }) {
  for (const server of [cors, address]) {
    for (const origin of [EVIL, "null", `${APP}.evil.example`, "http://app.example"]) {
      const response = await post(server, origin, set, { namespace: name, key: "k" });
      await response.arrayBuffer();
      assert.deepEqual([response.status, corsHeaders(response)], [403, []], origin);
    }
    for (const [make] of MAKERS) {
      const { kv } = page(server, make, EVIL);
      await fails(kv.set({ namespace: name, key: "k" }), Code.PermissionDenied);
    }
    const { kv } = page(server, web.createConnectTransport, `http://${server}`);
    assert.equal((await kv.get({ namespace: name, key: "k" })).entry, undefined);
  }
}

async function silent({ address, name }) {
  const responses = [
    await preflight(address, APP),
    await preflight(address, `http://${address}`),
    await post(address, null, set, { namespace: name, key: "k" }),
    await post(address, `http://${address}`, get, { namespace: name, key: "k" }),
    await post(address, APP, get, { namespace: name, key: "k" }),
    await fetch(`http://${address}/health`, { headers: { origin: APP } }),
  ];
  for (const response of responses) {
    await response.arrayBuffer();
    assert.deepEqual([corsHeaders(response), response.headers.get("vary")], [[], null]);
  }
  assert.deepEqual(
    responses.slice(2).map((response) => response.status),
    [200, 200, 403, 200],
  );
}

/** By what each case shows. */
export const origins = {
  "a browser that asks first is told": asked,
  "an allowed page may read all of an answer": readable,
  "an allowed page may use every client": usable,
  "any other page is refused": refusedToStrangers,
  "without the setting there is not a word of it": silent,
};
