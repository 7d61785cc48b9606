// Markdown of answers as elements: headings, lists, code, emphasis, links, quotes, tables. HTML in it is text, like all else that
// is not understood; images are links. In linear time, whatever the text: every search goes forward once.
import { h } from "./dom.js";

const DEPTH = 6; // of lists and quotes inside each other; what is deeper is text of the last
const OPEN = 16; // marks of emphasis and links that wait for their end; the oldest is text then
const URL_CHARS = 2000;
const COLUMNS = 50; // of a table
const RULE_CHARS = 200; // of a line across; a longer one is text
// None of these can try the same characters in more ways than one.
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*))?$/s;
const RULE = /^ {0,3}([-*_])\s*(?:\1\s*){2,}$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+(.*))?$/s;
const QUOTE = /^ {0,3}> ?(.*)$/s;
const DIVIDER = /^[\s|:-]+$/;
const TARGET = /\]\( {0,2}((?:[^\s()[\]]|\([^\s()[\]]{0,200}\)){0,2000})(?: {1,2}"[^"()[\]]{0,200}")? {0,2}\)/y;
const ANGLE = /<(https?:\/\/[^\s<>]{1,2000})>/y;
const BARE = /[^\s<>"'`[\]]+/y;

// ----------------------------------------------------------------------------------------------------- inside a line

/** The address of a link, when it leads to a web server; else null. */
export function webAddress(text) {
  if (text.length > URL_CHARS) return null;
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null; // relative, or none
  }
}

function anchor(href, children) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, children);
}

