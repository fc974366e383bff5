/** HTTP/1.1 as it is on a socket, where no client tidies up after the server. */

import assert from "node:assert/strict";
import { connect } from "node:net";
import { pathOf, pb } from "./schema.js";

const SET = pathOf(pb.KeyValueService.method.set);
const FRAME = Buffer.from([0, 0, 0, 0, 3, 0x12, 1, 0x6b]);

/** One connection: `until` reads to a text, and fails when the server closes before. */
async function dial(address) {
  const [host, port] = address.split(":");
  const socket = connect(Number(port), host).setEncoding("latin1");
  const pieces = socket[Symbol.asyncIterator]();
  let read = "";
  const until = async (text) => {
    while (!read.includes(text)) {
      const { done, value } = await pieces.next();
      assert.ok(!done, `the server closed the connection after ${JSON.stringify(read)}`);
      read += value;
    }
    const end = read.indexOf(text) + text.length;
    const found = read.slice(0, end);
    read = read.slice(end);
    return found;
  };
  return { socket, until };
}

/** Has a request refused, and one more on the same connection, unless its end was announced. */
async function refusedAndGoesOn(address, headers) {
  const { socket, until } = await dial(address);
  const host = `host: ${address}\r\n`;
  const lines = `${headers.map((line) => `${line}\r\n`).join("")}content-length: ${FRAME.length}\r\n`;
  const request = Buffer.from(`POST /${SET} HTTP/1.1\r\n${host}${lines}\r\n`);
  socket.write(Buffer.concat([request, FRAME]));
  const head = (await until("\r\n\r\n")).toLowerCase();
  if (!head.includes("connection: close")) {
    // It did not say that it would close the connection, so that any client would use it again.
    socket.write(`GET /livez HTTP/1.1\r\n${host}\r\n`);
    await until("alive");
  }
  socket.destroy();
}

const GRPC_WEB = "content-type: application/grpc-web+proto";

/** By what each case shows. */
export const sockets = {
  "refused: the time is up": ({ address }) =>
    refusedAndGoesOn(address, [GRPC_WEB, "grpc-timeout: 0n"]),
  "refused: another origin": ({ address }) =>
    refusedAndGoesOn(address, [GRPC_WEB, "origin: https://evil.example"]),
  "refused: an unknown content type": ({ address }) =>
    refusedAndGoesOn(address, ["content-type: text/plain"]),
};
