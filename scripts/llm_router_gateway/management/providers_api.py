"""Providers and models changed while the gateway runs: /providers, /models, /config/sync, and what the page shows of models.

    admin = ProvidersApi(source, state=..., routing_state=..., take_over=..., clock=time.monotonic)
    Router([*admin.routes(), ...])

What is changed is kept in the overlay beside the configuration file (`config/overlay`, `config/sources`), which no reload
overwrites, and is in force at once. A change that makes an impossible configuration is refused whole, with every problem and
its path. Keys can be written and never read back; nor does a stored one go to another address when
the address changes.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from ..config.config import Config, ConfigError, Model, Problem, Provider
from ..config.describe import MASK, mask_proxy
from ..config.groups import Group
from ..config.kinds import MODEL_NAME, NAME
from ..config.numbers import plain_value
from ..config.overlay import ADDED, MERGED, Entry, Overlay, add_entry, change_entry, forget_entry, kind_of, remove_entry
from ..config.presets import ALIASES, PRESETS, preset_of
from ..config.sources import Source
from ..errors import BadRequest, Conflict, GatewayError, NotFound, NotSaved
from ..net.router import CALLER, Handler, ManagementRequest, ManagementResponse, Route
from ..policy.rate_limits import Limit
from ..routing.plan import member_rows
from ..routing.snapshot import Snapshot
from ..routing.state import RoutingState

MAX_DEPTH = 32  # of a body; no real settings are nested this deeply
TRUE = frozenset({"1", "true", "yes", "on"})
# They name variables and files of this machine, or run programs on it: only for those with write access.
FROM_HERE = ("api_key_env", "api_key_file", "api_key_command")
SECRETS = frozenset({"api_key", *FROM_HERE})
HEADS = frozenset({"headers", "rewrite_header"})  # whose values may be credentials
SPELLED = {"provider_name": "provider", "provider_id": "provider"}  # what the older server calls it -> the file
ABSENT: Mapping[str, Any] = {}


class InvalidChange(GatewayError):
    """The change would give an invalid configuration; `problems` lists every fault."""

    status = 422
    code = "impossible_config"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("nothing was changed: " + "; ".join(map(str, self.problems)))

    def body(self) -> dict[str, Any]:
        first = self.problems[0].path if self.problems else None
        error = {"message": self.message, "type": "invalid_request_error", "code": self.code, "param": first}
        return {"error": {**error, "problems": problems_json(self.problems)}}


def problems_json(problems: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"path": problem.path, "message": problem.text} for problem in problems]


# ------------------------------------------------------------------------------------------------------- what is shown


def visible_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table without secrets: keys are left out, the values of headers masked."""
    made: dict[str, Any] = {}
    for name, value in table.items():
        if name in SECRETS:
            continue
        if name in HEADS:
            made[name] = mask_headers(value)
        elif name == "proxy" and isinstance(value, str):
            made[name] = mask_proxy(value)
        else:
            made[name] = visible_fields(value) if name in MERGED and isinstance(value, Mapping) else plain_value(value)
    return made


def mask_headers(value: Any) -> Any:
    """The names of headers; their values may be credentials. A JSON text is read for its names."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        return MASK
    return {name: None if item is None else MASK for name, item in value.items()}


def limit_json(limit: Limit | None) -> dict[str, Any] | None:
    return None if limit is None else asdict(limit)


def provider_json(provider: Provider, table: Mapping[str, Any], entry: Entry | None) -> dict[str, Any]:
    """GET /providers/{name}."""
    return {
        "id": provider.name, "name": provider.name, "type": provider.type, "api": provider.api,
        "base_url": provider.base_url, "is_active": provider.is_active, "any_model": provider.any_model,
        "has_key": bool(provider.keys or provider.key_command), "keys": len(provider.keys), "needs_key": provider.needs_key,
        **source_json(entry), "limits": limit_json(provider.limit), "settings": visible_fields(table).get("settings", {}),
        "fields": {name: value for name, value in visible_fields(table).items() if name not in ("name", "settings")},
    }  # fmt: skip


def source_json(entry: Entry | None) -> dict[str, Any]:
    """Whether the file has it, and which fields were changed through the API."""
    if entry is None:
        return {"source": "file", "changed": []}
    fields = sorted(entry.fields)
    return {"source": "overlay" if entry.state == ADDED else "file", "changed": fields}


def rate_limit_json(model: Model, table: Mapping[str, Any]) -> dict[str, Any] | None:
    """The older server's five fields, or None without a limit."""
    if model.limit is None:
        return None
    raw = table.get("limits") or table.get("rate_limit") or ABSENT
    limit = {name: getattr(model.limit, name) for name in ("max_requests", "per_seconds", "burst_size")}
    return {**limit, "notes": raw.get("notes"), "config": plain_value(raw.get("config", {}))}


