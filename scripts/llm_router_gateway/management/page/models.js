// Models: availability, prices, health, weights as they are now, a switch and a form for each.
import { ago, compact, count, milliseconds, percent, perMillion, seconds, shortened } from "./format.js";
import { causeWords, errorWords, stateWords } from "./words.js";
import { badge, button, empty, failure, foreign, h, heading, loading, onChange, refill, select, table, toast, toggle } from "./dom.js";
import { call } from "./api.js";
import { go, here, link, viewLink } from "./address.js";
import { modelForm, modelPath, providerForm, providerPath } from "./entries.js";
import { meter } from "./activity.js";

const MEMBERSHIPS = 3; // groups whose weights are shown beside a model
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
  const { text, kind, more } = stateWords(health?.state);
  const words = health?.back_in_s > 0 ? `${text}, back in ${seconds(Math.ceil(health.back_in_s))}` : text;
  return badge(words, kind, [health?.state, more].filter(Boolean).join(": "));
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

/** weightsOf("openai/gpt-x", groups) -> [{group, now, of}, ...]: what it weighs where it is a member */
function weightsOf(name, groups) {
  return groups.flatMap((group) =>
    group.members
      .filter((member) => member.model === name)
      .map((member) => ({ group: group.name, now: member.effective_weight, of: member.weight })),
  );
}

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
        h(
          "div",
          { class: "toolbar" },
          this.search,
          this.tags,
          button("Add a provider", () => providerForm(this), { icon: "plus" }),
          button("Add a model", () => this.addModel(), { icon: "plus" }),
        ),
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
            "Add one here, set a provider's key (OPENAI_API_KEY, for example), or write a router.toml: references/gateway-start.md shows a small one.",
          ),
          button("Add the first provider", () => providerForm(this), { class: "primary" }),
        ),
      );
      return;
    }
    const found = models.filter((model) => fits(model, given.q ?? "", given.tag));
    refill(
      this.body,
      this.providers(providers, models),
      groups.length ? this.groups(groups) : null,
      this.models(found, models.length, groups),
    );
  }

  addModel() {
    if (this.data?.providers.length) modelForm(this, this.data.providers);
    else toast("A model needs a provider: add that first.", "error");
  }

  /** The form of what is there, with all that the gateway knows of it. */
  async edit(what, name) {
    try {
      if (what === "provider") providerForm(this, await call("GET", providerPath(name)));
      else {
        const all = await call("GET", "models", { query: { include_inactive: "1" } });
        const found = all.find((each) => each.id === name);
        if (found) modelForm(this, this.data.providers, found);
        else toast(`${shortened(name, 60)} is gone.`, "error");
      }
    } catch (error) {
      toast(`${error.message} ${error.step}`, "error");
    }
  }

  editButton(what, name) {
    return button("Edit", () => this.edit(what, name), {
      class: "small",
      "aria-label": `Edit ${what} ${shortened(name, 60)}`,
      "data-key": `edit:${what}:${name}`,
    });
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
              h("span", { class: "grow" }),
              this.editButton("provider", each.name),
              toggle(
                `Provider ${each.name}`,
                each.is_active,
                (isOn, node) => this.switched(providerPath(each.name), each.name, isOn, node),
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
              each.source === "overlay" ? badge("added here") : each.changed?.length ? badge("changed here") : null,
            ),
          );
        }),
      ),
    );
  }

  // -- groups

  groups(groups) {
    return h(
      "section",
      {},
      h("h2", {}, "Groups"),
      h(
        "ul",
        { class: "cards wide-cards" },
        groups.map((group) => {
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
              [heading("Member"), heading("First choice for"), heading("Weight now", "number"), heading("State")],
              group.members.map((member) => this.member(member)),
              { frame: "bare", class: "members stacked" },
            ),
            group.fallbacks?.length
              ? h(
                  "p",
                  { class: "muted" },
                  badge("fallback"),
                  " Only if all of these fail: ",
                  group.fallbacks.map((name, index) => [index ? ", then " : "", foreign(name)]),
                )
              : null,
          );
        }),
      ),
    );
  }

  member(member) {
    const isLess = member.effective_weight !== member.weight;
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        foreign(shortened(member.model, 90)),
        member.priority ? h("span", { class: "muted nowrap" }, ` priority ${member.priority}`) : null,
        member.selector ? h("code", { class: "selector" }, foreign(shortened(member.selector, 200))) : null,
      ),
      h("td", { "data-label": "First choice for" }, shareOf(member)),
      h(
        "td",
        { class: "number", "data-label": "Weight now" },
        compact(member.effective_weight),
        isLess ? h("span", { class: "muted" }, ` of ${compact(member.weight)}`) : null,
      ),
      h("td", { "data-label": "State" }, stateBadge(member)),
    );
  }

  // -- models

  models(found, all, groups) {
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
              h("th", {}, h("span", { class: "unseen" }, "Actions")),
            ],
            found.map((model) => this.model(model, groups)),
            { class: "models" },
          )
        : empty("No model matches.", h("a", { class: "button", href: viewLink("models") }, "Show all models")),
    );
  }

  model(model, groups) {
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
          (isOn, node) => this.switched(modelPath(model.provider, model.model), model.name, isOn, node),
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
          model.source === "overlay" ? badge("added here") : model.changed?.length ? badge("changed here") : null,
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
        model.is_active ? this.weights(model, health, groups) : null,
        health.active ? h("span", { class: "muted block" }, `${count(health.active)} in progress`) : null,
        health.consecutive_failures
          ? h("span", { class: "muted block" }, `${count(health.consecutive_failures)} failed in a row`)
          : null,
        health.last_error ? h("span", { class: "muted block", title: lastError(health.last_error) }, "Last: ", foreign(shortened(causeOf(health.last_error), 160))) : null,
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
        " ",
        this.editButton("model", model.name),
      ),
    );
  }

  /** What it weighs now in its groups, where that is not what is configured; in none, what its failures have left. */
  weights(model, health, groups) {
    const found = weightsOf(model.name, groups),
      changed = found.filter((each) => each.now !== each.of);
    if (!found.length && health.factor < 1) return h("span", { class: "muted block" }, `${percent(health.factor)} of its weight`);
    const more = changed.length - MEMBERSHIPS;
    return [
      changed
        .slice(0, MEMBERSHIPS)
        .map((each) =>
          h(
            "span",
            { class: "block" },
            `weight ${compact(each.now)} now, not ${compact(each.of)}`,
            h("span", { class: "muted" }, " in ", foreign(shortened(each.group, 60))),
          ),
        ),
      more > 0 ? h("span", { class: "muted block" }, `and in ${count(more)} more groups`) : null,
    ];
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

/** "85%", or that it is a fallback: a member that only answers when the others fail has no share of its own. */
export function shareOf(member) {
  const share = member.share ?? 0;
  if (!member.is_fallback) return [percent(share), meter(share)];
  const words = share ? `${percent(share)} now, as the others cannot` : "only if the others fail";
  return [badge("fallback", share ? "warn" : ""), h("span", { class: "muted block" }, words)];
}

/** The last error is a text, or what happened when. */
function lastError(value) {
  if (typeof value === "string") return value;
  return [value.code ?? value.status, value.message, value.at ? ago(value.at) : ""].filter(Boolean).join(" ");
}

/** The same in plain words. */
function causeOf(value) {
  return typeof value === "string" ? causeWords(value) : lastError({ ...value, code: value.code ? errorWords(value.code) : null });
}
