"""A streamed answer on its way to the caller: its head, its pieces, and its end, however it comes."""

from __future__ import annotations

from time import time as unix_s
from typing import Any

from ..errors import GatewayError
from ..net.client import Response
from ..wire import ir
from ..wire.pipes import Array, ConvertPipe, RelayPipe
from ..wire.registry import SPECS, wire
from . import headers
from .answers import parsed
from .outgoing import Outgoing
from .request import Job, dumped
from .streaming import Headers

STREAM_HEADERS: Headers = [
    ("cache-control", "no-cache, no-transform"),
    ("x-accel-buffering", "no"),  # nginx would hold the events back
]


class Stream:
    """What one streamed answer is made with: its head, its pipe, its signs of life, its last words."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.pipe: RelayPipe | ConvertPipe | None = None
        self._module = wire(job.call.protocol)
        self._array = Array() if job.call.array else None
        self._array_writer: Any = None  # of a converted array, which knows what it has written
        self._passed: Headers = []
        self._spec = SPECS[job.call.protocol]
        self.keepalive = b"\n" if self._array else self._spec.keepalive

    def head(self) -> Headers:
        kind = "application/json" if self._array else self._spec.stream_type
        own = [("content-type", kind), *STREAM_HEADERS, *self.job.own_headers]
        names = {name for name, _ in own}
        return own + [pair for pair in self._passed if pair[0] not in names]

    def open(self, response: Response, outgoing: Outgoing) -> RelayPipe | ConvertPipe:
        """The pipe for an upstream's event stream."""
        if outgoing.request is None:
            candidate = outgoing.candidate
            self._passed = headers.caller_headers(response.headers, candidate)
            self.pipe = RelayPipe(self._module.Scanner(), self._array, lambda data: headers.masked(data, candidate))
        else:
            reader = wire(outgoing.candidate.provider.api).StreamReader()
            self.pipe = ConvertPipe(reader, self._writer(outgoing.request), int(unix_s()))
        return self.pipe

    def _writer(self, request: ir.Request) -> Any:
        writer = self._module.StreamWriter(request, lost=self.job.record.lost, array=self._array is not None)
        self._array_writer = writer if self._array is not None else None
        return writer

    def replayed(self, data: bytes, outgoing: Outgoing) -> bytes:
        """A whole answer that came where a stream was asked for, as the stream that it should have been."""
        name, api = outgoing.candidate.name, outgoing.candidate.provider.api
        answer = wire(api).read_answer(parsed(data, name))
        self.job.record.usage = answer.usage
        request = outgoing.request or self._module.read_request(self.job.fields, model=name, stream=True)
        writer = self._writer(request)
        return b"".join(map(writer.feed, ir.events_of(answer)))

    def fail(self, error: GatewayError) -> bytes:
        """The stream's last words after a failure."""
        request_id = self.job.record.request_id
        end = self.pipe.failure(error, request_id) if self.pipe is not None else None
        if end is not None:
            return end
        if self.pipe is not None and self.pipe.error_passed:
            return b""  # the upstream's own error event went on already
        if self._array_writer is not None:
            last: bytes = self._array_writer.fail(error, request_id)
            return last
        if self._array is not None:
            return self._array.failure(dumped(self._module.write_error(error, request_id)[2]).decode())
        data: bytes = self._module.error_event(error, request_id)
        return data
