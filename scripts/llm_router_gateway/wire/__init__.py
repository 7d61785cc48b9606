"""The protocols, one module each, none importing another. Here is only what all of them must do alike.

A module has: KEEPALIVE, read_request, write_request, read_answer, write_answer, usage_in, read_error, write_error,
error_event, write_count, Scanner, StreamReader, StreamWriter.

Names and ids cross from one vendor's rules to another's and must come back as they went:

    safe_name("9lives")              -> "_9lives_3f1c2a7b"     sent up; own_name(it, request.tools) -> "9lives" coming back
    safe_id("call:1")                -> "call_1_0b9f3c1e"      the same on every turn, so that pairs and caches hold
    packed_id(ToolCall("x", "f", vendor="gemini", signature="c2ln"))  -> "x__gemini_c2ln"
    unpacked_id("x__gemini_c2ln")    -> ("x", "gemini", "c2ln")
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from .. import ir
from ..errors import BadRequest
from ..splice import dumped

compact = dumped  # JSON without spaces
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what all three take as a function's name
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")             # Anthropic's characters, the shortest of the limits
HASH_CHARS = 8
MINTED = "call_m_"  # begins every id that no vendor issued: it need not, and for Gemini must not, go back
NO_RESULT = "No result: the call was interrupted before it was answered."
PACKED = re.compile(r"(.*?)__(gemini)(?:_([A-Za-z0-9_-]+))?", re.DOTALL)


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]


def safe_name(name: str) -> str:
    """A function's name that every vendor takes; itself where it is one already."""
    if NAME.fullmatch(name):
        return name
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)[: 62 - HASH_CHARS]
    return f"{'' if clean[:1].isalpha() else '_'}{clean}_{short_hash(name)}"


def own_names(tools: Iterable[ir.Tool]) -> dict[str, str]:
    """For every tool whose name had to change: the name as sent -> the caller's. own_names(...).get(name, name)."""
    return {safe: tool.name for tool in tools if (safe := safe_name(tool.name)) != tool.name}


def safe_id(text: str) -> str:
    """A call's id that every vendor takes: cleaned, with a hash of what it was; itself where it is one already."""
    if ID.fullmatch(text):
        return text
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', text)[: 63 - HASH_CHARS]}_{short_hash(text)}"


def minted_id(*facts: object) -> str:
    """An id for a call that came without one. `facts` make it unique: the answer's id, the call's place and text.

    minted_id("resp-1", 0, "f", "{}") -> "call_m_" and 20 characters; the same for the same facts
    """
    told = "\0".join(map(str, facts)).encode("utf-8", "surrogatepass")
    return MINTED + hashlib.sha256(told).hexdigest()[:20]


def _url_base64(signature: str) -> str:
    return signature.replace("+", "-").replace("/", "_").rstrip("=")


def packed_id(call: ir.ToolCall) -> str:
    """The id for a caller of another protocol: it brings the issuer and its signature back without knowing of them."""
    if call.vendor != "gemini":
        return call.id
    return f"{call.id}__gemini" + (f"_{_url_base64(call.signature)}" if call.signature else "")


def unpacked_id(text: str) -> tuple[str, str, str]:
    """(id, vendor, signature) of an id that packed_id made; (text, "", "") of any other."""
    match = PACKED.fullmatch(text) if "__gemini" in text else None
    if match is None or not match[1]:
        return text, "", ""
    signature = (match[3] or "").replace("-", "+").replace("_", "/")
    signature += "=" * (-len(signature) % 4)
    try:
        base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return text, "", ""
    return match[1], match[2], signature


# -------------------------------------------------------------------------------------------------- reading what callers sent


def refuse(path: str, wanted: str) -> NoReturn:
    """refuse("messages[0].role", "must be text") -> BadRequest("messages[0].role must be text")"""
    raise BadRequest(f"{path} {wanted}", details={"path": path})


def text(value: Any, path: str) -> str:
    return value if isinstance(value, str) else refuse(path, "must be text")


