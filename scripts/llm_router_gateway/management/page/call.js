// One call in a drawer: what it was, how long it took, what it cost, which models were tried, and its texts.
import { count, milliseconds, money, shortened, stamp, utc } from "./format.js";
import { ENDED, attemptWords } from "./words.js";
import { badge, button, coded, copied, failure, foreign, h, icon, loading, openDialog, refill } from "./dom.js";
import { call } from "./api.js";
import { go, here, link, viewLink } from "./address.js";
import { bodySections } from "./bodies.js";

const COST_SOURCE = {
  upstream: "as the provider said",
  prices: "from the configured prices",
  estimated: "estimated: the provider did not say what was used",
  cache: "nothing: the gateway gave an earlier answer again",
};

/** The status in its colour, with what went wrong in plain words; an error of the caller has another colour than a provider's. */
export function statusBadge(row) {
  if (row.ended === "client_gone" || row.error === "client_gone") return badge("left", "warn", "client_gone");
  if (!row.error) return badge(row.status || "ok", "good");
  const isTheirs = row.is_caller_error;
  return h(
    "span",
    {},
    badge(row.status || "failed", isTheirs ? "warn" : "bad", isTheirs ? "an error of the caller" : "an error of the provider"),
    " ",
    coded(row.error, "muted small-text"),
  );
}

/** The two parts of a call's time: until the first output, and from there to the end. */
export function timeBar(row, most) {
  const whole = row.duration_ms ?? 0,
    first = Math.min(row.first_output_ms ?? whole, whole);
  const wait = h("span", { class: "time-wait" }),
    rest = h("span", { class: "time-rest" });
  wait.style.setProperty("width", `${(first / (most || 1)) * 100}%`);
  rest.style.setProperty("width", `${((whole - first) / (most || 1)) * 100}%`);
  return h("span", { class: "time-bar", "aria-hidden": "true" }, wait, rest);
}

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
            title: "This call could not be loaded",
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
      row.message || row.error ? this.fault(row) : null,
      this.timing(row),
      this.money(row),
      this.attempts(row),
      this.lost(row),
      this.facts(row),
      bodySections(row, this.app.me.log_bodies),
    ];
  }

  fault(row) {
    const whose = row.is_caller_error ? "Error of the caller. " : row.attempts ? "Error of the provider. " : "Error of the gateway. ";
    return h(
      "div",
      { class: `message ${row.is_caller_error ? "warn" : ""}` },
      row.error && row.ended !== "client_gone" ? h("strong", {}, whose) : null,
      row.message ? foreign(row.message) : null,
      row.error ? h("p", {}, h("code", {}, shortened(row.error, 120))) : null,
    );
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
          ? row.attempts
            ? "No price is known: set input_usd_per_mtok and output_usd_per_mtok of the model."
            : "Nothing was sent to a provider: there is no cost."
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
        failed.map((text) => attemptLine(typeof text === "string" ? text : JSON.stringify(text))),
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
      ["End user", row.end_user ? h("a", { href: viewLink("calls", { user: row.end_user }) }, foreign(shortened(row.end_user, 200))) : "–"],
      ["Tags", row.tags?.length ? h("span", { class: "chips" }, row.tags.map((tag) => h("a", { class: "chip", href: viewLink("calls", { tag }) }, foreign(shortened(tag, 100))))) : "–"],
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
          h("div", {}, h("dt", {}, name), h("dd", {}, typeof value === "string" ? foreign(value) : value)),
        ),
      ),
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

/** "openai/gpt-x rate_limited" -> the model, what happened in plain words, and the line as it is for a title */
function attemptLine(text) {
  const { model, code, more } = attemptWords(text);
  return h(
    "li",
    { title: text },
    badge("failed", "bad"),
    " ",
    foreign(shortened(model, 2000)),
    code ? [" ", h("span", { class: "muted" }, "· "), coded(code), more ? h("span", { class: "muted" }, ` (${more})`) : null, " ", h("code", { class: "muted" }, code)] : null,
  );
}
