"""The list of models, in the shape of each protocol. Pure: Config (and what upstreams told) -> JSON values.

    entries(routes, {"ollama": ("llama9",)})  -> [Entry("openai/gpt-4.1", ...), Entry("ollama/llama9", ...)]
    SHAPES["anthropic"].listing(entries, {"limit": "20"})  -> {"data": [...], "has_more": False, ...}

A list holds names that a call accepts as they are. What the configuration does not know is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config.config import Model
from ..config.groups import Group
from ..errors import BadRequest, UnknownModel
from ..routing.permissions import Rights
from ..routing.plan import Table
from ..routing.resolve import Routes

PAGE = {"anthropic": 20, "gemini": 50}  # entries when the caller names no number, as at the vendors
MAX_PAGE = 1_000
GROUPS_OWNER = "llm-router"
NO_DATE = "1970-01-01T00:00:00Z"  # the vendors' word for "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model that can be asked for as `name`, or as `bare` where nobody else has that name."""

    name: str
    bare: str
    owner: str
    model: Model | None = None

    @property
    def short(self) -> str:
        return self.bare or self.name


def entries(
    routes: Routes, live: Mapping[str, Sequence[str]] | None = None, table: Table | None = None
) -> list[Entry]:
    """The groups, every listed model, then what providers without a list said they have."""
    groups = table.groups if table else ()
    found = {group.name: Entry(group.name, group.name, GROUPS_OWNER, shared(table, group)) for group in groups}
    for name, candidate in routes.full.items():
        bare = name.partition("/")[2]
        alone = len(routes.bare.get(bare, ())) == 1 and bare not in found
        found[name] = Entry(name, bare if alone else "", candidate.provider.name, candidate.model)
    for owner, names in (live or {}).items():
        for bare in names:
            mine = bool(routes.open[owner].families) and bare.startswith(routes.open[owner].families)
            found.setdefault(f"{owner}/{bare}", Entry(f"{owner}/{bare}", bare if mine else "", owner))
    return list(found.values())


def for_key(found: Sequence[Entry], rights: Rights | None, table: Table) -> list[Entry]:
    """Those that a caller's key may ask for; of groups, those with a member that is for it."""
    if rights is None:
        return list(found)
    return [entry for entry in found if is_for(entry, rights, table)]


def is_for(entry: Entry, rights: Rights, table: Table) -> bool:
    if entry.name not in table.chains:
        return rights.lists(entry.name, entry.model.tags if entry.model else ())
    targets = [target for pool in table.chains[entry.name] for target in pool.targets if target.candidate is not None]
    reasons = [rights.why_not(target.candidate) for target in targets if target.candidate is not None]
    return rights.key.may_group(entry.name) and not (reasons and all(reasons))


def shared(table: Table | None, group: Group) -> Model:
    """What can be said of a group: what its members have in common, the smallest of their sizes."""
    targets = table.chains[group.name][0].targets if table else ()
    models = [target.candidate.model for target in targets if target.candidate]
    known = [model for model in models if model is not None]
    known = known if len(known) == len(models) else []
    return Model(
        name=group.name, provider=GROUPS_OWNER, remote_id=group.name, endpoint="", display_name="",
        description=group.description, is_active=True, tags=common([model.tags for model in known]),
        context_window=smallest([model.context_window for model in known]),
        max_output_tokens=smallest([model.max_output_tokens for model in known]),
        modalities=common([model.modalities for model in known]),
        supports_tools=known[0].supports_tools if len({model.supports_tools for model in known}) == 1 else None,
        input_usd_per_mtok=None, output_usd_per_mtok=None, cached_input_usd_per_mtok=None, extra={},
    )  # fmt: skip


