// Forms: fields in groups of which the rare ones are folded, and the gateway's errors beside the fields that they are about.
import { button, failure, field, foreign, h, openDialog, refill, select } from "./dom.js";

export const LIMIT_FIELDS = [
  ["max_requests", "Requests"],
  ["per_seconds", "Per seconds"],
  ["burst_size", "Burst"],
  ["tokens_per_minute", "Tokens per minute"],
  ["max_concurrent", "At once"],
  ["queue", "Queue"],
  ["wait_s", "Waits, seconds"],
];

// ------------------------------------------------------------------------------------- fields: {path, label, control, read}

const INPUT = { type: "text", autocomplete: "off", spellcheck: "false" };

export function textField(path, label, value, { hint, ...more } = {}) {
  const control = h("input", { ...INPUT, name: path, value: value ?? "", ...more });
  return { path, label, hint, control, read: () => control.value.trim() };
}

/** Names with commas between; empty is null. */
export function listField(path, label, value, more = {}) {
  const made = textField(path, label, (value ?? []).join(", "), more);
  const read = () => {
    const found = made.control.value.split(/[,\n]/).map((each) => each.trim());
    return found.some(Boolean) ? found.filter(Boolean) : null;
  };
  return { ...made, read };
}

/** A number; empty is null. */
export function numberField(path, label, value, more = {}) {
  const made = textField(path, label, value ?? "", { type: "number", min: "0", step: "any", inputmode: "decimal", ...more });
  return { ...made, read: () => (made.control.value.trim() === "" ? null : Number(made.control.value)) };
}

