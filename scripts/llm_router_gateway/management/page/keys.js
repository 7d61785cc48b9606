// Keys: their rights and budgets; create, change, rotate and delete.
import { ago, bothTimes, compact, moment, money, percent, shortened } from "./format.js";
import {
  badge,
  button,
  confirmed,
  copied,
  empty,
  failure,
  field,
  foreign,
  h,
  heading,
  loading,
  onChange,
  openDialog,
  refill,
  table,
  toast,
} from "./dom.js";
import { call } from "./api.js";
import { meter } from "./activity.js";
import { limitWords } from "./models.js";
import { viewLink } from "./address.js";

const LISTS = [
  ["allowed_models", "Models"],
  ["allowed_groups", "Groups"],
  ["allowed_providers", "Providers"],
  ["allowed_tags", "Tags"],
  ["networks", "Networks"],
];
const LIMITS = [
  ["max_requests", "Requests"],
  ["per_seconds", "Per seconds"],
  ["burst_size", "Burst"],
  ["tokens_per_minute", "Tokens per minute"],
  ["max_concurrent", "At once"],
  ["queue", "Queue"],
  ["wait_s", "Waits, seconds"],
];
const BUDGET = [
  ["usd_per_day", "USD per day"],
  ["usd_per_month", "USD per month"],
  ["tokens_per_day", "Tokens per day"],
  ["tokens_per_month", "Tokens per month"],
];
const SPENT = {
  usd_per_day: "usd_day",
  usd_per_month: "usd_month",
  tokens_per_day: "tokens_day",
  tokens_per_month: "tokens_month",
};
const PERIOD = { usd_per_day: "today", usd_per_month: "this month", tokens_per_day: "today", tokens_per_month: "this month" };
const CAPPED = ["max_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty"];

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
  return [...lists, ...parameterLimits, ...(limits ? [limits] : [])];
}

