"""The functions of Ollama's API."""

from .answer import REASON as FINISH_WORDS
from .answer import error_event, finish_in, usage_in, write_answer, write_count, write_error
from .listing import describe_model, embeddings_request, list_models, show, tags, write_embeddings
from .request_reader import read_request
from .stream_writer import StreamWriter

__all__ = [
    "FINISH_WORDS",
    "StreamWriter",
    "describe_model",
    "embeddings_request",
    "error_event",
    "finish_in",
    "list_models",
    "read_request",
    "show",
    "tags",
    "usage_in",
    "write_answer",
    "write_count",
    "write_embeddings",
    "write_error",
]
