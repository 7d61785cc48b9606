"""What a request demands of its answer beyond an answer: the call of a tool, several candidates. Read at every start.

    demands_of(True, ("f",), 1)      -> Demands: f must be called
    choice_demands("required", 2)    -> Demands: any tool must be called, in two candidates
    choice_demands("auto")           -> None

Each protocol's spec finds them in its bodies; `unmet` says what an answer left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Demands(NamedTuple):
    """`names`: of the tools, one of which must be called; () for any."""

    must_call: bool
    names: tuple[str, ...]
    n: int


def demands_of(must_call: bool, names: Iterable[object] = (), n: object = None) -> Demands | None:
    """The demands of a body's fields, which may be any JSON; None for most bodies, which have none."""
    count = n if type(n) is int and n > 1 else 1
    return Demands(must_call, tuple(name for name in names if isinstance(name, str)), count) if must_call or count > 1 else None


def choice_demands(choice: object, n: object = None) -> Demands | None:
    """Of a tool_choice in one of OpenAI's forms, chat's or that of Responses.

    choice_demands("required")                                        -> any tool
    choice_demands({"type": "function", "function": {"name": "f"}})   -> f
    """
    if isinstance(choice, str):
        return demands_of(choice == "required", (), n)
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or kind not in ("function", "custom"):
        return demands_of(False, (), n)
    inner = choice.get(kind)
    return demands_of(True, [(inner if isinstance(inner, Mapping) else choice).get("name")], n)


def no_demands(body: Mapping[str, Any]) -> Demands | None:
    return None
