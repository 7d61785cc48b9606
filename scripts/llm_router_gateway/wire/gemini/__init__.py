"""Gemini's generateContent <-> ir; see `common` for what Gemini is particular about."""

from .answer import read_answer, usage_in, write_answer, write_count
from .common import FINISH_OF, KEEPALIVE, error_event, read_error, write_error
from .request_reader import read_request
from .request_writer import write_request
from .stream_reader import StreamReader
from .stream_scanner import Scanner
from .stream_writer import StreamWriter

__all__ = [
    "FINISH_OF",
    "KEEPALIVE",
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
