"""The functions of OpenAI Responses."""

from ..error_bodies import read_error, write_error
from ..model_objects import describe_model, list_models
from . import compaction, relay, state
from .answer import finish_in, flaw_in, read_answer, write_answer
from .common import error_event, usage_in, write_count
from .outputs import REASON as FINISH_WORDS
from .request_reader import read_request, refuse_unsupported
from .request_writer import write_request
from .seal import Seal
from .stream_reader import StreamReader
from .stream_scanner import Scanner
from .stream_writer import StreamWriter

__all__ = [
    "FINISH_WORDS",
    "Scanner",
    "Seal",
    "StreamReader",
    "StreamWriter",
    "compaction",
    "describe_model",
    "error_event",
    "finish_in",
    "flaw_in",
    "list_models",
    "read_answer",
    "read_error",
    "read_request",
    "refuse_unsupported",
    "relay",
    "state",
    "usage_in",
    "write_answer",
    "write_count",
    "write_error",
    "write_request",
]
