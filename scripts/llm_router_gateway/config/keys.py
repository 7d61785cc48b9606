"""A caller's key: its rights, and its form in the file, in the store and in JSON. Pure.

    key = read_terms({"name": "ci", "allowed_models": ["openai/*"], "budget": {"usd_per_day": 5}}, "", reading)
    key.may_model("openai/gpt-4.1", ("coding",))  -> True
    key_json(key, spent, last_used, now)          -> the item of GET /api-keys
    digest_of("llmr_...")                         -> its SHA-256: all that is kept of a key

A key that has no list may use everything. Lists hold patterns, in which * stands for any characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

from ..errors import BadRequest, Forbidden
from ..policy.budgets import Budget, Reset, since_reset, utc_text
from ..policy.parameter_limits import DEFAULTS, Bound, ParameterLimits, parameter_limits_json, read_limits
from ..policy.rate_limits import Limit
from .groups import read_limit
from .kinds import Secret
from .reader import Problem, Reading, advice, list_of, misspelt, read_settings, sub_table, value_text
from .settings import BUDGET, CALLER_KEY, KEY_SECRET, RESET

PREFIX = "llmr_"  # how keys that this gateway makes begin
SECRET_BYTES = 32
SECRET_CHARS = 43  # of base 62 that hold them
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KNOWN_ADDRESSES = 1_024  # of callers, that are remembered as they were read: each request needs its own twice
MAX_ADDRESS = 128  # characters, with brackets, zone and port; callers choose what is remembered
HINT_CHARS = 9  # of a key that may be shown: its prefix and four more
MAX_NAMED = 12  # patterns in one error text
MAX_NAME = 100  # characters
NAME = re.compile(r"[^\s\x00-\x1f\x7f/\ud800-\udfff](?:[^\x00-\x1f\x7f/\ud800-\udfff]{0,98}[^\s\x00-\x1f\x7f/\ud800-\udfff])?")
STORE, CONFIG = "store", "config"
CONFIG_ID = "config:"  # before the name of a key of the file


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its secret. Times in Unix seconds."""

    id: str
    name: str
    owner: str = ""
    note: str = ""
    created: float | None = None
    expires: float | None = None
    is_active: bool = True
    is_admin: bool = False
    is_monitor: bool = False
    allowed_models: tuple[str, ...] | None = None
    allowed_groups: tuple[str, ...] | None = None
    allowed_providers: tuple[str, ...] | None = None
    allowed_tags: tuple[str, ...] | None = None
    parameter_limits: ParameterLimits = field(default_factory=dict)
    limits: Limit | None = None
    budget: Budget | None = None
    soft_budget: Budget | None = None  # for alerts alone
    reset: Reset | None = None
    networks: tuple[str, ...] = ()
    allow_batches: bool = False
    cache_ttl_s: float | None = None
    source: str = STORE
    hint: str = ""

    @property
    def is_of_file(self) -> bool:
        """Whether a configuration file has it; of such a key the store knows its last reset alone."""
        return self.id.startswith(CONFIG_ID)

    @property
    def is_bound(self) -> bool:
        """Whether its access to models or groups is restricted."""
        return not (
            self.allowed_models is None and self.allowed_groups is None and self.allowed_providers is None
            and self.allowed_tags is None
        )  # fmt: skip

    @property
    def only_groups(self) -> bool:
        """Whether it reaches models only through groups."""
        return self.allowed_groups is not None and self.allowed_models is None

    def may_group(self, name: str) -> bool:
        return self.allowed_groups is None or matches(self.allowed_groups, name)

    def may_model(self, name: str, tags: Iterable[str] = ()) -> bool:
        """Whether it may use a model ("provider/model"), also through a group that it may use."""
        owner, _, bare = name.partition("/")
        if self.allowed_models is not None and not any(
            fits(pattern, name if "/" in pattern else bare) for pattern in self.allowed_models
        ):
            return False
        if self.allowed_providers is not None and not matches(self.allowed_providers, owner):
            return False
        if self.allowed_tags is None:
            return True
        wanted = tuple(map(str.casefold, self.allowed_tags))
        return any(matches(wanted, tag.casefold()) for tag in tags)

    def may_provider(self, name: str) -> bool:
        return self.allowed_providers is None or matches(self.allowed_providers, name)

    def may_name(self, name: str, tags: Iterable[str] = ()) -> bool:
        """Whether it may request a model by name."""
        return not self.only_groups and self.may_model(name, tags)

    def refuse(self, what: str) -> Forbidden:
        """The error for a model or group that the key may not use, naming what it may use."""
        named = ((self.allowed_groups, "the groups"), (self.allowed_models, "the models"),
                 (self.allowed_providers, "the providers"), (self.allowed_tags, "the tags"))  # fmt: skip
        parts = [f"{word} {', '.join(each[:MAX_NAMED])}" for each, word in named if each is not None]
        return Forbidden(f"{what[:200]} is not allowed for this key; it may use {'; '.join(parts)}", code="not_allowed",
                         details={"model": what[:200]})  # fmt: skip


