// Activity: cost, calls, errors and latency, now and over time.
import { compact, count, milliseconds, moment, money, percent, bothTimes, shortened } from "./format.js";
import { badge, coded, empty, failure, foreign, h, loading, onChange, refill, segmented, sortable, table } from "./dom.js";
import { call, origin } from "./api.js";
import { RANGES, filtersOf, here, link, rangeOf, viewLink } from "./address.js";
import { COLOURS, Chart, sparkline } from "./charts.js";

const GROUPS = [
  ["all", "Overall"],
  ["model", "Model"],
  ["provider", "Provider"],
  ["key", "Key"],
  ["tag", "Tag"],
  ["user", "End user"],
];
const GROUP_WORDS = { model: "model", provider: "provider", key: "key", tag: "tag", user: "end user" };
const QUANTILES = [
  ["p50", "p50"],
  ["p95", "p95"],
  ["p99", "p99"],
];
const LABELS = ["tag", "user"];
const SERIES = 7; // groups in a chart; the rest together
const COMPARED_MS = 60000; // how long the figures of the time before are good for

const inOut = (stats) => `${compact(stats.input_tokens)} in · ${compact(stats.output_tokens)} out`;
const quantiles = (figures) => `p95 ${milliseconds(figures?.p95)} · p99 ${milliseconds(figures?.p99)}`;
/** Errors of providers (and of the gateway itself) among the calls that they could answer. */
const providerErrors = (stats) => stats.errors - (stats.caller_errors ?? 0);
const providerRate = (stats) => part(providerErrors(stats), stats.success + providerErrors(stats), stats);
/** Errors of callers among all calls that were brought to an end. */
const callerRate = (stats) => part(stats.caller_errors ?? 0, stats.success + stats.errors, stats);
const part = (some, all, stats) => (stats.calls ? (all ? some / all : 0) : null);

/** A group of calls without a model, a provider or a key. */
const isNone = (name) => !name || name === "/";

/** What a tile shows and the large chart draws. `isWorse`: whether more of it is bad news. */
const METRICS = [
  {
    name: "spend",
    title: "Spend",
    kind: "bars",
    of: (stats) => stats.cost_usd,
    format: money,
    more: (stats) =>
      stats.unpriced_calls
        ? `${count(stats.unpriced_calls)} without a price`
        : stats.calls
          ? "every call has a price"
          : "nothing spent",
  },
  {
    name: "tokens",
    title: "Tokens",
    kind: "bars",
    of: (stats) => stats.total_tokens,
    format: compact,
    whole: true,
    more: inOut,
  },
  {
    name: "calls",
    title: "Calls",
    kind: "bars",
    of: (stats) => stats.calls,
    format: compact,
    whole: true,
    more: (stats) => `${compact(stats.success)} good` + (stats.client_gone ? ` · ${compact(stats.client_gone)} left` : ""),
  },
  {
    name: "errors",
    title: "Provider errors",
    kind: "lines",
    of: providerRate,
    format: percent,
    isWorse: true,
    more: (stats) => `${count(providerErrors(stats))} failed`,
  },
  {
    name: "callers",
    title: "Caller errors",
    kind: "lines",
    of: callerRate,
    format: percent,
    isWorse: true,
    more: (stats) => `${count(stats.caller_errors ?? 0)} refused or invalid`,
  },
  {
    name: "latency",
    title: "Latency p50",
    kind: "lines",
    of: (stats, q = "p50") => stats.latency_ms?.[q] ?? null,
    format: milliseconds,
    isWorse: true,
    more: (stats) => quantiles(stats.latency_ms),
    quantile: true,
    plainTitle: "Latency",
  },
  {
    name: "first",
    title: "First output p50",
    kind: "lines",
    of: (stats, q = "p50") => stats.first_output_ms?.[q] ?? null,
    format: milliseconds,
    isWorse: true,
    more: (stats) => quantiles(stats.first_output_ms),
    quantile: true,
    plainTitle: "First output",
  },
];