def number(value: Any, path: str) -> float | None:
    """A number, None where it is null or absent; true is no number."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return refuse(path, "must be a number")


def integer(value: Any, path: str) -> int | None:
    """A whole number, 8.0 too; None where it is null or absent."""
    found = number(value, path)
    if found is None or isinstance(found, int) or found.is_integer():
        return None if found is None else int(found)
    return refuse(path, "must be a whole number")


def truth(value: Any, path: str) -> bool | None:
    return value if value is None or isinstance(value, bool) else refuse(path, "must be true or false")


def obj(value: Any, path: str) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else refuse(path, "must be an object")


def items(value: Any, path: str) -> list[Any]:
    """A list; [] where it is null or absent."""
    if value is None:
        return []
    return value if isinstance(value, list) else refuse(path, "must be a list")


# ---------------------------------------------------------------------------------------------------------------- telling


def name_lost(lost: list[str], name: str) -> None:
    """Each name once, in the order it was first met."""
    if name not in lost:
        lost.append(name)


# Parts of the conversation that a vendor keeps: an answer without them would be an answer to another question.
KEPT_ELSEWHERE = {
    "gemini": frozenset({"cachedContent"}), "responses": frozenset({"previous_response_id", "conversation", "prompt"}),
}  # fmt: skip


def lose_extras(extras: ir.Extras, own: str, lost: list[str], where: str = "") -> None:
    """Names what only another vendor's wire has a place for: lose_extras({"gemini": {"labels": ..}}, "openai", lost)."""
    for vendor, fields in extras.items():
        if vendor != own:
            for name in fields:
                if name in KEPT_ELSEWHERE.get(vendor, ()):
                    raise BadRequest(f"{name} is kept by {vendor} and not here: send what it holds", details={"path": name})
                name_lost(lost, f"{where}{name}")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long an upstream asked to wait; headers in lower case.

    {"retry-after-ms": "1500"} -> 1.5;  {"retry-after": "7"} -> 7.0;  a date counts from the answer's own `date`
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return float(value) / unit
    from email.utils import parsedate_to_datetime  # 20 ms at start, for what hardly ever comes

    try:
        then, now = (parsedate_to_datetime(headers.get(name, "")) for name in ("retry-after", "date"))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError):
        return None


# ------------------------------------------------------------------------------------------------------- calls and results


def _calls(message: ir.Message) -> list[ir.ToolCall]:
    return [part for part in message.parts if isinstance(part, ir.ToolCall)]


def _turn(messages: Sequence[ir.Message], at: int) -> tuple[ir.Message, int]:
    """The message at `at`, with the assistant's further messages where calls are among them."""
    turn = messages[at]
    at += 1
    while turn.role == "assistant" and at < len(messages) and messages[at].role == "assistant":
        if not (_calls(turn) or _calls(messages[at])):
            break
        turn = replace(turn, parts=turn.parts + messages[at].parts)
        at += 1
    return turn, at


def _answers(messages: Sequence[ir.Message], at: int) -> tuple[list[ir.Message], int]:
    """The messages from `at` on up to the assistant's next."""
    start = at
    while at < len(messages) and messages[at].role != "assistant":
        at += 1
    return list(messages[start:at]), at


def without_orphans(message: ir.Message, lost: list[str]) -> ir.Message:
    """A result without its call is told as text, so that the conversation is taken and nothing said is gone."""
    if not any(isinstance(part, ir.ToolResult) for part in message.parts):
        return message
    parts: list[ir.Part] = []
    for part in message.parts:
        if isinstance(part, ir.ToolResult):
            parts += [ir.Text(f"[Result of the tool call {part.id}, which is not in this conversation:]"), *part.parts]
            name_lost(lost, "tool_result=orphan")
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


def _matched(turn: ir.Message, answers: Sequence[ir.Message], lost: list[str]) -> list[ir.Message]:
    """The results of a turn's calls as one message, then what else stood in `answers`."""
    wanted = {call.id: call for call in _calls(turn)}
    found: dict[str, ir.ToolResult] = {}
    rest: list[ir.Message] = []
    for message in answers:
        kept: list[ir.Part] = []
        for part in message.parts:
            if isinstance(part, ir.ToolResult) and part.id in wanted and part.id not in found:
                found[part.id] = part
            else:
                kept.append(part)
        if kept or not message.parts:
            rest.append(without_orphans(replace(message, parts=tuple(kept)), lost))
    for call in wanted.values():
        if call.id not in found:
            found[call.id] = ir.ToolResult(call.id, (ir.Text(NO_RESULT),), True, call.name, call.vendor)
            name_lost(lost, "tool_result=added")
    return [ir.Message("user", tuple(found.values())), *rest] if found else rest


def paired(messages: Sequence[ir.Message], lost: list[str]) -> list[ir.Message]:
    """Every call with its result right behind it, as all vendors demand: a user message of results alone.

    [assistant(call a, call b), user(text, result b)]
        -> [assistant(call a, call b), user(result b, result a: an error that says so), user(text)]

    A call nobody answered gets an error as its result; a result nobody asked for becomes text; both are named in `lost`.
    Assistant messages in a row become one where calls are among them.
    """
    out: list[ir.Message] = []
    at = 0
    while at < len(messages):
        turn, at = _turn(messages, at)
        answers, at = _answers(messages, at) if _calls(turn) else ([], at)
        if turn.role == "assistant":
            out += [turn, *_matched(turn, answers, lost)]
        else:
            out.append(without_orphans(turn, lost))
    return out