def common(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What all of them hold: common([("a", "b"), ("b",)]) -> ("b",)."""
    return tuple(each for each in lists[0] if all(each in other for other in lists)) if lists else ()


def smallest(sizes: Sequence[int | None]) -> int | None:
    """None when any of them is not known."""
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


def names_in(listing: object) -> tuple[str, ...]:
    """The model names in an upstream's own list, of any protocol; () when it is none.

    names_in({"data": [{"id": "a"}]}) -> ("a",); names_in({"models": [{"name": "models/b"}]}) -> ("b",)
    """
    if not isinstance(listing, dict):
        return ()
    items = listing.get("data") or listing.get("models") or ()
    names = [item.get("id") or item.get("name") for item in items if isinstance(item, dict)] if items else []
    return tuple(name.removeprefix("models/") for name in names if isinstance(name, str) and name)


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that nothing is known of."""
    return {name: value for name, value in values.items() if value not in (None, "", (), {}, [])}


def openai_entry(entry: Entry) -> dict[str, Any]:
    """OpenAI's four fields, and the further ones that editors read (in OpenRouter's spelling)."""
    head = {"id": entry.name, "object": "model", "created": 0, "owned_by": entry.owner}
    model = entry.model
    if model is None:
        return head
    price = {"prompt": model.input_usd_per_mtok, "completion": model.output_usd_per_mtok,
             "input_cache_read": model.cached_input_usd_per_mtok}  # fmt: skip
    return head | present({
        "name": model.display_name, "description": model.description, "context_length": model.context_window,
        "max_output_tokens": model.max_output_tokens, "supports_tools": model.supports_tools,
        "architecture": present({"input_modalities": list(model.modalities)}),
        "pricing": {name: per_token(usd) for name, usd in price.items() if usd is not None},
        "tags": list(model.tags), **model.extra,
    } | head)  # fmt: skip


def per_token(usd_per_mtok: float) -> str:
    """US dollars a token as text, without an exponent: per_token(2.5) -> "0.0000025"."""
    return f"{usd_per_mtok / 1_000_000:.12f}".rstrip("0").rstrip(".") or "0"


def anthropic_entry(entry: Entry) -> dict[str, Any]:
    model = entry.model
    head = {"type": "model", "id": entry.short, "created_at": NO_DATE,
            "display_name": (model and model.display_name) or entry.short}  # fmt: skip
    known = {"max_input_tokens": model.context_window, "max_tokens": model.max_output_tokens} if model else {}
    return head | present(known)


def gemini_entry(entry: Entry) -> dict[str, Any]:
    model = entry.model
    head = {
        "name": f"models/{entry.name}", "version": "1", "displayName": (model and model.display_name) or entry.name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }  # fmt: skip
    if model is None:
        return head
    return head | present({
        "description": model.description, "inputTokenLimit": model.context_window,
        "outputTokenLimit": model.max_output_tokens,
    })  # fmt: skip


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A page size or place from the query: 1 to 1,000."""
    try:
        return max(1, min(int(query.get(name) or default), MAX_PAGE))
    except ValueError:
        raise BadRequest(f"{name} is not a number", details={"path": name}) from None


def openai_listing(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    return {"object": "list", "data": [openai_entry(entry) for entry in found]}


def anthropic_listing(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    """A page between after_id and before_id."""
    ids = [entry.short for entry in found]
    limit = number(query, "limit", PAGE["anthropic"])
    start = ids.index(query["after_id"]) + 1 if query.get("after_id") in ids else 0
    stop = ids.index(query["before_id"]) if query.get("before_id") in ids else len(ids)
    if query.get("before_id") and not query.get("after_id"):
        start = max(start, stop - limit)
    page = [anthropic_entry(entry) for entry in found[start : min(stop, start + limit)]]
    return {"data": page, "has_more": start + len(page) < stop,
            "first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}  # fmt: skip


def gemini_listing(found: Sequence[Entry], query: Mapping[str, str]) -> dict[str, Any]:
    """A page from pageToken, which is the place of its first entry."""
    size = number(query, "pageSize", PAGE["gemini"])
    token = query.get("pageToken", "")
    start = int(token) if token.isascii() and token.isdigit() and len(token) < 8 else 0
    page: dict[str, Any] = {"models": [gemini_entry(entry) for entry in found[start : start + size]]}
    return page | ({"nextPageToken": str(start + size)} if start + size < len(found) else {})


@dataclass(frozen=True, slots=True)
class Shape:
    entry: Callable[[Entry], dict[str, Any]]
    listing: Callable[[Sequence[Entry], Mapping[str, str]], dict[str, Any]]


SHAPES: Mapping[str, Shape] = {
    "openai": Shape(openai_entry, openai_listing),
    "anthropic": Shape(anthropic_entry, anthropic_listing),
    "gemini": Shape(gemini_entry, gemini_listing),
}


def one(found: Sequence[Entry], name: str) -> Entry:
    """The entry of a name, full or short; UnknownModel when there is none."""
    name = name.removeprefix("models/")
    for entry in found:
        if name in (entry.name, entry.short):
            return entry
    raise UnknownModel(f"no model {name[:200]!r}; GET /v1/models lists what there is")
