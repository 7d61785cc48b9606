"""Anthropic Messages <-> ir; see `common` for the quirks of its upstreams."""

from .answer import read_answer, write_answer
from .common import KEEPALIVE, WIRE_STOP, error_event, read_error, usage_in, write_count, write_error
from .request_reader import read_request
from .request_writer import write_request
from .stream_reader import StreamReader
from .stream_scanner import Scanner
from .stream_writer import StreamWriter

__all__ = [
    "KEEPALIVE",
    "WIRE_STOP",
    "Scanner",
    "StreamReader",
    "StreamWriter",
    "error_event",
    "read_answer",
    "read_error",
    "read_request",
    "usage_in",
    "write_answer",
    "write_count",
    "write_error",
    "write_request",
]
