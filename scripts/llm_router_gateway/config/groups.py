"""The routing sections of the configuration, read and checked: groups, tags, tasks, limits, overrides.

    read_limit({"max_requests": 5, "per_seconds": 1}, path, reading)   -> limits.Limit
    read_groups(document, resolve, reading)                            -> (Group(name, strategy, members, ...), ...)

Selectors and affinity expressions are compiled here: one that cannot be is a problem with its position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import BadRequest
from ..policy.circuit_breaker import RULES, Rules
from ..policy.overrides import Overrides
from ..policy.rate_limits import MINUTE_S, Limit
from ..policy.tag_query import TAG, TASK, Query, parse_tags
from .kinds import MODEL_NAME, NAME
from .reader import Reading, list_of, read_settings, sub_table, value_text
from .settings import GROUP, HEALTH, LIMITS, MEMBER, ROUTING

HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # an affinity of this form is a header, any other an expression
VARIABLES = ("model", "protocol", "stream", "headers", "key")  # variables of an expression, without the $
MAX_SPELLED = 1_000_000  # characters of a body that is read a second time, some 10 ms
# Fields of bodies that distinguish conversations, and that no client sends as a header.
BODY_FIELDS = frozenset({"user", "metadata", "prompt_cache_key", "safety_identifier", "previous_response_id", "conversation"})
KINDS: Mapping[type, str] = {str: "a text", list: "an array", dict: "an object"}  # an expression's output in words
OURS = frozenset({"stream", "model"})  # in a body: what the gateway itself decides


@dataclass(frozen=True, slots=True)
class Selector:
    """A jq expression, compiled. Two are equal when their texts are."""

    text: str
    filter: Any = field(compare=False, repr=False)
    error: type[Exception] = field(compare=False, repr=False)  # what a run may raise
    names: tuple[str, ...] = ()  # the variables it names
    spells: bool = False  # whether it distinguishes 1.10 from 1.1: then `read` parses the body for it

    def verdict(self, body: Mapping[str, Any], variables: Mapping[str, Any]) -> tuple[bool, str]:
        """(whether the first output is true, ""), or (False, error text)."""
        try:
            return self.filter.selects(body, variables), ""
        except self.error as wrong:
            return False, str(wrong)

    def kind(self, body: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
        """The kind of a first output that is hardly intended: "a number"; "" for true, false, null, none and errors."""
        try:
            first = next(self.filter.outputs(body, variables), None)
        except self.error:
            return ""
        if first is None or isinstance(first, bool):
            return ""
        return next((word for kind, word in KINDS.items() if isinstance(first, kind)), "a number")

    def name(self, body: Mapping[str, Any], variables: Mapping[str, Any]) -> tuple[str, str]:
        """(the first output as text, ""), or ("", error text)."""
        try:
            return self.filter.name_of(body, variables), ""
        except self.error as wrong:
            return "", str(wrong)

    def read(self, text: str) -> Any:
        """A body's text with its numbers as they are written; None where it cannot be read so, or is long."""
        from ..jq import compiler

        try:
            return compiler.read(text) if len(text) <= MAX_SPELLED else None
        except (ValueError, self.error):
            return None


@dataclass(frozen=True, slots=True)
class Affinity:
    """How a conversation is identified: by a header's value, or by an expression's."""

    text: str
    header: str = ""
    expression: Selector | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One model of a group."""

    model: str  # its full name
    weight: float = 100
    selector: Selector | None = None
    priority: float = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Several models under one name."""

    name: str
    strategy: str
    members: tuple[Member, ...]
    fallbacks: tuple[str, ...] = ()
    affinity: Affinity | None = None
    first_output_timeout_s: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Routing:
    """[routing], [health] and [tasks]."""

    tag_strategy: str = "priority"
    default_model: str = ""
    health: Rules = RULES
    tasks: Mapping[str, Query] = field(default_factory=dict)  # names in lower case


PLAIN = Routing()


