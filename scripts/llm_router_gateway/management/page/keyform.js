// The form of a key: its name, its models and its budget first, everything else in groups that open; and the key itself, once.
import { button, copied, field, foreign, h, openDialog, toast } from "./dom.js";
import { shortened } from "./format.js";
import { call } from "./api.js";
import { Form, checkField, givenParts, limitFields, listField, numberField, textField, windowed } from "./forms.js";

const USD_MONTH = "usd_per_month";
const BUDGET_FIELDS = [
  ["usd_per_day", "USD per day"],
  [USD_MONTH, "USD per month"],
  ["tokens_per_day", "Tokens per day"],
  ["tokens_per_month", "Tokens per month"],
];
const TABLES = ["limits", "budget", "soft_budget"]; // which are replaced whole
const CAPPED = ["max_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty"];
const PATTERNS = "Names separated by commas; * stands for anything. Empty: no restriction.";

/** The only time that the key itself is shown. */
export function showSecret({ key, item, warnings = [] }) {
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
      h("p", { class: "notice" }, "It is shown only this once. Copy it now: only its hash is kept."),
      field("Key", shown),
      warnings.length ? h("ul", { class: "notice" }, warnings.map((each) => h("li", {}, foreign(each)))) : null,
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

/** For an input of a date and a time: this browser's own. */
function localInput(text) {
  if (!text) return "";
  const date = new Date(text);
  return new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function timeField(path, label, value, more) {
  const made = textField(path, label, localInput(value), { type: "datetime-local", ...more });
  return { ...made, read: () => (made.control.value ? new Date(made.control.value).toISOString() : null) };
}

/** cap("4000") -> 4000; cap('{"min": 0, "max": 1}') -> that object; anything else stays, for the gateway to refuse */
function cap(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Rows of a parameter and its most. */
class Caps {
  constructor(given) {
    this.rows = h("div", { class: "parameter-limits", id: "caps" });
    const known = h(
      "datalist",
      { id: "capped" },
      CAPPED.map((name) => h("option", { value: name })),
    );
    const more = button("Add a cap", () => this.add("", "").focus(), { icon: "plus", class: "small" });
    this.node = h("div", {}, this.rows, known, more);
    for (const [name, value] of Object.entries(given ?? {})) this.add(name, value);
    this.field = { path: "parameter_limits", control: this.rows, isApart: true, read: () => this.read(), fault: () => this.fault() };
  }

  add(name, value) {
    const shown = typeof value === "object" ? JSON.stringify(value) : value;
    const input = (label, text, more) => h("input", { type: "text", value: text, "aria-label": label, ...more });
    const parameter = input("Parameter", name, { list: "capped", placeholder: "max_tokens", class: "cap-name" });
    const most = input("Most", shown, { placeholder: "4000", class: "cap-most" });
    const remove = button("Remove this cap", () => row.remove(), { icon: "close", bare: true, class: "ghost small" });
    const row = h("div", { class: "cap" }, parameter, h("span", { "aria-hidden": "true" }, "≤"), most, remove);
    this.rows.append(row);
    return parameter;
  }

  pairs() {
    const texts = [...this.rows.children].map((row) => [".cap-name", ".cap-most"].map((css) => row.querySelector(css).value.trim()));
    return texts.filter(([name, most]) => name || most);
  }

  fault() {
    const names = this.pairs().map(([name]) => name);
    if (names.includes("")) return "a cap needs the name of its parameter";
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    return twice ? `${twice} is there twice` : "";
  }

  read() {
    const pairs = this.pairs();
    return pairs.length ? Object.fromEntries(pairs.map(([name, most]) => [name, cap(most)])) : null;
  }
}

function keyGroups(given) {
  const caps = new Caps(given.parameter_limits);
  const budget = (table, prefix = "") =>
    BUDGET_FIELDS.map(([name, label]) => numberField(`${table}.${name}`, prefix + label, given[table]?.[name]));
  const main = budget("budget").find((each) => each.path.endsWith(USD_MONTH));
  return [
    {
      fields: [
        textField("name", "Name", given.name, { required: true, maxlength: "100", hint: "Its name in logs and statistics." }),
        listField("allowed_models", "Models", given.allowed_models, { hint: PATTERNS, placeholder: "all" }),
        Object.assign(main, { hint: "Empty: no budget." }),
      ],
    },
    {
      title: "Owner and time",
      fields: [
        textField("owner", "Owner", given.owner),
        textField("note", "Note", given.note),
        timeField("expires_at", "Expires", given.expires_at, { hint: "Empty: never. In your own time zone." }),
      ],
    },
    {
      title: "Rights",
      isOpen: Boolean(given.is_admin) && !given.id,
      fields: [
        checkField("is_admin", "Administrator: may see this page, and change keys and models", given.is_admin),
        checkField("is_monitor", "Monitoring: may read statistics and metrics, and nothing else", given.is_monitor),
        checkField(
          "allow_batches",
          "Batches: may upload files and start batches despite its limits, which do not apply inside a batch",
          given.allow_batches,
        ),
      ],
    },
    {
      title: "Groups, providers, tags, networks",
      hint: PATTERNS,
      fields: [
        listField("allowed_groups", "Groups", given.allowed_groups),
        listField("allowed_providers", "Providers", given.allowed_providers),
        listField("allowed_tags", "Tags", given.allowed_tags),
        listField("networks", "Networks", given.networks, { hint: "10.0.0.0/8, 2001:db8::/32" }),
      ],
    },
    { title: "Caps on parameters", fields: [caps.field], content: caps.node },
    { title: "Rate limits", fields: limitFields(given.limits) },
    {
      title: "Cached answers",
      fields: [
        numberField("cache_ttl_s", "Same answer again for, seconds", given.cache_ttl_s, {
          hint: "The same request gets the same answer for this long. Empty: as for all keys. 0: never.",
        }),
      ],
    },
    { title: "More budgets", fields: budget("budget").filter((each) => each.path !== main.path) },
    {
      title: "Soft budgets",
      hint: "Only for alerts: no call is refused because of them.",
      fields: budget("soft_budget", "Soft: "),
    },
  ];
}

/** Tables as the gateway takes them: whole, and null when nothing is in them. */
function withTables(value, whole = value) {
  const tables = TABLES.filter((name) => name in value).map((name) => [name, givenParts(whole[name])]);
  const made = { ...value, ...Object.fromEntries(tables) };
  return "limits" in made ? { ...made, limits: windowed(made.limits) } : made;
}

export class KeyForm {
  constructor(view, key, preset = {}) {
    Object.assign(this, { view, key });
    this.form = new Form({
      title: key ? `Edit ${shortened(key.name, 60)}` : "New key",
      word: key ? "Save" : "Create the key",
      groups: keyGroups(key ?? preset),
      save: () => this.save(),
    });
  }

  async save() {
    const { form, key, view } = this;
    if (key) {
      const path = `api-keys/${encodeURIComponent(key.id)}`;
      const saved = await call("PATCH", path, { body: withTables(form.changed(), form.value()) });
      form.dialog.close();
      toast(`${shortened(form.value().name, 60)} is saved.`);
      for (const each of saved?.warnings ?? []) toast(each, "warn");
    } else {
      const given = Object.entries(withTables(form.value())).filter(([, value]) => value !== null && value !== "");
      const made = await call("POST", "api-keys", { body: Object.fromEntries(given) });
      form.dialog.close();
      showSecret(made);
      await view.app.madeKey(made);
    }
    view.app.refresh();
  }
}
