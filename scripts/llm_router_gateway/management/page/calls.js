// Calls: every one of them, found by what it was; and one of them in a drawer.
import { bothTimes, compact, count, milliseconds, moment, money, plain, shortened, stamp, utc } from "./format.js";
import {
  announce,
  badge,
  button,
  copied,
  empty,
  failure,
  foreign,
  h,
  heading,
  icon,
  loading,
  onChange,
  openDialog,
  refill,
  segmented,
  select,
  sortable,
  table,
} from "./dom.js";
import { EventParser, address, call } from "./api.js";
import { PROTOCOLS } from "./protocols.js";
import { RANGES, filtersOf, go, here, link, rangeOf, viewLink } from "./address.js";

const PAGE = 50;
const TYPING_MS = 300;
const STATUSES = [
  ["", "Any status"],
  ["success", "Good"],
  ["error", "Failed"],
  ["client_gone", "Caller left"],
  ["429", "429"],
  ["500", "500"],
  ["502", "502"],
  ["503", "503"],
  ["504", "504"],
];
const STREAMS = [
  ["", "Streamed or not"],
  ["1", "Streamed"],
  ["0", "Not streamed"],
];
const MORE = ["error", "protocol", "stream", "client"];
const ENDED = {
  complete: "complete",
  error: "failed",
  client_gone: "the caller left",
  cut: "cut off by the provider",
  refused: "refused by this gateway",
};
const COST_SOURCE = {
  upstream: "as the provider said",
  prices: "from the configured prices",
  estimated: "estimated: the provider did not say what was used",
  cache: "nothing: the gateway gave an earlier answer again",
};

/** "200", "429 rate_limited", "left", in its colour */
export function statusBadge(row) {
  if (row.ended === "client_gone" || row.error === "client_gone") return badge("left", "warn");
  if (row.error)
    return h("span", {}, badge(row.status || "failed", "bad"), " ", foreign(shortened(row.error, 40), "muted small-text"));
  return badge(row.status || "ok", "good");
}

/** What the list is of, for the gateway's query. */
function listQuery(given) {
  const [by, way] = orderIn(given);
  return {
    range: rangeOf(given),
    ...filtersOf(given),
    order_by: by === "started_at" ? "" : by,
    order_desc: way ? "" : "false",
  };
}

const SORTED = ["started_at", "duration_ms", "total_tokens", "cost_usd"];
function orderIn(given) {
  const [by, way] = (given.sort ?? "").split(".");
  return SORTED.includes(by) ? [by, way !== "up"] : ["started_at", true];
}

/** The two parts of a call's time: until the first output, and from there to the end. */
function timeBar(row, most) {
  const whole = row.duration_ms ?? 0,
    first = Math.min(row.first_output_ms ?? whole, whole);
  const wait = h("span", { class: "time-wait" }),
    rest = h("span", { class: "time-rest" });
  wait.style.setProperty("width", `${(first / (most || 1)) * 100}%`);
  rest.style.setProperty("width", `${((whole - first) / (most || 1)) * 100}%`);
  return h("span", { class: "time-bar", "aria-hidden": "true" }, wait, rest);
}

export class CallsView {
  constructor(root, app) {
    Object.assign(this, { root, app, data: null, previous: new Map(), seen: null });
    this.toolbar = h("div", { class: "toolbar" });
    this.form = h("form", {
      class: "filters",
      role: "search",
      "aria-label": "Filter the calls",
      onsubmit: (event) => event.preventDefault(),
    });
    this.summary = h("div", { class: "list-head" });
    this.body = h("div", {}, loading("Loading the calls…"));
    root.append(
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Calls"), this.toolbar),
      this.form,
      this.summary,
      this.body,
    );
    this.draw = onChange((...values) => this.fill(...values));
    this.buildForm();
    this.moved();
  }

  // -- filters

