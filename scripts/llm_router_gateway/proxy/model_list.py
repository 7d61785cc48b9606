"""The models that there are to be asked for. Pure: Config (and what upstreams told) -> entries.

    entries(routes, {"ollama": ("llama9",)})  -> [Entry("openai/gpt-4.1", ...), Entry("ollama/llama9", ...)]
    wire("openai").list_models(entries, {})   -> {"object": "list", "data": [...]}   each protocol writes them in its way

A list holds names that a call accepts as they are. What the configuration does not know is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config.config import Model
from ..config.groups import Group
from ..errors import UnknownModel
from ..routing.permissions import Rights
from ..routing.plan import Table
from ..routing.resolve import Routes
from ..wire.listing import Entry

GROUPS_OWNER = "llm-router"


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


def one(found: Sequence[Entry], name: str) -> Entry:
    """The entry of a name, full or short; UnknownModel when there is none."""
    name = name.removeprefix("models/")
    for entry in found:
        if name in (entry.name, entry.short):
            return entry
    raise UnknownModel(f"no model {name[:200]!r}; GET /v1/models lists what there is")
