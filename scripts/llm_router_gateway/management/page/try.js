// Try it: a chat with any model or group through this gateway, and the reason for the choice of the member.
import { compact, count, milliseconds, money, bytes, plain, shortened } from "./format.js";
import { announce, badge, button, empty, failure, field, foreign, h, icon, refill, toast } from "./dom.js";
import { call, chat, events, CallFailed } from "./api.js";
import { go, here, link } from "./address.js";
import { Words } from "./bodies.js";
import { shareOf, stateBadge } from "./models.js";

const MAX_IMAGE_BYTES = 5242880; // as a data: address it grows by a third; a gateway takes 32 MiB and more
const MAX_IMAGES = 4;
const PARAMETERS = [
  ["temperature", "Temperature", "0.1"],
  ["top_p", "Top p", "0.05"],
  ["max_tokens", "Max tokens", "1"],
];
const LOOKED_UP = 6; // times a finished call is looked up: the log is written every half second
const LOOKED_UP_MS = 300;

const waited = (ms) => new Promise((done) => setTimeout(done, ms));

/** The text of a piece of an answer, whatever the parts are called. */
function deltaOf(value) {
  const choice = value.choices?.[0] ?? {};
  const delta = choice.delta ?? choice.message ?? {};
  const text = Array.isArray(delta.content)
    ? delta.content.map((part) => part.text ?? "").join("")
    : (delta.content ?? delta.refusal ?? "");
  return {
    text,
    thought: delta.reasoning_content ?? delta.reasoning ?? "",
    finish: choice.finish_reason ?? "",
    calls: delta.tool_calls,
  };
}

/** One answer in progress: what has arrived, and its figures. */
class Answer {
  constructor() {
    Object.assign(this, {
      text: "",
      thought: "",
      finish: "",
      usage: null,
      error: null,
      stopped: false,
      done: false,
      headers: {},
      row: null,
      began: performance.now(),
      first: null,
      ended: null,
    });
    this.node = h("article", { class: "turn assistant", "aria-busy": "true", "aria-label": "Answer" });
    this.said = h("div", { class: "said" });
    this.words = new Words(1);
    this.words.node.classList.add("answer-text");
    this.foot = h("div", { class: "turn-foot" });
    this.node.append(this.said, this.foot);
  }

  take(value) {
    if (value.error)
      throw new CallFailed(value.error.message ?? "The stream ended with an error.", {
        code: value.error.code || value.error.type || "stream_error",
      });
    const { text, thought, finish } = deltaOf(value);
    if ((text || thought) && this.first === null) this.first = performance.now() - this.began;
    this.text += text;
    this.thought += thought;
    this.finish = finish || this.finish;
    this.usage = value.usage ?? this.usage;
    this.later ??= requestAnimationFrame(() => {
      this.later = null;
      this.draw();
    });
  }

  end() {
    this.done = true;
    this.ended = performance.now() - this.began;
    this.node.setAttribute("aria-busy", "false");
    this.draw();
  }

  draw() {
    const waiting = !this.done && !this.text && !this.thought;
    refill(
      this.said,
      this.thought
        ? h("details", { class: "thought", open: !this.text }, h("summary", {}, "Reasoning"), foreign(this.thought))
        : null,
      waiting ? h("p", { class: "typing" }, "Waiting for the first words…") : this.words.show(this.text),
      this.done && !this.text && !this.error && !this.stopped ? h("p", { class: "muted" }, "The answer holds no text.") : null,
      this.error
        ? failure({ title: "No complete answer", code: this.error.code, message: this.error.message, step: this.error.step })
        : null,
    );
    refill(this.foot, this.facts());
  }

  facts() {
    if (!this.done) return [];
    const { row, usage, headers } = this,
      served = row?.served || headers.served;
    const input = row?.tokens?.input ?? usage?.prompt_tokens,
      output = row?.tokens?.output ?? usage?.completion_tokens;
    const cost = row?.cost_usd ?? usage?.cost;
    return [
      this.stopped ? badge("stopped", "warn") : null,
      this.finish === "length" ? badge("cut off at max tokens", "warn") : null,
      served ? h("span", {}, "by ", foreign(shortened(served, 90), "strong")) : null,
      headers.attempts > 1 ? badge(`${headers.attempts} attempts`, "warn") : null,
      this.first === null ? null : h("span", {}, `first output ${milliseconds(this.first)}`),
      h("span", {}, `end ${milliseconds(this.ended)}`),
      input != null || output != null ? h("span", {}, `${compact(input)} in · ${compact(output)} out`) : null,
      cost != null ? h("span", {}, `cost ${money(cost)}`) : row ? h("span", {}, "no price known") : null,
      row ? h("a", { href: link({ call: row.id }) }, "The call") : null,
      this.text ? this.words.toggle : null,
    ];
  }
}