const metricOf = (given) => METRICS.find((each) => each.name === given.metric) ?? METRICS[0];
const groupOf = (given) => (GROUPS.some(([name]) => name === given.by) ? given.by : "model");
const quantileOf = (given) => (QUANTILES.some(([name]) => name === given.q) ? given.q : "p95");

/** The range in the address, as the gateway wants it. */
function rangeQuery(given) {
  return { range: rangeOf(given), ...filtersOf(given) };
}

/** What is wrong with the engine that several gateways share; "" where nothing is, or nothing is shared. */
function noticeOf(shared) {
  if (!shared) return "";
  if (!shared.is_up)
    return `${shared.why}, for ${Math.round(shared.away_s)} s: leased parts of budgets are spent, then budgets refuse; rate limits count here alone.`;
  return shared.is_open ? "" : "The engine of [state] is restoring its memory: no budgets are granted for a moment.";
}

/** The same span just before this one, to compare with. */
function before(range, filters) {
  const length = new Date(range.to) - new Date(range.from);
  return { ...filters, from: new Date(new Date(range.from) - length).toISOString(), to: range.from };
}

/** change(120, 100) -> {text: "20%", isUp: true}; null where there is nothing to compare with */
function change(now, then) {
  if (typeof now !== "number" || typeof then !== "number" || !then) return null;
  const part = (now - then) / then;
  return { text: percent(Math.abs(part)).replace(/\.\d+/, ""), isUp: part > 0, isSame: Math.abs(part) < 0.005 };
}

export class ActivityView {
  constructor(root, app) {
    Object.assign(this, { root, app, colours: new Map(), compared: null, comparedFor: "", data: null });
    this.tiles = h("div", { class: "tiles" });
    this.toolbar = h("div", { class: "toolbar" });
    this.notice = h("div", {});
    this.body = h("div", {}, loading("Loading the figures…"));
    root.append(
      h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Activity"), this.toolbar),
      this.notice,
      this.tiles,
      this.body,
    );
    this.drawTiles = onChange((...values) => this.fillTiles(...values));
    this.drawPanels = onChange((...values) => this.fillPanels(...values));
    this.drawNotice = onChange((...values) => this.fillNotice(...values));
    this.moved();
  }

  moved() {
    const given = here();
    refill(
      this.toolbar,
      this.chips(given),
      segmented(
        "Group by",
        GROUPS.map(([name, text]) => [name, text, link({ by: name })]),
        groupOf(given),
      ),
      segmented(
        "Range",
        RANGES.map(([name, text]) => [name, text, link({ range: name })]),
        rangeOf(given),
      ),
    );
    if (this.data) this.draw();
  }

  chips(given) {
    return Object.entries(filtersOf(given)).map(([name, value]) =>
      h(
        "a",
        {
          class: "chip filter",
          href: link({ [name]: "" }),
          "aria-label": `Remove the filter ${GROUP_WORDS[name] ?? name}: ${shortened(value, 60)}`,
        },
        `${GROUP_WORDS[name] ?? name}: `,
        foreign(shortened(value, 40)),
        h("span", { "aria-hidden": "true" }, " ✕"),
      ),
    );
  }

  async refresh() {
    const given = here(),
      query = rangeQuery(given),
      by = groupOf(given);
    const [statistics, series, grouped] = await Promise.all([
      call("GET", "monitor/statistics", { query: { ...query, group_by: by === "all" ? "model" : by, limit: 50 } }),
      call("GET", "monitor/time-series", { query }),
      by === "all" ? null : call("GET", "monitor/grouped-time-series", { query: { ...query, group_by: by, limit: SERIES } }),
    ]);
    const key = JSON.stringify(query);
    if (this.comparedFor !== key || Date.now() - this.comparedAt > COMPARED_MS)
      await this.compare(key, statistics.range, filtersOf(given));
    if (JSON.stringify(rangeQuery(here())) !== key || groupOf(here()) !== by) return; // the reader has moved on
    this.data = { statistics, series, grouped, by };
    this.draw();
  }