  buildForm() {
    const given = here();
    const typed = (name, label, placeholder, list) =>
      this.follow(
        name,
        h("input", {
          type: "search",
          name,
          value: given[name] ?? "",
          placeholder,
          "aria-label": label,
          list,
          autocomplete: "off",
          spellcheck: "false",
        }),
        "input",
      );
    const chosen = (name, label, choices) =>
      this.follow(name, select(known(choices, given[name]), given[name] ?? "", { name, "aria-label": label }), "change");
    this.keys = chosen("key", "Key", [["", "Any key"]]);
    this.lists = {
      model: h("datalist", { id: "models-known" }),
      provider: h("datalist", { id: "providers-known" }),
    };
    const isMore = MORE.some((name) => given[name]);
    this.form.append(
      h(
        "div",
        { class: "filter-row" },
        typed("search", "Search", "Search models, errors, keys, request ids…"),
        typed("model", "Model", "Model", "models-known"),
        typed("provider", "Provider", "Provider", "providers-known"),
        this.keys,
        chosen("status", "Status", STATUSES),
      ),
      h(
        "details",
        { class: "more-filters", open: isMore },
        h("summary", {}, "More filters"),
        h(
          "div",
          { class: "filter-row" },
          typed("error", "Error code", "Error code"),
          chosen("protocol", "Protocol", [["", "Any protocol"], ...PROTOCOLS]),
          chosen("stream", "Streamed", STREAMS),
          typed("client", "Caller's address", "Caller's address"),
        ),
      ),
      ...Object.values(this.lists),
    );
    this.fillLists();
  }

  follow(name, control, event) {
    let waiting;
    control.addEventListener(event, () => {
      clearTimeout(waiting);
      waiting = setTimeout(
        () => go(link({ [name]: control.value.trim(), before: "" }), { replace: true }),
        event === "input" ? TYPING_MS : 0,
      );
    });
    return control;
  }

  async fillLists() {
    const options = (names) => [...new Set(names)].map((name) => h("option", { value: plain(name) }));
    const [catalog, keys] = await Promise.all([
      this.app.catalog().catch(() => null),
      call("GET", "api-keys").catch(() => null),
    ]);
    refill(this.lists.model, options((catalog?.models ?? []).map((each) => each.name)));
    refill(this.lists.provider, options((catalog?.providers ?? []).map((each) => each.name)));
    const choices = [["", "Any key"], ...(keys?.items ?? []).map((each) => [each.id, each.name])];
    const current = here().key ?? "";
    refill(
      this.keys,
      known(choices, current).map(([value, text]) => h("option", { value }, plain(shortened(text, 60)))),
    );
    this.keys.value = current;
  }

  moved() {
    const given = here();
    for (const control of this.form.elements) {
      if (control.name && document.activeElement !== control && control.value !== (given[control.name] ?? ""))
        control.value = given[control.name] ?? "";
    }
    const query = listQuery(given);
    refill(
      this.toolbar,
      h("a", { class: "button", href: address("monitor/export.csv", query), download: "calls.csv" }, icon("down"), "CSV"),
      h(
        "a",
        { class: "button", href: address("monitor/export.jsonl", query), download: "calls.jsonl" },
        icon("down"),
        "JSON lines",
      ),
      segmented(
        "Range",
        RANGES.map(([name, text]) => [name, text, link({ range: name, before: "" })]),
        rangeOf(given),
      ),
    );
    if (this.data) this.draw(this.data, location.search);
  }

  // -- the list

  async refresh() {
    const given = here(),
      query = { ...listQuery(given), before: given.before, limit: PAGE };
    const data = await call("GET", "monitor/invocations", { query });
    const now = here();
    if (JSON.stringify({ ...listQuery(now), before: now.before, limit: PAGE }) !== JSON.stringify(query)) return;
    if (data.next) this.previous.set(data.next, given.before ?? "");
    this.data = data;
    this.draw(data, location.search);
  }

  failed(error, retry) {
    if (!this.data) refill(this.body, failure(error, retry));
  }

