"""`@csv` and the other formats of the jq language: a value in, text out.

FORMATS["csv"]([1, "a"])   -> '1,"a"'
FORMATS["base64"]("hi")    -> "aGk="
"""

from __future__ import annotations

import base64
import binascii
import re
import urllib.parse
from collections.abc import Callable

from .values import JqRefused, Value, brief, fail, text_of, to_json


def csv_cell(value: Value, quote: Callable[[str], str], of: str) -> str:
    this = type(value)
    if this is str:
        return quote(value)
    if this in (list, dict):
        raise fail(f"{brief(value)} is not valid in a csv row")
    return "" if value is None or value != value else to_json(value)


def row_format(glue: str, quote: Callable[[str], str], name: str) -> Callable[[Value], str]:
    def run(value: Value) -> str:
        if type(value) is not list:
            raise fail(f"{brief(value)} cannot be {name}-formatted, only array")
        return glue.join(csv_cell(each, quote, name) for each in value)

    return run


def csv_text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


TSV = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\"})
HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"})


def sh(value: Value) -> str:
    parts: list[str] = []
    for each in value if type(value) is list else [value]:
        if type(each) in (list, dict):
            raise fail(f"{brief(each)} can not be escaped for shell")
        parts.append("'" + each.replace("'", "'\\''") + "'" if type(each) is str else to_json(each))
    return " ".join(parts)


def base64_text(value: Value) -> str:
    return base64.b64encode(text_of(value).encode("utf-8", "surrogatepass")).decode()


def base64_read(value: Value) -> str:
    text = text_of(value)
    body = text.rstrip("=")
    if re.fullmatch(r"[A-Za-z0-9+/]*", body) is None or len(text) - len(body) > 2:
        raise JqRefused("base64 text with other characters in it")
    if len(body) % 4 == 1:
        raise fail(f"{brief(value if type(value) is str else text)} trailing base64 byte found")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4)).decode("utf-8")
    except (UnicodeDecodeError, binascii.Error):
        raise JqRefused("base64 of what is not text") from None


def uri_text(value: Value) -> str:
    return urllib.parse.quote(text_of(value).encode("utf-8", "replace"), safe="~-._")


def uri_read(value: Value) -> str:
    text = text_of(value)
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise fail(f"{brief(text)} is not a valid uri encoding")
    try:
        return urllib.parse.unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise fail(f"{brief(text)} is not a valid uri encoding") from None


FORMATS: dict[str, Callable[[Value], str]] = {
    "text": text_of,
    "json": to_json,
    "csv": row_format(",", csv_text, "csv"),
    "tsv": row_format("\t", lambda text: text.translate(TSV), "tsv"),
    "html": lambda value: text_of(value).translate(HTML),
    "uri": uri_text,
    "urid": uri_read,
    "sh": sh,
    "base64": base64_text,
    "base64d": base64_read,
}


def format_value(value: Value, name: Value) -> str:
    if type(name) is not str or name not in FORMATS:
        raise fail(f"{text_of(name)} is not a valid format")
    return FORMATS[name](value)
