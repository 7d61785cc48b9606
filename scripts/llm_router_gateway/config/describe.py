"""A Config and its table of settings as text: --print-config and the reference page.

config_text(config)  -> TOML with where each value came from, secrets masked
reference()          -> the Markdown tables of references/gateway-configuration.md
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from ..policy.circuit_breaker import Rules
from ..policy.overrides import Overrides
from ..policy.rate_limits import Limit
from .addresses import is_postgres, without_password
from .config import Config, Model, Provider
from .groups import Group, Routing, Selector
from .keys import Key, terms_json
from .kinds import KINDS, LOOPBACK
from .presets import ALIASES, PRESETS, Preset
from .quirks import quirks_reference
from .settings import MODEL_CONFIG, TABLES, Setting
from .telemetry import Telemetry

MASK = "***"
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # line ends, terminal codes, bidi
DERIVED = ("needs_key", "key_hint", "families", "also", "only")  # of a provider, from its type


def printable(line: str) -> str:
    """One line of the text, with what could steer a terminal escaped the way TOML's strings have it.

    Names and notes come from files and variables: a line end in one would begin a line of its own.
    """
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def toml(value: object) -> str:
    """A value as TOML writes it: toml({"a": ("x", True)}) -> '{"a" = ["x", true]}'."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)  # TOML's basic strings and numbers are JSON's


def rows(thing: Config | Provider | Model | Any, leave_out: Iterable[str] = ()) -> Iterator[tuple[str, object]]:
    """The fields that hold something, in order; not those that are made of others."""
    for field in fields(thing):
        value = getattr(thing, field.name)
        if field.init and field.name not in leave_out and value not in (None, "", (), {}):
            yield field.name, value


def mask_proxy(address: str) -> str:
    """The address without the user and password before its host."""
    scheme, mark, rest = address.partition("://")
    return f"{scheme}{mark}{MASK}@{rest.rpartition('@')[2]}" if "@" in rest else address


def caller_lines(config: Config, stored: int | None) -> Iterator[str]:
    """Which callers are let in, as comments. `stored`: keys of the store, None where they cannot be counted."""
    server = config.server
    found = (
        (len(server.tokens), "token", "tokens"),
        (len(server.admin_tokens), "administrator token", "administrator tokens"),
        (len(config.keys), "key of the file", "keys of the file"),
        (stored or 0, "key of the store", "keys of the store"),
    )
    shown = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in found if count)
    if stored is None:
        shown += f"{', ' if shown else ''}keys of a store that cannot be read here"
    is_local = LOOPBACK.fullmatch(server.host) is not None
    if not shown:
        yield "# who may call, without a key: all on this machine, a proxy included; administer: all but proxies"
        return
    yield f"# who may call: callers with a key: {shown}"
    if server.loopback_without_key:
        yield f"# and without one: programs on this machine{', which may administer' * is_local}; not through a proxy"
    if not (server.admin_tokens or any(key.is_admin for key, _ in config.keys) or (server.loopback_without_key and is_local)):
        yield "# who may administer: administrators' keys of the store, if there are any"


def fingerprint(config: Config) -> str:
    """The same text for configurations that do the same, wherever each runs; secrets are not compared."""
    server = replace(config.server, host="", port=0, log_file="", store="", spill_file="")
    return hashlib.sha256(config_text(replace(config, server=server, sources=(), notes=())).encode()).hexdigest()[:12]


def mask_store(value: Any) -> str:
    """A path as it is; an address of a database without its password and options."""
    return without_password(value) if is_postgres(value) else str(value)


def config_text(config: Config, stored: int | None = 0) -> str:
    """The effective configuration, complete: a file that would give it again, but for the secrets."""
    sources = dict(config.sources)
    lines = ["[server]"]
    for name, value in rows(config.server, ("tokens", "admin_tokens", "key_limits")):
        shown = mask_proxy(config.server.proxy) if name == "proxy" else mask_store(value) if name == "store" else value
        lines.append(f"{name} = {toml(shown)}  # {sources.get(f'server.{name}', '')}")
    lines += limit_lines("key_limits", config.server.key_limits)
    lines += caller_lines(config, stored)
    for provider in config.providers:
        lines += ["", "[[providers]]", *mark_overlaid(provider_lines(provider), f"providers.{provider.name}", sources)]
    for model in config.models:
        lines += ["", "[[models]]", *mark_overlaid(model_lines(model), f"models.{model.provider}/{model.name}", sources)]
    for group in config.groups:
        lines += ["", "[[groups]]", *group_lines(group)]
    for key, secrets in config.keys:
        lines += ["", "[[keys]]", *key_lines(key), f"# key: {len(secrets)} set"]
    lines += routing_lines(config.routing)
    lines += telemetry_lines(config.telemetry)
    if config.alerts is not None:
        alerts = {"webhook": MASK, "at": config.alerts.at, "headers": dict.fromkeys(config.alerts.headers, MASK)}
        lines += ["", "[alerts]", *(f"{name} = {toml(value)}" for name, value in alerts.items() if value)]
    if config.state is not None:
        shown = {
            "url": mask_proxy(config.state.url.reveal()),
            "prefix": config.state.prefix,
            "timeout_s": config.state.timeout_s,
        }
        lines += ["", "[state]", *(f"{name} = {toml(value)}" for name, value in shown.items())]
    lines += [f"# {path}: {source}" for path, source in sources.items() if source == "overlay: removed"]
    lines += [f"# note: {note}" for note in config.notes]
    return "\n".join([*map(printable, lines), ""])


