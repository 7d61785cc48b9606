"""A JSON body that keeps its bytes: read once, changed only where a field changes.

    body = read_body(b'{"x":1.0, "model": "p/m", "stream":true}')
    body.fields["model"]            -> "p/m"
    body.edit({"model": "m"})       -> b'{"x":1.0, "model": "m", "stream":true}'

Everything else stays as the caller wrote it, to the byte: number spellings, order, white space, unknown fields.
A field given twice is replaced twice, so that no server downstream reads the other value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, NoReturn

from .errors import BadRequest

SPACE = re.compile(r"[ \t\n\r]*")
PLAIN_NAME = re.compile(r"[a-z_]+")  # has no other spelling in JSON than one with \u
PLAIN_TEXT = re.compile(r'[ \t\n\r]*:[ \t\n\r]*("[^"\\]*")')


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# parse_constant: Python would read NaN and Infinity, and write them where no other JSON reader takes them.
DECODER = json.JSONDecoder(parse_constant=refuse_constant)
# (text, index) -> (value, end), at C speed.
read_value: Callable[[str, int], tuple[Any, int]] = DECODER.scan_once  # type: ignore[attr-defined]  # not in typeshed
# The same for what servers send, some of which write NaN.
read_any: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
WHITE = " \t\n\r"
# Compact, every script's letters as they are. What was read as JSON holds no circle, and to look for one doubles the time.
ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One `"name": value` of an object; text[start:end] is the value."""

    name: str
    value: Any
    start: int
    end: int


def members_of(text: str, at: int = 0) -> list[Member]:
    """The members of the object that begins at `at`, in order; ValueError if it is not JSON.

    With `at` 0 the object must be the whole text.
    """
    members: list[Member] = []
    index = skip(text, at, "{")
    while text[index : index + 1] != "}":
        if members:
            index = skip(text, index, ",")
        if text[index : index + 1] != '"':
            raise ValueError(f"a field's name is expected at character {index}")
        name, index = read_value(text, index)
        start = skip(text, index, ":")
        value, end = read_value(text, start)
        members.append(Member(name, value, start, end))
        index = SPACE.match(text, end).end()  # type: ignore[union-attr]  # it matches the empty string too
    if at == 0 and SPACE.match(text, index + 1).end() != len(text):  # type: ignore[union-attr]
        raise ValueError(f"something follows the object at character {index + 1}")
    return members


def skip(text: str, index: int, mark: str) -> int:
    """Past white space, `mark` and white space."""
    index = SPACE.match(text, index).end()  # type: ignore[union-attr]  # it matches the empty string too
    if text[index : index + 1] != mark:
        raise ValueError(f"{mark!r} is expected at character {index}")
    return SPACE.match(text, index + 1).end()  # type: ignore[union-attr]


def dump(value: object) -> str:
    """Compact JSON, every script's letters as they are; null for numbers that JSON has not (some servers send NaN)."""
    try:
        return ENCODER.encode(value)
    except ValueError:
        return ENCODER.encode(finite(value))


def finite(value: Any) -> Any:
    """finite({"a": [NaN, 1.5]}) -> {"a": [None, 1.5]}"""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value if not isinstance(value, float) or isfinite(value) else None