def model_json(model: Model, provider: Provider, table: Mapping[str, Any], entry: Entry | None) -> dict[str, Any]:
    """The older server's ModelRead, with is_active and where it comes from."""
    return {
        "id": f"{model.provider}/{model.name}", "name": model.name, "display_name": model.display_name or None,
        "description": model.description or None, "provider_id": provider.name, "provider_name": provider.name,
        "provider_type": provider.type, "tags": list(model.tags), "default_params": plain_value(model.default_params),
        "config": plain_value(table.get("config", {})), "rate_limit": rate_limit_json(model, table),
        "local_path": table.get("local_path"), "is_active": model.is_active, "provider_is_active": provider.is_active,
        "remote_identifier": model.remote_id, "limits": limit_json(model.limit), **source_json(entry),
    }  # fmt: skip


def prices_json(model: Model) -> dict[str, Any] | None:
    prices = {"input": model.input_usd_per_mtok, "output": model.output_usd_per_mtok,
              "cached_input": model.cached_input_usd_per_mtok}  # fmt: skip
    return prices if any(price is not None for price in prices.values()) else None


HEALTH = ("state", "factor", "back_in_s", "active", "latency_s", "consecutive_failures", "last_error")
UNKNOWN_HEALTH = {"state": "off", "factor": 1.0, "back_in_s": 0.0, "active": 0, "latency_s": None,
                  "consecutive_failures": 0, "last_error": None}  # fmt: skip


