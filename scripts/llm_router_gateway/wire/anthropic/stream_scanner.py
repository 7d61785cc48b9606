"""Anthropic Messages: what passes in a relayed stream: whether it holds output, its usage, its end."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ...errors import GatewayError
from .. import ir, verdict
from ..sse import Event
from .common import Block, error_of, read_usage
from .stream_reader import with_usage

SPOKEN = frozenset({"tool_use", "server_tool_use", "mcp_tool_use", "redacted_thinking"})  # a start that says something itself
SHORT_CHARS = 160  # an event longer than this has something in it


class Scanner:
    """What a relayed stream says: how much output, whether it is whole, what it cost, what went wrong."""

    __slots__ = ("_calls", "_id", "_known", "done", "error", "fed", "finish", "flawed", "outputs", "usage")

    def __init__(self) -> None:
        self.outputs, self.done = 0, False
        self.usage: ir.Usage | None = None
        self.finish = ""  # the stop_reason
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed
        self._known: Block = {}
        self._calls = verdict.Calls()
        self._id: object = None  # of the answer

    def feed(self, events: Iterable[Event]) -> None:
        for number, event in enumerate(events):
            name, data = event.event, event.data
            if name == "content_block_delta" and "input_json_delta" not in data:  # nearly all: not worth a parse
                self.outputs += len(data) > SHORT_CHARS or ':""' not in data.replace(" ", "")
            elif name != "ping":
                self._look(name, data)
            if self.error is not None:
                self.fed = number
                return

    def _look(self, name: str, data: str) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(fields, dict):
            self._read_event(fields.get("type") or name, fields)

    def _read_event(self, kind: str, fields: Block) -> None:
        if isinstance(fields.get("error"), dict):  # an event of its own, or beside what an event says
            self.flawed = kind != "error" and self.error is None  # no client looks for it there
            self.error = self.error or error_of(fields, 200)
        elif kind == "content_block_delta":
            self._delta(fields)
        elif kind == "content_block_start":
            block = fields.get("content_block")
            self.outputs += isinstance(block, dict) and str(block.get("type")) in SPOKEN
        elif kind in ("message_start", "message_delta"):
            said = fields.get("message") if kind == "message_start" else fields
            if kind == "message_start" and isinstance(said, dict):
                self._begin(said.get("id"))
            if isinstance(said, dict) and with_usage(self._known, said):
                self.usage = read_usage(self._known)
            delta = fields.get("delta")
            if isinstance(delta, dict) and delta.get("stop_reason"):
                self.finish = str(delta["stop_reason"])
                self._judge(verdict.finish_failure(self.finish) or self._calls.flaw(self.finish))
        elif kind == "message_stop":
            self.done = True
        elif kind == "error" and self.error is None:
            self.error = error_of(fields, 200)

    def _delta(self, fields: Block) -> None:
        delta = fields.get("delta")
        piece = delta.get("partial_json") if isinstance(delta, dict) else None
        self._calls.add(fields.get("index"), piece)
        self.outputs += piece != ""

    def _begin(self, given: object) -> None:
        """A second start with another id is another answer, glued to this one."""
        if self._id and given and given != self._id:
            self._judge(verdict.second_start())
        self._id = self._id or given

    def _judge(self, error: GatewayError | None) -> None:
        if error is not None and self.error is None:
            self.error, self.flawed = error, True