  async compare(key, range, filters) {
    this.compared = null;
    try {
      this.compared = (await call("GET", "monitor/statistics", { query: { ...before(range, filters), limit: 1 } })).overall;
    } catch (error) {
      if (error.isUnreachable || error.status === 401) throw error; // else there is just nothing to compare with
    }
    this.comparedFor = key;
    this.comparedAt = Date.now();
  }

  failed(error, retry) {
    if (!this.data) refill(this.body, failure(error, retry));
  }

  draw() {
    const { statistics, series, grouped, by } = this.data,
      given = here(),
      metric = metricOf(given).name;
    this.drawNotice(statistics.store ?? null, this.app.me.store, statistics.is_whole === false ? statistics.range.from : "", noticeOf(statistics.shared));
    this.drawTiles(statistics.overall, this.compared, series.data, metric, given); // `given` is in every link
    this.drawPanels({ ...statistics, range: null, store: null }, series, grouped, by, metric, quantileOf(given), given);
  }

  fillNotice(store, where, since, shared) {
    const words = shared ? [shared] : [];
    if (since)
      words.push(`There are too many calls for this filter: the figures cover the newest ones, since ${moment(since)}.`);
    if (store?.broken) words.push(`The call log cannot be used: ${store.broken}.`);
    if (store?.replicas?.silent.length)
      words.push(`No longer reporting: ${store.replicas.silent.join(", ")}. ${count(store.replicas.alive)} gateways answer.`);
    for (const difference of store?.replicas?.differences ?? []) words.push(`Check the roll-out: ${difference}.`);
    if (where === "off") words.push("The call log is off: set store in [server] to keep what happens.");
    if (where === "memory") words.push("The call log is in memory only: it is lost at the next stop.");
    if (store?.dropped)
      words.push(`${count(store.dropped)} calls could not be written${store.last_error ? `: ${store.last_error}` : ""}.`);
    refill(
      this.notice,
      words.map((text) => h("p", { class: "notice" }, text)),
    );
  }

  // -- tiles

  fillTiles(overall, compared, steps, current, given) {
    const name = RANGES.find(([each]) => each === rangeOf(given))[1];
    refill(
      this.tiles,
      METRICS.map((metric) => {
        const value = metric.of(overall);
        return h(
          "a",
          {
            class: "tile",
            href: link({ metric: metric.name }),
            "aria-current": metric.name === current ? "true" : null,
            "data-key": `tile:${metric.name}`,
          },
          h("span", { class: "tile-name" }, metric.title),
          h(
            "span",
            { class: "tile-line" },
            h("span", { class: "tile-value" }, metric.format(value)),
            this.delta(metric, value, compared, name),
          ),
          h("span", { class: "tile-more" }, metric.more(overall)),
          sparkline(steps.map((step) => metric.of(step))),
        );
      }),
    );
  }

  delta(metric, value, compared, range) {
    const difference = compared ? change(value, metric.of(compared)) : null;
    if (!difference) return null;
    if (difference.isSame)
      return h("span", { class: "delta" }, "±0%", h("span", { class: "unseen" }, ` against the ${range} before`));
    const kind = metric.isWorse ? (difference.isUp ? "bad" : "good") : "";
    return h(
      "span",
      { class: `delta ${kind}`, title: `against the ${range} before` },
      h("span", { "aria-hidden": "true" }, difference.isUp ? "▲ " : "▼ "),
      h("span", { class: "unseen" }, difference.isUp ? "up " : "down "),
      difference.text,
      h("span", { class: "unseen" }, ` against the ${range} before`),
    );
  }

  // -- panels