def monitor_row(model: Model, provider: Provider, entry: Entry | None, report: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the page's table of models."""
    return {
        "name": f"{model.provider}/{model.name}", "provider": model.provider, "model": model.name,
        "display_name": model.display_name, "description": model.description, "tags": list(model.tags),
        "context_window": model.context_window, "max_output_tokens": model.max_output_tokens,
        "modalities": list(model.modalities), "prices": prices_json(model), "limits": limit_json(model.limit),
        "is_active": model.is_active, "provider_is_active": provider.is_active, **source_json(entry),
        "health": {name: plain_value(report.get(name, UNKNOWN_HEALTH[name])) for name in HEALTH},
    }  # fmt: skip


ROUTED = ("effective_weight", "share", "is_fallback", "state", "back_in_s")  # of a member, from the router


def group_json(group: Group, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A group for the page; `rows` are plan.member_rows, in the order of its members."""
    members = [
        {"model": member.model, "weight": member.weight, "priority": member.priority,
         "selector": member.selector.text if member.selector else None, **{name: row[name] for name in ROUTED}}
        for member, row in zip(group.members, rows, strict=True)
    ]  # fmt: skip
    return {"name": group.name, "description": group.description, "strategy": group.strategy, "members": members,
            "fallbacks": list(group.fallbacks)}  # fmt: skip


# ----------------------------------------------------------------------------------------------------- reading requests


def texts_of(pairs: Iterable[tuple[str, str]], *names: str) -> list[str]:
    """The values of a query's names, comma lists taken apart: tag=a&tags=b,c -> ["a", "b", "c"]."""
    return [part.strip() for name, value in pairs if name in names for part in value.split(",") if part.strip()]


def preset_type(name: str) -> str:
    """The type of a preset, whichever of its names is used; BadRequest when there is none."""
    known = ALIASES.get(name.lower(), name.lower())
    if known not in PRESETS:
        raise BadRequest(f"{name[:60]!r} is not a type of provider; use one of {', '.join(PRESETS)}",
                         details={"path": "provider_type"})  # fmt: skip
    return known


def leaves(value: object, path: str, depth: int = 0) -> Iterator[tuple[str, object]]:
    """Every leaf of a JSON value, with its path; BadRequest when it is nested too deeply."""
    if depth > MAX_DEPTH:
        raise BadRequest("the body is nested too deeply", details={"path": path[:200]})
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]", depth + 1)
    else:
        yield path, value


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON's \\ud800 alone cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_mask(path: str, value: str) -> bool:
    """Whether a secret's place holds only what we show instead of it: what was read is sent back as it was."""
    parts = path.lower().split(".")
    if parts[-1] == "api_key":
        return any(key.strip() and not key.strip(" *") for key in value.split(","))
    if len(parts) > 1 and parts[-2] in HEADS:
        return value.strip() == MASK
    return parts[-1] in ("proxy", "base_url") and f":{MASK}@" in value


def body_fields(request: ManagementRequest) -> dict[str, Any]:
    """The fields of a body, in the file's spelling."""
    body = request.body
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    problems = [Problem(name, "works only in the configuration file: through the API, give a key as api_key")
                for name in FROM_HERE if body.get(name) is not None]  # fmt: skip
    for path, value in leaves(body, ""):
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(Problem(path if is_text(path) else "", "is not a JSON number"))
        if isinstance(value, str) and is_mask(path, value):
            problems.append(Problem(path, f"{MASK} stands for a hidden secret: give the secret itself, or leave it out"))
        if not is_text(path) or (isinstance(value, str) and not is_text(value)):
            problems.append(Problem("", "holds a lone surrogate"))
    if problems:
        raise InvalidChange(problems)
    return {SPELLED.get(str(name), str(name)): value for name, value in body.items()}


def entry_name(fields: Mapping[str, Any], name: str, pattern: Any) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidChange([Problem(name, "is missing or holds invalid characters")])
    return value


def change_line(request: ManagementRequest, name: str, fields: Mapping[str, Any]) -> str:
    """The change for the log, without values: "ann: PATCH providers/openai: is_active"."""
    caller, what = request.caller.name or "a caller without a key", ", ".join(sorted(fields))[:200]
    return f"{caller}: {request.method} {kind_of(name)}/{name}" + (f": {what}" if what else "")


def patch_of(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The fields of a PATCH; the name is in the path and stays."""
    owner, _, model = name.partition("/")
    path: dict[str, str] = {"name": model, "provider": owner} if model else {"name": owner}
    wrong = [Problem(key, f"cannot be changed: the path says {path[key]!r}") for key in path
             if fields.get(key) not in (None, path[key])]  # fmt: skip
    if wrong:
        raise InvalidChange(wrong)
    return {key: value for key, value in fields.items() if key not in path}


# ------------------------------------------------------------------------------------------------ where credentials go


def origin_of(provider: Provider) -> str:
    """Where a provider's requests go: scheme, host and port, and over plain http the proxy, which can read them."""
    parts = urlsplit(provider.base_url)
    return f"{parts.scheme}://{parts.netloc}".lower() + (f" by {provider.proxy}" if parts.scheme == "http" else "")


def command_of(provider: Provider) -> tuple[str, ...]:
    """The command that prints its key, as one more credential: what it prints goes where the provider is."""
    return (" ".join(provider.key_command.argv),) if provider.key_command is not None else ()


def credential_destinations(config: Config | None) -> set[tuple[str, str]]:
    """(credential, destination), for every key and every header that the configuration adds."""
    if config is None:
        return set()
    found: set[tuple[str, str]] = set()
    providers = {provider.name: provider for provider in config.providers}
    for provider in config.providers:
        texts = [
            *(key.reveal() for key in provider.keys),
            *command_of(provider),
            *provider.headers.values(),
            *provider.overrides.headers.values(),
        ]
        found |= {(text, origin_of(provider)) for text in texts if text}
    for model in config.models:
        found |= {(text, origin_of(providers[model.provider])) for text in model.overrides.headers.values() if text}
    return found


def request_credentials(fields: Mapping[str, Any]) -> set[str]:
    """The credentials in a request itself, a comma list split up."""
    texts = [str(value) for _, value in leaves(fields, "") if isinstance(value, (str, int, float))]
    for name in HEADS:  # a JSON text of headers
        value = fields.get(name)
        if isinstance(value, str):
            try:
                texts += [str(item) for item in dict(json.loads(value)).values()]
            except (ValueError, TypeError):
                continue
    return {part.strip() for text in texts for part in (text, *text.split(","))}


def check_addresses(
    before: Config, alone: Callable[[], Config | None], after: Config, fields: Mapping[str, Any], name: str
) -> None:
    """InvalidChange when a stored credential would be sent to a new destination.

    Otherwise an address change would be a way to read every key. Credentials in the request itself may go anywhere,
    and so may a provider type's own key to that type's own address. `alone` gives the Config of the file, which stays valid.
    """
    new = credential_destinations(after) - credential_destinations(before)
    if not new or not (new := new - credential_destinations(alone())):
        return
    known = request_credentials(fields)
    types = {provider.name: provider.type for provider in before.providers}
    own = {(key.reveal(), origin_of(provider)) for provider in after.providers for key in provider.keys
           if has_own_address(provider) and types.get(provider.name, provider.type) == provider.type}  # fmt: skip
    if any(text not in known and (text, origin) not in own for text, origin in new):
        provider = name.partition("/")[0]
        text = ("a stored key or header value is not sent to a different address or proxy: "
                "send it again in the same request, or change the file")  # fmt: skip
        raise InvalidChange([Problem(f"providers.{provider}.api_key", text)])


def has_own_address(provider: Provider) -> bool:
    preset = preset_of(provider.type)
    if preset is None or not preset.base_url or preset.local:
        return False
    own, mine = urlsplit(preset.base_url), urlsplit(provider.base_url)
    return (own.scheme, own.netloc) == (mine.scheme, mine.netloc)


# ------------------------------------------------------------------------------------------------------------ the routes


def with_problems(handler: Handler) -> Handler:
    """The handler, with every problem of an invalid change in its response."""

    async def handle(request: ManagementRequest) -> ManagementResponse:
        try:
            return await handler(request)
        except InvalidChange as error:
            return ManagementResponse(error.body(), error.status)

    return handle


class ProvidersApi:
    """The handlers. Changes are made one at a time; a caller that disconnects does not leave one half done."""

    def __init__(
        self, source: Source, *, state: Callable[[], Snapshot], routing_state: RoutingState,
        take_over: Callable[[Config], Awaitable[None]],
        clock: Callable[[], float], new_id: Callable[[], str], warn: Callable[[str], None],
        info: Callable[[str], None] = lambda line: None, refuse: Callable[[ConfigError], None] = lambda error: None,
    ) -> None:  # fmt: skip
        """`take_over` and `refuse` do what a reload does with a Config or without; `info` and `warn` are the log's.

        `source` has been loaded.
        """
        self._refuse = refuse
        self._source, self._state, self._routing_state = source, state, routing_state
        self._take_over, self._clock, self._warn, self._info = take_over, clock, warn, info
        self.lock = asyncio.Lock()  # a reload takes it, too
        self._run_id, self._revisions = new_id(), 0
        self._seen: object = None
        told = source.keep_overlay()
        if told:
            warn(told)

    def routes(self) -> list[Route]:
        provider, model = "providers/{name}", "models/{provider}/{model...}"
        return [
            Route("GET", "providers", self._providers), Route("POST", "providers", with_problems(self._add_provider)),
            Route("GET", provider, self._provider), Route("PATCH", provider, with_problems(self._patch_provider)),
            Route("DELETE", provider, with_problems(self._delete_provider)),
            Route("GET", "models", self._models, CALLER), Route("POST", "models", with_problems(self._add_model)),
            Route("PATCH", model, with_problems(self._patch_model)), Route("DELETE", model, with_problems(self._delete_model)),
            Route("GET", "monitor/models", self._monitored), Route("POST", "config/sync", self._sync),
        ]  # fmt: skip

    # -- reading

    def _etag(self) -> str:
        """The version of the configuration; it changes with every change from any source."""
        if self._seen is not self._source.merged:
            self._seen, self._revisions = self._source.merged, self._revisions + 1
        return f'"{self._run_id}-{self._revisions}"'

    def _reply(self, body: Any, status: int = 200) -> ManagementResponse:
        return ManagementResponse(body, status, [("etag", self._etag())])

    def _config(self) -> Config:
        return self._state().config

    def _entry(self, name: str) -> Entry | None:
        return self._source.overlay.get(name)

    def _provider_json(self, provider: Provider) -> dict[str, Any]:
        table = self._source.merged.tables.get(provider.name, ABSENT)
        return provider_json(provider, table, self._entry(provider.name))

    def _model_json(self, model: Model) -> dict[str, Any]:
        name = f"{model.provider}/{model.name}"
        provider = next(each for each in self._config().providers if each.name == model.provider)
        return model_json(model, provider, self._source.merged.tables.get(name, ABSENT), self._entry(name))

    def _read(self, name: str) -> dict[str, Any]:
        """GET of one; NotFound when there is none."""
        config = self._config()
        for provider in config.providers:
            if provider.name == name:
                return self._provider_json(provider)
        for model in config.models:
            if f"{model.provider}/{model.name}" == name:
                return self._model_json(model)
        what = "model" if kind_of(name) == "models" else "provider"
        raise NotFound(f"there is no {what} {name[:200]!r}; GET /{kind_of(name)} lists them")

    async def _providers(self, request: ManagementRequest) -> ManagementResponse:
        return self._reply([self._provider_json(provider) for provider in self._config().providers])

    async def _provider(self, request: ManagementRequest) -> ManagementResponse:
        return self._reply(self._read(request.args["name"]))

    async def _models(self, request: ManagementRequest) -> ManagementResponse:
        """The models with all of the tags, of one of the types; inactive ones only when requested."""
        pairs = request.pairs
        tags = {tag.casefold() for tag in texts_of(pairs, "tag", "tags")}
        types = {preset_type(name) for name in texts_of(pairs, "provider_type", "provider_types")}
        inactive = any(value.lower() in TRUE for value in texts_of(pairs, "include_inactive"))
        found = []
        for model in self._config().models:
            made = self._model_json(model)
            is_type = not types or ALIASES.get(made["provider_type"], made["provider_type"]) in types
            is_on = inactive or (made["is_active"] and made["provider_is_active"])
            if is_type and is_on and tags <= set(map(str.casefold, model.tags)) and self._may(request, model):
                found.append(made)
        return self._reply(found)

    @staticmethod
    def _may(request: ManagementRequest, model: Model) -> bool:
        """Whether the caller's key may use it."""
        key = request.caller.key
        return key is None or bool(not key.only_groups and key.may_model(f"{model.provider}/{model.name}", model.tags))

    async def _monitored(self, request: ManagementRequest) -> ManagementResponse:
        state, now = self._state(), self._clock()
        reports = {report["model"]: report for report in self._routing_state.report(state.table, now)}
        providers = {provider.name: provider for provider in state.config.providers}
        names = ("name", "type", "api", "base_url", "is_active", "has_key", "needs_key", "source", "changed")
        return self._reply({
            "models": [monitor_row(model, providers[model.provider], self._entry(name), reports.get(name, ABSENT))
                       for model in state.config.models for name in [f"{model.provider}/{model.name}"]],
            "groups": [group_json(group, member_rows(state.table, self._routing_state, group.name, now))
                       for group in state.config.groups],
            "providers": [{name: made[name] for name in names}
                          for made in map(self._provider_json, state.config.providers)],
        })  # fmt: skip

    # -- changing

    async def _add_provider(self, request: ManagementRequest) -> ManagementResponse:
        fields = body_fields(request)
        return await self._add(request, entry_name(fields, "name", NAME), fields)

    async def _add_model(self, request: ManagementRequest) -> ManagementResponse:
        fields = body_fields(request)
        name = f"{entry_name(fields, 'provider', NAME)}/{entry_name(fields, 'name', MODEL_NAME)}"
        return await self._add(request, name, fields)

    async def _add(self, request: ManagementRequest, name: str, fields: dict[str, Any]) -> ManagementResponse:
        path = {"name", "provider"} if "/" in name else {"name"}
        rest = {key: value for key, value in fields.items() if key not in path}

        def make(overlay: Overlay) -> Overlay:
            if name in self._source.merged.tables:
                raise Conflict(f"{name} exists already: PATCH changes it", details={"path": "name"})
            owner = name.partition("/")[0]
            if owner not in self._source.merged.tables and owner != name:
                raise InvalidChange([Problem("provider", f"there is no provider {owner!r}")])
            return add_entry(overlay, name, rest)

        await self._change(request, name, rest, make)
        return self._reply(self._read(name), 201)

    async def _patch_provider(self, request: ManagementRequest) -> ManagementResponse:
        return await self._patch(request, request.args["name"])

    async def _patch_model(self, request: ManagementRequest) -> ManagementResponse:
        return await self._patch(request, f"{request.args['provider']}/{request.args['model']}")

    async def _patch(self, request: ManagementRequest, name: str) -> ManagementResponse:
        patch = patch_of(body_fields(request), name)

        def make(overlay: Overlay) -> Overlay:
            self._read(name)
            return change_entry(overlay, name, patch)

        await self._change(request, name, patch, make)
        return self._reply(self._read(name))

    async def _delete_provider(self, request: ManagementRequest) -> ManagementResponse:
        return await self._delete(request, request.args["name"])

    async def _delete_model(self, request: ManagementRequest) -> ManagementResponse:
        return await self._delete(request, f"{request.args['provider']}/{request.args['model']}")

    async def _delete(self, request: ManagementRequest, name: str) -> ManagementResponse:
        """Removes it; with ?only=changes undoes its changes through the API, its removal included."""
        only = request.query.get("only", "")
        if only not in ("", "changes"):
            raise BadRequest('only is not "changes"', details={"path": "only"})

        def make(overlay: Overlay) -> Overlay:
            in_file = name in self._source.names_in_file()
            if only and name in overlay:
                return forget_entry(overlay, name, in_file=in_file)
            self._read(name)
            return overlay if only else remove_entry(overlay, name, in_file=in_file)

        await self._change(request, name, ABSENT, make)
        return self._reply(None, 204)

    async def _change(
        self, request: ManagementRequest, name: str, fields: Mapping[str, Any], make: Callable[[Overlay], Overlay]
    ) -> None:  # fmt: skip
        """Checks, saves and applies a change; a refused one changes nothing."""
        doing = asyncio.ensure_future(self._changed(request, name, fields, make))
        doing.add_done_callback(lambda done: done.cancelled() or done.exception())  # also when the caller left meanwhile
        await asyncio.shield(doing)

    async def _changed(
        self, request: ManagementRequest, name: str, fields: Mapping[str, Any], make: Callable[[Overlay], Overlay]
    ) -> None:  # fmt: skip
        async with self.lock:
            source = self._source
            wanted = request.headers.get("if-match", "*")
            if wanted != "*" and self._etag() not in wanted:
                raise GatewayError("modified since it was read; read it again and retry", status=412, code="changed_meanwhile")
            source.refresh()
            if source.fault:
                raise NotSaved(f"nothing was changed: {source.fault}")
            overlay = make(source.overlay)
            touched = {each for each in {*overlay, *source.overlay} if overlay.get(each) is not source.overlay.get(each)}
            try:
                config = await asyncio.to_thread(source.trial, overlay, touched)
            except ConfigError as error:
                raise InvalidChange(error.problems) from None
            check_addresses(self._config(), source.file_only, config, fields, name)
            try:
                await asyncio.to_thread(source.save, overlay)
            except OSError as wrong:
                why = wrong.strerror or wrong
                self._warn(f"{source.overlay_path} cannot be written: {why}; a change of {name} was refused")
                raise NotSaved(f"nothing was changed: it cannot be saved: {why}") from None
            self._info(change_line(request, name, fields))
            await self._take_over(source.adopt(overlay))

    async def _sync(self, request: ManagementRequest) -> ManagementResponse:
        """Reloads the configuration file and reports the outcome."""
        async with self.lock:
            file = str(self._source.path) if self._source.path else None
            try:
                config = await asyncio.to_thread(self._source.load)
            except ConfigError as error:
                self._refuse(error)
                count = len(error.problems)
                message = f"not reloaded: {count} problem{'s' * (count != 1)}; the previous configuration stays in effect"
                return ManagementResponse({"success": False, "message": message, "config_file": file,
                              "problems": problems_json(error.problems), "notes": []}, 422)  # fmt: skip
            await self._take_over(config)
            counts = ((len(config.providers), "provider"), (len(config.models), "listed model"))
            message = "reloaded: " + ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts)
            return self._reply({"success": True, "message": message, "config_file": file, "problems": [],
                                "notes": list(config.notes)})  # fmt: skip
