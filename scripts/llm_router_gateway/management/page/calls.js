// Calls: every one of them, found by what it was; and one of them in a drawer.
import { bothTimes, compact, count, milliseconds, moment, money, plain, shortened } from "./format.js";
import { announce, empty, failure, foreign, h, heading, icon, loading, onChange, refill, segmented, select, sortable, table } from "./dom.js";
import { address, call } from "./api.js";
import { PROTOCOLS } from "./protocols.js";
import { RANGES, filtersOf, go, here, link, rangeOf, viewLink } from "./address.js";
import { statusBadge, timeBar } from "./call.js";

const PAGE = 50;
const TYPING_MS = 300;
const STATUSES = [
  ["", "Any status"],
  ["success", "Good"],
  ["error", "Failed"],
  ["provider_error", "Failed: provider"],
  ["caller_error", "Failed: caller"],
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
const MORE = ["error", "protocol", "stream", "client", "tag", "user"];

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
          typed("tag", "Tag", "Tag"),
          typed("user", "End user", "End user"),
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
          ? empty("No call matches these filters.", h("p", { class: "muted" }, "Remove one, or choose a longer time."))
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
