/** The schema: all that protoc-gen-es made of it, in one flat object each, as found in `gen`. */

import { readdir } from "node:fs/promises";
import { createRegistry } from "@bufbuild/protobuf";

async function load(folder) {
  const place = new URL(`./gen/${folder}/`, import.meta.url);
  const names = (await readdir(place)).filter((name) => name.endsWith("_pb.js"));
  const modules = await Promise.all(names.map((name) => import(new URL(name, place))));
  return Object.assign({}, ...modules);
}

/** Messages, enums and services of `pykv.v1`. */
export const pb = await load("pykv/v1");
/** `google.rpc.Status` and the details of errors. */
export const rpc = await load("google/rpc");

/** Every service there is, by name, also one that was added later. */
export const services = Object.values(pb)
  .filter((found) => found.kind === "service")
  .sort((a, b) => (a.typeName < b.typeName ? -1 : 1));

/** The full name of a method, as in its path. */
export function pathOf(method) {
  return `${method.parent.typeName}/${method.name}`;
}

/** What JSON needs to know of the messages inside a `google.protobuf.Any`. */
export const registry = createRegistry(...Object.values(rpc).filter((found) => found.kind === "file"));
