"""Files and batches of OpenAI's API, as values: what a list shows, what an object names, what the API says of unknown ids.

    read_listing("file", {"limit": "2", "purpose": "batch"})  -> Listing(after="", limit=2, is_ascending=False, label="batch")
    page([{"id": "file-1"}], has_more=False)                  -> {"object": "list", "data": [...], ...}
    files_of({"id": "batch_1", "output_file_id": "file-2"})   -> ("file-2",)     the files that a batch has made

Read on 2026-11 from the types of the package openai: `FileObject`, `FileDeleted`, `Batch`, and the parameters of both lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import BadRequest, GatewayError, NotFound

FILE, BATCH = "file", "batch"  # the kinds, as objects name themselves
# Batches that change no more: what was seen of one last is what it is.
FINAL = frozenset({"failed", "completed", "expired", "cancelled"})
MADE = ("output_file_id", "error_file_id")
MADE_LABEL = "batch_output"  # the purpose of these files
MARK = '"file_id'  # begins the names of fields with ids of files
NAMED = re.compile(r'"file_ids?"\s*:\s*(?:("[^"]{1,200}")|(\[[^\]]{1,20000}\]))')
TEXT = re.compile(r'"([^"]{1,200})"')
MAX_NAMED = 100  # files that one request names, as far as is looked
MOST = {FILE: (10_000, 10_000), BATCH: (20, 100)}  # objects of a page: if the caller does not say, and at most

Object = Mapping[str, Any]


class Listing(NamedTuple):
    """What a page of a list is to hold."""

    after: str
    limit: int
    is_ascending: bool
    label: str  # the purpose of files; "" for all


def read_listing(kind: str, query: Mapping[str, str]) -> Listing:
    """BadRequest for a limit or an order that the API does not have."""
    usual, most = MOST[kind]
    text, order = query.get("limit") or str(usual), query.get("order") or "desc"
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise BadRequest(f"limit must be a whole number between 1 and {most}", details={"path": "limit"})
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", details={"path": "order"})
    return Listing(query.get("after", ""), int(text), order == "asc", query.get("purpose", "") if kind == FILE else "")


def page(objects: Sequence[Object], has_more: bool) -> dict[str, Any]:
    first, last = (objects[0].get("id"), objects[-1].get("id")) if objects else (None, None)
    return {"object": "list", "data": list(objects), "first_id": first, "last_id": last, "has_more": has_more}


def id_of(value: Object) -> str:
    """Of a file or batch as its provider describes it; "" where it names none."""
    found = value.get("id")
    return found if isinstance(found, str) else ""


def label_of(value: Object) -> str:
    found = value.get("purpose")
    return found if isinstance(found, str) else ""


def is_final(value: Object) -> bool:
    return value.get("status") in FINAL


def is_over(value: Object, now: float) -> bool:
    """Whether a file's own time is over, so that its provider has deleted it. `now` is Unix seconds."""
    until = value.get("expires_at")
    return isinstance(until, (int, float)) and not isinstance(until, bool) and until < now


def files_of(value: Object) -> tuple[str, ...]:
    return tuple(found for name in MADE if isinstance(found := value.get(name), str) and found)


def input_file(fields: Mapping[str, Any]) -> str:
    """The file that a batch is to be made of."""
    found = fields.get("input_file_id")
    if not isinstance(found, str) or not found:
        raise BadRequest("input_file_id is missing: upload a file with POST /v1/files first", details={"path": "input_file_id"})
    return found


def names_in(text: str | bytes) -> list[str]:
    """The files that a body names, wherever: {"file_id": "file-1"}, {"file_ids": ["file-1", "file-2"]}."""
    if isinstance(text, bytes):
        if MARK.encode() not in text:
            return []
        text = text.decode("utf-8", "replace")
    if MARK not in text:  # as in most
        return []
    found = [one or more for one, more in NAMED.findall(text)]
    names = [name for each in found for name in (TEXT.findall(each) if each.startswith("[") else [each.strip('"')])]
    return list(dict.fromkeys(names))[:MAX_NAMED]


def not_found(kind: str, name: str, path: str = "id") -> GatewayError:
    """For an unknown id, and for one that belongs to another key."""
    shown = name[:100]
    text = f"No such File object: {shown}" if kind == FILE else f"No batch found with id '{shown}'."
    return NotFound(text, details={"path": path})
