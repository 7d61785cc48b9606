// Keys: their rights and budgets; create, change, rotate, reset and delete.
import { ago, bothTimes, compact, count, moment, money, percent, seconds, shortened } from "./format.js";
import {
  badge,
  button,
  confirmed,
  empty,
  failure,
  foreign,
  h,
  heading,
  loading,
  onChange,
  refill,
  table,
  toast,
} from "./dom.js";
import { call } from "./api.js";
import { meter } from "./activity.js";
import { KeyForm, showSecret } from "./keyform.js";
import { limitWords } from "./models.js";
import { viewLink } from "./address.js";

const LISTS = [
  ["allowed_models", "Models"],
  ["allowed_groups", "Groups"],
  ["allowed_providers", "Providers"],
  ["allowed_tags", "Tags"],
  ["networks", "Networks"],
];
const BUDGET = ["usd_per_day", "usd_per_month", "tokens_per_day", "tokens_per_month"];
const SPENT = {
  usd_per_day: "usd_day",
  usd_per_month: "usd_month",
  tokens_per_day: "tokens_day",
  tokens_per_month: "tokens_month",
};
const PERIOD = { usd_per_day: "today", usd_per_month: "this month", tokens_per_day: "today", tokens_per_month: "this month" };

/** "expired", "disabled" or "active" */
function stateOf(key, now = new Date()) {
  if (!key.is_active) return badge("disabled", "bad");
  if (key.expires_at && new Date(key.expires_at) <= now) return badge("expired", "bad");
  const soon = key.expires_at && new Date(key.expires_at) - now < 7 * 86400000;
  return badge(soon ? `until ${moment(key.expires_at)}` : "active", soon ? "warn" : "good");
}

/** What a key may use, in words. */
function restrictions(key) {
  const lists = LISTS.filter(([name]) => key[name]?.length).map(([name, title]) => `${title}: ${key[name].join(", ")}`);
  const parameterLimits = Object.entries(key.parameter_limits ?? {}).map(
    ([name, value]) => `${name} ≤ ${typeof value === "object" ? JSON.stringify(value) : value}`,
  );
  const limits = limitWords(key.limits);
  const batches = key.allow_batches ? "batches, despite its limits" : "";
  return [...lists, ...parameterLimits, ...[limits, batches, cacheWords(key.cache_ttl_s)].filter(Boolean)];
}

/** cacheWords(60) -> "the same answer again for 60 s" */
function cacheWords(ttl) {
  if (ttl == null) return "";
  return ttl ? `the same answer again for ${seconds(ttl)}` : "no cached answers";
}

/** spentWords({spent: {usd_day: 0.5, tokens_day: 10, ...}}) -> "$0.50 and 10 tokens today, $6.20 and 200 tokens this month" */
function spentWords(key) {
  const periods = [
    ["day", "today"],
    ["month", "this month"],
  ];
  const spent = (name) => key.spent?.[name] ?? 0;
  const amount = (span) => `${money(spent(`usd_${span}`))} and ${count(spent(`tokens_${span}`))} tokens`;
  return periods.map(([span, words]) => `${amount(span)} ${words}`).join(", ");
}

function budgetLines(key) {
  return BUDGET.filter((name) => key.budget?.[name] != null).map((name) => {
    const most = key.budget[name],
      spent = key.spent?.[SPENT[name]] ?? 0,
      words = name.startsWith("usd") ? money : compact;
    return h(
      "div",
      { class: "budget" },
      h("span", {}, `${words(spent)} of ${words(most)} ${PERIOD[name]}`),
      meter(most ? spent / most : 1, spent >= most ? "bad" : ""),
      h("span", { class: "unseen" }, percent(most ? spent / most : 1)),
    );
  });
}

