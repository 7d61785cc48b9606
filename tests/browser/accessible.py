"""What keeps a page usable for those who do not see it, or not well: names, roles, order, contrast. Found, not guessed.

    problems(page) -> ["contrast 3.9: 'Cost' in <th>", ...], [] when all is well

Names and roles are those that the browser itself hands to a screen reader; contrast is computed from the styles of every text
that is shown, against what is painted behind it (WCAG 2.2, 1.4.3: 4.5 to 1, large text 3 to 1).
"""

from __future__ import annotations

from typing import Any

NAMED = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "combobox",
    "checkbox",
    "switch",
    "spinbutton",
    "dialog",
    "navigation",
    "region",
    "img",
    "image",
    "radio",
    "listbox",
    "table",
    "DisclosureTriangle",
    "Date",
    "DateTime",
    "search",
    "log",
}

STRUCTURE = r"""
const found = [];
const shown = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
const all = (css) => [...document.querySelectorAll(css)].filter(shown);
if (!document.documentElement.lang) found.push("the document has no language");
if (all("h1").length !== 1) found.push(`${all("h1").length} headings of the first level`);
for (const css of ["header", "nav", "main"]) if (document.querySelectorAll(css).length === 0) found.push(`no <${css}>`);
let last = 1;
for (const node of all("main h1, main h2, main h3, main h4")) {
  const level = Number(node.tagName[1]);
  if (level > last + 1) found.push(`heading level ${level} after ${last}: ${node.textContent.slice(0, 40)}`);
  last = level;
}
const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
for (const id of new Set(ids.filter((each, index) => ids.indexOf(each) !== index))) found.push(`id ${id} twice`);
for (const node of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
  for (const name of ["aria-labelledby", "aria-describedby"]) {
    const id = node.getAttribute(name);
    if (id && !document.getElementById(id)) found.push(`${name} leads nowhere: ${id}`);
  }
}
for (const node of document.querySelectorAll("[tabindex]")) if (node.tabIndex > 0) found.push(`tabindex ${node.tabIndex}`);
for (const node of all("table")) {
  if (!node.caption) found.push("a table without a caption");
  for (const cell of node.querySelectorAll("thead th")) if (!cell.textContent.trim()) found.push("a column without a name");
}
for (const node of all("img")) if (!node.hasAttribute("alt")) found.push("an image without words");
return found;
"""

CONTRAST = r"""
const found = [], shades = new Map();
const parsed = (text) => {
  const numbers = text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
  if (text.startsWith("color(srgb")) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
  return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
};
const over = (top, below) => [0, 1, 2].map((index) => top[index] * top[3] + below[index] * (1 - top[3])).concat(1);
const behind = (node) => {
  if (!node || node.nodeType !== 1) return parsed(getComputedStyle(document.body).backgroundColor);
  if (shades.has(node)) return shades.get(node);
  const own = parsed(getComputedStyle(node).backgroundColor);
  const isLast = node.tagName === "DIALOG" || node === document.documentElement;
  const shade = own[3] === 1 ? own : over(own, isLast ? [255, 255, 255, 1] : behind(node.parentElement));
  shades.set(node, shade);
  return shade;
};
const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
const light = (colour) => colour.slice(0, 3).map((each) => linear(each / 255))
  .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const opacity = (node) => (node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1);
const checked = (node, text, style, colour) => {
  const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const back = behind(node), painted = parsed(colour);
  painted[3] *= opacity(node);
  const value = ratio(over(painted, back), back);
  const place = `<${node.tagName.toLowerCase()} class="${node.getAttribute("class") ?? ""}">`;
  if (value < (isLarge ? 3 : 4.5)) found.push(`contrast ${value.toFixed(2)}: '${text.trim().slice(0, 30)}' in ${place}`);
};
const within = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
const walker = document.createTreeWalker(within, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement, text = walker.currentNode.data;
  if (!text.trim() || ["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(node.tagName)) continue;
  if (!node.checkVisibility() || node.closest(".unseen, :disabled")) continue;
  const style = getComputedStyle(node);
  checked(node, text, style, node instanceof SVGElement ? style.fill : style.color);
}
for (const node of within.querySelectorAll("input, textarea, select")) {
  if (!node.checkVisibility() || node.closest(".unseen, :disabled")) continue;
  const isEmpty = !node.value && node.placeholder, style = getComputedStyle(node, isEmpty ? "::placeholder" : null);
  checked(node, node.value || node.placeholder || "x", getComputedStyle(node), style.color);
}
return [...new Set(found)];
"""


def problems(page: Any) -> list[str]:
    """All that is wrong with what the page shows now."""
    return [*page.run(STRUCTURE), *nameless(page), *page.run(CONTRAST)]


def nameless(page: Any) -> list[str]:
    """What a screen reader would have to call "button", and nothing more."""
    found = []
    for node in page.command("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value", "")
        properties = {each["name"]: each["value"].get("value") for each in node.get("properties", ())}
        is_reached = role in NAMED or properties.get("focusable")
        if (
            node.get("ignored")
            or not is_reached
            or role in ("RootWebArea", "main", "listitem", "option", "MenuListPopup", "generic")
        ):
            continue
        if not node.get("name", {}).get("value", "").strip():
            found.append(f"{role} without a name (node {node.get('backendDOMNodeId')})")
    return found
