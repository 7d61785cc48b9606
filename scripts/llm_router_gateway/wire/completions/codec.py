"""The functions of text completions."""

from ..error_bodies import read_error, write_error
from ..model_objects import describe_model, list_models
from .answer import REASON as FINISH_WORDS
from .answer import error_event, finish_in, read_answer, usage_in, write_answer, write_count
from .request_reader import lacks_call, only_upstream, read_request
from .stream_scanner import Scanner, StreamChoices
from .stream_writer import StreamWriter

__all__ = [
    "FINISH_WORDS",
    "Scanner",
    "StreamChoices",
    "StreamWriter",
    "describe_model",
    "error_event",
    "finish_in",
    "lacks_call",
    "list_models",
    "only_upstream",
    "read_answer",
    "read_error",
    "read_request",
    "usage_in",
    "write_answer",
    "write_count",
    "write_error",
]