export class KeysView {
  constructor(root, app) {
    Object.assign(this, { root, app, data: null });
    this.body = h("div", {}, loading("Loading the keys…"));
    root.append(
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Keys"),
        h(
          "div",
          { class: "toolbar" },
          button("New key", () => new KeyForm(this, null), { icon: "plus", class: "primary" }),
        ),
      ),
      this.body,
    );
    this.draw = onChange((...values) => this.fill(...values));
  }

  moved() {}

  async refresh() {
    this.data = await call("GET", "api-keys");
    this.draw(this.data);
  }

  failed(error, retry) {
    if (!this.data) refill(this.body, failure(error, retry));
  }

  fill({ items }) {
    if (!items.length) {
      refill(
        this.body,
        empty(
          "No key yet.",
          h(
            "p",
            { class: "muted" },
            "Without keys and tokens, every program that reaches this gateway may call. The first key must be an administrator's, or this page would lock itself out.",
          ),
          button("Create the first key", () => new KeyForm(this, null, { is_admin: true }), { class: "primary" }),
        ),
      );
      return;
    }
    refill(
      this.body,
      table(
        "Keys",
        [
          heading("Name"),
          heading("State"),
          heading("May use", "wide-only"),
          heading("Budget"),
          heading("Last used", "wide-only"),
          heading("Actions"),
        ],
        items.map((key) => this.row(key)),
        { class: "keys" },
      ),
    );
  }

  row(key) {
    const rules = restrictions(key),
      spent = budgetLines(key);
    return h(
      "tr",
      { class: key.is_active ? "" : "is-off" },
      h(
        "th",
        { scope: "row", class: "model-cell" },
        h(
          "a",
          { href: viewLink("calls", { key: key.id }), "data-key": `key:${key.id}` },
          foreign(shortened(key.name, 90), "strong"),
        ),
        " ",
        key.is_admin ? badge("admin", "accent") : key.is_monitor ? badge("monitor") : null,
        h(
          "p",
          { class: "muted" },
          foreign(key.hint ?? "", "mono"),
          key.owner ? [" · ", foreign(shortened(key.owner, 60))] : null,
        ),
        key.note ? h("p", { class: "muted clip-2" }, foreign(shortened(key.note, 200))) : null,
      ),
      h("td", {}, stateOf(key)),
      h(
        "td",
        { class: "wide-only" },
        rules.length
          ? h(
              "ul",
              { class: "rules" },
              rules.map((rule) => h("li", {}, foreign(shortened(rule, 160)))),
            )
          : h("span", { class: "muted" }, key.is_monitor ? "statistics only" : "everything"),
      ),
      h(
        "td",
        {},
        spent.length
          ? spent
          : [h("span", {}, `${money(key.spent?.usd_month ?? 0)} this month`), h("span", { class: "muted block" }, "no budget")],
      ),
      h("td", { class: "wide-only", title: bothTimes(key.last_used_at) }, ago(key.last_used_at)),
      h("td", {}, this.actions(key)),
    );
  }

  actions(key) {
    const act = (text, name, run, kind = "") =>
      button(text, run, {
        class: `small ${kind}`,
        "aria-label": `${text} ${shortened(key.name, 60)}`,
        "data-key": `${name}:${key.id}`,
      });
    const reset = act("Reset spending", "reset", () => this.reset(key));
    if (key.source === "config")
      return [h("p", { class: "muted" }, "in the configuration"), h("div", { class: "row-actions" }, reset)];
    return h(
      "div",
      { class: "row-actions" },
      act("Edit", "edit", () => new KeyForm(this, key)),
      act(key.is_active ? "Disable" : "Enable", "switch", () =>
        this.change(`${key.name} is ${key.is_active ? "disabled" : "enabled"}.`, "PATCH", key, { is_active: !key.is_active }),
      ),
      act("Rotate", "rotate", () => this.rotate(key)),
      reset,
      act("Delete", "delete", () => this.remove(key), "danger-text"),
    );
  }

  async change(words, method, key, body, action = "") {
    try {
      await call(method, `api-keys/${encodeURIComponent(key.id)}${action}`, { body });
      toast(shortened(words));
    } catch (error) {
      toast(`${error.message} ${error.step}`, "error");
    }
    this.app.refresh();
  }

  async rotate(key) {
    if (
      !(await confirmed(
        `Rotate ${shortened(key.name, 60)}?`,
        "It gets a new secret, which is shown once. The old one stops working at once.",
        "Rotate",
      ))
    )
      return;
    try {
      showSecret(await call("POST", `api-keys/${encodeURIComponent(key.id)}/rotate`, { body: {} }));
    } catch (error) {
      toast(`${error.message} ${error.step}`, "error");
    }
    this.app.refresh();
  }

  /** The question names what was spent up to now, which the table may not show yet. */
  async reset(key) {
    let current;
    try {
      current = await call("GET", `api-keys/${encodeURIComponent(key.id)}`);
    } catch (error) {
      toast(`${error.message} ${error.step}`, "error");
      return;
    }
    const text =
      `It has spent ${spentWords(current)}. All of it is set to zero, and its budgets begin anew at once. ` +
      "The calls stay in the log. This cannot be undone.";
    if (!(await confirmed(`Reset the spending of ${shortened(key.name, 60)}?`, text, "Reset spending"))) return;
    await this.change(`The spending of ${key.name} is set to zero.`, "POST", key, {}, "/reset");
  }

  async remove(key) {
    if (
      !(await confirmed(
        `Delete ${shortened(key.name, 60)}?`,
        "Callers with this key are refused at once. Its calls stay in the log.",
        "Delete",
      ))
    )
      return;
    await this.change(`${key.name} is deleted.`, "DELETE", key);
  }
}
