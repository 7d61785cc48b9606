// Activity: cost, calls, errors and latency, now and over time.
import { compact, count, milliseconds, moment, money, percent, bothTimes, shortened } from "./format.js";
import { empty, failure, foreign, h, loading, onChange, refill, segmented, sortable, table } from "./dom.js";
import { call, origin } from "./api.js";
import { RANGES, filtersOf, here, link, rangeOf, viewLink } from "./address.js";
import { COLOURS, Chart, sparkline } from "./charts.js";

const GROUPS = [
  ["all", "Overall"],
  ["model", "Model"],
  ["provider", "Provider"],
  ["key", "Key"],
];
const QUANTILES = [
  ["p50", "p50"],
  ["p95", "p95"],
  ["p99", "p99"],
];
const SERIES = 7; // groups in a chart; the rest together
const COMPARED_MS = 60000; // how long the figures of the time before are good for

const inOut = (stats) => `${compact(stats.input_tokens)} in · ${compact(stats.output_tokens)} out`;
const quantiles = (figures) => `p95 ${milliseconds(figures?.p95)} · p99 ${milliseconds(figures?.p99)}`;
const share = (stats) => (stats.calls ? stats.error_rate : null);

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
    title: "Error rate",
    kind: "lines",
    of: share,
    format: percent,
    isWorse: true,
    more: (stats) => `${count(stats.errors)} ${stats.errors === 1 ? "call" : "calls"} failed`,
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
    return `${shared.why}, for ${Math.round(shared.away_s)} s: budgets are spent as far as they are leased and refused then; rate limits count here alone.`;
  return shared.is_open ? "" : "The engine of [state] collects what it had forgotten: no budgets are granted for a moment.";
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
          "aria-label": `Remove the filter ${name}: ${shortened(value, 60)}`,
        },
        `${name}: `,
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
      words.push(`There are too many calls for this filter: the figures are of the newest ones, since ${moment(since)}.`);
    if (store?.broken) words.push(`The call log cannot be used: ${store.broken}.`);
    if (store?.replicas?.silent.length)
      words.push(`Not heard of any more: ${store.replicas.silent.join(", ")}. ${count(store.replicas.alive)} gateways answer.`);
    for (const difference of store?.replicas?.differences ?? []) words.push(`Look at the roll-out: ${difference}.`);
    if (where === "off") words.push("The call log is off: set store in [server] to keep what happens.");
    if (where === "memory") words.push("The call log is in memory only: it is gone with the next stop.");
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
        "No call fits these filters in this time.",
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
    refill(this.body, this.panels);
  }

  /** The large chart: recreated only when it shows something else. */
  fillMain(metric, series, grouped, by, q) {
    const isQuantile = metric.quantile && by !== "all";
    const title = `${metric.plainTitle ?? metric.title}${isQuantile ? ` ${q}` : ""}${by === "all" ? "" : ` by ${by}`}`;
    if (this.mainFor !== title + location.search) {
      this.mainFor = title + location.search;
      this.chart = new Chart({
        label: `${title} over time`,
        kind: metric.kind,
        format: metric.format,
        whole: metric.whole,
        total: true,
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
      );
    }
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

  fillErrors({ errors, recent_errors: recent, overall }, given) {
    const most = Math.max(1, ...errors.map((each) => each.count));
    refill(
      this.errors,
      h("h2", {}, "Errors"),
      errors.length
        ? h(
            "ul",
            { class: "bars" },
            errors.slice(0, 8).map((each) =>
              h(
                "li",
                {},
                h(
                  "a",
                  {
                    href: viewLink("calls", { range: given.range, ...filtersOf(given), error: each.error }),
                    "data-key": `error:${each.error}`,
                  },
                  foreign(shortened(each.error, 60)),
                ),
                h("span", { class: "number" }, count(each.count)),
                meter(each.count / most, "bad"),
              ),
            ),
          )
        : h("p", { class: "good-news" }, `None in ${count(overall.calls)} calls.`),
      recent.length
        ? [
            h("h3", {}, "Latest"),
            h(
              "ul",
              { class: "recent" },
              recent
                .slice(0, 4)
                .map((each) =>
                  h(
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
                      foreign(shortened(each.asked, 60), "strong"),
                      " ",
                      foreign(shortened(each.message || each.error, 160), "muted"),
                    ),
                  ),
                ),
            ),
          ]
        : null,
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
        h("h2", {}, `By ${by}`),
        h("span", { class: "muted" }, `${count(groups.length)} in this time`),
      ),
      table(
        `Figures by ${by}`,
        Object.entries(TABLE).map(([name, column]) => column.heading(name, order)),
        sorted.map((group) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, this.groupLink(group, by, given), meter(part(group))),
            Object.values(TABLE)
              .slice(1)
              .map((column) => h("td", { class: "number" }, column.show(group))),
          ),
        ),
        { class: "figures-table" },
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
  errors: column("Errors", (group) => group.error_rate, percent),
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
