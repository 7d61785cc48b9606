// Plain words for the codes of the gateway: states of models, errors, how calls end. The code itself stays beside them.

/** What a router thinks of a member: [words, kind of badge, what it means]. */
export const STATES = {
  ok: ["healthy", "good", "It takes requests."],
  cooling: ["cooling down", "warn", "The provider asked us to wait: it gets no requests until then."],
  open: ["paused after failures", "bad", "It failed several times in a row and gets no requests for now; then one request tries it again."],
  probe: ["ready to be tried again", "warn", "Its pause is over: the next request tries it, and if that succeeds, it is back."],
  probing: ["being tried again", "warn", "One request tries it now; the others go elsewhere until that one has ended."],
  off: ["switched off", "", "It, or its provider, is switched off."],
  no_key: ["provider has no key", "bad", "Its provider needs a key and has none."],
  not_allowed: ["not for this key", "", "The key of the caller may not use it."],
  limited: ["at its limit", "warn", "Its rate limit is reached: it gets no requests until there is room again."],
  full: ["all slots in use", "warn", "As many requests as it takes at once are in progress."],
};

const ERRORS = {
  bad_answer: "The answer is not the gateway's",
  bad_request: "Invalid request",
  broken_answer: "Unusable answer of the provider",
  budget_used_up: "Too little left of the key's budget",
  changed_meanwhile: "Changed by another request meanwhile",
  client_gone: "The caller left",
  conflict: "Conflicts with the current state",
  context_length_exceeded: "Prompt longer than the context window",
  empty_answer: "Empty answer of the provider",
  engine_away: "Shared state cannot be reached",
  first_key: "The first key must be an administrator's",
  forbidden: "Not permitted",
  half_tool_call: "The provider's answer broke off in a tool call",
  image_unsupported: "The model reads no images",
  impossible_config: "The configuration would be invalid",
  internal: "Server error",
  invalid_encrypted_content: "Unreadable reasoning of an earlier answer",
  key_disabled: "Key disabled",
  key_expired: "Key expired",
  key_network: "Key used from a network that it is not valid for",
  last_admin: "The last administrator's key",
  method_not_allowed: "Method not allowed",
  model_not_found: "Unknown model",
  no_credit: "No credit left at the provider",
  no_home: "The worker lost its parent",
  no_key: "The provider has no key",
  no_member: "No model of the group is available",
  no_price: "No price is known, so the budget cannot be kept",
  no_store: "There is no store",
  no_websocket: "No WebSocket here",
  not_allowed: "Model not allowed for this key",
  not_found: "Not found",
  not_saved: "The change could not be saved",
  overloaded: "Provider overloaded",
  previous_response_not_found: "Earlier response not found",
  rate_limited: "Too many requests",
  request_timeout: "Request not sent in time",
  second_start: "Second answer inside the first",
  store_off: "Calls are not stored",
  store_unreadable: "The store cannot be read",
  stream_cut: "Answer cut off",
  stream_error: "Error inside the answer",
  too_busy: "Gateway overloaded",
  too_large: "Request too large",
  unauthorized: "Key missing or not accepted",
  unavailable: "Unavailable for the moment",
  unfinished_choice: "Answer not finished",
  unreachable: "The gateway does not answer",
  unsupported: "Not supported",
  upstream_failed: "Provider failed",
  upstream_timeout: "Provider too slow",
  worker_died: "A worker process died",
};

export const ENDED = {
  complete: "complete",
  error: "failed",
  client_gone: "the caller left",
  cut: "cut off by the provider",
  refused: "refused by this gateway",
};

const entry = (table, name) => (Object.hasOwn(table, name) ? table[name] : null);

/** errorWords("rate_limited") -> "Too many requests"; errorWords("http_418") -> "Status 418"; what is unknown stays as it is */
export function errorWords(code) {
  const text = String(code ?? "");
  return entry(ERRORS, text) ?? text.replace(/^http_(\d{3})$/, "Status $1");
}

/** stateWords("open") -> {text: "paused after failures", kind: "bad", more: "It failed ..."} */
export function stateWords(state) {
  const [text, kind, more] = entry(STATES, state) ?? [String(state ?? "unknown"), "", ""];
  return { text, kind, more };
}

/** causeWords("503 upstream_failed") -> "Provider failed (503)"; words that are no cause stay as they are */
export function causeWords(text) {
  const [, status, code] = /^(?:status )?(\d{3})?(?: ?([a-z_\d]+))?$/.exec(text) ?? [];
  if (!status && !code) return text;
  const words = code ? errorWords(code) : `Status ${status}`;
  return code && status ? `${words} (${status})` : words;
}

/** attemptWords("openai/gpt-x rate_limited, next key") -> {model: "openai/gpt-x", code: "rate_limited", more: "next key"} */
export function attemptWords(text) {
  const [, model, status, code, more] = /^(.+?):? (?:(\d{3}) )?([a-z_\d]+)(?:, (.+))?$/.exec(text) ?? [];
  return model ? { model, code, more: [status, more].filter(Boolean).join(", ") } : { model: text, code: "", more: "" };
}