  fill(data) {
    const given = here(),
      { items } = data;
    this.app.neighbours = items.map((row) => String(row.id));
    const words = `${data.total_is_exact === false ? "at least " : ""}${count(data.total)} ${data.total === 1 ? "call" : "calls"}`;
    const isFiltered = Object.keys(filtersOf(given)).length;
    const query = JSON.stringify(listQuery(given));
    if (this.announced !== undefined && this.announced !== query) announce(words); // what a filter found; not every new call
    this.announced = query;
    refill(
      this.summary,
      h("p", {}, words, data.covers_from ? `, in this order those since ${moment(data.covers_from)}` : ""),
      isFiltered ? h("a", { href: viewLink("calls", { range: given.range }), "data-key": "clear" }, "Clear all filters") : null,
    );
    if (!items.length) {
      refill(
        this.body,
        isFiltered
          ? empty("No call fits these filters.", h("p", { class: "muted" }, "Take one away, or choose a longer time."))
          : empty("No calls in this time.", h("a", { class: "button primary", href: viewLink("try") }, "Try a model here")),
      );
      return;
    }
    refill(this.body, this.table(items, given), this.pager(data, given));
  }

  table(items, given) {
    const [by, desc] = orderIn(given),
      order = { by, desc };
    const sorter = (text, name, kind) =>
      sortable(text, name, order, link({ sort: `${name}.${by === name && desc ? "up" : "down"}`, before: "" }), kind);
    const most = Math.max(...items.map((row) => row.duration_ms ?? 0));
    return table(
      "Calls, the address bar holds their filters",
      [
        sorter("Time", "started_at"),
        heading("Model"),
        heading("Status"),
        sorter("Tokens", "total_tokens", "number wide-only"),
        sorter("Cost", "cost_usd", "number phone-less"),
        sorter("Duration", "duration_ms", "number"),
        heading("Key", "wide-only"),
        heading("Caller", "wider-only"),
      ],
      items.map((row) => this.row(row, most, given)),
      { class: "calls", label: "Calls" },
    );
  }

  row(row, most, given) {
    const href = link({ call: row.id });
    const open = (event) => {
      if (!event.target.closest("a") && !String(getSelection())) go(href);
    };
    return h(
      "tr",
      { class: `openable${String(row.id) === given.call ? " is-open" : ""}`, onclick: open },
      h(
        "th",
        { scope: "row", class: "nowrap" },
        h("a", { href, title: bothTimes(row.started_at), "data-key": `call:${row.id}` }, moment(row.started_at)),
      ),
      h(
        "td",
        { class: "model-cell" },
        foreign(shortened(row.asked || row.served, 90)),
        row.served && row.served !== row.asked
          ? h("span", { class: "muted served" }, " → ", foreign(shortened(row.served, 90)))
          : null,
      ),
      h("td", {}, statusBadge(row)),
      h(
        "td",
        { class: "number wide-only" },
        compact(row.tokens?.input),
        h("span", { class: "muted" }, " → "),
        compact(row.tokens?.output),
      ),
      h("td", { class: "number phone-less" }, money(row.cost_usd)),
      h("td", { class: "number time-cell" }, milliseconds(row.duration_ms), timeBar(row, most)),
      h("td", { class: "wide-only" }, foreign(shortened(row.key_name || row.key_id || "–", 40))),
      h("td", { class: "wider-only muted" }, foreign(shortened(row.client, 60))),
    );
  }

  pager(data, given) {
    const isFirst = !given.before,
      newer = this.previous.get(given.before);
    return h(
      "nav",
      { class: "pager", "aria-label": "Pages of calls" },
      isFirst ? null : h("a", { class: "button", href: link({ before: "" }), "data-key": "first" }, "Newest"),
      isFirst || newer === undefined
        ? null
        : h("a", { class: "button", href: link({ before: newer }), "data-key": "newer" }, icon("left"), "Newer"),
      data.next
        ? h("a", { class: "button", href: link({ before: data.next }), "data-key": "older" }, "Older", icon("right"))
        : h("span", { class: "muted" }, "No older calls in this time."),
    );
  }
}

/** The choices with one more where the address names another. */
function known(choices, given) {
  return !given || choices.some(([value]) => value === given) ? choices : [...choices, [given, given]];
}

// --------------------------------------------------------------------------------------------------------- one call

