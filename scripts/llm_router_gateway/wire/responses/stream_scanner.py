"""A relayed Responses stream, looked at on its way: how often output came, its usage, its end, its error, its response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import GatewayError, UpstreamFailed
from .. import ir
from ..error_bodies import error_in, error_of
from ..sse import Event
from .common import bare_response, failure_events, read_usage, response_id

# Events that are output when their field is not empty.
SPEAKING = {
    "response.output_text.delta": "delta", "response.function_call_arguments.delta": "delta", "response.refusal.delta": "delta",
    "response.custom_tool_call_input.delta": "delta", "response.reasoning_summary_text.delta": "delta",
    "response.reasoning_text.delta": "delta", "response.output_item.done": "item",
    "response.image_generation_call.partial_image": "partial_image_b64", "response.audio.delta": "delta",
    "response.code_interpreter_call_code.delta": "delta", "response.mcp_call_arguments.delta": "delta",
}  # fmt: skip
TERMINAL = ("response.completed", "response.incomplete")
# A call that begins is output too: a caller may show it.
BEGINNING = ("function_call", "custom_tool_call")
TEXT = "response.output_text.delta"  # nearly every event
DELTA = f"event: {TEXT}\ndata: {{".encode()
SMALLEST = b'"delta":""'
NO_TEXT = SMALLEST.decode()


class Scanner:
    """`response` is what the upstream said of the answer last: whole after the end; what is kept of it."""

    __slots__ = ("_told", "done", "error", "fed", "finish", "flawed", "outputs", "response", "sequence", "usage")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.usage: ir.Usage | None = None
        self.finish = ""  # completed, or why it is incomplete
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed
        self.response: dict[str, Any] = {}
        self.sequence = 0  # of the last event
        self._told: set[str] = set()  # how the upstream itself said that it failed

    def glance(self, event: bytes) -> bool:
        """Whether one whole event only adds text to a stream that has begun: by its bytes, without parsing it."""
        if self.outputs and event.startswith(DELTA) and SMALLEST not in event:
            self.outputs += 1
            self.sequence += 1
            return True
        return False

    def feed(self, events: Iterable[Event]) -> None:
        for number, event in enumerate(events):
            if event.event == TEXT and self.outputs and NO_TEXT not in event.data:  # as glance
                self.outputs += 1
                self.sequence += 1
                continue
            known = self.error
            if event.data and not event.data.startswith("[DONE]"):
                self._event(event)
            if self.error is not known:  # the last one counts: its own failure comes as two events
                self.fed = number

    def _event(self, event: Event) -> None:
        try:
            fields = json.loads(event.data)
        except (ValueError, RecursionError):
            self.error, self.flawed = UpstreamFailed("the upstream sent an event that is not JSON"), True
            return
        if not isinstance(fields, dict):
            return
        kind = fields.get("type") or event.event
        if isinstance(fields.get("sequence_number"), int):
            self.sequence = max(self.sequence, fields["sequence_number"])
        response = fields.get("response")
        if isinstance(response, dict):
            self.response = response
        if kind in ("error", "response.failed") or (kind == "message" and "error" in fields):
            nested = kind == "response.failed" or isinstance(fields.get("error"), dict)
            self._told |= {str(kind)} if nested else set()  # a flat error reaches too few clients
            self.error = error_of(error_in(fields) or {"message": "the upstream's answer failed"}, 0)
        elif kind in TERMINAL:
            self._end(response if isinstance(response, dict) else {})
        elif kind == "response.output_item.added":
            item = fields.get("item")
            self.outputs += isinstance(item, dict) and item.get("type") in BEGINNING
        elif fields.get(SPEAKING.get(str(kind), "")):
            self.outputs += 1

    def _end(self, response: Mapping[str, Any]) -> None:
        self.done = True
        self.usage = read_usage(response.get("usage")) or self.usage
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        self.finish = str(reason or response.get("status") or "completed")
        if response.get("output"):
            self.outputs = self.outputs or 1  # all of it may come in the last event alone

    def failure(self, error: GatewayError, request_id: str) -> bytes:
        """The end of a stream that broke: the upstream's own response, failed; of the two events those that it did not send."""
        known = self.response or bare_response(response_id(request_id))
        return failure_events(known, self.sequence + 1, error, self._told)