@dataclass(slots=True)
class Body:
    """A request body: its text, and the values of its top-level members by name. Their positions are found when needed."""

    text: str
    fields: Mapping[str, Any]
    _members: list[Member] | None = None
    content_type = "application/json"

    def encode(self) -> bytes:
        """The bytes as they came."""
        return self.text.encode()

    @property
    def members(self) -> list[Member]:
        if self._members is None:
            self._members = members_of(self.text)
        return self._members

    def _place(self, name: str) -> tuple[int, int] | None:
        """The position of a member's value, when a plain text search finds it: nearly always, of `model`.

        Its name occurs once in the body, nothing is escaped with \\u, and its value is a text: so the match is the member.
        """
        quoted = f'"{name}"'
        if not isinstance(self.fields.get(name), str) or not PLAIN_NAME.fullmatch(name):
            return None
        if self.text.count(quoted) != 1 or "\\u" in self.text:
            return None
        found = PLAIN_TEXT.match(self.text, self.text.index(quoted) + len(quoted))
        return found.span(1) if found else None

    def edit(
        self, fields: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, drop: frozenset[str] = frozenset()
    ) -> bytes:
        """The bytes with `fields` replaced or added, `defaults` added for absent fields, `drop` left out."""
        if len(fields) == 1 and not defaults and not drop:
            ((name, value),) = fields.items()
            place = self._place(name)
            if place is not None:
                text = self.text[: place[0]] + dump(value) + self.text[place[1] :]
                return text.encode("utf-8", "surrogatepass")
        if drop and drop & self.fields.keys():
            return without(self, drop).edit(fields, defaults)
        edits = [(member.start, member.end, dump(fields[member.name]))
                 for member in self.members if member.name in fields]  # fmt: skip
        wanted = {name: value for name, value in (defaults or {}).items() if name not in fields}
        wanted |= {name: value for name, value in fields.items() if name not in self.fields}  # the others were replaced whole
        edits += insertions(self.text, 0, wanted, self.members)
        return apply_edits(self.text, edits).encode("utf-8", "surrogatepass")


def without(body: Body, drop: frozenset[str]) -> Body:
    """The body without some members, the others' bytes as they were."""
    kept = [f"{dump(member.name)}:{body.text[member.start : member.end]}"
            for member in body.members if member.name not in drop]  # fmt: skip
    text = "{" + ",".join(kept) + "}"
    return Body(text, {name: value for name, value in body.fields.items() if name not in drop})


def insertions(text: str, at: int, values: Mapping[str, Any], members: list[Member]) -> list[tuple[int, int, str]]:
    """The edits that add `values` to the object at `at`; tables inside tables are filled the same way."""
    present = {member.name: member for member in members}
    new = {name: value for name, value in values.items() if name not in present}
    edits = []
    for name, value in values.items():
        member = present.get(name)
        if member and isinstance(value, dict) and isinstance(member.value, dict):
            edits += insertions(text, member.start, value, members_of(text, member.start))
    if new:
        place = skip(text, at, "{")
        edits.append((place, place, dump(new)[1:-1] + ("," if members else "")))
    return edits


def apply_edits(text: str, edits: list[tuple[int, int, str]]) -> str:
    """`text` with each (start, end, new) put in; the edits do not overlap."""
    pieces, at = [], 0  # put together once: a body may hold one name a hundred thousand times
    for start, end, new in sorted(edits):
        pieces += [text[at:start], new]
        at = end
    return "".join([*pieces, text[at:]])


def read_body(data: bytes) -> Body:
    """A request's JSON object; BadRequest when it is none."""
    try:
        text = data.decode()
        return Body(text, fields_of(text))
    except StopIteration as wrong:  # scan_once raises it where no value begins
        raise BadRequest(f"the body is not JSON: a value is expected at character {wrong.value}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as wrong:
        raise BadRequest(f"the body is not a JSON object: {reason(wrong)}") from None


def fields_of(text: str) -> dict[str, Any]:
    """The object that a text is; of a name that is there twice the last value."""
    try:
        fields, end = read_value(text, 0)
        if isinstance(fields, dict) and not text[end:].strip(WHITE):
            return fields
    except (json.JSONDecodeError, StopIteration):
        pass  # the slower way takes white space in front, and reports the position
    return {member.name: member.value for member in members_of(text)}


def reason(wrong: ValueError) -> str:
    """The fault, without a piece of the body, which may hold anything."""
    if isinstance(wrong, UnicodeDecodeError):
        return f"byte {wrong.start} is not UTF-8"
    if isinstance(wrong, json.JSONDecodeError):
        return f"{wrong.msg} at character {wrong.pos}"
    return str(wrong)