# -- limits and overrides


def read_limit(table: Mapping[str, Any], path: str, reading: Reading) -> Limit | None:
    """One table of limits; None when it is empty."""
    if not table:
        return None
    values = read_settings(table, LIMITS, path, reading)
    given = {name for name, value in values.items() if value is not None}
    for one, other in (("max_requests", "per_seconds"), ("per_seconds", "max_requests"), ("burst_size", "max_requests")):
        if one in given and other not in given and other not in table:
            reading.bad(f"{path}.{other}", f"is missing beside {one}")
    if values["burst_size"] and values["max_requests"] and values["burst_size"] < values["max_requests"]:
        reading.bad(f"{path}.burst_size", "is below max_requests")
    is_reported = any(problem.path.startswith(f"{path}.") for problem in reading.problems)  # a misspelt limit is one problem
    if not is_reported and not given & {"max_requests", "per_seconds", "burst_size", "tokens_per_minute", "max_concurrent"}:
        reading.bad(path, "sets no limit: give max_requests, tokens_per_minute or max_concurrent")
    if values["queue"] and not (values["max_concurrent"] and values["wait_s"]):
        reading.bad(f"{path}.queue", "needs max_concurrent and wait_s")
    return Limit(
        values["max_requests"], values["per_seconds"] or MINUTE_S, values["burst_size"], values["tokens_per_minute"],
        values["wait_s"], values["max_concurrent"], values["queue"],
    )  # fmt: skip


def read_model_limit(table: Mapping[str, Any], path: str, reading: Reading) -> Limit | None:
    """[models.limits], or its older name."""
    older = sub_table(table, "rate_limit", path, reading)
    newer = sub_table(table, "limits", path, reading)
    if older and newer:
        reading.bad(f"{path}.rate_limit", "is the older name of limits, which is also given")
    return read_limit(newer or older, f"{path}.{'limits' if newer else 'rate_limit'}", reading)


def read_overrides(values: Mapping[str, Any], path: str, reading: Reading) -> Overrides:
    """The overrides among the values of a provider or a model."""
    named = {"default_params": values["default_params"], "rewrite_body": values["rewrite_body"],
             "drop_params": values["drop_params"]}  # fmt: skip
    for name, fields in named.items():
        for wrong in sorted(OURS & set(fields)):
            hint = "; use remote_identifier or rename" if wrong == "model" else ": the answer's form follows the request"
            reading.bad(f"{path}.{name}", f'cannot change "{wrong}"{hint}')
    patches = (values["rewrite_body"],) if values["rewrite_body"] else ()
    return Overrides(values["drop_params"], values["default_params"], patches, values["rewrite_header"])


# -- groups


def read_expression(text: str, path: str, reading: Reading) -> Selector | None:
    from ..jq import compiler  # only a configuration with expressions pays for the language

    try:
        names = tuple(name for name in VARIABLES if f"${name}" in text)
        compiled = compiler.compile(text, names)
        return Selector(text, compiled, compiler.JqError, names, compiled.spells)
    except compiler.JqError as wrong:
        where = getattr(wrong, "position", None)
        place = f" at character {where}" if isinstance(where, int) and f"character {where}" not in str(wrong) else ""
        reading.bad(path, f"{value_text(text)} is not a supported jq expression: {wrong}{place}")
        return None


def read_affinity(text: str, path: str, reading: Reading) -> Affinity | None:
    if not text:
        return None
    if HEADER.fullmatch(text):
        if text in BODY_FIELDS:
            reading.notes.append(
                f'{path}: "{text}" is taken as the name of a header; for the field of the body write ".{text}"'
            )
        return Affinity(text, header=text.lower())
    return Affinity(text, expression=read_expression(text, path, reading))


Resolve = Callable[[str, str], "str | None"]  # (a model's name, path) -> its full name; None, and a problem noted


