// The forms of providers and models: add one, change it, take it back. The gateway keeps changes beside its file.
import { button, confirmed, toast } from "./dom.js";
import { shortened } from "./format.js";
import { call } from "./api.js";
import { PROVIDER_TYPES, UPSTREAMS } from "./protocols.js";
import { Form, choiceField, givenParts, limitFields, listField, numberField, sizeField, textField, windowed } from "./forms.js";

const YES_NO = [
  ["", "as its models say"],
  ["true", "yes"],
  ["false", "no"],
];
const PRICES = [
  ["input_usd_per_mtok", "Input"],
  ["output_usd_per_mtok", "Output"],
  ["cached_input_usd_per_mtok", "Input from a cache"],
  ["cache_write_usd_per_mtok", "Input written to a cache"],
];
const MERGED = ["settings", "config"]; // tables that are changed field by field

/** modelPath("openai", "a/b") -> "models/openai/a/b" */
export const modelPath = (provider, model) => `models/${[provider, ...model.split("/")].map(encodeURIComponent).join("/")}`;
export const providerPath = (name) => `providers/${encodeURIComponent(name)}`;

// ---------------------------------------------------------------------------------------------------------- providers

function providerGroups(given, isNew) {
  const fields = given.fields ?? {},
    settings = given.settings ?? {};
  const types = PROVIDER_TYPES.map(([name]) => [name, name]);
  const known = types.some(([name]) => name === given.type) || !given.type ? types : [[given.type, given.type], ...types];
  const type = choiceField("type", "Type", known, given.type || types[0]?.[0], { hint: "What is known about it is filled in." });
  const name = textField("name", "Name", given.name, {
    required: true,
    disabled: !isNew,
    hint: "The part of a model's name before the slash.",
  });
  const address = textField("base_url", "Address", fields.base_url, { type: "url", inputmode: "url" });
  const key = textField("api_key", "Key", "", {
    type: "password",
    autocomplete: "new-password",
    placeholder: given.has_key ? "stored; empty keeps it" : "",
    hint: "Kept in a file beside the configuration, and never shown again.",
  });
  const follow = () => {
    const [, url, needsKey] = PROVIDER_TYPES.find(([each]) => each === type.control.value) ?? [];
    address.control.placeholder = url || "needed";
    if (!given.has_key) key.control.placeholder = needsKey ? "needed" : "not needed";
    if (isNew && !name.isOwn) name.control.value = type.control.value;
  };
  type.control.addEventListener("change", follow);
  name.control.addEventListener("input", () => (name.isOwn = true));
  follow();
  const any = choiceField("any_model", "Takes names of models that are not listed", YES_NO, String(fields.any_model ?? ""));
  return [
    { fields: [type, name, key] },
    {
      title: "Address and protocol",
      isOpen: isNew || Boolean(fields.base_url),
      fields: [
        address,
        choiceField("api", "Protocol", [["", "that of its type"], ...UPSTREAMS], fields.api),
        { ...any, read: () => ({ true: true, false: false })[any.control.value] ?? null },
      ],
    },
    { title: "Rate limits", hint: "For all its models together.", fields: limitFields(given.limits) },
    {
      title: "Network",
      fields: [
        numberField("settings.timeout", "Timeout, seconds", settings.timeout),
        numberField("settings.first_output_timeout_s", "First output within, seconds", settings.first_output_timeout_s),
        textField("settings.proxy", "Proxy", settings.proxy),
      ],
    },
  ];
}

// ------------------------------------------------------------------------------------------------------------- models

function modelGroups(given, providers, isNew) {
  const config = given.config ?? {},
    names = providers.map((each) => [each.name, each.name]);
  const remote = given.remote_identifier === given.name ? "" : given.remote_identifier;
  return [
    {
      fields: [
        choiceField("provider", "Provider", names, given.provider_name ?? names[0]?.[0], { disabled: !isNew }),
        textField("name", "Name", given.name, {
          required: true,
          disabled: !isNew,
          hint: "As callers write it, alone or after PROVIDER/.",
        }),
        textField("remote_identifier", "Name at the provider", remote, { hint: "Empty: the same." }),
      ],
    },
    {
      title: "Prices",
      hint: "US dollars for a million tokens. Without them its calls have no cost, and no budget counts them.",
      isOpen: isNew,
      fields: PRICES.map(([name, label]) => numberField(`config.${name}`, label, config[name])),
    },
    {
      title: "Description and tags",
      fields: [
        textField("display_name", "Shown as", given.display_name),
        textField("description", "Description", given.description),
        listField("tags", "Tags", given.tags, { hint: "Separated by commas. Callers can request tag:NAME." }),
      ],
    },
    {
      title: "Size and abilities",
      fields: [
        sizeField("config.context_window", "Context window, tokens", config.context_window),
        sizeField("config.max_output_tokens", "Most output tokens", config.max_output_tokens, { placeholder: "8k" }),
        listField("config.modalities", "Reads", config.modalities, { placeholder: "text, image" }),
        numberField("config.priority", "Priority among models of a tag", config.priority, { min: null }),
      ],
    },
    { title: "Rate limits", fields: limitFields(given.limits) },
  ];
}

