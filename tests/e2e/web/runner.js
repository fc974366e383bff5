/** Cases: one line for each, a limit on its time, and a summary that names every one. */

import { ConnectError, Code } from "@connectrpc/connect";
import { rpc } from "./schema.js";

const SECONDS_MAX = 20;
const groups = {};
let count = 0;

/** Runs a case. One that fails is noted, and the next one runs. */
export async function run(group, name, body) {
  const begun = performance.now();
  let error = null;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${SECONDS_MAX} s`)), SECONDS_MAX * 1000);
  });
  try {
    await Promise.race([body(), late]);
  } catch (thrown) {
    error = described(thrown);
  } finally {
    clearTimeout(timer);
  }
  const taken = (performance.now() - begun).toFixed(0).padStart(5);
  console.log(`${error === null ? "ok    " : "FAILED"} ${taken} ms  ${group}: ${name}`);
  groups[group] ??= {};
  if (name in groups[group]) {
    error = "there are two cases of that name";
  }
  groups[group][name] = error;
}

/** What all cases came to. */
export function summary() {
  const failed = Object.values(groups).flatMap((cases) => Object.values(cases).filter(Boolean));
  const cases = Object.values(groups).flatMap(Object.keys).length;
  return { cases, failed: failed.length, groups };
}

function described(thrown) {
  const said = thrown instanceof Error ? thrown.stack : String(thrown);
  if (!(thrown instanceof ConnectError)) {
    return said;
  }
  const infos = thrown.findDetails(rpc.ErrorInfoSchema).map((info) => JSON.stringify(info));
  return `${Code[thrown.code]} ${infos.join(" ")}\n${said}`;
}

/** The first true answer of `check`, asked again and again; the time of the case is its limit. */
export async function eventually(check) {
  for (;;) {
    const answer = await check();
    if (answer) {
      return answer;
    }
    await new Promise(setImmediate);
  }
}

/** A name that nobody else uses. */
export function unique(group) {
  count += 1;
  return `${group}.${count}`;
}