def mark_overlaid(lines: Iterable[str], path: str, sources: Mapping[str, str]) -> Iterator[str]:
    """The lines of one provider or model, with a mark at the fields of the overlay.

    mark_overlaid(["is_active = false"], "models.p/m", {"models.p/m.is_active": "overlay"}) -> ["is_active = false  # overlay"]
    """
    if path in sources:
        yield f"# {sources[path]}"
    for line in lines:
        name = line.partition(" = ")[0]
        names = SAID_BY.get(name.partition(":")[0], (name,))
        yield line + ("  # overlay" if any(f"{path}.{each}" in sources for each in names) else "")


def limit_lines(name: str, limit: Limit | None) -> Iterator[str]:
    """limit_lines("limits", Limit(5, 1.0)) -> ['limits = {"max_requests" = 5, "per_seconds" = 1.0}']"""
    if limit is None:
        return
    values = {key: value for key, value in rows(limit) if value != 0}
    if limit.max_requests is None:
        del values["per_seconds"]
    yield f"{name} = {toml(values)}"


def override_lines(spec: Overrides) -> Iterator[str]:
    """Patches as JSON texts, which can hold null; the values of headers may be credentials."""
    if spec.defaults:
        yield f"default_params = {toml(spec.defaults)}"
    if spec.drop:
        yield f"drop_params = {toml(spec.drop)}"
    for patch in spec.patches:  # one: only a provider's and a model's together are more
        yield f"rewrite_body = {toml(json.dumps(patch, ensure_ascii=False))}"
    if spec.headers:
        hidden = {name: None if value is None else MASK for name, value in spec.headers.items()}
        yield f"rewrite_header = {toml(json.dumps(hidden))}"


def key_lines(key: Key) -> Iterator[str]:
    """A key of the file, without its secret."""
    for name, value in terms_json(key).items():
        if value not in (None, "", [], {}) and (name, value) not in (
            ("is_active", True),
            ("is_admin", False),
            ("is_monitor", False),
            ("allow_batches", False),
        ):
            shown = {each: item for each, item in value.items() if item} if isinstance(value, dict) else value
            if shown:
                yield f"{name} = {toml(shown)}"


def group_lines(group: Group) -> Iterator[str]:
    for name, value in rows(group, ("members", "affinity")):
        yield f"{name} = {toml(value)}"
    if group.affinity:
        yield f"affinity = {toml(group.affinity.text)}"
    for member in group.members:
        shown = {name: value.text if isinstance(value, Selector) else value for name, value in rows(member)}
        yield "[[groups.members]]"
        yield from (f"{name} = {toml(value)}" for name, value in shown.items())


def routing_lines(routing: Routing) -> list[str]:
    """What differs from the defaults, and the tasks."""
    lines: list[str] = []
    named = [f"{name} = {toml(getattr(routing, name))}" for name in ("tag_strategy", "default_model")
             if getattr(routing, name) != getattr(Routing(), name)]  # fmt: skip
    if named:
        lines += ["", "[routing]", *named]
    if routing.health != Rules():
        lines += ["", "[health]", *(f"{name} = {toml(value)}" for name, value in rows(routing.health))]
    if routing.tasks:
        lines += ["", "[tasks]", *(f"{toml(name)} = {toml(str(query))}" for name, query in routing.tasks.items())]
    return lines


def telemetry_lines(telemetry: Telemetry | None) -> list[str]:
    """Where spans and metrics go, as settings of the file; the values of headers are credentials."""
    if telemetry is None:
        return []
    values: dict[str, object] = {}
    for name, value in rows(telemetry, ("traces_url", "metrics_url", "headers", "traces_headers", "metrics_headers", "proxy")):
        in_ms = name.endswith("_s") and isinstance(value, float)
        values[f"{name[:-2]}_ms" if in_ms else name] = round(value * 1_000) if in_ms and isinstance(value, float) else value
    endpoints = [f"{signal}_endpoint = {toml(url)}" if url else f"{signal} = false"
                 for signal, url in (("traces", telemetry.traces_url), ("metrics", telemetry.metrics_url))]  # fmt: skip
    hidden = dict.fromkeys((*telemetry.headers, *telemetry.traces_headers, *telemetry.metrics_headers), MASK)
    more = {"headers": hidden, "proxy": mask_proxy(telemetry.proxy)}
    values |= {name: value for name, value in more.items() if value}
    return ["", "[telemetry]", *endpoints, *(f"{name} = {toml(value)}" for name, value in values.items())]


