"""TOML text -> one immutable Config, or every problem at once.

    parse(tomllib.loads(text), env=os.environ, flags={"port": "9000"}, read_secret=...)  -> Config
    parse({"server": {"prot": 1}})  -> ConfigError, problems == (Problem("server.prot", "unknown key; ..."),)

The table in `settings` defines each key. Precedence: flags, environment, file, default.
Nothing here reads a file, the environment or a clock: all of it is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..policy.overrides import NONE, Overrides
from ..policy.rate_limits import Limit
from ..wire.registry import UPSTREAMS
from .alerts import Alerts, read_alerts
from .base_urls import base_url_of, has_parts, is_address_of
from .groups import PLAIN, Group, Routing, read_groups, read_limit, read_model_limit, read_overrides, read_routing
from .key_command import KeyCommand
from .keys import Key, read_keys_of_file, unmatched_patterns
from .kinds import LOOPBACK, MODEL_NAME, NAME, Secret
from .numbers import plain_value
from .presets import CUSTOM, LOCAL_SERVER, PRESETS, Preset, join_url, preset_of
from .quirks import read_quirks
from .reader import ConfigError as ConfigError
from .reader import Problem as Problem
from .reader import Reading, check, closest, list_of, misspelt, read_settings, sub_table
from .settings import LONG_CONTEXT, MODEL, MODEL_CONFIG, PROVIDER, PROVIDER_SETTINGS, SERVER, STATE
from .telemetry import Telemetry, read_telemetry
from .tokens import check_names, check_networks, check_secrets, read_admin_tokens, read_secret, read_tokens
from .variables import SERVICE_LINK_NOTE, from_outside, is_service_link, misspelt_variables

# ------------------------------------------------------------------------------------------------------- the result


@dataclass(frozen=True, slots=True)
class Server:
    """[server], complete; a field for each setting except where the token comes from."""

    host: str
    port: int
    tokens: tuple[Secret, ...]
    log_level: str
    log_file: str
    proxy: str
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    max_body_bytes: int
    max_bytes_in_flight: int
    max_connections_per_address: int
    max_connections: int
    connect_timeout_s: float
    timeout_s: float
    first_output_timeout_s: float
    output_gap_timeout_s: float
    keepalive_s: float
    drain_s: float
    retry_alone_s: float = 0.3
    key_limits: Limit | None = None
    admin_tokens: tuple[Secret, ...] = ()
    loopback_without_key: bool = False
    trusted_proxies: tuple[str, ...] = ()
    store: str = ""
    spill_file: str = ""
    keys_valid_offline_s: float = 3_600
    keep_days: float = 90
    max_store_bytes: int = 1_073_741_824
    log_bodies: bool = False
    log_body_bytes: int = 65_536
    keep_bodies_days: float = 7
    keep_conversations_hours: float = 24
    max_conversations_bytes: int = 268_435_456
    log_format: str = "text"
    workers: int = 1
    reuse_port: bool = False
    labels_header: str = "x-llm-router-labels"
    keep_files_days: float = 400
    files_provider: str = ""
    answer_with_alias: bool = False
    cache_ttl_s: float = 0
    max_cache_bytes: int = 67_108_864


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream, complete: nothing here is looked up again in its preset."""

    name: str
    type: str
    api: str
    base_url: str
    keys: tuple[Secret, ...]
    needs_key: bool
    key_hint: str  # the environment variables of a missing key, for messages
    is_active: bool
    any_model: bool
    families: tuple[str, ...]
    paths: Mapping[str, str]
    headers: Mapping[str, str]
    auth_header: str
    auth_scheme: str
    versions: Mapping[str, str]  # setting -> the version header that is sent where the caller sent none
    proxy: str
    connect_timeout_s: float
    timeout_s: float
    first_output_timeout_s: float
    output_gap_timeout_s: float
    quirks: Mapping[str, object]
    rename: Mapping[str, str] = field(default_factory=dict)
    overrides: Overrides = NONE
    limit: Limit | None = None
    also: Mapping[str, Provider] = field(default_factory=dict)  # protocol -> the same provider, configured for it
    only: tuple[tuple[str, str], ...] = ()  # (pattern of a model's name, the one protocol that such a model speaks)
    secrets: tuple[Secret, ...] = ()  # its keys, and the credentials in added headers: never shown
    key_command: KeyCommand | None = None  # prints its key; `keys` is empty until then
    key_header: tuple[str, str] = field(init=False)  # as it is sent: its name in lower case, and the text before the key
    sent_headers: Mapping[str, str] = field(init=False)  # `headers` with their names in lower case

    def __post_init__(self) -> None:
        prefix = f"{self.auth_scheme} " if self.auth_scheme else ""
        object.__setattr__(self, "key_header", (self.auth_header.lower(), prefix))  # it is frozen from here on
        object.__setattr__(self, "sent_headers", {name.lower(): value for name, value in self.headers.items()})

    @property
    def lacks_key(self) -> bool:
        """Whether it needs a key, and nothing in the configuration gives it one."""
        return self.needs_key and not self.keys and self.key_command is None

    def with_key(self, key: Secret) -> Provider:
        """The same provider with the key that its command printed."""
        others = {api: replace(each, keys=(key,), secrets=(key, *each.secrets)) for api, each in self.also.items()}
        return replace(self, keys=(key,), secrets=(key, *self.secrets), also=others)

    def url(self, call: str, model: str = "") -> str:
        """Address of a call: "chat", "stream", "count", "embeddings", "models"; "" if it has none."""
        path = self.paths.get(call, "")
        return join_url(self.base_url, path.replace("{model}", model)) if path else ""

    def speaking(self, api: str) -> Provider:
        """The same provider, called in another protocol, and only in that."""
        return self if api == self.api else self.also.get(api) or replace(self, api=api, paths=UPSTREAMS[api].paths, also={})

    def for_model(self, remote_id: str) -> Provider:
        """As it is called for one of its models: most speak the protocol of their provider."""
        api = next((api for pattern, api in self.only if re.match(pattern, remote_id)), "")
        return self.speaking(api) if api else self