  fillPanels(statistics, series, grouped, by, metricName, q, given) {
    if (!statistics.overall.calls) {
      this.panels = null;
      refill(this.body, this.nothing(given));
      return;
    }
    if (!this.panels) this.build();
    const metric = METRICS.find((each) => each.name === metricName);
    this.fillMain(metric, series, grouped, by, q);
    this.fillQuantiles(this.latency, series, "latency_ms");
    this.fillQuantiles(this.first, series, "first_output_ms");
    this.fillErrors(statistics, given);
    this.fillTable(statistics, by === "all" ? "model" : by, given);
  }

  nothing(given) {
    if (Object.keys(filtersOf(given)).length)
      return empty(
        "No call matches these filters in this time.",
        h("a", { class: "button", href: viewLink("activity", { range: given.range }) }, "Remove the filters"),
      );
    return empty(
      "No calls in this time.",
      h("p", { class: "muted" }, "Point any OpenAI, Anthropic or Gemini client at this gateway, and its calls appear here:"),
      h(
        "pre",
        { class: "code" },
        `curl ${origin()}/v1/chat/completions \\\n  -H 'content-type: application/json' \\\n  -d '{"model": "${this.app.me.demo ? "demo" : "MODEL"}", "messages": [{"role": "user", "content": "Hello"}]}'`,
      ),
      h("a", { class: "button primary", href: viewLink("try") }, "Try a model here"),
    );
  }

  build() {
    this.main = h("section", { class: "panel wide" });
    this.latency = new Chart({ label: "Latency over time", kind: "lines", format: milliseconds, height: 190 });
    this.first = new Chart({ label: "First output over time", kind: "lines", format: milliseconds, height: 190 });
    this.errors = h("section", { class: "panel" });
    this.breakdown = h("section", { class: "panel" });
    this.panels = h(
      "div",
      { class: "stack" },
      h("div", { class: "columns two-one" }, this.main, this.errors),
      h(
        "div",
        { class: "columns" },
        h("section", { class: "panel" }, h("h2", {}, "Latency"), this.latency.node),
        h("section", { class: "panel" }, h("h2", {}, "First output"), this.first.node),
      ),
      this.breakdown,
    );
    this.mainFor = "";
    this.noLabels = h("div", {});
    refill(this.body, this.panels);
  }

  /** The large chart: recreated only when it shows something else. */
  fillMain(metric, series, grouped, by, q) {
    const isQuantile = metric.quantile && by !== "all";
    const title = `${metric.plainTitle ?? metric.title}${isQuantile ? ` ${q}` : ""}${by === "all" ? "" : ` by ${GROUP_WORDS[by]}`}`;
    if (this.mainFor !== title + location.search) {
      this.mainFor = title + location.search;
      this.chart = new Chart({
        label: `${title} over time`,
        kind: by === "tag" ? "lines" : metric.kind, // a call with two tags is in both: they do not stack
        format: metric.format,
        whole: metric.whole,
        total: by !== "tag" && metric.kind === "bars",
        height: 350,
      });
      refill(
        this.main,
        h(
          "div",
          { class: "panel-head" },
          h("h2", {}, title),
          isQuantile
            ? segmented(
                "Percentile",
                QUANTILES.map(([name, text]) => [name, text, link({ q: name })]),
                q,
              )
            : null,
        ),
        this.chart.node,
        this.noLabels,
      );
    }
    refill(this.noLabels, LABELS.includes(by) && !grouped.groups.length ? labelsHelp(by) : null);
    this.chart.node.hidden = this.breakdown.hidden = this.noLabels.childElementCount > 0;
    this.chart.show({
      times: series.data.map((step) => Date.parse(step.at)),
      step_s: series.step_s,
      series: this.lines(metric, series, grouped, by, q),
    });
  }