/** The drawer of the call that the address names. Closing it takes the call out of the address. */
export class CallDrawer {
  constructor(app, id) {
    Object.assign(this, { app, id });
    this.body = h("div", {}, loading("Loading the call…"));
    const neighbours = app.neighbours ?? [],
      place = neighbours.indexOf(id);
    const step = (text, by, name) =>
      neighbours[place + by] !== undefined && place !== -1
        ? h(
            "a",
            { class: "button ghost", href: link({ call: neighbours[place + by] }), "aria-label": text, "data-key": name },
            icon(name),
          )
        : null;
    this.dialog = openDialog("Call", this.body, {
      className: "drawer",
      actions: [step("The call above", -1, "left"), step("The call below", 1, "right")],
      onclose: () => this.closed(),
    });
    this.load();
  }

  async load() {
    try {
      refill(this.body, this.content(await call("GET", `monitor/invocations/${encodeURIComponent(this.id)}`)));
    } catch (error) {
      refill(
        this.body,
        failure(
          {
            title: "This call could not be had",
            code: error.code,
            message: error.message,
            step: error.status === 404 ? "It may be older than what is kept (keep_days)." : error.step,
          },
          () => this.load(),
        ),
      );
    }
  }

  closed() {
    this.app.drawer = null;
    if (here().call === this.id) go(link({ call: "" }));
  }

  content(row) {
    return [
      h(
        "p",
        { class: "call-title" },
        foreign(shortened(row.asked || row.served, 2000), "strong"),
        row.served && row.served !== row.asked
          ? [h("span", { class: "muted" }, " answered by "), foreign(shortened(row.served, 2000))]
          : null,
      ),
      h(
        "p",
        { class: "call-line" },
        statusBadge(row),
        h("span", { title: utc(new Date(row.started_at)) }, stamp(new Date(row.started_at))),
        h("span", { class: "muted" }, ENDED[row.ended] ?? row.ended),
      ),
      row.message ? h("div", { class: "message" }, foreign(row.message)) : null,
      this.timing(row),
      this.money(row),
      this.attempts(row),
      this.lost(row),
      this.facts(row),
      this.bodies(row),
    ];
  }

  timing(row) {
    const whole = row.duration_ms ?? 0,
      first = row.first_output_ms;
    const rate =
      row.tokens?.output && first !== null && whole - first > 0 ? row.tokens.output / ((whole - first) / 1000) : null;
    return h(
      "section",
      {},
      h("h3", {}, "Time"),
      timeBar(row, whole),
      h(
        "dl",
        { class: "figures" },
        figure("First output", milliseconds(first), "wait"),
        figure("End", milliseconds(row.duration_ms), "rest"),
        rate && row.stream ? figure("Output", `${count(rate)} tokens/s`) : null,
      ),
    );
  }

  money(row) {
    const tokens = row.tokens ?? {};
    return h(
      "section",
      {},
      h("h3", {}, "Tokens and cost"),
      h(
        "dl",
        { class: "figures" },
        figure("Input", count(tokens.input)),
        tokens.cached ? figure("of it from the cache", count(tokens.cached)) : null,
        tokens.cache_write ? figure("written to the cache", count(tokens.cache_write)) : null,
        figure("Output", count(tokens.output)),
        tokens.reasoning ? figure("of it reasoning", count(tokens.reasoning)) : null,
        figure("Total", count(tokens.total)),
        figure("Cost", money(row.cost_usd)),
      ),
      h(
        "p",
        { class: "muted" },
        row.cost_usd === null
          ? "No price is known: set input_usd_per_mtok and output_usd_per_mtok of the model."
          : `Cost ${COST_SOURCE[row.cost_source] ?? ""}.`,
      ),
    );
  }

  attempts(row) {
    const failed = row.failed ?? [];
    return h(
      "section",
      {},
      h("h3", {}, "Attempts"),
      h(
        "ol",
        { class: "attempts" },
        failed.map((text) =>
          h("li", {}, badge("failed", "bad"), " ", foreign(typeof text === "string" ? text : JSON.stringify(text))),
        ),
        row.served
          ? h(
              "li",
              {},
              row.error ? badge("failed", "bad") : badge("answered", "good"),
              " ",
              foreign(shortened(row.served, 2000)),
            )
          : null,
      ),
      failed.length || row.served
        ? null
        : h("p", { class: "muted" }, row.attempts ? `${count(row.attempts)} made.` : "No model was tried."),
    );
  }

