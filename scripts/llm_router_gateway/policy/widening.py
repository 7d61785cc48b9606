"""Fields that a limited key's body may not hold, because some upstream interprets more of them than the gateway does. Pure.

    check_body(body, "openai")      BadRequest for {"models": [...]}, {"MAX_TOKENS": 1}, {"n": 1, "n": 9}

Bodies that pass unread to an upstream of the caller's protocol are checked, where a key has a list of models, bounds on
parameters or a budget. Three things widen what such a key may do: fields that name further models (OpenRouter, LiteLLM), a
bounded field in another case (servers written in Go read it), and one given twice (readers differ in which they take).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from ..errors import BadRequest
from ..json_body import Body, Member, members_of
from ..wire.registry import UPSTREAMS

# OpenRouter: models, route, preset; LiteLLM: the others. Each makes another model answer than the one that was checked.
OTHER_MODELS = frozenset({
    "models", "fallbacks", "route", "preset", "context_window_fallbacks", "content_policy_fallbacks", "extra_body",
})  # fmt: skip
MAX_SHOWN = 60  # characters of a field's name in an error
Path = tuple[str, ...]


class Watched(NamedTuple):
    """The names to check, by the object that holds them: {(): {"model", "options"}, ("options",): {"top_k"}}"""

    places: Mapping[Path, frozenset[str]]
    folded: Mapping[Path, frozenset[str]]  # as names are compared without regard to case
    quoted: tuple[str, ...]  # each as written in JSON


@lru_cache(maxsize=64)
def watch_names(api: str, more: frozenset[str]) -> Watched:
    paths: set[Path] = {("model",)} | {tuple(name.split(".")) for name in more}
    paths |= {tuple(each.split(".")) for spelled in UPSTREAMS[api].parameters.values() for each in spelled}
    found: dict[Path, set[str]] = {}
    for path in paths:
        for depth, name in enumerate(path):
            found.setdefault(path[:depth], set()).add(name)
    return Watched(
        {place: frozenset(names) for place, names in found.items()},
        {place: frozenset(map(str.casefold, names)) for place, names in found.items()},
        tuple(f'"{name}"' for name in sorted(set().union(*found.values()))),
    )


def check_body(body: Body, api: str, bounded: Iterable[str] = (), written: frozenset[str] = frozenset()) -> None:
    """BadRequest, naming the field, when a body carries what widens its key.

    `bounded`: further fields that have bounds, "thinking.budget_tokens". `written`: top-level fields that are written anew
    where they are there twice.
    """
    names = watch_names(api, frozenset(bounded))
    for name in body.fields:
        if name in OTHER_MODELS or name.casefold() in OTHER_MODELS:
            raise refusal(name, "may name models that were not checked")
    for path, name in case_variants(body.fields, (), names):
        raise refusal(".".join((*path, name)), "is read by some servers as a field that this key has a limit on")
    if may_repeat(body.text, names):
        check_repeats([member for member in body.members if member.name not in written], body.text, (), names.places)


def case_variants(fields: Mapping[str, Any], place: Path, names: Watched) -> Iterator[tuple[Path, str]]:
    """Names that are a watched one but for their case, as Go compares them: case_variants({"N": 1}, ...) -> ((), "N")."""
    exact, folded = names.places[place], names.folded[place]
    for name, value in fields.items():
        if name not in exact:
            if name.casefold() in folded:
                yield place, name
        elif isinstance(value, Mapping) and (*place, name) in names.places:
            yield from case_variants(value, (*place, name), names)


def may_repeat(text: str, names: Watched) -> bool:
    """Whether a name may occur twice, by its bytes alone, so that most bodies are not parsed a second time."""
    return "\\u" in text or any(text.find(quoted, text.find(quoted) + 1) > 0 for quoted in names.quoted if quoted in text)


def check_repeats(members: Iterable[Member], text: str, place: Path, places: Mapping[Path, frozenset[str]]) -> None:
    """BadRequest for a watched name that an object holds twice; the objects within are looked at too."""
    seen: set[str] = set()
    for member in members:
        if member.name not in places[place]:
            continue
        if member.name in seen:
            raise refusal(".".join((*place, member.name)), "is given twice")
        seen.add(member.name)
        inner = (*place, member.name)
        if isinstance(member.value, dict) and inner in places:
            check_repeats(members_of(text, member.start), text, inner, places)


def refusal(name: str, why: str) -> BadRequest:
    shown = name if len(name) <= MAX_SHOWN else name[: MAX_SHOWN - 3] + "..."
    return BadRequest(f"{shown} {why}: leave it out, because this key has limits", details={"path": shown})