  lines(metric, series, grouped, by, q) {
    if (by !== "all") {
      return grouped.groups.map((group) => ({
        name: this.nameOf(group.name),
        colour: this.colourOf(by, group.name),
        values: aligned(series.data, group.data).map((step) => (step ? metric.of(step, q) : null)),
      }));
    }
    if (!metric.quantile) return [{ name: metric.title, colour: "c0", values: series.data.map((step) => metric.of(step)) }];
    return QUANTILES.map(([name], index) => ({
      name,
      colour: `c${index}`,
      values: series.data.map((step) => metric.of(step, name)),
    }));
  }

  /** Opens the calls of a group; calls without a model have no name to filter by. */
  groupLink(group, by, given) {
    const words = [
      h("span", { class: `swatch ${this.colourOf(by, group.name)}`, "aria-hidden": "true" }),
      foreign(isNone(group.name) ? "(none)" : shortened(group.name, 90)),
    ];
    if (isNone(group.name)) return words;
    const href = viewLink("calls", { range: given.range, ...filtersOf(given), [by]: group.id ?? group.name });
    return h("a", { href, "data-key": `group:${group.name.slice(0, 80)}` }, words);
  }

  nameOf = (name) => (isNone(name) ? "(none)" : shortened(name, 60));

  /** A group keeps its colour while the page is open, whoever leads. */
  colourOf(by, name) {
    if (name === "other") return "c-other";
    const key = `${by} ${name}`;
    if (!this.colours.has(key))
      this.colours.set(key, [...this.colours.keys()].filter((each) => each.startsWith(`${by} `)).length % COLOURS);
    return `c${this.colours.get(key)}`;
  }

  fillQuantiles(chart, series, name) {
    chart.show({
      times: series.data.map((step) => Date.parse(step.at)),
      step_s: series.step_s,
      series: ["p50", "p95"].map((q, index) => ({
        name: q,
        colour: `c${index}`,
        values: series.data.map((step) => step[name]?.[q] ?? null),
      })),
    });
  }

  /** Codes with how often, of one side: those of providers, or those of callers. */
  errorList(title, errors, status, kind, given) {
    const most = Math.max(1, ...errors.map((each) => each.count));
    if (!errors.length) return null;
    return [
      h("h3", {}, title),
      h(
        "ul",
        { class: "bars" },
        errors.slice(0, 6).map((each) =>
          h(
            "li",
            {},
            h(
              "a",
              {
                href: viewLink("calls", { range: given.range, ...filtersOf(given), error: each.error, status }),
                "data-key": `error:${status}:${each.error}`,
              },
              coded(each.error),
            ),
            h("span", { class: "number" }, count(each.count)),
            meter(each.count / most, kind),
          ),
        ),
      ),
    ];
  }

  fillErrors({ errors, recent_errors: recent, overall }, given) {
    const some = (counted) => errors.map((each) => ({ error: each.error, count: counted(each) })).filter((each) => each.count);
    const theirs = some((each) => each.caller_count ?? 0),
      others = some((each) => each.count - (each.caller_count ?? 0));
    refill(
      this.errors,
      h("h2", {}, "Errors"),
      errors.length ? null : h("p", { class: "good-news" }, `None in ${count(overall.calls)} calls.`),
      this.errorList("Of providers", others, "provider_error", "bad", given),
      this.errorList("Of callers", theirs, "caller_error", "warn", given),
      recent.length
        ? [
            h("h3", {}, "Latest"),
            h(
              "ul",
              { class: "recent" },
              recent.slice(0, 4).map((each) => this.recent(each)),
            ),
          ]
        : null,
    );
  }

  recent(each) {
    const isTheirs = each.is_caller_error;
    return h(
      "li",
      {},
      h(
        "a",
        { href: link({ call: each.id }), "data-key": `recent:${each.id}`, title: bothTimes(each.started_at) },
        moment(each.started_at),
      ),
      h(
        "span",
        {},
        badge(isTheirs ? "caller" : "provider", isTheirs ? "warn" : "bad"),
        " ",
        foreign(shortened(each.asked, 60), "strong"),
        " ",
        h("span", { title: each.error }, foreign(shortened(each.message || each.error, 160), "muted")),
      ),
    );
  }

