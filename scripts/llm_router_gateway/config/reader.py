"""A TOML table read against its settings, every problem noted with its path.

reading = Reading(env, read_secret, [], [], [], frozenset())
read_settings({"prot": 1}, SERVER, "server", reading)  -> {"port": 8000, ...}
reading.problems  -> [Problem("server.prot", 'unknown key; did you mean "port"?')]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .kinds import read_tables
from .settings import BUDGET, LIMITS, MODEL_CONFIG, PROVIDER_SETTINGS, Setting


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault and its path: Problem("models[2].provider", 'there is no provider "opnai"')."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Reading:
    """The problems and notes that one parse collects, and its environment."""

    env: Mapping[str, str]
    read_secret: Callable[[str], str]
    problems: list[Problem]
    notes: list[str]
    sources: list[tuple[str, str]]
    listed: frozenset[str]  # providers that some [[models]] entry names
    broken: set[str] = field(default_factory=set)  # providers that are there and cannot be used: naming them is not a problem

    def bad(self, path: str, text: str) -> None:
        self.problems.append(Problem(path, text))

    def bad_once(self, path: str, text: str) -> None:
        """The same for a rule beyond a setting's kind: of a value that is not even of its kind, nothing more is said."""
        if not self.has(path):
            self.bad(path, text)

    def has(self, *paths: str) -> bool:
        """Whether a problem of one of these settings is noted already."""
        return any(problem.path in paths for problem in self.problems)


def value_text(value: object) -> str:
    """A value in an error text, short."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


INNER: Mapping[str, tuple[Setting, ...]] = {  # tables in tables, whose settings may be looked for outside of them
    "settings": PROVIDER_SETTINGS, "config": MODEL_CONFIG, "limits": LIMITS, "key_limits": LIMITS, "budget": BUDGET,
}  # fmt: skip
NEAR = 0.6  # from 0 to 1, of a name where only a few can be
VERY_NEAR = 0.85  # of one where any other may be: a misspelt price is not a price
OTHER_NAMES = {  # names that other tools use, and that resemble another setting here
    "requests_per_second": "max_requests with per_seconds = 1",
    **dict.fromkeys(("requests_per_minute", "rpm", "rpm_limit", "max_rpm"), "max_requests with per_seconds = 60"),
    "requests_per_hour": "max_requests with per_seconds = 3600",
    **dict.fromkeys(("requests_per_day", "rpd"), "max_requests with per_seconds = 86400"),
    **dict.fromkeys(("tpm", "tpm_limit", "max_tpm"), "tokens_per_minute"),
    "max_parallel_requests": "max_concurrent",
}


SYNONYMS: Mapping[str, tuple[str, ...]] = {  # what it is called elsewhere -> the same here, of which a table has one
    **dict.fromkeys(("api_base", "baseURL", "base_uri", "api_url"), ("base_url",)),
    "url": ("base_url", "webhook"), "redis_url": ("url",), "api_type": ("api",), "type": ("api",),
    **dict.fromkeys(("enabled", "disabled", "active", "status"), ("is_active",)),
    "model_name": ("name",), "id": ("name",), "model": ("remote_identifier",), "upstream": ("remote_identifier",),
    "context_length": ("context_window",), "max_tokens": ("max_output_tokens",),
    "models": ("members", "allowed_models"), "order": ("priority",), "filter": ("selector",), "condition": ("selector",),
    "name": ("model",),
    **dict.fromkeys(("token", "secret", "api_key"), ("key",)), "allowed_ips": ("networks",), "admin": ("is_admin",),
    "max_budget": ("budget",), "request_timeout": ("timeout_s", "timeout"), "timeout": ("timeout_s", "first_output_timeout_s"),
    **dict.fromkeys(("bind", "listen", "address"), ("host",)), "master_key": ("token",), "database_url": ("store",),
    "cors": ("cors_origins",), "json_logs": ("log_format",), "debug": ("log_level",), "verbose": ("log_level",),
    "allowed_fails": ("failures_to_open",), "cooldown_time": ("open_s",), "cooldown": ("open_s",), "thresholds": ("at",),
}  # fmt: skip


def closest(name: str, names: Iterable[str], near_from: float = NEAR) -> str:
    """ "; did you mean ...?", or "" when nothing is near."""
    names = list(names)
    other = OTHER_NAMES.get(name, "")
    if other.partition(" ")[0] in names:
        return f"; write {other}"
    from difflib import get_close_matches  # 8 ms, only when something is wrong

    near = get_close_matches(name, names, n=1, cutoff=near_from)
    return f'; did you mean "{near[0]}"?' if near else ""


def misspelt(names: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Of names that may be any: each that is nearly a known one, and "; did you mean ...?"."""
    for name in names:
        near = "" if name in known else closest(name, known, VERY_NEAR)
        if near:
            yield name, near


# Kinds whose values are not repeated: they are secrets, or a secret may stand there by mistake.
QUIET = frozenset({"secret", "variable", "secret path", "headers", "header patch", "state url", "webhook", "command"})


def check(setting: Setting, value: object, path: str, reading: Reading) -> Any:
    """The checked value, or the default with the problem noted. Secrets are not repeated."""
    try:
        return setting.read(value)
    except ValueError as wrong:
        quiet = setting.kind in QUIET or (setting.kind in ("url", "proxy") and "@" in str(value))  # it may hold a password
        text = str(wrong) if quiet else f"{value_text(value)} {wrong}"
        reading.bad(path, text)
        return setting.default


def advice(name: str, known: Mapping[str, Setting]) -> str:
    """What to write in place of an unknown name: its synonym, the table that has it, or the nearest name; "" for nothing."""
    same = next((each for each in SYNONYMS.get(name, ()) if each in known), "")
    if same:
        return f'; did you mean "{same}"?'
    inner = {place: table for place, table in INNER.items() if place in known and known[place].kind == "table"}
    place = next((place for place, table in inner.items() if any(name == setting.name for setting in table)), "")
    return f"; it belongs in {place}: {place} = {{ {name} = ... }}" if place else closest(name, known)


def read_settings(
    table: Mapping[str, Any], settings: Iterable[Setting], path: str, reading: Reading, *, closed: bool = True
) -> dict[str, Any]:
    """A TOML table against its settings: every key there, defaults filled in, unknown keys reported."""
    known = {setting.name: setting for setting in settings}
    for name in table if closed else ():
        if name not in known:
            reading.bad(f"{path}.{name}", "unknown key" + advice(name, known))
    return {
        name: check(setting, table[name], f"{path}.{name}", reading) if name in table else setting.default
        for name, setting in known.items()
    }


def sub_table(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> Mapping[str, Any]:
    """table[name] when it is a table, else {} with the problem noted."""
    value = table.get(name, {})
    if isinstance(value, dict):
        return value
    reading.bad_once(f"{path}.{name}" if path else name, "is not a table")
    return {}


def list_of(table: Mapping[str, Any], name: str, path: str, reading: Reading) -> tuple[Mapping[str, Any], ...]:
    """table[name] when it is a list of tables, else () with the problem noted."""
    try:
        return read_tables(table.get(name, []))
    except ValueError as wrong:
        reading.bad_once(f"{path}.{name}" if path else name, str(wrong))
        return ()
