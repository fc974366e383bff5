/** The transports: each way in which a page or a Node program reaches the server. */

import { createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import { pathOf, pb, registry } from "./schema.js";

const UNARY = ["unary"];
const NO_UPLOADS = ["unary", "server_streaming"];
const ALL = ["unary", "server_streaming", "client_streaming", "bidi_streaming"];

/** Name, the kinds of methods it carries, the header that limits the time of a call, and how it is made. */
const TRANSPORTS = [
  ["web-grpc-web", NO_UPLOADS, "grpc-timeout", web.createGrpcWebTransport, {}],
  ["web-connect-json", UNARY, "connect-timeout-ms", web.createConnectTransport, {}],
  [
    "web-connect-proto",
    UNARY,
    "connect-timeout-ms",
    web.createConnectTransport,
    { useBinaryFormat: true },
  ],
  ["node-grpc", ALL, "grpc-timeout", node.createGrpcTransport, { h2: true }],
  [
    "node-grpc-web-http1",
    NO_UPLOADS,
    "grpc-timeout",
    node.createGrpcWebTransport,
    { httpVersion: "1.1" },
  ],
  [
    "node-grpc-web-http2",
    NO_UPLOADS,
    "grpc-timeout",
    node.createGrpcWebTransport,
    { httpVersion: "2", h2: true },
  ],
  [
    "node-connect-json-http2",
    UNARY,
    "connect-timeout-ms",
    node.createConnectTransport,
    { httpVersion: "2", h2: true, useBinaryFormat: false },
  ],
];

/** Every transport to a server, with clients, and with what has been answered over it. */
export function* transports(baseUrl) {
  for (const [group, kinds, timeoutHeader, make, { h2, ...options }] of TRANSPORTS) {
    const answered = new Set();
    const note = (next) => async (request) => {
      const response = await next(request);
      answered.add(pathOf(request.method));
      return response;
    };
    const transport = make({
      baseUrl,
      interceptors: [note],
      jsonOptions: { registry },
      ...(h2 ? { sessionManager: new node.Http2SessionManager(baseUrl) } : {}),
      ...options,
    });
    yield { group, kinds, timeoutHeader, answered, ...clients(transport) };
  }
}

/** A client of each service. */
export function clients(transport) {
  return {
    kv: createClient(pb.KeyValueService, transport),
    namespaces: createClient(pb.NamespaceService, transport),
    admin: createClient(pb.AdminService, transport),
  };
}
