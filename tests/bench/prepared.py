"""What the upstream of traffic.py answers, by the path of a request: made before, so that sending it costs nearly nothing.

    PREPARED["/v1/chat/completions"].plain        one whole answer
    PREPARED[path].opening, .pieces, .closing     a stream; one of `pieces` after the other

Shapes and sizes are those of OpenAI's API, without what its load balancers add.
"""

from __future__ import annotations

import json

from fast_server import OPENING, chunk, event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TEXT = "A quokka is a small wallaby of Western Australia, about as big as a cat."
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
KINDS_OF_PIECES = 10  # LiteLLM refuses a stream that repeats one piece
ID = b"resp_bench0000000000000000000000000000"  # every answer gets its own of the same length, since stores go by it


def plain(body: str) -> bytes:
    data = body.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


class Prepared:
    """One protocol's answers."""

    def __init__(self, plain: bytes, opening: bytes, pieces: List[bytes], closing: bytes) -> None:
        self.plain, self.opening, self.pieces, self.closing = plain, opening, pieces, closing


# ------------------------------------------------------------------------------------------------------- chat completions

CHAT_USAGE = '"usage":{"prompt_tokens":57,"completion_tokens":12,"total_tokens":69}'


def chat_answers() -> Prepared:
    head = '{"id":"chatcmpl-bench","object":"chat.completion'
    body = (
        f'{head}","created":1700000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant","content":"{TEXT}",'
        f'"refusal":null}},"logprobs":null,"finish_reason":"stop"}}],{CHAT_USAGE},"system_fingerprint":"fp_bench"}}'
    )
    usage = f'data: {head}.chunk","created":1700000000,"model":"bench","choices":[],{CHAT_USAGE}}}\n\n'.encode()
    return Prepared(
        plain(body),
        STREAM_HEAD + OPENING,
        [chunk(event(f'{{"content":" quokka {number}"}}')) for number in range(KINDS_OF_PIECES)],
        chunk(event("{}", '"stop"')) + chunk(usage) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    )


# -------------------------------------------------------------------------------------------------------------- Responses


def item(text: str, status: str) -> Dict[str, Any]:
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    content = [part] if status == "completed" else []
    return {"id": "msg_bench", "type": "message", "status": status, "content": content, "role": "assistant"}


def response(status: str, text: str = "") -> Dict[str, Any]:
    """A response object as the API sends it."""
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 57, "output_tokens": 12, "total_tokens": 69, **details}
    is_over = status == "completed"
    return {
        "id": ID.decode(), "object": "response", "created_at": 1700000000, "status": status, "background": False,
        "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": 300, "max_tool_calls": None,
        "model": "bench", "output": [item(text, status)] if is_over else [], "parallel_tool_calls": True,
        "previous_response_id": None, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None, "service_tier": "default", "store": True, "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
        "top_p": 1.0, "truncation": "disabled", "usage": usage if is_over else None, "user": None, "metadata": {},
    }  # fmt: skip


def response_event(kind: str, number: int, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields, "sequence_number": number}, separators=(",", ":"))
    return chunk(f"event: {kind}\ndata: {data}\n\n".encode())


def responses_answers() -> Prepared:
    place = {"item_id": "msg_bench", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    opening = [
        response_event("response.created", 0, response=response("in_progress")),
        response_event("response.in_progress", 1, response=response("in_progress")),
        response_event("response.output_item.added", 2, output_index=0, item=item("", "in_progress")),
        response_event("response.content_part.added", 3, **place, part=part),
    ]
    pieces = [
        response_event("response.output_text.delta", 4 + at, **place, delta=f" quokka {at}", logprobs=[], obfuscation="Zq8fLw0")
        for at in range(KINDS_OF_PIECES)
    ]
    closing = [  # of all the pieces it repeats only a sentence: what a whole text costs at its end belongs to no piece
        response_event("response.output_text.done", 300, **place, text=TEXT, logprobs=[]),
        response_event("response.content_part.done", 301, **place, part={**part, "text": TEXT}),
        response_event("response.output_item.done", 302, output_index=0, item=item(TEXT, "completed")),
        response_event("response.completed", 303, response=response("completed", TEXT)),
        b"0\r\n\r\n",
    ]
    return Prepared(
        plain(json.dumps(response("completed", TEXT), separators=(",", ":"))),
        STREAM_HEAD + b"".join(opening), pieces, b"".join(closing),
    )  # fmt: skip


PREPARED = {CHAT: chat_answers(), RESPONSES: responses_answers()}
