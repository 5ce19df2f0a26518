// What chat-notify promises, tried in Node without a component.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { entry } from "./chat-notify.js";
import { reset, world } from "./testing/host.js";
import { decode, encode } from "./utf8.js";

const HOOK = "https://chat.test/hooks/1";
const run = (input) => JSON.parse(entry.run(JSON.stringify(input)));

/** What the task throws for this input. */
function failure(input) {
  try {
    run(input);
  } catch (error) {
    return error;
  }
  assert.fail("it did not fail");
}

beforeEach(reset);

test("what the host denies is the task's failure as it stands", () => {
  assert.equal(failure({ url: HOOK, text: "hi" }).code, "http.denied");
  assert.deepEqual(world.lines, []);
});

test("bad input names its field, is not retried, and nothing is sent", () => {
  for (const [input, field] of [
    [{ text: "hi" }, "url"],
    [{ url: "ftp://chat.test/", text: "hi" }, "url"],
    [{ url: HOOK }, "text"],
    [{ url: HOOK, text: "  " }, "text"],
    [{ url: HOOK, text: "x".repeat(4001) }, "text"],
  ]) {
    const { code, retryable, details } = failure(input);
    assert.deepEqual([code, retryable, JSON.parse(details)], ["input.invalid", false, { field }]);
  }
  assert.deepEqual(world.sent, []);
});

test("a busy chat is asked again when it says so, a chat that refuses is not", () => {
  world.answer = () => ({ status: 429, headers: [["retry-after", "7"]], body: "slow down" });
  const busy = failure({ url: HOOK, text: "hi" });
  assert.deepEqual([busy.code, busy.retryable, busy.retryAfterMs], ["chat.status", true, 7000n]);
  world.answer = () => ({ status: 403 });
  const refused = failure({ url: HOOK, text: "hi" });
  assert.deepEqual([refused.code, refused.retryable, refused.retryAfterMs], ["chat.status", false, undefined]);
});

test("a message is posted once, with its key, and logged", () => {
  world.answer = () => ({ status: 200, body: "ok" });
  assert.deepEqual(run({ url: HOOK, text: "안녕", channel: "ops" }), { status: 200, attempt: 1, reply: "ok" });
  const [{ method, url, headers, body }] = world.sent;
  assert.deepEqual([method, url, headers["idempotency-key"]], ["POST", HOOK, "b".repeat(64)]);
  assert.deepEqual(JSON.parse(body), { text: "안녕", channel: "ops" });
  assert.deepEqual(world.lines, [
    { level: "info", message: "the message was posted", fields: { status: "200", letters: "2" } },
  ]);
});

test("a long answer is cut, and not through a letter", () => {
  world.answer = () => ({ status: 200, body: "가".repeat(1 << 18) });
  assert.equal(run({ url: HOOK, text: "hi" }).reply, "가".repeat(500));
});

test("text survives the way to bytes and back", () => {
  for (const text of ["", "plain", "안녕 🐙 é", "\0"]) {
    assert.deepEqual(encode(text), new TextEncoder().encode(text));
    assert.equal(decode(encode(text)), text);
  }
  assert.equal(decode(encode("\ud800")), "\ufffd");
  assert.equal(decode([0xff, 0x41]), "\u00ffA");
});

test("the description's schemas name what the task reads and returns", () => {
  const { name, requires, input, output } = JSON.parse(entry.describe());
  assert.deepEqual([name, requires], ["chat-notify", ["http"]]);
  assert.deepEqual(Object.keys(input.properties), ["url", "text", "channel"]);
  assert.deepEqual(Object.keys(output.properties), ["status", "attempt", "reply"]);
});
