"""Limits on the parameters of a request, in the spelling of the outgoing protocol. Pure.

    limits = read_limits({"max_tokens": 1000, "temperature": {"max": 0.7}})
    enforce(limits, "anthropic", {"max_tokens": 4096})
        -> ({"max_tokens": 1000, "temperature": 0.7}, ["max_tokens=1000", "temperature=0.7"])

A number outside its bounds becomes the nearest one inside. What a request leaves out counts as its usual value (temperature 1,
one answer, output without end): where that is out of bounds, the nearest value is put in. Names that are not in USUAL are
fields of the body ("thinking.budget_tokens"), bounded where they are sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from sys import float_info
from typing import Any

from ..errors import BadRequest
from ..json_body import Body, members_of
from ..wire.registry import TURNS, UPSTREAMS

Path = tuple[str, ...]
INF, LARGEST = float("inf"), float_info.max
MAX_NUMBER = 10**15  # of a parameter; what is larger is an attack or an accident
OUTPUT, CHOICES = "max_tokens", ("n", "best_of")


@dataclass(frozen=True, slots=True)
class Bound:
    """From `low` to `high`; None = unbounded."""

    high: float | None = None
    low: float | None = None

    def nearest(self, value: float) -> float:
        if self.high is not None and value > self.high:
            return self.high
        return self.low if self.low is not None and value < self.low else value

    def __and__(self, other: Bound) -> Bound:
        """The intersection."""
        highs = [high for high in (self.high, other.high) if high is not None]
        lows = [low for low in (self.low, other.low) if low is not None]
        return Bound(min(highs) if highs else None, max(lows) if lows else None)


ParameterLimits = Mapping[str, Bound]


# Parameter, by its common name (each protocol has its own spelling) -> the value that applies when it is left out.
DEFAULTS: Mapping[str, float | None] = {
    "n": 1, "best_of": 1, "max_tokens": INF, "temperature": 1, "top_p": 1, "top_k": None, "frequency_penalty": 0,
    "presence_penalty": 0,
}  # fmt: skip
ALIASES: Mapping[str, str] = {
    spelled.rpartition(".")[2]: name
    for upstream in UPSTREAMS.values() for name, each in upstream.parameters.items() for spelled in each
}  # fmt: skip
NO_QUIRKS: Mapping[str, Any] = {}


def read_limits(table: Mapping[str, Any]) -> dict[str, Bound]:
    """A number is the maximum; {"min": a, "max": b} gives both ends; aliases are merged. ValueError for anything else."""
    found: dict[str, Bound] = {}
    for name, value in table.items():
        known = ALIASES.get(name, name)
        if not name or name in ("model", "stream", *TURNS):
            raise ValueError(f"{name!r} cannot be limited")
        found[known] = found.get(known, Bound()) & read_bound(name, value)
        low, high = found[known].low, found[known].high
        if low is not None and high is not None and low > high:
            raise ValueError(f"{name}: min is above max")
    return found


def read_bound(name: str, value: object) -> Bound:
    if isinstance(value, Mapping):
        for end in value:
            if end not in ("min", "max"):
                raise ValueError(f"{name}.{end} is unknown; use min and max")
        ends = [bound_end(name, value.get(end)) for end in ("max", "min")]
        if ends == [None, None]:
            raise ValueError(f"{name} sets no limit")
    else:
        ends = [bound_end(name, value), None]
        if ends[0] is None:
            raise ValueError(f"{name} sets no limit")
    if ALIASES.get(name) in (OUTPUT, *CHOICES) and ends[0] is not None and ends[0] < 1:
        raise ValueError(f"{name} is below 1")
    return Bound(ends[0], ends[1])


def bound_end(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is not a number")
    return value


def parameter_limits_json(limits: ParameterLimits) -> dict[str, Any]:
    """The JSON form that read_limits reads."""
    return {
        name: bound.high if bound.low is None
        else {end: value for end, value in (("min", bound.low), ("max", bound.high)) if value is not None}
        for name, bound in limits.items()
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- reading a body


@lru_cache(maxsize=1_024)
def paths_of(name: str, api: str) -> tuple[Path, ...]:
    """The paths of a parameter in a body of this protocol."""
    if name not in DEFAULTS:
        return (tuple(name.split(".")),)
    return tuple(tuple(spelled.split(".")) for spelled in UPSTREAMS[api].parameters.get(name, ()))


def value_at(fields: Mapping[str, Any], path: Path) -> object:
    """The value at a path; None if there is none."""
    here: object = fields
    for name in path:
        if not isinstance(here, Mapping):
            return None
        here = here.get(name)
    return here


def number_at(fields: Mapping[str, Any], path: Path) -> float | None:
    """The number at a path; BadRequest for any other value, for a server might coerce it to a number.

    So is a number out of all range: 1e999, or 400 digits.
    """
    value = value_at(fields, path)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        where = ".".join(path)
        raise BadRequest(f"{where} is not a number, and this key has a limit on it", details={"path": where})
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        where = ".".join(path)
        raise BadRequest(f"{where} is larger than any server accepts, and this key has a limit on it", details={"path": where})
    return value


def occurrences(fields: Mapping[str, Any], name: str, api: str) -> Iterator[tuple[Path, float]]:
    """Each path that sets the parameter, with its value."""
    for path in paths_of(name, api):
        value = number_at(fields, path)
        if value is not None:
            yield path, value


def put(fields: dict[str, Any], path: Path, value: float) -> None:
    """Sets it; objects on the path are copied first, for they belong to the caller's request."""
    here = fields
    for name in path[:-1]:
        inner = here.get(name)
        if inner is not None and not isinstance(inner, Mapping):
            raise BadRequest(f"{name} is not an object", details={"path": name})
        here[name] = dict(inner or {})
        here = here[name]
    here[path[-1]] = value