PROVIDER_KEYS = ("name", "type", "api", "base_url", "is_active", "any_model", "rename")
SPELLED = {"timeout_s": "timeout", "remote_id": "remote_identifier"}  # ours -> the file's
SAID_BY = {
    "# keys": ("api_key", "api_key_command"),
    "limits": ("limits", "rate_limit"),
}  # a line -> the keys of the file behind it
CONFIG_KEYS = frozenset(setting.name for setting in MODEL_CONFIG)


def provider_lines(provider: Provider) -> Iterator[str]:
    """One provider, resolved: nothing is left to its preset."""
    special: dict[str, object] = {}
    for name, value in rows(provider, (*DERIVED, "keys", "secrets", "paths", "overrides", "limit", "key_command")):
        if name in PROVIDER_KEYS:
            yield f"{name} = {toml(value)}"
        elif name == "versions":
            special.update(provider.versions)
        else:
            special[SPELLED.get(name, name)] = value
    special["also"] = tuple(provider.also)
    special["headers"] = dict.fromkeys(provider.headers, MASK)  # values may be credentials too
    special["proxy"] = mask_proxy(provider.proxy)
    shown = {name: value for name, value in special.items() if value or name in ("proxy", "also")}
    yield from override_lines(provider.overrides)
    yield from limit_lines("limits", provider.limit)
    yield f"settings = {toml(shown)}"
    yield f"# chat calls go to {provider.url('chat')}"
    yield f"# keys: {key_state(provider)}"


def key_state(provider: Provider) -> str:
    """Where a provider's key comes from. The arguments of a command may hold secrets."""
    command = provider.key_command
    if command is not None:
        return (
            f"printed by {command.program} with {len(command.argv) - 1} arguments, used for {command.ttl_s:g} s unless it says"
        )
    if provider.keys:
        return f"{len(provider.keys)} set"
    return f"none ({provider.key_hint} is not set)" if provider.needs_key else "none, none needed"


def model_lines(model: Model) -> Iterator[str]:
    info = {name: value for name, value in model.extra.items() if value is not None}
    for name, value in rows(model, ("extra", "overrides", "limit")):
        if name == "long_context":
            info[name] = [dict(rows(tier)) for tier in model.long_context]
        elif name in CONFIG_KEYS:
            info[name] = value
        else:
            yield f"{SPELLED.get(name, name)} = {toml(value)}"
    yield from override_lines(model.overrides)
    yield from limit_lines("limits", model.limit)
    if info:
        yield f"config = {toml(info)}"


# ------------------------------------------------------------------------------------------------ the reference page


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def default_text(setting: Setting) -> str:
    if setting.default in (None, "", (), {}):
        return ""
    return f"`{toml(setting.default)}`"


def row_of(setting: Setting) -> str:
    ways = [f"`{way}`" for way in (*setting.env, setting.flag) if way]
    kind = KINDS[setting.kind][1] if not setting.choices else "one of " + ", ".join(setting.choices)
    meaning = setting.help + (f" ({', '.join(ways)})" if ways else "")
    return f"| `{setting.name}` | {cell(kind)} | {default_text(setting)} | {cell(meaning)} |"


def table_of(title: str, settings: Iterable[Setting]) -> str:
    head = f"### `{title}`\n\n| Key | What it is | Default | Meaning |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(map(row_of, settings)) + "\n"


def preset_row(name: str, preset: Preset) -> str:
    other = "".join(f", `{alias}`" for alias, target in ALIASES.items() if target == name)
    keys = ", ".join(f"`{key}`" for key in preset.key_env) or ("none needed" if preset.local else f"`{preset.key_advice}`")
    return f"| `{name}`{other} | {preset.api} | {preset.base_url or 'yours'} | {keys} |"


def reference() -> str:
    """The configuration tables and the presets, as references/gateway-configuration.md holds them."""
    presets = "\n".join(preset_row(name, preset) for name, preset in PRESETS.items())
    head = "### Presets\n\n| Type | Protocol | Address | Key from |\n| --- | --- | --- | --- |\n"
    tables = [*(table_of(title, settings) for title, settings in TABLES.items()), quirks_reference(), head + presets + "\n"]
    return "\n".join(tables)