@dataclass(frozen=True, slots=True)
class LongContext:
    """The prices of a request with more than `above` input tokens."""

    above: int
    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None = None
    cache_write_usd_per_mtok: float | None = None
    cache_write_1h_usd_per_mtok: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one provider; None where the file sets nothing."""

    name: str
    provider: str
    remote_id: str
    endpoint: str
    display_name: str
    description: str
    is_active: bool
    tags: tuple[str, ...]
    context_window: int | None
    max_output_tokens: int | None
    modalities: tuple[str, ...]
    supports_tools: bool | None
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None
    extra: Mapping[str, Any]
    priority: float = 0
    overrides: Overrides = NONE
    limit: Limit | None = None
    cache_write_usd_per_mtok: float | None = None
    cache_write_1h_usd_per_mtok: float | None = None
    long_context: tuple[LongContext, ...] = ()
    cache_ttl_s: float | None = None

    @property
    def default_params(self) -> Mapping[str, Any]:
        return self.overrides.defaults


@dataclass(frozen=True, slots=True)
class State:
    """[state]: what several gateways share, and where."""

    url: Secret
    prefix: str = "llm-router"
    timeout_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. Swapped at once; a request keeps the one it began with."""

    server: Server
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    notes: tuple[str, ...] = ()  # logged at start; nothing that prevents it
    sources: tuple[tuple[str, str], ...] = ()  # ("server.port", "LLM_ROUTER_PORT")
    groups: tuple[Group, ...] = ()
    routing: Routing = PLAIN
    keys: tuple[tuple[Key, Sequence[Secret]], ...] = ()  # [[keys]], each with its secrets
    telemetry: Telemetry | None = None
    state: State | None = None
    alerts: Alerts | None = None

    def unmatched_patterns(self, *keys: Key) -> list[str]:
        """A note for each pattern of these keys that fits nothing of this configuration."""
        names = {f"{model.provider}/{model.name}": model.tags for model in self.models}
        opened = (provider.name for provider in self.providers if provider.any_model)
        return list(unmatched_patterns(keys, names, opened, (group.name for group in self.groups)))


# ---------------------------------------------------------------------------------------------------------- reading


# -- [server]