  fillTable({ groups, overall }, by, given) {
    const order = orderOf(given),
      metric = TABLE[order.by];
    const sorted = [...groups].sort((a, b) => byValue(metric.of(a), metric.of(b)) * (order.desc ? -1 : 1));
    const most = Math.max(1e-12, ...groups.map((group) => group.cost_usd ?? 0), 0);
    const mostCalls = Math.max(1, ...groups.map((group) => group.calls));
    const part = (group) => (overall.cost_usd ? (group.cost_usd ?? 0) / most : group.calls / mostCalls);
    refill(
      this.breakdown,
      h(
        "div",
        { class: "panel-head" },
        h("h2", {}, `By ${GROUP_WORDS[by]}`),
        h("span", { class: "muted" }, by === "tag" ? "A call with several tags is in each of their rows." : `${count(groups.length)} in this time`),
      ),
      table(
        `Figures by ${GROUP_WORDS[by]}`,
        Object.entries(TABLE).map(([name, column]) => column.heading(name, order)),
        sorted.map((group) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, this.groupLink(group, by, given), meter(part(group))),
            Object.values(TABLE)
              .slice(1)
              .map((column) => h("td", { class: "number", "data-label": column.title }, column.show(group))),
          ),
        ),
        { class: "figures-table stacked" },
      ),
    );
  }
}

/** The steps of a group at the places of the whole's; one that is missing is null. */
function aligned(steps, of) {
  const at = new Map(of.map((step) => [Date.parse(step.at), step]));
  return steps.map((step) => at.get(Date.parse(step.at)) ?? null);
}

export function meter(part, kind = "") {
  const bar = h("span", { class: `meter-fill ${kind}` });
  bar.style.setProperty("width", `${Math.max(0, Math.min(1, part)) * 100}%`);
  return h("span", { class: "meter", "aria-hidden": "true" }, bar);
}

/** Where callers say tags and end users, while none has. */
function labelsHelp(by) {
  if (by === "tag")
    return empty(
      "No call in this time has a tag.",
      h("p", { class: "muted" }, "Callers name them in a header, and the spend of each is shown here. [server] labels_header gives it another name."),
      h("pre", { class: "code" }, "x-llm-router-labels: search, nightly"),
    );
  return empty(
    "No call in this time names an end user.",
    h("p", { class: "muted" }, "Clients name one in the request: user, safety_identifier, or metadata.user_id, depending on their protocol."),
  );
}

const byValue = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (a ?? -1) - (b ?? -1));
const column = (title, of, format) => ({
  title,
  of,
  show: (group) => format(of(group)),
  heading: (name, order) => sorter(title, name, order, "number"),
});
const TABLE = {
  name: { title: "Name", of: (group) => group.name, heading: (name, order) => sorter("Name", name, order) },
  calls: column("Calls", (group) => group.calls, count),
  tokens: column("Tokens", (group) => group.total_tokens, compact),
  spend: column("Spend", (group) => group.cost_usd, money),
  errors: column("Provider errors", providerRate, percent),
  callers: column("Caller errors", callerRate, percent),
  p50: column("p50", (group) => group.latency_ms?.p50 ?? null, milliseconds),
  p95: column("p95", (group) => group.latency_ms?.p95 ?? null, milliseconds),
  first: column("First output", (group) => group.first_output_ms?.p50 ?? null, milliseconds),
};

function sorter(title, name, order, className = "") {
  return sortable(title, name, order, link({ sort: `${name}.${order.by === name && order.desc ? "up" : "down"}` }), className);
}

function orderOf(given) {
  const [by, way] = (given.sort ?? "").split(".");
  return by in TABLE ? { by, desc: way !== "up" } : { by: "calls", desc: true };
}
