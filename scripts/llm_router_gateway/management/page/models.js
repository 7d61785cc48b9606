// Models: availability, prices, health, and a switch for each.
import { ago, compact, count, milliseconds, percent, perMillion, seconds, shortened } from "./format.js";
import { badge, empty, failure, foreign, h, heading, loading, onChange, refill, select, table, toast, toggle } from "./dom.js";
import { call } from "./api.js";
import { go, here, link, viewLink } from "./address.js";
import { meter } from "./activity.js";

const STATES = {
  ok: ["ok", "good"],
  cooling: ["cooling down", "warn"],
  open: ["breaker open", "bad"],
  probe: ["to be probed", "warn"],
  probing: ["being probed", "warn"],
};
const LIMIT_WORDS = {
  max_requests: (value, all) =>
    `${count(value)} requests per ${(all.per_seconds ?? 60) === 60 ? "minute" : seconds(all.per_seconds)}`,
  burst_size: (value) => `burst ${count(value)}`,
  tokens_per_minute: (value) => `${compact(value)} tokens per minute`,
  max_concurrent: (value) => `${count(value)} at once`,
  queue: (value) => `queue ${count(value)}`,
  wait_s: (value) => `waits ${seconds(value)}`,
};

/** limitWords({max_requests: 60, per_seconds: 60}) -> "60 requests per minute" */
export function limitWords(limits) {
  return Object.entries(LIMIT_WORDS)
    .filter(([name]) => limits?.[name])
    .map(([name, word]) => word(limits[name], limits))
    .join(", ");
}

export function stateBadge(health) {
  const [text, kind] = STATES[health?.state] ?? [health?.state ?? "unknown", ""];
  return badge(health?.back_in_s > 0 ? `${text}, back in ${seconds(Math.ceil(health.back_in_s))}` : text, kind);
}

/** Whether a model's name, words or tags hold the text. */
function fits(model, text, tag) {
  const words = [model.name, model.display_name, model.description, ...(model.tags ?? [])].join(" ").toLowerCase();
  return (
    (!tag || model.tags?.includes(tag)) &&
    text
      .toLowerCase()
      .split(/\s+/)
      .every((word) => words.includes(word))
  );
}

const pathOf = (model) => `models/${[model.provider, ...model.model.split("/")].map(encodeURIComponent).join("/")}`;

export class ModelsView {
  constructor(root, app) {
    Object.assign(this, { root, app, data: null });
    const given = here();
    this.search = h("input", {
      type: "search",
      "aria-label": "Search the models",
      placeholder: "Search models…",
      value: given.q ?? "",
      autocomplete: "off",
      oninput: () => go(link({ q: this.search.value.trim() }), { replace: true }),
    });
    this.tags = h("div", {});
    this.body = h("div", { class: "stack" }, loading("Loading the models…"));
    root.append(
      h(
        "div",
        { class: "view-head" },
        h("h1", { tabindex: "-1" }, "Models"),
        h("div", { class: "toolbar" }, this.search, this.tags),
      ),
      this.body,
    );
    this.draw = onChange((...values) => this.fill(...values));
  }

  moved() {
    const given = here();
    if (document.activeElement !== this.search) this.search.value = given.q ?? "";
    if (this.data) this.draw(this.data, location.search);
  }

  async refresh() {
    this.data = await call("GET", "monitor/models");
    this.app.remember(this.data);
    this.draw(this.data, location.search);
  }

  failed(error, retry) {
    if (!this.data) refill(this.body, failure(error, retry));
  }

  fill({ models, groups, providers }) {
    const given = here(),
      tags = [...new Set(models.flatMap((model) => model.tags ?? []))].sort();
    refill(
      this.tags,
      tags.length
        ? select([["", "Any tag"], ...tags.map((tag) => [tag, tag])], given.tag ?? "", {
            "aria-label": "Tag",
            "data-key": "tag",
            onchange: (event) => go(link({ tag: event.target.value }), { replace: true }),
          })
        : null,
    );
    if (!models.length && !providers.length) {
      refill(
        this.body,
        empty(
          "No provider is configured.",
          h(
            "p",
            { class: "muted" },
            "Set a provider's key (OPENAI_API_KEY, for example), or write a router.toml: references/gateway-start.md shows a small one.",
          ),
        ),
      );
      return;
    }
    const health = new Map(models.map((model) => [model.name, model.health]));
    const found = models.filter((model) => fits(model, given.q ?? "", given.tag));
    refill(
      this.body,
      this.providers(providers, models),
      groups.length ? this.groups(groups, health) : null,
      this.models(found, models.length),
    );
  }