def read_server(table: Mapping[str, Any], flags: Mapping[str, str], reading: Reading) -> Server:
    values = read_settings(table, SERVER, "server", reading)
    for setting in SERVER:
        outside = from_outside(setting, flags, reading.env)
        if outside and not setting.name.startswith(("token", "admin_token")):
            values[setting.name] = check(setting, outside[1], outside[0], reading)
        links = [name for name in setting.env if is_service_link(name, reading.env.get(name, ""))]
        reading.notes += [f"{name} is {reading.env[name]}: {SERVICE_LINK_NOTE}" for name in links]
        source = outside[0] if outside else "file" if setting.name in table else "default"
        reading.sources.append((f"server.{setting.name}", source))
    reading.notes += misspelt_variables(reading.env)
    tokens = read_tokens(table, flags, reading)
    admin_tokens = read_admin_tokens(table, reading)
    for name in ("token", "token_env", "token_file", "admin_token", "admin_token_env", "admin_token_file"):
        del values[name]
    values["key_limits"] = read_limit(values["key_limits"], "server.key_limits", reading)
    values["labels_header"] = values["labels_header"].lower()
    check_networks(values["trusted_proxies"], "server.trusted_proxies", reading)
    server = Server(tokens=tokens, admin_tokens=admin_tokens, **values)
    check_names(server, reading)
    return server


def read_state(document: Mapping[str, Any], reading: Reading) -> State | None:
    """[state], or its address from the environment; None where nothing is shared."""
    table = sub_table(document, "state", "", reading)
    values = read_settings(table, STATE, "state", reading)
    outside = from_outside(STATE[0], {}, reading.env)
    if outside:
        values["url"] = check(STATE[0], outside[1], outside[0], reading)
    if values["url"] is None:
        if table and "url" not in table:
            reading.bad("state.url", "is missing: the address of Redis or Valkey, or leave [state] out")
        return None
    return State(**values)


def check_reach(server: Server, keys: Sequence[object], reading: Reading) -> None:
    """A gateway that other machines can reach needs a token or key. Keys in the store do not count: they may be deleted."""
    if not (server.tokens or server.admin_tokens or keys or LOOPBACK.fullmatch(server.host)):
        reading.bad("server.host", f"{server.host} can be reached by others and no token is set: set "
                    "LLM_ROUTER_TOKEN or --token-file, LLM_ROUTER_ADMIN_TOKEN or [[keys]], or listen on 127.0.0.1")  # fmt: skip


# -- [[keys]]


def read_file_keys(document: Mapping[str, Any], reading: Reading) -> tuple[tuple[Key, Sequence[Secret]], ...]:
    return read_keys_of_file(document, reading, read_secret)


# -- [[providers]]