// ------------------------------------------------------------------------------------------------------------ sending

/** Without what is empty: what is not given is the gateway's own default. */
function givenOnly(value) {
  const isGiven = (each) => each !== null && each !== "";
  const found = Object.entries(value)
    .map(([name, each]) => [name, MERGED.includes(name) || name === "limits" ? givenParts(withoutEmpty(each)) : each])
    .filter(([, each]) => isGiven(each));
  const made = Object.fromEntries(found);
  return made.limits ? { ...made, limits: windowed(made.limits) } : made;
}

const withoutEmpty = (table) => Object.fromEntries(Object.entries(table).filter(([, each]) => each !== ""));

/** The changes of an entry: an empty field goes back to what the file says; limits are replaced whole. */
function patchOf(form) {
  const nulls = (table) => Object.fromEntries(Object.entries(table).map(([name, each]) => [name, each === "" ? null : each]));
  const changed = nulls(form.changed());
  for (const name of MERGED) if (changed[name]) changed[name] = nulls(changed[name]);
  if (changed.limits) changed.limits = windowed(givenParts(form.value().limits)) ?? {};
  return changed;
}

class EntryForm {
  constructor(view, { what, path, given, groups, list }) {
    Object.assign(this, { view, what, path, given });
    this.form = new Form({
      title: given ? `Edit ${shortened(given.id, 60)}` : `Add a ${what}`,
      word: given ? "Save" : `Add the ${what}`,
      groups,
      save: (form) => this.save(form, list),
      extra: given ? this.takeBack() : null,
      focus: groups[0].fields.find((each) => !each.control.disabled),
    });
  }

  /** What was added here can be removed, what was changed here can be as in the file again. */
  takeBack() {
    const { given, what } = this,
      name = shortened(given.id, 60),
      danger = { class: "danger-text" };
    if (given.source === "overlay") {
      const words = what === "provider" ? "It is removed with its models." : "It is no longer offered.";
      return button("Remove", () => this.remove(`Remove ${name}?`, `${words} Its calls stay in the log.`, "Remove", {}), danger);
    }
    if (!given.changed?.length) return null;
    const words = `These were changed here: ${given.changed.join(", ")}. They will be as in the configuration file.`;
    return button("Undo changes", () => this.remove(`Undo the changes of ${name}?`, words, "Undo", { only: "changes" }), danger);
  }

  async remove(title, text, word, query) {
    if (!(await confirmed(title, text, word))) return;
    try {
      await call("DELETE", this.path, { query });
      this.form.dialog.close();
      toast(word === "Undo" ? "Restored from the file." : `${shortened(this.given.id, 60)} is removed.`);
    } catch (error) {
      this.form.refused(error);
    }
    this.view.app.refresh();
  }

  async save(form, list) {
    const made = this.given
      ? await call("PATCH", this.path, { body: patchOf(form) })
      : await call("POST", list, { body: givenOnly(form.value()) });
    form.dialog.close();
    toast(`${shortened(made?.id ?? "It", 60)} is ${this.given ? "saved" : "added"}.`);
    this.view.app.refresh();
  }
}

export function providerForm(view, given = null) {
  const groups = providerGroups(given ?? {}, !given);
  return new EntryForm(view, { what: "provider", list: "providers", path: given ? providerPath(given.name) : "", given, groups });
}

export function modelForm(view, providers, given = null) {
  const groups = modelGroups(given ?? {}, providers, !given),
    path = given ? modelPath(given.provider_name, given.name) : "";
  return new EntryForm(view, { what: "model", list: "models", path, given, groups });
}
