"""Forms with files: what is read of them, what is changed in them, and what is refused."""

from __future__ import annotations

import pytest

from llm_router_gateway.errors import BadRequest
from llm_router_gateway.wire.multipart import MAX_PARTS, MAX_TEXT, Form, read_form

KIND = "multipart/form-data; boundary=b"
SOUND = bytes(range(256)) + b"\r\n-b\r\n--\r\n- -b"  # almost a boundary


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


FILE = part("file", SOUND, '; filename="a.wav"\r\nContent-Type: audio/wav')


def test_fields_are_read_and_files_are_not() -> None:
    found = read_form(form(FILE, part("model", b"p/m"), part("prompt", "grüße".encode())), KIND)
    assert found.fields == {"model": "p/m", "prompt": "grüße"}
    assert found.data[found.parts[0].start : found.parts[0].end] == SOUND


@pytest.mark.parametrize(
    "kind", [KIND, 'multipart/form-data; boundary="b"', 'Multipart/Form-Data; charset=utf-8; BOUNDARY="b"']
)
def test_a_changed_form_differs_in_that_field_alone(kind: str) -> None:
    data = form(FILE, part("model", b"p/m"), part("n", b"2"))
    changed = read_form(data, kind).edit({"model": "whisper-1"})
    assert changed == form(FILE, part("model", b"whisper-1"), part("n", b"2"))
    assert read_form(data, kind).edit({}) == data


def test_a_field_that_is_missing_is_put_in_front() -> None:
    changed = read_form(form(FILE), KIND).edit({"model": "m"})
    assert read_form(changed, KIND).fields == {"model": "m"} and changed.endswith(form(FILE))


def test_what_stands_before_and_after_the_fields_stays() -> None:
    data = b"preamble\r\n" + form(part("model", b"p/m")) + b"epilogue"
    assert read_form(data, KIND).edit({"model": "x"}) == data.replace(b"p/m", b"x")


def test_a_list_may_repeat_its_name_and_an_empty_value_is_one() -> None:
    found = read_form(form(part("image[]", b"1"), part("image[]", b"2"), part("model", b"")), KIND)
    assert found.fields["model"] == ""


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", KIND, "first boundary is missing"),
        (b"{}", KIND, "first boundary is missing"),
        (form(FILE)[:-9], KIND, "last boundary is missing"),
        (form(FILE), "multipart/form-data", "names no usable boundary"),
        (form(FILE), "multipart/form-data; boundary=" + "b" * 71, "names no usable boundary"),
        (form(b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"), KIND, "field 1 has no name"),
        (form(b"--b\r\nno end of head"), KIND, "field 1 has no whole head"),
        (form(part("model", b"a"), part("model", b"b")), KIND, "model is given twice"),
        (form(part("model", b"a"), part("model", b"b", '; filename=""')), KIND, "model is given twice"),
        (form(part("model", b"a"), part("model", b" " * MAX_TEXT + b"b")), KIND, "model is given twice"),
        (form(part("model", b"\xff")), KIND, "model is not UTF-8"),
        (form(*[part(f"f{number}", b"1") for number in range(MAX_PARTS + 1)]), KIND, "more than 256 fields"),
    ],
)
def test_what_is_no_form_is_refused(data: bytes, kind: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_form(data, kind)


def test_a_form_cut_anywhere_is_refused_or_the_same() -> None:
    """Every cut before the last boundary's end is noticed."""
    data = form(part("model", b"p/m"), FILE)
    for length in range(len(data) - 4):
        with pytest.raises(BadRequest):
            read_form(data[:length], KIND)
    assert isinstance(read_form(data, KIND), Form)


def test_a_long_file_of_near_boundaries_is_read_in_linear_time() -> None:
    many = read_form(form(part("file", b"\r\n--" * 2_000_000, '; filename="x"')), KIND)
    assert many.parts[0].end - many.parts[0].start == 8_000_000
