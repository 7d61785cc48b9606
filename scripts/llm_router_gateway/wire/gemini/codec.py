"""The functions of Gemini's generateContent; see `common` for what Gemini is particular about."""

from .answer import finish_in, flaw_in, read_answer, usage_in, write_answer, write_count
from .common import FINISH_OF as FINISH_WORDS
from .common import error_event, read_error, write_error
from .models import describe_model, list_models
from .relay import remove_foreign
from .request_reader import read_request
from .request_writer import write_request
from .stream_reader import StreamReader
from .stream_scanner import Scanner
from .stream_writer import StreamWriter

__all__ = [
    "FINISH_WORDS",
    "Scanner",
    "StreamReader",
    "StreamWriter",
    "describe_model",
    "error_event",
    "finish_in",
    "flaw_in",
    "list_models",
    "read_answer",
    "read_error",
    "read_request",
    "remove_foreign",
    "usage_in",
    "write_answer",
    "write_count",
    "write_error",
    "write_request",
]