  // -- providers

  providers(providers, models) {
    return h(
      "section",
      {},
      h("h2", {}, "Providers"),
      h(
        "ul",
        { class: "cards" },
        providers.map((each) => {
          const own = models.filter((model) => model.provider === each.name).length;
          return h(
            "li",
            { class: `card${each.is_active ? "" : " is-off"}` },
            h(
              "div",
              { class: "card-head" },
              foreign(each.name, "strong"),
              toggle(
                `Provider ${each.name}`,
                each.is_active,
                (isOn, node) => this.switched("providers/" + encodeURIComponent(each.name), each.name, isOn, node),
                { "data-key": `provider:${each.name}` },
              ),
            ),
            h("p", { class: "muted clip" }, foreign(each.base_url)),
            h(
              "p",
              { class: "chips" },
              badge(each.api || each.type),
              each.has_key
                ? badge("key set", "good")
                : each.needs_key === false
                  ? badge("needs no key")
                  : badge("no key", "warn"),
              badge(`${count(own)} ${own === 1 ? "model" : "models"}`),
              each.source === "overlay" ? badge("added here") : null,
            ),
          );
        }),
      ),
    );
  }

  // -- groups

  groups(groups, health) {
    return h(
      "section",
      {},
      h("h2", {}, "Groups"),
      h(
        "ul",
        { class: "cards wide-cards" },
        groups.map((group) => {
          const sum = group.members.reduce((all, member) => all + (member.effective_weight ?? 0), 0);
          return h(
            "li",
            { class: "card" },
            h(
              "div",
              { class: "card-head" },
              foreign(group.name, "strong"),
              h(
                "span",
                { class: "chips" },
                badge(group.strategy),
                h(
                  "a",
                  { href: viewLink("try", { model: group.name }) },
                  "Try it",
                  h("span", { class: "unseen" }, ` with ${shortened(group.name, 60)}`),
                ),
              ),
            ),
            group.description ? h("p", { class: "muted" }, foreign(group.description)) : null,
            table(
              `Members of ${shortened(group.name, 60)}`,
              [heading("Member"), heading("Share", "number"), heading("Weight", "number"), heading("State")],
              group.members.map((member) => this.member(member, sum, health.get(member.model))),
              { frame: "bare" },
            ),
            group.fallbacks?.length
              ? h(
                  "p",
                  { class: "muted" },
                  "Then: ",
                  group.fallbacks.map((name, index) => [index ? ", " : "", foreign(name)]),
                )
              : null,
          );
        }),
      ),
    );
  }

