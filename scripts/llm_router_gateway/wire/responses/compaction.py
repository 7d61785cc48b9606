"""Compaction: a conversation that became too long, as a summary that takes its place.

A Responses caller asks for it with a last item {"type": "compaction_trigger"}, or with POST /v1/responses/compact, and gets one
item {"type": "compaction", "encrypted_content": ...}, which it sends in place of what went before. OpenAI's own is encrypted;
ours is a summary that the model wrote itself, sealed.

    summary_request(request)          the same conversation with the wish for a summary at its end, and no tool may be called
    compaction_item(id, text, seal)   -> {"type": "compaction", "id": id, "encrypted_content": "llmr1...."}
    summary_in(value)                 -> the text of what a seal held; None for other things
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import ir
from ..fields import refuse

KIND = "compaction"
SUMMARY_HEAD = "[Earlier conversation, summarized because it became too long:]"
WISH = (
    "The conversation above has become too long to be sent again and will be replaced by what you write now. Write a summary "
    "for the assistant that goes on from here: what the user wants, in their own words where they matter; what was decided and "
    "found out; files, names, commands, values and errors that are still needed, exactly; what is done and what is left to do. "
    "Call no tool, answer no question, write nothing but the summary."
)


def summary_request(request: ir.Request) -> ir.Request:
    """The request whose answer is the summary. Tools stay, for calls in the conversation need them; none may be called."""
    if request.reply.seal is None:
        refuse("input", "asks for a compaction, which needs the gateway's store: configure one, or summarize in the client")
    choice = ir.ToolChoice("none") if request.tools else None
    wanted = ir.Message("user", (ir.Text(WISH),))
    reply = replace(request.reply, compaction=True)
    return replace(
        request, messages=(*request.messages, wanted), tool_choice=choice, parallel_tool_calls=None, response_format=None,
        reply=reply,
    )  # fmt: skip


def compaction_item(id: str, summary: str, seal: ir.Seal) -> dict[str, Any]:
    return {"type": KIND, "id": id, "encrypted_content": seal.close({"kind": KIND, "text": summary})}


def summary_in(value: ir.JSON) -> str | None:
    """What a sealed compaction holds; None for a seal of another kind."""
    stated = value.get("text")
    return stated if value.get("kind") == KIND and isinstance(stated, str) else None


def is_user_message(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type", "message") == "message" and item.get("role") == "user"


def compact_request(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of POST /v1/responses/compact as one of POST /v1/responses with a trigger at its end."""
    given = fields.get("input")
    found = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given or ())
    rest = {name: value for name, value in fields.items() if name not in ("input", "stream")}
    return {**rest, "input": [*found, {"type": "compaction_trigger"}]}


def compaction_response(response: Mapping[str, Any], given: Sequence[Any]) -> dict[str, Any]:
    """The answer of POST /v1/responses/compact, from that of the request above: the user's messages, then the compaction."""
    users = [dict(item) for item in given if is_user_message(item)]
    for at, item in enumerate(users):
        item.setdefault("type", "message")
        item.setdefault("id", f"msg_{str(response.get('id')).removeprefix('resp_').replace('_', '-')}_u{at}")
        item.setdefault("status", "completed")
        if isinstance(item.get("content"), str):
            item["content"] = [{"type": "input_text", "text": item["content"]}]
    return {
        "id": response.get("id"), "object": "response.compaction", "created_at": response.get("created_at"),
        "output": [*users, *(item for item in response.get("output") or () if item.get("type") == KIND)],
        "usage": response.get("usage"),
    }  # fmt: skip