/** For each run of backticks, at its place: its length, and where the next of the same length begins (or -1). */
function codeRuns(text) {
  const runs = [],
    next = new Map();
  for (const match of text.matchAll(/`+/g)) runs.push({ at: match.index, length: match[0].length, end: -1 });
  for (const run of runs.toReversed()) {
    run.end = next.get(run.length) ?? -1;
    next.set(run.length, run.at);
  }
  return new Map(runs.map((run) => [run.at, run]));
}

const isSpace = (character) => character === undefined || /\s/.test(character);
const isWord = (character) => character !== undefined && /[\p{L}\p{N}]/u.test(character);

/** A line's reader: text goes to `out`, and marks become elements when their end is found. */
class Line {
  constructor(text) {
    Object.assign(this, { text, out: [], open: [], from: 0, at: 0, code: codeRuns(text) });
  }

  /** Text up to here goes out as it is. */
  flush(end = this.at) {
    if (end > this.from) this.out.push(this.text.slice(this.from, end));
    this.from = end;
  }

  skip(to) {
    this.at = this.from = to;
  }

  /** Everything since the mark at a place of `open` becomes the content of an element; marks inside are text. */
  close(place, make) {
    const { index } = this.open[place];
    this.open.length = place;
    this.out[index] = make(joined(this.out.splice(index + 1)));
  }

  wait(kind, text) {
    this.flush();
    if (this.open.length >= OPEN) this.open.shift();
    this.open.push({ kind, index: this.out.length });
    this.out.push(text);
  }

  read() {
    const special = /[\\`*_~[\]<!]|https?:\/\//g;
    for (;;) {
      special.lastIndex = this.at;
      const match = special.exec(this.text);
      if (!match) break;
      this.at = match.index;
      this.step(match[0]);
    }
    this.flush(this.text.length);
    return joined(this.out);
  }

  step(mark) {
    const next = this.text[this.at + 1];
    if (mark === "\\") {
      this.flush();
      if (next !== undefined && /[!-/:-@[-`{-~]/.test(next)) this.from = this.at + 1;
      this.at += 2;
    } else if (mark === "`") this.codeSpan();
    else if (mark === "[" || (mark === "!" && next === "[")) {
      this.wait("[", mark === "!" ? "![" : "[");
      this.skip(this.at + (mark === "!" ? 2 : 1));
    } else if (mark === "]") this.link();
    else if (mark === "<") this.angle();
    else if (mark.startsWith("http")) this.bare();
    else if (mark === "!") this.at += 1;
    else this.emphasis(mark);
  }

  codeSpan() {
    const run = this.code.get(this.at);
    if (!run || run.end === -1) {
      this.at += run?.length ?? 1;
      return;
    }
    this.flush();
    const code = this.text.slice(run.at + run.length, run.end);
    this.out.push(h("code", {}, code.startsWith(" ") && code.endsWith(" ") && code.trim() ? code.slice(1, -1) : code));
    this.skip(run.end + run.length);
  }

  /** At a "]": with a "(address)" behind it and a "[" before it a link, or just a bracket. */
  link() {
    const place = this.open.findLastIndex((each) => each.kind === "[");
    TARGET.lastIndex = this.at;
    const match = place === -1 ? null : TARGET.exec(this.text);
    const href = match ? webAddress(match[1]) : null;
    if (href === null) {
      if (place !== -1) this.open.splice(place, 1);
      this.at += 1;
      return;
    }
    this.flush();
    this.close(place, (content) => anchor(href, withoutLinks(content.length ? content : [href])));
    this.skip(this.at + match[0].length);
  }

  /** An address between "<" and ">" is a link; any other "<" is a sign like others. */
  angle() {
    ANGLE.lastIndex = this.at;
    const match = ANGLE.exec(this.text);
    const href = match ? webAddress(match[1]) : null;
    if (href === null) {
      this.at += 1;
      return;
    }
    this.flush();
    this.out.push(anchor(href, match[1]));
    this.skip(this.at + match[0].length);
  }

  bare() {
    BARE.lastIndex = this.at;
    let [found] = BARE.exec(this.text);
    const whole = this.at + found.length;
    if (found.length <= URL_CHARS) found = found.replace(/[.,;:!?*_~]{1,20}$/, "");
    if (found.endsWith(")") && !found.includes("(")) found = found.slice(0, -1);
    const href = isWord(this.text[this.at - 1]) ? null : webAddress(found);
    if (href === null) {
      this.at = whole;
      return;
    }
    this.flush();
    this.out.push(anchor(href, found));
    this.skip(this.at + found.length);
  }

  emphasis(mark) {
    const begin = this.at;
    let end = begin;
    while (this.text[end] === mark) end += 1;
    const kind = this.text.slice(begin, Math.min(end, begin + 4)),
      before = this.text[begin - 1],
      after = this.text[end];
    const isMark = kind.length < 4 && (mark !== "~" || kind.length === 2);
    const place = isMark ? this.open.findLastIndex((each) => each.kind === kind) : -1;
    if (place !== -1 && !isSpace(before) && !(mark === "_" && isWord(after))) {
      this.flush();
      this.close(place, (content) => emphasized(kind, content));
      this.skip(end);
    } else if (isMark && !isSpace(after) && !(mark === "_" && isWord(before))) {
      this.wait(kind, kind);
      this.skip(end);
    } else this.at = end;
  }
}

/** joined(["a", "b", node, "c"]) -> ["ab", node, "c"] */
function joined(content) {
  const found = [];
  let words = [];
  for (const each of content) {
    if (typeof each === "string") words.push(each);
    else {
      if (words.length) found.push(words.join(""));
      words = [];
      found.push(each);
    }
  }
  if (words.length) found.push(words.join(""));
  return found;
}

function emphasized(kind, content) {
  if (kind === "~~") return h("del", {}, content);
  if (kind.length === 1) return h("em", {}, content);
  return h("strong", {}, kind.length === 3 ? h("em", {}, content) : content);
}

/** A link holds no links: those inside are their words. */
function withoutLinks(content) {
  const opened = (link) => {
    const words = document.createDocumentFragment();
    while (link.firstChild) words.append(link.firstChild);
    return words;
  };
  for (const each of content) {
    if (each instanceof Element) for (const inner of each.querySelectorAll("a")) inner.replaceWith(opened(inner));
  }
  return content.map((each) => (each instanceof Element && each.tagName === "A" ? opened(each) : each));
}

const inline = (text) => new Line(text).read();

// ------------------------------------------------------------------------------------------------------------- blocks

const isBlank = (line) => !line.trim();
const widthOf = (text) => text.replaceAll("\t", "    ").length;

/** Whether a line begins something else than the text before it. */
const begins = (line) => FENCE.test(line) || HEADING.test(line) || isRule(line) || ITEM.test(line) || QUOTE.test(line);
const isRule = (line) => line.length <= RULE_CHARS && RULE.test(line);
const indentOf = (line) => widthOf(/^\s*/.exec(line)[0]);

/** cells("| a | b \\| c |") -> ["a", "b | c"] */
function cells(line) {
  const parts = line.trim().replace(/^\|/, "").split(/(?<!\\)\|/, COLUMNS + 1);
  if (parts.length > 1 && !parts.at(-1).trim()) parts.pop();
  return parts.slice(0, COLUMNS).map((each) => each.replaceAll("\\|", "|").trim());
}

/** Lines to elements. `level` is that of the heading before it; headings go down one by one, as readers of the screen need. */
class Blocks {
  constructor(lines, level, depth) {
    Object.assign(this, { lines, level, depth, at: 0, last: level });
  }

  /** [{at, nodes}, ...]: each block with the line at which it begins. */
  read() {
    const found = [];
    while (this.at < this.lines.length) {
      if (isBlank(this.lines[this.at])) this.at += 1;
      else found.push({ at: this.at, level: this.last, node: this.block(this.lines[this.at]) });
    }
    return found;
  }

  block(line) {
    const fence = FENCE.exec(line),
      heading = HEADING.exec(line);
    if (fence) return this.code(fence);
    if (heading) return this.heading(heading);
    if (isRule(line)) {
      this.at += 1;
      return h("hr");
    }
    if (QUOTE.test(line) && this.depth < DEPTH) return this.quote();
    if (ITEM.test(line) && this.depth < DEPTH) return this.list();
    const below = this.lines[this.at + 1];
    if (line.includes("|") && below?.includes("-") && below.includes("|") && DIVIDER.test(below)) return this.table();
    return this.paragraph();
  }

  code([, mark, language]) {
    const begin = this.at + 1,
      isEnd = (line) => line.trim().startsWith(mark) && !line.trim().replaceAll(mark[0], "");
    this.at = begin;
    while (this.at < this.lines.length && !isEnd(this.lines[this.at])) this.at += 1;
    const text = this.lines.slice(begin, this.at).join("\n");
    this.at += 1;
    return h(
      "pre",
      { class: "code", tabindex: "0", role: "group", "aria-label": language ? `Code, ${language.slice(0, 40)}` : "Code" },
      h("code", {}, text),
    );
  }

  heading([, marks, text]) {
    this.at += 1;
    this.last = Math.min(6, this.last + 1, this.level + marks.length);
    const words = (text ?? "").replace(/\s#+\s*$/, "");
    return h("div", { role: "heading", "aria-level": String(this.last), class: `md-heading md-${marks.length}` }, inline(words));
  }

  inner(lines) {
    const blocks = new Blocks(lines, this.level, this.depth + 1);
    blocks.last = this.last;
    const nodes = blocks.read().map((each) => each.node);
    this.last = blocks.last;
    return nodes;
  }

  quote() {
    const lines = [];
    for (; this.at < this.lines.length; this.at += 1) {
      const match = QUOTE.exec(this.lines[this.at]);
      if (!match && (isBlank(this.lines[this.at]) || begins(this.lines[this.at]))) break;
      lines.push(match ? match[1] : this.lines[this.at]);
    }
    return h("blockquote", {}, this.inner(lines));
  }

  list() {
    const [, indent, mark] = ITEM.exec(this.lines[this.at]),
      isOrdered = /\d/.test(mark),
      width = widthOf(indent),
      items = [];
    while (this.at < this.lines.length) {
      const match = ITEM.exec(this.lines[this.at]);
      if (!match || widthOf(match[1]) > width + 1 || widthOf(match[1]) < width - 1 || /\d/.test(match[2]) !== isOrdered) break;
      if (isRule(this.lines[this.at])) break;
      items.push(this.item(match, width));
    }
    const start = isOrdered ? Number.parseInt(mark, 10) : 1;
    return h(isOrdered ? "ol" : "ul", { start: start === 1 ? null : String(start) }, items);
  }

  /** One item: its line, and what is further in or goes on with its text. */
  item([, , mark, text], width) {
    const lines = [text ?? ""];
    this.at += 1;
    while (this.at < this.lines.length) {
      const line = this.lines[this.at];
      if (isBlank(line)) {
        let after = this.at;
        while (after < this.lines.length && isBlank(this.lines[after])) after += 1;
        const next = this.lines[after];
        const goesOn = next !== undefined && indentOf(next) >= width + 2;
        if (goesOn) lines.push("");
        this.at = after;
        if (!goesOn) break;
      } else if (indentOf(line) >= width + 2) {
        lines.push(line.replaceAll("\t", "    ").slice(Math.min(indentOf(line), width + mark.length + 1)));
        this.at += 1;
      } else if (begins(line)) break;
      else {
        lines.push(line);
        this.at += 1;
      }
    }
    return h("li", {}, this.inner(lines));
  }

  table() {
    const heads = cells(this.lines[this.at]),
      rows = [];
    this.at += 2;
    while (this.at < this.lines.length && this.lines[this.at].includes("|") && !isBlank(this.lines[this.at])) {
      rows.push(cells(this.lines[this.at]));
      this.at += 1;
    }
    const head = (each) => h("th", { scope: "col" }, each ? inline(each) : h("span", { class: "unseen" }, "Column"));
    const row = (each) => h("tr", {}, each.slice(0, heads.length).map((cell) => h("td", {}, inline(cell))));
    return h(
      "div",
      { class: "md-table", tabindex: "0", role: "group", "aria-label": "Table" },
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "Table"),
        h("thead", {}, h("tr", {}, heads.map(head))),
        h("tbody", {}, rows.map(row)),
      ),
    );
  }

  paragraph() {
    const begin = this.at;
    do this.at += 1;
    while (this.at < this.lines.length && !isBlank(this.lines[this.at]) && !begins(this.lines[this.at]));
    const lines = this.lines.slice(begin, this.at);
    return h("p", {}, inline(lines.map((line) => line.trimStart()).join("\n")));
  }
}

/** A text that grows: of what has come only the last block is read again. */
export class Markdown {
  constructor(level = 1) {
    this.node = h("div", { class: "md" });
    this.level = level;
    this.clear();
  }

  clear() {
    this.node.replaceChildren();
    Object.assign(this, { text: "", settled: 0, last: this.level });
  }

  show(text) {
    if (text === this.text) return this.node;
    if (!text.startsWith(this.text)) this.clear();
    this.text = text;
    const lines = text.slice(this.settled).split(/\r?\n/),
      blocks = new Blocks(lines, this.level, 0);
    blocks.last = this.last;
    const found = blocks.read();
    if (this.open) this.open.remove();
    for (const each of found) this.node.append(each.node);
    const last = found.at(-1);
    this.open = last?.node ?? null;
    if (last) {
      this.last = last.level;
      this.settled = offsetOf(text, this.settled, last.at);
    }
    return this.node;
  }
}

/** Where the line of a number begins, counted from a place in the text. */
function offsetOf(text, from, line) {
  for (; line > 0; line -= 1) from = text.indexOf("\n", from) + 1;
  return from;
}