export class TryView {
  constructor(root, app) {
    Object.assign(this, { root, app, turns: [], images: [], running: null, explained: 0 });
    this.model = h("input", {
      type: "text",
      list: "try-models",
      value: here().model ?? "",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: app.me.demo ? "demo" : "a model, a group, tag:coding",
      onchange: () => this.chosen(),
    });
    this.known = h("datalist", { id: "try-models" });
    this.system = h("textarea", { rows: "3", placeholder: "You are…" });
    this.stream = h("input", { type: "checkbox", checked: true });
    this.parameters = Object.fromEntries(
      PARAMETERS.map(([name, , step]) => [name, h("input", { type: "number", min: "0", step, inputmode: "decimal" })]),
    );
    this.log = h("div", { class: "chat-log", role: "log", "aria-label": "Conversation", tabindex: "0" });
    this.routing = h("div", {}, h("p", { class: "muted" }, "Choose a model or a group to see which one would answer, and why."));
    this.build();
    this.nothingYet();
    this.fillModels();
    if (this.model.value) this.explain();
  }

  build() {
    this.text = h("textarea", {
      rows: "2",
      "aria-label": "Message",
      placeholder: "Message… (Enter sends, Shift+Enter is a new line)",
      onkeydown: (event) => this.pressed(event),
      onpaste: (event) => this.attach(event.clipboardData.files),
    });
    this.pictures = h("div", { class: "pictures" });
    const file = h("input", {
      type: "file",
      accept: "image/*",
      multiple: true,
      class: "unseen",
      tabindex: "-1",
      "aria-label": "Images",
      onchange: () => {
        this.attach(file.files);
        file.value = "";
      },
    });
    this.sendButton = h("button", { type: "submit", class: "primary" }, icon("send"), h("span", {}, "Send"));
    this.stopButton = button("Stop", () => this.stop(), { icon: "stop", class: "danger", hidden: true });
    const composer = h(
      "form",
      {
        class: "composer",
        "aria-label": "Your message",
        onsubmit: (event) => {
          event.preventDefault();
          this.send();
        },
      },
      this.pictures,
      this.text,
      h(
        "div",
        { class: "composer-row" },
        button("Attach an image", () => file.click(), { icon: "image", class: "ghost" }),
        file,
        h("span", { class: "grow" }),
        this.stopButton,
        this.sendButton,
      ),
    );
    const side = h(
      "div",
      { class: "try-side" },
      h(
        "section",
        { class: "panel" },
        h("h2", {}, "Model"),
        field("Model or group", this.model),
        this.known,
        field("System prompt", this.system),
        h(
          "div",
          { class: "form-grid three" },
          PARAMETERS.map(([name, label]) => field(label, this.parameters[name])),
        ),
        h("label", { class: "check" }, this.stream, " Streamed"),
      ),
      h(
        "section",
        { class: "panel" },
        h(
          "div",
          { class: "panel-head" },
          h("h2", {}, "Routing"),
          button("Check again", () => this.explain(), { icon: "refresh", bare: true, class: "ghost small" }),
        ),
        this.routing,
      ),
    );
    this.root.append(
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Try it"),
        h(
          "div",
          { class: "toolbar" },
          button("New conversation", () => this.clear(), { icon: "plus" }),
        ),
      ),
      h(
        "div",
        { class: "try" },
        h(
          "section",
          {
            class: "panel chat",
            "aria-label": "Chat",
            ondragover: (event) => event.preventDefault(),
            ondrop: (event) => {
              event.preventDefault();
              this.attach(event.dataTransfer.files);
            },
          },
          this.log,
          composer,
        ),
        side,
      ),
    );
  }

  nothingYet() {
    refill(
      this.log,
      empty(
        "No messages yet.",
        h(
          "p",
          { class: "muted" },
          "What you write goes to the model like any client's call, and is logged like one. The conversation is kept only in this page.",
        ),
      ),
    );
  }

  moved() {
    const wanted = here().model;
    if (wanted && wanted !== this.model.value) {
      this.model.value = wanted;
      this.explain();
    }
  }

  async refresh() {} // nothing here grows old by itself
  failed() {}
  leave() {
    this.stop();
  }

  async fillModels() {
    try {
      const { models, groups } = await this.app.catalog();
      refill(
        this.known,
        [
          ...groups.map((group) => [group.name, "group"]),
          ...models.filter((model) => model.is_active).map((model) => [model.name, model.display_name]),
        ].map(([name, label]) => h("option", { value: plain(name), label: label ? plain(`${name} (${label})`) : null })),
      );
      if (!this.model.value)
        this.model.value = groups[0]?.name ?? models.find((model) => model.is_active)?.name ?? (this.app.me.demo ? "demo" : "");
      this.explain();
    } catch {
      // the field takes any name without the list
    }
  }

  chosen() {
    go(link({ model: this.model.value.trim() }), { replace: true });
    this.explain();
  }

  // -- routing

  async explain() {
    const number = ++this.explained,
      model = this.model.value.trim();
    if (!model) return;
    let decision,
      error = null;
    try {
      decision = await call("POST", "v1/route", {
        body: this.body(this.turns.length ? [] : [{ role: "user", content: this.text.value || "Hello" }]),
      });
    } catch (failed) {
      error = failed;
      decision = failed.body?.explain ? failed.body : null;
    }
    if (number !== this.explained) return;
    refill(
      this.routing,
      error ? failure({ title: "No member would be tried", code: error.code, message: error.message, step: error.step }) : null,
      decision ? this.decision(decision.explain) : null,
    );
  }

  decision(explain) {
    const candidates = explain.candidates ?? [];
    return [
      explain.chosen ? h("p", {}, foreign(shortened(explain.chosen, 120), "strong"), " would be tried first.") : null,
      h(
        "p",
        { class: "chips" },
        explain.group ? badge(`group ${shortened(explain.group, 60)}`) : null,
        explain.strategy ? badge(explain.strategy) : null,
        explain.affinity ? badge("kept to this conversation") : null,
        badge(`${count(candidates.length)} ${candidates.length === 1 ? "candidate" : "candidates"}`),
      ),
      h(
        "ul",
        { class: "candidates" },
        candidates.map((each) =>
          h(
            "li",
            { class: each.model === explain.chosen ? "is-chosen" : "" },
            h(
              "div",
              { class: "card-head" },
              foreign(shortened(each.model, 120), "strong"),
              stateBadge({ state: each.state, back_in_s: each.back_in_s }),
            ),
            h("div", { class: "share" }, each.is_fallback ? null : h("span", { class: "muted" }, "first choice for "), shareOf(each)),
            h(
              "p",
              { class: "muted" },
              `weight ${compact(each.effective_weight)} now, ${compact(each.weight)} configured`,
              each.why ? " · " : "",
              each.why ? foreign(String(each.why)) : null,
            ),
            each.selector
              ? h(
                  "code",
                  { class: "selector" },
                  foreign(shortened(typeof each.selector === "string" ? each.selector : JSON.stringify(each.selector), 200)),
                )
              : null,
            each.selector_error ? h("p", { class: "muted" }, foreign(shortened(each.selector_error, 200))) : null,
          ),
        ),
      ),
    ];
  }

  // -- images

  attach(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) toast(`${shortened(file.name, 60)} is not an image.`, "error");
      else if (file.size > MAX_IMAGE_BYTES)
        toast(`${shortened(file.name, 60)} has ${bytes(file.size)}; the limit is ${bytes(MAX_IMAGE_BYTES)}.`, "error");
      else if (this.images.length >= MAX_IMAGES) toast(`One message takes at most ${MAX_IMAGES} images.`, "error");
      else this.read(file);
    }
  }

  read(file) {
    const image = { name: file.name, url: "" };
    this.images.push(image);
    const reader = new FileReader();
    reader.addEventListener("load", () => {
      image.url = reader.result;
      this.drawPictures();
    });
    reader.readAsDataURL(file);
  }

  drawPictures() {
    refill(
      this.pictures,
      this.images.map((image) =>
        h(
          "figure",
          { class: "picture" },
          h("img", { src: image.url, alt: shortened(image.name, 60) }),
          button(
            `Remove ${shortened(image.name, 60)}`,
            () => {
              this.images = this.images.filter((each) => each !== image);
              this.drawPictures();
            },
            { icon: "close", bare: true, class: "small" },
          ),
        ),
      ),
    );
  }

  // -- talking

  pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.send();
  }

  body(messages = []) {
    const system = this.system.value.trim();
    const body = {
      model: this.model.value.trim(),
      messages: [...(system ? [{ role: "system", content: system }] : []), ...this.turns, ...messages],
    };
    for (const [name] of PARAMETERS) {
      const value = this.parameters[name].value.trim();
      if (value !== "") body[name] = Number(value);
    }
    if (this.stream.checked) Object.assign(body, { stream: true, stream_options: { include_usage: true } });
    return body;
  }

  async send() {
    const text = this.text.value.trim(),
      images = this.images.filter((image) => image.url);
    if (this.running || (!text && !images.length)) return;
    if (!this.model.value.trim()) {
      toast("Name a model or a group first.", "error");
      this.model.focus();
      return;
    }
    const parts = [
      ...(text ? [{ type: "text", text }] : []),
      ...images.map((image) => ({ type: "image_url", image_url: { url: image.url } })),
    ];
    if (this.log.querySelector(".empty")) refill(this.log);
    this.turns.push({ role: "user", content: images.length ? parts : text });
    this.log.append(
      h(
        "article",
        { class: "turn user", "aria-label": "You" },
        h(
          "div",
          { class: "said" },
          images.map((image) => h("img", { src: image.url, alt: shortened(image.name, 60) })),
          foreign(text),
        ),
      ),
    );
    this.text.value = "";
    this.images = [];
    this.drawPictures();
    await this.ask();
  }

  async ask() {
    const answer = new Answer(),
      running = new AbortController();
    this.running = running;
    this.log.append(answer.node);
    this.busy(true);
    answer.draw();
    try {
      await this.listen(answer, await chat(this.body(), running.signal));
    } catch (error) {
      if (running.signal.aborted) answer.stopped = true;
      else
        answer.error =
          error instanceof CallFailed
            ? error
            : new CallFailed("The connection broke before the answer was complete.", { code: "stream_cut" });
    }
    answer.end();
    this.running = null;
    this.busy(false);
    this.settled(answer);
  }

  async listen(answer, response) {
    answer.headers = {
      served: response.headers.get("x-llm-router-model"),
      attempts: Number(response.headers.get("x-llm-router-attempts") ?? 1),
      id: response.headers.get("x-request-id"),
    };
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      answer.take(await response.json());
      return;
    }
    let isWhole = false;
    for await (const data of events(response)) {
      if (data === "[DONE]") {
        isWhole = true;
        break;
      }
      answer.take(JSON.parse(data));
      this.follow();
    }
    if (!isWhole && !answer.finish) throw new CallFailed("The stream ended before the answer did.", { code: "stream_cut" });
  }

  /** What the answer leaves behind: its turn, its cost from the call log, a word for readers of the screen. */
  async settled(answer) {
    if (answer.text) this.turns.push({ role: "assistant", content: answer.text });
    else this.turns.pop(); // nothing was answered: the question is sent again, not twice
    announce(
      answer.error ? `No complete answer: ${answer.error.message}` : answer.stopped ? "Stopped." : "The answer is complete.",
    );
    this.follow(true);
    this.explain();
    const id = answer.headers.id ?? answer.error?.requestId;
    for (let tries = 0; id && tries < LOOKED_UP && !answer.row && this.app.me.store !== "off"; tries++) {
      await waited(LOOKED_UP_MS);
      answer.row = await call("GET", `monitor/invocations/${encodeURIComponent(id)}`).catch(() => null);
    }
    answer.draw();
    this.follow();
  }

  /** Keeps the end in sight while the reader is there. */
  follow(always = false) {
    const { log } = this;
    if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 120) log.scrollTop = log.scrollHeight;
  }

  busy(isBusy) {
    this.stopButton.hidden = !isBusy;
    this.sendButton.hidden = isBusy;
    if (!isBusy && document.activeElement === document.body) this.text.focus();
    this.follow(true);
  }

  stop() {
    this.running?.abort();
  }

  clear() {
    this.stop();
    this.turns = [];
    this.nothingYet();
    this.text.focus();
  }
}
