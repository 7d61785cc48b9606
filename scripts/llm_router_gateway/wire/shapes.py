"""The known fields of the objects in a body, and so the fields that nothing reads, at any depth.

    PICTURE = shape("type", "cache_control", image_url=shape("url", "detail"))
    unread({"type": "image_url", "image_url": {"url": "u", "x": 1}}, PICTURE)  -> {"unread": {"image_url.x": True}}

Each protocol has a table of its objects, `shapes` in its folder, which says where it was read. A field is known if something
reads it or if it means nothing to a model; all others are kept as extras, so that the writer of another protocol names them:

    beside what is known (`own`)      under the vendor's name, in its shape: its own writer puts them back
    deeper inside, or without a       under `ir.UNREAD`, by their paths: every writer names them. "tool_calls.function.x" is in
    place to be put back (`unread`)   one of the calls; a number would make a hundred names of one in a hundred calls

Not looked into: what goes on as a whole, or is named as a whole (cache_control, other vendors' own parts and settings), and
objects whose content is the caller's (schemas, arguments, labels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import ir
from .losses import MAX_LOST, counts

EMPTY: tuple[Any, ...] = (None, [], {}, "")  # says nothing


class Shape:
    """The known fields of an object, and the shapes of those that hold an object or a list of objects."""

    __slots__ = ("fields", "inner", "is_leaf")

    def __init__(self, fields: frozenset[str], inner: Mapping[str, Shape]) -> None:
        self.fields, self.inner, self.is_leaf = fields, tuple(inner.items()), not inner


def shape(*names: str, **inner: Shape) -> Shape:
    return Shape(frozenset((*names, *inner)), inner)


class Anything(frozenset[str]):
    """The fields of an object that is looked through by other means: each is known."""

    def issuperset(self, other: Iterable[object]) -> bool:
        return True

    def __contains__(self, name: object) -> bool:
        return True


def within(**inner: Shape) -> Shape:
    """An object of which only what lies in it is to be looked through."""
    return Shape(Anything(), inner)


def knows_below(known: Shape, fields: Mapping[str, Any]) -> bool:
    """Whether all fields of the objects in an object are known, as nearly always: quick, and without a name."""
    for name, inner in known.inner:
        value = fields.get(name)
        if value is None:  # most of a long table
            continue
        for each in value if type(value) is list else (value,):
            if type(each) is dict and not (inner.fields.issuperset(each) and (inner.is_leaf or knows_below(inner, each))):
                return False
    return True


Spell = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # an object with its fields as the table spells them


def look_in(fields: Mapping[str, Any], known: Shape, found: dict[str, Any], where: str, spell: Spell | None) -> None:
    """Adds the path of every unknown field of an object."""
    if spell is not None:
        fields = spell(fields)
    if not known.fields.issuperset(fields):
        for name in fields:
            if len(found) == MAX_LOST:
                return
            if name not in known.fields and fields[name] not in EMPTY:
                found[where + name] = True
    look_below(fields, known, found, where, spell)


def look_below(fields: Mapping[str, Any], known: Shape, found: dict[str, Any], where: str, spell: Spell | None) -> None:
    """The same of the objects in an object."""
    for name, inner in known.inner:
        value = fields.get(name)
        for each in value if type(value) is list else (value,):
            if type(each) is dict:
                look_in(each, inner, found, f"{where}{name}.", spell)


def with_unread(extras: ir.Extras, fields: Mapping[str, Any], known: Shape, spell: Spell | None = None) -> ir.Extras:
    """The extras of an object, and the paths of the unknown fields of the objects in it."""
    if known.is_leaf or knows_below(known, fields):
        return extras
    found: dict[str, Any] = {}
    look_below(fields, known, found, "", spell)
    return {**extras, ir.UNREAD: found} if found else extras


def unread(fields: Mapping[str, Any], known: Shape, where: str = "", spell: Spell | None = None) -> ir.Extras:
    """The paths of all unknown fields of an object, for what has no place to be put back."""
    if known.fields.issuperset(fields) and (known.is_leaf or knows_below(known, fields)):
        return ir.NOTHING
    found: dict[str, Any] = {}
    look_in(fields, known, found, where, spell)
    return {ir.UNREAD: found} if found else ir.NOTHING


def unread_details(usage: Mapping[str, Any], details: Mapping[str, frozenset[str]]) -> ir.Extras:
    """The paths of counts in a usage's details that nothing reads; a count of 0 says nothing.

    unread_details({"details": {"cached_tokens": 4, "audio_tokens": 2}}, {"details": frozenset({"cached_tokens"})})
        -> {"unread": {"details.audio_tokens": True}}
    """
    found: dict[str, Any] = {}
    for place, known in details.items():
        given = usage.get(place)
        if type(given) is dict and not known.issuperset(given):
            found |= {f"{place}.{name}": True for name, value in given.items() if name not in known and counts(value)}
    return {ir.UNREAD: dict(list(found.items())[:MAX_LOST])} if found else ir.NOTHING


def all_unread(extras: ir.Extras) -> ir.Extras:
    """Extras of something that cannot carry them on: their names."""
    if extras is ir.NOTHING or extras.keys() == {ir.UNREAD}:
        return extras
    return {ir.UNREAD: {name: True for fields in extras.values() for name in fields}}


def both(one: ir.Extras, other: ir.Extras, merge: Callable[[ir.Extras, ir.Extras], ir.Extras] = ir.merge_extras) -> ir.Extras:
    """The extras of two objects that became one. Names beyond those that are kept are not added: of ten thousand objects each
    would else be copied for every one behind it."""
    if other is ir.NOTHING:
        return one
    if other.keys() == {ir.UNREAD}:
        known = one.get(ir.UNREAD, ir.NOTHING)
        if len(known) >= MAX_LOST or other[ir.UNREAD].keys() <= known.keys():
            return one
    return other if one is ir.NOTHING else merge(one, other)