def fits(pattern: str, name: str) -> bool:
    """fits("openai/*", "openai/gpt-4.1") -> True. In linear time, whatever the pattern."""
    if "*" not in pattern:
        return pattern == name
    first, *middle, last = pattern.split("*")
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def matches(patterns: Iterable[str], name: str) -> bool:
    return any(fits(pattern, name) for pattern in patterns)


# ---------------------------------------------------------------------------------------------------------- the secret


def digest_of(secret: str) -> bytes:
    """The stored form of a key. Keys are random, so that a plain hash cannot be searched."""
    return sha256(secret.encode("utf-8", "surrogateescape")).digest()


def secret_of(entropy: bytes) -> str:
    """A new key of 32 random bytes: llmr_ and 43 letters and digits."""
    if len(entropy) != SECRET_BYTES:
        raise ValueError("a key is made of 32 random bytes")
    number, text = int.from_bytes(entropy, "big"), ""
    for _ in range(SECRET_CHARS):
        number, rest = divmod(number, len(LETTERS))
        text = LETTERS[rest] + text
    return PREFIX + text


def hint_of(secret: str) -> str:
    """The visible start of a key: hint_of("llmr_ab12...") -> "llmr_ab12..."; "" for keys too short for that."""
    return f"{secret[:HINT_CHARS]}..." if len(secret) >= 2 * HINT_CHARS else "..."


# ---------------------------------------------------------------------------------------------------------- addresses


def address_of(text: str) -> Any:
    """An address without port, brackets and zone, IPv4 also where it came as IPv6; None when it is none.

    address_of("::ffff:10.0.0.1") and address_of("10.0.0.1:80") -> IPv4Address("10.0.0.1")
    """
    return parse_address(text) if len(text) <= MAX_ADDRESS else None


@lru_cache(maxsize=KNOWN_ADDRESSES)
def parse_address(text: str) -> Any:
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def networks_of(texts: Iterable[str]) -> tuple[Any, ...]:
    return tuple(ip_network(text, strict=False) for text in texts)


def is_inside(address: Any, networks: Iterable[Any]) -> bool:
    return address is not None and any(address.version == each.version and address in each for each in networks)


def client_of(peer: str, headers: Mapping[str, str], proxies: Sequence[Any]) -> str:
    """The caller's address: the peer, or the last address in X-Forwarded-For that is not a trusted proxy, from the right.

    client_of("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 1.2.3.4"}, networks_of(["10.0.0.0/8"]))  -> "1.2.3.4"
    """
    if not proxies:
        return peer
    here, address = peer, address_of(peer)
    for text in reversed(headers.get("x-forwarded-for", "").split(",")):
        if not is_inside(address, proxies):
            break
        before = address_of(text)
        if before is None:
            break
        here, address = str(before), before
    return here


def unmatched_patterns(
    keys: Iterable[Key], models: Mapping[str, Iterable[str]], opened: Iterable[str], groups: Iterable[str]
) -> Iterator[str]:
    """A note for each pattern of a key that nothing fits now: it is misspelt, or for what comes later; and misspelt bounds.

    `models` are full names with their tags, `opened` the providers that take any name.
    """
    opened, groups = tuple(opened), tuple(groups)
    owners = {*opened, *(name.partition("/")[0] for name in models)}
    known = {tag.casefold() for tags in models.values() for tag in tags}

    def is_model(pattern: str) -> bool:
        owner, slash, _ = pattern.partition("/")
        if any(fits(owner, name) for name in opened) if slash else bool(opened):
            return True
        return any(fits(pattern, name if slash else name.partition("/")[2]) for name in models)

    for key in keys:
        fitting = (
            ("allowed_models", key.allowed_models, is_model),
            ("allowed_groups", key.allowed_groups, lambda pattern: any(fits(pattern, name) for name in groups)),
            ("allowed_providers", key.allowed_providers, lambda pattern: any(fits(pattern, each) for each in owners)),
            ("allowed_tags", key.allowed_tags, lambda pattern: any(fits(pattern.casefold(), tag) for tag in known)),
        )
        for setting, patterns, found in fitting:
            for pattern in patterns or ():
                if not found(pattern):
                    yield f'the key "{key.name}": {setting} has "{pattern}", which matches nothing in the configuration'
        for name, near in misspelt(key.parameter_limits, DEFAULTS):
            yield f'the key "{key.name}": parameter_limits has "{name}"{near}'