function budgetLines(key) {
  return BUDGET.filter(([name]) => key.budget?.[name] != null).map(([name]) => {
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
          : h("span", { class: "muted" }, "everything"),
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
    if (key.source === "config") return h("span", { class: "muted" }, "in the configuration");
    const act = (text, name, run, kind = "") =>
      button(text, run, {
        class: `small ${kind}`,
        "aria-label": `${text} ${shortened(key.name, 60)}`,
        "data-key": `${name}:${key.id}`,
      });
    return h(
      "div",
      { class: "row-actions" },
      act("Edit", "edit", () => new KeyForm(this, key)),
      act(key.is_active ? "Disable" : "Enable", "switch", () =>
        this.change(`${key.name} is ${key.is_active ? "disabled" : "enabled"}.`, "PATCH", key, { is_active: !key.is_active }),
      ),
      act("Rotate", "rotate", () => this.rotate(key)),
      act("Delete", "delete", () => this.remove(key), "danger-text"),
    );
  }

  async change(words, method, key, body) {
    try {
      await call(method, `api-keys/${encodeURIComponent(key.id)}`, { body });
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

/** The only time that the key itself is shown. */
function showSecret({ key, item }) {
  const shown = h("input", {
    type: "text",
    readonly: true,
    value: key,
    class: "mono",
    spellcheck: "false",
    autofocus: true,
    onfocus: () => shown.select(),
  });
  const dialog = openDialog(
    `The key of ${shortened(item.name, 60)}`,
    [
      h("p", { class: "notice" }, "It is shown this once. Copy it now: only its hash is kept."),
      field("Key", shown),
      h(
        "div",
        { class: "form-end" },
        button("Copy the key", () => copied(key), { icon: "copy", class: "primary" }),
        button("Done", () => dialog.close()),
      ),
    ],
    { className: "small-dialog" },
  );
  shown.focus();
}

// ----------------------------------------------------------------------------------------------------------- the form

const listIn = (text) => {
  const found = text
    .split(/[,\n]/)
    .map((each) => each.trim())
    .filter(Boolean);
  return found.length ? found : null;
};
const numberIn = (text) => (text.trim() === "" ? null : Number(text));

/** table({max_requests: "60", burst_size: ""}) -> {max_requests: 60}; null when nothing is there */
function numbersIn(controls) {
  const found = Object.entries(controls)
    .map(([name, control]) => [name, numberIn(control.value)])
    .filter(([, value]) => value !== null);
  return found.length ? Object.fromEntries(found) : null;
}

/** Requests are counted in a window: a minute where none is given. */
const windowed = (limits) =>
  limits?.max_requests != null && limits.per_seconds == null ? { ...limits, per_seconds: 60 } : limits;

/** For <input type=datetime-local>: this browser's own time. */
function localInput(text) {
  if (!text) return "";
  const date = new Date(text);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

export class KeyForm {
  constructor(view, key, preset = {}) {
    Object.assign(this, { view, key, given: key ?? preset, controls: {} });
    this.error = h("div", { role: "alert" });
    this.submit = h("button", { type: "submit", class: "primary" }, key ? "Save" : "Create the key");
    const form = h(
      "form",
      { class: "key-form", onsubmit: (event) => this.sent(event) },
      this.ownerFields(),
      this.what(),
      this.howMuch(),
      this.error,
      h(
        "div",
        { class: "form-end" },
        button("Cancel", () => this.dialog.close()),
        this.submit,
      ),
    );
    this.dialog = openDialog(key ? `Edit ${shortened(key.name, 60)}` : "New key", form, { className: "wide-dialog" });
    this.before = this.value();
    this.controls.name.focus();
  }

  input(name, properties = {}) {
    this.controls[name] = h("input", {
      type: "text",
      name,
      value: this.given[name] ?? "",
      autocomplete: "off",
      spellcheck: "false",
      ...properties,
    });
    return this.controls[name];
  }

  numbers(table, of) {
    this.controls[of] = {};
    return h(
      "div",
      { class: "form-grid" },
      table.map(([name, label]) => {
        const control = h("input", {
          type: "number",
          min: "0",
          step: "any",
          inputmode: "decimal",
          value: this.given[of]?.[name] ?? "",
        });
        this.controls[of][name] = control;
        return field(label, control);
      }),
    );
  }

  ownerFields() {
    const admin = h("input", { type: "checkbox", checked: Boolean(this.given.is_admin) });
    this.controls.is_admin = admin;
    this.controls.expires_at = h("input", { type: "datetime-local", value: localInput(this.given.expires_at) });
    return h(
      "fieldset",
      {},
      h("legend", {}, "Who"),
      h(
        "div",
        { class: "form-grid" },
        field("Name", this.input("name", { required: true, maxlength: "200" })),
        field("Owner", this.input("owner")),
        field("Expires", this.controls.expires_at, "Empty: never. In your own time zone."),
        field("Note", this.input("note")),
      ),
      field("Administrator: may see this page, and change keys and models", admin),
    );
  }

  what() {
    this.parameterLimits = h("div", { class: "parameter-limits" });
    for (const [name, value] of Object.entries(this.given.parameter_limits ?? {})) this.addCap(name, value);
    return h(
      "fieldset",
      {},
      h("legend", {}, "What it may use"),
      h("p", { class: "hint" }, "Names with commas between, * stands for anything. Empty: no restriction."),
      h(
        "div",
        { class: "form-grid" },
        LISTS.map(([name, label]) =>
          field(
            label,
            this.input(name, { value: (this.given[name] ?? []).join(", ") }),
            name === "networks" ? "10.0.0.0/8, 2001:db8::/32" : null,
          ),
        ),
      ),
      h("h3", {}, "Caps on parameters"),
      this.parameterLimits,
      h(
        "datalist",
        { id: "capped" },
        CAPPED.map((name) => h("option", { value: name })),
      ),
      button("Add a cap", () => this.addCap("", "").focus(), { icon: "plus", class: "small" }),
    );
  }

  addCap(name, value) {
    const label = h("input", {
      type: "text",
      value: name,
      list: "capped",
      "aria-label": "Parameter",
      placeholder: "max_tokens",
      class: "cap-name",
    });
    const most = h("input", {
      type: "text",
      value: typeof value === "object" ? JSON.stringify(value) : value,
      "aria-label": "Most",
      placeholder: "4000",
      class: "cap-most",
    });
    const row = h(
      "div",
      { class: "cap" },
      label,
      h("span", { "aria-hidden": "true" }, "≤"),
      most,
      button("Remove this cap", () => row.remove(), { icon: "close", bare: true, class: "ghost small" }),
    );
    this.parameterLimits.append(row);
    return label;
  }

  howMuch() {
    return h(
      "fieldset",
      {},
      h("legend", {}, "How much"),
      h("h3", {}, "Limits"),
      this.numbers(LIMITS, "limits"),
      h("h3", {}, "Budget"),
      this.numbers(BUDGET, "budget"),
    );
  }

  /** The form as the gateway's fields; what is empty is null. */
  value() {
    const { controls } = this,
      text = (name) => controls[name].value.trim();
    const parameterLimits = [...this.parameterLimits.children]
      .map((row) => [row.querySelector(".cap-name").value.trim(), row.querySelector(".cap-most").value.trim()])
      .filter(([name]) => name);
    return {
      name: text("name"),
      owner: text("owner"),
      note: text("note"),
      is_admin: controls.is_admin.checked,
      expires_at: controls.expires_at.value ? new Date(controls.expires_at.value).toISOString() : null,
      ...Object.fromEntries(LISTS.map(([name]) => [name, listIn(text(name))])),
      parameter_limits: parameterLimits.length
        ? Object.fromEntries(parameterLimits.map(([name, most]) => [name, parameterLimit(name, most)]))
        : null,
      limits: windowed(numbersIn(controls.limits)),
      budget: numbersIn(controls.budget),
    };
  }

  async sent(event) {
    event.preventDefault();
    refill(this.error);
    this.submit.disabled = true;
    try {
      await this.save(this.value());
    } catch (error) {
      refill(this.error, failure({ title: "Not saved", code: error.code, message: error.message, step: error.step }));
      this.error.scrollIntoView({ block: "nearest" });
    } finally {
      this.submit.disabled = false;
    }
  }

  async save(value) {
    if (this.key) {
      const changed = Object.fromEntries(
        Object.entries(value).filter(([name, now]) => JSON.stringify(now) !== JSON.stringify(this.before[name])),
      );
      await call("PATCH", `api-keys/${encodeURIComponent(this.key.id)}`, { body: changed });
      this.dialog.close();
      toast(`${shortened(value.name, 60)} is saved.`);
    } else {
      const given = Object.fromEntries(Object.entries(value).filter(([, now]) => now !== null && now !== ""));
      const made = await call("POST", "api-keys", { body: given });
      this.dialog.close();
      showSecret(made);
      await this.view.app.madeKey(made);
    }
    this.view.app.refresh();
  }
}

/** parameterLimit("max_tokens", "4000") -> 4000; '{"min": 0, "max": 1}' -> that object */
function parameterLimit(name, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (typeof value !== "number" && (typeof value !== "object" || value === null))
    throw new Error(`The cap on ${name || "a parameter"} is not a number.`);
  return value;
}
