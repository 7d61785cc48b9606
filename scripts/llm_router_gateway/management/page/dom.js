// Elements out of values. Every text goes in as a text node, and what it hides is shown as a small chip: no caller can forget.
import { UNSEEN, codeName, plain, shortened } from "./format.js";
import { errorWords } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const NAMES = { "U+001B": "ESC", "U+0000": "NUL", "U+0007": "BEL", "U+202E": "RLO U+202E" };

/** Text nodes with chips in place of what cannot be seen; without any, one text node. */
export function inert(text) {
  if (text.search(UNSEEN) === -1) return document.createTextNode(text);
  const made = document.createDocumentFragment();
  let from = 0;
  for (const match of text.matchAll(UNSEEN)) {
    made.append(text.slice(from, match.index));
    const chip = document.createElement("span");
    const code = codeName(match[0]);
    chip.className = "code-chip";
    chip.textContent = NAMES[code] ?? code;
    made.append(chip);
    from = match.index + match[0].length;
  }
  made.append(text.slice(from));
  return made;
}

function put(node, child) {
  if (child === null || child === undefined || child === false) return;
  if (Array.isArray(child)) for (const each of child) put(node, each);
  else node.append(child instanceof Node ? child : inert(String(child)));
}

function apply(node, properties) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.setAttribute("class", value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") node[name] = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : plain(value));
  }
}

/** h("a", {href: "?view=calls", class: "quiet"}, "All calls") */
export function h(tag, properties, ...children) {
  const node = document.createElement(tag);
  apply(node, properties);
  put(node, children);
  return node;
}

export function svg(tag, properties, ...children) {
  const node = document.createElementNS(SVG, tag);
  apply(node, properties);
  put(node, children);
  return node;
}

/** Foreign text in its own direction, with its lines kept. */
export function foreign(value, className = "") {
  return h("bdi", { class: `foreign ${className}` }, value);
}

const ICONS = {
  sun: "M12 4V2m0 20v-2m8-8h2M2 12h2m13.7-5.7 1.4-1.4M4.9 19.1l1.4-1.4m0-11.4L4.9 4.9m14.2 14.2-1.4-1.4M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 0v18M12 7h5m-5 4h7m-7 4h6",
  pause: "M9 5v14M15 5v14",
  play: "M7 5l12 7-12 7Z",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9ZM5 15H4V4h11v1",
  image: "M4 5h16v14H4Zm0 11 5-5 4 4 3-3 4 4M15 9h.01",
  send: "M5 12h13m-6-6 6 6-6 6",
  stop: "M7 7h10v10H7Z",
  plus: "M12 5v14M5 12h14",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  out: "M15 4h5v16h-5M4 12h11m-4-4 4 4-4 4",
  down: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  refresh: "M20 11A8 8 0 0 0 6 6.3L4 8m0-4v4h4M4 13a8 8 0 0 0 14 4.7l2-1.7m0 4v-4h-4",
};

/** A drawing beside a word, or with its button's own label: readers of the screen skip it. */
export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: ICONS[name] }),
  );
}

export function button(text, onclick, properties = {}) {
  return h(
    "button",
    { type: "button", onclick, ...properties },
    properties.icon ? icon(properties.icon) : null,
    properties.bare ? null : h("span", {}, text),
    properties.bare ? h("span", { class: "unseen" }, text) : null,
  );
}

/** A group of links of which one is on: the address is the state. */
export function segmented(label, choices, current) {
  return h(
    "div",
    { class: "segmented", role: "group", "aria-label": label },
    choices.map(([value, text, href]) =>
      h("a", { href, "aria-current": value === current ? "true" : null, "data-key": `${label}:${value}` }, text),
    ),
  );
}

/** Another content, with the focus on the same thing as before (by data-key). */
export function refill(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
  node.replaceChildren();
  put(node, children);
  if (focused) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Calls `draw` only when what it would draw is new: nothing flickers, no selection is lost. */
export function onChange(draw) {
  let last;
  return (...values) => {
    const now = JSON.stringify(values);
    if (now === last) return;
    last = now;
    draw(...values);
  };
}

export function announce(text) {
  document.getElementById("announcer").replaceChildren(inert(text));
}

/** A word at the edge that goes by itself; an error ("error") and a warning ("warn") stay until they are closed. */
export function toast(text, kind = "done") {
  const close = () => box.remove();
  const box = h(
    "div",
    { class: `toast ${kind}` },
    h("span", {}, text),
    button("Close this message", close, { icon: "close", bare: true, class: "ghost small" }),
  );
  document.getElementById("toasts").append(box);
  if (kind === "done") setTimeout(close, 6000);
}

export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    toast("The browser does not let this page copy: select the text and copy it by hand.", "error");
  }
}

