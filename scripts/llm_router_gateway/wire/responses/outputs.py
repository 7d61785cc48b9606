"""What an answer's items are made of: seals, quotations, reasons. Pure pieces that the stream writer and readers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import ir
from ..citations import CITATIONS, of_grounding, unread_of
from ..losses import with_value
from ..shapes import both

# Why an answer is incomplete; every other reason is a completed one.
INCOMPLETE: Mapping[str, str] = {
    "length": "max_output_tokens", "context": "max_output_tokens", "refusal": "content_filter",
}  # fmt: skip
# The word for every reason, as the log has it: why a response is incomplete, else its status.
REASON: Mapping[str, str] = {
    **dict.fromkeys(("end", "stop_sequence", "tool_calls", "pause", "other"), "completed"), **INCOMPLETE,
}  # fmt: skip
TOLD: frozenset[ir.Reason] = frozenset({"end", "tool_calls", "length", "refusal"})  # the others have no word of their own


def seal_thought(seal: ir.Seal, part: ir.Thinking, said: str, signature: str) -> str:
    """Another vendor's thought as encrypted_content: all of it, since its signature fits only these letters."""
    value = {"kind": "thinking", "vendor": part.vendor, "text": said, "signature": signature, "data": part.data}
    return seal.close({name: each for name, each in value.items() if each})


def seal_signature(seal: ir.Seal, vendor: str, signature: str) -> str:
    """The signature of a text (Gemini's), which goes back beside it."""
    return seal.close({"kind": "signature", "vendor": vendor, "signature": signature})


# ------------------------------------------------------------------------------------------------------------ quotations


def annotations_in(notes: Any) -> list[dict[str, Any]]:
    """Chat completions' annotations, flat as Responses have them; such as are flat already stay.

    [{"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 3}}]
        -> [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 3}]
    """
    made = []
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, dict):
            kind = str(note.get("type"))
            inner = note.get(kind)
            outer = {name: each for name, each in note.items() if name != kind}
            made.append({**outer, **inner} if isinstance(inner, dict) else dict(note))
    return made


def chat_annotations(notes: Any, offset: int) -> list[dict[str, Any]]:
    """The other way: the places of a text's quotations counted from the beginning of the whole answer."""
    made = []
    for note in notes if isinstance(notes, list) else ():
        if not isinstance(note, dict) or note.get("type") != "url_citation":
            continue
        inner = {name: each for name, each in note.items() if name != "type"}
        for name in ("start_index", "end_index"):
            if isinstance(inner.get(name), int):
                inner[name] += offset
        made.append({"type": "url_citation", "url_citation": inner})
    return made


def other_quotations(notes: Any) -> ir.Extras:
    """The kinds of quotations that chat completions do not have: of files, of a container's files."""
    kinds = [note.get("type") for note in notes if isinstance(note, dict)] if isinstance(notes, list) else []
    others = {with_value("annotations", kind): True for kind in kinds if kind != "url_citation"}
    return {ir.UNREAD: others} if others else ir.NOTHING


def grounding_annotations(metadata: Any, said: str) -> list[dict[str, Any]]:
    """Gemini's grounding of a text as annotations. It counts in bytes of UTF-8, OpenAI in characters.

    {"groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
     "groundingSupports": [{"segment": {"endIndex": 3}, "groundingChunkIndices": [0]}]}, "caf\u00e9"
        -> [{"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 3}]
    """
    return [
        {
            "type": "url_citation",
            "url": page.url,
            "title": page.title,
            "start_index": page.start or 0,
            "end_index": page.end or 0,
        }
        for page in of_grounding(metadata, said)
    ]


def citations_in(extras: ir.Extras) -> tuple[list[dict[str, Any]], ir.Extras]:
    """Anthropic's quotations of the web as annotations, without their place, and the extras that are left.

    {"anthropic": {"citations": [{"url": "u", "title": "t", "cited_text": "..."}]}}
        -> ([{"type": "url_citation", "url": "u", "title": "t"}], {})
    """
    own = dict(extras.get("anthropic", {}))
    found = own.pop("citations", None)
    cited = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    pages = [each for each in cited if isinstance(each.get("url"), str)]
    notes = [{"type": "url_citation", "url": each["url"], "title": str(each.get("title") or "")} for each in pages]
    if len(pages) < len(cited):
        own["citations"] = cited
    left = {vendor: fields for vendor, fields in extras.items() if vendor != "anthropic"}
    return notes, both(left | ({"anthropic": own} if own else {}), unread_of(CITATIONS, pages))
