"""What a caller says about its call: tags for its spend, and the end user behind it. Pure.

    attribution_of(SPECS["openai"], {"user": "u-17", "metadata": {"team": "search", "tags": ["beta"]}}, {}, "")
        -> Attribution(tags=("beta", "team:search"), end_user="u-17")

Tags come from the header that the configuration names (a comma list), from `tags` in the body's labels, and from its other
labels as "name:value". They are for statistics alone and decide nothing. What a caller sends is bounded: MAX_TAGS of them, each
MAX_TAG characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..wire.spec import Spec

MAX_TAGS = 16  # of one call; what comes after them is left out
MAX_TAG = 100  # characters
MAX_USER = 200
MAX_BLOB = 4_000  # characters of an object in the place of a name
ACCOUNTS = ("user_id", "account_uuid", "device_id")  # in such an object: what stays the same from one session to the next
LISTED = "tags"  # the label that is a list of tags, as routers and observability tools have it


class Attribution(NamedTuple):
    """Of one call."""

    tags: tuple[str, ...] = ()
    end_user: str = ""


NONE = Attribution()


def attribution_of(spec: Spec, fields: Mapping[str, Any], headers: Mapping[str, str], header: str) -> Attribution:
    """`header`: the name of the one with tags, in lower case; "" for none."""
    listed = headers.get(header, "") if header else ""
    if not listed and spec.attributes.isdisjoint(fields):  # as most
        return NONE
    labels = fields.get(spec.labels)
    end_user = end_user_of(spec, fields)
    if not listed and not labels:
        return Attribution((), end_user) if end_user else NONE
    own = {path.rpartition(".")[2] for path in spec.end_user if path.startswith(f"{spec.labels}.")}
    tags: dict[str, None] = {}
    for tag in (*listed.split(","), *tags_in(labels, own)):
        text = storable(tag.strip()[:MAX_TAG])
        if text and len(tags) < MAX_TAGS:
            tags[text] = None
    return Attribution(tuple(tags), end_user)


def tags_in(labels: object, but: set[str]) -> Iterator[str]:
    """tags_in({"tags": "a, b", "team": "search", "user_id": "u"}, {"user_id"}) -> "a", "b", "team:search" """
    if not isinstance(labels, Mapping):
        return
    listed = labels.get(LISTED)
    if isinstance(listed, str):
        yield from listed.split(",")
    elif isinstance(listed, list):
        yield from (tag for tag in listed if isinstance(tag, str))
    for name, value in labels.items():
        if name != LISTED and name not in but and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            yield f"{name}:{value}"


def end_user_of(spec: Spec, fields: Mapping[str, Any]) -> str:
    """The first of the fields that the protocol has for it."""
    for path in spec.end_user:
        first, _, rest = path.partition(".")
        value: object = fields.get(first)
        if value is None:  # as in most requests
            continue
        if rest:
            value = value.get(rest) if isinstance(value, Mapping) else None
        name = name_in(value)
        if name:
            return storable(name[:MAX_USER])
    return ""


def storable(text: str) -> str:
    """Without what a database cannot hold as text: zero characters, half surrogates. storable("a\\0b") -> "a\ufffdb" """
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def name_in(value: object) -> str:
    """name_in(" u-17 ") -> "u-17"; name_in('{"account_uuid": "a-1", "session_id": "s"}') -> "a-1", as Claude Code sends it."""
    text = value.strip() if isinstance(value, str) else ""
    if not text.startswith("{") or len(text) > MAX_BLOB:
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    names = (parsed.get(name) for name in ACCOUNTS) if isinstance(parsed, dict) else ()
    return next((name.strip() for name in names if isinstance(name, str) and name.strip()), text)
