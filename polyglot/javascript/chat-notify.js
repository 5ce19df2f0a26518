// Posts a message to a chat's incoming webhook, once: a retry carries the same idempotency key.

import { attempt, idempotencyKey } from "flowweaver:context/context@0.1.0";
import { Request, send } from "flowweaver:http/client@0.1.0";
import { write } from "flowweaver:log/log@0.1.0";

import { decode, encode } from "./utf8.js";

const input = {
  type: "object",
  required: ["url", "text"],
  additionalProperties: false,
  properties: {
    url: { type: "string", description: "The webhook's address." },
    text: { type: "string", minLength: 1, maxLength: 4000 },
    channel: { type: "string", default: "" },
  },
};
const output = {
  type: "object",
  required: ["status", "attempt"],
  properties: {
    status: { type: "integer", description: "What the chat answered: 200 to 299." },
    attempt: { type: "integer", minimum: 1 },
    reply: { type: "string", description: "The first 500 letters of its answer." },
  },
};

/** Statuses that a later try may not meet again. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** A chat answers a word or a small object; more than this is not its answer. */
const REPLY_BYTES_MAX = 64 * 1024;

/** What a task throws to fail: the contract's error record. */
function failure(code, message, { retryable = false, retryAfterMs, details } = {}) {
  return { code, message, retryable, retryAfterMs, details: details && JSON.stringify(details) };
}

/** A 64-bit number as the engine at hand takes it: QuickJS a number, all others a BigInt. */
const u64 = (number) => ("TextEncoder" in globalThis ? BigInt(number) : number);

function invalid(field, message) {
  return failure("input.invalid", `${field}: ${message}`, { details: { field } });
}

/** The input, or a failure that names the field. The host has checked literals; expressions only run now. */
function parse(json) {
  const { url, text, channel = "" } = JSON.parse(json);
  if (typeof url !== "string" || !/^https?:\/\//.test(url)) throw invalid("url", "must be an http or https address");
  if (typeof text !== "string" || text.trim() === "") throw invalid("text", "must not be empty");
  if (text.length > 4000) throw invalid("text", `has ${text.length} letters, more than 4000`);
  return { url, text, channel };
}

/** A body as text, up to the limit. */
function read(response) {
  const bytes = [];
  for (let chunk; bytes.length < REPLY_BYTES_MAX && (chunk = response.read(16384)) != null; ) bytes.push(...chunk);
  // A letter that the limit cut in two goes.
  if (bytes.length >= REPLY_BYTES_MAX) while ((bytes.pop() & 0xc0) === 0x80);
  return decode(bytes);
}

/** `Retry-After` in milliseconds, if it is a number of seconds. */
function retryAfter(response) {
  const seconds = response.headers().find(([name]) => name === "retry-after")?.[1];
  return /^\d{1,6}$/.test(seconds ?? "") ? u64(Number(seconds) * 1000) : undefined;
}

export const entry = {
  describe: () =>
    JSON.stringify({
      name: "chat-notify",
      version: "0.1.0",
      summary: "Posts a message to a chat's incoming webhook.",
      requires: ["http"],
      input,
      output,
      defaults: { channel: "" },
    }),

  run(json) {
    const { url, text, channel } = parse(json);
    const request = new Request("POST", url);
    request.appendHeader("content-type", "application/json");
    request.appendHeader("idempotency-key", idempotencyKey());
    request.appendBody(encode(JSON.stringify(channel ? { text, channel } : { text })));

    // A call that the host refuses throws the host's own error record.
    const response = send(request);
    const status = response.status();
    const reply = read(response).slice(0, 500);
    if (status < 200 || status > 299) {
      throw failure("chat.status", `the chat answered ${status}`, {
        retryable: PASSING.has(status),
        retryAfterMs: retryAfter(response),
        details: { status, reply },
      });
    }
    write("info", "the message was posted", [["status", `${status}`], ["letters", `${text.length}`]]);
    return JSON.stringify({ status, attempt: attempt(), reply });
  },
};
