"""What a worker process does with a large body: reads it, changes it, converts it, asks selectors about it.

Each job gets the body as `Cached`, and gives (a small value, bytes or b""). The first is `read`; the others may come in any
order and any number, for one member of a group after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..config.groups import Selector, read_expression
from ..config.reader import Reading
from ..json_body import Body, dump, read_body
from ..wire import ir
from ..wire.conversion import Wish, encode_body, read_as, without_ours, write_as
from ..wire.registry import wire
from ..wire.token_estimate import input_tokens
from .charges import cache_lifetime

SMALL = 1_024  # characters: longer lists and texts are left out of a head


class Head(NamedTuple):
    """A body without its long lists and texts: what decisions about it are made by.

    In `fields` such a list is empty (or has its first item, where that is small) and such a text is "". `text` is the body so
    shortened, with fields that came twice; "" where it is not wanted.
    """

    fields: Mapping[str, Any]
    text: str
    tokens: int
    kept: str
    references: Any = None  # what it builds on: see `references` of a protocol that keeps answers


@dataclass(slots=True)
class Cached:
    """A body in the worker: as it came, as it was read, and as it was converted last."""

    data: bytes = b""
    _body: Body | None = None
    wish: Wish | None = None  # that `out` was made for
    out: Mapping[str, Any] = field(default_factory=dict)

    def replace(self, body: Body) -> Body:
        """Another body in its place."""
        self._body, self.data = body, b""
        return body

    @property
    def body(self) -> Body:
        if self._body is None:
            self._body, self.data = read_body(self.data), b""
        return self._body


def shorten(value: Any) -> Any:
    """A value of a head: short ones and objects as they are."""
    if isinstance(value, str):
        return value if len(value) <= SMALL else ""
    if isinstance(value, list):
        return value if is_small(value) else value[:1] if is_small(value[:1]) else []
    return value


def is_small(value: list[Any]) -> bool:
    return len(value) < SMALL // 2 and len(dump(value)) <= SMALL


def head_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: shorten(value) for name, value in fields.items()}


def read(cached: Cached, wants_text: bool, protocol: str = "") -> tuple[Head, bytes]:
    """`protocol`: the caller's, where it keeps answers."""
    body = cached.body
    text = ""
    if wants_text:
        text = "{" + ",".join(f"{dump(each.name)}:{short_text(body.text, each)}" for each in body.members) + "}"
    references = wire(protocol).state.references(body.fields) if protocol else None
    return Head(head_of(body.fields), text, input_tokens(body.fields), cache_lifetime(body.text), references), b""


def short_text(text: str, member: Any) -> str:
    """A member's text in a head: as it was written, unless it was shortened."""
    short = shorten(member.value)
    return text[member.start : member.end] if short is member.value else dump(short)


def change(
    cached: Cached, changes: Mapping[str, Any], dropped: frozenset[str], protocol: str, seal: ir.Seal | None = None
) -> tuple[list[str], bytes]:
    """(what was lost, the bytes, b"" where those that came are right). `protocol`: the caller's."""
    lost: list[str] = []
    body = without_ours(cached.body, protocol, seal, lost)
    is_same = body is cached.body and not (changes or dropped)
    return lost, b"" if is_same else body.edit(changes, {}, dropped)


def without_texts(request: ir.Request) -> ir.Request:
    """What an answer is written by: the request without what it says."""
    tools = tuple(ir.Tool(tool.name, custom=tool.custom, vendor=tool.vendor, search=tool.search) for tool in request.tools)
    form = replace(request.response_format, schema=None) if request.response_format is not None else None
    return replace(request, messages=(), system=(), tools=tools, response_format=form, extras=ir.NOTHING, metadata=ir.NOTHING)


def convert(
    cached: Cached, wish: Wish, wants_tokens: bool, more: Mapping[str, Any] = ir.NOTHING
) -> tuple[tuple[Any, ...], bytes]:
    """((the request without its texts, what was lost, the head of the body, its tokens), b"")

    `more`: what the reader of a protocol that keeps answers needs.
    """
    lost: list[str] = []
    request = read_as(cached.body.fields, wish, more)
    cached.out, cached.wish = write_as(request, wish, lost), wish
    tokens = input_tokens(cached.out) if wants_tokens else 0
    return (without_texts(request), lost, head_of(cached.out), tokens), b""


def finish(
    cached: Cached, wish: Wish, changes: Mapping[str, Any], dropped: frozenset[str], counts: bool,
    more: Mapping[str, Any] = ir.NOTHING,
) -> tuple[list[str], bytes]:  # fmt: skip
    """(what was lost, the bytes of what was converted)"""
    if cached.wish != wish:  # by another worker, or too long ago
        convert(cached, wish, False, more)
    lost: list[str] = []
    return lost, encode_body(cached.out, changes, dropped, lost, wish if counts else None)


def select(
    cached: Cached, texts: Sequence[str], names: Sequence[str], variables: Mapping[str, Any]
) -> tuple[tuple[dict[str, Any], dict[str, Any]], bytes]:
    """((what selectors say, what affinity expressions say), b""), each by its text."""

    def read(text: str) -> tuple[Selector, Mapping[str, Any]]:
        selector = read_expression(text, "", Reading({}, str, [], [], [], frozenset()))
        if selector is None:
            raise ValueError("the configuration holds an expression that cannot be read")
        spelled = selector.read(cached.body.text) if selector.spells else None
        return selector, cached.body.fields if spelled is None else spelled

    verdicts = {text: (found := read(text))[0].verdict(found[1], variables) for text in texts}
    return (verdicts, {text: (found := read(text))[0].name(found[1], variables) for text in names}), b""


JOBS: Mapping[str, Callable[..., tuple[Any, bytes]]] = {
    "read": read, "change": change, "convert": convert, "finish": finish, "select": select,
}  # fmt: skip
