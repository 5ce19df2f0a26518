// The host as a task sees it, for tests in Node: what was sent and logged is kept, answers are set by the test.

export const world = {};

/** Forgets everything; until a test says otherwise, nothing is granted. */
export function reset() {
  Object.assign(world, {
    sent: [],
    lines: [],
    answer: () => {
      throw { code: "http.denied", message: "no grant covers it", retryable: false };
    },
  });
}
reset();

export const idempotencyKey = () => "b".repeat(64);
export const attempt = () => 1;
export const write = (level, message, fields) => world.lines.push({ level, message, fields: Object.fromEntries(fields) });

export class Request {
  constructor(method, url) {
    Object.assign(this, { method, url, headers: {}, bytes: [] });
  }
  appendHeader(name, value) {
    this.headers[name] = value;
  }
  appendBody(bytes) {
    this.bytes.push(...bytes);
  }
}

/** Answers with `{ status, headers, body }` of the test's `world.answer(request)`, the body in portions. */
export function send(request) {
  world.sent.push({ ...request, body: new TextDecoder().decode(new Uint8Array(request.bytes)) });
  const { status, headers = [], body = "" } = world.answer(request);
  let left = new TextEncoder().encode(body);
  return {
    status: () => status,
    headers: () => headers,
    url: () => request.url,
    read(max) {
      const chunk = left.subarray(0, max);
      left = left.subarray(max);
      return chunk.length > 0 ? chunk : undefined;
    },
  };
}