def past_expiry(key: Key, now: float, before: Key | None = None) -> str:
    """What is wrong with the end of a key that is made or changed now; "" if it is later than now, or as it was before."""
    if key.expires is None or key.expires > now or (before is not None and before.expires == key.expires):
        return ""
    return f"is in the past: it is {utc_text(now)} now. Give a later time, or none for a key that does not expire"


# ------------------------------------------------------------------------------------------------------- read and written


def name_problem(name: object) -> str:
    """name_problem("ci/cd") -> "holds a slash ..."; "" for a good name. NAME is the rule, this its words."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return ""
    if name is None or (isinstance(name, str) and not name.strip()):
        return f"is missing: a key needs a name of 1 to {MAX_NAME} characters, for logs and statistics"
    if not isinstance(name, str):
        return f"{value_text(name)} is not a text"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, more than {MAX_NAME}"
    if "/" in name:
        return f"{value_text(name)} holds a slash: write another character in its place"
    if name != name.strip():
        return f"{value_text(name)} begins or ends with white space"
    if any("\ud800" <= each <= "\udfff" for each in name):
        return f"{value_text(name)} holds a lone surrogate, half of a character"
    return f"{value_text(name)} holds a control character, such as a line break"


def read_terms(table: Mapping[str, Any], path: str, reading: Reading, *, key: Key | None = None) -> Key:
    """The key that a table describes, or `key` with what the table changes; null takes a limit away."""
    place = f"{path}." if path else ""
    known = {setting.name: setting for setting in CALLER_KEY}
    for name in table:
        if name not in known:
            reading.bad(f"{place}{name}", "unknown field" + advice(name, known))
    given = {name: value for name, value in table.items() if name in known}
    texts = ("owner", "note")  # which may be empty
    present = {name: value for name, value in given.items()
               if name != "name" and value is not None and not (name in texts and value == "")}  # fmt: skip
    values = read_settings(present, CALLER_KEY, path, reading) if path else bare_settings(present, reading)
    if "name" in given or key is None:
        wrong = name_problem(given.get("name"))
        if wrong:
            reading.bad(f"{place}name", wrong)
        values["name"] = "" if wrong else given["name"]
    values["expires"] = values.pop("expires_at")
    values["parameter_limits"] = read_parameter_limits(values["parameter_limits"], f"{place}parameter_limits", reading)
    values["limits"] = read_limit(without_nulls(values["limits"]), f"{place}limits", reading)
    values["reset"] = read_reset(without_nulls(values["reset"]), f"{place}reset", reading)
    for each in ("budget", "soft_budget"):
        values[each] = read_budget(without_nulls(values[each]), f"{place}{each}", reading)
    named = {"expires" if name == "expires_at" else name for name in given}
    changed = {name: value for name, value in values.items() if name in named}
    found = Key(id="", **values) if key is None else replace(key, **changed)
    if found.is_admin and found.is_monitor:
        reading.bad(f"{place}is_monitor", "is for keys that may do nothing else: administrators may read statistics anyway")
    return found


def bare_settings(table: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """As read_settings, for a top-level table: problems are named by the field."""
    own = Reading(reading.env, reading.read_secret, [], reading.notes, reading.sources, reading.listed)
    values = read_settings(table, CALLER_KEY, "", own)
    reading.problems += [Problem(problem.path.removeprefix("."), problem.text) for problem in own.problems]
    return values


def without_nulls(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def read_parameter_limits(table: Mapping[str, Any], path: str, reading: Reading) -> dict[str, Bound]:
    try:
        return read_limits(without_nulls(table))
    except ValueError as wrong:
        reading.bad(path, str(wrong))
        return {}


def read_budget(table: Mapping[str, Any], path: str, reading: Reading) -> Budget | None:
    if not table:
        return None
    values = read_settings(table, BUDGET, path, reading)
    return Budget(**values) if any(value is not None for value in values.values()) else None


def read_reset(table: Mapping[str, Any], path: str, reading: Reading) -> Reset | None:
    if not table:
        return None
    values = read_settings(table, RESET, path, reading)
    if values["at"] is None:
        reading.bad(f"{path}.at", "is missing")
        return None
    return Reset(**values)


def reset_json(reset: Reset | None) -> dict[str, Any]:
    return {**{each.name: getattr(reset, each.name) for each in fields(Reset)}, "at": utc_text(reset.at)} if reset else {}


def read_json(table: object, key: Key | None = None) -> Key:
    """The key that a JSON body describes; BadRequest names the first wrong field."""
    if not isinstance(table, Mapping):
        raise BadRequest("the body is not a JSON object")
    reading = Reading({}, str, [], [], [], frozenset())
    found = read_terms(table, "", reading, key=key)
    if reading.problems:
        first = reading.problems[0]
        raise BadRequest("; ".join(map(str, reading.problems[:8])), details={"path": first.path})
    return found


Secrets = Sequence[Secret]


def read_keys_of_file(document: Mapping[str, Any], reading: Reading, read_secret: Any) -> tuple[tuple[Key, Secrets], ...]:
    """[[keys]]: each key with its secrets. `read_secret` is config's."""
    found: dict[str, tuple[Key, Secrets]] = {}
    secrets = {setting.name for setting in KEY_SECRET}
    for index, table in enumerate(list_of(document, "keys", "", reading)):
        path = f"keys[{index}]"
        key = read_terms({name: value for name, value in table.items() if name not in secrets}, path, reading)
        read_settings({name: value for name, value in table.items() if name in secrets}, KEY_SECRET, path, reading)
        for name in ("parameter_limits", "limits", "budget", "soft_budget", "reset"):
            sub_table(table, name, path, reading)
        shown = read_secret(table, "key", f"{path}.key", reading)
        variable = table.get("key_env")
        if not shown and variable and not table.get("key_file"):
            reading.bad_once(f"{path}.key_env", f"the variable {variable} that it names is not set")
        elif not shown:
            reading.bad_once(f"{path}.key", "has no key: set key_env, key_file or key")
        if key.name in found:
            reading.bad_once(f"{path}.name", f'"{key.name}" exists already')
        hint = hint_of(shown[0].reveal()) if shown else ""
        found[key.name] = (replace(key, id=CONFIG_ID + key.name, source=CONFIG, hint=hint), shown)
    return tuple(found.values())