  lost(row) {
    const lost = row.lost ?? [];
    return h(
      "section",
      {},
      h("h3", {}, "Lost in conversion"),
      lost.length
        ? h(
            "ul",
            { class: "chips" },
            lost.map((name) => h("li", { class: "chip" }, foreign(name))),
          )
        : h(
            "p",
            { class: "muted" },
            row.upstream_protocol && row.upstream_protocol !== row.protocol
              ? "Nothing: every field was carried over."
              : "Nothing was converted: both sides speak the same protocol.",
          ),
    );
  }

  facts(row) {
    const protocol =
      row.upstream_protocol && row.upstream_protocol !== row.protocol
        ? `${row.protocol} → ${row.upstream_protocol}`
        : row.protocol;
    const facts = [
      [
        "Request id",
        [
          foreign(row.request_id, "mono"),
          " ",
          button("Copy the request id", () => copied(row.request_id), { icon: "copy", bare: true, class: "ghost small" }),
        ],
      ],
      ["Kind", `${row.kind}${row.stream ? ", streamed" : ""}`],
      ["Protocol", protocol],
      ["Provider", row.provider || "–"],
      ["Finish", row.finish || "–"],
      ["Key", row.key_name || row.key_id || "none"],
      ["Caller", row.client || "–"],
      ["Call", String(row.id)],
    ];
    return h(
      "section",
      {},
      h("h3", {}, "Facts"),
      h(
        "dl",
        { class: "facts" },
        facts.map(([name, value]) =>
          h("div", {}, h("dt", {}, name), h("dd", {}, Array.isArray(value) ? value : foreign(value))),
        ),
      ),
    );
  }

  bodies(row) {
    const bodies = row.bodies ?? {};
    if (bodies.request == null && bodies.response == null) {
      return h(
        "section",
        {},
        h("h3", {}, "Bodies"),
        h(
          "p",
          { class: "muted" },
          bodies.kept || this.app.me.log_bodies
            ? "None was kept of this call, or its time is over (keep_bodies_days)."
            : "Bodies are not kept. log_bodies = true in [server] keeps them, without secrets, for keep_bodies_days.",
        ),
      );
    }
    return h(
      "section",
      {},
      h("h3", {}, "Bodies"),
      bodyOf("Request", bodies.request, bodies.request_cut),
      saidIn(bodies.response),
      bodyOf("Response", bodies.response, bodies.response_cut),
    );
  }
}

function figure(name, value, mark = "") {
  return h(
    "div",
    {},
    h("dt", {}, mark ? h("span", { class: `swatch time-${mark}`, "aria-hidden": "true" }) : null, name),
    h("dd", {}, value),
  );
}

/** The words of one event of a stream, in any of the three protocols. */
function wordsOf(data) {
  try {
    const value = JSON.parse(data);
    const parts = value.candidates?.[0]?.content?.parts;
    return value.choices?.[0]?.delta?.content ?? value.delta?.text ?? parts?.map((part) => part.text ?? "").join("") ?? "";
  } catch {
    return ""; // [DONE], or cut off
  }
}

/** What a stream said, put together; nothing for what is no stream. */
function saidIn(text) {
  if (!/^(?:event|data|:)/.test(text ?? "")) return null;
  const words = new EventParser().feed(`${text}\n\n`).map(wordsOf).join("");
  if (!words) return null;
  return h(
    "details",
    { class: "body", open: true },
    h("summary", {}, `What the stream said, ${count(words.length)} characters`),
    h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "What the stream said" }, foreign(words)),
  );
}

/** A body as it was, JSON with its lines. */
function bodyOf(name, text, isCut) {
  if (text === null || text === undefined) return null;
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // a stream, or cut: as it came
  }
  return h(
    "details",
    { class: "body", open: text.length < 4000 },
    h("summary", {}, `${name}, ${count(text.length)} characters${isCut ? ", cut off at log_body_bytes" : ""}`),
    h(
      "div",
      { class: "body-tools" },
      button(`Copy the ${name.toLowerCase()}`, () => copied(text), { icon: "copy", class: "small" }),
    ),
    h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": `${name} body` }, foreign(shown)),
  );
}
