"""TOML text -> one immutable Config, or every problem at once.

    parse(tomllib.loads(text), env=os.environ, flags={"port": "9000"}, read_secret=...)  -> Config
    parse({"server": {"prot": 1}})  -> ConfigError, problems == (Problem("server.prot", "unknown key; ..."),)

The table in `settings` says what each key is. Precedence: flags, environment, file, default.
Nothing here reads a file, the environment or a clock: all of it is handed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .presets import AUTH, CUSTOM, PATHS, PRESETS, ROOTS, Preset, join_url, preset_of
from .settings import (
    LOOPBACK,
    MODEL,
    MODEL_CONFIG,
    MODEL_NAME,
    NAME,
    PROVIDER,
    PROVIDER_SETTINGS,
    RATE_LIMIT,
    SERVER,
    Secret,
    Setting,
    read_keys,
    read_tables,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: Problem("models[2].provider", 'no provider is named "opnai"')."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


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
    max_connections: int
    connect_timeout_s: float
    timeout_s: float
    first_output_timeout_s: float
    output_gap_timeout_s: float
    keepalive_s: float
    drain_s: float


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream, complete: nothing here is looked up again in its preset."""

    name: str
    type: str
    api: str
    base_url: str
    keys: tuple[Secret, ...]
    needs_key: bool
    key_hint: str  # where a missing key is looked for, for messages
    is_active: bool
    any_model: bool
    families: tuple[str, ...]
    paths: Mapping[str, str]
    headers: Mapping[str, str]
    auth_header: str
    auth_scheme: str
    anthropic_version: str
    proxy: str
    connect_timeout_s: float
    timeout_s: float
    first_output_timeout_s: float
    output_gap_timeout_s: float
    quirks: Mapping[str, object]

    def url(self, call: str, model: str = "") -> str:
        """Address of a call: "chat", "stream", "count", "embeddings", "models"; "" if it has none."""
        path = self.paths.get(call, "")
        return join_url(self.base_url, path.replace("{model}", model)) if path else ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one provider; None where the file says nothing."""

    name: str
    provider: str
    remote_id: str
    endpoint: str
    display_name: str
    description: str
    is_active: bool
    tags: tuple[str, ...]
    default_params: Mapping[str, Any]
    context_window: int | None
    max_output_tokens: int | None
    modalities: tuple[str, ...]
    supports_tools: bool | None
    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None
    extra: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Config:
    """All of it. Swapped whole; a request keeps the one it began with."""

    server: Server
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    notes: tuple[str, ...] = ()  # worth saying at start, not worth stopping for
    sources: tuple[tuple[str, str], ...] = ()  # ("server.port", "LLM_ROUTER_PORT")


# ---------------------------------------------------------------------------------------------------------- reading


@dataclass(slots=True)
class Reading:
    """What one parse collects and what it may ask for."""

    env: Mapping[str, str]
    read_secret: Callable[[str], str]
    problems: list[Problem]
    notes: list[str]
    sources: list[tuple[str, str]]
    listed: frozenset[str]  # providers that some [[models]] entry names

    def bad(self, path: str, text: str) -> None:
        self.problems.append(Problem(path, text))


def shown(value: object) -> str:
    """A value in an error text, short."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def closest(name: str, names: Iterable[str]) -> str:
    """"; did you mean ...?", or "" when nothing is near."""
    from difflib import get_close_matches  # 8 ms, only when something is wrong

    near = get_close_matches(name, list(names), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def check(setting: Setting, value: object, path: str, reading: Reading) -> Any:
    """The checked value, or the default with the problem noted. Secrets are not repeated."""
    try:
        return setting.read(value)
    except ValueError as wrong:
        text = str(wrong) if setting.kind in ("secret", "headers") else f"{shown(value)} {wrong}"
        reading.bad(path, text)
        return setting.default


def read_settings(
    table: Mapping[str, Any], settings: Iterable[Setting], path: str, reading: Reading, *, closed: bool = True
) -> dict[str, Any]:
    """A TOML table against its settings: every key there, defaults filled in, unknown keys reported."""
    known = {setting.name: setting for setting in settings}
    for name in table if closed else ():
        if name not in known:
            reading.bad(f"{path}.{name}", "unknown key" + closest(name, known))
    return {
        name: check(setting, table[name], f"{path}.{name}", reading) if name in table else setting.default
        for name, setting in known.items()
    }


def sub_table(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> Mapping[str, Any]:
    """table[name] when it is a table, else {} with the problem noted."""
    value = table.get(name, {})
    if isinstance(value, dict):
        return value
    reading.bad(f"{path}.{name}" if path else name, "is not a table")
    return {}


def list_of(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> tuple[Mapping[str, Any], ...]:
    """table[name] when it is a list of tables, else () with the problem noted."""
    try:
        return read_tables(table.get(name, []))
    except ValueError as wrong:
        reading.bad(f"{path}.{name}" if path else name, str(wrong))
        return ()


# -- [server]


def from_outside(setting: Setting, flags: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, object] | None:
    """Where a flag or an environment variable sets it, and to what; None if neither does."""
    if setting.name in flags:
        return setting.flag.rsplit("/", 1)[-1], setting.from_text(flags[setting.name])
    for name in setting.env:
        if env.get(name, "").strip():
            return name, setting.from_text(env[name])
    return None


def read_server(table: Mapping[str, Any], flags: Mapping[str, str], reading: Reading) -> Server:
    values = read_settings(table, SERVER, "server", reading)
    for setting in SERVER:
        outside = from_outside(setting, flags, reading.env)
        if outside and not setting.name.startswith("token"):
            values[setting.name] = check(setting, outside[1], outside[0], reading)
        source = outside[0] if outside else "file" if setting.name in table else "default"
        reading.sources.append((f"server.{setting.name}", source))
    tokens = read_tokens(table, flags, reading)
    for name in ("token", "token_env", "token_file"):
        del values[name]
    server = Server(tokens=tokens, **values)
    if not tokens and not LOOPBACK.fullmatch(server.host):
        reading.bad("server.host", f"{server.host} can be reached by others and no token is set: set "
                    "LLM_ROUTER_TOKEN or --token-file, or listen on 127.0.0.1")  # fmt: skip
    return server


def read_tokens(table: Mapping[str, Any], flags: Mapping[str, str], reading: Reading) -> tuple[Secret, ...]:
    """The tokens of the first place that names any: flags, environment, file."""
    if "token" in flags:
        reading.notes.append("--token is visible in the list of processes: LLM_ROUTER_TOKEN or --token-file is not")
    places: tuple[tuple[str, Mapping[str, Any], str], ...] = (
        ("--", flags, ""),
        ("", {"token": ",".join(filter(None, map(reading.env.get, ("LLM_ROUTER_TOKEN", "LLM_ROUTER_API_KEYS")))),
              "token_file": reading.env.get("LLM_ROUTER_TOKEN_FILE", "")}, "LLM_ROUTER_TOKEN"),
        ("server.", table, ""),
    )  # fmt: skip
    for prefix, place, path in places:
        named = any(place.get(name) for name in ("token", "token_env", "token_file"))
        tokens = read_secret(place, "token", path or f"{prefix}token", reading) if named else ()
        if named and not tokens and not reading.problems:
            reading.bad(path or f"{prefix}token", "names a token and holds none")
        if named:
            return tokens
    return ()


def read_secret(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> tuple[Secret, ...]:
    """The keys that `name`, `name`_env and `name`_file give together: the first of them that is set."""
    value, where = table.get(name), path
    if not value and table.get(f"{name}_env"):
        where = f"{path}_env"
        value = reading.env.get(str(table[f"{name}_env"]), "")
    if not value and table.get(f"{name}_file"):
        where = f"{path}_file"
        try:
            value = reading.read_secret(str(table[f"{name}_file"])).replace("\n", ",")
        except (OSError, ValueError) as wrong:
            reading.bad(where, f"cannot be read: {wrong}")
    try:
        return read_keys(value or "")
    except ValueError as wrong:
        reading.bad(where, str(wrong))
        return ()


# -- [[providers]]


def read_provider(table: Mapping[str, Any], path: str, server: Server, reading: Reading) -> Provider | None:
    values = read_settings(table, PROVIDER, path, reading)
    special = read_settings(sub_table(table, "settings", path, reading), PROVIDER_SETTINGS, f"{path}.settings", reading)
    name = values["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        reading.bad(f"{path}.name", "is missing or holds other characters than A-Z a-z 0-9 _ . : + -")
        return None
    preset = read_preset(values, path, reading)
    if preset is None:
        return None
    keys = read_secret(table, "api_key", f"{path}.api_key", reading)
    hints = [values["api_key_env"]] if values["api_key_env"] else list(preset.key_env)
    if not (values["api_key"] or values["api_key_env"] or values["api_key_file"]):
        keys = first_key(preset.key_env, path, reading)
    api = values["api"] or preset.api
    any_model = name not in reading.listed if values["any_model"] is None else values["any_model"]
    header, scheme = (preset.auth_header, preset.auth_scheme) if api == preset.api else AUTH[api]
    return Provider(
        name=name, type=values["type"] or (name if preset_of(name) else CUSTOM), api=api,
        base_url=base_url_of(values, preset, api, path, reading),
        keys=keys, needs_key=not preset.local, key_hint=" or ".join(hints) or "api_key_env",
        is_active=values["is_active"], any_model=any_model, families=preset.families,
        paths=paths_of(api, special["endpoint"], special["endpoint_template"]), headers=special["headers"],
        auth_header=special["auth_header"] or header,
        auth_scheme=scheme if special["auth_scheme"] is None else special["auth_scheme"],
        anthropic_version=special["anthropic_version"],
        proxy=server.proxy if special["proxy"] is None else special["proxy"],
        connect_timeout_s=special["connect_timeout_s"] or server.connect_timeout_s,
        timeout_s=special["timeout"] or server.timeout_s,
        first_output_timeout_s=special["first_output_timeout_s"] or server.first_output_timeout_s,
        output_gap_timeout_s=special["output_gap_timeout_s"] or server.output_gap_timeout_s,
        quirks={**preset.quirks, **special["quirks"]},
    )  # fmt: skip


def read_preset(values: Mapping[str, Any], path: str, reading: Reading) -> Preset | None:
    """The preset of `type`, or of the name; an `api` and an address alone are enough too."""
    preset = preset_of(values["type"] or values["name"])
    if preset is None and not values["type"] and values["api"]:
        return PRESETS[CUSTOM]
    if preset is None:
        wrong = values["type"] or values["name"]
        reading.bad(f"{path}.type", f'"{wrong}" is not a type of provider{closest(wrong, PRESETS)} There are: '
                    f'{", ".join(PRESETS)}; or give api = "openai", "anthropic" or "gemini" and base_url')  # fmt: skip
    return preset


def first_key(names: Iterable[str], path: str, reading: Reading) -> tuple[Secret, ...]:
    for name in names:
        if reading.env.get(name, "").strip():
            return read_secret({"api_key_env": name}, "api_key", f"{path}: {name}", reading)
    return ()


def base_url_of(values: Mapping[str, Any], preset: Preset, api: str, path: str, reading: Reading) -> str:
    """The address with a scheme and, when it is only a host, the root of its protocol."""
    url = values["base_url"] or (preset.base_url if api == preset.api else "")
    if not url and not any(problem.path == f"{path}.base_url" for problem in reading.problems):
        reading.bad(f"{path}.base_url", "is missing, and its type has none of its own")
    return url + ROOTS[api] if url.count("/") == 2 else url


def paths_of(api: str, endpoint: str, template: str) -> Mapping[str, str]:
    """The paths of an api, with the chat call's replaced when the file says so."""
    paths = dict(PATHS[api])
    chosen = template or endpoint
    if chosen:
        paths["chat"] = chosen
    if chosen and api == "gemini":
        paths["stream"] = chosen.replace(":generateContent", ":streamGenerateContent") + "?alt=sse"
    return paths


# -- [[models]]


def read_model(table: Mapping[str, Any], path: str, reading: Reading, provider: str = "") -> Model | None:
    values = read_settings(table, MODEL, path, reading)
    known = {setting.name for setting in MODEL_CONFIG}
    raw = sub_table(table, "config", path, reading)
    info = read_settings(raw, MODEL_CONFIG, f"{path}.config", reading, closed=False)
    if values["rate_limit"]:
        read_rate_limit(values["rate_limit"], f"{path}.rate_limit", reading)
    name, owner = values["name"], values["provider"] or provider
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        reading.bad(f"{path}.name", "is missing or holds spaces or one of ? # \\")
        return None
    if not owner:
        reading.bad(f"{path}.provider", f'"{name}" needs the name of its provider')
        return None
    return Model(
        name=name, provider=owner, remote_id=values["remote_identifier"] or info["model"] or name,
        endpoint=info["endpoint"], display_name=values["display_name"], description=values["description"],
        is_active=values["is_active"], tags=values["tags"], default_params=values["default_params"],
        context_window=info["context_window"], max_output_tokens=info["max_output_tokens"],
        modalities=modalities_of(info), supports_tools=info["supports_tools"],
        input_usd_per_mtok=price(info["input_usd_per_mtok"], info["cost_per_1k_tokens"]),
        output_usd_per_mtok=price(info["output_usd_per_mtok"], info["cost_per_1k_completion_tokens"]),
        cached_input_usd_per_mtok=info["cached_input_usd_per_mtok"],
        extra={key: value for key, value in raw.items() if key not in known},
    )  # fmt: skip


def modalities_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """("text", "image") from either way of saying it; () when the file says nothing."""
    listed: tuple[str, ...] = info["modalities"]
    if info["supports_vision"] and "image" not in listed:
        return (*(listed or ("text",)), "image")
    return listed or (("text",) if info["supports_vision"] is False else ())


def price(per_mtok: float | None, per_1k: float | None) -> float | None:
    return per_mtok if per_mtok is not None or per_1k is None else round(per_1k * 1_000, 9)


def read_rate_limit(table: Mapping[str, Any], path: str, reading: Reading) -> None:
    """Checked so that a wrong one is told now; enforcing it belongs to `limits`."""
    values = read_settings(table, RATE_LIMIT, path, reading)
    for name in ("max_requests", "per_seconds"):
        if values[name] is None:
            reading.bad(f"{path}.{name}", "is missing")
    if values["burst_size"] and values["max_requests"] and values["burst_size"] < values["max_requests"]:
        reading.bad(f"{path}.burst_size", "is below max_requests")
    reading.notes.append(f"{path} is not applied by this version")


# -- the whole


def read_models(document: Mapping[str, Any], providers: Mapping[str, Provider], reading: Reading) -> tuple[Model, ...]:
    """[[models]] and [[PROVIDER.models]], each with a provider that exists, none twice."""
    found = [
        (f"models[{index}]", read_model(table, f"models[{index}]", reading))
        for index, table in enumerate(list_of(document, "models", "", reading))
    ]
    for name in filter(providers.__contains__, document):
        tables = list_of(sub_table(document, name, "", reading), "models", name, reading)
        for index, table in enumerate(tables):
            path = f"{name}.models[{index}]"
            found.append((path, read_model(table, path, reading, name)))
    models: dict[tuple[str, str], Model] = {}
    for path, model in found:
        if model is None:
            continue
        if model.provider not in providers:
            near = closest(model.provider, providers)
            reading.bad(f"{path}.provider", f'no provider is named "{model.provider}"{near}')
        elif (model.provider, model.name) in models:
            reading.bad(f"{path}.name", f'"{model.provider}/{model.name}" is there already')
        models[model.provider, model.name] = model
    return tuple(models.values())


def read_providers(document: Mapping[str, Any], server: Server, reading: Reading) -> dict[str, Provider]:
    providers: dict[str, Provider] = {}
    for index, table in enumerate(list_of(document, "providers", "", reading)):
        provider = read_provider(table, f"providers[{index}]", server, reading)
        if provider and provider.name in providers:
            reading.bad(f"providers[{index}].name", f'"{provider.name}" is there already')
        if provider:
            providers[provider.name] = provider
            check_provider(provider, f"providers[{index}]", server, reading)
    return providers


def check_provider(provider: Provider, path: str, server: Server, reading: Reading) -> None:
    """What can be wrong with it as a whole."""
    if provider.base_url.split("/")[2:3] == [f"{server.host}:{server.port}"]:
        reading.bad(f"{path}.base_url", f"{provider.base_url} is this gateway itself: give one of them another port")
    if provider.is_active and provider.needs_key and not provider.keys:
        reading.notes.append(f"{provider.name}: no key ({provider.key_hint} is not set); its models answer 503")
    if len(provider.keys) > 1:
        reading.notes.append(f"{provider.name}: {len(provider.keys)} keys; this version uses the first")


def listed_providers(document: Mapping[str, Any]) -> frozenset[str]:
    """The providers that the file lists models for; before any check, so of any shape."""
    models = document.get("models")
    tables = [table for table in models if isinstance(table, dict)] if isinstance(models, list) else []
    nested = [name for name, table in document.items() if isinstance(table, dict) and table.get("models")]
    return frozenset([*(str(table.get("provider")) for table in tables), *nested])


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
    known = {"server", "providers", "models", "frontend", *providers}
    for name in sorted(document.keys() - known):
        reading.bad(name, "unknown table" + closest(name, known))
    if "frontend" in document:
        reading.notes.append("[frontend] belongs to an older server and is not used")
    if reading.problems:
        raise ConfigError(reading.problems)
    return Config(server, tuple(providers.values()), models, tuple(reading.notes), tuple(reading.sources))


# ------------------------------------------------------------------------------------------- what is not router.toml


def implied(env: Mapping[str, str], *, ollama: bool = False) -> dict[str, Any]:
    """The document that stands in for a missing file: each provider whose key is in the environment.

    implied({"OPENAI_API_KEY": "..."}) -> {"providers": [{"name": "openai", "type": "openai"}]}
    """
    names = [name for name, preset in PRESETS.items() if any(env.get(key, "").strip() for key in preset.key_env)]
    if ollama and "ollama" not in names:
        names.append("ollama")
    return {"providers": [{"name": name, "type": name} for name in names]}


ENV_LINE = re.compile(r"""\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*('[^']*'|"(?:[^"\\]|\\.)*"|.*?)\s*(?:\s#.*)?""")


def read_dotenv(text: str) -> dict[str, str]:
    """.env: NAME=value lines, with or without `export`, quotes, `# comments`, CRLF and a byte order mark.

    read_dotenv('export A="x y" # note')  -> {"A": "x y"}
    """
    values: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        match = ENV_LINE.fullmatch(line)
        if match:
            value = match[2]
            values[match[1]] = value[1:-1] if value[:1] in ("'", '"') and value[-1:] == value[:1] else value
    return values
