/**
 * Runs every case against running servers: `node main.js ADDRESS CORS_ADDRESS`, the second of a server
 * whose `cors_origins` is "https://app.example". Prints a line for each case and a summary as JSON last.
 */

import assert from "node:assert/strict";
import { origins } from "./cors.js";
import { errors, streamRefused } from "./errors.js";
import { run, summary, unique } from "./runner.js";
import { pathOf, services } from "./schema.js";
import { sockets } from "./sockets.js";
import { aboutStreams, streams } from "./streams.js";
import { textForm } from "./text.js";
import { transports } from "./transports.js";
import { entries } from "./unary-entries.js";
import { others } from "./unary-others.js";
import { values } from "./values.js";

const [address, cors] = process.argv.slice(2);
const methods = services.flatMap((service) => service.methods);
const byMethod = { ...entries, ...others, ...streams };

/** One case for each method that the schema has and a transport carries, whether written or not. */
async function everyMethod(transport) {
  for (const method of methods.filter(({ methodKind }) => transport.kinds.includes(methodKind))) {
    const path = pathOf(method);
    await run(transport.group, path, async () => {
      assert.ok(byMethod[path], "there is no case for this method");
      await byMethod[path]({ ...transport, name: unique(transport.group) });
      assert.ok(transport.answered.has(path), "its case has not called it");
    });
  }
}

async function all(group, cases, context) {
  for (const [name, body] of Object.entries(cases)) {
    await run(group, name, () => body({ ...context, name: unique(group) }));
  }
}

await run("schema", "every case is of a method that there is", () => {
  const known = methods.map(pathOf);
  assert.deepEqual(
    Object.keys(byMethod).filter((path) => !known.includes(path)),
    [],
  );
});
const answered = {};
let first;
for (const transport of transports(`http://${address}`)) {
  first ??= transport;
  const { group, kinds } = transport;
  await everyMethod(transport);
  await all(group, errors, transport);
  await all(group, values, transport);
  if (kinds.includes("server_streaming")) {
    await all(group, aboutStreams, transport);
  } else {
    await all(group, { "a stream is refused": streamRefused }, transport);
  }
  answered[group] = [...transport.answered].sort();
}
await all("grpc-web-text", textForm, { ...first, address });
await all("cors", origins, { address, cors });
await all("http1", sockets, { address });
console.log(JSON.stringify({ ...summary(), answered }));
// Connections that are kept alive would keep the process alive too.
process.exit(0);
