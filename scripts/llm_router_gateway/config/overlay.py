"""Changes to providers and models made through the API, as an overlay over the configuration file. Pure.

    overlay = read_overlay({"format": 1, "providers": {"openai": {"state": "changed", "fields": {"is_active": False}}}})
    merged = merge(document, overlay)        -> Merged: the document that `config.parse` reads, and what came from where
    merged.path("providers[2].base_url")     -> "providers.mine.base_url" where that is the overlay's, else the file's path
    overlay = change_entry(overlay, "openai", {"is_active": None}, in_file=True)    null takes the file's value back

Entries are named as callers name them: "openai" is a provider, "openai/gpt-4.1" a model. The file is never written: what the
API removes from it is kept as "removed". An entry that no longer fits the file is a note.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .config import listed_providers
from .kinds import MODEL_NAME, NAME
from .presets import PARTS
from .reader import ConfigError, Problem

FORMAT = 1
ADDED, CHANGED, REMOVED = "added", "changed", "removed"
MERGED = frozenset({"settings", "config"})  # tables whose keys are laid over one by one; any other value is replaced whole
# Ways of saying the same: what the overlay says in one of them hides what the file says in another.
RIVALS = (
    frozenset({"api_key", "api_key_env", "api_key_file", "api_key_command"}),
    *(frozenset({"base_url", part}) for part in PARTS),
    frozenset({"limits", "rate_limit"}),
    frozenset({"config.input_usd_per_mtok", "config.cost_per_1k_tokens"}),
    frozenset({"config.output_usd_per_mtok", "config.cost_per_1k_completion_tokens"}),
    frozenset({"config.modalities", "config.supports_vision"}),
)
LISTED = re.compile(r"(.*?(?:providers|models)\[\d+\])(.*)", re.DOTALL)  # a place in a list, and what is behind it

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What was done to one provider or model: its state, and the fields as the file would hold them."""

    state: str
    fields: Fields = field(default_factory=dict)


Overlay = Mapping[str, Entry]
NOTHING: Overlay = {}


def kind_of(name: str) -> str:
    """kind_of("openai") -> "providers"; kind_of("openai/gpt") -> "models"."""
    return "models" if "/" in name else "providers"


def is_name(name: str) -> bool:
    owner, slash, model = name.partition("/")
    return NAME.fullmatch(owner) is not None and (not slash or MODEL_NAME.fullmatch(model) is not None)


# ------------------------------------------------------------------------------------------------------------ the file


