"""The names of what a protocol has no place for, each once: they go into the x-llm-router-lost header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import BadRequest
from . import ir
from .registry import SPECS

MAX_LOST = 200  # names that are kept of one request; a header could not hold more, and each is looked for again
MAX_HEADER_CHARS = 2_000
MAX_NAME_CHARS = 120  # of one name in the header; callers choose the names of fields

# Named last, as counts of tokens are, without the place it was lost at: it does not change the question to the model.
NOISE = frozenset({"$schema", "$id", "$comment", "additionalProperties", "title", "examples", "default", "format",
                   "x-anthropic-billing-header", "include_usage", "cache_control", "detail"})  # fmt: skip
# Named first: the model saw less than the caller sent, or the answer holds less than the model said.
CONTENT = re.compile(
    r"(?:image|document|audio|video|file|tools(?:\[\d+\]|\[\*\])?=|tool_result|tool_choice|tool_use|tool_call|messages|system\."
    r"|assistant\.|user\.|response_format|functionCall|functionResponse|grounding|citation|prefill|lone)"
)
USUAL = {"caller": {"type": "direct"}}  # of a call: the model made it itself, as it does everywhere
INDEX = re.compile(r"\[\d+\]")


WORD = re.compile(r"[\w.:/+-]{1,60}")


def with_value(name: str, value: object) -> str:
    """The name of a field with its value if that is a word; anything else may be content, which must not be in a name.

    with_value("service_tier", "flex") -> "service_tier=flex";  with_value("service_tier", "see here") -> "service_tier"
    """
    return f"{name}={value}" if WORD.fullmatch(str(value)) else name


def name_lost(lost: list[str], name: str) -> None:
    """Each name once, in the order it was first met; those beyond MAX_LOST are not kept."""
    if len(lost) < MAX_LOST and name not in lost:
        lost.append(name)


def lose_extras(extras: ir.Extras, own: str, lost: list[str], where: str = "") -> None:
    """Names what only another vendor's wire has a place for: lose_extras({"gemini": {"labels": ..}}, "openai", lost)."""
    if extras is ir.NOTHING:  # as nearly always
        return
    for vendor, fields in extras.items():
        if vendor != own:
            for name in fields:
                if name in USUAL and fields[name] == USUAL[name]:
                    continue
                # A part of the conversation: an answer without it would be an answer to another question.
                if vendor in SPECS and name in SPECS[vendor].kept_fields:
                    raise BadRequest(f"{name} is kept by {vendor}, not here: send its content", details={"path": name})
                name_lost(lost, f"{where}{name}")


def with_extras(part: ir.Part, extras: ir.Extras) -> ir.Part:
    """A part with the fields of its object that have no neutral place, so that a writer names them. Only texts and media are
    written with them again."""
    if extras is ir.NOTHING:
        return part
    if not isinstance(part, ir.Text | ir.Media):
        extras = {ir.UNREAD: {name: True for fields in extras.values() for name in fields}}
    return replace(part, extras=ir.merge_extras(part.extras, extras))


def lose_name(part: ir.Media, lost: list[str]) -> None:
    """Of a file or a picture, for a protocol that has no place for its name."""
    if part.name:
        name_lost(lost, f"{part.kind}.name")


def lose_settings(search: ir.WebSearch, names: Iterable[str], lost: list[str]) -> None:
    """Names those of a search of the web that the vendor's own does not have."""
    for name in names:
        if getattr(search, name):
            name_lost(lost, f"web_search.{name}")


def lose_unread(extras: ir.Extras, lost: list[str]) -> None:
    """Names what nothing reads of a part whose other extras are of no use but to their vendor."""
    if extras is not ir.NOTHING:
        for name in extras.get(ir.UNREAD, ()):
            name_lost(lost, name)


def lose_part(part: ir.Part, own: str, lost: list[str]) -> None:
    """Names what of a part of an answer has no place; a text's quotations may have one, so that its writer names the rest."""
    if part.extras is ir.NOTHING or isinstance(part, ir.Text):
        return
    if isinstance(part, ir.Opaque) and part.vendor == own:
        return  # it goes back as it came
    if isinstance(part, ir.ToolCall | ir.Media):
        lose_extras(part.extras, own, lost)
    else:
        lose_unread(part.extras, lost)


# ------------------------------------------------------------------------------------------- what is said beside an answer

USUAL_TIERS = frozenset({"", "auto", "default", "standard", "standard_only"})  # say that nothing special was done


def lose_tier(tier: str, lost: list[str]) -> None:
    """Names how an answer was served, or is to be served, for a protocol that has no place for it."""
    if tier not in USUAL_TIERS:
        name_lost(lost, with_value("service_tier", tier))


