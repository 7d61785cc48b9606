"""Models selected by what they can do: a query over tags, names and types of provider. Pure.

    parse_tags("coding,cheap|fast,-slow")  -> Query(every=("coding",), any=(("cheap", "fast"),), none=("slow",))
    read_query({"tags": ["coding"], "none": ["slow"], "provider_types": ["claude"]})  -> Query(...)
    query.fits(tags=("Coding",), name="p/m", provider_type="claude")  -> True

Case does not matter. A task is a name that the configuration gives to such a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadRequest

MAX_TAGS = 64  # in one query
MAX_QUERY_CHARS = 1_000
TAG, TASK = "tag:", "task:"  # prefixes that make a model's name a query


@dataclass(frozen=True, slots=True)
class Query:
    """All of `every`, one of each group in `any`, none of `none`; texts in lower case. An empty field matches everything."""

    every: tuple[str, ...] = ()
    any: tuple[tuple[str, ...], ...] = ()
    none: tuple[str, ...] = ()
    name: str = ""
    provider_types: tuple[str, ...] = ()
    task: str = ""  # looked up in the configuration; its query is added

    @property
    def empty(self) -> bool:
        return self == Query()

    def fits(self, tags: frozenset[str] | tuple[str, ...], name: str, provider_type: str) -> bool:
        """Whether a model matches; `name` is its full name ("provider/model")."""
        have = frozenset(map(str.casefold, tags))
        return (
            have.issuperset(self.every)
            and all(not have.isdisjoint(group) for group in self.any)
            and have.isdisjoint(self.none)
            and (not self.name or self.name in (name, name.partition("/")[2]))
            and (not self.provider_types or provider_type.casefold() in self.provider_types)
        )

    def __and__(self, other: Query) -> Query:
        """Both queries combined, without the second's task."""
        return Query(
            tuple(dict.fromkeys(self.every + other.every)), tuple(dict.fromkeys(self.any + other.any)),
            tuple(dict.fromkeys(self.none + other.none)), self.name or other.name,
            self.provider_types or other.provider_types,
        )  # fmt: skip

    def __str__(self) -> str:
        parts = [*self.every, *("|".join(group) for group in self.any), *(f"-{tag}" for tag in self.none)]
        parts += [f"name={self.name}"] * bool(self.name) + [f"task={self.task}"] * bool(self.task)
        return ",".join([*parts, *(f"type={kind}" for kind in self.provider_types)])


def parse_tags(text: str) -> Query:
    """A query from one text; BadRequest when it is empty."""
    every: list[str] = []
    some: list[tuple[str, ...]] = []
    none: list[str] = []
    for part in text[: MAX_QUERY_CHARS + 1].split(","):
        word = part.strip().casefold()
        choices = tuple(choice.strip() for choice in word.split("|") if choice.strip())
        if word.startswith("-"):
            none.append(word[1:].strip())
        elif len(choices) > 1:
            some.append(choices)
        else:
            every.extend(choices)
    query = Query(tuple(every), tuple(some), tuple(none))
    count = len(every) + len(none) + sum(map(len, some))
    if len(text) > MAX_QUERY_CHARS or count > MAX_TAGS or not all(none) or query.empty:
        raise BadRequest("not a tag query; write it like coding,cheap|fast,-slow", details={"path": "tags"})
    return query


def texts_of(value: object, path: str) -> tuple[str, ...]:
    """A text or a list of texts, in lower case."""
    items = [value] if isinstance(value, str) else value
    if value is None:
        return ()
    if not isinstance(items, list) or len(items) > MAX_TAGS or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"{path} is not a list of texts", details={"path": path})
    words = tuple(item.strip().casefold() for item in items)
    if not all(words):
        raise BadRequest(f"{path} holds an empty text", details={"path": path})
    return words


def read_query(table: object, path: str = "query") -> Query:
    """A query as JSON; BadRequest names the field that is wrong."""
    if not isinstance(table, Mapping):
        raise BadRequest(f"{path} is not an object", details={"path": path})
    known = ("tags", "all", "any", "none", "name", "provider_types", "task")
    for field in table:
        if field not in known:
            raise BadRequest(f"{path}.{field} is unknown; use {', '.join(known)}",
                             details={"path": f"{path}.{field}"})  # fmt: skip
    lists = {field: texts_of(table.get(field), f"{path}.{field}") for field in ("tags", "all", "any", "none")}
    query = Query(
        lists["tags"] + lists["all"], (lists["any"],) if lists["any"] else (), lists["none"],
        text_of(table, "name", path), texts_of(table.get("provider_types"), f"{path}.provider_types"),
        text_of(table, "task", path).casefold(),
    )  # fmt: skip
    if query.empty:
        raise BadRequest(f"{path} is empty: give tags, any, none, name, provider_types or task",
                         details={"path": path})  # fmt: skip
    return query


def text_of(table: Mapping[str, Any], field: str, path: str) -> str:
    value = table.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{path}.{field} is not a text", details={"path": f"{path}.{field}"})
    return value.strip()


def query_in(name: str) -> Query | None:
    """The query in a model's name; None when it is a plain name."""
    if name.startswith(TAG):
        return parse_tags(name[len(TAG) :])
    if name.startswith(TASK):
        return Query(task=name[len(TASK) :].strip().casefold())
    return None