/** A number of tokens, which may be written 128k. */
export function sizeField(path, label, value, more = {}) {
  const made = textField(path, label, value ?? "", { placeholder: "128k", ...more });
  const read = () => {
    const text = made.control.value.trim();
    return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  return { ...made, read };
}

export function checkField(path, label, value) {
  const control = h("input", { type: "checkbox", name: path, checked: Boolean(value) });
  return { path, label, control, read: () => control.checked };
}

export function choiceField(path, label, choices, value, { hint, ...more } = {}) {
  const control = select(choices, value ?? "", { name: path, ...more });
  return { path, label, hint, control, read: () => control.value };
}

export const limitFields = (limits) =>
  LIMIT_FIELDS.map(([name, label]) => numberField(`limits.${name}`, label, limits?.[name] || null));

/** Requests are counted in a window: a minute where none is given. */
export const windowed = (limits) =>
  limits?.max_requests != null && limits.per_seconds == null ? { ...limits, per_seconds: 60 } : limits;

// ------------------------------------------------------------------------------------------------------------- values

const isSet = (value) => value !== null && value !== "" && value !== false;

/** nested([["a", 1], ["b.c", null], ["b.d", 2]]) -> {a: 1, b: {c: null, d: 2}} */
function nested(pairs) {
  const made = {};
  for (const [path, value] of pairs) {
    const [first, rest] = path.split(/\.(.*)/s);
    if (rest === undefined) made[first] = value;
    else (made[first] ??= {})[rest] = value;
  }
  return made;
}

/** The parts of a table that are given; null when none is. */
export function givenParts(table) {
  const found = Object.entries(table ?? {}).filter(([, value]) => value !== null);
  return found.length ? Object.fromEntries(found) : null;
}

/** problemsOf(a failed call) -> [{path, message}]: what is wrong with which field, as far as the gateway says it. */
export function problemsOf(error) {
  const told = error.body?.error ?? {};
  if (Array.isArray(told.problems) && told.problems.length) return told.problems;
  const parts = error.message.split("; ").map((part) => /^([\w.[\]]+): (.+)$/s.exec(part));
  if (parts.every(Boolean)) return parts.map(([, path, message]) => ({ path, message }));
  return told.param ? [{ path: told.param, message: error.message }] : [];
}

/** The field that a path means: "models.openai/gpt-4.1.config.context_window", "limits" or "name"; not "groups[0].name". */
function fieldAt(fields, path) {
  const isOfEntry = /^(?:models|providers)\./.test(path);
  const fitting = [
    (each) => path === each.path || (isOfEntry && path.endsWith(`.${each.path}`)),
    (each) => each.path.startsWith(`${isOfEntry ? path.split(".").at(-1) : path}.`),
    (each) => path.startsWith(`${each.path}.`),
  ];
  for (const fits of fitting) {
    const found = fields.filter(fits);
    if (found.length) return found.find((each) => path.endsWith(each.path)) ?? found[0];
  }
  return null;
}

/** What is wrong with a field before it is sent; "" for nothing. What a browser cannot read it gives as an empty value. */
function faultOf({ control, fault }) {
  if (fault) return fault();
  if (control.validity?.badInput) return control.type === "number" ? "is not a number" : "is not complete";
  return control.required && !control.value.trim() ? "is needed" : "";
}

// --------------------------------------------------------------------------------------------------------------- form

/** A dialog with a form. Groups: {title, hint, fields, content, isOpen}; those with a title are folded. */
export class Form {
  constructor({ title, word, groups, save, extra = null, focus }) {
    Object.assign(this, { save, groups, fields: groups.flatMap((group) => group.fields) });
    this.error = h("div", { role: "alert" });
    this.submit = h("button", { type: "submit", class: "primary" }, word);
    const cancel = button("Cancel", () => this.dialog.close());
    this.node = h(
      "form",
      { class: "entry-form", novalidate: true, onsubmit: (event) => this.sent(event), oninput: () => this.count() },
      groups.map((group) => this.group(group)),
      this.error,
      h("div", { class: "form-end" }, extra, h("span", { class: "grow" }), cancel, this.submit),
    );
    this.dialog = openDialog(title, this.node, { className: "wide-dialog" });
    this.before = this.values();
    this.count();
    (focus ?? this.fields[0]).control.focus();
  }

  group(group) {
    const inside = [
      group.hint ? h("p", { class: "hint" }, group.hint) : null,
      h(
        "div",
        { class: "form-grid" },
        group.fields.filter((each) => !each.isApart).map((each) => this.put(each)),
      ),
      group.content ?? null,
    ];
    if (!group.title) return h("div", { class: "form-first" }, inside);
    group.number = h("span", { class: "muted" });
    group.node = h("details", { open: Boolean(group.isOpen) }, h("summary", {}, group.title, " ", group.number), inside);
    return group.node;
  }

  put(each) {
    each.node = field(each.label, each.control, each.hint);
    return each.node;
  }

  /** How much is set in a group that may be folded. */
  count() {
    for (const group of this.groups) {
      const set = group.number ? group.fields.filter((each) => isSet(each.read())).length : 0;
      if (group.number) group.number.textContent = set ? `${set} set` : "";
    }
  }

  values() {
    return Object.fromEntries(this.fields.map((each) => [each.path, each.read()]));
  }

  /** Everything, as the gateway's fields. */
  value() {
    return nested(Object.entries(this.values()));
  }

  /** What is another value than at the beginning. */
  changed() {
    const now = Object.entries(this.values());
    return nested(now.filter(([path, value]) => JSON.stringify(value) !== JSON.stringify(this.before[path])));
  }

  async sent(event) {
    event.preventDefault();
    this.clear();
    this.submit.disabled = true;
    try {
      const wrong = this.fields.find(faultOf);
      if (wrong) this.mark(wrong, faultOf(wrong), true);
      else await this.save(this);
    } catch (error) {
      this.refused(error);
    } finally {
      this.submit.disabled = false;
    }
  }

  clear() {
    refill(this.error);
    for (const each of this.fields) {
      if (!each.wrong) continue;
      each.wrong.remove();
      each.wrong = null;
      each.control.removeAttribute("aria-invalid");
      if (each.hint) each.control.setAttribute("aria-describedby", `${each.control.id}-hint`);
      else each.control.removeAttribute("aria-describedby");
    }
  }

  mark(each, message, isFirst) {
    const id = `${each.control.id}-wrong`;
    if (each.wrong) each.wrong.append("; ", foreign(message));
    else each.wrong = h("p", { class: "wrong", id }, foreign(message));
    (each.node ?? each.control.parentElement).append(each.wrong);
    if (each.control.matches("input, select")) each.control.setAttribute("aria-invalid", "true");
    each.control.setAttribute("aria-describedby", each.hint ? `${each.control.id}-hint ${id}` : id);
    const folded = each.control.closest("details");
    if (folded) folded.open = true;
    if (isFirst) each.control.focus();
  }

  /** What the gateway says is put where it belongs; the rest at the end of the form. */
  refused(error) {
    const problems = problemsOf(error),
      placed = problems.map((each) => ({ ...each, field: fieldAt(this.fields, each.path) }));
    const first = placed.find((each) => each.field);
    for (const each of placed) if (each.field) this.mark(each.field, each.message, each === first);
    const left = placed.filter((each) => !each.field).map((each) => `${each.path}: ${each.message}`);
    if (first && !left.length) return;
    const message = problems.length ? left.join("; ") : error.message;
    refill(this.error, failure({ title: "Not saved", code: error.code, message, step: error.step }));
    this.error.scrollIntoView({ block: "nearest" });
  }
}