def late_tier(first: str, last: str) -> ir.Extras:
    """How a stream says at its end that it was served, where its beginning said another thing: that one was passed on."""
    return ir.NOTHING if last == first or last in USUAL_TIERS else {ir.UNREAD: {with_value("service_tier", last): True}}


PLAIN_ENDS = frozenset({"stop", "completed", "end_turn", "STOP"})  # words for an end that something else explains


def unknown_word(word: str) -> ir.Extras:
    """For a Stop with an unknown word, although a call in the answer shows why it ended."""
    return {ir.UNREAD: {with_value("stop_reason", word): True}}


def lose_stop(
    stop: ir.Stop, told: frozenset[ir.Reason], lost: list[str], *, explained: bool = False, native: bool = False
) -> None:
    """Names why an answer ended if the protocol has no word for it, and the vendor's further details of that end, apart from
    an explanation and the word itself if the answer carries them."""
    if stop.reason not in told:
        says_more = stop.native and stop.reason != "stop_sequence" and stop.native not in PLAIN_ENDS
        name_lost(lost, with_value("stop_reason", stop.native if says_more else stop.reason))
    for vendor, fields in stop.extras.items():
        for name, value in fields.items():
            if vendor == ir.UNREAD and not native:
                name_lost(lost, name)
            for inner in value if isinstance(value, dict) else ():
                if value[inner] is not None and inner != "type" and not (explained and inner == "explanation"):
                    name_lost(lost, f"{name}.{inner}")


def explanation_in(stop: ir.Stop) -> str:
    """Anthropic's own words for a refusal; "" where there are none."""
    details = stop.extras.get("anthropic", ir.NOTHING).get("stop_details")
    found = details.get("explanation") if isinstance(details, dict) else None
    return found if isinstance(found, str) else ""


# Details of a usage that are said of nearly every answer: nothing special was done.
USUAL_DETAILS = {"inference_geo": ("not_available", "global"), "speed": ("standard",)}


def counts(value: Any) -> bool:
    """Whether a detail of a usage says anything: counts(0), counts({"requests": 0}) -> False"""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def lose_counts(usage: ir.Usage | None, own: str, lost: list[str], *classes: str) -> None:
    """Names what of a usage has no place: `classes` that the protocol does not tell from others, and vendors' own counts."""
    if usage is None:
        return
    for vendor, fields in usage.extras.items():
        for name, value in fields.items() if vendor != own else ():
            if counts(value) and value not in USUAL_DETAILS.get(name, ()):
                name_lost(lost, f"usage.{name}")
    for name in classes:
        if getattr(usage, name):
            name_lost(lost, f"usage.{name}")


def only_text(part: ir.Part, lost: list[str]) -> str:
    """The text of a part of an answer, for a protocol that carries nothing else; "" for others, which are named."""
    lose_part(part, "", lost)
    if isinstance(part, ir.Text) and part.signature:
        name_lost(lost, "signature")
    if isinstance(part, ir.Text | ir.Refusal) or (isinstance(part, ir.Opaque) and part.text):
        return part.text
    if isinstance(part, ir.Media | ir.Opaque):
        name_lost(lost, part.kind)
    else:
        name_lost(lost, "thinking" if isinstance(part, ir.Thinking) else "tool_calls")
    return ""


def noise_in(name: str) -> str:
    """The keyword that a name ends in, where it is noise: "tools[3].parameters.$schema" -> "$schema"; else ""."""
    last = name.rpartition(".")[2].partition("=")[0]
    return last if last in NOISE else ""


def rank_losses(lost: Sequence[str]) -> list[str]:
    """The names as they are reported: what matters most first, one name for one thing in several places, noise last.

    rank_losses(["tools[0].parameters.$schema", "tools[1].parameters.$schema", "top_k", "image.url"])
        -> ["image.url", "top_k", "$schema"]
    """
    same: dict[str, list[str]] = {}
    for name in lost:
        same.setdefault(noise_in(name) or INDEX.sub("[*]", name), []).append(name)
    stated = [(name, found[0] if len(found) == 1 and not noise_in(found[0]) else name) for name, found in same.items()]
    return [shown for name, shown in sorted(stated, key=lambda each: rank(each[0]))]  # stable: else as they were met


def rank(name: str) -> int:
    return 0 if CONTENT.match(name) else 2 if name in NOISE or name.startswith("usage.") else 1


def header_of(names: Iterable[str]) -> str:
    """The names on one line that is not endless: whole names, then how many more there are.

    header_of(["top_k", "stop"]) -> "top_k, stop"
    """
    stated: list[str] = []
    room, left = MAX_HEADER_CHARS - len(", and 9999 more"), 0
    for name in names:
        shown = name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 3] + "..."
        if left or len(shown) + 2 > room:
            left += 1
            continue
        stated.append(shown)
        room -= len(shown) + 2
    return ", ".join(stated) + (f", and {left} more" if left else "")
