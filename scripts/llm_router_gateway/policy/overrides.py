"""The changes that the configuration makes to an outgoing request. Pure.

    spec = Overrides(drop=("top_k",), defaults={"temperature": 0.5}, patches=({"metadata": None},))
    apply({"top_k": 1, "metadata": {}, "n": 1}, spec)  -> {"n": 1, "temperature": 0.5}
    edits(fields, spec)                                  -> ({"temperature": 0.5}, frozenset({"top_k", "metadata"}))
    headers([("x-a", "1")], Overrides(headers={"x-a": "2", "x-b": None}))  -> [("x-a", "2")]

In this order: drop_params, default_params for absent fields, rewrite_body (JSON merge patch, RFC 7396).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Overrides:
    """One provider's, one model's, or both composed."""

    drop: tuple[str, ...] = ()  # "top_k", "generationConfig.topK"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    patches: tuple[Mapping[str, Any], ...] = ()  # merge patches, one after the other
    headers: Mapping[str, str | None] = field(default_factory=dict)  # names in lower case; None removes
    empty: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "empty", not (self.drop or self.defaults or self.patches or self.headers))


NONE = Overrides()


def merge_patch(target: object, patch: object) -> Any:
    """RFC 7396: what `patch` makes of `target`; null deletes. Neither is changed.

    merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None}, "d": 3})  -> {"a": {"c": 2}, "d": 3}
    """
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def fill_defaults(body: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with `defaults` for absent fields, in nested objects too."""
    result = dict(body)
    for name, value in defaults.items():
        if name not in result:
            result[name] = value
        elif isinstance(value, Mapping) and isinstance(result[name], Mapping):
            whole = fill_defaults(result[name], value)
            result[name] = whole if whole != result[name] else result[name]
    return result


def drop_field(body: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`body` without the field; "a.b" is b inside a, unless a field is called "a.b"."""
    if path in body:
        return {name: value for name, value in body.items() if name != path}
    outer, dot, inner = path.partition(".")
    if dot and isinstance(body.get(outer), Mapping):
        smaller = drop_field(body[outer], inner)
        if len(smaller) != len(body[outer]) or smaller != body[outer]:
            return {**body, outer: smaller}
    return dict(body)


def compose(outer: Overrides, inner: Overrides) -> Overrides:
    """A provider's and its model's: the model's win."""
    if outer.empty or inner.empty:
        return inner if outer.empty else outer
    return Overrides(
        tuple(dict.fromkeys(outer.drop + inner.drop)), fill_defaults(inner.defaults, outer.defaults),
        outer.patches + inner.patches, {**outer.headers, **inner.headers},
    )  # fmt: skip


def apply(body: Mapping[str, Any], spec: Overrides) -> dict[str, Any]:
    """The body as it goes out. Fields that nothing concerns stay the same objects."""
    result = dict(body)
    for path in spec.drop:
        result = drop_field(result, path)
    if spec.defaults:
        result = fill_defaults(result, spec.defaults)
    for patch in spec.patches:
        result = merge_patch(result, patch)
    return result


def edits(fields: Mapping[str, Any], spec: Overrides) -> tuple[dict[str, Any], frozenset[str]]:
    """The same as changes to a body that keeps its other bytes: what to set, what to leave out."""
    result = apply(fields, spec)
    changes = {name: value for name, value in result.items() if name not in fields or value is not fields[name]}
    return changes, frozenset(fields.keys() - result.keys())


def headers(given: Iterable[tuple[str, str]], spec: Overrides) -> list[tuple[str, str]]:
    """The headers with the configured ones in the place of any of the same name, each once."""
    if not spec.headers:
        return list(given)
    kept = [(name, value) for name, value in given if name.lower() not in spec.headers]
    return kept + [(name, value) for name, value in spec.headers.items() if value is not None]
