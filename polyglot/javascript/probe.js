// Does what a task should not, one thing at a time: for the tests of what happens then.

import { write } from "flowweaver:log/log@0.1.0";

const input = {
  type: "object",
  required: ["deed"],
  properties: { deed: { enum: ["hoard", "spin", "throw", "babble", "print", "look"] } },
};

const deeds = {
  hoard() {
    for (const held = []; ; ) held.push(new Uint8Array(1 << 20).fill(1));
  },
  spin() {
    write("info", "spinning", []);
    for (;;);
  },
  throw() {
    throw new TypeError("this is not an error record");
  },
  babble: () => "this is not JSON",
  print() {
    console.log("to standard output");
    console.error("to standard error");
    return "{}";
  },
  look: () =>
    JSON.stringify({
      chance: Math.random(),
      now_ms: Date.now(),
      found: ["process", "require", "Deno"].filter((name) => name in globalThis),
    }),
};

export const entry = {
  describe: () => JSON.stringify({ name: "probe", version: "0.1.0", summary: "Misbehaves as told.", input, output: {} }),
  run: (json) => deeds[JSON.parse(json).deed](),
};