def read_overlay(value: object) -> Overlay:
    """The overlay in a JSON value; ValueError names the fault without repeating a value."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f'it is not an object with "format": {FORMAT}')
    entries: dict[str, Entry] = {}
    for kind in ("providers", "models"):
        tables = value.get(kind, {})
        if not isinstance(tables, dict):
            raise ValueError(f"{kind} is not an object")
        for name, table in tables.items():
            entries[name] = read_entry(kind, name, table)
    return entries


def read_entry(kind: str, name: str, table: object) -> Entry:
    if not is_name(name) or kind_of(name) != kind:
        raise ValueError(f"{kind} has an entry whose name cannot be one")
    if not isinstance(table, dict) or table.get("state") not in (ADDED, CHANGED, REMOVED):
        raise ValueError(f"{kind}.{name} has no state")
    fields = table.get("fields", {})
    if not isinstance(fields, dict) or {"name", "provider"} & fields.keys():
        raise ValueError(f"{kind}.{name} has no proper fields")
    return Entry(table["state"], fields)


def overlay_json(overlay: Overlay) -> dict[str, Any]:
    """The JSON value of an overlay."""
    kinds: dict[str, dict[str, Any]] = {"providers": {}, "models": {}}
    for name, entry in overlay.items():
        kinds[kind_of(name)][name] = {"state": entry.state, **({"fields": dict(entry.fields)} if entry.fields else {})}
    return {"format": FORMAT, **kinds}


# --------------------------------------------------------------------------------------------------------- laying over


def alternatives(path: str) -> Iterator[str]:
    """alternatives("limits") -> "rate_limit"."""
    for group in RIVALS:
        if path in group:
            yield from group - {path}


def lay_over(table: Fields, over: Fields) -> dict[str, Any]:
    """`table` with the fields of `over`; those of the tables in MERGED one by one."""
    made = {name: value for name, value in table.items() if not any(name in alternatives(other) for other in over)}
    for name, value in over.items():
        below = made.get(name)
        if name in MERGED and isinstance(value, dict) and isinstance(below, dict):
            hidden = {rival for key in value for rival in alternatives(f"{name}.{key}")}
            value = {key: item for key, item in below.items() if f"{name}.{key}" not in hidden} | value
        made[name] = value
    return made


def patch_fields(fields: Fields, patch: Fields) -> dict[str, Any]:
    """The overlay's fields after a PATCH: null takes one out, so that the file's is back.

    patch_fields({"settings": {"timeout": 5}}, {"is_active": False, "settings": {"timeout": None}})  -> {"is_active": False}
    """
    kept = dict(fields)
    for name, value in patch.items():
        if name in MERGED and isinstance(value, dict) and isinstance(kept.get(name, {}), dict):
            nulls = {key for key, item in value.items() if item is None}
            table = lay_over({name: kept.get(name, {})}, {name: {key: item for key, item in value.items() if key not in nulls}})
            value = {key: item for key, item in table[name].items() if key not in nulls} or None
        kept.pop(name, None)
        if value is not None:
            kept = lay_over(kept, {name: value})
    return kept


def models_of(overlay: Overlay, provider: str) -> set[str]:
    return {name for name in overlay if name.startswith(f"{provider}/")}


def without(overlay: Overlay, names: set[str]) -> dict[str, Entry]:
    return {name: entry for name, entry in overlay.items() if name not in names}


def add_entry(overlay: Overlay, name: str, fields: Fields) -> Overlay:
    return {**overlay, name: Entry(ADDED, patch_fields({}, fields))}


def change_entry(overlay: Overlay, name: str, patch: Fields) -> Overlay:
    """The overlay after a PATCH. An entry without changes is dropped, unless it was added."""
    entry = overlay.get(name, Entry(CHANGED))
    made = Entry(entry.state, patch_fields(entry.fields, patch))
    return {**overlay, name: made} if made.fields or made.state == ADDED else without(overlay, {name})


def remove_entry(overlay: Overlay, name: str, *, in_file: bool) -> Overlay:
    """The overlay without an entry; a provider's models go with it."""
    rest = without(overlay, {name} | models_of(overlay, name))
    return {**rest, name: Entry(REMOVED)} if in_file else rest


def forget_entry(overlay: Overlay, name: str, *, in_file: bool) -> Overlay:
    """The overlay without the changes to an entry: the file's version applies again."""
    return without(overlay, {name}) if in_file else remove_entry(overlay, name, in_file=False)


