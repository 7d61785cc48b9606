"""Every call of a tool with its result right behind it, as all vendors demand.

pair_results([assistant(call a, call b), user(text, result b)], lost)
    -> [assistant(call a, call b), user(result b, result a: an error that says so), user(text)]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import ir
from .losses import name_lost
from .shapes import all_unread, both

ABOUT_TOOLS = frozenset({ir.ToolCall, ir.ToolResult})
NO_RESULT = "No result: the call was interrupted before it was answered."


def _calls(message: ir.Message) -> list[ir.ToolCall]:
    return [part for part in message.parts if isinstance(part, ir.ToolCall)]


def _turn(messages: Sequence[ir.Message], at: int) -> tuple[ir.Message, int]:
    """The message at `at`, with the assistant's further messages where calls are among them."""
    turn = messages[at]
    at += 1
    if turn.role != "assistant":
        return turn, at
    parts, calls, extras = list(turn.parts), bool(_calls(turn)), turn.extras
    while at < len(messages) and messages[at].role == "assistant":
        calls = calls or bool(_calls(messages[at]))
        if not calls:
            break
        parts += messages[at].parts
        extras = both(extras, all_unread(messages[at].extras))
        at += 1
    return (turn if len(parts) == len(turn.parts) else replace(turn, parts=tuple(parts), extras=extras)), at


def _answers(messages: Sequence[ir.Message], at: int) -> tuple[list[ir.Message], int]:
    """The messages from `at` on up to the assistant's next."""
    start = at
    while at < len(messages) and messages[at].role != "assistant":
        at += 1
    return list(messages[start:at]), at


def without_orphans(message: ir.Message, lost: list[str]) -> ir.Message:
    """A result without its call becomes text, so that the conversation is accepted and nothing in it is lost."""
    if not any(isinstance(part, ir.ToolResult) for part in message.parts):
        return message
    parts: list[ir.Part] = []
    for part in message.parts:
        if isinstance(part, ir.ToolResult):
            stated = f"[Result of the tool call {part.id}, which is not in this conversation:]"
            parts += [ir.Text(stated, extras=all_unread(part.extras)), *part.parts]
            name_lost(lost, "tool_result=orphan")
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


def _match_results(turn: ir.Message, answers: Sequence[ir.Message], lost: list[str]) -> list[ir.Message]:
    """The results of a turn's calls as one message, then what else stood in `answers`."""
    wanted = {call.id: call for call in _calls(turn)}
    found: dict[str, ir.ToolResult] = {}
    extras: ir.Extras = ir.NOTHING  # of messages that are nothing but results
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
        else:
            extras = both(extras, all_unread(message.extras))
    for call in wanted.values():
        if call.id not in found:
            found[call.id] = ir.ToolResult(call.id, (ir.Text(NO_RESULT),), True, call.name, call.vendor)
            name_lost(lost, "tool_result=added")
    return [ir.Message("user", tuple(found.values()), extras=extras), *rest] if found else rest


def pair_results(messages: Sequence[ir.Message], lost: list[str]) -> list[ir.Message]:
    """Every call with its result right behind it, as all vendors demand: a user message of results alone.

    [assistant(call a, call b), user(text, result b)]
        -> [assistant(call a, call b), user(result b, result a: an error that says so), user(text)]

    A call without a result gets an error as its result; a result without a call becomes text; both are named in `lost`.
    Assistant messages in a row become one where calls are among them.
    """
    if not any(type(part) in ABOUT_TOOLS for message in messages for part in message.parts):
        return list(messages)
    out: list[ir.Message] = []
    at = 0
    while at < len(messages):
        turn, at = _turn(messages, at)
        answers, at = _answers(messages, at) if _calls(turn) else ([], at)
        if turn.role == "assistant":
            out += [turn, *_match_results(turn, answers, lost)]
        else:
            out.append(without_orphans(turn, lost))
    return out