def choices_of(fields: Mapping[str, Any], api: str) -> int:
    """How many answers are generated: n, or best_of when that is more."""
    asked = [value for name in CHOICES for _, value in occurrences(fields, name, api)]
    return max(1, math.ceil(max(asked, default=1)))


def output_of(fields: Mapping[str, Any], api: str) -> float | None:
    """The maximum output tokens of all answers together; None when the request sets none."""
    asked = [value for _, value in occurrences(fields, OUTPUT, api) if value >= 1]
    return max(asked) * choices_of(fields, api) if asked else None


# ------------------------------------------------------------------------------------------------- enforcing limits


def default_path(paths: tuple[Path, ...], fields: Mapping[str, Any], field: str) -> Path:
    """Where an absent parameter is added: the field that this model accepts, the object that exists."""
    if field and (field,) in paths:
        return (field,)
    there = [path for path in paths if len(path) > 1 and path[0] in fields]
    return there[0] if there else paths[0]


def bound_output(bound: Bound, choices: int) -> Bound:
    """The bound of one answer, where `choices` of them are generated."""
    high = None if bound.high is None else max(1, bound.high // choices)
    return Bound(high, bound.low if high is None or bound.low is None else min(bound.low, high))


def enforce(
    limits: ParameterLimits,
    api: str,
    fields: Mapping[str, Any],
    *,
    body: Body | None = None,
    model: str = "",
    quirks: Mapping[str, Any] = NO_QUIRKS,
) -> tuple[dict[str, Any], list[str]]:
    """The top-level fields to set, and the clamped values as "name=value"; both empty when all is within bounds.

    `model`, as its provider calls it, and the provider's `quirks` decide the name of the output limit and what is not put
    in; `body` is what the fields were read from: a name given twice there is written once. BadRequest when something that has
    bounds is not a number.
    """
    upstream = UPSTREAMS[api]
    field = upstream.output_field(model, quirks)
    result = dict(fields)
    clamped: list[str] = []
    done: set[str] = set()
    for name in sorted(limits, key=lambda name: name == OUTPUT):  # the number of answers comes first
        bound = limits[name]
        if name in CHOICES and OUTPUT in limits:
            bound = bound & Bound(limits[OUTPUT].high)
        if name == OUTPUT:
            limit_choices(result, api, bound, clamped)
            bound = bound_output(bound, choices_of(result, api))
        paths = paths_of(name, api)
        done |= {path[0] for path in paths}
        clamped += enforce_bound(result, name, api, bound, default_path(paths, result, field) if paths else (), model)
    changes = {name: value for name, value in result.items() if name not in fields or value is not fields[name]}
    if body is not None:
        changes |= {name: result[name] for name in done & fields.keys() if is_double(body, name)}
    return changes, clamped


def limit_choices(result: dict[str, Any], api: str, bound: Bound, clamped: list[str]) -> None:
    """Requests no more answers than there are tokens for them."""
    if bound.high is None:
        return
    for name in CHOICES:
        for path, value in list(occurrences(result, name, api)):
            if value > bound.high:
                put(result, path, math.floor(bound.high))
                clamped.append(f"{name}={math.floor(bound.high)}")


def enforce_bound(result: dict[str, Any], name: str, api: str, bound: Bound, home: Path, model: str) -> list[str]:
    """Clamps one parameter to its bound, in place; the clamped values as "name=value"."""
    clamped, stated = [], False
    for path, value in list(occurrences(result, name, api)):
        stated = True
        new = bound.nearest(INF if name == OUTPUT and value < 1 else value)  # -1 means unlimited to some servers
        if new != value and new != INF:
            put(result, path, whole(new))
            clamped.append(f"{path[-1]}={whole(new):g}")
    usual = DEFAULTS.get(name)
    if stated or usual is None or not home or name in UPSTREAMS[api].rejected_parameters(model, result):
        return clamped  # a model that rejects the parameter keeps its own default
    new = bound.nearest(usual)
    if new != usual:
        put(result, home, whole(new))
        clamped.append(f"{home[-1]}={whole(new):g}")
    return clamped


def whole(value: float) -> float:
    """1000.0 -> 1000: servers refuse a fraction where they expect a count."""
    return int(value) if float(value).is_integer() else value


def is_double(body: Body, name: str) -> bool:
    """Whether a name, or one within its object, is given twice: readers differ in which of them they take."""
    members = [member for member in body.members if member.name == name]
    if len(members) > 1:
        return True
    return any(isinstance(member.value, dict) and is_double_inside(body.text, member.start, member.value) for member in members)


def is_double_inside(text: str, start: int, value: Mapping[str, Any]) -> bool:
    members = members_of(text, start)
    return len(members) != len(value) or any(
        isinstance(member.value, dict) and is_double_inside(text, member.start, member.value) for member in members
    )
