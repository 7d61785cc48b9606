"""The functions of OpenAI chat completions; see `common` for the quirks of its upstreams."""

from ..error_bodies import read_error, write_error
from ..model_objects import describe_model, list_models
from . import files
from .answer import finish_in, flaw_in, read_answer, write_answer
from .common import REASON as FINISH_WORDS
from .common import error_event, usage_in, write_count
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
    "files",
    "finish_in",
    "flaw_in",
    "list_models",
    "read_answer",
    "read_error",
    "read_request",
    "usage_in",
    "write_answer",
    "write_count",
    "write_error",
    "write_request",
]
