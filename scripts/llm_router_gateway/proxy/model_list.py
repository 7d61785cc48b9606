"""The list of models: Config (and upstreams' own lists) -> entries; LiveLists fetches those lists.

    entries(routes, {"ollama": ("llama9",)})  -> [Entry("openai/gpt-4.1", ...), Entry("ollama/llama9", ...)]
    wire("openai").list_models(entries, {})   -> {"object": "list", "data": [...]}   each protocol writes them in its way

A list holds names that a call accepts as they are. What the configuration does not know is left out, never guessed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..config.config import Model
from ..config.groups import Group
from ..errors import GatewayError, NotFound, UnknownModel
from ..routing.permissions import Rights
from ..routing.plan import Table
from ..routing.resolve import Candidate, Routes
from ..routing.snapshot import Snapshot
from ..wire.listing import Entry
from .answers import check_key
from .headers import upstream_headers
from .outgoing import Outgoing
from .request import RequestContext
from .services import Services
from .upstream import Upstream

GROUPS_OWNER = "llm-router"
WINDOW_FIELDS = ("max_model_len", "context_length", "max_context_length", "context_window", "inputTokenLimit")
LONG_BODY = 8_000  # characters of a request from which on it is worth to know how long a prompt may be
LIST_TIMEOUT_S = 2.0  # for an upstream's list of models; clients wait 3 s for ours
LIST_KEPT_S = 300.0  # how long such a list is believed
LIST_RETRY_S = 20.0  # how long a failure to get one is


def entries(routes: Routes, live: Mapping[str, Sequence[str]] | None = None, table: Table | None = None) -> list[Entry]:
    """The groups, every listed model, then what providers without a list said they have."""
    groups = table.groups if table else ()
    found = {group.name: Entry(group.name, group.name, GROUPS_OWNER, group_model(table, group)) for group in groups}
    for name, candidate in routes.full.items():
        bare = name.partition("/")[2]
        alone = len(routes.bare.get(bare, ())) == 1 and bare not in found
        found[name] = Entry(name, bare if alone else "", candidate.provider.name, candidate.model)
    for owner, names in (live or {}).items():
        for bare in names:
            mine = bool(routes.open[owner].families) and bare.startswith(routes.open[owner].families)
            found.setdefault(f"{owner}/{bare}", Entry(f"{owner}/{bare}", bare if mine else "", owner))
    return list(found.values())


def entries_for_key(found: Sequence[Entry], rights: Rights | None, table: Table) -> list[Entry]:
    """The entries that a key may use; of groups, those with a member that it may use."""
    if rights is None:
        return list(found)
    return [entry for entry in found if may_use(entry, rights, table)]


def may_use(entry: Entry, rights: Rights, table: Table) -> bool:
    if entry.name not in table.chains:
        return rights.lists(entry.name, entry.model.tags if entry.model else ())
    targets = [target for pool in table.chains[entry.name] for target in pool.targets if target.candidate is not None]
    reasons = [rights.denial(target.candidate) for target in targets if target.candidate is not None]
    return rights.key.may_group(entry.name) and not (reasons and all(reasons))


def group_model(table: Table | None, group: Group) -> Model:
    """A group as a model: the properties that its members share, the smallest of their sizes."""
    targets = table.chains[group.name][0].targets if table else ()
    models = [target.candidate.model for target in targets if target.candidate]
    known = [model for model in models if model is not None]
    known = known if len(known) == len(models) else []
    return Model(
        name=group.name, provider=GROUPS_OWNER, remote_id=group.name, endpoint="", display_name="",
        description=group.description, is_active=True, tags=intersection([model.tags for model in known]),
        context_window=smallest([model.context_window for model in known]),
        max_output_tokens=smallest([model.max_output_tokens for model in known]),
        modalities=intersection([model.modalities for model in known]),
        supports_tools=known[0].supports_tools if len({model.supports_tools for model in known}) == 1 else None,
        input_usd_per_mtok=None, output_usd_per_mtok=None, cached_input_usd_per_mtok=None, extra={},
    )  # fmt: skip


def intersection(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """What all of them hold: intersection([("a", "b"), ("b",)]) -> ("b",)."""
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


def windows_in(listing: object) -> dict[str, int]:
    """The context windows in an upstream's own list, by model; of any protocol.

    windows_in({"data": [{"id": "a", "max_model_len": 8192}, {"id": "b", "meta": {"n_ctx": 4096}}]}) -> {"a": 8192, "b": 4096}
    vLLM says max_model_len, llama.cpp meta.n_ctx, OpenRouter and Mistral context_length, Gemini inputTokenLimit.
    """
    items = (listing.get("data") or listing.get("models")) if isinstance(listing, dict) else None
    found: dict[str, int] = {}
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            meta = item.get("meta")
            sizes = [item.get(name) for name in WINDOW_FIELDS] + [meta.get("n_ctx") if isinstance(meta, dict) else None]
            name = item.get("id") or item.get("name")
            size = next((size for size in sizes if isinstance(size, int) and size > 0), None)
            if isinstance(name, str) and size is not None:
                found[name.removeprefix("models/")] = size
    return found


def find_entry(found: Sequence[Entry], name: str) -> Entry:
    """The entry of a name, full or short; UnknownModel when there is none."""
    name = name.removeprefix("models/")
    for entry in found:
        if name in (entry.name, entry.short):
            return entry
    raise UnknownModel(f"no model {name[:200]!r}; GET /v1/models lists the models")


class LiveLists:
    """What providers that take any name say they have: fetched at once, remembered for a while."""

    def __init__(self, services: Services, upstream: Upstream) -> None:
        self._services, self._upstream = services, upstream
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}  # provider -> (believed until, names)
        self._fetch_after: dict[str, float] = {}  # provider -> not again for its windows before
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """The configuration is a new one; what is still fetched for requests of the old one is theirs alone."""
        self._known = {}

    async def names(self, state: Snapshot) -> dict[str, tuple[str, ...]]:
        """By provider."""
        now, known = self._services.clock(), self._known
        stale = [name for name in state.routes.open if known.get(name, (0.0,))[0] <= now]
        await asyncio.gather(*(self._fetch(state, name, known) for name in stale))
        return {name: known[name][1] for name in state.routes.open if name in known}

    def learn_windows(self, context: RequestContext) -> None:
        """Asks the upstreams of a group how long a prompt may be, in the background: the next long prompt knows it."""
        if context.body is None or len(context.body.text) < LONG_BODY:
            return
        table, now = context.state.table, self._services.clock()
        pools = table.chains.get(context.record.asked.removeprefix("models/"), ())
        found = [target.candidate for pool in pools for target in pool.targets if target.candidate is not None]
        for candidate in found:
            provider = candidate.provider
            if self._services.routing_state.window(candidate) is None and self._fetch_after.get(provider.name, 0.0) <= now:
                self._fetch_after[provider.name] = now + LIST_KEPT_S
                task = asyncio.create_task(self._windows_of(candidate))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _windows_of(self, candidate: Candidate) -> None:
        with suppress(GatewayError, TimeoutError, ValueError, RecursionError, KeyError):
            self._learn(candidate.provider.name, await self._listing(candidate))

    async def _listing(self, candidate: Candidate) -> Any:
        if not candidate.url("models"):
            raise NotFound(f"{candidate.provider.name} has no list of models")
        async with asyncio.timeout(LIST_TIMEOUT_S):
            candidate = await self._services.key_commands.with_key(candidate)
            check_key(candidate)
            headers = upstream_headers(candidate, (), self._services.new_id(), same=False)
            return json.loads(await self._upstream.get(Outgoing(candidate, candidate.url("models"), headers, b"")))

    def _learn(self, provider: str, listing: Any) -> None:
        for name, size in windows_in(listing).items():
            self._services.routing_state.learn_window(f"{provider}/{name}", size)

    async def _fetch(self, state: Snapshot, name: str, known: dict[str, tuple[float, tuple[str, ...]]]) -> None:
        candidate = Candidate(state.routes.open[name], "")
        names: tuple[str, ...] = ()
        try:
            listing = await self._listing(candidate)
            names = names_in(listing)
            self._learn(name, listing)
        except (GatewayError, TimeoutError, ValueError, RecursionError) as error:
            self._services.log.debug(f"{name}: no list of models: {type(error).__name__}")
        known[name] = (self._services.clock() + (LIST_KEPT_S if names else LIST_RETRY_S), names)