def terms_json(key: Key) -> dict[str, Any]:
    """The JSON form that read_terms reads."""
    limits = key.limits
    return {
        "name": key.name, "owner": key.owner, "note": key.note,
        "expires_at": None if key.expires is None else utc_text(key.expires),
        "is_active": key.is_active, "is_admin": key.is_admin, "is_monitor": key.is_monitor,
        "allowed_models": pattern_list(key.allowed_models), "allowed_groups": pattern_list(key.allowed_groups),
        "allowed_providers": pattern_list(key.allowed_providers), "allowed_tags": pattern_list(key.allowed_tags),
        "parameter_limits": parameter_limits_json(key.parameter_limits),
        "limits": limits_json(limits) if limits else None,
        "budget": budget_json(key.budget), "soft_budget": budget_json(key.soft_budget),
        "reset": reset_json(key.reset),
        "allow_batches": key.allow_batches, "cache_ttl_s": key.cache_ttl_s, "networks": list(key.networks),
    }  # fmt: skip


def pattern_list(patterns: tuple[str, ...] | None) -> list[str] | None:
    return None if patterns is None else list(patterns)


def budget_json(budget: Budget | None) -> dict[str, Any]:
    return {each.name: getattr(budget, each.name) for each in fields(Budget)} if budget else {}


def limits_json(limit: Limit) -> dict[str, Any]:
    """The form that read_limit reads: without the window where no requests are counted."""
    values = {each.name: getattr(limit, each.name) for each in fields(Limit)}
    if limit.max_requests is None:
        values["per_seconds"] = None
    return values


def reset_now(spent: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The change of a key that lets its spending begin at nothing. `spent` is all of its day and its month."""
    return {"reset": {"at": utc_text(now), **spent}}


def key_json(key: Key, spent: Mapping[str, Any], last_used: float | None, now: float) -> dict[str, Any]:
    """The item of GET /api-keys; nothing in it is a secret. `spent` is all of its day and its month."""
    return {
        "id": key.id, **terms_json(key), "source": key.source, "hint": key.hint,
        "created_at": None if key.created is None else utc_text(key.created), "spent": since_reset(spent, key.reset, now),
        "last_used_at": None if last_used is None else utc_text(last_used),
    }  # fmt: skip