/** A modal dialog: the browser keeps the focus inside and gives it back; Esc closes it. */
export function openDialog(title, content, { className = "", onclose = () => {}, actions = null } = {}) {
  const id = `dialog-${++openDialog.made}`; // one may open over another
  const heading = h("h2", { id, tabindex: "-1" }, title);
  const dialog = h(
    "dialog",
    { class: className, "aria-labelledby": id },
    h(
      "div",
      { class: "dialog-head" },
      heading,
      h(
        "div",
        { class: "dialog-tools" },
        actions,
        button("Close", () => dialog.close(), { icon: "close", bare: true, class: "ghost", "data-key": "close" }),
      ),
    ),
    h("div", { class: "dialog-body" }, content),
  );
  const opener = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (opener?.isConnected) opener.focus({ preventScroll: true });
    onclose();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.getElementById("drawer-host").append(dialog);
  dialog.showModal();
  if (!dialog.querySelector("[autofocus]")) heading.focus({ preventScroll: true });
  return dialog;
}

openDialog.made = 0;

/** Asks for confirmation before something that cannot be undone. */
export function confirmed(title, text, word) {
  return new Promise((answer) => {
    let said = false;
    const yes = button(
      word,
      () => {
        said = true;
        dialog.close();
      },
      { class: "danger" },
    );
    const no = button("Cancel", () => dialog.close(), { autofocus: true });
    const dialog = openDialog(title, [h("p", {}, text), h("div", { class: "form-end" }, no, yes)], {
      className: "small-dialog",
      onclose: () => answer(said),
    });
    no.focus();
  });
}

// ------------------------------------------------------------------------------------------------- what every view shows

/** Nothing there yet, and what to do about it. */
export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), more);
}

/** A failure with its code and the next step. */
export function failure(error, retry) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", { class: "empty-title" }, error.title ?? "This could not be loaded"),
    h("p", {}, error.code ? h("strong", {}, errorWords(error.code), ". ") : null, foreign(error.message)),
    error.code ? h("p", {}, h("code", {}, error.code)) : null,
    error.step ? h("p", { class: "muted" }, error.step) : null,
    retry ? button("Try again", retry, { icon: "refresh" }) : null,
  );
}

export function loading(text = "Loading…") {
  return h("p", { class: "loading", role: "status" }, text);
}

export function badge(text, kind = "", title = null) {
  return h("span", { class: `badge ${kind}`, title }, shortened(text, 60));
}

/** An error in plain words, with its code as the title. */
export function coded(code, className = "") {
  return h("span", { class: className, title: code }, foreign(shortened(errorWords(code), 80)));
}

export function field(label, control, hint) {
  const id = (control.id ||= `f${++field.made}`);
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    control,
    hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null,
  );
}
field.made = 0;

export function select(choices, current, properties = {}) {
  const node = h(
    "select",
    properties,
    choices.map(([value, text]) => h("option", { value, selected: value === current }, plain(shortened(text, 60)))),
  );
  node.value = current;
  return node;
}

/** on/off, as a switch that says what it switches */
export function toggle(label, isOn, onchange, properties = {}) {
  const node = h(
    "button",
    { type: "button", role: "switch", class: "switch", "aria-checked": String(isOn), "aria-label": label, ...properties },
    h("span", {}),
  );
  node.addEventListener("click", () => onchange(node.getAttribute("aria-checked") !== "true", node));
  return node;
}

/** A table with a caption for readers of the screen, in a frame that scrolls by itself on narrow screens. */
export function table(caption, headings, rows, { label = caption, frame = "", ...properties } = {}) {
  return h(
    "div",
    { class: `table-frame ${frame}`, tabindex: "0", role: "region", "aria-label": label },
    h(
      "table",
      properties,
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, headings)),
      h("tbody", {}, rows),
    ),
  );
}

/** A heading that sorts; `order` is {by, desc}. */
export function sortable(text, by, order, href, className = "") {
  const isBy = order.by === by;
  return h(
    "th",
    { scope: "col", class: className, "aria-sort": isBy ? (order.desc ? "descending" : "ascending") : null },
    h(
      "a",
      { class: "sorter", href, "data-key": `sort:${by}` },
      text,
      h("span", { "aria-hidden": "true" }, isBy ? (order.desc ? " ↓" : " ↑") : ""),
    ),
  );
}

export const heading = (text, className = "") => h("th", { scope: "col", class: className }, text);