# -------------------------------------------------------------------------------------------------------------- merging


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table of the merged document comes from."""

    path: str  # in the file; "" when it has none
    name: str
    entry: Entry | None = None


@dataclass(slots=True)
class Merged:
    """A document with an overlay over it."""

    document: dict[str, Any]
    places: dict[str, Place] = field(default_factory=dict)  # by place in the merged document
    tables: dict[str, Fields] = field(default_factory=dict)  # by name, as merged
    notes: list[str] = field(default_factory=list)
    unfit: set[str] = field(default_factory=set)  # entries that have nothing to be laid over
    sources: list[tuple[str, str]] = field(default_factory=list)

    def path(self, path: str) -> str:
        """The place of a problem as its author knows it: in the file, or in the overlay ("providers.NAME.field")."""
        match = LISTED.fullmatch(path)
        place = self.places.get(match[1]) if match else None
        if match is None or place is None:
            return path
        if place.entry is not None and (not place.path or says(place.entry, match[2])):
            return f"{kind_of(place.name)}.{place.name}{match[2]}"
        return place.path + match[2]

    def problems(self, error: ConfigError) -> list[Problem]:
        return [Problem(self.path(problem.path), problem.text) for problem in error.problems]


def says(entry: Entry, rest: str) -> bool:
    """Whether the overlay sets the field at ".settings.timeout" of an entry."""
    first, _, others = rest.removeprefix(".").partition(".")
    name = first.partition("[")[0]
    if entry.state == ADDED or not name:
        return True
    if name not in entry.fields:
        return False
    value, key = entry.fields[name], others.partition(".")[0].partition("[")[0]
    return name not in MERGED or not key or not isinstance(value, dict) or key in value


def name_in(table: Fields, owner: str = "") -> str:
    """name_in({"name": "gpt", "provider": "openai"}) -> "openai/gpt"; `owner` is that of [[OWNER.models]]."""
    return f"{table.get('provider') or owner}/{table.get('name')}"


def nested_tables(document: Fields) -> list[str]:
    """The keys of [[PROVIDER.models]]."""
    return [key for key, table in document.items() if isinstance(table, dict) and isinstance(table.get("models"), list)]


def names_of(document: Fields) -> set[str]:
    """Every provider and model that the file has."""
    return set(merge(document, NOTHING).tables)


def merge(document: Fields, overlay: Overlay) -> Merged:
    """The document with the overlay over it. Malformed parts of the file stay, for `config` to report."""
    made = Merged(dict(document))
    lists = [("providers", "", document.get("providers", []))]
    lists += [("models", "", document.get("models", []))]
    lists += [(f"{key}.models", key, document[key]["models"]) for key in nested_tables(document)]
    for path, owner, tables in lists:
        if not isinstance(tables, list):
            continue
        kept = merge_list(made, overlay, path, owner, tables)
        if owner:
            made.document[owner] = {**document[owner], "models": kept}
        elif kept or path in document:
            made.document[path] = kept
    for name, entry in sorted(overlay.items(), key=lambda each: kind_of(each[0]) == "models"):  # providers first
        merge_rest(made, name, entry)
        made.sources += sources_of(name, entry)
    for owner in nested_tables(document):
        if is_removed(overlay, owner):
            del made.document[owner]  # or it would be an unknown table
    keep_open(made, document, overlay)
    return made


def merge_list(made: Merged, overlay: Overlay, path: str, owner: str, tables: Sequence[Any]) -> list[Any]:
    """One list of the file, with the overlay's removals and changes."""
    kept: list[Any] = []
    for index, table in enumerate(tables):
        place = Place(f"{path}[{index}]", "")
        if isinstance(table, dict):
            name = str(table.get("name")) if path == "providers" else name_in(table, owner)
            entry = overlay.get(name)
            if is_removed(overlay, name):
                continue
            if entry is not None and entry.state == ADDED:
                made.notes.append(f"{path}[{index}]: {name} was also added through the API, and that entry counts")
                table = whole(name, entry)
            elif entry is not None:
                table = lay_over(table, entry.fields)
            place = Place(place.path, name, entry)
            made.tables.setdefault(name, table)
        made.places[f"{path}[{len(kept)}]"] = place
        kept.append(table)
    return kept


def is_removed(overlay: Overlay, name: str) -> bool:
    """Whether the entry or its provider was removed."""
    return any(each in overlay and overlay[each].state == REMOVED for each in (name, name.partition("/")[0]))


def whole(name: str, entry: Entry) -> dict[str, Any]:
    """The table of an entry that was added."""
    owner, slash, model = name.partition("/")
    return {"name": model, "provider": owner, **entry.fields} if slash else {"name": owner, **entry.fields}


def merge_rest(made: Merged, name: str, entry: Entry) -> None:
    """Adds the entries that the file does not have."""
    kind, owner = kind_of(name), name.partition("/")[0]
    tables = made.document.setdefault(kind, []) if entry.state == ADDED else []
    if name in made.tables or entry.state == REMOVED or not isinstance(tables, list):
        return
    if entry.state == CHANGED or (kind == "models" and owner not in made.tables):
        missing = name if entry.state == CHANGED else owner
        made.unfit.add(name)
        made.notes.append(f"{name} was {entry.state} through the API, and the file has no {missing}: the change waits for it")
        return
    made.places[f"{kind}[{len(tables)}]"] = Place("", name, entry)
    made.tables[name] = whole(name, entry)
    made.document[kind] = [*tables, made.tables[name]]


def sources_of(name: str, entry: Entry) -> Iterator[tuple[str, str]]:
    """("providers.openai.is_active", "overlay"), for --print-config."""
    path = f"{kind_of(name)}.{name}"
    if entry.state != CHANGED:
        yield path, f"overlay: {entry.state}"
        return
    for key, value in entry.fields.items():
        yield f"{path}.{key}", "overlay"
        if key in MERGED and isinstance(value, dict):
            yield from ((f"{path}.{key}.{inner}", "overlay") for inner in value)


def keep_open(made: Merged, document: Fields, overlay: Overlay) -> None:
    """The file decides whether a provider accepts any name: adding or removing a model does not change it."""
    listed = listed_providers(document)
    touched = {name.partition("/")[0] for name in overlay if "/" in name}
    tables = made.document.get("providers")
    for index, table in enumerate(tables if isinstance(tables, list) else ()):
        if isinstance(table, dict) and "any_model" not in table and table.get("name") in touched:
            made.document["providers"][index] = {**table, "any_model": table["name"] not in listed}