def read_member(table: Mapping[str, Any], path: str, resolve: Resolve, reading: Reading) -> Member | None:
    values = read_settings(table, MEMBER, path, reading)
    text = values["selector"]
    selector = read_expression(text, f"{path}.selector", reading) if text else None
    if not values["model"]:
        reading.bad_once(f"{path}.model", "is missing")
        return None
    name = resolve(values["model"], f"{path}.model")
    return Member(name, values["weight"], selector, values["priority"]) if name else None


def read_group(table: Mapping[str, Any], path: str, resolve: Resolve, reading: Reading) -> Group | None:
    values = read_settings(table, GROUP, path, reading)
    name = values["name"]
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name) or name.startswith((TAG, TASK, "models/")):
        reading.bad_once(f"{path}.name", 'is missing, has a space at an end or a control character inside, or begins with '
                         '"tag:" or "task:"')  # fmt: skip
        return None
    members: dict[str, Member] = {}
    for index, one in enumerate(list_of(table, "members", path, reading)):
        member = read_member(one, f"{path}.members[{index}]", resolve, reading)
        if member and member.model in members:
            reading.bad(f"{path}.members[{index}].model", f'"{member.model}" is in this group already')
        elif member:
            members[member.model] = member
    if not table.get("members"):
        reading.bad_once(f"{path}.members", "is missing or empty")
    return Group(
        name, values["strategy"], tuple(members.values()), values["fallbacks"],
        read_affinity(values["affinity"], f"{path}.affinity", reading), values["first_output_timeout_s"],
        values["description"],
    )  # fmt: skip


def resolve_fallbacks(group: Group, path: str, groups: Mapping[str, Group], resolve: Resolve) -> tuple[str, ...]:
    """Its fallbacks: names of groups as they are, of models in full."""
    found = (fallback if fallback in groups else resolve(fallback, f"{path}.fallbacks[{index}]")
             for index, fallback in enumerate(group.fallbacks))  # fmt: skip
    return tuple(name for name in found if name)


def read_groups(document: Mapping[str, Any], resolve: Resolve, reading: Reading) -> tuple[Group, ...]:
    """[[groups]], each name once, every fallback a group or a model."""
    groups: dict[str, Group] = {}
    places: dict[str, str] = {}
    for index, table in enumerate(list_of(document, "groups", "", reading)):
        path = f"groups[{index}]"
        group = read_group(table, path, resolve, reading)
        if group and group.name in groups:
            reading.bad(f"{path}.name", f'"{group.name}" exists already')
        elif group:
            groups[group.name], places[group.name] = group, path
    for name, group in groups.items():
        for index, fallback in enumerate(group.fallbacks):
            path = f"{places[name]}.fallbacks[{index}]"
            if fallback == name:
                reading.bad(path, "is the group itself")
    return tuple(
        replace(group, fallbacks=resolve_fallbacks(group, places[name], groups, resolve)) for name, group in groups.items()
    )


# -- [routing], [health], [tasks]


def read_tasks(table: Mapping[str, Any], reading: Reading) -> dict[str, Query]:
    tasks: dict[str, Query] = {}
    for name, text in table.items():
        path = f"tasks.{name}"
        if not NAME.fullmatch(name):
            reading.bad(path, "holds characters other than A-Z a-z 0-9 _ . : + -")
        try:
            if not isinstance(text, str):
                raise BadRequest("is not a tag query; write it like coding,cheap|fast,-slow")
            tasks[name.casefold()] = parse_tags(text)
        except BadRequest as wrong:
            reading.bad(path, f"{value_text(text)}: {wrong.message}")
    return tasks


def read_routing(document: Mapping[str, Any], reading: Reading) -> Routing:
    values = read_settings(sub_table(document, "routing", "", reading), ROUTING, "routing", reading)
    health = read_settings(sub_table(document, "health", "", reading), HEALTH, "health", reading)
    tasks = read_tasks(sub_table(document, "tasks", "", reading), reading)
    return Routing(values["tag_strategy"], values["default_model"], Rules(**health), tasks)