def read_provider(table: Mapping[str, Any], path: str, server: Server, reading: Reading) -> Provider | None:
    values = read_settings(table, PROVIDER, path, reading)
    special = read_settings(sub_table(table, "settings", path, reading), PROVIDER_SETTINGS, f"{path}.settings", reading)
    name = values["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        reading.bad_once(f"{path}.name", "is missing or holds characters other than A-Z a-z 0-9 _ . : + -")
        return None
    preset = read_preset(values, path, reading)
    if preset is None:
        reading.broken.add(name)
        return None
    keys = read_secret(table, "api_key", f"{path}.api_key", reading)
    hints = [values["api_key_env"]] if values["api_key_env"] else list(preset.key_env)
    command = read_key_command(values, path, reading)
    if not (values["api_key"] or values["api_key_env"] or values["api_key_file"] or command):
        keys = first_key(preset.key_env, path, reading)
    api = values["api"] or preset.api
    any_model = name not in reading.listed if values["any_model"] is None else values["any_model"]
    spoken = (api, *(each for each in special["also"] or preset.also if each in UPSTREAMS))
    header, scheme = (preset.auth_header, preset.auth_scheme) if api == preset.api else auth_of(api)
    made = Provider(
        name=name, type=values["type"] or (name if preset_of(name) else CUSTOM), api=api,
        base_url=base_url_of(values, preset, api, path, reading),
        keys=keys, needs_key=not preset.local, key_hint=" or ".join(hints) or preset.key_advice or "api_key_env",
        is_active=values["is_active"], any_model=any_model, families=preset.families,
        paths=paths_of(api, special["endpoint"], special["endpoint_template"], lists=preset.lists), headers=special["headers"],
        auth_header=special["auth_header"] or header,
        auth_scheme=scheme if special["auth_scheme"] is None else special["auth_scheme"],
        versions={name: special[name] for name in VERSION_SETTINGS},
        proxy=server.proxy if special["proxy"] is None else special["proxy"],
        connect_timeout_s=special["connect_timeout_s"] or server.connect_timeout_s,
        timeout_s=special["timeout"] or server.timeout_s,
        first_output_timeout_s=special["first_output_timeout_s"] or server.first_output_timeout_s,
        output_gap_timeout_s=special["output_gap_timeout_s"] or server.output_gap_timeout_s,
        quirks={**preset.quirks, **read_quirks(special["quirks"], spoken, f"{path}.settings.quirks", reading)},
        rename=values["rename"],
        overrides=read_overrides(values, path, reading), limit=read_limit(values["limits"], f"{path}.limits", reading),
        key_command=command,
    )  # fmt: skip
    return with_other_protocols(made, preset, special["also"], path, reading, has_own_url=bool(values["base_url"]))


def with_other_protocols(
    provider: Provider, preset: Preset, also: Sequence[str] | None, path: str, reading: Reading, *, has_own_url: bool
) -> Provider:
    """The provider with the further protocols that it speaks: those of the file, else what is known of the type."""
    is_whole = bool(preset.parts) and not has_own_url  # its address, with the parts put in
    is_known = provider.api == preset.api and (provider.base_url == preset.base_url or is_whole)
    for name in also or ():
        if name not in UPSTREAMS:
            reading.bad(f"{path}.settings.also", f'"{name}" is not a protocol of providers; use {", ".join(UPSTREAMS)}')
    names = (preset.also if is_known else ()) if also is None else [name for name in also if name in UPSTREAMS]
    others = {name: provider.speaking(name) for name in names if name != provider.api}
    return replace(provider, also=others, only=preset.only if is_known else ())


def with_secrets(provider: Provider, secrets: tuple[Secret, ...]) -> Provider:
    others = {api: replace(each, secrets=secrets) for api, each in provider.also.items()}
    return replace(provider, secrets=secrets, also=others)


def read_preset(values: Mapping[str, Any], path: str, reading: Reading) -> Preset | None:
    """The preset of `type`, or of the name; an `api` and an address alone are enough too."""
    preset = preset_of(values["type"] or values["name"])
    if preset is None and not values["type"] and values["api"]:
        return PRESETS[CUSTOM]
    if preset is None and not values["type"] and reading.has(f"{path}.api"):
        return PRESETS[CUSTOM]  # a protocol that is misspelt is one problem
    if preset is None:
        wrong = values["type"] or values["name"]
        reading.bad(f"{path}.type", f'"{wrong}" is not a type of provider{closest(wrong, PRESETS)}; the types are '
                    f'{", ".join(PRESETS)}; or give api = {either(UPSTREAMS)} and base_url')  # fmt: skip
    return preset


def read_key_command(values: Mapping[str, Any], path: str, reading: Reading) -> KeyCommand | None:
    """The command that prints the key; a problem where there is a key beside it."""
    if not values["api_key_command"]:
        return None
    beside = next((name for name in ("api_key", "api_key_env", "api_key_file") if values[name]), "")
    if beside:
        reading.bad(f"{path}.api_key_command", f"is set together with {beside}: keep one of them")
    return KeyCommand(values["api_key_command"], values["api_key_command_ttl_s"], values["api_key_command_timeout_s"])


def first_key(names: Iterable[str], path: str, reading: Reading) -> tuple[Secret, ...]:
    for name in names:
        if reading.env.get(name, "").strip():
            return read_secret({"api_key_env": name}, "api_key", f"{path}: {name}", reading)
    return ()


def auth_of(api: str) -> tuple[str, str]:
    """What a protocol sends its key in where that is not the preset's: (header, scheme)."""
    return UPSTREAMS[api].auth_header, UPSTREAMS[api].auth_scheme


def either(names: Iterable[str]) -> str:
    """either(["a", "b", "c"]) -> '"a", "b" or "c"'."""
    *most, last = (f'"{name}"' for name in names)
    return f"{', '.join(most)} or {last}" if most else last


def paths_of(api: str, endpoint: str, template: str, *, lists: bool = True) -> Mapping[str, str]:
    """The paths of an api, with the configured chat path, and without that of a list that is not there."""
    paths = {call: path for call, path in UPSTREAMS[api].paths.items() if lists or call != "models"}
    chosen = template or endpoint
    if chosen:
        paths["chat"] = chosen
    if chosen and "stream" in paths:
        paths["stream"] = UPSTREAMS[api].stream_path(chosen)
    return paths


VERSION_SETTINGS = tuple(upstream.version.setting for upstream in UPSTREAMS.values() if upstream.version)
CREDENTIAL = re.compile(r"auth|key|token|secret|cookie|credential|password", re.I)  # in a header's name
MIN_CREDENTIAL = 8  # characters; masking shorter texts would garble ordinary words


def secrets_of(provider: Provider, models: Iterable[Model]) -> tuple[Secret, ...]:
    """The credentials of a provider, which no answer, error or log may repeat; of "Bearer abcdefgh" the last word."""
    added = [provider.headers, provider.overrides.headers]
    added += [model.overrides.headers for model in models if model.provider == provider.name]
    values = [value for headers in added for name, value in headers.items() if value and CREDENTIAL.search(name)]
    found = [Secret(value.split()[-1]) for value in values if value.strip()]
    return (*provider.keys, *(secret for secret in found if len(secret.reveal()) >= MIN_CREDENTIAL))


# -- [[models]]

PER_MTOK = tuple(setting.name for setting in MODEL_CONFIG if setting.name.endswith("_usd_per_mtok"))
LEAST_USD_PER_MTOK = 0.001  # a tenth of the lowest price on the market; even the dearest single token costs less


def read_model(table: Mapping[str, Any], path: str, reading: Reading, provider: str = "") -> Model | None:
    values = read_settings(table, MODEL, path, reading)
    known = {setting.name for setting in MODEL_CONFIG}
    raw = sub_table(table, "config", path, reading)
    info = read_settings(raw, MODEL_CONFIG, f"{path}.config", reading, closed=False)
    reading.notes += [f"{path}.config.{name} is only shown{near}" for name, near in misspelt(raw, known)]
    reading.notes += [f"{path}.config.{name} is {info[name]:g} US dollars per million tokens: is it the price of one token?"
                      for name in PER_MTOK if info[name] is not None and 0 < info[name] < LEAST_USD_PER_MTOK]  # fmt: skip
    name, owner = values["name"], values["provider"] or provider
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        reading.bad_once(f"{path}.name", "is missing, or has a space at an end or a control character inside")
        return None
    if not owner:
        reading.bad_once(f"{path}.provider", f'"{name}" needs the name of its provider')
        return None
    return Model(
        name=name, provider=owner, remote_id=values["remote_identifier"] or info["model"] or name,
        endpoint=info["endpoint"], display_name=values["display_name"], description=values["description"],
        is_active=values["is_active"], tags=values["tags"],
        context_window=info["context_window"], max_output_tokens=info["max_output_tokens"],
        modalities=modalities_of(info), supports_tools=info["supports_tools"],
        input_usd_per_mtok=price(info["input_usd_per_mtok"], info["cost_per_1k_tokens"]),
        output_usd_per_mtok=price(info["output_usd_per_mtok"], info["cost_per_1k_completion_tokens"]),
        cached_input_usd_per_mtok=info["cached_input_usd_per_mtok"],
        extra={key: plain_value(value) for key, value in raw.items() if key not in known}, priority=info["priority"],
        overrides=read_overrides(values, path, reading), limit=read_model_limit(table, path, reading),
        cache_write_usd_per_mtok=info["cache_write_usd_per_mtok"],
        cache_write_1h_usd_per_mtok=info["cache_write_1h_usd_per_mtok"],
        long_context=read_long_context(info["long_context"], f"{path}.config", reading), cache_ttl_s=info["cache_ttl_s"],
    )  # fmt: skip


def read_long_context(tables: Sequence[Mapping[str, Any]], path: str, reading: Reading) -> tuple[LongContext, ...]:
    """The prices of long inputs, each with the two without which it is none."""
    found: dict[int, LongContext] = {}
    for index, table in enumerate(tables):
        here = f"{path}.long_context[{index}]"
        values = read_settings(table, LONG_CONTEXT, here, reading)
        missing = [name for name in ("above", "input_usd_per_mtok", "output_usd_per_mtok") if name not in table]
        for name in missing:
            reading.bad(f"{here}.{name}", "is missing")
        if not missing and None not in (values["above"], values["input_usd_per_mtok"], values["output_usd_per_mtok"]):
            if values["above"] in found:
                reading.bad(f"{here}.above", "is given twice")
            found[values["above"]] = LongContext(**values)
    return tuple(found.values())


def modalities_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """("text", "image") from either spelling; () when the file sets neither."""
    listed: tuple[str, ...] = info["modalities"]
    if info["supports_vision"] and "image" not in listed:
        return (*(listed or ("text",)), "image")
    return listed or (("text",) if info["supports_vision"] is False else ())


def price(per_mtok: float | None, per_1k: float | None) -> float | None:
    return per_mtok if per_mtok is not None or per_1k is None else round(per_1k * 1_000, 9)


# -- the whole


TABLE_NAMES = (
    "server", "providers", "models", "groups", "routing", "health", "tasks", "keys", "state", "alerts", "frontend", "telemetry",
)  # fmt: skip


def read_models(document: Mapping[str, Any], providers: Mapping[str, Provider], reading: Reading) -> tuple[Model, ...]:
    """[[models]] and [[PROVIDER.models]], each with a provider that exists, none twice."""
    found = [
        (f"models[{index}]", read_model(table, f"models[{index}]", reading))
        for index, table in enumerate(list_of(document, "models", "", reading))
    ]
    for name in (name for name in document if name in {*providers, *reading.broken}.difference(TABLE_NAMES)):
        tables = list_of(sub_table(document, name, "", reading), "models", name, reading)
        for index, table in enumerate(tables):
            path = f"{name}.models[{index}]"
            found.append((path, read_model(table, path, reading, name)))
    models: dict[tuple[str, str], Model] = {}
    for path, model in found:
        if model is None:
            continue
        if model.provider not in {*providers, *reading.broken}:
            near = closest(model.provider, providers)
            reading.bad(f"{path}.provider", f'there is no provider "{model.provider}"{near}')
        elif (model.provider, model.name) in models:
            reading.bad(f"{path}.name", f'"{model.provider}/{model.name}" exists already')
        models[model.provider, model.name] = model
    return tuple(models.values())


def read_providers(document: Mapping[str, Any], server: Server, reading: Reading) -> dict[str, Provider]:
    providers: dict[str, Provider] = {}
    for index, table in enumerate(list_of(document, "providers", "", reading)):
        provider = read_provider(table, f"providers[{index}]", server, reading)
        if provider and provider.name in providers:
            reading.bad(f"providers[{index}].name", f'"{provider.name}" exists already')
        if provider:
            providers[provider.name] = provider
            check_provider(provider, f"providers[{index}]", server, reading)
    return providers


def check_provider(provider: Provider, path: str, server: Server, reading: Reading) -> None:
    """What can be wrong with it as a whole."""
    if is_address_of(provider.base_url, server.host, server.port):
        reading.bad(f"{path}.base_url", f"{provider.base_url} is this gateway itself: give one of them another port")
    if provider.is_active and provider.lacks_key:
        reading.notes.append(f"{provider.name}: no key ({provider.key_hint} is not set); its models answer 503")


def listed_providers(document: Mapping[str, Any]) -> frozenset[str]:
    """The providers that the file lists models for; before any check, so of any shape."""
    models = document.get("models")
    tables = [table for table in models if isinstance(table, dict)] if isinstance(models, list) else []
    nested = [name for name, table in document.items() if isinstance(table, dict) and table.get("models")]
    return frozenset([*(str(table.get("provider")) for table in tables), *nested])


def check_groups(groups: Iterable[Group], models: Iterable[Model], reading: Reading) -> None:
    """A group that hides a model: the bare name is worth a note, the full one is a mistake."""
    full = {f"{model.provider}/{model.name}" for model in models}
    bare = {model.name for model in models}
    for index, group in enumerate(groups):
        if group.name in full:
            reading.bad(f"groups[{index}].name", f'"{group.name}" is a model')
        elif group.name in bare:
            reading.notes.append(f'group "{group.name}" takes precedence over the model of this name')


def accepting_providers(providers: Iterable[Provider], name: str) -> tuple[Provider, ...]:
    """The providers that accept any name and that a bare name can refer to.

    Those whose family it belongs to (gpt-... is OpenAI's); else those that serve all vendors' models
    (Ollama, OpenRouter); else all of them, so that a lone provider takes every name.
    """
    everyone = tuple(providers)
    kin = tuple(provider for provider in everyone if name.startswith(provider.families or ("\0",)))
    general = tuple(provider for provider in everyone if not provider.families)
    return kin or general or everyone


def resolver(providers: Mapping[str, Provider], models: Iterable[Model], reading: Reading) -> Callable[[str, str], str | None]:
    """What turns the name of a group's member into a full one; None, and a problem noted there or before, when it cannot be."""
    full = {f"{model.provider}/{model.name}": model.is_active and providers[model.provider].is_active
            for model in models if model.provider in providers}  # fmt: skip
    opened = [provider for provider in providers.values() if provider.any_model]
    broken = {model.name for model in models if model.provider in reading.broken}

    def resolve(name: str, path: str) -> str | None:
        owner, _, rest = name.partition("/")
        if name in broken or owner in reading.broken:
            return None  # what is wrong with its provider is noted
        known = name in full or (rest and any(owner == provider.name for provider in opened))
        ways = [name] if known else [each for each in full if each.partition("/")[2] == name]
        ways = [each for each in ways if full.get(each, True)] or ways
        ways = ways or [f"{provider.name}/{name}" for provider in accepting_providers(opened, name)]
        if len(ways) == 1:
            if not full.get(ways[0], True):
                reading.notes.append(f"{path}: {ways[0]} is switched off")
            return ways[0]
        if ways:
            reading.bad(path, f'"{name}" is ambiguous: write one of {", ".join(ways[:8])}')
        else:
            reading.bad(path, f'no model is named "{name}"{closest(name, full)}')
        return None

    return resolve


def with_default(routing: Routing, groups: Iterable[Group], resolve: Callable[[str, str], str | None]) -> Routing:
    """The default model as it is named in full; of a group as it is."""
    name = routing.default_model
    if not name or any(name == group.name for group in groups):
        return routing
    return replace(routing, default_model=resolve(name, "routing.default_model") or "")


def parse(
    document: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    read_secret: Callable[[str], str] = str,
) -> Config:
    """The Config of a parsed TOML document; ConfigError with every problem if there is any.

    `flags` holds texts by setting name; `read_secret` returns the text of a secret's file.
    """
    reading = Reading(env or {}, read_secret, [], [], [], listed_providers(document))
    server = read_server(sub_table(document, "server", "", reading), flags or {}, reading)
    providers = read_providers(document, server, reading)
    models = read_models(document, providers, reading)
    resolve = resolver(providers, models, reading)
    groups = read_groups(document, resolve, reading)
    routing = with_default(read_routing(document, reading), groups, resolve)
    check_groups(groups, models, reading)
    if server.files_provider and server.files_provider not in {*providers, *reading.broken}:
        reading.bad("server.files_provider", f'there is no provider "{server.files_provider}"'
                    + closest(server.files_provider, providers))  # fmt: skip
    keys, state = read_file_keys(document, reading), read_state(document, reading)
    check_reach(server, keys, reading)
    check_secrets(server, keys, reading)
    alerts = read_alerts(sub_table(document, "alerts", "", reading), reading.env, reading)
    telemetry = read_telemetry(sub_table(document, "telemetry", "", reading), reading.env, reading)
    known = {*TABLE_NAMES, *providers, *reading.broken}
    for name in sorted(document.keys() - known):
        reading.bad(name, "unknown table" + closest(name, known))
    if "frontend" in document:
        reading.notes.append("[frontend] is a section of an older server, and is ignored")
    if reading.problems:
        raise ConfigError(reading.problems)
    careful = tuple(with_secrets(provider, secrets_of(provider, models)) for provider in providers.values())
    config = Config(
        server, careful, models, tuple(reading.notes), tuple(reading.sources), groups, routing, keys, telemetry, state, alerts
    )
    return replace(config, notes=(*config.notes, *config.unmatched_patterns(*(key for key, _ in keys))))


# ------------------------------------------------------------------------------------------- what is not router.toml


def implied_document(env: Mapping[str, str], *, local_server: bool = False) -> dict[str, Any]:
    """The document used without a file: each provider whose key is in the environment.

    implied_document({"OPENAI_API_KEY": "..."}) -> {"providers": [{"name": "openai", "type": "openai"}]}
    """
    names = [name for name, preset in PRESETS.items()
             if any(env.get(key, "").strip() for key in preset.key_env) and has_parts(preset, env)]  # fmt: skip
    if local_server and LOCAL_SERVER not in names:
        names.append(LOCAL_SERVER)
    return {"providers": [{"name": name, "type": name} for name in names]}