  member(member, sum, health) {
    const share = sum ? (member.effective_weight ?? 0) / sum : 0;
    const isLess = member.effective_weight !== null && member.effective_weight !== member.weight;
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        foreign(shortened(member.model, 90)),
        member.priority ? h("span", { class: "muted" }, ` priority ${member.priority}`) : null,
        member.selector ? h("code", { class: "selector" }, foreign(shortened(member.selector, 200))) : null,
      ),
      h("td", { class: "number" }, percent(share), meter(share)),
      h(
        "td",
        { class: "number" },
        compact(member.effective_weight),
        isLess ? h("span", { class: "muted" }, ` of ${compact(member.weight)}`) : null,
      ),
      h("td", {}, stateBadge(health)),
    );
  }

  // -- models

  models(found, all) {
    return h(
      "section",
      {},
      h(
        "div",
        { class: "panel-head" },
        h("h2", {}, "Models"),
        h("p", { class: "muted" }, found.length === all ? `${count(all)} in all` : `${count(found.length)} of ${count(all)}`),
      ),
      found.length
        ? table(
            "Models",
            [
              heading("On"),
              heading("Model"),
              heading("Context", "number wide-only"),
              heading("Price in / out", "number wide-only"),
              heading("Health"),
              heading("Latency", "number wide-only"),
              heading("Limits", "wider-only"),
              h("th", {}, h("span", { class: "unseen" }, "Try it")),
            ],
            found.map((model) => this.model(model)),
            { class: "models" },
          )
        : empty("No model fits.", h("a", { class: "button", href: viewLink("models") }, "Show all models")),
    );
  }

  model(model) {
    const health = model.health ?? {};
    return h(
      "tr",
      { class: model.is_active ? "" : "is-off" },
      h(
        "td",
        {},
        toggle(
          `Model ${shortened(model.name, 90)}`,
          model.is_active,
          (isOn, node) => this.switched(pathOf(model), model.name, isOn, node),
          { "data-key": `model:${model.name}` },
        ),
      ),
      h(
        "th",
        { scope: "row", class: "model-cell" },
        foreign(shortened(model.name, 200), "strong"),
        model.display_name && model.display_name !== model.model
          ? h("span", { class: "muted" }, " ", foreign(shortened(model.display_name, 90)))
          : null,
        model.description ? h("p", { class: "muted clip-2" }, foreign(shortened(model.description, 300))) : null,
        h(
          "p",
          { class: "chips" },
          (model.tags ?? []).map((tag) => h("a", { class: "chip", href: link({ tag }) }, foreign(tag))),
          (model.modalities ?? []).filter((each) => each !== "text").map((each) => badge(each)),
          model.source === "overlay" ? badge("added here") : null,
        ),
      ),
      h(
        "td",
        { class: "number wide-only" },
        compact(model.context_window),
        model.max_output_tokens ? h("span", { class: "muted block" }, `${compact(model.max_output_tokens)} out`) : null,
      ),
      h(
        "td",
        { class: "number wide-only" },
        model.prices
          ? [
              `${perMillion(model.prices.input)} / ${perMillion(model.prices.output)}`,
              h(
                "span",
                { class: "muted block" },
                model.prices.cached_input != null ? `cached ${perMillion(model.prices.cached_input)}` : "per million",
              ),
            ]
          : "–",
      ),
      h(
        "td",
        {},
        model.is_active ? (model.provider_is_active === false ? badge("provider off") : stateBadge(health)) : badge("off"),
        health.factor !== undefined && health.factor < 1
          ? h("span", { class: "muted block" }, `weight × ${percent(health.factor)}`)
          : null,
        health.active ? h("span", { class: "muted block" }, `${count(health.active)} under way`) : null,
        health.consecutive_failures
          ? h("span", { class: "muted block" }, `${count(health.consecutive_failures)} failed in a row`)
          : null,
        health.last_error ? h("span", { class: "muted block" }, foreign(shortened(lastError(health.last_error), 160))) : null,
      ),
      h("td", { class: "number wide-only" }, health.latency_s == null ? "–" : milliseconds(health.latency_s * 1000)),
      h("td", { class: "wider-only muted" }, limitWords(model.limits) || "none"),
      h(
        "td",
        {},
        h(
          "a",
          { href: viewLink("try", { model: model.name }), "data-key": `try:${model.name}` },
          "Try it",
          h("span", { class: "unseen" }, ` with ${shortened(model.name, 60)}`),
        ),
      ),
    );
  }

  async switched(path, name, isOn, node) {
    node.setAttribute("aria-checked", String(isOn));
    try {
      await call("PATCH", path, { body: { is_active: isOn } });
      toast(`${shortened(name, 60)} is ${isOn ? "on" : "off"}.`);
    } catch (error) {
      node.setAttribute("aria-checked", String(!isOn));
      toast(`${shortened(name, 60)}: ${error.message} ${error.step}`, "error");
    }
    this.app.refresh();
  }
}

/** The last error is a text, or what happened when. */
function lastError(value) {
  if (typeof value === "string") return value;
  return [value.code ?? value.status, value.message, value.at ? ago(value.at) : ""].filter(Boolean).join(" ");
}
