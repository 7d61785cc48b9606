// What was sent and answered, as far as it is kept: the words of an answer with its Markdown, and both bodies as they were.
import { count } from "./format.js";
import { button, copied, foreign, h, refill } from "./dom.js";
import { EventParser } from "./api.js";
import { Markdown } from "./markdown.js";

const LONG = 200000; // characters: longer answers begin as raw text

/** Words with their Markdown, and a switch to the text as it came. `level`: of the heading above. */
export class Words {
  constructor(level, isRaw = false) {
    this.markdown = new Markdown(level);
    this.isRaw = isRaw;
    this.text = "";
    this.node = h("div", { class: "words" });
    this.toggle = button("Raw text", () => this.turn(), { class: "small ghost", "aria-pressed": String(isRaw), "data-key": "raw" });
  }

  turn() {
    this.isRaw = !this.isRaw;
    this.toggle.setAttribute("aria-pressed", String(this.isRaw));
    this.draw();
  }

  show(text) {
    this.text = text;
    this.draw();
    return this.node;
  }

  draw() {
    const shown = this.isRaw ? foreign(this.text, "raw-text") : this.markdown.show(this.text);
    if (this.isRaw || shown.parentElement !== this.node) refill(this.node, shown);
  }
}

const textOf = (content) =>
  typeof content === "string" ? content : Array.isArray(content) ? content.map((part) => part?.text ?? "").join("") : "";

/** The words of one event of a stream, whatever its protocol. */
function wordsOfEvent(value) {
  if (typeof value.delta === "string") return value.type?.endsWith("output_text.delta") ? value.delta : "";
  return textOf(value.choices?.[0]?.delta?.content) || value.delta?.text || textOf(value.candidates?.[0]?.content?.parts);
}

/** The words of a whole answer. */
function wordsOfAnswer(value) {
  const items = Array.isArray(value.output) ? value.output.map((each) => textOf(each?.content)).join("") : "";
  const message = value.choices?.[0]?.message?.content ?? value.message?.content ?? value.content;
  return textOf(message) || textOf(value.candidates?.[0]?.content?.parts) || items;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : {};
  } catch {
    return {}; // an event that is not JSON, or cut off
  }
}

/** What an answer says, put together; "" where it says nothing, or is not an answer. */
export function wordsIn(text) {
  if (!text) return "";
  if (!/^(?:event|data|:)/.test(text)) return wordsOfAnswer(parsed(text));
  return new EventParser()
    .feed(`${text}\n\n`)
    .map((data) => wordsOfEvent(parsed(data)))
    .join("");
}

function answerSection(text) {
  const said = wordsIn(text);
  if (!said) return null;
  const words = new Words(3, said.length > LONG);
  const copy = button("Copy the answer", () => copied(said), { icon: "copy", class: "small" });
  return h(
    "details",
    { class: "body", open: true },
    h("summary", {}, `The answer, ${count(said.length)} characters`),
    h("div", { class: "body-tools" }, words.toggle, copy),
    h("div", { class: "said-box", tabindex: "0", role: "group", "aria-label": "The answer" }, words.show(said)),
  );
}

/** A body as it was, JSON with its lines. */
function bodyOf(name, text, isCut) {
  if (text === null || text === undefined) return null;
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // a stream, or cut: as it came
  }
  return h(
    "details",
    { class: "body", open: text.length < 4000 },
    h("summary", {}, `${name}, ${count(text.length)} characters${isCut ? ", cut off at log_body_bytes" : ""}`),
    h(
      "div",
      { class: "body-tools" },
      button(`Copy the ${name.toLowerCase()}`, () => copied(text), { icon: "copy", class: "small" }),
    ),
    h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": `${name} body` }, foreign(shown)),
  );
}

/** The bodies of a call, or why there are none. */
export function bodySections(row, isKept) {
  const bodies = row.bodies ?? {};
  if (bodies.request == null && bodies.response == null) {
    const why =
      bodies.kept || isKept
        ? "None were kept for this call, or they have expired (keep_bodies_days)."
        : "Bodies are not kept. log_bodies = true in [server] keeps them, without secrets, for keep_bodies_days.";
    return h("section", {}, h("h3", {}, "Bodies"), h("p", { class: "muted" }, why));
  }
  return h(
    "section",
    {},
    h("h3", {}, "Bodies"),
    answerSection(bodies.response),
    bodyOf("Request", bodies.request, bodies.request_cut),
    bodyOf("Response", bodies.response, bodies.response_cut),
  );
}
