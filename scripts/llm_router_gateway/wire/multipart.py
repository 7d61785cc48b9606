"""A form with files, as audio and pictures are uploaded: read once, changed only where a field changes. RFC 7578, RFC 2046 5.1.

    form = read_form(data, 'multipart/form-data; boundary="b"')
    form.fields                        -> {"model": "p/whisper-1", "language": "en"}   texts; files are not among them
    form.edit({"model": "m"})          -> the same bytes, with "m" in the place of the model

Everything else stays as the caller wrote it, to the byte: order, headers of the parts, the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from typing import Any

from ..errors import BadRequest
from ..json_body import Body, dump

FORM_TYPE = "multipart/form-data"
MAX_PARTS = 256  # Starlette's servers take up to 1,000, most others fewer; no API has as many fields
MAX_PART_HEAD = 8_192  # bytes of a part's headers
MAX_TEXT = 65_536  # bytes of a field that is no file, as far as it is looked at
MAX_BOUNDARY = 70  # RFC 2046 5.1.1


@dataclass(frozen=True, slots=True)
class Part:
    """One field: data[start:end] is its value."""

    name: str
    start: int
    end: int
    is_file: bool


@dataclass(frozen=True, slots=True)
class Form:
    """The bytes of a form and where its fields are."""

    data: bytes
    boundary: bytes
    parts: tuple[Part, ...]
    fields: Mapping[str, str] = field(default_factory=dict)

    def edit(self, values: Mapping[str, str]) -> bytes:
        """The bytes with `values` in the place of what these fields had, and added in front where the form has none of them."""
        pieces, at = [], 0
        for part in self.parts:
            if part.name in values and not part.is_file:
                pieces += [self.data[at : part.start], values[part.name].encode()]
                at = part.end
        pieces.append(self.data[at:])
        missing = [name for name in values if name not in self.fields]
        added = [
            b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
            % (self.boundary, name.encode(), values[name].encode())
            for name in missing
        ]
        return b"".join([*added, *pieces])


class FormBody(Body):
    """A form in the place of a JSON body: its texts are the fields, and a change of them is one of the form."""

    __slots__ = ("content_type", "form")

    def __init__(self, form: Form, content_type: str) -> None:
        fields = {name: numeral(text) for name, text in form.fields.items()}
        super().__init__(dump(fields), fields)
        self.form, self.content_type = form, content_type

    def encode(self) -> bytes:
        return self.form.data

    def edit(
        self, fields: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, drop: frozenset[str] = frozenset()
    ) -> bytes:
        """Nothing has defaults or leaves out fields of a form: overrides are for chats."""
        return self.form.edit({name: str(value) for name, value in fields.items()})


def numeral(text: str) -> str | int:
    """A field of a form as JSON would have it: numeral("3") -> 3. Only bounds of a key look at it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else text


def boundary_of(content_type: str) -> bytes:
    """The boundary that a content-type names; BadRequest where it names none."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_boundary()
    if not boundary or len(boundary) > MAX_BOUNDARY or not boundary.isascii():
        raise BadRequest(f"the content-type {FORM_TYPE} names no usable boundary")
    return boundary.encode()


def read_form(data: bytes, content_type: str) -> Form:
    """The form; BadRequest for what is none, and for a field that is there twice: readers differ in which they take."""
    boundary = boundary_of(content_type)
    mark = b"--" + boundary
    at = 0 if data.startswith(mark) else data.find(b"\r\n" + mark) + 2
    if at == 1:
        raise bad_form("its first boundary is missing")
    parts: list[Part] = []
    while True:
        at += len(mark)
        if data[at : at + 2] == b"--":
            return Form(data, boundary, tuple(parts), texts(data, parts))
        if len(parts) == MAX_PARTS:
            raise BadRequest(f"the form has more than {MAX_PARTS} fields")
        line = data.find(b"\r\n", at, at + MAX_PART_HEAD)
        head_end = data.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        if line < 0 or head_end < 0 or data[at:line].strip(b" \t"):
            raise bad_form(f"field {len(parts) + 1} has no whole head")
        end = data.find(b"\r\n" + mark, head_end + 2)
        if end < 0:
            raise bad_form("its last boundary is missing")
        start = min(head_end + 4, end)
        parts.append(part_of(data[line + 2 : head_end + 2], start, end, len(parts) + 1))
        at = end + 2


def part_of(head: bytes, start: int, end: int, number: int) -> Part:
    said = BytesHeaderParser(policy=compat32).parsebytes(head)
    name = said.get_param("name", header="content-disposition")
    if not isinstance(name, str) or not name:
        raise bad_form(f"field {number} has no name")
    # Some servers take a field with an empty file name for a text, others for a file: it has to be right as a text.
    is_file = bool(said.get_param("filename", header="content-disposition"))
    return Part(name, start, end, is_file)


def texts(data: bytes, parts: list[Part]) -> dict[str, str]:
    """The fields that are no files; long ones are there, without their text."""
    found: dict[str, str] = {}
    for part in parts:
        if part.is_file:
            continue
        if part.name in found and not part.name.endswith("[]"):
            shown = part.name[:60]
            raise BadRequest(f"{shown} is given twice in the form; leave one out", details={"path": shown})
        try:
            found[part.name] = data[part.start : part.end].decode() if part.end - part.start <= MAX_TEXT else ""
        except UnicodeDecodeError:
            raise bad_form(f"{part.name[:60]} is not UTF-8") from None
    return found


def bad_form(why: str) -> BadRequest:
    return BadRequest(f"the body is not a form ({FORM_TYPE}): {why}")
