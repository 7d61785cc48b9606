"""Gemini's generateContent: what passes in a relayed stream: whether it holds output, its usage, its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...errors import GatewayError
from .. import ir, verdict
from ..sse import Event
from .answer import block_reason, count, usage_of
from .common import Fields, dicts, error_in


class Scanner:
    """A relayed stream, read beside it: whether it said something, whether it is whole, its usage, its error."""

    __slots__ = ("_ended", "_usage", "done", "error", "fed", "finish", "flawed", "outputs")

    def __init__(self) -> None:
        self.outputs = 0
        self.done = False
        self.finish = ""  # the first candidate's finishReason
        self.error: GatewayError | None = None
        self.flawed = False  # `error` is our verdict, no event of the upstream's own
        self.fed = 0  # events before the one that `error` came with, in the last feed
        self._usage: Any = None
        self._ended: dict[int, bool] = {}  # whether each candidate's last chunk said why it ended

    @property
    def usage(self) -> ir.Usage | None:
        return usage_of(self._usage)

    def feed(self, events: Sequence[Event]) -> None:
        for number, event in enumerate(events):
            try:
                chunk = json.loads(event.data)
            except (ValueError, RecursionError):
                continue  # not ours to judge: it goes on as it came
            if isinstance(chunk, dict):
                self._chunk(chunk)
            if self.error is not None:
                self.fed = number
                return

    def _chunk(self, chunk: Fields) -> None:
        if "error" in chunk:
            self.error = error_in(chunk["error"], 502)
            return
        self._usage = chunk.get("usageMetadata", self._usage)
        if block_reason(chunk):
            self.done = True
        for candidate in dicts(chunk.get("candidates")):
            content = candidate.get("content")
            parts = dicts(content.get("parts")) if isinstance(content, dict) else []
            if any(part.get("text") != "" for part in parts):
                self.outputs += 1
            self._ended[count(candidate.get("index"))] = bool(candidate.get("finishReason"))
            self.done = all(self._ended.values())
            flaw = verdict.finish_failure(candidate.get("finishReason"))
            if flaw is not None:
                self.error, self.flawed = flaw, True
                return
            self.finish = self.finish or str(candidate.get("finishReason") or "")
