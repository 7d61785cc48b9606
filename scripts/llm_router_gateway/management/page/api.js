// All requests to the gateway: JSON in and out, failures as one class, events of a stream as they come.

const ROOT = location.pathname.replace(/\/monitor\/?$/, "");
const LIMIT_MS = 20000; // a statistic takes far less than one second; past this the gateway does not answer

const STEPS = {
  unreachable: "Is the gateway running? This page keeps trying.",
  unauthorized: "Sign in with an admin key.",
  forbidden: "This key may not do that: use an administrator's key.",
  rate_limited: "A limit is reached: wait, or raise it under Keys or in the configuration.",
  no_credit: "Raise the budget of this key under Keys, or pay the provider.",
  model_not_found: "Choose another model: the Models view lists them.",
  no_key: "Set the provider's key in its environment variable or file.",
  no_member: "See Models: every member of this group is off, cooling, or does not take the request.",
  upstream_failed: "The provider failed: see Models for its health, then try again or choose another model.",
  upstream_timeout: "The provider was silent for too long: try again or choose another model.",
  stream_cut: "The connection ended before the answer did: try again.",
  store_off: "Set store in [server] of the configuration to keep what happens. Models and Try it work without.",
  internal: "The gateway's log has the reason.",
};

/** A call that failed: what it was, in the gateway's words, and what to do next. */
export class CallFailed extends Error {
  constructor(message, { status = 0, code = "", retryAfter = null, requestId = null, body = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, body });
    this.step = retryAfter ? `Try again in ${retryAfter} s.` : (STEPS[code] ?? (status >= 500 ? STEPS.internal : ""));
  }
  get isUnreachable() {
    return this.code === "unreachable";
  }
}

/** address("monitor/statistics", {range: "24h", model: ""}) -> "/monitor/statistics?range=24h" */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const words = new URLSearchParams(given).toString();
  return `${ROOT}/${path}${words ? `?${words}` : ""}`;
}

export const origin = () => location.origin + ROOT;

function headersFor(method, body) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET") headers["x-llm-router-csrf"] = "1"; // no other site's page can send this with the session's cookie
  return headers;
}

/** The answer, whatever its status; CallFailed when there is none. */
async function sent(method, path, { query, body, signal } = {}) {
  try {
    return await fetch(address(path, query), {
      method,
      headers: headersFor(method, body),
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal,
    });
  } catch (error) {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new CallFailed("The gateway does not answer.", { code: "unreachable" });
  }
}

async function failed(response) {
  const text = await response.text().catch(() => "");
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // not JSON: a proxy in between, for instance
  }
  const error = body?.error ?? {};
  return new CallFailed(error.message || `Status ${response.status} without a reason.`, {
    status: response.status,
    code: error.code || error.type || `http_${response.status}`,
    retryAfter: response.headers.get("retry-after"),
    requestId: response.headers.get("x-request-id"),
    body,
  });
}

/** call("GET", "monitor/statistics", {query: {...}}) -> the JSON value, null if there is none */
export async function call(method, path, options = {}) {
  const signal = options.signal ?? AbortSignal.timeout(LIMIT_MS);
  const response = await sent(method, path, { ...options, signal });
  if (!response.ok) throw await failed(response);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new CallFailed("The answer does not come from this gateway; is another server in between?", {
      code: "bad_answer",
      status: response.status,
    });
  }
}

/** A chat call: the response with its headers, its status checked. */
export async function chat(body, signal) {
  const response = await sent("POST", "v1/chat/completions", { body, signal });
  if (!response.ok) throw await failed(response);
  return response;
}

/** The data of server-sent events, whole, however the network cut them; lines end in \n, \r\n or \r. */
export class EventParser {
  constructor() {
    this.rest = "";
    this.data = [];
  }
  /** feed("data: a\n\ndata: b") -> ["a"] */
  feed(text) {
    const found = [];
    this.rest += text;
    for (let end; (end = this.rest.search(/[\r\n]/)) !== -1;) {
      if (this.rest[end] === "\r" && end + 1 === this.rest.length) break; // its \n may still be under way
      const line = this.rest.slice(0, end);
      this.rest = this.rest.slice(end + (this.rest.startsWith("\r\n", end) ? 2 : 1));
      if (line === "") {
        if (this.data.length) found.push(this.data.join("\n"));
        this.data = [];
      } else if (line === "data" || line.startsWith("data:")) {
        this.data.push(line.slice(5).replace(/^ /, ""));
      }
    }
    return found;
  }
}

/** for await (const data of events(response)) */
export async function* events(response) {
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.feed(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
